//! The copy that was recorded of a document, and forgetting.

use rusqlite::types::{Value, ValueRef};
use rusqlite::{Connection, OptionalExtension, Row, Transaction, params_from_iter};

use super::connection::SqliteStore;
use super::documents;
use super::pending_index::{IS_SYNCED, pending_rows};
use super::schema::Table;
use super::values;
use crate::error::{ErrorKind, Result};
use crate::id::DocumentId;
use crate::proof::Level;
use crate::store::model::{Selection, StoredCopy};
use crate::wire::flist::Mtime;

impl SqliteStore {
    /// Forgets the failed tries, waits and final failures of a selection's pending documents, in one commit, and says
    /// of how many.
    pub fn forget_failures(&mut self, selection: &Selection) -> Result<usize> {
        let (condition, values) = documents::condition(selection);
        self.write("forget failures in", |tx, table| {
            let pending = pending_rows(tx, table)?;
            let sql = format!("{FORGET_FAILURES} (SELECT d.id FROM {pending} WHERE {condition} AND NOT {IS_SYNCED})");
            tx.execute(&sql, params_from_iter(&values))
        })
    }

    /// Ends the waits of a selection's pending documents whose last try failed for this reason; the tries stay counted.
    pub fn end_waits(&mut self, selection: &Selection, kind: ErrorKind) -> Result<()> {
        let (condition, mut values) = documents::condition(selection);
        values.push(Value::Text(kind.as_str().to_owned()));
        let waits = "next_attempt_at IS NOT NULL AND NOT failed_for_good AND last_error_kind = ?";
        // The usual case takes no lock.
        let any: bool = self.read("read what is recorded in", |tx, _| {
            let any = format!("SELECT EXISTS (SELECT 1 FROM nas_sync_documents WHERE {waits})");
            tx.query_row(&any, [kind.as_str()], |row| row.get(0))
        })?;
        if !any {
            return Ok(());
        }
        self.write("end waits in", |tx, table| {
            let chosen = format!(
                "document_id IN (SELECT d.id FROM {} WHERE {condition} AND NOT {IS_SYNCED})",
                pending_rows(tx, table)?
            );
            let sql = format!("UPDATE nas_sync_documents SET next_attempt_at = NULL WHERE {chosen} AND {waits}");
            tx.execute(&sql, params_from_iter(&values)).map(drop)
        })
    }

    /// Forgets what is remembered about documents whose rows are gone. Behind the last row it is all forgotten, because
    /// SQLite gives these ids to the next documents; what is between the rows only takes room, and goes part by part, one
    /// with each call.
    pub fn forget_gone(&mut self) -> Result<()> {
        let (part, any) = self.read("read what is recorded in", |tx, table| {
            let (part, gone) = (Part::next(tx, table)?, gone(table));
            let any = REMEMBERING.map(|own| format!("EXISTS (SELECT 1 FROM {own} WHERE {gone})")).join(" OR ");
            let any: bool = tx.query_row(&format!("SELECT {any}"), part.parameters(), |row| row.get(0))?;
            Ok((part, any))
        })?;
        // The usual case takes no lock.
        if !any && part.is_all() {
            return Ok(());
        }
        self.write("forget deleted documents in", |tx, table| {
            for own in REMEMBERING {
                tx.execute(&format!("DELETE FROM {own} WHERE {}", gone(table)), part.parameters())?;
            }
            part.done(tx)
        })
    }

    /// The last acknowledged copy of a document, also when it is pending again.
    pub fn copy_of(&self, id: DocumentId) -> Result<Option<StoredCopy>> {
        let copy = self.read("read what is recorded in", |tx, table| {
            let mut statement = tx.prepare_cached(&format!(
                "SELECT s.remote_name, s.bytes, s.mtime_seconds, s.mtime_nanoseconds, s.level, s.sha256
                 FROM nas_sync_documents s JOIN {table} d ON d.id = s.document_id
                 WHERE s.document_id = ?1 AND {}",
                table.is_same_document()
            ))?;
            statement.query_row([id], |row| read_copy(row, 0)).optional()
        });
        copy.map(Option::flatten)
    }
}

/// Forgets the failures of the documents that stand behind it.
pub(super) const FORGET_FAILURES: &str = "UPDATE nas_sync_documents SET attempts = 0, last_error_kind = NULL,
    last_error_text = NULL, last_error_solution = NULL, next_attempt_at = NULL, failed_for_good = 0
    WHERE (attempts > 0 OR last_error_kind IS NOT NULL) AND document_id IN";

/// The tables that remember documents.
pub(super) const REMEMBERING: [&str; 2] = ["nas_sync_documents", "nas_sync_names"];
/// So many documents are one part.
const PART: i64 = 1_000;

/// What is about a document that is gone, among the ids from ?1 to ?2 and those behind ?3.
fn gone(table: &Table) -> String {
    format!("(document_id BETWEEN ?1 AND ?2 OR document_id > ?3) AND document_id NOT IN (SELECT d.id FROM {table} d)")
}

/// The part of what is remembered that is looked through next.
struct Part {
    first: i64,
    /// Where the part after it begins; `None` when this is the last.
    next: Option<i64>,
    /// The last document.
    last: i64,
}

impl Part {
    fn next(conn: &Connection, table: &Table) -> rusqlite::Result<Self> {
        let first = conn
            .query_row("SELECT value FROM nas_sync_meta WHERE key = 'looked_through_to'", [], |row| {
                values::integer(row, 0)
            })
            .optional()?
            .flatten()
            .unwrap_or(i64::MIN);
        let next =
            "SELECT document_id FROM nas_sync_documents WHERE document_id >= ?1 ORDER BY document_id LIMIT 1 OFFSET ?2";
        let next = conn.query_row(next, (first, PART), |row| row.get(0)).optional()?;
        let last = format!("SELECT ifnull(max(d.id), ?1) FROM {table} d WHERE typeof(d.id) = 'integer'");
        let last = conn.query_row(&last, [i64::MIN], |row| row.get(0))?;
        Ok(Self { first, next, last })
    }

    fn parameters(&self) -> [i64; 3] {
        [self.first, self.next.map_or(i64::MAX, |next| next - 1), self.last]
    }

    /// Whether there are no others.
    fn is_all(&self) -> bool {
        self.first == i64::MIN && self.next.is_none()
    }

    fn done(&self, tx: &Transaction<'_>) -> rusqlite::Result<()> {
        tx.execute(
            "INSERT INTO nas_sync_meta (key, value) VALUES ('looked_through_to', ?1)
             ON CONFLICT (key) DO UPDATE SET value = excluded.value",
            [self.next.unwrap_or(i64::MIN)],
        )?;
        Ok(())
    }
}

/// Six columns from the first one on: name, size, both parts of the time, level, digest. `None` also when one of them makes
/// no sense: then nothing is known about the copy.
pub(super) fn read_copy(row: &Row<'_>, first: usize) -> rusqlite::Result<Option<StoredCopy>> {
    let (name, level) = (values::blob(row, first)?, values::text(row, first + 4)?);
    let (bytes, seconds) = (values::number(row, first + 1)?, values::integer(row, first + 2)?);
    let nanoseconds = values::number(row, first + 3)?;
    let sha256 = match row.get_ref(first + 5)? {
        ValueRef::Null => Some(None),
        ValueRef::Blob(digest) => digest.try_into().ok().map(Some),
        _ => None,
    };
    let copy = || {
        Some(StoredCopy {
            remote_name: name?,
            bytes: bytes?,
            mtime: Mtime {
                seconds: seconds?,
                nanoseconds: nanoseconds.filter(|nanoseconds| *nanoseconds < 1_000_000_000)?,
            },
            level: Level::from_name(&level?)?,
            sha256: sha256?,
        })
    };
    Ok(copy())
}
