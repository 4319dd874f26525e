//! rsync's own command line, for `push` and for the name `rsync`: its option language in, its output and exit status out.

mod combined;
mod help;
pub mod numbers;
mod operand;
mod output;
mod parse;
mod progress_lines;
mod remote_shell;
mod request;
mod run;
mod table;
mod typed;
mod words;

pub use self::help::{arguments, help};
pub use self::parse::parse;
pub use self::request::Request;
pub use self::run::{is_rsync_name, refused, run, version};
