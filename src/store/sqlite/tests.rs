//! The database with real files, several connections and several processes.

mod documents;
mod leasing;
mod listing;
mod naming;
mod opening;
mod pending;
mod recording;
mod remembering;
mod watching;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, TimeZone as _, Utc};
use rusqlite::{Connection, OptionalExtension as _};
use tempfile::TempDir;

use super::*;
use crate::database::TableName;
use crate::error::{ErrorKind, Result};
use crate::id::{DocumentId, UserId};
use crate::process::{Holder, Life};
use crate::proof::{Capability, Level, Refusal};
use crate::store::model::*;
use crate::store::timestamp;
use crate::wire::flist::Mtime;

/// A wait that is long enough to be a wait and short enough for a test.
const SHORT: Duration = Duration::from_millis(60);

/// A database file in a folder of its own.
struct Db {
    folder: TempDir,
}

impl Db {
    /// No file yet.
    fn absent() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    /// A database that somebody else made with `sql`.
    fn foreign(sql: &str) -> Self {
        let db = Self::absent();
        db.raw().execute_batch(sql).unwrap();
        db
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("documents.db")
    }

    /// Another program's connection.
    fn raw(&self) -> Connection {
        Connection::open(self.path()).unwrap()
    }

    fn open(&self) -> SqliteStore {
        self.try_open(Access::Create).unwrap()
    }

    fn try_open(&self, access: Access) -> Result<SqliteStore> {
        SqliteStore::open_with(&self.path(), &TableName::default(), access, SHORT)
    }

    fn text(&self, sql: &str) -> Option<String> {
        self.raw().query_row(sql, [], |row| row.get(0)).unwrap()
    }
}

/// What is remembered about one document.
#[derive(Debug, PartialEq, Eq, Default)]
struct History {
    /// Failed tries in a row of the file that its row names now.
    attempts: u32,
    last_attempt: Option<DateTime<Utc>>,
    last_failure: Option<Failure>,
    next_try: Option<NextTry>,
    copy: Option<StoredCopy>,
}

/// What only tests ask.
impl SqliteStore {
    /// As [`SqliteStore::documents`], without those that are synced.
    fn pending(&self, selection: &Selection) -> Result<Vec<Result<Document, BadRow>>> {
        let is_pending = |row: &Result<Document, BadRow>| row.as_ref().map_or(true, |document| !document.synced);
        Ok(self.documents(selection)?.into_iter().filter(is_pending).collect())
    }

    fn leased(&self, selection: &Selection) -> Result<usize> {
        Ok(self.leased_documents(selection)?.len())
    }

    fn owner_of_name(&self, name: &[u8]) -> Result<Option<DocumentId>> {
        Ok(self.owners_of_names(&[name.to_vec()])?.remove(name))
    }

    /// An empty history when nothing is remembered.
    fn history(&self, id: DocumentId) -> Result<History> {
        let copy = self.copy_of(id.clone())?;
        self.read("read what is recorded in", |tx, table| {
            let sql = format!(
                "SELECT s.attempts, s.last_attempt_at, s.last_error_kind, s.last_error_text, s.last_error_solution,
                        s.failed_for_good, s.next_attempt_at
                 FROM nas_sync_documents s JOIN {table} d ON d.id = s.document_id
                 WHERE s.document_id = ?1 AND s.file_path IS d.file_path AND {}",
                table.is_same_document()
            );
            let read = |row: &rusqlite::Row<'_>| {
                let time = |at| Ok::<_, rusqlite::Error>(values::text(row, at)?.as_deref().and_then(timestamp::parse));
                let text = values::text(row, 3)?.unwrap_or_default();
                let solution = values::text(row, 4)?;
                let next = if values::is_true(row, 5)? { Some(NextTry::Never) } else { time(6)?.map(NextTry::At) };
                Ok(History {
                    attempts: values::number(row, 0)?.unwrap_or(0),
                    last_attempt: time(1)?,
                    last_failure: values::text(row, 2)?.map(|kind| Failure { kind, text, solution }),
                    next_try: next,
                    copy: None,
                })
            };
            let known = tx.query_row(&sql, [id], read).optional()?;
            Ok(History { copy, ..known.unwrap_or_default() })
        })
    }
}

/// The moment of every test.
fn noon() -> DateTime<Utc> {
    Utc.with_ymd_and_hms(2024, 1, 15, 12, 0, 0).unwrap()
}

fn add(store: &mut SqliteStore, user: i64, paths: &[&str]) -> Vec<DocumentId> {
    let new: Vec<_> =
        paths.iter().map(|path| NewDocument { file_path: PathBuf::from(path), original_name: None }).collect();
    let registered = store.add_documents(&UserId::from(user), &new, noon()).unwrap();
    registered.iter().map(Registered::id).cloned().collect()
}

fn synced(id: DocumentId, file_path: &str, remote_name: &str) -> SyncedRecord {
    SyncedRecord {
        id,
        file_path: PathBuf::from(file_path),
        copy: StoredCopy {
            remote_name: remote_name.into(),
            bytes: 7,
            mtime: Mtime { seconds: -1, nanoseconds: 999_999_999 },
            level: Level::Stored,
            sha256: Some([7; 32]),
        },
    }
}

/// A worker of a process that runs on this machine.
fn holder(process: u32) -> Holder {
    Holder { clock: "here".to_owned(), space: "here".to_owned(), process, started: 1 }
}

/// Leases everything that is pending to a worker, also what waits.
fn lease_all(store: &mut SqliteStore) -> Fence {
    let me = holder(1);
    let worker = Worker { holder: &me, now: Duration::ZERO, life_of: &|_| Life::Possible };
    store.claim(&Selection::all(), &Due::Any, usize::MAX, &worker).unwrap().fence.expect("something is pending")
}

/// The queue as a worker of this machine sees it.
fn queue(store: &SqliteStore, selection: &Selection, now: DateTime<Utc>) -> Queue {
    let me = holder(1);
    store.queue(selection, now, &Worker { holder: &me, now: Duration::ZERO, life_of: &|_| Life::Possible }).unwrap().0
}

/// When the oldest document that may still be sent was registered.
fn oldest(store: &SqliteStore, selection: &Selection) -> Option<DateTime<Utc>> {
    let me = holder(1);
    store
        .queue(selection, noon(), &Worker { holder: &me, now: Duration::ZERO, life_of: &|_| Life::Possible })
        .unwrap()
        .1
}

/// Records what became of documents under a lease, which ends with it.
fn settle(store: &mut SqliteStore, fence: Fence, settlement: &Settlement) -> Result<Vec<MarkOutcome>> {
    let again = |_, _| NextTry::At(noon());
    let outcomes = store.settle(fence, settlement, noon(), &again, &|_| true);
    store.release(fence).unwrap();
    outcomes
}

/// Marks documents under a lease of their own.
fn mark(store: &mut SqliteStore, records: &[SyncedRecord]) -> Result<Vec<MarkOutcome>> {
    let fence = lease_all(store);
    settle(store, fence, &Settlement { synced: records.to_vec(), ..Settlement::default() })
}

/// Fails documents under a lease of their own.
fn fail(store: &mut SqliteStore, failed: &[FailedTry]) {
    let fence = lease_all(store);
    settle(store, fence, &Settlement { failed: failed.to_vec(), ..Settlement::default() }).unwrap();
}

/// The ids of good rows; a bad row ends the test.
fn ids(rows: Vec<Result<Document, BadRow>>) -> Vec<i64> {
    rows.into_iter().map(|row| row.unwrap().id.as_integer().unwrap()).collect()
}

fn kind<T>(result: Result<T>) -> ErrorKind {
    result.err().expect("this must fail").kind()
}
