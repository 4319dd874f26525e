//! The test of a connection, and what is remembered of it.

use chrono::Utc;

use super::NasSyncService;
use super::connection::NasConnection;
use crate::client::capabilities::Capabilities;
use crate::client::check::{ConnectionReport, check};
#[cfg(feature = "api")]
use crate::client::nas;
#[cfg(feature = "cli")]
use crate::client::vendor;
use crate::error::Result;
use crate::proof::Refusal;
use crate::store::{Access, Store};

pub(super) async fn test(service: &NasSyncService) -> Result<ConnectionReport> {
    let (report, mut connection) = try_out(service).await?;
    connection.disconnect().await;
    Ok(report)
}

#[cfg(feature = "api")]
pub(super) async fn test_with_room(service: &NasSyncService) -> Result<(ConnectionReport, Option<nas::Space>)> {
    let (report, mut connection) = try_out(service).await?;
    let client = connection.client().await?;
    let room = nas::free_space(&client, service.nas_path()?).await;
    connection.disconnect().await;
    Ok((report, room))
}

/// Gives the login back over which everything was tried.
async fn try_out(service: &NasSyncService) -> Result<(ConnectionReport, NasConnection)> {
    let mut connection = service.connection()?;
    let client = connection.client().await?;
    let (report, capabilities) = match check(&client, service.settings()).await {
        Ok(found) => found,
        #[cfg(not(feature = "cli"))]
        Err(error) => return Err(error),
        #[cfg(feature = "cli")]
        Err(error) => return Err(vendor::advise_over(error, &client).await),
    };
    remember(service, connection.target(), capabilities).await;
    Ok((report, connection))
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
