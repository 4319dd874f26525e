//! The queue: which pending documents may be sent now, which wait, and which have failed for good.
//!
//! Guarantees: every document that is not synced is in exactly one of these states: leased, waiting, failed for good,
//! or due. A wait that no policy could have set (the wall clock was put back) counts as over.

use chrono::{DateTime, Utc};
use rusqlite::types::Value;
use rusqlite::{Connection, Row, params, params_from_iter};

use super::connection::SqliteStore;
use super::documents;
use super::leases;
use super::pending_index::{self, IS_SYNCED, pending_rows};
use super::schema::{self, Table};
use super::values;
use crate::error::Result;
use crate::store::model::{BadRow, Claimed, Deferred, Document, Due, Failure, LONGEST_WAIT, Queue, Selection, Worker};
use crate::store::policy::{self, Deferral};
use crate::store::timestamp;

/// Pending rows and what is remembered about them.
fn tables(conn: &Connection, table: &Table) -> rusqlite::Result<String> {
    Ok(with_memory(&pending_rows(conn, table)?, table))
}

/// Rows and what is remembered about them, which counts only for the document and the path that the row has now.
pub(super) fn with_memory(rows: &str, table: &Table) -> String {
    format!(
        "{rows} LEFT JOIN nas_sync_documents s ON s.document_id = d.id AND {}
         LEFT JOIN nas_sync_leased l ON l.document_id = d.id",
        table.is_about()
    )
}

impl SqliteStore {
    /// Adds the index; `false`: it is there already. Others cannot write until it is made, which takes one look at each
    /// row.
    pub fn add_index(&mut self) -> Result<bool> {
        self.write("add an index to", |tx, table| {
            if pending_index::exists(tx, table)? {
                return Ok(false);
            }
            pending_index::create(tx, table)?;
            Ok(true)
        })
    }

    /// Leases pending documents to a worker: at most `most` of them, and a fair share when others work beside it.
    /// Leases of the dead are ended on the way.
    pub fn claim(&mut self, selection: &Selection, due: &Due, most: usize, worker: &Worker<'_>) -> Result<Claimed> {
        self.write("lease documents in", |tx, table| {
            let others = leases::end_dead_leases(tx, worker)?;
            let share = share(tx, table, selection, due, most as u64, others)?;
            let documents = claimable(tx, table, selection, due, share)?;
            if documents.is_empty() {
                return Ok(Claimed { fence: None, documents });
            }
            let fence = leases::next_fence(tx)?;
            tx.execute(
                "INSERT INTO nas_sync_leases (fence, clock, space, process, started, beat, beat_at)
                 VALUES (?1, ?2, ?3, ?4, ?5, 0, ?6)",
                params![
                    fence.0,
                    worker.holder.clock,
                    worker.holder.space,
                    worker.holder.process,
                    worker.holder.started.cast_signed(),
                    leases::millis(worker.now)
                ],
            )?;
            let mut lease = tx.prepare(
                // Two rows may have one id where the column is no primary key.
                "INSERT INTO nas_sync_leased (document_id, fence) VALUES (?1, ?2) ON CONFLICT DO NOTHING",
            )?;
            for row in &documents {
                let id = match row {
                    Ok(document) => Some(&document.id),
                    Err(bad) => bad.id.as_ref(),
                };
                if let Some(id) = id {
                    lease.execute((id, fence.0))?;
                }
            }
            Ok(Claimed { fence: Some(fence), documents })
        })
    }

    /// The queue of a selection at a time, and when the oldest of its documents that has not failed for good was
    /// registered; that is `None` where there is none, or no such column, or no time in it.
    ///
    /// `worker` is who looks: what a worker was sending that is dead by now is due.
    pub fn queue(
        &self,
        selection: &Selection,
        now: DateTime<Utc>,
        worker: &Worker<'_>,
    ) -> Result<(Queue, Option<DateTime<Utc>>)> {
        self.read("read the queue in", |tx, table| read_queue(tx, table, selection, now, worker))
    }

    /// What can never be leased of a selection: ids without a row, and rows whose id is no number.
    pub fn unusable(&self, selection: &Selection) -> Result<Vec<BadRow>> {
        self.read("read the queue in", |tx, table| {
            let unknown = documents::unknown_ids(tx, table, selection)?;
            let mut bad: Vec<BadRow> =
                unknown.into_iter().map(|id| policy::not_found(id, selection.user.as_ref())).collect();
            if schema::id_is_rowid(tx, table)? {
                return Ok(bad);
            }
            let (condition, values) = documents::condition(selection);
            let mut statement = tx.prepare(&format!(
                "SELECT {} FROM {} WHERE {condition} AND typeof(d.id) <> 'integer' AND NOT {IS_SYNCED} ORDER BY d.id",
                documents::select_list(table),
                pending_rows(tx, table)?
            ))?;
            let mut rows = statement.query(params_from_iter(&values))?;
            while let Some(row) = rows.next()? {
                bad.extend(documents::read(row)?.err());
            }
            Ok(bad)
        })
    }
}

fn read_queue(
    conn: &Connection,
    table: &Table,
    selection: &Selection,
    now: DateTime<Utc>,
    worker: &Worker<'_>,
) -> rusqlite::Result<(Queue, Option<DateTime<Utc>>)> {
    let dead = leases::dead(conn, worker)?;
    let (condition, values) = documents::condition(selection);
    let mut statement = conn.prepare(&format!(
        "SELECT d.id, l.fence, s.last_error_kind, s.last_error_text, s.last_error_solution, s.attempts, s.failed_for_good,
                s.next_attempt_at, {}
         FROM {} WHERE {condition} AND NOT {IS_SYNCED} ORDER BY d.id",
        if table.created_at { "d.created_at" } else { "NULL" },
        tables(conn, table)?
    ))?;
    let mut rows = statement.query(params_from_iter(&values))?;
    let (mut queue, mut oldest) = (Queue::default(), None);
    while let Some(row) = rows.next()? {
        if values::integer(row, 1)?.is_some_and(|fence| !dead.contains(&fence)) {
            queue.leased += 1;
        } else if let (Ok(id), Some(deferral)) = (row.get(0), read_deferral(row, 2, now)?) {
            let Deferral { failure, tries, next } = deferral;
            let deferred = Deferred { id, failure, tries, next };
            queue.deferred.push(deferred);
        } else {
            queue.due += 1;
        }
        if let Some(registered) = values::text(row, 8)?
            && !values::is_true(row, 6)?
            && oldest.as_ref().is_none_or(|oldest| registered < *oldest)
        {
            oldest = Some(registered);
        }
    }
    Ok((queue, oldest.as_deref().and_then(timestamp::parse)))
}

/// Six columns from the first one on: kind, text and solution of the last error, tries, whether it failed for good, the next try.
/// `None`: the document is due.
pub(super) fn read_deferral(row: &Row<'_>, first: usize, now: DateTime<Utc>) -> rusqlite::Result<Option<Deferral>> {
    let Some(kind) = values::text(row, first)? else {
        return Ok(None);
    };
    let (text, solution) = (values::text(row, first + 1)?.unwrap_or_default(), values::text(row, first + 2)?);
    let failure = Failure { kind, text, solution };
    let (tries, for_good) = (values::number(row, first + 3)?.unwrap_or(0), values::is_true(row, first + 4)?);
    let until = values::text(row, first + 5)?.as_deref().and_then(timestamp::parse);
    Ok(policy::deferral(failure, tries, for_good, until, now))
}

/// The condition on documents that may be leased, and its parameters.
fn condition(selection: &Selection, due: &Due) -> (String, Vec<Value>) {
    let (mut sql, mut values) = documents::condition(selection);
    sql.push_str(" AND typeof(d.id) = 'integer' AND l.fence IS NULL AND NOT ");
    sql.push_str(IS_SYNCED);
    if let Due::At(now) = due {
        sql.push_str(
            " AND NOT (s.document_id IS NOT NULL AND (s.failed_for_good
              OR (s.next_attempt_at IS NOT NULL AND s.next_attempt_at > ? AND s.next_attempt_at <= ?)))",
        );
        values.push(Value::Text(timestamp::format(*now)));
        values.push(Value::Text(timestamp::format(*now + LONGEST_WAIT)));
    }
    (sql, values)
}

/// How many documents at most a worker takes beside so many others.
fn share(
    conn: &Connection,
    table: &Table,
    selection: &Selection,
    due: &Due,
    most: u64,
    others: u64,
) -> rusqlite::Result<u64> {
    if others == 0 {
        return Ok(most);
    }
    let (condition, mut values) = condition(selection, due);
    // More than everybody may take need not be counted.
    values.push(limit(most.saturating_mul(others + 1)));
    let tables = tables(conn, table)?;
    let sql = format!("SELECT COUNT(*) FROM (SELECT 1 FROM {tables} WHERE {condition} LIMIT ?)");
    let free = conn.query_row(&sql, params_from_iter(&values), |row| row.get(0).map(i64::cast_unsigned))?;
    Ok(policy::share(free, most, others))
}

fn limit(most: u64) -> Value {
    Value::Integer(i64::try_from(most).unwrap_or(i64::MAX))
}

fn claimable(
    conn: &Connection,
    table: &Table,
    selection: &Selection,
    due: &Due,
    most: u64,
) -> rusqlite::Result<Vec<Result<Document, BadRow>>> {
    let (condition, mut values) = condition(selection, due);
    values.push(limit(most));
    let mut statement = conn.prepare(&format!(
        "SELECT {} FROM {} WHERE {condition} ORDER BY d.id LIMIT ?",
        documents::select_list(table),
        tables(conn, table)?
    ))?;
    let mut rows = statement.query(params_from_iter(&values))?;
    let mut documents = Vec::new();
    while let Some(row) = rows.next()? {
        documents.push(documents::read(row)?);
    }
    Ok(documents)
}
