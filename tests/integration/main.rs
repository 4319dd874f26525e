//! One binary for all integration tests, against real parts: `rsync --server`, sshd, SQLite files, files on disk.
mod interop;
mod support;
