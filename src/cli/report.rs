//! What `sync` and `watch --once` say about a sync, and the exit status that follows from it.

use std::collections::HashSet;

use crate::cli::console::Console;
use crate::cli::signals::Stop;
use crate::cli::text::{self, bytes};
use crate::client::documents::TriedDocuments;
use crate::error::ErrorKind;
use crate::id::DocumentId;
use crate::json;
use crate::service::{DocumentError, SyncPreview, SyncSummary};
use crate::text::{counted, escape_bytes};

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
        console.note(&format!("warning: {warning}"));
    }
    let is_old = |failed: &DocumentError| failed.id.as_ref().is_some_and(|id| summary.failed_earlier.contains(id));
    let news: Vec<_> = summary.errors.iter().filter(|failed| !is_old(failed)).collect();
    let mut told = HashSet::new();
    console.some(news.iter().map(|failed| {
        match (verbose, !console.is_quiet() && told.insert(failed.error.solution())) {
            (0, true) => format!("error: {failed}\n    {}", failed.error.solution()),
            (0, false) => format!("error: {failed}"),
            _ => format!(
                "error: {failed}\n    cause: {}\n    solution: {}",
                failed.error.cause(),
                failed.error.solution()
            ),
        }
    }));
    if let Some(error) = &summary.stopped {
        console.error(error);
    }
    if let Some(until) = summary.paused_until {
        console
            .note(&format!("note: what is not on the NAS yet stays pending; `watch` goes on at {}", text::time(until)));
    }
    if let Some(ids) = some_of(&summary.failed_for_good) {
        console.err(&format!("failed for good, and told once: {ids}; {SETTLE}"));
    }
    if let Some(ids) = some_of(&summary.failed_earlier) {
        console.note(&format!(
            "note: failed for good before, and not tried again: {ids}; `nas-sync status` says why; {SETTLE}"
        ));
    }
    console.report(&line(summary));
    console.object(&json::sync_of(summary, tried));
    exit_code(summary, signal)
}

/// What ends a final failure.
const SETTLE: &str = "see to the cause and run `nas-sync retry`, or give them up with `nas-sync remove`";
/// So many documents are named in a line.
const NAMED: usize = 10;

/// Documents as a list; `None`: there are none.
fn some_of(ids: &[DocumentId]) -> Option<String> {
    let named = ids.iter().take(NAMED).map(ToString::to_string).collect::<Vec<_>>().join(", ");
    match ids.len() {
        0 => None,
        1 => Some(format!("document {named}")),
        count if count > NAMED => Some(format!("documents {named} and {} more", count - NAMED)),
        _ => Some(format!("documents {named}")),
    }
}

/// Says what a sync would do, and gives the exit status that it would end with as far as that is known.
pub fn preview(preview: &SyncPreview, console: &Console) -> u8 {
    for document in &preview.sent {
        let (path, name) = (document.path.as_os_str().as_encoded_bytes(), document.name.as_bytes());
        let (path, name) = (escape_bytes(path), escape_bytes(name));
        console.line(&format!("Document {}: {path} -> {name} ({})", document.id, bytes(document.bytes)));
    }
    for refused in &preview.refused {
        console.line(&format!("{refused} (would fail)"));
    }
    for left in &preview.left_alone {
        console.line(&format!("{left} (would not be tried)"));
    }
    let all = bytes(preview.sent.iter().map(|document| document.bytes).sum());
    let counts = [
        (preview.refused.len(), "would fail"),
        (preview.left_alone.len(), "would not be tried"),
        (preview.sending, "being sent by another worker"),
    ];
    let counts = counts.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!(", {count} {what}"));
    let sent = counted(preview.sent.len() as u64, "document", "documents");
    console.report(&format!("{sent} ({all}) would be sent{}", counts.collect::<String>()));
    console.object(&json::preview(preview));
    if preview.refused.is_empty() { 0 } else { DOCUMENTS_FAILED }
}

/// The result in one line.
fn line(summary: &SyncSummary) -> String {
    if summary.total == summary.failed_earlier.len() {
        return "nothing to send".to_owned();
    }
    let counts = [(summary.failed, "failed"), (summary.pending, "still pending")];
    let counts = counts.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!(", {count} {what}"));
    format!(
        "{} of {} synced{}; {} sent in {:.1} s",
        summary.synced,
        counted(summary.total as u64, "document", "documents"),
        counts.collect::<String>(),
        bytes(summary.bytes_sent),
        summary.elapsed.as_secs_f64()
    )
}

/// A signal outranks trouble with the NAS, and that outranks trouble with documents.
fn exit_code(summary: &SyncSummary, signal: Option<Stop>) -> u8 {
    match (&summary.stopped, signal) {
        (Some(error), Some(signal)) if error.kind() == ErrorKind::Interrupted => signal.exit_code(),
        (Some(error), _) => error.kind().exit_code(),
        (None, _) if summary.is_success() => 0,
        (None, _) => DOCUMENTS_FAILED,
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
        let mut told = summary(2, 0, None);
        told.failed_earlier = vec![DocumentId::from(1)];
        assert_eq!(exit_code(&told, None), 1, "one of the two is news");
        told.failed_earlier.push(DocumentId::from(2));
        assert_eq!(exit_code(&told, None), 0, "both were told before");
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
