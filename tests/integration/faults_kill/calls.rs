//! Death at each system call that changes anything.

use super::{BTreeMap, Batch, PROGRAM, Path, Postgres, Random, Tally, Trial, finish, long};
use crate::support::tracer::{self, Kill, Start, Traced};

const DOCUMENTS: usize = 20;
/// How many calls are tried in the short form.
const SHORT: usize = 24;

fn traced(trial: &Trial<'_>, when: Kill) -> Traced {
    let start = Start {
        program: Path::new(PROGRAM),
        words: &["sync"],
        variables: trial.variables(),
        folder: &trial.path(""),
        stderr: trial.stderr(),
    };
    tracer::run(start, when)
}

#[test]
fn a_batch_killed_at_each_changing_call_is_finished_by_a_later_run() {
    let mut random = Random::of_environment("kill at system calls");
    kill_at_each_call(Batch::new(DOCUMENTS, 30_000, &mut random), random);
}

#[test]
fn a_batch_in_postgresql_killed_at_each_changing_call_is_finished_by_a_later_run() {
    let Some(server) = Postgres::start() else { return };
    let mut random = Random::of_environment("kill at system calls over PostgreSQL");
    kill_at_each_call(Batch::on(server, DOCUMENTS, 30_000, &mut random), random);
}

fn kill_at_each_call(mut batch: Batch, mut random: Random) {
    let mut tally = Tally::default();
    let clean = {
        let trial = batch.trial();
        let clean = traced(&trial, Kill::Never);
        assert_eq!(clean.code, Some(0), "{}", trial.said());
        trial.check_done();
        clean
    };
    let step = if long() { 1 } else { clean.calls.div_ceil(SHORT / 2) };
    let mut killed: BTreeMap<String, usize> = BTreeMap::new();
    let mut too_late = 0;
    for number in (0..clean.calls).step_by(step) {
        // The short form does not start with the same call each time.
        let number = number + random.index(step);
        for when in [Kill::Before(number), Kill::After(number)] {
            let trial = batch.trial();
            let seen = traced(&trial, when);
            if let Some(call) = seen.killed_at {
                assert_eq!(seen.code, None, "{when:?} of {call}: it went on");
                *killed.entry(call).or_default() += 1;
                tally.killed(trial.check(), DOCUMENTS);
            } else {
                // This run made fewer calls, or that call is the one that ends the process.
                assert_eq!(seen.code, Some(0), "{}", trial.said());
                too_late += 1;
            }
            finish(&trial, &mut tally);
        }
    }
    println!("{DOCUMENTS} documents, a clean run makes {} calls: {:?}", clean.calls, clean.kinds);
    println!("killed at {killed:?}; {too_late} runs ended before their call; {tally:?}");
    assert!(tally.kills >= SHORT / 2 && tally.unmarked > 0, "{tally:?}");
}
