//! The check of a login: everything a sync needs, tried once, leaving nothing behind.

use std::time::Duration;

use super::capabilities::{Capabilities, Folders, Shape};
use super::documents::layout::Layout;
use super::dry_run::find_refused;
use super::login::Client;
use super::nas::{self, Flush, Flushed};
use super::one_flush::{OneFlush, Ready};
use super::rehearse::rehearse;
use crate::config::Settings;
use crate::error::{ErrorKind, NasSyncError, Result};
use crate::proof::{Capability, DurableBy, Level, Refusal};
use crate::wire::offer::Protocol;

/// What a check of the connection found.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
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
    /// By what it makes documents last: once behind a batch where it can, else each file. `None` where it can do neither, or the
    /// level that is asked for does not need it.
    pub durable_by: Option<DurableBy>,
    /// What shows that a flush behind a batch is enough: its kernel and file system.
    pub flush_evidence: Option<String>,
    /// What it does not do that would have been asked for, and how that is known.
    pub refusals: Vec<Refusal>,
}

impl Client {
    /// Starts rsync on the NAS and proves that the folder of the settings can be written to, in the way that their layout and
    /// level need: the receiver makes a temporary file and throws it away. Nothing stays behind.
    pub async fn check(&self, settings: &Settings) -> Result<ConnectionReport> {
        check(self, settings).await.map(|(report, _)| report)
    }
}

/// The same, and what was learnt about the NAS.
pub(crate) async fn check(client: &Client, settings: &Settings) -> Result<(ConnectionReport, Capabilities)> {
    let missing = || NasSyncError::new(ErrorKind::NotConfigured, "not configured, missing: NAS_PATH");
    let folder = settings.path.as_deref().ok_or_else(missing)?;
    // Everything is asked anew, whatever was remembered: the NAS may have been updated.
    let mut capabilities = Capabilities::without([], settings.durability);
    let shape = shape_of(settings)?;
    find_refused(client, folder, &mut capabilities, shape).await?.check(client, folder).await?;
    let protocol = rehearse(client, folder, &capabilities).await?.check()?;
    ask_for_flush(client, folder, &mut capabilities).await?;
    let flush_evidence = flush_evidence(client, folder, &mut capabilities).await?;
    capabilities.check()?;
    let ways = [DurableBy::Batch, DurableBy::File];
    let report = ConnectionReport {
        host_key: client.ssh().host_key_fingerprint(),
        ssh_server: client.ssh().server_version().to_owned(),
        rsync_version: client.rsync_version().await,
        protocol: protocol.map_or(0, Protocol::number),
        connect_time: client.ssh().connect_time(),
        level: capabilities.best(),
        durable_by: ways.into_iter().find(|way| capabilities.durable_by(*way)),
        flush_evidence,
        refusals: capabilities.refusals().filter(|refusal| refusal.counts()).cloned().collect(),
    };
    Ok((report, capabilities))
}

/// What documents of these settings are like. Fails with `Usage`.
pub(crate) fn shape_of(settings: &Settings) -> Result<Shape> {
    let layout = Layout::parse(&settings.layout)?;
    let folders = if layout.makes_folders() { Folders::OnTheWay } else { Folders::None };
    Ok(Shape { folders, ..Shape::PLAIN })
}

/// Finds out whether the folder can be flushed, where that is needed.
pub(crate) async fn ask_for_flush(client: &Client, folder: &str, capabilities: &mut Capabilities) -> Result<()> {
    if !capabilities.durable() {
        return Ok(());
    }
    // Asked twice, for it may be refused in passing.
    for _ in 0..2 {
        match nas::flush(client, folder, Flush::Folder, client.idle_limit()).await? {
            Flushed::Yes => break,
            Flushed::Refused(why) => {
                capabilities.refuse(Refusal::new(Capability::Flush, why, client.ssh().server_version()));
            }
        }
    }
    Ok(())
}

/// What shows that one flush behind a batch is enough there; `None` where it is not.
pub(crate) async fn flush_evidence(
    client: &Client,
    folder: &str,
    capabilities: &mut Capabilities,
) -> Result<Option<String>> {
    while capabilities.durable_by(DurableBy::Batch) {
        match OneFlush::ready(client, folder, client.turn_to_flush().await?).await? {
            Ready::Yes(flush) => return Ok(Some(flush.evidence().to_owned())),
            Ready::Refused(why) => {
                capabilities.refuse(Refusal::new(Capability::OneFlush, why, client.ssh().server_version()));
            }
            Ready::Unfit(why) => {
                capabilities.refuse(Refusal::certain(Capability::OneFlush, why, client.ssh().server_version()));
            }
        }
    }
    Ok(None)
}
