//! `man`: the manual pages, for package makers.

use std::fs;
use std::path::PathBuf;

use clap::Args;
use clap_mangen::Man as Page;

use super::complete_command;
use crate::cli::console::Console;
use crate::error::{ErrorKind, NasSyncError, Result};

/// Where the pages go.
#[derive(Debug, Args)]
pub struct Man {
    /// Write a page for each command into this folder, instead of the first one to stdout
    #[arg(long, value_name = "DIR")]
    to: Option<PathBuf>,
}

impl Man {
    /// Writes the pages.
    pub fn run(self, console: &Console) -> Result<u8> {
        let mut command = complete_command();
        // Names the pages of the commands, and gives each the flags of all.
        command.build();
        let Some(folder) = self.to else {
            console.line(&page(&command)?);
            return Ok(0);
        };
        let unwritten = |path: &PathBuf| {
            let path = path.clone();
            move |error| NasSyncError::at_path(ErrorKind::LocalFile, "Cannot write", &path, error)
        };
        fs::create_dir_all(&folder).map_err(unwritten(&folder))?;
        let commands = command.get_subcommands().filter(|command| command.get_name() != "help");
        for command in commands.chain([&command]) {
            let path = folder.join(format!("{}.1", command.get_display_name().unwrap_or(command.get_name())));
            fs::write(&path, page(command)?).map_err(unwritten(&path))?;
        }
        Ok(0)
    }
}

fn page(command: &clap::Command) -> Result<String> {
    // What `-h` leaves out is left out of a page, too; and a synopsis made of the flags names none of their values.
    let mut command = command.clone().mut_args(|flag| flag.hide_short_help(false));
    let usage = command.render_usage().to_string();
    let command = command.override_usage(usage.trim_start_matches("Usage: ").to_owned());
    let mut page = Vec::new();
    Page::new(command).source(concat!("nas-sync ", env!("CARGO_PKG_VERSION"))).render(&mut page).map_err(|error| {
        NasSyncError::new(ErrorKind::Internal, format!("a page cannot be made: {error}")).with_source(error)
    })?;
    Ok(String::from_utf8_lossy(&page).trim_end().to_owned())
}
