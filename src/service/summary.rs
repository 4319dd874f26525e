//! What a sync did, for those who asked for it.

use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::client::documents::FailedDocument;
use crate::error::NasSyncError;
use crate::id::DocumentId;
use crate::proof::Level;

/// A document that could not be synced.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct DocumentError {
    /// Which; `None` when the row has no usable id.
    pub id: Option<DocumentId>,
    /// Why.
    pub error: NasSyncError,
}

impl From<FailedDocument> for DocumentError {
    fn from(failed: FailedDocument) -> Self {
        Self { id: Some(failed.id), error: failed.error }
    }
}

impl std::fmt::Display for DocumentError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.id {
            Some(id) => write!(f, "Document {id}: {}", self.error),
            None => write!(f, "Document without id: {}", self.error),
        }
    }
}

/// A document that is on the NAS now.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SyncedFile {
    /// Which.
    pub id: DocumentId,
    /// Its name below the NAS folder.
    pub remote_name: Vec<u8>,
    /// Its length in bytes.
    pub bytes: u64,
    /// What is proved about it.
    pub level: Level,
}

/// What a sync did.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct SyncSummary {
    /// Pending documents that were asked for, without those that another worker has synced meanwhile.
    pub total: usize,
    /// Documents that are on the NAS and recorded now.
    pub synced: usize,
    /// Documents with an error of their own, also those that wait for their next try or have failed for good.
    pub failed: usize,
    /// Those of the failed ones that failed for good in an earlier run, and were not tried in this one.
    pub failed_earlier: Vec<DocumentId>,
    /// Those of the failed ones that wait for their next try, and were not tried in this run.
    pub waiting: Vec<DocumentId>,
    /// Those that failed for good in this run.
    pub failed_for_good: Vec<DocumentId>,
    /// Documents that stay pending because the run ended before their turn.
    pub pending: usize,
    /// The errors of the failed ones, by ascending id.
    pub errors: Vec<DocumentError>,
    /// Bytes written to the NAS, rsync's framing included.
    pub bytes_sent: u64,
    /// From start to end.
    pub elapsed: Duration,
    /// What ended the run early: trouble with the NAS, or an interruption.
    pub stopped: Option<NasSyncError>,
    /// When the NAS takes nothing for now: when `watch` tries again.
    pub paused_until: Option<DateTime<Utc>>,
    /// What people should know, once each.
    pub warnings: Vec<String>,
}

impl SyncSummary {
    /// Whether all that was asked is done. What failed for good in an earlier run was told by that.
    pub fn is_success(&self) -> bool {
        self.is_success_of_its_own() && self.waiting.is_empty()
    }

    /// Whether all that was tried is done.
    pub fn is_success_of_its_own(&self) -> bool {
        self.stopped.is_none() && self.failed == self.failed_earlier.len() + self.waiting.len() && self.pending == 0
    }

    /// Whether there was nothing to be tried.
    pub fn is_empty(&self) -> bool {
        self.total == self.failed_earlier.len() + self.waiting.len()
    }
}
