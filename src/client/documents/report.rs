//! What became of a batch, as values.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::time::Duration;

use chrono::{DateTime, Utc};

use super::events::DocumentEvent;
use super::prepared::Prepared;
use crate::client::login::Client;
use crate::error::{ErrorKind, NasSyncError};
use crate::id::DocumentId;
use crate::proof::{DurableBy, Level};
use crate::tree::{RemoteName, Stamp};
use crate::wire::flist::Mtime;

/// A document that is on the NAS.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct StoredDocument {
    /// The caller's key.
    pub id: DocumentId,
    /// Its file.
    pub path: PathBuf,
    /// Its name below the destination folder.
    pub name: RemoteName,
    /// Its length in bytes.
    pub bytes: u64,
    /// Its modification time.
    pub mtime: Mtime,
    /// What is proved about it.
    pub level: Level,
    /// The SHA-256 of the bytes that were read when it was sent.
    pub sha256: Option<[u8; 32]>,
    /// What its file was when it was read.
    pub stamp: Stamp,
}

/// What is proved about a document.
#[derive(Debug, Clone, Copy)]
pub struct Proof {
    /// What it is proved to be.
    pub level: Level,
    /// Its length.
    pub bytes: u64,
    /// Of the bytes that were read when it was sent.
    pub sha256: Option<[u8; 32]>,
}

impl StoredDocument {
    #[cfg(feature = "serde")]
    pub(crate) fn proof(&self) -> Proof {
        Proof { level: self.level, bytes: self.bytes, sha256: self.sha256 }
    }

    /// The event of its being recorded.
    pub(crate) fn recorded(&self) -> DocumentEvent<'_> {
        let (id, name, level, bytes) = (&self.id, &self.name, self.level, self.bytes);
        DocumentEvent::Recorded { id, name, level, bytes, sha256: self.sha256.as_ref() }
    }
}

/// A document that could not be sent or stored.
#[derive(Debug, Clone)]
pub struct FailedDocument {
    /// The caller's key.
    pub id: DocumentId,
    /// Why.
    pub error: NasSyncError,
}

/// How an attempt to send a document ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttemptEnd {
    /// It is on the NAS.
    Stored,
    /// It failed.
    Failed,
    /// Its session ended before it was acknowledged.
    Cut,
}

/// One attempt to send a document.
#[derive(Debug, Clone)]
pub struct Attempt {
    /// The caller's key.
    pub id: DocumentId,
    /// The name below the destination folder.
    pub name: RemoteName,
    /// The SHA-256 of what was sent, when all of it was.
    pub sha256: Option<[u8; 32]>,
    /// When it began.
    pub started: DateTime<Utc>,
    /// How long it took.
    pub took: Duration,
    /// Bytes of the file that were sent as data.
    pub bytes: u64,
    /// How it ended.
    pub end: AttemptEnd,
    /// By what the document was made to last, where that is proved.
    pub durable_by: Option<DurableBy>,
    /// Why it did not succeed.
    pub failure: Option<NasSyncError>,
}

/// What became of a batch, also when it was cut off.
#[derive(Debug, Default)]
pub struct BatchReport {
    /// Documents that are on the NAS.
    pub stored: Vec<StoredDocument>,
    /// Documents with an error of their own.
    pub failed: Vec<FailedDocument>,
    /// Documents that can go again over the same or the next login.
    pub again: Vec<Prepared>,
    /// Documents that were acknowledged, but what should have proved them further did not happen.
    pub unproved: Vec<DocumentId>,
    /// Documents of which nothing is known.
    pub open: Vec<DocumentId>,
    /// Every attempt to send one of them.
    pub attempts: Vec<Attempt>,
    /// Bytes written to the NAS, rsync's framing included.
    pub bytes_sent: u64,
    /// Why the login was lost, if going on over a new one may help.
    pub connection_lost: Option<NasSyncError>,
    /// Why nothing more can be sent for now.
    pub stopped: Option<NasSyncError>,
}

/// How far a session came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Heard {
    /// The other side never answered as rsync does.
    Nothing,
    /// It did.
    Handshake,
}

impl BatchReport {
    /// A session did not come to its end: nothing more is sent, or it goes on when only the connection was lost.
    pub(super) fn end(&mut self, error: NasSyncError, heard: Heard, client: &Client) {
        // A server that ends at once over a connection that lives is not set up; asking again would not help.
        let set_up = heard == Heard::Handshake || client.ssh().lost().is_some();
        if error.kind() == ErrorKind::ConnectionLost && set_up {
            self.connection_lost = Some(error);
        } else {
            self.stop(error);
        }
    }

    /// The first reason to stop counts.
    pub(super) fn stop(&mut self, error: NasSyncError) {
        self.stopped.get_or_insert(error);
    }
}

/// What became of the documents of one session.
#[derive(Debug, Default)]
pub(super) struct Verdicts {
    pub stored: Vec<StoredDocument>,
    pub failed: Vec<FailedDocument>,
    pub attempts: Vec<Attempt>,
    /// Documents of which nothing is known.
    pub open: Vec<Prepared>,
    /// Folders on the NAS in which something was stored.
    pub written: HashSet<Vec<u8>>,
    /// Folders in which something was not, for a reason that is not the document's.
    pub refusing: HashMap<Vec<u8>, NasSyncError>,
}
