//! Syncing until stopped, and how others learn that it goes well.
//!
//! `health` is the file that a container's health check reads, `metrics` the text that Prometheus scrapes, `scan` finds
//! new files below the upload folder.

pub mod board;
pub mod health;
mod http;
pub mod metrics;
mod process;
pub mod scan;
