//! `restore`: fetches documents back from the NAS.

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;

use crate::cli::args::{SelectionArgs, Talk};
use crate::cli::console::Console;
use crate::cli::progress::{Display, Show};
use crate::cli::signals::Signals;
use crate::error::{ErrorKind, NasSyncError, Result};
use crate::json;
use crate::role::event::Monitor;
use crate::service::NasSyncService;
use crate::service::restore::RestoreRequest;
use crate::text::counted;

/// The exit status when something could not be restored.
const NOT_ALL: u8 = 1;

/// What is so when a signal ends it.
const STOPPED: &str = "stopped: what is restored is whole and in its place; the same command fetches the rest";

/// Which documents, and where to.
#[derive(Debug, Args)]
pub struct Restore {
    #[command(flatten)]
    pub(super) selection: SelectionArgs,
    /// Put them all into this folder, under their names on the NAS, instead of where their rows say
    #[arg(long, value_name = "DIR")]
    to: Option<PathBuf>,
    /// Replace what is here, too, where it is not what was recorded
    #[arg(long)]
    overwrite: bool,
    /// How to show how far it is
    #[arg(long, value_name = "HOW", value_enum, default_value_t)]
    progress: Show,
}

impl Restore {
    /// Restores, and says what could not be.
    pub async fn run(
        self,
        service: &NasSyncService,
        talk: Talk,
        console: &Console,
        mut signals: Signals,
    ) -> Result<u8> {
        let mut request = RestoreRequest::new(self.selection.selection());
        (request.to, request.overwrite) = (self.to, self.overwrite);
        let display = Arc::new(Display::begin(self.progress, console, talk.verbose));
        let report = tokio::select! {
            report = service.restore(request, Arc::clone(&display) as Arc<dyn Monitor>) => report?,
            stop = signals.next() => {
                console.end_line();
                let error = NasSyncError::new(ErrorKind::Interrupted, STOPPED);
                console.err(error.message());
                console.object(&json::restore_failed(&error));
                return Ok(stop.exit_code());
            }
        };
        display.finish(report.restored, report.errors.len());
        console.some(report.errors.iter().map(ToString::to_string));
        let documents = counted(report.total as u64, "document", "documents");
        let were_here = match report.were_here {
            0 => String::new(),
            count => format!("; {count} of them {} here already", if count == 1 { "was" } else { "were" }),
        };
        console.words(&format!("{} of {documents} restored{were_here}", report.restored));
        console.object(&json::restore(&report));
        Ok(if report.errors.is_empty() { 0 } else { NOT_ALL })
    }
}
