//! `resend`: synced documents go again, because their files changed.

use clap::Args;

use crate::cli::args::SelectionArgs;
use crate::cli::console::Console;
use crate::error::Result;
use crate::json;
use crate::service::NasSyncService;

/// Which documents go again.
#[derive(Debug, Args)]
pub struct Resend {
    #[command(flatten)]
    pub(super) selection: SelectionArgs,
}

impl Resend {
    /// Makes them pending, and says how many documents that concerns.
    pub async fn run(self, service: &NasSyncService, console: &Console) -> Result<u8> {
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
