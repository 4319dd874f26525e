//! How much goes into one batch: bounded by what the NAS has room for, by what was proved once a minute, and by what
//! the two ends have to hold in memory.

use std::time::Duration;

use super::prepared::Prepared;
use super::report::FailedDocument;
use crate::client::space::Space;
use crate::error::{ErrorKind, NasSyncError, Result};
use crate::text::size;

/// The most documents of one batch: each is looked at before it is sent, and held in memory.
pub(super) const MAX_BATCH: usize = 2_000;
/// The most block sums, in bytes, that the NAS may have to send ahead in one session if it has a copy of every
/// document. The receiving end of the session can hold twice as much.
const MAX_BATCH_SUMS: u64 = 32 * 1024 * 1024;

/// How many bytes and documents a batch may have, so that what is proved is recorded about once a minute.
#[derive(Debug)]
pub(super) struct BatchLimits {
    bytes: u64,
    documents: usize,
}

impl Default for BatchLimits {
    fn default() -> Self {
        Self { bytes: 512 << 20, documents: MAX_BATCH }
    }
}

impl BatchLimits {
    /// How many documents the next batch takes, at least one.
    pub fn batch_len(&self, waiting: &[Prepared], room: Option<Space>) -> usize {
        let available = room.map_or(u64::MAX, |space| space.available);
        let (mut sums, mut bytes) = (0, 0);
        let fits = |document: &&Prepared| {
            sums += document.most_sums();
            bytes += document.bytes();
            sums <= MAX_BATCH_SUMS && bytes <= self.bytes.min(available)
        };
        let len = waiting.iter().take(self.documents).take_while(fits).count();
        len.max(1).min(waiting.len())
    }

    /// Learns from a batch of so many bytes.
    pub fn learn(&mut self, bytes: u64, took: Duration) {
        const LEAST: u64 = 64 << 20;
        const MOST: u64 = 4 << 30;
        // Small batches tell little about the speed of large ones.
        if bytes >= LEAST {
            let millis = u64::try_from(took.as_millis()).unwrap_or(u64::MAX).max(1);
            self.bytes = (bytes / millis).saturating_mul(60_000).clamp(LEAST, MOST);
        }
    }

    /// After a batch of so many documents that has to be taken apart.
    pub fn halve(&mut self, documents: usize) {
        self.documents = documents.div_ceil(2).max(1);
    }

    /// After a batch that went well: whoever was to blame before is behind.
    pub fn double(&mut self) {
        self.documents = self.documents.saturating_mul(2).min(MAX_BATCH);
    }
}

/// What a person should know about little room.
pub(super) fn low_room(space: Space) -> Option<String> {
    space.is_little().then(|| format!("the NAS has only {} of {} left", size(space.available), size(space.total)))
}

/// Takes out documents for which the NAS has no room, so that they do not hold up smaller ones. When it has room for
/// none of them, that is no document's matter: then it fails, and all of them still wait.
pub(super) fn set_aside_too_large(waiting: &mut Vec<Prepared>, room: Option<Space>) -> Result<Vec<FailedDocument>> {
    let available = room.map_or(u64::MAX, |space| space.available);
    let no_room = |document: &Prepared| {
        let (left, needs) = (size(available), size(document.bytes()));
        let message = format!("the NAS has {left} left, and document {} needs {needs}", document.id);
        NasSyncError::new(ErrorKind::DiskFull, message)
    };
    let is_too_large = |document: &Prepared| document.bytes() > available;
    if let Some(first) = waiting.first().filter(|_| waiting.iter().all(is_too_large)) {
        return Err(no_room(first));
    }
    let too_large = waiting.extract_if(.., |document| is_too_large(document));
    Ok(too_large.map(|document| FailedDocument { error: no_room(&document), id: document.id }).collect())
}
