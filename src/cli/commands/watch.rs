//! `watch`, and `health`: the check of a running `watch`.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, value_parser};
use serde_json::{Value, json};

use crate::cli::commands;
use crate::cli::console::Console;
use crate::cli::signals::{Signals, Stop};
use crate::client::documents::Unmonitored;
use crate::config::Settings;
use crate::error::Result;
use crate::id::UserId;
use crate::service::NasSyncService;
use crate::watch::health_file::{self, Checkup};
use crate::watch::{NewFiles, WatchOptions, WatchSummary};

/// What `watch` is told.
#[derive(Debug, Args)]
pub struct WatchArgs {
    /// Only the documents of this user
    #[arg(long, value_name = "ID", allow_negative_numbers = true)]
    user: Option<i64>,
    /// Register new files below the upload folder as documents of --user
    #[arg(long, requires = "user")]
    scan: bool,
    /// How often to look at everything, whatever is told about changes
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = value_parser!(u64).range(1..=86_400))]
    interval: u64,
    /// How long nothing new must have come, and a new file must not have changed
    #[arg(long, value_name = "SECONDS", default_value_t = 2, value_parser = value_parser!(u64).range(0..=3600))]
    quiet_period: u64,
    /// How long a batch that is being sent may go on after SIGTERM
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = value_parser!(u64).range(0..=3600))]
    grace: u64,
    /// Look and sync once, then end like `sync`
    #[arg(long)]
    once: bool,
    /// File to write for `health` [default: the database's name and .health]
    #[arg(long, value_name = "FILE")]
    health_file: Option<PathBuf>,
    /// Address and port to serve Prometheus metrics on, as /metrics, and /health [env: NAS_METRICS_ADDR]
    #[arg(long, value_name = "ADDRESS")]
    pub metrics: Option<OsString>,
}

impl WatchArgs {
    fn options(&self, settings: &Settings) -> WatchOptions {
        WatchOptions {
            user: self.user.map(UserId::from),
            new_files: if self.scan { NewFiles::Registered } else { NewFiles::Ignored },
            interval: Duration::from_secs(self.interval),
            quiet: Duration::from_secs(self.quiet_period),
            grace: Duration::from_secs(self.grace),
            health_file: Some(health_file(self.health_file.as_ref(), settings)),
            metrics: settings.metrics_addr,
        }
    }
}

/// `watch`, to its exit status.
pub async fn run(
    args: &WatchArgs,
    service: &NasSyncService,
    verbose: u8,
    console: &Console,
    signals: Signals,
) -> Result<u8> {
    let options = args.options(service.settings());
    let (stop, stopped) = signals.into_stop();
    if args.once {
        let summary = service.watch_once(options, Arc::new(Unmonitored), stop).await?;
        return Ok(commands::tell(&summary, stopped.get().copied(), verbose, console));
    }
    let summary = service.watch(options, Arc::new(Unmonitored), stop).await?;
    console.object(&totals(&summary));
    Ok(stopped.get().copied().map_or(0, Stop::exit_code))
}

fn totals(summary: &WatchSummary) -> Value {
    json!({
        "synced": summary.synced,
        "failures": summary.failures,
        "bytes_sent": summary.bytes_sent,
        "elapsed_ms": u64::try_from(summary.elapsed.as_millis()).unwrap_or(u64::MAX),
    })
}

fn health_file(named: Option<&PathBuf>, settings: &Settings) -> PathBuf {
    named.cloned().unwrap_or_else(|| health_file::default_file(&settings.db))
}

/// The exit status when `watch` is not well.
const UNHEALTHY: u8 = 1;

/// What `health` is told.
#[derive(Debug, Args)]
pub struct HealthArgs {
    /// File that `watch` writes [default: the database's name and .health]
    #[arg(long, value_name = "FILE")]
    health_file: Option<PathBuf>,
    /// How old its last sign of life may be; it gives one every 10 seconds
    #[arg(long, value_name = "SECONDS", default_value_t = health_file::MAX_AGE.as_secs())]
    max_age: u64,
}

/// `health`: 0 or 1, and one line that says why.
pub fn check(args: &HealthArgs, settings: &Settings, console: &Console) -> u8 {
    let file = health_file(args.health_file.as_ref(), settings);
    let checkup = health_file::check(&file, Duration::from_secs(args.max_age));
    console.line(&line(&checkup));
    console.object(&object(&checkup));
    if checkup.fault.is_none() { 0 } else { UNHEALTHY }
}

fn line(checkup: &Checkup) -> String {
    match (&checkup.fault, &checkup.beat) {
        (Some(fault), _) => format!("unhealthy: {fault}"),
        (None, Some(beat)) => match &beat.until {
            Some(until) => format!("healthy: {} until {until}", beat.state),
            None => format!("healthy: {}", beat.state),
        },
        (None, None) => "healthy".to_owned(),
    }
}

fn object(checkup: &Checkup) -> Value {
    let beat = checkup.beat.as_ref();
    let error = beat.and_then(|beat| {
        let kind = beat.error_kind.as_ref()?;
        Some(json!({ "kind": kind, "message": beat.error_message }))
    });
    json!({
        "healthy": checkup.fault.is_none(),
        "reason": checkup.fault,
        "state": beat.map(|beat| &beat.state),
        "until": beat.and_then(|beat| beat.until.as_ref()),
        "age_seconds": beat.map(|beat| beat.age.as_secs()),
        "pid": beat.map(|beat| beat.pid),
        "last_success": beat.and_then(|beat| beat.last_success.as_ref()),
        "last_error": error,
    })
}
