//! Leases: which worker sends which documents at this moment.
//!
//! Guarantees: a document is leased to at most one worker at a time, across processes and machines; each lease has a fencing
//! number that is never used again, and what a worker reports under a lease that it has lost is refused. A lease ends when
//! its worker gives it back, when its worker is known to be dead, or when it was not renewed for [`LEASE_TERM`] on the clock
//! of the server, which is everybody's. One that is being settled is not ended meanwhile.

use std::collections::HashSet;
use std::time::Duration;

use super::documents;
use super::fault::Fault;
use super::link::Tx;
use super::schema::{PostgresStore, Schema};
use super::values::{Value, capped, number};
use crate::error::Result;
use crate::id::DocumentId;
use crate::process::{Holder, Life};
use crate::store::model::{Fence, LEASE_TERM, Selection, Worker};

impl PostgresStore {
    /// Says that the holder of a lease still works. `false` when the lease is lost.
    pub fn renew(&mut self, fence: Fence, _: Duration) -> Result<bool> {
        self.write("renew a lease in", |tx, _| {
            let sql = "UPDATE {nas_sync_leases} SET beat_at = {now} WHERE fence = $1";
            Ok(tx.execute(sql, &[Value::integer(fence.0)])? == 1)
        })
    }

    /// Gives a lease back, with every document that is still under it.
    pub fn release(&mut self, fence: Fence) -> Result<()> {
        self.write("give a lease back in", |tx, _| end(tx, fence))
    }

    /// Which documents of a selection are leased.
    pub fn leased_documents(&mut self, selection: &Selection) -> Result<Vec<DocumentId>> {
        self.read("read the leases in", |tx, schema| {
            let mut values = Vec::new();
            let condition = documents::condition(schema, selection, &mut values)?;
            let sql = format!(
                "SELECT d.id::text FROM {{documents}} d JOIN {{nas_sync_leased}} l ON l.document_id = d.id WHERE {condition}"
            );
            tx.query(&sql, &values)?.iter().map(|row| documents::id_in(schema, row, 0)).collect()
        })
    }
}

/// Takes hold of a lease until the transaction ends, so that nobody ends it meanwhile, and gives those of the documents that
/// are under it, as their rows write them.
pub(super) fn hold<'a>(
    tx: &Tx<'_>,
    schema: &Schema,
    fence: Fence,
    documents: impl IntoIterator<Item = &'a DocumentId>,
) -> Result<HashSet<DocumentId>, Fault> {
    tx.query("SELECT 1::bigint FROM {nas_sync_leases} WHERE fence = $1 FOR UPDATE", &[Value::integer(fence.0)])?;
    let sql =
        "SELECT document_id::text FROM {nas_sync_leased} WHERE fence = $1 AND document_id = ANY($2::text[]::{T}[])";
    let values = [Value::integer(fence.0), documents::id_list(schema, documents)];
    tx.query(sql, &values)?.iter().map(|row| documents::id_in(schema, row, 0)).collect()
}

/// Takes documents out of a lease.
pub(super) fn let_go(tx: &Tx<'_>, schema: &Schema, fence: Fence, documents: &[&DocumentId]) -> Result<(), Fault> {
    if documents.is_empty() {
        return Ok(());
    }
    let sql = "DELETE FROM {nas_sync_leased} WHERE fence = $1 AND document_id = ANY($2::text[]::{T}[])";
    tx.execute(sql, &[Value::integer(fence.0), documents::id_list(schema, documents.iter().copied())])?;
    Ok(())
}

/// Makes a lease, without documents yet.
pub(super) fn begin(tx: &Tx<'_>, holder: &Holder) -> Result<Fence, Fault> {
    let sql = "INSERT INTO {nas_sync_leases} (clock, space, process, started, beat_at)
               VALUES ($1, $2, $3, $4, {now}) RETURNING fence";
    let values = [
        Value::text(&holder.clock),
        Value::text(&holder.space),
        Value::integer(holder.process),
        Value::integer(holder.started.cast_signed()),
    ];
    Ok(Fence(tx.one(sql, &values)?.try_get(0)?))
}

/// Ends a lease, with what is under it.
pub(super) fn end(tx: &Tx<'_>, fence: Fence) -> Result<(), Fault> {
    tx.execute("DELETE FROM {nas_sync_leases} WHERE fence = $1", &[Value::integer(fence.0)])?;
    Ok(())
}

/// The fencing numbers of leases that are over and were not ended yet, and how many are not.
pub(super) fn dead(tx: &Tx<'_>, worker: &Worker<'_>) -> Result<(Vec<i64>, u64), Fault> {
    let sql = "SELECT fence, clock, space, process, started, beat_at < {now} - $1 * interval '1 millisecond'
               FROM {nas_sync_leases} l ORDER BY fence";
    let (mut dead, mut others) = (Vec::new(), 0);
    for row in tx.query(sql, &[Value::integer(capped(LEASE_TERM.as_millis()))])? {
        let holder = Holder {
            clock: row.try_get(1)?,
            space: row.try_get(2)?,
            process: number(&row, 3)?.unwrap_or(0),
            started: row.try_get::<_, i64>(4)?.cast_unsigned(),
        };
        if row.try_get(5)? || (worker.life_of)(&holder) == Life::Over {
            dead.push(row.try_get(0)?);
        } else {
            others += 1;
        }
    }
    Ok((dead, others))
}

/// Ends the leases that are over and counts the others; a worker that asks for one has none. One that is renewed or settled
/// at this very moment is left alone.
pub(super) fn end_dead(tx: &Tx<'_>, worker: &Worker<'_>) -> Result<u64, Fault> {
    let (dead, others) = dead(tx, worker)?;
    if dead.is_empty() {
        return Ok(others);
    }
    let count = dead.len() as u64;
    let sql = "DELETE FROM {nas_sync_leases} WHERE fence IN (
                   SELECT fence FROM {nas_sync_leases} WHERE fence = ANY($1) FOR UPDATE SKIP LOCKED)";
    let ended = tx.execute(sql, &[Value::integers(dead)])?;
    Ok(others + count.saturating_sub(ended))
}
