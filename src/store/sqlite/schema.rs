//! The tables: what that of the documents must look like, and the versioned tables that are nas-sync's own.
//!
//! Guarantees: an existing table of documents is only looked at; one that is not good enough is refused before the first
//! write; own tables change in one transaction, from whatever version is found to the newest, whichever process gets
//! there first. The version is a row of `nas_sync_meta`: `PRAGMA user_version` belongs to the documents' owner.

use std::fmt;
use std::path::Path;

use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior};

use super::{fault, pending_index};
use crate::database::{TableName, quoted};
use crate::error::{ErrorKind, NasSyncError};
use crate::folding;
use crate::own_tables::sqlite::{META, MIGRATIONS};

/// The columns without which nothing works.
const NEEDED: [&str; 5] = ["id", "user_id", "file_path", "synced_to_nas", "synced_at"];

/// The columns of the table of documents as it is created where there is none. An id is given once: a layout may have put it
/// into the name of a copy that the NAS still keeps.
const DOCUMENTS: &str = "
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        user_id INTEGER NOT NULL,
        file_path TEXT NOT NULL,
        synced_to_nas BOOLEAN NOT NULL DEFAULT 0,
        synced_at TIMESTAMP NULL,
        original_name TEXT NULL,
        file_type TEXT NULL,
        doc_type TEXT NULL,
        date DATE NULL,
        created_at TIMESTAMP NULL";

/// The first version in which names have their folded form beside them.
const NAMES_ARE_FOLDED: usize = 4;

/// The table of documents, and which optional columns it has. `Display` writes its name as a statement has it.
#[derive(Debug, Clone)]
#[expect(clippy::struct_excessive_bools, reason = "one for each optional column")]
pub(super) struct Table {
    pub name: String,
    pub original_name: bool,
    pub file_type: bool,
    pub doc_type: bool,
    pub date: bool,
    pub created_at: bool,
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&quoted(&self.name))
    }
}

impl Table {
    /// What row `d` of the table holds that stays with one document and differs between two, as one text: an id alone
    /// is given anew once its row is deleted.
    pub(super) fn identity(&self) -> String {
        let parts = [(true, "user_id"), (self.created_at, "created_at"), (self.original_name, "original_name")];
        let parts: Vec<_> = parts.iter().filter(|(has, _)| *has).map(|(_, name)| format!("quote(d.{name})")).collect();
        parts.join(" || ' ' || ")
    }

    /// What row `d` of `documents` held when it was registered, as one text; with another file it is its owner's affair.
    pub(super) fn origin(&self) -> String {
        format!("{} || ' ' || quote(d.file_path)", self.identity())
    }

    /// Whether row `s` of `nas_sync_documents` is about the document in row `d`, of which it may have named another file.
    /// Rows of older versions do not say it and are believed.
    pub(super) fn is_same_document(&self) -> String {
        format!("ifnull(s.row_identity = {}, 1)", self.identity())
    }

    /// Whether row `s` of `nas_sync_documents` is about the document in row `d` and the file that it names now.
    pub(super) fn is_about(&self) -> String {
        format!("s.file_path IS d.file_path AND {}", self.is_same_document())
    }
}

/// What a database holds before anything is changed.
#[derive(Debug)]
pub(super) struct Found {
    /// `None`: there is no such table.
    documents: Option<Table>,
    /// The version of the own tables; 0: there are none.
    version: usize,
}

impl Found {
    /// The version of the own tables; 0: there are none.
    #[cfg(feature = "cli")]
    pub(super) fn version(&self) -> usize {
        self.version
    }

    /// Fails where there is no `documents`: it is then more often another database than one that is still to be filled.
    pub(super) fn require_documents(&self, name: &str) -> Result<Table, SchemaError> {
        self.documents.clone().ok_or_else(|| SchemaError::Refused {
            what: format!("it has no table {}", shown(name)),
            solution: Some(
                "Point NAS_DB or --db at the database that holds the documents, and NAS_TABLE at their table; let the program \
                 that owns it make the table, or make one by registering documents with `nas-sync add`.",
            ),
        })
    }
}

/// Why the tables cannot be used.
#[derive(Debug)]
pub(super) enum SchemaError {
    Sqlite(rusqlite::Error),
    Refused { what: String, solution: Option<&'static str> },
}

impl From<rusqlite::Error> for SchemaError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

/// The crate's error, naming the database.
pub(super) fn to_error(path: &Path, error: SchemaError) -> NasSyncError {
    match error {
        SchemaError::Sqlite(error) => fault::of(path, "prepare")(error),
        SchemaError::Refused { what, solution } => {
            let message = format!("the database {} cannot be used: {what}", path.display());
            let error = NasSyncError::new(ErrorKind::DatabaseUnusable, message);
            match solution {
                Some(solution) => error.with_solution(solution),
                None => error,
            }
        }
    }
}

/// The name of the table in this database. Fails where it is named in a schema that no SQLite file has.
pub(super) fn name_in(table: &TableName) -> Result<&str, SchemaError> {
    match table.schema.as_deref() {
        None | Some("main") => Ok(&table.name),
        Some(_) => Err(SchemaError::Refused {
            what: format!("an SQLite file has no schemas, and so no table {table}"),
            solution: Some("Name the table alone with NAS_TABLE or --table."),
        }),
    }
}

/// A name for people: in quotes where it has to be.
fn shown(name: &str) -> String {
    if name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') { name.to_owned() } else { quoted(name) }
}

/// Looks at the tables without changing anything.
pub(super) fn inspect(conn: &Connection, name: &str) -> Result<Found, SchemaError> {
    let version = own_version(conn)?;
    let owner = if version == 0 { None } else { owner(conn)? };
    match owner {
        Some(other) if !other.eq_ignore_ascii_case(&quoted(name)) => Err(SchemaError::Refused {
            what: format!("its nas_sync_ tables are about the table {other}, not {}", quoted(name)),
            solution: Some("Correct NAS_TABLE. Two tables of documents need two database files."),
        }),
        _ => Ok(Found { documents: table(conn, name)?, version }),
    }
}

/// Creates what is missing. Takes the write lock only when something is.
pub(super) fn prepare(conn: &Connection, name: &str, found: Found) -> Result<Table, SchemaError> {
    if let Found { documents: Some(table), version } = found
        && version == MIGRATIONS.len()
    {
        return Ok(table);
    }
    let tx = Transaction::new_unchecked(conn, TransactionBehavior::Immediate)?;
    // Another process may have done it while this one waited for the lock.
    let found = inspect(&tx, name)?;
    let table = match found.documents {
        Some(table) => table,
        None => create_documents(&tx, name)?,
    };
    migrate(&tx, &table, found.version)?;
    tx.commit()?;
    Ok(table)
}

/// For a database that must not change: empty temporary tables stand in for those of our own that are missing.
pub(super) fn stand_in(conn: &Connection, name: &str, found: &Found) -> Result<Table, SchemaError> {
    let table = found.require_documents(name)?;
    if found.version == 0 {
        for step in MIGRATIONS {
            conn.execute_batch(&step.replace("{schema}", "temp"))?;
        }
    } else if found.version < MIGRATIONS.len() {
        return Err(SchemaError::Refused {
            what: format!("its nas_sync_ tables are of the old version {}", found.version),
            solution: Some("Run a command that may change the database, such as `nas-sync sync`, once."),
        });
    }
    Ok(table)
}

fn create_documents(conn: &Connection, name: &str) -> Result<Table, SchemaError> {
    let table = Table {
        name: name.to_owned(),
        original_name: true,
        file_type: true,
        doc_type: true,
        date: true,
        created_at: true,
    };
    conn.execute_batch(&format!("CREATE TABLE main.{table} ({DOCUMENTS})"))?;
    pending_index::create(conn, &table)?;
    Ok(table)
}

fn migrate(tx: &Transaction<'_>, table: &Table, from: usize) -> rusqlite::Result<()> {
    tx.execute_batch(META)?;
    for step in &MIGRATIONS[from..] {
        tx.execute_batch(&step.replace("{schema}", "main"))?;
    }
    if from < NAMES_ARE_FOLDED {
        fold_all(tx)?;
    }
    tx.execute(
        "INSERT INTO nas_sync_meta (key, value) VALUES ('schema_version', ?1)
         ON CONFLICT (key) DO UPDATE SET value = excluded.value",
        [MIGRATIONS.len().cast_signed()],
    )?;
    // In older databases nothing is said: they are about `documents`.
    if from == 0 {
        tx.execute(
            "INSERT INTO nas_sync_meta (key, value) VALUES ('documents', ?1)
             ON CONFLICT (key) DO UPDATE SET value = excluded.value",
            [table.to_string()],
        )?;
    }
    Ok(())
}

/// The table that the own tables are about, in quotes, so that no number is made of its name.
fn owner(conn: &Connection) -> rusqlite::Result<Option<String>> {
    let sql =
        "SELECT ifnull((SELECT CAST(value AS TEXT) FROM main.nas_sync_meta WHERE key = 'documents'), '\"documents\"')";
    conn.query_row(sql, [], |row| row.get(0))
}

/// `None` when there is no such table; an error when it is not one that can be used.
fn table(conn: &Connection, name: &str) -> Result<Option<Table>, SchemaError> {
    // SQLite compares names of tables and columns without regard to ASCII case.
    let kind: Option<String> = conn
        .query_row(
            "SELECT type FROM main.sqlite_master WHERE name = ?1 COLLATE NOCASE AND type IN ('table', 'view')",
            [name],
            |row| row.get(0),
        )
        .optional()?;
    match kind.as_deref() {
        None => return Ok(None),
        Some("table") => {}
        // A view may hide, compute or swallow what is written: nothing would prove that a document was recorded.
        Some(other) => {
            return Err(SchemaError::Refused {
                what: format!("{} is a {other}, not a table", shown(name)),
                solution: Some(
                    "Point NAS_DB at the database whose table of documents is a real one, or NAS_TABLE at it.",
                ),
            });
        }
    }
    // table_xinfo lists generated columns too, which are fine to read.
    let mut statement = conn.prepare("SELECT lower(name), upper(type) FROM pragma_table_xinfo(?1, 'main')")?;
    let columns: Vec<(String, String)> =
        statement.query_map([name], |row| Ok((row.get(0)?, row.get(1)?)))?.collect::<Result<_, _>>()?;
    let has = |name: &str| columns.iter().any(|(found, _)| found == name);
    let lacking: Vec<&str> = NEEDED.into_iter().filter(|name| !has(name)).collect();
    if !lacking.is_empty() {
        return Err(SchemaError::Refused {
            what: format!("its table {} lacks {}; the table was left alone", shown(name), lacking.join(", ")),
            solution: None,
        });
    }
    let table = Table {
        name: name.to_owned(),
        original_name: has("original_name"),
        file_type: has("file_type"),
        doc_type: has("doc_type"),
        date: has("date"),
        created_at: has("created_at"),
    };
    for column in ["id", "user_id"] {
        let declared = columns.iter().find(|(found, _)| found == column).map_or("", |(_, declared)| declared);
        if is_text(declared) && !holds_numbers(conn, &table, column)? {
            return Err(SchemaError::Refused {
                what: format!("{column} of its table {} is text ({declared}), and must be a whole number", shown(name)),
                solution: Some(
                    "nas-sync knows documents and users by whole numbers; text and UUIDs are not supported.",
                ),
            });
        }
    }
    Ok(Some(table))
}

/// Whether SQLite itself sees to it that each id is a whole number, and another for each row: it is the table's row id.
pub(super) fn id_is_rowid(conn: &Connection, table: &Table) -> rusqlite::Result<bool> {
    // Every other primary key has an index of its own.
    let sql = "SELECT (SELECT group_concat(lower(name)) FROM pragma_table_xinfo(?1, 'main') WHERE pk > 0) IS 'id'
               AND NOT EXISTS (SELECT 1 FROM pragma_index_list(?1, 'main') WHERE origin = 'pk')";
    conn.query_row(sql, [&table.name], |row| row.get(0))
}

/// Whether SQLite makes text, or nothing else, of what is written to a column of this declared type.
fn is_text(declared: &str) -> bool {
    let says = |words: &[&str]| words.iter().any(|word| declared.contains(word));
    !says(&["INT"]) && says(&["CHAR", "CLOB", "TEXT", "BLOB", "UUID", "GUID", "STRING"])
}

/// Whether a column holds a whole number in its first row, whatever its type says: SQLite lets any column do so.
fn holds_numbers(conn: &Connection, table: &Table, column: &str) -> rusqlite::Result<bool> {
    let sql = format!("SELECT typeof({column}) FROM main.{table} LIMIT 1");
    let first: Option<String> = conn.query_row(&sql, [], |row| row.get(0)).optional()?;
    Ok(first.is_some_and(|kind| kind == "integer"))
}

fn own_version(conn: &Connection) -> Result<usize, SchemaError> {
    let known: bool =
        conn.query_row("SELECT EXISTS (SELECT 1 FROM main.sqlite_master WHERE name = 'nas_sync_meta')", [], |row| {
            row.get(0)
        })?;
    if !known {
        return Ok(0);
    }
    let value: Option<rusqlite::types::Value> = conn
        .query_row("SELECT value FROM main.nas_sync_meta WHERE key = 'schema_version'", [], |row| row.get(0))
        .optional()?;
    let version = match value {
        None => Some(0),
        Some(rusqlite::types::Value::Integer(version)) => usize::try_from(version).ok(),
        Some(_) => None,
    };
    match version {
        Some(version) if version <= MIGRATIONS.len() => Ok(version),
        Some(version) => Err(SchemaError::Refused {
            what: format!("its nas_sync_ tables are of version {version}, and this program knows {}", MIGRATIONS.len()),
            solution: Some("Use the newer nas-sync that last wrote to this database."),
        }),
        None => Err(SchemaError::Refused {
            what: "nas_sync_meta holds no readable schema_version".to_owned(),
            solution: Some(
                "Restore the nas_sync_ tables from a backup, or drop all of them: documents keeps its own state.",
            ),
        }),
    }
}

/// Writes the folded form beside every name that has none, a thousand at a time: there may be millions.
fn fold_all(tx: &Transaction<'_>) -> rusqlite::Result<()> {
    let mut some =
        tx.prepare("SELECT name FROM nas_sync_names WHERE folded IS NULL AND typeof(name) = 'blob' LIMIT 1000")?;
    let mut update = tx.prepare("UPDATE nas_sync_names SET folded = ?2 WHERE name = ?1")?;
    loop {
        let names: Vec<Vec<u8>> = some.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
        if names.is_empty() {
            return Ok(());
        }
        names.iter().try_for_each(|name| update.execute((name, folding::folded(name))).map(drop))?;
    }
}
