//! The documents that a run tries, kept for what is told at its end.

use std::collections::BTreeMap;
use std::sync::Mutex;

use super::events::{DocumentEvent, DocumentMonitor};
use super::report::Proof;
use crate::blocking;
use crate::error::NasSyncError;
use crate::id::DocumentId;
use crate::text;

/// Keeps what becomes of each document. It takes about 200 bytes for each.
#[derive(Debug)]
pub struct TriedDocuments {
    most: usize,
    kept: Mutex<Kept>,
}

/// What was kept.
#[derive(Debug, Default)]
pub struct Kept {
    /// By ascending id.
    pub documents: BTreeMap<DocumentId, Tried>,
    /// Rows without a usable id.
    pub nameless: Vec<NasSyncError>,
    /// Whether there were more than are kept.
    pub more: bool,
}

/// A document that was tried.
#[derive(Debug)]
pub struct Tried {
    /// Its name on the NAS, escaped; unknown of one that was not begun.
    pub name: Option<Box<str>>,
    /// What was proved; nothing because the run ended before; or why not.
    pub end: Result<Option<Proof>, NasSyncError>,
}

impl TriedDocuments {
    /// Keeps so many: the first ones.
    pub fn at_most(most: usize) -> Self {
        Self { most, kept: Mutex::default() }
    }

    /// What there is, for a look at it.
    pub fn look<T>(&self, look: impl FnOnce(&Kept) -> T) -> T {
        look(&blocking::lock(&self.kept))
    }
}

impl Kept {
    /// The place of a document, where there is one for it.
    fn place(&mut self, most: usize, id: &DocumentId) -> Option<&mut Tried> {
        let full = self.documents.len() + self.nameless.len() >= most;
        if full && !self.documents.contains_key(id) {
            self.more = true;
            return None;
        }
        Some(self.documents.entry(id.clone()).or_insert(Tried { name: None, end: Ok(None) }))
    }
}

impl DocumentMonitor for TriedDocuments {
    fn event(&self, event: DocumentEvent<'_>) {
        let mut kept = blocking::lock(&self.kept);
        let kept = &mut *kept;
        let (id, name, end) = match event {
            DocumentEvent::Started { id, name, .. } => (id, Some(name), None),
            DocumentEvent::Recorded { id, name, level, bytes, sha256 } => {
                (id, Some(name), Some(Ok(Some(Proof { level, bytes, sha256: sha256.copied() }))))
            }
            DocumentEvent::Failed { id: Some(id), error } => (id, None, Some(Err(error.clone()))),
            DocumentEvent::Failed { id: None, error } => {
                if kept.documents.len() + kept.nameless.len() < self.most {
                    kept.nameless.push(error.clone());
                } else {
                    kept.more = true;
                }
                return;
            }
            _ => return,
        };
        let Some(tried) = kept.place(self.most, id) else { return };
        if let Some(name) = name {
            tried.name = Some(text::escape_bytes(name.as_bytes()).into_boxed_str());
        }
        if let Some(end) = end {
            tried.end = end;
        }
    }
}
