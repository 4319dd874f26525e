//! The tables in SQLite.

/// Holds the version of the others, and the table that they are about.
pub const META: &str =
    "CREATE TABLE IF NOT EXISTS nas_sync_meta (key TEXT NOT NULL PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;";

/// Step `n` leads from version `n` to `n + 1`. Steps that were released never change.
///
/// `nas_sync_documents.file_path` is the path that the row's attempts and failure are about, and `row_identity` whose
/// they are (`Table::identity`): with another path, or with an id that SQLite gave to a new document, they no longer
/// count. `added_as` is what the row held when nas-sync itself registered it (`Table::origin`). `nas_sync_names` says
/// whose each name on the NAS is; its primary key is what keeps two documents, and two processes, off one name, and
/// `folded` is by what names that may be one file there are found. That of `nas_sync_leased` keeps two workers off one
/// document.
pub const MIGRATIONS: [&str; 7] = [
    "
    CREATE TABLE {schema}.nas_sync_documents (
        document_id INTEGER PRIMARY KEY,
        file_path BLOB NULL,
        attempts INTEGER NOT NULL DEFAULT 0,
        last_error_kind TEXT NULL,
        last_error_text TEXT NULL,
        last_attempt_at TIMESTAMP NULL,
        remote_name BLOB NULL,
        bytes INTEGER NULL,
        mtime_seconds INTEGER NULL,
        mtime_nanoseconds INTEGER NULL,
        level TEXT NULL
    );
    CREATE TABLE {schema}.nas_sync_names (
        name BLOB NOT NULL PRIMARY KEY,
        document_id INTEGER NOT NULL
    ) WITHOUT ROWID;
    CREATE INDEX {schema}.nas_sync_names_of_document ON nas_sync_names (document_id);",
    "
    ALTER TABLE {schema}.nas_sync_documents ADD COLUMN sha256 BLOB NULL;
    ALTER TABLE {schema}.nas_sync_documents ADD COLUMN verified_at TIMESTAMP NULL;
    ALTER TABLE {schema}.nas_sync_documents ADD COLUMN next_attempt_at TIMESTAMP NULL;
    ALTER TABLE {schema}.nas_sync_documents ADD COLUMN failed_for_good INTEGER NOT NULL DEFAULT 0;
    CREATE TABLE {schema}.nas_sync_attempts (
        id INTEGER PRIMARY KEY,
        document_id INTEGER NOT NULL,
        started_at TIMESTAMP NOT NULL,
        duration_ms INTEGER NOT NULL,
        bytes INTEGER NOT NULL,
        outcome TEXT NOT NULL,
        error_kind TEXT NULL,
        error_text TEXT NULL
    );
    CREATE INDEX {schema}.nas_sync_attempts_of_document ON nas_sync_attempts (document_id);
    CREATE TABLE {schema}.nas_sync_leases (
        fence INTEGER PRIMARY KEY,
        clock TEXT NOT NULL,
        space TEXT NOT NULL,
        process INTEGER NOT NULL,
        started INTEGER NOT NULL,
        beat INTEGER NOT NULL,
        beat_at INTEGER NOT NULL
    );
    CREATE TABLE {schema}.nas_sync_lease_watches (
        fence INTEGER NOT NULL,
        clock TEXT NOT NULL,
        beat INTEGER NOT NULL,
        seen_at INTEGER NOT NULL,
        PRIMARY KEY (fence, clock)
    ) WITHOUT ROWID;
    CREATE TABLE {schema}.nas_sync_leased (
        document_id INTEGER PRIMARY KEY,
        fence INTEGER NOT NULL
    );
    CREATE INDEX {schema}.nas_sync_leased_by ON nas_sync_leased (fence);
    CREATE TABLE {schema}.nas_sync_targets (
        target TEXT NOT NULL PRIMARY KEY,
        learnt_at TIMESTAMP NULL,
        refused TEXT NOT NULL DEFAULT '',
        paused_until TIMESTAMP NULL,
        pause_kind TEXT NULL,
        pause_text TEXT NULL,
        pauses INTEGER NOT NULL DEFAULT 0
    ) WITHOUT ROWID;",
    "
    ALTER TABLE {schema}.nas_sync_documents ADD COLUMN row_identity TEXT NULL;
    ALTER TABLE {schema}.nas_sync_targets ADD COLUMN refused_logins TEXT NULL;",
    // `nas_sync_targets.refused` and `learnt_at` rested on less evidence and are no longer believed.
    "
    CREATE TABLE {schema}.nas_sync_refusals (
        target TEXT NOT NULL,
        capability TEXT NOT NULL,
        evidence TEXT NOT NULL,
        server TEXT NOT NULL,
        times INTEGER NOT NULL,
        learnt_at TIMESTAMP NOT NULL,
        PRIMARY KEY (target, capability)
    ) WITHOUT ROWID;
    ALTER TABLE {schema}.nas_sync_names ADD COLUMN folded BLOB NULL;
    CREATE INDEX {schema}.nas_sync_names_folded ON nas_sync_names (folded);",
    "
    ALTER TABLE {schema}.nas_sync_attempts ADD COLUMN durable_by TEXT NULL;",
    "
    ALTER TABLE {schema}.nas_sync_documents ADD COLUMN last_error_solution TEXT NULL;
    ALTER TABLE {schema}.nas_sync_targets ADD COLUMN pause_solution TEXT NULL;",
    "
    ALTER TABLE {schema}.nas_sync_documents ADD COLUMN added_as TEXT NULL;",
];
