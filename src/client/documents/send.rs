//! All of it in one call: look at the files, check the names, send batch by batch.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;

use tokio::sync::mpsc;

use super::events::{DocumentEvent, DocumentMonitor};
use super::names;
use super::prepared::{OutgoingDocument, Prepared, open_upload_dir};
use super::report::{BatchReport, FailedDocument, StoredDocument};
use super::sender::{Cancelled, DocumentSender, SendSettings, interrupted};
use crate::blocking;
use crate::client::login::Client;
use crate::error::{ErrorKind, NasSyncError, Result};
use crate::id::DocumentId;
use crate::jobs::Jobs;
use crate::proof::Level;
use crate::tree::HeldFolder;

/// Documents to send, and how.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct SendDocuments {
    /// The documents. Keys and names must differ from one another.
    pub documents: Vec<OutgoingDocument>,
    /// The destination folder on the NAS. It must exist.
    pub folder: String,
    /// The folder that all files must lie below, if any; then no symlink is followed on the way to them.
    pub upload_dir: Option<PathBuf>,
    /// The level of proof that is required; `None`: the best the NAS can do, up to durable.
    pub required: Option<Level>,
    /// Sessions side by side.
    pub jobs: Jobs,
}

impl SendDocuments {
    /// These documents to this folder, with as many sessions side by side as pay, and the best level that the NAS can prove.
    pub fn new(folder: impl Into<String>, documents: Vec<OutgoingDocument>) -> Self {
        Self { documents, folder: folder.into(), upload_dir: None, required: None, jobs: Jobs::Auto }
    }

    /// Refuses what lies outside this folder.
    #[must_use]
    pub fn below(self, upload_dir: impl Into<PathBuf>) -> Self {
        Self { upload_dir: Some(upload_dir.into()), ..self }
    }

    /// Requires a level of proof.
    #[must_use]
    pub fn require(self, level: Level) -> Self {
        Self { required: Some(level), ..self }
    }

    /// Sends over so many sessions side by side: a number from 1 to 64, or [`Jobs::Auto`].
    #[must_use]
    pub fn jobs(self, jobs: impl Into<Jobs>) -> Self {
        Self { jobs: jobs.into(), ..self }
    }
}

/// What became of one document.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct DocumentOutcome {
    /// The caller's key.
    pub id: DocumentId,
    /// The copy on the NAS, or why there is none that is proved. An error whose [`kind`](NasSyncError::kind) heals by
    /// itself is worth another try.
    pub result: Result<StoredDocument>,
}

impl Client {
    /// Sends documents to a folder on the NAS and says about each what is proved: the same checks, levels, resumption of
    /// interrupted files and session limits as the service, without a database. The outcomes are in the order of the
    /// documents; each is told to the monitor as soon as it is settled. Of two whose names differ only in case or composition
    /// and are one file on the NAS, the second fails with `NameClash`; what earlier calls have sent is not known here.
    ///
    /// Fails only when nothing could be tried: with `Usage` for an upload folder that cannot be
    /// opened, or a key that stands for two documents. Dropping the
    /// future ends the sessions; what the NAS has stored by then stays there.
    pub async fn send_documents(
        &self,
        request: SendDocuments,
        monitor: Arc<dyn DocumentMonitor>,
    ) -> Result<Vec<DocumentOutcome>> {
        self.send_documents_until(request, monitor, std::future::pending()).await
    }

    /// As [`Client::send_documents`]. When `stop` is ready, the sessions end; what the NAS has acknowledged by then is proved
    /// and told as otherwise, and the rest has the error `Interrupted`.
    pub async fn send_documents_until(
        &self,
        request: SendDocuments,
        monitor: Arc<dyn DocumentMonitor>,
        stop: impl Future<Output = ()> + Send,
    ) -> Result<Vec<DocumentOutcome>> {
        let SendDocuments { documents, folder, upload_dir, required, jobs } = request;
        refuse_repeated_keys(&documents)?;
        let order: Vec<DocumentId> = documents.iter().map(|document| document.id.clone()).collect();
        let look = move || {
            let root = upload_dir.map(|path| open_upload_dir(&path).map(Arc::new)).transpose()?;
            let (prepared, refused) = prepare(documents, root.as_deref());
            Ok((root, prepared, refused))
        };
        let (root, prepared, refused) = blocking::run(look).await?;
        let mut outcomes = Outcomes { monitor: &*monitor, settled: HashMap::new() };
        let bytes = prepared.iter().map(Prepared::bytes).sum();
        monitor.event(DocumentEvent::Planned { documents: order.len() as u64, bytes });
        outcomes.fail(refused);
        let mut sender = DocumentSender::new(SendSettings { folder, root, required, jobs }, Vec::new());
        let rest = self.send_all(&mut sender, prepared, &monitor, &mut outcomes, stop).await;
        for warning in sender.take_warnings() {
            tracing::warn!("{warning}");
        }
        let stopped = rest.err().unwrap_or_else(|| NasSyncError::new(ErrorKind::NotAcknowledged, "it was not reached"));
        let not_reached = order.iter().filter(|id| !outcomes.settled.contains_key(id));
        outcomes.fail(not_reached.map(|id| FailedDocument { id: id.clone(), error: stopped.clone() }).collect());
        let result = |id| outcomes.settled.remove(&id).map(|result| DocumentOutcome { id, result });
        Ok(order.into_iter().filter_map(result).collect())
    }

    /// Sends all that waits. Fails with what keeps the rest from being sent.
    async fn send_all(
        &self,
        sender: &mut DocumentSender,
        mut waiting: Vec<Prepared>,
        monitor: &Arc<dyn DocumentMonitor>,
        outcomes: &mut Outcomes<'_>,
        stop: impl Future<Output = ()> + Send,
    ) -> Result<()> {
        let mut stop = pin!(stop);
        while !waiting.is_empty() {
            let room = tokio::select! {
                room = sender.room(self, &waiting) => room,
                () = &mut stop => return Err(interrupted()),
            };
            let (batch, too_large) = sender.next_batch(&mut waiting, room.space)?;
            outcomes.fail(too_large);
            let cancel = async {
                stop.as_mut().await;
                Cancelled::Interrupted
            };
            let (tell, mut settled) = mpsc::unbounded_channel();
            let mut sending = pin!(sender.send_batch(self, batch, room.ahead, monitor, cancel, &tell));
            let report = loop {
                tokio::select! {
                    report = &mut sending => break report,
                    Some(settled) = settled.recv() => outcomes.store(settled.stored),
                }
            };
            while let Ok(settled) = settled.try_recv() {
                outcomes.store(settled.stored);
            }
            let BatchReport { stored, failed, again, connection_lost, stopped, .. } = report;
            outcomes.store(stored);
            outcomes.fail(failed);
            if let Some(error) = stopped.or(connection_lost) {
                return Err(error);
            }
            waiting.splice(0..0, again);
        }
        Ok(())
    }
}

/// What is settled, and who is told.
struct Outcomes<'m> {
    monitor: &'m dyn DocumentMonitor,
    settled: HashMap<DocumentId, Result<StoredDocument>>,
}

impl Outcomes<'_> {
    fn fail(&mut self, failed: Vec<FailedDocument>) {
        for FailedDocument { id, error } in failed {
            self.monitor.event(DocumentEvent::Failed { id: Some(&id), error: &error });
            self.settled.insert(id, Err(error));
        }
    }

    fn store(&mut self, stored: Vec<StoredDocument>) {
        for document in stored {
            self.monitor.event(document.recorded());
            self.settled.insert(document.id.clone(), Ok(document));
        }
    }
}

/// Each outcome is told by its key.
fn refuse_repeated_keys(documents: &[OutgoingDocument]) -> Result<()> {
    let mut seen = HashSet::new();
    match documents.iter().find(|document| !seen.insert(&document.id)) {
        None => Ok(()),
        Some(twice) => {
            let message = format!("the key {} stands for two documents", twice.id);
            Err(NasSyncError::new(ErrorKind::Usage, message).with_solution("Give each document a key of its own."))
        }
    }
}

/// Looks at the file of each document, below `root` where there is one, and sees to it that no two names meet. Gives what can
/// be sent, and what cannot.
pub(crate) fn prepare(
    documents: Vec<OutgoingDocument>,
    root: Option<&HeldFolder>,
) -> (Vec<Prepared>, Vec<FailedDocument>) {
    let (mut prepared, mut refused) = (Vec::with_capacity(documents.len()), Vec::new());
    for document in documents {
        let id = document.id.clone();
        match Prepared::look(document, root) {
            Ok(document) => prepared.push(document),
            Err(error) => refused.push(FailedDocument { id, error }),
        }
    }
    let (prepared, clashes) = names::refuse_clashes(prepared);
    refused.extend(clashes);
    (prepared, refused)
}
