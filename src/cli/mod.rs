//! x
pub mod args;
pub mod remote_shell;
pub mod rsync_args;
