//! Where a pulled entry goes: a folder held open and a name in it.
//!
//! Guarantees: what is made, replaced or changed lies in a folder that was reached from the held destination through real
//! folders only, or through symlinks where [`Following`] says so; a symlink under the name itself is looked at and replaced, never followed. Nothing here removes a folder
//! that has something in it.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{AtFlags, Dir, FileType, Gid, Mode, OFlags, Stat, Timespec, Timestamps, UTIME_OMIT, Uid};
use rustix::io::{Errno, retry_on_intr};

use super::apply::Wanted;
use super::attrs::special_of;
use super::beneath;
use super::source::split;
use super::stage::{Staged, temporary_name};
use super::walk;
use crate::error::{ErrorKind, NasSyncError, Result};
use crate::filter::Scope;
use crate::wire::flist::{Device, EntryKind, Mtime, Special};

/// How often a name that somebody else has taken is drawn anew.
const DRAWS: usize = 100;

/// What the destination of a pull has to hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// One file, which may get the destination's own name.
    OneFile,
    /// More than that.
    Tree,
}

/// Under which names entries go into the destination.
#[derive(Debug, Clone)]
pub enum Names {
    /// Their own.
    Listed,
    /// The only one has this name.
    Only(Box<[u8]>),
    /// These, by their own; others, such as the folders on the way, go nowhere.
    Chosen(HashMap<Box<[u8]>, Box<[u8]>>),
}

/// The destination of a pull.
#[derive(Debug)]
pub struct Destination {
    root: Arc<OwnedFd>,
    /// For messages.
    shown: PathBuf,
    names: Names,
}

impl Destination {
    /// Takes a path as `rsync` does: an existing folder is filled; under a name that is missing or a file's, one file goes
    /// there itself; else the missing folder is made, and those above it if `making` says so. `None` in a dry run that would
    /// have to make it.
    ///
    /// Fails with `LocalFile`, and with `DestinationNotFolder`.
    pub fn resolve(path: &Path, shape: Shape, making: Making) -> Result<Option<Self>> {
        let dry_run = making == Making::Nothing;
        let failed = |what: &str, errno: Errno| NasSyncError::at_path(ErrorKind::LocalFile, what, path, errno.into());
        let is_folder_name = path.as_os_str().as_bytes().ends_with(b"/");
        match open_root(path) {
            Ok(root) => return Ok(Some(Self { root: Arc::new(root), shown: path.into(), names: Names::Listed })),
            Err(Errno::NOENT | Errno::NOTDIR) if shape == Shape::OneFile && !is_folder_name => {
                let (Some(name), Some(parent)) = (path.file_name(), path.parent()) else {
                    return Err(failed("Cannot write to", Errno::NOENT));
                };
                let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
                if making == Making::Path {
                    make_path(parent).map_err(|errno| failed("Cannot make the folders above", errno))?;
                }
                let root = match open_root(parent) {
                    Err(Errno::NOENT) if dry_run => return Ok(None),
                    Err(errno @ (Errno::NOENT | Errno::NOTDIR)) => {
                        let kind = ErrorKind::DestinationNotFolder;
                        return Err(NasSyncError::at_path(kind, "Cannot write to", path, errno.into()));
                    }
                    root => root.map_err(|errno| failed("Cannot write to", errno))?,
                };
                let names = Names::Only(name.as_bytes().into());
                return Ok(Some(Self { root: Arc::new(root), shown: parent.into(), names }));
            }
            Err(Errno::NOENT) if dry_run => return Ok(None),
            Err(Errno::NOENT) => {}
            Err(Errno::NOTDIR) => {
                let message = format!("{} is a file, and more than one file is to go there", path.display());
                return Err(NasSyncError::new(ErrorKind::DestinationNotFolder, message));
            }
            Err(errno) => return Err(failed("Cannot open", errno)),
        }
        let made = if making == Making::Path { make_path(path) } else { make_folder(path) };
        made.map_err(|errno| failed("Cannot make the folder", errno))?;
        let root = open_root(path).map_err(|errno| failed("Cannot open", errno))?;
        Ok(Some(Self { root: Arc::new(root), shown: path.into(), names: Names::Listed }))
    }

    /// A folder in which only some entries have a place, each under a name of its own.
    pub fn chosen(root: &Path, names: HashMap<Box<[u8]>, Box<[u8]>>) -> Result<Self> {
        let handle = open_root(root)
            .map_err(|errno| NasSyncError::at_path(ErrorKind::LocalFile, "Cannot open", root, errno.into()))?;
        Ok(Self { root: Arc::new(handle), shown: root.into(), names: Names::Chosen(names) })
    }

    pub(super) fn root(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }

    /// Its absolute path, without the slash in front.
    pub fn absolute(&self) -> Result<Vec<u8>> {
        walk::absolute(&self.shown)
    }

    /// Of the rules above all folders those in force below this one; `reads_own` says that its own files of rules are read
    /// when it is entered.
    pub fn scope(&self, rules: &Scope, reads_own: bool) -> Result<Scope> {
        walk::scope_below(rules, &self.absolute()?, reads_own)
    }

    fn local_name<'a>(&'a self, name: &'a [u8]) -> Option<&'a [u8]> {
        match &self.names {
            Names::Listed => Some(name),
            Names::Only(only) => Some(only),
            Names::Chosen(names) => names.get(name).map(|name| &**name),
        }
    }
}

/// What of a missing destination is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Making {
    /// Nothing: it is a dry run.
    Nothing,
    /// One folder.
    Last,
    /// All of it (`--mkpath`).
    Path,
}

pub(super) fn make_folder(path: &Path) -> Result<(), Errno> {
    rustix::fs::mkdir(path, Mode::from_raw_mode(0o777))
}

fn make_path(path: &Path) -> Result<(), Errno> {
    match make_folder(path) {
        Err(Errno::NOENT) => {
            path.parent().map_or(Err(Errno::NOENT), make_path)?;
            make_folder(path)
        }
        Err(Errno::EXIST) => Ok(()),
        made => made,
    }
}

pub(super) fn open_root(path: &Path) -> Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    retry_on_intr(|| rustix::fs::open(path, flags, Mode::empty()))
}

/// Which symlinks in the destination are taken for the folders that they lead to, wherever those are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Following {
    /// Those in the place of folders that are only on the way (`--no-implied-dirs`).
    pub on_the_way: bool,
    /// Those in the place of folders that are listed (`--keep-dirlinks`).
    pub folders: bool,
}

impl Following {
    fn any(self) -> bool {
        self.on_the_way || self.folders
    }
}

/// Finds places, and remembers the folder of the last one.
#[derive(Debug)]
pub struct Places {
    destination: Arc<Destination>,
    following: Following,
    last: Option<(Box<[u8]>, Arc<OwnedFd>)>,
}

impl Places {
    /// Places below a destination.
    pub fn new(destination: Arc<Destination>, following: Following) -> Self {
        Self { destination, following, last: None }
    }

    /// The place of an entry; `None` where it has none. A symlink on the way gives `LOOP`.
    pub fn find(&mut self, name: &[u8]) -> Result<Option<Place>, Errno> {
        let Some(name) = self.destination.local_name(name) else { return Ok(None) };
        let (folder, file_name) = split(name);
        let handle = match &self.last {
            Some((last, handle)) if **last == *folder => Arc::clone(handle),
            _ if folder.is_empty() => Arc::clone(&self.destination.root),
            _ if self.following.any() => {
                Arc::new(beneath::open_folder_following(self.destination.root.as_fd(), folder)?)
            }
            _ => Arc::new(beneath::open_folder(self.destination.root.as_fd(), folder)?),
        };
        self.last = Some((folder.into(), Arc::clone(&handle)));
        Ok(Some(Place { folder: handle, name: OsStr::from_bytes(file_name).into() }))
    }

    /// The place of a folder: that to which a symlink leads, where such are followed.
    pub fn find_folder(&mut self, name: &[u8]) -> Result<Option<Place>, Errno> {
        let place = self.find(name)?;
        Ok(if self.following.folders { place.map(Place::behind_link) } else { place })
    }

    /// Makes the folders on the way to an entry that are missing.
    pub fn make_way(&self, name: &[u8]) -> Result<(), Errno> {
        let Some(name) = self.destination.local_name(name) else { return Ok(()) };
        for (at, _) in name.iter().enumerate().filter(|(_, byte)| **byte == b'/') {
            let (folder, file_name) = split(&name[..at]);
            let above = beneath::open_folder_following(self.destination.root.as_fd(), folder)?;
            match rustix::fs::mkdirat(above, OsStr::from_bytes(file_name), Mode::from_raw_mode(0o777)) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(errno) => return Err(errno),
            }
        }
        Ok(())
    }

    /// The local path of an entry, for messages.
    pub fn shown(&self, name: &[u8]) -> PathBuf {
        match self.destination.local_name(name) {
            Some(b".") | None => self.destination.shown.clone(),
            Some(name) => self.destination.shown.join(OsStr::from_bytes(name)),
        }
    }
}

/// A name in a folder that is held open.
#[derive(Debug, Clone)]
pub struct Place {
    pub(super) folder: Arc<OwnedFd>,
    /// `.` for the destination itself.
    pub(super) name: OsString,
}

impl Place {
    fn folder(&self) -> BorrowedFd<'_> {
        self.folder.as_fd()
    }

    /// The same folder, another name.
    #[must_use]
    pub fn beside(&self, ending: impl AsRef<OsStr>) -> Self {
        let mut name = self.name.clone();
        name.push(ending.as_ref());
        Self { folder: Arc::clone(&self.folder), name }
    }

    /// What is there; `None` for nothing.
    pub fn look(&self) -> Result<Option<Stat>, Errno> {
        match retry_on_intr(|| rustix::fs::statat(self.folder(), &self.name, AtFlags::SYMLINK_NOFOLLOW)) {
            Ok(stat) => Ok(Some(stat)),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(errno),
        }
    }

    /// The folder that a symlink there leads to; what else is there stays this place.
    fn behind_link(self) -> Self {
        let is_link = beneath::is_symlink(self.folder(), &self.name);
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let open = || retry_on_intr(|| rustix::fs::openat(self.folder(), &self.name, flags, Mode::empty()));
        match is_link.then(open) {
            Some(Ok(folder)) => Self { folder: Arc::new(folder), name: ".".into() },
            _ => self,
        }
    }

    /// Opens the regular file that is there, to be read as a basis.
    pub fn open(&self) -> Result<File, Errno> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let file = retry_on_intr(|| rustix::fs::openat(self.folder(), &self.name, flags, Mode::empty()))?;
        let stat = rustix::fs::fstat(&file)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(Errno::INVAL);
        }
        Ok(file.into())
    }

    /// Its name in its folder.
    pub fn file_name(&self) -> &[u8] {
        self.name.as_bytes()
    }

    /// The places of all that is in the folder that is there, in no order.
    pub fn children(&self) -> Result<Vec<Self>, Errno> {
        let relative = if self.name == "." { b"" } else { self.name.as_bytes() };
        let listing = beneath::open_listing(self.folder(), relative)?;
        let folder = Arc::new(beneath::open_folder(self.folder(), relative)?);
        let mut children = Vec::new();
        for entry in Dir::read_from(&listing)? {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if !matches!(name, b"." | b"..") {
                children.push(Self { folder: Arc::clone(&folder), name: OsStr::from_bytes(name).into() });
            }
        }
        Ok(children)
    }

    /// The rules in force in the folder that is there, whose absolute path this is, out of those in force above it.
    pub fn enter(&self, scope: &Scope, absolute: &[u8]) -> Result<Scope> {
        let relative = if self.name == "." { b"" } else { self.name.as_bytes() };
        let mut read = |name: &[u8]| match beneath::open_folder(self.folder(), relative) {
            Ok(folder) => walk::read_rules(folder.as_fd(), name),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
            Err(errno) => Err(errno.into()),
        };
        scope.enter(absolute, &mut read).map_err(walk::bad_rules)
    }

    /// Keeps what is there, which is no folder, under its name with this ending as well. What had that name goes.
    pub fn keep_as(&self, ending: &OsStr) -> Result<(), Errno> {
        let kept = self.beside(ending).name;
        let link = || rustix::fs::linkat(self.folder(), &self.name, self.folder(), &kept, AtFlags::empty());
        match link() {
            Err(Errno::EXIST) => {
                rustix::fs::unlinkat(self.folder(), &kept, AtFlags::empty())?;
                link()
            }
            // Not every file system has names of one file. Then there is nothing under the name for a moment.
            Err(Errno::PERM | Errno::OPNOTSUPP | Errno::MLINK) => {
                rustix::fs::renameat(self.folder(), &self.name, self.folder(), &kept)
            }
            result => result,
        }
    }

    /// The bytes of the symlink that is there.
    pub fn read_link(&self) -> Result<Vec<u8>, Errno> {
        Ok(rustix::fs::readlinkat(self.folder(), &self.name, Vec::new())?.into_bytes())
    }

    /// Removes what is there, a folder only if it is empty.
    pub fn remove(&self, stat: &Stat) -> Result<(), Errno> {
        let is_folder = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        let flags = if is_folder { AtFlags::REMOVEDIR } else { AtFlags::empty() };
        rustix::fs::unlinkat(self.folder(), &self.name, flags)
    }

    /// Makes a folder; the process's mask takes away from its permissions.
    pub fn make_folder(&self, permissions: u16) -> Result<(), Errno> {
        rustix::fs::mkdirat(self.folder(), &self.name, Mode::from_raw_mode(permissions.into()))
    }

    /// Whether what is there is this very symlink, device, pipe or socket.
    pub fn holds(&self, kind: EntryKind<'_>, stat: &Stat) -> bool {
        match kind {
            EntryKind::Symlink(target) => self.read_link().is_ok_and(|old| old == target),
            EntryKind::Special(special) => special_of(stat) == Some(special),
            EntryKind::File | EntryKind::Directory(_) => false,
        }
    }

    /// Puts a symlink, device, pipe or socket there at once, in the place of whatever is there, except a folder.
    pub fn put(&self, kind: EntryKind<'_>, wanted: &Wanted) -> Result<(), Errno> {
        self.put_made(|made| made.make(kind), |made| made.apply(file_type(kind), wanted))
    }

    /// Puts another name of what is at a place there at once, in the place of whatever other thing is there, except a folder.
    pub fn link_to(&self, other: &Self) -> Result<(), Errno> {
        let link =
            |made: &Self| rustix::fs::linkat(other.folder(), &other.name, made.folder(), &made.name, AtFlags::empty());
        self.put_made(link, |_| Ok(()))
    }

    fn put_made(
        &self,
        begin: impl Fn(&Self) -> Result<(), Errno>,
        finish: impl Fn(&Self) -> Result<(), Errno>,
    ) -> Result<(), Errno> {
        for _ in 0..DRAWS {
            let made = Self { folder: Arc::clone(&self.folder), name: temporary_name(&self.name) };
            match begin(&made) {
                Err(Errno::EXIST) => continue,
                result => result?,
            }
            let placed =
                finish(&made).and_then(|()| rustix::fs::renameat(self.folder(), &made.name, self.folder(), &self.name));
            if placed.is_err() {
                // It must not stay; why it could not be placed matters more than why it could not be removed.
                let _ = rustix::fs::unlinkat(self.folder(), &made.name, AtFlags::empty());
            }
            return placed;
        }
        Err(Errno::EXIST)
    }

    /// Makes one where nothing is.
    fn make(&self, kind: EntryKind<'_>) -> Result<(), Errno> {
        let device = match kind {
            EntryKind::Symlink(target) => {
                return rustix::fs::symlinkat(OsStr::from_bytes(target), self.folder(), &self.name);
            }
            EntryKind::Special(Special::Pipe | Special::Socket) => 0,
            EntryKind::Special(Special::Character(device) | Special::Block(device)) => device_number(device)?,
            EntryKind::File | EntryKind::Directory(_) => return Err(Errno::INVAL),
        };
        rustix::fs::mknodat(self.folder(), &self.name, file_type(kind), Mode::from_raw_mode(0o600), device)
    }

    /// A new file that will take this place.
    pub fn stage(&self) -> Result<Staged, Errno> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        for _ in 0..DRAWS {
            let name = temporary_name(&self.name);
            match rustix::fs::openat(self.folder(), &name, flags, Mode::from_raw_mode(0o600)) {
                Ok(file) => return Ok(Staged::new(Arc::clone(&self.folder), name, file.into())),
                Err(Errno::EXIST | Errno::INTR) => {}
                Err(errno) => return Err(errno),
            }
        }
        Err(Errno::EXIST)
    }

    /// Gives a staged file this place.
    pub fn take(&self, staged: Staged) -> Result<(), Errno> {
        staged.rename_to(&self.name)
    }

    /// The same, if nothing is there; else `EXIST`.
    pub fn take_if_free(&self, staged: Staged) -> Result<(), Errno> {
        match staged.rename_to_free(&self.name) {
            // Not every file system knows how: then there is a moment between the look and the change.
            Err((staged, Errno::INVAL | Errno::NOSYS)) if self.look()?.is_none() => self.take(staged),
            Err((_, Errno::INVAL | Errno::NOSYS)) => Err(Errno::EXIST),
            Err((_, errno)) => Err(errno),
            Ok(()) => Ok(()),
        }
    }

    /// Gives what is there its attributes. Owners first, since they clear permissions; times last.
    pub fn apply(&self, kind: FileType, wanted: &Wanted) -> Result<(), Errno> {
        if wanted.owner.is_some() || wanted.group.is_some() {
            let (owner, group) = (wanted.owner.map(Uid::from_raw), wanted.group.map(Gid::from_raw));
            rustix::fs::chownat(self.folder(), &self.name, owner, group, AtFlags::SYMLINK_NOFOLLOW)?;
        }
        if let Some(mode) = wanted.mode
            && kind != FileType::Symlink
        {
            self.set_mode(kind, mode)?;
        }
        if let Some(times) = times(wanted) {
            rustix::fs::utimensat(self.folder(), &self.name, &times, AtFlags::SYMLINK_NOFOLLOW)?;
        }
        Ok(())
    }

    /// Changes the permissions of the file or folder itself: no call does so by name without following a symlink.
    fn set_mode(&self, kind: FileType, mode: u16) -> Result<(), Errno> {
        let open = |flags: OFlags| {
            let flags = flags | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
            rustix::fs::openat(self.folder(), &self.name, flags, Mode::empty())
        };
        let mode = Mode::from_raw_mode(mode.into());
        // To open a device can rewind a tape, and a socket is not opened at all.
        let is_opened = matches!(kind, FileType::RegularFile | FileType::Directory);
        match if is_opened { open(OFlags::RDONLY) } else { Err(Errno::ACCESS) } {
            Ok(file) => rustix::fs::fchmod(file, mode),
            // This, and what its owner may not read, is reached by its handle.
            Err(Errno::ACCESS) => {
                use std::os::fd::AsRawFd as _;
                let handle = open(OFlags::PATH)?;
                rustix::fs::chmod(format!("/proc/self/fd/{}", handle.as_raw_fd()), mode)
            }
            Err(errno) => Err(errno),
        }
    }
}

/// What the system calls a kind.
pub fn file_type(kind: EntryKind<'_>) -> FileType {
    match kind {
        EntryKind::File => FileType::RegularFile,
        EntryKind::Directory(_) => FileType::Directory,
        EntryKind::Symlink(_) => FileType::Symlink,
        EntryKind::Special(Special::Pipe) => FileType::Fifo,
        EntryKind::Special(Special::Socket) => FileType::Socket,
        EntryKind::Special(Special::Character(_)) => FileType::CharacterDevice,
        EntryKind::Special(Special::Block(_)) => FileType::BlockDevice,
    }
}

/// The number of a device here, if there is room for both of its parts.
fn device_number(device: Device) -> Result<u64, Errno> {
    let is_known = device.major < 1 << 12 && device.minor < 1 << 20;
    is_known.then(|| rustix::fs::makedev(device.major, device.minor)).ok_or(Errno::INVAL)
}

/// The times that are to be given, if any are.
pub(super) fn times(wanted: &Wanted) -> Option<Timestamps> {
    let kept = Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT };
    let at = |Mtime { seconds, nanoseconds }| Timespec { tv_sec: seconds, tv_nsec: nanoseconds.into() };
    (wanted.mtime.is_some() || wanted.atime.is_some()).then(|| Timestamps {
        last_access: wanted.atime.map_or(kept, |seconds| at(Mtime { seconds, nanoseconds: 0 })),
        last_modification: wanted.mtime.map_or(kept, at),
    })
}
