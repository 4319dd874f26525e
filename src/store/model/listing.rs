//! Documents as they stand, for people who look for one.

use std::path::PathBuf;

use chrono::{DateTime, Utc};

use super::{Deferred, Selection, StoredCopy};
use crate::id::{DocumentId, UserId};

/// How a document stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DocumentState {
    /// It may be sent now, or is being sent.
    Pending,
    /// Its last try failed, and it is tried again later.
    Waiting,
    /// It failed for good: it is tried again when somebody asks for it.
    Failed,
    /// It is on the NAS.
    Synced,
}

impl DocumentState {
    /// Each of them.
    pub const ALL: [Self; 4] = [Self::Pending, Self::Waiting, Self::Failed, Self::Synced];

    /// Its name in JSON and on the command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Waiting => "waiting",
            Self::Failed => "failed",
            Self::Synced => "synced",
        }
    }

    /// The state of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == name)
    }
}

/// Which documents are to be listed.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ListRequest {
    /// Whose, and which.
    pub selection: Selection,
    /// Only those that stand so.
    pub state: Option<DocumentState>,
    /// Only those with this in their name here or on the NAS, in whatever case.
    pub name: Option<String>,
    /// At most so many.
    pub limit: usize,
}

impl ListRequest {
    /// The last 100 of a selection.
    pub fn new(selection: Selection) -> Self {
        Self { selection, state: None, name: None, limit: 100 }
    }
}

/// A part of the documents, the newest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Listing {
    /// These.
    pub documents: Vec<ListedDocument>,
    /// Whether there are more.
    pub more: bool,
}

/// A document, and what is known of it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ListedDocument {
    /// Its row.
    pub id: DocumentId,
    /// Whose it is; `None` where the row does not say it.
    pub user_id: Option<UserId>,
    /// How its file is called here: as its user named it, else the last part of its path. Empty where the row names none.
    /// Not escaped.
    pub file: String,
    /// Where its row says that it lies, which may be below `UPLOAD_DIR`; `None` where it names no path. Not escaped.
    pub path: Option<PathBuf>,
    /// How it stands.
    pub state: DocumentState,
    /// Whether a worker is sending it.
    pub sending: bool,
    /// The copy that the NAS acknowledged last, also when it is to be sent again.
    pub copy: Option<StoredCopy>,
    /// When it was synced, where it is.
    pub synced_at: Option<DateTime<Utc>>,
    /// Why its last try failed, where it waits or has failed for good.
    pub deferred: Option<Deferred>,
}
