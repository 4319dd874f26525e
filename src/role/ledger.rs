//! What a session told, kept while it runs: readable at any time, also when the session was cut off.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};

use super::event::{Event, Monitor, Stability};
use super::waits::Waits;
use crate::blocking;
use crate::error::NasSyncError;
use crate::wire::flist::{FileEntry, KindCounts};
use crate::wire::iflags::ItemFlags;

/// What a session told about one file.
#[derive(Debug, Clone, Default)]
pub struct FileReport {
    /// What the receiver said about it, if anything.
    pub flags: Option<ItemFlags>,
    /// When its sending began.
    pub started: Option<(DateTime<Utc>, Instant)>,
    /// When it was acknowledged or failed.
    pub ended: Option<Instant>,
    /// Bytes sent as data, second tries included.
    pub literal: u64,
    /// Whether it was the same before and after it was read; `None` before it was sent.
    pub stability: Option<Stability>,
    /// SHA-256 of what was read.
    pub sha256: Option<[u8; 32]>,
    /// Whether the NAS acknowledged it.
    pub acknowledged: bool,
    /// Why it failed.
    pub failure: Option<NasSyncError>,
    /// Whether somebody has settled it already, and there is no more to say about it.
    pub settled: bool,
}

/// What a session told, added up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Totals {
    /// What did not exist there.
    pub created: KindCounts,
    /// Files whose data was sent, second tries counted again.
    pub sent: u64,
    /// The length of those files, in bytes.
    pub sent_size: u64,
    /// Bytes sent as data.
    pub literal: u64,
    /// Bytes that the receiver had.
    pub matched: u64,
    /// Bytes of files that were read and handed on.
    pub read: u64,
    /// Entries that the receiver has deleted, as it said one by one.
    pub deleted: u64,
    /// The same by kind, as it counted them at the end; some do not.
    pub deleted_kinds: KindCounts,
}

/// All that a session told.
#[derive(Debug, Clone, Default)]
pub struct Account {
    /// What was told about the entries with the tags 0, 1, and so on.
    pub files: Vec<FileReport>,
    /// The sums.
    pub totals: Totals,
    /// Files that could not be sent, by name.
    pub failures: Vec<(Box<[u8]>, NasSyncError)>,
    /// Whether the NAS has acknowledged any.
    acknowledged: bool,
    waits: Option<Arc<Waits>>,
}

/// How far a session has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Whether the NAS has acknowledged a file.
    pub acknowledged: bool,
    /// Files sent.
    pub files: u64,
    /// Bytes of files that were read and handed on.
    pub bytes: u64,
    /// How long the sender has waited for the NAS.
    pub waited: Duration,
}

/// Keeps what is told and passes the events on.
pub struct Ledger {
    account: Mutex<Account>,
    monitor: Arc<dyn Monitor>,
}

impl Ledger {
    /// Keeps an account of each of the entries with the tags below `tags`, and of all of them together.
    pub fn new(monitor: Arc<dyn Monitor>, tags: usize) -> Self {
        let account = Account { files: vec![FileReport::default(); tags], ..Account::default() };
        Self { account: Mutex::new(account), monitor }
    }

    /// Bytes of files that were read and handed on, for a session that can no longer say what it sent.
    pub fn read(&self) -> u64 {
        blocking::lock(&self.account).totals.read
    }

    /// How far the session has come until now.
    pub fn progress(&self, now: Instant) -> Progress {
        let account = blocking::lock(&self.account);
        Progress {
            acknowledged: account.acknowledged,
            files: account.totals.sent,
            bytes: account.totals.read,
            waited: account.waits.as_ref().map_or(Duration::ZERO, |waits| waits.until(now)),
        }
    }

    /// What was told about files that are acknowledged and not settled yet, each with its tag.
    pub fn acknowledged(&self) -> Vec<(usize, FileReport)> {
        let account = blocking::lock(&self.account);
        let tagged = account.files.iter().enumerate();
        tagged.filter(|(_, file)| file.acknowledged && !file.settled).map(|(tag, file)| (tag, file.clone())).collect()
    }

    /// The file of this tag is settled.
    pub fn settle(&self, tag: usize) {
        if let Some(file) = blocking::lock(&self.account).files.get_mut(tag) {
            file.settled = true;
        }
    }

    /// All that was told.
    pub fn take(&self) -> Account {
        std::mem::take(&mut *blocking::lock(&self.account))
    }
}

impl Account {
    fn note(&mut self, event: &Event<'_>) {
        match event {
            Event::Itemized { entry, flags, .. } => {
                if flags.has(ItemFlags::NEW) {
                    *self.totals.created.of(entry.kind) += 1;
                }
                self.file(entry, |file| file.flags = Some(*flags));
            }
            Event::FileStarted { entry } => self.file(entry, |file| {
                file.started.get_or_insert_with(|| (Utc::now(), Instant::now()));
            }),
            Event::FileSent { entry, stats, stability, sha256 } => {
                self.totals.sent += 1;
                self.totals.sent_size += entry.meta.size;
                self.totals.literal += stats.literal;
                self.totals.matched += stats.matched;
                self.file(entry, |file| {
                    // A second try says what counts now.
                    (file.stability, file.sha256) = (Some(*stability), *sha256);
                    (file.acknowledged, file.failure) = (false, None);
                    file.literal += stats.literal;
                });
            }
            Event::FileReceived { entry, stats, sha256 } => {
                self.totals.sent += 1;
                self.totals.sent_size += entry.meta.size;
                self.totals.literal += stats.literal;
                self.totals.matched += stats.matched;
                self.file(entry, |file| {
                    file.sha256 = *sha256;
                    file.ended = Some(Instant::now());
                });
            }
            Event::FileFailed { entry, error } => {
                self.failures.push((entry.name.into(), (*error).clone()));
                self.file(entry, |file| {
                    file.failure = Some((*error).clone());
                    file.ended = Some(Instant::now());
                });
            }
            Event::Progress { bytes } => self.totals.read += bytes,
            Event::Acknowledged { entry } => {
                self.acknowledged = true;
                self.file(entry, |file| {
                    file.acknowledged = true;
                    file.ended = Some(Instant::now());
                });
            }
            Event::Deleted { .. } => self.totals.deleted += 1,
            Event::DeletedCounts { counts } => self.totals.deleted_kinds = **counts,
            Event::Begun { waits } => self.waits = Some(Arc::clone(waits)),
            Event::Listed { .. } | Event::Asked { .. } | Event::Text { .. } => {}
        }
    }

    fn file(&mut self, entry: &FileEntry<'_>, note: impl FnOnce(&mut FileReport)) {
        if let Some(file) = entry.tag.and_then(|tag| self.files.get_mut(tag as usize)) {
            note(file);
        }
    }
}

impl Monitor for Ledger {
    fn event(&self, event: Event<'_>) {
        blocking::lock(&self.account).note(&event);
        self.monitor.event(event);
    }
}
