//! The connection: opening the file, its modes and locks, and the one way to write.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, Transaction, TransactionBehavior};

use super::{fault, schema};
use crate::database::TableName;
use crate::error::{ErrorKind, NasSyncError, Result};
use crate::store::model::Access;

/// How long a call waits for another process's write lock, unless told otherwise.
pub const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// An open database.
#[derive(Debug)]
pub struct SqliteStore {
    pub(super) conn: Connection,
    path: PathBuf,
    pub(super) table: schema::Table,
}

impl SqliteStore {
    /// Opens the database at `path` and waits up to [`BUSY_TIMEOUT`] for locks.
    ///
    /// Fails with `DatabaseLocked` or `DatabaseUnusable`; the message names the path.
    pub fn open(path: &Path, table: &TableName, access: Access) -> Result<Self> {
        Self::open_with(path, table, access, BUSY_TIMEOUT)
    }

    /// Like [`SqliteStore::open`], with another time to wait for locks (whole milliseconds count).
    pub fn open_with(path: &Path, table: &TableName, access: Access, busy_timeout: Duration) -> Result<Self> {
        // An absolute path is never one of SQLite's special names: `:memory:`, `file:…` and the empty string.
        let path = std::path::absolute(path).map_err(|error| {
            NasSyncError::new(ErrorKind::DatabaseUnusable, format!("the path of the database is not usable: {error}"))
                .with_source(error)
        })?;
        let opening = fault::of(&path, "open");
        refuse_missing(&path, access)?;
        let conn = Connection::open_with_flags(&path, flags(access)).map_err(&opening)?;
        conn.busy_timeout(busy_timeout).map_err(&opening)?;
        // A plan is made once, not for each value: where SQLite keeps samples of an index (STAT4), it would parse a statement anew
        // whenever another value is compared, and that took a third of the CPU time of a `sync`.
        conn.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true).map_err(&opening)?;
        // In WAL mode FULL syncs the log at each commit, NORMAL only at checkpoints. A lost commit would merely send a
        // batch again, but "synced" that was reported should stay true after a power cut, and one sync a batch is cheap.
        conn.pragma_update(None, "synchronous", "FULL").map_err(&opening)?;

        let refused = |error| schema::to_error(&path, error);
        let name = schema::name_in(table).map_err(refused)?;
        let found = schema::inspect(&conn, name).map_err(refused)?;
        if access != Access::Create {
            found.require_documents(name).map_err(refused)?;
        }
        let table = if access == Access::ReadOnly {
            schema::stand_in(&conn, name, &found).map_err(refused)?
        } else {
            enter_wal(&conn, busy_timeout).map_err(&opening)?;
            schema::prepare(&conn, name, found).map_err(refused)?
        };
        drop(opening);
        Ok(Self { conn, path, table })
    }

    /// The absolute path of the database file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Turns SQLite's errors of one call into ours. `doing` completes "cannot … the database".
    pub(super) fn fault<'a>(&'a self, doing: &'a str) -> impl Fn(rusqlite::Error) -> NasSyncError + 'a {
        fault::of(&self.path, doing)
    }

    /// Runs `work` on one state of the database. No lock is taken.
    pub(super) fn read<T>(
        &self,
        doing: &str,
        work: impl FnOnce(&Transaction<'_>, &schema::Table) -> rusqlite::Result<T>,
    ) -> Result<T> {
        let run = || work(&self.conn.unchecked_transaction()?, &self.table);
        run().map_err(self.fault(doing))
    }

    /// Runs `work` in one write transaction: all of it is committed, or nothing.
    pub(super) fn write<T>(
        &mut self,
        doing: &str,
        work: impl FnOnce(&Transaction<'_>, &schema::Table) -> rusqlite::Result<T>,
    ) -> Result<T> {
        let (conn, table) = (&mut self.conn, &self.table);
        // IMMEDIATE takes the write lock first, where SQLite waits for it; a lock upgraded later can fail at once.
        let run = || {
            let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let value = work(&tx, table)?;
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

/// Says in plain words what SQLite would only call "unable to open database file", or "disk I/O error".
fn refuse_missing(path: &Path, access: Access) -> Result<()> {
    if let Ok(meta) = path.metadata()
        && !meta.is_file()
    {
        let what = if meta.is_dir() { "a folder" } else { "not a regular file" };
        let message = format!("the database {} is {what} (NAS_DB)", path.display());
        let solution = "Name the SQLite file itself with NAS_DB or --db.";
        return Err(NasSyncError::new(ErrorKind::DatabaseUnusable, message).with_solution(solution));
    }
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
