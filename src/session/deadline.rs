//! When something last moved in a session, and the deadline that follows from it.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use crate::blocking;

/// How long the other side may still talk once this side has failed.
const LAST_WORDS: Duration = Duration::from_secs(5);
/// A receiver that was asked for acknowledgements goes on with at most this many files that it has not acknowledged,
/// and those that failed stay among them for ever (`protocol-notes/10-phases-and-goodbye.md#files-that-failed`).
const JAM: usize = 10;
/// How long such a receiver is given.
const JAM_WAIT: Duration = Duration::from_secs(5);

/// So many bytes buy a session one idle limit: one that moves less, however steadily, holds its documents for nothing.
const FLOOR: u64 = 1024;
/// At most so many idle limits are bought in advance, for what takes long over there and moves next to nothing.
const MOST_CREDIT: u32 = 4;
/// Longer than any session, and short enough to be added to a moment.
const A_LIFETIME: Duration = Duration::from_secs(30 * 365 * 24 * 3600);

/// Whether the receiver was asked to acknowledge every file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Receipts {
    /// It was.
    Asked,
    /// It was not.
    NotAsked,
}

/// Why nothing moves any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stall {
    /// Nobody knows.
    Silent,
    /// Too many files failed over there.
    Jammed,
}

/// When something last moved, and how much has moved.
#[derive(Debug)]
pub struct ProgressTimer {
    last: Mutex<Instant>,
    receipts: Receipts,
    /// Files that failed over there, as far as it said.
    failures: AtomicUsize,
    failed: AtomicBool,
    role_ended: AtomicBool,
    sent: AtomicU64,
    received: AtomicU64,
    paid: Mutex<Paid>,
}

/// Until when the bytes that moved are enough.
#[derive(Debug)]
struct Paid {
    /// `None`: nothing was counted yet.
    until: Option<Instant>,
    /// The bytes that are counted in it.
    counted: u64,
}

impl ProgressTimer {
    pub fn new(receipts: Receipts) -> Self {
        Self {
            last: Mutex::new(Instant::now()),
            receipts,
            failures: AtomicUsize::new(0),
            failed: AtomicBool::new(false),
            role_ended: AtomicBool::new(false),
            sent: AtomicU64::new(0),
            received: AtomicU64::new(0),
            paid: Mutex::new(Paid { until: None, counted: 0 }),
        }
    }

    /// Something moved.
    pub fn progress(&self) {
        // A peer must not be able to keep a session that is over.
        if self.role_ended.load(Ordering::Relaxed) {
            return;
        }
        *blocking::lock(&self.last) = Instant::now();
    }

    /// This side was busy with its own disks meanwhile, and the other side not to blame: its time begins anew.
    pub fn restart(&self) {
        self.progress();
        blocking::lock(&self.paid).until = None;
    }

    /// Only the other side's end is still awaited; nothing that moves from now on is progress.
    pub fn role_ended(&self) {
        self.progress();
        self.role_ended.store(true, Ordering::Relaxed);
    }

    /// As [`ProgressTimer::role_ended`], after a failure: the other side has time for its last words only.
    pub fn await_last_words(&self) {
        self.failed.store(true, Ordering::Relaxed);
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

    /// Counts files that the other side said it could not store.
    pub fn add_failures(&self, files: usize) {
        self.failures.fetch_add(files, Ordering::Relaxed);
    }

    /// Until when what has moved is enough, at [`FLOOR`] bytes for each `limit`.
    fn paid_until(&self, limit: Duration) -> Instant {
        let now = Instant::now();
        let mut paid = blocking::lock(&self.paid);
        let most = now + limit.saturating_mul(MOST_CREDIT).min(A_LIFETIME);
        let bought = (self.sent() + self.received()).saturating_sub(paid.counted) / FLOOR;
        paid.counted += bought * FLOOR;
        let bought = u32::try_from(bought).map_or(MOST_CREDIT, |bought| bought.min(MOST_CREDIT));
        let bought = limit.saturating_mul(bought).min(A_LIFETIME);
        let until = paid.until.map_or(most, |until| (until + bought).min(most));
        paid.until = Some(until);
        until
    }

    fn is_jammed(&self) -> bool {
        self.receipts == Receipts::Asked && self.failures.load(Ordering::Relaxed) >= JAM
    }

    /// Returns once nothing has moved for `limit`, or for a shorter time where no more can come.
    pub async fn stalled(&self, limit: Duration) -> Stall {
        loop {
            let (limit, stall) = if self.failed.load(Ordering::Relaxed) {
                (limit.min(LAST_WORDS), Stall::Silent)
            } else if self.is_jammed() {
                (limit.min(JAM_WAIT), Stall::Jammed)
            } else {
                (limit, Stall::Silent)
            };
            let last = *blocking::lock(&self.last);
            let deadline = (last + limit).min(self.paid_until(limit));
            if Instant::now() >= deadline {
                return stall;
            }
            // Short naps, because `await_last_words` may bring the deadline forward.
            tokio::time::sleep_until(deadline.min(Instant::now() + LAST_WORDS / 5)).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_millis(100);

    /// How long a session lasts in which so many bytes move every few milliseconds; at most 2 s.
    async fn lasts(bytes: usize) -> Option<Duration> {
        let (timer, began) = (ProgressTimer::new(Receipts::Asked), Instant::now());
        let moves = async {
            loop {
                timer.add_received(bytes);
                timer.progress();
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::select! {
            _ = timer.stalled(LIMIT) => Some(began.elapsed()),
            () = moves => None,
            () = tokio::time::sleep(Duration::from_secs(2)) => None,
        }
    }

    #[tokio::test]
    async fn one_byte_at_a_time_does_not_hold_a_session_for_ever() {
        let lasted = lasts(1).await.expect("it ends");
        assert!(lasted >= LIMIT * MOST_CREDIT && lasted < LIMIT * MOST_CREDIT * 3, "{lasted:?}");
        assert_eq!(lasts(4 * 1024).await, None, "what moves goes on");
    }
}
