//! Which process this is, in a way that a reused process id does not fool, and a clock that nobody sets.
//!
//! Guarantees: what this machine does not tell (a folder tree without `/proc`) is `None`, never a guess.

use std::fs;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// A process of this machine since it was started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Process {
    /// Its id, as it sees it itself.
    pub id: u32,
    /// When it was started, in clock ticks since the machine was.
    pub started: Option<u64>,
    /// In which process id namespace its id counts.
    pub namespace: Option<String>,
    /// Which run of the machine it belongs to.
    pub boot: Option<String>,
}

/// Whether a process is still there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Presence {
    Alive,
    Dead,
    /// It cannot be seen from here: another container, or no `/proc`.
    Unknown,
}

impl Process {
    /// The process that runs this.
    pub fn own() -> Self {
        Self { id: std::process::id(), started: start_of("self"), namespace: namespace(), boot: boot() }
    }

    /// Whether it still runs, as far as that can be seen from here.
    pub fn presence(&self) -> Presence {
        let here = Self::own();
        let differ = |one: &Option<String>, other: &Option<String>| match (one, other) {
            (Some(one), Some(other)) => Some(one != other),
            _ => None,
        };
        if differ(&self.boot, &here.boot) == Some(true) {
            return Presence::Dead;
        }
        match (differ(&self.namespace, &here.namespace), self.started) {
            (Some(false), Some(started)) if start_of(&self.id.to_string()) == Some(started) => Presence::Alive,
            (Some(false), Some(_)) => Presence::Dead,
            _ => Presence::Unknown,
        }
    }
}

/// Time since the machine was started, sleep included. Setting the clock does not change it.
pub(super) fn since_boot() -> Duration {
    let time = clock_gettime(ClockId::Boottime);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// The start time of a process that runs; one that has ended and waits to be noticed counts as gone.
fn start_of(process: &str) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The second field is the name in parentheses, which may hold anything.
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace();
    let state = fields.next()?;
    if matches!(state, "Z" | "X") { None } else { fields.nth(18)?.parse().ok() }
}

fn namespace() -> Option<String> {
    fs::read_link("/proc/self/ns/pid").ok()?.into_os_string().into_string().ok()
}

fn boot() -> Option<String> {
    Some(fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_known_by_more_than_its_number() {
        let own = Process::own();
        assert_eq!(own.presence(), Presence::Alive);
        let later = Process { started: own.started.map(|started| started + 1), ..own.clone() };
        assert_eq!(later.presence(), Presence::Dead);
        let elsewhere = Process { namespace: Some("pid:[1]".to_owned()), ..own.clone() };
        assert_eq!(elsewhere.presence(), Presence::Unknown);
        let before = Process { boot: Some("another run of this machine".to_owned()), ..own };
        assert_eq!(before.presence(), Presence::Dead);
    }

    #[test]
    fn a_process_that_ended_is_dead_before_and_after_it_was_noticed() {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let id = child.id();
        let gone = Process { id, ..Process::own() };
        let deadline = std::time::Instant::now() + Duration::from_secs(20);
        while fs::read_to_string(format!("/proc/{id}/stat")).is_ok_and(|stat| !stat.contains(") Z ")) {
            assert!(std::time::Instant::now() < deadline, "`true` does not end");
            std::thread::sleep(Duration::from_millis(2));
        }
        assert_eq!(start_of(&id.to_string()), None);
        assert_eq!(gone.presence(), Presence::Dead);
        child.wait().unwrap();
        assert_eq!(gone.presence(), Presence::Dead);
    }

    #[test]
    fn the_clock_runs() {
        let before = since_boot();
        assert!(!before.is_zero() && since_boot() >= before);
    }
}
