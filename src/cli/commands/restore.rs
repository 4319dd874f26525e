//! `restore`: fetches documents back from the NAS.

use std::path::PathBuf;

use clap::Args;

use crate::cli::args::SelectionArgs;
use crate::cli::console::Console;
use crate::error::Result;
use crate::json;
use crate::service::NasSyncService;
use crate::service::restore::RestoreRequest;

/// The exit status when something could not be restored.
const NOT_ALL: u8 = 1;

/// Which documents, and where to.
#[derive(Debug, Args)]
pub struct Restore {
    #[command(flatten)]
    pub(super) selection: SelectionArgs,
    /// Put them all into this folder, under their names on the NAS, instead of where their rows say
    #[arg(long, value_name = "DIR")]
    to: Option<PathBuf>,
    /// Replace files here that are newer, too
    #[arg(long)]
    overwrite: bool,
}

impl Restore {
    /// Restores, and says what could not be.
    pub async fn run(self, service: &NasSyncService, console: &Console) -> Result<u8> {
        let mut request = RestoreRequest::new(self.selection.selection());
        (request.to, request.overwrite) = (self.to, self.overwrite);
        let report = service.restore(request).await?;
        for failed in &report.errors {
            console.err(&failed.to_string());
        }
        console.line(&format!("{} of {} documents restored", report.restored, report.total));
        console.object(&json::restore(&report));
        Ok(if report.errors.is_empty() { 0 } else { NOT_ALL })
    }
}
