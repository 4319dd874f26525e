//! `resend`: synced documents go again, because their files changed.

use clap::Args;

use crate::cli::args::SelectionArgs;
use crate::cli::console::Console;
use crate::error::{ErrorKind, NasSyncError, Result};
use crate::json;
use crate::service::NasSyncService;

/// Which documents go again.
#[derive(Debug, Args)]
pub struct Resend {
    #[command(flatten)]
    pub(super) selection: SelectionArgs,
    /// All synced documents
    #[arg(long, conflicts_with_all = ["user", "document"])]
    all: bool,
}

impl Resend {
    /// Makes them pending, and says how many documents that concerns.
    pub async fn run(self, service: &NasSyncService, console: &Console) -> Result<u8> {
        if !self.all && self.selection.is_everything() {
            let message = "which documents are to go again is not said: --document ID, --user ID or --all";
            return Err(NasSyncError::new(ErrorKind::Usage, message));
        }
        let documents = service.resend(self.selection.selection()).await?;
        console.report(&match documents {
            0 => "no document was synced".to_owned(),
            1 => "1 document goes again with the next sync".to_owned(),
            documents => format!("{documents} documents go again with the next sync"),
        });
        console.object(&json::resend(documents));
        Ok(0)
    }
}
