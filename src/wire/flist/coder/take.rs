//! Entries as they are read: every field is checked against what it may be.

use super::{DeviceCoding, EndOfList, LinkCoding, ListCoder};
use crate::wire::flist::entries::Entries;
use crate::wire::flist::entry::{
    Content, Device, EntryKind, Extras, FileEntry, FileId, FileMeta, MAX_NAME, Mtime, Special,
};
use crate::wire::flist::xflags;
use crate::wire::int::IntCoding;
use crate::wire::reader::{Decode, DecodeError, Reader};

/// The greatest value of the nanosecond field.
const MAX_NANOSECONDS: usize = 999_999_999;

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

impl ListCoder {
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
