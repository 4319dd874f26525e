//! What `sync` and `watch --once` say about a sync, and the exit status that follows from it.

use crate::cli::console::Console;
use crate::cli::rsync::numbers::{self, Numbers};
use crate::cli::signals::Stop;
use crate::cli::text;
use crate::client::documents::TriedDocuments;
use crate::error::ErrorKind;
use crate::json;
use crate::service::SyncSummary;

/// The exit status when some documents failed.
const DOCUMENTS_FAILED: u8 = 1;

/// Says what a sync did, and gives its exit status. `tried` are the documents that were tried, where objects are wanted; `signal`
/// is the one that ended it, if one did.
pub fn sync(
    summary: &SyncSummary,
    tried: Option<&TriedDocuments>,
    signal: Option<Stop>,
    verbose: u8,
    console: &Console,
) -> u8 {
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
    console.line(&line(summary));
    console.object(&json::sync_of(summary, tried));
    exit_code(summary, signal)
}

/// The result in one line.
fn line(summary: &SyncSummary) -> String {
    let counts = [(summary.failed, "failed"), (summary.pending, "still pending")];
    let counts = counts.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!(", {count} {what}"));
    format!(
        "{} of {} documents synced{}; {} bytes sent in {:.1} s",
        summary.synced,
        summary.total,
        counts.collect::<String>(),
        numbers::count(summary.bytes_sent, Numbers::Separated),
        summary.elapsed.as_secs_f64()
    )
}

/// A signal outranks trouble with the NAS, and that outranks trouble with documents.
fn exit_code(summary: &SyncSummary, signal: Option<Stop>) -> u8 {
    match (&summary.stopped, signal) {
        (Some(error), Some(signal)) if error.kind() == ErrorKind::Interrupted => signal.exit_code(),
        (Some(error), _) => error.kind().exit_code(),
        (None, _) if summary.failed > 0 || summary.pending > 0 => DOCUMENTS_FAILED,
        (None, _) => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::NasSyncError;

    #[test]
    fn exit_status_of_a_sync() {
        let summary = |failed, pending, stopped: Option<ErrorKind>| SyncSummary {
            failed,
            pending,
            stopped: stopped.map(|kind| NasSyncError::new(kind, "x")),
            ..SyncSummary::default()
        };
        assert_eq!(exit_code(&summary(0, 0, None), None), 0);
        assert_eq!(exit_code(&summary(0, 0, None), Some(Stop::Interrupt)), 0, "all was done before the signal");
        assert_eq!(exit_code(&summary(1, 0, None), None), 1);
        assert_eq!(exit_code(&summary(0, 1, None), None), 1);
        assert_eq!(exit_code(&summary(1, 1, Some(ErrorKind::DiskFull)), None), 3);
        assert_eq!(exit_code(&summary(0, 1, Some(ErrorKind::KeyUnusable)), None), 2);
        let interrupted = summary(0, 3, Some(ErrorKind::Interrupted));
        assert_eq!(exit_code(&interrupted, Some(Stop::Interrupt)), 130);
        assert_eq!(exit_code(&interrupted, Some(Stop::Terminate)), 143);
    }

    #[test]
    fn a_summary_names_only_what_happened() {
        let mut summary = SyncSummary { total: 2, synced: 2, bytes_sent: 1234, ..SyncSummary::default() };
        assert_eq!(line(&summary), "2 of 2 documents synced; 1,234 bytes sent in 0.0 s");
        (summary.synced, summary.failed) = (1, 1);
        assert!(line(&summary).starts_with("1 of 2 documents synced, 1 failed; "));
    }
}
