//! Where the loop writes down how it is, and where the health file, the metrics and the API read it.
//!
//! Guarantees: all of them say the same; a health file that cannot be used is told and never ends the work.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::sync::Notify;
use tokio::time::timeout;

use super::WatchSummary;
use super::health_file::{BEAT, HealthFile, Report, State};
use super::metrics::{Backlog, Figures};
use crate::blocking;
use crate::client::nas::Space;
use crate::error::{NasSyncError, Result};

/// The state of one `watch`.
#[derive(Debug)]
pub struct WatchStatus {
    shown: Mutex<Shown>,
    changed: Notify,
}

#[derive(Debug)]
struct Shown {
    report: Report,
    figures: Figures,
    room: Option<Space>,
}

impl Default for WatchStatus {
    fn default() -> Self {
        let report = Report { state: State::Starting, last_success: None, last_error: None };
        let figures = Figures { up: true, ..Figures::default() };
        Self { shown: Mutex::new(Shown { report, figures, room: None }), changed: Notify::new() }
    }
}

impl WatchStatus {
    /// What `watch` does now.
    pub fn set_state(&self, state: State) {
        let mut shown = self.lock();
        if shown.report.state == state {
            return;
        }
        shown.figures.up = !matches!(state, State::Blocked(_));
        shown.figures.paused = matches!(state, State::Paused(_) | State::Blocked(_));
        shown.report.state = state;
        drop(shown);
        self.changed.notify_one();
    }

    /// A failure.
    pub fn count_failure(&self, error: NasSyncError) {
        self.lock().figures.count_failure(error.kind());
        self.show_error(error);
    }

    /// An error that is known already.
    pub fn show_error(&self, error: NasSyncError) {
        self.lock().report.last_error = Some(error);
    }

    /// Documents were stored.
    pub fn count_synced(&self, documents: u64) {
        self.lock().figures.synced += documents;
    }

    /// When a document was stored last.
    pub fn set_last_success(&self, at: DateTime<Utc>) {
        let mut shown = self.lock();
        shown.figures.last_success = Some(at);
        shown.report.last_success = Some(at);
    }

    /// Bytes were written to the NAS.
    pub fn count_bytes(&self, bytes: u64) {
        self.lock().figures.sent_bytes += bytes;
    }

    /// How the documents stand.
    pub fn set_backlog(&self, backlog: Backlog) {
        self.lock().figures.backlog = backlog;
    }

    /// All that was counted.
    pub fn summary(&self, elapsed: Duration) -> WatchSummary {
        let figures = &self.lock().figures;
        let failures = figures.failures.values().sum();
        WatchSummary { synced: figures.synced, failures, bytes_sent: figures.sent_bytes, elapsed }
    }

    /// What the health file says.
    pub fn report(&self) -> Report {
        self.lock().report.clone()
    }

    /// Writes the health file at each change, and as a sign of life. Runs until it is dropped.
    pub async fn keep_health_file(self: Arc<Self>, file: HealthFile) {
        let mut told = false;
        loop {
            let result = self.write_health_file(&file).await;
            match &result {
                Err(error) if !told => tracing::warn!("{error}; health checks will fail"),
                Ok(()) if told => tracing::info!("the health file can be written again"),
                _ => {}
            }
            told = result.is_err();
            // Waking early is all that matters here.
            let _ = timeout(BEAT, self.changed.notified()).await;
        }
    }

    /// Writes the health file once.
    pub async fn write_health_file(self: &Arc<Self>, file: &HealthFile) -> Result<()> {
        let (file, status) = (file.clone(), Arc::clone(self));
        // A disk that hangs must not stop the rest; the old sign of life then tells of it.
        blocking::run(move || file.write_current(|| status.report())).await
    }

    /// How much room the NAS has; what is not known leaves what was.
    pub fn set_room(&self, room: Option<Space>) {
        let mut shown = self.lock();
        shown.room = room.or(shown.room);
    }

    /// How much room the NAS had when it was asked last.
    #[cfg(feature = "api")]
    pub fn room(&self) -> Option<Space> {
        self.lock().room
    }

    /// The figures at this moment.
    #[cfg(any(feature = "api", test))]
    pub fn figures(&self) -> Figures {
        self.lock().figures.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Shown> {
        // The values are whole between any two statements that hold the lock.
        self.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    #[test]
    fn what_is_told_is_counted() {
        let status = WatchStatus::default();
        status.set_state(State::Idle);
        status.set_backlog(Backlog { pending: 3, ..Backlog::default() });
        status.count_synced(2);
        status.set_last_success(Utc::now());
        status.count_bytes(100);
        let figures = status.figures();
        assert!(figures.up && !figures.paused && figures.last_success.is_some());
        assert_eq!((figures.backlog.pending, figures.synced, figures.sent_bytes), (3, 2, 100));
        status.count_failure(NasSyncError::new(ErrorKind::LoginRefused, "no"));
        status.set_state(State::Blocked(ErrorKind::LoginRefused));
        assert_eq!(status.report().state, State::Blocked(ErrorKind::LoginRefused));
        let figures = status.figures();
        assert!(!figures.up && figures.paused);
        assert_eq!(figures.failures[&ErrorKind::LoginRefused], 1);
    }

    #[tokio::test]
    async fn the_health_file_follows_the_state_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("health");
        let status = Arc::new(WatchStatus::default());
        let seen = async |state: &str| {
            while !std::fs::read_to_string(&path).is_ok_and(|text| text.contains(&format!("\nstate={state}\n"))) {
                tokio::time::sleep(std::time::Duration::from_millis(2)).await;
            }
        };
        let changes = async {
            seen("starting").await;
            status.set_state(State::Syncing);
            seen("syncing").await;
            status.set_state(State::Idle);
            seen("idle").await;
        };
        tokio::select! {
            () = Arc::clone(&status).keep_health_file(HealthFile::new(path.clone())) => panic!("it ended"),
            seen = timeout(BEAT / 2, changes) => seen.expect("no beat is waited for"),
        }
    }
}
