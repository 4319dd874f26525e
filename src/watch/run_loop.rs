//! The loop: what to do next, and doing it.
//!
//! Guarantees: the NAS is left alone while nothing is due, while it asked for patience, and for long after it refused this
//! login; every wait ends by itself, except that after a changed host key; what can be put right on this machine is looked
//! at again as soon as it changes; documents whose worker has died are taken over; a run that was asked to stop ends within
//! the grace period and what it needs to record what was acknowledged.

mod arrivals;
mod greeting;
mod recorded;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use self::arrivals::Arrivals;
use self::greeting::Greeting;
use super::barrier::{Next, bar, is_caused_here, is_locked_out, kind_of, needs_a_person, shown};
use super::ground::Ground;
use super::health_file::State;
use super::log_on_change::LogOnChange;
use super::orders::{Follower, KeptAlong, OrderBook};
use super::poller::{Look, QueuePoller, View};
use super::status::WatchStatus;
use super::tally::Tally;
use crate::client::documents::DocumentMonitor;
use crate::client::nas;
use crate::error::{ErrorKind, Healing, NasSyncError, Result};
use crate::id::DocumentId;
use crate::service::backoff;
use crate::service::connection::NasConnection;
use crate::service::sync::{self, Others, Request, Stopping};
use crate::service::{NasSyncService, SyncSummary};
use crate::store::{Pause, Selection};
use crate::text;

/// How often the database is glanced at.
const POLL: Duration = Duration::from_secs(1);
/// How long a login is kept after the last work.
const WARM: Duration = Duration::from_secs(30);
/// How often to look, by asking for them, whether documents under a lease can be had because their worker has died.
const PROBE: Duration = Duration::from_secs(20);
/// How long a goodbye may take.
const GOODBYE: Duration = Duration::from_secs(2);

/// What the loop needs to know.
pub(super) struct Course {
    pub selection: Selection,
    pub interval: Duration,
    pub quiet: Duration,
    pub grace: Duration,
    /// Whether somebody wants to know how much room the NAS has, and what each run was about.
    pub is_asked: bool,
}

/// The state of the loop.
pub(super) struct WatchLoop<'s> {
    service: &'s NasSyncService,
    follower: Arc<dyn Follower>,
    status: Arc<WatchStatus>,
    orders: OrderBook,
    course: Course,
    connection: NasConnection,
    poller: QueuePoller,
    view: View,
    /// Why the database cannot be looked at.
    blind: Option<NasSyncError>,
    said: LogOnChange,
    /// A pause that does not bind this process: what it waits for may have changed since. It tries once.
    lifted: Option<Pause>,
    ground: Ground,
    arrivals: Option<Arrivals>,
    obstacle: Obstacle,
    greeting: Greeting,
    /// Runs in a row that ended early.
    failures: u32,
    /// The failed tries of each document that were told.
    told: HashMap<DocumentId, u32>,
    /// When to ask for documents under a lease next.
    probe: Instant,
    worked: Instant,
}

/// What the last run met.
#[derive(Debug)]
enum Obstacle {
    None,
    /// Try again at that time.
    Wait(Instant, ErrorKind),
    /// It did nothing although something was due: not before that time, unless more becomes due.
    Puzzle(Instant, u64),
}

/// Why a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Went {
    On,
    Stopped,
}

impl<'s> WatchLoop<'s> {
    pub fn new(
        service: &'s NasSyncService,
        course: Course,
        connection: NasConnection,
        follower: Arc<dyn Follower>,
        status: Arc<WatchStatus>,
        orders: OrderBook,
    ) -> Self {
        let db = service.settings().db.clone();
        let poller = QueuePoller::new(db, course.selection.clone(), connection.target(), course.interval);
        Self {
            service,
            follower,
            status,
            orders,
            course,
            connection,
            poller,
            view: View::default(),
            blind: None,
            said: LogOnChange::default(),
            lifted: None,
            ground: Ground::of(service),
            arrivals: None,
            obstacle: Obstacle::None,
            greeting: Greeting::Due,
            failures: 0,
            told: HashMap::new(),
            probe: Instant::now(),
            worked: Instant::now(),
        }
    }

    /// Goes on until it is stopped.
    pub async fn until(&mut self, stop: &mut (impl Future<Output = ()> + Unpin)) {
        self.look(Look::Close).await;
        // A restart may come with other settings.
        self.lifted = self.view.pause.clone().filter(|pause| needs_a_person(kind_of(pause)));
        self.told = self.tries();
        self.tell_of_a_pause();
        loop {
            if let Some(selection) = self.orders.next() {
                if self.fulfil(selection, stop).await == Went::Stopped {
                    break;
                }
                continue;
            }
            self.look_at_the_ground();
            if self.may_greet(Instant::now(), Utc::now()) {
                if self.greet(stop).await == Went::Stopped {
                    break;
                }
                continue;
            }
            let next = self.next(Instant::now(), Utc::now());
            if next == Next::Send {
                if self.send(stop).await == Went::Stopped {
                    break;
                }
                continue;
            }
            let unmet = self.unmet(Utc::now());
            self.show_foreign_trouble(unmet.map_or(next, Next::Blocked));
            self.status.set_state(match (unmet.or_else(|| self.unsolved()), next) {
                (_, Next::Blocked(kind)) | (Some(kind), Next::Rest) => State::Blocked(kind),
                (_, Next::Paused(until)) => unmet.map_or(State::Paused(until), State::Blocked),
                (_, Next::Rest | Next::Send) => State::Idle,
            });
            let is_cold = next != Next::Rest || self.worked.elapsed() >= WARM;
            if is_cold && self.connection.is_up() {
                tracing::info!("logging out of the NAS until there is work");
                self.disconnect().await;
            }
            tokio::select! {
                () = sleep(POLL) => self.look(Look::Glance).await,
                () = self.orders.arrival() => {}
                () = &mut *stop => break,
            }
        }
        self.status.set_state(State::Stopping);
        self.disconnect().await;
    }

    /// One run for all that is due.
    pub async fn once(&mut self, stop: &mut (impl Future<Output = ()> + Unpin)) -> Result<SyncSummary> {
        self.look(Look::Close).await;
        self.told = self.tries();
        let request = Request { selection: self.course.selection.clone(), others: Others::WaitFor, overwrite: false };
        let (summary, _) = self.run(request, stop).await;
        self.disconnect().await;
        self.look(Look::Close).await;
        if let Ok(summary) = &summary {
            self.count(summary);
            self.tell_failures();
        }
        summary
    }

    async fn disconnect(&mut self) {
        // A NAS that does not answer any more is left without.
        let _ = timeout(GOODBYE, self.connection.disconnect()).await;
    }

    async fn look(&mut self, look: Look) {
        match self.poller.look(look).await {
            Ok(view) => {
                self.blind = None;
                self.said.say(None);
                if let Some(view) = view {
                    self.status.set_backlog(view.backlog);
                    self.arrivals = Arrivals::after(self.arrivals, view.due, Instant::now());
                    self.end_with_the_record(&view);
                    self.view = view;
                }
            }
            Err(error) => {
                self.said.advise(
                    Some(error.to_string()),
                    &format!("; it is looked at again and again. {}", error.solution()),
                );
                self.status.show_error(error.clone());
                self.blind = Some(error);
            }
        }
    }

    fn next(&self, now: Instant, time: DateTime<Utc>) -> Next {
        if let Some(error) = &self.blind {
            return Next::Blocked(error.kind());
        }
        let is_probe = self.arrivals.is_none();
        if is_probe && (self.view.leased == 0 || now < self.probe) {
            return Next::Rest;
        }
        if let Some(next) = bar(self.view.pause.as_ref(), self.lifted.as_ref(), &self.view.refused_logins, time) {
            return next;
        }
        if self.arrivals.is_some_and(|arrivals| !arrivals.are_over(now, self.course.quiet)) {
            return Next::Rest;
        }
        match self.obstacle {
            // A health check should say that somebody has to see to it, though it is tried again.
            Obstacle::Wait(until, kind) if now < until && needs_a_person(kind) => Next::Blocked(kind),
            Obstacle::Wait(until, _) if now < until => Next::Paused(time + delta(until - now)),
            Obstacle::Puzzle(until, due) if now < until && self.view.due <= due => Next::Rest,
            Obstacle::None | Obstacle::Wait(..) | Obstacle::Puzzle(..) => Next::Send,
        }
    }

    /// What the last run met, where somebody has to see to it: it is there until a run goes well, also while waiting for more.
    fn unsolved(&self) -> Option<ErrorKind> {
        match self.obstacle {
            Obstacle::Wait(_, kind) if needs_a_person(kind) && self.arrivals.is_some() => Some(kind),
            _ => None,
        }
    }

    /// A pause that an earlier process has left, and that a restart does not end.
    fn tell_of_a_pause(&self) {
        let barred = bar(self.view.pause.as_ref(), self.lifted.as_ref(), &self.view.refused_logins, Utc::now());
        if let (Some(pause), Some(Next::Blocked(_) | Next::Paused(_))) = (&self.view.pause, barred) {
            let until = pause.until.map_or_else(String::new, |until| format!("{} or ", shown(until)));
            tracing::warn!("{}. Nothing is sent until {until}`nas-sync retry`", pause.failure.text);
        }
    }

    /// Another process may have met what keeps this one from trying.
    fn show_foreign_trouble(&self, next: Next) {
        if let (Next::Blocked(kind), Some(pause)) = (next, &self.view.pause)
            && self.status.report().last_error.is_none_or(|error| error.kind() != kind)
        {
            self.status.show_error(pause.failure.error(kind));
        }
    }

    async fn send(&mut self, stop: &mut (impl Future<Output = ()> + Unpin)) -> Went {
        if self.view.due > 0 {
            self.status.set_state(State::Syncing);
            tracing::info!("{} due", text::counted(self.view.due, "document is", "documents are"));
        }
        self.probe = Instant::now() + PROBE;
        self.ground.note().await;
        let request = Request { selection: self.course.selection.clone(), others: Others::Leave, overwrite: false };
        let (result, went) = self.run(request, stop).await;
        self.worked = Instant::now();
        self.lifted = None;
        self.arrivals = None;
        self.look(Look::Close).await;
        let error = match result {
            Ok(summary) => {
                self.count(&summary);
                if summary.synced > 0 {
                    self.failures = 0;
                }
                if summary.stopped.is_none() && summary.synced == 0 && self.view.due > 0 {
                    self.obstacle = Obstacle::Puzzle(Instant::now() + self.course.interval, self.view.due);
                } else {
                    self.obstacle = Obstacle::None;
                }
                summary.stopped
            }
            Err(error) => Some(error),
        };
        self.tell_failures();
        match error {
            Some(error) if went == Went::On => self.meet(&error).await,
            Some(_) => {}
            None => self.failures = 0,
        }
        went
    }

    /// A run that somebody asked for. It goes although the NAS is left alone for now, but not where that may lock the
    /// account.
    async fn fulfil(&mut self, selection: Selection, stop: &mut (impl Future<Output = ()> + Unpin)) -> Went {
        self.look(Look::Close).await;
        if let Some(pause) = self.view.pause.as_ref().filter(|pause| kind_of(pause) == ErrorKind::LoginRefused)
            && is_locked_out(&self.view.refused_logins, Utc::now())
        {
            let error = pause.failure.error(ErrorKind::LoginRefused);
            self.orders.answer(&selection, &Err(error));
            return Went::On;
        }
        self.status.set_state(State::Syncing);
        self.ground.note().await;
        let (result, went) = self.run(Request { selection, others: Others::Leave, overwrite: false }, stop).await;
        self.worked = Instant::now();
        self.look(Look::Close).await;
        let error = match result {
            Ok(summary) => {
                self.count(&summary);
                if summary.stopped.is_none() && summary.synced > 0 {
                    (self.failures, self.obstacle) = (0, Obstacle::None);
                }
                summary.stopped
            }
            // It is about what was asked for, and whoever asked has been told: the loop is well.
            Err(error) if error.kind() == ErrorKind::Usage => None,
            Err(error) => Some(error),
        };
        self.tell_failures();
        if let (Some(error), Went::On) = (error, went) {
            self.meet(&error).await;
        }
        went
    }

    /// A run from its beginning to the answers of those who asked for just that meanwhile.
    async fn run(
        &mut self,
        request: Request,
        stop: &mut (impl Future<Output = ()> + Unpin),
    ) -> (Result<SyncSummary>, Went) {
        let selection = request.selection.clone();
        let kept = KeptAlong::new(self.follower.begins(), self.course.is_asked);
        let (result, went) = self.follow(request, Arc::new(kept.clone()), stop).await;
        self.follower.ends(&result);
        if self.connection.is_up() {
            self.greeting = Greeting::Done;
        }
        self.orders.answer(&selection, &result.clone().map(|summary| kept.report(summary)));
        self.ask_for_room().await;
        (result, went)
    }

    /// How much room is left, asked over a login that is there.
    async fn ask_for_room(&mut self) {
        if !self.course.is_asked || !self.connection.is_up() {
            return;
        }
        if let (Ok(folder), Ok(client)) = (self.service.nas_path(), self.connection.client().await) {
            // One that does not answer any more is left without.
            let room = timeout(GOODBYE, nas::free_space(&client, folder)).await;
            self.status.set_room(room.unwrap_or_default());
        }
    }

    /// A run, during which the figures are kept up and orders are taken.
    async fn follow(
        &mut self,
        request: Request,
        monitor: Arc<dyn DocumentMonitor>,
        stop: &mut (impl Future<Output = ()> + Unpin),
    ) -> (Result<SyncSummary>, Went) {
        let (ask, stopping) = watch::channel(Stopping::No);
        let Self { service, status, course, connection, poller, orders, .. } = self;
        let tally = Arc::new(Tally::new(monitor));
        let monitor = Arc::clone(&tally) as Arc<dyn DocumentMonitor>;
        let mut run = Box::pin(sync::run(service, connection, request, monitor, stopping));
        tokio::select! {
            result = &mut run => return (result, Went::On),
            () = tally.tell() => {}
            () = keep_figures(poller, status) => {}
            () = orders.collect() => {}
            () = &mut *stop => {}
        }
        tracing::info!("asked to stop: what is being sent may take {} s to end", course.grace.as_secs());
        status.set_state(State::Stopping);
        ask.send_replace(Stopping::AfterBatch);
        tokio::select! {
            result = &mut run => return (result, Went::Stopped),
            () = sleep(course.grace) => {}
        }
        ask.send_replace(Stopping::Now);
        (run.await, Went::Stopped)
    }

    fn count(&self, summary: &SyncSummary) {
        for warning in &summary.warnings {
            tracing::warn!("{warning}");
        }
        self.status.count_bytes(summary.bytes_sent);
        if summary.synced > 0 {
            self.status.count_synced(summary.synced as u64);
            self.status.set_last_success(Utc::now());
            let documents = text::counted(summary.synced as u64, "document", "documents");
            let bytes = text::size(summary.bytes_sent);
            tracing::info!("{documents} synced; {bytes} sent in {:.1} s", summary.elapsed.as_secs_f64());
        }
    }

    /// Counts and tells the tries that have failed since the last time.
    fn tell_failures(&mut self) {
        for deferred in &self.view.deferred {
            // Fewer tries than were told: `retry` has begun their count anew, or the id is another document's by now.
            if self.told.get(&deferred.id).is_none_or(|&tries| tries != deferred.tries) {
                let kind = ErrorKind::from_name(&deferred.failure.kind).unwrap_or(ErrorKind::NotAcknowledged);
                tracing::warn!("Document {}: {}", deferred.id, deferred.failure.text);
                self.status.count_failure(deferred.failure.error(kind));
            }
        }
        self.told = self.tries();
    }

    fn tries(&self) -> HashMap<DocumentId, u32> {
        self.view.deferred.iter().map(|deferred| (deferred.id.clone(), deferred.tries)).collect()
    }

    /// What ended a run early.
    async fn meet(&mut self, error: &NasSyncError) {
        let kind = error.kind();
        if kind == ErrorKind::Interrupted {
            return;
        }
        self.status.count_failure(error.clone());
        self.failures = self.failures.saturating_add(1);
        let wait = backoff::RUN.wait(self.failures);
        let barred = bar(self.view.pause.as_ref(), None, &self.view.refused_logins, Utc::now());
        match (kind.healing(), barred, &self.view.pause) {
            (Healing::Permanent, Some(_), Some(pause)) => {
                let when = pause.until.map_or_else(String::new, |until| format!("{} or ", shown(until)));
                let restart = match kind {
                    ErrorKind::LoginRefused => " (a restart tries once more, four times an hour at most)",
                    _ => " or a restart",
                };
                let solution = error.solution();
                tracing::error!(
                    "{error}. Nothing is sent until {when}`nas-sync retry`{restart}. {solution} What is changed in .env or the \
                     environment counts after a restart only."
                );
            }
            (Healing::Pausing, Some(_), _) => tracing::warn!("{error}; trying again later"),
            // What is permanent here was met before anybody was called, such as an upload folder that is not mounted; or
            // it could not be recorded.
            _ => {
                tracing::warn!("{error}; trying again in {}", backoff::shown(wait));
                self.record_wait(error, wait).await;
                self.obstacle = Obstacle::Wait(Instant::now() + wait, kind);
            }
        }
    }

    /// What stood in the way may be gone when something on this machine has changed since.
    fn look_at_the_ground(&mut self) {
        let kind = match (&self.obstacle, &self.view.pause) {
            (Obstacle::Wait(_, kind), _) => *kind,
            (_, Some(pause)) => kind_of(pause),
            _ => return,
        };
        if !is_caused_here(kind) || !self.ground.has_changed() {
            return;
        }
        tracing::info!("something on this machine has changed that may have been the cause of {kind}: trying again");
        self.lifted.clone_from(&self.view.pause);
        self.obstacle = Obstacle::None;
    }
}

/// Runs until it is dropped.
async fn keep_figures(poller: &mut QueuePoller, status: &WatchStatus) {
    loop {
        sleep(POLL).await;
        // Trouble with the database is met by the run as well.
        if let Ok(Some(view)) = poller.look(Look::Glance).await {
            status.set_backlog(view.backlog);
        }
    }
}

fn delta(wait: Duration) -> TimeDelta {
    TimeDelta::from_std(wait).unwrap_or(TimeDelta::MAX)
}

#[cfg(test)]
mod tests;
