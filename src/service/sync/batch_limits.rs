//! How much goes into one batch: bounded by what the NAS has room for, by what was proved once a minute, and by what
//! the two ends have to hold in memory.

use std::time::Duration;

use super::plan::Planned;
use super::{MAX_CLAIM, Run, Stopping, asked_to};
use crate::client::Client;
use crate::client::nas::{self, Space};
use crate::error::{ErrorKind, NasSyncError, Result};
use crate::proof::Capability;
use crate::service::DocumentError;

/// The most block sums, in bytes, that the NAS may have to send ahead in one session if it has a copy of every
/// document. The receiving end of the session can hold twice as much.
const MAX_BATCH_SUMS: u64 = 32 * 1024 * 1024;
/// Less than this part of its disk is little room.
const LOW_ROOM: u64 = 20;

impl Run<'_> {
    /// How much room the NAS has, where it says so. Low room is said once.
    pub(super) async fn room(&mut self, client: &Client) -> Result<Option<Space>> {
        if !self.capabilities.has(Capability::Space) {
            return Ok(None);
        }
        let path = self.service.settings().path.clone().unwrap_or_default();
        let space = tokio::select! {
            space = nas::free_space(client, &path) => space,
            () = asked_to(&mut self.stopping, Stopping::AfterBatch) => return Ok(None),
        };
        let Some(space) = space else {
            // A connection that was just lost says nothing about what the NAS would answer.
            if client.ssh().lost().is_none() {
                let asked = self.capabilities.clone();
                self.capabilities.refuse(Capability::Space);
                self.learn(&asked).await?;
            }
            return Ok(None);
        };
        if space.available < space.total / LOW_ROOM && !self.limits.low_room_said {
            self.limits.low_room_said = true;
            let (left, total) = (size(space.available), size(space.total));
            self.summary.warnings.push(format!("the NAS has only {left} of {total} left"));
        }
        Ok(Some(space))
    }

    /// Takes out documents for which the NAS has no room, so that they do not hold up smaller ones. When it has room for
    /// none of them, that is no document's matter: the run stops.
    pub(super) fn set_aside(&mut self, planned: &mut Vec<Planned>, room: Option<Space>) -> Vec<DocumentError> {
        let available = room.map_or(u64::MAX, |space| space.available);
        let too_large: Vec<_> = planned.extract_if(.., |document| document.bytes() > available).collect();
        let no_room = |document: &Planned| {
            let (left, needs) = (size(available), size(document.bytes()));
            let message = format!("the NAS has {left} left, and document {} needs {needs}", document.id());
            NasSyncError::new(ErrorKind::DiskFull, message)
        };
        if let Some(first) = too_large.first().filter(|_| planned.is_empty()) {
            self.stop(no_room(first));
            self.ask_again(too_large.iter().map(Planned::id).collect());
            return Vec::new();
        }
        too_large.iter().map(|document| DocumentError { id: Some(document.id()), error: no_room(document) }).collect()
    }

    /// How many documents the next batch takes, at least one.
    pub(super) fn batch_len(&self, planned: &[Planned], room: Option<Space>) -> usize {
        let available = room.map_or(u64::MAX, |space| space.available);
        let (mut sums, mut bytes) = (0, 0);
        let fits = |document: &&Planned| {
            sums += document.most_sums();
            bytes += document.bytes();
            sums <= MAX_BATCH_SUMS && bytes <= self.limits.limit.min(available)
        };
        let len = planned.iter().take(self.limits.documents).take_while(fits).count();
        len.max(1).min(planned.len())
    }
}

/// How many bytes and documents a batch may have, so that what is proved is recorded about once a minute.
#[derive(Debug)]
pub(super) struct BatchLimits {
    limit: u64,
    documents: usize,
    low_room_said: bool,
}

impl Default for BatchLimits {
    fn default() -> Self {
        Self { limit: 512 << 20, documents: MAX_CLAIM, low_room_said: false }
    }
}

impl BatchLimits {
    /// Learns from a batch of so many bytes.
    pub fn learn(&mut self, bytes: u64, took: Duration) {
        const LEAST: u64 = 64 << 20;
        const MOST: u64 = 4 << 30;
        // Small batches tell little about the speed of large ones.
        if bytes >= LEAST {
            let millis = u64::try_from(took.as_millis()).unwrap_or(u64::MAX).max(1);
            self.limit = (bytes / millis).saturating_mul(60_000).clamp(LEAST, MOST);
        }
    }

    /// After a batch of so many documents that has to be taken apart.
    pub fn halve(&mut self, documents: usize) {
        self.documents = documents.div_ceil(2).max(1);
    }
}

/// A number of bytes as people say it.
fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["KB", "MB", "GB", "TB", "PB"];
    let (mut unit, mut left) = ("bytes", (bytes, 0));
    for next in UNITS {
        if left.0 < 1000 {
            break;
        }
        (unit, left) = (next, (left.0 / 1000, left.0 % 1000 / 100));
    }
    if unit == "bytes" { format!("{bytes} bytes") } else { format!("{}.{} {unit}", left.0, left.1) }
}
