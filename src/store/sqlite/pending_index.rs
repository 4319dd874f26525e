//! The index over the pending rows, with which a look at them costs the same however many rows are synced.
//!
//! Guarantees: every answer is the same with and without it. The table that this program creates has it from the start; to
//! one that is there already it is added on request only.

use rusqlite::Connection;

use super::schema::Table;

/// Whether row `d` of `documents` is synced. A BOOLEAN column may hold numbers, words, NULL or anything else.
pub(super) const IS_SYNCED: &str = "(CASE typeof(d.synced_to_nas)
    WHEN 'integer' THEN d.synced_to_nas <> 0
    WHEN 'real' THEN d.synced_to_nas <> 0
    WHEN 'text' THEN lower(trim(d.synced_to_nas)) IN ('1', 'true', 't', 'yes', 'y', 'on')
    ELSE 0 END)";

const NAME: &str = "nas_sync_pending";

/// What stands behind the name of the table, as SQLite keeps it. On one line, because tools that rebuild a table read only one
/// back.
fn definition() -> String {
    let condition = IS_SYNCED.replace("d.", "");
    let words: Vec<_> = condition.split_whitespace().collect();
    format!(" (id) WHERE NOT {}", words.join(" "))
}

pub(super) fn create(conn: &Connection, table: &Table) -> rusqlite::Result<()> {
    conn.execute_batch(&format!("DROP INDEX IF EXISTS {NAME}; CREATE INDEX {NAME} ON {table}{}", definition()))
}

/// One that reads otherwise is none: SQLite uses it only for the very condition that it was made with.
pub(super) fn exists(conn: &Connection, table: &Table) -> rusqlite::Result<bool> {
    let sql = "SELECT EXISTS (SELECT 1 FROM main.sqlite_master WHERE type = 'index' AND name = ?1
                   AND tbl_name = ?2 COLLATE NOCASE AND substr(sql, -length(?3)) = ?3)";
    conn.query_row(sql, (NAME, &table.name, definition()), |row| row.get(0))
}

/// Where to read pending rows `d` from, with `NOT` [`IS_SYNCED`] among the conditions. The index is named, because SQLite
/// would rather take one that the table's owner has over the rows of a user, and those are mostly synced.
pub(super) fn pending_rows(conn: &Connection, table: &Table) -> rusqlite::Result<String> {
    Ok(if exists(conn, table)? { format!("{table} d INDEXED BY {NAME}") } else { format!("{table} d") })
}
