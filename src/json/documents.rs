//! What became of each document: the one shape of it.

#[cfg(feature = "cli")]
mod lines;

use serde_json::{Value, json};

use super::{error, hex, id, serialize};
#[cfg(feature = "api")]
use crate::client::documents::TriedDocuments;
use crate::client::documents::{DocumentOutcome, Proof, StoredDocument};
use crate::error::NasSyncError;
use crate::id::DocumentId;
#[cfg(feature = "cli")]
use crate::service::{DocumentError, PlannedDocument};
use crate::text;

#[cfg(feature = "cli")]
pub use self::lines::{answer, senseless};

serialize! {
    StoredDocument => stored,
    DocumentOutcome => outcome,
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

/// A document that a sync would send.
#[cfg(feature = "cli")]
pub fn planned(planned: &PlannedDocument) -> Value {
    let name = text::escape_bytes(planned.name.as_bytes());
    let mut object = document(Some(&planned.id), Some(&name), Ok(None));
    object["bytes"] = planned.bytes.into();
    object
}

/// A document that a sync would refuse.
#[cfg(feature = "cli")]
pub fn refused(refused: &DocumentError) -> Value {
    document(refused.id.as_ref(), None, Err(&refused.error))
}

fn stored(stored: &StoredDocument) -> Value {
    let name = text::escape_bytes(stored.name.as_bytes());
    document(Some(&stored.id), Some(&name), Ok(Some(&stored.proof())))
}

fn outcome(outcome: &DocumentOutcome) -> Value {
    match &outcome.result {
        Ok(document) => stored(document),
        Err(cause) => document(Some(&outcome.id), None, Err(cause)),
    }
}

/// One object for each document that was tried, by ascending id, and whether there were more than are kept.
#[cfg(feature = "api")]
pub fn tried(tried: &TriedDocuments) -> (Vec<Value>, bool) {
    tried.look(|kept| {
        let nameless = kept.nameless.iter().map(|cause| document(None, None, Err(cause)));
        let named = kept
            .documents
            .iter()
            .map(|(id, tried)| document(Some(id), tried.name.as_deref(), tried.end.as_ref().map(Option::as_ref)));
        (nameless.chain(named).collect(), kept.more)
    })
}

#[cfg(all(test, feature = "api"))]
mod tests {
    use super::*;
    use crate::client::documents::{DocumentEvent, DocumentMonitor as _};
    use crate::error::ErrorKind;
    use crate::proof::Level;
    use crate::tree::RemoteName;

    #[test]
    fn each_document_has_one_object_with_its_end_and_only_so_many_are_kept() {
        let (a, b, c, name) = (3.into(), 2.into(), 1.into(), RemoteName::new("n").unwrap());
        let cause = NasSyncError::new(ErrorKind::SourceMissing, "gone");
        let started = |id| DocumentEvent::Started { id, name: &name, bytes: 1 };
        let sum = [0xab; 32];
        let events = [
            started(&a),
            DocumentEvent::Failed { id: Some(&a), error: &cause },
            started(&a),
            DocumentEvent::Failed { id: Some(&c), error: &cause },
            DocumentEvent::Failed { id: None, error: &cause },
            started(&b),
            DocumentEvent::Recorded { id: &a, name: &name, level: Level::Stored, bytes: 1, sha256: Some(&sum) },
        ];
        let kept = |most: usize| {
            let documents = TriedDocuments::at_most(most);
            for event in events {
                documents.event(event);
            }
            tried(&documents)
        };
        let failed = |id: Value| {
            json!({
                "id": id, "name": null, "outcome": "failed", "level": null, "bytes": null, "sha256": null,
                "error": error(&cause),
            })
        };
        let [nameless, first, second, third] = [
            failed(Value::Null),
            failed(json!(1)),
            json!({ "id": 2, "name": "n", "outcome": "pending", "level": null, "bytes": null, "sha256": null }),
            json!({
                "id": 3, "name": "n", "outcome": "synced", "level": "stored", "bytes": 1, "sha256": "ab".repeat(32),
            }),
        ];
        let all = vec![nameless.clone(), first.clone(), second, third.clone()];
        assert_eq!((kept(4), kept(usize::MAX)), ((all.clone(), false), (all, false)));
        assert_eq!(kept(3), (vec![nameless, first.clone(), third.clone()], true));
        assert_eq!(kept(2), (vec![first, third.clone()], true));
        assert_eq!(kept(1), (vec![third], true));
        assert_eq!(kept(0), (vec![], true));
    }
}
