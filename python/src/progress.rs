//! What happens during a run, as the objects of `--progress json`, kept until the interpreter's thread fetches them.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nas_sync::{
    DocumentEvent, DocumentId, DocumentMonitor, ErrorKind, Event, Monitor, NasSyncError, ProgressEvent, ProgressMonitor,
};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::client::Key;

type Queue = Arc<Mutex<VecDeque<ProgressEvent>>>;

/// The progress of one run, which may be several transfers.
#[pyclass(frozen, module = "nas_sync._native")]
pub struct Progress(Arc<Shared>);

/// What the threads of a transfer tell.
pub struct Shared {
    monitor: ProgressMonitor,
    told: Queue,
    is_planned: AtomicBool,
}

#[pymethods]
impl Progress {
    /// `plan` is how many documents and bytes the run has; `None`: those of its first transfer.
    #[new]
    #[pyo3(signature = (plan=None))]
    fn new(plan: Option<(u64, u64)>) -> Self {
        let told = Queue::default();
        let queue = Arc::clone(&told);
        let monitor = ProgressMonitor::new(move |event| lock(&queue).push_back(event));
        let shared = Shared { monitor, told, is_planned: AtomicBool::new(false) };
        if let Some((documents, bytes)) = plan {
            DocumentMonitor::event(&shared, DocumentEvent::Planned { documents, bytes });
        }
        Self(Arc::new(shared))
    }

    /// A document that failed before it could be sent, by an error of the package.
    fn fail(&self, key: Key, error: &Bound<'_, PyAny>) -> PyResult<()> {
        let kind: String = error.getattr("kind")?.extract()?;
        let message: String = error.getattr("message")?.extract()?;
        self.0.fail(
            &key.document(),
            &NasSyncError::new(ErrorKind::from_name(&kind).unwrap_or(ErrorKind::Internal), message),
        );
        Ok(())
    }

    /// The run is over, with so many documents synced and failed.
    fn finish(&self, synced: u64, failed: u64) {
        self.0.monitor.finish(synced, failed);
    }

    /// Gives a callable each object that came since the last call.
    pub fn deliver(&self, py: Python<'_>, sink: &Bound<'_, PyAny>) -> PyResult<()> {
        let loads = py.import("json")?.getattr("loads")?;
        loop {
            let Some(event) = py.detach(|| lock(&self.0.told).pop_front()) else { return Ok(()) };
            let text = serde_json::to_string(&event).map_err(|error| PyValueError::new_err(error.to_string()))?;
            sink.call1((loads.call1((text,))?,))?;
        }
    }
}

impl Progress {
    /// For the threads of a transfer.
    pub fn shared(&self) -> Arc<Shared> {
        Arc::clone(&self.0)
    }
}

impl Shared {
    /// A document failed for good, in whatever way.
    pub fn fail(&self, id: &DocumentId, error: &NasSyncError) {
        DocumentMonitor::event(&self.monitor, DocumentEvent::Failed { id: Some(id), error });
    }
}

impl DocumentMonitor for Shared {
    fn event(&self, event: DocumentEvent<'_>) {
        match event {
            DocumentEvent::Planned { .. } if self.is_planned.swap(true, Ordering::Relaxed) => {}
            // It may go over another login.
            DocumentEvent::Failed { error, .. } if error.kind() == ErrorKind::ConnectionLost => {}
            event => DocumentMonitor::event(&self.monitor, event),
        }
    }
}

/// Of documents that come back, which are counted.
impl Monitor for Shared {
    fn event(&self, event: Event<'_>) {
        Monitor::event(&self.monitor, event);
    }
}

fn lock(queue: &Queue) -> MutexGuard<'_, VecDeque<ProgressEvent>> {
    queue.lock().unwrap_or_else(PoisonError::into_inner)
}
