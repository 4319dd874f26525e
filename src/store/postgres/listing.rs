//! Documents one by one, as they stand: for people who look for one.
//!
//! Guarantees: a document's state is the one that the queue counts it under; rows are read until there are enough.

use std::path::PathBuf;

use chrono::{DateTime, Utc};
use tokio_postgres::Row;

use super::documents;
use super::fault::Fault;
use super::schema::{PostgresStore, Schema};
use super::values::{Value, number, time};
use super::{history, leases, queue};
use crate::error::Result;
use crate::store::model::{Deferred, DocumentState, Failure, ListRequest, ListedDocument, Listing, Worker};
use crate::store::policy::{self, Deferral, optional, path_fault};
use crate::store::timestamp;

/// So many rows are read at once.
const AT_ONCE: usize = 500;

impl PostgresStore {
    /// Documents at a time, by descending id. Rows without an id are left out. `worker` is who looks: a document of a worker
    /// that is dead by now is not being sent.
    pub fn list(&mut self, request: &ListRequest, now: DateTime<Utc>, worker: &Worker<'_>) -> Result<Listing> {
        self.read("list the documents of", |tx, schema| {
            let (dead, _) = leases::dead(tx, worker)?;
            let mut values = vec![Value::integers(dead)];
            let condition = documents::condition(schema, &request.selection, &mut values)?;
            let among = match request.state {
                None => "TRUE",
                Some(DocumentState::Synced) => "{synced}",
                Some(_) => "{pending}",
            };
            let mut listing = Listing::default();
            let mut below = None;
            // Each part begins below the last row of the one before it.
            loop {
                let mut values = values.clone();
                let mut limit = String::new();
                if let Some(last) = &below {
                    values.push(Value::text(last));
                    limit = format!("AND d.id < ${}::text::{{T}}", values.len());
                }
                let sql = format!(
                    "SELECT {{copy}}, d.id::text, d.user_id::text, d.file_path::text, {{original_name}}, {{synced}}, {{synced_at}},
                            (l.fence IS NOT NULL AND l.fence <> ALL($1)), s.last_error_kind, s.last_error_text, s.attempts,
                            s.failed_for_good, {{next_attempt_at}}, s.last_error_solution
                     FROM {} WHERE {condition} AND {among} AND d.id IS NOT NULL {limit} ORDER BY d.id DESC LIMIT {AT_ONCE}",
                    queue::TABLES
                );
                let rows = tx.query(&sql, &values)?;
                for row in &rows {
                    let document = read(schema, row, now)?;
                    if !request.wants(&document) {
                        continue;
                    }
                    if listing.documents.len() == request.limit {
                        listing.more = true;
                        return Ok(listing);
                    }
                    listing.documents.push(document);
                }
                below = rows.last().map(|row| row.try_get::<_, String>(6)).transpose()?;
                if rows.len() < AT_ONCE {
                    return Ok(listing);
                }
            }
        })
    }
}

fn read(schema: &Schema, row: &Row, now: DateTime<Utc>) -> Result<ListedDocument, Fault> {
    let id = documents::id_in(schema, row, 6)?;
    let user: Option<String> = row.try_get(7)?;
    let path: Option<String> = row.try_get(8)?;
    let path = path.filter(|path| path_fault(path.as_bytes()).is_none()).map(PathBuf::from);
    let (is_synced, is_held): (bool, bool) = (row.try_get(10)?, row.try_get(12)?);
    let deferral = match row.try_get::<_, Option<String>>(13)? {
        Some(kind) if !is_synced && !is_held => {
            let text: Option<String> = row.try_get(14)?;
            let failure = Failure { kind, text: text.unwrap_or_default(), solution: row.try_get(18)? };
            let for_good = row.try_get::<_, Option<bool>>(16)?.unwrap_or(false);
            policy::deferral(failure, number(row, 15)?.unwrap_or(0), for_good, time(row, 17)?, now)
        }
        _ => None,
    };
    let synced_at: Option<String> = if is_synced { row.try_get(11)? } else { None };
    Ok(ListedDocument {
        user_id: user.map(|user| schema.users.read_user(user)),
        file: policy::file_name(optional(row.try_get(9)?), path.as_deref()),
        path,
        state: policy::state(is_synced, deferral.as_ref()),
        sending: is_held && !is_synced,
        copy: history::read_copy(row)?,
        synced_at: synced_at.as_deref().and_then(timestamp::parse),
        deferred: deferral.map(|Deferral { failure, tries, next }| Deferred { id: id.clone(), failure, tries, next }),
        id,
    })
}
