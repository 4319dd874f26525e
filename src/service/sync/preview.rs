//! What a run would do, as far as that is known here. Never: a login, a lease, a change of anything, but for the names that new
//! documents claim before their turn.

use std::path::PathBuf;

use chrono::Utc;

use super::finish::still_deferred;
use super::plan;
use crate::client::documents::Naming;
use crate::error::Result;
use crate::id::DocumentId;
use crate::service::{DocumentError, lease};
#[cfg(feature = "cli")]
use crate::store::Registered;
use crate::store::{DocumentState, ListRequest, Selection, Store};
use crate::tree::RemoteName;

/// A document that a run would send.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PlannedDocument {
    /// Which.
    pub id: DocumentId,
    /// Its file, as its row names it.
    pub path: PathBuf,
    /// Its name below the NAS folder.
    pub name: RemoteName,
    /// The length of its file in bytes.
    pub bytes: u64,
}

/// What a run would do.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct SyncPreview {
    /// Documents that it would send, by ascending id.
    pub sent: Vec<PlannedDocument>,
    /// Documents that it would refuse, by ascending id.
    pub refused: Vec<DocumentError>,
    /// Documents that it would leave alone, because they wait for their next try or have failed for good.
    pub left_alone: Vec<DocumentError>,
    /// How many another worker is sending.
    pub sending: usize,
}

/// Looks at what is due of a selection, and at all that is pending of documents that are named.
pub(crate) async fn preview(store: &Store, naming: Naming, selection: Selection) -> Result<SyncPreview> {
    let unusable = store.unusable(selection.clone()).await?;
    let is_named = selection.documents.is_some();
    let mut preview = SyncPreview::default();
    let mut due = Vec::new();
    for state in [DocumentState::Pending, DocumentState::Waiting, DocumentState::Failed] {
        let request = ListRequest { state: Some(state), limit: usize::MAX, ..ListRequest::new(selection.clone()) };
        for document in store.list(request, Utc::now(), lease::worker()).await?.documents {
            match document.deferred {
                _ if document.sending => preview.sending += 1,
                Some(deferred) if !is_named => preview.left_alone.push(still_deferred(deferred)),
                _ => due.push(document.id),
            }
        }
    }
    let rows = store.documents(Selection::documents(due)).await?;
    let plan = plan::rehearse(store, naming, rows).await?;
    preview.refused = unusable.into_iter().map(|row| DocumentError { id: row.id, error: row.error }).collect();
    preview.refused.extend(plan.refused);
    preview.sent = plan
        .prepared
        .into_iter()
        .map(|document| PlannedDocument {
            bytes: document.bytes(),
            id: document.id,
            path: document.path,
            name: document.name,
        })
        .collect();
    preview.sent.sort_by(|one, other| one.id.cmp(&other.id));
    preview.refused.sort_by(|one, other| one.id.cmp(&other.id));
    preview.left_alone.sort_by(|one, other| one.id.cmp(&other.id));
    Ok(preview)
}

/// Claims the names of documents that were just registered, and gives those that will fail.
#[cfg(feature = "cli")]
pub(crate) async fn claim_early(
    store: &Store,
    naming: &Naming,
    registered: &[Registered],
) -> Result<Vec<DocumentError>> {
    let pending = registered.iter().filter(|registered| !matches!(registered, Registered::Known { synced: true, .. }));
    let ids: Vec<DocumentId> = pending.map(Registered::id).cloned().collect();
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let rows = store.documents(Selection::documents(ids)).await?;
    plan::claim_early(store, naming.clone(), rows).await
}
