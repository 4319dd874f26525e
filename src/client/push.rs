//! A person's own push: operands walked, one session, one report with rsync's exit status.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::file_list;
use super::login::Client;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::blocking;
use crate::error::{ErrorKind, NasSyncError, Result};
use crate::role::event::{Event, Monitor};
use crate::role::list::{IdNames, SendList, Sources};
use crate::role::sender::{ChangedFile, Mode};
use crate::session::{self, Contents, Outcome, Push, Receipts};
use crate::transport::{ExitStatus, stream};
use crate::tree::{self, Depth, Effect, Links, Operand, RemoteName, SourceFile, WalkOptions, WalkWarning, WalkedEntry};
use crate::wire::flist::{Content, EntryKind, FileEntry, io_error};
use crate::wire::handshake::Offer;
use crate::wire::idlist::NamedId;
use crate::wire::iflags::ItemFlags;
use crate::wire::server_args::PushOptions;

/// How long a session over a stream may go without progress.
const IDLE_LIMIT: Duration = Duration::from_secs(300);

/// What to send and how.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct PushRequest {
    /// The files.
    pub files: Files,
    /// The destination, as a person writes it behind the colon of `HOST:DEST`.
    pub destination: Vec<u8>,
    /// rsync's options.
    pub options: PushOptions,
    /// Protocol, sums and compression.
    pub offer: Offer,
}

impl PushRequest {
    /// These files to a destination as a person writes it behind the colon of `HOST:DEST`, with the newest protocol and
    /// no compression.
    pub fn new(files: Files, destination: impl Into<Vec<u8>>, options: PushOptions) -> Self {
        Self { files, destination: destination.into(), options, offer: Offer::default() }
    }
}

/// Which files a push sends.
#[derive(Debug, Clone)]
pub enum Files {
    /// What the operands of an rsync command stand for.
    Operands(Vec<PathBuf>),
    /// Regular files, each under a name of its own. No name may occur twice. Folders on the way to a name are made where
    /// they are missing; those that exist are left as they are.
    Named(Vec<(PathBuf, RemoteName)>),
}

/// What a push did, in the words of `rsync --stats`. Sizes are bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PushStats {
    /// Entries in the list.
    pub entries: u64,
    /// Regular files among them.
    pub files: u64,
    /// Folders among them.
    pub directories: u64,
    /// Symlinks among them.
    pub symlinks: u64,
    /// Entries that did not exist there.
    pub created: u64,
    /// Regular files among those.
    pub created_files: u64,
    /// Folders among those.
    pub created_directories: u64,
    /// Symlinks among those.
    pub created_symlinks: u64,
    /// Files whose data was sent.
    pub transferred: u64,
    /// The length of all files in the list.
    pub total_size: u64,
    /// The length of the files whose data was sent.
    pub transferred_size: u64,
    /// Data sent.
    pub literal: u64,
    /// Data the receiver had.
    pub matched: u64,
    /// Bytes written to the NAS, framing included.
    pub sent: u64,
    /// Bytes read from the NAS, framing included.
    pub received: u64,
}

/// How a push ended.
#[derive(Debug)]
pub struct PushReport {
    /// What was done.
    pub stats: PushStats,
    /// How long it took.
    pub elapsed: Duration,
    /// What was left out while listing.
    pub warnings: Vec<WalkWarning>,
    /// Files that could not be sent, by name on the NAS.
    pub failures: Vec<(Box<[u8]>, NasSyncError)>,
    /// What ended the session early.
    pub error: Option<NasSyncError>,
    /// What the NAS said about errors; not escaped.
    pub remote_text: Vec<u8>,
    /// rsync's exit status for all this: 0 when all is well.
    pub exit_code: u8,
}

impl PushRequest {
    /// The arguments of the `rsync` that has to run at the other end of a stream, for [`push_over`]: `--server` and what
    /// follows. Nothing is quoted for a shell.
    pub fn server_arguments(&self) -> Vec<Vec<u8>> {
        let options = match &self.files {
            Files::Operands(_) => self.options.clone(),
            Files::Named(pairs) => named_options(pairs.iter().map(|(_, name)| name), self.options.clone()),
        };
        options.arguments(&self.offer, &self.destination)
    }
}

impl Client {
    /// Sends files and folders to a destination on the NAS, as `rsync SRC… HOST:DEST` does.
    ///
    /// Fails when the session could not start; what went wrong later, or with single files, is in the report.
    pub async fn push(&self, request: PushRequest, monitor: Arc<dyn Monitor>) -> Result<PushReport> {
        let destination = request.destination.clone();
        push(request, self.idle_limit(), monitor, async |options, push| {
            self.session(&destination, &options, push).await
        })
        .await
    }
}

/// Sends files and folders over a stream of the caller's, at whose other end an `rsync` runs with
/// [`PushRequest::server_arguments`]. The stream has no exit status, so that of rsync is the caller's to look at. A session
/// without progress for five minutes ends with `Stalled`.
///
/// Fails when the files could not be listed; what went wrong later, or with single files, is in the report.
pub async fn push_over(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    request: PushRequest,
    monitor: Arc<dyn Monitor>,
) -> Result<PushReport> {
    push(request, IDLE_LIMIT, monitor, async |_, push| Ok(session::push(stream::over(stream), push).await)).await
}

async fn push(
    request: PushRequest,
    idle_limit: Duration,
    monitor: Arc<dyn Monitor>,
    session: impl AsyncFnOnce(PushOptions, Push) -> Result<Outcome>,
) -> Result<PushReport> {
    let started = Instant::now();
    let PushRequest { files, options, offer, .. } = request;
    let prepared = blocking::run(move || prepare(files, options)).await?;
    let listed = prepared.worst();
    let options = prepared.options;
    let recorder = Arc::new(Recorder::new(&prepared.list.entries, monitor));
    let push = Push {
        offer,
        list: prepared.list,
        sources: prepared.sources,
        contents: if options.checksum { Contents::Summed } else { Contents::Unsummed },
        receipts: if options.acknowledge { Receipts::Asked } else { Receipts::NotAsked },
        changed: ChangedFile::Keep,
        mode: if options.dry_run { Mode::DryRun } else { Mode::Transfer },
        idle_limit,
        monitor: Arc::clone(&recorder) as Arc<dyn Monitor>,
    };
    let outcome = session(options, push).await?;
    let Seen { mut stats, failures } = std::mem::take(&mut *recorder.seen());
    stats.sent = outcome.sent;
    stats.received = outcome.received;
    Ok(PushReport {
        stats,
        elapsed: started.elapsed(),
        exit_code: exit_code(&outcome, listed, &failures),
        warnings: prepared.warnings,
        failures: prepared.failures.into_iter().chain(failures).collect(),
        remote_text: outcome.text.as_bytes().to_vec(),
        error: outcome.result.err(),
    })
}

/// rsync's rule: a fatal error decides; else the larger of our own partial failure and the remote status.
fn exit_code(outcome: &Outcome, listed: Effect, failures: &[(Box<[u8]>, NasSyncError)]) -> u8 {
    let remote = match &outcome.exit {
        Some(ExitStatus::Code(status)) => u8::try_from(*status).unwrap_or(u8::MAX),
        _ => 0,
    };
    if let Err(error) = &outcome.result {
        return if matches!(remote, 0 | 23..=25) { error.kind().rsync_exit_code() } else { remote };
    }
    let failed = listed == Effect::Failed
        || failures.iter().any(|(_, error)| error.kind() != ErrorKind::SourceMissing)
        || outcome.text.is_partial();
    let vanished = listed == Effect::Vanished || !failures.is_empty();
    let own = match (failed, vanished) {
        (true, _) => 23,
        (false, true) => 24,
        (false, false) => 0,
    };
    // 23 outranks 24 and 25, although the number is smaller.
    if own == 23 || remote == 23 { 23 } else { own.max(remote) }
}

struct Prepared {
    options: PushOptions,
    list: SendList,
    sources: Arc<dyn Sources>,
    warnings: Vec<WalkWarning>,
    /// Files that could not even be listed.
    failures: Vec<(Box<[u8]>, NasSyncError)>,
}

impl Prepared {
    /// The worst that happened while listing.
    fn worst(&self) -> Effect {
        let any = |effect| self.warnings.iter().any(|warning| warning.effect() == effect);
        if any(Effect::Failed) || !self.failures.is_empty() {
            Effect::Failed
        } else if any(Effect::Vanished) {
            Effect::Vanished
        } else {
            Effect::None
        }
    }

    /// The same, as bits for the receiver.
    fn errors(&self) -> i32 {
        match self.worst() {
            Effect::None => 0,
            Effect::Vanished => io_error::VANISHED,
            Effect::Failed => io_error::GENERAL,
        }
    }
}

fn prepare(files: Files, options: PushOptions) -> Result<Prepared> {
    let mut prepared = match files {
        Files::Operands(operands) => prepare_operands(&operands, options)?,
        Files::Named(pairs) => prepare_named(pairs, options),
    };
    prepared.list.errors = prepared.errors();
    Ok(prepared)
}

fn prepare_operands(operands: &[PathBuf], options: PushOptions) -> Result<Prepared> {
    let operands: Vec<Operand> = operands.iter().map(|operand| Operand::parse(operand)).collect::<Result<_>>()?;
    let walk_options = WalkOptions {
        links: if options.links { Links::Keep } else { Links::Skip },
        depth: if options.recursive { Depth::Recursive } else { Depth::FilesOnly },
        one_file_system: false,
    };
    let mut warnings = Vec::new();
    let listing = tree::walk(&operands, walk_options, &mut |_, _| true, &mut |warning| warnings.push(warning));
    let bases = listing.entries.iter().map(|entry| entry.base).collect();
    let entries: Vec<FileEntry> = listing.entries.into_iter().map(entry_of).collect();
    let sources = Arc::new(WalkedSources { sources: listing.sources, bases });
    let list = send_list(entries, &options);
    Ok(Prepared { options, list, sources, warnings, failures: Vec::new() })
}

/// Folders on the way to names travel too, and those that exist are left as they are.
fn named_options<'n>(names: impl Iterator<Item = &'n RemoteName>, options: PushOptions) -> PushOptions {
    if !file_list::has_folders(names) {
        return options;
    }
    PushOptions { recursive: true, omit_directory_times: true, keep_dirlinks: true, ..options }
}

fn prepare_named(pairs: Vec<(PathBuf, RemoteName)>, options: PushOptions) -> Prepared {
    let options = named_options(pairs.iter().map(|(_, name)| name), options);
    let mut failures = Vec::new();
    let mut files = Vec::with_capacity(pairs.len());
    let mut paths = Vec::with_capacity(pairs.len());
    for (path, name) in pairs {
        match SourceFile::open(&path) {
            Ok(file) => {
                files.push((name, *file.meta()));
                paths.push(path);
            }
            Err(error) => failures.push((name.into_bytes(), error)),
        }
    }
    let entries = file_list::entries(files.iter().map(|(name, meta)| (name, *meta)));
    let list = send_list(entries, &options);
    Prepared { options, list, sources: Arc::new(NamedSources(paths)), warnings: Vec::new(), failures }
}

fn send_list(entries: Vec<FileEntry>, options: &PushOptions) -> SendList {
    let system = tree::IdNames::system();
    let named_ids = |id_of: fn(&FileEntry) -> u32, name_of: &dyn Fn(u32) -> Option<&'static [u8]>| -> Vec<NamedId> {
        let mut ids: Vec<u32> = entries.iter().map(id_of).collect();
        ids.sort_unstable();
        ids.dedup();
        ids.into_iter().filter_map(|id| Some((id, Box::from(name_of(id)?)))).collect()
    };
    let names = (!options.numeric_ids).then(|| IdNames {
        users: named_ids(|entry| entry.uid, &|uid| system.user(uid)),
        groups: named_ids(|entry| entry.gid, &|gid| system.group(gid)),
    });
    SendList { fields: options.list_fields(), names, errors: 0, entries }
}

fn entry_of(walked: WalkedEntry) -> FileEntry {
    let (kind, target) = match walked.kind {
        tree::EntryKind::File => (EntryKind::File, None),
        tree::EntryKind::Dir { listed: false, .. } => (EntryKind::Directory(Content::Unlisted), None),
        tree::EntryKind::Dir { operand: true, .. } => (EntryKind::Directory(Content::Argument), None),
        tree::EntryKind::Dir { .. } => (EntryKind::Directory(Content::Listed), None),
        tree::EntryKind::Symlink(target) => (EntryKind::Symlink, Some(target)),
    };
    FileEntry { target, ..file_list::entry(walked.name, kind, &walked.meta) }
}

struct WalkedSources {
    sources: tree::Sources,
    bases: Vec<u32>,
}

impl Sources for WalkedSources {
    fn open(&self, index: usize, entry: &FileEntry) -> Result<SourceFile> {
        self.sources.open(self.bases[index], &entry.name)
    }
}

struct NamedSources(Vec<PathBuf>);

impl Sources for NamedSources {
    fn open(&self, index: usize, _entry: &FileEntry) -> Result<SourceFile> {
        SourceFile::open(&self.0[index])
    }
}

fn count(entries: &[FileEntry]) -> PushStats {
    let mut stats = PushStats { entries: entries.len() as u64, ..PushStats::default() };
    for entry in entries {
        match entry.kind {
            EntryKind::File => {
                stats.files += 1;
                stats.total_size += entry.size;
            }
            EntryKind::Directory(_) => stats.directories += 1,
            EntryKind::Symlink => {
                stats.symlinks += 1;
                stats.total_size += entry.size;
            }
        }
    }
    stats
}

/// Adds up what happens and passes it on.
struct Recorder {
    monitor: Arc<dyn Monitor>,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    stats: PushStats,
    failures: Vec<(Box<[u8]>, NasSyncError)>,
}

impl Recorder {
    fn new(entries: &[FileEntry], monitor: Arc<dyn Monitor>) -> Self {
        Self { monitor, seen: Mutex::new(Seen { stats: count(entries), failures: Vec::new() }) }
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Monitor for Recorder {
    fn event(&self, event: Event<'_>) {
        match &event {
            Event::Itemized { entry, flags, .. } if flags.has(ItemFlags::NEW) => {
                let stats = &mut self.seen().stats;
                stats.created += 1;
                *match entry.kind {
                    EntryKind::File => &mut stats.created_files,
                    EntryKind::Directory(_) => &mut stats.created_directories,
                    EntryKind::Symlink => &mut stats.created_symlinks,
                } += 1;
            }
            Event::FileSent { entry, stats: file, .. } => {
                let stats = &mut self.seen().stats;
                stats.transferred += 1;
                stats.transferred_size += entry.size;
                stats.literal += file.literal;
                stats.matched += file.matched;
            }
            Event::FileFailed { entry, error, .. } => {
                self.seen().failures.push((entry.name.clone(), (*error).clone()));
            }
            _ => {}
        }
        self.monitor.event(event);
    }
}
