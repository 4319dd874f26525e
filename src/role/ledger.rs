//! What a session told about each of its files, readable at any time, also when the session was cut off.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use chrono::{DateTime, Utc};

use super::event::{Event, Monitor, Stability};
use crate::blocking;
use crate::error::NasSyncError;

/// What a session told about one file.
#[derive(Debug, Clone, Default)]
pub struct FileReport {
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
}

/// Keeps what is told about every file and passes the events on.
pub struct Ledger {
    files: Mutex<Vec<FileReport>>,
    bytes: AtomicU64,
    monitor: Arc<dyn Monitor>,
}

impl Ledger {
    /// For so many files.
    pub fn new(monitor: Arc<dyn Monitor>, files: usize) -> Self {
        Self { files: Mutex::new(vec![FileReport::default(); files]), bytes: AtomicU64::new(0), monitor }
    }

    /// Bytes of files that were read and handed on, for a session that can no longer say what it sent.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// All that was told.
    pub fn take(&self) -> Vec<FileReport> {
        std::mem::take(&mut *blocking::lock(&self.files))
    }

    fn note(&self, index: usize, note: impl FnOnce(&mut FileReport)) {
        if let Some(report) = blocking::lock(&self.files).get_mut(index) {
            note(report);
        }
    }
}

impl Monitor for Ledger {
    fn event(&self, event: Event<'_>) {
        match &event {
            Event::FileStarted { index, .. } => self.note(*index, |report| {
                report.started.get_or_insert_with(|| (Utc::now(), Instant::now()));
            }),
            Event::FileSent { index, stability, stats, sha256, .. } => self.note(*index, |report| {
                // A second try says what counts now.
                (report.stability, report.sha256) = (Some(*stability), *sha256);
                (report.acknowledged, report.failure) = (false, None);
                report.literal += stats.literal;
            }),
            Event::FileFailed { index, error, .. } => self.note(*index, |report| {
                report.failure = Some((*error).clone());
                report.ended = Some(Instant::now());
            }),
            Event::Progress { bytes } => {
                self.bytes.fetch_add(*bytes, Ordering::Relaxed);
            }
            Event::Acknowledged { index } => self.note(*index, |report| {
                report.acknowledged = true;
                report.ended = Some(Instant::now());
            }),
            _ => {}
        }
        self.monitor.event(event);
    }
}
