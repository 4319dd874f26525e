//! The receiving side of a session: reads the list, then lets a generator ask and a receiver take, each on a thread of its own,
//! `protocol-notes/07-transfer.md` and `10-phases-and-goodbye.md`.
//!
//! The generator owns the outbox and may wait for the other side to read. The receiver owns the inbox and waits for nothing
//! but that and its disk, so the other side can always go on writing.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};

use rustix::fs::{FileType, Stat};

use super::event::{Event, Monitor};
use super::generator::{Generator, Rest};
use super::incoming::{Expected, Incoming, ListReader};
use super::links::LinkRules;
use super::names;
use super::parts::Parts;
use super::port::Port;
use super::prune;
use super::receiver::Receiver;
use crate::blocking;
use crate::error::{ErrorKind, NasSyncError, Result};
use crate::filter::{Rules, Scope};
use crate::tree::IdNames;
use crate::tree::apply::{IdMap, Keep, Policy, Wanted};
use crate::tree::place::{Destination, Following, Making, Place, Places, Shape};
use crate::wire::flist::{Counts, EntryKind, FileEntry, ListOrder};
use crate::wire::mux::Framing;
use crate::wire::negotiated::Negotiated;
use crate::wire::receiver_args::{DeleteTime, Partial, Writing};
use crate::wire::rules::{self, RuleText};

/// How many entries are known before names of one file are looked for in a part: as many as with rsync, so that a file comes
/// under the same name. Every server sends more ahead.
const LINKS_AHEAD: usize = 500;

/// When a file that is here is asked for although size and time are equal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QuickCheck {
    /// Never.
    SizeAndTime,
    /// Always (`-I`).
    Nothing,
    /// When its digest differs, whatever its time (`-c`).
    Contents,
    /// When its size differs, whatever its time (`--size-only`).
    Size,
}

/// Which entries stay as they are here, or are not made here: rsync's options.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PassedOver {
    /// Files that are newer here (`-u`).
    pub newer_here: bool,
    /// What is not here yet (`--existing`).
    pub missing: bool,
    /// What is here already, except folders (`--ignore-existing`).
    pub present: bool,
    /// Files of more bytes (`--max-size`).
    pub above: Option<u64>,
    /// Files of fewer bytes (`--min-size`).
    pub below: Option<u64>,
}

/// Deletion of what the NAS does not have, in the folders whose content it listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeleteRules {
    /// When; `None`: when rsync does in this protocol.
    pub when: Option<DeleteTime>,
    /// How much at most.
    pub limit: Option<u64>,
    /// Also when the NAS could not list everything (`--ignore-errors`).
    pub in_spite_of_errors: bool,
    /// Only what is in folders that are in the way of something else (`--force` alone).
    pub only_in_the_way: bool,
}

/// Filter rules of a pull.
#[derive(Debug, Clone)]
pub struct PullRules {
    /// Those that the NAS is told, which say what it sends.
    pub told: Vec<RuleText>,
    /// Those that keep something here from being deleted.
    pub own: Scope,
}

impl Default for PullRules {
    fn default() -> Self {
        Self { told: Vec::new(), own: Scope::of_receiver(&Rules::default(), false) }
    }
}

/// Where a pull goes.
#[derive(Debug, Clone)]
pub enum To {
    /// A path as a person names it; what it means depends on the list.
    Path(PathBuf),
    /// A destination that is open already.
    Open(Arc<Destination>),
}

/// Decides, when a file has come whole and before it takes its place, whether it may.
pub trait Gate: Send + Sync {
    /// The SHA-256 that an entry's file must have; `None` where any will do.
    fn expected(&self, entry: &FileEntry<'_>) -> Option<[u8; 32]>;
}

/// What the NAS says of its list, readable at any time.
#[derive(Debug, Default)]
pub struct Findings {
    /// What went wrong while it listed and read, as bits of [`io_error`](crate::wire::flist::io_error).
    pub errors: AtomicI32,
    /// What is in it, as far as it has come.
    pub counts: Mutex<Counts>,
    /// How much was not deleted, because the limit was reached.
    pub kept_by_limit: AtomicU64,
}

impl Findings {
    /// Takes in what a list, or a part of one, says.
    pub(super) fn note(&self, list: &Incoming, monitor: &dyn Monitor) {
        self.errors.fetch_or(list.errors, Ordering::Relaxed);
        blocking::lock(&self.counts).add(&list.entries.count());
        let files = list.entries.iter().filter(|entry| entry.kind == EntryKind::File);
        let bytes = files.fold(0_u64, |sum, entry| sum.saturating_add(entry.meta.size));
        monitor.event(Event::Listed { entries: list.entries.len(), bytes });
    }
}

/// What to pull, and how.
#[derive(Clone)]
#[expect(clippy::struct_excessive_bools, reason = "they are rsync's own switches")]
pub struct PullJob {
    /// What the list is read with.
    pub expected: Expected,
    /// Where it goes.
    pub to: To,
    /// Which attributes are kept.
    pub keep: Keep,
    /// Whether ids are taken by their numbers alone.
    pub numeric_ids: bool,
    /// Which files are asked for.
    pub check: QuickCheck,
    /// Whether files are asked for whole.
    pub whole_file: bool,
    /// Whether what is here already stays. Where it has another content, that is the failure of the file that would have
    /// replaced it.
    pub keep_present: bool,
    /// What is passed over without a word.
    pub passed_over: PassedOver,
    /// What is deleted here.
    pub deletion: Option<DeleteRules>,
    /// Filter rules.
    pub rules: PullRules,
    /// Under which ending what is replaced or deleted is kept beside its place.
    pub backup: Option<Box<OsStr>>,
    /// How files are written.
    pub writing: Writing,
    /// What becomes of a file that did not come whole.
    pub partial: Partial,
    /// The folder for files on their way, as seen from the destination.
    pub temp_dir: Option<PathBuf>,
    /// Whether zeros become holes.
    pub sparse: bool,
    /// Whether the NAS is told which files are stored, so that it removes them there.
    pub tells_stored: bool,
    /// Whether folders above the destination are made.
    pub makes_path: bool,
    /// The names of the wanted files, where the arguments say that they follow.
    pub names: Option<Vec<Box<[u8]>>>,
    /// Whether folders on the way are made where they are missing, and else left as they are (`--no-implied-dirs`).
    pub leaves_way: bool,
    /// Whether folders that would be empty are left out (`--prune-empty-dirs`).
    pub prunes: bool,
    /// What becomes of symlinks.
    pub links: LinkRules,
    /// Whether nothing is changed.
    pub dry_run: bool,
    /// Whether each file is written through to the disk before it gets its name.
    pub fsync: bool,
    /// What a file is compared with before it takes its place.
    pub gate: Option<Arc<dyn Gate>>,
    /// What the NAS says of its list.
    pub findings: Arc<Findings>,
}

impl PullJob {
    /// A pull that keeps no attributes and has no options.
    pub fn new(expected: Expected, to: To) -> Self {
        Self {
            expected,
            to,
            keep: Keep::default(),
            numeric_ids: false,
            check: QuickCheck::SizeAndTime,
            whole_file: false,
            keep_present: false,
            passed_over: PassedOver::default(),
            deletion: None,
            rules: PullRules::default(),
            backup: None,
            writing: Writing::Aside,
            partial: Partial::Dropped,
            temp_dir: None,
            sparse: false,
            tells_stored: false,
            makes_path: false,
            names: None,
            leaves_way: false,
            prunes: false,
            links: LinkRules::default(),
            dry_run: false,
            fsync: false,
            gate: None,
            findings: Arc::default(),
        }
    }
}

/// The failure of a file in whose place something else stays.
pub fn stays_here() -> NasSyncError {
    let message = "what is here already differs from the copy, and stays: only --overwrite replaces it";
    NasSyncError::new(ErrorKind::NewerHere, message)
}

/// Which file another than the one of that name is compared with, as the protocol has it.
pub(super) mod basis {
    /// What came of it before.
    pub const WAITING: u8 = 0x81;
    /// Its older version, which was copied away.
    pub const BACKUP: u8 = 0x82;
}

/// What generator and receiver share.
pub(super) struct Shared {
    pub job: PullJob,
    pub negotiated: Negotiated,
    pub parts: Arc<Parts>,
    /// What is compared with another file than the one of its name, and with which, as in [`basis`].
    bases: Mutex<HashMap<i32, u8>>,
    /// The folder for files on their way.
    pub temp_dir: Option<Arc<OwnedFd>>,
    pub policy: Policy,
    /// `None` in a dry run whose destination would have to be made.
    pub destination: Option<Arc<Destination>>,
    pub monitor: Arc<dyn Monitor>,
    /// Whether everything has been asked for once.
    pub asked_all: AtomicBool,
}

impl Shared {
    /// Lets the generator go through a part of the list.
    pub fn take_in(&self, list: Incoming) -> Result<()> {
        if !self.job.numeric_ids {
            self.policy.learn(IdMap::by_name(&list.users, &list.groups, IdNames::system()));
        }
        self.parts.add(list)
    }

    /// Remembers, or forgets, with which other file an entry is compared.
    pub fn set_basis(&self, ndx: i32, other: Option<u8>) {
        let mut bases = self.bases.lock().unwrap_or_else(PoisonError::into_inner);
        match other {
            Some(other) => drop(bases.insert(ndx, other)),
            None => drop(bases.remove(&ndx)),
        }
    }

    /// With which other file it is compared.
    pub fn basis(&self, ndx: i32) -> Option<u8> {
        self.bases.lock().unwrap_or_else(PoisonError::into_inner).get(&ndx).copied()
    }

    /// The folder in which what came of files waits.
    pub fn waiting_folder(&self) -> Option<&[u8]> {
        match &self.job.partial {
            Partial::Aside(folder) => Some(folder),
            Partial::Dropped | Partial::Kept => None,
        }
    }

    /// Removes what came of a file before.
    pub fn drop_waiting(&self, place: &Place) {
        let Some(folder) = self.waiting_folder() else { return };
        if let Ok(waiting) = place.waiting(folder, false)
            && let Ok(Some(stat)) = waiting.look()
            && FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile
        {
            // What stays is tried again next time.
            let _ = waiting.remove(&stat);
            place.leave_waiting(folder);
        }
    }

    pub fn fail(&self, entry: &FileEntry<'_>, error: &NasSyncError) {
        self.monitor.event(Event::FileFailed { entry, error });
    }

    /// Places below the destination.
    pub fn places(&self) -> Option<Places> {
        let following = Following { on_the_way: self.job.leaves_way, folders: self.job.links.keeps_folders };
        self.destination.clone().map(|destination| Places::new(destination, following))
    }

    /// Gives a folder the attributes that it could not have while it was filled.
    pub fn finish_folder(&self, places: &mut Places, entry: &FileEntry<'_>, wanted: Wanted) {
        let applied = places.find_folder(entry.name).and_then(|place| {
            let Some(place) = place else { return Ok(()) };
            // A time whose second is right stays as it is, as everywhere.
            let is_right = |stat: &Stat| wanted.mtime.is_some_and(|mtime| self.policy.has_time(stat, mtime));
            let mtime = wanted.mtime.filter(|_| !place.look().is_ok_and(|stat| stat.as_ref().is_some_and(is_right)));
            place.apply(FileType::Directory, &Wanted { mtime, ..wanted })
        });
        if let Err(errno) = applied {
            let path = places.shown(entry.name);
            let error =
                NasSyncError::at_path(ErrorKind::LocalFile, "Cannot set the attributes of", &path, errno.into());
            self.fail(entry, &error);
        }
    }
}

/// Runs the receiving side from the list to the goodbye. On an error the other side may still have something to say, so the
/// caller goes on reading.
pub fn run(
    job: PullJob,
    negotiated: Negotiated,
    port: Port,
    monitor: Arc<dyn Monitor>,
    parts: Arc<Parts>,
) -> Result<()> {
    let Port { mut inbox, mut outbox, .. } = port;
    if job.tells_stored && negotiated.list_terms.client_framing == Framing::Raw {
        let message = "the NAS speaks a protocol in which it cannot be told which files are stored and may be removed";
        return Err(NasSyncError::new(ErrorKind::OptionRefused, message));
    }
    if job.prunes && negotiated.list_terms.order == ListOrder::Bytewise {
        let message = "--prune-empty-dirs needs protocol 29, and the NAS speaks an older one";
        return Err(NasSyncError::new(ErrorKind::OptionRefused, message));
    }
    rules::put(&job.rules.told, negotiated.list_terms.rules, outbox.frame())
        .map_err(|error| NasSyncError::new(ErrorKind::OptionRefused, error.to_string()).with_source(error))?;
    outbox.flush()?;
    let mut job = job;
    let sending = names::send(outbox, job.names.take(), negotiated.names)?;
    if job.check == QuickCheck::Contents {
        job.expected.fields.digest = Some(negotiated.list_sum.algorithm.digest_len());
    }
    let mut reader = ListReader::new(job.expected.clone(), negotiated.list_terms);
    let list = reader.first(&mut inbox)?;
    let outbox = sending.finish()?;
    job.findings.note(&list, &*monitor);
    if list.entries.is_empty() {
        // The other side ends here, too.
        return Ok(());
    }
    let shared = Arc::new(share(job, negotiated, list, monitor, parts)?);
    let (tell, told) = mpsc::channel();
    let generator = Generator::new(Arc::clone(&shared), outbox)?;
    // A thread of its own, which ends by itself when the session does.
    blocking::start(move || drop(tell.send(generator.run())))?;
    let received = Receiver::new(Arc::clone(&shared), inbox, reader).and_then(Receiver::run);
    if let Err(error) = received {
        shared.parts.stop();
        // What this side could not do explains more than that the other side left.
        return match told.try_recv() {
            Ok(Err(own)) if error.kind() == ErrorKind::ConnectionLost => Err(own),
            _ => Err(error),
        };
    }
    let mut generator = told.recv().map_err(|_| NasSyncError::new(ErrorKind::Internal, "the generator stopped"))??;
    generator.hear_the_rest()?;
    let Rest { folders, deleter, outbox: _outbox } = generator.rest();
    if let Some(mut deleter) = deleter {
        if matches!(deleter.when(), Some(DeleteTime::Delay | DeleteTime::After)) {
            deleter.sweep_all()?;
        }
        deleter.tell_counts();
    }
    if let Some(mut places) = shared.places() {
        for (part, ndx, wanted) in folders.into_iter().rev() {
            if let Some((entry, _)) = part.get(ndx) {
                shared.finish_folder(&mut places, &entry, wanted);
            }
        }
    }
    Ok(())
}

fn making(job: &PullJob) -> Making {
    match job {
        PullJob { dry_run: true, .. } => Making::Nothing,
        PullJob { makes_path: true, .. } => Making::Path,
        _ => Making::Last,
    }
}

fn share(
    job: PullJob,
    negotiated: Negotiated,
    mut list: Incoming,
    monitor: Arc<dyn Monitor>,
    parts: Arc<Parts>,
) -> Result<Shared> {
    let is_one_file = list.entries.len() == 1 && list.entries.iter().all(|entry| !entry.kind.is_dir());
    let shape = if is_one_file { Shape::OneFile } else { Shape::Tree };
    let destination = match &job.to {
        To::Path(path) => Destination::resolve(path, shape, making(&job))?.map(Arc::new),
        To::Open(destination) => Some(Arc::clone(destination)),
    };
    let temp_dir = match (&job.temp_dir, &destination) {
        (Some(path), Some(destination)) => Some(destination.open_own(path).map_err(|errno| {
            NasSyncError::at_path(ErrorKind::Usage, "Cannot open the folder of --temp-dir,", path, errno.into())
        })?),
        _ => None,
    };
    let shared = Shared {
        policy: Policy::of_process(job.keep, IdMap::default()),
        destination,
        job,
        negotiated,
        parts,
        bases: Mutex::default(),
        temp_dir,
        monitor,
        asked_all: AtomicBool::new(false),
    };
    if shared.negotiated.list_terms.is_incremental {
        shared.parts.expect_parts(if shared.job.expected.fields.hard_links { LINKS_AHEAD } else { 0 });
    }
    if shared.job.prunes {
        let mut replaced = list.replaced.iter().copied().peekable();
        let counting = list.entries.iter().enumerate().filter(|(at, _)| replaced.next_if_eq(at).is_none());
        list.pruned = prune::empty_folders(counting, &shared.job.rules.own);
    }
    shared.take_in(list)?;
    Ok(shared)
}
