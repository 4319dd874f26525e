//! The native half of the Python package `nas_sync`: settings, names, logins and transfers, by the Rust library of the same
//! name. The Python half (`nas_sync/*.py`) has the interface and the work on the database.
//!
//! Guarantees: bytes move on threads of ours while the interpreter runs other code; a signal or an exception of a callback
//! ends a transfer in order; a forked child uses nothing of its parent's threads and logins.

use pyo3::prelude::*;

mod client;
mod error;
mod logging;
mod naming;
mod pool;
mod process;
mod progress;
mod tables;
mod transfer;
mod waiting;

#[pymodule]
mod _native {
    #[pymodule_export]
    use super::client::Client;
    #[pymodule_export]
    use super::error::explain;
    #[pymodule_export]
    use super::naming::Naming;
    #[pymodule_export]
    use super::progress::Progress;
    #[pymodule_export]
    use super::tables::{folded, lease_seconds, own_tables};
    #[pymodule_export]
    use super::waiting::Stop;
}
