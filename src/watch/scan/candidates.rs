//! Files that may become documents once they have been quiet for a while. Never: a file or a clock.

use std::collections::{HashSet, VecDeque};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::tree::Stamp;

/// The most files that wait at once; a walk that finds more is made again later.
const MOST: usize = 20_000;

/// A file that waits.
#[derive(Debug, Clone)]
pub(super) struct Candidate {
    /// Below the upload folder.
    pub path: PathBuf,
    /// How it looked when its quiet began.
    pub stamp: Stamp,
}

/// Those that wait, in the order in which their quiet ends: it is the same for all.
#[derive(Debug)]
pub(super) struct Candidates {
    quiet: Duration,
    queue: VecDeque<(Instant, Candidate)>,
    names: HashSet<PathBuf>,
}

/// Whether there was room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Room {
    Enough,
    None,
}

impl Candidates {
    pub fn new(quiet: Duration) -> Self {
        Self { quiet, queue: VecDeque::new(), names: HashSet::new() }
    }

    /// Whether a file waits already; a change of it is noticed when its quiet should end.
    pub fn has(&self, path: &Path) -> bool {
        self.names.contains(path)
    }

    /// Whether another walk could find a place for what it finds.
    pub fn has_room(&self) -> bool {
        self.queue.len() < MOST / 2
    }

    /// Begins to wait for a file, unless it waits already.
    pub fn add(&mut self, candidate: Candidate, now: Instant) -> Room {
        if self.has(&candidate.path) {
            return Room::Enough;
        }
        if self.queue.len() >= MOST {
            return Room::None;
        }
        self.again(candidate, now);
        Room::Enough
    }

    /// Waits for it from now on, once more.
    pub fn again(&mut self, candidate: Candidate, now: Instant) {
        self.names.insert(candidate.path.clone());
        self.queue.push_back((now + self.quiet, candidate));
    }

    /// Takes one whose time has come.
    pub fn take_due(&mut self, now: Instant) -> Option<Candidate> {
        if self.next_due()? > now {
            return None;
        }
        let (_, candidate) = self.queue.pop_front()?;
        self.names.remove(&candidate.path);
        Some(candidate)
    }

    /// When the next one is due.
    pub fn next_due(&self) -> Option<Instant> {
        self.queue.front().map(|(due, _)| *due)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::flist::Mtime;

    const QUIET: Duration = Duration::from_secs(2);

    fn candidate(path: &str) -> Candidate {
        let tick = Mtime { seconds: 1, nanoseconds: 0 };
        Candidate { path: path.into(), stamp: Stamp { dev: 1, ino: 1, size: 1, mtime: tick, ctime: tick } }
    }

    #[test]
    fn each_waits_for_its_own_quiet() {
        let mut candidates = Candidates::new(QUIET);
        let start = Instant::now();
        let later = start + Duration::from_secs(1);
        candidates.add(candidate("a"), start);
        candidates.add(candidate("b"), later);
        candidates.add(candidate("a"), later);
        assert!(candidates.take_due(later).is_none());
        assert_eq!(candidates.next_due(), Some(start + QUIET));
        assert_eq!(candidates.take_due(start + QUIET).unwrap().path, Path::new("a"));
        assert!(!candidates.has(Path::new("a")) && candidates.take_due(start + QUIET).is_none());
        assert_eq!(candidates.take_due(later + QUIET).unwrap().path, Path::new("b"));
        assert_eq!(candidates.next_due(), None);
    }

    #[test]
    fn there_is_an_end_to_the_room() {
        let mut candidates = Candidates::new(QUIET);
        let now = Instant::now();
        for number in 0..MOST {
            assert_eq!(candidates.add(candidate(&number.to_string()), now), Room::Enough);
        }
        assert_eq!(candidates.add(candidate("one more"), now), Room::None);
        assert!(!candidates.has_room());
        assert_eq!(candidates.add(candidate("0"), now), Room::Enough, "it waits already");
        candidates.take_due(now + QUIET).unwrap();
        assert_eq!(candidates.add(candidate("one more"), now), Room::Enough);
    }
}
