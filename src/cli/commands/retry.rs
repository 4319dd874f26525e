//! `retry`: forgets waits and final failures, so that pending documents go with the next sync.

use std::fmt::Write as _;

use clap::Args;

use crate::cli::args::SelectionArgs;
use crate::cli::console::Console;
use crate::error::Result;
use crate::json;
use crate::service::NasSyncService;
use crate::store::Retried;

/// Which documents are tried again.
#[derive(Debug, Args)]
pub struct Retry {
    #[command(flatten)]
    pub(super) selection: SelectionArgs,
}

impl Retry {
    /// Forgets the failures, and says how many documents that concerns.
    pub async fn run(self, service: &NasSyncService, console: &Console) -> Result<u8> {
        let retried = service.retry(self.selection.selection()).await?;
        console.report(&render(&retried));
        console.object(&json::retry(&retried));
        Ok(0)
    }
}

fn render(retried: &Retried) -> String {
    let mut text = match retried.documents {
        0 => "no document waited or had failed".to_owned(),
        1 => "1 document goes with the next sync".to_owned(),
        documents => format!("{documents} documents go with the next sync"),
    };
    if let Some(pause) = &retried.pause {
        // Writing to a String has no error to report.
        let _ = write!(text, "; the pause is over: {}", pause.failure.text);
    }
    text
}
