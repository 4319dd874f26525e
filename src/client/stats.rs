//! What a push did, counted.

use crate::role::ledger::Totals;
use crate::wire::flist::{Entries, EntryKind};

/// What a push did, in the words of `rsync --stats`. Sizes are bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct PushStats {
    /// Entries in the list.
    pub entries: u64,
    /// Regular files among them.
    pub files: u64,
    /// Folders among them.
    pub directories: u64,
    /// Symlinks among them.
    pub symlinks: u64,
    /// Entries that did not exist there.
    pub created: u64,
    /// Regular files among those.
    pub created_files: u64,
    /// Folders among those.
    pub created_directories: u64,
    /// Symlinks among those.
    pub created_symlinks: u64,
    /// Files whose data was sent.
    pub transferred: u64,
    /// The length of all files in the list.
    pub total_size: u64,
    /// The length of the files whose data was sent.
    pub transferred_size: u64,
    /// Data sent.
    pub literal: u64,
    /// Data the receiver had.
    pub matched: u64,
    /// Bytes written to the NAS, framing included.
    pub sent: u64,
    /// Bytes read from the NAS, framing included.
    pub received: u64,
}

impl PushStats {
    /// What is known before anything is sent.
    pub(super) fn of_list(entries: &Entries) -> Self {
        let mut stats = Self { entries: entries.len() as u64, ..Self::default() };
        for entry in entries.iter() {
            match entry.kind {
                EntryKind::File => stats.files += 1,
                EntryKind::Directory(_) => stats.directories += 1,
                EntryKind::Symlink(_) => stats.symlinks += 1,
                EntryKind::Special => {}
            }
            if !entry.kind.is_dir() {
                stats.total_size += entry.meta.size;
            }
        }
        stats
    }

    /// The same, with what the session told.
    #[must_use]
    pub(super) fn with(self, totals: &Totals) -> Self {
        Self {
            created: totals.created_files + totals.created_directories + totals.created_symlinks,
            created_files: totals.created_files,
            created_directories: totals.created_directories,
            created_symlinks: totals.created_symlinks,
            transferred: totals.sent,
            transferred_size: totals.sent_size,
            literal: totals.literal,
            matched: totals.matched,
            ..self
        }
    }
}
