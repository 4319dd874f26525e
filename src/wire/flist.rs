//! The file list: one entry for each file, folder and symlink, `protocol-notes/06-file-list.md`.
//!
//! Entries are written as differences to the entry sent before, so each direction keeps one coder. Devices, special
//! files and hard-link groups are not part of it: their options are never sent to a server.

use super::int::IntCoding;
use super::reader::{Decode, DecodeError, Reader};

/// The longest name, in bytes.
pub const MAX_NAME: usize = 4095;
/// The greatest value of the nanosecond field.
const MAX_NANOSECONDS: usize = 999_999_999;

/// How the flag word of an entry travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum XflagCoding {
    /// One byte (protocol 27).
    Byte,
    /// One or two bytes.
    Word,
    /// A varint.
    Varint,
}

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
pub struct ListFields {
    /// `-o`: user ids.
    pub owner: bool,
    /// `-g`: group ids.
    pub group: bool,
    /// `-l`: targets of symlinks.
    pub links: bool,
    /// `-c`: the length of each file's digest, in bytes.
    pub digest: Option<usize>,
}

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryKind {
    /// A regular file.
    File,
    /// A folder.
    Directory(Content),
    /// A symlink.
    Symlink,
}

/// What a folder's entry says about its content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// The folder was named by an argument and its content is listed.
    Argument,
    /// Its content is listed.
    Listed,
    /// Only the folder itself is meant; nothing is ever deleted in it.
    Unlisted,
}

/// One entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileEntry {
    /// The name relative to the destination, without a leading slash.
    pub name: Box<[u8]>,
    /// What it is.
    pub kind: EntryKind,
    /// The permission bits of the mode, 0 to 0o7777.
    pub permissions: u16,
    /// The length in bytes.
    pub size: u64,
    /// The modification time in seconds since 1970, UTC.
    pub mtime: i64,
    /// Its nanoseconds, below 10^9.
    pub mtime_ns: u32,
    /// The user id; meaningless unless [`ListFields::owner`].
    pub uid: u32,
    /// The group id; meaningless unless [`ListFields::group`].
    pub gid: u32,
    /// A symlink's target.
    pub target: Option<Box<[u8]>>,
    /// A regular file's digest, where [`ListFields::digest`] asks for it.
    pub digest: Option<Box<[u8]>>,
}

impl FileEntry {
    /// Whether it is a folder.
    pub fn is_dir(&self) -> bool {
        matches!(self.kind, EntryKind::Directory(_))
    }

    /// The name and kind, as the list's order wants them.
    pub fn sort_key(&self) -> (&[u8], bool) {
        (&self.name, self.is_dir())
    }

    fn mode(&self) -> u32 {
        let kind = match self.kind {
            EntryKind::File => 0o100_000,
            EntryKind::Directory(_) => 0o040_000,
            EntryKind::Symlink => 0o120_000,
        };
        kind | u32::from(self.permissions & 0o7777)
    }
}

mod xflags {
    pub const TOP_DIR: u32 = 0x0001;
    pub const SAME_MODE: u32 = 0x0002;
    pub const EXTENDED: u32 = 0x0004;
    pub const SAME_UID: u32 = 0x0008;
    pub const SAME_GID: u32 = 0x0010;
    pub const SAME_NAME: u32 = 0x0020;
    pub const LONG_NAME: u32 = 0x0040;
    pub const SAME_TIME: u32 = 0x0080;
    pub const NO_CONTENT: u32 = 0x0100;
    pub const END_WITH_ERRORS: u32 = 0x1000;
    pub const NANOSECONDS: u32 = 0x2000;
}

/// What the next entry is described against.
#[derive(Debug, Clone, Default)]
struct Previous {
    name: Vec<u8>,
    mode: u32,
    mtime: i64,
    /// `None` before the first entry: an id may then not be left out even when it is 0.
    ids: Option<(u32, u32)>,
}

/// Writes and reads the entries of one list.
#[derive(Debug, Clone)]
pub struct ListCoder {
    coding: ListCoding,
    fields: ListFields,
    previous: Previous,
}

impl ListCoder {
    /// The state before the first entry.
    pub fn new(coding: ListCoding, fields: ListFields) -> Self {
        Self { coding, fields, previous: Previous::default() }
    }

    /// Writes one entry. Names must not be longer than [`MAX_NAME`].
    pub fn put(&mut self, entry: &FileEntry, out: &mut Vec<u8>) {
        let previous = &self.previous;
        let shared = entry.name.iter().zip(&previous.name).take_while(|(a, b)| a == b).count();
        let shared = u8::try_from(shared).unwrap_or(u8::MAX);
        let prefix = usize::from(shared);
        let suffix = &entry.name[prefix..];
        let mode = entry.mode();
        let flag = |condition: bool, flag: u32| if condition { flag } else { 0 };
        let flags = flag(matches!(entry.kind, EntryKind::Directory(Content::Argument)), xflags::TOP_DIR)
            | flag(
                self.coding.content_flags && matches!(entry.kind, EntryKind::Directory(Content::Unlisted)),
                xflags::NO_CONTENT,
            )
            | flag(mode == previous.mode, xflags::SAME_MODE)
            | flag(!self.fields.owner || previous.ids.is_some_and(|ids| ids.0 == entry.uid), xflags::SAME_UID)
            | flag(!self.fields.group || previous.ids.is_some_and(|ids| ids.1 == entry.gid), xflags::SAME_GID)
            | flag(prefix > 0, xflags::SAME_NAME)
            | flag(suffix.len() > 255, xflags::LONG_NAME)
            | flag(entry.mtime == previous.mtime, xflags::SAME_TIME)
            | flag(self.coding.nanoseconds && entry.mtime_ns != 0, xflags::NANOSECONDS);
        let flags = self.put_xflags(flags, entry.is_dir(), out);
        if flags & xflags::SAME_NAME != 0 {
            out.push(shared);
        }
        if flags & xflags::LONG_NAME != 0 {
            self.put_len(suffix.len(), out);
        } else {
            out.push(suffix.len().to_le_bytes()[0]);
        }
        out.extend_from_slice(suffix);
        self.put_attributes(entry, flags, mode, out);
        self.previous.name.truncate(prefix);
        self.previous.name.extend_from_slice(suffix);
        self.previous.mode = mode;
        self.previous.mtime = entry.mtime;
        self.previous.ids = Some((entry.uid, entry.gid));
    }

    /// Writes the flag word and gives the flags that count. A word of 0 would end the list, so each coding has a bit to
    /// set instead; with protocol 27 that of a folder changes how its name's length travels.
    fn put_xflags(&self, flags: u32, is_dir: bool, out: &mut Vec<u8>) -> u32 {
        let flags = match self.coding.xflags {
            XflagCoding::Byte if flags == 0 && is_dir => xflags::LONG_NAME,
            XflagCoding::Byte | XflagCoding::Word if flags == 0 && !is_dir => xflags::TOP_DIR,
            _ => flags,
        };
        match self.coding.xflags {
            XflagCoding::Word if flags > 0xff || flags == 0 => put_word(flags | xflags::EXTENDED, out),
            XflagCoding::Byte | XflagCoding::Word => out.push(flags.to_le_bytes()[0]),
            XflagCoding::Varint => {
                let flags = if flags == 0 { xflags::EXTENDED } else { flags };
                IntCoding::Variable.put_int(out, flags.cast_signed());
            }
        }
        flags
    }

    /// Lengths are at most [`MAX_NAME`].
    fn put_len(&self, len: usize, out: &mut Vec<u8>) {
        self.coding.ints.put_int(out, i32::try_from(len).unwrap_or(i32::MAX));
    }

    fn put_attributes(&self, entry: &FileEntry, flags: u32, mode: u32, out: &mut Vec<u8>) {
        let ints = self.coding.ints;
        ints.put_long(out, i64::try_from(entry.size).unwrap_or(i64::MAX), 3);
        if flags & xflags::SAME_TIME == 0 {
            match ints {
                // Old receivers have 32 bits; a time before 1970 or after 2106 wraps, as it does with them.
                IntCoding::Fixed => out.extend_from_slice(&entry.mtime.to_le_bytes()[..4]),
                IntCoding::Variable => ints.put_long(out, entry.mtime, 4),
            }
        }
        if flags & xflags::NANOSECONDS != 0 {
            ints.put_int(out, entry.mtime_ns.cast_signed());
        }
        if flags & xflags::SAME_MODE == 0 {
            out.extend_from_slice(&mode.to_le_bytes());
        }
        if flags & xflags::SAME_UID == 0 {
            ints.put_int(out, entry.uid.cast_signed());
        }
        if flags & xflags::SAME_GID == 0 {
            ints.put_int(out, entry.gid.cast_signed());
        }
        if self.fields.links && entry.kind == EntryKind::Symlink {
            let target = entry.target.as_deref().unwrap_or_default();
            self.put_len(target.len(), out);
            out.extend_from_slice(target);
        }
        if let Some(len) = self.digest_len(entry.kind) {
            let digest = entry.digest.as_deref().unwrap_or_default();
            let taken = digest.len().min(len);
            out.extend_from_slice(&digest[..taken]);
            out.resize(out.len() + len - taken, 0);
        }
    }

    fn digest_len(&self, kind: EntryKind) -> Option<usize> {
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
                put_word(xflags::END_WITH_ERRORS | xflags::EXTENDED, out);
                self.coding.ints.put_int(out, errors);
            }
            _ => out.push(0),
        }
    }

    /// Reads one entry, or the end of the list with the error bits told there.
    pub fn take(&mut self, reader: &mut Reader<'_>) -> Decode<Listed> {
        let flags = match self.coding.xflags {
            XflagCoding::Varint => IntCoding::Variable.int(reader)?.cast_unsigned(),
            XflagCoding::Byte => u32::from(reader.u8()?),
            XflagCoding::Word => {
                let low = u32::from(reader.u8()?);
                if low & xflags::EXTENDED == 0 { low } else { low | u32::from(reader.u8()?) << 8 }
            }
        };
        if flags == 0 {
            let errors = match self.coding.end {
                EndOfList::ErrorsAlways => self.coding.ints.int(reader)?,
                _ => 0,
            };
            return Ok(Listed::End { errors });
        }
        if self.coding.end == EndOfList::ErrorsIfAny && flags == xflags::END_WITH_ERRORS | xflags::EXTENDED {
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
        let mut name = self.previous.name[..prefix].to_vec();
        name.extend_from_slice(suffix);
        if name.is_empty() || name.contains(&0) {
            return Err(DecodeError::malformed("name", "it is empty or holds a NUL byte"));
        }
        let entry = self.take_attributes(name, flags, reader)?;
        // Only a whole entry moves the state, so that a short read can start over.
        self.previous.name.clear();
        self.previous.name.extend_from_slice(&entry.name);
        self.previous.mode = entry.mode();
        self.previous.mtime = entry.mtime;
        self.previous.ids = Some((entry.uid, entry.gid));
        Ok(Listed::Entry(entry))
    }

    fn take_attributes(&self, name: Vec<u8>, flags: u32, reader: &mut Reader<'_>) -> Decode<FileEntry> {
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
        let kind = self.kind(mode, flags)?;
        let same = self.previous.ids.unwrap_or_default();
        let uid = if has(xflags::SAME_UID) { same.0 } else { ints.int(reader)?.cast_unsigned() };
        let gid = if has(xflags::SAME_GID) { same.1 } else { ints.int(reader)?.cast_unsigned() };
        let target = if self.fields.links && kind == EntryKind::Symlink {
            let len = length(ints.int(reader)?, MAX_NAME, "symlink target length")?;
            Some(Box::from(reader.bytes(len)?))
        } else {
            None
        };
        let digest = match self.digest_len(kind) {
            None => None,
            Some(len) => {
                let bytes = reader.bytes(len)?;
                (kind == EntryKind::File).then(|| Box::from(bytes))
            }
        };
        Ok(FileEntry {
            name: name.into(),
            kind,
            permissions: (mode & 0o7777) as u16,
            size,
            mtime,
            mtime_ns,
            uid,
            gid,
            target,
            digest,
        })
    }

    fn kind(&self, mode: u32, flags: u32) -> Decode<EntryKind> {
        match mode & 0o170_000 {
            0o100_000 => Ok(EntryKind::File),
            0o120_000 => Ok(EntryKind::Symlink),
            0o040_000 if self.coding.content_flags && flags & xflags::NO_CONTENT != 0 => {
                Ok(EntryKind::Directory(Content::Unlisted))
            }
            0o040_000 if flags & xflags::TOP_DIR != 0 => Ok(EntryKind::Directory(Content::Argument)),
            0o040_000 => Ok(EntryKind::Directory(Content::Listed)),
            other => Err(DecodeError::malformed("mode", format!("type {other:#o} was not asked for"))),
        }
    }
}

/// What [`ListCoder::take`] finds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listed {
    /// An entry.
    Entry(FileEntry),
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
}

/// The low 16 bits of a flag word; no flag that is sent this way lies above them.
fn put_word(flags: u32, out: &mut Vec<u8>) {
    out.extend_from_slice(&flags.to_le_bytes()[..2]);
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
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MODERN: ListCoding = ListCoding {
        ints: IntCoding::Variable,
        xflags: XflagCoding::Varint,
        end: EndOfList::ErrorsAlways,
        nanoseconds: true,
        content_flags: true,
        zero_id_names: true,
        digest_for_every_entry: false,
    };
    const OLD: ListCoding = ListCoding {
        ints: IntCoding::Fixed,
        xflags: XflagCoding::Word,
        end: EndOfList::ErrorsAfterIds,
        nanoseconds: false,
        content_flags: false,
        zero_id_names: false,
        digest_for_every_entry: false,
    };

    fn entry(name: &str, kind: EntryKind, permissions: u16, size: u64, mtime: i64, mtime_ns: u32) -> FileEntry {
        FileEntry {
            name: name.as_bytes().into(),
            kind,
            permissions,
            size,
            mtime,
            mtime_ns,
            uid: 0,
            gid: 0,
            target: None,
            digest: None,
        }
    }

    fn captured_tree() -> [FileEntry; 2] {
        [
            entry(".", EntryKind::Directory(Content::Argument), 0o755, 4096, 1_704_164_647, 0),
            entry("a.txt", EntryKind::File, 0o644, 6, 1_704_164_645, 500_000_000),
        ]
    }

    fn encode(coding: ListCoding, fields: ListFields, entries: &[FileEntry]) -> Vec<u8> {
        let mut coder = ListCoder::new(coding, fields);
        let mut out = Vec::new();
        for entry in entries {
            coder.put(entry, &mut out);
        }
        coder.put_end(0, &mut out);
        out
    }

    #[test]
    fn the_captured_list_of_protocol_32() {
        let expected = [
            &[0x19_u8, 1, b'.', 0, 0, 0x10, 0x65, 0x27, 0x7d, 0x93, 0xed, 0x41, 0, 0][..],
            &[0xa0, 0x18, 5],
            b"a.txt",
            &[0, 6, 0, 0x65, 0x25, 0x7d, 0x93, 0xf0, 0, 0x65, 0xcd, 0x1d, 0xa4, 0x81, 0, 0, 0, 0],
        ]
        .concat();
        assert_eq!(encode(MODERN, ListFields::default(), &captured_tree()), expected);
    }

    #[test]
    fn the_captured_list_of_protocol_29() {
        let expected = [
            &[0x19_u8, 1, b'.', 0, 0x10, 0, 0, 0x27, 0x7d, 0x93, 0x65, 0xed, 0x41, 0, 0, 0x18, 5][..],
            b"a.txt",
            &[6, 0, 0, 0, 0x25, 0x7d, 0x93, 0x65, 0xa4, 0x81, 0, 0, 0],
        ]
        .concat();
        assert_eq!(encode(OLD, ListFields::default(), &captured_tree()), expected);
    }

    #[test]
    fn the_first_entry_never_leaves_its_ids_out() {
        let fields = ListFields { owner: true, group: true, ..ListFields::default() };
        let wire = encode(MODERN, fields, &captured_tree());
        assert_eq!(wire[0], 0x01);
    }

    #[test]
    fn hostile_entries_are_malformed() {
        let malformed = |wire: &[u8]| {
            matches!(
                ListCoder::new(MODERN, ListFields::default()).take(&mut Reader::new(wire)),
                Err(DecodeError::Malformed { .. })
            )
        };
        // A prefix longer than the previous name; a device; a nanosecond field out of range; an empty name.
        assert!(malformed(&[0x38, 9, 1, b'x', 0, 0, 0]));
        assert!(malformed(&[0x18, 1, b'x', 0, 0, 0, 0, 0, 0, 0, 0xb6, 0x61, 0, 0]));
        assert!(malformed(&[0xa0, 0x18, 1, b'x', 0, 0, 0, 0, 0, 0, 0, 0xf0, 0xff, 0xff, 0xff, 0x7f]));
        assert!(malformed(&[0x18, 0]));
    }

    fn any_entry() -> impl Strategy<Value = FileEntry> {
        let kind = prop_oneof![
            Just(EntryKind::File),
            Just(EntryKind::Symlink),
            Just(EntryKind::Directory(Content::Argument)),
            Just(EntryKind::Directory(Content::Listed)),
            Just(EntryKind::Directory(Content::Unlisted)),
        ];
        (
            ("[a-c/]{1,3}", proptest::collection::vec(1..255_u8, 0..300)),
            kind,
            0..0o7777_u16,
            0..i64::MAX as u64,
            0..u32::MAX,
            0..1_000_000_000_u32,
            (0..3_u32, any::<u32>()),
        )
            .prop_map(|((head, tail), kind, permissions, size, mtime, mtime_ns, (uid, gid))| FileEntry {
                name: [head.as_bytes(), &tail].concat().into(),
                kind,
                permissions,
                size,
                mtime: i64::from(mtime),
                mtime_ns,
                uid,
                gid,
                target: (kind == EntryKind::Symlink).then(|| Box::from(&b"target"[..])),
                digest: None,
            })
    }

    proptest! {
        #[test]
        fn lists_survive(mut entries in proptest::collection::vec(any_entry(), 1..20),
                         owner: bool, group: bool, modern: bool, one_byte: bool) {
            let coding = match (modern, one_byte) {
                (true, _) => MODERN,
                (false, true) => ListCoding { xflags: XflagCoding::Byte, ..OLD },
                (false, false) => OLD,
            };
            let fields = ListFields { owner, group, links: true, digest: None };
            for entry in &mut entries {
                // What the coding cannot carry arrives as its default.
                if !coding.nanoseconds { entry.mtime_ns = 0; }
                if !owner { entry.uid = 0; }
                if !group { entry.gid = 0; }
                if !coding.content_flags && entry.kind == EntryKind::Directory(Content::Unlisted) {
                    entry.kind = EntryKind::Directory(Content::Listed);
                }
            }
            let wire = encode(coding, fields, &entries);
            let mut coder = ListCoder::new(coding, fields);
            let mut reader = Reader::new(&wire);
            for entry in &entries {
                prop_assert_eq!(coder.take(&mut reader), Ok(Listed::Entry(entry.clone())));
            }
            prop_assert_eq!(coder.take(&mut reader), Ok(Listed::End { errors: 0 }));
            prop_assert!(reader.is_empty());
        }

        #[test]
        fn garbage_never_panics(bytes: Vec<u8>) {
            let mut coder = ListCoder::new(MODERN, ListFields { owner: true, group: true, links: true, digest: Some(16) });
            let mut reader = Reader::new(&bytes);
            while coder.take(&mut reader).is_ok() && !reader.is_empty() {}
        }
    }
}
