//! rsync's own command line, for `push` and for the name `rsync`: its option language in, its output and exit status out.

pub mod numbers;
mod operand;
pub mod output;
mod parse;
mod remote_shell;
mod run;
mod table;
mod words;

pub use self::parse::{Request, parse};
pub use self::run::{HELP, is_rsync_name, refused, run, version};
