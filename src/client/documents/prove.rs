//! What is done about documents that the NAS acknowledged, so that a stronger level holds
//! (`protocol-notes/15-levels-of-proof.md`).
//!
//! Guarantees: a level is told only when all of it was done; what could have been proved and was not, because the
//! connection was lost or the batch was cut off, counts as not stored.

use std::collections::HashSet;
use std::time::Duration;

use super::report::{BatchReport, StoredDocument};
use super::sender::{Cancelled, DocumentSender, Judged, interrupted};
use crate::client::capabilities::Folders;
use crate::client::compare::{self, Comparison, Item, Method};
use crate::client::login::Client;
use crate::client::nas::{self, Flush, Flushed};
use crate::client::one_flush::{OneFlush, Ready};
use crate::error::{ErrorKind, NasSyncError, Result};
use crate::id::DocumentId;
use crate::proof::{Capability, DurableBy, Level};
use crate::tree::RemoteName;

/// From so many documents on, one flush behind them costs less than one for each: asking for it costs two round trips. Measured
/// on a fast disk; on others it pays earlier.
const ONE_FLUSH_PAYS: usize = 16;

/// How long the last flush may take when somebody waits for the end.
const LAST_FLUSH: Duration = Duration::from_secs(5);

impl DocumentSender {
    /// Whether one flush behind so many documents may be the cheaper way to make them last, or the only one.
    pub(super) fn one_flush_pays(&self, documents: usize) -> bool {
        let pays = documents >= ONE_FLUSH_PAYS || !self.capabilities.durable_by(DurableBy::File);
        pays && self.capabilities.durable_by(DurableBy::Batch)
    }

    /// Has a NAS wait for the flush behind so many documents, before it is known whether it answers any command. `None` where
    /// that is not worth it, or where nothing could run beside it.
    pub(super) async fn flush_ahead(&self, client: &Client, documents: usize) -> Option<Result<Ready>> {
        if !self.one_flush_pays(documents) {
            return None;
        }
        let turn = client.free_turn_to_flush()?;
        tokio::select! {
            ready = OneFlush::ready(client, &self.settings.folder, turn) => Some(ready),
            () = client.ssh().until_it_runs_one_command() => None,
        }
    }

    /// Where one flush behind so many documents is the cheaper proof, or the only one, has the NAS wait for it, which it may do
    /// already. Fails when the connection is lost, or with `DurabilityUnavailable` when the level that is required cannot be
    /// reached without it.
    pub(super) async fn ready_to_flush(
        &mut self,
        client: &Client,
        documents: usize,
        mut ahead: Option<Result<Ready>>,
    ) -> Result<Option<OneFlush>> {
        let can_flush_each = self.capabilities.durable_by(DurableBy::File);
        // A NAS that has not answered any other command is not asked for one that may never end.
        while (self.runs_commands || !can_flush_each) && self.one_flush_pays(documents) {
            let ready = match (ahead.take(), client.free_turn_to_flush()) {
                (Some(ready), _) => ready,
                // Another batch of this login goes before.
                (None, None) if can_flush_each => break,
                (None, None) => OneFlush::ready(client, &self.settings.folder, client.turn_to_flush().await?).await,
                (None, Some(turn)) => OneFlush::ready(client, &self.settings.folder, turn).await,
            };
            match ready? {
                Ready::Yes(flush) => return Ok(Some(flush)),
                // It may have been in passing, so it is asked again.
                Ready::Refused(why) => self.refuse(client, Capability::OneFlush, why),
                Ready::Unfit(why) => self.refuse_for_good(client, Capability::OneFlush, why),
            }
        }
        self.capabilities.check()?;
        Ok(None)
    }

    /// Lets the NAS flush its folders, so that what it acknowledged survives a power cut there
    /// (`protocol-notes/15-levels-of-proof.md#durable`). What it could flush and did not is taken back: the power may
    /// just have been cut.
    pub(super) async fn make_durable(
        &mut self,
        client: &Client,
        judged: &mut [Judged],
        cancelled: Option<Cancelled>,
        report: &mut BatchReport,
    ) {
        if !judged.iter().any(|part| is_flushable(part, DurableBy::File)) {
            return;
        }
        let in_folders = judged.iter().any(|part| part.folders == Folders::OnTheWay);
        let scope = if in_folders { Flush::Everything } else { Flush::Folder };
        let unproved = match self.flush(client, scope, cancelled).await {
            Ok(Flushed::Yes) => {
                self.capabilities.did(Capability::Flush);
                return are_durable(judged, DurableBy::File);
            }
            Ok(Flushed::Refused(why)) => {
                self.refuse(client, Capability::Flush, why.clone());
                match self.capabilities.check() {
                    Err(error) => error.with_details(why),
                    // It may have been in passing: the documents stay pending, and the next batch asks again.
                    Ok(()) if self.settings.required.is_some_and(|level| level >= Level::Durable) => {
                        let message = format!("the NAS did not flush its disks: {why}");
                        NasSyncError::new(ErrorKind::RemoteFailed, message)
                    }
                    Ok(()) => return,
                }
            }
            Err(error) => error,
        };
        take_back(judged, unproved, report);
    }

    /// Has the NAS flush the file system behind the batch. What it does not prove so goes again: an error that it was told of is
    /// told once, so it is not asked for another flush of the same bytes.
    pub(super) async fn flush_batch(
        &mut self,
        client: &Client,
        flush: &OneFlush,
        judged: &mut [Judged],
        cancelled: Option<Cancelled>,
        report: &mut BatchReport,
    ) {
        let flushable = judged.iter().filter(|part| is_flushable(part, DurableBy::Batch));
        let names: Vec<&RemoteName> =
            flushable.flat_map(|part| &part.verdicts.stored).map(|document| &document.name).collect();
        if names.is_empty() {
            return;
        }
        // Whoever asked for the end does not want to wait for slow disks; the documents go again next time.
        let is_last = cancelled == Some(Cancelled::Interrupted);
        let limit = if is_last { LAST_FLUSH } else { client.idle_limit() };
        match flush.flush(client, &names, limit).await {
            Ok(Flushed::Yes) => {
                self.capabilities.did(Capability::OneFlush);
                are_durable(judged, DurableBy::Batch);
            }
            Ok(Flushed::Refused(why)) => {
                let message = format!("the NAS did not flush its disks: {why}");
                self.warnings.push(format!("{message}; what it had acknowledged is sent again"));
                self.refuse(client, Capability::OneFlush, why);
                let cause = NasSyncError::new(ErrorKind::RemoteFailed, message);
                for part in judged.iter_mut().filter(|part| is_flushable(part, DurableBy::Batch)) {
                    let ids: HashSet<DocumentId> = part.verdicts.take_back_all(&cause).into_iter().collect();
                    let taken_back = part.documents.drain(..).filter(|document| ids.contains(&document.id));
                    part.again.extend(taken_back);
                }
            }
            Err(_) if is_last => take_back(judged, interrupted(), report),
            Err(error) => take_back(judged, error, report),
        }
    }

    /// One flush, asked for once more when it is refused. It has to come over the login of the sessions: behind a lost one
    /// there may be a NAS that has started anew, and has nothing left to flush.
    async fn flush(&self, client: &Client, scope: Flush, cancelled: Option<Cancelled>) -> Result<Flushed> {
        let is_last = cancelled == Some(Cancelled::Interrupted);
        let limit = if is_last { LAST_FLUSH } else { client.idle_limit() };
        let flush = async || nas::flush(client, &self.settings.folder, scope, limit).await;
        if !is_last {
            return match flush().await? {
                Flushed::Yes => Ok(Flushed::Yes),
                Flushed::Refused(_) => flush().await,
            };
        }
        // Whoever asked for the end does not want to wait for slow disks; the documents go again next time.
        tokio::time::timeout(LAST_FLUSH, flush()).await.unwrap_or_else(|_| Err(interrupted()))
    }

    /// Where the level `verified` is asked for, lets the NAS read again what it stored.
    pub(super) async fn read_back(&mut self, client: &Client, judged: &mut [Judged], report: &mut BatchReport) {
        if self.capabilities.best() < Level::Verified {
            return;
        }
        let (folder, root) = (&self.settings.folder, self.settings.root.as_ref());
        for at in 0..judged.len() {
            let items: Vec<Item> = judged[at].verdicts.stored.iter().map(item).collect();
            if items.is_empty() {
                continue;
            }
            match compare::compare(client, folder, root, &items, Method::DryRun).await {
                Ok(found) => judged[at].verdicts.read_back(found.into_iter().map(read_back_error).collect()),
                Err(error) => return take_back(judged, error, report),
            }
        }
    }
}

/// Whether what a session stored is to be flushed in this way.
fn is_flushable(part: &Judged, way: DurableBy) -> bool {
    part.asked.durable_by(way) && !part.verdicts.stored.is_empty()
}

fn are_durable(judged: &mut [Judged], by: DurableBy) {
    for part in judged.iter_mut().filter(|part| part.asked.durable_by(by)) {
        part.verdicts.are_durable(by);
    }
}

/// Takes back what was acknowledged and should have been proved further.
fn take_back(judged: &mut [Judged], cause: NasSyncError, report: &mut BatchReport) {
    for part in judged.iter_mut().filter(|part| part.asked.durable()) {
        report.unproved.extend(part.verdicts.take_back_all(&cause));
    }
    if cause.kind() == ErrorKind::ConnectionLost && report.stopped.is_none() {
        report.connection_lost.get_or_insert(cause);
    } else {
        report.stop(cause);
    }
}

fn item(document: &StoredDocument) -> Item {
    Item {
        name: document.name.clone(),
        path: document.path.clone(),
        bytes: document.bytes,
        mtime: document.mtime,
        sha256: document.sha256,
    }
}

/// Why a document that was read back is not verified; `None` when it is.
fn read_back_error(comparison: Comparison) -> Option<NasSyncError> {
    let error = |message| NasSyncError::new(ErrorKind::NotAcknowledged, message);
    match comparison {
        Comparison::Equal => None,
        Comparison::Differs => Some(error("what the NAS reads back is not what was sent")),
        Comparison::Missing => Some(error("the NAS acknowledged it, but it is not there")),
        Comparison::ChangedHere => {
            Some(NasSyncError::new(ErrorKind::SourceChanged, "it changed before it could be read back and compared"))
        }
        Comparison::Unknown(error) => Some(error),
    }
}
