//! The marks: a document becomes synced only if its row still is what was sent.
//!
//! Guarantees: a mark that a trigger or constraint of the table's owner refuses costs its own document and no other, and
//! nothing of it stays, nor what a trigger did with it.

use std::collections::{HashMap, HashSet};

use chrono::{DateTime, Utc};

use super::documents::{all_ids, id_in, id_list};
use super::fault::Fault;
use super::history;
use super::link::Tx;
use super::names;
use super::schema::Schema;
use super::values::{Value, zoned};
use crate::id::DocumentId;
use crate::store::model::{MarkOutcome, StoredCopy, SyncedRecord};
use crate::store::policy::SET_BACK;

/// Marks documents, and says what became of each record, in their order.
pub(super) fn mark(
    tx: &Tx<'_>,
    schema: &Schema,
    records: &[SyncedRecord],
    held: &HashSet<DocumentId>,
    at: DateTime<Utc>,
    is_still: &dyn Fn(&SyncedRecord) -> bool,
) -> Result<Vec<MarkOutcome>, Fault> {
    let leased: Vec<_> = records.iter().filter(|record| held.contains(&record.id)).collect();
    let mut outcomes: HashMap<&DocumentId, MarkOutcome> = HashMap::new();
    if !leased.is_empty() {
        let rows = lock(tx, schema, &leased)?;
        let owners = names::owners(tx, schema, leased.iter().map(|record| record.copy.remote_name.as_slice()))?;
        let mut good = Vec::new();
        for record in leased {
            let owner = names::owner(&owners, &record.copy.remote_name).filter(|owner| **owner != record.id);
            let refusal = match (owner, rows.get(&record.id)) {
                _ if !is_still(record) => Some(MarkOutcome::Rewritten),
                (Some(owner), _) => Some(MarkOutcome::NameTaken(owner.clone())),
                (None, None) => Some(MarkOutcome::Gone),
                (None, Some(Row { synced: true, .. })) => Some(MarkOutcome::AlreadySynced),
                (None, Some(Row { same_path: false, .. })) => Some(MarkOutcome::Changed),
                (None, Some(_)) => None,
            };
            match refusal {
                Some(refusal) => drop(outcomes.insert(&record.id, refusal)),
                None => good.push(record),
            }
        }
        mark_all(tx, schema, &good, at, &mut outcomes)?;
        let is_marked = |record: &&&SyncedRecord| outcomes.get(&record.id) == Some(&MarkOutcome::Marked);
        let marked: Vec<_> = good.iter().filter(is_marked).copied().collect();
        record_copies(tx, schema, &marked, at)?;
    }
    Ok(records.iter().map(|record| outcomes.get(&record.id).cloned().unwrap_or(MarkOutcome::LeaseLost)).collect())
}

/// A row as it stands, locked.
struct Row {
    synced: bool,
    same_path: bool,
}

/// Locks the rows of records, in one order for everybody.
fn lock(tx: &Tx<'_>, schema: &Schema, records: &[&SyncedRecord]) -> Result<HashMap<DocumentId, Row>, Fault> {
    let sql = "SELECT d.id::text, {synced}, coalesce(d.file_path = r.path, FALSE)
               FROM unnest($1::text[]::{T}[], $2::text[]) AS r (id, path) JOIN {documents} d ON d.id = r.id
               ORDER BY d.id FOR NO KEY UPDATE OF d";
    let values = [
        all_ids(schema, records.iter().map(|record| &record.id)),
        Value::texts(records.iter().map(|record| record.file_path.to_string_lossy())),
    ];
    let row = |row: &tokio_postgres::Row| {
        Ok((id_in(schema, row, 0)?, Row { synced: row.try_get(1)?, same_path: row.try_get(2)? }))
    };
    tx.query(sql, &values)?.iter().map(row).collect()
}

/// Sets marks together. Where one is refused they are set in halves, until only that one is left out.
fn mark_all<'a>(
    tx: &Tx<'_>,
    schema: &Schema,
    records: &[&'a SyncedRecord],
    at: DateTime<Utc>,
    outcomes: &mut HashMap<&'a DocumentId, MarkOutcome>,
) -> Result<(), Fault> {
    if records.is_empty() {
        return Ok(());
    }
    tx.batch("SAVEPOINT mark")?;
    let reason = match set(tx, schema, records, at) {
        Ok(None) => {
            tx.batch("RELEASE SAVEPOINT mark")?;
            outcomes.extend(records.iter().map(|record| (&record.id, MarkOutcome::Marked)));
            return Ok(());
        }
        Ok(Some(refusal)) => refusal,
        Err(fault) if fault.is_about_rows() => MarkOutcome::Refused(fault.words()),
        Err(fault) => return Err(fault),
    };
    tx.batch("ROLLBACK TO SAVEPOINT mark; RELEASE SAVEPOINT mark")?;
    if let [record] = records {
        outcomes.insert(&record.id, reason);
        return Ok(());
    }
    let (first, second) = records.split_at(records.len() / 2);
    mark_all(tx, schema, first, at, outcomes)?;
    mark_all(tx, schema, second, at, outcomes)
}

/// Sets marks; `Some`: not all of them stay, for this reason.
fn set(
    tx: &Tx<'_>,
    schema: &Schema,
    records: &[&SyncedRecord],
    at: DateTime<Utc>,
) -> Result<Option<MarkOutcome>, Fault> {
    let time = schema.time_parameter("synced_at", 2);
    let sql = format!(
        "UPDATE {{documents}} AS d SET synced_to_nas = TRUE, synced_at = {time}
         WHERE d.id = ANY($1::text[]::{{T}}[]) AND {{pending}}"
    );
    let ids = || id_list(schema, records.iter().map(|record| &record.id));
    tx.execute(&sql, &[ids(), Value::text(zoned(at))])?;
    // What the owner's constraints and triggers have to say is said now, and not when all is committed.
    tx.batch("SET CONSTRAINTS ALL IMMEDIATE")?;
    // A trigger may have had the last word.
    let sql = "SELECT d.id::text, {synced} FROM {documents} d WHERE d.id = ANY($1::text[]::{T}[])";
    let rows = tx.query(sql, &[ids()])?;
    let stay = rows.iter().map(|row| Ok((id_in(schema, row, 0)?, row.try_get(1)?)));
    let stay = stay.collect::<Result<HashMap<_, bool>, Fault>>()?;
    Ok(records.iter().find_map(|record| match stay.get(&record.id) {
        Some(true) => None,
        Some(false) => Some(MarkOutcome::Refused(SET_BACK.to_owned())),
        None => Some(MarkOutcome::Gone),
    }))
}

/// Writes down the copies of documents, in place of all that was remembered of them.
fn record_copies(tx: &Tx<'_>, schema: &Schema, records: &[&SyncedRecord], at: DateTime<Utc>) -> Result<(), Fault> {
    if records.is_empty() {
        return Ok(());
    }
    let sql = "INSERT INTO {nas_sync_documents}
                   (document_id, file_path, row_identity, attempts, last_attempt_at, remote_name, bytes, mtime_seconds,
                    mtime_nanoseconds, level, sha256)
               SELECT DISTINCT ON (d.id) d.id, d.file_path, {identity}, 0, $8::timestamptz, r.name, r.bytes, r.seconds,
                      r.nanoseconds, r.level, r.sha256
               FROM unnest($1::text[]::{T}[], $2::bytea[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bytea[], $7::text[])
                        AS r (id, name, bytes, seconds, nanoseconds, sha256, level)
               JOIN {documents} d ON d.id = r.id
               ON CONFLICT (document_id) DO UPDATE SET
                   file_path = excluded.file_path,
                   row_identity = excluded.row_identity,
                   attempts = 0,
                   last_error_kind = NULL,
                   last_error_text = NULL,
                   last_error_solution = NULL,
                   next_attempt_at = NULL,
                   failed_for_good = FALSE,
                   verified_at = NULL,
                   last_attempt_at = excluded.last_attempt_at,
                   remote_name = excluded.remote_name,
                   bytes = excluded.bytes,
                   mtime_seconds = excluded.mtime_seconds,
                   mtime_nanoseconds = excluded.mtime_nanoseconds,
                   level = excluded.level,
                   sha256 = excluded.sha256";
    let copies: Vec<(DocumentId, StoredCopy)> =
        records.iter().map(|record| (record.id.clone(), record.copy.clone())).collect();
    let mut values = history::parameters(schema, &copies);
    values.push(Value::texts(records.iter().map(|record| record.copy.level.as_str())));
    values.push(Value::time(at));
    tx.execute(sql, &values)?;
    let names: Vec<_> = records.iter().map(|record| (&record.id, record.copy.remote_name.as_slice())).collect();
    names::take(tx, schema, &names)?;
    names::give_up_others(tx, schema, &names, false)
}
