//! What became of each document: the copy on the NAS, or the failure and its cause.
//!
//! Guarantees: a batch is one commit; a document becomes synced only if its row still is what was sent; a failure is
//! recorded only for a document that is still pending, so that a slow process cannot undo another's success.

use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};
use rusqlite::{OptionalExtension, Row, Transaction, params, params_from_iter};

use super::documents::{IS_SYNCED, PathParameter};
use super::{DocumentId, Selection, Store, names, timestamp};
use crate::error::{ErrorKind, Result};

/// The longest cause that is kept, in bytes.
const TEXT_LIMIT: usize = 2048;

/// What is proved about a copy on the NAS; each level includes the ones before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// The session that sent it ended well.
    Sent,
    /// The NAS acknowledged it: checksum matched, renamed into place.
    Stored,
    /// And it survives a power cut of the NAS.
    Durable,
    /// And it was read back and compared.
    Verified,
}

impl Level {
    /// All levels, lowest first.
    pub const ALL: [Self; 4] = [Self::Sent, Self::Stored, Self::Durable, Self::Verified];

    /// The name used in the configuration, in JSON and in the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sent => "sent",
            Self::Stored => "stored",
            Self::Durable => "durable",
            Self::Verified => "verified",
        }
    }

    /// The level of this name, in any ASCII case.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|level| level.as_str().eq_ignore_ascii_case(name))
    }
}

/// A copy that the NAS acknowledged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredCopy {
    /// Its path below the NAS folder, as sent.
    pub remote_name: Vec<u8>,
    /// Its size.
    pub bytes: u64,
    /// Its modification time, in whole seconds since 1970 …
    pub mtime_seconds: i64,
    /// … and nanoseconds beyond, below 1,000,000,000.
    pub mtime_nanoseconds: u32,
    /// What is proved about it.
    pub level: Level,
}

/// A document to mark as synced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyncedRecord {
    /// Which.
    pub id: DocumentId,
    /// The `file_path` that its row had when the file was opened.
    pub file_path: PathBuf,
    /// What is on the NAS now.
    pub copy: StoredCopy,
}

/// What became of one [`SyncedRecord`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MarkOutcome {
    /// The document is now synced.
    Marked,
    /// Another process has marked it before; nothing was changed.
    AlreadySynced,
    /// Its row now names another file: it stays pending.
    Changed,
    /// Its row is gone.
    Gone,
    /// The name belongs to this other document, because it was not claimed before: it stays pending.
    NameTaken(DocumentId),
    /// A trigger or constraint of the table refuses it, for this reason: it stays pending. The others are not concerned.
    Refused(String),
}

/// A try that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailedTry {
    /// Of which document.
    pub id: DocumentId,
    /// Why, for programs.
    pub kind: ErrorKind,
    /// Why, for people; kept up to 2 KiB.
    pub text: String,
}

/// The recorded cause of the last failure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The stable name of its [`ErrorKind`].
    pub kind: String,
    /// For people.
    pub text: String,
}

/// What is remembered about one document.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct History {
    /// Failed tries in a row of the file that its row names now.
    pub attempts: u32,
    /// When the last one was.
    pub last_attempt: Option<DateTime<Utc>>,
    /// Why the last one failed.
    pub last_failure: Option<Failure>,
    /// Its last acknowledged copy, also when it is pending again.
    pub copy: Option<StoredCopy>,
}

impl Store {
    /// Marks a batch as synced, in one commit; the outcomes are in the same order. `at` goes into `synced_at`.
    ///
    /// Each row is checked again under the write lock: it must still be pending and name the same file.
    pub fn mark_synced(&mut self, records: &[SyncedRecord], at: DateTime<Utc>) -> Result<Vec<MarkOutcome>> {
        let at = timestamp::format(at);
        self.write("record what was synced in", |tx, _| records.iter().map(|record| mark(tx, record, &at)).collect())
    }

    /// Records a batch of failures, in one commit, and counts a try for each document. What is no longer pending, or
    /// no longer there, is passed over.
    pub fn record_failures(&mut self, failures: &[FailedTry], at: DateTime<Utc>) -> Result<()> {
        let at = timestamp::format(at);
        self.write("record what failed in", |tx, _| {
            let mut insert = tx.prepare_cached(&format!(
                "INSERT INTO nas_sync_documents
                     (document_id, file_path, attempts, last_error_kind, last_error_text, last_attempt_at)
                 SELECT d.id, d.file_path, 1, ?2, ?3, ?4 FROM documents d WHERE d.id = ?1 AND NOT {IS_SYNCED}
                 ON CONFLICT (document_id) DO UPDATE SET
                     attempts = CASE WHEN file_path IS excluded.file_path THEN attempts ELSE 0 END + 1,
                     file_path = excluded.file_path,
                     last_error_kind = excluded.last_error_kind,
                     last_error_text = excluded.last_error_text,
                     last_attempt_at = excluded.last_attempt_at"
            ))?;
            for failure in failures {
                insert.execute(params![failure.id.0, failure.kind.as_str(), shortened(&failure.text), at])?;
            }
            Ok(())
        })
    }

    /// Forgets the failed tries of a selection's pending documents, in one commit, and says of how many.
    pub fn forget_failures(&mut self, selection: &Selection) -> Result<usize> {
        let (condition, values) = selection.condition();
        self.write("forget failures in", |tx, _| {
            tx.execute(
                &format!(
                    "UPDATE nas_sync_documents SET attempts = 0, last_error_kind = NULL, last_error_text = NULL
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
                        s.remote_name, s.bytes, s.mtime_seconds, s.mtime_nanoseconds, s.level
                 FROM nas_sync_documents s JOIN documents d ON d.id = s.document_id WHERE s.document_id = ?1",
            )?;
            statement.query_row([id.0], read_history).optional()
        };
        read().map(Option::unwrap_or_default).map_err(self.fault("read what is recorded in"))
    }
}

/// At most [`TEXT_LIMIT`] bytes of a text, and only whole characters.
fn shortened(text: &str) -> &str {
    let fits = |end: &usize| *end <= TEXT_LIMIT;
    let end = text.char_indices().map(|(start, c)| start + c.len_utf8()).take_while(fits).last();
    &text[..end.unwrap_or(0)]
}

fn mark(tx: &Transaction<'_>, record: &SyncedRecord, at: &str) -> rusqlite::Result<MarkOutcome> {
    let (id, copy) = (record.id, &record.copy);
    if let Some(owner) = names::owner(tx, &copy.remote_name)?
        && owner != id
    {
        return Ok(MarkOutcome::NameTaken(owner));
    }
    let changed = tx
        .prepare_cached(&format!(
            "UPDATE documents AS d SET synced_to_nas = 1, synced_at = ?2
             WHERE d.id = ?1 AND NOT {IS_SYNCED} AND (d.file_path = ?3 COLLATE BINARY OR d.file_path = ?4)"
        ))?
        .execute(params![id.0, at, text_path(&record.file_path), blob_path(&record.file_path)]);
    match changed {
        Ok(0) => return why_unchanged(tx, id),
        Ok(_) => {}
        // Such a refusal undoes its own statement only, unless the trigger rolls everything back.
        Err(rusqlite::Error::SqliteFailure(error, reason))
            if error.code == rusqlite::ErrorCode::ConstraintViolation && !tx.is_autocommit() =>
        {
            return Ok(MarkOutcome::Refused(reason.unwrap_or_else(|| error.to_string())));
        }
        Err(error) => return Err(error),
    }
    tx.prepare_cached(
        "INSERT INTO nas_sync_documents
             (document_id, file_path, attempts, last_attempt_at, remote_name, bytes, mtime_seconds, mtime_nanoseconds, level)
         VALUES (?1, (SELECT d.file_path FROM documents d WHERE d.id = ?1), 0, ?2, ?3, ?4, ?5, ?6, ?7)
         ON CONFLICT (document_id) DO UPDATE SET
             file_path = excluded.file_path,
             attempts = 0,
             last_error_kind = NULL,
             last_error_text = NULL,
             last_attempt_at = excluded.last_attempt_at,
             remote_name = excluded.remote_name,
             bytes = excluded.bytes,
             mtime_seconds = excluded.mtime_seconds,
             mtime_nanoseconds = excluded.mtime_nanoseconds,
             level = excluded.level",
    )?
    .execute(params![
        id.0,
        at,
        copy.remote_name,
        // No file system has files beyond i64::MAX bytes.
        i64::try_from(copy.bytes).unwrap_or(i64::MAX),
        copy.mtime_seconds,
        copy.mtime_nanoseconds,
        copy.level.as_str(),
    ])?;
    names::settle(tx, id, &copy.remote_name)?;
    Ok(MarkOutcome::Marked)
}

fn why_unchanged(tx: &Transaction<'_>, id: DocumentId) -> rusqlite::Result<MarkOutcome> {
    let synced: Option<bool> = tx
        .prepare_cached(&format!("SELECT {IS_SYNCED} FROM documents d WHERE d.id = ?1"))?
        .query_row([id.0], |row| row.get(0))
        .optional()?;
    Ok(match synced {
        None => MarkOutcome::Gone,
        Some(true) => MarkOutcome::AlreadySynced,
        Some(false) => MarkOutcome::Changed,
    })
}

fn text_path(path: &Path) -> PathParameter<'_> {
    PathParameter { path, as_blob: false }
}

fn blob_path(path: &Path) -> PathParameter<'_> {
    PathParameter { path, as_blob: true }
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
    }
    Ok(history)
}

fn read_copy(row: &Row<'_>) -> rusqlite::Result<Option<StoredCopy>> {
    let (name, level): (Option<Vec<u8>>, Option<String>) = (row.get(5)?, row.get(9)?);
    let (Some(remote_name), Some(level)) = (name, level.as_deref().and_then(Level::from_name)) else {
        return Ok(None);
    };
    Ok(Some(StoredCopy {
        remote_name,
        bytes: u64::try_from(row.get::<_, i64>(6)?).unwrap_or(0),
        mtime_seconds: row.get(7)?,
        mtime_nanoseconds: row.get(8)?,
        level,
    }))
}
