//! The tables in PostgreSQL, in the schema of `documents`.

/// A column: name, type, and what else is said about it. `{T}` is the type of the documents' ids.
type Column = (&'static str, &'static str, &'static str);

/// The tables as they are made. Those of an older version become so by [`STEPS`].
///
/// `nas_sync_documents.file_path` is the path that the row's attempts and failure are about, and `row_identity` whose they
/// are; `added_as` is what the row held when nas-sync itself registered it. `nas_sync_names` says whose each name on the NAS
/// is, by the SHA-256 of the name, because an index holds no long ones; `folded` is that of its folded form, by which names
/// are found that may be one file there. The primary key of `nas_sync_leased` keeps two workers off one document.
const TABLES: [(&str, &[Column]); 8] = [
    ("nas_sync_meta", &[("key", "text", "PRIMARY KEY"), ("value", "text", "NOT NULL")]),
    (
        "nas_sync_documents",
        &[
            ("document_id", "{T}", "PRIMARY KEY"),
            ("file_path", "text", ""),
            ("row_identity", "text", ""),
            ("attempts", "bigint", "NOT NULL DEFAULT 0"),
            ("last_error_kind", "text", ""),
            ("last_error_text", "text", ""),
            ("last_attempt_at", "timestamptz", ""),
            ("next_attempt_at", "timestamptz", ""),
            ("failed_for_good", "boolean", "NOT NULL DEFAULT FALSE"),
            ("remote_name", "bytea", ""),
            ("bytes", "bigint", ""),
            ("mtime_seconds", "bigint", ""),
            ("mtime_nanoseconds", "bigint", ""),
            ("level", "text", ""),
            ("sha256", "bytea", ""),
            ("verified_at", "timestamptz", ""),
        ],
    ),
    (
        "nas_sync_attempts",
        &[
            ("id", "bigint", "GENERATED ALWAYS AS IDENTITY PRIMARY KEY"),
            ("document_id", "{T}", "NOT NULL"),
            ("started_at", "timestamptz", "NOT NULL"),
            ("duration_ms", "bigint", "NOT NULL"),
            ("bytes", "bigint", "NOT NULL"),
            ("outcome", "text", "NOT NULL"),
            ("error_kind", "text", ""),
            ("error_text", "text", ""),
        ],
    ),
    (
        "nas_sync_leases",
        &[
            ("fence", "bigint", "GENERATED ALWAYS AS IDENTITY PRIMARY KEY"),
            ("clock", "text", "NOT NULL"),
            ("space", "text", "NOT NULL"),
            ("process", "bigint", "NOT NULL"),
            ("started", "bigint", "NOT NULL"),
            ("beat_at", "timestamptz", "NOT NULL"),
        ],
    ),
    (
        "nas_sync_leased",
        &[
            ("document_id", "{T}", "PRIMARY KEY"),
            ("fence", "bigint", "NOT NULL REFERENCES {nas_sync_leases} ON DELETE CASCADE"),
        ],
    ),
    (
        "nas_sync_targets",
        &[
            ("target", "text", "PRIMARY KEY"),
            ("paused_until", "timestamptz", ""),
            ("pause_kind", "text", ""),
            ("pause_text", "text", ""),
            ("pauses", "bigint", "NOT NULL DEFAULT 0"),
            ("refused_logins", "text", ""),
        ],
    ),
    (
        "nas_sync_refusals",
        &[
            ("target", "text", "NOT NULL"),
            ("capability", "text", "NOT NULL"),
            ("evidence", "text", "NOT NULL"),
            ("server", "text", "NOT NULL"),
            ("times", "bigint", "NOT NULL"),
            ("learnt_at", "timestamptz", "NOT NULL, PRIMARY KEY (target, capability)"),
        ],
    ),
    (
        "nas_sync_names",
        &[
            ("hash", "bytea", "PRIMARY KEY"),
            ("name", "bytea", "NOT NULL"),
            ("document_id", "{T}", "NOT NULL"),
            ("folded", "bytea", "NOT NULL"),
        ],
    ),
];

/// The indexes.
const INDEXES: &str = "
    CREATE INDEX ON {nas_sync_attempts} (document_id, id);
    CREATE INDEX ON {nas_sync_leased} (fence);
    CREATE INDEX ON {nas_sync_names} (document_id);
    CREATE INDEX ON {nas_sync_names} (folded);";

/// What later versions have besides: columns, each with its version and its table.
const ADDED: [(u32, &str, Column); 4] = [
    (2, "nas_sync_documents", ("last_error_solution", "text", "")),
    (2, "nas_sync_targets", ("pause_solution", "text", "")),
    (3, "nas_sync_attempts", ("durable_by", "text", "")),
    (4, "nas_sync_documents", ("added_as", "text", "")),
];

/// The version of the tables that this program knows.
pub const VERSION: u32 = 4;

/// What leads from a version to the newest, or makes the tables where there are none.
pub fn steps_from(version: u32) -> String {
    let add = |(_, table, (name, kind, more)): (u32, &str, Column)| {
        format!("ALTER TABLE {{{table}}} ADD COLUMN {name} {kind} {more};")
    };
    let first = if version < 1 { create() } else { String::new() };
    ADDED.into_iter().filter(|(of, ..)| version < *of).map(add).fold(first, |steps, step| steps + &step)
}

/// What makes the tables of version 1.
fn create() -> String {
    let table = |(name, columns): &(&str, &[Column])| {
        let columns = columns.iter().map(|(name, kind, more)| format!("{name} {kind} {more}"));
        format!("CREATE TABLE {{{name}}} ({});", columns.collect::<Vec<_>>().join(", "))
    };
    TABLES.iter().map(table).chain([INDEXES.to_owned()]).collect()
}

/// What stands in for a table that is not there, in a database that must not change.
pub fn empty(name: &str) -> Option<String> {
    let (_, columns) = TABLES.iter().find(|(known, _)| *known == name)?;
    let added = ADDED.iter().filter(|(_, table, _)| *table == name).map(|(.., column)| column);
    let columns = columns.iter().chain(added).map(|(name, kind, _)| format!("NULL::{kind} AS {name}"));
    Some(format!("(SELECT {} WHERE FALSE)", columns.collect::<Vec<_>>().join(", ")))
}
