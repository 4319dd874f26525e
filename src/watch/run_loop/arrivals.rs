//! New rows, which are waited out until none has come for a while.

use std::time::{Duration, Instant};

/// They are waited out for at most so many quiet periods.
const MOST_QUIETS: u32 = 10;

/// Documents become due one after the other.
#[derive(Debug, Clone, Copy)]
pub(super) struct Arrivals {
    first: Instant,
    last: Instant,
    due: u64,
}

impl Arrivals {
    pub fn after(before: Option<Self>, due: u64, now: Instant) -> Option<Self> {
        match before {
            _ if due == 0 => None,
            None => Some(Self { first: now, last: now, due }),
            Some(before) if due > before.due => Some(Self { last: now, due, ..before }),
            Some(before) => Some(Self { due, ..before }),
        }
    }

    pub fn are_over(&self, now: Instant, quiet: Duration) -> bool {
        now >= (self.last + quiet).min(self.first + quiet * MOST_QUIETS)
    }
}
