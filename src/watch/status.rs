//! Where the loop writes down how it is, and where the health file, the metrics and the health page read it.
//!
//! Guarantees: all of them say the same; a health file or an address that cannot be used is told and never ends the
//! work.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::time::timeout;

use super::WatchSummary;
use super::health_file::{BEAT, HealthFile, Report, State};
use super::http::{self, Answer, Status};
use super::metrics::{self, Backlog, Figures};
use crate::blocking;
use crate::error::{ErrorKind, NasSyncError, Result};

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
}

impl Default for WatchStatus {
    fn default() -> Self {
        let report = Report { state: State::Starting, last_success: None, last_error: None };
        let figures = Figures { up: true, ..Figures::default() };
        Self { shown: Mutex::new(Shown { report, figures }), changed: Notify::new() }
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
    pub async fn write_health_file(&self, file: &HealthFile) -> Result<()> {
        let (file, report) = (file.clone(), self.report());
        // A disk that hangs must not stop the rest; the old sign of life then tells of it.
        blocking::run(move || file.write(&report)).await
    }

    /// Answers `GET /metrics` and `GET /health`. Runs until it is dropped.
    pub async fn serve(self: Arc<Self>, listener: TcpListener) {
        http::serve(listener, Arc::new(move |path: &str| self.page(path))).await;
    }

    fn page(&self, path: &str) -> Answer {
        let shown = self.lock();
        match (path, &shown.report.state) {
            ("/metrics", _) => {
                let body = shown.figures.text(Utc::now());
                Answer { status: Status::Ok, media_type: metrics::MEDIA_TYPE, body }
            }
            ("/health", State::Blocked(kind)) => {
                let message = shown.report.last_error.as_ref().map_or("", NasSyncError::message);
                Answer::plain(Status::Unavailable, format!("blocked by {kind}: {message}\n"))
            }
            ("/health", state) => Answer::plain(Status::Ok, format!("{}\n", state.as_str())),
            _ => Answer::plain(Status::NotFound, "there are /metrics and /health\n"),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Shown> {
        // The values are whole between any two statements that hold the lock.
        self.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Opens the address of the metrics. Fails with `Usage`, for it was asked for and cannot be had.
pub async fn listen(address: SocketAddr) -> Result<TcpListener> {
    TcpListener::bind(address).await.map_err(|error| {
        NasSyncError::new(ErrorKind::Usage, format!("cannot serve metrics on {address}: {error}"))
            .with_solution("Correct NAS_METRICS_ADDR or --metrics, or leave it away.")
            .with_source(error)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_readers_see_the_same() {
        let status = WatchStatus::default();
        status.set_state(State::Idle);
        status.set_backlog(Backlog { pending: 3, ..Backlog::default() });
        status.count_synced(2);
        status.set_last_success(Utc::now());
        status.count_bytes(100);
        assert_eq!(status.page("/health"), Answer::plain(Status::Ok, "idle\n"));
        let metrics = status.page("/metrics").body;
        for line in
            ["nas_sync_up 1", "nas_sync_paused 0", "nas_sync_pending_documents 3", "nas_sync_sent_bytes_total 100"]
        {
            assert!(metrics.lines().any(|found| found == line), "{line}: {metrics}");
        }
        status.count_failure(NasSyncError::new(ErrorKind::LoginRefused, "no\nway"));
        status.set_state(State::Blocked(ErrorKind::LoginRefused));
        let page = status.page("/health");
        assert_eq!(page, Answer::plain(Status::Unavailable, "blocked by login_refused: no\\nway\n"));
        let metrics = status.page("/metrics").body;
        for line in ["nas_sync_up 0", "nas_sync_paused 1", "nas_sync_failures_total{kind=\"login_refused\"} 1"] {
            assert!(metrics.lines().any(|found| found == line), "{line}: {metrics}");
        }
        assert_eq!(status.page("/").status, Status::NotFound);
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

    #[tokio::test]
    async fn an_address_that_is_taken_is_an_error_of_usage() {
        let first = listen("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let error = listen(first.local_addr().unwrap()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Usage);
    }
}
