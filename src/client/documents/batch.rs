//! The documents of one session: their file list, their contents, and who follows them.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::events::{DocumentEvent, DocumentMonitor};
use super::prepared::Prepared;
use crate::client::capabilities::{Capabilities, Folders, Proof, Shape};
use crate::client::file_list;
use crate::client::login::Client;
use crate::error::{NasSyncError, Result};
use crate::id::DocumentId;
use crate::proof::DurableBy;
use crate::role::event::{Event, Monitor};
use crate::role::ledger::Ledger;
use crate::role::list::{SendList, Sources};
use crate::role::sender::{ChangedFile, Duties, Mode};
use crate::session::{Contents, Push, Receipts};
use crate::tree::{HeldFolder, RemoteName, SourceFile, Stamp};
use crate::wire::flist::{FileEntry, FileMeta};
use crate::wire::offer::Offer;

/// Permissions never travel with a document; these are what a new file gets before the NAS's own mask.
const FILE_PERMISSIONS: u16 = 0o644;

/// How many files an rsync that acknowledges each asks for ahead, where they are not tiny.
const ASKED_AHEAD: usize = 10;
/// The most bytes of documents that get their names together.
const MOST_TOGETHER: u64 = 16 << 20;
/// From how long a wait on it is worth it.
const WORTH_IT: Duration = Duration::from_millis(250);

/// The documents of one session, and what it was asked for; the sender may have learnt meanwhile to ask for less.
#[derive(Clone)]
pub(super) struct Batch {
    pub documents: Vec<Prepared>,
    pub asked: Capabilities,
    /// What the documents that it is a part of are like, and how they are to last.
    pub shape: Shape,
    /// Whether other sessions run beside it.
    pub beside_others: bool,
    /// What the session tells about each of them; it outlives a session that is cut off.
    pub ledger: Arc<Ledger>,
}

impl Batch {
    pub fn new(
        documents: Vec<Prepared>,
        asked: Capabilities,
        shape: Shape,
        beside_others: bool,
        monitor: &Arc<dyn DocumentMonitor>,
    ) -> Self {
        let name = |document: &Prepared| (document.id.clone(), document.name.clone(), document.bytes());
        let keyed = Keyed { documents: documents.iter().map(name).collect(), monitor: Arc::clone(monitor) };
        let ledger = Arc::new(Ledger::new(Arc::new(keyed), documents.len()));
        Self { documents, asked, shape, beside_others, ledger }
    }

    /// The documents of which nothing has been settled.
    pub fn into_unsettled(self) -> Vec<Prepared> {
        let files = self.ledger.take().files;
        self.documents.into_iter().zip(files).filter(|(_, file)| !file.settled).map(|(document, _)| document).collect()
    }

    /// What the session is to do.
    pub fn push(&self, root: Option<&Arc<HeldFolder>>, idle_limit: Duration) -> Push {
        let file = |document: &Prepared| (document.path.clone(), document.stamp, document.name_is_taken());
        let contents = DocumentContents { files: self.documents.iter().map(file).collect(), root: root.cloned() };
        Push {
            offer: Offer::default(),
            list: self.list(),
            parts: None,
            sources: Arc::new(contents),
            contents: Contents::Unsummed,
            receipts: match self.asked.proof() {
                Proof::Acknowledgements => Receipts::Asked,
                Proof::CleanEnd => Receipts::NotAsked,
            },
            changed: ChangedFile::Invalidate,
            mode: Mode::Transfer,
            duties: Duties::default(),
            idle_limit,
            monitor: Arc::clone(&self.ledger) as Arc<dyn Monitor>,
        }
    }

    /// Each document, tagged with its position in the batch, and the folders on the way to them.
    fn list(&self) -> SendList {
        let file = |document: &'_ Prepared| FileMeta { permissions: FILE_PERMISSIONS, ..document.meta };
        let files = self.documents.iter().map(|document| (&document.name, file(document)));
        let options = self.asked.options(self.shape);
        SendList { entries: file_list::entries(files, &options), ..SendList::default() }
    }
}

/// What these documents are like: whether names lie in folders, which then travel too, whether a file has holes, and whether the
/// way there is so long that they are best acknowledged together.
pub(super) fn shape_of(client: &Client, documents: &[Prepared], durable_by: DurableBy) -> Shape {
    let in_folders = file_list::has_folders(documents.iter().map(|document| &document.name));
    let folders = if in_folders { Folders::OnTheWay } else { Folders::None };
    let bytes = documents.iter().map(Prepared::bytes).sum();
    Shape {
        folders,
        sparse: documents.iter().any(|document| document.sparse),
        durable_by,
        together: together_pays(documents.len(), bytes, client.ssh().round_trip()),
    }
}

/// Whether documents had better get their names together. An rsync that acknowledges each as it comes asks for no more than some
/// ahead of those that have arrived, so that the way is waited for again and again. What a lost connection leaves of those
/// that come together has to be looked at again, but not sent again, which bounds how many they may be.
fn together_pays(documents: usize, bytes: u64, round_trip: Duration) -> bool {
    let waits = u32::try_from(documents.saturating_sub(1) / ASKED_AHEAD).unwrap_or(u32::MAX);
    bytes <= MOST_TOGETHER && round_trip.saturating_mul(waits) >= WORTH_IT
}

/// The files of a session.
struct DocumentContents {
    /// The path, what tells whether it is still the same, and what it means where another file has the name there.
    files: Vec<(PathBuf, Stamp, Option<NasSyncError>)>,
    root: Option<Arc<HeldFolder>>,
}

impl Sources for DocumentContents {
    fn open(&self, entry: &FileEntry<'_>) -> Result<SourceFile> {
        let (path, stamp, _) = file_list::tagged(&self.files, entry)?;
        Prepared::open(self.root.as_ref(), path, stamp)
    }

    fn keeps_what_is_there(&self, entry: &FileEntry<'_>) -> Option<NasSyncError> {
        file_list::tagged(&self.files, entry).ok().and_then(|(.., taken)| taken.clone())
    }
}

/// Gives what a session tells about its files the keys of their documents.
struct Keyed {
    documents: Vec<(DocumentId, RemoteName, u64)>,
    monitor: Arc<dyn DocumentMonitor>,
}

impl Keyed {
    /// The document of an entry; folders on the way are none.
    fn document(&self, entry: &FileEntry<'_>) -> Option<&(DocumentId, RemoteName, u64)> {
        file_list::tagged(&self.documents, entry).ok()
    }
}

impl Monitor for Keyed {
    fn event(&self, event: Event<'_>) {
        let told = match event {
            Event::Listed { .. } => DocumentEvent::Listed { documents: self.documents.len() as u64 },
            Event::FileStarted { entry } => {
                let Some((id, name, bytes)) = self.document(entry) else { return };
                DocumentEvent::Started { id, name, bytes: *bytes }
            }
            Event::FileSent { entry, .. } => {
                let Some((id, name, _)) = self.document(entry) else { return };
                DocumentEvent::Sent { id, name }
            }
            Event::Acknowledged { entry } => {
                let Some((id, ..)) = self.document(entry) else { return };
                DocumentEvent::Acknowledged { id }
            }
            Event::Progress { bytes } => DocumentEvent::Progress { bytes },
            Event::Text { severity, text } => DocumentEvent::Text { severity, text },
            _ => return,
        };
        self.monitor.event(told);
    }
}

/// Deals documents out to sessions in turn, so that each gets its share of large ones.
pub(super) fn distribute(documents: Vec<Prepared>, sessions: usize) -> Vec<Vec<Prepared>> {
    let mut parts = vec![Vec::new(); sessions.clamp(1, documents.len().max(1))];
    let count = parts.len();
    for (position, document) in documents.into_iter().enumerate() {
        parts[position % count].push(document);
    }
    parts
}
