//! The database: which documents are pending, which are on the NAS, and what happened on the way.
//!
//! The `documents` table may belong to somebody else's program. Guarantees: of its rows only `synced_to_nas` and
//! `synced_at` are ever changed; a table that lacks a needed column, or that is a view, is refused before anything is
//! written; a row that makes no sense is an error of that row, never of the batch and never a panic. Everything else is
//! kept in tables whose names start with `nas_sync_`. Every write is one `BEGIN IMMEDIATE` transaction, so two
//! processes on one database wait for each other instead of failing half-way. See `protocol-notes/14-database.md`.
//!
//! Never: a file, a network or a clock. All calls block; a [`Store`] may be moved between threads, not shared.

mod attempts;
mod change_detection;
mod discovered;
mod documents;
mod fault;
mod history;
mod leases;
mod names;
mod queue;
mod schema;
mod stats;
mod stored_copies;
mod targets;
pub mod timestamp;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rusqlite::{Connection, OpenFlags, Transaction, TransactionBehavior};

use crate::error::{ErrorKind, NasSyncError, Result};

pub use attempts::{Attempt, AttemptEnd, FailedTry, MarkOutcome, Settlement, StoredCopy, SyncedRecord};
pub use discovered::FoundFile;
pub use documents::{BadRow, Document, NewDocument, Selection};
pub use history::{Failure, History};
pub use leases::{Claimed, Due, Fence, LEASE_TERM, Worker};
pub use names::Claim;
pub use queue::{Deferred, LONGEST_WAIT, NextTry, Queue};
pub use stats::SyncStats;
pub use stored_copies::SyncedCopy;
pub use targets::Pause;

/// How long a call waits for another process's write lock, unless told otherwise.
pub const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// What opening may do to the database file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Creates the file and the tables if they are missing: for `add`.
    Create,
    /// The file must exist; missing tables are created in it: for `sync`. A mistyped path makes no new database.
    Existing,
    /// The file must exist and nothing in it changes, not even its journal mode: for `status`. Missing tables count
    /// as empty. Calls that write fail with `DatabaseUnusable`.
    ReadOnly,
}

/// An open database.
#[derive(Debug)]
pub struct Store {
    conn: Connection,
    path: PathBuf,
    columns: schema::Columns,
}

impl Store {
    /// Opens the database at `path` and waits up to [`BUSY_TIMEOUT`] for locks.
    ///
    /// Fails with `DatabaseLocked` or `DatabaseUnusable`; the message names the path.
    pub fn open(path: &Path, access: Access) -> Result<Self> {
        Self::open_with(path, access, BUSY_TIMEOUT)
    }

    /// Like [`Store::open`], with another time to wait for locks (whole milliseconds count).
    pub fn open_with(path: &Path, access: Access, busy_timeout: Duration) -> Result<Self> {
        // An absolute path is never one of SQLite's special names: `:memory:`, `file:…` and the empty string.
        let path = std::path::absolute(path).map_err(|error| {
            NasSyncError::new(ErrorKind::DatabaseUnusable, format!("the path of the database is not usable: {error}"))
                .with_source(error)
        })?;
        let opening = fault::of(&path, "open");
        refuse_missing(&path, access)?;
        let conn = Connection::open_with_flags(&path, flags(access)).map_err(&opening)?;
        conn.busy_timeout(busy_timeout).map_err(&opening)?;
        // In WAL mode FULL syncs the log at each commit, NORMAL only at checkpoints. A lost commit would merely send a
        // batch again, but "synced" that was reported should stay true after a power cut, and one sync a batch is cheap.
        conn.pragma_update(None, "synchronous", "FULL").map_err(&opening)?;

        let refused = |error| schema::to_error(&path, error);
        let found = schema::inspect(&conn).map_err(refused)?;
        let columns = if access == Access::ReadOnly {
            schema::stand_in(&conn, found).map_err(refused)?
        } else {
            enter_wal(&conn, busy_timeout).map_err(&opening)?;
            schema::prepare(&conn, found).map_err(refused)?
        };
        drop(opening);
        Ok(Self { conn, path, columns })
    }

    /// The absolute path of the database file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Turns SQLite's errors of one call into ours. `doing` completes "cannot … the database".
    fn fault<'a>(&'a self, doing: &'a str) -> impl Fn(rusqlite::Error) -> NasSyncError + 'a {
        fault::of(&self.path, doing)
    }

    /// Runs `work` in one write transaction: all of it is committed, or nothing.
    fn write<T>(
        &mut self,
        doing: &str,
        work: impl FnOnce(&Transaction<'_>, &schema::Columns) -> rusqlite::Result<T>,
    ) -> Result<T> {
        let (conn, columns) = (&mut self.conn, &self.columns);
        // IMMEDIATE takes the write lock first, where SQLite waits for it; a lock upgraded later can fail at once.
        let run = || {
            let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let value = work(&tx, columns)?;
            tx.commit()?;
            Ok(value)
        };
        run().map_err(fault::of(&self.path, doing))
    }
}

fn flags(access: Access) -> OpenFlags {
    // No mutex: the type system keeps a connection on one thread at a time.
    OpenFlags::SQLITE_OPEN_NO_MUTEX
        | OpenFlags::SQLITE_OPEN_EXRESCODE
        | match access {
            Access::Create => OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE,
            Access::Existing => OpenFlags::SQLITE_OPEN_READ_WRITE,
            Access::ReadOnly => OpenFlags::SQLITE_OPEN_READ_ONLY,
        }
}

/// Says in plain words what SQLite would only call "unable to open database file".
fn refuse_missing(path: &Path, access: Access) -> Result<()> {
    let folder = path.parent().unwrap_or(path);
    let (message, solution) = if access == Access::Create {
        if folder.is_dir() {
            return Ok(());
        }
        (
            format!("the folder {} for the database does not exist (NAS_DB)", folder.display()),
            "Create the folder, or name another database with NAS_DB or --db.",
        )
    } else {
        match path.try_exists() {
            Ok(false) => (
                format!("the database {} does not exist (NAS_DB)", path.display()),
                "Point NAS_DB or --db at the database that holds the documents, or register documents with `nas-sync add`.",
            ),
            // When the folder cannot be searched SQLite gives the reason.
            Ok(true) | Err(_) => return Ok(()),
        }
    };
    Err(NasSyncError::new(ErrorKind::DatabaseUnusable, message).with_solution(solution))
}

/// Switches the file to WAL mode, in which readers and the one writer do not wait for each other.
///
/// SQLite does not wait for locks here by itself, and two processes that open a new database together meet in this
/// place. A file system without shared memory keeps its old mode; that costs waiting, not correctness.
fn enter_wal(conn: &Connection, busy_timeout: Duration) -> rusqlite::Result<()> {
    let mode: String = conn.query_row("PRAGMA journal_mode", [], |row| row.get(0))?;
    if mode.eq_ignore_ascii_case("wal") {
        return Ok(());
    }
    let deadline = Instant::now() + busy_timeout;
    loop {
        match conn.query_row("PRAGMA journal_mode = WAL", [], |_| Ok(())) {
            Err(error) if fault::is_lock(&error) && Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(10));
            }
            result => return result,
        }
    }
}

#[cfg(test)]
mod tests;
