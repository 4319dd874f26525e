//! What became of documents under a lease, and how failures are remembered.

use std::path::PathBuf;
use std::time::Duration;

use chrono::{DateTime, Utc};

use super::StoredCopy;
use crate::error::{ErrorKind, NasSyncError};
use crate::id::DocumentId;
use crate::proof::DurableBy;

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
    /// Its file is no longer the one that was sent: it stays pending.
    Rewritten,
    /// The lease was lost meanwhile, and another worker may have sent the document: what this one says does not count.
    /// If that worker recorded other bytes, the document is pending again, because nobody knows whose came last.
    LeaseLost,
}

impl MarkOutcome {
    /// Whether the document is not synced by this.
    pub fn is_refusal(&self) -> bool {
        !matches!(self, Self::Marked | Self::AlreadySynced)
    }
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
    /// What to do, where that is more than the kind says; kept up to 2 KiB.
    pub solution: Option<String>,
}

/// How an attempt to send a document ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttemptEnd {
    /// It is on the NAS.
    Synced,
    /// It failed.
    Failed,
    /// Its session ended before it was acknowledged.
    Cut,
}

/// One attempt to send a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// Which document.
    pub id: DocumentId,
    /// Its path below the NAS folder.
    pub remote_name: Vec<u8>,
    /// SHA-256 of what was sent, when all of it was.
    pub sha256: Option<[u8; 32]>,
    /// When it began.
    pub started: DateTime<Utc>,
    /// How long it took; whole milliseconds count.
    pub took: Duration,
    /// Bytes of the file that were sent as data.
    pub bytes: u64,
    /// How it ended.
    pub end: AttemptEnd,
    /// By what the document was made to last, where that is proved.
    pub durable_by: Option<DurableBy>,
    /// Why it did not succeed.
    pub failure: Option<(ErrorKind, String)>,
}

/// What became of documents under one lease.
#[derive(Debug, Clone, Default)]
pub struct Settlement {
    /// Those that are on the NAS.
    pub synced: Vec<SyncedRecord>,
    /// Those that failed.
    pub failed: Vec<FailedTry>,
    /// Every attempt that was made, of whatever end.
    pub attempts: Vec<Attempt>,
}

/// The recorded cause of the last failure.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Failure {
    /// The stable name of its [`ErrorKind`](crate::error::ErrorKind).
    pub kind: String,
    /// For people.
    pub text: String,
    /// What to do, where that is more than the kind says.
    pub solution: Option<String>,
}

impl Failure {
    /// The cause by its name, and in words.
    pub fn new(kind: impl Into<String>, text: impl Into<String>) -> Self {
        Self { kind: kind.into(), text: text.into(), solution: None }
    }

    pub(crate) fn of(error: &NasSyncError) -> Self {
        let solution = error.own_solution().map(ToOwned::to_owned);
        Self { kind: error.kind().as_str().to_owned(), text: error.message().to_owned(), solution }
    }

    /// What to do; `None`: a newer version wrote it down.
    pub(crate) fn solution(&self) -> Option<&str> {
        self.solution.as_deref().or_else(|| ErrorKind::from_name(&self.kind).map(ErrorKind::solution))
    }

    /// The error, as one of this kind.
    #[cfg(feature = "watch")]
    pub(crate) fn error(&self, kind: ErrorKind) -> NasSyncError {
        let error = NasSyncError::new(kind, &self.text);
        match &self.solution {
            Some(solution) => error.with_solution(solution),
            None => error,
        }
    }
}
