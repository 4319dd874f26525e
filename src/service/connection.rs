//! The test of a connection: everything a sync needs, tried once, leaving nothing behind.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::NasSyncService;
use super::batch::Proof;
use super::client::Client;
use super::named;
use super::sync::{Folders, document_options};
use crate::error::{ErrorKind, NasSyncError, Result};
use crate::role::monitor::{Event, Monitor};
use crate::role::send_list::{SendList, Sources};
use crate::role::sender::{ChangedFile, Mode};
use crate::session::{Contents, Outcome, Push, Receipts, RemoteText, kind_of_text};
use crate::store::Level;
use crate::tree::{FileMeta, SourceFile};
use crate::wire::flist::{EntryKind, FileEntry};
use crate::wire::handshake::{Offer, Protocol};

/// What `test_connection` found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectionReport {
    /// The fingerprint of the NAS's host key, `SHA256:…`.
    pub host_key: String,
    /// How the SSH server names itself.
    pub ssh_server: String,
    /// The version of rsync there, where it can be asked for.
    pub rsync_version: Option<String>,
    /// The rsync protocol in use.
    pub protocol: u8,
    /// How long the login took.
    pub connect_time: Duration,
    /// The best level of proof that the NAS gave.
    pub level: Level,
}

pub(super) async fn test(service: &NasSyncService) -> Result<ConnectionReport> {
    let client = Client::connect(&service.client_config()?).await?;
    let destination = service.destination()?;
    let (mut level, mut rehearsal) = (Level::Stored, rehearse(&client, &destination, Proof::Acknowledgements).await?);
    if rehearsal.outcome.refused_an_option() {
        (level, rehearsal) = (Level::Sent, rehearse(&client, &destination, Proof::CleanEnd).await?);
    }
    let Rehearsal { outcome, tries } = rehearsal;
    outcome.result?;
    // Only a receiver that could make its temporary file asks for the file a second time.
    if tries < 2 {
        return Err(not_writable(&outcome.text));
    }
    let report = ConnectionReport {
        host_key: client.ssh().host_key_fingerprint(),
        ssh_server: client.ssh().server_version().to_owned(),
        rsync_version: client.rsync_version().await,
        protocol: outcome.protocol.map_or(0, Protocol::number),
        connect_time: client.ssh().connect_time(),
        level,
    };
    client.disconnect().await;
    Ok(report)
}

struct Rehearsal {
    outcome: Outcome,
    /// How often the receiver asked for the file.
    tries: usize,
}

async fn rehearse(client: &Client, destination: &[u8], proof: Proof) -> Result<Rehearsal> {
    let tries = Arc::new(Tries::default());
    let name = format!(".nas-sync-test-{}", std::process::id()).into_bytes();
    let meta = FileMeta { size: 0, mtime: 0, mtime_ns: 0, mode: 0o600, uid: 0, gid: 0 };
    let entry = named::entry(name, EntryKind::File, &meta);
    let push = Push {
        offer: Offer::default(),
        list: SendList { entries: vec![entry], ..SendList::default() },
        sources: Arc::new(NoSources),
        contents: Contents::Unsummed,
        receipts: Receipts::NotAsked,
        changed: ChangedFile::Spoil,
        mode: Mode::Rehearsal,
        idle_limit: client.idle_limit(),
        monitor: Arc::clone(&tries) as Arc<dyn Monitor>,
    };
    let outcome = client.session(destination, &document_options(Folders::None, proof), push).await?;
    Ok(Rehearsal { outcome, tries: tries.0.load(Ordering::Relaxed) })
}

/// The error of a destination in which no file could be made.
fn not_writable(text: &RemoteText) -> NasSyncError {
    let said = text.lines().next().map(|line| String::from_utf8_lossy(line).into_owned());
    let kind = text.lines().find_map(kind_of_text).unwrap_or(ErrorKind::RemoteFailed);
    let message = said.map_or_else(
        || String::from("the NAS could not make a file in the destination folder"),
        |said| format!("the NAS could not make a file in the destination folder: {said}"),
    );
    NasSyncError::new(kind, message).with_details(text.as_bytes())
}

/// Counts how often a file was asked for.
#[derive(Debug, Default)]
struct Tries(AtomicUsize);

impl Monitor for Tries {
    fn event(&self, event: Event<'_>) {
        if let Event::FileSent { .. } = event {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// A rehearsal opens nothing.
struct NoSources;

impl Sources for NoSources {
    fn open(&self, _index: usize, _entry: &FileEntry) -> Result<SourceFile> {
        Err(NasSyncError::new(ErrorKind::Internal, "a rehearsal has no files"))
    }
}
