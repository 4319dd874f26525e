//! One binary for all integration tests, against real parts: `rsync --server`, sshd, SQLite files, files on disk.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

mod fixtures;
mod interop;
mod large;
mod receive;
mod recorder;
mod replay;
mod service;
mod ssh;
mod ssh_exec;
mod ssh_no_strict;
mod support;
