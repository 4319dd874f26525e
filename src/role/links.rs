//! What becomes of symlinks on the receiving side, beyond being made: rsync's `--safe-links`, `--munge-links` and
//! `--keep-dirlinks`.

use crate::tree::walk::links::{MUNGED, leads_outside};
use crate::wire::flist::{EntryKind, FileEntry};

/// rsync's options.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LinkRules {
    /// Those that lead out of the destination are not made (`--safe-links`).
    pub safe: bool,
    /// They are made unusable (`--munge-links`).
    pub munges: bool,
    /// One that is here and leads to a folder is that folder, where a folder is listed (`--keep-dirlinks`).
    pub keeps_folders: bool,
}

impl LinkRules {
    /// The target that a symlink gets here instead of its own.
    pub(super) fn target(self, entry: &FileEntry<'_>) -> Option<Vec<u8>> {
        match entry.kind {
            EntryKind::Symlink(target) if self.munges => Some([MUNGED, target].concat()),
            _ => None,
        }
    }

    /// Whether an entry is a symlink that is not made.
    pub(super) fn leaves_out(self, entry: &FileEntry<'_>) -> bool {
        matches!(entry.kind, EntryKind::Symlink(target) if self.safe && leads_outside(target, entry.name))
    }
}
