//! `sync`: sends what is due, and shows how far it is. A signal ends it in order.

use std::sync::Arc;

use clap::Args;

use crate::cli::args::{SelectionArgs, Talk};
use crate::cli::console::Console;
use crate::cli::progress::{Display, Show};
use crate::cli::report;
use crate::cli::signals::Signals;
use crate::client::documents::DocumentMonitor;
use crate::error::Result;
use crate::service::NasSyncService;

/// Which documents go.
#[derive(Debug, Args)]
pub struct Sync {
    #[command(flatten)]
    pub(super) selection: SelectionArgs,
    /// Replace files on the NAS, too, that have the names of documents and were not sent from this database
    #[arg(long)]
    overwrite: bool,
    /// How to show how far it is
    #[arg(long, value_name = "HOW", value_enum, default_value_t)]
    progress: Show,
    /// Say what would be sent, under which names, and what would be refused; change nothing and ask the NAS nothing
    #[arg(short = 'n', long)]
    dry_run: bool,
}

impl Sync {
    /// Sends the documents, and says what became of them.
    pub async fn run(self, service: &NasSyncService, talk: Talk, console: &Console, signals: Signals) -> Result<u8> {
        if self.dry_run {
            let preview = service.preview(self.selection.selection()).await?;
            return Ok(report::preview(&preview, console));
        }
        let display = Arc::new(Display::begin(self.progress, console, talk.verbose));
        let (stop, stopped) = signals.into_stop(console);
        let monitor = Arc::clone(&display) as Arc<dyn DocumentMonitor>;
        let selection = self.selection.selection();
        let summary = if self.overwrite {
            service.sync_over(selection, monitor, stop).await?
        } else {
            service.sync(selection, monitor, stop).await?
        };
        display.finish(summary.synced, summary.failed);
        Ok(report::sync(&summary, display.tried(), stopped.get().copied(), talk.verbose, console))
    }
}
