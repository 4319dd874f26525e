//! A round: one batch, sent in one session or in several side by side over one login, judged, proved (`proving`) and
//! recorded (`recording`).

use std::sync::Arc;
use std::time::Instant;

use tokio::task::JoinSet;

use super::batch::{Batch, BatchSources, ProgressRecorder};
use super::plan::Planned;
use super::verdicts::{SessionEnd, Verdicts};
use super::{Run, Stopping, asked_to, interrupted};
use crate::client::Client;
use crate::client::capabilities::{Capabilities, Folders, Proof};
use crate::error::{ErrorKind, NasSyncError, Result};
use crate::role::event::Monitor;
use crate::role::sender::{ChangedFile, Mode};
use crate::service::lease::LeaseGuard;
use crate::session::{Contents, Outcome, Push, Receipts};
use crate::wire::handshake::Offer;

/// A part of a batch and what is known about it, also when its session is cut off.
struct Part {
    batch: Batch,
    recorder: Arc<ProgressRecorder>,
    /// What its session was asked for; the run may have learnt meanwhile to ask for less.
    asked: Capabilities,
}

/// What became of a part.
pub(super) struct Judged {
    pub verdicts: Verdicts,
    pub asked: Capabilities,
    pub folders: Folders,
    /// Documents that go again in this run.
    pub again: Vec<Planned>,
}

impl Run<'_> {
    /// Sends some documents and records what was proved. Gives back those that go again.
    pub(super) async fn send_batch(
        &mut self,
        client: &Arc<Client>,
        guard: &mut LeaseGuard,
        planned: Vec<Planned>,
    ) -> Result<Vec<Planned>> {
        let began = Instant::now();
        let bytes = planned.iter().map(Planned::bytes).sum();
        let mut parts = Vec::new();
        let mut sessions = JoinSet::new();
        for share in distribute(planned, usize::from(self.service.settings().jobs)) {
            let batch = Batch::new(share, self.root.clone());
            let recorder = Arc::new(ProgressRecorder::new(&batch, Arc::clone(&self.monitor)));
            let session = self.session(client, &batch, &recorder)?;
            let slot = parts.len();
            sessions.spawn(async move { (slot, session.await) });
            parts.push((Part { batch, recorder, asked: self.capabilities.clone() }, None));
        }
        loop {
            tokio::select! {
                joined = sessions.join_next() => match joined {
                    Some(Ok((slot, outcome))) => parts[slot].1 = Some(outcome),
                    Some(Err(error)) => self.stop(
                        NasSyncError::new(ErrorKind::Internal, "a session stopped unexpectedly").with_source(error),
                    ),
                    None => break,
                },
                () = asked_to(&mut self.stopping, Stopping::Now) => {
                    self.stop(interrupted());
                    sessions.shutdown().await;
                    break;
                }
                // Somebody else may send these documents by now.
                () = guard.lost() => {
                    sessions.shutdown().await;
                    break;
                }
            }
        }
        let mut judged = Vec::new();
        for (part, outcome) in parts {
            judged.push(self.judge(client, part, outcome).await?);
        }
        self.limits.learn(bytes, began.elapsed());
        self.make_durable(client, &mut judged).await?;
        self.read_back(&mut judged).await?;
        let mut again = Vec::new();
        let mut all = Verdicts::default();
        for Judged { verdicts, again: more, .. } in judged {
            again.extend(more);
            all.append(verdicts);
        }
        self.record(guard, all).await?;
        Ok(again)
    }

    fn session(
        &self,
        client: &Arc<Client>,
        batch: &Batch,
        recorder: &Arc<ProgressRecorder>,
    ) -> Result<impl Future<Output = Result<Outcome>> + Send + 'static> {
        let options = self.capabilities.options(batch.folders());
        let destination = self.service.destination()?;
        let client = Arc::clone(client);
        let push = Push {
            offer: Offer::default(),
            list: batch.list(),
            sources: Arc::new(BatchSources::of(batch)),
            contents: Contents::Unsummed,
            receipts: match self.capabilities.proof() {
                Proof::Acknowledgements => Receipts::Asked,
                Proof::CleanEnd => Receipts::NotAsked,
            },
            changed: ChangedFile::Spoil,
            mode: Mode::Transfer,
            idle_limit: client.idle_limit(),
            monitor: Arc::clone(recorder) as Arc<dyn Monitor>,
        };
        Ok(async move { client.session(&destination, &options, push).await })
    }

    /// What a session proved about each document, and which of them go again.
    async fn judge(&mut self, client: &Client, part: Part, outcome: Option<Result<Outcome>>) -> Result<Judged> {
        let Part { batch, recorder, asked } = part;
        let folders = batch.folders();
        let outcome = match outcome {
            Some(Ok(outcome)) => Some(outcome),
            Some(Err(error)) => {
                self.note_end(client, error, Heard::Nothing);
                None
            }
            None => None,
        };
        let sent = outcome.as_ref().map_or_else(|| recorder.bytes(), |outcome| outcome.sent);
        self.summary.bytes_sent += sent;
        if let Some(outcome) = &outcome
            && outcome.refused_an_option()
            && self.can_do_with_less(&asked, outcome).await?
        {
            return Ok(Judged { verdicts: Verdicts::default(), asked, folders, again: batch.into_planned() });
        }
        let jammed = outcome.as_ref().is_some_and(|outcome| outcome.jammed);
        if let Some(outcome) = &outcome
            && let Err(error) = &outcome.result
            && !jammed
        {
            let heard = if outcome.protocol.is_some() { Heard::Handshake } else { Heard::Nothing };
            self.note_end(client, error.clone(), heard);
        }
        let progress = std::mem::take(&mut *recorder.progress());
        let mut verdicts = batch.verdicts(&progress, &SessionEnd { proof: asked.proof(), outcome: outcome.as_ref() });
        if jammed {
            verdicts.spread_refusals();
        }
        if let Some(error) = verdicts.trouble_of_the_nas() {
            self.stop(error);
        }
        let complained = asked.proof() == Proof::CleanEnd && outcome.as_ref().is_some_and(|end| end.result.is_ok());
        if jammed && verdicts.failed.is_empty() {
            // Nothing is out of the way: the next session would end like this one.
            outcome.and_then(|outcome| outcome.result.err()).into_iter().for_each(|error| self.stop(error));
        }
        if complained && verdicts.failed.is_empty() {
            // Smaller sessions show whom the complaint is about.
            self.limits.halve(verdicts.open.len());
        }
        let goes_on = jammed || complained || self.cut.is_some();
        let again = if goes_on { std::mem::take(&mut verdicts.open) } else { Vec::new() };
        Ok(Judged { verdicts, asked, folders, again })
    }

    /// A session that did not come to its end: the run stops, or goes on when only the connection was lost.
    fn note_end(&mut self, client: &Client, error: NasSyncError, heard: Heard) {
        // A server that ends at once over a connection that lives is not set up; asking again would not help.
        let set_up = heard == Heard::Handshake || client.ssh().lost().is_some();
        if error.kind() == ErrorKind::ConnectionLost && set_up {
            self.cut = Some(error);
        } else {
            self.stop(error);
        }
    }

    /// After a server refused its arguments: whether the documents can go again with fewer.
    async fn can_do_with_less(&mut self, asked: &Capabilities, outcome: &Outcome) -> Result<bool> {
        // A session beside this one may have found out already.
        if self.capabilities == *asked && !self.capabilities.learn_from(asked, outcome.text.as_bytes()) {
            return Ok(false);
        }
        self.learn(asked).await?;
        match self.capabilities.check() {
            Ok(()) => Ok(true),
            Err(error) => {
                self.stop(error);
                Ok(false)
            }
        }
    }
}

/// How far a session came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Heard {
    /// The other side never answered as rsync does.
    Nothing,
    /// It did.
    Handshake,
}

/// Deals documents out to sessions in turn, so that each gets its share of large ones.
fn distribute(planned: Vec<Planned>, sessions: usize) -> Vec<Vec<Planned>> {
    let mut parts = vec![Vec::new(); sessions.clamp(1, planned.len().max(1))];
    let count = parts.len();
    for (position, document) in planned.into_iter().enumerate() {
        parts[position % count].push(document);
    }
    parts
}
