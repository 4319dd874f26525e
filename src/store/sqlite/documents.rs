//! Documents: reading those that are asked for, and registering new ones.
//!
//! SQLite lets any column hold any type, and the rows may be another program's. Guarantees: a row whose needed table
//! make no sense is a [`BadRow`] among the others; optional table that make no sense are as good as empty,
//! except that a date which is not understood is kept as such; only what
//! is clearly true in `synced_to_nas` counts as synced, so that a doubtful row is sent again rather than never.

use std::collections::{BTreeSet, HashMap};
use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};
use rusqlite::types::{ToSqlOutput, Value, ValueRef};
use rusqlite::{Connection, Row, Transaction, params_from_iter};

use super::connection::SqliteStore;
use super::history::REMEMBERING;
use super::pending_index::{self, IS_SYNCED};
use super::schema::Table;
use super::{leases, values};
use crate::error::Result;
use crate::id::{DocumentId, UserId};
use crate::store::model::{BadRow, Document, NewDocument, Registered, Selection, Worker};
use crate::store::policy::{self, FEW, bad_row, optional, path_fault, with_unknown};
use crate::store::timestamp;

/// How many paths one statement asks for.
pub(super) const PATHS_AT_ONCE: usize = 1_000;

/// The condition on row `d` that a selection means, and its parameters, in order.
pub(super) fn condition(selection: &Selection) -> (String, Vec<Value>) {
    let (mut sql, mut values) = (String::from("1"), Vec::new());
    if let Some(user) = &selection.user {
        sql.push_str(" AND d.user_id = ?");
        values.push(value(user.as_integer(), user.as_text()));
    }
    if let Some(ids) = &selection.documents {
        // One parameter for any number of ids: SQLite bounds how many parameters a statement may have.
        sql.push_str(" AND d.id IN (SELECT value FROM json_each(?))");
        values.push(json_list(ids));
    }
    if !selection.without.is_empty() {
        sql.push_str(" AND d.id NOT IN (SELECT value FROM json_each(?))");
        values.push(json_list(&selection.without));
    }
    if let Some(last) = &selection.up_to {
        sql.push_str(" AND d.id <= ?");
        values.push(value(last.as_integer(), last.as_text()));
    }
    (sql, values)
}

fn value(number: Option<i64>, text: Option<&str>) -> Value {
    number.map_or_else(|| text.map_or(Value::Null, |text| Value::Text(text.to_owned())), Value::Integer)
}

/// Ids as a list in JSON.
fn json_list(ids: &[DocumentId]) -> Value {
    let ids: Vec<String> = ids.iter().map(json).collect();
    Value::Text(format!("[{}]", ids.join(",")))
}

/// An id in JSON.
fn json(id: &DocumentId) -> String {
    match id.as_text() {
        None => id.to_string(),
        Some(text) => {
            let escape = |c: char| match c {
                '"' | '\\' => format!("\\{c}"),
                c if c.is_control() => format!("\\u{:04x}", u32::from(c)),
                c => c.to_string(),
            };
            format!("\"{}\"", text.chars().map(escape).collect::<String>())
        }
    }
}

impl rusqlite::ToSql for DocumentId {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Owned(value(self.as_integer(), self.as_text())))
    }
}

impl rusqlite::types::FromSql for DocumentId {
    fn column_result(value: ValueRef<'_>) -> rusqlite::types::FromSqlResult<Self> {
        value.as_i64().map(Self::from)
    }
}

impl SqliteStore {
    /// The same selection, without documents that are registered from now on. Where no index finds the pending ones and they
    /// are few, it is just these: then this was the last look at every row.
    pub fn as_of_now(&self, selection: &Selection) -> Result<Selection> {
        if selection.documents.is_some() || selection.up_to.is_some() {
            return Ok(selection.clone());
        }
        self.read("read the documents of", |tx, table| {
            if !pending_index::exists(tx, table)?
                && let Some(few) = few_pending(tx, table, selection)?
            {
                return Ok(selection.clone().only(few));
            }
            let sql = format!("SELECT max(d.id) FROM {table} d WHERE typeof(d.id) = 'integer'");
            let last: Option<i64> = tx.query_row(&sql, [], |row| row.get(0))?;
            Ok(selection.clone().up_to(last.unwrap_or(0).into()))
        })
    }

    /// The documents of a selection, synced or not, by ascending id. Ids that were asked for and do not exist, or are another
    /// user's, are [`BadRow`]s of kind `DocumentNotFound`.
    pub fn documents(&self, selection: &Selection) -> Result<Vec<Result<Document, BadRow>>> {
        self.read("read the documents of", |tx, table| {
            let (condition, values) = condition(selection);
            let sql = format!("SELECT {} FROM {table} d WHERE {condition} ORDER BY d.id", select_list(table));
            let mut statement = tx.prepare(&sql)?;
            let mut rows = statement.query(params_from_iter(&values))?;
            let mut documents = Vec::new();
            while let Some(row) = rows.next()? {
                documents.push(read(row)?);
            }
            let unknown = unknown_ids(tx, table, selection)?;
            Ok(with_unknown(documents, unknown, selection.user.as_ref()))
        })
    }

    /// Registers files as pending documents of one user, all of them or none, but for those that are documents of this user
    /// already; the answers are in the same order.
    ///
    /// `at` goes into `created_at` where there is such a column. A path that is not UTF-8 is stored as a BLOB, because
    /// invalid TEXT would make the whole row unreadable to Python. Fails with `Usage` for a path that is empty or holds
    /// a NUL, and with `DatabaseUnusable` when the table refuses the row (another column that must be filled, a user
    /// that does not exist).
    pub fn add_documents(
        &mut self,
        user: &UserId,
        documents: &[NewDocument],
        at: DateTime<Utc>,
    ) -> Result<Vec<Registered>> {
        documents.iter().try_for_each(NewDocument::check)?;
        self.write("add documents to", |tx, table| {
            let mut known = of_user(tx, table, user, documents)?;
            let mut registered = Vec::with_capacity(documents.len());
            for document in documents {
                if let Some((id, synced)) = known.get(&document.file_path) {
                    registered.push(Registered::Known { id: id.clone(), synced: *synced });
                    continue;
                }
                let ids = insert(tx, table, user, &[document], at)?;
                known.extend(ids.first().map(|id| (document.file_path.clone(), (id.clone(), false))));
                registered.extend(ids.into_iter().map(Registered::New));
            }
            Ok(registered)
        })
    }

    /// Deletes the rows of documents that nas-sync registered, and what is remembered about them: all of them or none. Fails
    /// with `Usage` for another one, and for one that a worker is sending. `worker` is who looks.
    pub fn remove(&mut self, ids: &[DocumentId], worker: &Worker<'_>) -> Result<()> {
        self.write("remove documents from", |tx, table| {
            let dead = leases::dead(tx, worker)?;
            let mut look = tx.prepare(&format!(
                "SELECT l.fence, s.added_as IS {} FROM {table} d
                 LEFT JOIN nas_sync_documents s ON s.document_id = d.id
                 LEFT JOIN nas_sync_leased l ON l.document_id = d.id WHERE d.id = ?1",
                table.origin()
            ))?;
            for id in ids {
                let (fence, is_ours) =
                    look.query_row([id], |row| Ok((values::integer(row, 0)?, row.get::<_, bool>(1)?)))?;
                let is_being_sent = fence.is_some_and(|fence| !dead.contains(&fence));
                if is_being_sent || !is_ours {
                    return Ok(Err(policy::kept(id, is_being_sent)));
                }
            }
            for id in ids {
                tx.execute(&format!("DELETE FROM {table} WHERE id = ?1"), [id])?;
                forget(tx, id)?;
            }
            Ok(Ok(()))
        })?
    }
}

/// The documents of a user whose files are among these, by their paths.
fn of_user(
    tx: &Transaction<'_>,
    table: &Table,
    user: &UserId,
    documents: &[NewDocument],
) -> rusqlite::Result<HashMap<PathBuf, (DocumentId, bool)>> {
    let mut known = HashMap::new();
    for documents in documents.chunks(PATHS_AT_ONCE) {
        let paths = documents.iter().flat_map(|document| {
            let path: &Path = &document.file_path;
            [false, true].map(|as_blob| PathParameter { path, as_blob })
        });
        let user = value(user.as_integer(), user.as_text());
        let mut parameters: Vec<&dyn rusqlite::ToSql> = vec![&user];
        let paths: Vec<_> = paths.collect();
        parameters.extend(paths.iter().map(|path| path as &dyn rusqlite::ToSql));
        // Of two rows about one file the later one counts.
        let sql = format!(
            "SELECT d.id, d.file_path, {IS_SYNCED} FROM {table} d
             WHERE d.user_id = ? AND d.file_path IN ({}) AND typeof(d.id) = 'integer' ORDER BY d.id",
            vec!["?"; paths.len()].join(",")
        );
        let mut statement = tx.prepare(&sql)?;
        let mut rows = statement.query(parameters.as_slice())?;
        while let Some(row) = rows.next()? {
            if let Some(path) = path_in(row.get_ref(1)?) {
                known.insert(path, (row.get(0)?, row.get(2)?));
            }
        }
    }
    Ok(known)
}

/// Forgets all about a document.
fn forget(tx: &Transaction<'_>, id: &DocumentId) -> rusqlite::Result<()> {
    for table in REMEMBERING.into_iter().chain(["nas_sync_attempts"]) {
        tx.prepare_cached(&format!("DELETE FROM {table} WHERE document_id = ?1"))?.execute([id])?;
    }
    Ok(())
}

/// Adds pending documents, and gives their ids in the same order.
pub(super) fn insert(
    tx: &Transaction<'_>,
    table: &Table,
    user: &UserId,
    documents: &[&NewDocument],
    at: DateTime<Utc>,
) -> rusqlite::Result<Vec<DocumentId>> {
    let created_at = timestamp::format(at);
    // synced_to_nas is given although it has a default in our own table: in others often only Python has it.
    let (mut names, mut marks) = (String::from("user_id, file_path, synced_to_nas"), String::from("?, ?, 0"));
    for (has, name) in [(table.original_name, "original_name"), (table.created_at, "created_at")] {
        if has {
            names.push_str(", ");
            names.push_str(name);
            marks.push_str(", ?");
        }
    }
    let mut insert = tx.prepare(&format!("INSERT INTO {table} ({names}) VALUES ({marks}) RETURNING id"))?;
    let mut ids = Vec::with_capacity(documents.len());
    for document in documents {
        let mut values = vec![value(user.as_integer(), user.as_text()), path_value(&document.file_path)];
        if table.original_name {
            values.push(document.original_name.clone().map_or(Value::Null, Value::Text));
        }
        if table.created_at {
            values.push(Value::Text(created_at.clone()));
        }
        let id = insert.query_row(params_from_iter(values), |row| row.get(0))?;
        // SQLite may have given it the id of a document that is gone.
        forget(tx, &id)?;
        tx.prepare_cached(&format!(
            "INSERT INTO nas_sync_documents (document_id, file_path, row_identity, added_as)
             SELECT d.id, d.file_path, {}, {} FROM {table} d WHERE d.id = ?1",
            table.identity(),
            table.origin()
        ))?
        .execute([&id])?;
        ids.push(id);
    }
    Ok(ids)
}

/// A path as it may stand in `file_path`: as text, and, for comparisons, as text or as a BLOB of the same bytes.
pub(super) struct PathParameter<'a> {
    pub path: &'a Path,
    pub as_blob: bool,
}

impl rusqlite::ToSql for PathParameter<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        let bytes = self.path.as_os_str().as_bytes();
        Ok(ToSqlOutput::Borrowed(if self.as_blob { ValueRef::Blob(bytes) } else { ValueRef::Text(bytes) }))
    }
}

fn path_value(path: &Path) -> Value {
    match path.to_str() {
        Some(text) => Value::Text(text.to_owned()),
        None => Value::Blob(path.as_os_str().as_bytes().to_vec()),
    }
}

/// A usable path in a column.
pub(super) fn path_in(value: ValueRef<'_>) -> Option<PathBuf> {
    match value {
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) if path_fault(bytes).is_none() => {
            Some(PathBuf::from(OsString::from_vec(bytes.to_vec())))
        }
        _ => None,
    }
}

/// The ids of the pending documents of a selection, unless they are many, or not all numbers.
fn few_pending(conn: &Connection, table: &Table, selection: &Selection) -> rusqlite::Result<Option<Vec<DocumentId>>> {
    let (condition, values) = condition(selection);
    let sql =
        format!("SELECT d.id FROM {table} d WHERE {condition} AND NOT {IS_SYNCED} ORDER BY d.id LIMIT {}", FEW + 1);
    let mut statement = conn.prepare(&sql)?;
    let ids = statement.query_map(params_from_iter(&values), |row| values::integer(row, 0))?;
    let ids: Option<Vec<i64>> = ids.collect::<rusqlite::Result<_>>()?;
    Ok(ids.filter(|ids| ids.len() <= FEW).map(|ids| ids.into_iter().map(DocumentId::from).collect()))
}

/// Ids that were asked for and select no row.
pub(super) fn unknown_ids(
    conn: &Connection,
    table: &Table,
    selection: &Selection,
) -> rusqlite::Result<BTreeSet<DocumentId>> {
    let mut unknown: BTreeSet<DocumentId> = selection.documents.iter().flatten().cloned().collect();
    if unknown.is_empty() {
        return Ok(unknown);
    }
    let (condition, values) = condition(selection);
    let mut statement = conn.prepare(&format!("SELECT d.id FROM {table} d WHERE {condition}"))?;
    let mut rows = statement.query(params_from_iter(&values))?;
    while let Some(row) = rows.next()? {
        if let ValueRef::Integer(id) = row.get_ref(0)? {
            unknown.remove(&DocumentId::from(id));
        }
    }
    Ok(unknown)
}

/// Positions match [`read`].
pub(super) fn select_list(table: &Table) -> String {
    let optional = |has: bool, name: &str| if has { format!("d.{name}") } else { "NULL".to_owned() };
    format!(
        "d.id, d.user_id, d.file_path, {IS_SYNCED}, {}, {}, {}, {}, {}",
        optional(table.original_name, "original_name"),
        optional(table.file_type, "file_type"),
        optional(table.doc_type, "doc_type"),
        optional(table.date, "date"),
        optional(table.created_at, "created_at"),
    )
}

pub(super) fn read(row: &Row<'_>) -> rusqlite::Result<Result<Document, BadRow>> {
    let bad = |id, column, what: &str| Ok(Err(bad_row(id, column, what)));
    let id = match row.get_ref(0)? {
        ValueRef::Integer(id) => DocumentId::from(id),
        other => return bad(None, "id", &describe(other)),
    };
    let user_id = match row.get_ref(1)? {
        ValueRef::Integer(user) => UserId::from(user),
        other => return bad(Some(id), "user_id", &describe(other)),
    };
    let path = match row.get_ref(2)? {
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => bytes,
        other => return bad(Some(id), "file_path", &describe(other)),
    };
    if let Some(fault) = path_fault(path) {
        return bad(Some(id), "file_path", fault);
    }
    let document = Document {
        id,
        user_id,
        file_path: PathBuf::from(OsString::from_vec(path.to_vec())),
        synced: row.get(3)?,
        original_name: text(row.get_ref(4)?),
        file_type: text(row.get_ref(5)?),
        doc_type: text(row.get_ref(6)?),
        date: None,
        created_at: None,
        odd_date: None,
    };
    Ok(Ok(document.dated(text(row.get_ref(7)?), text(row.get_ref(8)?))))
}

fn describe(value: ValueRef<'_>) -> String {
    match value {
        ValueRef::Null => "is NULL".to_owned(),
        ValueRef::Integer(_) | ValueRef::Real(_) => "is a number".to_owned(),
        ValueRef::Text(_) => "is text".to_owned(),
        ValueRef::Blob(_) => "is a BLOB".to_owned(),
    }
}

/// The text of an optional column.
pub(super) fn text(value: ValueRef<'_>) -> Option<String> {
    let text = match value {
        ValueRef::Null => return None,
        ValueRef::Integer(number) => number.to_string(),
        ValueRef::Real(number) => number.to_string(),
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => str::from_utf8(bytes).ok()?.to_owned(),
    };
    optional(Some(text))
}
