//! The test of a connection: everything a sync needs, tried once, leaving nothing behind.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use chrono::Utc;

use super::NasSyncService;
use crate::client::capabilities::{Capabilities, Folders};
use crate::client::nas::{self, Flush, Flushed};
use crate::client::{Client, file_list};
use crate::error::{ErrorKind, NasSyncError, Result};
use crate::proof::{Capability, Level};
use crate::role::event::{Event, Monitor};
use crate::role::list::{SendList, Sources};
use crate::role::sender::{ChangedFile, Mode};
use crate::session::{Contents, Outcome, Push, Receipts, RemoteText, kind_of_text};
use crate::store::{Access, Store};
use crate::tree::{FileMeta, SourceFile};
use crate::wire::flist::{EntryKind, FileEntry};
use crate::wire::handshake::{Offer, Protocol};
use crate::wire::server_args::PushOptions;

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
    let mut connection = service.connection()?;
    let client = connection.client().await?;
    let destination = service.destination()?;
    // Everything is asked anew, whatever was remembered: the NAS may have been updated.
    let mut capabilities = Capabilities::without(BTreeSet::new(), service.settings().durability);
    let Rehearsal { outcome, tries } = loop {
        let asked = capabilities.clone();
        let rehearsal = rehearse(&client, &destination, &asked).await?;
        if !(rehearsal.outcome.refused_an_option()
            && capabilities.learn_from(&asked, rehearsal.outcome.text.as_bytes()))
        {
            break rehearsal;
        }
    };
    outcome.result?;
    // Only a receiver that could make its temporary file asks for the file a second time.
    if tries < 2 {
        return Err(not_writable(&outcome.text));
    }
    if capabilities.durable() {
        let path = service.settings().path.clone().unwrap_or_default();
        let flushed = nas::flush(&client, &path, Flush::Folder, client.idle_limit()).await?;
        if let Flushed::Refused(why) = flushed {
            tracing::info!(why, "the NAS does not flush its folders when asked");
            capabilities.refuse(Capability::Flush);
        }
    }
    capabilities.check()?;
    let report = ConnectionReport {
        host_key: client.ssh().host_key_fingerprint(),
        ssh_server: client.ssh().server_version().to_owned(),
        rsync_version: client.rsync_version().await,
        protocol: outcome.protocol.map_or(0, Protocol::number),
        connect_time: client.ssh().connect_time(),
        level: capabilities.best(),
    };
    remember(service, connection.target(), capabilities).await;
    connection.disconnect().await;
    Ok(report)
}

/// What was learnt saves the next sync from asking; where there is no database yet, it asks.
async fn remember(service: &NasSyncService, target: String, capabilities: Capabilities) {
    if !service.settings().db.exists() {
        return;
    }
    let write = move |store: &mut Store| {
        // Whatever stopped an earlier run, it works now.
        store.set_pause(&target, None)?;
        store.remember_refused(&target, capabilities.refused(), Utc::now())
    };
    if let Err(error) = service.with_store(Access::Existing, write).await {
        tracing::warn!(%error, "what the NAS can do was not remembered");
    }
}

struct Rehearsal {
    outcome: Outcome,
    /// How often the receiver asked for the file.
    tries: usize,
}

async fn rehearse(client: &Client, destination: &[u8], capabilities: &Capabilities) -> Result<Rehearsal> {
    let tries = Arc::new(Tries::default());
    let name = format!(".nas-sync-test-{}", std::process::id()).into_bytes();
    let meta = FileMeta { size: 0, mtime: 0, mtime_ns: 0, mode: 0o600, uid: 0, gid: 0 };
    let entry = file_list::entry(name, EntryKind::File, &meta);
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
    // What fails its check is kept in the folder of partial files, and nothing is to stay behind.
    let options = PushOptions { partial_dir: false, ..capabilities.options(Folders::None) };
    let outcome = client.session(destination, &options, push).await?;
    Ok(Rehearsal { outcome, tries: tries.0.load(Ordering::Relaxed) })
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
