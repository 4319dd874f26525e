//! `add`: registers files as pending documents, all of them or none.

use std::path::PathBuf;

use clap::Args;

use crate::cli::args::user;
use crate::cli::console::Console;
use crate::error::Result;
use crate::id::UserId;
use crate::json;
use crate::service::NasSyncService;

/// Which files become documents, and whose.
#[derive(Debug, Args)]
pub struct Add {
    /// Files to register
    #[arg(required = true, value_name = "PATH")]
    pub paths: Vec<PathBuf>,
    /// Whose documents they are
    #[arg(long, value_name = "ID", allow_negative_numbers = true, value_parser = user)]
    pub user: UserId,
}

impl Add {
    /// Registers the files, and prints the ids of their documents, one a line.
    pub async fn run(self, service: &NasSyncService, console: &Console) -> Result<u8> {
        let ids = service.add(self.user, self.paths).await?;
        for id in &ids {
            console.line(&id.to_string());
        }
        console.object(&json::add(&ids));
        Ok(0)
    }
}
