//! The run itself: the one place that decides what happens next.

use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::Utc;
use tokio::sync::{mpsc, watch};

use super::finish;
use super::plan::{self, Plan};
use super::record::{self, Outcomes};
use super::state::{Asked, Context, Done, Others, Request, State};
use super::stopping::{Stopping, asked_to};
use crate::client::Client;
use crate::client::documents::{
    BatchReport, Cancelled, DocumentMonitor, DocumentSender, Naming, Prepared, Room, SendSettings, StartedAhead,
    interrupted,
};
use crate::error::{ErrorKind, Healing, Result};
use crate::id::DocumentId;
use crate::proof::Capability;
use crate::service::connection::NasConnection;
use crate::service::lease::{self, LeaseGuard};
use crate::service::{DocumentError, NasSyncService, SyncSummary, backoff};
use crate::store::{Access, BadRow, Beginning, Document, Fence, Moved, Store};

/// The most documents of one lease: each is looked at before it is sent, and held in memory.
const MAX_CLAIM: usize = 2_000;
/// How long to wait for documents that another worker is sending, before looking again.
const OTHERS_NAP: Duration = Duration::from_millis(250);

/// Runs a sync to its end. Fails only when nothing could be looked at.
pub(crate) async fn run(
    service: &NasSyncService,
    connection: &mut NasConnection,
    request: Request,
    monitor: Arc<dyn DocumentMonitor>,
    stopping: watch::Receiver<Stopping>,
) -> Result<SyncSummary> {
    let started = Instant::now();
    let (context, mut state, mut sender) = begin(service, connection, request, monitor, stopping).await?;
    let drained = match sender.check() {
        Ok(()) => drain(&context, &mut state, &mut sender, connection).await,
        Err(error) => Err(error),
    };
    if let Err(error) = drained {
        state.stop(error);
    }
    finish::finish(&context, &mut state).await;
    context.store.close().await;
    state.summary.elapsed = started.elapsed();
    Ok(state.summary)
}

async fn begin(
    service: &NasSyncService,
    connection: &NasConnection,
    request: Request,
    monitor: Arc<dyn DocumentMonitor>,
    stopping: watch::Receiver<Stopping>,
) -> Result<(Context, State, DocumentSender)> {
    let settings = service.settings();
    let naming = Naming::of(settings)?;
    let root = naming.root().cloned();
    let (target, others, overwrite) = (connection.target(), request.others, request.overwrite);
    let store = Store::open(&settings.db, Access::Existing).await?;
    let (began, is_named) = (Utc::now(), request.selection.documents.is_some());
    // It is bounded, so that the run ends although new documents come.
    let Beginning { selection, unusable, refusals, pause } =
        store.begin(request.selection, target.clone(), began).await?;
    let place = connection.place();
    let moved = store.send_to(place.clone()).await?;
    // Whoever asks now may have made room, and where the NAS says how much there is, nothing is sent in vain.
    let says_room = refusals.iter().all(|refusal| refusal.capability != Capability::Space);
    if others == Others::WaitFor && says_room {
        store.end_waits(selection.clone(), ErrorKind::DiskFull).await?;
    }
    let asked = if is_named { Asked::of(&selection) } else { Asked::Due };
    let send = SendSettings {
        folder: service.nas_path()?.to_owned(),
        root: root.clone(),
        required: settings.durability,
        jobs: settings.jobs,
    };
    let sender = DocumentSender::new(send, refusals);
    let retries = settings.retries;
    let context =
        Context { store, target, place, root, naming, retries, monitor, stopping, selection, others, overwrite, began };
    let mut state = State {
        asked,
        done: Done::default(),
        awaited: Vec::new(),
        pause,
        moved: moved.is_some(),
        connected: false,
        reconnects_without_progress: 0,
        connection_lost: None,
        summary: SyncSummary::default(),
    };
    state.warn(moved.into_iter().map(|moved| format!("{}; {}", moved.message(), Moved::SOLUTION)).collect());
    state.summary.errors.extend(unusable.into_iter().map(|row| DocumentError { id: row.id, error: row.error }));
    Ok((context, state, sender))
}

/// Takes documents and sends them until there are none, or nothing can be sent.
async fn drain(
    context: &Context,
    state: &mut State,
    sender: &mut DocumentSender,
    connection: &mut NasConnection,
) -> Result<()> {
    while !state.is_over(context) {
        let (fence, rows) = match claim(context, state).await? {
            Claim::Leased(fence, rows) => (fence, rows),
            Claim::WithOthers(documents) => {
                if state.awaited.is_empty() {
                    let count = documents.len();
                    tracing::warn!("another worker is sending {count} of the documents; waiting for them");
                    state.awaited = documents;
                }
                nap(context, OTHERS_NAP).await;
                continue;
            }
            Claim::Nothing => break,
        };
        let guard = LeaseGuard::new(context.store.clone(), fence);
        let sent = send(context, state, sender, connection, &guard, rows).await;
        let given_back = guard.give_back().await;
        sent?;
        given_back?;
    }
    Ok(())
}

/// What a claim gave.
enum Claim {
    Leased(Fence, Vec<Result<Document, BadRow>>),
    /// These are left, and others have them.
    WithOthers(Vec<DocumentId>),
    Nothing,
}

async fn claim(context: &Context, state: &mut State) -> Result<Claim> {
    let (selection, due) = state.asked.next(context, &state.done);
    let mut claimed = context.store.lease(selection.clone(), due, MAX_CLAIM, lease::worker()).await?;
    claimed.documents.retain(|row| {
        let id = row.as_ref().map_or_else(|bad| bad.id.as_ref(), |document| Some(&document.id));
        id.is_none_or(|id| {
            state.asked.leased(id);
            state.done.has_its_turn(id)
        })
    });
    if let Some(fence) = claimed.fence {
        return Ok(Claim::Leased(fence, claimed.documents));
    }
    let leased = match context.others {
        Others::WaitFor => context.store.leased(selection).await?,
        Others::Leave => Vec::new(),
    };
    Ok(if leased.is_empty() { Claim::Nothing } else { Claim::WithOthers(leased) })
}

/// Sends what was leased, batch by batch: plan, send and prove, record.
async fn send(
    context: &Context,
    state: &mut State,
    sender: &mut DocumentSender,
    connection: &mut NasConnection,
    guard: &LeaseGuard,
    rows: Vec<Result<Document, BadRow>>,
) -> Result<()> {
    let Plan { prepared: mut waiting, refused } = plan::make(context, rows).await?;
    context.monitor.event(state.done.taken_up(&waiting, &refused));
    record::record(context, state, guard, &mut Outcomes::failures(refused)).await?;
    while !waiting.is_empty() && !state.is_over(context) && !guard.is_lost() {
        let Some(client) = connect(context, state, connection).await else { break };
        let room = tokio::select! {
            room = sender.room(&client, &waiting) => room,
            () = asked_to(context.stopping.clone(), Stopping::AfterBatch) => Room::default(),
        };
        record::remember_refusals(context, state, sender).await?;
        if state.is_over(context) {
            break;
        }
        let (batch, too_large) = match sender.next_batch(&mut waiting, room.space) {
            Ok(next) => next,
            Err(error) => {
                state.stop(error);
                break;
            }
        };
        let too_large = too_large.into_iter().map(Into::into).collect();
        record::record(context, state, guard, &mut Outcomes::failures(too_large)).await?;
        let report = send_batch(context, state, sender, &client, guard, batch, room.ahead).await;
        record::remember_refusals(context, state, sender).await?;
        let again = settle(context, state, guard, report).await?;
        waiting.splice(0..0, again);
        wait_before_reconnect(context, state).await;
    }
    state.asked.again(waiting.into_iter().map(|document| document.id));
    Ok(())
}

/// Sends a batch. What is proved while it runs is recorded at once; what could not be, such as in a database that is locked for
/// a while, is in the report with the rest.
async fn send_batch(
    context: &Context,
    state: &mut State,
    sender: &mut DocumentSender,
    client: &Client,
    guard: &LeaseGuard,
    batch: Vec<Prepared>,
    ahead: StartedAhead,
) -> BatchReport {
    let (tell, mut told) = mpsc::unbounded_channel();
    let cancel = cancelled(context, guard.lost());
    let mut sending = pin!(sender.send_batch(client, batch, ahead, &context.monitor, cancel, &tell));
    let mut unrecorded = Outcomes::default();
    let mut report = loop {
        tokio::select! {
            report = &mut sending => break report,
            Some(settled) = told.recv() => {
                unrecorded.add(settled);
                if let Err(error) = record::record(context, state, guard, &mut unrecorded).await {
                    tracing::debug!(%error, "what is proved so far is recorded later");
                }
            }
        }
    };
    while let Ok(settled) = told.try_recv() {
        unrecorded.add(settled);
    }
    report.stored.extend(unrecorded.stored);
    report.attempts.extend(unrecorded.attempts);
    report
}

/// Takes in what became of a batch. Gives the documents that go again.
async fn settle(
    context: &Context,
    state: &mut State,
    guard: &LeaseGuard,
    report: BatchReport,
) -> Result<Vec<Prepared>> {
    state.summary.bytes_sent += report.bytes_sent;
    if let Some(error) = report.stopped {
        state.stop(error);
    }
    state.connection_lost = report.connection_lost;
    state.asked.again(report.unproved);
    let failed = report.failed.into_iter().map(Into::into).collect();
    let mut outcomes = Outcomes { stored: report.stored, failed, attempts: report.attempts };
    record::record(context, state, guard, &mut outcomes).await?;
    Ok(report.again)
}

/// Returns when the batch that is being sent has to end at once.
async fn cancelled(context: &Context, lost: impl Future<Output = ()>) -> Cancelled {
    tokio::select! {
        () = asked_to(context.stopping.clone(), Stopping::Now) => Cancelled::Interrupted,
        () = lost => Cancelled::TakenOver,
    }
}

/// The login. The first of a run is tried once, unless the NAS asks for patience; one that was lost is made anew, with
/// growing waits.
async fn connect(context: &Context, state: &mut State, connection: &mut NasConnection) -> Option<Client> {
    loop {
        let connected = tokio::select! {
            connected = connection.client() => connected,
            () = asked_to(context.stopping.clone(), Stopping::AfterBatch) => Err(interrupted()),
        };
        match connected {
            Ok(client) => {
                state.connected = true;
                return Some(client);
            }
            Err(error)
                if (state.connected && error.kind().healing() == Healing::Transient
                    || error.kind() == ErrorKind::TurnedAway)
                    && !state.is_over(context) =>
            {
                state.connection_lost = Some(error);
                wait_before_reconnect(context, state).await;
            }
            Err(error) => state.stop(error),
        }
        if state.is_over(context) {
            return None;
        }
    }
}

/// After a lost connection: waits before the next, or gives up.
async fn wait_before_reconnect(context: &Context, state: &mut State) {
    let Some(error) = state.connection_lost.take() else { return };
    state.reconnects_without_progress += 1;
    if state.reconnects_without_progress > context.retries {
        state.stop(error);
        return;
    }
    let wait = backoff::RECONNECT.wait(state.reconnects_without_progress);
    tracing::warn!("going on after a lost connection, again in {}: {error}", backoff::shown(wait));
    nap(context, wait).await;
}

async fn nap(context: &Context, length: Duration) {
    tokio::select! {
        () = tokio::time::sleep(length) => {}
        () = asked_to(context.stopping.clone(), Stopping::AfterBatch) => {}
    }
}
