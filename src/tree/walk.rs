//! Turning the operands of a push into the entries of a file list.
//!
//! Guarantees: every entry keeps the rules of a [`RemoteName`] or is `.`, no name appears twice, and the parents of
//! an entry below its operand are entries themselves, which receivers demand (`protocol-notes/06-file-list.md`). What
//! cannot be listed is reported and left out; the walk goes on. Folders are entered through the handle of their base
//! without following symlinks, unless links are to be followed. One descriptor is open per folder being read, however
//! deep the tree. The order of the entries means nothing; sorting is the file list's affair.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Mutex;

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat};
use rustix::io::{Errno, retry_on_intr};

use super::attrs::meta_of;
use super::beneath::{self, is_symlink};
use super::path::{NameFault, Operand, RemoteName, local_path};
use super::refusal::{cannot_enter, cannot_open};
use super::source::{SourceFile, split};
use crate::blocking;
use crate::error::Result;
use crate::text;
use crate::wire::flist::{Content, Entries, EntryKind, FileEntry};

/// What to do with a symlink.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Links {
    /// Leave it out and say so.
    #[default]
    Skip,
    /// List it as a symlink (`-l`).
    Keep,
    /// List what it points to (`-L`).
    Follow,
}

/// How far folders are entered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Depth {
    /// Folders are left out and reported.
    #[default]
    FilesOnly,
    /// Folders are listed but not entered, except one named as `dir/` or `.` (`-d`).
    Folders,
    /// Everything below (`-r`).
    Recursive,
}

/// How to walk.
#[derive(Debug, Clone, Copy, Default)]
pub struct WalkOptions {
    /// Symlinks.
    pub links: Links,
    /// Folders.
    pub depth: Depth,
    /// Whether a folder on another file system than its operand is listed but not entered (`-x`).
    pub one_file_system: bool,
}

/// What a walk found.
#[derive(Debug)]
pub struct Listing {
    /// Opens the entries.
    pub sources: Sources,
    /// In no order. The tag of an entry is its base: see [`Sources`].
    pub entries: Entries,
}

/// The folders that the names are relative to. It stays when the entries have been moved elsewhere.
#[derive(Debug)]
pub struct Sources {
    bases: Vec<PathBuf>,
    links: Links,
    /// The folder in which a file was opened last: the next one mostly lies there, too.
    last: Mutex<Option<Opened>>,
}

/// A folder that is held open.
#[derive(Debug)]
struct Opened {
    base: PathBuf,
    folder: Box<[u8]>,
    handle: OwnedFd,
}

impl Sources {
    /// The local path of an entry of the same listing, for opening by others and for messages.
    pub fn local_path(&self, entry: &FileEntry<'_>) -> PathBuf {
        local_path(self.base(entry), entry.name)
    }

    fn base(&self, entry: &FileEntry<'_>) -> &Path {
        let base = entry.tag.and_then(|base| self.bases.get(base as usize));
        base.map_or(Path::new("."), PathBuf::as_path)
    }

    /// Opens an entry of the same listing that is a file. Unless links are followed, a symlink that has appeared since
    /// the walk is refused, at the end of the name (`SourceNotRegular`) and on the way (`SourceOutside`); a folder that is
    /// replaced while its files are sent goes on to be read.
    /// Else fails like [`SourceFile::open`].
    pub fn open(&self, entry: &FileEntry<'_>) -> Result<SourceFile> {
        let path = self.local_path(entry);
        if self.links == Links::Follow {
            return SourceFile::open_following(&path);
        }
        let (folder, name) = split(entry.name);
        let base = self.base(entry);
        let mut last = blocking::lock(&self.last);
        let opened = match last.take() {
            Some(opened) if opened.base == base && *opened.folder == *folder => opened,
            _ => {
                let root = open_base(base).map_err(|errno| cannot_open(&path, errno))?;
                let handle = beneath::open_folder(root.as_fd(), folder).map_err(|errno| cannot_enter(&path, errno))?;
                Opened { base: base.to_owned(), folder: folder.into(), handle }
            }
        };
        SourceFile::open_seen(last.insert(opened).handle.as_fd(), name, path)
    }
}

/// What a warning means for the session's result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Left out as asked.
    None,
    /// Gone since it was listed: rsync's exit status 24.
    Vanished,
    /// Something that was asked for is missing: rsync's exit status 23, and nothing may be deleted.
    Failed,
}

/// Why something was left out.
#[derive(Debug)]
#[non_exhaustive]
pub enum Reason {
    /// It cannot be looked at or listed.
    Unreadable(io::Error),
    /// It was there a moment ago.
    Vanished,
    /// A device, pipe or socket.
    Special,
    /// A symlink, and links are not sent.
    Symlink,
    /// A folder, and folders are not sent.
    Folder,
    /// A name that no file list can carry.
    Name(NameFault),
    /// Following links leads from this folder back to itself.
    Loop,
    /// This other path has the same name on the NAS and is sent instead.
    SameNameAs(PathBuf),
}

/// Something that was left out.
#[derive(Debug)]
#[non_exhaustive]
pub struct WalkWarning {
    /// Its local path.
    pub path: PathBuf,
    /// Why.
    pub reason: Reason,
}

impl WalkWarning {
    fn new(path: PathBuf, reason: Reason) -> Self {
        Self { path, reason }
    }

    /// What it means for the result.
    pub fn effect(&self) -> Effect {
        match self.reason {
            Reason::Unreadable(_) | Reason::Name(_) | Reason::Loop => Effect::Failed,
            Reason::Vanished => Effect::Vanished,
            // Laying one tree over another is an idiom of rsync, which ends well there.
            Reason::Special | Reason::Symlink | Reason::Folder | Reason::SameNameAs(_) => Effect::None,
        }
    }
}

/// Escaped, for people.
impl fmt::Display for WalkWarning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let show = |path: &Path| text::escape_bytes(path.as_os_str().as_bytes());
        let path = show(&self.path);
        match &self.reason {
            Reason::Unreadable(error) => write!(f, "{path} cannot be read: {error}"),
            Reason::Vanished => write!(f, "{path} vanished while it was listed"),
            Reason::Special => write!(f, "{path} is a device, pipe or socket and is skipped"),
            Reason::Symlink => write!(f, "{path} is a symlink and is skipped"),
            Reason::Folder => write!(f, "{path} is a folder and is skipped"),
            Reason::Name(fault) => write!(f, "the name of {path} cannot be sent: {fault}"),
            Reason::Loop => write!(f, "{path} leads back to a folder above it"),
            Reason::SameNameAs(other) => write!(f, "{path} has the same name on the NAS as {}", show(other)),
        }
    }
}

/// Lists what the operands stand for. `keep` decides on each name but `.` (a folder that is not kept is not entered);
/// `warn` hears of everything else that is left out.
pub fn walk(
    operands: &[Operand],
    options: WalkOptions,
    keep: &mut dyn FnMut(&[u8], EntryKind<'_>) -> bool,
    warn: &mut dyn FnMut(WalkWarning),
) -> Listing {
    let mut walker =
        Walker { options, keep, warn, bases: Vec::new(), entries: Entries::default(), pending: Vec::new() };
    let mut known: HashMap<&Path, u32> = HashMap::new();
    let mut overlap = false;
    for operand in operands {
        let base = *known.entry(operand.base()).or_insert_with(|| {
            walker.bases.push(operand.base().to_owned());
            // A command line cannot hold 2^32 arguments.
            u32::try_from(walker.bases.len() - 1).unwrap_or(u32::MAX)
        });
        overlap |= !walker.entries.is_empty();
        walker.operand(operand, base);
    }
    if overlap {
        walker.drop_repeated_names();
    }
    walker.entries.shrink_to_fit();
    Listing {
        sources: Sources { bases: walker.bases, links: options.links, last: Mutex::new(None) },
        entries: walker.entries,
    }
}

fn open_base(path: &Path) -> Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    retry_on_intr(|| rustix::fs::open(path, flags, Mode::empty()))
}

/// A folder that is still to be read: the position of its entry, and its identity when links are followed.
struct Pending {
    entry: usize,
    trail: Option<Rc<Trail>>,
}

/// A folder and the folders above it, by identity: where following links would go round in circles.
struct Trail {
    dev: u64,
    ino: u64,
    above: Option<Rc<Trail>>,
}

/// What all entries of one operand share.
struct Ground {
    base: u32,
    folder: OwnedFd,
    dev: u64,
}

/// A file that was looked at, in the folder that was being read.
struct Seen<'a> {
    folder: BorrowedFd<'a>,
    file_name: &'a OsStr,
    stat: Stat,
    operand: bool,
}

struct Walker<'a> {
    options: WalkOptions,
    keep: &'a mut dyn FnMut(&[u8], EntryKind<'_>) -> bool,
    warn: &'a mut dyn FnMut(WalkWarning),
    bases: Vec<PathBuf>,
    entries: Entries,
    pending: Vec<Pending>,
}

impl Walker<'_> {
    fn operand(&mut self, operand: &Operand, base: u32) {
        let name = operand.name().unwrap_or(b".");
        let file_name = OsStr::from_bytes(name);
        let look = || {
            let folder = open_base(operand.base())?;
            let stat = rustix::fs::statat(&folder, file_name, self.stat_flags())?;
            Ok::<_, Errno>((folder, stat))
        };
        let (folder, stat) = match look() {
            Ok(seen) => seen,
            // It was asked for by name: not being there is a failure, not a file that vanished meanwhile.
            Err(errno) => return (self.warn)(WalkWarning::new(operand.path(), Reason::Unreadable(errno.into()))),
        };
        let ground = Ground { base, folder, dev: stat.st_dev };
        let seen = Seen { folder: ground.folder.as_fd(), file_name, stat, operand: true };
        self.add(&ground, name, &seen, None);
        while let Some(folder) = self.pending.pop() {
            self.read_folder(&ground, &folder);
        }
    }

    fn stat_flags(&self) -> AtFlags {
        if self.options.links == Links::Follow { AtFlags::empty() } else { AtFlags::SYMLINK_NOFOLLOW }
    }

    fn warn_of(&mut self, ground: &Ground, name: &[u8], reason: Reason) {
        (self.warn)(WalkWarning::new(local_path(&self.bases[ground.base as usize], name), reason));
    }

    fn read_folder(&mut self, ground: &Ground, pending: &Pending) {
        let Some(FileEntry { name, .. }) = self.entries.get(pending.entry) else { return };
        let shown = name.to_vec();
        let prefix = if shown == b"." { &b""[..] } else { &shown };
        let opened = match self.options.links {
            Links::Follow => beneath::open_listing_following(ground.folder.as_fd(), prefix),
            Links::Skip | Links::Keep => beneath::open_listing(ground.folder.as_fd(), prefix),
        };
        let listing = opened.and_then(|folder| Ok((Dir::read_from(&folder)?, folder)));
        let (listing, folder) = match listing {
            Ok(listing) => listing,
            Err(errno) => return self.warn_of(ground, &shown, gone_or_unreadable(errno)),
        };
        let mut name = prefix.to_vec();
        if !name.is_empty() {
            name.push(b'/');
        }
        let start = name.len();
        for next in listing {
            let item = match next {
                Ok(item) => item,
                Err(errno) => return self.warn_of(ground, &shown, Reason::Unreadable(errno.into())),
            };
            let file_name = item.file_name().to_bytes();
            if matches!(file_name, b"." | b"..") {
                continue;
            }
            name.truncate(start);
            name.extend_from_slice(file_name);
            if let Err(fault) = RemoteName::check(&name) {
                self.warn_of(ground, &name, Reason::Name(fault));
                continue;
            }
            let file_name = OsStr::from_bytes(file_name);
            match rustix::fs::statat(&folder, file_name, self.stat_flags()) {
                Ok(status) => {
                    let seen = Seen { folder: folder.as_fd(), file_name, stat: status, operand: false };
                    self.add(ground, &name, &seen, pending.trail.as_ref());
                }
                // A link that leads nowhere has not vanished.
                Err(errno) if is_symlink(folder.as_fd(), file_name) => {
                    self.warn_of(ground, &name, Reason::Unreadable(errno.into()));
                }
                Err(errno) => self.warn_of(ground, &name, gone_or_unreadable(errno)),
            }
        }
    }

    fn add(&mut self, ground: &Ground, name: &[u8], seen: &Seen<'_>, above: Option<&Rc<Trail>>) {
        let mut meta = meta_of(&seen.stat);
        let mut trail = None;
        let target;
        let kind = match FileType::from_raw_mode(seen.stat.st_mode) {
            FileType::RegularFile => EntryKind::File,
            FileType::Directory if self.options.depth == Depth::FilesOnly => {
                return self.warn_of(ground, name, Reason::Folder);
            }
            FileType::Directory => {
                if self.options.links == Links::Follow {
                    let (dev, ino) = (seen.stat.st_dev, seen.stat.st_ino);
                    if Trail::holds(above, dev, ino) {
                        return self.warn_of(ground, name, Reason::Loop);
                    }
                    trail = Some(Rc::new(Trail { dev, ino, above: above.cloned() }));
                }
                EntryKind::Directory(match self.enters(ground, name, &seen.stat) {
                    false => Content::Unlisted,
                    true if seen.operand => Content::Argument,
                    true => Content::Listed,
                })
            }
            FileType::Symlink if self.options.links == Links::Skip => {
                return self.warn_of(ground, name, Reason::Symlink);
            }
            FileType::Symlink => match rustix::fs::readlinkat(seen.folder, seen.file_name, Vec::new()) {
                Ok(read) => {
                    target = read;
                    // Some file systems give a link's size as 0; a list carries the length of what it holds.
                    meta.size = target.as_bytes().len() as u64;
                    EntryKind::Symlink(target.as_bytes())
                }
                Err(errno) => return self.warn_of(ground, name, gone_or_unreadable(errno)),
            },
            _ => return self.warn_of(ground, name, Reason::Special),
        };
        if name != b"." && !(self.keep)(name, kind) {
            return;
        }
        if matches!(kind, EntryKind::Directory(Content::Argument | Content::Listed)) {
            self.pending.push(Pending { entry: self.entries.len(), trail });
        }
        self.entries.push(&FileEntry { tag: Some(ground.base), ..FileEntry::new(name, kind, meta) });
    }

    fn enters(&self, ground: &Ground, name: &[u8], stat: &Stat) -> bool {
        match self.options.depth {
            Depth::FilesOnly => false,
            Depth::Folders => name == b".",
            Depth::Recursive => !self.options.one_file_system || stat.st_dev == ground.dev,
        }
    }

    /// Operands can overlap. Folders of one name become one; the same file named twice is no loss.
    fn drop_repeated_names(&mut self) {
        let (bases, warn) = (&self.bases, &mut self.warn);
        let path = |entry: FileEntry<'_>| local_path(&bases[entry.tag.unwrap_or_default() as usize], entry.name);
        self.entries.unite_names(|dropped, kept| {
            if !(dropped.kind.is_dir() && kept.kind.is_dir()) && dropped.tag != kept.tag {
                warn(WalkWarning::new(path(dropped), Reason::SameNameAs(path(kept))));
            }
        });
    }
}

impl Trail {
    fn holds(mut trail: Option<&Rc<Self>>, dev: u64, ino: u64) -> bool {
        while let Some(folder) = trail {
            if (folder.dev, folder.ino) == (dev, ino) {
                return true;
            }
            trail = folder.above.as_ref();
        }
        false
    }
}

fn gone_or_unreadable(errno: Errno) -> Reason {
    if errno == Errno::NOENT { Reason::Vanished } else { Reason::Unreadable(errno.into()) }
}

#[cfg(test)]
mod tests;
