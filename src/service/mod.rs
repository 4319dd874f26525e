//! Documents in, outcomes out.
pub mod client;
pub mod config;
pub mod layout;
pub mod push;
