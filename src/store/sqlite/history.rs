//! What is remembered about one document, and forgetting its failures.

use rusqlite::{OptionalExtension, Row, params_from_iter};

use super::connection::Store;
use super::documents::{self, IS_SYNCED};
use super::timestamp;
use crate::error::Result;
use crate::id::DocumentId;
use crate::proof::Level;
use crate::store::model::{Failure, History, NextTry, Selection, StoredCopy};
use crate::wire::flist::Mtime;

impl Store {
    /// Forgets the failed tries, waits and final failures of a selection's pending documents, in one commit, and says
    /// of how many.
    pub fn forget_failures(&mut self, selection: &Selection) -> Result<usize> {
        let (condition, values) = documents::condition(selection);
        self.write("forget failures in", |tx, _| {
            tx.execute(
                &format!(
                    "UPDATE nas_sync_documents SET attempts = 0, last_error_kind = NULL, last_error_text = NULL,
                         next_attempt_at = NULL, failed_for_good = 0
                     WHERE (attempts > 0 OR last_error_kind IS NOT NULL) AND document_id IN
                         (SELECT d.id FROM documents d WHERE {condition} AND NOT {IS_SYNCED})"
                ),
                params_from_iter(&values),
            )
        })
    }

    /// What is remembered about a document; an empty history when nothing is.
    pub fn history(&self, id: DocumentId) -> Result<History> {
        let read = || {
            let mut statement = self.conn.prepare_cached(
                "SELECT s.file_path IS d.file_path, s.attempts, s.last_attempt_at, s.last_error_kind, s.last_error_text,
                        s.remote_name, s.bytes, s.mtime_seconds, s.mtime_nanoseconds, s.level, s.sha256,
                        s.failed_for_good, s.next_attempt_at
                 FROM nas_sync_documents s JOIN documents d ON d.id = s.document_id WHERE s.document_id = ?1",
            )?;
            statement.query_row([id], read_history).optional()
        };
        read().map(Option::unwrap_or_default).map_err(self.fault("read what is recorded in"))
    }
}

fn read_history(row: &Row<'_>) -> rusqlite::Result<History> {
    let mut history = History { copy: read_copy(row)?, ..History::default() };
    // What was recorded about another file, or about an earlier document of the same id, does not count.
    if row.get(0)? {
        history.attempts = row.get(1)?;
        history.last_attempt = row.get::<_, Option<String>>(2)?.as_deref().and_then(timestamp::parse);
        if let Some(kind) = row.get(3)? {
            history.last_failure = Some(Failure { kind, text: row.get::<_, Option<String>>(4)?.unwrap_or_default() });
        }
        history.next_try = if row.get(11)? {
            Some(NextTry::Never)
        } else {
            row.get::<_, Option<String>>(12)?.as_deref().and_then(timestamp::parse).map(NextTry::At)
        };
    }
    Ok(history)
}

/// Columns 5 to 10: name, size, both parts of the time, level, digest.
pub(super) fn read_copy(row: &Row<'_>) -> rusqlite::Result<Option<StoredCopy>> {
    let (name, level): (Option<Vec<u8>>, Option<String>) = (row.get(5)?, row.get(9)?);
    let (Some(remote_name), Some(level)) = (name, level.as_deref().and_then(Level::from_name)) else {
        return Ok(None);
    };
    Ok(Some(StoredCopy {
        remote_name,
        bytes: u64::try_from(row.get::<_, i64>(6)?).unwrap_or(0),
        mtime: Mtime { seconds: row.get(7)?, nanoseconds: row.get(8)? },
        level,
        sha256: row.get(10)?,
    }))
}
