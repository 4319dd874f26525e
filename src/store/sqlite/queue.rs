//! The queue: which pending documents may be sent now, which wait, and which have failed for good.
//!
//! Guarantees: every document that is not synced is in exactly one of these states: leased, waiting, failed for good,
//! or due. A wait that no policy could have set (the wall clock was put back) counts as over.

use chrono::{DateTime, Utc};
use rusqlite::types::Value;
use rusqlite::{Connection, Row, params_from_iter};

use super::connection::Store;
use super::documents::{self, IS_SYNCED};
use super::leases;
use super::schema::Columns;
use super::timestamp;
use crate::error::Result;
use crate::store::model::{BadRow, Deferred, Document, Due, Failure, LONGEST_WAIT, NextTry, Queue, Selection, Worker};

/// What is remembered counts only for the path that the row has now.
const TABLES: &str = "documents d LEFT JOIN nas_sync_documents s
    ON s.document_id = d.id AND s.file_path IS d.file_path
    LEFT JOIN nas_sync_leased l ON l.document_id = d.id";

impl Store {
    /// The queue of a selection at a time.
    ///
    /// `worker` is who looks: what a worker was sending that is dead by now is due.
    pub fn queue(&self, selection: &Selection, now: DateTime<Utc>, worker: &Worker<'_>) -> Result<Queue> {
        self.read_queue(selection, now, worker).map_err(self.fault("read the queue in"))
    }

    fn read_queue(&self, selection: &Selection, now: DateTime<Utc>, worker: &Worker<'_>) -> rusqlite::Result<Queue> {
        let dead = leases::dead(&self.conn, worker)?;
        let (condition, values) = documents::condition(selection);
        let mut statement = self.conn.prepare(&format!(
            "SELECT d.id, l.fence, s.last_error_kind, s.last_error_text, s.attempts, s.failed_for_good,
                    s.next_attempt_at
             FROM {TABLES} WHERE {condition} AND NOT {IS_SYNCED} ORDER BY d.id"
        ))?;
        let mut rows = statement.query(params_from_iter(&values))?;
        let mut queue = Queue::default();
        while let Some(row) = rows.next()? {
            if row.get::<_, Option<i64>>(1)?.is_some_and(|fence| !dead.contains(&fence)) {
                queue.leased += 1;
            } else if let Some(deferred) = read_deferred(row, now)? {
                queue.deferred.push(deferred);
            } else {
                queue.due += 1;
            }
        }
        Ok(queue)
    }

    /// What can never be leased of a selection: ids without a row, and rows whose id is no number.
    pub fn unusable(&self, selection: &Selection) -> Result<Vec<BadRow>> {
        let read = || {
            let unknown = documents::unknown_ids(&self.conn, selection)?;
            let mut bad: Vec<BadRow> =
                unknown.into_iter().map(|id| documents::not_found(id, selection.user.as_ref())).collect();
            let (condition, values) = documents::condition(selection);
            let mut statement = self.conn.prepare(&format!(
                "SELECT {} FROM documents d WHERE {condition} AND typeof(d.id) <> 'integer' AND NOT {IS_SYNCED}",
                documents::select_list(self.columns)
            ))?;
            let mut rows = statement.query(params_from_iter(&values))?;
            while let Some(row) = rows.next()? {
                bad.extend(documents::read(row)?.err());
            }
            Ok(bad)
        };
        read().map_err(self.fault("read the queue in"))
    }
}

fn read_deferred(row: &Row<'_>, now: DateTime<Utc>) -> rusqlite::Result<Option<Deferred>> {
    let (Ok(id), Some(kind)) = (row.get(0), row.get::<_, Option<String>>(2)?) else {
        return Ok(None);
    };
    let next = if row.get(5)? {
        NextTry::Never
    } else {
        let until = row.get::<_, Option<String>>(6)?.as_deref().and_then(timestamp::parse);
        match until.filter(|until| *until > now && *until <= now + LONGEST_WAIT) {
            Some(until) => NextTry::At(until),
            None => return Ok(None),
        }
    };
    let text = row.get::<_, Option<String>>(3)?.unwrap_or_default();
    Ok(Some(Deferred { id, failure: Failure { kind, text }, tries: row.get(4)?, next }))
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

pub(super) fn count_claimable(conn: &Connection, selection: &Selection, due: &Due) -> rusqlite::Result<u64> {
    let (condition, values) = condition(selection, due);
    let sql = format!("SELECT COUNT(*) FROM {TABLES} WHERE {condition}");
    conn.query_row(&sql, params_from_iter(&values), |row| row.get(0).map(i64::cast_unsigned))
}

pub(super) fn claimable(
    conn: &Connection,
    columns: Columns,
    selection: &Selection,
    due: &Due,
    most: u64,
) -> rusqlite::Result<Vec<Result<Document, BadRow>>> {
    let (condition, mut values) = condition(selection, due);
    values.push(Value::Integer(i64::try_from(most).unwrap_or(i64::MAX)));
    let mut statement = conn.prepare(&format!(
        "SELECT {} FROM {TABLES} WHERE {condition} ORDER BY d.id LIMIT ?",
        documents::select_list(columns)
    ))?;
    let mut rows = statement.query(params_from_iter(&values))?;
    let mut documents = Vec::new();
    while let Some(row) = rows.next()? {
        documents.push(documents::read(row)?);
    }
    Ok(documents)
}
