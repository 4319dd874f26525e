//! The copies on the NAS as they were recorded, for those who compare them with what is there.

use std::path::PathBuf;

use chrono::{DateTime, Utc};
use rusqlite::{params, params_from_iter};

use super::documents::{IS_SYNCED, Selection};
use super::{DocumentId, Level, Store, StoredCopy, documents, history, timestamp};
use crate::error::Result;

/// A document that is synced, and its copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyncedCopy {
    /// Which.
    pub id: DocumentId,
    /// Its file, as stored in its row.
    pub file_path: PathBuf,
    /// Its copy as it was recorded; `None` when the document was synced by something that kept no record.
    pub copy: Option<StoredCopy>,
}

impl Store {
    /// The synced documents of a selection, by ascending id. Rows that make no sense are left out.
    pub fn synced_copies(&self, selection: &Selection) -> Result<Vec<SyncedCopy>> {
        let read = || {
            let (condition, values) = selection.condition();
            let mut statement = self.conn.prepare(&format!(
                "SELECT d.id, d.file_path, 0, 0, 0,
                        s.remote_name, s.bytes, s.mtime_seconds, s.mtime_nanoseconds, s.level, s.sha256
                 FROM documents d LEFT JOIN nas_sync_documents s
                      ON s.document_id = d.id AND s.file_path IS d.file_path
                 WHERE {condition} AND {IS_SYNCED} AND typeof(d.id) = 'integer' ORDER BY d.id"
            ))?;
            let mut rows = statement.query(params_from_iter(&values))?;
            let mut copies = Vec::new();
            while let Some(row) = rows.next()? {
                if let Some(file_path) = documents::path_in(row.get_ref(1)?) {
                    copies.push(SyncedCopy { id: DocumentId(row.get(0)?), file_path, copy: history::read_copy(row)? });
                }
            }
            Ok(copies)
        };
        read().map_err(self.fault("read the copies recorded in"))
    }

    /// Records that copies were read back and found equal, in one commit. A copy that survives a power cut becomes
    /// [`Level::Verified`]; of others only the time is kept.
    pub fn record_verified(&mut self, copies: &[(DocumentId, Vec<u8>)], at: DateTime<Utc>) -> Result<()> {
        let at = timestamp::format(at);
        self.write("record what was verified in", |tx, _| {
            let mut statement = tx.prepare(
                "UPDATE nas_sync_documents SET verified_at = ?3, level = CASE WHEN level = ?4 THEN ?5 ELSE level END
                 WHERE document_id = ?1 AND remote_name = ?2",
            )?;
            for (id, name) in copies {
                let (durable, verified) = (Level::Durable.as_str(), Level::Verified.as_str());
                statement.execute(params![id.0, name, at, durable, verified])?;
            }
            Ok(())
        })
    }

    /// Makes synced documents pending again if their copies are still the recorded ones, in one commit, and says how
    /// many became so.
    pub fn requeue(&mut self, copies: &[(DocumentId, Vec<u8>)]) -> Result<usize> {
        self.write("make documents pending again in", |tx, _| {
            let mut statement = tx.prepare(&format!(
                "UPDATE documents AS d SET synced_to_nas = 0, synced_at = NULL
                 WHERE d.id = ?1 AND {IS_SYNCED} AND EXISTS (
                     SELECT 1 FROM nas_sync_documents s WHERE s.document_id = d.id AND s.remote_name = ?2)"
            ))?;
            let mut requeued = 0;
            for (id, name) in copies {
                requeued += statement.execute(params![id.0, name])?;
            }
            Ok(requeued)
        })
    }
}
