//! Files that become documents.

use std::path::PathBuf;

use crate::id::DocumentId;

/// A document to register.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewDocument {
    /// The path that goes into `file_path` as it is.
    pub file_path: PathBuf,
    /// Goes into `original_name` where there is such a column.
    pub original_name: Option<String>,
}

/// A file that was asked to be a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Registered {
    /// It is one now.
    New(DocumentId),
    /// It was one already, of the same user.
    Known {
        /// Which.
        id: DocumentId,
        /// Whether it is on the NAS.
        synced: bool,
    },
}

impl Registered {
    /// Which document it is.
    pub fn id(&self) -> &DocumentId {
        match self {
            Self::New(id) | Self::Known { id, .. } => id,
        }
    }
}
