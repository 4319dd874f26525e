//! The objects of the loop that keeps syncing.

use serde_json::{Value, json};

use super::{millis, serialize};
use crate::watch::WatchSummary;
use crate::watch::health_file::Checkup;

serialize! {
    WatchSummary => watch,
    Checkup => health,
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
