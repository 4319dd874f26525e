//! Sends documents to a NAS by rsync over SSH and records in SQLite what is stored there.
#[cfg(feature = "cli")]
pub mod cli;
pub mod delta;
pub mod error;
pub mod role;
pub mod service;
pub mod session;
pub mod store;
pub mod text;
pub mod transport;
pub mod tree;
pub mod wire;

pub use error::{ErrorKind, NasSyncError};
