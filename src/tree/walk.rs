//! Turning the operands of a push into the entries of a file list.
//!
//! Guarantees: every entry keeps the rules of a [`RemoteName`] or is `.`, no name appears twice, and the parents of
//! an entry below its operand are entries themselves, which receivers demand (`protocol-notes/06-file-list.md`). What
//! cannot be listed is reported and left out; the walk goes on. Folders are entered through the handle of their base
//! without following symlinks, unless links are to be followed. One descriptor is open per folder being read, however
//! deep the tree. The order of the entries means nothing; sorting is the file list's affair.

pub mod links;
mod sources;
mod warning;

use std::collections::HashSet;
use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat};
use rustix::io::{Errno, retry_on_intr};

use super::attrs::{extras_of, meta_of, special_of};
use super::beneath::{self, is_symlink};
use super::path::{Operand, RemoteName, local_path};
use super::refusal::cannot_open;
use crate::error::{ErrorKind, NasSyncError, Result};
use crate::filter::{FilterError, Name, Rules, Scope};
use crate::small_file;
use crate::wire::flist::{Content, Entries, EntryKind, FileEntry, ListFields, ListOrder, Special};
pub use sources::Sources;
pub use warning::{Effect, Reason, WalkWarning};

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
    /// Folders are listed but not entered, except operands that are named as `dir/` or `.` (`-d`).
    Folders,
    /// Everything below (`-r`).
    Recursive,
}

/// Which symlinks are listed as what they point to, where not all are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Followed {
    /// Those to folders (`-k`).
    pub to_folders: bool,
    /// Those that lead out of what is sent (`--copy-unsafe-links`).
    pub unsafe_ones: bool,
}

/// The longest file of rules.
const MAX_RULES: usize = 1 << 20;

/// How to walk.
#[derive(Debug, Clone, Copy, Default)]
#[expect(clippy::struct_excessive_bools, reason = "they are rsync's own switches")]
pub struct WalkOptions {
    /// Symlinks.
    pub links: Links,
    /// Those that are followed all the same.
    pub followed: Followed,
    /// Whether what makes a symlink unusable is taken from its target (`--munge-links`).
    pub unmunges: bool,
    /// Folders.
    pub depth: Depth,
    /// Whether folders on the way to an operand stay there as they are where they exist (`--no-implied-dirs`).
    pub leaves_way: bool,
    /// Whether a folder on another file system than its operand is listed but not entered (`-x`).
    pub one_file_system: bool,
    /// The optional fields of the list: devices, pipes and sockets are listed where they have theirs.
    pub fields: ListFields,
    /// Whether symlinks and special files that are not sent are listed all the same, so that nothing there is deleted for
    /// having their names.
    pub lists_skipped: bool,
}

impl WalkOptions {
    /// Whether a way may lead through symlinks.
    fn follows_any(self) -> bool {
        self.links == Links::Follow || self.followed != Followed::default()
    }

    fn lists_special(self, special: Special) -> bool {
        self.lists_skipped
            || match special {
                Special::Character(_) | Special::Block(_) => self.fields.devices,
                Special::Pipe | Special::Socket => self.fields.specials,
            }
    }

    /// What is under a name, or behind it where it is a symlink that is followed.
    fn look(self, folder: BorrowedFd<'_>, file_name: &OsStr, name: &[u8]) -> Result<Stat, Errno> {
        let look = |flags| rustix::fs::statat(folder, file_name, flags);
        if self.links == Links::Follow {
            return look(AtFlags::empty());
        }
        let stat = look(AtFlags::SYMLINK_NOFOLLOW)?;
        if !self.follows_any() || !FileType::from_raw_mode(stat.st_mode).is_symlink() {
            return Ok(stat);
        }
        if self.followed.unsafe_ones {
            let target = rustix::fs::readlinkat(folder, file_name, Vec::new())?;
            if links::leads_outside(target.as_bytes(), name) {
                return look(AtFlags::empty());
            }
        }
        match look(AtFlags::empty()) {
            Ok(behind) if self.followed.to_folders && FileType::from_raw_mode(behind.st_mode).is_dir() => Ok(behind),
            _ => Ok(stat),
        }
    }
}

/// What a walk found.
#[derive(Debug)]
pub struct Listing {
    /// Opens the entries.
    pub sources: Sources,
    /// In no order. The tag of an entry is its base: see [`Sources`].
    pub entries: Entries,
}

/// Lists what the operands stand for. `rules` decide on each name but `.` (a folder that does not take part is not entered);
/// `warn` hears of everything else that is left out.
///
/// Fails when a file of rules makes no sense or cannot be read: what it would leave out must not be sent.
pub fn walk(
    operands: &[Operand],
    options: WalkOptions,
    rules: &Rules,
    warn: &mut dyn FnMut(WalkWarning),
) -> Result<Listing> {
    let mut walker = Walker::new(options, rules);
    let mut overlap = false;
    for operand in operands {
        overlap |= !walker.entries.is_empty();
        if let Some(ground) = walker.enter(operand)? {
            while let Some(folder) = walker.pending.pop() {
                walker.read_folder(&ground, &folder)?;
            }
        }
        walker.warnings.drain(..).for_each(&mut *warn);
    }
    if overlap {
        walker.drop_repeated_names();
    }
    walker.warnings.drain(..).for_each(warn);
    walker.entries.shrink_to_fit();
    Ok(Listing { sources: Sources::new(walker.bases, walker.follows), entries: walker.entries })
}

/// A walk that finds what lies at the top, and then the content of one folder after the other.
pub struct Walk {
    walker: Walker,
    operands: Vec<Operand>,
    /// Folders that are still to be read, the next one last.
    ahead: Vec<(Arc<Ground>, Pending)>,
}

/// A part of what a [`Walk`] finds.
#[derive(Debug)]
pub struct WalkPart {
    /// The folder whose content it is; `None` at the top.
    pub folder: Option<Box<[u8]>>,
    /// In no order.
    pub entries: Entries,
    /// What was left out.
    pub warnings: Vec<WalkWarning>,
}

impl Walk {
    /// Whether the operands can be found folder by folder: several must not overlap.
    pub fn is_possible(operands: &[Operand]) -> bool {
        let names: Option<HashSet<_>> = operands.iter().map(Operand::name).collect();
        operands.len() == 1 || names.is_some_and(|names| names.len() == operands.len())
    }

    /// A walk that begins.
    pub fn new(mut operands: Vec<Operand>, options: WalkOptions, rules: &Rules) -> Self {
        operands.reverse();
        Self { walker: Walker::new(options, rules), operands, ahead: Vec::new() }
    }

    /// Opens the entries, once what lies at the top has been found.
    pub fn sources(&self) -> Sources {
        Sources::new(self.walker.bases.clone(), self.walker.follows)
    }

    /// What lies at the top. Fails like [`walk`].
    pub fn top(&mut self) -> Result<WalkPart> {
        while let Some(operand) = self.operands.pop() {
            if let Some(ground) = self.walker.enter(&operand)? {
                let ground = Arc::new(ground);
                let roots = self.walker.pending.pop_if(|pending| *pending.name == *b".");
                if let Some(root) = roots {
                    self.walker.read_folder(&ground, &root)?;
                }
                self.ahead.extend(self.walker.pending.drain(..).map(|pending| (Arc::clone(&ground), pending)));
            }
        }
        self.order(0);
        Ok(self.found(None))
    }

    /// Whether no folder is left to be read.
    pub fn is_over(&self) -> bool {
        self.ahead.is_empty()
    }

    /// What lies in the next folder: right behind a folder come those in it. Fails like [`walk`].
    pub fn below(&mut self) -> Result<Option<WalkPart>> {
        let Some((ground, pending)) = self.ahead.pop() else { return Ok(None) };
        self.walker.read_folder(&ground, &pending)?;
        let before = self.ahead.len();
        self.ahead.extend(self.walker.pending.drain(..).map(|pending| (Arc::clone(&ground), pending)));
        self.order(before);
        Ok(Some(self.found(Some(pending.name))))
    }

    /// Puts the folders from a position on into their order, the first last.
    fn order(&mut self, from: usize) {
        self.ahead[from..]
            .sort_unstable_by(|(_, a), (_, b)| ListOrder::FilesFirst.compare((&b.name, true), (&a.name, true)));
    }

    fn found(&mut self, folder: Option<Box<[u8]>>) -> WalkPart {
        let (entries, warnings) = (&mut self.walker.entries, &mut self.walker.warnings);
        WalkPart { folder, entries: std::mem::take(entries), warnings: std::mem::take(warnings) }
    }
}

fn open_base(path: &Path) -> Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    retry_on_intr(|| rustix::fs::open(path, flags, Mode::empty()))
}

/// A folder that is still to be read: its name, its identity when links are followed, and the rules in force above it.
struct Pending {
    name: Box<[u8]>,
    trail: Option<Arc<Trail>>,
    scope: Scope,
}

/// What the entries of one folder have in common.
struct Around<'a> {
    /// The rules in force there.
    scope: &'a Scope,
    /// Those that the folders among them are read by.
    below: &'a Scope,
    trail: Option<&'a Arc<Trail>>,
}

/// A folder and the folders above it, by identity: where following links would go round in circles.
struct Trail {
    dev: u64,
    ino: u64,
    above: Option<Arc<Trail>>,
}

/// What all entries of one operand share.
struct Ground {
    base: u32,
    folder: OwnedFd,
    dev: u64,
    /// The absolute path of the base, without the slash in front.
    root: Vec<u8>,
}

/// A file that was looked at, in the folder that was being read.
struct Seen<'a> {
    folder: BorrowedFd<'a>,
    file_name: &'a OsStr,
    stat: Stat,
    given: Given,
}

/// How something came to be looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Given {
    /// It lies in a folder that was read.
    Found,
    /// As an operand.
    Named,
    /// As an operand that ends with a slash.
    WithContents,
}

struct Walker {
    options: WalkOptions,
    /// The rules above all folders.
    scope: Scope,
    /// Whether a way may lead through symlinks.
    follows: bool,
    /// What was left out, and not told yet.
    warnings: Vec<WalkWarning>,
    bases: Vec<PathBuf>,
    entries: Entries,
    pending: Vec<Pending>,
}

impl Walker {
    fn new(options: WalkOptions, rules: &Rules) -> Self {
        Self {
            options,
            scope: Scope::new(rules),
            follows: options.follows_any(),
            warnings: Vec::new(),
            bases: Vec::new(),
            entries: Entries::default(),
            pending: Vec::new(),
        }
    }

    /// The number of an operand's base.
    fn base(&mut self, base: &Path) -> u32 {
        let known = self.bases.iter().position(|known| known == base).unwrap_or_else(|| {
            self.bases.push(base.to_owned());
            self.bases.len() - 1
        });
        // A command line cannot hold 2^32 arguments.
        u32::try_from(known).unwrap_or(u32::MAX)
    }

    /// Adds an operand, and what is to be read of it. `None` where there is none.
    fn enter(&mut self, operand: &Operand) -> Result<Option<Ground>> {
        let base = self.base(operand.base());
        let name = operand.name().unwrap_or(b".");
        let file_name = OsStr::from_bytes(name);
        let look = || {
            let folder = open_base(operand.base())?;
            let stat = self.options.look(folder.as_fd(), file_name, name)?;
            Ok::<_, Errno>((folder, stat))
        };
        let (folder, stat) = match look() {
            Ok(seen) => seen,
            // It was asked for by name: not being there is a failure, not a file that vanished meanwhile.
            Err(errno) => {
                let reason = if errno == Errno::NOENT { Reason::Missing } else { Reason::Unreadable };
                self.warnings.push(WalkWarning::new(operand.path(), reason(errno.into())));
                return Ok(None);
            }
        };
        let ground = Ground { base, folder, dev: stat.st_dev, root: absolute(operand.base())? };
        let given = if operand.means_contents() { Given::WithContents } else { Given::Named };
        let seen = Seen { folder: ground.folder.as_fd(), file_name, stat, given };
        let (scope, below) = (self.scope.clone(), self.scope_below(&ground, name)?);
        let before = self.entries.len();
        self.add(&ground, name, &seen, &Around { scope: &scope, below: &below, trail: None });
        if self.entries.len() > before {
            self.add_way(&ground, name);
        }
        Ok(Some(ground))
    }

    /// Adds the folders on the way to an operand, whatever rules say. A symlink on the way is the folder that it leads to.
    fn add_way(&mut self, ground: &Ground, name: &[u8]) {
        let content = if self.options.leaves_way { Content::Implied } else { Content::Unlisted };
        for (at, _) in name.iter().enumerate().filter(|(_, byte)| **byte == b'/') {
            let (folder, file_name) = (ground.folder.as_fd(), OsStr::from_bytes(&name[..at]));
            self.follows |= is_symlink(folder, file_name);
            // It was there when the operand was looked at.
            if let Ok(stat) = rustix::fs::statat(folder, file_name, AtFlags::empty()) {
                let kind = EntryKind::Directory(content);
                let entry = FileEntry::new(&name[..at], kind, meta_of(&stat));
                self.entries.push(&FileEntry { tag: Some(ground.base), ..entry });
            }
        }
    }

    /// The rules in force in an operand, from the folders above it on.
    fn scope_below(&self, ground: &Ground, name: &[u8]) -> Result<Scope> {
        scope_below(&self.scope, &ground.root, name == b".")
    }

    fn warn_of(&mut self, ground: &Ground, name: &[u8], reason: Reason) {
        self.warnings.push(WalkWarning::new(local_path(&self.bases[ground.base as usize], name), reason));
    }

    fn read_folder(&mut self, ground: &Ground, pending: &Pending) -> Result<()> {
        let shown = &*pending.name;
        let prefix = if shown == b"." { &b""[..] } else { shown };
        let open = if self.follows { beneath::open_listing_following } else { beneath::open_listing };
        let opened = open(ground.folder.as_fd(), prefix);
        let listing = opened.and_then(|folder| Ok((Dir::read_from(&folder)?, folder)));
        let (listing, folder) = match listing {
            Ok(listing) => listing,
            Err(errno) => {
                self.warn_of(ground, shown, gone_or_unreadable(errno));
                return Ok(());
            }
        };
        let scope = {
            let path = ground.absolute(prefix);
            let mut read = |name: &[u8]| read_rules(folder.as_fd(), name);
            pending.scope.enter(&path, &mut read).map_err(bad_rules)?
        };
        let around = Around { scope: &scope, below: &scope, trail: pending.trail.as_ref() };
        let mut name = prefix.to_vec();
        if !name.is_empty() {
            name.push(b'/');
        }
        let start = name.len();
        for next in listing {
            let item = match next {
                Ok(item) => item,
                Err(errno) => {
                    self.warn_of(ground, shown, Reason::Unreadable(errno.into()));
                    return Ok(());
                }
            };
            let file_name = item.file_name().to_bytes();
            if matches!(file_name, b"." | b"..") {
                continue;
            }
            name.truncate(start);
            name.extend_from_slice(file_name);
            // Of what does not take part, whatever it is, nothing is said.
            let takes_part = |is_dir| scope.sends(Name { name: &name, is_dir, root: &ground.root });
            let may_warn = takes_part(false) && takes_part(true);
            if let Err(fault) = RemoteName::check(&name) {
                if may_warn {
                    self.warn_of(ground, &name, Reason::Name(fault));
                }
                continue;
            }
            let file_name = OsStr::from_bytes(file_name);
            match self.options.look(folder.as_fd(), file_name, &name) {
                Ok(status) => {
                    let seen = Seen { folder: folder.as_fd(), file_name, stat: status, given: Given::Found };
                    self.add(ground, &name, &seen, &around);
                }
                Err(_) if !may_warn => {}
                // A link that leads nowhere has not vanished.
                Err(errno) if is_symlink(folder.as_fd(), file_name) => {
                    self.warn_of(ground, &name, Reason::Unreadable(errno.into()));
                }
                Err(errno) => self.warn_of(ground, &name, gone_or_unreadable(errno)),
            }
        }
        Ok(())
    }

    fn add(&mut self, ground: &Ground, name: &[u8], seen: &Seen<'_>, around: &Around<'_>) {
        let is_dir = FileType::from_raw_mode(seen.stat.st_mode).is_dir();
        if name != b"." && !around.scope.sends(Name { name, is_dir, root: &ground.root }) {
            return;
        }
        let above = around.trail;
        let mut meta = meta_of(&seen.stat);
        let mut trail = None;
        let target;
        let kind = match FileType::from_raw_mode(seen.stat.st_mode) {
            FileType::RegularFile => EntryKind::File,
            FileType::Directory if self.options.depth == Depth::FilesOnly => {
                return self.warn_of(ground, name, Reason::Folder);
            }
            FileType::Directory => {
                if self.options.follows_any() {
                    let (dev, ino) = (seen.stat.st_dev, seen.stat.st_ino);
                    if Trail::holds(above, dev, ino) {
                        return self.warn_of(ground, name, Reason::Loop);
                    }
                    trail = Some(Arc::new(Trail { dev, ino, above: above.cloned() }));
                }
                EntryKind::Directory(match self.enters(ground, seen) {
                    false => Content::Unlisted,
                    true if seen.given == Given::Found => Content::Listed,
                    true => Content::Argument,
                })
            }
            FileType::Symlink if self.options.links == Links::Skip && !self.options.lists_skipped => {
                return self.warn_of(ground, name, Reason::Symlink);
            }
            FileType::Symlink => match rustix::fs::readlinkat(seen.folder, seen.file_name, Vec::new()) {
                Ok(read) => {
                    target = read;
                    let target = target.as_bytes();
                    let usable = target.strip_prefix(links::MUNGED).filter(|_| self.options.unmunges);
                    let target = usable.unwrap_or(target);
                    // Some file systems give a link's size as 0; a list carries the length of what it holds.
                    meta.size = target.len() as u64;
                    EntryKind::Symlink(target)
                }
                Err(errno) => return self.warn_of(ground, name, gone_or_unreadable(errno)),
            },
            _ => match special_of(&seen.stat).filter(|&special| self.options.lists_special(special)) {
                Some(special) => {
                    meta.size = 0;
                    EntryKind::Special(special)
                }
                None => return self.warn_of(ground, name, Reason::Special),
            },
        };
        if matches!(kind, EntryKind::Directory(Content::Argument | Content::Listed)) {
            self.pending.push(Pending { name: name.into(), trail, scope: around.below.clone() });
        }
        let extras = extras_of(&seen.stat, self.options.fields);
        self.entries.push(&FileEntry { tag: Some(ground.base), extras, ..FileEntry::new(name, kind, meta) });
    }

    fn enters(&self, ground: &Ground, seen: &Seen<'_>) -> bool {
        match self.options.depth {
            Depth::FilesOnly => false,
            Depth::Folders => seen.given == Given::WithContents,
            Depth::Recursive => !self.options.one_file_system || seen.stat.st_dev == ground.dev,
        }
    }

    /// Operands can overlap. Folders of one name become one; the same file named twice is no loss.
    fn drop_repeated_names(&mut self) {
        let (bases, warnings) = (&self.bases, &mut self.warnings);
        let path = |entry: FileEntry<'_>| local_path(&bases[entry.tag.unwrap_or_default() as usize], entry.name);
        self.entries.unite_names(|dropped, kept| {
            if !(dropped.kind.is_dir() && kept.kind.is_dir()) && dropped.tag != kept.tag {
                warnings.push(WalkWarning::new(path(dropped), Reason::SameNameAs(path(kept))));
            }
        });
    }
}

impl Ground {
    /// The absolute path of a name below the base, without the slash in front.
    fn absolute(&self, name: &[u8]) -> Vec<u8> {
        let slash: &[u8] = if self.root.is_empty() || name.is_empty() { b"" } else { b"/" };
        [&self.root, slash, name].concat()
    }
}

/// The absolute path of a folder, without the slash in front.
pub(super) fn absolute(folder: &Path) -> Result<Vec<u8>> {
    let path = std::path::absolute(folder).map_err(|error| {
        NasSyncError::at_path(ErrorKind::SourceUnreadable, "Cannot tell the path of", folder, error)
    })?;
    let path = path.as_os_str().as_bytes();
    let path = path.strip_prefix(b"/").unwrap_or(path);
    Ok(path.strip_suffix(b"/").unwrap_or(path).to_vec())
}

/// The rules in force below a folder, from those above it on; or only below the folders above it, where its own will be read.
pub(super) fn scope_below(scope: &Scope, root: &[u8], reads_own: bool) -> Result<Scope> {
    let mut scope = scope.clone();
    if !scope.looks_above() {
        return Ok(scope);
    }
    let root = Path::new("/").join(OsStr::from_bytes(root));
    let folders: Vec<&Path> = root.ancestors().skip(usize::from(reads_own)).collect();
    for folder in folders.into_iter().rev() {
        let opened = open_base(folder).map_err(|errno| cannot_open(folder, errno))?;
        let path = folder.as_os_str().as_bytes();
        let mut read = |name: &[u8]| read_rules(opened.as_fd(), name);
        scope = scope.enter_above(path.strip_prefix(b"/").unwrap_or(path), &mut read).map_err(bad_rules)?;
    }
    Ok(scope)
}

/// The content of a file of rules in a folder, if there is one.
pub(super) fn read_rules(folder: BorrowedFd<'_>, name: &[u8]) -> io::Result<Option<Vec<u8>>> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOCTTY | OFlags::NONBLOCK;
    match retry_on_intr(|| rustix::fs::openat(folder, OsStr::from_bytes(name), flags, Mode::empty())) {
        Ok(file) => small_file::read_open(&file.into(), MAX_RULES).map(|content| Some(content.to_vec())),
        Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}

pub(super) fn bad_rules(error: FilterError) -> NasSyncError {
    NasSyncError::new(ErrorKind::Usage, error.to_string()).with_source(error)
}

impl Trail {
    fn holds(mut trail: Option<&Arc<Self>>, dev: u64, ino: u64) -> bool {
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
