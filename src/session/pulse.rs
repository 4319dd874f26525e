//! The pulse of a session: when something last moved, and the deadline that follows from it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// How long the other side may still talk once this side has failed.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// When something last moved, and how much has moved.
#[derive(Debug)]
pub struct Pulse {
    last: Mutex<Instant>,
    hurried: AtomicBool,
    role_ended: AtomicBool,
    sent: AtomicU64,
    received: AtomicU64,
}

impl Pulse {
    pub fn new() -> Self {
        Self {
            last: Mutex::new(Instant::now()),
            hurried: AtomicBool::new(false),
            role_ended: AtomicBool::new(false),
            sent: AtomicU64::new(0),
            received: AtomicU64::new(0),
        }
    }

    /// Something moved.
    pub fn beat(&self) {
        // A peer must not be able to keep a session that is over.
        if self.role_ended.load(Ordering::Relaxed) {
            return;
        }
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    /// Only the other side's end is still awaited; nothing that moves from now on is progress.
    pub fn role_ended(&self) {
        self.beat();
        self.role_ended.store(true, Ordering::Relaxed);
    }

    /// As [`Pulse::role_ended`], after a failure: the other side has time for its last words only.
    pub fn hurry(&self) {
        self.hurried.store(true, Ordering::Relaxed);
        self.role_ended();
    }

    /// Counts bytes handed to the other side.
    pub fn add_sent(&self, bytes: usize) {
        self.sent.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Counts bytes that came from the other side.
    pub fn add_received(&self, bytes: usize) {
        self.received.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    pub fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    /// Returns once nothing has moved for `limit`.
    pub async fn stalled(&self, limit: Duration) {
        loop {
            let limit = if self.hurried.load(Ordering::Relaxed) { limit.min(LAST_WORDS) } else { limit };
            let deadline = *self.last.lock().unwrap_or_else(PoisonError::into_inner) + limit;
            if Instant::now() >= deadline {
                return;
            }
            // Short naps, because `hurry` may bring the deadline forward.
            tokio::time::sleep_until(deadline.min(Instant::now() + LAST_WORDS / 5)).await;
        }
    }
}
