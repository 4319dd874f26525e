//! The generator: goes through the list, makes folders and symlinks, sets attributes, and asks for the files that differ.
//!
//! It guarantees that a file is asked for twice at most, and that the announced number of block sums is sent whatever happens
//! to the old file meanwhile.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc;

use rustix::fs::{FileType, Stat};
use rustix::io::Errno;

use super::event::Event;
use super::outbox::Outbox;
use super::pull::{QuickCheck, Shared, state, stays_here};
use crate::delta::sum_head::MAX_BLOCK_LEN;
use crate::delta::{SumHead, weak_sum};
use crate::error::{ErrorKind, NasSyncError, Result};
use crate::tree::apply::Wanted;
use crate::tree::place::{Place, Places};
use crate::wire::flist::{EntryKind, FileEntry};
use crate::wire::iflags::{Item, ItemFlags};
use crate::wire::ndx::{self, NdxCoder};
use crate::wire::negotiated::Goodbye;
use crate::wire::sums;

/// How much of a file is read at once for its digest.
const SUM_READ_LEN: usize = 256 * 1024;

/// Folders that get attributes when all that is in them has come, by number.
pub(super) type RetouchedFolders = Vec<(i32, Wanted)>;

/// Which strong sums a request holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Try {
    /// As many bytes of each as make a false match rare.
    First,
    /// All of them.
    Second,
}

pub(super) struct Generator {
    shared: Arc<Shared>,
    outbox: Outbox,
    requests: NdxCoder,
    places: Option<Places>,
    folders: RetouchedFolders,
    /// The folder that could not be made, with a slash: nothing in it can be either.
    broken: Option<Vec<u8>>,
    buffer: Vec<u8>,
}

impl Generator {
    pub fn new(shared: Arc<Shared>, outbox: Outbox) -> Self {
        Self {
            requests: NdxCoder::new(shared.negotiated.ndx),
            places: shared.places(),
            folders: Vec::new(),
            broken: None,
            buffer: Vec::new(),
            shared,
            outbox,
        }
    }

    /// Asks for all that differs, then for what came wrong, then says every DONE that is left: nothing can follow.
    /// Gives back the outbox: a sender whose input is closed before it has sent everything ends at once.
    pub fn run(mut self, again: &mpsc::Receiver<i32>) -> Result<(RetouchedFolders, Outbox)> {
        let shared = Arc::clone(&self.shared);
        for (ndx, entry) in shared.numbered() {
            if shared.over.load(Ordering::Acquire) {
                return Ok((self.folders, self.outbox));
            }
            self.visit(ndx, &entry)?;
        }
        shared.asked_all.store(true, Ordering::Release);
        self.done()?;
        self.outbox.flush()?;
        while let Ok(ndx) = again.recv() {
            self.ask_again(ndx)?;
            self.outbox.flush()?;
        }
        if shared.over.load(Ordering::Acquire) {
            return Ok((self.folders, self.outbox));
        }
        let goodbyes = match shared.negotiated.goodbye {
            Goodbye::Single => 1,
            Goodbye::Exchange => 2,
        };
        for _ in 0..shared.negotiated.answered_phases + goodbyes {
            self.done()?;
        }
        self.outbox.flush()?;
        Ok((self.folders, self.outbox))
    }

    fn done(&mut self) -> Result<()> {
        self.requests.put(self.outbox.frame(), ndx::DONE);
        self.outbox.settle()
    }

    fn visit(&mut self, ndx: i32, entry: &FileEntry<'_>) -> Result<()> {
        if self.broken.as_ref().is_some_and(|broken| entry.name.starts_with(broken)) {
            return Ok(());
        }
        let place = match self.places.as_mut().map(|places| places.find(entry.name)) {
            Some(Ok(Some(place))) => Some(place),
            Some(Ok(None)) => return Ok(()),
            // In a dry run the folder may be one that would have been made.
            Some(Err(Errno::NOENT)) if self.shared.job.dry_run => None,
            Some(Err(errno)) => {
                self.fail(entry, "Cannot reach", errno);
                return Ok(());
            }
            None => None,
        };
        let stat = match place.as_ref().map_or(Ok(None), Place::look) {
            Ok(stat) => stat,
            Err(errno) => {
                self.fail(entry, "Cannot look at", errno);
                return Ok(());
            }
        };
        match entry.kind {
            EntryKind::Directory(_) => self.visit_folder(ndx, entry, place.as_ref(), stat.as_ref()),
            EntryKind::Symlink(target) if self.shared.job.expected.fields.links => {
                self.visit_symlink(entry, target, place.as_ref(), stat.as_ref());
            }
            EntryKind::File => return self.visit_file(ndx, entry, place.as_ref(), stat.as_ref()),
            // Not asked for: links without `-l`, devices, pipes, sockets.
            EntryKind::Symlink(_) | EntryKind::Special => {}
        }
        Ok(())
    }

    fn itemize(&self, entry: &FileEntry<'_>, flags: ItemFlags) {
        self.shared.monitor.event(Event::Itemized { entry, flags });
    }

    fn fail(&self, entry: &FileEntry<'_>, what: &str, errno: Errno) {
        let path = self.places.as_ref().map(|places| places.shown(entry.name)).unwrap_or_default();
        let error = NasSyncError::at_path(ErrorKind::LocalFile, what, &path, errno.into());
        self.shared.fail(entry, &error);
    }

    fn visit_folder(&mut self, ndx: i32, entry: &FileEntry<'_>, place: Option<&Place>, stat: Option<&Stat>) {
        let existing = stat.filter(|stat| kind_of(stat) == FileType::Directory);
        if let Some(stat) = existing {
            let (wanted, flags) = self.shared.policy.for_existing(entry, stat);
            self.itemize(entry, flags);
            self.touch_folder(ndx, entry, place, wanted);
            return;
        }
        self.itemize(entry, ItemFlags(ItemFlags::NEW | ItemFlags::LOCAL_CHANGE));
        let Some(place) = place.filter(|_| !self.shared.job.dry_run) else { return };
        let (first, last) = self.shared.policy.for_new_folder(entry);
        let made = stat.map_or(Ok(()), |stat| place.remove(stat)).and_then(|()| place.make_folder(first));
        if let Err(errno) = made {
            self.broken = Some([entry.name, b"/"].concat());
            return self.fail(entry, "Cannot make the folder", errno);
        }
        let wanted = Wanted { mode: last, ..self.shared.policy.for_new(entry, None) };
        self.touch_folder(ndx, entry, Some(place), wanted);
    }

    /// Owners at once; permissions that would keep it from being filled, and times, when it is filled.
    fn touch_folder(&mut self, ndx: i32, entry: &FileEntry<'_>, place: Option<&Place>, wanted: Wanted) {
        let Some(place) = place.filter(|_| !self.shared.job.dry_run) else { return };
        let late = Wanted { mode: wanted.mode, mtime: self.shared.policy.folder_time(entry), ..Wanted::default() };
        if !late.is_nothing() {
            self.folders.push((ndx, late));
        }
        let early = Wanted { mode: wanted.mode.map(|mode| mode | 0o700), mtime: None, ..wanted };
        if let Err(errno) = place.apply(FileType::Directory, &early) {
            self.fail(entry, "Cannot set the attributes of", errno);
        }
    }

    fn visit_symlink(&mut self, entry: &FileEntry<'_>, target: &[u8], place: Option<&Place>, stat: Option<&Stat>) {
        let existing = stat.filter(|stat| kind_of(stat) == FileType::Symlink);
        let dry_run = self.shared.job.dry_run;
        if let (Some(stat), Some(place)) = (existing, place)
            && place.read_link().is_ok_and(|old| old == target)
        {
            let (wanted, flags) = self.shared.policy.for_existing(entry, stat);
            self.itemize(entry, flags);
            if !dry_run && let Err(errno) = place.apply(FileType::Symlink, &wanted) {
                self.fail(entry, "Cannot set the attributes of", errno);
            }
            return;
        }
        let flags = existing
            .map_or(ItemFlags::NEW, |stat| self.shared.policy.flags_of_change(entry, stat).0 | ItemFlags::CHANGED);
        self.itemize(entry, ItemFlags(flags | ItemFlags::LOCAL_CHANGE));
        let Some(place) = place.filter(|_| !dry_run) else { return };
        let way = stat.filter(|stat| kind_of(stat) == FileType::Directory);
        let wanted = self.shared.policy.for_new(entry, None);
        let put = way.map_or(Ok(()), |stat| place.remove(stat)).and_then(|()| place.put_symlink(target, &wanted));
        if let Err(errno) = put {
            self.fail(entry, "Cannot make the symlink", errno);
        }
    }

    fn visit_file(
        &mut self,
        ndx: i32,
        entry: &FileEntry<'_>,
        place: Option<&Place>,
        stat: Option<&Stat>,
    ) -> Result<()> {
        let existing = stat.filter(|stat| kind_of(stat) == FileType::RegularFile).zip(place);
        if self.shared.job.keep_present && stat.is_some() && existing.is_none() {
            self.shared.fail(entry, &stays_here());
            return Ok(());
        }
        let Some((stat, place)) = existing else {
            if let (Some(stat), Some(place), false) = (stat, place, self.shared.job.dry_run)
                && kind_of(stat) == FileType::Directory
                && let Err(errno) = place.remove(stat)
            {
                self.fail(entry, "Cannot make way for", errno);
                return Ok(());
            }
            return self.ask(ndx, entry, ItemFlags(ItemFlags::TRANSFER | ItemFlags::NEW), None, Try::First);
        };
        if self.is_up_to_date(entry, place, stat) {
            let (wanted, flags) = self.shared.policy.for_existing(entry, stat);
            self.itemize(entry, flags);
            if !self.shared.job.dry_run
                && let Err(errno) = place.apply(FileType::RegularFile, &wanted)
            {
                self.fail(entry, "Cannot set the attributes of", errno);
            }
            return Ok(());
        }
        let ItemFlags(flags) = self.shared.policy.flags_of_transfer(entry, stat);
        let compared = if self.shared.job.check == QuickCheck::Contents { ItemFlags::CHANGED } else { 0 };
        let is_whole = self.shared.job.whole_file || self.shared.job.dry_run;
        // What cannot be read is asked for whole.
        let basis = if is_whole { None } else { place.open().ok() };
        self.ask(ndx, entry, ItemFlags(flags | compared), basis.as_ref(), Try::First)
    }

    fn is_up_to_date(&mut self, entry: &FileEntry<'_>, place: &Place, stat: &Stat) -> bool {
        if u64::try_from(stat.st_size) != Ok(entry.meta.size) {
            return false;
        }
        match self.shared.job.check {
            QuickCheck::Nothing => false,
            QuickCheck::SizeAndTime => stat.st_mtime == entry.meta.mtime.seconds,
            QuickCheck::Contents => self.digest(place).is_some_and(|digest| Some(&*digest) == entry.digest),
        }
    }

    fn digest(&mut self, place: &Place) -> Option<Vec<u8>> {
        use std::io::Read as _;
        let mut file = place.open().ok()?;
        let mut hasher = self.shared.negotiated.list_sum.hasher();
        self.buffer.resize(SUM_READ_LEN, 0);
        loop {
            match file.read(&mut self.buffer) {
                Ok(0) => return Some(hasher.finish().as_bytes().to_vec()),
                Ok(len) => hasher.update(&self.buffer[..len]),
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(_) => return None,
            }
        }
    }

    fn ask(
        &mut self,
        ndx: i32,
        entry: &FileEntry<'_>,
        flags: ItemFlags,
        basis: Option<&File>,
        try_number: Try,
    ) -> Result<()> {
        if try_number == Try::First {
            self.itemize(entry, flags);
        }
        let asked = if try_number == Try::First { state::ASKED } else { state::ASKED_AGAIN };
        if let Some(state) = self.shared.state(ndx) {
            state.store(asked, Ordering::Release);
        }
        self.requests.put(self.outbox.frame(), ndx);
        let item = Item { flags, basis_type: None, xname: None };
        item.encode(self.shared.negotiated.items, self.outbox.frame());
        if !self.shared.job.dry_run {
            self.put_sums(basis, try_number)?;
        }
        self.outbox.settle()
    }

    fn put_sums(&mut self, basis: Option<&File>, try_number: Try) -> Result<()> {
        let negotiated = &self.shared.negotiated;
        let digest_len = negotiated.block_sum.algorithm.digest_len();
        let len = basis.and_then(|basis| basis.metadata().ok()).map_or(0, |metadata| metadata.len());
        let head = SumHead::for_basis(len, MAX_BLOCK_LEN, digest_len);
        let head = if try_number == Try::Second { head.redo(digest_len) } else { head };
        sums::encode_head(&head, self.outbox.frame());
        let Some(basis) = basis.filter(|_| !head.is_empty()) else { return Ok(()) };
        let strong_sum = negotiated.block_sum;
        for block in 0..head.count {
            let len = head.block_size(block).unwrap_or(head.block_len);
            self.buffer.resize(len as usize, 0);
            // Of a file that has shrunk meanwhile something else is summed, and its whole sum tells.
            let _ = basis.read_exact_at(&mut self.buffer, head.block_offset(block));
            let strong = strong_sum.digest(&self.buffer);
            let strong = &strong.as_bytes()[..usize::from(head.strong_len)];
            sums::encode_block(weak_sum(&self.buffer), strong, self.outbox.frame());
            self.outbox.settle()?;
        }
        Ok(())
    }

    fn ask_again(&mut self, ndx: i32) -> Result<()> {
        let shared = Arc::clone(&self.shared);
        let entry = usize::try_from(ndx).ok().and_then(|ndx| shared.entries.get(ndx));
        let Some(entry) = entry else { return Ok(()) };
        let place = self.places.as_mut().and_then(|places| places.find(entry.name).ok()).flatten();
        let basis = place.filter(|_| !shared.job.whole_file).and_then(|place| place.open().ok());
        self.ask(ndx, &entry, ItemFlags(ItemFlags::TRANSFER), basis.as_ref(), Try::Second)
    }
}

fn kind_of(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}
