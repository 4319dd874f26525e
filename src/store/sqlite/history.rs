//! What is remembered about one document, and forgetting its failures.

use rusqlite::types::ValueRef;
use rusqlite::{OptionalExtension, Row, params_from_iter};

use super::connection::SqliteStore;
use super::documents::{self, IS_SYNCED};
use super::{timestamp, values};
use crate::error::Result;
use crate::id::DocumentId;
use crate::proof::Level;
use crate::store::model::{Failure, History, NextTry, Selection, StoredCopy};
use crate::wire::flist::Mtime;

impl SqliteStore {
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

    /// Forgets what is remembered about documents whose rows are gone: their ids may be given to others.
    pub fn forget_gone(&mut self) -> Result<()> {
        const GONE: &str = "document_id NOT IN (SELECT d.id FROM documents d)";
        let tables = ["nas_sync_documents", "nas_sync_names"];
        // The usual case takes no lock.
        let any = tables.map(|table| format!("EXISTS (SELECT 1 FROM {table} WHERE {GONE})")).join(" OR ");
        let is_any = self.conn.query_row(&format!("SELECT {any}"), [], |row| row.get(0));
        if !is_any.map_err(self.fault("read what is recorded in"))? {
            return Ok(());
        }
        self.write("forget deleted documents in", |tx, _| {
            tables.iter().try_for_each(|table| tx.execute(&format!("DELETE FROM {table} WHERE {GONE}"), []).map(drop))
        })
    }

    /// What is remembered about a document; an empty history when nothing is.
    pub fn history(&self, id: DocumentId) -> Result<History> {
        let read = || {
            let mut statement = self.conn.prepare_cached(&format!(
                "SELECT s.file_path IS d.file_path, s.attempts, s.last_attempt_at, s.last_error_kind, s.last_error_text,
                        s.remote_name, s.bytes, s.mtime_seconds, s.mtime_nanoseconds, s.level, s.sha256,
                        s.failed_for_good, s.next_attempt_at
                 FROM nas_sync_documents s JOIN documents d ON d.id = s.document_id
                 WHERE s.document_id = ?1 AND {}",
                self.columns.is_same_document()
            ))?;
            statement.query_row([id], read_history).optional()
        };
        read().map(Option::unwrap_or_default).map_err(self.fault("read what is recorded in"))
    }
}

fn read_history(row: &Row<'_>) -> rusqlite::Result<History> {
    let mut history = History { copy: read_copy(row)?, ..History::default() };
    // What was recorded about another file does not count.
    if row.get(0)? {
        history.attempts = values::number(row, 1)?.unwrap_or(0);
        history.last_attempt = values::text(row, 2)?.as_deref().and_then(timestamp::parse);
        if let Some(kind) = values::text(row, 3)? {
            history.last_failure = Some(Failure { kind, text: values::text(row, 4)?.unwrap_or_default() });
        }
        history.next_try = if values::is_true(row, 11)? {
            Some(NextTry::Never)
        } else {
            values::text(row, 12)?.as_deref().and_then(timestamp::parse).map(NextTry::At)
        };
    }
    Ok(history)
}

/// Columns 5 to 10: name, size, both parts of the time, level, digest. `None` also when one of them makes no sense: then
/// nothing is known about the copy.
pub(super) fn read_copy(row: &Row<'_>) -> rusqlite::Result<Option<StoredCopy>> {
    let (name, level) = (values::blob(row, 5)?, values::text(row, 9)?);
    let (bytes, seconds, nanoseconds) = (values::number(row, 6)?, values::integer(row, 7)?, values::number(row, 8)?);
    let sha256 = match row.get_ref(10)? {
        ValueRef::Null => Some(None),
        ValueRef::Blob(digest) => digest.try_into().ok().map(Some),
        _ => None,
    };
    let copy = || {
        Some(StoredCopy {
            remote_name: name?,
            bytes: bytes?,
            mtime: Mtime {
                seconds: seconds?,
                nanoseconds: nanoseconds.filter(|nanoseconds| *nanoseconds < 1_000_000_000)?,
            },
            level: Level::from_name(&level?)?,
            sha256: sha256?,
        })
    };
    Ok(copy())
}
