//! Names of documents that meet on the NAS, or may.

use std::collections::{HashMap, HashSet};

use super::prepared::{Neighbour, Prepared};
use super::report::FailedDocument;
use crate::error::{ErrorKind, NasSyncError};
use crate::folding::folded;
use crate::id::DocumentId;
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
    // What others wait for goes first.
    kept.sort_by_key(|document| !document.neighbours.is_empty());
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
        for folder in above {
            folders.entry(folder).or_default().push(document);
        }
    }
    all
}

/// Takes those documents out of a batch of which a neighbour is in it: they go when that is settled.
pub(super) fn hold_back(batch: Vec<Prepared>) -> (Vec<Prepared>, Vec<Prepared>) {
    if batch.iter().all(|document| document.neighbours.is_empty()) {
        return (batch, Vec::new());
    }
    let ids: HashSet<DocumentId> = batch.iter().map(|document| document.id.clone()).collect();
    let goes = |document: &Prepared| document.neighbours.iter().all(|other| !ids.contains(&other.id));
    let (mut going, mut held_back): (Vec<_>, Vec<_>) = batch.into_iter().partition(goes);
    if going.is_empty() {
        // Whoever waits for whom, alone each can go.
        going.extend(held_back.drain(..1));
    }
    (going, held_back)
}

/// The error of a document whose name is another one's.
pub(crate) fn name_clash(name: &RemoteName, other: &DocumentId) -> NasSyncError {
    let name = String::from_utf8_lossy(name.as_bytes()).into_owned();
    NasSyncError::new(ErrorKind::NameClash, format!("its name on the NAS, {name:?}, belongs to document {other}"))
}

/// The error of a document that has to wait for one that another worker is sending.
#[cfg(feature = "service")]
pub(crate) fn awaits_neighbour(name: &RemoteName, other: &DocumentId) -> NasSyncError {
    let name = crate::text::escape_bytes(name.as_bytes());
    let message = format!(
        "another worker is sending document {other}, whose name on the NAS differs from \"{name}\" only in its spelling"
    );
    NasSyncError::new(ErrorKind::NotAcknowledged, message).with_solution("Nothing to do: it goes again after a wait.")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::documents::OutgoingDocument;

    fn prepared(names: &[&str]) -> Vec<Prepared> {
        let file = tempfile::NamedTempFile::new().unwrap();
        let document =
            |(id, name): (i64, &&str)| OutgoingDocument::new(id, file.path(), RemoteName::new(*name).unwrap());
        (1..).zip(names).map(document).map(|document| Prepared::look(document, None).unwrap()).collect()
    }

    fn ids<'i>(ids: impl IntoIterator<Item = &'i DocumentId>) -> Vec<i64> {
        ids.into_iter().map(|id| id.as_integer().unwrap()).collect()
    }

    #[test]
    fn later_documents_wait_for_earlier_ones_that_may_be_the_same_file() {
        let names = ["Scan.pdf", "scan.pdf", "x", "SCAN.PDF", "scan.pdf/y", "É/z", "e\u{301}"];
        let (kept, refused) = refuse_clashes(prepared(&names));
        assert_eq!(
            ids(refused.iter().map(|failed| &failed.id)),
            [2],
            "it is the folder of another one, letter by letter"
        );
        assert_eq!(ids(kept.iter().map(|document| &document.id)), [1, 3, 6, 4, 5, 7], "what is waited for goes first");
        let known: Vec<_> =
            kept.iter().map(|document| ids(document.neighbours.iter().map(|other| &other.id))).collect();
        assert_eq!(known, [vec![], vec![], vec![], vec![1], vec![1, 4], vec![6]]);
        let mut waiting = kept;
        for expected in [&[1, 3, 6][..], &[4, 7], &[5]] {
            let (batch, later) = hold_back(waiting);
            assert_eq!(ids(batch.iter().map(|document| &document.id)), expected);
            waiting = later;
        }
        assert!(waiting.is_empty());
    }

    #[test]
    fn who_is_known_to_yield_is_not_waited_for() {
        let mut documents = prepared(&["a", "A"]);
        documents[0].neighbours = vec![documents[1].as_neighbour()];
        let (kept, _) = refuse_clashes(documents);
        let (batch, later) = hold_back(kept);
        assert_eq!((ids([&batch[0].id]), ids([&later[0].id])), (vec![2], vec![1]));
    }

    #[test]
    fn documents_that_wait_for_each_other_go_one_by_one() {
        let mut documents = prepared(&["a", "A"]);
        (documents[0].neighbours, documents[1].neighbours) =
            (vec![documents[1].as_neighbour()], vec![documents[0].as_neighbour()]);
        let (batch, later) = hold_back(documents);
        assert_eq!((batch.len(), later.len()), (1, 1));
    }
}
