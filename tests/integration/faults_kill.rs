//! The client dies at any moment: SIGKILL at random times, and at every system call by which it changes anything.
//!
//! After each death, and when a later run has come to its end, all that [`Trial`] checks must hold. The short form runs
//! a few points; `NAS_SYNC_LONG=1` runs 500 random ones and each call, `NAS_SYNC_SEED` draws others.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::support::Postgres;
use crate::support::cli::PROGRAM;
use crate::support::random::{Random, long};
use crate::support::trial::{Batch, State, Trial};

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod calls;

/// Longer than any run may take.
const LONGEST: Duration = Duration::from_secs(60);

/// What all trials of a test came to.
#[derive(Debug, Default)]
struct Tally {
    runs: usize,
    kills: usize,
    /// Kills that came before the first mark, between marks, and after the last.
    unmarked: usize,
    partly: usize,
    all_marked: usize,
    /// Kills after which the NAS held documents that were not marked yet.
    unrecorded: usize,
    /// Temporary files at the end of the trials.
    temporary: usize,
}

impl Tally {
    fn killed(&mut self, state: State, documents: usize) {
        self.runs += 1;
        self.kills += 1;
        self.unmarked += usize::from(state.marked == 0);
        self.partly += usize::from(state.marked > 0 && state.marked < documents);
        self.all_marked += usize::from(state.marked == documents);
        self.unrecorded += usize::from(state.stored > state.marked);
    }
}

/// Lets a sync run to its end, which must be a good one.
#[track_caller]
fn finish(trial: &Trial<'_>, tally: &mut Tally) -> Duration {
    let started = Instant::now();
    let mut child = trial.start();
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if started.elapsed() > LONGEST {
            child.kill().unwrap();
            panic!("a run does not end; it said {}", trial.said());
        }
        // Often, because the time that it takes is measured.
        std::thread::sleep(Duration::from_millis(1));
    };
    let took = started.elapsed();
    assert_eq!(status.code(), Some(0), "{}", trial.said());
    let state = trial.check_done();
    tally.runs += 1;
    tally.temporary += state.temporary;
    took
}

/// The shortest of a few clean runs.
fn clean_run(batch: &mut Batch, tally: &mut Tally) -> Duration {
    (0..3).map(|_| finish(&batch.trial(), tally)).min().unwrap()
}

/// How many documents are sent by a run that is killed at a random time.
const DOCUMENTS: usize = 200;

#[test]
fn a_batch_killed_at_random_times_is_finished_by_a_later_run() {
    let mut random = Random::of_environment("kill at random times");
    let batch = Batch::new(DOCUMENTS, 100_000, &mut random);
    kill_at_random_times(batch, if long() { 500 } else { 16 }, random);
}

#[test]
fn a_batch_in_postgresql_killed_at_random_times_is_finished_by_a_later_run() {
    let Some(server) = Postgres::start() else { return };
    let mut random = Random::of_environment("kill at random times over PostgreSQL");
    let batch = Batch::on(server, DOCUMENTS, 100_000, &mut random);
    kill_at_random_times(batch, if long() { 200 } else { 12 }, random);
}

fn kill_at_random_times(batch: Batch, points: usize, mut random: Random) {
    let mut batch = batch.up_to_jobs(3);
    let mut tally = Tally::default();
    let mut clean = clean_run(&mut batch, &mut tally);
    let mut trials = 0;
    while tally.kills < points {
        trials += 1;
        if trials % 20 == 0 {
            // Others use the machine, too.
            clean = finish(&batch.trial(), &mut tally);
        }
        let trial = batch.trial();
        // One trial may die several times before it may finish.
        for _ in 0..=random.below(3) {
            let wait = match random.below(8) {
                0 => random.time(Duration::from_millis(1)),
                1..6 => random.time(clean),
                _ => random.time(clean * 2),
            };
            let mut child = trial.start();
            // Any moment will do: what is tested is that none is a bad one.
            std::thread::sleep(wait);
            let ended = child.try_wait().unwrap();
            child.kill().unwrap();
            child.wait().unwrap();
            assert!(ended.is_none_or(|status| status.success()), "{ended:?}: {}", trial.said());
            tally.killed(trial.check(), DOCUMENTS);
        }
        finish(&trial, &mut tally);
    }
    println!("{DOCUMENTS} documents, a clean run takes {clean:?}; {tally:?}");
    assert!(tally.kills >= points && tally.unmarked > 0, "{tally:?}");
}
