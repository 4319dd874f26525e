//! Who is told of the runs of `watch` and `serve`: programs of this machine, a webhook, and a dead man's switch that is told as
//! long as all is well.
//!
//! Guarantees: they are told one after the other, each within its time; what fails there is a warning and ends nothing; a
//! program has no secret of the settings in its environment. Never: a shell.

mod http;

use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use crate::client::documents::DocumentMonitor;
use crate::config::{Settings, WebUrl, secret_variables};
use crate::error::{ErrorKind, Result};
use crate::json;
use crate::service::SyncSummary;
use crate::text::{self, escape_json};
use crate::watch::health_file::State;
use crate::watch::orders::Follower;
use crate::watch::status::WatchStatus;

/// How long a program may take.
const PROGRAM_TIME: Duration = Duration::from_secs(60);
/// How long what is still to be told may take at the end.
const LAST_WORDS: Duration = Duration::from_secs(5);
/// So many runs may wait to be told.
const WAITING: usize = 16;
/// How often the dead man's switch is told that all is well.
const PING: Duration = Duration::from_secs(60);
/// How often to look whether it is, until then.
const GLANCE: Duration = Duration::from_secs(1);

/// A run that is worth telling.
struct Run {
    went_well: bool,
    object: String,
}

/// Whom to tell.
struct Listeners {
    on_success: Option<PathBuf>,
    on_failure: Option<PathBuf>,
    webhook: Option<WebUrl>,
}

/// Tells them, until it is ended.
pub struct Hooks {
    runs: mpsc::Sender<Run>,
    telling: JoinHandle<()>,
    pinging: Option<JoinHandle<()>>,
}

/// Follows the runs beside another follower.
struct Listening {
    runs: mpsc::Sender<Run>,
    beside: Arc<dyn Follower>,
}

impl Hooks {
    /// What cannot be started of that which the settings name: it should not be found out by a failure that nobody is told of.
    pub fn faults(settings: &Settings) -> Vec<String> {
        let programs = [("NAS_ON_SUCCESS", &settings.on_success), ("NAS_ON_FAILURE", &settings.on_failure)];
        let faults = programs.into_iter().filter_map(|(name, program)| {
            let program = program.as_deref().filter(|program| !can_start(program))?;
            let program = text::escape(&program.to_string_lossy());
            Some(format!(
                "{name} is {program}, which is no program that this user can start: name one by its path, not a line for a shell"
            ))
        });
        faults.collect()
    }

    /// Those that the settings name, about a loop of this status. Must be called inside a runtime.
    pub fn start(settings: &Settings, status: &Arc<WatchStatus>) -> Self {
        for fault in Self::faults(settings) {
            tracing::warn!("{fault}");
        }
        let (runs, told) = mpsc::channel(WAITING);
        let listeners = Listeners {
            on_success: settings.on_success.clone(),
            on_failure: settings.on_failure.clone(),
            webhook: settings.webhook_url.clone(),
        };
        let ping = |url: &WebUrl| tokio::spawn(ping(url.clone(), Arc::clone(status)));
        Self { runs, telling: tokio::spawn(tell(listeners, told)), pinging: settings.ping_url.as_ref().map(ping) }
    }

    /// A follower of the same runs as another one.
    pub fn beside(&self, beside: Arc<dyn Follower>) -> Arc<dyn Follower> {
        Arc::new(Listening { runs: self.runs.clone(), beside })
    }

    /// Ends it behind the last run.
    pub async fn end(self) {
        let Self { runs, telling, pinging } = self;
        if let Some(pinging) = pinging {
            pinging.abort();
        }
        drop(runs);
        // What takes longer is cut off.
        let _ = timeout(LAST_WORDS, telling).await;
    }
}

impl Follower for Listening {
    fn begins(&self) -> Arc<dyn DocumentMonitor> {
        self.beside.begins()
    }

    fn ends(&self, result: &Result<SyncSummary>) {
        self.beside.ends(result);
        if let Some(run) = worth_telling(result)
            && self.runs.try_send(run).is_err()
        {
            tracing::warn!("nobody is told of this run: {WAITING} others wait for that");
        }
    }
}

/// Whether a program is there; one without a slash is looked for as a shell does.
fn can_start(program: &Path) -> bool {
    let is_there = |path: &Path| path.is_file() && rustix::fs::access(path, rustix::fs::Access::EXEC_OK).is_ok();
    if program.as_os_str().as_encoded_bytes().contains(&b'/') {
        return is_there(program);
    }
    let folders = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&folders).any(|folder| is_there(&folder.join(program)))
}

/// A run that sent nothing and met nothing new is not.
fn worth_telling(result: &Result<SyncSummary>) -> Option<Run> {
    let (went_well, mut object) = match result {
        Ok(summary) if summary.stopped.as_ref().is_some_and(|error| error.kind() == ErrorKind::Interrupted) => {
            return None;
        }
        Ok(summary) if summary.stopped.is_none() && summary.is_empty() => return None,
        Ok(summary) => (summary.is_success_of_its_own(), json::sync(summary)),
        Err(error) => (false, json::sync_failed(error)),
    };
    object["success"] = Value::from(went_well);
    Some(Run { went_well, object: escape_json(&object.to_string()) })
}

async fn tell(listeners: Listeners, mut runs: mpsc::Receiver<Run>) {
    while let Some(Run { went_well, object }) = runs.recv().await {
        let (program, name) = if went_well {
            (&listeners.on_success, "NAS_ON_SUCCESS")
        } else {
            (&listeners.on_failure, "NAS_ON_FAILURE")
        };
        if let Some(program) = program
            && let Err(error) = run(program, &object).await
        {
            tracing::warn!("{} ({name}): {error}", crate::text::escape_bytes(program.as_os_str().as_encoded_bytes()));
        }
        if let Some(url) = &listeners.webhook
            && let Err(error) = http::send(url, Some(&object)).await
        {
            tracing::warn!("the webhook {url} was not told: {error}");
        }
    }
}

/// Runs a program with an object on its standard input.
async fn run(program: &Path, object: &str) -> io::Result<()> {
    let mut command = Command::new(program);
    for name in secret_variables() {
        command.env_remove(name);
    }
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::null()).kill_on_drop(true).spawn()?;
    let mut input = child.stdin.take();
    let ended = timeout(PROGRAM_TIME, async {
        if let Some(input) = &mut input {
            // It need not read it.
            let _ = input.write_all(format!("{object}\n").as_bytes()).await;
        }
        drop(input);
        child.wait().await
    });
    match ended.await {
        Ok(status) if status.as_ref().is_ok_and(std::process::ExitStatus::success) => Ok(()),
        Ok(status) => Err(io::Error::other(format!("it ended with {}", status?))),
        Err(_) => Err(io::Error::other(format!("it was ended after {} s", PROGRAM_TIME.as_secs()))),
    }
}

/// Tells a dead man's switch that all is well, as long as it is: silence is the alarm.
async fn ping(url: WebUrl, status: Arc<WatchStatus>) {
    let mut failed = false;
    loop {
        if matches!(status.report().state, State::Starting | State::Blocked(_)) {
            sleep(GLANCE).await;
            continue;
        }
        let result = http::send(&url, None).await;
        match &result {
            Err(error) if !failed => tracing::warn!("{url} (NAS_PING_URL) was not told that all is well: {error}"),
            Ok(()) if failed => tracing::info!("{url} (NAS_PING_URL) is told again that all is well"),
            _ => {}
        }
        failed = result.is_err();
        sleep(PING).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::NasSyncError;
    use crate::id::DocumentId;

    #[test]
    fn runs_that_did_something_are_told() {
        let told = |summary: SyncSummary| worth_telling(&Ok(summary)).map(|run| run.went_well);
        assert_eq!(told(SyncSummary::default()), None);
        assert_eq!(told(SyncSummary { total: 2, synced: 2, ..SyncSummary::default() }), Some(true));
        assert_eq!(told(SyncSummary { total: 2, synced: 1, failed: 1, ..SyncSummary::default() }), Some(false));
        let failed_earlier = vec![DocumentId::from(1)];
        let old = SyncSummary { total: 1, failed: 1, failed_earlier, ..SyncSummary::default() };
        assert_eq!(told(old.clone()), None);
        let waiting = vec![DocumentId::from(1)];
        assert_eq!(told(SyncSummary { total: 2, synced: 1, failed: 1, waiting, ..SyncSummary::default() }), Some(true));
        assert_eq!(told(SyncSummary { total: 2, synced: 1, ..old }), Some(true));
        let stopped =
            |kind| SyncSummary { total: 1, stopped: Some(NasSyncError::new(kind, "x")), ..SyncSummary::default() };
        assert_eq!(told(stopped(ErrorKind::DiskFull)), Some(false));
        assert_eq!(told(stopped(ErrorKind::Interrupted)), None);
    }
}
