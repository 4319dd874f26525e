//! This process as a worker, and the keeping of its leases.

use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::error::Result;
use crate::process::{life_of, now, this_process};
use crate::store::{Fence, LEASE_TERM, Store, Worker};

/// How often a lease is renewed.
const RENEWAL: Duration = Duration::from_secs(LEASE_TERM.as_secs() / 4);
/// A lease that could not be renewed for so long is given up, before another worker may think so.
const TOO_LONG: Duration = Duration::from_secs(LEASE_TERM.as_secs() * 3 / 4);

/// This process, as the store wants to know it.
pub(crate) fn worker() -> Worker<'static> {
    Worker { holder: this_process(), now: now(), life_of: &life_of }
}

/// Keeps a lease while it lives and gives it back at the end, also when it is dropped.
pub(super) struct LeaseGuard {
    fence: Fence,
    store: Store,
    lost: watch::Receiver<bool>,
    renewing: JoinHandle<()>,
    given_back: bool,
}

impl LeaseGuard {
    /// Starts to renew a lease.
    pub fn new(store: Store, fence: Fence) -> Self {
        let (sender, lost) = watch::channel(false);
        let renewing = tokio::spawn(renew(store.clone(), fence, sender));
        Self { fence, store, lost, renewing, given_back: false }
    }

    pub fn fence(&self) -> Fence {
        self.fence
    }

    /// Whether the lease is lost.
    pub fn is_lost(&self) -> bool {
        *self.lost.borrow()
    }

    /// Is ready when the lease is lost.
    pub fn lost(&self) -> impl Future<Output = ()> + use<> {
        let mut lost = self.lost.clone();
        async move {
            // An error means that the renewing ended without losing it, which only happens at the end.
            if lost.wait_for(|lost| *lost).await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// Gives the lease back.
    pub async fn give_back(mut self) -> Result<()> {
        self.renewing.abort();
        let fence = self.fence;
        let result = self.store.release(fence).await;
        // If that failed the lease runs out.
        self.given_back = true;
        result
    }
}

impl Drop for LeaseGuard {
    fn drop(&mut self) {
        self.renewing.abort();
        if self.given_back {
            return;
        }
        // Somebody dropped the run: others need not wait until the lease runs out.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let (store, fence) = (self.store.clone(), self.fence);
            runtime.spawn(async move {
                if let Err(error) = store.release(fence).await {
                    tracing::debug!(%error, "a lease was not given back; it runs out");
                }
            });
        }
    }
}

async fn renew(store: Store, fence: Fence, lost: watch::Sender<bool>) {
    let mut renewed = now();
    loop {
        tokio::time::sleep(RENEWAL).await;
        match store.renew(fence, now()).await {
            Ok(true) => renewed = now(),
            Ok(false) => break,
            Err(error) => {
                tracing::warn!(%error, "a lease could not be renewed");
                if now().saturating_sub(renewed) > TOO_LONG {
                    break;
                }
            }
        }
    }
    lost.send_replace(true);
}
