//! The documents that a run tries, kept for the object at its end.

use std::collections::BTreeMap;
use std::sync::Mutex;

use serde_json::Value;

use super::{Proof, document};
use crate::blocking;
use crate::client::documents::{DocumentEvent, DocumentMonitor};
use crate::error::NasSyncError;
use crate::id::DocumentId;
use crate::text;

/// Keeps what becomes of each document. It takes about 200 bytes for each.
#[derive(Debug, Default)]
pub struct TriedDocuments(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    documents: BTreeMap<DocumentId, Tried>,
    /// Rows without a usable id.
    nameless: Vec<NasSyncError>,
}

#[derive(Debug)]
struct Tried {
    name: Option<Box<str>>,
    end: Result<Option<Proof>, NasSyncError>,
}

impl TriedDocuments {
    /// One object for each, by ascending id.
    pub fn objects(&self) -> Vec<Value> {
        let kept = blocking::lock(&self.0);
        let nameless = kept.nameless.iter().map(|cause| document(None, None, Err(cause)));
        let named = kept
            .documents
            .iter()
            .map(|(id, tried)| document(Some(id), tried.name.as_deref(), tried.end.as_ref().map(Option::as_ref)));
        nameless.chain(named).collect()
    }
}

impl DocumentMonitor for TriedDocuments {
    fn event(&self, event: DocumentEvent<'_>) {
        let mut kept = blocking::lock(&self.0);
        match event {
            DocumentEvent::Started { id, name, .. } => {
                let name = Some(text::escape_bytes(name.as_bytes()).into_boxed_str());
                kept.documents.entry(id.clone()).or_insert(Tried { name, end: Ok(None) });
            }
            DocumentEvent::Recorded { id, name, level, bytes, sha256 } => {
                let name = Some(text::escape_bytes(name.as_bytes()).into_boxed_str());
                let proof = Proof { level, bytes, sha256: sha256.copied() };
                kept.documents.insert(id.clone(), Tried { name, end: Ok(Some(proof)) });
            }
            DocumentEvent::Failed { id: Some(id), error } => {
                let tried = kept.documents.entry(id.clone()).or_insert(Tried { name: None, end: Ok(None) });
                tried.end = Err(error.clone());
            }
            DocumentEvent::Failed { id: None, error } => kept.nameless.push(error.clone()),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::error::ErrorKind;
    use crate::json::error;
    use crate::proof::Level;
    use crate::tree::RemoteName;

    #[test]
    fn each_document_has_one_object_with_its_end() {
        let tried = TriedDocuments::default();
        let (a, b, c, name) = (3.into(), 2.into(), 1.into(), RemoteName::new("n").unwrap());
        let cause = NasSyncError::new(ErrorKind::SourceMissing, "gone");
        let started = |id| DocumentEvent::Started { id, name: &name, bytes: 1 };
        let sum = [0xab; 32];
        for event in [
            started(&a),
            DocumentEvent::Failed { id: Some(&a), error: &cause },
            started(&a),
            DocumentEvent::Recorded { id: &a, name: &name, level: Level::Stored, bytes: 1, sha256: Some(&sum) },
            started(&b),
            DocumentEvent::Failed { id: Some(&c), error: &cause },
            DocumentEvent::Failed { id: None, error: &cause },
        ] {
            tried.event(event);
        }
        let failed = |id: Value| {
            json!({
                "id": id, "name": null, "outcome": "failed", "level": null, "bytes": null, "sha256": null,
                "error": error(&cause),
            })
        };
        let expected = [
            failed(Value::Null),
            failed(json!(1)),
            json!({ "id": 2, "name": "n", "outcome": "pending", "level": null, "bytes": null, "sha256": null }),
            json!({
                "id": 3, "name": "n", "outcome": "synced", "level": "stored", "bytes": 1, "sha256": "ab".repeat(32),
            }),
        ];
        assert_eq!(tried.objects(), expected);
    }
}
