//! Statistics of the documents, from one statement and so from one state of the database.

use rusqlite::params_from_iter;
use rusqlite::types::ValueRef;

use super::connection::SqliteStore;
use super::documents;
use super::pending_index::IS_SYNCED;
use crate::error::Result;
use crate::id::UserId;
use crate::store::model::{Selection, SyncStats};
use crate::store::{policy, timestamp};

impl SqliteStore {
    /// Statistics of one user, or of all.
    pub fn stats(&self, user: Option<UserId>) -> Result<SyncStats> {
        self.count(&user.map_or_else(Selection::all, Selection::of_user)).map_err(self.fault("count the documents of"))
    }

    fn count(&self, selection: &Selection) -> rusqlite::Result<SyncStats> {
        let (condition, values) = documents::condition(selection);
        let table = &self.table;
        let mut statement = self.conn.prepare(&format!(
            "SELECT CASE WHEN {IS_SYNCED} THEN NULL ELSE EXISTS (
                 SELECT 1 FROM nas_sync_documents s
                 WHERE s.document_id = d.id AND s.last_error_kind IS NOT NULL AND {}) END, d.synced_at
             FROM {table} d WHERE {condition}",
            table.is_about()
        ))?;
        let mut rows = statement.query(params_from_iter(&values))?;
        let (mut total, mut synced, mut failed, mut last_sync) = (0, 0, 0, None);
        while let Some(row) = rows.next()? {
            total += 1;
            let has_failed: Option<bool> = row.get(0)?;
            if let Some(has_failed) = has_failed {
                failed += u64::from(has_failed);
                continue;
            }
            synced += 1;
            let time = match row.get_ref(1)? {
                ValueRef::Text(text) => str::from_utf8(text).ok().and_then(timestamp::parse),
                _ => None,
            };
            last_sync = last_sync.max(time);
        }
        // A document that is pending again was synced all the same.
        let sql = format!(
            "SELECT max(a.started_at) FROM nas_sync_attempts a JOIN {table} d ON d.id = a.document_id
             WHERE {condition} AND a.outcome = 'synced'"
        );
        let attempt: Option<String> = self.conn.query_row(&sql, params_from_iter(&values), |row| row.get(0))?;
        last_sync = last_sync.max(attempt.as_deref().and_then(timestamp::parse));
        Ok(policy::stats(total, synced, failed, last_sync))
    }
}
