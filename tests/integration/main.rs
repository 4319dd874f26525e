//! One binary for all integration tests.
mod ssh;
mod ssh_exec;
mod ssh_no_strict;
mod support;
