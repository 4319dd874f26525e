//! Files: whether one is as it should be, what it is compared with, and how it is asked for.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use rustix::fs::{FileType, Stat};

use super::links::Outcome;
use super::{Generator, kind_of};
use crate::delta::sum_head::MAX_BLOCK_LEN;
use crate::delta::{SumHead, weak_sum};
use crate::error::{ErrorKind, NasSyncError, Result};
use crate::role::parts::state;
use crate::role::pull::{QuickCheck, basis, stays_here};
use crate::tree::place::Place;
use crate::wire::flist::FileEntry;
use crate::wire::iflags::{Item, ItemFlags};
use crate::wire::receiver_args::Writing;
use crate::wire::sums;

/// How much of a file is read at once for its digest.
const SUM_READ_LEN: usize = 256 * 1024;

/// What a file is compared with.
#[derive(Default)]
struct Basis {
    /// `None` where it is asked for whole.
    file: Option<File>,
    /// Another one than the file of that name, as in [`basis`].
    other: Option<u8>,
}

/// Which strong sums a request holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Try {
    /// As many bytes of each as make a false match rare.
    First,
    /// All of them.
    Second,
}

impl Generator {
    pub(super) fn visit_file(
        &mut self,
        ndx: i32,
        entry: &FileEntry<'_>,
        place: Option<&Place>,
        stat: Option<&Stat>,
    ) -> Result<Outcome> {
        let existing = stat.filter(|stat| kind_of(stat) == FileType::RegularFile).zip(place);
        if self.shared.job.keep_present && stat.is_some() && existing.is_none() {
            self.shared.fail(entry, &stays_here());
            return Ok(Outcome::Neither);
        }
        let Some((stat, place)) = existing else {
            // Only a new file takes the place of another thing at once, and not that of a folder.
            let is_new_file = self.shared.job.writing == Writing::Aside;
            let in_the_way = stat.filter(|stat| kind_of(stat) == FileType::Directory || !is_new_file);
            if let Some((stat, place)) = in_the_way.zip(place)
                && let Err(errno) = self.make_way(entry, place, stat)?
            {
                self.fail(entry, "Cannot make way for", errno);
                return Ok(Outcome::Neither);
            }
            let basis = place.and_then(|place| self.waiting(place)).unwrap_or_default();
            return self.ask(ndx, entry, ItemFlags(ItemFlags::TRANSFER | ItemFlags::NEW), &basis, Try::First);
        };
        if self.is_up_to_date(entry, place, stat) {
            return self.keep_file(ndx, entry, place, stat);
        }
        let appends = self.shared.job.writing.appends();
        if appends && u64::try_from(stat.st_size).is_ok_and(|size| size >= entry.meta.size) {
            return Ok(Outcome::Neither);
        }
        let ItemFlags(flags) = self.shared.policy.flags_of_transfer(entry, stat);
        let compared = if self.shared.job.check == QuickCheck::Contents { ItemFlags::CHANGED } else { 0 };
        match self.basis(place, Some(stat)) {
            Ok(basis) => self.ask(ndx, entry, ItemFlags(flags | compared), &basis, Try::First),
            Err(error) => {
                let path = self.places.as_ref().map(|places| places.shown(entry.name)).unwrap_or_default();
                let what = "Cannot keep the older version of";
                self.shared.fail(entry, &NasSyncError::at_path(ErrorKind::LocalFile, what, &path, error));
                Ok(Outcome::Neither)
            }
        }
    }

    /// A file that is as it should be but for its attributes.
    pub(super) fn keep_file(&mut self, ndx: i32, entry: &FileEntry<'_>, place: &Place, stat: &Stat) -> Result<Outcome> {
        let (mut wanted, flags) = self.shared.policy.for_existing(entry, stat);
        if self.shared.job.check == QuickCheck::Contents {
            wanted.mtime = self.shared.policy.exact_time(entry, stat);
            // To compare it was an access.
            wanted.atime = self.shared.policy.atime(entry);
        }
        self.itemize(entry, flags);
        if self.shared.job.dry_run {
            return self.stays(ndx);
        }
        self.shared.drop_waiting(place);
        if let Err(errno) = place.apply(FileType::RegularFile, &wanted) {
            self.fail(entry, "Cannot set the attributes of", errno);
        }
        self.stays(ndx)
    }

    /// What came of a file before.
    fn waiting(&self, place: &Place) -> Option<Basis> {
        let waiting = self.shared.waiting_folder().and_then(|folder| place.waiting(folder, false).ok())?;
        let is_file = |stat: Stat| kind_of(&stat) == FileType::RegularFile;
        waiting
            .look()
            .is_ok_and(|stat| stat.is_some_and(is_file))
            .then(|| self.read_basis(&waiting, Some(basis::WAITING)))
    }

    /// What cannot be read is asked for whole.
    fn read_basis(&self, place: &Place, other: Option<u8>) -> Basis {
        let is_whole = self.shared.job.whole_file || self.shared.job.dry_run;
        Basis { file: if is_whole { None } else { place.open().ok() }, other }
    }

    /// What the file that is there is compared with. An older version that is to be kept is copied where the new one is written
    /// over it, once.
    fn basis(&self, place: &Place, kept: Option<&Stat>) -> io::Result<Basis> {
        if let Some(basis) = self.waiting(place) {
            return Ok(basis);
        }
        let job = &self.shared.job;
        let (Some(ending), false, false) = (&job.backup, job.writing == Writing::Aside, job.dry_run) else {
            return Ok(self.read_basis(place, None));
        };
        let backup = place.beside(ending);
        if let Some(stat) = kept {
            backup.put_copy(&place.open()?, &self.shared.policy.as_it_is(stat))?;
        }
        Ok(self.read_basis(&backup, Some(basis::BACKUP)))
    }

    fn is_up_to_date(&mut self, entry: &FileEntry<'_>, place: &Place, stat: &Stat) -> bool {
        if u64::try_from(stat.st_size) != Ok(entry.meta.size) {
            return false;
        }
        match self.shared.job.check {
            QuickCheck::Nothing => false,
            QuickCheck::SizeAndTime => self.shared.policy.has_time(stat, entry.meta.mtime),
            QuickCheck::Size => true,
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
        basis: &Basis,
        try_number: Try,
    ) -> Result<Outcome> {
        if try_number == Try::First {
            self.itemize(entry, flags);
        }
        self.shared.set_basis(ndx, basis.other);
        let asked = if try_number == Try::First { state::ASKED } else { state::ASKED_AGAIN };
        let part = self.part.clone().filter(|part| part.get(ndx).is_some()).or_else(|| self.shared.parts.find(ndx));
        if let Some(part) = part {
            part.ask(ndx, asked);
        }
        self.requests.put(self.outbox.frame(), ndx);
        Item::request(flags, basis.other).encode(self.shared.negotiated.items, self.outbox.frame());
        if !self.shared.job.dry_run {
            self.put_sums(basis.file.as_ref(), try_number)?;
        }
        self.outbox.settle().map(|()| Outcome::Comes)
    }

    fn put_sums(&mut self, basis: Option<&File>, try_number: Try) -> Result<()> {
        let negotiated = &self.shared.negotiated;
        let digest_len = negotiated.block_sum.algorithm.digest_len();
        let len = basis.and_then(|basis| basis.metadata().ok()).map_or(0, |metadata| metadata.len());
        let head = SumHead::for_basis(len, MAX_BLOCK_LEN, digest_len);
        let head = if try_number == Try::Second { head.redo(digest_len) } else { head };
        sums::encode_head(&head, self.outbox.frame());
        if self.shared.job.writing.appends() && try_number == Try::First {
            return Ok(());
        }
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

    pub(super) fn ask_again(&mut self, ndx: i32) -> Result<()> {
        let shared = Arc::clone(&self.shared);
        let Some(part) = shared.parts.find(ndx) else { return Ok(()) };
        let Some((entry, _)) = part.get(ndx) else { return Ok(()) };
        let place = self.places.as_mut().and_then(|places| places.find(entry.name).ok()).flatten();
        // Its older version was kept the first time.
        let basis = place.and_then(|place| self.basis(&place, None).ok()).unwrap_or_default();
        self.ask(ndx, &entry, ItemFlags(ItemFlags::TRANSFER), &basis, Try::Second).map(drop)
    }
}
