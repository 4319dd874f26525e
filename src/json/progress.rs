//! How far a run is, as objects: what `--progress json` writes a line for, what the API streams, what callbacks are given.
//!
//! [`ProgressMonitor`] makes them of the events of documents. What is counted stands in `Progress`, which has no clock: time is
//! given to it, as what has passed since the run began.

mod rate;

use std::fmt;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use self::rate::Rate;
use super::{error, id, millis, serialize};
use crate::blocking;
use crate::client::documents::{DocumentEvent, DocumentMonitor};
use crate::error::NasSyncError;
use crate::id::DocumentId;
use crate::proof::Level;
use crate::role::event::{Event, Monitor};
use crate::text;

/// Progress is told at most ten times a second.
const PACE: Duration = Duration::from_millis(100);

/// One object about a run. Serialized, it has its name under `event`, and of an absent value `null`.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum ProgressEvent {
    /// `started`: documents are going to be sent. There may be more: the totals of `progress` grow then.
    Started {
        /// How many are known so far.
        documents: u64,
        /// The bytes of their files.
        bytes: u64,
    },
    /// `progress`: at most ten a second, and a last one before the end.
    Progress {
        /// Documents whose outcome has been told.
        done: u64,
        /// All that are known so far.
        documents: u64,
        /// Bytes read and handed on; what is sent once more is not counted beyond the total.
        bytes: u64,
        /// The bytes of all files that are known so far.
        bytes_total: u64,
        /// Of the last ten seconds or more, without the very first one, which only fills buffers; `None` in the first two.
        bytes_per_second: Option<u64>,
        /// Seconds that the rest takes at this rate, rounded up; `None` where nothing can be said.
        eta_seconds: Option<u64>,
        /// The name on the NAS of the document that began last, escaped; `None` before the first.
        current: Option<String>,
    },
    /// `document`, with the outcome `synced`: it is on the NAS and, where there is a database, its row says so.
    Synced {
        /// Its key.
        id: DocumentId,
        /// What is proved about it.
        level: Level,
        /// Its length.
        bytes: u64,
    },
    /// `document`, with the outcome `failed`: it may be tried again later.
    Failed {
        /// Its key; `None` for a row without a usable one.
        id: Option<DocumentId>,
        /// Why.
        error: NasSyncError,
    },
    /// `finished`: the last one.
    Finished {
        /// Documents that were synced.
        synced: u64,
        /// Documents that failed.
        failed: u64,
        /// How long it took.
        elapsed: Duration,
    },
}

serialize! { ProgressEvent => object }

/// The object of an event.
pub fn object(event: &ProgressEvent) -> Value {
    match event {
        ProgressEvent::Started { documents, bytes } => {
            json!({ "event": "started", "documents": documents, "bytes": bytes })
        }
        ProgressEvent::Progress { done, documents, bytes, bytes_total, bytes_per_second, eta_seconds, current } => {
            json!({
                "event": "progress",
                "done": done,
                "documents": documents,
                "bytes": bytes,
                "bytes_total": bytes_total,
                "bytes_per_second": bytes_per_second,
                "eta_seconds": eta_seconds,
                "current": current,
            })
        }
        ProgressEvent::Synced { id: key, level, bytes } => json!({
            "event": "document",
            "id": id(key),
            "outcome": "synced",
            "level": level.as_str(),
            "bytes": bytes,
        }),
        ProgressEvent::Failed { id: key, error: cause } => json!({
            "event": "document",
            "id": key.as_ref().map(id),
            "outcome": "failed",
            "level": null,
            "bytes": null,
            "error": error(cause),
        }),
        ProgressEvent::Finished { synced, failed, elapsed } => {
            json!({ "event": "finished", "synced": synced, "failed": failed, "elapsed_ms": millis(*elapsed) })
        }
    }
}

/// Makes [`ProgressEvent`]s of the events of one run: one at each change of state, and at most ten a second of `progress`.
///
/// A run calls from several threads; the objects come one after the other, in their order. Whoever takes them must not block for
/// long, for the run waits meanwhile.
pub struct ProgressMonitor {
    began: Instant,
    progress: Mutex<Progress>,
    tell: Box<dyn Fn(ProgressEvent) + Send + Sync>,
}

impl fmt::Debug for ProgressMonitor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProgressMonitor").field("progress", &self.progress).finish_non_exhaustive()
    }
}

impl ProgressMonitor {
    /// For a run that begins now, and a function that is given each object.
    pub fn new(tell: impl Fn(ProgressEvent) + Send + Sync + 'static) -> Self {
        Self { began: Instant::now(), progress: Mutex::default(), tell: Box::new(tell) }
    }

    /// The run is over, with so many documents synced and failed: tells how far it came, and `finished`.
    pub fn finish(&self, synced: u64, failed: u64) {
        let mut progress = blocking::lock(&self.progress);
        let elapsed = self.began.elapsed();
        progress.last_words(elapsed).into_iter().for_each(&self.tell);
        (self.tell)(ProgressEvent::Finished { synced, failed, elapsed });
    }

    /// Told under the lock, so that they keep their order.
    fn hear<E>(&self, note: impl FnOnce(&mut Progress, &E, Duration) -> Option<Vec<ProgressEvent>>, event: &E) {
        let mut progress = blocking::lock(&self.progress);
        let now = self.began.elapsed();
        let told = note(&mut progress, event, now).map(|told| progress.with_pace(told, now));
        told.into_iter().flatten().for_each(&self.tell);
    }

    /// How far the run is at this moment, whatever was told last.
    pub fn now(&self) -> ProgressEvent {
        blocking::lock(&self.progress).at(self.began.elapsed())
    }
}

impl DocumentMonitor for ProgressMonitor {
    fn event(&self, event: DocumentEvent<'_>) {
        self.hear(Progress::of_document, &event);
    }
}

/// Of a push, which has no documents: its entries are counted, and what becomes of one is not told.
impl Monitor for ProgressMonitor {
    fn event(&self, event: Event<'_>) {
        self.hear(Progress::of_entry, &event);
    }
}

/// What is counted of a run.
#[derive(Debug, Default)]
struct Progress {
    begun: bool,
    documents: u64,
    done: u64,
    bytes: u64,
    bytes_total: u64,
    current: Option<String>,
    rate: Rate,
    /// When progress was told last.
    told: Option<Duration>,
    /// Whether something has changed since.
    is_news: bool,
}

impl Progress {
    /// What there is to tell at once after an event; `None` where nothing has changed.
    fn of_document(&mut self, event: &DocumentEvent<'_>, now: Duration) -> Option<Vec<ProgressEvent>> {
        match event {
            DocumentEvent::Planned { documents, bytes } => return Some(self.plan(*documents, *bytes)),
            DocumentEvent::Started { name, .. } => self.current = Some(text::escape_bytes(name.as_bytes())),
            DocumentEvent::Progress { bytes } => self.read(*bytes, now),
            DocumentEvent::Recorded { id, level, bytes, .. } => {
                self.done += 1;
                return Some(vec![ProgressEvent::Synced { id: (*id).clone(), level: *level, bytes: *bytes }]);
            }
            DocumentEvent::Failed { id, error } => {
                self.done += 1;
                return Some(vec![ProgressEvent::Failed { id: id.cloned(), error: (*error).clone() }]);
            }
            _ => return None,
        }
        Some(Vec::new())
    }

    /// The same for an event of a push.
    fn of_entry(&mut self, event: &Event<'_>, now: Duration) -> Option<Vec<ProgressEvent>> {
        match event {
            Event::Listed { entries, bytes } => return Some(self.plan(*entries as u64, *bytes)),
            Event::FileStarted { entry } => self.current = Some(text::escape_bytes(entry.name)),
            Event::Progress { bytes } => self.read(*bytes, now),
            Event::FileSent { .. } | Event::FileReceived { .. } | Event::FileFailed { .. } => self.done += 1,
            _ => return None,
        }
        Some(Vec::new())
    }

    fn plan(&mut self, documents: u64, bytes: u64) -> Vec<ProgressEvent> {
        self.documents += documents;
        self.bytes_total += bytes;
        self.begin().into_iter().collect()
    }

    fn read(&mut self, bytes: u64, now: Duration) {
        self.bytes += bytes;
        self.rate.count(self.bytes, now);
    }

    /// Adds how far the run is, unless that was told a moment ago.
    fn with_pace(&mut self, mut told: Vec<ProgressEvent>, now: Duration) -> Vec<ProgressEvent> {
        self.is_news = true;
        if self.told.is_none_or(|last| now.saturating_sub(last) >= PACE) {
            told.push(self.tell(now));
        }
        told
    }

    /// What is left to tell at the end.
    fn last_words(&mut self, now: Duration) -> Vec<ProgressEvent> {
        let began = self.begin();
        let rest = self.is_news.then(|| self.tell(now));
        began.into_iter().chain(rest).collect()
    }

    fn begin(&mut self) -> Option<ProgressEvent> {
        let first = !std::mem::replace(&mut self.begun, true);
        first.then_some(ProgressEvent::Started { documents: self.documents, bytes: self.bytes_total })
    }

    fn tell(&mut self, now: Duration) -> ProgressEvent {
        (self.told, self.is_news) = (Some(now), false);
        self.at(now)
    }

    fn at(&self, now: Duration) -> ProgressEvent {
        let bytes = self.bytes.min(self.bytes_total);
        let bytes_per_second = self.rate.per_second(self.bytes, now);
        let left = self.bytes_total - bytes;
        ProgressEvent::Progress {
            // A document may fail and be synced all the same, later in the run.
            done: self.done.min(self.documents),
            documents: self.documents,
            bytes,
            bytes_total: self.bytes_total,
            bytes_per_second,
            eta_seconds: bytes_per_second.filter(|rate| *rate > 0).map(|rate| left.div_ceil(rate)),
            current: self.current.clone(),
        }
    }
}

#[cfg(test)]
mod tests;
