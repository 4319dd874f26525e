//! `watch`: keeps syncing until it is stopped, or looks and syncs once.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;

use crate::cli::args::{Talk, seconds, user};
use crate::cli::console::Console;
use crate::cli::progress::{Display, Show};
use crate::cli::report;
use crate::cli::signals::{Signals, Stop};
use crate::client::documents::{DocumentMonitor, Unmonitored};
use crate::config::{Flags, Settings};
use crate::error::Result;
use crate::id::UserId;
use crate::json;
use crate::service::NasSyncService;
use crate::watch::{NewFiles, WatchOptions, health_file};

/// What is watched, and how often.
#[derive(Debug, Args)]
pub struct Watch {
    /// Only the documents of this user
    #[arg(long, value_name = "ID", allow_negative_numbers = true, value_parser = user)]
    pub(super) user: Option<UserId>,
    /// Register new files below the upload folder as documents of --user
    #[arg(long, requires = "user")]
    scan: bool,
    /// How often to look at everything, whatever is told about changes
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = seconds::<1, 86_400>)]
    interval: u64,
    /// How long nothing new must have come, and a new file must not have changed
    #[arg(long, value_name = "SECONDS", default_value_t = 2, value_parser = seconds::<0, 3600>)]
    quiet_period: u64,
    /// How long a batch that is being sent may go on after SIGTERM
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = seconds::<0, 3600>)]
    grace: u64,
    /// Look and sync once, then end like `sync`
    #[arg(long)]
    once: bool,
    /// File to write for `health` [default: the database's name and .health]
    #[arg(long, value_name = "FILE")]
    health_file: Option<PathBuf>,
    /// Address and port to serve Prometheus metrics on, as /metrics, and /health [env: NAS_METRICS_ADDR]
    #[arg(long, value_name = "ADDRESS")]
    metrics: Option<OsString>,
}

impl Watch {
    fn options(self, settings: &Settings) -> WatchOptions {
        WatchOptions {
            user: self.user,
            new_files: if self.scan { NewFiles::Registered } else { NewFiles::Ignored },
            interval: Duration::from_secs(self.interval),
            quiet: Duration::from_secs(self.quiet_period),
            grace: Duration::from_secs(self.grace),
            health_file: Some(self.health_file.unwrap_or_else(|| health_file::default_health_file(&settings.db))),
            metrics: settings.metrics_addr,
        }
    }

    /// Of the flags of the configuration one is this command's alone.
    pub fn add_to(&self, flags: &mut Flags) {
        flags.metrics.clone_from(&self.metrics);
    }

    /// Watches, and ends with 0, or with the status of the signal that stopped it. With `--once` it ends like `sync`.
    pub async fn run(self, service: &NasSyncService, talk: Talk, console: &Console, signals: Signals) -> Result<u8> {
        let once = self.once;
        let options = self.options(service.settings());
        let (stop, stopped) = signals.into_stop();
        if once {
            let display = Arc::new(Display::begin(Show::None, console, talk.verbose));
            let summary = service.watch_once(options, Arc::clone(&display) as Arc<dyn DocumentMonitor>, stop).await?;
            return Ok(report::sync(&summary, display.documents(), stopped.get().copied(), talk.verbose, console));
        }
        let summary = service.watch(options, Arc::new(Unmonitored), stop).await?;
        console.object(&json::watch(&summary));
        Ok(stopped.get().copied().map_or(0, Stop::exit_code))
    }
}
