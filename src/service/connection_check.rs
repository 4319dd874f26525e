//! The test of a connection: everything a sync needs, tried once, leaving nothing behind.

use std::collections::BTreeSet;
use std::time::Duration;

use chrono::Utc;

use super::NasSyncService;
use crate::client::capabilities::Capabilities;
use crate::client::nas::{self, Flush, Flushed};
use crate::client::rehearse::rehearse;
use crate::error::Result;
use crate::proof::{Capability, Level};
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
}

pub(super) async fn test(service: &NasSyncService) -> Result<ConnectionReport> {
    let mut connection = service.connection()?;
    let client = connection.client().await?;
    let destination = service.destination()?;
    // Everything is asked anew, whatever was remembered: the NAS may have been updated.
    let mut capabilities = Capabilities::without(BTreeSet::new(), service.settings().durability);
    let rehearsal = loop {
        let asked = capabilities.clone();
        let rehearsal = rehearse(&client, &destination, &asked).await?;
        if !(rehearsal.outcome.refused_an_option()
            && capabilities.learn_from(&asked, rehearsal.outcome.text.as_bytes()))
        {
            break rehearsal;
        }
    };
    let protocol = rehearsal.check()?;
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
        protocol: protocol.map_or(0, Protocol::number),
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
