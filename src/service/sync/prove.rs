//! What is done about documents that the NAS acknowledged, so that a stronger level holds
//! (`protocol-notes/15-levels-of-proof.md`).
//!
//! Guarantees: a level is recorded only when all of it was done; what could have been proved and was not, because the
//! connection was lost or the run was cut, stays pending.

use std::time::Duration;

use super::send::Judged;
use super::{Run, Stopping, interrupted};
use crate::client::Client;
use crate::client::capabilities::Folders;
use crate::client::compare::{self, Comparison, Item, Method};
use crate::client::nas::{self, Flush, Flushed};
use crate::error::{ErrorKind, NasSyncError, Result};
use crate::proof::{Capability, Level};
use crate::store::SyncedRecord;

/// How long the last flush may take when somebody waits for the end.
const LAST_FLUSH: Duration = Duration::from_secs(5);

impl Run<'_> {
    /// Lets the NAS flush its folders, so that what it acknowledged survives a power cut there
    /// (`protocol-notes/15-levels-of-proof.md#durable`). What it could flush and did not stays pending: the power may
    /// just have been cut.
    pub(super) async fn make_durable(&mut self, client: &Client, judged: &mut [Judged]) -> Result<()> {
        let flushable = |part: &Judged| part.asked.durable() && !part.verdicts.synced.is_empty();
        if !judged.iter().any(flushable) {
            return Ok(());
        }
        let in_folders = judged.iter().any(|part| part.folders == Folders::OnTheWay);
        let unproved = match self.flush(client, if in_folders { Flush::Everything } else { Flush::Folder }).await {
            Ok(Flushed::Yes) => {
                let durable = judged.iter_mut().filter(|part| part.asked.durable());
                durable.for_each(|part| part.verdicts.raise_to(Level::Durable));
                return Ok(());
            }
            Ok(Flushed::Refused(why)) => {
                let asked = self.capabilities.clone();
                self.capabilities.refuse(Capability::Flush);
                self.learn(&asked).await?;
                match self.capabilities.check() {
                    Ok(()) => return Ok(()),
                    Err(error) => error.with_details(why),
                }
            }
            Err(error) => error,
        };
        self.unprove(judged, unproved);
        Ok(())
    }

    /// One flush. It has to come over the login of the sessions: behind a lost one there may be a NAS that has started
    /// anew, and has nothing left to flush.
    async fn flush(&self, client: &Client, scope: Flush) -> Result<Flushed> {
        let path = self.service.nas_path()?;
        let stopped = *self.stopping.borrow() == Stopping::Now;
        let limit = if stopped { LAST_FLUSH } else { self.service.settings().file_timeout };
        let flush = nas::flush(client, path, scope, limit);
        if !stopped {
            return flush.await;
        }
        // Whoever asked for the end does not want to wait for slow disks; the documents go again next time.
        tokio::time::timeout(LAST_FLUSH, flush).await.unwrap_or_else(|_| Err(interrupted()))
    }

    /// Where the level `verified` is asked for, lets the NAS read again what it stored.
    pub(super) async fn read_back(&mut self, judged: &mut [Judged]) -> Result<()> {
        if self.capabilities.best() < Level::Verified {
            return Ok(());
        }
        let path = self.service.nas_path()?;
        let root = self.root.clone();
        for part in &mut *judged {
            let item = |record: &SyncedRecord| Item::of(&record.file_path, &record.copy);
            let items: Vec<Item> = part.verdicts.synced.iter().map(item).collect::<Result<_>>()?;
            if items.is_empty() {
                continue;
            }
            let read = async {
                let client = self.connection.client().await?;
                compare::compare(&client, path, root.as_ref(), &items, Method::DryRun).await
            };
            match read.await {
                Ok(comparisons) => part.verdicts.read_back(comparisons.into_iter().map(read_back_error).collect()),
                Err(error) => {
                    self.unprove(judged, error);
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Leaves pending what was acknowledged and should have been proved further.
    fn unprove(&mut self, judged: &mut [Judged], cause: NasSyncError) {
        for part in judged.iter_mut().filter(|part| part.asked.durable()) {
            let ids = part.verdicts.take_back_all(&cause);
            self.ask_again(ids);
        }
        if cause.kind() == ErrorKind::ConnectionLost && self.summary.stopped.is_none() {
            self.cut.get_or_insert(cause);
        } else {
            self.stop(cause);
        }
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
