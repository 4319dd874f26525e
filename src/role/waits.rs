//! How long a role has waited for the other side, readable while it runs.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::blocking;

/// The waits of one role: for input, and for room to write.
#[derive(Debug, Default)]
pub struct Waits(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    over: Duration,
    since: Option<Instant>,
}

impl Waits {
    /// Runs what may wait.
    pub(super) fn during<T>(&self, wait: impl FnOnce() -> T) -> T {
        blocking::lock(&self.0).since = Some(Instant::now());
        let waited = wait();
        let mut state = blocking::lock(&self.0);
        if let Some(since) = state.since.take() {
            state.over += since.elapsed();
        }
        waited
    }

    /// All of them until now, one that is not over included.
    pub fn until(&self, now: Instant) -> Duration {
        let state = blocking::lock(&self.0);
        state.over + state.since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since))
    }
}
