//! What a run is about, and what it knows at each moment.

use std::collections::HashSet;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use tokio::sync::watch;

use super::stopping::Stopping;
use crate::client::documents::{DocumentEvent, DocumentMonitor, Naming, Prepared};
use crate::error::NasSyncError;
use crate::id::DocumentId;
use crate::service::{DocumentError, SyncSummary};
use crate::store::{Due, Pause, Selection, Store};
use crate::tree::HeldFolder;

/// What a run is about.
#[derive(Debug)]
pub(crate) struct Request {
    pub selection: Selection,
    pub others: Others,
    /// Whether files of others under the names of documents are replaced.
    pub overwrite: bool,
}

/// What a run does about documents that another worker is sending.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Others {
    /// It waits until they are sent, or can be had.
    WaitFor,
    /// It ends without them.
    Leave,
}

/// What stays the same during a run.
pub(super) struct Context {
    pub store: Store,
    /// The NAS, as the store knows it.
    pub target: String,
    /// Where its documents are.
    pub place: String,
    pub root: Option<Arc<HeldFolder>>,
    pub naming: Naming,
    /// Tries of one document after the first, and reconnections without progress.
    pub retries: u32,
    pub monitor: Arc<dyn DocumentMonitor>,
    pub stopping: watch::Receiver<Stopping>,
    /// Bounded by what was there when the run began.
    pub selection: Selection,
    pub others: Others,
    /// Whether files of others under the names of documents are replaced.
    pub overwrite: bool,
    /// When the run began; what is due or waits is judged by that.
    pub began: DateTime<Utc>,
}

/// What changes during a run.
pub(super) struct State {
    pub asked: Asked,
    pub done: Done,
    /// What another worker was sending when this run had nothing else to do.
    pub awaited: Vec<DocumentId>,
    pub pause: Option<Pause>,
    /// Whether documents count as synced that were sent to another place, until this run sends some to its own.
    pub moved: bool,
    /// Whether this run has had a login.
    pub connected: bool,
    /// Lost connections in a row without a document that was stored.
    pub reconnects_without_progress: u32,
    /// Why the last login was lost, if going on may help.
    pub connection_lost: Option<NasSyncError>,
    pub summary: SyncSummary,
}

/// Which documents may still be leased in this run.
pub(super) enum Asked {
    /// Those that were due when the run began: what fails in a run is not tried again in it.
    Due,
    /// These, which were asked for by name, whether they wait or not: each once.
    Named(HashSet<DocumentId>),
}

/// Documents that have had their turn in this run: a document goes once, whatever others do to its row meanwhile.
#[derive(Debug, Default)]
pub(super) struct Done {
    /// Those that were told as planned, and whose outcome is not recorded yet.
    taken_up: HashSet<DocumentId>,
    /// What became of them is recorded.
    recorded: HashSet<DocumentId>,
    /// Those of them that were given out once more, and are not asked for again.
    came_again: HashSet<DocumentId>,
    /// Their rows named another file when it was to be recorded, and they went again for that.
    renamed: HashSet<DocumentId>,
}

impl Done {
    /// What to tell of documents that were leased: those that come again were told before.
    pub fn taken_up(&mut self, prepared: &[Prepared], refused: &[DocumentError]) -> DocumentEvent<'static> {
        let (mut documents, mut bytes) = (0, 0);
        for document in prepared {
            if self.taken_up.insert(document.id.clone()) {
                documents += 1;
                bytes += document.bytes();
            }
        }
        documents +=
            refused.iter().filter(|refused| refused.id.as_ref().is_none_or(|id| !self.taken_up.contains(id))).count();
        DocumentEvent::Planned { documents: documents as u64, bytes }
    }

    pub fn recorded(&mut self, ids: impl IntoIterator<Item = DocumentId>) {
        for id in ids {
            self.taken_up.remove(&id);
            self.recorded.insert(id);
        }
    }

    /// Whether a document that was leased is to be sent. If not, it is left out from now on.
    pub fn has_its_turn(&mut self, id: &DocumentId) -> bool {
        let had = self.recorded.contains(id);
        if had {
            self.came_again.insert(id.clone());
        }
        !had
    }

    /// What need not be leased any more.
    pub fn left_out(&self) -> Vec<DocumentId> {
        self.came_again.iter().cloned().collect()
    }

    pub fn is_recorded(&self, id: &DocumentId) -> bool {
        self.recorded.contains(id)
    }

    /// Documents go again for the files that their rows name now.
    pub fn renamed(&mut self, ids: impl IntoIterator<Item = DocumentId>) {
        self.renamed.extend(ids);
    }

    /// Whether a document went again for such a file already, which it does once.
    pub fn was_renamed(&self, id: &DocumentId) -> bool {
        self.renamed.contains(id)
    }
}

impl Asked {
    pub fn of(selection: &Selection) -> Self {
        selection.documents.as_ref().map_or(Self::Due, |ids| Self::Named(ids.iter().cloned().collect()))
    }

    /// What to lease next.
    pub fn next(&self, context: &Context, done: &Done) -> (Selection, Due) {
        match self {
            Self::Due => (context.selection.clone().without(done.left_out()), Due::At(context.began)),
            Self::Named(ids) => (context.selection.clone().only(ids.iter().cloned()), Due::Any),
        }
    }

    /// A document was leased.
    pub fn leased(&mut self, id: &DocumentId) {
        if let Self::Named(ids) = self {
            ids.remove(id);
        }
    }

    /// Documents that may be leased once more in this run.
    pub fn again(&mut self, documents: impl IntoIterator<Item = DocumentId>) {
        if let Self::Named(ids) = self {
            ids.extend(documents);
        }
    }
}

impl Context {
    pub fn is_asked_to_stop(&self) -> bool {
        *self.stopping.borrow() != Stopping::No
    }
}

impl State {
    pub fn is_over(&self, context: &Context) -> bool {
        self.summary.stopped.is_some() || context.is_asked_to_stop()
    }

    /// The first reason to stop counts.
    pub fn stop(&mut self, error: NasSyncError) {
        self.summary.stopped.get_or_insert(error);
    }

    /// The last error of a document counts.
    pub fn fail(&mut self, error: DocumentError) {
        self.summary.errors.retain(|failed| failed.id.is_none() || failed.id != error.id);
        self.summary.errors.push(error);
    }

    pub fn warn(&mut self, warnings: Vec<String>) {
        for warning in warnings {
            if !self.summary.warnings.contains(&warning) {
                self.summary.warnings.push(warning);
            }
        }
    }
}
