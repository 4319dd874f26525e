//! Trees that are hard to copy, the same for the same seed.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, Mode, Timespec, Timestamps};

use crate::support::noise;
use crate::support::random::Random;

/// How much is done to a tree in one go.
const CHANGES: usize = 24;
/// How deep it gets.
const DEPTH: usize = 3;

/// Names that a shell, a terminal or a comparison could take for something else. The long one is cut to 200 bytes.
const NAMES: [&[u8]; 22] = [
    b"a",
    b"a.b",
    b"a-b",
    b"b",
    b"-dash",
    b"--delete",
    b"two\nlines",
    b"it's",
    b"\"quoted\"",
    b"$HOME",
    b"`id`",
    b"a b",
    b" blank ",
    b"*?[x]",
    b"back\\slash",
    b"~",
    b"#sharp",
    b".hidden",
    b"\xff\xfe\x80",
    "é".as_bytes(),
    b"e\xcc\x81",
    &[b'x'; 200],
];
/// Lengths around those of blocks, buffers and of what is cut into other blocks.
const SIZES: [usize; 16] =
    [0, 0, 1, 2, 699, 700, 701, 1399, 1400, 1401, 5000, 16_383, 32_768, 32_769, 131_073, 490_001];

/// A folder of a time that no program gives it.
pub fn folder(path: &Path) {
    fs::create_dir_all(path).unwrap();
    set_time(path, (936_868_149, 5));
}

/// Adds, changes, replaces and removes things.
pub fn change(random: &mut Random, root: &Path) {
    for _ in 0..CHANGES {
        let path = root.join(path(random));
        if path.parent().is_some_and(|parent| parent.is_dir() && !parent.is_symlink()) {
            change_one(random, &path);
        }
    }
    for path in all(root) {
        // What was made just now has a time of its own, too.
        if random.one_in(3) || fs::symlink_metadata(&path).unwrap().modified().unwrap().elapsed().is_ok_and(recent) {
            set_time(&path, time(random));
        }
    }
}

/// Gives some things times that are near to those that they have.
pub fn nudge(random: &mut Random, root: &Path) {
    for path in all(root) {
        if random.one_in(2) {
            let seconds = fs::symlink_metadata(&path).unwrap().mtime() + i64::try_from(random.below(4)).unwrap();
            set_time(&path, (seconds, i64::try_from(random.below(2)).unwrap() * 1000));
        }
    }
}

fn recent(age: std::time::Duration) -> bool {
    age.as_secs() < 3600
}

fn path(random: &mut Random) -> PathBuf {
    (0..=random.index(DEPTH)).map(|_| name(random)).collect()
}

fn name(random: &mut Random) -> &'static OsStr {
    // The first few more often, so that they meet.
    let end = if random.one_in(2) { 5 } else { NAMES.len() };
    OsStr::from_bytes(NAMES[random.index(end)])
}

fn change_one(random: &mut Random, path: &Path) {
    let Ok(meta) = fs::symlink_metadata(path) else {
        return make(random, path);
    };
    match random.below(6) {
        0 if meta.is_dir() => fs::remove_dir(path).unwrap_or(()),
        0 => fs::remove_file(path).unwrap(),
        1 if !meta.is_dir() => {
            fs::remove_file(path).unwrap();
            make(random, path);
        }
        2 if !meta.is_symlink() => set_mode(random, path, meta.is_dir()),
        _ if meta.is_file() => {
            let mut content = fs::read(path).unwrap();
            let at = random.index(content.len() + 1);
            if let Some(byte) = content.get_mut(at) {
                *byte ^= 0x55;
            }
            if random.one_in(2) {
                let len = random.index(900);
                content.splice(at..at, noise(len, random.next()));
            }
            if random.one_in(4) {
                content.truncate(at);
            }
            fs::write(path, content).unwrap();
        }
        _ => {}
    }
}

fn make(random: &mut Random, path: &Path) {
    match random.below(8) {
        0 => {
            let target: PathBuf = if random.one_in(3) { "/etc/passwd".into() } else { self::path(random) };
            symlink(target, path).unwrap();
        }
        1..=3 => {
            fs::create_dir(path).unwrap();
            set_mode(random, path, true);
        }
        _ => {
            let len = SIZES[random.index(SIZES.len())];
            let content = if random.one_in(2) { noise(len, random.next()) } else { text(random, len) };
            fs::write(path, content).unwrap();
            set_mode(random, path, false);
        }
    }
    if rustix::process::geteuid().is_root() && random.one_in(3) {
        // One that has a name here, and one that has none.
        let ids = [1, 1234];
        let (user, group) = (Some(ids[random.index(2)]), Some(ids[random.index(2)]));
        std::os::unix::fs::lchown(path, user, group).unwrap();
    }
}

/// Puts pipes, sockets and, if we may, devices into a tree; of devices also other ones in the place of the same kind.
pub fn add_specials(random: &mut Random, root: &Path) {
    for _ in 0..6 {
        let path = root.join(path(random));
        if !path.parent().is_some_and(|parent| parent.is_dir() && !parent.is_symlink()) || path.is_dir() {
            continue;
        }
        let _ = fs::remove_file(&path);
        let kinds = [FileType::Fifo, FileType::Socket, FileType::CharacterDevice, FileType::BlockDevice];
        let is_root = rustix::process::geteuid().is_root();
        let kind = kinds[random.index(if is_root { 4 } else { 2 })];
        // Numbers that fit into a byte, and that do not; two of one major; none that anything answers to.
        let numbers = [(0, 0), (240, 0), (240, 255), (240, 256), (241, 1_048_575), (4095, 7)];
        let (major, minor) = numbers[random.index(numbers.len())];
        let device =
            if matches!(kind, FileType::Fifo | FileType::Socket) { 0 } else { rustix::fs::makedev(major, minor) };
        rustix::fs::mknodat(CWD, &path, kind, Mode::from_raw_mode(0o600), device).unwrap();
        set_mode(random, &path, false);
        set_time(&path, time(random));
        if let Some(folder) = path.parent() {
            set_time(folder, time(random));
        }
    }
}

/// Puts what came of some files of one tree into folders named `.part` of another, as an interrupted run leaves it.
pub fn add_parts(random: &mut Random, from: &Path, to: &Path) {
    for path in all(from).into_iter().filter(|path| path.is_file() && !path.is_symlink()) {
        let below = path.strip_prefix(from).unwrap();
        let (folder, name) = (to.join(below.parent().unwrap()), below.file_name().unwrap());
        if !folder.is_dir() || random.one_in(2) {
            continue;
        }
        let content = fs::read(&path).unwrap();
        fs::create_dir_all(folder.join(".part")).unwrap();
        fs::write(folder.join(".part").join(name), &content[..random.index(content.len() + 1)]).unwrap();
        set_time(&folder, time(random));
    }
}

/// Gives things that are no folders other names, in the place of nothing or of another such thing.
pub fn add_links(random: &mut Random, root: &Path) {
    for _ in 0..6 {
        let names: Vec<_> = all(root).into_iter().filter(|path| path.is_symlink() || !path.is_dir()).collect();
        let path = root.join(path(random));
        if names.is_empty() || !path.parent().is_some_and(|parent| parent.is_dir() && !parent.is_symlink()) {
            continue;
        }
        let name = &names[random.index(names.len())];
        if path == *name || path.is_dir() && !path.is_symlink() {
            continue;
        }
        let _ = fs::remove_file(&path);
        fs::hard_link(name, &path).unwrap();
        if let Some(folder) = path.parent() {
            set_time(folder, time(random));
        }
    }
}

/// Of each thing with several names in a tree, by one of them, the first in a common order.
pub fn links(root: &Path) -> HashMap<PathBuf, PathBuf> {
    let mut paths = all(root);
    paths.sort();
    let mut first = HashMap::new();
    let mut links = HashMap::new();
    for path in paths {
        let meta = fs::symlink_metadata(&path).unwrap();
        if !meta.is_dir() && meta.nlink() > 1 {
            let first = first.entry(meta.ino()).or_insert_with(|| path.clone());
            links.insert(path.clone(), first.strip_prefix(root).unwrap().to_owned());
        }
    }
    links
}

/// What shrinks.
fn text(random: &mut Random, len: usize) -> Vec<u8> {
    let mut text = Vec::new();
    while text.len() < len {
        text.extend_from_slice(format!("line {} of an ordinary text\n", random.below(1000)).as_bytes());
    }
    text.truncate(len);
    text
}

/// Any mode that its owner can go on working with.
fn set_mode(random: &mut Random, path: &Path, is_folder: bool) {
    let special = if random.one_in(8) { 0o7000 } else { 0 };
    let any = u32::try_from(random.next() & (0o777 | special)).unwrap();
    let mode = any | if is_folder { 0o700 } else { 0o600 };
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// Seconds and nanoseconds, in the past and in the future that the oldest protocols know.
fn time(random: &mut Random) -> (i64, i64) {
    let seconds = 1 + i64::try_from(random.below(4_000_000_000)).unwrap();
    let nanoseconds = if random.one_in(4) { 0 } else { i64::try_from(random.below(1_000_000_000)).unwrap() };
    (seconds, nanoseconds)
}

/// Gives the thing itself a time; links are not followed.
pub fn set_time(path: &Path, (seconds, nanoseconds): (i64, i64)) {
    let times = Timestamps {
        last_access: Timespec { tv_sec: seconds / 3 * 2, tv_nsec: 0 },
        last_modification: Timespec { tv_sec: seconds, tv_nsec: nanoseconds },
    };
    rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

/// The time of the last access of each thing that is no folder.
pub fn atimes(root: &Path) -> Vec<(PathBuf, i64)> {
    let atime = |path: PathBuf| {
        let meta = fs::symlink_metadata(&path).unwrap();
        (!meta.is_dir()).then(|| (path, meta.atime()))
    };
    all(root).into_iter().filter_map(atime).collect()
}

/// Gives each thing a time of the last access, whoever has read it meanwhile: that of the last change, less a third.
pub fn set_atimes(root: &Path) {
    for path in all(root) {
        let meta = fs::symlink_metadata(&path).unwrap();
        set_time(&path, (meta.mtime(), meta.mtime_nsec()));
    }
}

/// Everything in a tree, the innermost first, and the tree itself last.
fn all(root: &Path) -> Vec<PathBuf> {
    let mut found = vec![root.to_owned()];
    let mut next = 0;
    while let Some(path) = found.get(next).cloned() {
        next += 1;
        if fs::symlink_metadata(&path).unwrap().is_dir() {
            let mut inside: Vec<_> = fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()).collect();
            // The order of a folder's names is the file system's.
            inside.sort();
            found.extend(inside);
        }
    }
    found.reverse();
    found
}
