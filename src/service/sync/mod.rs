//! One sync run: lease documents, plan, send them in batches, record what each batch proved, until nothing is left.
//!
//! Guarantees: a document is sent only under a lease; what became of a batch is recorded in one commit before the next
//! one begins; a connection that is cut is made anew and goes on with what is left, a bounded number of times without
//! progress; whatever stops the run, everything that was not proved stays pending.

mod batch;
mod batch_limits;
mod plan;
mod prove;
mod record;
mod send;
mod verdicts;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use tokio::sync::watch;

use self::batch_limits::BatchLimits;
use self::plan::{Plan, Planned};
use self::verdicts::Verdicts;
use super::connection::NasConnection;
use super::layout::Layout;
use super::lease::{self, LeaseGuard};
use super::shared_store::SharedStore;
use super::{NasSyncService, SyncSummary, backoff};
use crate::client::Client;
use crate::client::capabilities::Capabilities;
use crate::error::{ErrorKind, Healing, NasSyncError, Result};
use crate::role::event::Monitor;
use crate::store::{Access, BadRow, Document, DocumentId, Due, Pause, Selection};
use crate::tree::Root;

/// The most documents of one lease: each is looked at before it is sent, and held in memory.
const MAX_CLAIM: usize = 2_000;
/// How long to wait for documents that another worker is sending, before looking again.
const OTHERS_NAP: Duration = Duration::from_millis(250);

/// What a run is about.
#[derive(Debug)]
pub(crate) struct Request {
    pub selection: Selection,
    pub others: Others,
}

/// What a run does about documents that another worker is sending.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Others {
    /// It waits until they are sent, or can be had.
    WaitFor,
    /// It ends without them.
    Leave,
}

/// How a run is asked to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stopping {
    /// It is not.
    No,
    /// When the batch that is being sent is over.
    AfterBatch,
    /// At once: what the NAS has acknowledged is still recorded.
    Now,
}

pub(crate) async fn run(
    service: &NasSyncService,
    connection: &mut NasConnection,
    mut request: Request,
    monitor: Arc<dyn Monitor>,
    stopping: watch::Receiver<Stopping>,
) -> Result<SyncSummary> {
    let started = Instant::now();
    let layout = Layout::parse(&service.settings().layout)?;
    if layout.needs_root() && service.settings().upload_dir.is_none() {
        return Err(NasSyncError::new(ErrorKind::Usage, "this layout needs UPLOAD_DIR, the root of the documents")
            .with_solution("Set UPLOAD_DIR to the folder that holds the documents, or choose another NAS_LAYOUT."));
    }
    let root = service.root()?;
    let (target, selection) = (connection.target(), request.selection.clone());
    let store = SharedStore::open(&service.settings().db, Access::Existing).await?;
    let began = Utc::now();
    let (selection, unusable, refused, pause) = store
        .with(move |store| {
            let unusable = store.unusable(&selection)?;
            // So that the run ends although new documents come.
            let selection = store.as_of_now(&selection)?;
            Ok((selection, unusable, store.refused(&target, began)?, store.pause(&target)?))
        })
        .await?;
    request.selection = selection;
    let capabilities = Capabilities::without(refused, service.settings().durability);
    let possible = capabilities.check();
    let mut run = Run {
        service,
        store,
        connection,
        root,
        layout: Arc::new(layout),
        monitor,
        stopping,
        began,
        asked: Asked::of(&request.selection),
        request,
        capabilities,
        pause,
        limits: BatchLimits::default(),
        connected: false,
        reconnects_without_progress: 0,
        cut: None,
        summary: SyncSummary::default(),
    };
    run.refuse(unusable);
    let drained = match possible {
        Ok(()) => run.drain().await,
        Err(error) => Err(error),
    };
    if let Err(error) = drained {
        run.stop(error);
    }
    run.finish().await;
    run.summary.elapsed = started.elapsed();
    Ok(run.summary)
}

/// Which documents may still be leased in this run.
enum Asked {
    /// Those that were due when the run began: what fails in a run is not tried again in it.
    Due,
    /// These, which were asked for by name, whether they wait or not: each once.
    Named(HashSet<DocumentId>),
}

impl Asked {
    fn of(selection: &Selection) -> Self {
        match selection {
            Selection::All | Selection::User(_) | Selection::AllUpTo(_) | Selection::UserUpTo(..) => Self::Due,
            Selection::Documents(ids) | Selection::UserDocuments(_, ids) => Self::Named(ids.iter().copied().collect()),
        }
    }
}

struct Run<'s> {
    service: &'s NasSyncService,
    store: SharedStore,
    connection: &'s mut NasConnection,
    root: Option<Arc<Root>>,
    layout: Arc<Layout>,
    monitor: Arc<dyn Monitor>,
    stopping: watch::Receiver<Stopping>,
    request: Request,
    /// When the run began; what is due or waits is judged by that.
    began: DateTime<Utc>,
    asked: Asked,
    capabilities: Capabilities,
    pause: Option<Pause>,
    limits: BatchLimits,
    /// Whether this run has had a login.
    connected: bool,
    /// Lost connections in a row without a document that was stored.
    reconnects_without_progress: u32,
    /// Why the last session ended early, if going on may help.
    cut: Option<NasSyncError>,
    summary: SyncSummary,
}

impl Run<'_> {
    /// Takes documents and sends them until there are none, or nothing can be sent.
    async fn drain(&mut self) -> Result<()> {
        let mut has_waited = false;
        while !self.is_over() {
            let (fence, documents) = match self.claim().await? {
                Claim::Leased(fence, documents) => (fence, documents),
                Claim::WithOthers(documents) => {
                    if !std::mem::replace(&mut has_waited, true) {
                        tracing::warn!("another worker is sending {documents} of the documents; waiting for them");
                    }
                    self.nap(OTHERS_NAP).await;
                    continue;
                }
                Claim::Nothing => break,
            };
            let mut guard = LeaseGuard::new(self.store.clone(), fence);
            let sent = self.send(&mut guard, documents).await;
            let given_back = guard.give_back().await;
            sent?;
            given_back?;
        }
        Ok(())
    }

    fn is_over(&self) -> bool {
        self.summary.stopped.is_some() || *self.stopping.borrow() != Stopping::No
    }

    async fn claim(&mut self) -> Result<Claim> {
        let (selection, due) = match &self.asked {
            Asked::Due => (self.request.selection.clone(), Due::At(self.began)),
            Asked::Named(ids) => (narrowed(&self.request.selection, ids), Due::Any),
        };
        let others = self.request.others;
        let (claimed, leased) = self
            .store
            .with(move |store| {
                let claimed = store.claim(&selection, &due, MAX_CLAIM, &lease::worker())?;
                let look = claimed.fence.is_none() && others == Others::WaitFor;
                let leased = if look { store.leased(&selection)? } else { 0 };
                Ok((claimed, leased))
            })
            .await?;
        if let Asked::Named(ids) = &mut self.asked {
            for row in &claimed.documents {
                row.as_ref().map_or_else(|bad| bad.id, |document| Some(document.id)).map(|id| ids.remove(&id));
            }
        }
        Ok(match claimed.fence {
            Some(fence) => Claim::Leased(fence, claimed.documents),
            None if leased > 0 => Claim::WithOthers(leased),
            None => Claim::Nothing,
        })
    }

    /// Sends what was leased, batch by batch.
    async fn send(&mut self, guard: &mut LeaseGuard, documents: Vec<Result<Document, BadRow>>) -> Result<()> {
        let Plan { mut planned, refused } = self.plan(documents).await?;
        self.record(guard, Verdicts { failed: refused, ..Verdicts::default() }).await?;
        while !planned.is_empty() && !self.is_over() && !guard.is_lost() {
            let Some(client) = self.connect().await else { break };
            let room = self.room(&client).await?;
            let too_large = self.set_aside(&mut planned, room);
            self.record(guard, Verdicts { failed: too_large, ..Verdicts::default() }).await?;
            if planned.is_empty() || self.is_over() {
                break;
            }
            let later = planned.split_off(self.batch_len(&planned, room));
            let again = self.send_batch(&client, guard, std::mem::replace(&mut planned, later)).await?;
            planned.splice(0..0, again);
            self.wait_before_reconnect().await;
        }
        self.ask_again(planned.iter().map(Planned::id).collect());
        Ok(())
    }

    async fn plan(&self, documents: Vec<Result<Document, BadRow>>) -> Result<Plan> {
        let (layout, root) = (Arc::clone(&self.layout), self.root.clone());
        self.store.with(move |store| Plan::make(store, documents, &layout, root.as_deref())).await
    }

    /// The login. The first of a run is tried once; one that was lost is made anew, with growing waits.
    async fn connect(&mut self) -> Option<Arc<Client>> {
        loop {
            let connected = tokio::select! {
                connected = self.connection.client() => connected,
                () = asked_to(&mut self.stopping, Stopping::AfterBatch) => Err(interrupted()),
            };
            match connected {
                Ok(client) => {
                    self.connected = true;
                    return Some(client);
                }
                Err(error) if self.connected && error.kind().healing() == Healing::Transient && !self.is_over() => {
                    self.cut = Some(error);
                    self.wait_before_reconnect().await;
                }
                Err(error) => self.stop(error),
            }
            if self.is_over() {
                return None;
            }
        }
    }

    /// After a lost connection: waits before the next, or gives up.
    async fn wait_before_reconnect(&mut self) {
        let Some(error) = self.cut.take() else { return };
        self.reconnects_without_progress += 1;
        if self.reconnects_without_progress > self.service.settings().retries {
            self.stop(error);
            return;
        }
        let wait = backoff::RECONNECT.wait(self.reconnects_without_progress);
        tracing::warn!(%error, ?wait, "going on after a lost connection");
        self.nap(wait).await;
    }

    async fn nap(&mut self, length: Duration) {
        tokio::select! {
            () = tokio::time::sleep(length) => {}
            () = asked_to(&mut self.stopping, Stopping::AfterBatch) => {}
        }
    }

    /// Documents that may be leased once more in this run.
    fn ask_again(&mut self, documents: Vec<DocumentId>) {
        if let Asked::Named(ids) = &mut self.asked {
            ids.extend(documents);
        }
    }

    /// The first reason to stop counts.
    fn stop(&mut self, error: NasSyncError) {
        self.summary.stopped.get_or_insert(error);
    }
}

/// What a claim gave.
enum Claim {
    Leased(crate::store::Fence, Vec<Result<Document, BadRow>>),
    /// So many are left, and others have them.
    WithOthers(u64),
    Nothing,
}

/// Returns when a run is asked to end at least in this way.
async fn asked_to(stopping: &mut watch::Receiver<Stopping>, how: Stopping) {
    // An error means that nobody can ask any more.
    if stopping.wait_for(|stopping| *stopping >= how).await.is_err() {
        std::future::pending::<()>().await;
    }
}

pub(crate) fn interrupted() -> NasSyncError {
    NasSyncError::new(ErrorKind::Interrupted, "interrupted; what the NAS had acknowledged is recorded")
}

fn narrowed(selection: &Selection, ids: &HashSet<DocumentId>) -> Selection {
    let ids = ids.iter().copied().collect();
    match selection {
        Selection::User(user) | Selection::UserDocuments(user, _) | Selection::UserUpTo(user, _) => {
            Selection::UserDocuments(*user, ids)
        }
        Selection::All | Selection::Documents(_) | Selection::AllUpTo(_) => Selection::Documents(ids),
    }
}
