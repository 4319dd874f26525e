//! What a push or a pull did, counted.

use std::time::Duration;

use crate::error::NasSyncError;
use crate::role::ledger::Totals;
use crate::tree::WalkWarning;
use crate::wire::flist::{Counts, KindCounts};

/// What a push or a pull did, in the words of `rsync --stats`. Sizes are bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct TransferStats {
    /// What is in the list.
    pub listed: KindCounts,
    /// What the receiving side did not have.
    pub created: KindCounts,
    /// How many entries it has deleted.
    pub deleted: u64,
    /// The same by kind, as far as it says.
    pub deleted_kinds: KindCounts,
    /// Files whose data travelled.
    pub transferred: u64,
    /// The length of all files in the list.
    pub total_size: u64,
    /// The length of the files whose data travelled.
    pub transferred_size: u64,
    /// Data that travelled.
    pub literal: u64,
    /// Data the receiver had.
    pub matched: u64,
    /// Bytes written to the NAS, framing included.
    pub sent: u64,
    /// Bytes read from the NAS, framing included.
    pub received: u64,
    /// What a pull did not delete here, because of `--max-delete`.
    pub kept_by_limit: u64,
}

impl TransferStats {
    /// What is known before anything is transferred.
    pub(super) fn of_list(counts: Counts) -> Self {
        Self { listed: counts.kinds, total_size: counts.size, ..Self::default() }
    }

    /// The same, with what the session told.
    #[must_use]
    pub(super) fn with(self, totals: &Totals) -> Self {
        Self {
            // Some servers tell of each, some count, and some do both.
            deleted: totals.deleted.max(totals.deleted_kinds.total()),
            deleted_kinds: totals.deleted_kinds,
            created: totals.created,
            transferred: totals.sent,
            transferred_size: totals.sent_size,
            literal: totals.literal,
            matched: totals.matched,
            ..self
        }
    }
}

/// How a push or a pull ended.
#[derive(Debug)]
#[non_exhaustive]
pub struct TransferReport {
    /// What was done.
    pub stats: TransferStats,
    /// How long it took.
    pub elapsed: Duration,
    /// What was left out while files of this machine were listed.
    pub warnings: Vec<WalkWarning>,
    /// Files that could not be transferred or stored, by name on the NAS.
    pub failures: Vec<(Box<[u8]>, NasSyncError)>,
    /// What ended the session early.
    pub error: Option<NasSyncError>,
    /// What the NAS said about errors; not escaped.
    pub remote_text: Vec<u8>,
    /// rsync's exit status for all this: 0 when all is well.
    pub exit_code: u8,
}
