//! Real parts for tests.
pub mod sshd;

pub use sshd::Sshd;
