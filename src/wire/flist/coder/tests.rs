//! Captured lists, hostile ones, and lists of every shape there and back.

use super::*;
use crate::wire::flist::entries::Entries;
use crate::wire::flist::entry::{Content, Extras, FileMeta, Mtime};
use crate::wire::reader::{DecodeError, Reader};
use proptest::prelude::*;

const MODERN: ListCoding = ListCoding {
    ints: IntCoding::Variable,
    xflags: XflagCoding::Varint,
    end: EndOfList::ErrorsAlways,
    devices: DeviceCoding::DevicesAlone,
    links: LinkCoding::FirstEntry,
    nanoseconds: true,
    content_flags: true,
    zero_id_names: true,
    digest_for_every_entry: false,
};
const OLD: ListCoding = ListCoding {
    ints: IntCoding::Fixed,
    xflags: XflagCoding::Word,
    end: EndOfList::ErrorsAfterIds,
    devices: DeviceCoding::ShortMinor,
    links: LinkCoding::Numbers,
    nanoseconds: false,
    content_flags: false,
    zero_id_names: false,
    digest_for_every_entry: false,
};

fn meta(permissions: u16, size: u64, seconds: i64, nanoseconds: u32) -> FileMeta {
    FileMeta { size, mtime: Mtime { seconds, nanoseconds }, permissions, uid: 0, gid: 0 }
}

fn captured_tree() -> Entries {
    let folder = FileEntry::new(b".", EntryKind::Directory(Content::Argument), meta(0o755, 4096, 1_704_164_647, 0));
    let file = FileEntry::new(b"a.txt", EntryKind::File, meta(0o644, 6, 1_704_164_645, 500_000_000));
    [folder, file].into_iter().collect()
}

fn encode(coding: ListCoding, fields: ListFields, entries: &Entries) -> Vec<u8> {
    let mut coder = ListCoder::new(coding, fields);
    let mut out = Vec::new();
    for entry in entries.iter() {
        coder.put(&entry, &mut out);
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
            ListCoder::new(MODERN, ListFields::default()).take(&mut Reader::new(wire), &mut Entries::default()),
            Err(DecodeError::Malformed { .. })
        )
    };
    // A prefix longer than the previous name; a kind that no system has; a nanosecond field out of range; an empty name.
    assert!(malformed(&[0x38, 9, 1, b'x', 0, 0, 0]));
    assert!(malformed(&[0x18, 1, b'x', 0, 0, 0, 0, 0, 0, 0, 0xb6, 0xf1, 0, 0]));
    assert!(malformed(&[0xa0, 0x18, 1, b'x', 0, 0, 0, 0, 0, 0, 0, 0xf0, 0xff, 0xff, 0xff, 0x7f]));
    assert!(malformed(&[0x18, 0]));
}

/// Names of two files, one in between of a third.
fn linked_tree() -> Entries {
    let entry = |name: &'static [u8], ino, kind| {
        let file = (ino > 0).then_some(FileId { dev: 9, ino });
        let meta = meta(0o644, ino, 5, 0);
        FileEntry { extras: Extras { file, ..Extras::default() }, ..FileEntry::new(name, kind, meta) }
    };
    let (file, link) = (EntryKind::File, EntryKind::Symlink(b"to"));
    [entry(b"a", 1, file), entry(b"b", 2, link), entry(b"c", 1, file), entry(b"d", 0, file), entry(b"e", 2, link)]
        .into_iter()
        .collect()
}

const LINKS: ListFields = ListFields { links: true, hard_links: true, ..ListFields::NONE };

#[test]
fn names_of_one_file_are_known_as_such_under_every_coding() {
    let oldest = ListCoding { xflags: XflagCoding::Byte, links: LinkCoding::NumbersOfFiles, ..OLD };
    for coding in [oldest, OLD, MODERN] {
        let wire = encode(coding, LINKS, &linked_tree());
        let (mut coder, mut reader, mut read) = (ListCoder::new(coding, LINKS), Reader::new(&wire), Entries::default());
        while coder.take(&mut reader, &mut read).unwrap() == Listed::Entry {}
        let file = |at: usize| read.get(at).unwrap().extras.file;
        assert!(file(0).is_some() && file(0) == file(2) && file(0) != file(1), "{coding:?}");
        assert_eq!(file(3).is_some(), coding.links == LinkCoding::NumbersOfFiles);
        // The oldest protocol has no word for links of symlinks.
        assert_eq!((file(1), file(1).is_none()), (file(4), coding.links == LinkCoding::NumbersOfFiles));
        let bare = |entries: &Entries| -> Vec<String> {
            let bare = entries.iter().map(|entry| FileEntry { extras: Extras::default(), ..entry });
            bare.map(|entry| format!("{entry:?}")).collect()
        };
        assert_eq!(bare(&read), bare(&linked_tree()), "{coding:?}");
    }
}

#[test]
fn another_name_in_the_same_part_is_a_name_and_a_number() {
    let wire = encode(MODERN, LINKS, &linked_tree());
    assert!(wire.windows(5).any(|five| five == [0x82, 0, 1, b'c', 0]), "{wire:x?}");
    let mut coder = ListCoder::new(MODERN, LINKS);
    let mut out = Vec::new();
    coder.begin_part(1);
    coder.put(&linked_tree().get(0).unwrap(), &mut out);
    coder.begin_part(7);
    out.clear();
    coder.put(&linked_tree().get(2).unwrap(), &mut out);
    // In another part it has all its fields, with what is as before left out.
    assert_eq!(out, [0x82, 0x9a, 1, b'c', 1, 0, 1, 0], "{out:x?}");
}

#[test]
fn hostile_links_are_malformed() {
    let tree = encode(MODERN, LINKS, &linked_tree());
    let read = |number: u8| {
        let mut wire = tree[..tree.len() - 2].to_vec();
        wire.extend([0x82, 0, 1, b'z', number]);
        let (mut coder, mut reader, mut read) = (ListCoder::new(MODERN, LINKS), Reader::new(&wire), Entries::default());
        (0..6).map(|_| coder.take(&mut reader, &mut read)).last().unwrap()
    };
    assert_eq!(read(0), Ok(Listed::Entry));
    // One with one name; one that is not the first; itself; one that does not exist.
    for number in [3, 2, 5, 6, 100] {
        assert!(matches!(read(number), Err(DecodeError::Malformed { .. })), "{number}");
    }
    for (coding, flags) in [(MODERN, &[0x92, 0][..]), (OLD, &[0x04, 0x02])] {
        let folder = FileEntry::new(b"d", EntryKind::Directory(Content::Listed), meta(0o755, 0, 1, 0));
        let mut wire = Vec::new();
        ListCoder::new(coding, LINKS).put(&folder, &mut wire);
        let name = wire.iter().position(|&byte| byte == b'd').unwrap();
        let flags = if coding == MODERN { &[0x92, 0][..] } else { flags };
        let wire = [flags, &wire[name - 1..], &[0; 16]].concat();
        let taken = ListCoder::new(coding, LINKS).take(&mut Reader::new(&wire), &mut Entries::default());
        assert!(matches!(taken, Err(DecodeError::Malformed { .. })), "{taken:?}");
    }
}

/// A name, and all else.
fn any_entry() -> impl Strategy<Value = (Vec<u8>, EntryKind<'static>, FileMeta)> {
    let kind = prop_oneof![
        Just(EntryKind::File),
        Just(EntryKind::Symlink(b"target")),
        Just(EntryKind::Directory(Content::Argument)),
        Just(EntryKind::Directory(Content::Listed)),
        Just(EntryKind::Directory(Content::Unlisted)),
        Just(EntryKind::Directory(Content::Implied)),
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
        .prop_map(|((head, tail), kind, permissions, size, seconds, nanoseconds, (uid, gid))| {
            let mtime = Mtime { seconds: i64::from(seconds), nanoseconds };
            let meta = FileMeta { size, mtime, permissions, uid, gid };
            ([head.as_bytes(), &tail].concat(), kind, meta)
        })
}

proptest! {
    #[test]
    fn lists_survive(mut entries in proptest::collection::vec(any_entry(), 1..20),
                     owner: bool, group: bool, modern: bool, one_byte: bool, atimes: bool) {
        let coding = match (modern, one_byte) {
            (true, _) => MODERN,
            (false, true) => ListCoding { xflags: XflagCoding::Byte, links: LinkCoding::NumbersOfFiles, ..OLD },
            (false, false) => OLD,
        };
        let fields = ListFields { owner, group, links: true, devices: true, specials: true, atimes, ..ListFields::default() };
        for (_, kind, meta) in &mut entries {
            // What the coding cannot carry arrives as its default.
            if !coding.nanoseconds { meta.mtime.nanoseconds = 0; }
            if !owner { meta.uid = 0; }
            if !group { meta.gid = 0; }
            if !coding.content_flags
                && matches!(kind, EntryKind::Directory(Content::Unlisted | Content::Implied))
            {
                *kind = EntryKind::Directory(Content::Listed);
            }
        }
        let entries: Entries = entries.iter().map(|(name, kind, meta)| {
            let atime = (atimes && !kind.is_dir()).then_some(meta.mtime.seconds / 7 * 7 - 9);
            FileEntry { extras: Extras { atime, ..Extras::default() }, ..FileEntry::new(name, *kind, *meta) }
        }).collect();
        let wire = encode(coding, fields, &entries);
        let mut coder = ListCoder::new(coding, fields);
        let mut reader = Reader::new(&wire);
        let mut taken = Entries::default();
        for _ in 0..entries.len() {
            prop_assert_eq!(coder.take(&mut reader, &mut taken), Ok(Listed::Entry));
        }
        prop_assert!(taken.iter().eq(entries.iter()));
        prop_assert_eq!(coder.take(&mut reader, &mut taken), Ok(Listed::End { errors: 0 }));
        prop_assert!(reader.is_empty());
    }

    #[test]
    fn garbage_never_panics(bytes: Vec<u8>) {
        let mut coder = ListCoder::new(MODERN, ListFields { owner: true, group: true, links: true, digest: Some(16), ..ListFields::default() });
        let mut reader = Reader::new(&bytes);
        let mut entries = Entries::default();
        while coder.take(&mut reader, &mut entries).is_ok() && !reader.is_empty() {}
    }
}

#[test]
fn lists_in_parts_name_each_id_with_its_first_entry() {
    let fields = ListFields { owner: true, group: true, ..ListFields::default() };
    let mut coder =
        ListCoder::new(MODERN, fields).with_names(&[(0, Box::from(*b"root"))], &[(7, Box::from(*b"staff"))]);
    let mut out = Vec::new();
    for (name, uid, gid) in [(b"a", 0, 0), (b"b", 1, 7), (b"c", 0, 0), (b"d", 0, 7)] {
        let meta = FileMeta { uid, gid, ..FileMeta::default() };
        coder.put(&FileEntry::new(name, EntryKind::File, meta), &mut out);
    }
    let named = |name: &[u8]| out.windows(name.len()).filter(|window| *window == name).count();
    assert_eq!((named(b"\x00\x04root\x00"), named(b"\x07\x05staff")), (1, 1));
    assert_eq!((named(b"root"), named(b"staff")), (1, 1));
}

const SPECIALS: ListFields = ListFields { devices: true, specials: true, ..ListFields::NONE };

/// A device, a pipe, a second device of the same driver, a file, and the second device again.
fn special_tree() -> Entries {
    let device = |minor| EntryKind::Special(Special::Character(Device { major: 240, minor }));
    let entry = |name: &'static [u8], kind| FileEntry::new(name, kind, meta(0o600, 0, 0, 0));
    [
        entry(b"a", device(3)),
        entry(b"b", EntryKind::Special(Special::Pipe)),
        entry(b"c", device(256)),
        entry(b"d", EntryKind::File),
        entry(b"e", device(256)),
        entry(b"f", EntryKind::Special(Special::Block(Device { major: 241, minor: 70_000 }))),
        entry(b"g", EntryKind::Special(Special::Socket)),
    ]
    .into_iter()
    .collect()
}

#[test]
fn numbers_of_devices_travel_as_each_protocol_has_them() {
    let whole = ListCoding { xflags: XflagCoding::Byte, devices: DeviceCoding::Whole, ..OLD };
    let parts = ListCoding { devices: DeviceCoding::Parts, ..MODERN };
    for coding in [whole, OLD, parts, MODERN] {
        let wire = encode(coding, SPECIALS, &special_tree());
        let (mut coder, mut reader, mut read) =
            (ListCoder::new(coding, SPECIALS), Reader::new(&wire), Entries::default());
        while coder.take(&mut reader, &mut read).unwrap() == Listed::Entry {}
        assert_eq!(read.iter().collect::<Vec<_>>(), special_tree().iter().collect::<Vec<_>>(), "{coding:?}");
    }
}

#[test]
fn devices_as_stock_rsync_writes_them() {
    let one = |coding, minor| {
        let kind = EntryKind::Special(Special::Character(Device { major: 1, minor }));
        let entries = [FileEntry::new(b"n", kind, meta(0o666, 0, 0, 0))].into_iter().collect();
        encode(coding, SPECIALS, &entries)
    };
    let ends = |wire: &[u8], tail: &[u8]| assert!(wire.ends_with(tail), "{wire:x?}");
    let whole = ListCoding { xflags: XflagCoding::Byte, devices: DeviceCoding::Whole, ..OLD };
    ends(&one(whole, 3), &[0xb6, 0x21, 0, 0, 3, 1, 0, 0, 0]);
    ends(&one(OLD, 3), &[0xb6, 0x21, 0, 0, 1, 0, 0, 0, 3, 0]);
    ends(&one(OLD, 256), &[0xb6, 0x21, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0]);
    ends(&one(MODERN, 3), &[0xb6, 0x21, 0, 0, 1, 3, 0, 0]);
}
