//! Bytes a second, said only where that means something.

use std::collections::VecDeque;
use std::time::Duration;

/// Buffers on the way take the first bytes at the speed of memory: what comes before this is left out.
const BUFFERS_FILL: Duration = Duration::from_secs(1);
/// The shortest time over which a rate is worth a word.
const SHORTEST: Duration = Duration::from_secs(1);
/// A rate is that of the last ten seconds; of more where nothing moved for so long.
const WINDOW: Duration = Duration::from_secs(10);
/// How far marks are apart.
const STEP: Duration = Duration::from_millis(250);

/// How fast bytes go. Times are what has passed since any one moment.
#[derive(Debug, Default)]
pub(super) struct Rate {
    first: Option<Duration>,
    /// How many bytes there were at a time, oldest first.
    marks: VecDeque<(Duration, u64)>,
}

impl Rate {
    /// There are so many bytes now.
    pub fn count(&mut self, bytes: u64, now: Duration) {
        let first = *self.first.get_or_insert(now);
        if now < first + BUFFERS_FILL || self.marks.back().is_some_and(|(last, _)| now < *last + STEP) {
            return;
        }
        self.marks.push_back((now, bytes));
        // The oldest one reaches back over the whole window.
        while self.marks.get(1).is_some_and(|(second, _)| *second + WINDOW <= now) {
            self.marks.pop_front();
        }
    }

    /// Bytes a second at a time at which there are so many, where that can be said.
    pub fn per_second(&self, bytes: u64, now: Duration) -> Option<u64> {
        let (since, before) = self.marks.front()?;
        let millis = u64::try_from(now.checked_sub(*since).filter(|passed| *passed >= SHORTEST)?.as_millis()).ok()?;
        Some(bytes.saturating_sub(*before).saturating_mul(1000) / millis)
    }

    #[cfg(test)]
    pub fn marks_kept(&self) -> usize {
        self.marks.len()
    }
}
