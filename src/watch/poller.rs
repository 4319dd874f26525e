//! Looking at the database: cheaply each second, closely when something has changed.
//!
//! Guarantees: a change by any other connection is seen; a document that was waiting is seen when it is due; a file that was
//! replaced or taken away is noticed at the next glance, and it is opened anew at every interval. However large the table is, looking
//! takes no more than a tenth of the time. Never: a write, except that the tables are brought up to date when they are
//! opened.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};

use super::metrics::Backlog;
use crate::blocking;
use crate::database::Database;
use crate::error::Result;
use crate::service::lease;
use crate::store::{Access, Deferred, NextTry, Pause, Queue, QueueView, Selection, Store, Version};

/// What was seen.
#[derive(Debug, Clone, Default)]
pub(super) struct View {
    /// Documents that may be sent now.
    pub due: u64,
    /// Documents that a worker is sending, or was when it died.
    pub leased: u64,
    /// When the first of those that wait may be sent.
    pub next_due: Option<DateTime<Utc>>,
    /// Those whose last try failed.
    pub deferred: Vec<Deferred>,
    /// Why nothing should be sent to this NAS.
    pub pause: Option<Pause>,
    /// When it refused the login.
    pub refused_logins: Vec<DateTime<Utc>>,
    /// The figures.
    pub backlog: Backlog,
}

/// Which look is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Look {
    /// A close one if something may have changed.
    Glance,
    /// A close one in any case.
    Close,
}

/// Looks at one database.
pub(super) struct QueuePoller {
    db: Database,
    selection: Selection,
    target: String,
    interval: Duration,
    open: Option<Open>,
    next_due: Option<DateTime<Utc>>,
    /// Not before that.
    rested: Instant,
    /// Since when there is something to send, for tables without `created_at`.
    pending_since: Option<DateTime<Utc>>,
}

struct Open {
    store: Store,
    since: Instant,
    /// Which file it is, for a database that is one.
    file: Option<(u64, u64)>,
    version: Option<Version>,
}

impl QueuePoller {
    /// Nothing is opened yet. `target` is the NAS whose pauses matter.
    pub fn new(db: Database, selection: Selection, target: String, interval: Duration) -> Self {
        let rested = Instant::now();
        Self { db, selection, target, interval, open: None, next_due: None, rested, pending_since: None }
    }

    /// Looks. `None`: nothing has changed since the last view.
    pub async fn look(&mut self, look: Look) -> Result<Option<View>> {
        if look == Look::Glance && Instant::now() < self.rested {
            return Ok(None);
        }
        let file = identity(&self.db).await?;
        let is_fresh = |open: &Open| open.since.elapsed() < self.interval && open.file == file;
        let open = match self.open.take().filter(is_fresh) {
            Some(open) => open,
            None => Open::new(&self.db, file).await?,
        };
        let (now, began) = (Utc::now(), Instant::now());
        let is_due = self.next_due.is_some_and(|due| due <= now);
        let known = if look == Look::Close || is_due { None } else { open.version };
        let (selection, target) = (self.selection.clone(), self.target.clone());
        let seen = open.store.view(selection, target, known, now, lease::worker()).await?;
        self.open = Some(Open { version: seen.as_ref().map(|seen| seen.version).or(open.version), ..open });
        let Some(seen) = seen else { return Ok(None) };
        self.rested = Instant::now() + began.elapsed() * 9;
        let view = self.view(seen);
        self.next_due = view.next_due;
        Ok(Some(view))
    }

    fn view(&mut self, seen: QueueView) -> View {
        let QueueView { queue, pause, refused_logins, oldest, .. } = seen;
        let Queue { due, leased, deferred } = queue;
        let waits = |deferred: &Deferred| match deferred.next {
            NextTry::At(time) => Some(time),
            NextTry::Never => None,
        };
        let waiting = deferred.iter().filter_map(waits).count() as u64;
        let backlog = Backlog {
            pending: due + leased + deferred.len() as u64,
            waiting,
            failed: deferred.len() as u64 - waiting,
            oldest,
        };
        self.pending_since = match due + leased + waiting {
            0 => None,
            _ => self.pending_since.or_else(|| Some(Utc::now())),
        };
        let oldest = oldest.or(self.pending_since);
        View {
            due,
            leased,
            next_due: deferred.iter().filter_map(waits).min(),
            deferred,
            pause,
            refused_logins,
            backlog: Backlog { oldest, ..backlog },
        }
    }
}

impl Open {
    async fn new(db: &Database, file: Option<(u64, u64)>) -> Result<Self> {
        // Own tables of an older version are brought up to date first.
        Store::open(db, Access::Existing).await?.close().await;
        Ok(Self { store: Store::open(db, Access::ReadOnly).await?, since: Instant::now(), file, version: None })
    }
}

/// Which file a database is; `None` also where none is there.
async fn identity(db: &Database) -> Result<Option<(u64, u64)>> {
    let Some(file) = db.file().map(ToOwned::to_owned) else { return Ok(None) };
    blocking::run(move || Ok(fs::metadata(file).ok().map(|meta| (meta.dev(), meta.ino())))).await
}
