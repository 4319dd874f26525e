//! Documents in, outcomes out: the configuration so far.
pub mod config;
