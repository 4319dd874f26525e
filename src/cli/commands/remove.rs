//! `remove`: takes documents back that nas-sync registered, all of them or none.

use clap::Args;

use crate::cli::args::document;
use crate::cli::console::Console;
use crate::error::Result;
use crate::id::DocumentId;
use crate::json;
use crate::service::NasSyncService;

/// Which documents are taken back.
#[derive(Debug, Args)]
pub struct Remove {
    /// This document; may be given several times
    #[arg(long = "document", required = true, num_args = 1.., value_name = "ID", allow_negative_numbers = true, value_parser = document)]
    pub(super) documents: Vec<DocumentId>,
}

impl Remove {
    /// Deletes their rows, and says so.
    pub async fn run(self, service: &NasSyncService, console: &Console) -> Result<u8> {
        service.remove(self.documents.clone()).await?;
        console.report(&match self.documents.len() {
            1 => "1 document is no longer registered; what is on the NAS stays".to_owned(),
            documents => format!("{documents} documents are no longer registered; what is on the NAS stays"),
        });
        console.object(&json::remove(&self.documents));
        Ok(0)
    }
}
