//! Attributes of local files, and the names of their owners.
//!
//! Names come from `/etc/passwd` and `/etc/group` alone, read once. The name service of the C library is left out on
//! purpose: it needs unsafe calls and loads plug-ins, which a static binary cannot. An id that only a directory
//! service knows goes by its number, which is what rsync sends for an id without a name.

use std::collections::HashMap;
use std::path::Path;
use std::sync::OnceLock;

use rustix::fs::{FileType, Stat};

use crate::wire::flist::idlist::NamedId;
use crate::wire::flist::{Device, Extras, FileId, FileMeta, ListFields, Mtime, Special};

/// What a file list says about a file besides its name and kind.
pub(super) fn meta_of(stat: &Stat) -> FileMeta {
    FileMeta {
        size: size_of(stat),
        mtime: mtime_of(stat),
        permissions: (stat.st_mode & 0o7777) as u16,
        uid: stat.st_uid,
        gid: stat.st_gid,
    }
}

/// What it says of it for options alone.
pub(super) fn extras_of(stat: &Stat, fields: ListFields) -> Extras {
    let has_others = stat.st_nlink > 1 && FileType::from_raw_mode(stat.st_mode) != FileType::Directory;
    Extras {
        atime: fields.atimes.then_some(stat.st_atime),
        file: (fields.hard_links && has_others).then_some(FileId { dev: stat.st_dev, ino: stat.st_ino }),
    }
}

/// Which device, pipe or socket a thing is.
pub(super) fn special_of(stat: &Stat) -> Option<Special> {
    let device = Device { major: rustix::fs::major(stat.st_rdev), minor: rustix::fs::minor(stat.st_rdev) };
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Fifo => Some(Special::Pipe),
        FileType::Socket => Some(Special::Socket),
        FileType::CharacterDevice => Some(Special::Character(device)),
        FileType::BlockDevice => Some(Special::Block(device)),
        _ => None,
    }
}

/// Holes below this size, in bytes, are worth nobody's while; small files may have no block of their own at all.
const LEAST_HOLE: u64 = 64 * 1024;
/// What a block is in `st_blocks`, whatever the file system's own are.
const BLOCK: u64 = 512;

/// Whether a file has holes, or is compressed by its file system so well that it may have.
pub(super) fn has_holes(stat: &Stat) -> bool {
    let stored = u64::try_from(stat.st_blocks).unwrap_or(0).saturating_mul(BLOCK);
    size_of(stat).saturating_sub(stored) >= LEAST_HOLE
}

pub(super) fn size_of(stat: &Stat) -> u64 {
    u64::try_from(stat.st_size).unwrap_or(0)
}

pub(super) fn mtime_of(stat: &Stat) -> Mtime {
    Mtime { seconds: stat.st_mtime, nanoseconds: nanoseconds(stat.st_mtime_nsec) }
}

/// The width of this field differs between processors. Some file systems report nonsense; a receiver would refuse it.
pub(super) fn nanoseconds(value: impl TryInto<u32>) -> u32 {
    value.try_into().ok().filter(|&ns| ns < 1_000_000_000).unwrap_or(0)
}

/// The names of users and groups on this machine.
#[derive(Debug, Default)]
pub struct IdNames {
    users: HashMap<u32, Box<[u8]>>,
    groups: HashMap<u32, Box<[u8]>>,
}

impl IdNames {
    /// The names of this machine as they were when first asked for. A file that cannot be read has no names.
    pub fn system() -> &'static Self {
        static NAMES: OnceLock<IdNames> = OnceLock::new();
        NAMES.get_or_init(|| Self::read(Path::new("/etc/passwd"), Path::new("/etc/group")))
    }

    fn read(passwd: &Path, group: &Path) -> Self {
        Self::parse(&std::fs::read(passwd).unwrap_or_default(), &std::fs::read(group).unwrap_or_default())
    }

    /// Reads the text of the two files. The first line of an id counts; lines that are not understood are skipped.
    pub fn parse(passwd: &[u8], group: &[u8]) -> Self {
        Self { users: table(passwd), groups: table(group) }
    }

    /// The name of a user, 1 to 255 bytes, the most that a file list can carry.
    pub fn user(&self, uid: u32) -> Option<&[u8]> {
        self.users.get(&uid).map(|name| &**name)
    }

    /// All users.
    pub fn users(&self) -> Vec<NamedId> {
        self.users.iter().map(|(id, name)| (*id, name.clone())).collect()
    }

    /// All groups.
    pub fn groups(&self) -> Vec<NamedId> {
        self.groups.iter().map(|(id, name)| (*id, name.clone())).collect()
    }

    /// The user of a name.
    pub fn user_id(&self, name: &[u8]) -> Option<u32> {
        id_of(&self.users, name)
    }

    /// The group of a name.
    pub fn group_id(&self, name: &[u8]) -> Option<u32> {
        id_of(&self.groups, name)
    }

    /// The name of a group, 1 to 255 bytes.
    pub fn group(&self, gid: u32) -> Option<&[u8]> {
        self.groups.get(&gid).map(|name| &**name)
    }
}

/// The lowest id of a name, which some share.
fn id_of(names: &HashMap<u32, Box<[u8]>>, name: &[u8]) -> Option<u32> {
    names.iter().filter(|(_, own)| ***own == *name).map(|(id, _)| *id).min()
}

/// Both files have the name in the first field and the id in the third.
fn table(text: &[u8]) -> HashMap<u32, Box<[u8]>> {
    let mut names = HashMap::new();
    for line in text.split(|&byte| byte == b'\n') {
        let mut fields = line.split(|&byte| byte == b':');
        let (Some(name), Some(_), Some(id)) = (fields.next(), fields.next(), fields.next()) else { continue };
        // `+` and `-` start the lines that once included NIS maps; `#` is a comment.
        if name.is_empty() || name.len() > 255 || matches!(name[0], b'+' | b'-' | b'#') {
            continue;
        }
        // `parse` alone would take a leading plus sign.
        if let Some(id) = std::str::from_utf8(id).ok().filter(|id| !id.starts_with('+')).and_then(|id| id.parse().ok())
        {
            names.entry(id).or_insert_with(|| name.into());
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_name_of_an_id_counts_and_odd_lines_are_skipped() {
        let passwd = b"root:x:0:0:root:/root:/bin/sh\ntoor:x:0:0::/:/bin/sh\n+::::::\n+@net:x:7:\n#no:x:8:8\n\nbad:x\nneg:x:-1:\n\
            plus:x:+9:\nbig:x:4294967294:1::\ntoo:x:4294967296:1::\nr\xe9mi:x:1000:1000";
        let names = IdNames::parse(passwd, b"wheel:*:0:root,toor\nusers:x:100:");
        assert_eq!(names.user(0), Some(&b"root"[..]));
        assert_eq!(names.user(1000), Some(&b"r\xe9mi"[..]));
        assert_eq!(names.user(4_294_967_294), Some(&b"big"[..]));
        assert_eq!(names.users.len(), 3);
        assert_eq!((names.group(0), names.group(100)), (Some(&b"wheel"[..]), Some(&b"users"[..])));
        assert_eq!(names.group(1), None);
    }

    #[test]
    fn a_name_that_no_list_can_carry_is_no_name() {
        let line = |len: usize| [&vec![b'a'; len][..], b":x:5:"].concat();
        assert!(IdNames::parse(&line(255), b"").user(5).is_some());
        assert!(IdNames::parse(&line(256), b"").user(5).is_none());
    }

    #[test]
    fn missing_files_have_no_names() {
        let names = IdNames::read(Path::new("/nonexistent/passwd"), Path::new("/nonexistent/group"));
        assert!(names.users.is_empty() && names.groups.is_empty());
    }

    #[test]
    fn impossible_nanoseconds_become_none() {
        assert_eq!(nanoseconds(999_999_999_u64), 999_999_999);
        assert_eq!(nanoseconds(1_000_000_000_u64), 0);
        assert_eq!(nanoseconds(u64::MAX), 0);
    }
}
