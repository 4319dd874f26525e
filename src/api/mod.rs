//! A loop over HTTP: the routes, the metrics and a page for people, on one address.
//!
//! `server` takes connections and bounds them; `guard` decides who may ask; `routes` is the table of what can be asked, which
//! `openapi` describes; `answers` has an answer to each; `events` streams what happens; `metrics` writes the figures; `problem` is
//! every error.
//!
//! Guarantees: without the token nothing is told but whether all is well; a page of another origin, or of a name that leads
//! here by a trick, learns and does nothing; whatever a peer sends or leaves unsent, connections, heads, bodies and time are
//! bounded, and the loop waits for none of it; one run at a time. Never: a file of this machine, or of a document its content.

mod answers;
mod events;
mod guard;
mod listener;
mod metrics;
mod openapi;
mod page;
mod problem;
mod query;
mod routes;
mod server;

#[cfg(feature = "cli")]
use std::net::SocketAddr;
use std::sync::Arc;

use self::answers::Api;
use self::events::Events;
use self::guard::Guard;
use self::listener::Listener;
#[cfg(feature = "cli")]
use crate::config::Listen;
use crate::error::Result;
use crate::service::NasSyncService;
use crate::watch::orders::{Follower, Orders};
use crate::watch::status::WatchStatus;
use crate::watch::{Attended, WatchOptions, WatchSummary};

impl NasSyncService {
    /// As [`NasSyncService::watch`], and at the address of the settings the API, the metrics and a page for people.
    ///
    /// Fails only at the start: with `NotConfigured`, or with `Usage` when an option cannot be followed, the address cannot be
    /// had, or others could connect and there is no token.
    pub async fn serve(&self, options: WatchOptions, stop: impl Future<Output = ()>) -> Result<WatchSummary> {
        self.serve_beside(options, Arc::default(), |events| events, stop).await
    }

    /// As [`NasSyncService::serve`], with a status that others look at, and runs that others follow beside the events.
    pub(crate) async fn serve_beside(
        &self,
        options: WatchOptions,
        status: Arc<WatchStatus>,
        beside: impl FnOnce(Arc<dyn Follower>) -> Arc<dyn Follower>,
        stop: impl Future<Output = ()>,
    ) -> Result<WatchSummary> {
        let settings = self.settings();
        let guard = Guard::of(settings).await?;
        let listener = Listener::open(&settings.api_addr, "NAS_API_ADDR or --listen").await?;
        tracing::info!("the page and the API are on {}", settings.api_addr);
        let (orders, book) = Orders::new();
        let events = Arc::new(Events::default());
        let attended = Attended { status: Arc::clone(&status), orders: book, is_asked: true };
        let api = Api::new(NasSyncService::new(settings.clone()), status, orders, Arc::clone(&events));
        let follower = beside(Arc::clone(&events) as Arc<dyn Follower>);
        let work = async {
            let result = self.watch_attended(options, attended, follower, stop).await;
            events.close();
            result
        };
        server::around(listener, routes::all(&api, guard), work).await
    }
}

/// Serves the metrics and the health of a loop while it works. Fails with `Usage` when the address cannot be had.
#[cfg(feature = "cli")]
pub(crate) async fn with_metrics<T>(
    address: SocketAddr,
    status: Arc<WatchStatus>,
    work: impl Future<Output = Result<T>>,
) -> Result<T> {
    let listener = Listener::open(&Listen::Address(address), "NAS_METRICS_ADDR or --metrics").await?;
    tracing::info!("metrics are served on http://{address}/metrics");
    server::around(listener, routes::metrics_only(status), work).await
}
