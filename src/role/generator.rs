//! The generator: goes through the list, makes folders and symlinks, sets attributes, and asks for the files that differ.
//!
//! It guarantees that a file is asked for twice at most, and that the announced number of block sums is sent whatever happens
//! to the old file meanwhile.

mod files;
mod links;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use rustix::fs::{FileType, Stat};
use rustix::io::Errno;

use self::links::{Links, Outcome};
use super::deletion::Deleter;
use super::event::Event;
use super::incoming::Folder;
use super::outbox::Outbox;
use super::parts::{Part, Step, Word};
use super::pull::{PassedOver, Shared};
use crate::error::{ErrorKind, NasSyncError, Result};
use crate::tree::apply::Wanted;
use crate::tree::place::{Place, Places, file_type};
use crate::wire::flist::{Content, EntryKind, FileEntry, Special};
use crate::wire::iflags::ItemFlags;
use crate::wire::mux::Message;
use crate::wire::ndx::{self, NdxCoder};
use crate::wire::negotiated::Goodbye;
use crate::wire::receiver_args::DeleteTime;

/// Folders of a list that came whole, which get attributes when everything has come, by number.
type RetouchedFolders = Vec<(Arc<Part>, i32, Wanted)>;

/// What is left to do when everything has been said.
pub(super) struct Rest {
    pub folders: RetouchedFolders,
    pub deleter: Option<Deleter>,
    /// A sender whose input is closed before it has sent everything ends at once.
    pub outbox: Outbox,
}

pub(super) struct Generator {
    shared: Arc<Shared>,
    outbox: Outbox,
    requests: NdxCoder,
    places: Option<Places>,
    folders: RetouchedFolders,
    /// The folder that was not made, with a slash: nothing in it is either.
    left_out: Option<Vec<u8>>,
    deleter: Option<Deleter>,
    /// The part that it goes through.
    part: Option<Arc<Part>>,
    /// Files that came wrong before everything was asked for once.
    wrong: Vec<i32>,
    buffer: Vec<u8>,
    links: Links,
    /// Whether every DONE is said, so that nothing more can be.
    said_all: bool,
}

impl Generator {
    pub fn new(shared: Arc<Shared>, outbox: Outbox) -> Result<Self> {
        Ok(Self {
            requests: NdxCoder::new(shared.negotiated.ndx),
            places: shared.places(),
            folders: Vec::new(),
            left_out: None,
            deleter: Deleter::new(&shared)?,
            part: None,
            wrong: Vec::new(),
            buffer: Vec::new(),
            links: Links::default(),
            said_all: false,
            shared,
            outbox,
        })
    }

    /// Asks for all that differs, then for what came wrong, then says every DONE that is left: nothing can follow.
    pub fn run(mut self) -> Result<Self> {
        let shared = Arc::clone(&self.shared);
        if let Some(deleter) = self.deleter_at(DeleteTime::Before) {
            deleter.sweep_all()?;
        }
        loop {
            let outbox = &mut self.outbox;
            match shared.parts.next(|| outbox.flush())? {
                Step::Hear(words) => words.into_iter().try_for_each(|word| self.hear(word))?,
                Step::Visit(part, folder) => self.visit_part(&part, folder.as_deref())?,
                Step::Close(folder) => {
                    self.done()?;
                    self.finish(folder);
                }
                Step::End => break,
                Step::Stop => return Ok(self),
            }
        }
        if shared.negotiated.list_terms.is_incremental {
            self.close_last()?;
        }
        shared.asked_all.store(true, Ordering::Release);
        self.done()?;
        for ndx in std::mem::take(&mut self.wrong) {
            self.ask_again(ndx)?;
        }
        self.outbox.flush()?;
        loop {
            let outbox = &mut self.outbox;
            let Some(words) = shared.parts.more_words(|| outbox.flush())? else { break };
            words.into_iter().try_for_each(|word| self.hear(word))?;
        }
        if shared.parts.has_stopped() {
            return Ok(self);
        }
        self.said_all = true;
        let goodbyes = match shared.negotiated.goodbye {
            Goodbye::Single => 1,
            Goodbye::Exchange => 2,
        };
        for _ in 0..shared.negotiated.answered_phases + goodbyes {
            self.done()?;
        }
        self.outbox.flush()?;
        Ok(self)
    }

    fn hear(&mut self, word: Word) -> Result<()> {
        match word {
            Word::Stored(ndx) => {
                self.say_stored(ndx)?;
                self.link_waiting(ndx)
            }
            // Between the parts of a list there is no other phase for it.
            Word::Again(ndx) if self.asks_again_at_once() => self.ask_again(ndx),
            Word::Again(ndx) => {
                self.wrong.push(ndx);
                Ok(())
            }
            Word::NotSent(ndx) => {
                if let Some(part) = self.shared.parts.find(ndx)
                    && let Some((entry, _)) = part.get(ndx)
                {
                    self.shared.fail(&entry, &not_sent());
                }
                self.replace_leader(ndx)
            }
            Word::Failed(ndx) => self.replace_leader(ndx),
        }
    }

    fn asks_again_at_once(&self) -> bool {
        self.shared.negotiated.list_terms.is_incremental || self.shared.asked_all.load(Ordering::Acquire)
    }

    /// Goes through a list, or through a part of one, which begins with its folder.
    fn visit_part(&mut self, part: &Arc<Part>, folder: Option<&Folder>) -> Result<()> {
        let is_incremental = self.shared.negotiated.list_terms.is_incremental;
        self.part = Some(Arc::clone(part));
        if let Some(folder) = folder {
            self.visit_own(folder)?;
        }
        for (ndx, entry) in part.numbered() {
            if self.shared.parts.has_stopped() {
                return Ok(());
            }
            self.shared.parts.words().into_iter().try_for_each(|word| self.hear(word))?;
            if !is_incremental {
                if let Some(wanted) = self.visit(ndx, &entry)? {
                    self.folders.push((Arc::clone(part), ndx, wanted));
                }
            } else if !entry.has_part()
                && let Some(wanted) = self.visit(ndx, &entry)?
                && let Some(places) = &mut self.places
            {
                // Nothing comes into this folder.
                self.shared.finish_folder(places, &entry, wanted);
            }
        }
        self.part = None;
        Ok(())
    }

    /// A folder whose content is a part of the list.
    fn visit_own(&mut self, folder: &Folder) -> Result<()> {
        // Only what is asked for has to have a number.
        if let Some(wanted) = self.visit(0, &folder.entry())? {
            // It is visited once.
            let _ = folder.late.set(wanted);
        }
        Ok(())
    }

    fn close_last(&mut self) -> Result<()> {
        let (left, last) = self.shared.parts.close_last();
        for folder in left {
            // No part says what is in it, so nothing there is deleted.
            self.visit_own(&folder)?;
            self.finish(Some(folder));
        }
        self.finish(last);
        Ok(())
    }

    /// Gives up a folder whose content has come, and those around it of which nothing is left to come, too.
    fn finish(&mut self, mut folder: Option<Arc<Folder>>) {
        while let Some(done) = folder.and_then(Arc::into_inner) {
            if let (Some(wanted), Some(places)) = (done.late.get(), &mut self.places) {
                self.shared.finish_folder(places, &done.entry(), *wanted);
            }
            folder = done.parent;
        }
    }

    /// What is left to do when everything has come.
    pub fn rest(self) -> Rest {
        Rest { folders: self.folders, deleter: self.deleter, outbox: self.outbox }
    }

    fn deleter_at(&mut self, time: DeleteTime) -> Option<&mut Deleter> {
        self.deleter.as_mut().filter(|deleter| deleter.when() == Some(time))
    }

    /// Lets the NAS remove a file that is here now.
    fn say_stored(&mut self, ndx: i32) -> Result<()> {
        let says = self.shared.job.tells_stored && !self.shared.job.dry_run && !self.said_all;
        if says { self.outbox.message(&Message::Success(ndx)) } else { Ok(()) }
    }

    /// An entry is here.
    fn stays(&mut self, ndx: i32) -> Result<Outcome> {
        self.say_stored(ndx).map(|()| Outcome::Here)
    }

    fn done(&mut self) -> Result<()> {
        self.requests.put(self.outbox.frame(), ndx::DONE);
        self.outbox.settle()
    }

    /// Does what an entry needs. A folder may get attributes that it cannot have before it is filled.
    fn visit(&mut self, ndx: i32, entry: &FileEntry<'_>) -> Result<Option<Wanted>> {
        let target = self.shared.job.links.target(entry);
        let kind = target.as_deref().map_or(entry.kind, EntryKind::Symlink);
        let entry = &FileEntry { kind, ..*entry };
        if let Some((place, stat)) = self.look(entry) {
            let (place, stat) = (place.as_ref(), stat.as_ref());
            match entry.extras.file {
                _ if entry.kind.is_dir() => return self.visit_folder(entry, place, stat),
                Some(file) => self.visit_name(ndx, entry, file, place, stat)?,
                None => drop(self.visit_one(ndx, entry, place, stat)?),
            }
        }
        entry.extras.file.map_or(Ok(()), |file| self.end_turn(file)).map(|()| None)
    }

    /// The place of an entry and what is there; `None` where nothing is to be done about it.
    fn look(&mut self, entry: &FileEntry<'_>) -> Option<(Option<Place>, Option<Stat>)> {
        if self.left_out.as_ref().is_some_and(|left_out| entry.name.starts_with(left_out)) {
            return None;
        }
        if self.shared.job.leaves_way && entry.kind == EntryKind::Directory(Content::Implied) {
            return None;
        }
        let place = match self.reach(entry) {
            Some(Ok(Some(place))) => Some(place),
            Some(Ok(None)) => return None,
            Some(Err(Errno::NOENT)) if self.shared.job.leaves_way && self.shared.job.passed_over.missing => {
                return None;
            }
            // In a dry run the folder may be one that would have been made, and something else may still be in its way.
            Some(Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP)) if self.shared.job.dry_run => None,
            Some(Err(errno)) => {
                self.fail(entry, "Cannot reach", errno);
                return None;
            }
            None => None,
        };
        let stat = match place.as_ref().map_or(Ok(None), Place::look) {
            Ok(stat) => stat,
            Err(errno) => {
                self.fail(entry, "Cannot look at", errno);
                return None;
            }
        };
        if self.passes_over(entry, stat.as_ref()) {
            // What is to lie in a file that stays fails by itself.
            if entry.kind.is_dir() && stat.is_none() {
                self.leave_out(entry);
            }
            return None;
        }
        Some((place, stat))
    }

    /// Anything but a folder.
    fn visit_one(
        &mut self,
        ndx: i32,
        entry: &FileEntry<'_>,
        place: Option<&Place>,
        stat: Option<&Stat>,
    ) -> Result<Outcome> {
        match entry.kind {
            kind if self.makes(kind) && !self.shared.job.links.leaves_out(entry) => {
                self.visit_made(ndx, entry, place, stat)
            }
            EntryKind::File => self.visit_file(ndx, entry, place, stat),
            // Not asked for, or a device and not for us to make.
            EntryKind::Directory(_) | EntryKind::Symlink(_) | EntryKind::Special(_) => Ok(Outcome::Neither),
        }
    }

    /// The place of an entry, to which the way is made where only what is missing of it is.
    fn reach(&mut self, entry: &FileEntry<'_>) -> Option<Result<Option<Place>, Errno>> {
        let places = self.places.as_mut()?;
        let is_dir = entry.kind.is_dir();
        let find = |places: &mut Places| {
            if is_dir { places.find_folder(entry.name) } else { places.find(entry.name) }
        };
        let found = find(places);
        let job = &self.shared.job;
        let makes_way = job.leaves_way && !job.dry_run && !job.passed_over.missing;
        Some(match found {
            Err(Errno::NOENT) if makes_way => places.make_way(entry.name).and_then(|()| find(places)),
            found => found,
        })
    }

    /// Whether things of this kind are made here, in which no data is.
    fn makes(&self, kind: EntryKind<'_>) -> bool {
        let fields = self.shared.job.expected.fields;
        match kind {
            EntryKind::Symlink(_) => fields.links,
            EntryKind::Special(Special::Pipe | Special::Socket) => fields.specials,
            EntryKind::Special(_) => fields.devices && self.shared.policy.is_root(),
            EntryKind::File | EntryKind::Directory(_) => false,
        }
    }

    /// Whether this entry stays as it is here, or is not made.
    fn passes_over(&self, entry: &FileEntry<'_>, stat: Option<&Stat>) -> bool {
        let passed = self.shared.job.passed_over;
        let Some(stat) = stat else { return passed.missing || self.is_out_of_size(entry) };
        let is_same_folder = entry.kind.is_dir() && kind_of(stat) == FileType::Directory;
        let is_file = entry.kind == EntryKind::File && kind_of(stat) == FileType::RegularFile;
        // Another name of what has come is linked to that in any case.
        let follows = entry.extras.file.is_some_and(|file| self.links.has_leader(file));
        let is_newer = is_file && !follows && self.shared.policy.is_newer(stat, entry);
        passed.present && !is_same_folder || self.is_out_of_size(entry) || passed.newer_here && is_newer
    }

    fn is_out_of_size(&self, entry: &FileEntry<'_>) -> bool {
        let PassedOver { above, below, .. } = self.shared.job.passed_over;
        let size = entry.meta.size;
        entry.kind == EntryKind::File
            && (above.is_some_and(|most| size > most) || below.is_some_and(|least| size < least))
    }

    fn leave_out(&mut self, entry: &FileEntry<'_>) {
        self.left_out = Some([entry.name, b"/"].concat());
    }

    /// Takes away what is in an entry's way; a folder with something in it only where things are deleted.
    /// The error outside is one of the session.
    fn make_way(&mut self, entry: &FileEntry<'_>, place: &Place, stat: &Stat) -> Result<Result<(), Errno>> {
        let cleared = match &mut self.deleter {
            _ if kind_of(stat) != FileType::Directory => Ok(true),
            Some(deleter) => deleter.clear(entry, place)?,
            None if self.shared.job.dry_run => place.children().map(|children| children.is_empty()),
            None => Ok(true),
        };
        Ok(cleared.and_then(|is_empty| if is_empty { self.remove(place, stat) } else { Err(Errno::NOTEMPTY) }))
    }

    fn remove(&self, place: &Place, stat: &Stat) -> Result<(), Errno> {
        if self.shared.job.dry_run {
            return Ok(());
        }
        if let Some(ending) = self.shared.job.backup.as_ref().filter(|_| kind_of(stat) != FileType::Directory) {
            place.keep_as(ending)?;
        }
        place.remove(stat)
    }

    fn itemize(&self, entry: &FileEntry<'_>, flags: ItemFlags) {
        self.shared.monitor.event(Event::Itemized { entry, flags, linked_to: None });
    }

    fn fail(&self, entry: &FileEntry<'_>, what: &str, errno: Errno) {
        let path = self.places.as_ref().map(|places| places.shown(entry.name)).unwrap_or_default();
        let error = NasSyncError::at_path(ErrorKind::LocalFile, what, &path, errno.into());
        self.shared.fail(entry, &error);
    }

    fn visit_folder(
        &mut self,
        entry: &FileEntry<'_>,
        place: Option<&Place>,
        stat: Option<&Stat>,
    ) -> Result<Option<Wanted>> {
        let existing = stat.filter(|stat| kind_of(stat) == FileType::Directory);
        if let Some(stat) = existing {
            let (wanted, flags) = self.shared.policy.for_existing(entry, stat);
            self.itemize(entry, flags);
            let late = self.touch_folder(entry, place, wanted);
            self.sweep(entry, place)?;
            return Ok(late);
        }
        let way = match place.zip(stat) {
            Some((place, stat)) => self.make_way(entry, place, stat)?,
            None => Ok(()),
        };
        if way.is_ok() {
            self.itemize(entry, ItemFlags(ItemFlags::NEW | ItemFlags::LOCAL_CHANGE));
        }
        let Some(place) = place.filter(|_| !self.shared.job.dry_run) else { return Ok(None) };
        let (first, last) = self.shared.policy.for_new_folder(entry);
        if let Err(errno) = way.and_then(|()| place.make_folder(first)) {
            self.leave_out(entry);
            self.fail(entry, "Cannot make the folder", errno);
            return Ok(None);
        }
        let wanted = Wanted { mode: last, ..self.shared.policy.for_new(entry, None) };
        Ok(self.touch_folder(entry, Some(place), wanted))
    }

    fn sweep(&mut self, entry: &FileEntry<'_>, place: Option<&Place>) -> Result<()> {
        let deleter = self.deleter.as_mut().filter(|deleter| deleter.when() == Some(DeleteTime::During));
        if let (Some(deleter), Some(place), Some(places), Some(part)) = (deleter, place, &self.places, &self.part) {
            deleter.sweep(part, entry, place, places)?;
        }
        Ok(())
    }

    /// Owners at once; gives what it gets when it is filled: times, and permissions that would keep it from being filled.
    fn touch_folder(&self, entry: &FileEntry<'_>, place: Option<&Place>, wanted: Wanted) -> Option<Wanted> {
        let place = place.filter(|_| !self.shared.job.dry_run)?;
        let late = Wanted { mode: wanted.mode, mtime: self.shared.policy.folder_time(entry), ..Wanted::default() };
        let early = Wanted { mode: wanted.mode.map(|mode| mode | 0o700), mtime: None, ..wanted };
        if let Err(errno) = place.apply(FileType::Directory, &early) {
            self.fail(entry, "Cannot set the attributes of", errno);
        }
        Some(late).filter(|late| !late.is_nothing())
    }

    /// A symlink, device, pipe or socket.
    fn visit_made(
        &mut self,
        ndx: i32,
        entry: &FileEntry<'_>,
        place: Option<&Place>,
        stat: Option<&Stat>,
    ) -> Result<Outcome> {
        let kind = file_type(entry.kind);
        let existing = stat.filter(|stat| kind_of(stat) == kind);
        let dry_run = self.shared.job.dry_run;
        if let (Some(stat), Some(place)) = (existing, place)
            && place.holds(entry.kind, stat)
        {
            let (wanted, flags) = self.shared.policy.for_existing(entry, stat);
            self.itemize(entry, flags);
            if !dry_run && let Err(errno) = place.apply(kind, &wanted) {
                self.fail(entry, "Cannot set the attributes of", errno);
            }
            return self.stays(ndx);
        }
        // It takes the place of another thing at once, but not that of a folder.
        let in_the_way = stat.filter(|stat| kind_of(stat) == FileType::Directory || self.shared.job.backup.is_some());
        let way = match place.zip(in_the_way) {
            Some((place, stat)) => self.make_way(entry, place, stat)?,
            None => Ok(()),
        };
        if let Err(errno) = way {
            self.fail(entry, "Cannot make way for", errno);
            return Ok(Outcome::Neither);
        }
        let flags = existing
            .map_or(ItemFlags::NEW, |stat| self.shared.policy.flags_of_change(entry, stat).0 | ItemFlags::CHANGED);
        self.itemize(entry, ItemFlags(flags | ItemFlags::LOCAL_CHANGE));
        let Some(place) = place.filter(|_| !dry_run) else { return Ok(Outcome::Here) };
        match place.put(entry.kind, &self.shared.policy.for_new(entry, None)) {
            Ok(()) => self.stays(ndx),
            Err(errno) => {
                self.fail(entry, "Cannot make", errno);
                Ok(Outcome::Neither)
            }
        }
    }
}

/// The failure of a file that was asked for and does not come.
pub(super) fn not_sent() -> NasSyncError {
    NasSyncError::new(ErrorKind::NotReceived, "the NAS did not send it")
}

fn kind_of(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}
