//! Documents one by one, as they stand: for people who look for one.
//!
//! Guarantees: a document's state is the one that the queue counts it under; rows are read until there are enough.

use chrono::{DateTime, Utc};
use rusqlite::types::ValueRef;
use rusqlite::{Row, params_from_iter};

use super::connection::SqliteStore;
use super::pending_index::{IS_SYNCED, pending_rows};
use super::queue;
use super::{documents, history, leases, values};
use crate::error::Result;
use crate::id::{DocumentId, UserId};
use crate::store::model::{Deferred, DocumentState, ListRequest, ListedDocument, Listing, Worker};
use crate::store::policy::{self, Deferral};
use crate::store::timestamp;

impl SqliteStore {
    /// Documents at a time, by descending id. Rows whose id makes no sense are left out. `worker` is who looks: a document
    /// of a worker that is dead by now is not being sent.
    pub fn list(&self, request: &ListRequest, now: DateTime<Utc>, worker: &Worker<'_>) -> Result<Listing> {
        self.read("list the documents of", |tx, table| {
            let dead = leases::dead(tx, worker)?;
            let (condition, parameters) = documents::condition(&request.selection);
            let (rows, among) = match request.state {
                None => (format!("{table} d"), String::from("1")),
                Some(DocumentState::Synced) => (format!("{table} d"), IS_SYNCED.to_owned()),
                Some(_) => (pending_rows(tx, table)?, format!("NOT {IS_SYNCED}")),
            };
            let mut statement = tx.prepare(&format!(
                "SELECT d.id, d.user_id, d.file_path, {}, {IS_SYNCED}, d.synced_at, l.fence,
                     s.last_error_kind, s.last_error_text, s.last_error_solution, s.attempts, s.failed_for_good,
                     s.next_attempt_at,
                     s.remote_name, s.bytes, s.mtime_seconds, s.mtime_nanoseconds, s.level, s.sha256
                 FROM {} WHERE {condition} AND {among} ORDER BY d.id DESC",
                if table.original_name { "d.original_name" } else { "NULL" },
                queue::with_memory(&rows, table),
            ))?;
            let mut rows = statement.query(params_from_iter(&parameters))?;
            let mut listing = Listing::default();
            while let Some(row) = rows.next()? {
                let Some(document) = read(row, &dead, now)?.filter(|document| request.wants(document)) else {
                    continue;
                };
                if listing.documents.len() == request.limit {
                    listing.more = true;
                    break;
                }
                listing.documents.push(document);
            }
            Ok(listing)
        })
    }
}

fn read(row: &Row<'_>, dead: &[i64], now: DateTime<Utc>) -> rusqlite::Result<Option<ListedDocument>> {
    let ValueRef::Integer(id) = row.get_ref(0)? else { return Ok(None) };
    let id = DocumentId::from(id);
    let path = documents::path_in(row.get_ref(2)?);
    let named = documents::text(row.get_ref(3)?);
    let is_synced: bool = row.get(4)?;
    let is_leased = values::integer(row, 6)?.is_some_and(|fence| !dead.contains(&fence));
    let deferral = if is_synced || is_leased { None } else { queue::read_deferral(row, 7, now)? };
    let synced_at = if is_synced { documents::text(row.get_ref(5)?) } else { None };
    Ok(Some(ListedDocument {
        user_id: match row.get_ref(1)? {
            ValueRef::Integer(user) => Some(UserId::from(user)),
            _ => None,
        },
        file: policy::file_name(named, path.as_deref()),
        path,
        state: policy::state(is_synced, deferral.as_ref()),
        sending: is_leased && !is_synced,
        copy: history::read_copy(row, 13)?,
        synced_at: synced_at.as_deref().and_then(timestamp::parse),
        deferred: deferral.map(|Deferral { failure, tries, next }| Deferred { id: id.clone(), failure, tries, next }),
        id,
    }))
}
