//! What a look at a database tells that somebody wants to know to be well. The look changes nothing.

use crate::error::Result;

/// What a database is like.
#[derive(Debug)]
pub struct Examination {
    /// Its kind and version.
    pub server: String,
    /// Whether our own tables are there.
    pub own_tables: OwnTables,
    /// How its commits are kept.
    pub journal: Journal,
    /// Whether looking for pending documents costs the same however many are synced.
    pub has_index: bool,
    /// How many bytes it has: the whole SQLite file, or the table with its indexes.
    pub bytes: u64,
    /// How many bytes of its log wait to be moved into it.
    pub log_bytes: u64,
    /// The place at which all documents are that count as synced, where any was recorded. Foreign text.
    pub place: Option<String>,
    /// How many documents count as synced.
    pub synced: u64,
    /// Whether the lock for writing can be had at the moment. Fails with `DatabaseLocked` or `DatabaseUnusable`.
    pub lock: Result<()>,
}

/// The tables in which nas-sync keeps what it remembers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OwnTables {
    /// There are none yet.
    None,
    /// They are of this older version, and the next command that writes renews them.
    Old(usize),
    /// They are as this program makes them.
    Current,
}

/// How commits are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Journal {
    /// SQLite's write-ahead log, in which readers and the one writer do not wait for each other.
    Wal,
    /// Another mode of SQLite.
    Rollback(String),
    /// The server's own log; whether it is flushed.
    Server {
        /// Its setting `fsync`.
        flushes: bool,
    },
}
