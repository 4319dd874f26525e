//! SQLite's errors in our words. A lock is told from a database that cannot be used; nothing is swallowed.

use std::path::Path;

use rusqlite::ffi::ErrorCode;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use crate::error::{ErrorKind, NasSyncError};

/// How many files SQLite has open for one connection: the database, its log, the shared memory, and a journal or folder.
const DESCRIPTORS: usize = 4;

/// Whether another connection's lock is all that stands in the way.
pub(super) fn is_lock(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked))
}

/// Maps the errors of one action. `doing` completes "cannot … the database".
pub(super) fn of<'a>(path: &'a Path, doing: &'a str) -> impl Fn(rusqlite::Error) -> NasSyncError + 'a {
    move |error| map(path, doing, error)
}

fn map(path: &Path, doing: &str, error: rusqlite::Error) -> NasSyncError {
    let place = path.display();
    if is_lock(&error) {
        let message = format!("cannot {doing} the database {place}: another process holds its lock");
        return NasSyncError::new(ErrorKind::DatabaseLocked, message).with_source(error);
    }
    if is_short_of_descriptors(&error) {
        let message = format!("cannot {doing} the database {place}: too few file descriptors are left");
        return NasSyncError::new(ErrorKind::ResourceShortage, message).with_source(error);
    }
    let message = format!("cannot {doing} the database {place}: {error}");
    let mut fault = NasSyncError::new(ErrorKind::DatabaseUnusable, message);
    if let Some(solution) = error.sqlite_error_code().and_then(solution) {
        fault = fault.with_solution(solution);
    }
    if let rusqlite::Error::SqliteFailure(code, _) = &error {
        fault = fault.with_details(format!("SQLite result code {}: {code}", code.extended_code));
    }
    fault.with_source(error)
}

/// SQLite does not say why it could not open a file; whether as many as it needs can be had shows by taking them.
fn is_short_of_descriptors(error: &rusqlite::Error) -> bool {
    let may_be = matches!(error.sqlite_error_code(), Some(ErrorCode::CannotOpen | ErrorCode::SystemIoFailure));
    let take = |_| rustix::fs::open(c"/", OFlags::PATH | OFlags::CLOEXEC, Mode::empty());
    let taken = || (0..DESCRIPTORS).map(take).collect::<Result<Vec<_>, _>>();
    may_be && matches!(taken(), Err(Errno::MFILE | Errno::NFILE))
}

/// Where SQLite's code says more than "cannot be used".
fn solution(code: ErrorCode) -> Option<&'static str> {
    Some(match code {
        ErrorCode::NotADatabase => "Point NAS_DB or --db at an SQLite database; this file is something else.",
        ErrorCode::DatabaseCorrupt => {
            "The file is damaged: restore it from a backup, or recover it with SQLite's `.recover`."
        }
        ErrorCode::ReadOnly => "Give this user permission to write the database file and the folder it is in.",
        ErrorCode::DiskFull => "Make room on the disk that holds the database, then run the command again.",
        ErrorCode::CannotOpen | ErrorCode::PermissionDenied => {
            "Check that NAS_DB names a file, and that this user may read and write it and the folder it is in."
        }
        // SQLite says no more than this when there is no room for its shared memory file.
        ErrorCode::SystemIoFailure => "Check the disk that holds the database: it may be full, or failing.",
        _ => return None,
    })
}
