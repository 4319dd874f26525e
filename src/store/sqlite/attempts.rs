//! What became of each document: the copy on the NAS, or the failure and its cause, and every attempt on the way.
//!
//! Guarantees: what is settled together is one commit; only the worker that holds a document's lease is believed; a
//! document becomes synced only if its row still is what was sent; a failure is recorded only for a document that is
//! still pending.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use chrono::{DateTime, Utc};
use rusqlite::{OptionalExtension, Transaction, params};

use super::connection::SqliteStore;
use super::documents::PathParameter;
use super::leases;
use super::names;
use super::pending_index::IS_SYNCED;
use super::schema::Table;
use crate::error::{ErrorKind, Result};
use crate::id::DocumentId;
use crate::proof::DurableBy;
use crate::store::model::{Attempt, AttemptEnd, FailedTry, Fence, MarkOutcome, NextTry, Settlement, SyncedRecord};
use crate::store::policy::{ATTEMPTS_OF_ALL, ATTEMPTS_OF_ONE, COPY, DELETED_AT_ONCE, SET_BACK, shortened};
use crate::store::timestamp;

impl SqliteStore {
    /// Records what became of documents and takes them out of the lease, in one commit; the outcomes are those of
    /// `synced`, in its order. Those that could not be marked stay under the lease until they are settled as failed.
    /// `at` goes into `synced_at`; `next` gives the next try of a document after so many failed.
    ///
    /// Each row is checked again under the write lock: it must still be leased, pending, and name the same file; and
    /// `is_still` says whether that file is the one that was sent. So an application that rewrites a file and then makes
    /// its row pending is always noticed: before the mark, or because its own change comes after it.
    pub fn settle(
        &mut self,
        fence: Fence,
        settlement: &Settlement,
        at: DateTime<Utc>,
        next: &dyn Fn(ErrorKind, u32) -> NextTry,
        is_still: &dyn Fn(&SyncedRecord) -> bool,
    ) -> Result<Vec<MarkOutcome>> {
        let now = timestamp::format(at);
        self.write("record what was sent in", |tx, table| {
            for attempt in &settlement.attempts {
                if !leases::is_held(tx, fence, &attempt.id)? {
                    doubt(tx, table, attempt)?;
                }
            }
            for failed in &settlement.failed {
                if leases::is_held(tx, fence, &failed.id)? {
                    record_failure(tx, table, failed, &now, next)?;
                    leases::let_go(tx, fence, &failed.id)?;
                }
            }
            let mark = |record: &SyncedRecord| {
                if !leases::is_held(tx, fence, &record.id)? {
                    return Ok(MarkOutcome::LeaseLost);
                }
                let outcome = if is_still(record) { mark(tx, table, record, &now)? } else { MarkOutcome::Rewritten };
                if matches!(outcome, MarkOutcome::Marked | MarkOutcome::AlreadySynced | MarkOutcome::Gone) {
                    leases::let_go(tx, fence, &record.id)?;
                }
                Ok(outcome)
            };
            let outcomes: Vec<MarkOutcome> = settlement.synced.iter().map(mark).collect::<rusqlite::Result<_>>()?;
            let unmarked: HashMap<&DocumentId, &MarkOutcome> =
                settlement.synced.iter().map(|record| &record.id).zip(&outcomes).collect();
            for attempt in &settlement.attempts {
                record_attempt(tx, attempt, unmarked.get(&attempt.id).copied())?;
            }
            forget_old_attempts(tx, &settlement.attempts)?;
            Ok(outcomes)
        })
    }
}

/// Writes an attempt down; as failed when the document was stored and could not be marked.
fn record_attempt(tx: &Transaction<'_>, attempt: &Attempt, outcome: Option<&MarkOutcome>) -> rusqlite::Result<()> {
    let end = match attempt.end {
        AttemptEnd::Synced if outcome.is_some_and(MarkOutcome::is_refusal) => "failed",
        AttemptEnd::Synced => "synced",
        AttemptEnd::Failed => "failed",
        AttemptEnd::Cut => "cut",
    };
    tx.prepare_cached(
        "INSERT INTO nas_sync_attempts
             (document_id, started_at, duration_ms, bytes, outcome, error_kind, error_text, durable_by)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
    )?
    .execute(params![
        attempt.id,
        timestamp::format(attempt.started),
        i64::try_from(attempt.took.as_millis()).unwrap_or(i64::MAX),
        i64::try_from(attempt.bytes).unwrap_or(i64::MAX),
        end,
        attempt.failure.as_ref().map(|(kind, _)| kind.as_str()),
        attempt.failure.as_ref().map(|(_, text)| shortened(text)),
        attempt.durable_by.map(DurableBy::as_str),
    ])?;
    Ok(())
}

/// Keeps the table of attempts within its bounds, after these were added.
fn forget_old_attempts(tx: &Transaction<'_>, added: &[Attempt]) -> rusqlite::Result<()> {
    if added.is_empty() {
        return Ok(());
    }
    let documents: HashSet<&DocumentId> = added.iter().map(|attempt| &attempt.id).collect();
    let mut of_one = tx.prepare_cached(
        "DELETE FROM nas_sync_attempts WHERE id IN (
             SELECT id FROM nas_sync_attempts WHERE document_id = ?1 ORDER BY id DESC LIMIT ?3 OFFSET ?2)",
    )?;
    for document in documents {
        of_one.execute(params![document, ATTEMPTS_OF_ONE, DELETED_AT_ONCE])?;
    }
    tx.prepare_cached(
        "DELETE FROM nas_sync_attempts WHERE id IN (
             SELECT id FROM nas_sync_attempts WHERE id <= (SELECT max(id) FROM nas_sync_attempts) - ?1
             ORDER BY id LIMIT ?2)",
    )?
    .execute((ATTEMPTS_OF_ALL, DELETED_AT_ONCE))?;
    Ok(())
}

/// Counts a failed try and says when the next one is. What is no longer pending, or no longer there, is passed over.
fn record_failure(
    tx: &Transaction<'_>,
    table: &Table,
    failed: &FailedTry,
    now: &str,
    next: &dyn Fn(ErrorKind, u32) -> NextTry,
) -> rusqlite::Result<()> {
    let tries: Option<u32> = tx
        .prepare_cached(&format!(
            "INSERT INTO nas_sync_documents
                 (document_id, file_path, row_identity, attempts, last_error_kind, last_error_text, last_error_solution,
                  last_attempt_at)
             SELECT d.id, d.file_path, {}, 1, ?2, ?3, ?4, ?5 FROM {table} d WHERE d.id = ?1 AND NOT {IS_SYNCED}
             ON CONFLICT (document_id) DO UPDATE SET
                 attempts = CASE WHEN file_path IS excluded.file_path AND typeof(attempts) = 'integer'
                     AND ifnull(row_identity = excluded.row_identity, 1) THEN min(max(attempts, 0), 1000000) ELSE 0 END + 1,
                 {},
                 file_path = excluded.file_path,
                 row_identity = excluded.row_identity,
                 last_error_kind = excluded.last_error_kind,
                 last_error_text = excluded.last_error_text,
                 last_error_solution = excluded.last_error_solution,
                 last_attempt_at = excluded.last_attempt_at
             RETURNING attempts",
            table.identity(),
            COPY.map(|column| format!(
                "{column} = CASE WHEN ifnull(row_identity = excluded.row_identity, 1) THEN {column} END"
            ))
            .join(", ")
        ))?
        .query_row(
            params![
                failed.id,
                failed.kind.as_str(),
                shortened(&failed.text),
                failed.solution.as_deref().map(shortened),
                now
            ],
            |row| row.get(0),
        )
        .optional()?;
    let Some(tries) = tries else { return Ok(()) };
    let (until, for_good) = match next(failed.kind, tries) {
        NextTry::At(time) => (Some(timestamp::format(time)), false),
        NextTry::Never => (None, true),
    };
    tx.prepare_cached(
        "UPDATE nas_sync_documents SET next_attempt_at = ?2, failed_for_good = ?3 WHERE document_id = ?1",
    )?
    .execute((&failed.id, until, for_good))?;
    Ok(())
}

/// A worker that lost its lease may have laid its bytes over those of the next one, also when nobody acknowledged them.
fn doubt(tx: &Transaction<'_>, table: &Table, attempt: &Attempt) -> rusqlite::Result<()> {
    let Some(sha256) = attempt.sha256 else { return Ok(()) };
    tx.prepare_cached(&format!(
        "UPDATE {table} AS d SET synced_to_nas = 0, synced_at = NULL
         WHERE d.id = ?1 AND {IS_SYNCED} AND EXISTS (
             SELECT 1 FROM nas_sync_documents s
             WHERE s.document_id = d.id AND s.remote_name = ?2 AND s.sha256 IS NOT ?3)"
    ))?
    .execute(params![attempt.id, attempt.remote_name, sha256])?;
    Ok(())
}

/// Marks a document. Where the mark is refused nothing of it stays, nor what a trigger did with it.
fn mark(tx: &Transaction<'_>, table: &Table, record: &SyncedRecord, at: &str) -> rusqlite::Result<MarkOutcome> {
    tx.prepare_cached("SAVEPOINT mark")?.execute([])?;
    let outcome = try_to_mark(tx, table, record, at)?;
    if matches!(outcome, MarkOutcome::Refused(_)) {
        tx.prepare_cached("ROLLBACK TO mark")?.execute([])?;
    }
    tx.prepare_cached("RELEASE mark")?.execute([])?;
    Ok(outcome)
}

fn try_to_mark(tx: &Transaction<'_>, table: &Table, record: &SyncedRecord, at: &str) -> rusqlite::Result<MarkOutcome> {
    let (id, copy) = (&record.id, &record.copy);
    if let Some(owner) = names::owner(tx, table, &copy.remote_name)?
        && owner != *id
    {
        return Ok(MarkOutcome::NameTaken(owner));
    }
    let changed = tx
        .prepare_cached(&format!(
            "UPDATE {table} AS d SET synced_to_nas = 1, synced_at = ?2
             WHERE d.id = ?1 AND NOT {IS_SYNCED} AND (d.file_path = ?3 COLLATE BINARY OR d.file_path = ?4)"
        ))?
        .execute(params![id, at, text_path(&record.file_path), blob_path(&record.file_path)]);
    match changed {
        Ok(0) => return why_unchanged(tx, table, record),
        Ok(_) => {}
        // Such a refusal undoes its own statement only, unless the trigger rolls everything back.
        Err(rusqlite::Error::SqliteFailure(error, reason))
            if error.code == rusqlite::ErrorCode::ConstraintViolation && !tx.is_autocommit() =>
        {
            return Ok(MarkOutcome::Refused(reason.unwrap_or_else(|| error.to_string())));
        }
        Err(error) => return Err(error),
    }
    // A trigger of the table's owner may have had the last word.
    match is_marked(tx, table, id)? {
        Some(true) => {}
        Some(false) => return Ok(MarkOutcome::Refused(SET_BACK.to_owned())),
        None => return Ok(MarkOutcome::Gone),
    }
    record_copy(tx, table, record, at)?;
    names::settle(tx, id, &copy.remote_name)?;
    Ok(MarkOutcome::Marked)
}

/// Writes down the copy of a document, in place of all that was remembered of it.
fn record_copy(tx: &Transaction<'_>, table: &Table, record: &SyncedRecord, at: &str) -> rusqlite::Result<usize> {
    let SyncedRecord { id, copy, .. } = record;
    tx.prepare_cached(&format!(
        "INSERT INTO nas_sync_documents
             (document_id, file_path, row_identity, attempts, last_attempt_at, remote_name, bytes, mtime_seconds,
              mtime_nanoseconds, level, sha256)
         SELECT d.id, d.file_path, {}, 0, ?2, ?3, ?4, ?5, ?6, ?7, ?8 FROM {table} d WHERE d.id = ?1
         ON CONFLICT (document_id) DO UPDATE SET
             file_path = excluded.file_path,
             row_identity = excluded.row_identity,
             attempts = 0,
             last_error_kind = NULL,
             last_error_text = NULL,
             last_error_solution = NULL,
             next_attempt_at = NULL,
             failed_for_good = 0,
             verified_at = NULL,
             last_attempt_at = excluded.last_attempt_at,
             remote_name = excluded.remote_name,
             bytes = excluded.bytes,
             mtime_seconds = excluded.mtime_seconds,
             mtime_nanoseconds = excluded.mtime_nanoseconds,
             level = excluded.level,
             sha256 = excluded.sha256",
        table.identity()
    ))?
    .execute(params![
        id,
        at,
        copy.remote_name,
        // No file system has files beyond i64::MAX bytes.
        i64::try_from(copy.bytes).unwrap_or(i64::MAX),
        copy.mtime.seconds,
        copy.mtime.nanoseconds,
        copy.level.as_str(),
        copy.sha256,
    ])
}

/// Whether a row is marked; `None` when it is gone.
fn is_marked(tx: &Transaction<'_>, table: &Table, id: &DocumentId) -> rusqlite::Result<Option<bool>> {
    tx.prepare_cached(&format!("SELECT {IS_SYNCED} FROM {table} d WHERE d.id = ?1"))?
        .query_row([id], |row| row.get(0))
        .optional()
}

fn why_unchanged(tx: &Transaction<'_>, table: &Table, record: &SyncedRecord) -> rusqlite::Result<MarkOutcome> {
    let names_the_same: Option<bool> = tx
        .prepare_cached(&format!(
            "SELECT d.file_path = ?2 COLLATE BINARY OR d.file_path = ?3 FROM {table} d WHERE d.id = ?1"
        ))?
        .query_row(params![record.id, text_path(&record.file_path), blob_path(&record.file_path)], |row| {
            row.get::<_, Option<bool>>(0).map(|same| same.unwrap_or(false))
        })
        .optional()?;
    Ok(match (is_marked(tx, table, &record.id)?, names_the_same) {
        (None, _) | (_, None) => MarkOutcome::Gone,
        (Some(true), _) => MarkOutcome::AlreadySynced,
        // All that was asked for is so, and yet nothing was changed.
        (Some(false), Some(true)) => MarkOutcome::Refused(SET_BACK.to_owned()),
        (Some(false), Some(false)) => MarkOutcome::Changed,
    })
}

fn text_path(path: &Path) -> PathParameter<'_> {
    PathParameter { path, as_blob: false }
}

fn blob_path(path: &Path) -> PathParameter<'_> {
    PathParameter { path, as_blob: true }
}
