//! Real parts for tests.
pub mod site;
pub mod sshd;

pub use site::Site;
pub use sshd::Sshd;
