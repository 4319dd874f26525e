//! One sync run: plan, log in once, send in batches, record what each batch proved.

use std::sync::Arc;
use std::time::Instant;

use chrono::Utc;
use tokio::task::JoinSet;

use super::batch::{Batch, BatchSources, Plan, Planned, Proof, SessionEnd, Tracker, Verdicts};
use super::client::Client;
use super::layout::Layout;
use super::{DocumentError, NasSyncService, SyncSummary};
use crate::error::{ErrorKind, NasSyncError, Result};
use crate::role::monitor::Monitor;
use crate::role::sender::{ChangedFile, Mode};
use crate::session::{Contents, Outcome, Push, Receipts};
use crate::store::{Access, FailedTry, Level, MarkOutcome, Selection, SyncedRecord};
use crate::tree::Root;
use crate::wire::handshake::Offer;
use crate::wire::server_args::PushOptions;

/// The most documents of one session: what is proved is recorded when a session ends, and its list is held in memory.
const MAX_BATCH: usize = 10_000;
/// The most block sums, in bytes, that the NAS may have to send ahead in one session if it has a copy of every
/// document. The receiving end of the session can hold twice as much.
const MAX_BATCH_SUMS: u64 = 32 * 1024 * 1024;

/// Whether folders travel with the documents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Folders {
    /// All names are flat.
    None,
    /// Folders on the way are made where they are missing; those that exist are left as they are.
    OnTheWay,
}

/// How documents travel: with their times, whatever size and time the copy there has, and never with owner, group or
/// mode.
pub(super) fn document_options(folders: Folders, proof: Proof) -> PushOptions {
    PushOptions {
        recursive: true,
        times: true,
        ignore_times: true,
        omit_directory_times: folders == Folders::OnTheWay,
        keep_dirlinks: folders == Folders::OnTheWay,
        acknowledge: proof == Proof::Acknowledgements,
        ..PushOptions::default()
    }
}

pub(super) async fn run(
    service: &NasSyncService,
    selection: Selection,
    monitor: Arc<dyn Monitor>,
    stop: impl Future<Output = ()>,
) -> Result<SyncSummary> {
    let started = Instant::now();
    let config = service.client_config()?;
    let layout = Layout::parse(&service.settings().layout)?;
    if layout.needs_root() && service.settings().upload_dir.is_none() {
        return Err(NasSyncError::new(ErrorKind::Usage, "this layout needs UPLOAD_DIR, the root of the documents")
            .with_solution("Set UPLOAD_DIR to the folder that holds the documents, or choose another NAS_LAYOUT."));
    }
    require_level(service.settings().durability, Level::Stored)?;
    let root = service.root()?;
    let plan = plan(service, selection, layout, root.clone()).await?;

    let mut run = Run { service, root, monitor, summary: SyncSummary::default(), proof: Proof::Acknowledgements };
    run.summary.total = plan.planned.len() + plan.refused.len();
    let unsent = plan.planned.len();
    run.record(Verdicts { failed: plan.refused, ..Verdicts::default() }).await?;
    tokio::pin!(stop);
    if !plan.planned.is_empty() {
        let connected = tokio::select! {
            connected = Client::connect(&config) => connected,
            () = &mut stop => Err(interrupted()),
        };
        match connected {
            Ok(client) => {
                let client = Arc::new(client);
                run.send_all(&client, plan.planned, &mut stop).await?;
                client.ssh().disconnect().await;
            }
            Err(error) => {
                run.summary.stopped = Some(error);
                run.summary.pending = unsent;
            }
        }
    }
    run.summary.elapsed = started.elapsed();
    Ok(run.summary)
}

async fn plan(service: &NasSyncService, selection: Selection, layout: Layout, root: Option<Arc<Root>>) -> Result<Plan> {
    service
        .with_store(Access::Existing, move |store| {
            let rows = store.pending(&selection)?;
            Plan::make(store, rows, &layout, root.as_deref())
        })
        .await
}

/// A level that cannot be reached is said before anything is sent.
fn require_level(required: Option<Level>, reachable: Level) -> Result<()> {
    match required {
        Some(required) if required > reachable => Err(NasSyncError::new(
            ErrorKind::DurabilityUnavailable,
            format!("the level {} cannot be proved, the best is {}", required.as_str(), reachable.as_str()),
        )),
        _ => Ok(()),
    }
}

fn interrupted() -> NasSyncError {
    NasSyncError::new(ErrorKind::Interrupted, "interrupted; what the NAS had acknowledged is recorded")
}

struct Run<'s> {
    service: &'s NasSyncService,
    root: Option<Arc<Root>>,
    monitor: Arc<dyn Monitor>,
    summary: SyncSummary,
    proof: Proof,
}

/// A batch and what is known about it, also when its session is cut off.
struct Ongoing {
    batch: Batch,
    tracker: Arc<Tracker>,
    /// What its session was asked for; the run may have learnt meanwhile to ask for less.
    proof: Proof,
}

impl Run<'_> {
    /// Sends everything, round by round. A round is one session, or several side by side.
    async fn send_all(
        &mut self,
        client: &Arc<Client>,
        mut planned: Vec<Planned>,
        stop: &mut (impl Future<Output = ()> + Unpin),
    ) -> Result<()> {
        while !planned.is_empty() && self.summary.stopped.is_none() {
            let later = planned.split_off(batch_len(&planned));
            let again = self.round(client, std::mem::replace(&mut planned, later), stop).await?;
            planned.splice(0..0, again);
        }
        self.summary.pending += planned.len();
        Ok(())
    }

    /// Sends some documents and records what was proved. Gives back those that must be sent again with fewer options.
    async fn round(
        &mut self,
        client: &Arc<Client>,
        planned: Vec<Planned>,
        stop: &mut (impl Future<Output = ()> + Unpin),
    ) -> Result<Vec<Planned>> {
        let mut ongoing = Vec::new();
        let mut sessions = JoinSet::new();
        for part in deal(planned, usize::from(self.service.settings().jobs)) {
            let batch = Batch::new(part, self.root.clone());
            let tracker = Arc::new(Tracker::new(&batch, Arc::clone(&self.monitor)));
            let session = self.session(client, &batch, &tracker)?;
            let slot = ongoing.len();
            sessions.spawn(async move { (slot, session.await) });
            ongoing.push((Ongoing { batch, tracker, proof: self.proof }, None));
        }
        loop {
            tokio::select! {
                joined = sessions.join_next() => match joined {
                    Some(Ok((slot, outcome))) => ongoing[slot].1 = Some(outcome),
                    Some(Err(error)) => self.stop(
                        NasSyncError::new(ErrorKind::Internal, "a session stopped unexpectedly").with_source(error),
                    ),
                    None => break,
                },
                () = &mut *stop => {
                    self.stop(interrupted());
                    sessions.shutdown().await;
                    break;
                }
            }
        }
        let mut again = Vec::new();
        for (ongoing, outcome) in ongoing {
            again.extend(self.settle(ongoing, outcome).await?);
        }
        Ok(again)
    }

    fn session(
        &self,
        client: &Arc<Client>,
        batch: &Batch,
        tracker: &Arc<Tracker>,
    ) -> Result<impl Future<Output = Result<Outcome>> + Send + 'static> {
        let folders = if batch.has_folders() { Folders::OnTheWay } else { Folders::None };
        let options = document_options(folders, self.proof);
        let destination = self.service.destination()?;
        let client = Arc::clone(client);
        let push = Push {
            offer: Offer::default(),
            list: batch.list(),
            sources: Arc::new(BatchSources::of(batch)),
            contents: Contents::Unsummed,
            receipts: match self.proof {
                Proof::Acknowledgements => Receipts::Asked,
                Proof::CleanEnd => Receipts::NotAsked,
            },
            changed: ChangedFile::Spoil,
            mode: Mode::Transfer,
            idle_limit: client.idle_limit(),
            monitor: Arc::clone(tracker) as Arc<dyn Monitor>,
        };
        Ok(async move { client.session(&destination, &options, push).await })
    }

    /// Judges one batch and records the verdicts.
    async fn settle(&mut self, ongoing: Ongoing, outcome: Option<Result<Outcome>>) -> Result<Vec<Planned>> {
        let Ongoing { batch, tracker, proof } = ongoing;
        let outcome = match outcome {
            Some(Ok(outcome)) => Some(outcome),
            Some(Err(error)) => {
                self.stop(error);
                None
            }
            None => None,
        };
        if let Some(outcome) = &outcome {
            self.summary.bytes_sent += outcome.sent;
            if outcome.refused_an_option() && self.can_do_with_less(proof) {
                return Ok(batch.into_planned());
            }
            if let Err(error) = &outcome.result
                && !outcome.jammed
            {
                self.stop(error.clone());
            }
        }
        let tracks = std::mem::take(&mut *tracker.tracks());
        let mut verdicts = batch.verdicts(&tracks, &SessionEnd { proof, outcome: outcome.as_ref() });
        let proved = verdicts.synced.clone();
        let changed = tokio::task::spawn_blocking(move || batch.changed_since(&proved)).await.map_err(|error| {
            NasSyncError::new(ErrorKind::Internal, "looking at the files again stopped unexpectedly").with_source(error)
        })?;
        verdicts.take_back(&changed);
        let jammed = outcome.as_ref().is_some_and(|outcome| outcome.jammed);
        if jammed {
            verdicts.spread_refusals();
        }
        if let Some(error) = verdicts.trouble_of_the_nas() {
            self.stop(error);
        }
        let mut again = Vec::new();
        if jammed && verdicts.failed.is_empty() {
            // Nothing is out of the way: the next session would end like this one.
            outcome.and_then(|outcome| outcome.result.err()).into_iter().for_each(|error| self.stop(error));
        } else if jammed {
            again = std::mem::take(&mut verdicts.open);
        }
        self.record(verdicts).await?;
        Ok(again)
    }

    /// Some servers refuse to acknowledge. They are asked once more without, and believed when they end without any
    /// complaint.
    fn can_do_with_less(&mut self, asked: Proof) -> bool {
        if asked == Proof::CleanEnd {
            return false;
        }
        if self.proof == Proof::CleanEnd {
            // A session beside this one has found out already.
            return true;
        }
        if let Err(error) = require_level(self.service.settings().durability, Level::Sent) {
            self.stop(error);
            return false;
        }
        self.proof = Proof::CleanEnd;
        self.summary.warnings.push(String::from(
            "this NAS's rsync cannot acknowledge single files; documents are recorded at the level `sent`",
        ));
        true
    }

    /// The first reason to stop counts.
    fn stop(&mut self, error: NasSyncError) {
        self.summary.stopped.get_or_insert(error);
    }

    async fn record(&mut self, verdicts: Verdicts) -> Result<()> {
        let Verdicts { synced, failed, open, blameless, .. } = verdicts;
        self.summary.pending += open.len() + blameless;
        let (records, now) = (synced.clone(), Utc::now());
        let tries: Vec<FailedTry> = failed.iter().filter_map(failed_try).collect();
        let marked = self
            .service
            .with_store(Access::Existing, move |store| {
                let marked = store.mark_synced(&records, now)?;
                store.record_failures(&tries, now)?;
                Ok(marked)
            })
            .await?;
        for (record, outcome) in synced.iter().zip(marked) {
            match unmarked(record, outcome) {
                None => self.summary.synced += 1,
                Some(error) => self.fail(error),
            }
        }
        for error in failed {
            self.fail(error);
        }
        Ok(())
    }

    fn fail(&mut self, error: DocumentError) {
        self.summary.failed += 1;
        self.summary.errors.push(error);
    }
}

/// How many documents the next session takes, at least one.
fn batch_len(planned: &[Planned]) -> usize {
    let mut sums = 0;
    let fits = |document: &&Planned| {
        sums += document.most_sums();
        sums <= MAX_BATCH_SUMS
    };
    planned.iter().take(MAX_BATCH).take_while(fits).count().max(1).min(planned.len())
}

fn failed_try(failed: &DocumentError) -> Option<FailedTry> {
    let text = failed.error.message().to_owned();
    failed.id.map(|id| FailedTry { id, kind: failed.error.kind(), text })
}

/// Why a document that is stored could not be marked all the same.
fn unmarked(record: &SyncedRecord, outcome: MarkOutcome) -> Option<DocumentError> {
    let error = match outcome {
        MarkOutcome::Marked | MarkOutcome::AlreadySynced => return None,
        MarkOutcome::Changed => NasSyncError::new(ErrorKind::SourceChanged, "its row names another file now"),
        MarkOutcome::Gone => NasSyncError::new(ErrorKind::DocumentNotFound, "its row is gone"),
        MarkOutcome::NameTaken(other) => {
            NasSyncError::new(ErrorKind::NameClash, format!("its name on the NAS belongs to document {other} now"))
        }
        MarkOutcome::Refused(reason) => NasSyncError::new(
            ErrorKind::DatabaseUnusable,
            format!("it is on the NAS, but the database does not let it be marked: {reason}"),
        ),
    };
    Some(DocumentError { id: Some(record.id), error })
}

/// Deals documents out to sessions in turn, so that each gets its share of large ones.
fn deal(planned: Vec<Planned>, sessions: usize) -> Vec<Vec<Planned>> {
    let mut parts = vec![Vec::new(); sessions.clamp(1, planned.len().max(1))];
    let count = parts.len();
    for (position, document) in planned.into_iter().enumerate() {
        parts[position % count].push(document);
    }
    parts
}
