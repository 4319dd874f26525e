//! The copies on the NAS as they were recorded, for those who compare them with what is there.

use chrono::{DateTime, Utc};
use rusqlite::{params, params_from_iter};

use super::connection::SqliteStore;
use super::history::FORGET_FAILURES;
use super::pending_index::IS_SYNCED;
use super::{documents, history};
use crate::error::Result;
use crate::id::DocumentId;
use crate::proof::Level;
use crate::store::model::{Copies, Selection, StoredCopy, SyncedCopy};
use crate::store::timestamp;

/// Whether row `s` still describes this copy of this document: id, name, size, seconds, nanoseconds, SHA-256.
const IS_RECORDED: &str = "s.document_id = ?1 AND s.remote_name IS ?2 AND s.bytes IS ?3 AND s.mtime_seconds IS ?4
    AND s.mtime_nanoseconds IS ?5 AND s.sha256 IS ?6";

impl SqliteStore {
    /// The documents of a selection that have copies, by ascending id. Rows that make no sense are left out.
    pub fn copies(&self, selection: &Selection, of: Copies) -> Result<Vec<SyncedCopy>> {
        self.read("read the copies recorded in", |tx, table| {
            let (condition, values) = documents::condition(selection);
            let has_copy = match of {
                Copies::OfSynced => IS_SYNCED.to_owned(),
                Copies::OfPendingToo => {
                    format!("({IS_SYNCED} OR s.remote_name IS NOT NULL AND {})", table.is_same_document())
                }
            };
            let mut statement = tx.prepare(&format!(
                "SELECT d.id, d.file_path,
                        s.remote_name, s.bytes, s.mtime_seconds, s.mtime_nanoseconds, s.level, s.sha256
                 FROM {table} d LEFT JOIN nas_sync_documents s
                      ON s.document_id = d.id AND s.file_path IS d.file_path
                 WHERE {condition} AND {has_copy} AND typeof(d.id) = 'integer' ORDER BY d.id"
            ))?;
            let mut rows = statement.query(params_from_iter(&values))?;
            let mut copies = Vec::new();
            while let Some(row) = rows.next()? {
                if let Some(file_path) = documents::path_in(row.get_ref(1)?) {
                    copies.push(SyncedCopy { id: row.get(0)?, file_path, copy: history::read_copy(row, 2)? });
                }
            }
            Ok(copies)
        })
    }

    /// Records that copies were read back and found equal, in one commit. A copy that survives a power cut becomes
    /// [`Level::Verified`]; of others only the time is kept. Copies that are no longer the recorded ones are passed over.
    pub fn record_verified(&mut self, copies: &[(DocumentId, StoredCopy)], at: DateTime<Utc>) -> Result<()> {
        let at = timestamp::format(at);
        self.write("record what was verified in", |tx, _| {
            let mut statement = tx.prepare(&format!(
                "UPDATE nas_sync_documents AS s SET verified_at = ?7, level = CASE WHEN level = ?8 THEN ?9 ELSE level END
                 WHERE {IS_RECORDED}"
            ))?;
            let (durable, verified) = (Level::Durable.as_str(), Level::Verified.as_str());
            for (id, copy) in copies {
                let bytes = i64::try_from(copy.bytes).unwrap_or(i64::MAX);
                let (name, sha256) = (&copy.remote_name, copy.sha256);
                let (seconds, nanoseconds) = (copy.mtime.seconds, copy.mtime.nanoseconds);
                statement.execute(params![id, name, bytes, seconds, nanoseconds, sha256, at, durable, verified])?;
            }
            Ok(())
        })
    }

    /// Makes the synced documents of a selection pending again, as if they had never failed, in one commit, and says how many
    /// became so.
    pub fn resend(&mut self, selection: &Selection) -> Result<usize> {
        let (condition, values) = documents::condition(selection);
        self.write("make documents pending again in", |tx, table| {
            let sql = format!("{FORGET_FAILURES} (SELECT d.id FROM {table} d WHERE {condition} AND {IS_SYNCED})");
            tx.execute(&sql, params_from_iter(&values))?;
            let sql = format!(
                "UPDATE {table} AS d SET synced_to_nas = 0, synced_at = NULL WHERE {condition} AND {IS_SYNCED}"
            );
            tx.execute(&sql, params_from_iter(&values))
        })
    }

    /// Makes synced documents pending again if their copies are still the recorded ones, in one commit, and says how
    /// many became so.
    pub fn requeue(&mut self, copies: &[(DocumentId, StoredCopy)]) -> Result<usize> {
        self.write("make documents pending again in", |tx, table| {
            let mut statement = tx.prepare(&format!(
                "UPDATE {table} AS d SET synced_to_nas = 0, synced_at = NULL
                 WHERE d.id = ?1 AND {IS_SYNCED} AND EXISTS (
                     SELECT 1 FROM nas_sync_documents s WHERE {IS_RECORDED})"
            ))?;
            let mut requeued = 0;
            for (id, copy) in copies {
                let bytes = i64::try_from(copy.bytes).unwrap_or(i64::MAX);
                let (seconds, nanoseconds) = (copy.mtime.seconds, copy.mtime.nanoseconds);
                requeued +=
                    statement.execute(params![id, copy.remote_name, bytes, seconds, nanoseconds, copy.sha256])?;
            }
            Ok(requeued)
        })
    }
}
