//! What a database is asked and what it answers, as values: documents, leases, outcomes, statistics. No SQL.

mod listing;
mod outcome;
mod registration;

use std::path::PathBuf;
use std::time::Duration;

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};

pub use self::listing::{DocumentState, ListRequest, ListedDocument, Listing};
pub use self::outcome::{Attempt, AttemptEnd, FailedTry, Failure, MarkOutcome, Settlement, SyncedRecord};
pub use self::registration::{NewDocument, Registered};
use crate::error::{NasSyncError, Result};
use crate::id::{DocumentId, UserId};
pub use crate::own_tables::LEASE_TERM;
use crate::process::{Holder, Life};
use crate::proof::{Level, Refusal};
use crate::text;
use crate::wire::flist::Mtime;

/// One document as its row describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// Its row.
    pub id: DocumentId,
    /// Whose it is.
    pub user_id: UserId,
    /// Its file, as stored: may be relative. Not empty and without NUL; any other bytes are possible.
    pub file_path: PathBuf,
    /// Whether it counts as synced.
    pub synced: bool,
    /// The name under which a user uploaded it. Like all that follows: `None` when there is no such column, or nothing
    /// readable or only blanks in it.
    pub original_name: Option<String>,
    /// Such as `pdf`.
    pub file_type: Option<String>,
    /// Such as `invoice`.
    pub doc_type: Option<String>,
    /// The document's own date.
    pub date: Option<NaiveDate>,
    /// When it was registered.
    pub created_at: Option<DateTime<Utc>>,
    /// The column that should give its day and what stands there, where that is not understood as one.
    pub odd_date: Option<(&'static str, String)>,
}

/// A row that cannot be sent, or an id without one.
#[derive(Debug)]
pub struct BadRow {
    /// `None` when not even the id is a number.
    pub id: Option<DocumentId>,
    /// Why: `DocumentNotFound`, or `SourceUnreadable` for a row whose values make no sense.
    pub error: NasSyncError,
}

/// Which documents are meant: all that fulfil every condition that is set.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Selection {
    /// Only those of this user.
    pub user: Option<UserId>,
    /// Only these.
    pub documents: Option<Vec<DocumentId>>,
    /// Only those with ids up to this one.
    pub up_to: Option<DocumentId>,
    /// None of these.
    pub without: Vec<DocumentId>,
}

impl Selection {
    /// Those of every user.
    pub fn all() -> Self {
        Self::default()
    }

    /// Those of one user.
    pub fn of_user(user: impl Into<UserId>) -> Self {
        Self { user: Some(user.into()), ..Self::default() }
    }

    /// Just these.
    pub fn documents(documents: impl IntoIterator<Item = DocumentId>) -> Self {
        Self::all().only(documents)
    }

    /// Of these, just some.
    #[must_use]
    pub fn only(self, documents: impl IntoIterator<Item = DocumentId>) -> Self {
        Self { documents: Some(documents.into_iter().collect()), ..self }
    }

    /// Of these, all but some.
    #[must_use]
    pub fn without(self, documents: impl IntoIterator<Item = DocumentId>) -> Self {
        Self { without: documents.into_iter().collect(), ..self }
    }

    /// Of these, those with ids up to one.
    #[must_use]
    pub fn up_to(self, last: DocumentId) -> Self {
        Self { up_to: Some(last), ..self }
    }
}

/// The longest wait that is ever recorded.
pub const LONGEST_WAIT: TimeDelta = TimeDelta::hours(1);

/// A login that a NAS refuses is tried so often within [`REFUSED_LOGINS_WITHIN`], and not more often, whoever restarts.
pub const MOST_REFUSED_LOGINS: usize = 4;
/// The time within which refused logins are counted.
pub const REFUSED_LOGINS_WITHIN: TimeDelta = TimeDelta::hours(1);

/// When a document is tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum NextTry {
    /// From this time on.
    At(DateTime<Utc>),
    /// When somebody asks for it: it has failed for good.
    Never,
}

/// A pending document whose last try failed.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Deferred {
    /// Which.
    pub id: DocumentId,
    /// Why the last try failed.
    pub failure: Failure,
    /// How many tries failed.
    pub tries: u32,
    /// When it is tried again.
    pub next: NextTry,
}

/// The documents of a selection that are not synced, and why not.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Queue {
    /// Those that may be sent now.
    pub due: u64,
    /// Those that a worker is sending.
    pub leased: u64,
    /// Those whose last try failed, by ascending id.
    pub deferred: Vec<Deferred>,
}

/// A state of the database: another connection's changes make another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Version(pub i64);

/// The queue of a selection, and what is remembered of a NAS, at one moment.
#[derive(Debug)]
pub struct QueueView {
    /// The state that was looked at, or an earlier one.
    pub version: Version,
    /// The queue.
    pub queue: Queue,
    /// Why nothing is sent to the NAS, also when that is over by now.
    pub pause: Option<Pause>,
    /// When it refused the login.
    pub refused_logins: Vec<DateTime<Utc>>,
    /// When the oldest pending document that has not failed for good was registered.
    pub oldest: Option<DateTime<Utc>>,
}

/// What a run has to know when it begins.
#[derive(Debug)]
pub struct Beginning {
    /// What it is about, without documents that are registered from now on.
    pub selection: Selection,
    /// What can never be leased of it.
    pub unusable: Vec<BadRow>,
    /// What the NAS refuses, as far as it is still believed.
    pub refusals: Vec<Refusal>,
    /// Why nothing is sent to the NAS, also when that is over by now.
    pub pause: Option<Pause>,
}

/// The settings name another place than the one at which the synced documents are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moved {
    /// The place where they are, safe to print.
    pub from: String,
    /// How many there are.
    pub documents: u64,
}

impl Moved {
    /// What there is to do about it.
    pub const SOLUTION: &'static str = "`nas-sync verify --requeue` compares them with what is at the new place, and has what is missing there sent again; what is gone here, too, comes back from the old place with `NAS_PATH=… nas-sync restore`; if the setting is wrong, correct NAS_HOST, NAS_PORT or NAS_PATH.";

    /// What it means, for people.
    pub fn message(&self) -> String {
        let documents = text::counted(self.documents, "document counts", "documents count");
        format!(
            "{documents} as synced, to {}; whether all of them are at the place that is set now, nobody has looked",
            self.from
        )
    }
}

/// So many documents at most are leased, named or recorded in one commit: others wait for it, and where connections do not
/// last, what is done has to stay done.
pub const AT_ONCE: usize = 200;

/// The worker that asks, and how it looks at others.
pub struct Worker<'w> {
    /// Itself.
    pub holder: &'w Holder,
    /// Now, on its clock: the time since that clock's zero. Whole milliseconds count.
    pub now: Duration,
    /// What can be said about another one.
    pub life_of: &'w (dyn Fn(&Holder) -> Life + Sync),
}

/// The fencing number of a lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fence(pub i64);

/// Which of the pending documents are wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Due {
    /// Those that do not wait and have not failed for good, at this time.
    At(DateTime<Utc>),
    /// All, because somebody asked for just these.
    Any,
}

/// What a worker was given.
#[derive(Debug)]
pub struct Claimed {
    /// The lease; `None` when there was nothing to give.
    pub fence: Option<Fence>,
    /// The documents, by ascending id; all of them are leased.
    pub documents: Vec<Result<Document, BadRow>>,
}

/// The answer to a claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Claim {
    /// The name is the document's, now or already before.
    Granted,
    /// The name is the document's, but where the NAS folds names it is the same file as these copies of others.
    Meets(Vec<NeighbourCopy>),
    /// The name is the document's, but where the NAS folds names it is the same file as what another worker may be sending
    /// for this document: not now.
    Awaits(DocumentId),
    /// The name belongs to this earlier document; the later one must not be sent.
    TakenBy(DocumentId),
}

/// The recorded copy of a document whose name, or a folder's on the way to it, differs only in its spelling from another
/// document's: in case, composition and the like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NeighbourCopy {
    /// Whose it is.
    pub id: DocumentId,
    /// Its name below the NAS folder.
    pub name: Vec<u8>,
    /// Its size; 0 where the record makes no sense.
    pub bytes: u64,
    /// Its modification time; the epoch where the record makes no sense.
    pub mtime: Mtime,
}

/// A file that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundFile {
    /// The document that it becomes.
    pub document: NewDocument,
    /// Other ways to write its path, under which it may be registered already.
    pub also: Vec<PathBuf>,
}

/// A copy that the NAS acknowledged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredCopy {
    /// Its path below the NAS folder, as sent.
    pub remote_name: Vec<u8>,
    /// Its size.
    pub bytes: u64,
    /// Its modification time.
    pub mtime: Mtime,
    /// What is proved about it.
    pub level: Level,
    /// SHA-256 of the bytes that were read when it was sent; `None` for copies of versions that kept none.
    pub sha256: Option<[u8; 32]>,
}

/// Of which documents the copies are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Copies {
    /// Of those that count as synced.
    OfSynced,
    /// Also of those that are pending again.
    OfPendingToo,
}

/// A document that is synced, and its copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyncedCopy {
    /// Which.
    pub id: DocumentId,
    /// Its file, as stored in its row.
    pub file_path: PathBuf,
    /// Its copy as it was recorded; `None` when the document was synced by something that kept no record.
    pub copy: Option<StoredCopy>,
}

/// How far the documents are. `total_documents = synced + pending`, and `failed` are among the pending.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct SyncStats {
    /// All of them.
    pub total_documents: u64,
    /// Those on the NAS.
    pub synced: u64,
    /// Those not yet on the NAS.
    pub pending: u64,
    /// Pending ones whose last try failed.
    pub failed: u64,
    /// 0 to 100, rounded to one decimal; 0 when there are no documents.
    pub sync_percentage: f64,
    /// The latest `synced_at` of a synced document; values that are no times do not count.
    pub last_sync: Option<DateTime<Utc>>,
}

/// Why nothing is sent to a NAS at the moment.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Pause {
    /// Until when; `None`: until somebody asks.
    pub until: Option<DateTime<Utc>>,
    /// Why.
    pub failure: Failure,
    /// How many pauses in a row this is, from 1.
    pub count: u32,
}

impl Pause {
    /// The first pause in a row.
    pub fn new(failure: Failure, until: Option<DateTime<Utc>>) -> Self {
        Self { until, failure, count: 1 }
    }
}

/// What a retry changed.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Retried {
    /// Documents that waited or had failed, and are due now.
    pub documents: usize,
    /// The pause that it ended.
    pub pause: Option<Pause>,
}

/// What opening may do to the database file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Creates the file and the tables if they are missing: for `add`.
    Create,
    /// The file and `documents` must exist; our own tables are created in it: for `sync`. A mistyped path makes no new
    /// database, and nothing is written to another one.
    Existing,
    /// The file and `documents` must exist and nothing in it changes, not even its journal mode: for `status`. Missing
    /// tables of our own count as empty. Calls that write fail with `DatabaseUnusable`.
    ReadOnly,
}
