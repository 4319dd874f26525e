//! The tables that are nas-sync's own, as SQL: for the store, which makes them over connections of its own, and for the Python
//! package, which does so over a session's.

pub mod postgres;
pub mod sqlite;
