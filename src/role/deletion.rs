//! Deletion, on the receiving side, of what the NAS does not have.
//!
//! Guarantees: nothing is deleted where nobody asked for it, outside the folders whose content the NAS listed, or once the NAS
//! has said that it could not list or read something, unless it was asked for in spite of that; what rules keep stays, and where
//! rules make no sense all does; no symlink is followed; no more goes than the limit says. What is in a folder that is in the way of something goes by the same rules.

use std::os::unix::ffi::OsStrExt as _;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use rustix::fs::{FileType, Stat};
use rustix::io::Errno;

use super::event::Event;
use super::parts::Part;
use super::pull::{DeleteRules, Shared};
use crate::error::{ErrorKind, NasSyncError, Result};
use crate::filter::{Around, Name, Scope};
use crate::tree::place::{Place, Places};
use crate::wire::flist::{Content, EntryKind, FileEntry, KindCounts, ListOrder, MAX_NAME, io_error};
use crate::wire::receiver_args::DeleteTime;

pub(super) struct Deleter {
    shared: Arc<Shared>,
    rules: DeleteRules,
    scopes: Scopes,
    /// When it goes through the folders of the list, if it does.
    when: Option<DeleteTime>,
    left: Option<u64>,
    has_said_why_not: bool,
    counts: KindCounts,
}

impl Deleter {
    /// `None` where nothing is to be deleted.
    pub fn new(shared: &Arc<Shared>) -> Result<Option<Self>> {
        let (Some(rules), Some(destination)) = (shared.job.deletion, &shared.destination) else { return Ok(None) };
        let terms = &shared.negotiated.list_terms;
        // As rsync does where it is not told.
        let usual = if terms.coding.content_flags { DeleteTime::During } else { DeleteTime::Before };
        let mut when = rules.when.unwrap_or(usual);
        if when == DeleteTime::During && terms.order == ListOrder::Bytewise {
            // In this order not all that is in a folder comes behind it, and what is being received must not be taken for
            // something that was there before.
            when = DeleteTime::Before;
        }
        let order = terms.order;
        let has_root = shared.parts.open().first().is_some_and(|part| part.entries.has_name(b".", order));
        Ok(Some(Self {
            shared: Arc::clone(shared),
            rules,
            scopes: Scopes {
                root: destination.absolute()?,
                above: destination.scope(&shared.job.rules.own, has_root)?,
                entered: Vec::new(),
            },
            when: Some(when).filter(|_| !rules.only_in_the_way),
            left: rules.limit,
            has_said_why_not: false,
            counts: KindCounts::default(),
        }))
    }

    /// Says what was deleted, by kind.
    pub fn tell_counts(&self) {
        self.shared.monitor.event(Event::DeletedCounts { counts: &self.counts });
    }

    /// When it is to go through the folders of the list, if it is.
    pub fn when(&self) -> Option<DeleteTime> {
        self.when
    }

    /// Goes through all folders of a list that came whole.
    pub fn sweep_all(&mut self) -> Result<()> {
        let shared = Arc::clone(&self.shared);
        let Some(mut places) = shared.places() else { return Ok(()) };
        for part in shared.parts.open() {
            for (_, entry) in part.numbered().filter(|(_, entry)| entry.kind.is_dir()) {
                // A folder that could not be reached or made has been told of, or will be.
                if let Ok(Some(place)) = places.find_folder(entry.name)
                    && place.look().is_ok_and(|stat| stat.as_ref().is_some_and(is_folder))
                {
                    self.sweep(&part, &entry, &place, &places)?;
                }
            }
        }
        Ok(())
    }

    /// Deletes in one folder what the part of the list with its content does not have. Fails where the rules there make no sense: what they would keep must
    /// not go.
    pub fn sweep(&mut self, part: &Part, entry: &FileEntry<'_>, place: &Place, places: &Places) -> Result<()> {
        let scope = self.scopes.enter(entry.name, place)?;
        if !matches!(entry.kind, EntryKind::Directory(Content::Argument | Content::Listed)) || !self.may(entry) {
            return Ok(());
        }
        let children = match self.children(place) {
            Ok(children) => children,
            // What is not a folder has nothing in it.
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(()),
            Err(errno) => {
                self.fail(entry, places, "Cannot list", errno);
                return Ok(());
            }
        };
        let order = self.shared.negotiated.list_terms.order;
        let prefix = if entry.name == b"." { &[][..] } else { &[entry.name, b"/"].concat() };
        for (child, is_dir) in children {
            let name = [prefix, child.file_name()].concat();
            if part.has_name(&name, order) || self.scopes.keep(&scope, &name, is_dir, Around::Stays) {
                continue;
            }
            match self.delete(&child, &name, &scope) {
                Ok(_) => {}
                Err(Stop::Rules(error)) => return Err(error),
                Err(Stop::Errno(errno)) => self.fail(entry, places, "Cannot delete in", errno),
            }
        }
        Ok(())
    }

    /// Deletes what is in a folder that is in the way of an entry, if anything may be deleted. Whether nothing of it has to stay.
    /// Fails as [`Self::sweep`] does.
    pub fn clear(&mut self, entry: &FileEntry<'_>, place: &Place) -> Result<Result<bool, Errno>> {
        if !self.may(entry) {
            return Ok(Ok(true));
        }
        // As for rsync: where all was deleted at first, or nothing is, no file of rules counts any more that does not lie in there.
        let scope = match self.when {
            None | Some(DeleteTime::Before) => self.shared.job.rules.own.clone(),
            Some(DeleteTime::During | DeleteTime::Delay | DeleteTime::After) => self.scopes.around(entry.name),
        };
        match self.empty(place, entry.name, &scope) {
            Err(Stop::Rules(error)) => Err(error),
            Err(Stop::Errno(errno)) => Ok(Err(errno)),
            Ok(is_empty) => Ok(Ok(is_empty)),
        }
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

    /// What is in a folder, and whether it is one itself, the last one of a list first: where there is a limit, rsync comes to it in this order.
    fn children(&self, place: &Place) -> Result<Vec<(Place, bool)>, Errno> {
        let is_dir = |child: &Place| child.look().is_ok_and(|stat| stat.is_some_and(|stat| is_folder(&stat)));
        let mut children: Vec<_> = place.children()?.into_iter().map(|child| (is_dir(&child), child)).collect();
        let order = self.shared.negotiated.list_terms.order;
        children.sort_unstable_by(|(one_is_dir, one), (other_is_dir, other)| {
            order.compare((other.file_name(), *other_is_dir), (one.file_name(), *one_is_dir))
        });
        Ok(children.into_iter().map(|(is_dir, child)| (child, is_dir)).collect())
    }

    /// Whether a folder is empty then.
    fn empty(&mut self, folder: &Place, name: &[u8], above: &Scope) -> Result<bool, Stop> {
        let scope = folder.enter(above, &self.scopes.absolute(name)).map_err(Stop::Rules)?;
        let mut is_empty = true;
        for (child, is_dir) in self.children(folder)? {
            let name = [name, b"/", child.file_name()].concat();
            is_empty &= !self.scopes.keep(&scope, &name, is_dir, Around::Goes) && self.delete(&child, &name, &scope)?;
        }
        Ok(is_empty)
    }

    /// Whether it is gone.
    fn delete(&mut self, place: &Place, name: &[u8], scope: &Scope) -> Result<bool, Stop> {
        // A deeper folder could not be named, and each level holds a handle.
        if name.len() > MAX_NAME {
            return Err(Errno::NAMETOOLONG.into());
        }
        let Some(stat) = place.look()? else { return Ok(true) };
        let is_folder = is_folder(&stat);
        if is_folder && !self.empty(place, name, scope)? {
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
        *match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => &mut self.counts.directories,
            FileType::RegularFile => &mut self.counts.files,
            FileType::Symlink => &mut self.counts.symlinks,
            FileType::BlockDevice | FileType::CharacterDevice => &mut self.counts.devices,
            _ => &mut self.counts.specials,
        } += 1;
        self.shared.monitor.event(Event::Deleted { name, is_dir: is_folder });
        Ok(true)
    }

    /// Whether it is gone: not a folder in which older versions are kept. One of those is deleted as it is.
    fn remove(&self, place: &Place, stat: &Stat, is_folder: bool) -> Result<bool, Errno> {
        if let (Some(ending), false) = (&self.shared.job.backup, is_folder)
            && !place.file_name().ends_with(ending.as_bytes())
        {
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

/// Why no more is deleted.
enum Stop {
    /// The rules in a folder make no sense.
    Rules(NasSyncError),
    /// The system.
    Errno(Errno),
}

impl From<Errno> for Stop {
    fn from(errno: Errno) -> Self {
        Self::Errno(errno)
    }
}

/// The rules that keep something from being deleted, in the folders on the way to the last one that was entered.
struct Scopes {
    /// The absolute path of the destination, without the slash in front.
    root: Vec<u8>,
    above: Scope,
    entered: Vec<(Box<[u8]>, Scope)>,
}

impl Scopes {
    fn enter(&mut self, name: &[u8], place: &Place) -> Result<Scope> {
        let scope = place.enter(&self.around(name), &self.absolute(name))?;
        let name = if name == b"." { b"" } else { name };
        self.entered.push((name.into(), scope.clone()));
        Ok(scope)
    }

    /// Those around an entry.
    fn around(&mut self, name: &[u8]) -> Scope {
        let lies_in = |folder: &[u8]| {
            name != b"." && (folder.is_empty() || name.strip_prefix(folder).is_some_and(|rest| rest.starts_with(b"/")))
        };
        while self.entered.pop_if(|(folder, _)| !lies_in(folder)).is_some() {}
        self.entered.last().map_or(&self.above, |(_, scope)| scope).clone()
    }

    fn absolute(&self, name: &[u8]) -> Vec<u8> {
        match name {
            b"." => self.root.clone(),
            name if self.root.is_empty() => name.to_vec(),
            name => [&*self.root, b"/", name].concat(),
        }
    }

    fn keep(&self, scope: &Scope, name: &[u8], is_dir: bool, around: Around) -> bool {
        scope.keeps(Name { name, is_dir, root: &self.root }, around)
    }
}

fn is_folder(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::Directory
}
