//! What becomes of a pulled entry's attributes on this machine, as rsync has it.
//!
//! Without `-p` what is there keeps its permissions, and what is new gets those of the NAS less this process's mask. Owners are
//! for root alone; groups for root, and for others as far as they are members.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock, RwLockReadGuard};

use rustix::fs::{FileType, Stat};

use super::attrs::{IdNames, mtime_of};
use crate::wire::flist::idlist::NamedId;
use crate::wire::flist::{EntryKind, FileEntry, Mtime};
use crate::wire::iflags::ItemFlags;

/// The permission bits that a mask can take away.
const MASKABLE: u16 = 0o777;
/// What makes a file a program.
const ANY_EXECUTE: u16 = 0o111;
/// What the owner of a folder needs to fill it.
const OWNER_ALL: u16 = 0o700;

/// Which attributes are kept: rsync's options.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[expect(clippy::struct_excessive_bools, reason = "they are rsync's own switches")]
pub struct Keep {
    /// `-p`.
    pub permissions: bool,
    /// `-t`.
    pub times: bool,
    /// `-U`.
    pub atimes: bool,
    /// `-O`.
    pub omit_directory_times: bool,
    /// `-J`.
    pub omit_link_times: bool,
    /// `-o`.
    pub owner: bool,
    /// `-g`.
    pub group: bool,
    /// `-E`.
    pub executability: bool,
    /// `--modify-window`: by how many seconds equal times may differ; below 0 their nanoseconds count.
    pub modify_window: i32,
}

/// The ids of this machine for those of the NAS that differ.
#[derive(Debug, Clone, Default)]
pub struct IdMap {
    users: HashMap<u32, u32>,
    groups: HashMap<u32, u32>,
}

impl IdMap {
    /// By name, where this machine knows the name; other ids stay what they are.
    pub fn by_name(users: &[NamedId], groups: &[NamedId], here: &IdNames) -> Self {
        let map = |names: &[NamedId], id_of: &dyn Fn(&[u8]) -> Option<u32>| {
            names.iter().filter_map(|(id, name)| Some((*id, id_of(name)?))).collect()
        };
        Self { users: map(users, &|name| here.user_id(name)), groups: map(groups, &|name| here.group_id(name)) }
    }

    fn extend(&mut self, more: Self) {
        self.users.extend(more.users);
        self.groups.extend(more.groups);
    }
}

/// What decides about attributes.
#[derive(Debug)]
pub struct Policy {
    keep: Keep,
    ids: RwLock<IdMap>,
    mask: u16,
    is_root: bool,
    groups: Vec<u32>,
}

/// Attributes to be given; `None` where nothing is to be changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Wanted {
    /// Permission bits.
    pub mode: Option<u16>,
    /// Owner.
    pub owner: Option<u32>,
    /// Group.
    pub group: Option<u32>,
    /// Time of the last change of content.
    pub mtime: Option<Mtime>,
    /// Seconds of the last access.
    pub atime: Option<i64>,
}

impl Wanted {
    /// Whether nothing is to be changed.
    pub fn is_nothing(&self) -> bool {
        *self == Self::default()
    }
}

impl Policy {
    /// The policy of this process.
    pub fn of_process(keep: Keep, ids: IdMap) -> Self {
        let groups = rustix::process::getgroups().unwrap_or_default();
        Self {
            keep,
            ids: RwLock::new(ids),
            mask: mask(),
            is_root: rustix::process::geteuid().is_root(),
            groups: groups.into_iter().chain([rustix::process::getegid()]).map(rustix::fs::Gid::as_raw).collect(),
        }
    }

    /// Learns of more ids.
    pub fn learn(&self, more: IdMap) {
        self.ids.write().unwrap_or_else(PoisonError::into_inner).extend(more);
    }

    fn ids(&self) -> RwLockReadGuard<'_, IdMap> {
        self.ids.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether this process may make devices.
    pub fn is_root(&self) -> bool {
        self.is_root
    }

    /// Whether something here was changed at this time.
    pub fn has_time(&self, stat: &Stat, mtime: Mtime) -> bool {
        let own = mtime_of(stat);
        match u64::try_from(self.keep.modify_window) {
            Ok(window) => own.seconds.abs_diff(mtime.seconds) <= window,
            Err(_) => own == mtime,
        }
    }

    /// Whether something here has changed after an entry (`-u`).
    pub fn is_newer(&self, stat: &Stat, entry: &FileEntry<'_>) -> bool {
        entry.meta.mtime.seconds - stat.st_mtime < self.keep.modify_window.into()
    }

    fn keeps_time(&self, kind: EntryKind<'_>) -> bool {
        let is_left_alone = match kind {
            EntryKind::Directory(_) => self.keep.omit_directory_times,
            EntryKind::Symlink(_) => self.keep.omit_link_times,
            EntryKind::File | EntryKind::Special(_) => false,
        };
        self.keep.times && !is_left_alone
    }

    fn owner(&self, entry: &FileEntry<'_>) -> Option<u32> {
        let id = entry.meta.uid;
        (self.keep.owner && self.is_root).then(|| self.ids().users.get(&id).copied().unwrap_or(id))
    }

    fn group(&self, entry: &FileEntry<'_>) -> Option<u32> {
        let id = entry.meta.gid;
        let group = self.ids().groups.get(&id).copied().unwrap_or(id);
        (self.keep.group && (self.is_root || self.groups.contains(&group))).then_some(group)
    }

    /// The time of the last access that an entry gets.
    pub fn atime(&self, entry: &FileEntry<'_>) -> Option<i64> {
        entry.extras.atime.filter(|_| self.keep.atimes)
    }

    /// What a file or symlink gets that is about to take its place, or a folder that was just made.
    pub fn for_new(&self, entry: &FileEntry<'_>, replaced: Option<&Stat>) -> Wanted {
        let permissions = entry.meta.permissions;
        let mode = match replaced {
            _ if self.keep.permissions => permissions,
            Some(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile => {
                self.executable_as(entry, mode_of(stat))
            }
            _ => permissions & MASKABLE & !self.mask,
        };
        Wanted {
            mode: Some(mode),
            owner: self.owner(entry),
            group: self.group(entry),
            mtime: self.keeps_time(entry.kind).then_some(entry.meta.mtime),
            atime: self.atime(entry),
        }
    }

    /// The permissions of a file that keeps its own, but for whether it is a program (`-E`): then for whoever may read it.
    fn executable_as(&self, entry: &FileEntry<'_>, mode: u16) -> u16 {
        let is_program = entry.meta.permissions & ANY_EXECUTE != 0;
        match mode & ANY_EXECUTE != 0 {
            is_one if !self.keep.executability || entry.kind != EntryKind::File || is_one == is_program => mode,
            true => mode & !ANY_EXECUTE,
            false => mode | (mode & 0o444) >> 2,
        }
    }

    /// What a copy of something here gets.
    pub fn as_it_is(&self, stat: &Stat) -> Wanted {
        Wanted {
            mode: Some(mode_of(stat)),
            owner: (self.keep.owner && self.is_root).then_some(stat.st_uid),
            group: (self.keep.group && (self.is_root || self.groups.contains(&stat.st_gid))).then_some(stat.st_gid),
            mtime: self.keep.times.then(|| mtime_of(stat)),
            atime: None,
        }
    }

    /// The permissions with which a folder is made, so that it can be filled, and those it gets in the end if they are
    /// others. Without `-p` the system gives a folder its permissions, which may inherit some.
    pub fn for_new_folder(&self, entry: &FileEntry<'_>) -> (u16, Option<u16>) {
        let permissions =
            if self.keep.permissions { entry.meta.permissions } else { entry.meta.permissions & MASKABLE };
        let last = self.keep.permissions || permissions & OWNER_ALL != OWNER_ALL;
        let masked = if self.keep.permissions { permissions } else { permissions & !self.mask };
        (permissions & MASKABLE | OWNER_ALL, last.then_some(masked))
    }

    /// What has to change of something that stays, and how rsync tells about it.
    pub fn for_existing(&self, entry: &FileEntry<'_>, stat: &Stat) -> (Wanted, ItemFlags) {
        let mut flags = 0;
        let mut differs = |is_other: bool, flag: u32| {
            flags |= if is_other { flag } else { 0 };
            is_other
        };
        let own_mode = mode_of(stat);
        let mode = if self.keep.permissions { entry.meta.permissions } else { self.executable_as(entry, own_mode) };
        let has_mode =
            (self.keep.permissions || self.keep.executability) && !matches!(entry.kind, EntryKind::Symlink(_));
        let other_mode = has_mode && differs(own_mode != mode, ItemFlags::PERMISSIONS);
        let owner = self.owner(entry).filter(|&id| differs(id != stat.st_uid, ItemFlags::OWNER));
        let group = self.group(entry).filter(|&id| differs(id != stat.st_gid, ItemFlags::GROUP));
        let other_time =
            self.keeps_time(entry.kind) && differs(!self.has_time(stat, entry.meta.mtime), ItemFlags::TIME);
        let is_link = matches!(entry.kind, EntryKind::Symlink(_));
        // Of a symlink it is not told.
        let atime =
            self.atime(entry).filter(|&atime| stat.st_atime != atime && (is_link || differs(true, ItemFlags::ATIME)));
        // A change of owner can take permissions away.
        let mode = (other_mode || has_mode && (owner.is_some() || group.is_some())).then_some(mode);
        let mtime = other_time.then_some(entry.meta.mtime);
        (Wanted { mode, owner, group, mtime, atime }, ItemFlags(flags))
    }

    /// The time that a file gets whose content was compared: the exact one, also where only fractions of a second differ, which
    /// is not told.
    pub fn exact_time(&self, entry: &FileEntry<'_>, stat: &Stat) -> Option<Mtime> {
        self.folder_time(entry).filter(|mtime| *mtime != mtime_of(stat))
    }

    /// The time that a folder gets when it is filled.
    pub fn folder_time(&self, entry: &FileEntry<'_>) -> Option<Mtime> {
        self.keeps_time(entry.kind).then_some(entry.meta.mtime)
    }

    /// How rsync tells about something that is replaced: its time changes in any case.
    pub fn flags_of_change(&self, entry: &FileEntry<'_>, stat: &Stat) -> ItemFlags {
        let (_, ItemFlags(flags)) = self.for_existing(entry, stat);
        ItemFlags(flags | if self.keep.times { 0 } else { ItemFlags::TIME })
    }

    /// How rsync tells about something in whose place another name of a file comes.
    pub fn flags_of_link(&self, entry: &FileEntry<'_>, stat: &Stat) -> ItemFlags {
        let ItemFlags(flags) = self.flags_of_transfer(entry, stat);
        let other = ItemFlags::TRANSFER | if entry.kind == EntryKind::File { 0 } else { ItemFlags::SIZE };
        ItemFlags(flags & !other)
    }

    /// How rsync tells about a file whose content comes anew.
    pub fn flags_of_transfer(&self, entry: &FileEntry<'_>, stat: &Stat) -> ItemFlags {
        let ItemFlags(flags) = self.flags_of_change(entry, stat);
        let size = if u64::try_from(stat.st_size) == Ok(entry.meta.size) { 0 } else { ItemFlags::SIZE };
        ItemFlags(flags | size | ItemFlags::TRANSFER)
    }
}

/// The permissions of something that is here.
fn mode_of(stat: &Stat) -> u16 {
    (stat.st_mode & 0o7777) as u16
}

/// The mask of this process, which no call tells without changing it for all threads.
fn mask() -> u16 {
    const USUAL: u16 = 0o022;
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("Umask:"));
    line.and_then(|mask| u16::from_str_radix(mask.trim(), 8).ok()).unwrap_or(USUAL)
}
