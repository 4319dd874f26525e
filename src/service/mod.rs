//! Documents in, outcomes out.
pub mod config;
pub mod layout;
