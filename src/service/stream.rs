//! Documents that come one after the other, without a database: batch by batch, over one login that is kept and made anew when
//! it is lost.
//!
//! Guarantees: each document gets one outcome, whatever happens; a NAS that refuses logins is not asked more often than a run
//! with a database would; memory does not grow with what has gone.

mod names;

use std::collections::HashMap;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::Utc;
use tokio::sync::{mpsc, watch};

use self::names::TakenNames;
use crate::blocking;
use crate::client::Client;
use crate::client::documents::{
    BatchReport, Cancelled, DocumentEvent, DocumentMonitor, DocumentOutcome, DocumentSender, FailedDocument,
    OutgoingDocument, Prepared, SendSettings, Settled, StoredDocument, open_upload_dir, prepare,
};
use crate::error::{ErrorKind, Healing, NasSyncError, Result};
use crate::id::DocumentId;
use crate::service::connection::NasConnection;
use crate::service::{NasSyncService, backoff};
use crate::tree::HeldFolder;

/// Sends documents as they come.
pub(crate) struct Stream {
    connection: NasConnection,
    sender: DocumentSender,
    upload_dir: Option<PathBuf>,
    /// Reconnections without progress.
    retries: u32,
    names: TakenNames,
    logins: Logins,
    /// What kept the last documents from being sent.
    trouble: Option<ErrorKind>,
}

/// What is known about logging in.
#[derive(Default)]
struct Logins {
    /// Whether there has been one, so that another is worth waiting for.
    worked: bool,
    /// Those in a row that failed.
    failed: u32,
    /// Why the next one is not tried, and until when; `None`: never.
    barred: Option<(NasSyncError, Option<Instant>)>,
}

/// A batch under way: who is told what, and what is left to send.
struct Batch<'b, T> {
    monitor: &'b Arc<dyn DocumentMonitor>,
    stop: watch::Receiver<bool>,
    tell: T,
    waiting: Vec<Prepared>,
    reconnects: u32,
}

impl Stream {
    /// To the NAS of these settings; nothing is connected yet. Fails with `NotConfigured`, or with `Usage` for an upload folder
    /// that cannot be opened.
    pub fn new(service: &NasSyncService) -> Result<Self> {
        let settings = service.settings();
        let send = SendSettings {
            folder: service.nas_path()?.to_owned(),
            root: service.root()?,
            required: settings.durability,
            jobs: settings.jobs,
        };
        Ok(Self {
            connection: service.connection()?,
            sender: DocumentSender::new(send, Vec::new()),
            upload_dir: settings.upload_dir.clone(),
            retries: settings.retries,
            names: TakenNames::default(),
            logins: Logins::default(),
            trouble: None,
        })
    }

    /// Sends documents, whose keys must differ, and tells the outcome of each as soon as it is known, some at a time. Once `stop`
    /// says so, what is not acknowledged fails with `Interrupted`.
    pub async fn send(
        &mut self,
        documents: Vec<OutgoingDocument>,
        monitor: &Arc<dyn DocumentMonitor>,
        stop: watch::Receiver<bool>,
        tell: impl AsyncFnMut(Vec<DocumentOutcome>),
    ) {
        self.trouble = None;
        let planned = |bytes| DocumentEvent::Planned { documents: documents.len() as u64, bytes };
        let looked = {
            let (documents, upload_dir) = (documents.clone(), self.upload_dir.clone());
            blocking::run(move || look(documents, upload_dir)).await
        };
        let mut batch = Batch { monitor, stop, tell, waiting: Vec::new(), reconnects: 0 };
        match looked {
            Ok(Looked { root, prepared, mut refused }) => {
                let (free, taken) = self.names.refuse_taken(prepared);
                refused.extend(taken);
                self.sender.set_root(root);
                monitor.event(planned(free.iter().map(Prepared::bytes).sum()));
                batch.waiting = free;
                batch.fail(refused).await;
            }
            Err(error) => {
                monitor.event(planned(0));
                let refuse = |document: OutgoingDocument| FailedDocument { id: document.id, error: error.clone() };
                batch.fail(documents.into_iter().map(refuse).collect()).await;
            }
        }
        while !batch.waiting.is_empty() {
            if let Err(error) = self.send_some(&mut batch).await {
                self.trouble = Some(error.kind());
                batch.fail_all(&error).await;
            }
        }
    }

    /// Sends a part of what waits. Fails with what keeps the rest from being sent.
    async fn send_some(&mut self, batch: &mut Batch<'_, impl AsyncFnMut(Vec<DocumentOutcome>)>) -> Result<()> {
        let client = self.login(batch).await?;
        let room = self.sender.room(&client, &batch.waiting).await;
        let (part, too_large) = self.sender.next_batch(&mut batch.waiting, room.space)?;
        batch.fail(too_large).await;
        let mut sent: HashMap<DocumentId, Prepared> =
            part.iter().map(|document| (document.id.clone(), document.clone())).collect();
        let (tell, mut settled) = mpsc::unbounded_channel();
        let stop = asked_to_stop(batch.stop.clone());
        let report = {
            let mut sending = pin!(self.sender.send_batch(&client, part, room.ahead, batch.monitor, stop, &tell));
            loop {
                tokio::select! {
                    report = &mut sending => break report,
                    Some(Settled { stored, .. }) = settled.recv() => {
                        batch.store(stored, &mut sent, &mut self.names).await;
                    }
                }
            }
        };
        while let Ok(Settled { stored, .. }) = settled.try_recv() {
            batch.store(stored, &mut sent, &mut self.names).await;
        }
        let BatchReport { stored, failed, again, connection_lost, stopped, .. } = report;
        batch.store(stored, &mut sent, &mut self.names).await;
        for failed in &failed {
            sent.remove(&failed.id);
        }
        batch.fail(failed).await;
        for document in &again {
            sent.remove(&document.id);
        }
        batch.waiting.splice(0..0, again);
        if stopped.is_none() && connection_lost.is_none() {
            let unsaid = NasSyncError::new(ErrorKind::NotAcknowledged, "the NAS did not confirm that it is stored");
            batch.fail(sent.into_keys().map(|id| FailedDocument { id, error: unsaid.clone() }).collect()).await;
            return Ok(());
        }
        // Nothing is known of the rest.
        batch.waiting.extend(sent.into_values());
        match connection_lost.filter(|_| stopped.is_none()) {
            Some(error) => self.wait_before_reconnect(batch, error).await,
            None => stopped.map_or(Ok(()), Err),
        }
    }

    /// The login. The first is tried once, unless the NAS asks for patience; one that was lost is made anew, with growing waits.
    async fn login<T>(&mut self, batch: &mut Batch<'_, T>) -> Result<Client> {
        self.logins.check()?;
        loop {
            let connected = tokio::select! {
                connected = self.connection.client() => connected,
                _ = asked_to_stop(batch.stop.clone()) => return Err(interrupted()),
            };
            match connected {
                Ok(client) => {
                    self.logins = Logins { worked: true, ..Logins::default() };
                    return Ok(client);
                }
                Err(error) if self.logins.are_worth_waiting_for(error.kind()) => {
                    self.wait_before_reconnect(batch, error).await?;
                }
                Err(error) => {
                    self.logins.bar(&error);
                    return Err(error);
                }
            }
        }
    }

    /// After a lost connection: waits before the next, or gives up.
    async fn wait_before_reconnect<T>(&mut self, batch: &mut Batch<'_, T>, error: NasSyncError) -> Result<()> {
        batch.reconnects += 1;
        if batch.reconnects > self.retries {
            self.logins.bar(&error);
            return Err(error);
        }
        let wait = backoff::RECONNECT.wait(batch.reconnects);
        tracing::warn!("going on after a lost connection, again in {}: {error}", backoff::shown(wait));
        tokio::select! {
            () = tokio::time::sleep(wait) => Ok(()),
            _ = asked_to_stop(batch.stop.clone()) => Err(interrupted()),
        }
    }

    /// What kept documents of the last call from being sent, beside what was wrong with each.
    pub fn trouble(&self) -> Option<ErrorKind> {
        self.trouble
    }

    /// What people should know, once each.
    pub fn take_warnings(&mut self) -> Vec<String> {
        self.sender.take_warnings()
    }

    /// Says goodbye.
    pub async fn close(mut self) {
        self.connection.disconnect().await;
    }
}

impl<T: AsyncFnMut(Vec<DocumentOutcome>)> Batch<'_, T> {
    /// Documents are stored: they are no longer among those that were sent, and their names are taken.
    async fn store(
        &mut self,
        stored: Vec<StoredDocument>,
        sent: &mut HashMap<DocumentId, Prepared>,
        names: &mut TakenNames,
    ) {
        for document in &stored {
            self.reconnects = 0;
            sent.remove(&document.id);
            names.take(document);
            self.monitor.event(document.recorded());
        }
        let outcome = |document: StoredDocument| DocumentOutcome { id: document.id.clone(), result: Ok(document) };
        self.tell(stored.into_iter().map(outcome).collect()).await;
    }

    async fn fail(&mut self, failed: Vec<FailedDocument>) {
        for FailedDocument { id, error } in &failed {
            self.monitor.event(DocumentEvent::Failed { id: Some(id), error });
        }
        let outcome = |FailedDocument { id, error }| DocumentOutcome { id, result: Err(without_database(error)) };
        self.tell(failed.into_iter().map(outcome).collect()).await;
    }

    async fn fail_all(&mut self, error: &NasSyncError) {
        let error = if error.kind() == ErrorKind::Interrupted { interrupted() } else { error.clone() };
        let refuse = |document: Prepared| FailedDocument { id: document.id, error: error.clone() };
        let left = std::mem::take(&mut self.waiting);
        self.fail(left.into_iter().map(refuse).collect()).await;
    }

    async fn tell(&mut self, outcomes: Vec<DocumentOutcome>) {
        if !outcomes.is_empty() {
            (self.tell)(outcomes).await;
        }
    }
}

impl Logins {
    /// Fails while it is too early for the next one.
    fn check(&self) -> Result<()> {
        match &self.barred {
            Some((error, until)) if until.is_none_or(|until| Instant::now() < until) => Err(error.clone()),
            _ => Ok(()),
        }
    }

    fn are_worth_waiting_for(&self, kind: ErrorKind) -> bool {
        self.worked && kind.healing() == Healing::Transient || kind == ErrorKind::TurnedAway
    }

    /// After one that failed: documents that come before the next one may be tried fail at once.
    fn bar(&mut self, error: &NasSyncError) {
        self.worked = false;
        self.failed = self.failed.saturating_add(1);
        let wait = if error.kind().healing() == Healing::Transient {
            Some(backoff::RECONNECT.wait(self.failed))
        } else {
            let now = Utc::now();
            let until = backoff::pause_until(error.kind(), self.failed, now);
            until.map(|until| (until - now).to_std().unwrap_or(Duration::ZERO))
        };
        self.barred = Some((error.clone(), wait.map(|wait| Instant::now() + wait)));
    }
}

/// What is to be done about a document that stands in no table, and whose name is the caller's.
fn without_database(error: NasSyncError) -> NasSyncError {
    let solution = match error.kind() {
        ErrorKind::SourceMissing => "Put the file there and send it again.",
        ErrorKind::SourceOutside => "Name a file below UPLOAD_DIR, or correct UPLOAD_DIR.",
        ErrorKind::NameClash | ErrorKind::NameUnsendable => "Send it under another name.",
        ErrorKind::SourceNotRegular => "Name the file itself; of a folder each of its files.",
        ErrorKind::NotAcknowledged => "Send it again; if it fails again, read what rsync on the NAS said.",
        _ => return error,
    };
    if error.own_solution().is_some() { error } else { error.with_solution(solution) }
}

/// Documents whose files were looked at.
struct Looked {
    root: Option<Arc<HeldFolder>>,
    prepared: Vec<Prepared>,
    refused: Vec<FailedDocument>,
}

/// Looks at the files. The upload folder is opened anew each time: a disk may have been mounted there meanwhile. Where it holds
/// nothing, that is what is wrong, and not that files are missing.
fn look(documents: Vec<OutgoingDocument>, upload_dir: Option<PathBuf>) -> Result<Looked> {
    let root = upload_dir.map(|path| open_upload_dir(&path).map(Arc::new)).transpose()?;
    let (prepared, mut refused) = prepare(documents, root.as_deref());
    let of_files = |kind| matches!(kind, ErrorKind::SourceMissing | ErrorKind::SourceUnreadable);
    let mut missing = refused.iter_mut().filter(|failed| of_files(failed.error.kind())).peekable();
    if missing.peek().is_some()
        && let Some(Err(unavailable)) = root.as_ref().map(|root| root.check())
    {
        missing.for_each(|failed| failed.error = unavailable.clone());
    }
    Ok(Looked { root, prepared, refused })
}

/// Returns when somebody asks for the end.
async fn asked_to_stop(mut stop: watch::Receiver<bool>) -> Cancelled {
    // An error means that nobody can ask any more.
    if stop.wait_for(|stop| *stop).await.is_err() {
        std::future::pending::<()>().await;
    }
    Cancelled::Interrupted
}

fn interrupted() -> NasSyncError {
    NasSyncError::new(ErrorKind::Interrupted, "interrupted before the NAS had acknowledged it")
        .with_solution("Send it again.")
}
