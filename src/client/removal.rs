//! `--remove-source-files`: what the NAS has acknowledged is removed here, meanwhile and on a thread of its own.

use std::sync::{Arc, Mutex, mpsc};

use tokio::sync::oneshot;

use crate::blocking;
use crate::error::Result;
use crate::role::event::{Event, Monitor};
use crate::role::list::Sources;
use crate::wire::flist::Entries;

/// Passes all events on, and has removed what is acknowledged.
pub(super) struct Remover {
    next: Arc<dyn Monitor>,
    /// `None` once the session has ended.
    acknowledged: Mutex<Option<mpsc::Sender<Entries>>>,
}

/// The end of the last removal.
pub(super) struct Removal {
    remover: Arc<Remover>,
    done: oneshot::Receiver<()>,
}

/// Begins to listen. What cannot be removed is told as a failed file.
pub(super) fn start(sources: Arc<dyn Sources>, next: Arc<dyn Monitor>) -> Result<(Arc<Remover>, Removal)> {
    let (acknowledged, to_remove) = mpsc::channel::<Entries>();
    let (sender, done) = oneshot::channel();
    let listener = Arc::clone(&next);
    blocking::start(move || {
        for entries in to_remove {
            for entry in entries.iter() {
                if let Err(error) = sources.remove(&entry) {
                    listener.event(Event::FileFailed { entry: &entry, error: &error });
                }
            }
        }
        // Nobody may be waiting any more.
        let _ = sender.send(());
    })?;
    let remover = Arc::new(Remover { next, acknowledged: Mutex::new(Some(acknowledged)) });
    Ok((Arc::clone(&remover), Removal { remover, done }))
}

impl Removal {
    /// Waits until all that was acknowledged is removed.
    pub async fn finish(self) {
        drop(blocking::lock(&self.remover.acknowledged).take());
        // A thread that is gone has nothing more to remove.
        let _ = self.done.await;
    }
}

impl Monitor for Remover {
    fn event(&self, event: Event<'_>) {
        if let Event::Acknowledged { entry } = &event
            && let Some(acknowledged) = &*blocking::lock(&self.acknowledged)
        {
            // A thread that is gone removes nothing.
            let _ = acknowledged.send([**entry].into_iter().collect());
        }
        self.next.event(event);
    }
}
