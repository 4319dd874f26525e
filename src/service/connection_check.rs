//! The test of a connection, and what is remembered of it.

use chrono::Utc;

use super::NasSyncService;
use crate::client::capabilities::Capabilities;
use crate::client::check::{ConnectionReport, check};
use crate::error::Result;
use crate::proof::Refusal;
use crate::store::{Access, Store};

pub(super) async fn test(service: &NasSyncService) -> Result<ConnectionReport> {
    let mut connection = service.connection()?;
    let client = connection.client().await?;
    let (report, capabilities) = check(&client, service.settings()).await?;
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
