//! The database: which documents are pending, which are on the NAS, and what happened on the way.
//!
//! The `documents` table may belong to somebody else's program. Guarantees: of its rows only `synced_to_nas` and
//! `synced_at` are ever changed; a table that lacks a needed column, or that is a view, is refused before anything is
//! written; a row that makes no sense is an error of that row, never of the batch and never a panic. Everything else is
//! kept in tables whose names start with `nas_sync_`. Every write is one `BEGIN IMMEDIATE` transaction, so two
//! processes on one database wait for each other instead of failing half-way. See `protocol-notes/14-database.md`.
//!
//! Never: a file, a network or a clock. All calls block; a [`SqliteStore`] may be moved between threads, not shared.

mod attempts;
mod change_detection;
mod connection;
mod discovered;
mod documents;
#[cfg(feature = "cli")]
mod examine;
mod fault;
mod history;
mod leases;
mod listing;
mod names;
mod pending_index;
mod queue;
mod schema;
mod stats;
mod stored_copies;
mod targets;
#[cfg(test)]
mod tests;
mod values;

pub use self::connection::{BUSY_TIMEOUT, SqliteStore};
#[cfg(feature = "cli")]
pub use self::examine::examine;
