//! What a caller can follow while documents are sent, each with its key.

use std::fmt;
use std::sync::Mutex;

use crate::blocking;
use crate::error::NasSyncError;
use crate::id::DocumentId;
use crate::proof::Level;
use crate::role::event::Severity;
use crate::tree::RemoteName;

/// One event.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum DocumentEvent<'a> {
    /// More documents are taken up, each once in a run: of each is told that it is recorded or failed, unless the run ends
    /// before. Adds to what was told before: the sums are the totals so far.
    Planned {
        /// How many, also those that fail before they are sent.
        documents: u64,
        /// The bytes of the files that can be sent.
        bytes: u64,
    },
    /// A session with the NAS's rsync begins, and the list of its documents is about to be sent. Documents that go again are
    /// in a further one.
    Listed {
        /// How many documents it has.
        documents: u64,
    },
    /// A document is being sent.
    Started {
        /// Its key.
        id: &'a DocumentId,
        /// Its name on the NAS.
        name: &'a RemoteName,
        /// The bytes of its file.
        bytes: u64,
    },
    /// More of the files has been read and handed on.
    Progress {
        /// How many bytes more.
        bytes: u64,
    },
    /// A document has been sent; it is not stored yet.
    Sent {
        /// Its key.
        id: &'a DocumentId,
        /// Its name on the NAS.
        name: &'a RemoteName,
    },
    /// The NAS says that a document is stored; what should make it last is still to come.
    Acknowledged {
        /// Its key.
        id: &'a DocumentId,
    },
    /// A document is on the NAS, and where there is a database, its row says so now.
    Recorded {
        /// Its key.
        id: &'a DocumentId,
        /// Its name on the NAS.
        name: &'a RemoteName,
        /// What is proved about it.
        level: Level,
        /// Its length in bytes.
        bytes: u64,
        /// The SHA-256 of the bytes that were read when it was sent.
        sha256: Option<&'a [u8; 32]>,
    },
    /// A document failed; it may be tried again later.
    Failed {
        /// Its key; `None` for a row without a usable one.
        id: Option<&'a DocumentId>,
        /// Why.
        error: &'a NasSyncError,
    },
    /// A text from the NAS, not yet escaped.
    Text {
        /// How loud.
        severity: Severity,
        /// The text.
        text: &'a [u8],
    },
}

/// Follows documents. Called from several threads; must not block for long.
pub trait DocumentMonitor: Send + Sync {
    /// One event.
    fn event(&self, event: DocumentEvent<'_>);
}

/// Hears nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Unmonitored;

impl DocumentMonitor for Unmonitored {
    fn event(&self, _event: DocumentEvent<'_>) {}
}

/// An event that was kept.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum RecordedEvent {
    /// [`DocumentEvent::Planned`]: documents and bytes.
    Planned(u64, u64),
    /// [`DocumentEvent::Started`].
    Started(DocumentId),
    /// [`DocumentEvent::Sent`].
    Sent(DocumentId),
    /// [`DocumentEvent::Acknowledged`].
    Acknowledged(DocumentId),
    /// [`DocumentEvent::Recorded`].
    Recorded(DocumentId, Level),
    /// [`DocumentEvent::Failed`], with the error's message.
    Failed(Option<DocumentId>, String),
}

/// Keeps every event but progress and texts, and adds up the progress: for tests.
#[derive(Default)]
pub struct RecordingMonitor {
    events: Mutex<(Vec<RecordedEvent>, u64)>,
}

impl fmt::Debug for RecordingMonitor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.events()).finish()
    }
}

impl RecordingMonitor {
    /// What happened so far, in its order.
    pub fn events(&self) -> Vec<RecordedEvent> {
        blocking::lock(&self.events).0.clone()
    }

    /// The bytes that were read and handed on.
    pub fn bytes(&self) -> u64 {
        blocking::lock(&self.events).1
    }
}

impl DocumentMonitor for RecordingMonitor {
    fn event(&self, event: DocumentEvent<'_>) {
        let mut events = blocking::lock(&self.events);
        let kept = match event {
            DocumentEvent::Planned { documents, bytes } => RecordedEvent::Planned(documents, bytes),
            DocumentEvent::Started { id, .. } => RecordedEvent::Started(id.clone()),
            DocumentEvent::Sent { id, .. } => RecordedEvent::Sent(id.clone()),
            DocumentEvent::Acknowledged { id } => RecordedEvent::Acknowledged(id.clone()),
            DocumentEvent::Recorded { id, level, .. } => RecordedEvent::Recorded(id.clone(), level),
            DocumentEvent::Failed { id, error } => RecordedEvent::Failed(id.cloned(), error.message().to_owned()),
            DocumentEvent::Progress { bytes } => {
                events.1 += bytes;
                return;
            }
            DocumentEvent::Listed { .. } | DocumentEvent::Text { .. } => return,
        };
        events.0.push(kept);
    }
}
