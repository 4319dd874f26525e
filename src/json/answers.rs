//! The objects of settings and of several reports together, as commands print them and the API answers them.

use serde_json::{Value, json};

use super::service::{restore, stats, sync, time};
use super::{connection, error, id};
use crate::client::ConnectionReport;
use crate::client::documents::TriedDocuments;
use crate::config::Settings;
use crate::error::NasSyncError;
use crate::service::SyncSummary;
use crate::service::restore::RestoreReport;
use crate::store::{Deferred, Moved, NextTry, Pause, Queue, SyncStats};

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
        "port": settings.nas_port(),
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

/// `sync`, with an object for each document that was tried; `more`: there were more of them than stand there.
pub fn sync_of(summary: &SyncSummary, tried: Option<&TriedDocuments>) -> Value {
    let (documents, more) = tried.map(super::documents::tried).unwrap_or_default();
    let mut object = sync(summary);
    object["documents"] = Value::from(documents);
    object["more"] = Value::from(more);
    object
}

/// `resend`
pub fn resend(documents: usize) -> Value {
    json!({ "resent": documents })
}

/// `restore`, when nothing could be tried.
pub fn restore_failed(cause: &NasSyncError) -> Value {
    let mut object = restore(&RestoreReport::default());
    object["error"] = error(cause);
    object
}

/// `status`; `failures` holds every pending document whose last try failed.
pub fn status(
    figures: &SyncStats,
    queue: &Queue,
    pause: Option<&Pause>,
    moved: Option<&Moved>,
    configured: bool,
) -> Value {
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
        "solution": pause.failure.solution(),
    })));
    object["moved"] = json!(moved.map(|moved| json!({
        "from": moved.from,
        "documents": moved.documents,
        "message": moved.message(),
        "solution": Moved::SOLUTION,
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
        "solution": deferred.failure.solution(),
        "tries": deferred.tries,
        "next_try": next,
    })
}

#[cfg(test)]
mod tests {
    use chrono::{TimeZone as _, Utc};

    use super::*;

    #[test]
    fn status_writes_times_in_utc_and_one_decimal() {
        let last_sync = Utc.with_ymd_and_hms(2024, 1, 15, 14, 30, 0).single();
        let stats = SyncStats { sync_percentage: 94.7, last_sync, ..SyncStats::default() };
        let object = status(&stats, &Queue::default(), None, None, true);
        assert_eq!(object["last_sync"], "2024-01-15T14:30:00Z");
        assert!(object.to_string().contains("\"sync_percentage\":94.7"));
        assert_eq!(status(&SyncStats::default(), &Queue::default(), None, None, false)["last_sync"], Value::Null);
    }
}
