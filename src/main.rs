//! Start-up only: everything else is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    nas_sync::cli::main(std::env::args_os().collect())
}
