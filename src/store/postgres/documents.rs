//! Documents: reading those that are asked for, and registering new ones.
//!
//! Guarantees: a row whose needed columns make no sense is a [`BadRow`] among the others; an id or user that the column cannot
//! hold is one that is not there, never an error of the database.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};
use tokio_postgres::Row;

use super::fault::Fault;
use super::history::REMEMBERING;
use super::link::Tx;
use super::schema::{Ids, PostgresStore, Schema};
use super::values::{Value, zoned};
use super::{leases, pending_index, rights};
use crate::error::{ErrorKind, NasSyncError, Result};
use crate::id::{DocumentId, UserId};
use crate::store::model::{BadRow, Document, FoundFile, NewDocument, Registered, Selection, Worker};
use crate::store::policy::{self, FEW, bad_row, not_found, optional, path_fault, with_unknown};
use crate::store::timestamp;

/// So many documents with ids in no order are kept in mind for one run.
const MANY: usize = 50_000;
/// How many paths are taken at once.
const PATHS_AT_ONCE: usize = 5_000;

impl Ids {
    /// An id as the column would write it; `None`: no row can have it.
    fn text(self, number: Option<i64>, text: Option<&str>) -> Option<String> {
        match self {
            Self::Integer => {
                number.or_else(|| text.and_then(|text| text.parse().ok())).map(|number: i64| number.to_string())
            }
            Self::Uuid => text.and_then(uuid),
            Self::Text => number.map(|number| number.to_string()).or_else(|| text.map(ToOwned::to_owned)),
        }
        .filter(|text| !text.contains('\0'))
    }

    /// A document's id as the column would write it.
    pub fn document(self, id: &DocumentId) -> Option<String> {
        self.text(id.as_integer(), id.as_text())
    }

    fn user(self, user: &UserId) -> Option<String> {
        self.text(user.as_integer(), user.as_text())
    }

    /// The id that a column wrote.
    pub fn read(self, text: String) -> DocumentId {
        match (self, text.parse::<i64>()) {
            (Self::Integer, Ok(number)) => DocumentId::from(number),
            _ => DocumentId::from(text),
        }
    }

    /// The user that a column wrote.
    pub fn read_user(self, text: String) -> UserId {
        match (self, text.parse::<i64>()) {
            (Self::Integer, Ok(number)) => UserId::from(number),
            _ => UserId::from(text),
        }
    }
}

/// A UUID in the form in which PostgreSQL writes it.
fn uuid(text: &str) -> Option<String> {
    let digits: String = text.trim().chars().filter(|c| !matches!(c, '-' | '{' | '}')).collect();
    let is_one = digits.len() == 32 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    let part = |from: usize, to: usize| digits[from..to].to_ascii_lowercase();
    is_one.then(|| [part(0, 8), part(8, 12), part(12, 16), part(16, 20), part(20, 32)].join("-"))
}

/// The condition on row `d` that a selection means. Its parameters go behind those that are there. Fails with `Usage` for a
/// user that no row can have.
pub(super) fn condition(schema: &Schema, selection: &Selection, values: &mut Vec<Value>) -> Result<String> {
    let mut sql = String::from("TRUE");
    let mut add = |condition: &str, value: Option<Value>| match value {
        Some(value) => {
            values.push(value);
            sql.push_str(&condition.replace("$n", &format!("${}", values.len())));
        }
        None => sql.push_str(" AND FALSE"),
    };
    if let Some(user) = &selection.user {
        add(" AND d.user_id = $n::{U}", Some(Value::text(user_of(schema, user)?)));
    }
    if let Some(ids) = &selection.documents {
        add(" AND d.id = ANY($n::text[]::{T}[])", Some(id_list(schema, ids)));
    }
    if !selection.without.is_empty() {
        add(" AND d.id <> ALL($n::text[]::{T}[])", Some(id_list(schema, &selection.without)));
    }
    if let Some(last) = &selection.up_to {
        add(" AND d.id <= $n::text::{T}", schema.ids.document(last).map(Value::text));
    }
    Ok(sql)
}

/// The user as the table would write it. Fails where it can have none of that name.
fn user_of(schema: &Schema, user: &UserId) -> Result<String> {
    schema.users.user(user).ok_or_else(|| {
        let kind = schema.kind("user_id").unwrap_or_default();
        let message =
            format!("{user} cannot be a user of the table {}, whose user_id is of the type {kind}", schema.table());
        NasSyncError::new(ErrorKind::Usage, message)
            .with_solution(format!("Give a user as the column user_id has them: {kind}."))
    })
}

/// Ids as one parameter, without those that no row can have.
pub(super) fn id_list<'a>(schema: &Schema, ids: impl IntoIterator<Item = &'a DocumentId>) -> Value {
    Value::texts(ids.into_iter().filter_map(|id| schema.ids.document(id)))
}

/// Ids as one parameter, each in its place: they came from rows.
pub(super) fn all_ids<'a>(schema: &Schema, ids: impl IntoIterator<Item = &'a DocumentId>) -> Value {
    Value::maybe_texts(ids.into_iter().map(|id| schema.ids.document(id)))
}

/// Reads an id.
pub(super) fn id_in(schema: &Schema, row: &Row, at: usize) -> Result<DocumentId, Fault> {
    Ok(schema.ids.read(row.try_get(at)?))
}

/// Reads the columns of `{row}`.
pub(super) fn read(schema: &Schema, row: &Row) -> Result<Result<Document, BadRow>, Fault> {
    let bad = |id, column, what: &str| Ok(Err(bad_row(id, column, what)));
    let id = match row.try_get::<_, Option<String>>(0)? {
        Some(id) => schema.ids.read(id),
        None => return bad(None, "id", "is NULL"),
    };
    let user_id = match row.try_get::<_, Option<String>>(1)? {
        Some(user) => schema.users.read_user(user),
        None => return bad(Some(id), "user_id", "is NULL"),
    };
    let Some(path) = row.try_get::<_, Option<String>>(2)? else { return bad(Some(id), "file_path", "is NULL") };
    if let Some(fault) = path_fault(path.as_bytes()) {
        return bad(Some(id), "file_path", fault);
    }
    let text = |at: usize| -> Result<Option<String>, Fault> { Ok(optional(row.try_get(at)?)) };
    let document = Document {
        id,
        user_id,
        file_path: PathBuf::from(path),
        synced: row.try_get(3)?,
        original_name: text(4)?,
        file_type: text(5)?,
        doc_type: text(6)?,
        date: None,
        created_at: None,
        odd_date: None,
    };
    Ok(Ok(document.dated(text(7)?, text(8)?)))
}

/// Ids that were asked for and select no row.
fn unknown_ids(tx: &Tx<'_>, schema: &Schema, selection: &Selection) -> Result<Vec<DocumentId>, Fault> {
    let Some(asked) = &selection.documents else { return Ok(Vec::new()) };
    let mut values = Vec::new();
    let condition = condition(schema, selection, &mut values)?;
    let rows = tx.query(&format!("SELECT d.id::text FROM {{documents}} d WHERE {condition}"), &values)?;
    let known = rows.iter().map(|row| row.try_get(0)).collect::<Result<HashSet<String>, _>>()?;
    let is_known = |id: &DocumentId| schema.ids.document(id).is_some_and(|id| known.contains(&id));
    Ok(asked.iter().filter(|id| !is_known(id)).cloned().collect())
}

impl PostgresStore {
    /// The same selection, without documents that are registered from now on. Where no index finds the pending ones and they
    /// are few, or their ids are in no order, it is just these. Fails with `Usage` for a user that no row can have: a run
    /// that is stopped by it later counts as one that the NAS has stopped.
    pub fn as_of_now(&mut self, selection: &Selection) -> Result<Selection> {
        self.read("read the documents of", |tx, schema| {
            selection.user.as_ref().map(|user| user_of(schema, user)).transpose()?;
            if let Some(ids) = &selection.documents {
                // As the rows have them, so that they are known again.
                let ids =
                    ids.iter().map(|id| schema.ids.document(id).map_or_else(|| id.clone(), |id| schema.ids.read(id)));
                return Ok(Selection { documents: Some(ids.collect()), ..selection.clone() });
            }
            if selection.up_to.is_some() {
                return Ok(selection.clone());
            }
            let in_order = schema.ids == Ids::Integer;
            let few = match (in_order, pending_index::exists(tx, schema)?) {
                (true, true) => None,
                (true, false) => pending_ids(tx, schema, selection, FEW)?,
                (false, _) => pending_ids(tx, schema, selection, MANY)?,
            };
            match few {
                Some(few) => Ok(selection.clone().only(few)),
                None if in_order => {
                    let last: Option<i64> = tx.one("SELECT max(d.id)::bigint FROM {documents} d", &[])?.try_get(0)?;
                    Ok(selection.clone().up_to(last.unwrap_or(0).into()))
                }
                None => Ok(selection.clone()),
            }
        })
    }

    /// The documents of a selection, synced or not, by ascending id. Ids that were asked for and do not exist, or are another
    /// user's, are [`BadRow`]s of kind `DocumentNotFound`.
    pub fn documents(&mut self, selection: &Selection) -> Result<Vec<Result<Document, BadRow>>> {
        self.read("read the documents of", |tx, schema| {
            let mut values = Vec::new();
            let condition = condition(schema, selection, &mut values)?;
            let sql = format!("SELECT {{row}} FROM {{documents}} d WHERE {condition} ORDER BY d.id");
            let rows = tx.query(&sql, &values)?;
            let rows = rows.iter().map(|row| read(schema, row)).collect::<Result<Vec<_>, _>>()?;
            Ok(with_unknown(rows, unknown_ids(tx, schema, selection)?, selection.user.as_ref()))
        })
    }

    /// What can never be leased of a selection: ids without a row, and rows without an id.
    pub fn unusable(&mut self, selection: &Selection) -> Result<Vec<BadRow>> {
        self.read("read the queue in", |tx, schema| {
            let unknown = unknown_ids(tx, schema, selection)?;
            let mut bad: Vec<BadRow> = unknown.into_iter().map(|id| not_found(id, selection.user.as_ref())).collect();
            if !schema.ids_may_be_null {
                return Ok(bad);
            }
            let mut values = Vec::new();
            let condition = condition(schema, selection, &mut values)?;
            let sql = format!("SELECT {{row}} FROM {{documents}} d WHERE {condition} AND d.id IS NULL AND {{pending}}");
            for row in tx.query(&sql, &values)? {
                bad.extend(read(schema, &row)?.err());
            }
            Ok(bad)
        })
    }

    /// Registers files as pending documents of one user, all of them or none, but for those that are documents of this user
    /// already; the answers are in the same order.
    ///
    /// Fails with `Usage` for a path that is empty, holds a NUL or is not UTF-8, which no text of PostgreSQL's can be, and
    /// for a user that the table cannot have; with `DatabaseUnusable` when the table refuses the row.
    pub fn add_documents(
        &mut self,
        user: &UserId,
        files: &[NewDocument],
        at: DateTime<Utc>,
    ) -> Result<Vec<Registered>> {
        let user = checked(&self.schema, user, &files.iter().collect::<Vec<_>>())?;
        self.write("add documents to", |tx, schema| {
            // Two that register one file make one document of it.
            super::schema::one_at_a_time(tx, "found")?;
            let mut known = of_user(tx, schema, &user, files)?;
            let mut registered = Vec::with_capacity(files.len());
            for file in files {
                if let Some((id, synced)) = known.get(&file.file_path) {
                    registered.push(Registered::Known { id: id.clone(), synced: *synced });
                    continue;
                }
                let ids = insert(tx, schema, &user, &[file], at)?;
                known.extend(ids.first().map(|id| (file.file_path.clone(), (id.clone(), false))));
                registered.extend(ids.into_iter().map(Registered::New));
            }
            Ok(registered)
        })
    }

    /// Deletes the rows of documents that nas-sync registered, and what is remembered about them: all of them or none. Fails
    /// with `Usage` for another one, and for one that a worker is sending. `worker` is who looks.
    pub fn remove(&mut self, ids: &[DocumentId], worker: &Worker<'_>) -> Result<()> {
        self.write("remove documents from", |tx, schema| {
            rights::check_delete(tx, schema.oid, schema.table())?;
            let (dead, _) = leases::dead(tx, worker)?;
            let ids = id_list(schema, ids);
            let sql = "SELECT d.id::text, (l.fence IS NOT NULL AND l.fence <> ALL($2)), s.added_as IS NOT DISTINCT FROM {origin}
                       FROM {documents} d LEFT JOIN {nas_sync_documents} s ON s.document_id = d.id
                       LEFT JOIN {nas_sync_leased} l ON l.document_id = d.id
                       WHERE d.id = ANY($1::text[]::{T}[]) ORDER BY d.id FOR UPDATE OF d";
            for row in tx.query(sql, &[ids.clone(), Value::integers(dead)])? {
                let (is_being_sent, is_ours): (bool, bool) = (row.try_get(1)?, row.try_get(2)?);
                if is_being_sent || !is_ours {
                    return Ok(Err(policy::kept(&id_in(schema, &row, 0)?, is_being_sent)));
                }
            }
            tx.execute("DELETE FROM {documents} d WHERE d.id = ANY($1::text[]::{T}[])", std::slice::from_ref(&ids))?;
            forget(tx, &ids)?;
            Ok(Ok(()))
        })?
    }

    /// Registers files as pending documents of one user, in one commit, and gives their ids. Left out are those that are a
    /// document already, of whomever.
    pub fn add_found(&mut self, user: &UserId, found: &[FoundFile], at: DateTime<Utc>) -> Result<Vec<DocumentId>> {
        let user = checked(&self.schema, user, &found.iter().map(|file| &file.document).collect::<Vec<_>>())?;
        let ways = |file: &FoundFile| -> Vec<PathBuf> {
            std::iter::once(&file.document.file_path).chain(&file.also).cloned().collect()
        };
        self.write("add documents to", |tx, schema| {
            // Two that find one file make one document of it.
            super::schema::one_at_a_time(tx, "found")?;
            let paths = found.iter().flat_map(ways).filter_map(|path| path.into_os_string().into_string().ok());
            let sql = "SELECT d.file_path::text FROM {documents} d WHERE d.file_path = ANY($1)";
            let known = tx.query(sql, &[Value::texts(paths)])?;
            let known = known.iter().map(|row| Ok(PathBuf::from(row.try_get::<_, String>(0)?)));
            let mut known = known.collect::<Result<HashSet<_>, Fault>>()?;
            let mut fresh = Vec::new();
            for file in found {
                let is_known = ways(file).iter().any(|path| known.contains(path));
                // The list itself may name a file twice.
                if !is_known && known.insert(file.document.file_path.clone()) {
                    fresh.push(&file.document);
                }
            }
            insert(tx, schema, &user, &fresh, at)
        })
    }

    /// Shows the `file_path` of every document, of every user. Rows without a usable one are left out.
    pub fn each_path(&mut self, mut each: impl FnMut(&Path)) -> Result<()> {
        self.read("read the paths in", |tx, _| {
            tx.batch("DECLARE paths NO SCROLL CURSOR FOR SELECT d.file_path::text FROM {documents} d")?;
            loop {
                let rows = tx.query(&format!("FETCH {PATHS_AT_ONCE} FROM paths"), &[])?;
                if rows.is_empty() {
                    return Ok(());
                }
                for row in rows {
                    let path: Option<String> = row.try_get(0)?;
                    if let Some(path) = path.filter(|path| path_fault(path.as_bytes()).is_none()) {
                        each(Path::new(&path));
                    }
                }
            }
        })
    }
}

/// The ids of the pending documents of a selection, unless they are more than so many.
fn pending_ids(
    tx: &Tx<'_>,
    schema: &Schema,
    selection: &Selection,
    most: usize,
) -> Result<Option<Vec<DocumentId>>, Fault> {
    let mut values = Vec::new();
    let condition = condition(schema, selection, &mut values)?;
    let sql = format!(
        "SELECT d.id::text FROM {{documents}} d WHERE {condition} AND {{pending}} AND d.id IS NOT NULL LIMIT {}",
        most + 1
    );
    let rows = tx.query(&sql, &values)?;
    if rows.len() > most {
        return Ok(None);
    }
    rows.iter().map(|row| id_in(schema, row, 0)).collect::<Result<_, _>>().map(Some)
}

/// The documents of a user whose files are among these, by their paths.
fn of_user(
    tx: &Tx<'_>,
    schema: &Schema,
    user: &str,
    files: &[NewDocument],
) -> Result<HashMap<PathBuf, (DocumentId, bool)>, Fault> {
    // Of two rows about one file the later one counts.
    let sql = "SELECT d.id::text, d.file_path::text, {synced} FROM {documents} d
               WHERE d.user_id = $1::{U} AND d.file_path = ANY($2) AND d.id IS NOT NULL ORDER BY d.id";
    let paths = Value::texts(files.iter().map(|file| file.file_path.to_string_lossy()));
    let rows = tx.query(sql, &[Value::text(user), paths])?;
    let known = rows
        .iter()
        .map(|row| Ok((PathBuf::from(row.try_get::<_, String>(1)?), (id_in(schema, row, 0)?, row.try_get(2)?))));
    known.collect()
}

/// Forgets all about documents.
fn forget(tx: &Tx<'_>, ids: &Value) -> Result<(), Fault> {
    for table in REMEMBERING {
        let sql = format!("DELETE FROM {{{table}}} WHERE document_id = ANY($1::text[]::{{T}}[])");
        tx.execute(&sql, std::slice::from_ref(ids))?;
    }
    Ok(())
}

/// The user as the table would write it. Fails where the table cannot have it, or one of the paths.
fn checked(schema: &Schema, user: &UserId, files: &[&NewDocument]) -> Result<String> {
    let usage = |message: String| NasSyncError::new(ErrorKind::Usage, message);
    for file in files {
        file.check()?;
        if file.file_path.to_str().is_none() {
            let path = file.file_path.display();
            return Err(usage(format!(
                "the path \"{path}\" cannot be registered: it is not UTF-8, as text in PostgreSQL must be"
            )));
        }
    }
    user_of(schema, user)
}

/// Adds pending documents, and gives their ids in the same order.
fn insert(
    tx: &Tx<'_>,
    schema: &Schema,
    user: &str,
    files: &[&NewDocument],
    at: DateTime<Utc>,
) -> Result<Vec<DocumentId>, Fault> {
    let is_time = |kind: &str| matches!(kind, "timestamptz" | "timestamp" | "date");
    let mut ids = Vec::with_capacity(files.len());
    // synced_to_nas is given although it has a default in our own table: in others often only Python has it.
    for file in files {
        let mut names = vec!["user_id", "file_path", "synced_to_nas"];
        let mut marks = vec!["$1::{U}".to_owned(), "$2".to_owned(), "FALSE".to_owned()];
        let mut values = vec![Value::text(user), Value::text(file.file_path.to_string_lossy())];
        if schema.kind("original_name").is_some() {
            values.push(Value::maybe_text(file.original_name.as_ref()));
            names.push("original_name");
            marks.push(format!("${}", values.len()));
        }
        if let Some(kind) = schema.kind("created_at") {
            values.push(Value::text(if is_time(kind) { zoned(at) } else { timestamp::format(at) }));
            names.push("created_at");
            marks.push(schema.time_parameter("created_at", values.len()));
        }
        let row = tx.one(
            &format!(
                "INSERT INTO {{documents}} ({}) VALUES ({}) RETURNING id::text",
                names.join(", "),
                marks.join(", ")
            ),
            &values,
        )?;
        ids.push(id_in(schema, &row, 0)?);
    }
    let list = all_ids(schema, &ids);
    // An id may be given anew, where the table's owner does so.
    forget(tx, &list)?;
    tx.execute(
        "INSERT INTO {nas_sync_documents} (document_id, file_path, row_identity, added_as)
         SELECT d.id, d.file_path, {identity}, {origin} FROM {documents} d WHERE d.id = ANY($1::text[]::{T}[])",
        &[list],
    )?;
    Ok(ids)
}
