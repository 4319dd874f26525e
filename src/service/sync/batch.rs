//! The documents of one session, and what it tells about each of them.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use chrono::{DateTime, Utc};

use super::plan::Planned;
use super::verdicts::{SessionEnd, Verdict, Verdicts, not_stored};
use crate::client::capabilities::Folders;
use crate::client::file_list;
use crate::error::{ErrorKind, NasSyncError, Result};
use crate::role::event::{Event, Monitor, Stability};
use crate::role::list::{SendList, Sources};
use crate::service::DocumentError;
use crate::store::{Attempt, AttemptEnd};
use crate::tree::{FileMeta, Root, SourceFile, Stamp};
use crate::wire::flist::FileEntry;

/// Modes never travel with a document; this is what a new file gets before the NAS's own mask.
const FILE_MODE: u32 = 0o644;

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
        let in_folders = file_list::has_folders(self.planned.iter().map(|planned| &planned.name));
        if in_folders { Folders::OnTheWay } else { Folders::None }
    }

    /// The file list: each document at its position in the batch, then the folders on the way to them.
    pub fn list(&self) -> SendList {
        let files = self.planned.iter().map(|planned| (&planned.name, FileMeta { mode: FILE_MODE, ..planned.meta }));
        SendList { entries: file_list::entries(files), ..SendList::default() }
    }

    /// What became of each document, in the words of the rows.
    pub fn verdicts(&self, progress: &[FileProgress], end: &SessionEnd<'_>) -> Verdicts {
        let mut verdicts = Verdicts::default();
        for (planned, progress) in self.planned.iter().zip(progress) {
            let verdict = match (end.verdict(planned, progress), end.unclean()) {
                // There is nobody else whom the complaint could be about.
                (Verdict::Open, Some(outcome)) if self.planned.len() == 1 => {
                    Verdict::Failed(not_stored(planned, outcome))
                }
                (verdict, _) => verdict,
            };
            verdicts.attempts.extend(progress.attempt(planned, &verdict, end));
            match verdict {
                Verdict::Proved(level) => {
                    verdicts.written.insert(planned.folder().to_vec());
                    verdicts.stamps.insert(planned.document.id, planned.stamp);
                    verdicts.synced.push(planned.record(level, progress.sha256));
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
pub(super) struct FileProgress {
    started: Option<(DateTime<Utc>, Instant)>,
    /// Bytes sent as data, second tries included.
    literal: u64,
    pub sent: Option<Stability>,
    /// SHA-256 of what was read.
    pub sha256: Option<[u8; 32]>,
    pub acknowledged: bool,
    ended: Option<Instant>,
    pub failure: Option<NasSyncError>,
}

impl FileProgress {
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

/// Keeps progress of every document of a batch and passes the events on. It outlives a session that is cut off.
pub(super) struct ProgressRecorder {
    progress: Mutex<Vec<FileProgress>>,
    /// Bytes of files that were read and handed on.
    bytes: AtomicU64,
    monitor: Arc<dyn Monitor>,
}

impl ProgressRecorder {
    pub fn new(batch: &Batch, monitor: Arc<dyn Monitor>) -> Self {
        let progress = Mutex::new(vec![FileProgress::default(); batch.planned.len()]);
        Self { progress, bytes: AtomicU64::new(0), monitor }
    }

    /// Bytes of files that were read and handed on, for a session that can no longer say what it sent.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    pub fn progress(&self) -> MutexGuard<'_, Vec<FileProgress>> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, index: usize, note: impl FnOnce(&mut FileProgress)) {
        // Folders stand behind the documents and are not tracked.
        if let Some(progress) = self.progress().get_mut(index) {
            note(progress);
        }
    }
}

impl Monitor for ProgressRecorder {
    fn event(&self, event: Event<'_>) {
        match &event {
            Event::FileStarted { index, .. } => self.note(*index, |progress| {
                progress.started.get_or_insert_with(|| (Utc::now(), Instant::now()));
            }),
            Event::FileSent { index, stability, stats, sha256, .. } => self.note(*index, |progress| {
                // A second try says what counts now.
                (progress.sent, progress.sha256) = (Some(*stability), *sha256);
                (progress.acknowledged, progress.failure) = (false, None);
                progress.literal += stats.literal;
            }),
            Event::FileFailed { index, error, .. } => self.note(*index, |progress| {
                progress.failure = Some((*error).clone());
                progress.ended = Some(Instant::now());
            }),
            Event::Progress { bytes } => {
                self.bytes.fetch_add(*bytes, Ordering::Relaxed);
            }
            Event::Acknowledged { index } => self.note(*index, |progress| {
                progress.acknowledged = true;
                progress.ended = Some(Instant::now());
            }),
            _ => {}
        }
        self.monitor.event(event);
    }
}
