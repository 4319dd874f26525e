//! The objects that commands print and no report is: of settings, of several reports together, of what could not be done.

use serde_json::{Value, json};

use super::service::{stats, sync, time};
use super::{connection, error, id};
use crate::client::ConnectionReport;
use crate::config::Settings;
use crate::error::{ErrorKind, NasSyncError};
use crate::id::DocumentId;
use crate::service::SyncSummary;
use crate::store::{Deferred, NextTry, Pause, Queue, SyncStats};

/// A command that could do nothing.
pub fn failed(cause: &NasSyncError) -> Value {
    json!({ "error": error(cause) })
}

/// `push`, when it could not start.
pub fn push_failed(cause: &NasSyncError, exit_code: u8) -> Value {
    json!({ "exit_code": exit_code, "error": error(cause) })
}

/// `config`
pub fn config(settings: &Settings, fault: Option<&NasSyncError>) -> Value {
    let status = settings.status();
    let mut object = json!({
        "configured": status.configured,
        "nas_host": status.nas_host,
        "nas_user": status.nas_user,
        "nas_path": status.nas_path,
        "host": status.host,
        "path": status.path,
        "missing": settings.missing(),
        "port": settings.port,
        "db": settings.db.to_string(),
        "layout": settings.layout,
    });
    if let Some(error) = fault {
        object["error"] = super::error(error);
    }
    object
}

/// `test`
pub fn test(report: &ConnectionReport, message: &str) -> Value {
    let mut object = connection(report);
    object["success"] = Value::from(true);
    object["message"] = Value::from(message);
    object
}

/// `test`, when it failed.
pub fn test_failed(cause: &NasSyncError) -> Value {
    json!({ "success": false, "message": cause.message(), "error": error(cause) })
}

/// `add`
pub fn add(ids: &[DocumentId]) -> Value {
    json!({ "ids": ids.iter().map(id).collect::<Vec<_>>() })
}

/// `resend`
pub fn resend(documents: usize) -> Value {
    json!({ "resent": documents })
}

/// `index`
pub fn index(created: bool) -> Value {
    json!({ "index": "nas_sync_pending", "created": created })
}

/// `sync`, when nothing could be looked at.
pub fn sync_failed(cause: &NasSyncError) -> Value {
    let summary = SyncSummary { stopped: Some(cause.clone()), ..SyncSummary::default() };
    sync_of(&summary, Vec::new())
}

/// `sync`, with an object for each document that was tried.
pub fn sync_of(summary: &SyncSummary, documents: Vec<Value>) -> Value {
    let mut object = sync(summary);
    object["documents"] = Value::from(documents);
    object
}

/// `status`; `failures` holds every pending document whose last try failed.
pub fn status(figures: &SyncStats, queue: &Queue, pause: Option<&Pause>, configured: bool) -> Value {
    let waiting = queue.deferred.iter().filter(|deferred| deferred.next != NextTry::Never).count();
    let mut object = stats(figures);
    object["due"] = json!(queue.due);
    object["sending"] = json!(queue.leased);
    object["waiting"] = json!(waiting);
    object["failed_for_good"] = json!(queue.deferred.len() - waiting);
    object["failures"] = queue.deferred.iter().map(deferred).collect();
    object["paused"] = json!(pause.map(|pause| json!({
        "until": pause.until.map(time),
        "kind": pause.failure.kind,
        "message": pause.failure.text,
    })));
    object["nas_configured"] = json!(configured);
    object
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use chrono::{TimeZone as _, Utc};

    use super::*;
    use crate::id::DocumentId;
    use crate::json::verify;
    use crate::service::{DocumentError, verify::VerifyReport};

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

    #[test]
    fn serde_writes_the_same_objects() {
        let error = NasSyncError::new(ErrorKind::SourceMissing, "gone");
        let failed = DocumentError { id: Some(DocumentId::from("a")), error };
        let summary = SyncSummary { total: 1, failed: 1, errors: vec![failed], ..SyncSummary::default() };
        assert_eq!(serde_json::to_value(&summary).unwrap(), sync(&summary));
        assert_eq!(serde_json::to_value(&summary.errors[0]).unwrap()["id"], "a");
        assert_eq!(serde_json::to_string(&DocumentId::from(7)).unwrap(), "7");
    }
}
