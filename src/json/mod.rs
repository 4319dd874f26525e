//! The objects of `--json`, and what the feature `serde` writes for a report. Their keys are a promise: more may come, none
//! may change.

#[cfg(feature = "api")]
mod answers;
#[cfg(feature = "cli")]
mod commands;
mod documents;
mod progress;
#[cfg(feature = "service")]
mod service;
#[cfg(feature = "watch")]
mod watch;

use std::time::Duration;

use serde_json::{Value, json};

use crate::client::{ConnectionReport, TransferReport};
#[cfg(feature = "service")]
use crate::error::ErrorKind;
use crate::error::NasSyncError;
use crate::id::DocumentId;
#[cfg(feature = "service")]
use crate::id::UserId;
use crate::proof::{DurableBy, Level};
#[cfg(feature = "service")]
use crate::store::Failure;
use crate::text;

#[cfg(feature = "api")]
pub use self::answers::{config, resend, restore_failed, status, sync_of, test, test_failed};
#[cfg(feature = "cli")]
pub use self::commands::{add, doctor, failed, index, preview, push_failed, remove, setup, setup_key, sync_failed};
#[cfg(feature = "cli")]
pub use self::documents::{answer, senseless};
#[cfg(feature = "cli")]
pub use self::progress::object as progress;
pub use self::progress::{ProgressEvent, ProgressMonitor};
#[cfg(feature = "api")]
pub use self::service::{list, restore, retry, time};
#[cfg(feature = "cli")]
pub use self::service::{sync, verify};
#[cfg(feature = "cli")]
pub use self::watch::{health, watch};

/// The most of one line of a NAS that is written, and of all that it said, in bytes.
const MAX_LINE: usize = 1024;
const MAX_TEXT: usize = 64 * 1024;

/// Lets `serde` write a value as its object.
macro_rules! serialize {
    ($($type:ty => $object:expr),* $(,)?) => {$(
        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serde::Serialize::serialize(&$object(self), serializer)
            }
        }
    )*};
}
use serialize;

serialize! {
    NasSyncError => error,
    ConnectionReport => connection,
    TransferReport => push,
    DocumentId => id,
}

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

/// What a test of the connection found.
fn connection(report: &ConnectionReport) -> Value {
    let refused: Vec<_> = report
        .refusals
        .iter()
        .map(|refusal| json!({ "capability": refusal.capability.as_str(), "evidence": refusal.evidence }))
        .collect();
    json!({
        "host_key": report.host_key,
        "ssh_server": text::escape(&report.ssh_server),
        "rsync_version": report.rsync_version,
        "protocol": report.protocol,
        "connect_ms": millis(report.connect_time),
        "level": report.level.as_str(),
        "durable_by": report.durable_by.map(DurableBy::as_str),
        "flush_evidence": report.flush_evidence,
        "refused": refused,
    })
}

/// `push`
pub fn push(report: &TransferReport) -> Value {
    let stats = &report.stats;
    let failures: Vec<_> = report
        .failures
        .iter()
        .map(|(name, cause)| json!({ "name": text::escape_bytes(name), "error": error(cause) }))
        .collect();
    let mut object = json!({
        "exit_code": report.exit_code,
        "entries": stats.listed.total(),
        "files": stats.listed.files,
        "created": stats.created.total(),
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
        "remote_text": text::escape_lines_start(&report.remote_text, MAX_LINE, MAX_TEXT),
    });
    if let Some(cause) = &report.error {
        object["error"] = error(cause);
    }
    object
}

/// An error as it was recorded.
#[cfg(feature = "service")]
fn recorded(failure: &Failure) -> Value {
    let cause = ErrorKind::from_name(&failure.kind).map(ErrorKind::cause);
    json!({
        "kind": text::escape(&failure.kind),
        "message": text::escape(&failure.text),
        "details": null,
        "cause": cause,
        "solution": failure.solution().map(text::escape),
    })
}

/// A number where it is one.
#[cfg(feature = "service")]
fn user(id: &UserId) -> Value {
    id.as_integer().map_or_else(|| Value::from(id.as_text()), Value::from)
}

/// A number where it is one.
fn id(id: &DocumentId) -> Value {
    id.as_integer().map_or_else(|| Value::from(id.as_text()), Value::from)
}

pub fn hex(sum: &[u8; 32]) -> String {
    sum.iter().fold(String::new(), |hex, byte| format!("{hex}{byte:02x}"))
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

impl serde::Serialize for Level {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}
