//! Names of one batch that would meet on the NAS.

use std::collections::HashMap;

use super::prepared::Prepared;
use super::report::FailedDocument;
use crate::error::{ErrorKind, NasSyncError};
use crate::id::DocumentId;
use crate::tree::RemoteName;

/// Takes out documents whose names would meet: of two with one name the first stays, and `a` cannot be a file and the
/// folder of `a/b` at once.
pub fn refuse_clashes(prepared: Vec<Prepared>) -> (Vec<Prepared>, Vec<FailedDocument>) {
    let mut owners: HashMap<Vec<u8>, DocumentId> = HashMap::new();
    let mut folders: HashMap<Vec<u8>, DocumentId> = HashMap::new();
    for document in &prepared {
        owners.entry(document.name.as_bytes().to_vec()).or_insert_with(|| document.id.clone());
        for folder in document.name.parents() {
            folders.entry(folder.to_vec()).or_insert_with(|| document.id.clone());
        }
    }
    let (mut kept, mut refused) = (Vec::with_capacity(prepared.len()), Vec::new());
    for document in prepared {
        let name = document.name.as_bytes();
        let other = folders.get(name).or_else(|| owners.get(name).filter(|owner| **owner != document.id));
        match other {
            Some(other) => {
                let error = name_clash(&document.name, other);
                refused.push(FailedDocument { id: document.id, error });
            }
            None => kept.push(document),
        }
    }
    (kept, refused)
}

/// The error of a document whose name is another one's.
pub(crate) fn name_clash(name: &RemoteName, other: &DocumentId) -> NasSyncError {
    let name = String::from_utf8_lossy(name.as_bytes()).into_owned();
    NasSyncError::new(ErrorKind::NameClash, format!("its name on the NAS, {name:?}, belongs to document {other}"))
}
