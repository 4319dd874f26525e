//! What became of each document: the failure and its cause, and every attempt on the way.
//!
//! Guarantees: what is settled together is one commit, and costs the same number of statements however much it is; only the
//! worker that holds a document's lease is believed; a failure is recorded only for a document that is still pending.

use std::collections::HashMap;

use chrono::{DateTime, Utc};

use super::documents::{all_ids, id_in, id_list};
use super::fault::Fault;
use super::link::Tx;
use super::schema::{PostgresStore, Schema};
use super::values::{Value, capped, number, zoned};
use super::{leases, marks};
use crate::error::{ErrorKind, Result};
use crate::id::DocumentId;
use crate::proof::DurableBy;
use crate::store::model::{Attempt, AttemptEnd, FailedTry, Fence, MarkOutcome, NextTry, Settlement, SyncedRecord};
use crate::store::policy::{ATTEMPTS_OF_ALL, ATTEMPTS_OF_ONE, COPY, DELETED_AT_ONCE, shortened};

impl PostgresStore {
    /// Records what became of documents and takes them out of the lease, in one commit; the outcomes are those of
    /// `synced`, in its order. Those that could not be marked stay under the lease until they are settled as failed.
    /// `at` goes into `synced_at`; `next` gives the next try of a document after so many failed.
    ///
    /// Each row is looked at again under its lock: it must still be leased, pending, and name the same file; and
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
        let Settlement { synced, failed, attempts } = settlement;
        self.write("record what was sent in", |tx, schema| {
            let all = synced.iter().map(|record| &record.id);
            let all =
                all.chain(failed.iter().map(|failed| &failed.id)).chain(attempts.iter().map(|attempt| &attempt.id));
            let held = leases::hold(tx, schema, fence, all)?;
            doubt(tx, schema, attempts.iter().filter(|attempt| !held.contains(&attempt.id)))?;
            let failed: Vec<_> = failed.iter().filter(|failed| held.contains(&failed.id)).collect();
            record_failures(tx, schema, &failed, at, next)?;
            leases::let_go(tx, schema, fence, &failed.iter().map(|failed| &failed.id).collect::<Vec<_>>())?;
            let outcomes = marks::mark(tx, schema, synced, &held, at, is_still)?;
            let over = |outcome: &MarkOutcome| {
                matches!(outcome, MarkOutcome::Marked | MarkOutcome::AlreadySynced | MarkOutcome::Gone)
            };
            let done = synced.iter().zip(&outcomes).filter(|(_, outcome)| over(outcome)).map(|(record, _)| &record.id);
            leases::let_go(tx, schema, fence, &done.collect::<Vec<_>>())?;
            let outcome_of = synced.iter().map(|record| &record.id).zip(&outcomes).collect();
            record_attempts(tx, schema, attempts, &outcome_of)?;
            Ok(outcomes)
        })
    }
}

/// Writes attempts down; as failed when the document was stored and could not be marked. Keeps the table within its bounds.
fn record_attempts(
    tx: &Tx<'_>,
    schema: &Schema,
    attempts: &[Attempt],
    outcomes: &HashMap<&DocumentId, &MarkOutcome>,
) -> Result<(), Fault> {
    if attempts.is_empty() {
        return Ok(());
    }
    let end = |attempt: &Attempt| match attempt.end {
        AttemptEnd::Synced if outcomes.get(&attempt.id).is_some_and(|outcome| outcome.is_refusal()) => "failed",
        AttemptEnd::Synced => "synced",
        AttemptEnd::Failed => "failed",
        AttemptEnd::Cut => "cut",
    };
    let failures = || attempts.iter().map(|attempt| attempt.failure.as_ref());
    let sql = "INSERT INTO {nas_sync_attempts}
                   (document_id, started_at, duration_ms, bytes, outcome, error_kind, error_text, durable_by)
               SELECT * FROM unnest($1::text[]::{T}[], $2::text[]::timestamptz[], $3::bigint[], $4::bigint[], $5::text[],
                                    $6::text[], $7::text[], $8::text[])";
    let values = [
        all_ids(schema, attempts.iter().map(|attempt| &attempt.id)),
        Value::texts(attempts.iter().map(|attempt| zoned(attempt.started))),
        Value::integers(attempts.iter().map(|attempt| capped(attempt.took.as_millis()))),
        Value::integers(attempts.iter().map(|attempt| capped(attempt.bytes))),
        Value::texts(attempts.iter().map(end)),
        Value::maybe_texts(failures().map(|failure| failure.map(|(kind, _)| kind.as_str()))),
        Value::maybe_texts(failures().map(|failure| failure.map(|(_, text)| shortened(text)))),
        Value::maybe_texts(attempts.iter().map(|attempt| attempt.durable_by.map(DurableBy::as_str))),
    ];
    tx.execute(sql, &values)?;
    // Others that delete the same ones need not be waited for.
    let of_one = format!(
        "DELETE FROM {{nas_sync_attempts}} WHERE id IN (
             SELECT a.id FROM unnest($1::text[]::{{T}}[]) AS r (id) CROSS JOIN LATERAL (
                 SELECT id FROM {{nas_sync_attempts}} WHERE document_id = r.id ORDER BY id DESC
                 LIMIT {DELETED_AT_ONCE} OFFSET {ATTEMPTS_OF_ONE}) a)"
    );
    tx.execute(&of_one, &[id_list(schema, attempts.iter().map(|attempt| &attempt.id))])?;
    let of_all = format!(
        "DELETE FROM {{nas_sync_attempts}} WHERE id IN (
             SELECT id FROM {{nas_sync_attempts}} WHERE id <= (SELECT max(id) FROM {{nas_sync_attempts}}) - {ATTEMPTS_OF_ALL}
             ORDER BY id LIMIT {DELETED_AT_ONCE} FOR UPDATE SKIP LOCKED)"
    );
    tx.execute(&of_all, &[])?;
    Ok(())
}

/// Counts failed tries and says when the next ones are. What is no longer pending, or no longer there, is passed over.
fn record_failures(
    tx: &Tx<'_>,
    schema: &Schema,
    failed: &[&FailedTry],
    at: DateTime<Utc>,
    next: &dyn Fn(ErrorKind, u32) -> NextTry,
) -> Result<(), Fault> {
    // A statement may change a row once only: of two tries of one document the last one counts.
    let last: HashMap<&DocumentId, &FailedTry> = failed.iter().map(|failed| (&failed.id, *failed)).collect();
    if last.is_empty() {
        return Ok(());
    }
    let copy = COPY
        .map(|column| {
            format!("{column} = CASE WHEN coalesce(s.row_identity = excluded.row_identity, TRUE) THEN s.{column} END")
        })
        .join(", ");
    let sql = "INSERT INTO {nas_sync_documents} AS s
                   (document_id, file_path, row_identity, attempts, last_error_kind, last_error_text, last_error_solution,
                    last_attempt_at)
               SELECT DISTINCT ON (d.id) d.id, d.file_path, {identity}, 1, r.kind, r.text, r.solution, $5::timestamptz
               FROM unnest($1::text[]::{T}[], $2::text[], $3::text[], $4::text[]) AS r (id, kind, text, solution)
               JOIN {documents} d ON d.id = r.id WHERE {pending}
               ON CONFLICT (document_id) DO UPDATE SET
                   attempts = CASE WHEN s.file_path IS NOT DISTINCT FROM excluded.file_path
                       AND coalesce(s.row_identity = excluded.row_identity, TRUE)
                       THEN least(greatest(s.attempts, 0), 1000000) ELSE 0 END + 1,
                   {copy},
                   file_path = excluded.file_path,
                   row_identity = excluded.row_identity,
                   last_error_kind = excluded.last_error_kind,
                   last_error_text = excluded.last_error_text,
                   last_error_solution = excluded.last_error_solution,
                   last_attempt_at = excluded.last_attempt_at
               RETURNING document_id::text, attempts"
        .replace("{copy}", &copy);
    let values = [
        all_ids(schema, last.values().map(|failed| &failed.id)),
        Value::texts(last.values().map(|failed| failed.kind.as_str())),
        Value::texts(last.values().map(|failed| shortened(&failed.text))),
        Value::maybe_texts(last.values().map(|failed| failed.solution.as_deref().map(shortened))),
        Value::time(at),
    ];
    let (mut ids, mut until, mut for_good) = (Vec::new(), Vec::new(), Vec::new());
    for row in tx.query(&sql, &values)? {
        let (id, tries) = (id_in(schema, &row, 0)?, number(&row, 1)?.unwrap_or(u32::MAX));
        let Some(failed) = last.get(&id) else { continue };
        let (time, never) = match next(failed.kind, tries) {
            NextTry::At(time) => (Some(zoned(time)), false),
            NextTry::Never => (None, true),
        };
        ids.push(id);
        until.push(time);
        for_good.push(never);
    }
    let sql = "UPDATE {nas_sync_documents} AS s SET next_attempt_at = r.until, failed_for_good = r.for_good
               FROM unnest($1::text[]::{T}[], $2::text[]::timestamptz[], $3::boolean[]) AS r (id, until, for_good)
               WHERE s.document_id = r.id";
    tx.execute(sql, &[all_ids(schema, &ids), Value::maybe_texts(until), Value::Truths(for_good)])?;
    Ok(())
}

/// A worker that lost its lease may have laid its bytes over those of the next one, also when nobody acknowledged them.
fn doubt<'a>(tx: &Tx<'_>, schema: &Schema, attempts: impl Iterator<Item = &'a Attempt>) -> Result<(), Fault> {
    let doubted: Vec<_> = attempts.filter_map(|attempt| Some((attempt, attempt.sha256?))).collect();
    if doubted.is_empty() {
        return Ok(());
    }
    let sql = "UPDATE {documents} AS d SET synced_to_nas = FALSE, synced_at = NULL
               FROM unnest($1::text[]::{T}[], $2::bytea[], $3::bytea[]) AS r (id, name, sha256)
               JOIN {nas_sync_documents} s ON s.document_id = r.id AND s.remote_name = r.name
                   AND s.sha256 IS DISTINCT FROM r.sha256
               WHERE d.id = r.id AND {synced}";
    let values = [
        all_ids(schema, doubted.iter().map(|(attempt, _)| &attempt.id)),
        Value::blobs(doubted.iter().map(|(attempt, _)| attempt.remote_name.clone())),
        Value::blobs(doubted.iter().map(|(_, sha256)| *sha256)),
    ];
    tx.execute(sql, &values)?;
    Ok(())
}
