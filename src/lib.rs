//! Sends documents to a NAS by rsync over SSH and records in SQLite what is stored there.
#[cfg(feature = "cli")]
pub mod cli;
pub mod delta;
pub mod error;
pub mod role;
pub mod secret;
pub mod service;
pub mod session;
pub mod store;
pub mod text;
pub mod transport;
pub mod tree;
pub mod wire;

pub use error::{ErrorKind, NasSyncError};
pub use service::client::{Client, ClientConfig};
pub use service::config::{Environment, Flags, Settings};
pub use service::push::{Files, PushReport, PushRequest};
pub use service::{ConnectionReport, DocumentError, NasSyncService, SyncSummary, SyncedFile};
pub use store::{DocumentId, Selection, SyncStats, UserId};
