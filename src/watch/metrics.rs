//! The figures of a running `watch`. Guarantees: counters only grow while the process lives.

use std::collections::HashMap;

use chrono::{DateTime, Utc};

use crate::error::ErrorKind;

/// How the documents stand in the database.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Backlog {
    /// Not yet on the NAS, those that wait or failed included.
    pub pending: u64,
    /// Of these: failed, and to be tried again later.
    pub waiting: u64,
    /// Of these: failed for good.
    pub failed: u64,
    /// When the oldest of those that have not failed for good was registered, as far as known.
    pub oldest: Option<DateTime<Utc>>,
}

/// All figures.
#[derive(Debug, Clone, Default)]
pub struct Figures {
    /// The last look at the database.
    pub backlog: Backlog,
    /// When a document was stored last, by whomever.
    pub last_success: Option<DateTime<Utc>>,
    /// Whether it could go on by itself.
    pub up: bool,
    /// Whether nothing is sent although documents are due: the NAS is away, full or refuses.
    pub paused: bool,
    /// Bytes written to the NAS since the start.
    pub sent_bytes: u64,
    /// Documents stored since the start.
    pub synced: u64,
    /// Failures of documents and of runs since the start.
    pub failures: HashMap<ErrorKind, u64>,
}

impl Figures {
    /// Counts one failure.
    pub fn count_failure(&mut self, kind: ErrorKind) {
        *self.failures.entry(kind).or_default() += 1;
    }
}
