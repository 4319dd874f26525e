//! A look at a database that changes nothing in it, nor beside it.

use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, OptionalExtension as _};

use super::{fault, pending_index, schema};
use crate::database::TableName;
use crate::error::{ErrorKind, NasSyncError, Result};
use crate::own_tables::sqlite::MIGRATIONS;
use crate::store::examination::{Examination, Journal, OwnTables};

/// How long the lock for writing is waited for: longer than any commit in good order.
const LOCK_WAIT: Duration = Duration::from_secs(2);

/// Looks at the database at `path`, which must be there. Fails with `DatabaseUnusable` or `DatabaseLocked`.
pub fn examine(path: &Path, table: &TableName) -> Result<Examination> {
    let path = std::path::absolute(path)
        .map_err(|error| NasSyncError::at_path(ErrorKind::DatabaseUnusable, "cannot use the database", path, error))?;
    let opening = fault::of(&path, "open");
    // Who may only read leaves the files of the log behind.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_EXRESCODE;
    let conn = Connection::open_with_flags(&path, flags).map_err(&opening)?;
    conn.busy_timeout(LOCK_WAIT).map_err(&opening)?;
    let refused = |error| schema::to_error(&path, error);
    let name = schema::name_in(table).map_err(refused)?;
    let found = schema::inspect(&conn, name).map_err(refused)?;
    let table = found.require_documents(name).map_err(refused)?;
    let look = || look(&conn, &table, found.version());
    let (journal, has_index, bytes, own_tables) = look().map_err(fault::of(&path, "look at"))?;
    let (place, synced) = copies(&conn, &table, found.version()).map_err(fault::of(&path, "look at"))?;
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    Ok(Examination {
        server: format!("SQLite {}", rusqlite::version()),
        own_tables,
        journal,
        has_index,
        bytes,
        place,
        synced,
        log_bytes: Path::new(&log).metadata().map_or(0, |meta| meta.len()),
        // Nothing is written until something is changed.
        lock: conn.execute_batch("BEGIN IMMEDIATE; ROLLBACK").map_err(fault::of(&path, "write to")),
    })
}

fn look(conn: &Connection, table: &schema::Table, version: usize) -> rusqlite::Result<(Journal, bool, u64, OwnTables)> {
    let mode: String = conn.query_row("PRAGMA journal_mode", [], |row| row.get(0))?;
    let journal = if mode.eq_ignore_ascii_case("wal") { Journal::Wal } else { Journal::Rollback(mode) };
    let number = |pragma: &str| conn.query_row(&format!("PRAGMA {pragma}"), [], |row| row.get::<_, i64>(0));
    let bytes = number("page_count")?.saturating_mul(number("page_size")?);
    let own_tables = match version {
        0 => OwnTables::None,
        version if version < MIGRATIONS.len() => OwnTables::Old(version),
        _ => OwnTables::Current,
    };
    Ok((journal, pending_index::exists(conn, table)?, u64::try_from(bytes).unwrap_or(0), own_tables))
}

fn copies(conn: &Connection, table: &schema::Table, version: usize) -> rusqlite::Result<(Option<String>, u64)> {
    if version == 0 {
        return Ok((None, 0));
    }
    let sql = "SELECT CAST(value AS TEXT) FROM nas_sync_meta WHERE key = 'place'";
    let place = conn.query_row(sql, [], |row| row.get(0)).optional()?;
    let synced = format!("SELECT count(*) FROM {table} d WHERE {}", pending_index::IS_SYNCED);
    let synced: i64 = conn.query_row(&synced, [], |row| row.get(0))?;
    Ok((place, synced.unsigned_abs()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::sqlite::SqliteStore;
    use crate::store::{Access, sqlite::BUSY_TIMEOUT};

    #[test]
    fn a_look_changes_nothing_and_sees_a_lock() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("db");
        drop(SqliteStore::open_with(&path, &TableName::default(), Access::Create, BUSY_TIMEOUT).unwrap());
        let before = std::fs::read(&path).unwrap();
        let seen = examine(&path, &TableName::default()).unwrap();
        assert_eq!((seen.own_tables, seen.has_index, seen.journal), (OwnTables::Current, true, Journal::Wal));
        assert!(seen.lock.is_ok() && seen.bytes == before.len() as u64);
        assert_eq!(std::fs::read(&path).unwrap(), before);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing beside it");

        let other = Connection::open(&path).unwrap();
        other.execute_batch("BEGIN IMMEDIATE").unwrap();
        assert_eq!(examine(&path, &TableName::default()).unwrap().lock.unwrap_err().kind(), ErrorKind::DatabaseLocked);
        other.execute_batch("ROLLBACK; DROP TABLE documents").unwrap();
        assert_eq!(examine(&path, &TableName::default()).unwrap_err().kind(), ErrorKind::DatabaseUnusable);
    }
}
