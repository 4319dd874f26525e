//! `watch`: keeps syncing until it is stopped, or looks and syncs once.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;

use crate::api;
use crate::cli::args::{Talk, seconds, user};
use crate::cli::console::Console;
use crate::cli::hooks::Hooks;
use crate::cli::progress::{Display, Show};
use crate::cli::report;
use crate::cli::signals::{Signals, Stop};
use crate::client::documents::{DocumentMonitor, Unmonitored};
use crate::config::{Flags, Settings};
use crate::error::Result;
use crate::id::UserId;
use crate::json;
use crate::service::NasSyncService;
use crate::watch::orders::OneMonitor;
use crate::watch::status::WatchStatus;
use crate::watch::{Attended, NewFiles, WatchOptions, health_file};

/// What is watched, and how often.
#[derive(Debug, Args)]
pub struct WatchArgs {
    /// Only the documents of this user
    #[arg(long, value_name = "ID", allow_negative_numbers = true, value_parser = user)]
    pub(super) user: Option<UserId>,
    /// Register new files below the upload folder as documents of --user
    #[arg(long, requires = "user")]
    scan: bool,
    /// Which new files: rules as of --filter of push, parted by semicolons or line ends [env: NAS_SCAN_FILTER]
    /// [default: - @eaDir/; - #recycle/; - .DS_Store; - Thumbs.db; - ~$*; - *.part]
    #[arg(long, value_name = "RULES", requires = "scan")]
    scan_filter: Option<OsString>,
    /// How often to look at everything, whatever is told about changes
    #[arg(long, value_name = "SECONDS", default_value = "60s", value_parser = seconds::<1, 86_400>)]
    interval: u64,
    /// How long nothing new must have come, and a new file must not have changed
    #[arg(long, value_name = "SECONDS", default_value = "2s", value_parser = seconds::<0, 3600>)]
    quiet_period: u64,
    /// How long a batch that is being sent may go on after SIGTERM
    #[arg(long, value_name = "SECONDS", default_value = "10s", value_parser = seconds::<0, 3600>)]
    grace: u64,
    /// File to write for `health` [default: the database's name and .health]
    #[arg(long, value_name = "FILE")]
    health_file: Option<PathBuf>,
    /// How the log is written: text or json [env: NAS_LOG_FORMAT] [default: text]
    #[arg(long, value_name = "FORMAT")]
    log_format: Option<OsString>,
    /// Program that is started behind a run that went well, with its object on standard input [env: NAS_ON_SUCCESS]
    #[arg(long, value_name = "PROGRAM")]
    on_success: Option<OsString>,
    /// Program that is started behind a run that did not [env: NAS_ON_FAILURE]
    #[arg(long, value_name = "PROGRAM")]
    on_failure: Option<OsString>,
    /// URL to which the object of each run is posted [env: NAS_WEBHOOK_URL]
    #[arg(long, value_name = "URL")]
    webhook_url: Option<OsString>,
    /// URL of a dead man's switch, asked each minute while all is well [env: NAS_PING_URL]
    #[arg(long, value_name = "URL")]
    ping_url: Option<OsString>,
}

/// What is watched, and for how long.
#[derive(Debug, Args)]
pub struct Watch {
    #[command(flatten)]
    pub(super) args: WatchArgs,
    /// Look and sync once, then end like `sync`
    #[arg(long)]
    once: bool,
    /// Address and port to serve Prometheus metrics on, as /metrics, and /health [env: NAS_METRICS_ADDR]
    #[arg(long, value_name = "ADDRESS")]
    pub metrics: Option<OsString>,
}

impl WatchArgs {
    /// Of the flags of the configuration these are of the loop alone.
    pub fn add_to(&self, flags: &mut Flags) {
        flags.scan_filter.clone_from(&self.scan_filter);
        flags.log_format.clone_from(&self.log_format);
        flags.on_success.clone_from(&self.on_success);
        flags.on_failure.clone_from(&self.on_failure);
        flags.webhook_url.clone_from(&self.webhook_url);
        flags.ping_url.clone_from(&self.ping_url);
    }

    /// The options that they mean.
    pub fn options(self, settings: &Settings) -> WatchOptions {
        WatchOptions {
            user: self.user,
            new_files: if self.scan { NewFiles::Registered } else { NewFiles::Ignored },
            interval: Duration::from_secs(self.interval),
            quiet: Duration::from_secs(self.quiet_period),
            grace: Duration::from_secs(self.grace),
            health_file: Some(self.health_file.unwrap_or_else(|| health_file::default_health_file(&settings.db))),
        }
    }
}

impl Watch {
    /// Watches, and ends with 0, or with the status of the signal that stopped it. With `--once` it ends like `sync`.
    pub async fn run(self, service: &NasSyncService, talk: Talk, console: &Console, signals: Signals) -> Result<u8> {
        let (settings, status) = (service.settings(), Arc::new(WatchStatus::default()));
        let options = self.args.options(settings);
        let (stop, stopped) = signals.into_stop(console);
        if self.once {
            let display = Arc::new(Display::begin(Show::None, console, talk.verbose));
            let monitor = Arc::clone(&display) as Arc<dyn DocumentMonitor>;
            let work = service.watch_once_attended(options, Arc::clone(&status), monitor, stop);
            let summary = Box::pin(with_metrics(settings, status, work)).await?;
            return Ok(report::sync(&summary, display.tried(), stopped.get().copied(), talk.verbose, console));
        }
        let hooks = Hooks::start(settings, &status);
        let follower = hooks.beside(Arc::new(OneMonitor(Arc::new(Unmonitored))));
        let work = service.watch_attended(options, Attended::alone(Arc::clone(&status)), follower, stop);
        let summary = Box::pin(with_metrics(settings, status, work)).await;
        hooks.end().await;
        let summary = summary?;
        console.object(&json::watch(&summary));
        Ok(stopped.get().copied().map_or(0, Stop::exit_code))
    }
}

/// Works while the metrics are served, where that is asked for.
async fn with_metrics<T>(
    settings: &Settings,
    status: Arc<WatchStatus>,
    work: impl Future<Output = Result<T>>,
) -> Result<T> {
    match settings.metrics_addr {
        Some(address) => api::with_metrics(address, status, work).await,
        None => work.await,
    }
}
