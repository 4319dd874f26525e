//! Deletion, on the receiving side, of what the NAS does not have.
//!
//! Guarantees: nothing is deleted where nobody asked for it, outside the folders whose content the NAS listed, or once the NAS
//! has said that it could not list or read something, unless it was asked for in spite of that; no symlink is followed; no more
//! goes than the limit says. What is in a folder that is in the way of something goes by the same rules.

use std::os::unix::ffi::OsStrExt as _;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use rustix::fs::{FileType, Stat};
use rustix::io::Errno;

use super::event::Event;
use super::pull::{DeleteRules, Shared};
use crate::error::{ErrorKind, NasSyncError};
use crate::tree::place::{Place, Places};
use crate::wire::flist::{Content, EntryKind, FileEntry, ListOrder, MAX_NAME, io_error};
use crate::wire::receiver_args::DeleteTime;
use crate::wire::stats::DeleteStats;

pub(super) struct Deleter {
    shared: Arc<Shared>,
    rules: DeleteRules,
    when: DeleteTime,
    left: Option<u64>,
    has_said_why_not: bool,
    counts: DeleteStats,
}

impl Deleter {
    /// `None` where nothing is to be deleted.
    pub fn new(shared: &Arc<Shared>) -> Option<Self> {
        let rules = shared.job.deletion?;
        let terms = &shared.negotiated.list_terms;
        // As rsync does where it is not told.
        let usual = if terms.coding.content_flags { DeleteTime::During } else { DeleteTime::Before };
        let mut when = rules.when.unwrap_or(usual);
        if when == DeleteTime::During && terms.order == ListOrder::Bytewise {
            // In this order not all that is in a folder comes behind it, and what is being received must not be taken for
            // something that was there before.
            when = DeleteTime::Before;
        }
        Some(Self {
            shared: Arc::clone(shared),
            rules,
            when,
            left: rules.limit,
            has_said_why_not: false,
            counts: DeleteStats::default(),
        })
    }

    /// Says what was deleted, by kind.
    pub fn tell_counts(&self) {
        self.shared.monitor.event(Event::DeletedCounts { counts: &self.counts });
    }

    /// When it is to be done.
    pub fn when(&self) -> DeleteTime {
        self.when
    }

    /// Goes through all folders of the list.
    pub fn sweep_all(&mut self) {
        let shared = Arc::clone(&self.shared);
        let Some(mut places) = shared.places() else { return };
        for (_, entry) in shared.numbered().filter(|(_, entry)| entry.kind.is_dir()) {
            // A folder that could not be reached or made has been told of, or will be.
            if let Ok(Some(place)) = places.find(entry.name) {
                self.sweep(&entry, &place, &places);
            }
        }
    }

    /// Deletes in one folder what the list does not have.
    pub fn sweep(&mut self, entry: &FileEntry<'_>, place: &Place, places: &Places) {
        if !matches!(entry.kind, EntryKind::Directory(Content::Argument | Content::Listed)) || !self.may(entry) {
            return;
        }
        let children = match self.children(place) {
            Ok(children) => children,
            // What is not a folder has nothing in it.
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return,
            Err(errno) => return self.fail(entry, places, "Cannot list", errno),
        };
        let prefix = if entry.name == b"." { &[][..] } else { &[entry.name, b"/"].concat() };
        for child in children {
            let name = [prefix, child.file_name()].concat();
            if !self.shared.has_name(&name)
                && !self.is_kept(child.file_name())
                && let Err(errno) = self.delete(&child, &name)
            {
                self.fail(entry, places, "Cannot delete in", errno);
            }
        }
    }

    /// Deletes what is in a folder that is in the way of an entry, if anything may be deleted. Whether nothing of it has to stay.
    pub fn clear(&mut self, entry: &FileEntry<'_>, place: &Place) -> Result<bool, Errno> {
        if self.may(entry) { self.empty(place, entry.name) } else { Ok(true) }
    }

    /// Whether anything may be deleted at all; the first time that it may not, that is told.
    fn may(&mut self, entry: &FileEntry<'_>) -> bool {
        let errors = self.shared.job.findings.errors.load(Ordering::Acquire);
        let may = errors & io_error::GENERAL == 0 || self.rules.in_spite_of_errors;
        if !may && !self.has_said_why_not {
            self.has_said_why_not = true;
            let message = "nothing is deleted, because the NAS could not list or read everything";
            self.shared.fail(entry, &NasSyncError::new(ErrorKind::NotReceived, message));
        }
        may
    }

    /// Whether it is an older version that `--backup` keeps.
    fn is_kept(&self, name: &[u8]) -> bool {
        self.shared.job.backup.as_ref().is_some_and(|ending| name.ends_with(ending.as_bytes()))
    }

    /// What is in a folder, the last one of a list first: where there is a limit, rsync comes to it in this order.
    fn children(&self, place: &Place) -> Result<Vec<Place>, Errno> {
        let is_dir = |child: &Place| child.look().is_ok_and(|stat| stat.is_some_and(|stat| is_folder(&stat)));
        let mut children: Vec<_> = place.children()?.into_iter().map(|child| (is_dir(&child), child)).collect();
        let order = self.shared.negotiated.list_terms.order;
        children.sort_unstable_by(|(one_is_dir, one), (other_is_dir, other)| {
            order.compare((other.file_name(), *other_is_dir), (one.file_name(), *one_is_dir))
        });
        Ok(children.into_iter().map(|(_, child)| child).collect())
    }

    /// Whether a folder is empty then.
    fn empty(&mut self, folder: &Place, name: &[u8]) -> Result<bool, Errno> {
        let mut is_empty = true;
        for child in self.children(folder)? {
            let name = [name, b"/", child.file_name()].concat();
            is_empty &= !self.is_kept(child.file_name()) && self.delete(&child, &name)?;
        }
        Ok(is_empty)
    }

    /// Whether it is gone.
    fn delete(&mut self, place: &Place, name: &[u8]) -> Result<bool, Errno> {
        // A deeper folder could not be named, and each level holds a handle.
        if name.len() > MAX_NAME {
            return Err(Errno::NAMETOOLONG);
        }
        let Some(stat) = place.look()? else { return Ok(true) };
        let is_folder = is_folder(&stat);
        if is_folder && !self.empty(place, name)? {
            return Ok(false);
        }
        if self.left == Some(0) {
            let findings = &self.shared.job.findings;
            findings.errors.fetch_or(io_error::DELETE_LIMIT, Ordering::Relaxed);
            findings.kept_by_limit.fetch_add(1, Ordering::Relaxed);
            return Ok(false);
        }
        if !self.shared.job.dry_run && !self.remove(place, &stat, is_folder)? {
            return Ok(false);
        }
        self.left = self.left.map(|left| left - 1);
        let count = match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => &mut self.counts.directories,
            FileType::RegularFile => &mut self.counts.files,
            FileType::Symlink => &mut self.counts.symlinks,
            FileType::BlockDevice | FileType::CharacterDevice => &mut self.counts.devices,
            _ => &mut self.counts.specials,
        };
        *count = count.saturating_add(1);
        self.shared.monitor.event(Event::Deleted { name, is_dir: is_folder });
        Ok(true)
    }

    /// Whether it is gone: not a folder in which older versions are kept.
    fn remove(&self, place: &Place, stat: &Stat, is_folder: bool) -> Result<bool, Errno> {
        if let (Some(ending), false) = (&self.shared.job.backup, is_folder) {
            place.keep_as(ending)?;
        }
        match place.remove(stat) {
            Ok(()) | Err(Errno::NOENT) => Ok(true),
            Err(Errno::NOTEMPTY | Errno::EXIST) if is_folder => Ok(false),
            Err(errno) => Err(errno),
        }
    }

    fn fail(&self, entry: &FileEntry<'_>, places: &Places, what: &str, errno: Errno) {
        let path = places.shown(entry.name);
        self.shared.fail(entry, &NasSyncError::at_path(ErrorKind::LocalFile, what, &path, errno.into()));
    }
}

fn is_folder(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::Directory
}
