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
use rusqlite::Connection;
use tempfile::TempDir;

use super::*;
use crate::database::TableName;
use crate::error::{ErrorKind, Result};
use crate::id::{DocumentId, UserId};
use crate::process::{Holder, Life};
use crate::proof::{Capability, Level, Refusal};
use crate::store::model::*;
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
