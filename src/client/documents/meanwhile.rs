//! What is proved of a batch while it runs, so that a long one is told piece by piece.
//!
//! Guarantees: as at the end of a batch, a level is told only when all of it was done. Where that is not so yet (a NAS without
//! acknowledgements, one that does not flush, the level `verified`), everything waits for the end.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::sync::mpsc::UnboundedSender;

use super::batch::Batch;
use super::judge;
use super::report::{Attempt, StoredDocument};
use super::sender::DocumentSender;
use crate::blocking;
use crate::client::capabilities::{Folders, Proof};
use crate::client::login::Client;
use crate::client::nas::{self, Flush, Flushed};
use crate::client::one_flush::OneFlush;
use crate::proof::{DurableBy, Level};
use crate::role::ledger::FileReport;

/// How often what was acknowledged is settled.
const PACE: Duration = Duration::from_secs(2);
/// Flushes take at most one part in so many of the time.
const FLUSH_SHARE: u32 = 5;

/// Documents of a batch that are proved before its end.
#[derive(Debug, Clone, Default)]
pub struct Settled {
    /// They are on the NAS.
    pub stored: Vec<StoredDocument>,
    /// The attempts to send them.
    pub attempts: Vec<Attempt>,
}

impl Settled {
    /// Adds others.
    pub(crate) fn add(&mut self, other: Self) {
        self.stored.extend(other.stored);
        self.attempts.extend(other.attempts);
    }
}

impl DocumentSender {
    /// While these sessions run: has made to last what was acknowledged since the last time, and tells it. Dropping the future
    /// leaves what was not told to the end of the batch.
    pub(super) async fn settle_meanwhile(
        &self,
        client: &Client,
        batches: &Mutex<Vec<Arc<Batch>>>,
        one_flush: Option<&OneFlush>,
        tell: &UnboundedSender<Settled>,
    ) -> Infallible {
        let durable_by = if one_flush.is_some() { DurableBy::Batch } else { DurableBy::File };
        let is_durable = self.capabilities.durable_by(durable_by);
        let can = self.capabilities.proof() == Proof::Acknowledgements
            && self.capabilities.best() < Level::Verified
            // One that has not answered any other command is not asked for one that may never end.
            && (self.runs_commands || !is_durable);
        if !can {
            return std::future::pending().await;
        }
        let mut pace = PACE;
        loop {
            tokio::time::sleep(pace).await;
            let batches = blocking::lock(batches).clone();
            let found: Vec<_> = batches.iter().map(|batch| batch.ledger.acknowledged()).collect();
            if found.iter().all(Vec::is_empty) {
                continue;
            }
            let began = Instant::now();
            if is_durable && !self.flushes(client, &batches, &found, one_flush).await {
                break;
            }
            pace = PACE.max(began.elapsed() * (FLUSH_SHARE - 1));
            let lasts = is_durable.then_some(durable_by);
            let mut settled = Settled::default();
            for (batch, files) in batches.iter().zip(found) {
                settled.add(judge::settle(batch, &files, lasts));
            }
            if tell.send(settled).is_err() {
                break;
            }
        }
        std::future::pending().await
    }

    /// Whether the NAS flushes what it has acknowledged. If not, the end of the batch will tell why.
    async fn flushes(
        &self,
        client: &Client,
        batches: &[Arc<Batch>],
        found: &[Vec<(usize, FileReport)>],
        one_flush: Option<&OneFlush>,
    ) -> bool {
        let limit = client.idle_limit();
        let flushed = if let Some(flush) = one_flush {
            let files =
                batches.iter().zip(found).flat_map(|(batch, files)| files.iter().map(move |(tag, _)| (batch, tag)));
            let names = files.filter_map(|(batch, tag)| Some(&batch.documents.get(*tag)?.name));
            flush.flush(client, &names.collect::<Vec<_>>(), limit).await
        } else {
            let in_folders = batches.iter().any(|batch| batch.shape.folders == Folders::OnTheWay);
            let scope = if in_folders { Flush::Everything } else { Flush::Folder };
            nas::flush(client, &self.settings.folder, scope, limit).await
        };
        matches!(flushed, Ok(Flushed::Yes))
    }
}
