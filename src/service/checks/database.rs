//! The database, which is only looked at.

use super::{Diagnosis, Finding};
use crate::config::Settings;
use crate::database::Database;
use crate::error::{ErrorKind, NasSyncError};
use crate::service::NasSyncService;
use crate::store::{Examination, Journal, Moved, OwnTables, Store};
use crate::text;

/// More than this in the log means that somebody keeps it from being moved into the database.
const LARGE_LOG: u64 = 64 << 20;
/// Without the index, looking for pending documents in more than this takes long.
const LARGE: u64 = 16 << 20;
const REST: [&str; 6] = ["schema", "journal", "index", "size", "locks", "copies"];

pub(super) async fn examine(diagnosis: &mut Diagnosis, settings: &Settings) {
    let shown = settings.db.to_string();
    if !settings.db.exists() {
        diagnosis.note("database", not_there(&settings.db));
        for check in REST {
            diagnosis.not_known(check, "there is no database yet");
        }
        return;
    }
    let found = match Store::examine(&settings.db).await {
        Ok(found) => found,
        Err(error) => return diagnosis.problem("database", error),
    };
    diagnosis.note("database", Finding::ok(format!("{shown}, {}", found.server)));
    diagnosis.note("schema", schema(&found));
    diagnosis.note("journal", journal(&found));
    diagnosis.note("index", index(&found));
    diagnosis.note("size", size(&found));
    diagnosis.note("locks", found.lock.map_or_else(Finding::Problem, |()| Finding::ok("nobody holds it")));
    match NasSyncService::new(settings.clone()).connection() {
        Ok(connection) => diagnosis.note("copies", copies(found.place, &connection.place(), found.synced)),
        Err(_) => diagnosis.not_known("copies", "no NAS is configured"),
    }
}

/// Whether what counts as synced was sent to the place that is set.
fn copies(from: Option<String>, place: &str, synced: u64) -> Finding {
    match from {
        Some(from) if from != place && synced > 0 => {
            let moved = Moved { from: text::escape(&from), documents: synced };
            Finding::warning(moved.message(), Moved::SOLUTION)
        }
        _ => Finding::ok("nothing counts as synced that was sent to another place than the one that is set"),
    }
}

/// A database that is still to be made needs a folder to lie in.
fn not_there(db: &Database) -> Finding {
    let folder = db.file().and_then(|file| std::path::absolute(file).ok()?.parent().map(ToOwned::to_owned));
    match folder {
        Some(folder) if !folder.is_dir() => {
            let message = format!("the folder {} for the database does not exist (NAS_DB)", folder.display());
            let error = NasSyncError::new(ErrorKind::DatabaseUnusable, message);
            Finding::Problem(error.with_solution("Create the folder, or name another database with NAS_DB or --db."))
        }
        _ => Finding::warning(
            format!("{db} is not there yet"),
            "Register documents with `nas-sync add`, which makes it; or point NAS_DB or --db at the database that holds them.",
        ),
    }
}

fn schema(found: &Examination) -> Finding {
    match found.own_tables {
        OwnTables::Current => Finding::ok("the documents and the tables of nas-sync are as they should be"),
        OwnTables::None => {
            Finding::ok("the documents are as they should be; nas-sync's own tables come with the first sync")
        }
        OwnTables::Old(version) => Finding::warning(
            format!("nas-sync's own tables are of the old version {version}"),
            "Nothing to do: the next sync renews them. An older nas-sync cannot use the database then.",
        ),
    }
}

fn journal(found: &Examination) -> Finding {
    match &found.journal {
        Journal::Wal => Finding::ok("write-ahead log: readers and the one writer do not wait for each other"),
        Journal::Rollback(mode) => Finding::warning(
            format!("the journal mode is {}, so that readers and writers wait for each other", text::escape(mode)),
            "The next sync switches to WAL. Where it stays, the database lies on a network share, and should lie on a local disk.",
        ),
        Journal::Server { flushes: true } => Finding::ok("the server flushes what is committed"),
        Journal::Server { flushes: false } => Finding::warning(
            "the server's setting fsync is off: a power cut may damage the database",
            "Set fsync = on in postgresql.conf.",
        ),
    }
}

fn index(found: &Examination) -> Finding {
    if found.has_index {
        return Finding::ok("pending documents are found by an index");
    }
    let (message, solution) = (
        "there is no index over the pending documents",
        "Run `nas-sync index` once, so that looking for them costs the same however many are synced.",
    );
    if found.bytes < LARGE {
        Finding::ok(format!("{message}, and the table is small"))
    } else {
        Finding::warning(message, solution)
    }
}

fn size(found: &Examination) -> Finding {
    let bytes = text::size(found.bytes);
    if found.log_bytes < LARGE_LOG {
        return Finding::ok(bytes);
    }
    Finding::warning(
        format!("{bytes}, and a log of {} beside it", text::size(found.log_bytes)),
        "Some program keeps a transaction open for long, so that the log cannot be moved into the database: end it.",
    )
}
