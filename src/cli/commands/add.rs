//! `add`: registers files as pending documents, all of them or none; a file that is one already stays that one.

use std::path::{Path, PathBuf};

use clap::Args;

use crate::cli::args::user;
use crate::cli::console::Console;
use crate::error::{ErrorKind, Result};
use crate::id::{DocumentId, UserId};
use crate::json;
use crate::service::{DocumentError, NasSyncService};
use crate::store::Registered;
use crate::text;

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
        let (registered, clashes) = service.add_with_care(self.user, self.paths.clone()).await?;
        for (file, path) in registered.iter().zip(&self.paths) {
            console.line(&file.id().to_string());
            if let Registered::Known { id, synced } = file {
                console.note(&known(id, *synced, path));
            }
        }
        for clash in clashes.iter().filter(|clash| clash.error.kind() == ErrorKind::NameClash) {
            console.note(&warning(clash));
        }
        console.object(&json::add(&registered, &clashes));
        Ok(0)
    }
}

fn known(id: &DocumentId, synced: bool, path: &Path) -> String {
    let path = text::escape_bytes(path.as_os_str().as_encoded_bytes());
    let state = if synced {
        format!("and on the NAS; `nas-sync resend --document {id}` sends it again")
    } else {
        "and pending".to_owned()
    };
    format!("note: {path} is document {id} already, {state}")
}

fn warning(clash: &DocumentError) -> String {
    let take_back = clash.id.as_ref().map(|id| format!("; or take it back: `nas-sync remove --document {id}`"));
    let way_out = "a NAS_LAYOUT with {id} keeps all names apart";
    format!("warning: {clash}\n    It will fail: {way_out}{}", take_back.unwrap_or_default())
}
