//! Entries there and back. Each is written as its difference to the entry before, so each direction keeps one coder.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::entries::Entries;
use super::entry::{Content, Device, EntryKind, Extras, FileEntry, FileId, FileMeta, MAX_NAME, Mtime, Special};
use super::idlist::{self, NamedId};
use super::xflags::{self, XflagCoding};
use crate::wire::int::IntCoding;
use crate::wire::reader::{Decode, DecodeError, Reader};

/// The greatest value of the nanosecond field.
const MAX_NANOSECONDS: usize = 999_999_999;

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

    /// Writes one entry. Names must not be longer than [`MAX_NAME`].
    pub fn put(&mut self, entry: &FileEntry<'_>, out: &mut Vec<u8>) {
        let file = self.file(entry);
        let number = self.links.next;
        self.links.next = number.saturating_add(1);
        let Some(file) = file.filter(|_| self.coding.links == LinkCoding::FirstEntry) else {
            return self.put_whole(entry, (0, None), file, out);
        };
        match self.links.written.get(&file).cloned() {
            // All that it has is that of the other name in this part.
            Some((first, state)) if first >= self.links.part => {
                self.put_name(entry, xflags::LINKED, out);
                self.coding.ints.put_int(out, first);
                let Previous { name, file_system, .. } = std::mem::take(&mut self.previous);
                self.previous = Previous { name, file_system, ..state };
                self.keep_name(entry.name);
            }
            Some((first, _)) => self.put_whole(entry, (xflags::LINKED, Some(first)), None, out),
            None => {
                self.put_whole(entry, (xflags::LINKED | xflags::LINK_FIRST, None), None, out);
                let state = Previous { name: Vec::new(), ..self.previous.clone() };
                self.links.written.insert(file, (number, state));
            }
        }
    }

    /// Of which file an entry says that it is a name.
    fn file(&mut self, entry: &FileEntry<'_>) -> Option<FileId> {
        let is_wanted = self.fields.hard_links
            && if self.coding.links == LinkCoding::NumbersOfFiles {
                entry.kind == EntryKind::File
            } else {
                entry.extras.file.is_some()
            };
        is_wanted.then(|| {
            entry.extras.file.unwrap_or_else(|| {
                self.links.single += 1;
                FileId { dev: 0, ino: self.links.single }
            })
        })
    }

    /// Writes flags and name, and gives the flags that count.
    fn put_name(&self, entry: &FileEntry<'_>, flags: u32, out: &mut Vec<u8>) -> u32 {
        let shared = entry.name.iter().zip(&self.previous.name).take_while(|(a, b)| a == b).count();
        let shared = u8::try_from(shared).unwrap_or(u8::MAX);
        let suffix = &entry.name[usize::from(shared)..];
        let same = if shared > 0 { xflags::SAME_NAME } else { 0 };
        let long = if suffix.len() > 255 { xflags::LONG_NAME } else { 0 };
        let flags = self.coding.xflags.put(flags | same | long, entry.kind.is_dir(), out);
        if flags & xflags::SAME_NAME != 0 {
            out.push(shared);
        }
        if flags & xflags::LONG_NAME != 0 {
            self.put_len(suffix.len(), out);
        } else {
            out.push(suffix.len().to_le_bytes()[0]);
        }
        out.extend_from_slice(suffix);
        flags
    }

    fn keep_name(&mut self, name: &[u8]) {
        self.previous.name.clear();
        self.previous.name.extend_from_slice(name);
    }

    /// Writes an entry with all its fields: which other one it is a name of with, or the numbers of its file.
    fn put_whole(
        &mut self,
        entry: &FileEntry<'_>,
        (link_flags, first): (u32, Option<i32>),
        numbers: Option<FileId>,
        out: &mut Vec<u8>,
    ) {
        let previous = &self.previous;
        let mode = entry.mode();
        let flag = |condition: bool, flag: u32| if condition { flag } else { 0 };
        let content_flags = match entry.kind {
            EntryKind::Directory(Content::Argument) => xflags::TOP_DIR,
            EntryKind::Directory(Content::Unlisted) if self.coding.content_flags => xflags::NO_CONTENT,
            EntryKind::Directory(Content::Implied) if self.coding.content_flags => xflags::TOP_DIR | xflags::NO_CONTENT,
            _ => 0,
        };
        let keeps_user = !self.fields.owner || previous.ids.is_some_and(|ids| ids.0 == entry.meta.uid);
        let keeps_group = !self.fields.group || previous.ids.is_some_and(|ids| ids.1 == entry.meta.gid);
        let user = if keeps_user { None } else { self.inline.users.remove(&entry.meta.uid) };
        let group = if keeps_group { None } else { self.inline.groups.remove(&entry.meta.gid) };
        let device = self.numbers(entry.kind);
        let atime = self.atime(entry);
        let flags = content_flags
            | link_flags
            | device.map_or(0, |device| self.device_flags(device))
            | numbers.map_or(0, |file| self.file_flags(file))
            | flag(mode == previous.mode, xflags::SAME_MODE)
            | flag(keeps_user, xflags::SAME_UID)
            | flag(keeps_group, xflags::SAME_GID)
            | flag(user.is_some(), xflags::USER_NAME)
            | flag(group.is_some(), xflags::GROUP_NAME)
            | flag(entry.meta.mtime.seconds == previous.mtime, xflags::SAME_TIME)
            | flag(atime.is_some_and(|atime| self.keeps_atime(atime)), xflags::SAME_ATIME)
            | flag(self.coding.nanoseconds && entry.meta.mtime.nanoseconds != 0, xflags::NANOSECONDS);
        let flags = self.put_name(entry, flags, out);
        if let Some(first) = first {
            self.coding.ints.put_int(out, first);
        }
        self.put_attributes(entry, flags, [user.as_deref(), group.as_deref()], numbers, out);
        self.keep_name(entry.name);
        self.previous.mode = mode;
        self.previous.mtime = entry.meta.mtime.seconds;
        self.previous.atime = atime.unwrap_or(self.previous.atime);
        self.previous.ids = Some((entry.meta.uid, entry.meta.gid));
        self.previous.device = self.device_after(device);
        self.previous.file_system = numbers.map_or(self.previous.file_system, |file| file.dev);
    }

    /// Of an entry with numbers of its file.
    fn file_flags(&self, file: FileId) -> u32 {
        if self.coding.links == LinkCoding::NumbersOfFiles {
            return 0;
        }
        let same = if file.dev == self.previous.file_system { xflags::SAME_FILE_SYSTEM } else { 0 };
        xflags::LINKED | same
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

    fn device_flags(&self, device: Device) -> u32 {
        let previous = self.previous.device;
        if self.coding.devices == DeviceCoding::Whole {
            return if device == previous { xflags::SAME_DEVICE } else { 0 };
        }
        let is_short = self.coding.devices == DeviceCoding::ShortMinor && device.minor <= u8::MAX.into();
        let major = if device.major == previous.major { xflags::SAME_MAJOR } else { 0 };
        major | if is_short { xflags::SHORT_MINOR } else { 0 }
    }

    fn put_device(&self, device: Device, flags: u32, out: &mut Vec<u8>) {
        let ints = self.coding.ints;
        if self.coding.devices == DeviceCoding::Whole {
            if flags & xflags::SAME_DEVICE == 0 {
                out.extend_from_slice(&device.whole().to_le_bytes());
            }
            return;
        }
        if flags & xflags::SAME_MAJOR == 0 {
            ints.put_int(out, device.major.cast_signed());
        }
        if flags & xflags::SHORT_MINOR != 0 {
            out.push(device.minor.to_le_bytes()[0]);
        } else {
            ints.put_int(out, device.minor.cast_signed());
        }
    }

    fn take_device(&self, flags: u32, reader: &mut Reader<'_>) -> Decode<Device> {
        let (ints, previous) = (self.coding.ints, self.previous.device);
        if self.coding.devices == DeviceCoding::Whole {
            let is_same = flags & xflags::SAME_DEVICE != 0;
            return if is_same { Ok(previous) } else { Ok(Device::of_whole(reader.i32()?.cast_unsigned())) };
        }
        let is_same = flags & xflags::SAME_MAJOR != 0;
        let major = if is_same { previous.major } else { ints.int(reader)?.cast_unsigned() };
        let is_short = self.coding.devices == DeviceCoding::ShortMinor && flags & xflags::SHORT_MINOR != 0;
        let minor = if is_short { reader.u8()?.into() } else { ints.int(reader)?.cast_unsigned() };
        Ok(Device { major, minor })
    }

    /// What the next device is described against. Only the oldest protocol forgets it behind an entry that has none.
    fn device_after(&self, told: Option<Device>) -> Device {
        let kept = if self.coding.devices == DeviceCoding::Whole { Device::default() } else { self.previous.device };
        told.unwrap_or(kept)
    }

    /// Lengths are at most [`MAX_NAME`].
    fn put_len(&self, len: usize, out: &mut Vec<u8>) {
        self.coding.ints.put_int(out, i32::try_from(len).unwrap_or(i32::MAX));
    }

    fn put_attributes(
        &self,
        entry: &FileEntry<'_>,
        flags: u32,
        [user, group]: [Option<&[u8]>; 2],
        numbers: Option<FileId>,
        out: &mut Vec<u8>,
    ) {
        let ints = self.coding.ints;
        ints.put_long(out, i64::try_from(entry.meta.size).unwrap_or(i64::MAX), 3);
        if flags & xflags::SAME_TIME == 0 {
            match ints {
                // Old receivers have 32 bits; a time before 1970 or after 2106 wraps, as it does with them.
                IntCoding::Fixed => out.extend_from_slice(&entry.meta.mtime.seconds.to_le_bytes()[..4]),
                IntCoding::Variable => ints.put_long(out, entry.meta.mtime.seconds, 4),
            }
        }
        if flags & xflags::NANOSECONDS != 0 {
            ints.put_int(out, entry.meta.mtime.nanoseconds.cast_signed());
        }
        if flags & xflags::SAME_MODE == 0 {
            out.extend_from_slice(&entry.mode().to_le_bytes());
        }
        if let Some(atime) = self.atime(entry).filter(|&atime| !self.keeps_atime(atime)) {
            // Whatever the protocol, since it came late.
            IntCoding::Variable.put_long(out, atime, 4);
        }
        if flags & xflags::SAME_UID == 0 {
            ints.put_int(out, entry.meta.uid.cast_signed());
        }
        if let Some(name) = user {
            idlist::put_name(name, out);
        }
        if flags & xflags::SAME_GID == 0 {
            ints.put_int(out, entry.meta.gid.cast_signed());
        }
        if let Some(name) = group {
            idlist::put_name(name, out);
        }
        if let Some(device) = self.numbers(entry.kind) {
            self.put_device(device, flags, out);
        }
        if self.fields.links
            && let EntryKind::Symlink(target) = entry.kind
        {
            self.put_len(target.len(), out);
            out.extend_from_slice(target);
        }
        if let Some(file) = numbers {
            if self.coding.links == LinkCoding::NumbersOfFiles || flags & xflags::SAME_FILE_SYSTEM == 0 {
                // One more than it is, so that it is never 0.
                ints.put_long(out, file.dev.wrapping_add(1).cast_signed(), 3);
            }
            ints.put_long(out, file.ino.cast_signed(), 3);
        }
        if let Some(len) = self.digest_len(entry.kind) {
            let digest = entry.digest.unwrap_or_default();
            let taken = digest.len().min(len);
            out.extend_from_slice(&digest[..taken]);
            out.resize(out.len() + len - taken, 0);
        }
    }

    fn digest_len(&self, kind: EntryKind<'_>) -> Option<usize> {
        self.fields.digest.filter(|_| kind == EntryKind::File || self.coding.digest_for_every_entry)
    }

    /// Ends the list, with the lister's error bits where this coding tells them here.
    pub fn put_end(&self, errors: i32, out: &mut Vec<u8>) {
        match self.coding.end {
            EndOfList::ErrorsAlways => {
                out.push(0);
                self.coding.ints.put_int(out, errors);
            }
            EndOfList::ErrorsIfAny if errors != 0 => {
                xflags::put_word(xflags::END_WITH_ERRORS, out);
                self.coding.ints.put_int(out, errors);
            }
            _ => out.push(0),
        }
    }

    /// Reads one entry, which goes to the end of `entries`, or the end of the list with the error bits told there.
    pub fn take(&mut self, reader: &mut Reader<'_>, entries: &mut Entries) -> Decode<Listed> {
        let flags = self.coding.xflags.take(reader)?;
        if flags == 0 {
            let errors = match self.coding.end {
                EndOfList::ErrorsAlways => self.coding.ints.int(reader)?,
                _ => 0,
            };
            return Ok(Listed::End { errors });
        }
        if self.coding.end == EndOfList::ErrorsIfAny && flags == xflags::END_WITH_ERRORS {
            return Ok(Listed::End { errors: self.coding.ints.int(reader)? });
        }
        let prefix = if flags & xflags::SAME_NAME == 0 { 0 } else { usize::from(reader.u8()?) };
        let suffix_len = if flags & xflags::LONG_NAME == 0 {
            usize::from(reader.u8()?)
        } else {
            length(self.coding.ints.int(reader)?, MAX_NAME, "name length")?
        };
        if prefix > self.previous.name.len() || prefix + suffix_len > MAX_NAME {
            return Err(DecodeError::malformed("name", format!("{prefix} shared bytes and {suffix_len} more")));
        }
        let suffix = reader.bytes(suffix_len)?;
        self.name.clear();
        self.name.extend_from_slice(&self.previous.name[..prefix]);
        self.name.extend_from_slice(suffix);
        if self.name.is_empty() || self.name.contains(&0) {
            return Err(DecodeError::malformed("name", "it is empty or holds a NUL byte"));
        }
        let link = self.take_link(flags, reader, entries)?;
        if let Link::Alike(at) = link {
            self.take_alike(at, entries);
            return Ok(Listed::Entry);
        }
        let Attributes { kind, mode, meta, digest, device, mut extras, user, group } =
            self.take_attributes(flags, reader)?;
        if let Link::Of(number) = link {
            if kind.is_dir() {
                return Err(DecodeError::malformed("hard link", "it is a folder"));
            }
            extras.file = Some(by_number(number));
            self.links.read.insert(number);
        }
        let entry = FileEntry { digest, extras, ..FileEntry::new(&self.name, kind, meta) };
        entries.push(&entry);
        // Only a whole entry moves the state, so that a short read can start over.
        self.previous.mode = mode;
        self.previous.mtime = meta.mtime.seconds;
        self.previous.atime = extras.atime.unwrap_or(self.previous.atime);
        self.previous.ids = Some((meta.uid, meta.gid));
        self.previous.device = self.device_after(device);
        self.heard.users.extend(user.map(|name| (meta.uid, name.into())));
        self.heard.groups.extend(group.map(|name| (meta.gid, name.into())));
        if let (Some(file), true) = (extras.file, self.coding.links != LinkCoding::FirstEntry) {
            self.previous.file_system = file.dev;
        }
        self.links.next = self.links.next.saturating_add(1);
        std::mem::swap(&mut self.previous.name, &mut self.name);
        Ok(Listed::Entry)
    }

    /// What an entry says behind its name of others.
    fn take_link(&self, flags: u32, reader: &mut Reader<'_>, entries: &Entries) -> Decode<Link> {
        let is_told = self.fields.hard_links && self.coding.links == LinkCoding::FirstEntry;
        if !is_told || flags & xflags::LINKED == 0 {
            return Ok(Link::None);
        }
        if flags & xflags::LINK_FIRST != 0 {
            return Ok(Link::Of(self.links.next));
        }
        let number = self.coding.ints.int(reader)?;
        if !(0..self.links.next).contains(&number) {
            let message = format!("to entry {number}, there are {} so far", self.links.next);
            return Err(DecodeError::malformed("hard link", message));
        }
        if number < self.links.part && self.links.read.contains(&number) {
            return Ok(Link::Of(number));
        }
        // The entries of this part are the last ones.
        let back = usize::try_from(self.links.next - number).unwrap_or(usize::MAX);
        match entries.len().checked_sub(back).filter(|_| self.links.read.contains(&number)) {
            Some(at) => Ok(Link::Alike(at)),
            None => Err(DecodeError::malformed("hard link", format!("to entry {number}, which is the first of none"))),
        }
    }

    /// Adds another name of an entry of this part.
    fn take_alike(&mut self, at: usize, entries: &mut Entries) {
        entries.push_alike(&self.name, at);
        if let Some(first) = entries.get(at) {
            self.previous.mode = first.mode();
            self.previous.mtime = first.meta.mtime.seconds;
            self.previous.atime = first.extras.atime.unwrap_or(self.previous.atime);
            self.previous.ids = Some((first.meta.uid, first.meta.gid));
            let device = self.numbers(first.kind);
            self.previous.device = self.device_after(device);
        }
        self.links.next = self.links.next.saturating_add(1);
        std::mem::swap(&mut self.previous.name, &mut self.name);
    }

    /// The numbers of its file, where an entry has such a field.
    fn take_file(&self, kind: EntryKind<'_>, flags: u32, reader: &mut Reader<'_>) -> Decode<Option<FileId>> {
        let has_numbers = self.fields.hard_links
            && match self.coding.links {
                LinkCoding::NumbersOfFiles => kind == EntryKind::File,
                LinkCoding::Numbers => flags & xflags::LINKED != 0,
                LinkCoding::FirstEntry => false,
            };
        if !has_numbers {
            return Ok(None);
        }
        if kind.is_dir() {
            return Err(DecodeError::malformed("hard link", "it is a folder"));
        }
        let is_same = self.coding.links == LinkCoding::Numbers && flags & xflags::SAME_FILE_SYSTEM != 0;
        let ints = self.coding.ints;
        let dev =
            if is_same { self.previous.file_system } else { ints.long(reader, 3)?.cast_unsigned().wrapping_sub(1) };
        Ok(Some(FileId { dev, ino: ints.long(reader, 3)?.cast_unsigned() }))
    }

    fn take_attributes<'r>(&self, flags: u32, reader: &mut Reader<'r>) -> Decode<Attributes<'r>> {
        let ints = self.coding.ints;
        let has = |flag: u32| flags & flag != 0;
        let size = u64::try_from(ints.long(reader, 3)?).map_err(|_| DecodeError::malformed("size", "negative"))?;
        let mtime = match ints {
            _ if has(xflags::SAME_TIME) => self.previous.mtime,
            IntCoding::Fixed => i64::from(reader.i32()?.cast_unsigned()),
            IntCoding::Variable => ints.long(reader, 4)?,
        };
        let mtime_ns = if self.coding.nanoseconds && has(xflags::NANOSECONDS) {
            number(ints.int(reader)?, MAX_NANOSECONDS, "nanoseconds")?.cast_unsigned()
        } else {
            0
        };
        let mode = if has(xflags::SAME_MODE) { self.previous.mode } else { reader.i32()?.cast_unsigned() };
        let mut kind = self.kind(mode, flags)?;
        let atime = match () {
            () if !self.fields.atimes || kind.is_dir() => None,
            () if has(xflags::SAME_ATIME) => Some(self.previous.atime),
            () => Some(IntCoding::Variable.long(reader, 4)?),
        };
        let same = self.previous.ids.unwrap_or_default();
        let uid = if has(xflags::SAME_UID) { same.0 } else { ints.int(reader)?.cast_unsigned() };
        let user = self.take_name(flags, xflags::SAME_UID, xflags::USER_NAME, reader)?;
        let gid = if has(xflags::SAME_GID) { same.1 } else { ints.int(reader)?.cast_unsigned() };
        let group = self.take_name(flags, xflags::SAME_GID, xflags::GROUP_NAME, reader)?;
        let mut device = None;
        if let EntryKind::Special(special) = &mut kind
            && self.has_numbers(*special)
        {
            let told = self.take_device(flags, reader)?;
            device = Some(told);
            if let Special::Character(own) | Special::Block(own) = special {
                *own = told;
            }
        }
        if let EntryKind::Symlink(target) = &mut kind
            && self.fields.links
        {
            let len = length(ints.int(reader)?, MAX_NAME, "symlink target length")?;
            *target = reader.bytes(len)?;
        }
        let file = self.take_file(kind, flags, reader)?;
        let digest = self.digest_len(kind).map(|len| reader.bytes(len)).transpose()?;
        let digest = digest.filter(|_| kind == EntryKind::File);
        let mtime = Mtime { seconds: mtime, nanoseconds: mtime_ns };
        let meta = FileMeta { size, mtime, permissions: (mode & 0o7777) as u16, uid, gid };
        Ok(Attributes { kind, mode, meta, digest, device, extras: Extras { atime, file }, user, group })
    }

    /// The name behind an id, where it stands there: with older numbers the same bits mean something else.
    fn take_name<'r>(&self, flags: u32, same: u32, named: u32, reader: &mut Reader<'r>) -> Decode<Option<&'r [u8]>> {
        if self.coding.ints == IntCoding::Fixed || flags & same != 0 || flags & named == 0 {
            return Ok(None);
        }
        let len = usize::from(reader.u8()?);
        let name = reader.bytes(len)?;
        if name.contains(&0) {
            return Err(DecodeError::malformed("id name", "it holds a NUL byte"));
        }
        Ok(Some(name))
    }

    fn kind(&self, mode: u32, flags: u32) -> Decode<EntryKind<'static>> {
        match mode & 0o170_000 {
            0o100_000 => Ok(EntryKind::File),
            0o120_000 => Ok(EntryKind::Symlink(&[])),
            0o040_000 if self.coding.content_flags && flags & xflags::NO_CONTENT != 0 => {
                let is_implied = flags & xflags::TOP_DIR != 0;
                Ok(EntryKind::Directory(if is_implied { Content::Implied } else { Content::Unlisted }))
            }
            0o040_000 if flags & xflags::TOP_DIR != 0 => Ok(EntryKind::Directory(Content::Argument)),
            0o040_000 => Ok(EntryKind::Directory(Content::Listed)),
            0o010_000 => Ok(EntryKind::Special(Special::Pipe)),
            0o020_000 => Ok(EntryKind::Special(Special::Character(Device::default()))),
            0o060_000 => Ok(EntryKind::Special(Special::Block(Device::default()))),
            0o140_000 => Ok(EntryKind::Special(Special::Socket)),
            other => Err(DecodeError::malformed("mode", format!("{other:#o} is no type of a file"))),
        }
    }
}

/// Of which file an entry is a name.
enum Link {
    /// Of none with several, or its numbers say it.
    None,
    /// Of that whose first name is this entry, this one perhaps.
    Of(i32),
    /// Of that whose first name stands at this position, and all else is as there.
    Alike(usize),
}

/// A file that is known by the entry of its first name.
fn by_number(number: i32) -> FileId {
    FileId { dev: 0, ino: number.unsigned_abs().into() }
}

/// What stands behind an entry's name.
struct Attributes<'r> {
    kind: EntryKind<'r>,
    /// As it came, since the next entry may refer to it.
    mode: u32,
    meta: FileMeta,
    digest: Option<&'r [u8]>,
    /// What its field told, also of a pipe or socket.
    device: Option<Device>,
    extras: Extras,
    user: Option<&'r [u8]>,
    group: Option<&'r [u8]>,
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

/// What [`ListCoder::take`] finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listed {
    /// An entry.
    Entry,
    /// The end of the list.
    End {
        /// The lister's error bits, 0 where this coding tells them elsewhere.
        errors: i32,
    },
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

fn length(value: i32, max: usize, field: &'static str) -> Decode<usize> {
    number(value, max, field).map(|value| value.unsigned_abs() as usize)
}

/// A number from 0 to `max`.
fn number(value: i32, max: usize, field: &'static str) -> Decode<i32> {
    if usize::try_from(value).is_ok_and(|value| value <= max) {
        return Ok(value);
    }
    Err(DecodeError::malformed(field, format!("{value}, allowed are 0 to {max}")))
}

#[cfg(test)]
mod tests;
