//! Many entries in little memory.

use super::counts::Counts;
use super::entry::{Content, Device, EntryKind, Extras, FileEntry, FileId, FileMeta, MAX_NAME, Mtime, Special};
use super::order::ListOrder;

/// Entries of a list: 48 bytes each, and beside them all names in one piece of memory.
#[derive(Debug, Clone, Default)]
pub struct Entries {
    records: Vec<Record>,
    /// For each entry its name, and right behind it what only some have: a symlink's target, a file's digest, or
    /// the numbers of a device; and its extras.
    bytes: Vec<u8>,
}

/// One entry.
#[derive(Debug, Clone, Copy)]
struct Record {
    /// Where its name starts. What was pushed later starts later.
    start: usize,
    size: u64,
    seconds: i64,
    nanoseconds: u32,
    uid: u32,
    gid: u32,
    /// [`NO_TAG`] for none.
    tag: u32,
    name_len: u16,
    extra_len: u16,
    permissions: u16,
    kind: Kind,
    /// Which extras it has, as bits of [`extra`].
    extras: u8,
}

const NO_TAG: u32 = u32::MAX;

mod extra {
    pub const ATIME: u8 = 1;
    pub const FILE: u8 = 2;
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    File,
    Directory(Content),
    Symlink,
    Pipe,
    Socket,
    Character,
    Block,
}

impl Entries {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Adds a copy of an entry at the end. Its name and its target have at most [`MAX_NAME`] bytes.
    pub fn push(&mut self, entry: &FileEntry<'_>) {
        let start = self.bytes.len();
        let numbers;
        let (kind, extra) = match entry.kind {
            EntryKind::File => (Kind::File, entry.digest.unwrap_or_default()),
            EntryKind::Directory(content) => (Kind::Directory(content), &[][..]),
            EntryKind::Symlink(target) => (Kind::Symlink, target),
            EntryKind::Special(Special::Pipe) => (Kind::Pipe, &[][..]),
            EntryKind::Special(Special::Socket) => (Kind::Socket, &[][..]),
            EntryKind::Special(Special::Character(device)) => {
                numbers = device.to_bytes();
                (Kind::Character, &numbers[..])
            }
            EntryKind::Special(Special::Block(device)) => {
                numbers = device.to_bytes();
                (Kind::Block, &numbers[..])
            }
        };
        let name_len = self.append(entry.name);
        let extra_len = self.append(extra);
        let extras = entry.extras.put(&mut self.bytes);
        let FileMeta { size, mtime: Mtime { seconds, nanoseconds }, permissions, uid, gid } = entry.meta;
        let tag = entry.tag.unwrap_or(NO_TAG);
        self.records.push(Record {
            start,
            size,
            seconds,
            nanoseconds,
            uid,
            gid,
            tag,
            name_len,
            extra_len,
            permissions,
            kind,
            extras,
        });
    }

    /// Adds another name of the entry at a position, with all else that it has.
    pub fn push_alike(&mut self, name: &[u8], of: usize) {
        let Some(&record) = self.records.get(of) else { return };
        let start = self.bytes.len();
        let behind_name = record.start + usize::from(record.name_len);
        let kept = usize::from(record.extra_len) + Extras::len(record.extras);
        let name_len = self.append(name);
        self.bytes.extend_from_within(behind_name..behind_name + kept);
        self.records.push(Record { start, name_len, ..record });
    }

    /// Bytes beyond [`MAX_NAME`], which no list can carry, are left out.
    fn append(&mut self, bytes: &[u8]) -> u16 {
        let len = u16::try_from(bytes.len().min(MAX_NAME)).unwrap_or(u16::MAX);
        self.bytes.extend_from_slice(&bytes[..usize::from(len)]);
        len
    }

    /// How many there are of each kind, and how large they are.
    pub fn count(&self) -> Counts {
        let mut counts = Counts::default();
        for entry in self.iter() {
            *counts.kinds.of(entry.kind) += 1;
            if !entry.kind.is_dir() {
                counts.size = counts.size.saturating_add(entry.meta.size);
            }
        }
        counts
    }

    /// The entry at a position.
    pub fn get(&self, at: usize) -> Option<FileEntry<'_>> {
        self.records.get(at).map(|record| record.entry(&self.bytes))
    }

    /// All of them in their order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = FileEntry<'_>> {
        self.records.iter().map(|record| record.entry(&self.bytes))
    }

    /// Keeps those that `keep` accepts.
    pub fn retain(&mut self, mut keep: impl FnMut(FileEntry<'_>) -> bool) {
        self.records.retain(|record| keep(record.entry(&self.bytes)));
    }

    /// Puts them into a session's order; those of one name and kind stay in the order in which they were pushed.
    pub fn sort(&mut self, order: ListOrder) {
        let key = |record: &Record| (record.name(&self.bytes), record.is_dir());
        self.records.sort_unstable_by(|a, b| order.compare(key(a), key(b)).then(a.start.cmp(&b.start)));
    }

    /// Whether there is an entry of this name, of whatever kind. They must stand in this order.
    pub fn has_name(&self, name: &[u8], order: ListOrder) -> bool {
        let has = |is_dir: bool| {
            let key = |record: &Record| order.compare((record.name(&self.bytes), record.is_dir()), (name, is_dir));
            self.records.binary_search_by(key).is_ok()
        };
        has(false) || has(true)
    }

    /// Gives each folder what this says about its content, by its name and by what it has said so far.
    pub fn set_contents(&mut self, mut content_of: impl FnMut(&[u8], Content) -> Content) {
        for record in &mut self.records {
            if let Kind::Directory(content) = record.kind {
                record.kind = Kind::Directory(content_of(record.name(&self.bytes), content));
            }
        }
    }

    /// Lets all folders of this name mean as much as this. The entries must stand in this order.
    pub fn unite_content(&mut self, name: &[u8], content: Content, order: ListOrder) {
        let compare = |record: &Record| order.compare((record.name(&self.bytes), record.is_dir()), (name, true));
        let first = self.records.partition_point(|record| compare(record).is_lt());
        let end = self.records.partition_point(|record| compare(record).is_le());
        for record in &mut self.records[first..end] {
            if let Kind::Directory(own) = &mut record.kind {
                *own = (*own).min(content);
            }
        }
    }

    /// The memory that they hold, in bytes.
    pub fn byte_len(&self) -> usize {
        self.records.len() * size_of::<Record>() + self.bytes.len()
    }

    /// Leaves one entry of each name: a folder if there is one, as receivers do, and else the one that was pushed first.
    /// Folders of one name become one that means as much as any of them. `dropped` hears of each entry that goes, and of the
    /// one that stays in its place.
    pub fn unite_names(&mut self, mut dropped: impl FnMut(FileEntry<'_>, FileEntry<'_>)) {
        let bytes = &self.bytes;
        self.records.sort_unstable_by(|a, b| {
            let rank = |record: &Record| (!record.is_dir(), record.start);
            a.name(bytes).cmp(b.name(bytes)).then_with(|| rank(a).cmp(&rank(b)))
        });
        self.records.dedup_by(|later, first| {
            if later.name(bytes) != first.name(bytes) {
                return false;
            }
            dropped(later.entry(bytes), first.entry(bytes));
            if let (Kind::Directory(content), Kind::Directory(also)) = (&mut first.kind, later.kind) {
                *content = (*content).min(also);
            }
            true
        });
    }

    /// Gives back memory that was held for more entries.
    pub fn shrink_to_fit(&mut self) {
        self.records.shrink_to_fit();
        self.bytes.shrink_to_fit();
    }
}

impl<'a> Extend<FileEntry<'a>> for Entries {
    fn extend<I: IntoIterator<Item = FileEntry<'a>>>(&mut self, entries: I) {
        entries.into_iter().for_each(|entry| self.push(&entry));
    }
}

impl<'a> FromIterator<FileEntry<'a>> for Entries {
    fn from_iter<I: IntoIterator<Item = FileEntry<'a>>>(entries: I) -> Self {
        let mut all = Self::default();
        all.extend(entries);
        all
    }
}

impl Extras {
    /// Writes those that there are, and says which.
    fn put(self, out: &mut Vec<u8>) -> u8 {
        let mut which = 0;
        if let Some(atime) = self.atime {
            which |= extra::ATIME;
            out.extend_from_slice(&atime.to_le_bytes());
        }
        if let Some(FileId { dev, ino }) = self.file {
            which |= extra::FILE;
            out.extend_from_slice(&dev.to_le_bytes());
            out.extend_from_slice(&ino.to_le_bytes());
        }
        which
    }

    /// How many bytes they are.
    fn len(which: u8) -> usize {
        let of = |bit: u8, len| if which & bit == 0 { 0 } else { len };
        of(extra::ATIME, 8) + of(extra::FILE, 16)
    }

    fn take(which: u8, mut bytes: &[u8]) -> Self {
        let mut next = |bit: u8| {
            let (value, rest) = bytes.split_first_chunk().filter(|_| which & bit != 0)?;
            bytes = rest;
            Some(u64::from_le_bytes(*value))
        };
        let atime = next(extra::ATIME).map(u64::cast_signed);
        let file = next(extra::FILE).zip(next(extra::FILE));
        Self { atime, file: file.map(|(dev, ino)| FileId { dev, ino }) }
    }
}

impl Device {
    fn to_bytes(self) -> [u8; 8] {
        (u64::from(self.major) << 32 | u64::from(self.minor)).to_le_bytes()
    }

    fn of_bytes(bytes: &[u8]) -> Self {
        let half =
            |at: usize| bytes.get(at..).and_then(<[u8]>::first_chunk).map_or(0, |bytes| u32::from_le_bytes(*bytes));
        Self { major: half(4), minor: half(0) }
    }
}

impl Record {
    fn is_dir(&self) -> bool {
        matches!(self.kind, Kind::Directory(_))
    }

    fn name<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        &bytes[self.start..][..usize::from(self.name_len)]
    }

    fn entry<'a>(&self, bytes: &'a [u8]) -> FileEntry<'a> {
        let name = self.name(bytes);
        let extra = &bytes[self.start + name.len()..][..usize::from(self.extra_len)];
        let kind = match self.kind {
            Kind::File => EntryKind::File,
            Kind::Directory(content) => EntryKind::Directory(content),
            Kind::Symlink => EntryKind::Symlink(extra),
            Kind::Pipe => EntryKind::Special(Special::Pipe),
            Kind::Socket => EntryKind::Special(Special::Socket),
            Kind::Character => EntryKind::Special(Special::Character(Device::of_bytes(extra))),
            Kind::Block => EntryKind::Special(Special::Block(Device::of_bytes(extra))),
        };
        let mtime = Mtime { seconds: self.seconds, nanoseconds: self.nanoseconds };
        let meta = FileMeta { size: self.size, mtime, permissions: self.permissions, uid: self.uid, gid: self.gid };
        let tag = Some(self.tag).filter(|&tag| tag != NO_TAG);
        let digest = (kind == EntryKind::File && !extra.is_empty()).then_some(extra);
        let extras = Extras::take(self.extras, &bytes[self.start + name.len() + extra.len()..]);
        FileEntry { tag, name, kind, meta, digest, extras }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn entry(name: &'static [u8], kind: EntryKind<'static>, tag: u32) -> FileEntry<'static> {
        FileEntry { tag: Some(tag), ..FileEntry::new(name, kind, FileMeta::default()) }
    }

    #[test]
    fn an_entry_is_small() {
        assert!(size_of::<Record>() <= 48, "{}", size_of::<Record>());
    }

    #[test]
    fn what_no_list_can_carry_is_cut_and_nothing_else_suffers() {
        let long = vec![b'n'; MAX_NAME + 9];
        let entries: Entries = [long.as_slice(), b"b"]
            .map(|name| FileEntry::new(name, EntryKind::Symlink(b"to"), FileMeta::default()))
            .into_iter()
            .collect();
        assert_eq!(entries.get(0).unwrap().name, &long[..MAX_NAME]);
        assert_eq!(entries.get(1).unwrap().name, b"b");
        assert!(entries.iter().all(|entry| entry.kind == EntryKind::Symlink(b"to")));
        assert_eq!(entries.get(2), None);
    }

    #[test]
    fn of_one_name_a_folder_stays_and_else_the_first() {
        let mut entries: Entries = [
            entry(b"x", EntryKind::File, 0),
            entry(b"d", EntryKind::File, 1),
            entry(b"d", EntryKind::Directory(Content::Unlisted), 2),
            entry(b"x", EntryKind::Symlink(b"to"), 3),
            entry(b"d", EntryKind::Directory(Content::Listed), 4),
        ]
        .into_iter()
        .collect();
        let mut dropped = Vec::new();
        entries.unite_names(|gone, stays| dropped.push((gone.tag.unwrap(), stays.tag.unwrap())));
        let left: Vec<_> = entries.iter().collect();
        assert_eq!(left, [entry(b"d", EntryKind::Directory(Content::Listed), 2), entry(b"x", EntryKind::File, 0)]);
        dropped.sort_unstable();
        assert_eq!(dropped, [(1, 2), (3, 0), (4, 2)]);
    }

    proptest! {
        #[test]
        fn what_was_pushed_is_there(
            names in proptest::collection::vec((proptest::collection::vec(any::<u8>(), 1..40), 0..6_u8, any::<[u8; 16]>()), 0..20),
            size: u64, seconds: i64, nanoseconds: u32, atime: Option<i64>, file: Option<(u64, u64)>, permissions: u16, ids: (u32, u32), tag in proptest::option::of(0..u32::MAX),
        ) {
            let mtime = Mtime { seconds, nanoseconds };
            let meta = FileMeta { size, mtime, permissions, uid: ids.0, gid: ids.1 };
            let pushed: Vec<_> = names.iter().map(|(name, kind, extra)| {
                let (kind, digest) = match kind {
                    0 => (EntryKind::File, None),
                    1 => (EntryKind::File, Some(&extra[..])),
                    2 => (EntryKind::Symlink(&extra[..]), None),
                    3 => (EntryKind::Special(Special::Block(Device { major: ids.0, minor: ids.1 })), None),
                    4 => (EntryKind::Special(Special::Socket), None),
                    _ => (EntryKind::Directory(Content::Argument), None),
                };
                FileEntry { tag, digest, extras: Extras { atime, file: file.map(|(dev, ino)| FileId { dev, ino }) }, ..FileEntry::new(name, kind, meta) }
            }).collect();
            let mut entries: Entries = pushed.iter().copied().collect();
            if let Some(first) = pushed.first() {
                entries.push_alike(b"another name", 0);
                prop_assert_eq!(entries.get(pushed.len()), Some(FileEntry { name: b"another name", ..*first }));
                entries.retain(|entry| entry.name != b"another name");
            }
            prop_assert_eq!(entries.iter().collect::<Vec<_>>(), pushed);
        }
    }
}
