//! The one way to work on a thread that may block, and the one lock that a panic does not poison.
//!
//! Guarantees: each work has a thread to itself, so that none waits for another one that is stuck; a thread that cannot be
//! had is an error. (tokio's own pool panics then, or lets work wait for a thread that waits for it.) Threads that are done
//! wait a while for more.

use std::io;
use std::sync::mpsc;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;

use crate::error::{ErrorKind, NasSyncError, Result};

/// How long a thread waits for more to do.
const KEEP: Duration = Duration::from_secs(10);

type Work = Box<dyn FnOnce() + Send>;

/// The threads that have nothing to do.
static IDLE: Mutex<Idle> = Mutex::new(Idle { process: 0, last: 0, threads: Vec::new() });

struct Idle {
    /// The process whose threads they are: one that was forked off has none of them.
    process: u32,
    /// The number of the last one.
    last: u64,
    threads: Vec<(u64, mpsc::Sender<Work>)>,
}

/// Runs what waits for disks on a thread that may block. Fails with `ResourceShortage` where no thread can be had, and with
/// `Internal` when the work panics.
pub async fn run<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    let (sender, receiver) = oneshot::channel();
    start(move || {
        // Nobody may want to know any more.
        let _ = sender.send(work());
    })?;
    receiver.await.map_err(|error| {
        NasSyncError::new(ErrorKind::Internal, "work on a disk stopped unexpectedly").with_source(error)
    })?
}

/// Starts work that nobody waits for. Fails with `ResourceShortage` where no thread can be had.
pub fn start(work: impl FnOnce() + Send + 'static) -> Result<()> {
    let mut work: Work = Box::new(work);
    while let Some(thread) = take_idle() {
        // One that ended by a panic is not idle, but sure is sure.
        match thread.send(work) {
            Ok(()) => return Ok(()),
            Err(unsent) => work = unsent.0,
        }
    }
    spawn(work).map_err(|error| {
        NasSyncError::new(ErrorKind::ResourceShortage, format!("no thread can be started: {error}")).with_source(error)
    })
}

fn idle() -> MutexGuard<'static, Idle> {
    let mut idle = lock(&IDLE);
    let process = std::process::id();
    if idle.process != process {
        *idle = Idle { process, last: idle.last, threads: Vec::new() };
    }
    idle
}

fn take_idle() -> Option<mpsc::Sender<Work>> {
    idle().threads.pop().map(|(_, thread)| thread)
}

fn spawn(first: Work) -> io::Result<()> {
    let number = {
        let mut idle = idle();
        idle.last += 1;
        idle.last
    };
    let thread = std::thread::Builder::new().name(String::from("nas-sync-disk"));
    thread.spawn(move || keep_working(number, first)).map(drop)
}

fn keep_working(number: u64, first: Work) {
    let (sender, more) = mpsc::channel();
    first();
    loop {
        idle().threads.push((number, sender.clone()));
        let next = match more.recv_timeout(KEEP) {
            Ok(next) => next,
            Err(_) if withdraw(number) => return,
            // Somebody has taken this thread just now, and says what for.
            Err(_) => match more.recv() {
                Ok(next) => next,
                Err(_) => return,
            },
        };
        next();
    }
}

/// Takes a thread off the list of those with nothing to do, if it is there.
fn withdraw(number: u64) -> bool {
    let mut idle = idle();
    let at = idle.threads.iter().position(|(other, _)| *other == number);
    at.map(|at| idle.threads.swap_remove(at)).is_some()
}

/// Takes a lock. For values that are whole between any two statements that hold it, so that a panic of another holder
/// has broken nothing.
pub fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn work_never_waits_for_other_work() {
        let (let_go, held) = mpsc::channel::<()>();
        let (began, has_begun) = oneshot::channel();
        let stuck = tokio::spawn(run(move || {
            let _ = began.send(());
            // Ends when the other side is dropped.
            let _ = held.recv();
            Ok(1)
        }));
        has_begun.await.unwrap();
        for number in 0..100 {
            assert_eq!(run(move || Ok(number)).await.unwrap(), number);
        }
        drop(let_go);
        assert_eq!(stuck.await.unwrap().unwrap(), 1);
    }

    #[tokio::test]
    async fn a_panic_is_an_error_and_costs_nobody_else_anything() {
        let error = run(|| -> Result<()> { panic!("as a test") }).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Internal);
        assert!(run(|| Ok(())).await.is_ok());
    }
}
