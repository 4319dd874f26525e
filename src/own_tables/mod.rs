//! The tables that are nas-sync's own, as SQL: for the store, which makes them over connections of its own, and for the Python
//! package, which does so over a session's.

pub mod postgres;
pub mod sqlite;

use std::time::Duration;

/// How long a lease of documents lasts without being renewed.
pub const LEASE_TERM: Duration = Duration::from_secs(40);
