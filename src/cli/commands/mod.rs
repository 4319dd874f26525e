//! `config`, `test`, `add`, `sync`, `retry`, `verify`, `status`: calls to the service, and what is said about their results.

pub mod verify;
pub mod watch;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use crate::cli::args::{self, Command};
use crate::cli::console::Console;
use crate::cli::progress::{self, Bar};
use crate::cli::signals::{Signals, Stop};
use crate::cli::text;
use crate::client::documents::{DocumentEvent, DocumentMonitor};
use crate::config::{Environment, Flags, Settings};
use crate::error::{ErrorKind, NasSyncError, Result};
use crate::id::UserId;
use crate::json;
use crate::service::{NasSyncService, SyncSummary};
use crate::store::Selection;

/// The exit status when something required is missing.
const NOT_CONFIGURED: u8 = ErrorKind::NotConfigured.exit_code();
/// The exit status when some documents failed.
const DOCUMENTS_FAILED: u8 = 1;

/// Runs one command to its exit status.
pub async fn run(command: Command, flags: Flags, verbose: u8, console: &Console, signals: Signals) -> u8 {
    let failed = match command {
        Command::Test => json::test_failed,
        Command::Sync { .. } => json::sync_failed,
        _ => json::failed,
    };
    let mut flags = flags;
    if let Command::Watch(args) = &command {
        flags.metrics.clone_from(&args.metrics);
    }
    let settings = Environment::of_process().and_then(|environment| Settings::resolve(&flags, &environment));
    let result = match settings {
        Ok(settings) => dispatch(command, settings, verbose, console, signals).await,
        Err(error) => Err(error),
    };
    result.unwrap_or_else(|error| {
        console.error(&error);
        console.object(&failed(&error));
        error.kind().exit_code()
    })
}

async fn dispatch(
    command: Command,
    settings: Settings,
    verbose: u8,
    console: &Console,
    mut signals: Signals,
) -> Result<u8> {
    let service = NasSyncService::new(settings);
    match command {
        Command::Sync { user, document } => {
            let selection = args::selection(user, &document);
            sync(&service, selection, verbose, console, signals).await
        }
        Command::Watch(args) => Box::pin(watch::run(&args, &service, verbose, console, signals)).await,
        // Nothing of these is left half-done when their future is dropped.
        command => tokio::select! {
            result = brief(command, &service, console) => result,
            stop = signals.next() => Ok(stop.exit_code()),
        },
    }
}

async fn brief(command: Command, service: &NasSyncService, console: &Console) -> Result<u8> {
    match command {
        Command::Config => Ok(config(service.settings(), console)),
        Command::Test => test(service, console).await,
        Command::Add { paths, user } => add(service, UserId::from(user), paths, console).await,
        Command::Retry { user, document } => retry(service, args::selection(user, &document), console).await,
        Command::Status { user } => status(service, user.map(UserId::from), console).await,
        Command::Verify(args) => verify::run(service, &args, console).await,
        Command::Health(args) => Ok(watch::check(&args, service.settings(), console)),
        Command::Sync { .. } | Command::Watch(_) | Command::Push { .. } => {
            Err(NasSyncError::new(ErrorKind::Internal, "this command has a way of its own"))
        }
    }
}

fn config(settings: &Settings, console: &Console) -> u8 {
    console.line(&text::config(settings));
    console.object(&json::config(settings));
    if settings.is_configured() { 0 } else { NOT_CONFIGURED }
}

async fn test(service: &NasSyncService, console: &Console) -> Result<u8> {
    let report = service.test_connection().await?;
    let message = text::test_message(service.settings());
    console.line(&text::test(&report, &message));
    console.object(&json::test(&report, &message));
    Ok(0)
}

async fn add(service: &NasSyncService, user: UserId, paths: Vec<PathBuf>, console: &Console) -> Result<u8> {
    let ids = service.add(user, paths).await?;
    for id in &ids {
        console.line(&id.to_string());
    }
    console.object(&json::add(&ids));
    Ok(0)
}

async fn status(service: &NasSyncService, user: Option<UserId>, console: &Console) -> Result<u8> {
    let stats = service.stats(user.clone()).await?;
    let queue = service.queue(user.clone().map_or_else(Selection::all, Selection::of_user)).await?;
    let pause = service.pause().await?;
    let configured = service.is_configured();
    console.line(&text::status(&stats, &queue, pause.as_ref(), configured));
    console.object(&json::status(&stats, &queue, pause.as_ref(), configured));
    Ok(0)
}

async fn retry(service: &NasSyncService, selection: Selection, console: &Console) -> Result<u8> {
    let retried = service.retry(selection).await?;
    console.line(&text::retry(&retried));
    console.object(&json::retry(&retried));
    Ok(0)
}

async fn sync(
    service: &NasSyncService,
    selection: Selection,
    verbose: u8,
    console: &Console,
    signals: Signals,
) -> Result<u8> {
    let watcher = Arc::new(Watcher { bar: Bar::new(console.clone()), console: console.clone(), verbose });
    let (stop, stopped) = signals.into_stop();
    let result = service.sync(selection, Arc::clone(&watcher) as Arc<dyn DocumentMonitor>, stop).await;
    watcher.bar.finish();
    Ok(tell(&result?, stopped.get().copied(), verbose, console))
}

/// Says what a sync did, and gives its exit status.
pub(super) fn tell(summary: &SyncSummary, signal: Option<Stop>, verbose: u8, console: &Console) -> u8 {
    for warning in &summary.warnings {
        console.err(&format!("warning: {warning}"));
    }
    for failed in &summary.errors {
        console.err(&format!("error: {failed}"));
        if verbose > 0 {
            console.err(&format!("    cause: {}\n    solution: {}", failed.error.cause(), failed.error.solution()));
        }
    }
    if let Some(error) = &summary.stopped {
        console.error(error);
    }
    if let Some(until) = summary.paused_until {
        console
            .err(&format!("note: what is not on the NAS yet stays pending; `watch` goes on at {}", text::time(until)));
    }
    console.line(&text::sync(summary));
    console.object(&json::sync(summary));
    sync_exit(summary, signal)
}

/// A signal outranks trouble with the NAS, and that outranks trouble with documents.
fn sync_exit(summary: &SyncSummary, signal: Option<Stop>) -> u8 {
    match (&summary.stopped, signal) {
        (Some(error), Some(signal)) if error.kind() == ErrorKind::Interrupted => signal.exit_code(),
        (Some(error), _) => error.kind().exit_code(),
        (None, _) if summary.failed > 0 || summary.pending > 0 => DOCUMENTS_FAILED,
        (None, _) => 0,
    }
}

/// Shows the bar, and with `-v` each document and what the NAS says.
struct Watcher {
    bar: Bar,
    console: Console,
    verbose: u8,
}

impl DocumentMonitor for Watcher {
    fn event(&self, event: DocumentEvent<'_>) {
        if self.verbose > 0 {
            match &event {
                DocumentEvent::Sent { name, .. } => {
                    self.console.note(&format!("sent {name}"));
                }
                DocumentEvent::Text { loudness, text } => progress::show_remote_text(&self.console, *loudness, text),
                _ => {}
            }
        }
        self.bar.event(event);
    }
}

/// The exit status of the process, unless a result could not be written.
pub fn exit(console: &Console, code: u8, unwritten: u8) -> ExitCode {
    match console.fault() {
        Some(error) => {
            console.err(&format!("error: the result could not be written: {error}"));
            ExitCode::from(if code == 0 { unwritten } else { code })
        }
        None => ExitCode::from(code),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_status_of_a_sync() {
        let summary = |failed, pending, stopped: Option<ErrorKind>| SyncSummary {
            failed,
            pending,
            stopped: stopped.map(|kind| NasSyncError::new(kind, "x")),
            ..SyncSummary::default()
        };
        assert_eq!(sync_exit(&summary(0, 0, None), None), 0);
        assert_eq!(sync_exit(&summary(0, 0, None), Some(Stop::Interrupt)), 0, "all was done before the signal");
        assert_eq!(sync_exit(&summary(1, 0, None), None), 1);
        assert_eq!(sync_exit(&summary(0, 1, None), None), 1);
        assert_eq!(sync_exit(&summary(1, 1, Some(ErrorKind::DiskFull)), None), 3);
        assert_eq!(sync_exit(&summary(0, 1, Some(ErrorKind::KeyUnusable)), None), 2);
        let interrupted = summary(0, 3, Some(ErrorKind::Interrupted));
        assert_eq!(sync_exit(&interrupted, Some(Stop::Interrupt)), 130);
        assert_eq!(sync_exit(&interrupted, Some(Stop::Terminate)), 143);
    }
}
