//! `health`: the check of a running `watch`, by the file that it writes. Needs neither the database nor the NAS.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use crate::cli::args::seconds;
use crate::cli::console::Console;
use crate::config::Settings;
use crate::json;
use crate::watch::health_file::{self, Checkup};

/// The exit status when `watch` is not well.
const UNHEALTHY: u8 = 1;

/// Which file is read, and how old it may be.
#[derive(Debug, Args)]
pub struct Health {
    /// File that `watch` writes [default: the database's name and .health]
    #[arg(long, value_name = "FILE")]
    health_file: Option<PathBuf>,
    /// How old its last sign of life may be; it gives one every 10 seconds
    #[arg(long, value_name = "SECONDS", default_value_t = health_file::MAX_HEALTH_AGE.as_secs(), value_parser = seconds::<0, { u64::MAX }>)]
    max_age: u64,
}

impl Health {
    /// Ends with 0 or 1, and one line that says why.
    pub fn run(self, settings: &Settings, console: &Console) -> u8 {
        let file = self.health_file.unwrap_or_else(|| health_file::default_health_file(&settings.db));
        let checkup = health_file::check_health(&file, Duration::from_secs(self.max_age));
        match checkup.fault {
            None => console.report(&render(&checkup)),
            Some(_) => console.line(&render(&checkup)),
        }
        console.object(&json::health(&checkup));
        if checkup.fault.is_none() { 0 } else { UNHEALTHY }
    }
}

fn render(checkup: &Checkup) -> String {
    match (&checkup.fault, &checkup.beat) {
        (Some(fault), _) => format!("unhealthy: {fault}"),
        (None, Some(beat)) => match &beat.until {
            Some(until) => format!("healthy: {} until {until}", beat.state),
            None => format!("healthy: {}", beat.state),
        },
        (None, None) => "healthy".to_owned(),
    }
}
