//! The one way to work on a thread that may block, and the one lock that a panic does not poison.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::error::{ErrorKind, NasSyncError, Result};

/// Runs what waits for disks on a thread that may block. Fails with `Internal` when it panics.
pub async fn run<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(|error| {
        NasSyncError::new(ErrorKind::Internal, "work on a disk stopped unexpectedly").with_source(error)
    })?
}

/// Takes a lock. For values that are whole between any two statements that hold it, so that a panic of another holder
/// has broken nothing.
pub fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
