//! The receiver: takes the files that were asked for, each into a temporary file that gets its name once its digest is right.
//!
//! It guarantees that no file grows beyond what the list said, that only what was asked for is taken, that copies come from
//! the file of that very name alone, and that a file whose digest is wrong twice is thrown away and told.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use rustix::fs::{FileType, Stat};
use rustix::io::Errno;
use sha2::{Digest as _, Sha256};

use super::event::{Event, FileStats};
use super::generator::not_sent;
use super::inbox::Inbox;
use super::incoming::ListReader;
use super::parts::{Word, state};
use super::pull::{Shared, basis, stays_here};
use crate::delta::sum_head::{MAX_BLOCK_LEN, MAX_STRONG_LEN};
use crate::delta::{Patch, PatchError, PatchOp, StrongHasher, SumHead};
use crate::error::{ErrorKind, NasSyncError, Result};
use crate::text;
use crate::tree::apply::Wanted;
use crate::tree::place::{Place, Places};
use crate::tree::stage::Staged;
use crate::wire::flist::{EntryKind, FileEntry, Mtime};
use crate::wire::iflags::{Item, ItemCoding, ItemFlags};
use crate::wire::ndx::{self, NdxCoder};
use crate::wire::negotiated::{Goodbye, IdleSign};
use crate::wire::receiver_args::{Partial, Writing};
use crate::wire::stats::SenderStats;
use crate::wire::sums::{self, HeadLimits};
use crate::wire::token::{Token, TokenDecoder, TokenError};
use crate::wire::{Decode, Reader};

/// How much more than a file's length may come before the session ends: it may be growing on the NAS, and what is too much
/// is read and thrown away.
const MOST_SURPLUS: u64 = 64 * 1024 * 1024;
/// What a file gets as an ending that came with another SHA-256 than the recorded one.
const ASIDE: &str = ".from-nas";
/// The time of what was cut off and has its place all the same.
const LONG_AGO: Mtime = Mtime { seconds: 0, nanoseconds: 0 };
/// Signs of life of a server that has nothing to say (protocol 29).
const MOST_IDLE: usize = 1_000_000;

pub(super) struct Receiver {
    shared: Arc<Shared>,
    inbox: Inbox,
    replies: NdxCoder,
    tokens: TokenDecoder,
    places: Option<Places>,
    /// Where more of the list comes.
    list: ListReader,
    /// How many DONEs were heard that closed a part.
    closed: usize,
    /// Whether files may go wrong for the first time.
    is_first_phase: bool,
    idle_left: usize,
}

/// How a file came.
enum Arrival {
    /// Whole and right, and it has its place.
    Stored,
    /// It could not be stored, and why is told.
    Failed,
    /// Not what its digest says.
    Wrong,
    /// More than the list said.
    TooLong,
}

/// Where a file goes.
struct Target {
    place: Place,
    staged: Staged,
    /// What its data refers to.
    basis: Option<File>,
    /// Which other file than the one of its name that is, as in [`basis`].
    other: Option<u8>,
    /// The file whose permissions it gets where none are kept.
    like: Option<Stat>,
    /// Whether it comes for the second time.
    is_again: bool,
}

/// A file as its data comes.
struct Incoming<'s> {
    /// Or why it goes nowhere.
    target: io::Result<Target>,
    hasher: StrongHasher,
    sha256: Option<Sha256>,
    stats: FileStats,
    shared: &'s Shared,
}

impl Receiver {
    pub fn new(shared: Arc<Shared>, inbox: Inbox, list: ListReader) -> Result<Self> {
        let negotiated = &shared.negotiated;
        let tokens = TokenDecoder::new(negotiated.tokens, negotiated.zlib_history).map_err(|error: TokenError| {
            NasSyncError::new(ErrorKind::Internal, format!("the token coder failed: {error}")).with_source(error)
        })?;
        let replies = NdxCoder::new(negotiated.ndx);
        let places = shared.places();
        let idle_left = MOST_IDLE;
        Ok(Self { replies, tokens, places, shared, inbox, list, closed: 0, is_first_phase: true, idle_left })
    }

    pub fn run(mut self) -> Result<()> {
        for phase in 0..=self.shared.negotiated.answered_phases {
            loop {
                match self.next_reply()? {
                    Some(ndx::LIST_EOF) if self.is_in_parts() => self.shared.parts.end(self.list.end())?,
                    Some(ndx) if ndx < ndx::DELETE_STATS && self.is_in_parts() => self.take_part(ndx)?,
                    Some(ndx) => self.take_reply(ndx)?,
                    None if self.closed < self.shared.parts.closed() => self.closed += 1,
                    None => break,
                }
            }
            match phase {
                0 if !self.shared.asked_all.load(Ordering::Acquire) => {
                    return Err(protocol("ended the first phase before everything was asked for"));
                }
                0 => {
                    self.tell_missing(&[state::ASKED]);
                    self.is_first_phase = false;
                    self.shared.parts.fall_silent();
                }
                1 => self.tell_missing(&[state::ASKED, state::WRONG, state::ASKED_AGAIN]),
                _ => {}
            }
        }
        let (ints, times) = (self.shared.negotiated.ints, self.shared.negotiated.sender_times);
        self.take(|reader| SenderStats::decode(ints, times, reader))?;
        if self.shared.negotiated.goodbye == Goodbye::Exchange && self.next_reply()?.is_some() {
            return Err(protocol("sent a file in its goodbye"));
        }
        Ok(())
    }

    fn take<T>(&mut self, decode: impl FnMut(&mut Reader<'_>) -> Decode<T>) -> Result<T> {
        self.inbox.take(decode, || Ok(()))
    }

    /// The next number; `None` for DONE.
    fn next_reply(&mut self) -> Result<Option<i32>> {
        let coder = &mut self.replies;
        let ndx = self.inbox.take(
            |reader| {
                let mut next = coder.clone();
                let ndx = next.take(reader)?;
                *coder = next;
                Ok(ndx)
            },
            || Ok(()),
        )?;
        Ok((ndx != ndx::DONE).then_some(ndx))
    }

    fn is_in_parts(&self) -> bool {
        self.shared.negotiated.list_terms.is_incremental
    }

    /// Reads the part of the list that this number announces.
    fn take_part(&mut self, ndx: i32) -> Result<()> {
        let folder = ndx::folder_of_list(ndx).filter(|_| !self.shared.parts.is_whole());
        let folder = folder.ok_or_else(|| protocol(&format!("sent file {ndx}, or a list behind the last")))?;
        let part = self.list.part(folder, &mut self.inbox)?;
        self.shared.job.findings.note(&part, &*self.shared.monitor);
        self.shared.take_in(part)
    }

    /// Files that were asked for in a phase that is over now, and did not come.
    fn tell_missing(&self, asked: &[u8]) {
        for part in self.shared.parts.open() {
            let states = part.numbered().filter_map(|(ndx, _)| Some((ndx, part.get(ndx)?)));
            for (ndx, (entry, state)) in states.filter(|(_, (_, state))| asked.contains(&state.load(Ordering::Acquire)))
            {
                state.store(state::OVER, Ordering::Release);
                self.shared.fail(&entry, &not_sent());
                self.shared.parts.say(Word::Failed(ndx));
            }
        }
    }

    fn take_reply(&mut self, ndx: i32) -> Result<()> {
        let shared = Arc::clone(&self.shared);
        let items = shared.negotiated.items;
        let item = self.take(|reader| Item::decode(items, reader))?;
        let part = shared.parts.find(ndx);
        let Some((part, (entry, state))) = part.as_ref().and_then(|part| Some((part, part.get(ndx)?))) else {
            let listed = shared.parts.entries();
            let behind_the_last = usize::try_from(ndx) == Ok(listed);
            if shared.negotiated.idle == IdleSign::Record && behind_the_last && item.flags.0 == ItemFlags::NEW {
                self.idle_left = self.idle_left.checked_sub(1).ok_or_else(|| protocol("is idle without end"))?;
                return Ok(());
            }
            return Err(protocol(&if self.is_in_parts() {
                format!("sent file {ndx}, which is in no part of the list that is open")
            } else {
                format!("sent file {ndx}, the list has {listed}")
            }));
        };
        let asked = state.load(Ordering::Acquire);
        if entry.kind != EntryKind::File || !matches!(asked, state::ASKED | state::ASKED_AGAIN) {
            return Err(protocol(&format!("sent entry {ndx}, which was not asked for")));
        }
        let other = shared.basis(ndx);
        let is_echo = shared.negotiated.items == ItemCoding::Bare || item.basis_type == other;
        if !item.flags.has(ItemFlags::TRANSFER) || !is_echo || item.xname.is_some() {
            return Err(protocol(&format!("answered the request for entry {ndx} with another one")));
        }
        if state.compare_exchange(asked, state::OVER, Ordering::AcqRel, Ordering::Acquire).is_err() {
            return Err(protocol(&format!("sent entry {ndx}, which it had declined to send")));
        }
        if shared.job.dry_run {
            shared.parts.settle(part, None);
            return Ok(());
        }
        shared.monitor.event(Event::FileStarted { entry: &entry });
        match self.take_file(&entry, other, asked == state::ASKED_AGAIN)? {
            Arrival::Stored => {
                shared.parts.settle(part, Some(Word::Stored(ndx)));
                return Ok(());
            }
            Arrival::Failed => {}
            Arrival::Wrong if asked == state::ASKED && self.is_first_phase => {
                state.store(state::WRONG, Ordering::Release);
                shared.parts.say(Word::Again(ndx));
                return Ok(());
            }
            Arrival::Wrong => {
                let end = if shared.job.partial == Partial::Dropped { ", and was thrown away" } else { "" };
                let message = format!("what came does not match its checksum, twice{end}");
                shared.fail(&entry, &NasSyncError::new(ErrorKind::NotReceived, message));
            }
            Arrival::TooLong => {
                let message =
                    "it is longer than the NAS said at first, and was thrown away: somebody writes to it there";
                shared.fail(&entry, &NasSyncError::new(ErrorKind::NotReceived, message));
            }
        }
        shared.parts.settle(part, Some(Word::Failed(ndx)));
        Ok(())
    }

    fn take_file(&mut self, entry: &FileEntry<'_>, other: Option<u8>, is_again: bool) -> Result<Arrival> {
        let shared = Arc::clone(&self.shared);
        let limits = HeadLimits { block_len: MAX_BLOCK_LEN, strong_len: MAX_STRONG_LEN };
        let head = self.take(|reader| sums::decode_head(reader, limits))?;
        let expected = shared.job.gate.as_ref().and_then(|gate| gate.expected(entry));
        let mut incoming = Incoming {
            target: self.open(entry, other, is_again, !head.is_empty()),
            hasher: shared.negotiated.file_sum.hasher(),
            sha256: expected.map(|_| Sha256::new()),
            stats: FileStats::default(),
            shared: &shared,
        };
        let taken = self.take_data(entry, head, &mut incoming);
        let Incoming { target, hasher, sha256, stats, .. } = incoming;
        let (is_whole, digest) = match (taken, &target) {
            (Ok(taken), _) => taken,
            (Err(error), Ok(_)) if stats.literal > 0 => {
                self.keep_part(entry, target, Some(LONG_AGO));
                return Err(error);
            }
            (Err(error), _) => return Err(error),
        };
        let target = target.and_then(|mut target| target.staged.finish().map(|()| target));
        match target {
            Err(error) => {
                self.fail(entry, "Cannot write to", error);
                Ok(Arrival::Failed)
            }
            Ok(_) if !is_whole => Ok(Arrival::TooLong),
            Ok(_) if hasher.finish().as_bytes() != digest => {
                self.keep_part(entry, target, None);
                Ok(Arrival::Wrong)
            }
            Ok(target) => {
                let sha256: Option<[u8; 32]> = sha256.map(|sha256| sha256.finalize().into());
                if expected == sha256 {
                    return Ok(self.keep(entry, target, stats, sha256));
                }
                self.keep_aside(entry, target);
                Ok(Arrival::Failed)
            }
        }
    }

    /// Finds where a file goes, and what its data refers to.
    fn open(
        &mut self,
        entry: &FileEntry<'_>,
        other: Option<u8>,
        is_again: bool,
        has_basis: bool,
    ) -> io::Result<Target> {
        let job = &self.shared.job;
        let place = self.places.as_mut().map_or(Ok(None), |places| places.find(entry.name))?.ok_or(Errno::NOENT)?;
        let compared = match (other, self.shared.waiting_folder(), &job.backup) {
            (Some(basis::WAITING), Some(folder), _) => &place.waiting(folder, false)?,
            (Some(basis::BACKUP), _, Some(ending)) => &place.beside(ending),
            _ => &place,
        };
        let like = compared.look()?;
        let basis = if has_basis { compared.open().ok() } else { None };
        let mut staged = match (job.writing, &self.shared.temp_dir) {
            (Writing::Aside, None) => place.stage()?,
            (Writing::Aside, Some(folder)) => place.in_folder(Arc::clone(folder)).stage()?,
            _ => place.in_place()?,
        };
        if job.sparse {
            staged.leave_holes();
        }
        Ok(Target { place, staged, basis, other, like, is_again })
    }

    fn fail(&self, entry: &FileEntry<'_>, what: &str, error: io::Error) {
        let path = self.places.as_ref().map(|places| places.shown(entry.name)).unwrap_or_default();
        self.shared.fail(entry, &NasSyncError::at_path(ErrorKind::LocalFile, what, &path, error));
    }

    /// Keeps what came of a file, if that was asked for. With the time it is now it would count as newer; in a folder of its own it
    /// stands for nothing.
    fn keep_part(&self, entry: &FileEntry<'_>, target: io::Result<Target>, mtime: Option<Mtime>) {
        let Ok(target) = target else { return };
        let wanted = Wanted { mtime, ..self.shared.policy.for_new(entry, target.like.as_ref()) };
        let kept =
            match &self.shared.job.partial {
                _ if target.staged.is_in_place() => {
                    target.staged.apply(&Wanted { mtime: None, ..wanted }).map_err(Into::into)
                }
                Partial::Dropped => return,
                Partial::Kept => self.put(target, &wanted, Place::take),
                Partial::Aside(folder) => target.place.waiting(folder, true).map_err(Into::into).and_then(|place| {
                    self.put(Target { place, ..target }, &Wanted { mtime: None, ..wanted }, Place::take)
                }),
            };
        if let Err(error) = kept {
            self.fail(entry, "Cannot keep what came of", error);
        }
    }

    /// Keeps a file that is not what was recorded beside its place.
    fn keep_aside(&self, entry: &FileEntry<'_>, target: Target) {
        let path = self.places.as_ref().map(|places| places.shown(entry.name)).unwrap_or_default();
        let shown = text::escape_bytes(path.as_os_str().as_encoded_bytes());
        let place = target.place.beside(ASIDE);
        let wanted = self.shared.policy.for_new(entry, None);
        let kept = match self.put(Target { place, ..target }, &wanted, Place::take) {
            Ok(()) => format!("it is kept as {shown}{ASIDE}"),
            Err(error) => format!("it could not be kept as {shown}{ASIDE}: {error}"),
        };
        let message = format!("what the NAS has is not what was recorded when it was sent; {kept}");
        self.shared.fail(entry, &NasSyncError::new(ErrorKind::NotReceived, message));
    }

    fn keep(&self, entry: &FileEntry<'_>, target: Target, stats: FileStats, sha256: Option<[u8; 32]>) -> Arrival {
        let keep_present = self.shared.job.keep_present;
        let take = if keep_present { Place::take_if_free } else { Place::take };
        let is_here = keep_present && target.place.open().is_ok_and(|here| target.staged.has_content_of(here));
        let went_on = target.other == Some(basis::WAITING);
        let place = target.place.clone();
        let wanted = self.shared.policy.for_new(entry, target.like.as_ref());
        let put = if is_here { Ok(()) } else { self.put(target, &wanted, take) };
        match put {
            Err(error) if keep_present && error.kind() == io::ErrorKind::AlreadyExists => {
                self.shared.fail(entry, &stays_here());
                Arrival::Failed
            }
            Ok(()) => {
                if went_on {
                    self.shared.drop_waiting(&place);
                }
                self.shared.monitor.event(Event::FileReceived { entry, stats, sha256 });
                Arrival::Stored
            }
            Err(error) => {
                self.fail(entry, "Cannot store", error);
                Arrival::Failed
            }
        }
    }

    /// Gives what came its attributes and its name.
    fn put(&self, target: Target, wanted: &Wanted, take: fn(&Place, Staged) -> Result<(), Errno>) -> io::Result<()> {
        let Target { place, staged, is_again, .. } = target;
        let job = &self.shared.job;
        let staged = place.fetch(staged)?;
        staged.apply(wanted)?;
        if job.fsync {
            staged.flush_to_disk()?;
        }
        // The second time it is no older version that is there, but what came the first time.
        let keeps_older = !(staged.is_in_place() || is_again && job.partial == Partial::Kept);
        if let (Some(ending), true) = (&job.backup, keeps_older)
            && place.look()?.is_some_and(|stat| FileType::from_raw_mode(stat.st_mode) != FileType::Directory)
        {
            place.keep_as(ending)?;
        }
        Ok(take(&place, staged)?)
    }

    /// Reads all tokens of a file, and its digest; `false` when they made more than the list said.
    fn take_data(
        &mut self,
        entry: &FileEntry<'_>,
        head: SumHead,
        incoming: &mut Incoming<'_>,
    ) -> Result<(bool, Vec<u8>)> {
        let is_again = incoming.target.as_ref().is_ok_and(|target| target.is_again);
        let is_added = self.shared.job.writing.appends() && !is_again;
        let offset = if is_added { incoming.begin_behind(head.basis_len()) } else { 0 };
        let blocks = if is_added { SumHead::EMPTY } else { head };
        let is_whole = self.take_content(entry, blocks, entry.meta.size.saturating_sub(offset), incoming)?;
        let digest_len = self.shared.negotiated.file_sum.algorithm.digest_len();
        let digest = self.inbox.take(|reader| reader.bytes(digest_len).map(<[u8]>::to_vec), || Ok(()))?;
        Ok((is_whole, digest))
    }

    /// `false` when the tokens made more than `len` bytes.
    fn take_content(
        &mut self,
        entry: &FileEntry<'_>,
        head: SumHead,
        len: u64,
        incoming: &mut Incoming<'_>,
    ) -> Result<bool> {
        let mut patch = Patch::new(head, len);
        let mut surplus_left = entry.meta.size.saturating_add(MOST_SURPLUS);
        let mut is_too_long = false;
        loop {
            let tokens = &mut self.tokens;
            let token = self.inbox.take(|reader| tokens.next(reader), || Ok(()))?;
            let (op, cost) = match &token {
                Token::End => return Ok(!is_too_long),
                Token::Literal(data) => (PatchOp::Literal(data), data.len() as u64),
                Token::Copy { block } => (PatchOp::Copy(*block), head.block_len.into()),
            };
            // What comes to nothing costs something, too, so that it has an end.
            let left = surplus_left.checked_sub(cost.max(1));
            surplus_left = left.ok_or_else(|| protocol(&format!("sends file {} without end", shown(entry))))?;
            if is_too_long {
                if let Token::Copy { block } = token {
                    self.tokens.history(&vec![0; head.block_size(block).unwrap_or(0) as usize]);
                }
                continue;
            }
            match incoming.apply(&mut patch, op, &mut self.tokens, head) {
                Ok(()) => {}
                Err(PatchError::TooLong { .. }) => is_too_long = true,
                Err(error @ PatchError::NoSuchBlock { .. }) => {
                    return Err(protocol(&format!("copies in file {} what is not there: {error}", shown(entry))));
                }
                Err(PatchError::Io(error)) => {
                    let place = self.places.as_ref().map(|places| places.shown(entry.name)).unwrap_or_default();
                    return Err(NasSyncError::at_path(ErrorKind::LocalFile, "Cannot write", &place, error));
                }
            }
        }
    }
}

impl Incoming<'_> {
    /// Leaves what is there, which the other side was told the length of, and goes on behind it. Where it has another length by
    /// now, the digest will be wrong, and the file comes again.
    fn begin_behind(&mut self, len: u64) -> u64 {
        let Ok(target) = &mut self.target else { return 0 };
        let is_there = |file: &File| file.metadata().is_ok_and(|metadata| metadata.len() == len);
        if len == 0 || !is_there(target.staged.file()) || target.staged.skip(len).is_err() {
            return 0;
        }
        let is_summed =
            self.shared.job.writing == Writing::AppendVerify || self.shared.negotiated.sums_what_is_appended_to;
        if let (Some(basis), true) = (&target.basis, is_summed) {
            // What cannot be read is not summed, and shows.
            let _ = io::copy(&mut &*basis, &mut HashInto(&mut self.hasher));
        }
        len
    }

    fn apply(
        &mut self,
        patch: &mut Patch,
        op: PatchOp<'_>,
        tokens: &mut TokenDecoder,
        head: SumHead,
    ) -> Result<(), PatchError<io::Error>> {
        let mut copied = Vec::new();
        let Self { target, hasher, sha256, stats, shared } = self;
        let (basis, mut staged, is_own) = match target {
            Ok(Target { basis, staged, other, .. }) => (basis.as_ref(), Some(staged), other.is_none()),
            Err(_) => (None, None, false),
        };
        let is_copy = matches!(op, PatchOp::Copy(_));
        let stays = match (&op, &staged) {
            (PatchOp::Copy(block), Some(staged)) => {
                is_own && staged.is_in_place() && staged.position() == head.block_offset(*block)
            }
            _ => false,
        };
        let has_history = is_copy && tokens.wants_history();
        let read_at = |offset: u64, piece: &mut [u8]| {
            // A basis that has shrunk or cannot be read gives a wrong digest, and the file comes again.
            if basis.is_none_or(|basis| basis.read_exact_at(piece, offset).is_err()) {
                piece.fill(0);
            }
            Ok(())
        };
        let write = |data: &[u8]| {
            hasher.update(data);
            if let Some(sha256) = sha256 {
                sha256.update(data);
            }
            if is_copy {
                stats.matched += data.len() as u64;
                if has_history {
                    copied.extend_from_slice(data);
                }
            } else {
                stats.literal += data.len() as u64;
            }
            match &mut staged {
                Some(staged) if stays => staged.skip(data.len() as u64)?,
                Some(staged) => staged.write(data)?,
                None => {}
            }
            shared.monitor.event(Event::Progress { bytes: data.len() as u64 });
            Ok(())
        };
        let applied = patch.apply(op, read_at, write);
        if has_history && let PatchOp::Copy(block) = op {
            // What was not copied, because it is too much, is not kept either.
            copied.resize(head.block_size(block).unwrap_or(0) as usize, 0);
            tokens.history(&copied);
        }
        applied
    }
}

/// Sums what is written.
struct HashInto<'h>(&'h mut StrongHasher);

impl io::Write for HashInto<'_> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.0.update(data);
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn shown(entry: &FileEntry<'_>) -> String {
    text::escape_bytes(entry.name)
}

pub(super) fn protocol(what: &str) -> NasSyncError {
    NasSyncError::new(ErrorKind::Protocol, format!("the NAS broke the protocol: it {what}"))
}
