//! One entry of a file list, as both ends mean it: how it travels is the coder's affair.

/// The longest name, and the longest target of a symlink, in bytes.
pub const MAX_NAME: usize = 4095;

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum EntryKind<'a> {
    /// A regular file.
    File,
    /// A folder.
    Directory(Content),
    /// A symlink and the bytes it holds, at most 4,095; empty where targets do not travel.
    Symlink(&'a [u8]),
    /// A device, a pipe or a socket. A sender names those that it was not asked for, too.
    Special(Special),
}

/// What is neither file, folder nor symlink.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Special {
    /// A named pipe.
    Pipe,
    /// A socket.
    Socket,
    /// A character device.
    Character(Device),
    /// A block device.
    Block(Device),
}

/// The numbers of a device; both 0 where they do not travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Device {
    /// Which driver.
    pub major: u32,
    /// Which of its devices.
    pub minor: u32,
}

/// What a folder's entry says about its content.
/// Those that mean more come first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Content {
    /// The folder was named by an argument and its content is listed: the root of what `--delete` may touch.
    Argument,
    /// Its content is listed.
    Listed,
    /// Only the folder itself is meant; nothing is ever deleted in it.
    Unlisted,
    /// It lies on the way to a file. With `--no-implied-dirs` it is made where it is missing, and else left as it is. Lists
    /// before protocol 30 have no word for it, and do not need it.
    Implied,
}

impl EntryKind<'_> {
    /// Whether it is a folder.
    pub fn is_dir(&self) -> bool {
        matches!(self, Self::Directory(_))
    }
}

/// A time of modification. Ordered as time is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Mtime {
    /// Whole seconds since 1970, UTC; negative before.
    pub seconds: i64,
    /// Nanoseconds within that second, 0 to 999,999,999.
    pub nanoseconds: u32,
}

/// What a list says about an entry besides its name and kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct FileMeta {
    /// Length in bytes.
    pub size: u64,
    /// Time of the last change of content.
    pub mtime: Mtime,
    /// The permission bits of the mode, 0 to 0o7777.
    pub permissions: u16,
    /// Owner; travels only where [`ListFields::owner`](super::ListFields::owner) is set.
    pub uid: u32,
    /// Group; travels only where [`ListFields::group`](super::ListFields::group) is set.
    pub gid: u32,
}

/// What travels of an entry only where an option asks for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Extras {
    /// Seconds of the last access: [`ListFields::atimes`](super::ListFields::atimes). Folders have none.
    pub atime: Option<i64>,
    /// Of which file it is a name, if that has several: [`ListFields::hard_links`](super::ListFields::hard_links).
    pub file: Option<FileId>,
}

/// What all names of one file in a list have in common, and no others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub struct FileId {
    /// Its file system.
    pub dev: u64,
    /// Its number there.
    pub ino: u64,
}

/// One entry. It borrows its bytes, as a rule from the [`Entries`](super::Entries) that keep it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct FileEntry<'a> {
    /// The caller's own number for it, at most `u32::MAX - 1`, which comes back with all that is told about it. It does not
    /// travel.
    pub tag: Option<u32>,
    /// The name relative to the destination, without a leading slash; `.` for the destination itself.
    pub name: &'a [u8],
    /// What it is.
    pub kind: EntryKind<'a>,
    /// Size, time, permissions and owner.
    pub meta: FileMeta,
    /// A regular file's digest, where [`ListFields::digest`](super::ListFields::digest) asks for it.
    pub digest: Option<&'a [u8]>,
    /// What else options ask for.
    pub extras: Extras,
}

impl<'a> FileEntry<'a> {
    /// An entry without tag, digest and extras.
    pub fn new(name: &'a [u8], kind: EntryKind<'a>, meta: FileMeta) -> Self {
        Self { tag: None, name, kind, meta, digest: None, extras: Extras::default() }
    }

    /// Whether it is a folder whose content is listed, too.
    pub fn has_listed_content(&self) -> bool {
        matches!(self.kind, EntryKind::Directory(Content::Listed | Content::Argument))
    }

    /// Whether it is a folder with a part of its own, where a list comes in parts.
    pub fn has_part(&self) -> bool {
        self.has_listed_content() || self.kind == EntryKind::Directory(Content::Implied)
    }

    pub(super) fn mode(&self) -> u32 {
        let kind = match self.kind {
            EntryKind::File => 0o100_000,
            EntryKind::Directory(_) => 0o040_000,
            EntryKind::Symlink(_) => 0o120_000,
            EntryKind::Special(Special::Pipe) => 0o010_000,
            EntryKind::Special(Special::Character(_)) => 0o020_000,
            EntryKind::Special(Special::Block(_)) => 0o060_000,
            EntryKind::Special(Special::Socket) => 0o140_000,
        };
        kind | u32::from(self.meta.permissions & 0o7777)
    }
}
