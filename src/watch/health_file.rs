//! The health file: what `nas-sync watch` leaves beside the database for container health checks, and its reading.
//!
//! Guarantees: a reader sees a whole file or none (written beside it, then renamed; what somebody else has put in the place
//! of either is never written through); whether it is fresh is judged by a
//! clock that nobody sets, and a process that died is noticed at once where it can be seen; foreign text in it is
//! escaped. Never: a secret; a verdict by the time of day, which stands in it for people only.
//!
//! One `key=value` a line. More keys may come, readers pass over those that they do not know.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{ErrorKind as IoErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use chrono::{DateTime, SecondsFormat, Utc};

use super::barrier::needs_a_person;
use crate::blocking;
use crate::database::Database;
use crate::error::{ErrorKind, NasSyncError, Result};
use crate::process::{Holder, Life};
use crate::process::{is_known, life_of, now, this_process};
use crate::{small_file, text};

/// How old a sign of life may be, unless told otherwise. `watch` gives one every ten seconds.
pub const MAX_HEALTH_AGE: Duration = Duration::from_secs(60);
/// How often `watch` gives a sign of life.
pub const BEAT: Duration = Duration::from_secs(10);
/// The most that is read of a health file.
const LONGEST: usize = 64 * 1024;
/// What the first line says.
const FORMAT: &str = "nas-sync-health=1";

/// What `watch` does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// It has been started and has not looked around yet.
    Starting,
    /// Nothing is to be sent now.
    Idle,
    /// It talks to the NAS.
    Syncing,
    /// The NAS is away or full. It goes on by itself at that time, an estimate by the time of day.
    Paused(DateTime<Utc>),
    /// A person should see to something; it is tried again after long waits, and when something changes here.
    Blocked(ErrorKind),
    /// It has been asked to stop.
    Stopping,
    /// It has ended in order.
    Stopped,
}

impl State {
    /// Its name in the health file and in JSON.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Idle => "idle",
            Self::Syncing => "syncing",
            Self::Paused(_) => "paused",
            Self::Blocked(_) => "blocked",
            Self::Stopping => "stopping",
            Self::Stopped => "stopped",
        }
    }
}

/// What `watch` tells about itself.
#[derive(Debug, Clone)]
pub struct Report {
    /// What it does.
    pub state: State,
    /// When a document was stored last.
    pub last_success: Option<DateTime<Utc>>,
    /// The last error, also when it is over.
    pub last_error: Option<NasSyncError>,
}

/// The health file of a database, unless another is named: beside an SQLite file, `.health` behind its name; for another
/// database `nas-sync.health` in the working directory.
pub fn default_health_file(database: &Database) -> PathBuf {
    let Some(database) = database.file() else { return PathBuf::from("nas-sync.health") };
    let mut name = database.file_name().map_or_else(OsString::new, ToOwned::to_owned);
    name.push(".health");
    database.with_file_name(name)
}

/// Writes the health file of this process.
#[derive(Debug, Clone)]
pub struct HealthFile {
    path: PathBuf,
    /// Of two that write, one waits.
    turn: Arc<Mutex<()>>,
}

impl HealthFile {
    /// Nothing is written yet.
    pub fn new(path: PathBuf) -> Self {
        Self { path, turn: Arc::default() }
    }

    /// Replaces the file with what is so when it is its turn: a write that was left to itself does not undo a later one.
    pub fn write_current(&self, report: impl FnOnce() -> Report) -> Result<()> {
        let _turn = blocking::lock(&self.turn);
        self.write(&report())
    }

    /// Replaces the file: a sign of life. Blocks. Fails with `LocalFile`.
    pub fn write(&self, report: &Report) -> Result<()> {
        self.replace(lines(report).as_bytes()).map_err(|error| {
            NasSyncError::at_path(ErrorKind::LocalFile, "Cannot write the health file", &self.path, error)
        })
    }

    fn replace(&self, content: &[u8]) -> std::io::Result<()> {
        let (fresh, mut file) = self.create()?;
        let written = file.write_all(content).and_then(|()| fs::rename(&fresh, &self.path));
        if written.is_err() {
            // What is left of a disk that is full does not matter.
            let _ = fs::remove_file(&fresh);
        }
        written
    }

    /// A new file beside it, never one that was there: in a folder that others write to, a link may wait under any name
    /// that can be guessed.
    fn create(&self) -> std::io::Result<(PathBuf, File)> {
        // Hidden, and one for each process, so that two that share a name by mistake do not mix their lines.
        let mut name = OsString::from(".");
        name.push(self.path.file_name().unwrap_or_default());
        name.push(format!(".{}", this_process().process));
        let fresh = self.path.with_file_name(&name);
        // An earlier process of that number may have left it.
        let _ = fs::remove_file(&fresh);
        match File::create_new(&fresh) {
            Ok(file) => return Ok((fresh, file)),
            Err(error) if error.kind() == IoErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
        // It is not ours to remove.
        name.push(format!(".{:016x}", fastrand::u64(..)));
        let fresh = self.path.with_file_name(name);
        File::create_new(&fresh).map(|file| (fresh, file))
    }
}

fn lines(report: &Report) -> String {
    let Holder { clock, space, process, started } = this_process();
    let mut lines = format!("{FORMAT}\n");
    let mut line = |key: &str, value: Option<String>| {
        if let Some(value) = value {
            // Writing to a String has no error to report.
            let _ = writeln!(lines, "{key}={}", text::escape(&value));
        }
    };
    line("pid", Some(process.to_string()));
    line("process_start", Some(started.to_string()));
    line("space", Some(space.clone()));
    line("clock", Some(clock.clone()));
    line("beat_ms", Some(now().as_millis().to_string()));
    line("written_at", Some(show(Utc::now())));
    line("state", Some(report.state.as_str().to_owned()));
    match &report.state {
        State::Paused(until) => line("until", Some(show(*until))),
        State::Blocked(kind) => line("blocked_by", Some(kind.as_str().to_owned())),
        _ => {}
    }
    line("last_success", report.last_success.map(show));
    if let Some(error) = &report.last_error {
        line("error_kind", Some(error.kind().as_str().to_owned()));
        line("error_message", Some(error.message().to_owned()));
    }
    lines
}

fn show(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Secs, true)
}

/// What a health file says. All texts are safe to print.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Beat {
    /// The process that wrote it.
    pub pid: u32,
    /// How long ago.
    pub age: Duration,
    /// A word such as `idle`.
    pub state: String,
    /// When it goes on, where it is paused.
    pub until: Option<String>,
    /// The error kind that keeps it from going on.
    pub blocked_by: Option<String>,
    /// When a document was stored last.
    pub last_success: Option<String>,
    /// The kind of the last error.
    pub error_kind: Option<String>,
    /// Its message.
    pub error_message: Option<String>,
}

/// The answer of a health check.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Checkup {
    /// `None`: healthy. Else one sentence, safe to print.
    pub fault: Option<String>,
    /// What the file says, where there is one that is understood.
    pub beat: Option<Beat>,
}

/// Reads a health file and judges it. Opens nothing else than the file and `/proc`.
pub fn check_health(path: &Path, max_age: Duration) -> Checkup {
    let shown = text::escape_bytes(path.as_os_str().as_encoded_bytes());
    let ill = |fault: String| Checkup { fault: Some(fault), beat: None };
    let text = match read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == IoErrorKind::NotFound => {
            return ill(format!(
                "there is no health file {shown}: `nas-sync watch` does not run, or writes another one"
            ));
        }
        Err(error) => return ill(format!("cannot read the health file {shown}: {error}")),
    };
    match parse(&text) {
        Some((process, written, mut beat)) => {
            let now = now();
            beat.age = now.saturating_sub(written);
            Checkup { fault: fault(&process, written, now, max_age, &beat), beat: Some(beat) }
        }
        None => ill(format!("{shown} is not a health file of this version of nas-sync")),
    }
}

fn read(path: &Path) -> std::io::Result<String> {
    let bytes = small_file::read(path, LONGEST)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn parse(text: &str) -> Option<(Holder, Duration, Beat)> {
    let lines = text.strip_prefix(FORMAT)?;
    let values: HashMap<&str, &str> = lines.lines().filter_map(|line| line.split_once('=')).collect();
    // Whoever may write there need not be trusted with a terminal.
    let text = |key: &str| values.get(key).map(|value| text::escape(value));
    let process = Holder {
        clock: text("clock")?,
        space: text("space")?,
        process: values.get("pid")?.parse().ok()?,
        started: values.get("process_start")?.parse().ok()?,
    };
    let beat = Beat {
        pid: process.process,
        age: Duration::ZERO,
        state: text("state")?,
        until: text("until"),
        blocked_by: text("blocked_by"),
        last_success: text("last_success"),
        error_kind: text("error_kind"),
        error_message: text("error_message"),
    };
    let written = Duration::from_millis(values.get("beat_ms")?.parse().ok()?);
    Some((process, written, beat))
}

fn fault(process: &Holder, written: Duration, now: Duration, max_age: Duration, beat: &Beat) -> Option<String> {
    if beat.state == State::Stopped.as_str() {
        return Some("`nas-sync watch` was stopped".to_owned());
    }
    if life_of(process) == Life::Over {
        return Some(format!("the process {} of `nas-sync watch` is gone", process.process));
    }
    let is_elsewhere = is_known(process) && process.clock != this_process().clock;
    if is_elsewhere || written > now {
        return Some("its last sign of life is from before this machine was started, or from another one".to_owned());
    }
    if beat.age > max_age {
        let (age, most) = (beat.age.as_secs(), max_age.as_secs());
        return Some(format!("its last sign of life is {age} s old, more than {most} s"));
    }
    let kind = beat.blocked_by.as_ref()?;
    let message = beat.error_message.as_deref().unwrap_or("see its log");
    let passes = ErrorKind::from_name(kind).is_some_and(|kind| !needs_a_person(kind));
    let what = if passes { "it is tried again by itself, in vain until now" } else { "somebody has to see to it" };
    Some(format!("{what} ({kind}): {message}"))
}

#[cfg(test)]
mod tests;
