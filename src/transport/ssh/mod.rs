//! The SSH client.
pub mod exec;
