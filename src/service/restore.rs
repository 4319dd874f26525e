//! `restore`: documents back from the NAS under the names that were recorded, each held against its recorded SHA-256.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{DocumentError, NasSyncService};
use crate::client::Client;
use crate::client::documents::{FetchDocuments, Fetched, WantedDocument};
use crate::error::{ErrorKind, NasSyncError, Result};
use crate::id::DocumentId;
use crate::role::event::Monitor;
use crate::store::{Access, Selection, Store, SyncedCopy};
use crate::tree::{HeldFolder, RemoteName};

/// What to restore, and where to.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct RestoreRequest {
    /// Which documents; of those only the ones of which a copy was recorded are on the NAS, also when they are pending again.
    pub selection: Selection,
    /// The folder for all of them, under their names on the NAS; without it each goes where its row says.
    pub to: Option<PathBuf>,
    /// Whether what is here is replaced where it is not what was recorded.
    pub overwrite: bool,
}

impl RestoreRequest {
    /// All documents of a selection that have a copy, each to its own place; what is here stays.
    pub fn new(selection: Selection) -> Self {
        Self { selection, to: None, overwrite: false }
    }
}

/// What was restored.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct RestoreReport {
    /// Documents that were asked for.
    pub total: usize,
    /// Those that are here now, with the content that was recorded.
    pub restored: usize,
    /// Of these, those that were here already.
    pub were_here: usize,
    /// Those that are not, and why.
    pub errors: Vec<DocumentError>,
}

pub(super) async fn run(
    service: &NasSyncService,
    request: RestoreRequest,
    monitor: Arc<dyn Monitor>,
) -> Result<RestoreReport> {
    let RestoreRequest { selection, to, overwrite } = request;
    let config = service.client_config()?;
    let (folder, root) = (service.nas_path()?, service.root()?);
    let chosen = selection.clone();
    let read = |store: Store| async move { store.all_copies(chosen).await };
    let copies = service.with_store(Access::ReadOnly, read).await?;
    let mut report = RestoreReport { errors: absent(&selection, &copies), ..RestoreReport::default() };
    report.total = report.errors.len() + copies.len();
    let mut documents = Vec::with_capacity(copies.len());
    for copy in copies {
        let id = copy.id.clone();
        match wanted(copy, to.as_deref(), root.as_deref()) {
            Ok(document) => documents.push(document),
            Err(error) => report.errors.push(DocumentError { id: Some(id), error }),
        }
    }
    if documents.is_empty() {
        return Ok(report);
    }
    let client = Box::pin(Client::connect(&config)).await?;
    let within = match (&to, &root) {
        (None, Some(root)) => Some(root.path().to_owned()),
        _ => None,
    };
    let request = FetchDocuments { overwrite, within, ..FetchDocuments::new(folder, documents) };
    let outcomes = client.fetch_documents(request, monitor).await;
    client.disconnect().await;
    for outcome in outcomes? {
        match outcome.result {
            Ok(fetched) => {
                report.restored += 1;
                report.were_here += usize::from(fetched == Fetched::WasHere);
            }
            Err(error) => report.errors.push(DocumentError { id: Some(outcome.id), error }),
        }
    }
    Ok(report)
}

/// Documents that were named, and of which there is no copy on the NAS.
fn absent(selection: &Selection, copies: &[SyncedCopy]) -> Vec<DocumentError> {
    let Some(named) = &selection.documents else { return Vec::new() };
    let known: BTreeSet<&DocumentId> = copies.iter().map(|copy| &copy.id).collect();
    let missing: BTreeSet<&DocumentId> = named.iter().filter(|id| !known.contains(id)).collect();
    let error = |id: &DocumentId| {
        let message = "no copy of a document with this id was recorded, so there is nothing to restore";
        DocumentError { id: Some(id.clone()), error: NasSyncError::new(ErrorKind::DocumentNotFound, message) }
    };
    missing.into_iter().map(error).collect()
}

/// What of a document has to be known. Fails where too little was recorded of it, or its place lies outside `UPLOAD_DIR`.
fn wanted(copy: SyncedCopy, to: Option<&Path>, root: Option<&HeldFolder>) -> Result<WantedDocument> {
    let SyncedCopy { id, file_path, copy } = copy;
    let copy = copy.ok_or_else(crate::client::compare::unrecorded)?;
    let name = RemoteName::new(&*copy.remote_name)?;
    let path = match (to, root) {
        (Some(to), _) => to.join(OsStr::from_bytes(name.as_bytes())),
        (None, Some(root)) => root.relative(&file_path)?,
        (None, None) => file_path,
    };
    Ok(WantedDocument { sha256: copy.sha256, ..WantedDocument::new(id, name, path) })
}
