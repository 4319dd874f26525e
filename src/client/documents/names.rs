//! Names of documents that meet on the NAS, or may.

use std::collections::{HashMap, HashSet};

use super::apart::Evidence;
use super::prepared::{Neighbour, Prepared};
use super::report::FailedDocument;
use crate::error::{ErrorKind, NasSyncError};
use crate::folding::{decomposed, folded};
use crate::id::DocumentId;
use crate::text;
use crate::tree::RemoteName;

/// Takes out documents whose names would meet: of two with one name the first stays, and `a` cannot be a file and the
/// folder of `a/b` at once. Those that stay learn which of the others may be the same file there.
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
    let neighbours = neighbours(&kept);
    kept.iter_mut().zip(neighbours).for_each(|(document, others)| document.neighbours.extend(others));
    (kept, refused)
}

/// For each document, which earlier ones may be the same file on the NAS. Where the two know each other already, the earlier
/// one comes after the other.
fn neighbours(documents: &[Prepared]) -> Vec<Vec<Neighbour>> {
    let mut files: HashMap<Vec<u8>, Vec<&Prepared>> = HashMap::new();
    let mut folders: HashMap<Vec<u8>, Vec<&Prepared>> = HashMap::new();
    let mut all = Vec::with_capacity(documents.len());
    for document in documents {
        let name = folded(document.name.as_bytes());
        let above: HashSet<Vec<u8>> = document.name.parents().map(folded).collect();
        let below = [files.get(&name), folders.get(&name)].into_iter().flatten();
        let met = above.iter().filter_map(|folder| files.get(folder)).chain(below).flatten();
        let new = met.filter(|other| !document.knows(other) && !other.knows(document));
        all.push(new.map(|other| other.as_neighbour()).collect());
        files.entry(name).or_default().push(document);
        above.into_iter().for_each(|folder| folders.entry(folder).or_default().push(document));
    }
    all
}

/// Takes those documents out of a batch of which a neighbour is in it: they go when that is settled.
pub(super) fn hold_back(batch: Vec<Prepared>) -> (Vec<Prepared>, Vec<Prepared>) {
    if batch.iter().all(|document| document.neighbours.is_empty()) {
        return (batch, Vec::new());
    }
    let ids: HashSet<DocumentId> = batch.iter().map(|document| document.id.clone()).collect();
    batch.into_iter().partition(|document| document.neighbours.iter().all(|other| !ids.contains(&other.id)))
}

/// The error of a document whose name is another one's.
pub(crate) fn name_clash(name: &RemoteName, other: &DocumentId) -> NasSyncError {
    let name = String::from_utf8_lossy(name.as_bytes()).into_owned();
    NasSyncError::new(ErrorKind::NameClash, format!("its name on the NAS, {name:?}, belongs to document {other}"))
}

/// The error of a document whose name is the same file on the NAS as another one's, or may be.
pub(super) fn one_file(name: &RemoteName, neighbour: &Neighbour, evidence: Evidence) -> NasSyncError {
    let shown = |name: &RemoteName| text::escape_bytes(name.as_bytes());
    let differ = match decomposed(name.as_bytes()) == decomposed(neighbour.name.as_bytes()) {
        true => "in how accented letters are composed (Unicode normalisation)",
        false => "in upper and lower case",
    };
    let said = match evidence {
        Evidence::OneFile => "the NAS does not tell them apart",
        Evidence::Unknown => "whether the NAS tells them apart cannot be found out: its rsync does not say it",
    };
    let (own, other, id) = (shown(name), shown(&neighbour.name), &neighbour.id);
    let message =
        format!("its name on the NAS, \"{own}\", and \"{other}\" of document {id} differ only {differ}, and {said}");
    NasSyncError::new(ErrorKind::NameClash, message)
}

/// The error of a document that has to wait for one that another worker is sending.
#[cfg(feature = "sqlite")]
pub(crate) fn awaits_neighbour(name: &RemoteName, other: &DocumentId) -> NasSyncError {
    let name = text::escape_bytes(name.as_bytes());
    let message = format!(
        "another worker is sending document {other}, whose name on the NAS differs from \"{name}\" only in its spelling"
    );
    NasSyncError::new(ErrorKind::NotAcknowledged, message).with_solution("Nothing to do: it goes again after a wait.")
}
