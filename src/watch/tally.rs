//! How far a run is, in a line of the log every ten seconds, for whoever only has the log.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::client::documents::{DocumentEvent, DocumentMonitor};
use crate::text;

/// How often a line is written; a run that is done sooner has none.
const PACE: Duration = Duration::from_secs(10);

/// Counts what a run does, and passes all of it on.
pub(super) struct Tally {
    next: Arc<dyn DocumentMonitor>,
    documents: AtomicU64,
    done: AtomicU64,
    bytes_total: AtomicU64,
    bytes: AtomicU64,
}

impl Tally {
    pub fn new(next: Arc<dyn DocumentMonitor>) -> Self {
        let zero = AtomicU64::default;
        Self { next, documents: zero(), done: zero(), bytes_total: zero(), bytes: zero() }
    }

    /// Writes the lines, until it is dropped.
    pub async fn tell(&self) {
        loop {
            tokio::time::sleep(PACE).await;
            // Before anything is planned, such as while the database is locked, there is nothing to tell.
            if self.documents.load(Ordering::Relaxed) > 0 {
                tracing::info!("{}", self.line());
            }
        }
    }

    fn line(&self) -> String {
        let value = |of: &AtomicU64| of.load(Ordering::Relaxed);
        let (documents, all) = (value(&self.documents), value(&self.bytes_total));
        let documents = text::counted(documents, "document is", "documents are");
        // What is sent once more counts once.
        let bytes = text::size(value(&self.bytes).min(all));
        format!("{} of {documents} done, {bytes} of {} sent", value(&self.done), text::size(all))
    }
}

impl DocumentMonitor for Tally {
    fn event(&self, event: DocumentEvent<'_>) {
        let add = |to: &AtomicU64, more| {
            to.fetch_add(more, Ordering::Relaxed);
        };
        match &event {
            DocumentEvent::Planned { documents, bytes } => {
                add(&self.documents, *documents);
                add(&self.bytes_total, *bytes);
            }
            DocumentEvent::Progress { bytes } => add(&self.bytes, *bytes),
            DocumentEvent::Recorded { .. } | DocumentEvent::Failed { .. } => add(&self.done, 1),
            _ => {}
        }
        self.next.event(event);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::documents::RecordingMonitor;

    #[test]
    fn a_line_counts_what_was_told_and_all_is_passed_on() {
        let next = Arc::new(RecordingMonitor::default());
        let tally = Tally::new(Arc::clone(&next) as Arc<dyn DocumentMonitor>);
        tally.event(DocumentEvent::Planned { documents: 1, bytes: 500 });
        assert_eq!(tally.line(), "0 of 1 document is done, 0 bytes of 500 bytes sent");
        tally.event(DocumentEvent::Planned { documents: 2, bytes: 1_500_000 });
        tally.event(DocumentEvent::Progress { bytes: 2_000_000 });
        let error = crate::error::NasSyncError::new(crate::error::ErrorKind::SourceMissing, "x");
        tally.event(DocumentEvent::Failed { id: None, error: &error });
        assert_eq!(tally.line(), "1 of 3 documents are done, 1.5 MB of 1.5 MB sent");
        let events = next.events();
        assert_eq!(events.len(), 3, "{events:?}");
    }
}
