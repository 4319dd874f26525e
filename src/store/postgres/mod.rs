//! A PostgreSQL database: which documents are pending, which are on the NAS, and what happened on the way.
//!
//! The `documents` table belongs to somebody else's program as a rule. Guarantees: of its rows only `synced_to_nas` and
//! `synced_at` are ever changed; a table that lacks a needed column, or that is a view, is refused by name. Everything else
//! is kept in tables of our own whose names start with `nas_sync_`, in the schema of `documents`. Every use is one short
//! transaction, and holds nothing of the session: so PgBouncer may hand out the connections per transaction. A connection
//! that is lost is made anew and the transaction begun again; whether a commit took place whose answer was lost is asked of
//! the server, never guessed. See `protocol-notes/14-database.md`.
//!
//! Never: a file or a clock of this machine. All calls block; a [`PostgresStore`] may be moved between threads, not shared.

mod attempts;
mod changes;
mod documents;
#[cfg(feature = "cli")]
mod examine;
mod fault;
mod history;
mod leases;
mod link;
mod listing;
mod login;
mod marks;
mod names;
mod notifying;
mod pending_index;
mod queue;
mod rights;
mod schema;
mod targets;
mod tls;
mod values;

#[cfg(feature = "cli")]
pub use self::examine::examine;
pub use self::schema::PostgresStore;
