//! The test of a connection: everything a sync needs, tried once, leaving nothing behind.

use std::time::Duration;

use chrono::Utc;

use super::NasSyncService;
use super::layout::Layout;
use crate::client::capabilities::{Capabilities, Folders, Shape};
use crate::client::dry_run::find_refused;
use crate::client::nas::{self, Flush, Flushed};
use crate::client::rehearse::rehearse;
use crate::error::Result;
use crate::proof::{Capability, Level, Refusal};
use crate::store::{Access, Store};
use crate::wire::offer::Protocol;

/// What `test_connection` found.
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
    /// What it does not do that would have been asked for, and how that is known.
    pub refusals: Vec<Refusal>,
}

pub(super) async fn test(service: &NasSyncService) -> Result<ConnectionReport> {
    let mut connection = service.connection()?;
    let client = connection.client().await?;
    let folder = service.nas_path()?;
    // Everything is asked anew, whatever was remembered: the NAS may have been updated.
    let mut capabilities = Capabilities::without([], service.settings().durability);
    let layout = Layout::parse(&service.settings().layout)?;
    let folders = if layout.makes_folders() { Folders::OnTheWay } else { Folders::None };
    let shape = Shape { folders, ..Shape::PLAIN };
    find_refused(&client, folder, &mut capabilities, shape).await?.check(&client, folder).await?;
    let protocol = rehearse(&client, folder, &capabilities).await?.check()?;
    if capabilities.durable() {
        // Asked twice, for it may be refused in passing.
        for _ in 0..2 {
            match nas::flush(&client, folder, Flush::Folder, client.idle_limit()).await? {
                Flushed::Yes => break,
                Flushed::Refused(why) => {
                    capabilities.refuse(Refusal::new(Capability::Flush, why, client.ssh().server_version()));
                }
            }
        }
    }
    capabilities.check()?;
    let report = ConnectionReport {
        host_key: client.ssh().host_key_fingerprint(),
        ssh_server: client.ssh().server_version().to_owned(),
        rsync_version: client.rsync_version().await,
        protocol: protocol.map_or(0, Protocol::number),
        connect_time: client.ssh().connect_time(),
        level: capabilities.best(),
        refusals: capabilities.refusals().filter(|refusal| refusal.counts()).cloned().collect(),
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
    let write = |store: Store| async move {
        // Whatever stopped an earlier run, it works now.
        store.end_pause(target.clone()).await?;
        let refusals: Vec<Refusal> = capabilities.refusals().cloned().collect();
        store.remember_refusals(target, refusals, Utc::now()).await
    };
    if let Err(error) = service.with_store(Access::Existing, write).await {
        tracing::warn!(%error, "what the NAS can do was not remembered");
    }
}
