//! What the kernel tells about changes below the upload folder, through the crate `notify` (inotify).
//!
//! Guarantees: a path that may hold something new is told, or, when too much happened at once or something was lost,
//! that a walk is due; nobody waits for whoever is told. Never: more than a bounded number of notes in memory.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::SyncSender;

use notify::event::{AccessKind, AccessMode, EventKind};
use notify::{Config, ErrorKind, Event, INotifyWatcher, RecursiveMode, Watcher as _};

/// How many notes may lie unread.
pub(super) const MOST_NOTES: usize = 4096;

/// A note.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Note {
    /// Something is new or changed here.
    Path(PathBuf),
    /// Only wakes the reader.
    Wake,
}

/// Why there are no events of a folder.
#[derive(Debug)]
pub(super) enum Unwatched {
    /// The kernel's limits on watches or watchers are reached.
    Limit(String),
    /// Only this folder cannot be watched; it may be gone.
    Folder(String),
}

/// Listens to folders.
#[derive(Debug)]
pub(super) struct Events {
    watcher: INotifyWatcher,
}

impl Events {
    /// Listens to nothing yet. `lost` is set when a walk is due.
    pub fn start(notes: SyncSender<Note>, lost: Arc<AtomicBool>) -> Result<Self, Unwatched> {
        let told = move |event: notify::Result<Event>| tell(event, &notes, &lost);
        let watcher =
            INotifyWatcher::new(told, Config::default()).map_err(|error| Unwatched::Limit(error.to_string()))?;
        Ok(Self { watcher })
    }

    /// Listens to one folder, not to those in it. May be called again for the same one.
    pub fn watch(&mut self, folder: &Path) -> Result<(), Unwatched> {
        self.watcher.watch(folder, RecursiveMode::NonRecursive).map_err(|error| match error.kind {
            ErrorKind::MaxFilesWatch => Unwatched::Limit(error.to_string()),
            _ => Unwatched::Folder(error.to_string()),
        })
    }
}

fn tell(event: notify::Result<Event>, notes: &SyncSender<Note>, lost: &AtomicBool) {
    match event {
        Ok(event) if !event.need_rescan() => {
            if is_news(event.kind) {
                for path in event.paths {
                    if notes.try_send(Note::Path(path)).is_err() {
                        lost.store(true, Ordering::Release);
                    }
                }
            }
        }
        // The kernel's queue was full, or something unknown went wrong: who knows what was missed.
        Ok(_) | Err(_) => {
            lost.store(true, Ordering::Release);
            // A reader with notes is awake anyway.
            let _ = notes.try_send(Note::Wake);
        }
    }
}

/// Reading is no news, and this program reads all the time.
fn is_news(kind: EventKind) -> bool {
    match kind {
        EventKind::Access(AccessKind::Close(AccessMode::Write)) => true,
        EventKind::Access(_) => false,
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{TryRecvError, sync_channel};

    use notify::event::Flag;

    use super::*;

    #[test]
    fn what_was_lost_makes_a_walk_due() {
        let (notes, inbox) = sync_channel(2);
        let lost = AtomicBool::new(false);
        let event = |kind, path: &str| Event::new(kind).add_path(path.into());
        tell(Ok(event(EventKind::Access(AccessKind::Open(AccessMode::Any)), "/a")), &notes, &lost);
        assert_eq!(inbox.try_recv(), Err(TryRecvError::Empty));
        tell(Ok(event(EventKind::Any, "/a")), &notes, &lost);
        assert_eq!(inbox.try_recv(), Ok(Note::Path("/a".into())));
        assert!(!lost.load(Ordering::Acquire));
        // The kernel dropped events.
        tell(Ok(Event::new(EventKind::Other).set_flag(Flag::Rescan)), &notes, &lost);
        assert!(lost.swap(false, Ordering::AcqRel));
        assert_eq!(inbox.try_recv(), Ok(Note::Wake));
        // We do.
        for _ in 0..3 {
            tell(Ok(event(EventKind::Any, "/a")), &notes, &lost);
        }
        assert!(lost.load(Ordering::Acquire));
    }
}
