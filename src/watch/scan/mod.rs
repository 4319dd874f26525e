//! New files below the upload folder become pending documents.
//!
//! Guarantees: a file is registered once, when it was quiet for a while (neither size nor times changed), if it is a
//! regular file that no symlink leads to, neither its name nor that of a folder on the way to it begins with a dot, and no
//! rule leaves out the one or the other.
//! The whole folder is walked at the start and at every interval, because file systems of a network tell nothing; where
//! the kernel does tell of changes, those are looked at in between. What cannot be read, a folder that vanishes or a
//! database that is locked is said once and tried again. Memory is bounded by a number for each file, and the text of
//! those that wait.
//!
//! Never: a file is opened (but for rules in folders, where rules name such files), moved or changed; the database itself and its companions are registered.

mod candidates;
mod inotify;

use std::collections::HashSet;
use std::hash::{BuildHasher as _, RandomState};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use chrono::Utc;
use tokio::runtime::Handle;

use self::candidates::{Candidate, Candidates, Room};
use self::inotify::{Events, MOST_NOTES, Note, Unwatched};
use super::log_on_change::LogOnChange;
use crate::client::documents::open_upload_dir;
use crate::database::Database;
use crate::error::{ErrorKind, NasSyncError, Result};
use crate::filter::{Name, Rules, Scope};
use crate::id::UserId;
use crate::store::{Access, FoundFile, NewDocument, Store};
use crate::text;
use crate::tree::{Found, HeldFolder};

/// The most files that are registered in one commit.
const BATCH: usize = 500;
/// The least time between two walks, also when something was lost.
const REST: Duration = Duration::from_secs(1);
/// Stamps prove little about a file that has just changed.
const LEAST_QUIET: Duration = Duration::from_millis(100);
/// How many times that a single look waits at least.
const LEAST_TRIES: u32 = 10;
/// How long to wait before trying again what the database refused.
const AFTER_A_REFUSAL: Duration = Duration::from_secs(5);

/// What to look for, and where.
#[derive(Debug, Clone)]
pub struct ScanConfig {
    /// The upload folder.
    pub root: PathBuf,
    /// The database; it is created if it is missing.
    pub db: Database,
    /// Whose documents the files become.
    pub user: UserId,
    /// How often everything is looked at.
    pub interval: Duration,
    /// How long a file must not have changed.
    pub quiet: Duration,
    /// Which files take part.
    pub filter: Rules,
    /// Files of this program that are no documents.
    pub leave_out: Vec<PathBuf>,
    /// Where the database is asked from.
    pub runtime: Handle,
}

/// A scan that goes on in a thread of its own until this is dropped.
#[derive(Debug)]
pub struct Scan {
    stop: Arc<AtomicBool>,
    notes: SyncSender<Note>,
}

impl Scan {
    /// Starts it. Fails with `Internal` when there is no thread to be had.
    pub fn start(config: ScanConfig) -> Result<Self> {
        let (notes, inbox) = sync_channel(MOST_NOTES);
        let stop = Arc::new(AtomicBool::new(false));
        let scanner = Scanner::new(config, Arc::clone(&stop), notes.clone());
        let run = move || scanner.run(&inbox);
        std::thread::Builder::new().name("scan".to_owned()).spawn(run).map_err(|error| {
            NasSyncError::new(ErrorKind::Internal, format!("cannot start the scan: {error}")).with_source(error)
        })?;
        Ok(Self { stop, notes })
    }
}

impl Drop for Scan {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        // When its inbox is full it is awake.
        let _ = self.notes.try_send(Note::Wake);
    }
}

/// Looks once, and waits until all that is new was quiet, but not for longer than `patience`. Gives the number of files
/// that were registered. Blocks.
pub fn scan_once(config: ScanConfig, patience: Duration, stop: &Arc<AtomicBool>) -> Result<usize> {
    let (notes, _inbox) = sync_channel(1);
    let mut scanner = Scanner::new(config, Arc::clone(stop), notes);
    scanner.inotify = Inotify::Shut;
    let patience = patience.max(LEAST_QUIET * LEAST_TRIES);
    scanner.walk()?;
    // From here on: a large folder takes long to walk, and what was found in it has its chance all the same.
    let mut until = Instant::now() + patience;
    let mut registered = 0;
    while !scanner.is_stopped() && Instant::now() < until {
        scanner.settle(Instant::now())?;
        match scanner.candidates.next_due() {
            Some(due) => std::thread::sleep(due.saturating_duration_since(Instant::now()).min(REST)),
            None if scanner.lost.swap(false, Ordering::AcqRel) => {
                let before = std::mem::replace(&mut registered, scanner.count);
                scanner.walk()?;
                if scanner.count > before {
                    until = Instant::now() + patience;
                }
            }
            None => break,
        }
    }
    Ok(scanner.count)
}

/// Whether the kernel tells of changes.
#[derive(Debug)]
enum Inotify {
    NotYet,
    Open(Events),
    /// It cannot, or is not asked.
    Shut,
}

struct Scanner {
    config: ScanConfig,
    stop: Arc<AtomicBool>,
    notes: SyncSender<Note>,
    /// Something may have been missed.
    lost: Arc<AtomicBool>,
    inotify: Inotify,
    root: Option<Arc<HeldFolder>>,
    /// Hashes of the paths, below the root, of all documents. With 64 bits and a key that is new in each process, a
    /// file that is taken for another one is as good as impossible, and it would be found after the next start.
    registered: HashSet<u64>,
    hasher: RandomState,
    left_out: HashSet<PathBuf>,
    /// The rules above all folders.
    scope: Scope,
    candidates: Candidates,
    count: usize,
    trouble: LogOnChange,
    refusal: LogOnChange,
    unreadable: LogOnChange,
}

impl Scanner {
    fn new(config: ScanConfig, stop: Arc<AtomicBool>, notes: SyncSender<Note>) -> Self {
        Self {
            candidates: Candidates::new(config.quiet.max(LEAST_QUIET)),
            scope: Scope::new(&config.filter),
            config,
            stop,
            notes,
            lost: Arc::default(),
            inotify: Inotify::NotYet,
            root: None,
            registered: HashSet::new(),
            hasher: RandomState::new(),
            left_out: HashSet::new(),
            count: 0,
            trouble: LogOnChange::default(),
            refusal: LogOnChange::default(),
            unreadable: LogOnChange::default(),
        }
    }

    fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }

    fn run(mut self, inbox: &Receiver<Note>) {
        let mut next_walk = Instant::now();
        let mut rested = next_walk;
        while !self.is_stopped() {
            if Instant::now() >= next_walk {
                self.lost.store(false, Ordering::Release);
                let trouble = self.walk().err().map(|error| format!("cannot look for new files: {error}"));
                self.trouble.say(trouble);
                rested = Instant::now() + REST;
                next_walk = Instant::now() + self.config.interval;
            }
            match self.settle(Instant::now()) {
                Ok(0) => {}
                Ok(_) => self.refusal.say(None),
                Err(error) => self.refusal.say(Some(format!("cannot register new files: {error}"))),
            }
            if self.lost.load(Ordering::Acquire) && self.candidates.has_room() {
                next_walk = next_walk.min(rested);
            }
            self.listen(inbox, self.candidates.next_due().map_or(next_walk, |due| due.min(next_walk)));
        }
    }

    /// Takes notes, for the time being.
    fn listen(&mut self, inbox: &Receiver<Note>, until: Instant) {
        let Ok(first) = inbox.recv_timeout(until.saturating_duration_since(Instant::now())) else { return };
        for note in std::iter::once(first).chain(inbox.try_iter().take(MOST_NOTES)) {
            if let Note::Path(path) = note {
                self.notice(&path);
            }
        }
    }

    /// Looks at all there is.
    fn walk(&mut self) -> Result<()> {
        let root = Arc::new(open_upload_dir(&self.config.root)?);
        self.registered = self.config.runtime.block_on(registered(&root, &self.config.db, &self.hasher))?;
        self.left_out = left_out(&root, &self.config);
        if matches!(self.inotify, Inotify::NotYet) {
            self.inotify = match Events::start(self.notes.clone(), Arc::clone(&self.lost)) {
                Ok(events) => Inotify::Open(events),
                Err(unwatched) => self.give_up_inotify(unwatched),
            };
        }
        self.root = Some(root);
        let unreadable = self.explore(PathBuf::new(), self.scope.clone());
        self.unreadable.say(unreadable);
        Ok(())
    }

    /// Looks at a folder, with the rules in force above it, and all that is in it. Gives the first thing that could not be read.
    fn explore(&mut self, folder: PathBuf, above: Scope) -> Option<String> {
        let root = self.root.take()?;
        let mut unreadable = None;
        let mut folders = vec![(folder, above)];
        while let Some((folder, above)) = folders.pop() {
            if self.is_stopped() {
                break;
            }
            let scope = match root.enter(&above, &folder) {
                Ok(scope) => scope,
                Err(error) => {
                    let folder = shown(&root.path().join(&folder));
                    unreadable.get_or_insert(format!("cannot follow the rules in {folder}: {error}"));
                    continue;
                }
            };
            // First the ear, then the poller: so nothing falls between.
            self.add_watch(&root.path().join(&folder));
            let now = Instant::now();
            let listed = root.list(&folder, |name, found| {
                let path = folder.join(name);
                match found {
                    _ if is_hidden(Path::new(name)) => {}
                    Found::Folder if takes_part(&scope, &root, &path, true) => folders.push((path, scope.clone())),
                    Found::File(stamp) if takes_part(&scope, &root, &path, false) => {
                        self.consider(Candidate { path, stamp }, now);
                    }
                    Found::Folder | Found::File(_) | Found::Other => {}
                }
            });
            if let Err(error) = listed
                && error.kind() != std::io::ErrorKind::NotFound
            {
                unreadable.get_or_insert(format!("cannot look into {}: {error}", shown(&root.path().join(&folder))));
            }
        }
        self.root = Some(root);
        unreadable
    }

    /// Asks to be told of changes in a folder.
    fn add_watch(&mut self, folder: &Path) {
        let Inotify::Open(events) = &mut self.inotify else { return };
        match events.watch(folder) {
            Ok(()) => {}
            Err(Unwatched::Folder(error)) => tracing::debug!("no events of {}: {error}", shown(folder)),
            Err(unwatched) => self.inotify = self.give_up_inotify(unwatched),
        }
    }

    fn give_up_inotify(&self, unwatched: Unwatched) -> Inotify {
        let (Unwatched::Limit(error) | Unwatched::Folder(error)) = unwatched;
        tracing::warn!(
            "the kernel does not tell of changes below {} ({}); new files are found every {} s instead. A higher \
             fs.inotify.max_user_watches or max_user_instances may help",
            shown(&self.config.root),
            text::escape(&error),
            self.config.interval.as_secs(),
        );
        Inotify::Shut
    }

    /// Something happened here.
    fn notice(&mut self, path: &Path) {
        let Some(root) = &self.root else { return };
        let Ok(below) = path.strip_prefix(root.path()) else { return };
        if below.as_os_str().is_empty() {
            // The root itself was moved, removed or changed.
            self.lost.store(true, Ordering::Release);
            return;
        }
        if below.iter().any(|name| is_hidden(Path::new(name))) || self.candidates.has(below) {
            return;
        }
        let Some(scope) = scope_around(&self.scope, root, below) else { return };
        match root.look(below) {
            Ok(found) if !takes_part(&scope, root, below, found == Found::Folder) => {}
            Ok(Found::File(stamp)) => self.consider(Candidate { path: below.to_owned(), stamp }, Instant::now()),
            // What is unreadable in it the next walk says.
            Ok(Found::Folder) => drop(self.explore(below.to_owned(), scope)),
            // What is gone again is no news.
            Ok(Found::Other) | Err(_) => {}
        }
    }

    /// A file that is not registered yet begins to wait for its quiet.
    fn consider(&mut self, candidate: Candidate, now: Instant) {
        let is_known = self.registered.contains(&self.hasher.hash_one(&candidate.path));
        if !is_known && !self.left_out.contains(&candidate.path) && self.candidates.add(candidate, now) == Room::None {
            self.lost.store(true, Ordering::Release);
        }
    }

    /// Registers those that were quiet, and gives their number.
    fn settle(&mut self, now: Instant) -> Result<usize> {
        let Some(root) = &self.root else { return Ok(0) };
        let mut settled = 0;
        loop {
            let mut quiet = Vec::new();
            while quiet.len() < BATCH
                && let Some(candidate) = self.candidates.take_due(now)
            {
                match root.look(&candidate.path) {
                    Ok(Found::File(stamp)) if stamp == candidate.stamp => quiet.push(candidate),
                    Ok(Found::File(stamp)) => self.candidates.again(Candidate { stamp, ..candidate }, now),
                    // Gone, or something else by now.
                    Ok(_) | Err(_) => {}
                }
            }
            if quiet.is_empty() {
                return Ok(settled);
            }
            let files: Vec<_> = quiet.iter().map(|candidate| found_file(root, &self.config.root, candidate)).collect();
            let added = async {
                let store = Store::open(&self.config.db, Access::Create).await?;
                let added = store.add_found(self.config.user.clone(), files, Utc::now()).await;
                store.close().await;
                added
            };
            match self.config.runtime.block_on(added) {
                Ok(ids) => {
                    settled += quiet.len();
                    self.count += ids.len();
                    self.registered.extend(quiet.iter().map(|candidate| self.hasher.hash_one(&candidate.path)));
                    if !ids.is_empty() {
                        tracing::info!("registered {}", text::counted(ids.len() as u64, "new file", "new files"));
                    }
                }
                Err(error) => {
                    let later = now + AFTER_A_REFUSAL;
                    for candidate in quiet {
                        self.candidates.again(candidate, later);
                    }
                    return Err(error);
                }
            }
        }
    }
}

/// The hashes of the documents' paths below the root.
async fn registered(root: &Arc<HeldFolder>, db: &Database, hasher: &RandomState) -> Result<HashSet<u64>> {
    let (root, hasher) = (Arc::clone(root), hasher.clone());
    let hash = move |path: &Path| root.relative(path).ok().map(|below| hasher.hash_one(&below));
    Ok(Store::open(db, Access::Create).await?.map_paths(hash).await?.into_iter().collect())
}

/// The files of this program that may lie among the documents, by their paths below the root.
fn left_out(root: &HeldFolder, config: &ScanConfig) -> HashSet<PathBuf> {
    let companions = config.db.file().into_iter().flat_map(|file| {
        ["", "-wal", "-shm", "-journal"].map(|end| {
            let mut name = file.to_owned().into_os_string();
            name.push(end);
            PathBuf::from(name)
        })
    });
    let below = |path: &PathBuf| {
        let path = std::path::absolute(path).ok()?;
        let folder = path.parent()?.canonicalize().ok()?;
        Some(folder.join(path.file_name()?).strip_prefix(root.path()).ok()?.to_owned())
    };
    companions.chain(config.leave_out.iter().cloned()).filter_map(|path| below(&path)).collect()
}

/// As `add` registers it: relative to the root.
fn found_file(root: &HeldFolder, given: &Path, candidate: &Candidate) -> FoundFile {
    let path = &candidate.path;
    let original_name = path.file_name().and_then(std::ffi::OsStr::to_str).map(ToOwned::to_owned);
    let mut also = vec![root.path().join(path), given.join(path)];
    also.dedup();
    FoundFile { document: NewDocument { file_path: path.clone(), original_name }, also }
}

/// The rules in force in the folder in which something lies; `None` where that does not take part, or cannot be known to.
fn scope_around(above: &Scope, root: &HeldFolder, path: &Path) -> Option<Scope> {
    let folder = path.parent()?;
    let mut scope = root.enter(above, Path::new("")).ok()?;
    let folders: Vec<_> = folder.ancestors().filter(|folder| !folder.as_os_str().is_empty()).collect();
    for folder in folders.into_iter().rev() {
        if !takes_part(&scope, root, folder, true) {
            return None;
        }
        scope = root.enter(&scope, folder).ok()?;
    }
    Some(scope)
}

/// Whether rules let something take part, by its path below the root.
fn takes_part(scope: &Scope, root: &HeldFolder, path: &Path, is_dir: bool) -> bool {
    let absolute = root.path().as_os_str().as_bytes();
    scope.sends(Name {
        name: path.as_os_str().as_bytes(),
        is_dir,
        root: absolute.strip_prefix(b"/").unwrap_or(absolute),
    })
}

fn is_hidden(name: &Path) -> bool {
    name.as_os_str().as_encoded_bytes().starts_with(b".")
}

fn shown(path: &Path) -> String {
    text::escape_bytes(path.as_os_str().as_encoded_bytes())
}

#[cfg(test)]
mod tests;
