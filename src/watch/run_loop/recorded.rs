//! What is written down of what keeps the loop from sending: `status` tells of it, and what ends it there ends it here.

use std::time::{Duration, Instant};

use chrono::Utc;

use super::{Obstacle, View, WatchLoop, delta};
use crate::error::{Healing, NasSyncError};
use crate::service::sync::{self, Others};
use crate::store::{Access, Failure, Pause, Store};
use crate::watch::barrier::bar;
use crate::watch::poller::Look;

impl WatchLoop<'_> {
    /// Records what keeps everybody from sending, as a run does: refused logins are counted, also by restarts.
    pub(super) async fn record_pause(&self, error: &NasSyncError) {
        if let Some(store) = self.store().await {
            let (target, before) = (self.connection.target(), self.view.pause.as_ref());
            sync::pause_for(&store, target, before, Others::Leave, error).await;
            store.close().await;
        }
    }

    /// Records the wait for a NAS that was not reached, which binds this process alone, where no pause stands that binds all.
    pub(super) async fn record_wait(&mut self, error: &NasSyncError, wait: Duration) {
        let (now, before) = (Utc::now(), self.view.pause.as_ref());
        let is_barred = bar(before, None, &self.view.refused_logins, now).is_some();
        if is_barred || !error.kind().concerns_nas() || error.kind().healing() != Healing::Transient {
            return;
        }
        // It is none of the pauses in a row, and does not end the row either.
        let count = before.map_or(0, |pause| pause.count);
        let pause = Pause { until: Some(now + delta(wait)), failure: Failure::of(error), count };
        if let Some(store) = self.store().await {
            if let Err(error) = store.begin_pause(self.connection.target(), pause, None).await {
                tracing::warn!("a wait could not be recorded: {error}");
            }
            store.close().await;
        }
        self.look(Look::Close).await;
    }

    async fn store(&self) -> Option<Store> {
        let opened = Store::open(&self.service.settings().db, Access::Existing).await;
        opened.inspect_err(|error| tracing::warn!("a pause could not be recorded: {error}")).ok()
    }

    /// A record that is gone was ended by `retry`, or by somebody who reached the NAS: whatever is waited for, it is tried now.
    pub(super) fn end_with_the_record(&mut self, view: &View) {
        if let Obstacle::Wait(until, _) = self.obstacle
            && self.view.pause.is_some()
            && view.pause.is_none()
        {
            if Instant::now() < until {
                tracing::info!("the wait was ended: trying again");
            }
            self.obstacle = Obstacle::None;
        }
    }
}
