//! Random numbers that are the same for the same seed, on every machine.

use std::time::Duration;

/// A stream of numbers (SplitMix64).
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// The stream of a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The stream that `NAS_SYNC_SEED` names, else the usual one. It is printed, so that a failure can be repeated.
    pub fn of_environment(test: &str) -> Self {
        let seed = std::env::var("NAS_SYNC_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(1);
        println!("{test}: NAS_SYNC_SEED={seed}");
        Self(seed)
    }

    /// A stream of its own for one of several parts.
    pub fn split(&mut self) -> Self {
        Self(self.next())
    }

    /// The next number.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`, which is not 0.
    pub fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    /// A number below `end` for what is counted in `usize`.
    pub fn index(&mut self, end: usize) -> usize {
        usize::try_from(self.below(end as u64)).expect("it is below an usize")
    }

    /// True once in `n` times.
    pub fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    /// A time below `end`, in microseconds.
    pub fn time(&mut self, end: Duration) -> Duration {
        Duration::from_micros(self.below(u64::try_from(end.as_micros()).expect("a short time").max(1)))
    }
}

/// Whether the long form of a test is asked for.
pub fn long() -> bool {
    std::env::var_os("NAS_SYNC_LONG").is_some_and(|value| value == "1")
}
