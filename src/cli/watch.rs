//! `health`: the check of a running `watch`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};

use super::console::Console;
use crate::service::config::Settings;
use crate::service::watch::health::{self, Checkup};

/// The exit status when `watch` is not well.
const UNHEALTHY: u8 = 1;

/// What `health` is told.
#[derive(Debug, Args)]
pub struct HealthArgs {
    /// File that `watch` writes [default: the database's name and .health]
    #[arg(long, value_name = "FILE")]
    health_file: Option<PathBuf>,
    /// How old its last sign of life may be; it gives one every 10 seconds
    #[arg(long, value_name = "SECONDS", default_value_t = health::MAX_AGE.as_secs())]
    max_age: u64,
}

/// `health`: 0 or 1, and one line that says why.
pub fn check(args: &HealthArgs, settings: &Settings, console: &Console) -> u8 {
    let file = args.health_file.clone().unwrap_or_else(|| health::default_file(&settings.db));
    let checkup = health::check(&file, Duration::from_secs(args.max_age));
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
