//! Entries there and back. Each is written as its difference to the entry before, so each direction keeps one coder.

mod put;
mod take;

use std::collections::{BTreeMap, HashMap, HashSet};

pub use self::take::Listed;
use super::entry::{Device, EntryKind, FileEntry, FileId, Special};
use super::idlist::NamedId;
use super::xflags::XflagCoding;
use crate::wire::int::IntCoding;

/// Where the lister's errors are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndOfList {
    /// In a fixed number after the id lists (protocols 27 to 29).
    ErrorsAfterIds,
    /// Only by a message (protocol 30 without the safe list).
    ErrorsByMessage,
    /// In a marked end of the list, when there are any.
    ErrorsIfAny,
    /// Always behind the end of the list.
    ErrorsAlways,
}

/// How the numbers of devices travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeviceCoding {
    /// As one number of four bytes, of pipes and sockets too (protocol 27).
    Whole,
    /// In two, the second in a byte if it fits, of pipes and sockets too (28 and 29).
    ShortMinor,
    /// In two, of pipes and sockets too (30).
    Parts,
    /// In two, and pipes and sockets have none.
    DevicesAlone,
}

/// How it is told that entries are names of one file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkCoding {
    /// Every regular file has the number of its file system and its own (protocol 27).
    NumbersOfFiles,
    /// Names of files with several have these (28 and 29).
    Numbers,
    /// The first such name says so, and each other which entry that is.
    FirstEntry,
}

/// The encodings that a session uses for its list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each says whether one field exists")]
pub struct ListCoding {
    /// Numbers.
    pub ints: IntCoding,
    /// Flag words.
    pub xflags: XflagCoding,
    /// The end of the list.
    pub end: EndOfList,
    /// Devices.
    pub devices: DeviceCoding,
    /// Names of one file.
    pub links: LinkCoding,
    /// Whether times have a nanosecond field.
    pub nanoseconds: bool,
    /// Whether folders say if their content is part of the list.
    pub content_flags: bool,
    /// Whether id lists end with the name of id 0.
    pub zero_id_names: bool,
    /// Whether every entry has a digest field, also those that have no content.
    pub digest_for_every_entry: bool,
}

/// Which optional fields the options put into each entry. Both ends derive this from the same options.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[expect(clippy::struct_excessive_bools, reason = "they are rsync's own switches")]
pub struct ListFields {
    /// `-o`: user ids.
    pub owner: bool,
    /// `-g`: group ids.
    pub group: bool,
    /// `-l`: targets of symlinks.
    pub links: bool,
    /// `--devices`: numbers of devices.
    pub devices: bool,
    /// `--specials`: pipes and sockets have such numbers too, in older protocols.
    pub specials: bool,
    /// `-U`: times of the last access, except of folders.
    pub atimes: bool,
    /// `-H`: which entries are names of one file.
    pub hard_links: bool,
    /// `-c`: the length of each file's digest, in bytes.
    pub digest: Option<usize>,
}

impl ListFields {
    /// None of them.
    pub const NONE: Self = Self {
        owner: false,
        group: false,
        links: false,
        devices: false,
        specials: false,
        atimes: false,
        hard_links: false,
        digest: None,
    };
}

/// What the next entry is described against.
#[derive(Debug, Clone, Default)]
struct Previous {
    name: Vec<u8>,
    mode: u32,
    mtime: i64,
    atime: i64,
    /// `None` before the first entry: an id may then not be left out even when it is 0.
    ids: Option<(u32, u32)>,
    device: Device,
    /// The last file system that a name of a file with several lies in.
    file_system: u64,
}

/// Writes and reads the entries of one list.
#[derive(Debug, Clone)]
pub struct ListCoder {
    coding: ListCoding,
    fields: ListFields,
    previous: Previous,
    /// Where a name is put together.
    name: Vec<u8>,
    /// Names of users and groups that travel with the first entry of their id, until they have.
    inline: InlineNames,
    /// Those that came in this way.
    heard: HeardNames,
    links: Links,
}

/// Names of users and groups that came with the entries of a list in parts.
#[derive(Debug, Clone, Default)]
pub struct HeardNames {
    /// Users.
    pub users: Vec<NamedId>,
    /// Groups.
    pub groups: Vec<NamedId>,
}

/// Where the first names of files lie that have several.
#[derive(Debug, Clone, Default)]
struct Links {
    /// The number of the next entry, as it is sent.
    next: i32,
    /// The number of the first entry of this part.
    part: i32,
    /// Of what was written: the number of the first name, and what the entry behind its like is described against.
    written: HashMap<FileId, (i32, Previous)>,
    /// The numbers of the first names that have been read.
    read: HashSet<i32>,
    /// Files of which the oldest protocol wants numbers although there is but one name.
    single: u64,
}

#[derive(Debug, Clone, Default)]
struct InlineNames {
    users: BTreeMap<u32, Box<[u8]>>,
    groups: BTreeMap<u32, Box<[u8]>>,
}

impl ListCoder {
    /// The state before the first entry.
    pub fn new(coding: ListCoding, fields: ListFields) -> Self {
        Self {
            coding,
            fields,
            previous: Previous::default(),
            name: Vec::new(),
            inline: InlineNames::default(),
            heard: HeardNames::default(),
            links: Links::default(),
        }
    }

    /// Sends the names of ids with the entries, as lists in parts do.
    #[must_use]
    pub fn with_names(mut self, users: &[NamedId], groups: &[NamedId]) -> Self {
        let (users, groups) = (users.iter().cloned().collect(), groups.iter().cloned().collect());
        self.inline = InlineNames { users, groups };
        self
    }

    /// How many names of ids have come with the entries.
    pub fn names_heard(&self) -> usize {
        self.heard.users.len() + self.heard.groups.len()
    }

    /// The names of ids that have come with the entries since they were asked for last.
    pub fn take_names(&mut self) -> HeardNames {
        std::mem::take(&mut self.heard)
    }

    /// Begins a part of the list, whose first entry has this number.
    pub fn begin_part(&mut self, number: i32) {
        (self.links.next, self.links.part) = (number, number);
    }

    /// The time of the last access that an entry's field tells, if it has one.
    fn atime(&self, entry: &FileEntry<'_>) -> Option<i64> {
        let has_one = self.fields.atimes && !entry.kind.is_dir();
        has_one.then(|| entry.extras.atime.unwrap_or(entry.meta.mtime.seconds))
    }

    /// Whether it is left out. The oldest protocol has no room for the flag that says so.
    fn keeps_atime(&self, atime: i64) -> bool {
        atime == self.previous.atime && self.coding.xflags != XflagCoding::Byte
    }

    /// The device that an entry's field tells, if it has one: of a pipe or socket what takes the least room.
    fn numbers(&self, kind: EntryKind<'_>) -> Option<Device> {
        let EntryKind::Special(special) = kind else { return None };
        let previous = self.previous.device;
        match special {
            _ if !self.has_numbers(special) => None,
            Special::Character(device) | Special::Block(device) => Some(device),
            Special::Pipe | Special::Socket if self.coding.devices == DeviceCoding::Whole => Some(previous),
            Special::Pipe | Special::Socket => Some(Device { minor: 0, ..previous }),
        }
    }

    fn has_numbers(&self, special: Special) -> bool {
        match special {
            Special::Character(_) | Special::Block(_) => self.fields.devices,
            Special::Pipe | Special::Socket => {
                self.fields.specials && self.coding.devices != DeviceCoding::DevicesAlone
            }
        }
    }

    /// What the next device is described against. Only the oldest protocol forgets it behind an entry that has none.
    fn device_after(&self, told: Option<Device>) -> Device {
        let kept = if self.coding.devices == DeviceCoding::Whole { Device::default() } else { self.previous.device };
        told.unwrap_or(kept)
    }

    fn digest_len(&self, kind: EntryKind<'_>) -> Option<usize> {
        self.fields.digest.filter(|_| kind == EntryKind::File || self.coding.digest_for_every_entry)
    }
}

impl Device {
    /// As Linux writes it in 32 bits.
    fn whole(self) -> u32 {
        (self.minor & !0xff) << 12 | (self.major & 0xfff) << 8 | self.minor & 0xff
    }

    fn of_whole(whole: u32) -> Self {
        Self { major: whole >> 8 & 0xfff, minor: whole & 0xff | whole >> 12 & 0xfff00 }
    }
}

/// Trouble while listing or reading; told to the receiver so that it deletes nothing by mistake.
pub mod io_error {
    /// Something could not be read.
    pub const GENERAL: i32 = 1;
    /// Something vanished between listing and reading.
    pub const VANISHED: i32 = 2;
    /// Not everything was deleted, because there was a limit.
    pub const DELETE_LIMIT: i32 = 4;
    /// All bits that have a meaning.
    pub const KNOWN: i32 = 7;
}

#[cfg(test)]
mod tests;
