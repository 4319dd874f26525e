//! The sessions of one batch, one or several side by side.
//!
//! A number of sessions that somebody asked for share the documents out before they begin. Where it is left to us, a session gets
//! a portion, and the next one begins before that is through, so that another session that joins finds some left, and one that leaves
//! leaves nothing undone. Each document is given to one session only.

use std::collections::VecDeque;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::mpsc::UnboundedSender;
use tokio::task::{JoinError, JoinSet};

use super::batch::{Batch, distribute, shape_of};
use super::events::DocumentMonitor;
use super::meanwhile::Settled;
use super::prepared::Prepared;
use super::report::BatchReport;
use super::sender::{Cancelled, DocumentSender, interrupted};
use super::side_by_side::{Seen, SideBySide, Step, Work, parts, portion};
use crate::blocking;
use crate::client::capabilities::{Proof, Shape};
use crate::client::destination::destination_of;
use crate::client::login::{Client, Started};
use crate::client::one_flush::OneFlush;
use crate::error::{ErrorKind, NasSyncError, Result};
use crate::jobs::Jobs;
use crate::proof::DurableBy;
use crate::role::ledger::Progress;
use crate::session::Outcome;

/// How often it is looked how far the sessions have come.
const LOOK: Duration = Duration::from_millis(20);
/// The next session of a lane begins when this part of the one before it is sent: beginning takes some round trips.
const NEARLY_THROUGH: f64 = 0.75;

/// What the sessions of a batch are given.
pub(super) struct Load<'f> {
    pub documents: Vec<Prepared>,
    /// What makes them last, where rsync does not flush each.
    pub one_flush: Option<&'f OneFlush>,
    /// The rsync that was started for them.
    pub started: Option<Started>,
}

/// What became of the sessions of a batch.
pub(super) struct Ended {
    /// Each that was about something, and its outcome; `None` where it was cut off.
    pub sessions: Vec<(Batch, Option<Result<Outcome>>)>,
    pub cancelled: Option<Cancelled>,
    /// What was learnt about how many pay.
    pub side_by_side: SideBySide,
}

/// The sessions of a batch while they run.
struct Running<'r> {
    sender: &'r DocumentSender,
    client: &'r Client,
    monitor: &'r Arc<dyn DocumentMonitor>,
    shape: Shape,
    batches: &'r Mutex<Vec<Arc<Batch>>>,
    tasks: JoinSet<(usize, Result<Outcome>)>,
    sessions: Vec<Session>,
}

struct Session {
    outcome: Option<Result<Outcome>>,
    /// Which of those side by side it is.
    lane: usize,
    work: Work,
    /// Whether the next in its lane has begun.
    is_followed: bool,
}

/// Sessions that come and go as they pay.
struct Auto {
    /// What no session has been given.
    left: VecDeque<Prepared>,
    side_by_side: SideBySide,
    /// How many sessions there are side by side.
    lanes: usize,
    /// The newest that joined.
    newest: usize,
    began: Instant,
    /// Whether a session did not end well, so that no other begins.
    is_over: bool,
}

impl DocumentSender {
    /// Runs the sessions of a batch to their end, or until `cancel` is ready.
    pub(super) async fn run_sessions(
        &self,
        client: &Client,
        load: Load<'_>,
        monitor: &Arc<dyn DocumentMonitor>,
        cancel: impl Future<Output = Cancelled>,
        tell: &UnboundedSender<Settled>,
        report: &mut BatchReport,
    ) -> Ended {
        let Load { documents, one_flush, started } = load;
        let durable_by = if one_flush.is_some() { DurableBy::Batch } else { DurableBy::File };
        let batches = Mutex::new(Vec::new());
        let (shape, tasks, sessions) = (shape_of(client, &documents, durable_by), JoinSet::new(), Vec::new());
        let mut running = Running { sender: self, client, monitor, shape, batches: &batches, tasks, sessions };
        let mut auto = running.begin(documents, started);
        let cancelled = {
            let (mut cancel, mut settling) =
                (pin!(cancel), pin!(self.settle_meanwhile(client, &batches, one_flush, tell)));
            loop {
                tokio::select! {
                    joined = running.tasks.join_next() => match joined {
                        Some(ended) => running.note(ended, auto.as_mut(), report),
                        None => break None,
                    },
                    cancelled = &mut cancel => {
                        if cancelled == Cancelled::Interrupted {
                            report.stop(interrupted());
                        }
                        running.tasks.shutdown().await;
                        break Some(cancelled);
                    }
                    never = &mut settling => match never {},
                    () = tokio::time::sleep(LOOK), if auto.is_some() => {
                        if let Some(auto) = &mut auto { running.look(auto) }
                    }
                }
            }
        };
        let outcomes = running.sessions.into_iter().map(|session| session.outcome);
        let batches = batches.into_inner().unwrap_or_else(PoisonError::into_inner);
        let sessions = batches.into_iter().map(Arc::unwrap_or_clone).zip(outcomes).collect();
        let side_by_side = auto.as_ref().map_or(self.side_by_side, |auto| auto.side_by_side);
        let left = auto.map(|auto| auto.left).unwrap_or_default();
        match cancelled {
            None => report.again.extend(left),
            Some(_) => report.open.extend(left.into_iter().map(|document| document.id)),
        }
        Ended { sessions, cancelled, side_by_side }
    }
}

impl Running<'_> {
    /// Starts the sessions that the batch begins with.
    fn begin(&mut self, documents: Vec<Prepared>, mut started: Option<Started>) -> Option<Auto> {
        let jobs = match self.sender.settings.jobs {
            Jobs::Number(number) => usize::from(number),
            // They travel in one round trip; a second session would begin where the first ends.
            Jobs::Auto if self.shape.together => 1,
            Jobs::Auto => return Some(self.begin_auto(documents, started)),
        };
        let shares = distribute(documents, jobs);
        let beside_others = shares.len() > 1;
        for (lane, share) in shares.into_iter().enumerate() {
            self.start(lane, share, beside_others, started.take());
        }
        None
    }

    fn begin_auto(&mut self, documents: Vec<Prepared>, mut started: Option<Started>) -> Auto {
        let (left, side_by_side) = (VecDeque::from(documents), self.sender.side_by_side);
        let mut auto = Auto { left, side_by_side, lanes: 1, newest: 0, began: Instant::now(), is_over: false };
        let paying = auto.side_by_side.begin(auto.left());
        auto.lanes = if self.lets_in_others() { paying } else { 1 };
        for lane in 0..auto.lanes {
            self.follow(&mut auto, lane, started.take());
        }
        auto
    }

    /// Whether another session may join: this NAS opens more than one, and says of each document whether it is stored.
    fn lets_in_others(&self) -> bool {
        self.sender.capabilities.proof() == Proof::Acknowledgements && !self.client.ssh().runs_one_command()
    }

    /// Starts the next session of a lane, if there is something left for it.
    fn follow(&mut self, auto: &mut Auto, lane: usize, started: Option<Started>) {
        if auto.is_over || lane >= auto.lanes || auto.left.is_empty() {
            return;
        }
        // Where nothing is acknowledged the end of a session says what it stored, and one is quicker than two.
        let portion = if self.lets_in_others() { auto.portion(&self.progress(Instant::now())) } else { f64::INFINITY };
        let documents = auto.take(portion);
        self.start(lane, documents, auto.lanes > 1 || !self.sessions.is_empty(), started);
    }

    fn start(&mut self, lane: usize, documents: Vec<Prepared>, beside_others: bool, started: Option<Started>) {
        let (sender, slot) = (self.sender, self.sessions.len());
        let work = documents.iter().map(|document| Work::of_file(document.bytes())).sum();
        let batch = Batch::new(documents, sender.capabilities.clone(), self.shape, beside_others, self.monitor);
        let options = batch.asked.options(batch.shape);
        let push = batch.push(sender.settings.root.as_ref(), self.client.idle_limit());
        let (client, destination) = (self.client.clone(), destination_of(&sender.settings.folder));
        self.tasks.spawn(async move { (slot, client.session_over(started, &destination, &options, push).await) });
        self.sessions.push(Session { outcome: None, lane, work, is_followed: false });
        blocking::lock(self.batches).push(Arc::new(batch));
    }

    /// Takes in the end of a session.
    fn note(
        &mut self,
        ended: Result<(usize, Result<Outcome>), JoinError>,
        auto: Option<&mut Auto>,
        report: &mut BatchReport,
    ) {
        let (slot, outcome) = match ended {
            Ok(ended) => ended,
            Err(error) => {
                let message = "a session stopped unexpectedly";
                return report.stop(NasSyncError::new(ErrorKind::Internal, message).with_source(error));
            }
        };
        let went_well = outcome
            .as_ref()
            .is_ok_and(|outcome| outcome.result.is_ok() && !self.sender.capabilities.wait_in_vain(outcome.protocol));
        let session = &mut self.sessions[slot];
        session.outcome = Some(outcome);
        let (lane, is_followed) = (session.lane, std::mem::replace(&mut session.is_followed, true));
        let Some(auto) = auto else { return };
        auto.is_over |= !went_well;
        if !is_followed {
            self.follow(auto, lane, None);
        }
    }

    /// Looks whether a session is nearly through, whether another one would pay, or the newest does not.
    fn look(&mut self, auto: &mut Auto) {
        let progress = self.progress(Instant::now());
        let is_followed_now = |(session, progress): (&Session, &Progress)| {
            !session.is_followed && work(progress).cost() >= session.work.cost() * NEARLY_THROUGH
        };
        let nearly: Vec<usize> = (0..)
            .zip(self.sessions.iter().zip(&progress))
            .filter(|(_, one)| is_followed_now(*one))
            .map(|(slot, _)| slot)
            .collect();
        for slot in nearly {
            self.sessions[slot].is_followed = true;
            self.follow(auto, self.sessions[slot].lane, None);
        }
        let step = auto.side_by_side.look(auto.seen(&progress));
        match step {
            Step::Stay => {}
            Step::Open if self.lets_in_others() && !auto.is_over => {
                auto.newest = self.sessions.len();
                auto.lanes += 1;
                tracing::debug!(sessions = auto.lanes, "the NAS is waited for; trying another session");
                self.follow(auto, auto.lanes - 1, None);
            }
            Step::Open => auto.side_by_side.was_refused(),
            Step::Close => {
                auto.lanes -= 1;
                tracing::debug!(sessions = auto.lanes, "another session does not pay");
            }
        }
    }

    /// How far each session has come.
    fn progress(&self, now: Instant) -> Vec<Progress> {
        blocking::lock(self.batches).iter().map(|batch| batch.ledger.progress(now)).collect()
    }
}

impl Auto {
    /// Takes the next portion out of what is left.
    fn take(&mut self, cost: f64) -> Vec<Prepared> {
        let mut taken = Work::default();
        let fits = |document: &&Prepared| {
            taken = taken + Work::of_file(document.bytes());
            taken.cost() <= cost
        };
        let count = self.left.iter().take_while(fits).count().clamp(1, self.left.len().max(1));
        self.left.drain(..count.min(self.left.len())).collect()
    }

    /// How much the next session is given.
    fn portion(&self, progress: &[Progress]) -> f64 {
        let done: Work = progress.iter().map(work).sum();
        let rate = done.cost() / self.began.elapsed().as_secs_f64() / parts(self.lanes);
        portion(self.left(), self.lanes, (done != Work::default()).then_some(rate))
    }

    /// What no session has been given.
    fn left(&self) -> Work {
        self.left.iter().map(|document| Work::of_file(document.bytes())).sum()
    }

    fn seen(&self, progress: &[Progress]) -> Seen {
        Seen {
            at: Instant::now(),
            at_work: [0, self.newest].iter().all(|&slot| progress.get(slot).is_some_and(|one| one.acknowledged)),
            done: progress.iter().map(work).sum(),
            waited: progress.iter().map(|one| one.waited).sum(),
            left: self.left(),
        }
    }
}

fn work(progress: &Progress) -> Work {
    Work { files: progress.files, bytes: progress.bytes }
}
