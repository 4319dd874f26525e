//! What a session tells while it runs. The teller never waits for the listener's opinion.
//!
//! The trait stands on the roles' floor, not the session's, because the sender reports through it too.

use std::sync::Arc;

use super::waits::Waits;
use crate::error::NasSyncError;
use crate::wire::flist::{FileEntry, KindCounts};
use crate::wire::iflags::ItemFlags;

/// How one file was transferred.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct FileStats {
    /// Bytes that travelled as data.
    pub literal: u64,
    /// Bytes that the receiver copied from its old file.
    pub matched: u64,
}

/// Whether a file was the same before and after it was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stability {
    /// It was.
    Unchanged,
    /// Somebody wrote to it or replaced it; what was sent proves nothing about it.
    Changed,
}

/// How serious a text from the other side is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// For information.
    Info,
    /// A warning.
    Warning,
    /// An error.
    Error,
}

/// One event. Entries carry the tag that the caller gave them.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// The file list is about to be sent.
    Listed {
        /// Entries in it.
        entries: usize,
        /// The bytes of its regular files.
        bytes: u64,
    },
    /// The sender goes to work; for nas-sync itself.
    #[doc(hidden)]
    Begun {
        /// How long it waits for the other side, readable while it works.
        waits: &'a Arc<Waits>,
    },
    /// The receiver turns to an entry.
    Asked {
        /// Its place in the list as it is sorted.
        index: usize,
    },
    /// The receiver looked at an entry and says what differs there.
    Itemized {
        /// Its entry.
        entry: &'a FileEntry<'a>,
        /// What differs.
        flags: ItemFlags,
        /// The name that it was linked to there, if it was.
        linked_to: Option<&'a [u8]>,
    },
    /// A file is being sent.
    FileStarted {
        /// Its entry.
        entry: &'a FileEntry<'a>,
    },
    /// More of the current file has been read and handed on.
    Progress {
        /// How many bytes more.
        bytes: u64,
    },
    /// A file has been sent; it is not stored yet.
    FileSent {
        /// Its entry.
        entry: &'a FileEntry<'a>,
        /// How.
        stats: FileStats,
        /// Whether it stayed the same meanwhile.
        stability: Stability,
        /// The SHA-256 of what was read; `None` where the source does not keep one.
        sha256: Option<[u8; 32]>,
    },
    /// A file has come, matches its checksum and has its name.
    FileReceived {
        /// Its entry.
        entry: &'a FileEntry<'a>,
        /// How.
        stats: FileStats,
        /// Its SHA-256, where it was compared with one.
        sha256: Option<[u8; 32]>,
    },
    /// A file could not be sent, or not be received.
    FileFailed {
        /// Its entry.
        entry: &'a FileEntry<'a>,
        /// Why.
        error: &'a NasSyncError,
    },
    /// The receiver says that the file is stored.
    Acknowledged {
        /// Its entry.
        entry: &'a FileEntry<'a>,
    },
    /// The receiver has deleted something that the list lacks.
    Deleted {
        /// Its name, as the receiver says it.
        name: &'a [u8],
        /// Whether it was a folder.
        is_dir: bool,
    },
    /// How much the receiver has deleted.
    DeletedCounts {
        /// How many of each kind.
        counts: &'a KindCounts,
    },
    /// A text from the other side, not yet escaped.
    Text {
        /// How serious it is.
        severity: Severity,
        /// The text.
        text: &'a [u8],
    },
}

/// Listens to a session. Called from several threads; must not block for long.
pub trait Monitor: Send + Sync {
    /// One event.
    fn event(&self, event: Event<'_>);
}

/// Hears nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Monitor for Silent {
    fn event(&self, _event: Event<'_>) {}
}
