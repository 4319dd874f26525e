//! The index over the pending rows, with which a look at them costs the same however many rows are synced.
//!
//! Guarantees: every answer is the same with and without it. The table that this program creates has it from the start; to
//! one that is there already it is added on request only.

use rusqlite::Connection;

use super::connection::SqliteStore;
use super::documents::IS_SYNCED;
use crate::error::Result;

const NAME: &str = "nas_sync_pending";

/// As SQLite keeps it. On one line, because tools that rebuild a table read only one back.
fn definition() -> String {
    let condition = IS_SYNCED.replace("d.", "");
    let words: Vec<_> = condition.split_whitespace().collect();
    format!("CREATE INDEX {NAME} ON documents (id) WHERE NOT {}", words.join(" "))
}

pub(super) fn create(conn: &Connection) -> rusqlite::Result<()> {
    conn.execute_batch(&definition())
}

/// One that reads otherwise is none: SQLite uses it only for the very condition that it was made with.
pub(super) fn exists(conn: &Connection) -> rusqlite::Result<bool> {
    let sql = "SELECT EXISTS (SELECT 1 FROM main.sqlite_master WHERE type = 'index' AND name = ?1 AND sql = ?2)";
    conn.query_row(sql, (NAME, definition()), |row| row.get(0))
}

/// Where to read pending rows `d` from, with `NOT` [`IS_SYNCED`] among the conditions. The index is named, because SQLite
/// would rather take one that the table's owner has over the rows of a user, and those are mostly synced.
pub(super) fn pending_rows(conn: &Connection) -> rusqlite::Result<&'static str> {
    Ok(if exists(conn)? { "documents d INDEXED BY nas_sync_pending" } else { "documents d" })
}

impl SqliteStore {
    /// Adds the index; `false`: it is there already. Others cannot write until it is made, which takes one look at each
    /// row.
    pub fn add_index(&mut self) -> Result<bool> {
        self.write("add an index to", |tx, _| {
            if exists(tx)? {
                return Ok(false);
            }
            tx.execute_batch(&format!("DROP INDEX IF EXISTS {NAME}"))?;
            create(tx)?;
            Ok(true)
        })
    }
}
