//! From pending rows to a file list, and from what a session told back to rows.
//!
//! Guarantees: one bad document never costs the others; two documents never land on one name; a document becomes a
//! record only if its file stayed the same and the NAS proved that it is stored.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use chrono::{DateTime, Utc};

use super::DocumentError;
use super::abilities::Folders;
use super::layout::{DocumentFacts, Layout};
use super::named;
use crate::delta::Geometry;
use crate::delta::geometry::MAX_BLOCK_LEN;
use crate::delta::strong::MAX_DIGEST_LEN;
use crate::error::{ErrorKind, NasSyncError, Result};
use crate::role::monitor::{Event, Monitor, Stability};
use crate::role::send_list::{SendList, Sources};
use crate::session::{Outcome, kind_of_text, names_file};
use crate::store::{Attempt, AttemptEnd, BadRow, Claim, Document, DocumentId, Level, Store, StoredCopy, SyncedRecord};
use crate::transport::ExitStatus;
use crate::tree::{FileMeta, RemoteName, Root, SourceFile, Stamp};
use crate::wire::flist::FileEntry;

/// Modes never travel with a document; this is what a new file gets before the NAS's own mask.
const FILE_MODE: u32 = 0o644;

/// A document that can be sent.
#[derive(Debug, Clone)]
pub(super) struct Planned {
    document: Document,
    name: RemoteName,
    meta: FileMeta,
    stamp: Stamp,
}

/// What is to be sent, and what cannot be.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub planned: Vec<Planned>,
    pub refused: Vec<DocumentError>,
}

impl Plan {
    /// Looks at every document: its file, its name on the NAS, and whether that name is free.
    pub fn make(
        store: &mut Store,
        rows: Vec<Result<Document, BadRow>>,
        layout: &Layout,
        root: Option<&Root>,
    ) -> Result<Self> {
        let mut plan = Self::default();
        for row in rows {
            match row {
                Ok(document) => match look(&document, layout, root) {
                    Ok((name, meta, stamp)) => plan.planned.push(Planned { document, name, meta, stamp }),
                    Err(error) => plan.refuse(Some(document.id), error),
                },
                Err(row) => plan.refuse(row.id, row.error),
            }
        }
        plan.claim_names(store)?;
        plan.refuse_names_that_are_folders();
        plan.refuse_folders_that_are_names(store)?;
        Ok(plan)
    }

    fn refuse(&mut self, id: Option<DocumentId>, error: NasSyncError) {
        self.refused.push(DocumentError { id, error });
    }

    /// A name belongs to the document that claimed it first, in this batch or in an earlier one.
    fn claim_names(&mut self, store: &mut Store) -> Result<()> {
        let wanted: Vec<_> =
            self.planned.iter().map(|planned| (planned.document.id, planned.name.as_bytes().to_vec())).collect();
        let claims = store.claim_names(&wanted)?;
        for (planned, claim) in std::mem::take(&mut self.planned).into_iter().zip(claims) {
            match claim {
                Claim::Granted => self.planned.push(planned),
                Claim::TakenBy(other) => self.refuse(Some(planned.document.id), name_clash(&planned.name, other)),
            }
        }
        Ok(())
    }

    /// `a` cannot be a file and the folder of `a/b` at once.
    fn refuse_names_that_are_folders(&mut self) {
        let mut folders: HashMap<Vec<u8>, DocumentId> = HashMap::new();
        for planned in &self.planned {
            for folder in planned.name.parents() {
                folders.entry(folder.to_vec()).or_insert(planned.document.id);
            }
        }
        if folders.is_empty() {
            return;
        }
        for planned in std::mem::take(&mut self.planned) {
            match folders.get(planned.name.as_bytes()) {
                Some(&other) => self.refuse(Some(planned.document.id), name_clash(&planned.name, other)),
                None => self.planned.push(planned),
            }
        }
    }
}

impl Plan {
    /// Nor may a folder take the place of a document of an earlier run.
    fn refuse_folders_that_are_names(&mut self, store: &Store) -> Result<()> {
        let mut owners: HashMap<Vec<u8>, Option<DocumentId>> = HashMap::new();
        for planned in std::mem::take(&mut self.planned) {
            let mut taken = None;
            for folder in planned.name.parents() {
                let owner = match owners.get(folder) {
                    Some(owner) => *owner,
                    None => store.owner_of_name(folder)?,
                };
                owners.insert(folder.to_vec(), owner);
                taken = taken.or(owner);
            }
            match taken {
                Some(other) => self.refuse(Some(planned.document.id), name_clash(&planned.name, other)),
                None => self.planned.push(planned),
            }
        }
        Ok(())
    }
}

fn name_clash(name: &RemoteName, other: DocumentId) -> NasSyncError {
    let name = String::from_utf8_lossy(name.as_bytes()).into_owned();
    NasSyncError::new(ErrorKind::NameClash, format!("its name on the NAS, {name:?}, belongs to document {other}"))
}

fn look(document: &Document, layout: &Layout, root: Option<&Root>) -> Result<(RemoteName, FileMeta, Stamp)> {
    let below_root = root.map(|root| root.relative(&document.file_path)).transpose()?;
    let file = SourceFile::open_document(root, &document.file_path)?;
    let (meta, stamp) = (*file.meta(), *file.stamp());
    let name = layout.name_for(&DocumentFacts {
        id: document.id.0,
        user_id: document.user_id.0,
        path: &document.file_path,
        below_root: below_root.as_deref(),
        original_name: document.original_name.as_deref(),
        doc_type: document.doc_type.as_deref(),
        file_type: document.file_type.as_deref(),
        date: document.date,
        created: document.created_at.map(|time| time.date_naive()),
        modified: DateTime::from_timestamp(meta.mtime, meta.mtime_ns).map(|time| time.date_naive()),
    })?;
    Ok((name, meta, stamp))
}

/// The documents of one session.
#[derive(Debug)]
pub(super) struct Batch {
    planned: Vec<Planned>,
    root: Option<Arc<Root>>,
}

impl Batch {
    pub fn new(planned: Vec<Planned>, root: Option<Arc<Root>>) -> Self {
        Self { planned, root }
    }

    /// The documents again, to be sent in another way.
    pub fn into_planned(self) -> Vec<Planned> {
        self.planned
    }

    /// Whether names of this batch lie in folders, which then travel too.
    pub fn folders(&self) -> Folders {
        let in_folders = named::has_folders(self.planned.iter().map(|planned| &planned.name));
        if in_folders { Folders::OnTheWay } else { Folders::None }
    }

    /// The file list: each document at its position in the batch, then the folders on the way to them.
    pub fn list(&self) -> SendList {
        let files = self.planned.iter().map(|planned| (&planned.name, FileMeta { mode: FILE_MODE, ..planned.meta }));
        SendList { entries: named::entries(files), ..SendList::default() }
    }

    /// What became of each document, in the words of the rows.
    pub fn verdicts(&self, tracks: &[Track], end: &SessionEnd<'_>) -> Verdicts {
        let mut verdicts = Verdicts::default();
        for (planned, track) in self.planned.iter().zip(tracks) {
            let verdict = match (end.verdict(planned, track), end.unclean()) {
                // There is nobody else whom the complaint could be about.
                (Verdict::Open, Some(outcome)) if self.planned.len() == 1 => {
                    Verdict::Failed(not_stored(planned, outcome))
                }
                (verdict, _) => verdict,
            };
            verdicts.attempts.extend(track.attempt(planned, &verdict, end));
            match verdict {
                Verdict::Proved(level) => {
                    verdicts.written.insert(planned.folder().to_vec());
                    verdicts.stamps.insert(planned.document.id, planned.stamp);
                    verdicts.synced.push(planned.record(level, track.sha256));
                }
                Verdict::Failed(error) => {
                    if error.kind().concerns_nas() {
                        verdicts.refusing.entry(planned.folder().to_vec()).or_insert_with(|| error.clone());
                    }
                    verdicts.failed.push(DocumentError { id: Some(planned.document.id), error });
                }
                Verdict::Open => verdicts.open.push(planned.clone()),
            }
        }
        verdicts
    }
}

impl Planned {
    /// Its folder below the destination; empty for the destination itself.
    fn folder(&self) -> &[u8] {
        let name = self.name.as_bytes();
        &name[..name.len() - self.name.file_name().len()]
    }

    /// How many bytes of block sums a copy of the same length on the NAS amounts to.
    pub fn most_sums(&self) -> u64 {
        Geometry::for_basis(self.meta.size, MAX_BLOCK_LEN, MAX_DIGEST_LEN).sums_len()
    }

    /// Which document it is.
    pub fn id(&self) -> DocumentId {
        self.document.id
    }

    /// The length of its file.
    pub fn bytes(&self) -> u64 {
        self.meta.size
    }

    fn record(&self, level: Level, sha256: Option<[u8; 32]>) -> SyncedRecord {
        SyncedRecord {
            id: self.document.id,
            file_path: self.document.file_path.clone(),
            copy: StoredCopy {
                remote_name: self.name.as_bytes().to_vec(),
                bytes: self.meta.size,
                mtime_seconds: self.meta.mtime,
                mtime_nanoseconds: self.meta.mtime_ns,
                level,
                sha256,
            },
        }
    }
}

/// The files of a batch.
pub(super) struct BatchSources {
    files: Vec<(PathBuf, Stamp)>,
    root: Option<Arc<Root>>,
}

impl BatchSources {
    pub fn of(batch: &Batch) -> Self {
        let file = |planned: &Planned| (planned.document.file_path.clone(), planned.stamp);
        Self { files: batch.planned.iter().map(file).collect(), root: batch.root.clone() }
    }
}

impl Sources for BatchSources {
    fn open(&self, index: usize, _entry: &FileEntry) -> Result<SourceFile> {
        let (path, planned) = &self.files[index];
        let file = SourceFile::open_document(self.root.as_deref(), path)?;
        // What is recorded is the file that was planned; another one must not arrive under that record.
        if file.stamp() == planned {
            Ok(file.hashed())
        } else {
            Err(NasSyncError::new(ErrorKind::SourceChanged, format!("{} changed before it was sent", path.display())))
        }
    }
}

/// What a session told about one document.
#[derive(Debug, Clone, Default)]
pub(super) struct Track {
    started: Option<(DateTime<Utc>, Instant)>,
    /// Bytes sent as data, second tries included.
    literal: u64,
    sent: Option<Stability>,
    /// SHA-256 of what was read.
    sha256: Option<[u8; 32]>,
    acknowledged: bool,
    ended: Option<Instant>,
    failure: Option<NasSyncError>,
}

impl Track {
    /// The attempt to send this document, if there was one.
    fn attempt(&self, planned: &Planned, verdict: &Verdict, end: &SessionEnd<'_>) -> Option<Attempt> {
        let (started, since) = self.started?;
        let failure = |error: &NasSyncError| (error.kind(), error.message().to_owned());
        let (end, failure) = match verdict {
            Verdict::Proved(_) => (AttemptEnd::Synced, None),
            Verdict::Failed(error) => (AttemptEnd::Failed, Some(failure(error))),
            Verdict::Open => {
                (AttemptEnd::Cut, end.outcome.and_then(|outcome| outcome.result.as_ref().err()).map(failure))
            }
        };
        let took = self.ended.unwrap_or_else(Instant::now).saturating_duration_since(since);
        let (id, remote_name) = (planned.document.id, planned.name.as_bytes().to_vec());
        Some(Attempt { id, remote_name, sha256: self.sha256, started, took, bytes: self.literal, end, failure })
    }
}

/// Keeps track of every document of a batch and passes the events on. It outlives a session that is cut off.
pub(super) struct Tracker {
    tracks: Mutex<Vec<Track>>,
    /// Bytes of files that were read and handed on.
    bytes: AtomicU64,
    monitor: Arc<dyn Monitor>,
}

impl Tracker {
    pub fn new(batch: &Batch, monitor: Arc<dyn Monitor>) -> Self {
        let tracks = Mutex::new(vec![Track::default(); batch.planned.len()]);
        Self { tracks, bytes: AtomicU64::new(0), monitor }
    }

    /// Bytes of files that were read and handed on, for a session that can no longer say what it sent.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    pub fn tracks(&self) -> MutexGuard<'_, Vec<Track>> {
        self.tracks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, index: usize, note: impl FnOnce(&mut Track)) {
        // Folders stand behind the documents and are not tracked.
        if let Some(track) = self.tracks().get_mut(index) {
            note(track);
        }
    }
}

impl Monitor for Tracker {
    fn event(&self, event: Event<'_>) {
        match &event {
            Event::FileStarted { index, .. } => self.note(*index, |track| {
                track.started.get_or_insert_with(|| (Utc::now(), Instant::now()));
            }),
            Event::FileSent { index, stability, stats, sha256, .. } => self.note(*index, |track| {
                // A second try says what counts now.
                (track.sent, track.sha256) = (Some(*stability), *sha256);
                (track.acknowledged, track.failure) = (false, None);
                track.literal += stats.literal;
            }),
            Event::FileFailed { index, error, .. } => self.note(*index, |track| {
                track.failure = Some((*error).clone());
                track.ended = Some(Instant::now());
            }),
            Event::Progress { bytes } => {
                self.bytes.fetch_add(*bytes, Ordering::Relaxed);
            }
            Event::Acknowledged { index } => self.note(*index, |track| {
                track.acknowledged = true;
                track.ended = Some(Instant::now());
            }),
            _ => {}
        }
        self.monitor.event(event);
    }
}

/// How the proof of a session reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Proof {
    /// The NAS acknowledges every file.
    Acknowledgements,
    /// The NAS cannot; a session that ended without any complaint is all there is.
    CleanEnd,
}

/// What is known when a session is over, or was cut off.
pub(super) struct SessionEnd<'o> {
    pub proof: Proof,
    /// `None` when it was cut off from this side.
    pub outcome: Option<&'o Outcome>,
}

enum Verdict {
    Proved(Level),
    Failed(NasSyncError),
    /// Not reached: nothing is known, so it stays pending.
    Open,
}

/// Whether the file of a record is still the one that was read. One that is gone or closed to us was stored all the same.
pub(super) fn is_still(root: Option<&Root>, record: &SyncedRecord, stamps: &HashMap<DocumentId, Stamp>) -> bool {
    SourceFile::open_document(root, &record.file_path).map_or(true, |file| stamps.get(&record.id) == Some(file.stamp()))
}

/// What became of a batch.
#[derive(Debug, Default)]
pub(super) struct Verdicts {
    pub synced: Vec<SyncedRecord>,
    /// What the files of those were when they were read.
    pub stamps: HashMap<DocumentId, Stamp>,
    pub failed: Vec<DocumentError>,
    /// Every attempt to send one of them.
    pub attempts: Vec<Attempt>,
    /// Documents of which nothing is known.
    pub open: Vec<Planned>,
    /// Folders on the NAS in which something was stored.
    pub written: HashSet<Vec<u8>>,
    /// Folders in which something was not, for a reason that is not the document's.
    pub refusing: HashMap<Vec<u8>, NasSyncError>,
}

impl Verdicts {
    /// After a jam: a document of which nothing is known, in a folder that refused others and took none, fails like
    /// them. So every further session has a folder less to run into.
    pub fn spread_refusals(&mut self) {
        for planned in std::mem::take(&mut self.open) {
            match self.refusing.get(planned.folder()) {
                Some(error) if !self.written.contains(planned.folder()) => {
                    self.failed.push(DocumentError { id: Some(planned.document.id), error: error.clone() });
                }
                _ => self.open.push(planned),
            }
        }
    }

    /// Trouble that every further document would meet too: the NAS is full, or takes nothing at all. The documents
    /// that met it are not to blame and stay pending.
    pub fn trouble_of_the_nas(&mut self) -> Option<NasSyncError> {
        let of_nas = |failed: &DocumentError| failed.error.kind().concerns_nas();
        let full = |failed: &DocumentError| matches!(failed.error.kind(), ErrorKind::DiskFull | ErrorKind::ReadOnly);
        // A folder below may refuse for reasons of its own, and documents of other folders must not wait for that.
        let takes_nothing = self.synced.is_empty()
            && self.open.is_empty()
            && self.failed.iter().all(of_nas)
            && self.refusing.contains_key(&b""[..]);
        let trouble = self.failed.iter().find(|failed| full(failed) || takes_nothing)?.error.clone();
        self.failed.retain(|failed| !of_nas(failed));
        Some(trouble)
    }

    /// Takes back all that was proved: it was acknowledged, but what should make it last did not happen. Gives the
    /// documents.
    pub fn take_back_all(&mut self, cause: &NasSyncError) -> Vec<DocumentId> {
        for attempt in self.attempts.iter_mut().filter(|attempt| attempt.end == AttemptEnd::Synced) {
            attempt.end = AttemptEnd::Cut;
            attempt.failure = Some((cause.kind(), cause.message().to_owned()));
        }
        self.synced.drain(..).map(|record| record.id).collect()
    }

    /// Adds what became of another batch.
    pub fn append(&mut self, other: Self) {
        let Self { synced, stamps, failed, attempts, open, written, refusing } = other;
        self.synced.extend(synced);
        self.stamps.extend(stamps);
        self.failed.extend(failed);
        self.attempts.extend(attempts);
        self.open.extend(open);
        self.written.extend(written);
        self.refusing.extend(refusing);
    }

    /// After the NAS has read again what it stored: who is without an error is verified.
    pub fn read_back(&mut self, errors: Vec<Option<NasSyncError>>) {
        let records = std::mem::take(&mut self.synced);
        for (mut record, error) in records.into_iter().zip(errors) {
            match error {
                None => {
                    record.copy.level = Level::Verified;
                    self.synced.push(record);
                }
                Some(error) => self.failed.push(DocumentError { id: Some(record.id), error }),
            }
        }
    }

    /// Raises the level of what the NAS acknowledged.
    pub fn raise_to(&mut self, level: Level) {
        for record in &mut self.synced {
            record.copy.level = record.copy.level.max(level);
        }
    }
}

impl SessionEnd<'_> {
    fn verdict(&self, planned: &Planned, track: &Track) -> Verdict {
        match (&track.failure, track.sent, self.proof) {
            (Some(error), _, _) => Verdict::Failed(error.clone()),
            (None, Some(Stability::Unchanged), Proof::Acknowledgements) if track.acknowledged => {
                Verdict::Proved(Level::Stored)
            }
            (None, Some(Stability::Unchanged), Proof::CleanEnd) if self.ended_clean() => Verdict::Proved(Level::Sent),
            (None, Some(Stability::Changed), _) => Verdict::Failed(NasSyncError::new(
                ErrorKind::SourceChanged,
                format!("{} changed while it was read", planned.document.file_path.display()),
            )),
            (None, _, _) => match self.outcome {
                // Without acknowledgements one bad document hides what became of the others.
                Some(outcome) if outcome.result.is_ok() && self.proof == Proof::CleanEnd && track.sent.is_some() => {
                    match named(planned, outcome) {
                        Some(_) => Verdict::Failed(not_stored(planned, outcome)),
                        None => Verdict::Open,
                    }
                }
                Some(outcome) if outcome.result.is_ok() || outcome.jammed && named(planned, outcome).is_some() => {
                    Verdict::Failed(not_stored(planned, outcome))
                }
                _ => Verdict::Open,
            },
        }
    }

    /// A session without acknowledgements that came to its end with complaints.
    fn unclean(&self) -> Option<&Outcome> {
        self.outcome.filter(|outcome| outcome.result.is_ok() && self.proof == Proof::CleanEnd && !self.ended_clean())
    }

    fn ended_clean(&self) -> bool {
        self.outcome.is_some_and(|outcome| {
            outcome.result.is_ok() && outcome.exit == Some(ExitStatus::Code(0)) && !outcome.text.is_partial()
        })
    }
}

/// The session ended well, but not for this document: what the NAS said about it, or about all of them.
fn not_stored(planned: &Planned, outcome: &Outcome) -> NasSyncError {
    let of_all = |line: &&[u8]| matches!(kind_of_text(line), Some(ErrorKind::DiskFull | ErrorKind::ReadOnly));
    let line = named(planned, outcome).or_else(|| outcome.text.lines().find(of_all));
    let kind = line.and_then(kind_of_text).unwrap_or(ErrorKind::NotAcknowledged);
    let message = match line {
        Some(line) => format!("the NAS did not store it: {}", String::from_utf8_lossy(line)),
        None => String::from("the NAS did not confirm that it is stored"),
    };
    NasSyncError::new(kind, message).with_details(outcome.text.as_bytes())
}

/// What the NAS said about this document by name.
fn named<'o>(planned: &Planned, outcome: &'o Outcome) -> Option<&'o [u8]> {
    outcome.text.lines().find(|line| names_file(line, planned.name.as_bytes()))
}
