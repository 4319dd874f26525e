//! When to try again.
//!
//! Waits double with every failure up to a cap, and each is drawn evenly between nothing and that ("full jitter"), so
//! that many who failed together do not come back together. See `protocol-notes/14-database.md#waits`.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use crate::error::{ErrorKind, Healing};
use crate::store::NextTry;

/// Growing waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Backoff {
    /// The longest wait after the first failure.
    base: Duration,
    /// The longest wait after any.
    cap: Duration,
}

/// Between two logins of one run, after a connection was lost.
pub(crate) const RECONNECT: Backoff = Backoff { base: Duration::from_secs(1), cap: Duration::from_secs(60) };
/// Between two runs of `watch`, when the NAS cannot be reached.
#[cfg(feature = "watch")]
pub(crate) const RUN: Backoff = Backoff { base: Duration::from_secs(2), cap: Duration::from_secs(300) };
/// Between two tries of one document.
const DOCUMENT: Backoff = Backoff { base: Duration::from_secs(30), cap: Duration::from_secs(3600) };
/// While the NAS takes nothing, or somebody has to see to something.
const PAUSE: Backoff = Backoff { base: Duration::from_secs(60), cap: Duration::from_secs(3600) };
/// After a login that was refused: at least a quarter of an hour, because many refusals lock an account.
const LOGIN: Backoff = Backoff { base: Duration::from_secs(1800), cap: Duration::from_secs(3600) };

impl Backoff {
    /// The longest wait after so many failures in a row, from 1.
    fn longest(self, failures: u32) -> Duration {
        let factor = 1_u32.checked_shl(failures.saturating_sub(1)).unwrap_or(u32::MAX);
        self.base.saturating_mul(factor).min(self.cap)
    }

    /// A wait after so many failures in a row.
    pub fn wait(self, failures: u32) -> Duration {
        self.longest(failures).mul_f64(fastrand::f64())
    }
}

/// When a document is tried again after so many failed tries, of which `retries` more than the first are allowed.
pub(crate) fn next_try(kind: ErrorKind, tries: u32, retries: u32, now: DateTime<Utc>) -> NextTry {
    // Trouble of the NAS is no reason to give a document up.
    let is_last = tries > retries && !kind.concerns_nas();
    if kind.healing() == Healing::Permanent || is_last {
        return NextTry::Never;
    }
    NextTry::At(now + delta(DOCUMENT.wait(tries)))
}

/// Until when nothing is sent to a NAS that takes nothing, in the so many-th pause in a row; `None`: until somebody asks,
/// which is only so where somebody may stand between. At least half of the longest wait, because every try costs the NAS
/// a login.
pub(crate) fn pause_until(kind: ErrorKind, count: u32, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
    let longest = match kind {
        ErrorKind::HostKeyChanged => return None,
        ErrorKind::LoginRefused => LOGIN.longest(count),
        _ => PAUSE.longest(count),
    };
    Some(now + delta(longest / 2 + (longest / 2).mul_f64(fastrand::f64())))
}

/// A wait in a sentence: whole seconds, rounded up, so that none is nothing.
pub(crate) fn shown(wait: Duration) -> String {
    format!("{} s", wait.as_millis().div_ceil(1000).max(1))
}

fn delta(wait: Duration) -> TimeDelta {
    TimeDelta::from_std(wait).unwrap_or(TimeDelta::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::LONGEST_WAIT;

    #[test]
    fn waits_double_up_to_the_cap_and_are_spread() {
        let longest: Vec<_> = (1..=9).map(|failures| DOCUMENT.longest(failures).as_secs()).collect();
        assert_eq!(longest, [30, 60, 120, 240, 480, 960, 1920, 3600, 3600]);
        assert_eq!(DOCUMENT.longest(u32::MAX), DOCUMENT.cap);
        let waits: Vec<_> = (0..1000).map(|_| DOCUMENT.wait(1)).collect();
        assert!(waits.iter().all(|wait| *wait <= DOCUMENT.base));
        assert!(waits.iter().any(|wait| *wait < DOCUMENT.base / 4));
        assert!(waits.iter().any(|wait| *wait > DOCUMENT.base * 3 / 4));
        assert!(delta(DOCUMENT.cap) <= LONGEST_WAIT, "the store takes longer waits for a clock that was put back");
    }

    #[test]
    fn every_pause_but_that_of_a_changed_host_key_ends_by_itself() {
        let now = Utc::now();
        for &kind in ErrorKind::ALL {
            for count in [1, 2, 3, 100, u32::MAX] {
                let Some(until) = pause_until(kind, count, now) else {
                    assert_eq!(kind, ErrorKind::HostKeyChanged);
                    continue;
                };
                assert!(until > now && until <= now + LONGEST_WAIT, "{kind}");
                let is_long = until >= now + TimeDelta::minutes(15);
                assert!(is_long || kind != ErrorKind::LoginRefused, "at most four refusals an hour");
            }
        }
    }

    #[test]
    fn the_last_try_and_the_hopeless_are_final() {
        let now = Utc::now();
        let next = |kind, tries| next_try(kind, tries, 2, now) == NextTry::Never;
        assert!(!next(ErrorKind::SourceChanged, 1) && !next(ErrorKind::SourceChanged, 2));
        assert!(next(ErrorKind::SourceChanged, 3));
        assert!(next(ErrorKind::NameClash, 1));
        assert!(!next(ErrorKind::DiskFull, 100), "no document's fault");
        assert!(next_try(ErrorKind::SourceChanged, 1, 0, now) == NextTry::Never, "no retries: one try");
    }
}
