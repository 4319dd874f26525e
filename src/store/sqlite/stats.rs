//! Statistics of the documents, from one statement and so from one state of the database.

use rusqlite::params_from_iter;
use rusqlite::types::ValueRef;

use super::connection::SqliteStore;
use super::documents;
use super::pending_index::IS_SYNCED;
use super::timestamp;
use crate::error::Result;
use crate::id::UserId;
use crate::store::model::{Selection, SyncStats};

impl SqliteStore {
    /// Statistics of one user, or of all.
    pub fn stats(&self, user: Option<UserId>) -> Result<SyncStats> {
        self.count(&user.map_or_else(Selection::all, Selection::of_user)).map_err(self.fault("count the documents of"))
    }

    fn count(&self, selection: &Selection) -> rusqlite::Result<SyncStats> {
        let (condition, values) = documents::condition(selection);
        let mut statement = self.conn.prepare(&format!(
            "SELECT CASE WHEN {IS_SYNCED} THEN NULL ELSE EXISTS (
                 SELECT 1 FROM nas_sync_documents s
                 WHERE s.document_id = d.id AND s.last_error_kind IS NOT NULL AND {}) END, d.synced_at
             FROM documents d WHERE {condition}",
            self.columns.is_about()
        ))?;
        let mut rows = statement.query(params_from_iter(&values))?;
        let mut stats = SyncStats::default();
        while let Some(row) = rows.next()? {
            stats.total_documents += 1;
            let has_failed: Option<bool> = row.get(0)?;
            if let Some(has_failed) = has_failed {
                stats.failed += u64::from(has_failed);
                continue;
            }
            stats.synced += 1;
            let time = match row.get_ref(1)? {
                ValueRef::Text(text) => str::from_utf8(text).ok().and_then(timestamp::parse),
                _ => None,
            };
            stats.last_sync = stats.last_sync.max(time);
        }
        stats.pending = stats.total_documents - stats.synced;
        stats.sync_percentage = percentage(stats.synced, stats.total_documents);
        Ok(stats)
    }
}

/// `part` of `total` in percent, rounded to one decimal; 0 of nothing is 0.
fn percentage(part: u64, total: u64) -> f64 {
    if total == 0 {
        return 0.0;
    }
    let (part, total) = (u128::from(part), u128::from(total));
    let tenths = (part * 2000 + total) / (total * 2);
    // At most 1000, because a part is not more than its whole.
    f64::from(u16::try_from(tenths).unwrap_or(1000)) / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentages_have_one_decimal() {
        let tenths = |part, total| (percentage(part, total) * 10.0).round();
        assert_eq!(format!("{}", percentage(142, 150)), "94.7");
        assert_eq!(format!("{}", percentage(1, 3)), "33.3");
        assert_eq!(format!("{}", percentage(2, 3)), "66.7");
        assert!(tenths(0, 0).abs() < 0.5);
        assert!((tenths(u64::MAX, u64::MAX) - 1000.0).abs() < 0.5);
    }
}
