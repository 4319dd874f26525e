//! `completions`: what a shell completes, for package makers.

use clap::Args;
use clap_complete::Shell;

use super::complete_command;
use crate::cli::console::Console;

/// For which shell.
#[derive(Debug, Args)]
pub struct Completions {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

impl Completions {
    /// Prints the shell's script.
    pub fn run(self, console: &Console) -> u8 {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut complete_command(), "nas-sync", &mut script);
        console.line(String::from_utf8_lossy(&script).trim_end());
        0
    }
}
