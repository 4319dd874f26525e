//! What happens, as it happens: the runs of the loop as server-sent events.
//!
//! Guarantees: every reader gets the objects in their order, from the beginning of the run that is going on; one that reads
//! slowly misses progress and nothing else, and one that falls further behind is ended, to come again. Nobody waits for a
//! reader.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, Mutex, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame};
use tokio::time::{Interval, interval};

use crate::blocking::lock;
use crate::client::documents::DocumentMonitor;
use crate::error::Result;
use crate::json::{ProgressEvent, ProgressMonitor};
use crate::service::SyncSummary;
use crate::watch::orders::Follower;

/// So many readers there may be.
pub const MOST_READERS: usize = 32;
/// So many objects may wait for one reader.
const MOST_WAITING: usize = 1_000;
/// How often something is sent at least, so that those between do not take it for dead.
const BEAT: Duration = Duration::from_secs(15);

/// All that happens.
#[derive(Debug, Clone, Default)]
pub struct Events(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    run: Option<Arc<ProgressMonitor>>,
    /// The beginning of the run that is going on, and how far it is.
    started: Option<Bytes>,
    progress: Option<Bytes>,
    readers: Vec<Weak<Mutex<Waiting>>>,
    closed: bool,
}

/// What waits for one reader.
#[derive(Debug, Default)]
struct Waiting {
    objects: VecDeque<Object>,
    ended: bool,
    waker: Option<Waker>,
}

#[derive(Debug, Clone)]
struct Object {
    text: Bytes,
    is_progress: bool,
}

impl Events {
    /// A new reader; `None`: there are too many.
    pub fn subscribe(&self) -> Option<Reader> {
        let mut state = lock(&self.0);
        state.readers.retain(|reader| reader.strong_count() > 0);
        if state.readers.len() >= MOST_READERS {
            return None;
        }
        let objects = [(&state.started, false), (&state.progress, true)];
        let known =
            objects.into_iter().filter_map(|(text, is_progress)| Some(Object { text: text.clone()?, is_progress }));
        let waiting = Waiting { objects: known.collect(), ended: state.closed, waker: None };
        let waiting = Arc::new(Mutex::new(waiting));
        state.readers.push(Arc::downgrade(&waiting));
        Some(Reader { waiting, beat: interval(BEAT) })
    }

    /// Nothing happens any more.
    pub fn close(&self) {
        let mut state = lock(&self.0);
        state.closed = true;
        for reader in state.readers.iter().filter_map(Weak::upgrade) {
            lock(&reader).end();
        }
    }

    fn tell(&self, event: &ProgressEvent) {
        let Ok(json) = serde_json::to_string(event) else { return };
        let text = Bytes::from(format!("data: {json}\n\n"));
        let is_progress = matches!(event, ProgressEvent::Progress { .. });
        let mut state = lock(&self.0);
        match event {
            ProgressEvent::Started { .. } => state.started = Some(text.clone()),
            ProgressEvent::Progress { .. } => state.progress = Some(text.clone()),
            ProgressEvent::Finished { .. } => (state.started, state.progress) = (None, None),
            _ => {}
        }
        let object = Object { text, is_progress };
        for reader in state.readers.iter().filter_map(Weak::upgrade) {
            lock(&reader).push(&object);
        }
    }
}

impl Follower for Events {
    fn begins(&self) -> Arc<dyn DocumentMonitor> {
        let events = self.clone();
        let run = Arc::new(ProgressMonitor::new(move |event| events.tell(&event)));
        lock(&self.0).run = Some(Arc::clone(&run));
        run
    }

    fn ends(&self, result: &Result<SyncSummary>) {
        // Its end is told without the lock, which the telling takes.
        let run = lock(&self.0).run.take();
        let (synced, failed) = result.as_ref().map_or((0, 0), |summary| (summary.synced, summary.failed));
        if let Some(run) = run {
            run.finish(synced as u64, failed as u64);
        }
    }
}

impl Waiting {
    fn push(&mut self, object: &Object) {
        if self.ended {
            return;
        }
        if object.is_progress && self.objects.back().is_some_and(|last| last.is_progress) {
            // The newer one says all that the older one said.
            self.objects.pop_back();
        }
        if self.objects.len() < MOST_WAITING {
            self.objects.push_back(object.clone());
            self.wake();
        } else if !object.is_progress {
            self.end();
        }
    }

    fn end(&mut self) {
        self.ended = true;
        self.wake();
    }

    fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

/// The body of an answer that goes on.
#[derive(Debug)]
pub struct Reader {
    waiting: Arc<Mutex<Waiting>>,
    beat: Interval,
}

impl Body for Reader {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        {
            let mut waiting = lock(&self.waiting);
            if let Some(object) = waiting.objects.pop_front() {
                return Poll::Ready(Some(Ok(Frame::data(object.text))));
            }
            if waiting.ended {
                return Poll::Ready(None);
            }
            waiting.waker = Some(context.waker().clone());
        }
        // The first comes at once, and with it the head of the answer.
        self.beat.poll_tick(context).map(|_| Some(Ok(Frame::data(Bytes::from_static(b":\n\n")))))
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;
    use crate::error::{ErrorKind, NasSyncError};

    /// What waits for a reader, without the beats.
    async fn read(reader: &mut Reader) -> Option<String> {
        loop {
            let frame = poll_fn(|context| Pin::new(&mut *reader).poll_frame(context)).await?.unwrap();
            let text = String::from_utf8(frame.into_data().unwrap().to_vec()).unwrap();
            if text != ":\n\n" {
                return Some(text);
            }
        }
    }

    fn failed(id: i64) -> ProgressEvent {
        ProgressEvent::Failed { id: Some(id.into()), error: NasSyncError::new(ErrorKind::SourceMissing, "a\nb") }
    }

    fn progress(done: u64) -> ProgressEvent {
        ProgressEvent::Progress {
            done,
            documents: 9,
            bytes: 1,
            bytes_total: 2,
            bytes_per_second: None,
            eta_seconds: None,
            current: None,
        }
    }

    #[tokio::test]
    async fn a_slow_reader_misses_progress_only_and_a_newcomer_knows_the_run() {
        let events = Events::default();
        let mut early = events.subscribe().unwrap();
        events.tell(&ProgressEvent::Started { documents: 9, bytes: 2 });
        (0..5).for_each(|done| events.tell(&progress(done)));
        events.tell(&failed(7));
        (5..9).for_each(|done| events.tell(&progress(done)));
        let mut late = events.subscribe().unwrap();
        for expected in ["\"started\"", "\"done\":4", "\"id\":7", "\"done\":8"] {
            let text = read(&mut early).await.unwrap();
            assert!(text.starts_with("data: {") && text.ends_with("}\n\n") && text.contains(expected), "{text}");
        }
        for expected in ["\"started\"", "\"done\":8"] {
            assert!(read(&mut late).await.unwrap().contains(expected));
        }
        events.tell(&ProgressEvent::Finished { synced: 8, failed: 1, elapsed: Duration::ZERO });
        assert!(read(&mut late).await.unwrap().contains("\"finished\""));
        let mut after = events.subscribe().unwrap();
        events.close();
        assert_eq!(read(&mut after).await, None, "of a run that is over nothing is told");
        assert_eq!(read(&mut events.subscribe().unwrap()).await, None);
    }

    #[tokio::test]
    async fn who_falls_too_far_behind_is_ended_and_has_lost_nothing_before_that() {
        let events = Events::default();
        let mut reader = events.subscribe().unwrap();
        let count = i64::try_from(MOST_WAITING).unwrap();
        (0..count + 10).for_each(|id| events.tell(&failed(id)));
        for id in 0..count {
            assert!(read(&mut reader).await.unwrap().contains(&format!("\"id\":{id},")));
        }
        assert_eq!(read(&mut reader).await, None);
    }

    #[tokio::test]
    async fn there_are_not_too_many_readers() {
        let events = Events::default();
        let readers: Vec<_> = (0..MOST_READERS).map(|_| events.subscribe().unwrap()).collect();
        assert!(events.subscribe().is_none());
        drop(readers);
        assert!(events.subscribe().is_some());
    }
}
