//! What a process that watches the database asks again and again.

use chrono::{DateTime, Utc};
use rusqlite::params_from_iter;

use super::connection::SqliteStore;
use super::documents::{self, IS_SYNCED};
use super::timestamp;
use crate::error::Result;
use crate::store::model::Selection;

impl SqliteStore {
    /// A number that differs from the last one exactly when another connection has changed the database meanwhile.
    /// Costs next to nothing.
    pub fn data_version(&self) -> Result<i64> {
        let read = || self.conn.query_row("PRAGMA data_version", [], |row| row.get(0));
        read().map_err(self.fault("look for changes in"))
    }

    /// When the oldest pending document of a selection that has not failed for good was registered; `None` where there
    /// is none, or no such column, or no time in it.
    pub fn oldest_pending(&self, selection: &Selection) -> Result<Option<DateTime<Utc>>> {
        if !self.columns.created_at {
            return Ok(None);
        }
        let (condition, values) = documents::condition(selection);
        let sql = format!(
            "SELECT MIN(d.created_at) FROM documents d
             LEFT JOIN nas_sync_documents s ON s.document_id = d.id AND {}
             WHERE {condition} AND NOT {IS_SYNCED} AND typeof(d.created_at) = 'text' AND s.failed_for_good IS NOT 1",
            self.columns.is_about()
        );
        let read = || self.conn.query_row(&sql, params_from_iter(&values), |row| row.get::<_, Option<String>>(0));
        let oldest = read().map_err(self.fault("read the pending documents of"))?;
        Ok(oldest.as_deref().and_then(timestamp::parse))
    }
}
