//! Runs that others ask a loop for, and how they follow its runs.
//!
//! Guarantees: one run at a time; who asks for what is being done already is answered when that is done, with all others who
//! asked for just that; an order that cannot be fulfilled any more is answered, too. A run that has begun goes on although
//! nobody waits for it.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

#[cfg(any(feature = "api", test))]
use crate::client::documents::interrupted;
use crate::client::documents::{DocumentEvent, DocumentMonitor, TriedDocuments};
use crate::error::Result;
use crate::service::SyncSummary;
use crate::store::Selection;

/// So many orders may wait; more wait until there is room.
const MOST: usize = 64;
/// So many documents of a run are told.
const MOST_TOLD: usize = 10_000;

/// Follows the runs of a loop.
pub trait Follower: Send + Sync {
    /// A run begins; what it sends is told to this monitor.
    fn begins(&self) -> Arc<dyn DocumentMonitor>;
    /// It has ended.
    fn ends(&self, result: &Result<SyncSummary>);
}

/// One monitor for all runs.
pub struct OneMonitor(pub Arc<dyn DocumentMonitor>);

impl Follower for OneMonitor {
    fn begins(&self) -> Arc<dyn DocumentMonitor> {
        Arc::clone(&self.0)
    }

    fn ends(&self, _result: &Result<SyncSummary>) {}
}

/// What a run did, and about which documents.
#[derive(Debug, Clone)]
#[cfg_attr(not(any(feature = "api", test)), expect(dead_code, reason = "only the API asks"))]
pub struct RunReport {
    pub summary: SyncSummary,
    pub tried: Arc<TriedDocuments>,
}

/// Follows a run, and keeps what becomes of its documents.
#[derive(Clone)]
pub struct KeptAlong {
    follower: Arc<dyn DocumentMonitor>,
    tried: Arc<TriedDocuments>,
}

impl KeptAlong {
    /// Keeps them where somebody may ask.
    pub fn new(follower: Arc<dyn DocumentMonitor>, is_asked: bool) -> Self {
        let most = if is_asked { MOST_TOLD } else { 0 };
        Self { follower, tried: Arc::new(TriedDocuments::at_most(most)) }
    }

    /// What is told to who asked for it.
    pub fn report(self, summary: SyncSummary) -> RunReport {
        RunReport { summary, tried: self.tried }
    }
}

impl DocumentMonitor for KeptAlong {
    fn event(&self, event: DocumentEvent<'_>) {
        self.tried.event(event);
        self.follower.event(event);
    }
}

#[derive(Debug)]
struct Order {
    selection: Selection,
    answer: oneshot::Sender<Result<RunReport>>,
}

/// Asks one loop for runs.
#[cfg_attr(not(any(feature = "api", test)), expect(dead_code, reason = "only the API asks"))]
#[derive(Debug, Clone)]
pub struct Orders(mpsc::Sender<Order>);

/// The orders of one loop.
#[derive(Debug)]
pub struct OrderBook {
    arriving: mpsc::Receiver<Order>,
    waiting: VecDeque<Order>,
    /// So that there is always somebody who could ask.
    _open: mpsc::Sender<Order>,
}

impl Orders {
    /// For a loop that is about to begin.
    pub fn new() -> (Self, OrderBook) {
        let (sender, arriving) = mpsc::channel(MOST);
        (Self(sender.clone()), OrderBook { arriving, waiting: VecDeque::new(), _open: sender })
    }

    /// Has a selection synced, and gives what a run did about it: the one that is going on if it is about just that, else
    /// the next. Fails with `Interrupted` when the loop ends before that.
    #[cfg(any(feature = "api", test))]
    pub async fn run(&self, selection: Selection) -> Result<RunReport> {
        let (answer, answered) = oneshot::channel();
        self.0.send(Order { selection, answer }).await.map_err(|_| interrupted())?;
        answered.await.map_err(|_| interrupted())?
    }
}

impl OrderBook {
    /// What is asked for next.
    pub fn next(&mut self) -> Option<Selection> {
        while let Ok(order) = self.arriving.try_recv() {
            self.waiting.push_back(order);
        }
        self.waiting.front().map(|order| order.selection.clone())
    }

    /// Returns when something is asked for.
    pub async fn arrival(&mut self) {
        if self.waiting.is_empty()
            && let Some(order) = self.arriving.recv().await
        {
            self.waiting.push_back(order);
        }
    }

    /// Takes orders until it is dropped.
    pub async fn collect(&mut self) {
        while let Some(order) = self.arriving.recv().await {
            self.waiting.push_back(order);
        }
    }

    /// Answers everybody who asked for just this.
    pub fn answer(&mut self, selection: &Selection, result: &Result<RunReport>) {
        let (these, others): (VecDeque<_>, VecDeque<_>) =
            std::mem::take(&mut self.waiting).into_iter().partition(|order| order.selection == *selection);
        self.waiting = others;
        for order in these {
            // Whoever asked may be gone.
            let _ = order.answer.send(result.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    #[tokio::test]
    async fn all_who_ask_for_the_same_are_answered_at_once_and_others_by_their_turn() {
        let (orders, mut book) = Orders::new();
        let ask = |selection: Selection| {
            let orders = orders.clone();
            tokio::spawn(async move { orders.run(selection).await.map(|report| report.summary.synced) })
        };
        let (one, other) = (ask(Selection::all()), ask(Selection::of_user(7)));
        let again = ask(Selection::all());
        book.arrival().await;
        while book.waiting.len() < 3 {
            tokio::task::yield_now().await;
            book.next();
        }
        assert_eq!(book.next(), Some(Selection::all()));
        let summary = SyncSummary { synced: 3, ..SyncSummary::default() };
        let report = RunReport { summary, tried: Arc::new(TriedDocuments::at_most(0)) };
        book.answer(&Selection::all(), &Ok(report));
        assert_eq!((one.await.unwrap().unwrap(), again.await.unwrap().unwrap()), (3, 3));
        assert_eq!(book.next(), Some(Selection::of_user(7)));
        drop(book);
        assert_eq!(other.await.unwrap().unwrap_err().kind(), ErrorKind::Interrupted);
        assert_eq!(orders.run(Selection::all()).await.unwrap_err().kind(), ErrorKind::Interrupted);
    }
}
