//! Who this process is, how it is told apart from every other one, and a clock that is never set.
//!
//! A process is told apart by the machine's start (boot id), its process id space and its start time, so that neither
//! a process id that was given out again nor a container next door is taken for it. The clock counts suspended time.

use std::fs;
use std::sync::Mutex;
use std::time::Duration;

use rustix::process::Pid;
use rustix::time::{ClockId, clock_gettime};

use crate::blocking;

/// A process that sends documents, told apart from every other one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// Names the clock that this process reads: one machine since its last start.
    pub clock: String,
    /// Names the space in which `process` is a number: one machine, or one container.
    pub space: String,
    /// The process id.
    pub process: u32,
    /// When that process started, in the clock's own units: a process id is given out again.
    pub started: u64,
}

/// What can be said about a process from here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Life {
    /// It may well run: only time ends its leases.
    Possible,
    /// It does not run any more.
    Over,
}

/// How the names of a process begin that does not know where it runs.
const UNKNOWN: &str = "unknown ";

/// So many file descriptors are needed before anything else: the runtime panics where it cannot have those for signals.
#[cfg(feature = "cli")]
const LEAST_DESCRIPTORS: usize = 8;

/// Fails when this process may not open as many files as it needs to begin.
#[cfg(feature = "cli")]
pub fn need_descriptors() -> std::io::Result<()> {
    let pairs: std::io::Result<Vec<_>> =
        (0..LEAST_DESCRIPTORS / 2).map(|_| std::os::unix::net::UnixStream::pair()).collect();
    pairs.map(drop)
}

/// Now, on this machine's clock.
pub fn now() -> Duration {
    let time = clock_gettime(ClockId::Boottime);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// This process. A process that was forked off another one that had asked already is told apart from it.
pub fn this_process() -> &'static Holder {
    static KNOWN: Mutex<Option<&'static Holder>> = Mutex::new(None);
    let mut known = blocking::lock(&KNOWN);
    let holder = current(*known, rustix::process::getpid());
    *known = Some(holder);
    holder
}

/// What is known, as long as it is about this process. One is kept for each process, until it ends.
fn current(known: Option<&'static Holder>, process: Pid) -> &'static Holder {
    known.filter(|known| known.process == number(process)).unwrap_or_else(|| Box::leak(Box::new(look(process))))
}

fn look(process: Pid) -> Holder {
    let known = || {
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
        let clock = format!("{} {}", boot.trim(), link("/proc/self/ns/time").unwrap_or_default());
        let space = format!("{} {}", boot.trim(), link("/proc/self/ns/pid")?);
        Some(Holder { clock, space, process: number(process), started: start_of(process)?.0 })
    };
    // Without /proc nobody can tell whether this process lives: others then wait until its leases run out.
    known().unwrap_or_else(|| {
        let unique = format!("{UNKNOWN}{:016x}{:016x}", fastrand::u64(..), fastrand::u64(..));
        Holder { clock: unique.clone(), space: unique, process: number(process), started: 0 }
    })
}

/// Whether it is known on which machine, and in which container, a process runs.
#[cfg(feature = "watch")]
pub fn is_known(process: &Holder) -> bool {
    !process.clock.starts_with(UNKNOWN)
}

fn number(process: Pid) -> u32 {
    process.as_raw_nonzero().get().unsigned_abs()
}

fn link(path: &str) -> Option<String> {
    fs::read_link(path).ok().map(|target| target.to_string_lossy().into_owned())
}

/// When a process started, in ticks since the machine did, and the letter of its state.
fn start_of(process: Pid) -> Option<(u64, char)> {
    let stat = fs::read_to_string(format!("/proc/{}/stat", number(process))).ok()?;
    // The name in parentheses may hold anything, also parentheses.
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace();
    let state = fields.next()?.chars().next()?;
    Some((fields.nth(18)?.parse().ok()?, state))
}

/// What can be said from here about another process.
pub fn life_of(other: &Holder) -> Life {
    let me = this_process();
    let Some(process) = i32::try_from(other.process).ok().and_then(Pid::from_raw).filter(|_| other.space == me.space)
    else {
        return Life::Possible;
    };
    if rustix::process::test_kill_process(process) == Err(rustix::io::Errno::SRCH) {
        return Life::Over;
    }
    match start_of(process) {
        Some((started, state)) if started != other.started || matches!(state, 'Z' | 'X') => Life::Over,
        // Other users' processes may be hidden.
        Some(_) | None => Life::Possible,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processes_are_told_apart() {
        let me = this_process();
        assert_eq!(life_of(me), Life::Possible);
        assert_eq!(
            life_of(&Holder { started: me.started + 1, ..me.clone() }),
            Life::Over,
            "the number was given out again"
        );
        assert_eq!(life_of(&Holder { space: "elsewhere".to_owned(), process: 1, ..me.clone() }), Life::Possible);
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let other = Holder { process: child.id(), started: 0, ..me.clone() };
        child.wait().unwrap();
        assert_eq!(life_of(&other), Life::Over);
    }

    #[test]
    fn a_forked_process_is_another_one() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let me = current(None, rustix::process::getpid());
        assert!(std::ptr::eq(current(Some(me), rustix::process::getpid()), me), "one is kept");
        // As in a child whose memory is a copy of its parent's.
        let other = current(Some(me), Pid::from_child(&child));
        assert_eq!((other.process, &other.space), (child.id(), &me.space));
        assert!(other.started >= me.started);
        child.kill().unwrap();
        child.wait().unwrap();
    }

    #[test]
    fn a_zombie_does_not_live() {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let process = Pid::from_child(&child);
        let state = std::iter::repeat_with(|| {
            std::thread::sleep(Duration::from_millis(5));
            start_of(process).unwrap()
        });
        let (started, _) = state.take(1000).find(|(_, state)| *state == 'Z').unwrap();
        let holder = Holder { process: child.id(), started, ..this_process().clone() };
        assert_eq!(life_of(&holder), Life::Over);
        child.wait().unwrap();
    }
}
