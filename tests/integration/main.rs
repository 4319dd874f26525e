//! One binary for all integration tests, against real parts: `rsync --server`, sshd, SQLite files, files on disk.
#![expect(
    clippy::unwrap_used,
    reason = "a failed test panics; helpers of tests are tests to the reader, not to the lint"
)]

mod abilities;
mod api;
mod backend;
mod cli;
mod deploy;
mod docs;
mod doctor;
mod documents;
mod durability;
mod examples;
mod faults;
mod faults_kill;
mod faults_late;
mod faults_power;
mod fixtures;
mod folding;
mod hostile;
mod interface;
mod interop;
mod large;
mod meanwhile;
mod nas_cli;
mod nas_errors;
mod notes;
mod one_flush;
mod passing_failures;
mod passwords;
mod postgres;
mod progress;
mod pull_cli;
mod pull_hostile;
mod pull_interop;
mod push_cli;
mod python;
mod queue;
mod receive;
mod recorder;
mod remote;
mod replay;
mod restore;
mod resume;
mod secrets;
mod send;
mod servers;
mod service;
mod setup;
mod side_by_side;
mod soak;
mod ssh;
mod ssh_exec;
mod ssh_greeting;
mod ssh_hostile;
mod ssh_no_strict;
mod ssh_sessions;
mod static_binary;
mod store;
mod support;
mod table_names;
mod threads;
mod verify;
mod watch;
mod workers;
