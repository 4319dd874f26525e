//! Logins that are kept for a while after use, so that the next call need not make one.

use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use nas_sync::{Client, ClientConfig, ErrorKind, NasSyncError, Result};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// How long a login is kept that nobody uses.
const KEPT: Duration = Duration::from_secs(60);
/// The most logins at once; whoever comes later waits for one. Each serves one call at a time, because a NAS may allow only
/// few sessions in one.
const MOST_LOGINS: usize = 4;

/// The logins with one set of settings.
pub struct Pool {
    config: ClientConfig,
    permits: Arc<Semaphore>,
    idle: Mutex<Vec<Idle>>,
}

struct Idle {
    client: Client,
    since: Instant,
}

/// A login for one call.
pub struct Login {
    pub client: Client,
    pool: Arc<Pool>,
    _permit: OwnedSemaphorePermit,
}

impl Pool {
    pub fn new(config: ClientConfig) -> Self {
        Self { config, permits: Arc::new(Semaphore::new(MOST_LOGINS)), idle: Mutex::default() }
    }

    /// Whether there is no login, in use or kept.
    pub fn is_unused(&self) -> bool {
        self.permits.available_permits() == MOST_LOGINS && self.idle().is_empty()
    }

    /// A login that was kept and lives, or a new one.
    pub async fn take(self: &Arc<Self>) -> Result<Login> {
        let closed = |_| NasSyncError::new(ErrorKind::Internal, "the logins are closed");
        let permit = Arc::clone(&self.permits).acquire_owned().await.map_err(closed)?;
        let kept = self.take_idle();
        let client = match kept {
            Some(client) => client,
            None => Client::connect(&self.config).await?,
        };
        Ok(Login { client, pool: Arc::clone(self), _permit: permit })
    }

    /// Ends the logins that nobody uses.
    pub async fn close_idle(&self) {
        let idle = mem::take(&mut *self.idle());
        for Idle { client, .. } in idle {
            client.disconnect().await;
        }
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Idle>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The one that was used last; what was lost meanwhile goes.
    fn take_idle(&self) -> Option<Client> {
        let mut idle = self.idle();
        idle.retain(|kept| kept.client.ssh().lost().is_none());
        idle.pop().map(|kept| kept.client)
    }

    async fn close_old(&self) {
        let old: Vec<Idle> = {
            let mut idle = self.idle();
            let (old, young) = mem::take(&mut *idle).into_iter().partition(|kept| kept.since.elapsed() >= KEPT);
            *idle = young;
            old
        };
        for Idle { client, .. } in old {
            client.disconnect().await;
        }
    }
}

impl Login {
    /// Keeps it for the next call, for a while.
    pub fn keep(self) {
        let Self { client, pool, _permit } = self;
        if client.ssh().lost().is_some() {
            return;
        }
        pool.idle().push(Idle { client, since: Instant::now() });
        tokio::spawn(async move {
            tokio::time::sleep(KEPT).await;
            pool.close_old().await;
        });
    }
}
