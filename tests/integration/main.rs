//! One binary for all integration tests, against real parts: `rsync --server`, sshd, SQLite files, files on disk.
mod fixtures;
mod interop;
mod receive;
mod recorder;
mod replay;
mod static_binary;
mod support;
