//! The objects of the service's reports.

use std::os::unix::ffi::OsStrExt as _;

use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use super::{error, id, millis, recorded, serialize, user};
use crate::id::DocumentId;
use crate::service::restore::RestoreReport;
use crate::service::verify::VerifyReport;
use crate::service::{DocumentError, SyncSummary, SyncedFile};
use crate::store::{ListedDocument, Listing, NextTry, Retried, SyncStats};
use crate::text;

serialize! {
    DocumentError => failure,
    SyncedFile => synced_file,
    SyncSummary => sync,
    SyncStats => stats,
    Retried => retry,
    Listing => list,
    ListedDocument => listed,
    VerifyReport => verify,
    RestoreReport => restore,
}

/// A document and why it failed.
pub(super) fn failure(failed: &DocumentError) -> Value {
    json!({ "id": failed.id.as_ref().map(id), "error": error(&failed.error) })
}

/// A document that was synced by itself.
fn synced_file(file: &SyncedFile) -> Value {
    json!({
        "id": id(&file.id),
        "remote_name": text::escape_bytes(&file.remote_name),
        "bytes": file.bytes,
        "level": file.level.as_str(),
    })
}

/// `sync`; `error` stands there only when something ended the run early.
pub fn sync(summary: &SyncSummary) -> Value {
    let failures: Vec<_> = summary.errors.iter().map(failure).collect();
    let mut object = json!({
        "total": summary.total,
        "synced": summary.synced,
        "failed": summary.failed,
        "pending": summary.pending,
        "errors": summary.errors.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "failures": failures,
        "failed_earlier": summary.failed_earlier.iter().map(id).collect::<Vec<_>>(),
        "waiting": summary.waiting.iter().map(id).collect::<Vec<_>>(),
        "warnings": summary.warnings,
        "bytes_sent": summary.bytes_sent,
        "elapsed_ms": millis(summary.elapsed),
        "paused_until": summary.paused_until.map(time),
    });
    if let Some(stopped) = &summary.stopped {
        object["error"] = error(stopped);
    }
    object
}

/// `retry`
pub fn retry(retried: &Retried) -> Value {
    json!({ "retried": retried.documents, "pause_ended": retried.pause.is_some() })
}

/// `list`
pub fn list(listing: &Listing) -> Value {
    json!({ "documents": listing.documents.iter().map(listed).collect::<Vec<_>>(), "more": listing.more })
}

fn listed(document: &ListedDocument) -> Value {
    let mut object = json!({
        "id": id(&document.id),
        "user_id": document.user_id.as_ref().map(user),
        "state": document.state.as_str(),
        "sending": document.sending,
        "file": text::escape(&document.file),
        "path": document.path.as_ref().map(|path| text::escape_bytes(path.as_os_str().as_bytes())),
        "name": document.copy.as_ref().map(|copy| text::escape_bytes(&copy.remote_name)),
        "level": document.copy.as_ref().map(|copy| copy.level.as_str()),
        "bytes": document.copy.as_ref().map(|copy| copy.bytes),
        "synced_at": document.synced_at.map(time),
    });
    if let Some(deferred) = &document.deferred {
        object["tries"] = json!(deferred.tries);
        object["next_try"] = json!(match deferred.next {
            NextTry::At(at) => Some(time(at)),
            NextTry::Never => None,
        });
        object["error"] = recorded(&deferred.failure);
    }
    object
}

/// The statistics of a user, or of everyone.
pub fn stats(stats: &SyncStats) -> Value {
    json!({
        "total_documents": stats.total_documents,
        "synced": stats.synced,
        "pending": stats.pending,
        "failed": stats.failed,
        "sync_percentage": stats.sync_percentage,
        "last_sync": stats.last_sync.map(time),
    })
}

/// `verify`; `error` stands there only when something ended it early.
pub fn verify(report: &VerifyReport) -> Value {
    let ids = |ids: &[DocumentId]| ids.iter().map(id).collect::<Vec<_>>();
    let unknown: Vec<_> = report.unknown.iter().map(failure).collect();
    let mut object = json!({
        "total": report.total,
        "checked": report.checked,
        "equal": report.equal,
        "differing": ids(&report.differing),
        "missing": ids(&report.missing),
        "changed_here": ids(&report.changed_here),
        "gone_here": ids(&report.gone_here),
        "kept": ids(&report.kept),
        "unknown": unknown,
        "requeued": report.requeued,
    });
    if let Some(stopped) = &report.stopped {
        object["error"] = error(stopped);
    }
    object
}

/// `restore`
pub fn restore(report: &RestoreReport) -> Value {
    json!({
        "total": report.total,
        "restored": report.restored,
        "were_here": report.were_here,
        "failed": report.errors.len(),
        "errors": report.errors.iter().map(ToString::to_string).collect::<Vec<_>>(),
    })
}

pub fn time(time: DateTime<Utc>) -> String {
    time.format("%Y-%m-%dT%H:%M:%SZ").to_string()
}
