use super::*;
use crate::text;
use crate::tree::path::NameFault;
use crate::tree::source::SourceFile;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use tempfile::TempDir;

const RECURSIVE: WalkOptions = WalkOptions {
    links: Links::Keep,
    followed: Followed { to_folders: false, unsafe_ones: false },
    unmunges: false,
    depth: Depth::Recursive,
    leaves_way: false,
    one_file_system: false,
    fields: ListFields::NONE,
    lists_skipped: false,
};

fn rules(filters: &[&str]) -> Rules {
    let mut rules = Rules::default();
    for filter in filters {
        rules.add_filter(filter.as_bytes(), &mut |_| unreachable!()).unwrap();
    }
    rules
}

fn tree(files: &[&str]) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for file in files {
        let path = dir.path().join(file);
        if file.ends_with('/') {
            fs::create_dir_all(path).unwrap();
        } else {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, file.as_bytes()).unwrap();
        }
    }
    dir
}

fn walk_all(operands: &[PathBuf], options: WalkOptions) -> (Listing, Vec<WalkWarning>) {
    let operands: Vec<_> = operands.iter().map(|path| Operand::parse(path).unwrap()).collect();
    let mut warnings = Vec::new();
    let listing = walk(&operands, options, &Rules::default(), &mut |warning| warnings.push(warning)).unwrap();
    (listing, warnings)
}

fn entry<'l>(listing: &'l Listing, name: &[u8]) -> FileEntry<'l> {
    listing.entries.iter().find(|entry| entry.name == name).unwrap()
}

fn open(listing: &Listing, name: &[u8]) -> Result<SourceFile> {
    listing.sources.open(&entry(listing, name))
}

/// Names and a letter for the kind, in order.
fn names(listing: &Listing) -> Vec<String> {
    let mut names: Vec<_> = listing
        .entries
        .iter()
        .map(|entry| {
            let letter = match entry.kind {
                EntryKind::File => 'f',
                EntryKind::Directory(Content::Argument) => 'D',
                EntryKind::Directory(Content::Listed) => 'd',
                EntryKind::Directory(Content::Unlisted) => 'e',
                EntryKind::Directory(Content::Implied) => 'i',
                EntryKind::Special(_) => 's',
                EntryKind::Symlink(_) => 'l',
            };
            format!("{letter} {}", text::escape_bytes(entry.name))
        })
        .collect();
    names.sort_by(|a, b| a[2..].cmp(&b[2..]));
    names
}

#[test]
fn operands_give_the_names_that_rsync_gives() {
    let dir = tree(&["src/a", "src/sub/b", "src/empty/"]);
    let src = dir.path().join("src");
    let with = |tail: &str| PathBuf::from(format!("{}{tail}", src.display()));
    for tail in ["/", "/.", "//", "/sub/.."] {
        let (listing, warnings) = walk_all(&[with(tail)], RECURSIVE);
        assert_eq!(names(&listing), ["D .", "f a", "d empty", "d sub", "f sub/b"], "{tail}");
        assert!(warnings.is_empty());
    }
    let (listing, _) = walk_all(&[with("")], RECURSIVE);
    assert_eq!(names(&listing), ["D src", "f src/a", "d src/empty", "d src/sub", "f src/sub/b"]);
    let (listing, _) = walk_all(&[with("/sub/b")], RECURSIVE);
    assert_eq!(names(&listing), ["f b"]);
    let (listing, _) = walk_all(&[with("/a"), with("/sub")], RECURSIVE);
    assert_eq!(names(&listing), ["f a", "D sub", "f sub/b"]);
}

#[test]
fn depth_decides_what_happens_to_folders() {
    let dir = tree(&["src/a", "src/sub/b"]);
    let src = dir.path().join("src");
    let slash = src.join("");
    for (operand, depth, expected, warned) in [
        (&src, Depth::FilesOnly, &[][..], 1),
        (&slash, Depth::FilesOnly, &[], 1),
        (&src, Depth::Folders, &["e src"], 0),
        (&slash, Depth::Folders, &["D .", "f a", "e sub"], 0),
    ] {
        let (listing, warnings) = walk_all(std::slice::from_ref(operand), WalkOptions { depth, ..RECURSIVE });
        assert_eq!(names(&listing), expected, "{operand:?} {depth:?}");
        assert_eq!(warnings.len(), warned);
        assert!(warnings.iter().all(|warning| warning.effect() == Effect::None));
    }
}

#[test]
fn symlinks_are_kept_skipped_or_followed() {
    let dir = tree(&["src/real/x", "src/file", "outside/y"]);
    let src = dir.path().join("src");
    symlink("file", src.join("to_file")).unwrap();
    symlink("../outside", src.join("to_dir")).unwrap();
    symlink("nowhere\n", src.join("dangling")).unwrap();
    symlink(".", src.join("real/loop")).unwrap();
    let walk_with = |links| walk_all(&[src.join("")], WalkOptions { links, ..RECURSIVE });

    let (kept, warnings) = walk_with(Links::Keep);
    let expected = ["D .", "l dangling", "f file", "d real", "l real/loop", "f real/x", "l to_dir", "l to_file"];
    assert_eq!(names(&kept), expected);
    assert!(warnings.is_empty());
    let dangling = entry(&kept, b"dangling");
    assert_eq!(dangling.kind, EntryKind::Symlink(b"nowhere\n"));
    assert_eq!(dangling.meta.size, 8);

    let (skipped, warnings) = walk_with(Links::Skip);
    assert_eq!(names(&skipped), ["D .", "f file", "d real", "f real/x"]);
    assert_eq!(warnings.len(), 4);
    assert!(warnings.iter().all(|w| matches!(w.reason, Reason::Symlink) && !w.to_string().contains('\n')));

    let (followed, warnings) = walk_with(Links::Follow);
    assert_eq!(names(&followed), ["D .", "f file", "d real", "f real/x", "d to_dir", "f to_dir/y", "f to_file"]);
    let mut reasons: Vec<_> = warnings.iter().map(|warning| format!("{:?}", warning.reason)).collect();
    reasons.sort();
    assert_eq!(reasons[0], "Loop");
    assert!(reasons[1].starts_with("Unreadable"), "{reasons:?}");
    assert_eq!(reasons.len(), 2);
    for name in [&b"to_file"[..], b"to_dir/y"] {
        assert!(open(&followed, name).is_ok());
    }
}

#[test]
fn an_operand_may_lead_through_symlinks_but_an_entry_may_not() {
    let dir = tree(&["real/sub/doc", "outside/doc"]);
    symlink("real", dir.path().join("alias")).unwrap();
    let (listing, _) = walk_all(&[dir.path().join("alias/")], RECURSIVE);
    assert_eq!(names(&listing), ["D .", "d sub", "f sub/doc"]);
    let (as_link, _) = walk_all(&[dir.path().join("alias")], RECURSIVE);
    assert_eq!(names(&as_link), ["l alias"]);

    let (sent, _) = walk_all(&[dir.path().join("alias/")], RECURSIVE);
    assert!(open(&sent, b"sub/doc").is_ok());
    assert_eq!(listing.sources.local_path(&entry(&listing, b"sub/doc")), dir.path().join("alias/sub/doc"));
    // Swapped after the walk: the sender must not follow.
    fs::rename(dir.path().join("real/sub"), dir.path().join("real/old")).unwrap();
    symlink("../outside", dir.path().join("real/sub")).unwrap();
    assert_eq!(open(&listing, b"sub/doc").unwrap_err().kind(), ErrorKind::SourceOutside);
    // Where the folder's files are being sent, they are still those that were found.
    fs::write(dir.path().join("real/old/doc"), "found").unwrap();
    let mut text = [0; 16];
    let length = open(&sent, b"sub/doc").unwrap().read(&mut text).unwrap();
    assert_eq!(&text[..length], b"found");
    fs::rename(dir.path().join("real"), dir.path().join("gone")).unwrap();
    assert_eq!(open(&listing, b"sub/doc").unwrap_err().kind(), ErrorKind::SourceMissing);
}

#[test]
fn what_cannot_be_listed_is_reported_and_the_rest_goes_on() {
    let dir = tree(&["src/a", "src/shut/x", "src/z/y"]);
    let src = dir.path().join("src");
    rustix::fs::mknodat(rustix::fs::CWD, src.join("pipe"), FileType::Fifo, Mode::RUSR, 0).unwrap();
    fs::set_permissions(src.join("shut"), fs::Permissions::from_mode(0o000)).unwrap();
    let everything_readable = fs::read_dir(src.join("shut")).is_ok();
    let (listing, warnings) = walk_all(&[dir.path().join("missing"), src.join(""), "/dev/null".into()], RECURSIVE);
    fs::set_permissions(src.join("shut"), fs::Permissions::from_mode(0o700)).unwrap();

    let mut listed = names(&listing);
    listed.retain(|name| name != "f shut/x");
    assert_eq!(listed, ["D .", "f a", "d shut", "d z", "f z/y"]);
    let of = |path: &Path| warnings.iter().find(|warning| warning.path == path).map(WalkWarning::effect);
    assert_eq!(of(&dir.path().join("missing")), Some(Effect::Failed));
    assert_eq!(of(&src.join("pipe")), Some(Effect::None));
    assert_eq!(of(Path::new("/dev/null")), Some(Effect::None));
    let shut = if everything_readable { None } else { Some(Effect::Failed) };
    assert_eq!(of(&src.join("shut")), shut);
}

#[test]
fn a_name_comes_once_and_a_folder_beats_a_file() {
    let dir = tree(&["one/x", "one/both/a", "one/clash", "two/x", "two/both/b", "two/clash/inner"]);
    let (one, two) = (dir.path().join("one/"), dir.path().join("two/"));
    let (listing, warnings) = walk_all(&[one.clone(), two.clone()], RECURSIVE);
    assert_eq!(names(&listing), ["D .", "d both", "f both/a", "f both/b", "d clash", "f clash/inner", "f x"]);
    let warned: BTreeMap<_, _> = warnings
        .iter()
        .map(|warning| match &warning.reason {
            Reason::SameNameAs(other) => (warning.path.clone(), other.clone()),
            reason => panic!("{reason:?}"),
        })
        .collect();
    let expected = [(one.join("clash"), two.join("clash")), (two.join("x"), one.join("x"))];
    assert_eq!(warned, BTreeMap::from(expected));
    // The one that is listed is the one that is opened.
    let x = &entry(&listing, b"x");
    let mut text = [0; 16];
    let length = listing.sources.open(x).unwrap().read(&mut text).unwrap();
    assert_eq!(&text[..length], b"one/x");

    let (listing, warnings) = walk_all(&[one.clone(), one.join("x"), one.clone()], RECURSIVE);
    assert_eq!(names(&listing), ["D .", "d both", "f both/a", "f clash", "f x"]);
    assert!(warnings.is_empty());
}

#[test]
fn what_is_not_kept_is_not_entered() {
    let dir = tree(&["src/keep/a", "src/drop/b", "src/drop/keep/c", "src/x.o"]);
    let operands = [Operand::parse(&dir.path().join("src/")).unwrap()];
    let rules = rules(&["- drop", "- *.o"]);
    let listing = walk(&operands, RECURSIVE, &rules, &mut |warning| panic!("{warning}")).unwrap();
    assert_eq!(names(&listing), ["D .", "d keep", "f keep/a"]);
}

#[test]
fn folders_hold_rules_of_their_own() {
    let dir = tree(&["src/a", "src/d/a", "src/d/b", "src/d/e/b", "src/b", "other/b"]);
    fs::write(dir.path().join("src/d/.rules"), "- /b\n- a").unwrap();
    fs::write(dir.path().join(".rules"), "- /other").unwrap();
    let listed = |filters: &[&str], sources: &[&str]| {
        let paths = sources.iter().map(|source| dir.path().join(source));
        let operands: Vec<_> = paths.map(|path| Operand::parse(&path).unwrap()).collect();
        walk(&operands, RECURSIVE, &rules(filters), &mut |warning| panic!("{warning}")).map(|listing| names(&listing))
    };
    let without = ["D .", "f a", "f b", "d d", "f d/.rules", "d d/e", "f d/e/b"];
    assert_eq!(listed(&[": .rules"], &["src/"]).unwrap(), without);
    assert_eq!(listed(&[":e .rules"], &["src/"]).unwrap(), ["D .", "f a", "f b", "d d", "d d/e", "f d/e/b"]);
    // A file in the folder above the operands is of the other kind.
    assert_eq!(listed(&[": .rules"], &["other"]).unwrap(), ["D other", "f other/b"]);
    assert_eq!(listed(&["H /src", "- x"], &["src", "other"]).unwrap(), ["D other", "f other/b"]);
    fs::write(dir.path().join(".rules"), "- b").unwrap();
    assert_eq!(listed(&[": /.rules"], &["other"]).unwrap(), ["D other"]);
    assert_eq!(listed(&[": /.rules"], &["other/"]).unwrap(), ["D ."]);
    fs::write(dir.path().join("src/d/.rules"), "frob").unwrap();
    assert_eq!(listed(&[": .rules"], &["src/"]).unwrap_err().kind(), ErrorKind::Usage);
}

#[test]
fn what_is_skipped_is_listed_where_names_matter() {
    let dir = tree(&["src/a"]);
    symlink("a", dir.path().join("src/link")).unwrap();
    let pipe = dir.path().join("src/pipe");
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
    let options = WalkOptions { links: Links::Skip, lists_skipped: true, ..RECURSIVE };
    let (listing, warnings) = walk_all(&[dir.path().join("src/")], options);
    assert_eq!(names(&listing), ["D .", "f a", "l link", "s pipe"]);
    assert!(warnings.is_empty());
}

#[test]
fn another_file_system_is_listed_but_not_entered() {
    // /proc is a mount of its own below / nearly everywhere.
    let device = |path: &str| rustix::fs::stat(path).map(|stat| stat.st_dev);
    if device("/proc").is_err() || device("/proc") == device("/") {
        return eprintln!("skipped: /proc is no mount of its own here");
    }
    let operands = [Operand::parse(Path::new("/")).unwrap()];
    let options = WalkOptions { one_file_system: true, ..RECURSIVE };
    let listing = walk(&operands, options, &rules(&["+ /proc/***", "- *"]), &mut |_| ()).unwrap();
    assert_eq!(names(&listing), ["D .", "e proc"]);
}

#[test]
fn a_name_that_no_list_can_carry_is_reported() {
    // Deeper than any path the kernel takes in one piece, so it is built step by step.
    let dir = tempfile::tempdir().unwrap();
    let part = "p".repeat(250);
    let mut folder = OwnedFd::from(fs::File::open(dir.path()).unwrap());
    for _ in 0..17 {
        rustix::fs::mkdirat(&folder, &*part, Mode::RWXU).unwrap();
        folder = rustix::fs::openat(&folder, &*part, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()).unwrap();
    }
    let (listing, warnings) = walk_all(&[dir.path().join("")], RECURSIVE);
    assert_eq!(listing.entries.len(), 17);
    assert!(listing.entries.iter().all(|entry| entry.name.len() <= RemoteName::MAX_LEN));
    assert!(
        matches!(warnings[..], [WalkWarning { reason: Reason::Name(NameFault::TooLong(4266)), .. }]),
        "{warnings:?}"
    );
    assert_eq!(warnings[0].effect(), Effect::Failed);
}

#[test]
fn odd_names_are_listed_as_they_are() {
    let dir = tempfile::tempdir().unwrap();
    let longest = [b'n'; 255];
    let odd = [&b"line\nbreak"[..], b"\x1b[2J", b"\xff\xfe", b"-rf", b" ", b"...", &longest];
    for name in odd {
        fs::write(dir.path().join(OsStr::from_bytes(name)), b"").unwrap();
    }
    let (listing, _) = walk_all(&[dir.path().join("")], RECURSIVE);
    for name in odd {
        assert!(listing.entries.iter().any(|entry| entry.name == name));
        assert!(open(&listing, name).is_ok());
    }
    assert_eq!(listing.entries.len(), odd.len() + 1);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn every_file_is_found_once_with_its_parents(
        paths in proptest::collection::btree_set("[ab]{1,2}(/[ab.]{3}){0,3}", 0..12),
        split in any::<bool>(),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let mut made = std::collections::BTreeSet::new();
        for path in &paths {
            let full = dir.path().join(path);
            // A path whose parent is already a file cannot be made; the tree is what the disk then holds.
            if fs::create_dir_all(full.parent().unwrap()).is_ok() && fs::write(&full, path).is_ok() {
                made.insert(path.clone());
            }
        }
        let operands: Vec<PathBuf> = if split {
            fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().path()).collect()
        } else {
            vec![dir.path().join("")]
        };
        let (listing, warnings) = walk_all(&operands, RECURSIVE);
        prop_assert!(warnings.is_empty());
        let kinds: BTreeMap<String, bool> = listing.entries.iter()
            .map(|entry| (String::from_utf8(entry.name.to_vec()).unwrap(), entry.kind == EntryKind::File)).collect();
        prop_assert_eq!(kinds.len(), listing.entries.len());
        let files: std::collections::BTreeSet<_> = kinds.iter().filter(|kind| *kind.1).map(|kind| kind.0.clone()).collect();
        prop_assert_eq!(&files, &made);
        for name in kinds.keys().filter(|name| *name != ".") {
            for parent in RemoteName::new(name.as_str()).unwrap().parents() {
                prop_assert_eq!(kinds.get(std::str::from_utf8(parent).unwrap()), Some(&false));
            }
        }
    }
}
