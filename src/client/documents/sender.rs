//! Sends prepared documents batch by batch over one login, and keeps between batches what it has learnt about the NAS.
//!
//! One batch goes in one session or in several side by side; each is judged (`judge`), and what they proved is made to
//! last (`prove`).

use std::pin::pin;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::mpsc::UnboundedSender;

use super::apart;
use super::batch::{Batch, shape_of};
use super::events::DocumentMonitor;
use super::judge::{self, SessionEnd};
use super::limits::{self, BatchLimits};
use super::meanwhile::Settled;
use super::names;
use super::prepared::Prepared;
use super::report::{BatchReport, FailedDocument, Heard, Verdicts};
use super::sessions::{Ended, Load};
use super::side_by_side::SideBySide;
use crate::client::capabilities::{self, Capabilities, Folders, Shape};
use crate::client::destination::destination_of;
use crate::client::dry_run::{dry_run, find_refused};
use crate::client::login::{Client, Started};
use crate::client::nas::{self, Space};
use crate::client::one_flush::Ready;
use crate::error::{ErrorKind, NasSyncError, Result};
use crate::jobs::Jobs;
use crate::proof::{Capability, DurableBy, Level, Refusal};
use crate::session::Outcome;
use crate::tree::HeldFolder;
use crate::wire::offer::Offer;

/// How often sessions may be refused whose options a dry run shows to be taken.
const MOST_ODD_REFUSALS: u32 = 2;

/// What a batch takes one after the other: a question about room, a session, a flush.
const CHANNELS_OF_A_BATCH: usize = 3;
/// What is kept for the next batch: the third opens while these are at work.
const CHANNELS_OF_A_SESSION: usize = 2;

/// What a [`DocumentSender`] needs to know beside the login.
#[derive(Debug, Clone)]
pub struct SendSettings {
    /// The destination folder on the NAS, as a person writes it.
    pub folder: String,
    /// The folder that the documents must lie below, if any.
    pub root: Option<Arc<HeldFolder>>,
    /// The level of proof that is required; `None`: the best up to durable.
    pub required: Option<Level>,
    /// Sessions side by side.
    pub jobs: Jobs,
}

/// Why a batch is cut off from this side. What the NAS has acknowledged until then still counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cancelled {
    /// Somebody asked for the end and does not want to wait.
    Interrupted,
    /// Somebody else may send these documents by now.
    TakenOver,
}

/// Sends documents to one folder of one NAS.
#[derive(Debug)]
pub struct DocumentSender {
    pub(super) settings: SendSettings,
    pub(super) capabilities: Capabilities,
    limits: BatchLimits,
    /// How many sessions pay, where nobody has said how many there are to be.
    pub(super) side_by_side: SideBySide,
    low_room_said: bool,
    /// Whether the NAS has answered a command beside rsync, so that words of a command line reach rsync as they are.
    pub(super) runs_commands: bool,
    /// Sessions in a row that were refused although dry runs with the same options were not.
    odd_refusals: u32,
    /// What was known when somebody last asked for news.
    told: Vec<Refusal>,
    pub(super) warnings: Vec<String>,
}

/// What a NAS answered before a batch.
#[derive(Debug, Default)]
pub(crate) struct Room {
    /// How much room it has, where it says so.
    pub space: Option<Space>,
    /// What runs there by now, for the batch that most likely follows.
    pub ahead: StartedAhead,
}

/// The commands of a batch, started while the NAS was asked about room. Each that is dropped is closed.
#[derive(Debug, Default)]
pub(crate) struct StartedAhead {
    pub rsync: Option<Started>,
    /// What came of asking for one flush behind the batch.
    pub flush: Option<Result<Ready>>,
}

/// What became of the part of a batch that went in one session.
pub(super) struct Judged {
    pub verdicts: Verdicts,
    /// What its session was asked for.
    pub asked: Capabilities,
    pub folders: Folders,
    /// Documents that go again.
    pub again: Vec<Prepared>,
    /// All that its session was about.
    pub documents: Vec<Prepared>,
}

impl DocumentSender {
    /// A sender that knows what this NAS has refused before.
    pub fn new(settings: SendSettings, refusals: Vec<Refusal>) -> Self {
        Self {
            capabilities: Capabilities::without(refusals.clone(), settings.required),
            settings,
            limits: BatchLimits::default(),
            side_by_side: SideBySide::default(),
            low_room_said: false,
            runs_commands: false,
            odd_refusals: 0,
            told: refusals,
            warnings: Vec::new(),
        }
    }

    /// The folder that the documents of the next batches must lie below, if any.
    #[cfg(feature = "cli")]
    pub(crate) fn set_root(&mut self, root: Option<Arc<HeldFolder>>) {
        self.settings.root = root;
    }

    /// Fails with `DurabilityUnavailable` when this NAS is known not to prove the level that is required.
    pub fn check(&self) -> Result<()> {
        self.capabilities.check()
    }

    /// All that is known to be refused, if something else is known than when this was asked last.
    pub fn take_news(&mut self) -> Option<Vec<Refusal>> {
        let known: Vec<Refusal> = self.capabilities.refusals().cloned().collect();
        (known != self.told).then(|| {
            self.told.clone_from(&known);
            known
        })
    }

    /// What people should know, once each.
    pub fn take_warnings(&mut self) -> Vec<String> {
        std::mem::take(&mut self.warnings)
    }

    /// How much room the NAS has for what waits, where it says so. Low room is said once. What the batch that most likely follows
    /// needs is started meanwhile. Dropping the future loses nothing.
    pub(crate) async fn room(&mut self, client: &Client, waiting: &[Prepared]) -> Room {
        self.capabilities.forget_other_servers(client.ssh().server_version());
        client.ssh().open_ahead(CHANNELS_OF_A_BATCH);
        if !self.capabilities.has(Capability::Space) {
            return Room::default();
        }
        let likely = &waiting[..self.limits.batch_len(waiting, None)];
        // In this order: a server that lets one command run at a time answers first.
        let (space, rsync, flush) = tokio::join!(
            nas::free_space(client, &self.settings.folder),
            self.start_ahead(client, likely),
            self.flush_ahead(client, likely.len()),
        );
        let ahead = StartedAhead { rsync, flush };
        let Some(space) = space else {
            // A connection that was just lost says nothing about what the NAS would answer.
            if client.ssh().lost().is_none() {
                self.refuse(client, Capability::Space, String::from("df gave no figures"));
            }
            return Room { space, ahead };
        };
        self.runs_commands = true;
        self.capabilities.did(Capability::Space);
        if let Some(warning) = limits::low_room(space).filter(|_| !self.low_room_said) {
            self.low_room_said = true;
            self.warnings.push(warning);
        }
        Room { space: Some(space), ahead }
    }

    async fn start_ahead(&self, client: &Client, likely: &[Prepared]) -> Option<Started> {
        // Of several sessions each has a share of its own.
        if matches!(self.settings.jobs, Jobs::Number(2..)) {
            return None;
        }
        // Where one flush turns out to be impossible, another one is started.
        let durable_by = if self.one_flush_pays(likely.len()) { DurableBy::Batch } else { DurableBy::File };
        let options = self.capabilities.options(shape_of(client, likely, durable_by));
        client.start_ahead(&destination_of(&self.settings.folder), &options, Offer::default()).await
    }

    /// The rsync that was started, unless the NAS has to be asked something about these documents before.
    async fn use_started(&self, started: Option<Started>, documents: &[Prepared]) -> Option<Started> {
        let started = started?;
        if self.runs_commands && documents.iter().all(|document| document.neighbours.is_empty()) {
            return Some(started);
        }
        started.abandon().await;
        None
    }

    /// Takes the next batch out of what waits, and those documents for which the NAS has no room. What may be the same file
    /// as another document of the batch goes on waiting. Fails with `DiskFull` when the NAS has room for none; all of them
    /// still wait then.
    pub fn next_batch(
        &self,
        waiting: &mut Vec<Prepared>,
        room: Option<Space>,
    ) -> Result<(Vec<Prepared>, Vec<FailedDocument>)> {
        let too_large = limits::set_aside_too_large(waiting, room)?;
        let later = waiting.split_off(self.limits.batch_len(waiting, room));
        let (batch, held_back) = names::hold_back(std::mem::replace(waiting, later));
        waiting.splice(0..0, held_back);
        Ok((batch, too_large))
    }

    /// Sends a batch to its end, over what was started for it, or until `cancel` is ready: what was acknowledged until then is told in any case. What is
    /// proved while it runs is given to `tell`, and is in no report.
    pub(crate) async fn send_batch(
        &mut self,
        client: &Client,
        documents: Vec<Prepared>,
        ahead: StartedAhead,
        monitor: &Arc<dyn DocumentMonitor>,
        cancel: impl Future<Output = Cancelled>,
        tell: &UnboundedSender<Settled>,
    ) -> BatchReport {
        let began = Instant::now();
        self.capabilities.forget_other_servers(client.ssh().server_version());
        let StartedAhead { rsync, mut flush } = ahead;
        let mut started = self.use_started(rsync, &documents).await;
        if let Some(report) = self.folder_is_missing(client, &documents).await {
            return report;
        }
        let mut report = BatchReport::default();
        let documents = apart::keep_apart(client, &self.settings.folder, documents, &mut report).await;
        if documents.is_empty() {
            return report;
        }
        let bytes = documents.iter().map(Prepared::bytes).sum();
        let mut cancel = pin!(cancel);
        let (Ended { sessions, cancelled, side_by_side }, one_flush) = loop {
            let one_flush = match self.ready_to_flush(client, documents.len(), flush.take()).await {
                Ok(Some(ready)) => ready,
                Ok(None) => {
                    let load = Load { documents, one_flush: None, started };
                    break (self.run_sessions(client, load, monitor, cancel, tell, &mut report).await, None);
                }
                Err(error) => {
                    report.end(error, Heard::Nothing, client);
                    report.again = documents;
                    return report;
                }
            };
            let load = Load { documents: documents.clone(), one_flush: Some(&one_flush), started: started.take() };
            tokio::select! {
                ended = self.run_sessions(client, load, monitor, cancel.as_mut(), tell, &mut report) => {
                    break (ended, Some(one_flush));
                }
                // The flush is what they wait for, and they are what it waits for.
                () = client.ssh().until_it_runs_one_command() => {}
            }
        };
        self.side_by_side = side_by_side;
        let mut judged = Vec::with_capacity(sessions.len());
        for (batch, outcome) in sessions {
            judged.push(self.judge(client, batch, outcome, &mut report).await);
        }
        self.limits.learn(bytes, began.elapsed());
        match one_flush {
            Some(flush) => self.flush_batch(client, &flush, &mut judged, cancelled, &mut report).await,
            None => self.make_durable(client, &mut judged, cancelled, &mut report).await,
        }
        self.read_back(client, &mut judged, &mut report).await;
        client.ssh().open_ahead(CHANNELS_OF_A_SESSION);
        for part in judged {
            report.again.extend(part.again);
            report.stored.extend(part.verdicts.stored);
            report.failed.extend(part.verdicts.failed);
            report.attempts.extend(part.verdicts.attempts);
            report.open.extend(part.verdicts.open.into_iter().map(|document| document.id));
        }
        report
    }

    /// A wrapper that cleans the words of a command may also clean away what keeps rsync from making the folder. So where
    /// only rsync can be run, it is asked first whether the folder is there.
    async fn folder_is_missing(&self, client: &Client, documents: &[Prepared]) -> Option<BatchReport> {
        if self.runs_commands {
            return None;
        }
        let shape = shape_of(client, documents, DurableBy::File);
        // Options that are refused show when the documents go.
        let folder = &self.settings.folder;
        let error = match dry_run(client, folder, &self.capabilities, shape).await {
            Ok(dry_run) => dry_run.check(client, folder).await.err()?,
            Err(error) => error,
        };
        (error.kind() == ErrorKind::DestinationMissing).then(|| BatchReport {
            open: documents.iter().map(|document| document.id.clone()).collect(),
            stopped: Some(error),
            ..BatchReport::default()
        })
    }

    /// What a session proved about each document, and which of them go again.
    async fn judge(
        &mut self,
        client: &Client,
        batch: Batch,
        outcome: Option<Result<Outcome>>,
        report: &mut BatchReport,
    ) -> Judged {
        let (shape, asked) = (batch.shape, batch.asked.clone());
        let folders = shape.folders;
        let outcome =
            outcome.and_then(|outcome| outcome.map_err(|error| report.end(error, Heard::Nothing, client)).ok());
        report.bytes_sent += outcome.as_ref().map_or_else(|| batch.ledger.read(), |outcome| outcome.sent);
        let goes_in_another_way = match &outcome {
            Some(outcome) if batch.beside_others && outcome.found_another() => {
                self.settings.jobs = Jobs::Number(1);
                true
            }
            Some(outcome) if outcome.refused_an_option() || asked.wait_in_vain(outcome.protocol) => {
                self.can_do_with_less(client, &asked, shape, report).await
            }
            _ => false,
        };
        if goes_in_another_way {
            let again = batch.into_unsettled();
            return Judged { verdicts: Verdicts::default(), asked, folders, again, documents: Vec::new() };
        }
        let jammed = outcome.as_ref().is_some_and(|outcome| outcome.jammed);
        if let Some(outcome) = &outcome
            && let Err(error) = &outcome.result
            && !jammed
        {
            let heard = if outcome.protocol.is_some() { Heard::Handshake } else { Heard::Nothing };
            report.end(error.clone(), heard, client);
        }
        let end = SessionEnd { proof: asked.proof(), outcome: outcome.as_ref() };
        let mut verdicts = judge::judge(&batch, &end);
        if jammed {
            verdicts.spread_refusals();
        }
        if let Some(error) = verdicts.trouble_of_the_nas() {
            report.stop(error);
        }
        let complained = end.unclean().is_some();
        if jammed && verdicts.failed.is_empty() {
            // Nothing is out of the way: the next session would end like this one.
            outcome.and_then(|outcome| outcome.result.err()).into_iter().for_each(|error| report.stop(error));
        }
        match complained {
            // Smaller sessions show whom the complaint is about.
            true if verdicts.failed.is_empty() => self.limits.halve(verdicts.open.len()),
            true => {}
            false => self.limits.double(),
        }
        let goes_on = jammed || complained || report.connection_lost.is_some();
        let again = if goes_on { std::mem::take(&mut verdicts.open) } else { Vec::new() };
        Judged { verdicts, asked, folders, again, documents: batch.documents }
    }

    /// After a server refused its arguments: whether the documents can go again, with fewer or because it was in passing.
    async fn can_do_with_less(
        &mut self,
        client: &Client,
        asked: &Capabilities,
        shape: Shape,
        report: &mut BatchReport,
    ) -> bool {
        // A session beside this one may have found out already.
        if self.capabilities == *asked {
            let found = find_refused(client, &self.settings.folder, &mut self.capabilities, shape).await;
            match found {
                Ok(last) if last.outcome.protocol.is_some() => {}
                found => {
                    // Where it never starts no option is to blame for what the session said.
                    if let Err(error) = found.and_then(|last| last.outcome.result)
                        && error.kind() == ErrorKind::ExecRefused
                    {
                        report.stop(error);
                    }
                    return false;
                }
            }
            self.odd_refusals = if self.capabilities == *asked { self.odd_refusals + 1 } else { 0 };
            if self.odd_refusals > MOST_ODD_REFUSALS {
                return false;
            }
        }
        self.warn_of_news(asked);
        match self.capabilities.check() {
            Ok(()) => true,
            Err(error) => {
                report.stop(error);
                false
            }
        }
    }

    pub(super) fn refuse(&mut self, client: &Client, capability: Capability, evidence: String) {
        self.capabilities.refuse(Refusal::new(capability, evidence, client.ssh().server_version()));
        self.warn_of(capability);
    }

    pub(super) fn refuse_for_good(&mut self, client: &Client, capability: Capability, evidence: String) {
        self.capabilities.refuse(Refusal::certain(capability, evidence, client.ssh().server_version()));
        self.warn_of(capability);
    }

    /// Says what changes by what was learnt: once, because from then on it is known.
    fn warn_of_news(&mut self, known: &Capabilities) {
        for capability in self.capabilities.refused().difference(&known.refused()) {
            self.warn_of(*capability);
        }
    }

    fn warn_of(&mut self, capability: Capability) {
        match capability {
            // There is another way.
            Capability::Fsync if self.capabilities.durable() => return,
            // What was said of the other way holds now.
            Capability::OneFlush if !self.capabilities.durable() && !self.capabilities.has(Capability::Fsync) => {
                return self.warn_of(Capability::Fsync);
            }
            _ => {}
        }
        // A level that is required is an error where it cannot be had.
        if self.settings.required.is_none()
            && let Some(warning) = capabilities::warning(capability)
            && !self.warnings.iter().any(|said| said == warning)
        {
            self.warnings.push(warning.to_owned());
        }
    }
}

/// The error of a run that somebody ended.
pub(crate) fn interrupted() -> NasSyncError {
    NasSyncError::new(ErrorKind::Interrupted, "interrupted; what the NAS had acknowledged is recorded")
}
