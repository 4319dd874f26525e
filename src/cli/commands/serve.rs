//! `serve`: `watch`, and the API, the metrics and a page for people on one address.

use std::ffi::OsString;
use std::sync::Arc;

use clap::Args;

use super::watch::WatchArgs;
use crate::cli::console::Console;
use crate::cli::hooks::Hooks;
use crate::cli::signals::{Signals, Stop};
use crate::error::Result;
use crate::json;
use crate::service::NasSyncService;
use crate::watch::status::WatchStatus;

/// What is watched, and where it is served.
#[derive(Debug, Args)]
pub struct Serve {
    #[command(flatten)]
    pub(super) watch: WatchArgs,
    /// Address and port, or unix:PATH; others than this machine need NAS_API_TOKEN [env: NAS_API_ADDR] [default: 127.0.0.1:8730]
    #[arg(long, value_name = "ADDRESS")]
    pub listen: Option<OsString>,
}

impl Serve {
    /// Serves, and ends with 0, or with the status of the signal that stopped it.
    pub async fn run(self, service: &NasSyncService, console: &Console, signals: Signals) -> Result<u8> {
        let options = self.watch.options(service.settings());
        let (stop, stopped) = signals.into_stop(console);
        let status = Arc::new(WatchStatus::default());
        let hooks = Hooks::start(service.settings(), &status);
        let summary = Box::pin(service.serve_beside(options, status, |events| hooks.beside(events), stop)).await;
        hooks.end().await;
        let summary = summary?;
        console.object(&json::watch(&summary));
        Ok(stopped.get().copied().map_or(0, Stop::exit_code))
    }
}
