//! From leased rows to documents that can be sent, each with its name on the NAS.
//!
//! Guarantees: one bad document never costs the others; two documents never land on one name.

use std::collections::HashSet;

use super::state::Context;
use crate::blocking;
use crate::client::documents::{
    DocumentFacts, Naming, Neighbour, Prepared, awaits_neighbour, name_clash, refuse_clashes,
};
use crate::error::{NasSyncError, Result};
use crate::id::DocumentId;
use crate::service::DocumentError;
use crate::store::{BadRow, Claim, Document, NeighbourCopy, Store};
use crate::tree::RemoteName;
use crate::wire::flist::FileMeta;

/// What is to be sent, and what cannot be.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub prepared: Vec<Prepared>,
    pub refused: Vec<DocumentError>,
}

/// Looks at every document: its file, its name on the NAS, and whether that name is free.
pub(super) async fn make(context: &Context, rows: Vec<Result<Document, BadRow>>) -> Result<Plan> {
    let naming = context.naming.clone();
    let mut plan = blocking::run(move || Ok(look_at_all(rows, &naming))).await?;
    plan.claim_names(&context.store).await?;
    let (kept, clashes) = refuse_clashes(std::mem::take(&mut plan.prepared));
    plan.prepared = kept;
    plan.refused.extend(clashes.into_iter().map(DocumentError::from));
    plan.refuse_folders_that_are_names(&context.store).await?;
    if !context.overwrite {
        plan.tell_new_ones(&context.store).await?;
    }
    Ok(plan)
}

/// The same without a claim, which changes nothing: as far as the names are known now.
pub(super) async fn rehearse(store: &Store, naming: Naming, rows: Vec<Result<Document, BadRow>>) -> Result<Plan> {
    let mut plan = blocking::run(move || Ok(look_at_all(rows, &naming))).await?;
    plan.refuse_names_of_others(store).await?;
    let (kept, clashes) = refuse_clashes(std::mem::take(&mut plan.prepared));
    plan.prepared = kept;
    plan.refused.extend(clashes.into_iter().map(DocumentError::from));
    plan.refuse_folders_that_are_names(store).await?;
    Ok(plan)
}

/// Claims the names of documents before their turn, so that a clash is known early: a name is the first one's to ask for it.
#[cfg(feature = "cli")]
pub(super) async fn claim_early(
    store: &Store,
    naming: Naming,
    rows: Vec<Result<Document, BadRow>>,
) -> Result<Vec<DocumentError>> {
    let mut plan = blocking::run(move || Ok(look_at_all(rows, &naming))).await?;
    plan.claim_names(store).await?;
    plan.refuse_folders_that_are_names(store).await?;
    Ok(plan.refused)
}

fn look_at_all(rows: Vec<Result<Document, BadRow>>, naming: &Naming) -> Plan {
    let mut plan = Plan::default();
    for row in rows {
        match row {
            Ok(document) => match look(&document, naming) {
                Ok(prepared) => plan.prepared.push(prepared),
                Err(error) => plan.refuse(Some(document.id), error),
            },
            Err(row) => plan.refuse(row.id, row.error),
        }
    }
    plan
}

impl Plan {
    fn refuse(&mut self, id: Option<DocumentId>, error: NasSyncError) {
        self.refused.push(DocumentError { id, error });
    }

    /// A name belongs to the document that claimed it first, in this batch or in an earlier one.
    async fn claim_names(&mut self, store: &Store) -> Result<()> {
        let wanted =
            self.prepared.iter().map(|document| (document.id.clone(), document.name.as_bytes().to_vec())).collect();
        let claims = store.claim_names(wanted).await?;
        for (mut document, claim) in std::mem::take(&mut self.prepared).into_iter().zip(claims) {
            match claim {
                Claim::Granted => self.prepared.push(document),
                Claim::Meets(copies) => {
                    // A recorded name that cannot be one was never stored.
                    document.neighbours = copies.into_iter().filter_map(|copy| neighbour(copy).ok()).collect();
                    self.prepared.push(document);
                }
                Claim::Awaits(other) => {
                    let error = awaits_neighbour(&document.name, &other);
                    self.refuse(Some(document.id), error);
                }
                Claim::TakenBy(other) => {
                    let error = name_clash(&document.name, &other);
                    self.refuse(Some(document.id), error);
                }
            }
        }
        Ok(())
    }

    /// What has the name of a document that was never sent is not its earlier copy.
    async fn tell_new_ones(&mut self, store: &Store) -> Result<()> {
        let names =
            self.prepared.iter().map(|document| (document.id.clone(), document.name.as_bytes().to_vec())).collect();
        let sent = store.sent_before(names).await?;
        for document in &mut self.prepared {
            document.is_new = !sent.contains(&document.id);
        }
        Ok(())
    }

    /// As they are recorded: the claims of documents that are gone, or about to claim another name, may be among them.
    async fn refuse_names_of_others(&mut self, store: &Store) -> Result<()> {
        let names = self.prepared.iter().map(|document| document.name.as_bytes().to_vec()).collect();
        let owners = store.owners(names).await?;
        for document in std::mem::take(&mut self.prepared) {
            match owners.get(document.name.as_bytes()).filter(|other| **other != document.id) {
                Some(other) => {
                    let error = name_clash(&document.name, other);
                    self.refuse(Some(document.id), error);
                }
                None => self.prepared.push(document),
            }
        }
        Ok(())
    }

    /// A folder may not take the place of a document of an earlier run.
    async fn refuse_folders_that_are_names(&mut self, store: &Store) -> Result<()> {
        let folders: HashSet<_> = self.prepared.iter().flat_map(|document| document.name.parents()).collect();
        if folders.is_empty() {
            return Ok(());
        }
        let owners = store.owners(folders.into_iter().map(<[u8]>::to_vec).collect()).await?;
        for document in std::mem::take(&mut self.prepared) {
            let taken = document.name.parents().find_map(|folder| owners.get(folder));
            match taken {
                Some(other) => {
                    let error = name_clash(&document.name, other);
                    self.refuse(Some(document.id), error);
                }
                None => self.prepared.push(document),
            }
        }
        Ok(())
    }
}

fn neighbour(copy: NeighbourCopy) -> Result<Neighbour> {
    let meta = FileMeta { size: copy.bytes, mtime: copy.mtime, ..FileMeta::default() };
    Ok(Neighbour { id: copy.id, name: RemoteName::new(copy.name)?, meta })
}

fn look(document: &Document, naming: &Naming) -> Result<Prepared> {
    let mut facts = DocumentFacts::new(&document.id, &document.user_id, &document.file_path);
    facts.original_name = document.original_name.as_deref();
    facts.doc_type = document.doc_type.as_deref();
    facts.file_type = document.file_type.as_deref();
    facts.date = document.date;
    facts.created = document.created_at.map(|time| time.date_naive());
    facts.odd_date = document.odd_date.as_ref().map(|(column, text)| (*column, text.as_str()));
    naming.prepare(&facts)
}
