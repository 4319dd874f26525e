//! What is remembered: documents, leases, outcomes, what a NAS refuses. [`Store`] says what a database is used for, the
//! values stand in `model`, without SQL, and each kind of database is a room of its own.

mod handle;
mod model;
mod sqlite;

pub use self::handle::Store;
pub use self::model::*;
pub use self::sqlite::{BUSY_TIMEOUT, SqliteStore, timestamp};
