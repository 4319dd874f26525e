//! How a run is asked to end.

use tokio::sync::watch;

/// How a run is asked to end; later ones are more urgent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stopping {
    /// It is not.
    No,
    /// When the batch that is being sent is over.
    AfterBatch,
    /// At once: what the NAS has acknowledged is still recorded.
    Now,
}

/// Returns when a run is asked to end at least in this way.
pub(super) async fn asked_to(mut stopping: watch::Receiver<Stopping>, how: Stopping) {
    // An error means that nobody can ask any more.
    if stopping.wait_for(|stopping| *stopping >= how).await.is_err() {
        std::future::pending::<()>().await;
    }
}
