//! Names of one file in a pull: one comes as any entry does, and the others are linked to what has come.
//!
//! As with rsync, a file that is not here may wait for a name of it in a part of the list that has come already, and its own part stays
//! open as long.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use rustix::fs::{FileType, Stat};
use rustix::io::Errno;

use super::{Generator, kind_of, not_sent};
use crate::error::{ErrorKind, NasSyncError, Result};
use crate::role::event::Event;
use crate::role::parts::{Parts, state};
use crate::tree::place::{Place, file_type};
use crate::wire::flist::{EntryKind, FileEntry, FileId};
use crate::wire::iflags::ItemFlags;

/// What came of the visit of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It is here.
    Here,
    /// It was asked for.
    Comes,
    /// Neither, as was told where it is a failure.
    Neither,
}

/// What becomes of an entry that is a name of a file with several.
#[derive(Debug)]
enum Turn {
    /// It comes for all of them.
    Leads,
    /// It is linked to this name.
    Follows(Box<[u8]>),
    /// It waits for the one that comes.
    Waits,
}

/// A name that waits.
#[derive(Debug, Clone, Copy)]
struct Waiting {
    ndx: i32,
    /// Whether another one came for all by its turn.
    follows: bool,
}

/// The names of a file, as far as they have come.
#[derive(Debug, Default)]
struct Names {
    /// How many have not had their turn.
    left: usize,
    /// The one that comes for all.
    leader: Option<Box<[u8]>>,
    is_here: bool,
    /// In the order of their numbers.
    waiting: Vec<Waiting>,
}

/// The files with several names, and how far they are.
#[derive(Debug, Default)]
pub(super) struct Links {
    files: HashMap<FileId, Names>,
    /// The number behind the last entry whose file is counted.
    end: i32,
}

impl Links {
    /// Counts the names that have come since the last time.
    fn count(&mut self, parts: &Parts, is_incremental: bool) {
        for part in parts.behind(self.end) {
            self.end = part.end();
            for file in part.numbered().filter_map(|(_, entry)| entry.extras.file) {
                self.files.entry(file).or_default().left += 1;
            }
            if !is_incremental {
                // The oldest protocol tells of files with one name, too, which they are.
                self.files.retain(|_, names| names.left > 1);
                self.files.shrink_to_fit();
            }
        }
    }

    /// Whether one of the names comes for all, or has come.
    pub fn has_leader(&self, file: FileId) -> bool {
        self.files.get(&file).is_some_and(|names| names.leader.is_some())
    }

    /// The turn of a name. A file that is not here leaves it to the names behind it, one of which may be here.
    fn turn(&mut self, file: FileId, ndx: i32, name: &[u8], is_missing: bool) -> Turn {
        let Some(names) = self.files.get_mut(&file) else { return Turn::Leads };
        match &names.leader {
            Some(leader) if names.is_here => return Turn::Follows(leader.clone()),
            None if !is_missing || names.left == 1 => {
                names.leader = Some(name.into());
                return Turn::Leads;
            }
            leader => names.waiting.push(Waiting { ndx, follows: leader.is_some() }),
        }
        Turn::Waits
    }

    /// One that waited leads.
    fn choose(&mut self, file: FileId, name: &[u8]) {
        if let Some(names) = self.files.get_mut(&file) {
            names.leader = Some(name.into());
        }
    }

    /// The one that leads is here. Gives it, and those that waited for it.
    fn arrived(&mut self, file: FileId) -> Option<(Box<[u8]>, Vec<Waiting>)> {
        let names = self.files.get_mut(&file)?;
        names.is_here = true;
        Some((names.leader.clone()?, std::mem::take(&mut names.waiting)))
    }

    /// The one that leads will not come. Names behind it may still have their turn.
    fn lost(&mut self, file: FileId) {
        if let Some(names) = self.files.get_mut(&file) {
            names.leader = None;
        }
    }

    /// Those that wait, where all have had their turn and none leads.
    fn leaderless(&mut self, file: FileId) -> Option<&mut Vec<Waiting>> {
        let names = self.files.get_mut(&file)?;
        (names.left == 0 && names.leader.is_none() && !names.waiting.is_empty()).then_some(&mut names.waiting)
    }
}

impl Generator {
    /// The turn of an entry that is a name of a file with several.
    pub(super) fn visit_name(
        &mut self,
        ndx: i32,
        entry: &FileEntry<'_>,
        file: FileId,
        place: Option<&Place>,
        stat: Option<&Stat>,
    ) -> Result<()> {
        self.count_names();
        let is_here = stat.is_some_and(|stat| kind_of(stat) == FileType::RegularFile);
        match self.links.turn(file, ndx, entry.name, entry.kind == EntryKind::File && !is_here) {
            Turn::Follows(leader) => self.link(ndx, entry, &leader, true),
            Turn::Waits => {
                if let Some(part) = self.shared.parts.find(ndx) {
                    part.wait();
                }
                Ok(())
            }
            Turn::Leads => self.lead(ndx, entry, file, place, stat),
        }
    }

    fn count_names(&mut self) {
        let is_incremental = self.shared.negotiated.list_terms.is_incremental;
        self.links.count(&self.shared.parts, is_incremental);
    }

    /// A name has had its turn, or was passed over.
    pub(super) fn end_turn(&mut self, file: FileId) -> Result<()> {
        self.count_names();
        if let Some(names) = self.links.files.get_mut(&file) {
            names.left = names.left.saturating_sub(1);
        }
        self.lead_another(file)
    }

    fn lead(
        &mut self,
        ndx: i32,
        entry: &FileEntry<'_>,
        file: FileId,
        place: Option<&Place>,
        stat: Option<&Stat>,
    ) -> Result<()> {
        match self.visit_one(ndx, entry, place, stat)? {
            Outcome::Comes if !self.shared.job.dry_run => Ok(()),
            Outcome::Comes | Outcome::Here => self.link_all(file),
            Outcome::Neither => {
                self.links.lost(file);
                Ok(())
            }
        }
    }

    /// Lets one of those that wait come for the others, where none does.
    fn lead_another(&mut self, file: FileId) -> Result<()> {
        let shared = Arc::clone(&self.shared);
        // The last one, as with rsync.
        while let Some(Waiting { ndx: next, .. }) = self.links.leaderless(file).and_then(Vec::pop) {
            let Some(part) = shared.parts.find(next) else { continue };
            if let Some((entry, _)) = part.get(next)
                && let Some((place, stat)) = self.look(&entry)
            {
                self.links.choose(file, entry.name);
                self.lead(next, &entry, file, place.as_ref(), stat.as_ref())?;
            }
            shared.parts.settle(&part, None);
        }
        Ok(())
    }

    /// Links those that wait for a name that is here now.
    pub(super) fn link_waiting(&mut self, leader: i32) -> Result<()> {
        self.file_of(leader).map_or(Ok(()), |file| self.link_all(file))
    }

    fn link_all(&mut self, file: FileId) -> Result<()> {
        let Some((leader, waiting)) = self.links.arrived(file) else { return Ok(()) };
        for Waiting { ndx, follows } in waiting {
            let Some(part) = self.shared.parts.find(ndx) else { continue };
            if let Some((entry, _)) = part.get(ndx) {
                self.link(ndx, &entry, &leader, follows)?;
            }
            self.shared.parts.settle(&part, None);
        }
        Ok(())
    }

    /// A name that was asked for does not come. When nothing can be asked for any more, no other does.
    pub(super) fn replace_leader(&mut self, leader: i32) -> Result<()> {
        let Some(file) = self.file_of(leader) else { return Ok(()) };
        self.links.lost(file);
        if self.said_all { Ok(()) } else { self.lead_another(file) }
    }

    /// Hears what was said when nothing could be asked for any more, and tells which names wait in vain.
    pub fn hear_the_rest(&mut self) -> Result<()> {
        let shared = Arc::clone(&self.shared);
        shared.parts.words().into_iter().try_for_each(|word| self.hear(word))?;
        if self.links.files.is_empty() {
            return Ok(());
        }
        // What was asked for in the place of another name, when the other side had said its last word.
        for part in shared.parts.open() {
            for (entry, state) in part.numbered().filter_map(|(ndx, _)| part.get(ndx)) {
                if matches!(state.load(Ordering::Acquire), state::ASKED | state::ASKED_AGAIN) {
                    shared.fail(&entry, &not_sent());
                }
            }
        }
        let mut waiting: Vec<_> =
            self.links.files.drain().flat_map(|(_, names)| names.waiting).map(|name| name.ndx).collect();
        waiting.sort_unstable();
        for ndx in waiting {
            if let Some(part) = shared.parts.find(ndx)
                && let Some((entry, _)) = part.get(ndx)
            {
                let message = "another name of this file did not come";
                shared.fail(&entry, &NasSyncError::new(ErrorKind::NotReceived, message));
            }
        }
        Ok(())
    }

    fn file_of(&self, ndx: i32) -> Option<FileId> {
        if self.links.files.is_empty() {
            return None;
        }
        let part = self.shared.parts.find(ndx)?;
        part.get(ndx).and_then(|(entry, _)| entry.extras.file)
    }

    /// Makes an entry another name of what came for its file. For rsync one that follows a name replaces whatever is there, and any
    /// other a thing of its kind alone.
    fn link(&mut self, ndx: i32, entry: &FileEntry<'_>, leader: &[u8], follows: bool) -> Result<()> {
        let shared = Arc::clone(&self.shared);
        let mut find = |name| self.places.as_mut().map_or(Ok(None), |places| places.find(name));
        let looked = find(leader).and_then(|first| {
            let place = find(entry.name)?;
            let stat = place.as_ref().map_or(Ok(None), Place::look)?;
            Ok((first, place, stat))
        });
        let (first, place, stat) = match looked {
            Ok(looked) => looked,
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) if shared.job.dry_run => (None, None, None),
            Err(errno) => {
                self.fail(entry, "Cannot reach", errno);
                return Ok(());
            }
        };
        let kind = file_type(entry.kind);
        let first_stat = first.as_ref().and_then(|first| first.look().ok().flatten());
        let id = |stat: &Stat| (stat.st_dev, stat.st_ino);
        if let (Some(stat), Some(first)) = (&stat, &first_stat)
            && id(stat) == id(first)
        {
            return self.say_stored(ndx);
        }
        let existing = stat.as_ref().filter(|stat| follows || kind_of(stat) == kind);
        let flags = existing.map_or(ItemFlags::NEW, |stat| shared.policy.flags_of_link(entry, stat).0);
        let in_the_way = stat.filter(|stat| kind_of(stat) == FileType::Directory || shared.job.backup.is_some());
        let way = match place.as_ref().zip(in_the_way) {
            Some((place, stat)) => self.make_way(entry, place, &stat)?,
            None => Ok(()),
        };
        let made = way.and_then(|()| match (place, first) {
            _ if shared.job.dry_run => Ok(()),
            (Some(place), Some(first)) if first_stat.is_some_and(|stat| kind_of(&stat) == kind) => {
                place.link_to(&first)
            }
            _ => Err(Errno::NOENT),
        });
        if let Err(errno) = made {
            self.fail(entry, "Cannot link", errno);
            return Ok(());
        }
        let flags = ItemFlags(flags | ItemFlags::LOCAL_CHANGE | ItemFlags::XNAME_FOLLOWS);
        shared.monitor.event(Event::Itemized { entry, flags, linked_to: Some(leader) });
        self.say_stored(ndx)
    }
}
