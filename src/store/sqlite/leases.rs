//! Leases: which worker sends which documents at this moment.
//!
//! Guarantees: a document is leased to at most one worker at a time, across processes and machines; each lease has a
//! fencing number that is never used again, and what a worker reports under a lease that it has lost is refused. A
//! lease ends when its worker gives it back, when its worker is known to be dead, or when it was not renewed for
//! [`LEASE_TERM`]. No wall clock takes part: a lease is timed on the clock of its holder's machine, which never jumps,
//! and where the reader's clock is another one, by how long the reader has seen it unrenewed.
//! See `protocol-notes/14-database.md#leases`.

use std::time::Duration;

use rusqlite::{Connection, OptionalExtension as _, Row, Transaction, params, params_from_iter};

use super::connection::SqliteStore;
use super::{documents, values};
use crate::error::Result;
use crate::id::DocumentId;
use crate::process::{Holder, Life};
use crate::store::model::{Fence, LEASE_TERM, Selection, Worker};

impl SqliteStore {
    /// Says that the holder of a lease still works. `false` when the lease is lost.
    pub fn renew(&mut self, fence: Fence, now: Duration) -> Result<bool> {
        self.write("renew a lease in", |tx, _| {
            let renewed = tx.execute(
                "UPDATE nas_sync_leases SET beat = beat + 1, beat_at = ?2 WHERE fence = ?1",
                (fence.0, millis(now)),
            )?;
            Ok(renewed == 1)
        })
    }

    /// Gives a lease back, with every document that is still under it.
    pub fn release(&mut self, fence: Fence) -> Result<()> {
        self.write("give a lease back in", |tx, _| end(tx, fence))
    }

    /// Which documents of a selection are leased.
    pub fn leased_documents(&self, selection: &Selection) -> Result<Vec<DocumentId>> {
        let (condition, values) = documents::condition(selection);
        self.read("read the leases in", |tx, table| {
            let sql =
                format!("SELECT d.id FROM {table} d JOIN nas_sync_leased l ON l.document_id = d.id WHERE {condition}");
            let mut statement = tx.prepare(&sql)?;
            let rows = statement.query_map(params_from_iter(&values), |row| row.get(0))?;
            rows.collect::<rusqlite::Result<_>>()
        })
    }
}

/// Whether a document is under this lease.
pub(super) fn is_held(tx: &Transaction<'_>, fence: Fence, document: &DocumentId) -> rusqlite::Result<bool> {
    let held = tx
        .prepare_cached("SELECT fence FROM nas_sync_leased WHERE document_id = ?1")?
        .query_row([document], |row| values::integer(row, 0))
        .optional()?;
    Ok(held.flatten() == Some(fence.0))
}

/// Takes one document out of a lease.
pub(super) fn let_go(tx: &Transaction<'_>, fence: Fence, document: &DocumentId) -> rusqlite::Result<()> {
    tx.prepare_cached("DELETE FROM nas_sync_leased WHERE document_id = ?1 AND fence = ?2")?
        .execute((document, fence.0))?;
    Ok(())
}

fn end(tx: &Transaction<'_>, fence: Fence) -> rusqlite::Result<()> {
    for table in ["nas_sync_leased", "nas_sync_lease_watches", "nas_sync_leases"] {
        tx.execute(&format!("DELETE FROM {table} WHERE fence = ?1"), [fence.0])?;
    }
    Ok(())
}

pub(super) fn next_fence(tx: &Transaction<'_>) -> rusqlite::Result<Fence> {
    tx.query_row(
        "INSERT INTO nas_sync_meta (key, value) VALUES ('last_fence', 1)
         ON CONFLICT (key) DO UPDATE SET value = value + 1 RETURNING value",
        [],
        |row| row.get(0).map(Fence),
    )
}

/// A lease as another worker sees it.
struct Seen {
    fence: Fence,
    holder: Holder,
    beat: i64,
    beat_at: i64,
}

/// A lease, or its number alone when what stands there makes no sense.
fn read(row: &Row<'_>) -> rusqlite::Result<Result<Seen, Fence>> {
    let fence = Fence(row.get(0)?);
    let (clock, space) = (values::text(row, 1)?, values::text(row, 2)?);
    let (process, started) = (values::number(row, 3)?, values::integer(row, 4)?);
    let (beat, beat_at) = (values::integer(row, 5)?, values::integer(row, 6)?);
    let seen = || {
        let started = started?.cast_unsigned();
        let holder = Holder { clock: clock?, space: space?, process: process?, started };
        Some(Seen { fence, holder, beat: beat?, beat_at: beat_at? })
    };
    Ok(seen().ok_or(fence))
}

/// Ends the leases that are over and counts the others; a worker that asks for one has none.
pub(super) fn end_dead_leases(tx: &Transaction<'_>, worker: &Worker<'_>) -> rusqlite::Result<u64> {
    let mut others = 0;
    for lease in all(tx)? {
        // Nobody can say whose it is. If its worker lives it is not believed any more, so ending it does no harm.
        let lease = match lease {
            Ok(lease) => lease,
            Err(fence) => {
                end(tx, fence)?;
                continue;
            }
        };
        match sight(tx, &lease, worker)? {
            Sight::Over => end(tx, lease.fence)?,
            Sight::Lives => others += 1,
            Sight::New => {
                note(tx, &lease, worker)?;
                others += 1;
            }
        }
    }
    // What is under no lease at all is free.
    tx.execute("DELETE FROM nas_sync_leased WHERE fence NOT IN (SELECT fence FROM nas_sync_leases)", [])?;
    Ok(others)
}

/// The fencing numbers of leases that are over and were not ended yet.
pub(super) fn dead(conn: &Connection, worker: &Worker<'_>) -> rusqlite::Result<Vec<i64>> {
    let mut dead = Vec::new();
    for lease in all(conn)? {
        match lease {
            Ok(lease) if sight(conn, &lease, worker)? != Sight::Over => {}
            Ok(Seen { fence, .. }) | Err(fence) => dead.push(fence.0),
        }
    }
    Ok(dead)
}

fn all(conn: &Connection) -> rusqlite::Result<Vec<Result<Seen, Fence>>> {
    let sql = "SELECT fence, clock, space, process, started, beat, beat_at FROM nas_sync_leases ORDER BY fence";
    conn.prepare(sql)?.query_map([], read)?.collect()
}

/// What a look at a lease tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sight {
    Over,
    Lives,
    /// It comes from elsewhere, and this sign of life was not seen from here before.
    New,
}

pub(super) fn millis(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}

fn sight(conn: &Connection, lease: &Seen, worker: &Worker<'_>) -> rusqlite::Result<Sight> {
    let too_old = |since: i64| millis(worker.now).abs_diff(since) > millis(LEASE_TERM).unsigned_abs();
    if (worker.life_of)(&lease.holder) == Life::Over {
        return Ok(Sight::Over);
    }
    let by_age = |since| if too_old(since) { Sight::Over } else { Sight::Lives };
    if lease.holder.clock == worker.holder.clock {
        return Ok(by_age(lease.beat_at));
    }
    // Another machine's clock says nothing here; what counts is how long its beat has not changed before our eyes.
    let watched = conn
        .query_row(
            "SELECT beat, seen_at FROM nas_sync_lease_watches WHERE fence = ?1 AND clock = ?2",
            (lease.fence.0, &worker.holder.clock),
            |row| Ok((values::integer(row, 0)?, values::integer(row, 1)?)),
        )
        .optional()?;
    Ok(match watched {
        Some((Some(beat), Some(seen_at))) if beat == lease.beat => by_age(seen_at),
        _ => Sight::New,
    })
}

/// Remembers since when a sign of life has been known here.
fn note(tx: &Transaction<'_>, lease: &Seen, worker: &Worker<'_>) -> rusqlite::Result<()> {
    tx.execute(
        "INSERT INTO nas_sync_lease_watches (fence, clock, beat, seen_at) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (fence, clock) DO UPDATE SET beat = excluded.beat, seen_at = excluded.seen_at",
        params![lease.fence.0, worker.holder.clock, lease.beat, millis(worker.now)],
    )?;
    Ok(())
}
