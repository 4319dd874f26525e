//! The objects of `--json`. Their keys are a promise: more may come, none may change.

use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use crate::client::PushReport;
use crate::config::Settings;
use crate::error::{ErrorKind, NasSyncError};
use crate::id::DocumentId;
use crate::service::verify::VerifyReport;
use crate::service::{ConnectionReport, Retried, SyncSummary};
use crate::store::{Deferred, NextTry, Pause, Queue, SyncStats};
use crate::text;
use crate::watch::WatchSummary;
use crate::watch::health_file::Checkup;

/// What every object says about an error.
pub fn error(error: &NasSyncError) -> Value {
    json!({
        "kind": error.kind().as_str(),
        "message": error.message(),
        "details": error.details(),
        "cause": error.cause(),
        "solution": error.solution(),
    })
}

/// A command that could do nothing.
pub fn failed(cause: &NasSyncError) -> Value {
    json!({ "error": error(cause) })
}

/// `config`
pub fn config(settings: &Settings) -> Value {
    let status = settings.status();
    json!({
        "configured": status.configured,
        "nas_host": status.nas_host,
        "nas_user": status.nas_user,
        "nas_path": status.nas_path,
        "host": status.host,
        "path": status.path,
        "missing": settings.missing(),
        "port": settings.port,
        "db": text::escape_bytes(settings.db.as_os_str().as_encoded_bytes()),
        "layout": settings.layout,
    })
}

/// `test`
pub fn test(report: &ConnectionReport, message: &str) -> Value {
    json!({
        "success": true,
        "message": message,
        "host_key": report.host_key,
        "ssh_server": text::escape(&report.ssh_server),
        "rsync_version": report.rsync_version,
        "protocol": report.protocol,
        "connect_ms": millis(report.connect_time),
        "level": report.level.as_str(),
    })
}

/// `test`, when it failed.
pub fn test_failed(cause: &NasSyncError) -> Value {
    json!({ "success": false, "message": cause.message(), "error": error(cause) })
}

/// `add`
pub fn add(ids: &[DocumentId]) -> Value {
    json!({ "ids": ids.iter().map(id).collect::<Vec<_>>() })
}

/// `sync`; `error` stands there only when something ended the run early.
pub fn sync(summary: &SyncSummary) -> Value {
    let failures: Vec<_> = summary
        .errors
        .iter()
        .map(|failed| json!({ "id": failed.id.as_ref().map(id), "error": error(&failed.error) }))
        .collect();
    let mut object = json!({
        "total": summary.total,
        "synced": summary.synced,
        "failed": summary.failed,
        "pending": summary.pending,
        "errors": summary.errors.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "failures": failures,
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

/// `sync`, when nothing could be looked at.
pub fn sync_failed(cause: &NasSyncError) -> Value {
    let summary = SyncSummary { stopped: Some(cause.clone()), ..SyncSummary::default() };
    sync(&summary)
}

/// `retry`
pub fn retry(retried: &Retried) -> Value {
    json!({ "retried": retried.documents, "pause_ended": retried.pause.is_some() })
}

/// `status`; `failures` holds every pending document whose last try failed.
pub fn status(stats: &SyncStats, queue: &Queue, pause: Option<&Pause>, configured: bool) -> Value {
    let failures: Vec<_> = queue.deferred.iter().map(deferred).collect();
    let waiting = queue.deferred.iter().filter(|deferred| deferred.next != NextTry::Never).count();
    json!({
        "due": queue.due,
        "sending": queue.leased,
        "waiting": waiting,
        "failed_for_good": queue.deferred.len() - waiting,
        "failures": failures,
        "paused": pause.map(|pause| json!({
            "until": pause.until.map(time),
            "kind": pause.failure.kind,
            "message": pause.failure.text,
        })),
        "total_documents": stats.total_documents,
        "synced": stats.synced,
        "pending": stats.pending,
        "failed": stats.failed,
        "sync_percentage": stats.sync_percentage,
        "last_sync": stats.last_sync.map(time),
        "nas_configured": configured,
    })
}

fn deferred(deferred: &Deferred) -> Value {
    let next = match deferred.next {
        NextTry::At(at) => Some(time(at)),
        NextTry::Never => None,
    };
    json!({
        "id": id(&deferred.id),
        "kind": deferred.failure.kind,
        "message": deferred.failure.text,
        "solution": ErrorKind::from_name(&deferred.failure.kind).map(ErrorKind::solution),
        "tries": deferred.tries,
        "next_try": next,
    })
}

fn time(time: DateTime<Utc>) -> String {
    time.format("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// A number where it is one.
fn id(id: &DocumentId) -> Value {
    id.as_integer().map_or_else(|| Value::from(id.as_text()), Value::from)
}

/// `verify`; `error` stands there only when something ended it early.
pub fn verify(report: &VerifyReport) -> Value {
    let ids = |ids: &[DocumentId]| ids.iter().map(id).collect::<Vec<_>>();
    let unknown: Vec<_> = report
        .unknown
        .iter()
        .map(|failed| json!({ "id": failed.id.as_ref().map(id), "error": error(&failed.error) }))
        .collect();
    let mut object = json!({
        "total": report.total,
        "checked": report.checked,
        "equal": report.equal,
        "differing": ids(&report.differing),
        "missing": ids(&report.missing),
        "changed_here": ids(&report.changed_here),
        "unknown": unknown,
        "requeued": report.requeued,
    });
    if let Some(stopped) = &report.stopped {
        object["error"] = error(stopped);
    }
    object
}

/// `watch`, at its end.
pub fn watch(summary: &WatchSummary) -> Value {
    json!({
        "synced": summary.synced,
        "failures": summary.failures,
        "bytes_sent": summary.bytes_sent,
        "elapsed_ms": millis(summary.elapsed),
    })
}

/// `health`
pub fn health(checkup: &Checkup) -> Value {
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

/// `push`
pub fn push(report: &PushReport) -> Value {
    let stats = &report.stats;
    let failures: Vec<_> = report
        .failures
        .iter()
        .map(|(name, cause)| json!({ "name": text::escape_bytes(name), "error": error(cause) }))
        .collect();
    let mut object = json!({
        "exit_code": report.exit_code,
        "entries": stats.entries,
        "files": stats.files,
        "created": stats.created,
        "transferred": stats.transferred,
        "total_size": stats.total_size,
        "transferred_size": stats.transferred_size,
        "literal_bytes": stats.literal,
        "matched_bytes": stats.matched,
        "bytes_sent": stats.sent,
        "bytes_received": stats.received,
        "elapsed_ms": millis(report.elapsed),
        "warnings": report.warnings.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "failures": failures,
        "remote_text": text::escape_lines(&report.remote_text),
    });
    if let Some(cause) = &report.error {
        object["error"] = error(cause);
    }
    object
}

/// `push`, when it could not start.
pub fn push_failed(cause: &NasSyncError, exit_code: u8) -> Value {
    json!({ "exit_code": exit_code, "error": error(cause) })
}

fn millis(time: std::time::Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use chrono::{TimeZone as _, Utc};

    use super::*;
    use crate::service::DocumentError;

    fn keys(object: &Value) -> Vec<&str> {
        object.as_object().unwrap().keys().map(String::as_str).collect()
    }

    #[test]
    fn sync_keeps_its_keys_and_types() {
        let error = NasSyncError::new(ErrorKind::SourceMissing, "gone");
        let failed = DocumentError { id: Some(DocumentId::from(42)), error };
        let mut summary =
            SyncSummary { total: 8, synced: 7, failed: 1, errors: vec![failed], ..SyncSummary::default() };
        summary.elapsed = Duration::from_millis(1500);
        let object = sync(&summary);
        assert_eq!(object["errors"], json!(["Document 42: gone"]));
        assert_eq!((&object["total"], &object["elapsed_ms"]), (&json!(8), &json!(1500)));
        assert!(object.get("error").is_none());
        let object = sync_failed(&NasSyncError::new(ErrorKind::DatabaseLocked, "x"));
        assert_eq!((&object["total"], &object["error"]["kind"]), (&json!(0), &json!("database_locked")));
    }

    #[test]
    fn status_writes_times_in_utc_and_one_decimal() {
        let last_sync = Utc.with_ymd_and_hms(2024, 1, 15, 14, 30, 0).single();
        let stats = SyncStats { sync_percentage: 94.7, last_sync, ..SyncStats::default() };
        let object = status(&stats, &Queue::default(), None, true);
        assert_eq!(object["last_sync"], "2024-01-15T14:30:00Z");
        assert!(object.to_string().contains("\"sync_percentage\":94.7"));
        assert_eq!(status(&SyncStats::default(), &Queue::default(), None, false)["last_sync"], Value::Null);
    }

    #[test]
    fn errors_have_five_keys() {
        let object = error(&NasSyncError::new(ErrorKind::HostKeyChanged, "x").with_details("a\nb"));
        assert_eq!(keys(&object).len(), 5);
        assert_eq!(object["kind"], "host_key_changed");
        assert_eq!(object["details"], "a\nb");
    }

    #[test]
    fn verify_lists_ids_and_says_what_ended_it() {
        let missing =
            VerifyReport { total: 3, checked: 3, missing: vec![DocumentId::from(7)], ..VerifyReport::default() };
        assert_eq!(verify(&missing)["missing"], json!([7]));
        assert!(verify(&missing).get("error").is_none());
        let stopped = Some(NasSyncError::new(ErrorKind::ConnectionLost, "x"));
        let cut = VerifyReport { stopped, ..VerifyReport::default() };
        assert_eq!(verify(&cut)["error"]["kind"], "connection_lost");
    }
}
