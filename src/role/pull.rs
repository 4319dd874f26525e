//! The receiving side of a session: reads the list, then lets a generator ask and a receiver take, each on a thread of its own,
//! `protocol-notes/07-transfer.md` and `10-phases-and-goodbye.md`.
//!
//! The generator owns the outbox and may wait for the other side to read. The receiver owns the inbox and waits for nothing
//! but that and its disk, so the other side can always go on writing.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, mpsc};

use rustix::fs::{FileType, Stat};

use super::event::{Event, Monitor};
use super::generator::{Generator, Rest, RetouchedFolders, Word};
use super::incoming::{Expected, Incoming};
use super::port::Port;
use super::receiver::Receiver;
use crate::blocking;
use crate::error::{ErrorKind, NasSyncError, Result};
use crate::filter::{Rules, Scope};
use crate::tree::IdNames;
use crate::tree::apply::{IdMap, Keep, Policy, Wanted};
use crate::tree::place::{Destination, Making, Places, Shape};
use crate::wire::flist::{Counts, Entries, EntryKind, FileEntry};
use crate::wire::mux::Framing;
use crate::wire::negotiated::{NamesFraming, Negotiated};
use crate::wire::receiver_args::DeleteTime;
use crate::wire::rules::{self, RuleText};

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
    /// What is in it.
    pub counts: OnceLock<Counts>,
    /// How much was not deleted, because the limit was reached.
    pub kept_by_limit: AtomicU64,
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
    /// Whether the NAS is told which files are stored, so that it removes them there.
    pub tells_stored: bool,
    /// Whether folders above the destination are made.
    pub makes_path: bool,
    /// The names of the wanted files, where the arguments say that they follow.
    pub names: Vec<Box<[u8]>>,
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
            tells_stored: false,
            makes_path: false,
            names: Vec::new(),
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

/// How far an entry has come.
pub(super) mod state {
    /// It was not asked for.
    pub const IDLE: u8 = 0;
    /// Its data was asked for.
    pub const ASKED: u8 = 1;
    /// Its data was wrong.
    pub const WRONG: u8 = 2;
    /// Its data was asked for once more.
    pub const ASKED_AGAIN: u8 = 3;
    /// There is no more to come.
    pub const OVER: u8 = 4;
    /// Another entry of its name counts.
    pub const REPLACED: u8 = 5;
}

/// What generator and receiver share.
pub(super) struct Shared {
    pub job: PullJob,
    pub negotiated: Negotiated,
    pub entries: Entries,
    /// One [`state`] for each entry.
    states: Vec<AtomicU8>,
    pub policy: Policy,
    /// `None` in a dry run whose destination would have to be made.
    pub destination: Option<Arc<Destination>>,
    pub monitor: Arc<dyn Monitor>,
    /// Whether everything has been asked for once.
    pub asked_all: AtomicBool,
    /// Whether the receiver has failed, so that nothing more needs to be asked for.
    pub over: AtomicBool,
}

impl Shared {
    /// The state of an entry; `None` outside the list.
    pub fn state(&self, ndx: i32) -> Option<&AtomicU8> {
        usize::try_from(ndx).ok().and_then(|ndx| self.states.get(ndx))
    }

    /// All entries that count, numbered.
    pub fn numbered(&self) -> impl DoubleEndedIterator<Item = (i32, FileEntry<'_>)> {
        let count = i32::try_from(self.entries.len()).unwrap_or(i32::MAX);
        (0..count).filter_map(|ndx| {
            let counts = self.state(ndx)?.load(Ordering::Acquire) != state::REPLACED;
            let entry = self.entries.get(usize::try_from(ndx).ok()?)?;
            counts.then_some((ndx, entry))
        })
    }

    /// Whether the list has this name.
    pub fn has_name(&self, name: &[u8]) -> bool {
        self.entries.has_name(name, self.negotiated.list_terms.order)
    }

    pub fn fail(&self, entry: &FileEntry<'_>, error: &NasSyncError) {
        self.monitor.event(Event::FileFailed { entry, error });
    }

    /// Places below the destination.
    pub fn places(&self) -> Option<Places> {
        self.destination.clone().map(Places::new)
    }
}

/// Runs the receiving side from the list to the goodbye. On an error the other side may still have something to say, so the
/// caller goes on reading.
pub fn run(job: PullJob, negotiated: Negotiated, port: Port, monitor: Arc<dyn Monitor>) -> Result<()> {
    let Port { mut inbox, mut outbox, .. } = port;
    if job.tells_stored && negotiated.list_terms.client_framing == Framing::Raw {
        let message = "the NAS speaks a protocol in which it cannot be told which files are stored and may be removed";
        return Err(NasSyncError::new(ErrorKind::OptionRefused, message));
    }
    rules::put(&job.rules.told, negotiated.list_terms.rules, outbox.frame())
        .map_err(|error| NasSyncError::new(ErrorKind::OptionRefused, error.to_string()).with_source(error))?;
    if !job.names.is_empty() {
        let names = job.names.iter().flat_map(|name| name.iter().copied().chain([0])).chain([0]);
        match negotiated.names {
            NamesFraming::Data => outbox.frame().extend(names),
            NamesFraming::Raw => outbox.unframed(names.collect())?,
        }
    }
    outbox.flush()?;
    let mut job = job;
    if job.check == QuickCheck::Contents {
        job.expected.fields.digest = Some(negotiated.list_sum.algorithm.digest_len());
    }
    let list = Incoming::take(&job.expected, negotiated.list_terms, &mut inbox)?;
    job.findings.errors.fetch_or(list.errors, Ordering::Relaxed);
    // It is the only list of its session.
    let _ = job.findings.counts.set(list.entries.count());
    let files = list.entries.iter().filter(|entry| entry.kind == EntryKind::File);
    let bytes = files.fold(0_u64, |sum, entry| sum.saturating_add(entry.meta.size));
    monitor.event(Event::Listed { entries: list.entries.len(), bytes });
    if list.entries.is_empty() {
        // The other side ends here, too.
        return Ok(());
    }
    let shared = Arc::new(share(job, negotiated, list, monitor)?);
    let (say, said) = mpsc::channel::<Word>();
    let (tell, told) = mpsc::channel();
    let generator = Generator::new(Arc::clone(&shared), outbox)?;
    // A thread of its own, which ends by itself when the session does.
    blocking::start(move || drop(tell.send(generator.run(&said))))?;
    let received = Receiver::new(Arc::clone(&shared), inbox, say)?.run();
    if let Err(error) = received {
        shared.over.store(true, Ordering::Release);
        // What this side could not do explains more than that the other side left.
        return match told.try_recv() {
            Ok(Err(own)) if error.kind() == ErrorKind::ConnectionLost => Err(own),
            _ => Err(error),
        };
    }
    let Rest { folders, deleter, outbox: _outbox } =
        told.recv().map_err(|_| NasSyncError::new(ErrorKind::Internal, "the generator stopped"))??;
    if let Some(mut deleter) = deleter {
        if matches!(deleter.when(), DeleteTime::Delay | DeleteTime::After) {
            deleter.sweep_all()?;
        }
        deleter.tell_counts();
    }
    finish_folders(&shared, folders);
    Ok(())
}

fn making(job: &PullJob) -> Making {
    match job {
        PullJob { dry_run: true, .. } => Making::Nothing,
        PullJob { makes_path: true, .. } => Making::Path,
        _ => Making::Last,
    }
}

fn share(job: PullJob, negotiated: Negotiated, list: Incoming, monitor: Arc<dyn Monitor>) -> Result<Shared> {
    let is_one_file = list.entries.len() == 1 && list.entries.iter().all(|entry| !entry.kind.is_dir());
    let shape = if is_one_file { Shape::OneFile } else { Shape::Tree };
    let destination = match &job.to {
        To::Path(path) => Destination::resolve(path, shape, making(&job))?.map(Arc::new),
        To::Open(destination) => Some(Arc::clone(destination)),
    };
    let ids =
        if job.numeric_ids { IdMap::default() } else { IdMap::by_name(&list.users, &list.groups, IdNames::system()) };
    let mut states: Vec<AtomicU8> = list.entries.iter().map(|_| AtomicU8::new(state::IDLE)).collect();
    for replaced in list.replaced {
        states[replaced] = AtomicU8::new(state::REPLACED);
    }
    Ok(Shared {
        policy: Policy::of_process(job.keep, ids),
        destination,
        job,
        negotiated,
        entries: list.entries,
        states,
        monitor,
        asked_all: AtomicBool::new(false),
        over: AtomicBool::new(false),
    })
}

/// Gives folders the attributes that they could not have while they were filled, the innermost first.
fn finish_folders(shared: &Shared, folders: RetouchedFolders) {
    let Some(mut places) = shared.places() else { return };
    for (ndx, wanted) in folders.into_iter().rev() {
        let entry = usize::try_from(ndx).ok().and_then(|ndx| shared.entries.get(ndx));
        let Some(entry) = entry else { continue };
        let applied = places.find(entry.name).and_then(|place| {
            let Some(place) = place else { return Ok(()) };
            // A time whose second is right stays as it is, as everywhere.
            let is_right = |stat: &Stat| wanted.mtime.is_some_and(|mtime| mtime.seconds == stat.st_mtime);
            let mtime = wanted.mtime.filter(|_| !place.look().is_ok_and(|stat| stat.as_ref().is_some_and(is_right)));
            place.apply(FileType::Directory, &Wanted { mtime, ..wanted })
        });
        if let Err(errno) = applied {
            let path = places.shown(entry.name);
            let error =
                NasSyncError::at_path(ErrorKind::LocalFile, "Cannot set the attributes of", &path, errno.into());
            shared.fail(&entry, &error);
        }
    }
}
