//! One binary for all integration tests, against real parts: `rsync --server`, sshd, SQLite files, files on disk.
mod cli;
mod fixtures;
mod interop;
mod receive;
mod recorder;
mod replay;
mod support;
