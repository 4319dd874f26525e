//! This process as a worker: its identity, its clock, and the keeping of leases.
//!
//! A process is told apart by the machine's start (boot id), its process id space and its start time, so that neither
//! a process id that was given out again nor a container next door is taken for it. The clock counts suspended time
//! and is never set.

use std::fs;
use std::sync::OnceLock;
use std::time::Duration;

use rustix::process::Pid;
use rustix::time::{ClockId, clock_gettime};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::SharedStore;
use crate::error::Result;
use crate::store::{Fence, Holder, LEASE_TERM, Life, Worker};

/// How often a lease is renewed.
const RENEWAL: Duration = Duration::from_secs(LEASE_TERM.as_secs() / 4);
/// A lease that could not be renewed for so long is given up, before another worker may think so.
const TOO_LONG: Duration = Duration::from_secs(LEASE_TERM.as_secs() * 3 / 4);

/// How the names of a process begin that does not know where it runs.
const UNKNOWN: &str = "unknown ";

/// Now, on this machine's clock.
pub(super) fn now() -> Duration {
    let time = clock_gettime(ClockId::Boottime);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// This process.
pub(super) fn this_process() -> &'static Holder {
    static HOLDER: OnceLock<Holder> = OnceLock::new();
    HOLDER.get_or_init(|| {
        let process = rustix::process::getpid();
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
    })
}

/// Whether it is known on which machine, and in which container, a process runs.
#[cfg(feature = "cli")]
pub(super) fn is_known(process: &Holder) -> bool {
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
pub(super) fn life_of(other: &Holder) -> Life {
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

/// This process, as the store wants to know it.
pub(super) fn worker() -> Worker<'static> {
    Worker { holder: this_process(), now: now(), life_of: &life_of }
}

/// Keeps a lease while it lives and gives it back at the end, also when it is dropped.
pub(super) struct Keeper {
    fence: Fence,
    store: SharedStore,
    lost: watch::Receiver<bool>,
    renewing: JoinHandle<()>,
    given_back: bool,
}

impl Keeper {
    /// Starts to renew a lease.
    pub fn new(store: SharedStore, fence: Fence) -> Self {
        let (sender, lost) = watch::channel(false);
        let renewing = tokio::spawn(renew(store.clone(), fence, sender));
        Self { fence, store, lost, renewing, given_back: false }
    }

    pub fn fence(&self) -> Fence {
        self.fence
    }

    /// Whether the lease is lost.
    pub fn is_lost(&self) -> bool {
        *self.lost.borrow()
    }

    /// Returns when the lease is lost.
    pub async fn lost(&mut self) {
        // An error means that the renewing ended without losing it, which only happens at the end.
        if self.lost.wait_for(|lost| *lost).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Gives the lease back.
    pub async fn give_back(mut self) -> Result<()> {
        self.renewing.abort();
        let fence = self.fence;
        let result = self.store.with(move |store| store.release(fence)).await;
        // If that failed the lease runs out.
        self.given_back = true;
        result
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.renewing.abort();
        if self.given_back {
            return;
        }
        // Somebody dropped the run: others need not wait until the lease runs out.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let (store, fence) = (self.store.clone(), self.fence);
            runtime.spawn(async move {
                if let Err(error) = store.with(move |store| store.release(fence)).await {
                    tracing::debug!(%error, "a lease was not given back; it runs out");
                }
            });
        }
    }
}

async fn renew(store: SharedStore, fence: Fence, lost: watch::Sender<bool>) {
    let mut renewed = now();
    loop {
        tokio::time::sleep(RENEWAL).await;
        match store.with(move |store| store.renew(fence, now())).await {
            Ok(true) => renewed = now(),
            Ok(false) => break,
            Err(error) => {
                tracing::warn!(%error, "a lease could not be renewed");
                if now().saturating_sub(renewed) > TOO_LONG {
                    break;
                }
            }
        }
    }
    lost.send_replace(true);
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
