//! One sync run: lease documents, plan, send them in batches, record what each batch proved, until nothing is left.
//!
//! Guarantees: a document is sent only under a lease; what became of a batch is recorded in one commit before the next
//! one begins; a connection that is cut is made anew and goes on with what is left, a bounded number of times without
//! progress; whatever stops the run, everything that was not proved stays pending.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use tokio::sync::watch;

use super::abilities::{self, Abilities};
use super::batch::{Plan, Planned, Verdicts};
use super::client::Client;
use super::layout::Layout;
use super::line::Line;
use super::remote::{self, Space};
use super::worker::{self, Keeper};
use super::{DocumentError, NasSyncService, SyncSummary, retry};
use crate::error::{ErrorKind, Healing, NasSyncError, Result};
use crate::role::monitor::Monitor;
use crate::store::{
    Ability, Access, BadRow, Document, DocumentId, Due, FailedTry, Failure, Held, MarkOutcome, NextTry, Pause, Queue,
    Selection, Settlement,
};
use crate::tree::Root;

/// The most documents of one lease: each is looked at before it is sent, and held in memory.
const MAX_CLAIM: usize = 2_000;
/// The most block sums, in bytes, that the NAS may have to send ahead in one session if it has a copy of every
/// document. The receiving end of the session can hold twice as much.
const MAX_BATCH_SUMS: u64 = 32 * 1024 * 1024;
/// How long to wait for documents that another worker is sending, before looking again.
const OTHERS_NAP: Duration = Duration::from_millis(250);

/// Less than this part of its disk is little room.
const LOW_ROOM: u64 = 20;

/// What a run is about.
#[derive(Debug)]
pub(super) struct Request {
    pub selection: Selection,
    pub others: Others,
}

/// What a run does about documents that another worker is sending.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Others {
    /// It waits until they are sent, or can be had.
    WaitFor,
    /// It ends without them.
    Leave,
}

/// How a run is asked to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stopping {
    /// It is not.
    No,
    /// When the batch that is being sent is over.
    AfterBatch,
    /// At once: what the NAS has acknowledged is still recorded.
    Now,
}

pub(super) async fn run(
    service: &NasSyncService,
    line: &mut Line,
    request: Request,
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
    let (target, selection) = (line.target(), request.selection.clone());
    let (unusable, refused, pause) = service
        .with_store(Access::Existing, move |store| {
            Ok((store.unusable(&selection)?, store.refused(&target, Utc::now())?, store.pause(&target)?))
        })
        .await?;
    let abilities = Abilities::without(refused, service.settings().durability);
    let possible = abilities.check();
    let mut run = Run {
        service,
        line,
        root,
        layout: Arc::new(layout),
        monitor,
        stopping,
        asked: Asked::of(&request.selection),
        request,
        abilities,
        pause,
        pace: Pace::default(),
        low_room_said: false,
        connected: false,
        fruitless: 0,
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
    /// Those that were due at this time, when the run began: what fails in a run is not tried again in it.
    DueAt(DateTime<Utc>),
    /// These, which were asked for by name, whether they wait or not: each once.
    Named(HashSet<DocumentId>),
}

impl Asked {
    fn of(selection: &Selection) -> Self {
        match selection {
            Selection::All | Selection::User(_) => Self::DueAt(Utc::now()),
            Selection::Documents(ids) | Selection::UserDocuments(_, ids) => Self::Named(ids.iter().copied().collect()),
        }
    }
}

pub(super) struct Run<'s> {
    pub(super) service: &'s NasSyncService,
    pub(super) line: &'s mut Line,
    pub(super) root: Option<Arc<Root>>,
    layout: Arc<Layout>,
    pub(super) monitor: Arc<dyn Monitor>,
    pub(super) stopping: watch::Receiver<Stopping>,
    request: Request,
    asked: Asked,
    pub(super) abilities: Abilities,
    pause: Option<Pause>,
    pub(super) pace: Pace,
    low_room_said: bool,
    /// Whether this run has had a login.
    connected: bool,
    /// Lost connections in a row without a document that was stored.
    fruitless: u32,
    /// Why the last session ended early, if going on may help.
    pub(super) cut: Option<NasSyncError>,
    pub(super) summary: SyncSummary,
}

impl Run<'_> {
    /// Takes documents and sends them until there are none, or nothing can be sent.
    async fn drain(&mut self) -> Result<()> {
        while !self.is_over() {
            let (fence, documents) = match self.claim().await? {
                Claim::Leased(fence, documents) => (fence, documents),
                Claim::WithOthers => {
                    self.nap(OTHERS_NAP).await;
                    continue;
                }
                Claim::Nothing => break,
            };
            let mut keeper = Keeper::new(&self.service.settings().db, fence);
            let sent = self.send(&mut keeper, documents).await;
            let given_back = keeper.give_back().await;
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
            Asked::DueAt(time) => (self.request.selection.clone(), Due::At(*time)),
            Asked::Named(ids) => (narrowed(&self.request.selection, ids), Due::Any),
        };
        let others = self.request.others;
        let (claimed, leased) = self
            .service
            .with_store(Access::Existing, move |store| {
                let claimed = store.claim(&selection, &due, MAX_CLAIM, &worker::worker())?;
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
            None if leased > 0 => Claim::WithOthers,
            None => Claim::Nothing,
        })
    }

    /// Sends what was leased, batch by batch.
    async fn send(&mut self, keeper: &mut Keeper, documents: Vec<Result<Document, BadRow>>) -> Result<()> {
        let Plan { mut planned, refused } = self.plan(documents).await?;
        self.record(keeper, Verdicts { failed: refused, ..Verdicts::default() }).await?;
        while !planned.is_empty() && !self.is_over() && !keeper.is_lost() {
            let Some(client) = self.connect().await else { break };
            let room = self.room(&client).await?;
            let Some(len) = self.batch_len(&planned, room) else { break };
            let later = planned.split_off(len);
            let again = self.round(&client, keeper, std::mem::replace(&mut planned, later)).await?;
            planned.splice(0..0, again);
            self.mend().await;
        }
        Ok(())
    }

    async fn plan(&self, documents: Vec<Result<Document, BadRow>>) -> Result<Plan> {
        let (layout, root) = (Arc::clone(&self.layout), self.root.clone());
        self.service
            .with_store(Access::Existing, move |store| Plan::make(store, documents, &layout, root.as_deref()))
            .await
    }

    /// The login. The first of a run is tried once; one that was lost is made anew, with growing waits.
    async fn connect(&mut self) -> Option<Arc<Client>> {
        loop {
            let connected = tokio::select! {
                connected = self.line.client() => connected,
                () = asked_to(&mut self.stopping, Stopping::AfterBatch) => Err(interrupted()),
            };
            match connected {
                Ok(client) => {
                    self.connected = true;
                    return Some(client);
                }
                Err(error) if self.connected && error.kind().healing() == Healing::Transient && !self.is_over() => {
                    self.cut = Some(error);
                    self.mend().await;
                }
                Err(error) => self.stop(error),
            }
            if self.is_over() {
                return None;
            }
        }
    }

    /// After a lost connection: waits before the next, or gives up.
    async fn mend(&mut self) {
        let Some(error) = self.cut.take() else { return };
        self.fruitless += 1;
        if self.fruitless > self.service.settings().retries {
            self.stop(error);
            return;
        }
        let wait = retry::RECONNECT.wait(self.fruitless);
        tracing::warn!(%error, ?wait, "going on after a lost connection");
        self.nap(wait).await;
    }

    async fn nap(&mut self, length: Duration) {
        tokio::select! {
            () = tokio::time::sleep(length) => {}
            () = asked_to(&mut self.stopping, Stopping::AfterBatch) => {}
        }
    }

    /// How much room the NAS has, where it says so. Low room is said once.
    async fn room(&mut self, client: &Client) -> Result<Option<Space>> {
        if !self.abilities.has(Ability::Space) {
            return Ok(None);
        }
        let path = self.service.settings().path.clone().unwrap_or_default();
        let space = tokio::select! {
            space = remote::free_space(client, &path) => space,
            () = asked_to(&mut self.stopping, Stopping::AfterBatch) => return Ok(None),
        };
        let Some(space) = space else {
            // A connection that was just lost says nothing about what the NAS would answer.
            if client.ssh().lost().is_none() {
                let asked = self.abilities.clone();
                self.abilities.refuse(Ability::Space);
                self.learn(&asked).await?;
            }
            return Ok(None);
        };
        if space.available < space.total / LOW_ROOM && !self.low_room_said {
            self.low_room_said = true;
            let (left, total) = (size(space.available), size(space.total));
            self.summary.warnings.push(format!("the NAS has only {left} of {total} left"));
        }
        Ok(Some(space))
    }

    /// How many documents the next batch takes; `None` when not even the first has room.
    fn batch_len(&mut self, planned: &[Planned], room: Option<Space>) -> Option<usize> {
        let available = room.map_or(u64::MAX, |space| space.available);
        if let Some(first) = planned.first().filter(|first| first.bytes() > available) {
            let all: u64 = planned.iter().map(Planned::bytes).sum();
            let message = format!(
                "the NAS has {} left; the next document needs {}, all that are at hand {}",
                size(available),
                size(first.bytes()),
                size(all)
            );
            self.stop(NasSyncError::new(ErrorKind::DiskFull, message));
            return None;
        }
        let (mut sums, mut bytes) = (0, 0);
        let fits = |document: &&Planned| {
            sums += document.most_sums();
            bytes += document.bytes();
            sums <= MAX_BATCH_SUMS && bytes <= self.pace.limit.min(available)
        };
        let len = planned.iter().take(self.pace.documents).take_while(fits).count();
        Some(len.max(1).min(planned.len()))
    }

    /// Documents that may be leased once more in this run.
    pub(super) fn ask_again(&mut self, documents: Vec<DocumentId>) {
        if let Asked::Named(ids) = &mut self.asked {
            ids.extend(documents);
        }
    }

    /// The first reason to stop counts.
    pub(super) fn stop(&mut self, error: NasSyncError) {
        self.summary.stopped.get_or_insert(error);
    }

    /// Remembers what this NAS refuses, and says what changes by that: once, because from now on it is known.
    pub(super) async fn learn(&mut self, asked: &Abilities) -> Result<()> {
        let news: Vec<Ability> = self.abilities.refused().difference(asked.refused()).copied().collect();
        for ability in news {
            if self.service.settings().durability.is_none()
                && let Some(warning) = abilities::warning(ability)
                && !self.summary.warnings.iter().any(|said| said == warning)
            {
                self.summary.warnings.push(warning.to_owned());
            }
        }
        let (target, refused) = (self.line.target(), self.abilities.refused().clone());
        self.service
            .with_store(Access::Existing, move |store| store.remember_refused(&target, &refused, Utc::now()))
            .await
    }

    /// Records verdicts and takes their documents out of the lease, in one commit.
    pub(super) async fn record(&mut self, keeper: &Keeper, verdicts: Verdicts) -> Result<()> {
        let Verdicts { synced, failed, attempts, .. } = verdicts;
        let settlement =
            Settlement { synced: synced.clone(), failed: failed.iter().filter_map(failed_try).collect(), attempts };
        let (fence, retries) = (keeper.fence(), self.service.settings().retries);
        let (marked, unmarkable) = self
            .service
            .with_store(Access::Existing, move |store| {
                let now = Utc::now();
                let next = |kind, tries| retry::next_try(kind, tries, retries, now);
                let outcomes = store.settle(fence, &settlement, now, &next)?;
                let (mut marked, mut unmarkable) = (Vec::new(), Vec::new());
                for (record, outcome) in synced.iter().zip(outcomes) {
                    match outcome {
                        MarkOutcome::Marked => marked.push(record.id),
                        outcome => unmarkable.extend(cannot_be_marked(record.id, outcome)),
                    }
                }
                if !unmarkable.is_empty() {
                    let failed = unmarkable.iter().filter_map(failed_try).collect();
                    store.settle(fence, &Settlement { failed, ..Settlement::default() }, now, &next)?;
                }
                Ok((marked, unmarkable))
            })
            .await?;
        if !marked.is_empty() {
            let marked: HashSet<_> = marked.into_iter().map(Some).collect();
            self.summary.errors.retain(|failed| !marked.contains(&failed.id));
            self.summary.synced += marked.len();
            self.fruitless = 0;
        }
        for error in failed.into_iter().chain(unmarkable) {
            self.fail(error);
        }
        if self.summary.synced > 0 && self.pause.take().is_some() {
            self.set_pause(None).await?;
        }
        Ok(())
    }

    fn refuse(&mut self, rows: Vec<BadRow>) {
        self.summary.errors.extend(rows.into_iter().map(|row| DocumentError { id: row.id, error: row.error }));
    }

    /// The last error of a document counts.
    fn fail(&mut self, error: DocumentError) {
        self.summary.errors.retain(|failed| failed.id.is_none() || failed.id != error.id);
        self.summary.errors.push(error);
    }

    async fn set_pause(&self, pause: Option<Pause>) -> Result<()> {
        let target = self.line.target();
        self.service.with_store(Access::Existing, move |store| store.set_pause(&target, pause.as_ref())).await
    }

    /// Counts what is left, and says when things go on.
    async fn finish(&mut self) {
        let selection = self.request.selection.clone();
        let queue = self.service.with_store(Access::Existing, move |store| store.queue(&selection, Utc::now())).await;
        let Queue { due, leased, held } = queue.unwrap_or_else(|error| {
            self.stop(error);
            Queue::default()
        });
        for held in held {
            if !self.summary.errors.iter().any(|failed| failed.id == Some(held.id)) {
                self.summary.errors.push(still_held(&held));
            }
        }
        self.summary.errors.sort_by_key(|failed| failed.id);
        self.summary.failed = self.summary.errors.len();
        self.summary.pending = usize::try_from(due + leased).unwrap_or(usize::MAX);
        self.summary.total = self.summary.synced + self.summary.failed + self.summary.pending;
        if let Some(error) = self.summary.stopped.clone() {
            self.pause_for(&error).await;
        }
    }

    /// When the NAS takes nothing, or somebody has to do something first, that is recorded for `watch` and `status`.
    async fn pause_for(&mut self, error: &NasSyncError) {
        let count = self.pause.as_ref().map_or(1, |pause| pause.count.saturating_add(1));
        let until = match error.kind().healing() {
            Healing::Pausing => Some(retry::pause_until(count, Utc::now())),
            Healing::Permanent => None,
            Healing::Transient => return,
        };
        let failure = Failure { kind: error.kind().as_str().to_owned(), text: error.message().to_owned() };
        if let Err(error) = self.set_pause(Some(Pause { until, failure, count })).await {
            tracing::warn!(%error, "a pause could not be recorded");
        }
        self.summary.paused_until = until;
    }
}

/// What a claim gave.
enum Claim {
    Leased(crate::store::Fence, Vec<Result<Document, BadRow>>),
    WithOthers,
    Nothing,
}

/// How many bytes and documents a batch may have, so that what is proved is recorded about once a minute.
#[derive(Debug)]
pub(super) struct Pace {
    limit: u64,
    documents: usize,
}

impl Default for Pace {
    fn default() -> Self {
        Self { limit: 512 << 20, documents: MAX_CLAIM }
    }
}

impl Pace {
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

/// Returns when a run is asked to end at least in this way.
pub(super) async fn asked_to(stopping: &mut watch::Receiver<Stopping>, how: Stopping) {
    // An error means that nobody can ask any more.
    if stopping.wait_for(|stopping| *stopping >= how).await.is_err() {
        std::future::pending::<()>().await;
    }
}

pub(super) fn interrupted() -> NasSyncError {
    NasSyncError::new(ErrorKind::Interrupted, "interrupted; what the NAS had acknowledged is recorded")
}

fn narrowed(selection: &Selection, ids: &HashSet<DocumentId>) -> Selection {
    let ids = ids.iter().copied().collect();
    match selection {
        Selection::User(user) | Selection::UserDocuments(user, _) => Selection::UserDocuments(*user, ids),
        Selection::All | Selection::Documents(_) => Selection::Documents(ids),
    }
}

fn failed_try(failed: &DocumentError) -> Option<FailedTry> {
    let text = failed.error.message().to_owned();
    failed.id.map(|id| FailedTry { id, kind: failed.error.kind(), text })
}

/// A document that was not tried in this run, because its last try failed.
fn still_held(held: &Held) -> DocumentError {
    let kind = ErrorKind::from_name(&held.failure.kind).unwrap_or(ErrorKind::NotAcknowledged);
    let text = &held.failure.text;
    let (message, solution) = match held.next {
        NextTry::At(time) => (
            format!("{text} (next try at {})", shown(time)),
            "Nothing to do, or `nas-sync retry` to try again at once.",
        ),
        NextTry::Never => (
            format!("{text} (failed for good, tries: {})", held.tries),
            "See to the cause, then run `nas-sync retry`; the next sync tries again.",
        ),
    };
    let solution = format!("{} {solution}", kind.solution());
    DocumentError { id: Some(held.id), error: NasSyncError::new(kind, message).with_solution(solution) }
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

fn shown(time: DateTime<Utc>) -> impl std::fmt::Display {
    time.format("%Y-%m-%d %H:%M:%S UTC")
}

/// Why a document that is stored cannot be marked all the same; `None` where it is no longer the affair of this run: it
/// is synced already, its row is gone or names another file now, or another worker has taken it over.
fn cannot_be_marked(id: DocumentId, outcome: MarkOutcome) -> Option<DocumentError> {
    let error = match outcome {
        MarkOutcome::NameTaken(other) => {
            NasSyncError::new(ErrorKind::NameClash, format!("its name on the NAS belongs to document {other} now"))
        }
        MarkOutcome::Refused(reason) => NasSyncError::new(
            ErrorKind::DatabaseUnusable,
            format!("it is on the NAS, but the database does not let it be marked: {reason}"),
        ),
        _ => return None,
    };
    Some(DocumentError { id: Some(id), error })
}
