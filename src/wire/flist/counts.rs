//! Counts of entries.

use super::entry::{EntryKind, Special};

/// How many there are, and how large.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// How many of each kind.
    pub kinds: KindCounts,
    /// The length of all but folders, in bytes.
    pub size: u64,
}

impl Counts {
    /// Adds those of another list.
    pub fn add(&mut self, more: &Self) {
        self.kinds.add(&more.kinds);
        self.size = self.size.saturating_add(more.size);
    }
}

/// How many entries there are of each kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct KindCounts {
    /// Regular files.
    pub files: u64,
    /// Folders.
    pub directories: u64,
    /// Symlinks.
    pub symlinks: u64,
    /// Devices.
    pub devices: u64,
    /// Pipes and sockets.
    pub specials: u64,
}

impl KindCounts {
    /// The count of a kind.
    pub fn of(&mut self, kind: EntryKind<'_>) -> &mut u64 {
        match kind {
            EntryKind::File => &mut self.files,
            EntryKind::Directory(_) => &mut self.directories,
            EntryKind::Symlink(_) => &mut self.symlinks,
            EntryKind::Special(Special::Character(_) | Special::Block(_)) => &mut self.devices,
            EntryKind::Special(Special::Pipe | Special::Socket) => &mut self.specials,
        }
    }

    /// Adds others.
    pub fn add(&mut self, more: &Self) {
        self.files += more.files;
        self.directories += more.directories;
        self.symlinks += more.symlinks;
        self.devices += more.devices;
        self.specials += more.specials;
    }

    /// Those of all kinds.
    pub fn total(&self) -> u64 {
        self.files + self.directories + self.symlinks + self.devices + self.specials
    }
}
