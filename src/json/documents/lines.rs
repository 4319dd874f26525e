//! The lines that `send --json-lines` answers with.

use serde_json::{Value, json};

use crate::client::documents::DocumentOutcome;
use crate::error::NasSyncError;
use crate::json::{error, hex, id};

/// What became of a document.
pub fn answer(outcome: &DocumentOutcome) -> Value {
    let key = id(&outcome.id);
    match &outcome.result {
        Ok(stored) => json!({
            "key": key,
            "outcome": "synced",
            "level": stored.level.as_str(),
            "sha256": stored.sha256.as_ref().map(hex),
            "bytes": stored.bytes,
        }),
        Err(cause) => json!({ "key": key, "outcome": "failed", "error": error(cause) }),
    }
}

/// A line that names no document. `key` is what stands there in a key's place.
pub fn senseless(number: u64, key: Option<&Value>, cause: &NasSyncError) -> Value {
    json!({ "key": key, "line": number, "outcome": "failed", "error": error(cause) })
}
