//! Whether another session beside those that run pays: decided from what is measured while they run.
//!
//! A session waits for the NAS where that flushes each file, or is so far away that a full window is answered late, and
//! then another one may use what the first leaves over. It also waits where the link or the disks are full, and then
//! another one uses nothing. From one side both look the same, so it is tried: what does not carry its part is closed,
//! and not tried again.
//!
//! Over a distance it always pays: an rsync that acknowledges has asked for ten files at most that have not arrived.

use std::iter::Sum;
use std::ops::Add;
use std::time::{Duration, Instant};

/// How many sessions there are at most.
const MOST: usize = 3;
/// How long is measured, before a trial and in it.
const PERIOD: Duration = Duration::from_secs(1);
/// How much work must be left, as the time that it would take without another session.
const WORTH: Duration = Duration::from_secs(3);
/// The part of its time that each session must have waited, in percent.
const WAITING: u32 = 50;
/// What a session must carry at least, as a part of what each before it carries.
const LEAST_PART: f64 = 0.25;
/// The first portion, and how long a later one is to take at most and at least.
const FIRST: Work = Work { files: 100, bytes: 12 << 20 };
const PORTION: Duration = Duration::from_secs(4);
const LEAST_PORTION: Duration = Duration::from_secs(1);
/// What a file costs beside its bytes, in bytes: it is made, flushed and renamed.
const FILE_COST: u64 = 64 * 1024;

/// Files and bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Work {
    pub files: u64,
    pub bytes: u64,
}

impl Work {
    /// One file.
    pub fn of_file(bytes: u64) -> Self {
        Self { files: 1, bytes }
    }

    #[expect(clippy::cast_precision_loss, reason = "rates are compared, and no sum is that large")]
    pub fn cost(self) -> f64 {
        (self.bytes + self.files * FILE_COST) as f64
    }
}

impl Add for Work {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { files: self.files + other.files, bytes: self.bytes + other.bytes }
    }
}

impl Sum for Work {
    fn sum<I: Iterator<Item = Self>>(works: I) -> Self {
        works.fold(Self::default(), Add::add)
    }
}

/// What is seen of the sessions of a batch at a moment. Its sums only grow.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seen {
    pub at: Instant,
    /// Whether the NAS has acknowledged something in the first and in the newest of them.
    pub at_work: bool,
    /// What they have sent.
    pub done: Work,
    /// How long they have waited for the NAS, added up.
    pub waited: Duration,
    /// What is in none of them.
    pub left: Work,
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Stay,
    Open,
    /// The newest does not pay.
    Close,
}

/// What is known of one NAS. Batch by batch it goes on.
#[derive(Debug, Clone, Copy)]
pub(super) struct SideBySide {
    /// How many run, apart from one on trial.
    running: usize,
    /// The cost that was sent in a second before one on trial.
    trial: Option<f64>,
    /// What was seen when the measurement began.
    since: Option<Seen>,
    /// How many pay, and the cost that they send in a second.
    pays: (usize, f64),
    most: usize,
}

impl Default for SideBySide {
    fn default() -> Self {
        Self { running: 1, trial: None, since: None, pays: (1, 0.0), most: MOST }
    }
}

impl SideBySide {
    /// With how many sessions a batch of so much work begins.
    pub fn begin(&mut self, work: Work) -> usize {
        let (pays, rate) = self.pays;
        self.running = if is_worth(work, rate) { pays } else { 1 };
        (self.trial, self.since) = (None, None);
        self.running
    }

    /// Looks at what runs.
    pub fn look(&mut self, seen: Seen) -> Step {
        // Until then it shows how long a session takes to begin, not what it carries.
        let Some(since) = self.since.filter(|_| seen.at_work) else {
            self.since = seen.at_work.then_some(seen);
            return Step::Stay;
        };
        let took = seen.at.saturating_duration_since(since.at);
        if took < PERIOD {
            return Step::Stay;
        }
        self.since = Some(seen);
        let rate = (seen.done.cost() - since.done.cost()) / took.as_secs_f64();
        let waited = seen.waited.saturating_sub(since.waited);
        match self.trial.take() {
            Some(before) if rate < before + before * LEAST_PART / parts(self.running) => {
                self.most = self.running;
                Step::Close
            }
            Some(_) => {
                self.running += 1;
                self.pays = (self.running, rate);
                Step::Stay
            }
            None => {
                if self.running >= self.pays.0 {
                    self.pays = (self.running, rate);
                }
                let waits = waited * 100 >= took.mul_f64(parts(self.running)) * WAITING;
                if self.running >= self.most || !waits || !is_worth(seen.left, rate) {
                    return Step::Stay;
                }
                (self.trial, self.since) = (Some(rate), None);
                Step::Open
            }
        }
    }

    /// One that was opened has ended before it had anything to do, for want of a place or of patience.
    pub fn was_refused(&mut self) {
        if self.trial.take().is_some() {
            self.most = self.running;
        }
    }
}

/// How much one session is given next, of what is left, where so many share it and one sends at this rate: so much that another
/// session finds some left, and all where that is soon over. Nothing is known of the rate before the first has begun.
pub(super) fn portion(left: Work, sessions: usize, rate: Option<f64>) -> f64 {
    let Some(rate) = rate else { return FIRST.cost().min(left.cost() / parts(sessions)) };
    let (least, most) = (rate * LEAST_PORTION.as_secs_f64(), rate * PORTION.as_secs_f64());
    (left.cost() / parts(sessions)).clamp(least, most)
}

/// Whether so much work is left that another session has the time to show what it carries.
fn is_worth(work: Work, rate: f64) -> bool {
    work.cost() > rate * WORTH.as_secs_f64()
}

#[expect(clippy::cast_precision_loss, reason = "some sessions")]
pub(super) fn parts(sessions: usize) -> f64 {
    sessions as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A NAS for the decision: each session carries so much of what the first one does, and waits for so much of its time.
    struct Nas {
        parts: &'static [f64],
        waiting: f64,
        /// Files that the first one sends in a second.
        rate: f64,
    }

    /// What a batch of so many files sees of it: how many sessions run after each tenth of a second.
    fn run(side_by_side: &mut SideBySide, nas: &Nas, files: u64) -> Vec<usize> {
        let (began, mut running) = (Instant::now(), side_by_side.begin(Work { files, bytes: 0 }));
        let (mut done, mut waited, mut counts, mut opened) = (0.0, Duration::ZERO, Vec::new(), 0);
        for tick in 0.. {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count of files")]
            let sent = (done as u64).min(files);
            if sent == files {
                break;
            }
            let seen = Seen {
                at: began + Duration::from_millis(100) * tick,
                // A new one takes half a second to come to work.
                at_work: tick >= opened + 5,
                done: Work { files: sent, bytes: 0 },
                waited,
                left: Work { files: files - sent, bytes: 0 },
            };
            match side_by_side.look(seen) {
                Step::Stay => {}
                Step::Open => (running, opened) = (running + 1, tick),
                Step::Close => running -= 1,
            }
            let at_work = if tick >= opened + 5 { running } else { running - 1 };
            done += nas.parts.iter().take(at_work).sum::<f64>() * nas.rate / 10.0;
            waited += Duration::from_millis(100).mul_f64(nas.waiting * parts(at_work));
            counts.push(running);
        }
        counts
    }

    #[test]
    fn what_carries_its_part_stays_and_the_next_batch_begins_with_it() {
        let (mut side_by_side, nas) =
            (SideBySide::default(), Nas { parts: &[1.0, 0.9, 0.8], waiting: 0.9, rate: 50.0 });
        let counts = run(&mut side_by_side, &nas, 2_000);
        assert_eq!((counts[0], counts.last()), (1, Some(&3)), "{counts:?}");
        assert!(counts.is_sorted() && counts.contains(&2), "{counts:?}");
        assert_eq!(run(&mut side_by_side, &nas, 2_000)[0], 3);
        assert_eq!(run(&mut side_by_side, &nas, 50)[0], 1, "what is soon over needs no other");
    }

    #[test]
    fn what_carries_nothing_is_closed_and_not_tried_again() {
        let (mut side_by_side, full) =
            (SideBySide::default(), Nas { parts: &[1.0, 0.1, 0.0], waiting: 0.9, rate: 50.0 });
        let counts = run(&mut side_by_side, &full, 2_000);
        assert_eq!((counts.iter().max(), counts.last()), (Some(&2), Some(&1)), "{counts:?}");
        assert!(run(&mut side_by_side, &full, 2_000).iter().all(|&count| count == 1));
        let (mut side_by_side, two) =
            (SideBySide::default(), Nas { parts: &[1.0, 0.9, 0.0], waiting: 0.9, rate: 50.0 });
        let counts = run(&mut side_by_side, &two, 2_000);
        assert_eq!((counts.iter().max(), counts.last()), (Some(&3), Some(&2)), "{counts:?}");
    }

    #[test]
    fn nothing_is_tried_where_the_sender_is_busy_or_little_is_left() {
        let busy = Nas { parts: &[1.0, 1.0, 1.0], waiting: 0.3, rate: 50.0 };
        assert!(run(&mut SideBySide::default(), &busy, 2_000).iter().all(|&count| count == 1));
        let waiting = Nas { waiting: 0.9, ..busy };
        assert!(run(&mut SideBySide::default(), &waiting, 150).iter().all(|&count| count == 1));
    }

    #[test]
    fn a_portion_leaves_something_for_others_unless_all_is_soon_done() {
        let work = |files| Work { files, bytes: 0 };
        assert!(portion(work(10_000), 1, None) < work(1_000).cost());
        let equal = |one: f64, other: f64| (one - other).abs() < f64::EPSILON * one.abs();
        assert!(equal(portion(work(100), 1, None), work(100).cost()));
        let rate = Some(work(50).cost());
        assert!(equal(portion(work(10_000), 2, rate), work(200).cost()), "four seconds");
        assert!(equal(portion(work(300), 3, rate), work(100).cost()), "all three end together");
        assert!(equal(portion(work(40), 3, rate), work(50).cost()), "it is not worth another one");
    }

    #[test]
    fn one_that_could_not_begin_is_not_asked_for_again() {
        let nas = Nas { parts: &[1.0, 1.0, 1.0], waiting: 0.9, rate: 50.0 };
        let mut side_by_side = SideBySide { trial: Some(1.0), ..SideBySide::default() };
        side_by_side.was_refused();
        assert!(run(&mut side_by_side, &nas, 2_000).iter().all(|&count| count == 1));
    }
}
