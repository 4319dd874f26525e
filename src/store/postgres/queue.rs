//! The queue: which pending documents may be sent now, which wait, and which have failed for good.
//!
//! Guarantees: every document that is not synced is in exactly one of these states: leased, waiting, failed for good,
//! or due. A claim takes what nobody holds, and waits for the rest only when that is all there is.

use std::collections::HashSet;

use chrono::{DateTime, Utc};

use super::documents::{self, id_in, id_list};
use super::fault::Fault;
use super::leases;
use super::link::{Part, Tx};
use super::schema::{PostgresStore, Schema};
use super::values::{Value, capped, count, micros, number, time, zoned};
use crate::error::Result;
use crate::id::{DocumentId, UserId};
use crate::store::model::{
    BadRow, Claimed, Deferred, Document, Due, Failure, Fence, LONGEST_WAIT, Queue, Selection, SyncStats, Worker,
};
use crate::store::policy::{self, Deferral};
use crate::store::timestamp;

/// Pending rows and what is remembered about them, which counts only for the document and the path that the row has now.
pub(super) const TABLES: &str = "{documents} d LEFT JOIN {nas_sync_documents} s ON s.document_id = d.id AND {about}
     LEFT JOIN {nas_sync_leased} l ON l.document_id = d.id";
/// The same without what is leased.
const FREE: &str = "{documents} d LEFT JOIN {nas_sync_documents} s ON s.document_id = d.id AND {about}";

impl PostgresStore {
    /// Leases pending documents to a worker: at most `most` of them, and a fair share when others work beside it, a [`Part`]
    /// in one commit. Leases of the dead are ended on the way.
    pub fn claim(&mut self, selection: &Selection, due: &Due, most: usize, worker: &Worker<'_>) -> Result<Claimed> {
        let (doing, mut part) = ("lease documents in", Part::default());
        let (mut claimed, mut room, mut is_all) = self.write(doing, |tx, schema| {
            let others = leases::end_dead(tx, worker)?;
            let share = share(tx, schema, selection, due, most as u64, others)?;
            let asked = share.min(part.size() as u64);
            let claimed = begin(tx, schema, selection, due, asked, worker)?;
            let leased = claimed.documents.len() as u64;
            Ok((claimed, share - leased, leased < asked))
        })?;
        let Some(fence) = claimed.fence else { return Ok(claimed) };
        while room > 0 && !is_all {
            part.begin();
            let more = self.write(doing, |tx, schema| {
                let asked = room.min(part.size() as u64);
                let rows = free(tx, schema, selection, due, asked, Held::PassedOver)?;
                let is_all = (rows.len() as u64) < asked;
                Ok((put_under(tx, schema, fence, rows)?, is_all))
            });
            match more {
                Ok((more, last)) => {
                    room -= more.len() as u64;
                    is_all = last;
                    claimed.documents.extend(more);
                }
                // What is leased by then is to be sent.
                Err(error) => {
                    tracing::warn!("only {} documents are leased: {error}", claimed.documents.len());
                    break;
                }
            }
        }
        Ok(claimed)
    }

    /// The queue of a selection at a time, and when the oldest of its documents that has not failed for good was
    /// registered; that is `None` where there is none, or no such column, or no time in it.
    ///
    /// `worker` is who looks: what a worker was sending that is dead by now is due.
    pub fn queue(
        &mut self,
        selection: &Selection,
        now: DateTime<Utc>,
        worker: &Worker<'_>,
    ) -> Result<(Queue, Option<DateTime<Utc>>)> {
        self.read("read the queue in", |tx, schema| {
            let (dead, _) = leases::dead(tx, worker)?;
            let mut values = vec![Value::integers(dead)];
            let condition = documents::condition(schema, selection, &mut values)?;
            let is_leased = "(l.fence IS NOT NULL AND l.fence <> ALL($1))";
            let counts = format!(
                "SELECT count(*), count(*) FILTER (WHERE {is_leased}),
                        min({{created}}) FILTER (WHERE NOT coalesce(s.failed_for_good, FALSE))
                 FROM {TABLES} WHERE {condition} AND {{pending}}"
            );
            let row = tx.one(&counts, &values)?;
            let (pending, leased) = (count(&row, 0)?, count(&row, 1)?);
            let oldest: Option<String> = row.try_get(2)?;
            let failed = format!(
                "SELECT d.id::text, s.last_error_kind, s.last_error_text, s.attempts, s.failed_for_good, {{next_attempt_at}},
                        s.last_error_solution
                 FROM {TABLES} WHERE {condition} AND {{pending}} AND NOT {is_leased} AND s.last_error_kind IS NOT NULL
                     AND (s.failed_for_good OR s.next_attempt_at IS NOT NULL) ORDER BY d.id"
            );
            let mut deferred = Vec::new();
            for row in tx.query(&failed, &values)? {
                let text: Option<String> = row.try_get(2)?;
                let failure = Failure { kind: row.try_get(1)?, text: text.unwrap_or_default(), solution: row.try_get(6)? };
                let tries = number(&row, 3)?.unwrap_or(0);
                let deferral = policy::deferral(failure, tries, row.try_get(4)?, time(&row, 5)?, now);
                if let Some(Deferral { failure, tries, next }) = deferral {
                    deferred.push(Deferred { id: id_in(schema, &row, 0)?, failure, tries, next });
                }
            }
            let due = pending.saturating_sub(leased + deferred.len() as u64);
            Ok((Queue { due, leased, deferred }, oldest.as_deref().and_then(timestamp::parse)))
        })
    }

    /// Statistics of one user, or of all.
    pub fn stats(&mut self, user: Option<UserId>) -> Result<SyncStats> {
        let selection = user.map_or_else(Selection::all, Selection::of_user);
        self.read("count the documents of", |tx, schema| {
            let mut values = Vec::new();
            let condition = documents::condition(schema, &selection, &mut values)?;
            // One look at each row, at nothing beside it. Nobody keeps the sums: triggers would, and do not see all that others do.
            let sql = format!(
                "SELECT d.total, d.synced, {{synced_at}} FROM (
                     SELECT count(*) AS total, count(*) FILTER (WHERE {{synced}}) AS synced,
                            max(d.synced_at) FILTER (WHERE {{synced}} AND isfinite(d.synced_at)) AS synced_at
                     FROM {{documents}} d WHERE {condition}) d"
            );
            let row = tx.one(&sql, &values)?;
            let last: Option<String> = row.try_get(2)?;
            let last = last.as_deref().and_then(timestamp::parse);
            let sql = format!(
                "SELECT count(*) FROM {FREE} WHERE {condition} AND {{pending}} AND s.last_error_kind IS NOT NULL"
            );
            let failed = count(&tx.one(&sql, &values)?, 0)?;
            // A document that is pending again was synced all the same.
            values.push(Value::Text(last.map(zoned)));
            let sql = format!(
                "SELECT {} FROM (SELECT max(a.started_at) AS at FROM {{nas_sync_attempts}} a JOIN {{documents}} d
                     ON d.id = a.document_id
                     WHERE {condition} AND a.outcome = 'synced' AND coalesce(a.started_at > ${}::timestamptz, TRUE)) s",
                micros("s.at"),
                values.len()
            );
            let attempt = time(&tx.one(&sql, &values)?, 0)?;
            Ok(policy::stats(count(&row, 0)?, count(&row, 1)?, failed, last.max(attempt)))
        })
    }
}

/// The condition on documents that may be leased.
fn claimable(schema: &Schema, selection: &Selection, due: &Due, values: &mut Vec<Value>) -> Result<String> {
    let mut sql = documents::condition(schema, selection, values)?;
    sql.push_str(
        " AND d.id IS NOT NULL AND {pending}
          AND NOT EXISTS (SELECT 1 FROM {nas_sync_leased} l WHERE l.document_id = d.id)",
    );
    if let Due::At(now) = due {
        values.push(Value::time(*now));
        values.push(Value::time(*now + LONGEST_WAIT));
        let (now, longest) = (values.len() - 1, values.len());
        let due = format!(
            " AND (s.document_id IS NULL OR NOT (s.failed_for_good OR (s.next_attempt_at IS NOT NULL
               AND s.next_attempt_at > ${now}::timestamptz AND s.next_attempt_at <= ${longest}::timestamptz)))"
        );
        sql.push_str(&due);
    }
    Ok(sql)
}

/// Makes a lease of up to so many free documents, unless there are none.
fn begin(
    tx: &Tx<'_>,
    schema: &Schema,
    selection: &Selection,
    due: &Due,
    most: u64,
    worker: &Worker<'_>,
) -> Result<Claimed, Fault> {
    let (mut fence, mut held) = (None, Held::PassedOver);
    loop {
        let rows = free(tx, schema, selection, due, most, held)?;
        if rows.is_empty() && held == Held::PassedOver {
            // Rows that somebody holds may be free in a moment, or leased to others.
            held = Held::WaitedFor;
            continue;
        }
        if rows.is_empty() {
            if let Some(fence) = fence {
                leases::end(tx, fence)?;
            }
            return Ok(Claimed { fence: None, documents: rows });
        }
        let fence = match fence {
            Some(fence) => fence,
            None => *fence.insert(leases::begin(tx, worker.holder)?),
        };
        let documents = put_under(tx, schema, fence, rows)?;
        // If what was seen as free belonged to others by then, there may be more.
        if !documents.is_empty() {
            return Ok(Claimed { fence: Some(fence), documents });
        }
    }
}

/// How many documents at most a worker takes beside so many others.
fn share(tx: &Tx<'_>, schema: &Schema, selection: &Selection, due: &Due, most: u64, others: u64) -> Result<u64, Fault> {
    if others == 0 {
        return Ok(most);
    }
    let mut values = Vec::new();
    let condition = claimable(schema, selection, due, &mut values)?;
    // More than everybody may take need not be counted.
    values.push(Value::integer(capped(most.saturating_mul(others + 1))));
    let sql = format!("SELECT count(*) FROM (SELECT 1 FROM {FREE} WHERE {condition} LIMIT ${}) free", values.len());
    Ok(policy::share(count(&tx.one(&sql, &values)?, 0)?, most, others))
}

/// What becomes of rows that another transaction holds: an application's, or that of a worker that takes them now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Held {
    PassedOver,
    WaitedFor,
}

/// Up to so many free documents, whose rows nobody else can change until the transaction ends.
fn free(
    tx: &Tx<'_>,
    schema: &Schema,
    selection: &Selection,
    due: &Due,
    most: u64,
    held: Held,
) -> Result<Vec<Result<Document, BadRow>>, Fault> {
    let mut values = Vec::new();
    let condition = claimable(schema, selection, due, &mut values)?;
    values.push(Value::integer(capped(most)));
    let how = match held {
        Held::PassedOver => "SKIP LOCKED",
        Held::WaitedFor => "",
    };
    // The lock gives the rows as they are now.
    let sql = format!(
        "SELECT {{row}} FROM {FREE} WHERE {condition} ORDER BY d.id LIMIT ${} FOR NO KEY UPDATE OF d {how}",
        values.len()
    );
    tx.query(&sql, &values)?.iter().map(|row| documents::read(schema, row)).collect()
}

/// Puts documents under a lease, and gives those that are under it then: a worker that was a moment faster may have leased
/// one and let go of its row already.
fn put_under(
    tx: &Tx<'_>,
    schema: &Schema,
    fence: Fence,
    rows: Vec<Result<Document, BadRow>>,
) -> Result<Vec<Result<Document, BadRow>>, Fault> {
    let sql = "INSERT INTO {nas_sync_leased} (document_id, fence)
               SELECT DISTINCT id, $2 FROM unnest($1::text[]::{T}[]) AS taken (id)
               ON CONFLICT DO NOTHING RETURNING document_id::text";
    let values = [id_list(schema, rows.iter().filter_map(id_of)), Value::integer(fence.0)];
    let ours = tx.query(sql, &values)?.iter().map(|row| id_in(schema, row, 0)).collect::<Result<HashSet<_>, _>>()?;
    Ok(rows.into_iter().filter(|row| id_of(row).is_some_and(|id| ours.contains(id))).collect())
}

fn id_of(row: &Result<Document, BadRow>) -> Option<&DocumentId> {
    row.as_ref().map_or_else(|bad| bad.id.as_ref(), |document| Some(&document.id))
}
