//! A session that leaves nothing behind: whether rsync on the NAS can make a file in the destination folder. The receiver
//! makes its temporary file, finds its whole-file sum wrong, asks once more, and keeps nothing; what very old ones keep is
//! removed.

use std::sync::Arc;

use super::capabilities::{Capabilities, Shape};
use super::destination::destination_of;
use super::dry_run::NoSources;
use super::login::Client;
use super::nas::remove;
use crate::error::{ErrorKind, NasSyncError, Result};
use crate::role::event::{Monitor, Silent};
use crate::role::ledger::Ledger;
use crate::role::list::SendList;
use crate::role::sender::{ChangedFile, Duties, Mode};
use crate::session::{Contents, Outcome, Push, Receipts, RemoteText, kind_of_text};
use crate::wire::flist::{EntryKind, FileEntry, FileMeta};
use crate::wire::offer::{Offer, Protocol};
use crate::wire::server_args::PushOptions;

/// What a rehearsal showed.
pub(crate) struct Rehearsal {
    outcome: Outcome,
    /// How often the receiver asked for the file.
    tries: u64,
}

impl Rehearsal {
    /// Fails when the session did, or when the receiver could not make a file: only one that could make its temporary file
    /// asks for it a second time.
    pub fn check(self) -> Result<Option<Protocol>> {
        let made_a_file = self.tries >= 2;
        match self.outcome.result {
            // openrsync ends badly after a file that failed its check.
            Err(error) if !(made_a_file && error.kind() == ErrorKind::RemoteFailed) => Err(error),
            _ if !made_a_file => Err(not_writable(&self.outcome.text)),
            _ => Ok(self.outcome.protocol),
        }
    }
}

/// Sends one file that cannot be stored.
pub(crate) async fn rehearse(client: &Client, folder: &str, capabilities: &Capabilities) -> Result<Rehearsal> {
    let ledger = Arc::new(Ledger::new(Arc::new(Silent), 0));
    let name = format!(".nas-sync-test-{}", std::process::id());
    let meta = FileMeta { permissions: 0o600, ..FileMeta::default() };
    let entry = FileEntry::new(name.as_bytes(), EntryKind::File, meta);
    let push = Push {
        offer: Offer::default(),
        list: SendList { entries: [entry].into_iter().collect(), ..SendList::default() },
        parts: None,
        sources: Arc::new(NoSources),
        contents: Contents::Unsummed,
        receipts: Receipts::NotAsked,
        changed: ChangedFile::Invalidate,
        mode: Mode::Rehearsal,
        duties: Duties::default(),
        idle_limit: client.idle_limit(),
        monitor: Arc::clone(&ledger) as Arc<dyn Monitor>,
    };
    // What fails its check is kept in the folder of partial files, and nothing is to stay behind.
    let options = PushOptions { partial_dir: false, ..capabilities.options(Shape::PLAIN) };
    let outcome = client.session(&destination_of(folder), &options, push).await?;
    let tries = ledger.take().totals.sent;
    if tries > 0 && !outcome.text.says_discarded() && !remove(client, folder, &name).await? {
        tracing::warn!("the NAS may have kept {name} in the destination folder; it can be removed");
    }
    Ok(Rehearsal { outcome, tries })
}

/// The error of a destination in which no file could be made.
fn not_writable(text: &RemoteText) -> NasSyncError {
    let said = text.lines().next().map(|connection| String::from_utf8_lossy(connection).into_owned());
    let kind = text.lines().find_map(kind_of_text).unwrap_or(ErrorKind::RemoteFailed);
    let message = said.map_or_else(
        || String::from("the NAS could not make a file in the destination folder"),
        |said| format!("the NAS could not make a file in the destination folder: {said}"),
    );
    NasSyncError::new(kind, message).with_details(text.as_bytes())
}
