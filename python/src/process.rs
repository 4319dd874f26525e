//! What belongs to this process: its threads and its logins.
//!
//! A fork copies neither threads nor what the NAS takes for its peer. The child finds that the values are its parent's and
//! makes its own; it leaves those of the parent as they are, for to drop them would reach into what the parent still uses.

use std::mem;
use std::sync::{Arc, Mutex, PoisonError};

use nas_sync::{ClientConfig, ErrorKind, NasSyncError, Result, Settings};
use pyo3::Python;
use tokio::runtime::{Builder, Runtime};

use crate::logging::Lines;
use crate::pool::Pool;

/// Enough for ciphers and checksums of a few transfers at once; reading and writing have threads of their own.
const THREADS: usize = 2;

struct Process {
    id: u32,
    runtime: &'static Runtime,
    lines: Lines,
    pools: Vec<(Settings, Arc<Pool>)>,
}

/// Locked by holders of the interpreter only, and never for longer than a look: as a fork needs the interpreter too, it never
/// finds this locked.
static PROCESS: Mutex<Option<Process>> = Mutex::new(None);

/// The threads of this process.
pub fn runtime(py: Python<'_>) -> Result<&'static Runtime> {
    with(py, |process| process.runtime)
}

/// What this process has logged.
pub fn lines(py: Python<'_>) -> Result<Lines> {
    with(py, |process| process.lines.clone())
}

/// The logins of this process with these settings, which are `configured`.
pub fn pool(py: Python<'_>, settings: &Settings) -> Result<Arc<Pool>> {
    let config = ClientConfig::of(settings)?;
    with(py, |process| {
        if let Some((_, pool)) = process.pools.iter().find(|(known, _)| known == settings) {
            return Arc::clone(pool);
        }
        // Settings that nobody uses any more would be kept for ever.
        process.pools.retain(|(_, pool)| !pool.is_unused());
        let pool = Arc::new(Pool::new(config));
        process.pools.push((settings.clone(), Arc::clone(&pool)));
        pool
    })
}

fn with<T>(_attached: Python<'_>, look: impl FnOnce(&mut Process) -> T) -> Result<T> {
    let mut held = PROCESS.lock().unwrap_or_else(PoisonError::into_inner);
    if held.as_ref().is_none_or(|process| process.id != std::process::id()) {
        mem::forget(held.take());
        *held = Some(Process::new()?);
    }
    match &mut *held {
        Some(process) => Ok(look(process)),
        None => Err(NasSyncError::new(ErrorKind::Internal, "the process has no state")),
    }
}

impl Process {
    fn new() -> Result<Self> {
        let lines = Lines::default();
        let mut runtime = Builder::new_multi_thread();
        runtime.worker_threads(THREADS).thread_name("nas-sync").on_thread_start(lines.keeper());
        let runtime = runtime.enable_all().build().map_err(|error| {
            NasSyncError::new(ErrorKind::ResourceShortage, format!("cannot start threads: {error}")).with_source(error)
        })?;
        // It lasts as long as the process: an interpreter may end while a thread of it is busy.
        Ok(Self { id: std::process::id(), runtime: Box::leak(Box::new(runtime)), lines, pools: Vec::new() })
    }
}
