//! One open database for all threads of a run.

use std::path::Path;
use std::sync::{Arc, Mutex};

use crate::blocking;
use crate::error::Result;
use crate::store::{Access, Store};

/// An open database that several threads may use, one after the other.
///
/// A run keeps one: a database whose last connection closes is tidied up under a lock, which costs time, and others that
/// come by meanwhile have to wait.
#[derive(Debug, Clone)]
pub(super) struct SharedStore(Arc<Mutex<Store>>);

impl SharedStore {
    pub async fn open(path: &Path, access: Access) -> Result<Self> {
        let path = path.to_owned();
        let store = blocking::run(move || Store::open(&path, access)).await?;
        Ok(Self(Arc::new(Mutex::new(store))))
    }

    /// Works with it on a thread that may block.
    pub async fn with<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Store) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let store = Arc::clone(&self.0);
        // Work that panicked has not committed anything, and the next one begins with a transaction of its own.
        blocking::run(move || work(&mut blocking::lock(&store))).await
    }
}
