//! What is remembered: documents, leases, outcomes, what a NAS refuses. The values stand in `model`, without SQL; each kind
//! of database is a room of its own.

mod model;
mod sqlite;

pub use self::model::*;
pub use self::sqlite::{BUSY_TIMEOUT, Store, timestamp};
