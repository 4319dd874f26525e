//! From leased rows to documents that can be sent, each with its name on the NAS.
//!
//! Guarantees: one bad document never costs the others; two documents never land on one name.

use std::collections::HashMap;

use chrono::DateTime;

use crate::delta::SumHead;
use crate::delta::strong::MAX_DIGEST_LEN;
use crate::delta::sum_head::MAX_BLOCK_LEN;
use crate::error::{ErrorKind, NasSyncError, Result};
use crate::proof::Level;
use crate::service::DocumentError;
use crate::service::layout::{DocumentFacts, Layout};
use crate::store::{BadRow, Claim, Document, DocumentId, Store, StoredCopy, SyncedRecord};
use crate::tree::{FileMeta, RemoteName, Root, SourceFile, Stamp};

/// A document that can be sent.
#[derive(Debug, Clone)]
pub(super) struct Planned {
    pub document: Document,
    pub name: RemoteName,
    pub meta: FileMeta,
    pub stamp: Stamp,
}

impl Planned {
    /// Its folder below the destination; empty for the destination itself.
    pub fn folder(&self) -> &[u8] {
        let name = self.name.as_bytes();
        &name[..name.len() - self.name.file_name().len()]
    }

    /// How many bytes of block sums a copy of the same length on the NAS amounts to.
    pub fn most_sums(&self) -> u64 {
        SumHead::for_basis(self.meta.size, MAX_BLOCK_LEN, MAX_DIGEST_LEN).sums_len()
    }

    /// Which document it is.
    pub fn id(&self) -> DocumentId {
        self.document.id
    }

    /// The length of its file.
    pub fn bytes(&self) -> u64 {
        self.meta.size
    }

    pub fn record(&self, level: Level, sha256: Option<[u8; 32]>) -> SyncedRecord {
        SyncedRecord {
            id: self.document.id,
            file_path: self.document.file_path.clone(),
            copy: StoredCopy {
                remote_name: self.name.as_bytes().to_vec(),
                bytes: self.meta.size,
                mtime_seconds: self.meta.mtime,
                mtime_nanoseconds: self.meta.mtime_ns,
                level,
                sha256,
            },
        }
    }
}

/// What is to be sent, and what cannot be.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub planned: Vec<Planned>,
    pub refused: Vec<DocumentError>,
}

impl Plan {
    /// Looks at every document: its file, its name on the NAS, and whether that name is free.
    pub fn make(
        store: &mut Store,
        rows: Vec<Result<Document, BadRow>>,
        layout: &Layout,
        root: Option<&Root>,
    ) -> Result<Self> {
        let mut plan = Self::default();
        for row in rows {
            match row {
                Ok(document) => match look(&document, layout, root) {
                    Ok((name, meta, stamp)) => plan.planned.push(Planned { document, name, meta, stamp }),
                    Err(error) => plan.refuse(Some(document.id), error),
                },
                Err(row) => plan.refuse(row.id, row.error),
            }
        }
        plan.claim_names(store)?;
        plan.refuse_names_that_are_folders();
        plan.refuse_folders_that_are_names(store)?;
        Ok(plan)
    }

    fn refuse(&mut self, id: Option<DocumentId>, error: NasSyncError) {
        self.refused.push(DocumentError { id, error });
    }

    /// A name belongs to the document that claimed it first, in this batch or in an earlier one.
    fn claim_names(&mut self, store: &mut Store) -> Result<()> {
        let wanted: Vec<_> =
            self.planned.iter().map(|planned| (planned.document.id, planned.name.as_bytes().to_vec())).collect();
        let claims = store.claim_names(&wanted)?;
        for (planned, claim) in std::mem::take(&mut self.planned).into_iter().zip(claims) {
            match claim {
                Claim::Granted => self.planned.push(planned),
                Claim::TakenBy(other) => self.refuse(Some(planned.document.id), name_clash(&planned.name, other)),
            }
        }
        Ok(())
    }

    /// `a` cannot be a file and the folder of `a/b` at once.
    fn refuse_names_that_are_folders(&mut self) {
        let mut folders: HashMap<Vec<u8>, DocumentId> = HashMap::new();
        for planned in &self.planned {
            for folder in planned.name.parents() {
                folders.entry(folder.to_vec()).or_insert(planned.document.id);
            }
        }
        if folders.is_empty() {
            return;
        }
        for planned in std::mem::take(&mut self.planned) {
            match folders.get(planned.name.as_bytes()) {
                Some(&other) => self.refuse(Some(planned.document.id), name_clash(&planned.name, other)),
                None => self.planned.push(planned),
            }
        }
    }
}

impl Plan {
    /// Nor may a folder take the place of a document of an earlier run.
    fn refuse_folders_that_are_names(&mut self, store: &Store) -> Result<()> {
        let mut owners: HashMap<Vec<u8>, Option<DocumentId>> = HashMap::new();
        for planned in std::mem::take(&mut self.planned) {
            let mut taken = None;
            for folder in planned.name.parents() {
                let owner = match owners.get(folder) {
                    Some(owner) => *owner,
                    None => store.owner_of_name(folder)?,
                };
                owners.insert(folder.to_vec(), owner);
                taken = taken.or(owner);
            }
            match taken {
                Some(other) => self.refuse(Some(planned.document.id), name_clash(&planned.name, other)),
                None => self.planned.push(planned),
            }
        }
        Ok(())
    }
}

fn name_clash(name: &RemoteName, other: DocumentId) -> NasSyncError {
    let name = String::from_utf8_lossy(name.as_bytes()).into_owned();
    NasSyncError::new(ErrorKind::NameClash, format!("its name on the NAS, {name:?}, belongs to document {other}"))
}

fn look(document: &Document, layout: &Layout, root: Option<&Root>) -> Result<(RemoteName, FileMeta, Stamp)> {
    let below_root = root.map(|root| root.relative(&document.file_path)).transpose()?;
    let file = SourceFile::open_document(root, &document.file_path)?;
    let (meta, stamp) = (*file.meta(), *file.stamp());
    let name = layout.name_for(&DocumentFacts {
        id: document.id.0,
        user_id: document.user_id.0,
        path: &document.file_path,
        below_root: below_root.as_deref(),
        original_name: document.original_name.as_deref(),
        doc_type: document.doc_type.as_deref(),
        file_type: document.file_type.as_deref(),
        date: document.date,
        created: document.created_at.map(|time| time.date_naive()),
        modified: DateTime::from_timestamp(meta.mtime, meta.mtime_ns).map(|time| time.date_naive()),
    })?;
    Ok((name, meta, stamp))
}
