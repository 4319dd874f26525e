//! What is remembered: documents, leases, outcomes, what a NAS refuses. [`Store`] says what a database is used for, the
//! values stand in `model`, without SQL, and each kind of database is a room of its own.

#[cfg(not(any(feature = "sqlite", feature = "postgres")))]
compile_error!("the service needs a database: choose the feature `sqlite` or `postgres`");

#[cfg(feature = "cli")]
mod examination;
mod handle;
mod model;
mod policy;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "sqlite")]
mod sqlite;
pub mod timestamp;

#[cfg(feature = "cli")]
pub use self::examination::{Examination, Journal, OwnTables};
pub use self::handle::Store;
pub use self::model::*;
#[cfg(feature = "sqlite")]
pub use self::sqlite::{BUSY_TIMEOUT, SqliteStore};
