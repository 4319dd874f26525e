//! What became of each document: the one shape of it.

#[cfg(feature = "cli")]
mod lines;
#[cfg(feature = "cli")]
mod tried;

use serde_json::{Value, json};

use super::{error, hex, id, serialize};
use crate::client::documents::{DocumentOutcome, StoredDocument};
use crate::error::NasSyncError;
use crate::id::DocumentId;
use crate::proof::Level;
use crate::text;

#[cfg(feature = "cli")]
pub use self::lines::{answer, senseless};
#[cfg(feature = "cli")]
pub use self::tried::TriedDocuments;

serialize! {
    StoredDocument => stored,
    DocumentOutcome => outcome,
}

/// What is on the NAS of a document.
#[derive(Debug, Clone, Copy)]
struct Proof {
    level: Level,
    bytes: u64,
    sha256: Option<[u8; 32]>,
}

impl Proof {
    fn of(document: &StoredDocument) -> Self {
        Self { level: document.level, bytes: document.bytes, sha256: document.sha256 }
    }
}

/// A document that was tried. Its name on the NAS is escaped, and unknown of one that was not begun; its end is a proof, none
/// because the run ended before, or an error.
fn document(key: Option<&DocumentId>, name: Option<&str>, end: Result<Option<&Proof>, &NasSyncError>) -> Value {
    let (word, proof, cause) = match end {
        Ok(Some(proof)) => ("synced", Some(proof), None),
        Ok(None) => ("pending", None, None),
        Err(cause) => ("failed", None, Some(cause)),
    };
    let mut object = json!({
        "id": key.map(id),
        "name": name,
        "outcome": word,
        "level": proof.map(|proof| proof.level.as_str()),
        "bytes": proof.map(|proof| proof.bytes),
        "sha256": proof.and_then(|proof| proof.sha256.as_ref()).map(hex),
    });
    if let Some(cause) = cause {
        object["error"] = error(cause);
    }
    object
}

fn stored(stored: &StoredDocument) -> Value {
    let name = text::escape_bytes(stored.name.as_bytes());
    document(Some(&stored.id), Some(&name), Ok(Some(&Proof::of(stored))))
}

fn outcome(outcome: &DocumentOutcome) -> Value {
    match &outcome.result {
        Ok(document) => stored(document),
        Err(cause) => document(Some(&outcome.id), None, Err(cause)),
    }
}
