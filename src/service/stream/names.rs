//! Whose a name on the NAS is, where no database says it.

use std::collections::hash_map::RandomState;
use std::collections::{HashMap, VecDeque};
use std::hash::BuildHasher as _;

use crate::client::documents::{FailedDocument, Prepared, StoredDocument};
use crate::error::{ErrorKind, NasSyncError};
use crate::id::DocumentId;
use crate::tree::RemoteName;

/// How many names are remembered; the oldest ones go. They take 10 MB.
const MOST: usize = 200_000;

/// What a name stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Owner {
    /// The document of a key, by its hash.
    Key(u64),
    /// Documents lie below it.
    Folder,
}

/// The names of what was stored, by their hashes: a name belongs to the key that came first, which may send it again.
#[derive(Default)]
pub(super) struct TakenNames {
    hasher: RandomState,
    owners: HashMap<u64, Owner>,
    order: VecDeque<u64>,
}

impl TakenNames {
    /// Takes out the documents whose names are those of others, or of folders on the way to others.
    pub fn refuse_taken(&self, documents: Vec<Prepared>) -> (Vec<Prepared>, Vec<FailedDocument>) {
        let (free, taken): (Vec<_>, Vec<_>) =
            documents.into_iter().partition(|document| self.is_free(&document.id, &document.name));
        let refuse = |document: Prepared| {
            let message =
                format!("its name on the NAS, \"{}\", belongs to another document that was sent before", document.name);
            FailedDocument { id: document.id, error: NasSyncError::new(ErrorKind::NameClash, message) }
        };
        (free, taken.into_iter().map(refuse).collect())
    }

    fn is_free(&self, key: &DocumentId, name: &RemoteName) -> bool {
        let may_be = |name: &[u8], owner| self.owners.get(&self.hasher.hash_one(name)).is_none_or(|is| *is == owner);
        may_be(name.as_bytes(), Owner::Key(self.hasher.hash_one(key)))
            && name.parents().all(|folder| may_be(folder, Owner::Folder))
    }

    /// A document is stored.
    pub fn take(&mut self, document: &StoredDocument) {
        let owner = Owner::Key(self.hasher.hash_one(&document.id));
        let names = document.name.parents().map(|folder| (folder, Owner::Folder));
        for (name, owner) in names.chain([(document.name.as_bytes(), owner)]) {
            let hash = self.hasher.hash_one(name);
            if self.owners.insert(hash, owner).is_none() {
                self.order.push_back(hash);
            }
        }
        while self.order.len() > MOST {
            self.order.pop_front().map(|oldest| self.owners.remove(&oldest));
        }
    }
}
