//! What a run writes down: what became of documents, and what the NAS refuses.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};

use chrono::Utc;

use super::state::{Context, State};
use crate::blocking;
use crate::client::documents::{Attempt, AttemptEnd, DocumentEvent, DocumentSender, Settled, StoredDocument};
use crate::error::{ErrorKind, NasSyncError, Result};
use crate::id::DocumentId;
use crate::service::lease::LeaseGuard;
use crate::service::{DocumentError, backoff};
use crate::store::{self, AT_ONCE, FailedTry, MarkOutcome, Settlement, StoredCopy, SyncedRecord};
use crate::tree::{self, Found, HeldFolder, Stamp};

/// What became of documents.
#[derive(Debug, Default)]
pub(super) struct Outcomes {
    pub stored: Vec<StoredDocument>,
    pub failed: Vec<DocumentError>,
    pub attempts: Vec<Attempt>,
}

impl Outcomes {
    /// Documents that were not even sent.
    pub fn failures(failed: Vec<DocumentError>) -> Self {
        Self { failed, ..Self::default() }
    }

    /// Adds what was proved.
    pub fn add(&mut self, Settled { stored, attempts }: Settled) {
        self.stored.extend(stored);
        self.attempts.extend(attempts);
    }

    /// Takes out all that became of some documents, as many as are recorded in one commit; `None`: there is nothing left.
    fn part(&mut self) -> Option<Self> {
        let stored = self.stored.iter().map(|stored| Some(&stored.id));
        let attempts = self.attempts.iter().map(|attempt| Some(&attempt.id));
        let all = stored.chain(attempts).chain(self.failed.iter().map(|failed| failed.id.as_ref()));
        let mut some = HashSet::new();
        for id in all {
            if some.len() == AT_ONCE {
                break;
            }
            some.insert(id.cloned());
        }
        let is_in = |id: &DocumentId| some.contains(&Some(id.clone()));
        let part = Self {
            stored: self.stored.extract_if(.., |stored| is_in(&stored.id)).collect(),
            failed: self.failed.extract_if(.., |failed| some.contains(&failed.id)).collect(),
            attempts: self.attempts.extract_if(.., |attempt| is_in(&attempt.id)).collect(),
        };
        (!some.is_empty()).then_some(part)
    }
}

/// What the database says about records.
#[derive(Default)]
struct Marks {
    marked: HashSet<DocumentId>,
    /// Their rows name other files now.
    renamed: Vec<DocumentId>,
    unmarkable: Vec<DocumentError>,
    /// Why the file of a record could not be looked at again, where that is not its own fault.
    trouble: Option<NasSyncError>,
}

/// Remembers what this NAS refuses, and takes over what people should know.
pub(super) async fn remember_refusals(context: &Context, state: &mut State, sender: &mut DocumentSender) -> Result<()> {
    state.warn(sender.take_warnings());
    let Some(refusals) = sender.take_news() else { return Ok(()) };
    context.store.remember_refusals(context.target.clone(), refusals, Utc::now()).await
}

/// Records outcomes and takes their documents out of the lease, part by part, each in one commit. What could not be recorded
/// is still in `outcomes`.
pub(super) async fn record(
    context: &Context,
    state: &mut State,
    guard: &LeaseGuard,
    outcomes: &mut Outcomes,
) -> Result<()> {
    if let Some(error) = take_out_trouble_of_this_machine(context, &mut outcomes.failed).await? {
        state.stop(error);
    }
    while let Some(part) = outcomes.part() {
        match write(context, state, guard, &part).await {
            Ok(marks) => take_over(context, state, part, marks),
            Err(error) => {
                outcomes.stored.extend(part.stored);
                outcomes.failed.extend(part.failed);
                outcomes.attempts.extend(part.attempts);
                return Err(error);
            }
        }
    }
    if state.summary.synced > 0 && std::mem::take(&mut state.moved) {
        context.store.sent_to(context.place.clone()).await?;
    }
    if state.summary.synced > 0 && state.pause.take().is_some() {
        context.store.end_pause(context.target.clone()).await?;
    }
    Ok(())
}

/// Takes over what was recorded.
fn take_over(context: &Context, state: &mut State, part: Outcomes, marks: Marks) {
    let Outcomes { stored, failed, .. } = part;
    let Marks { marked, renamed, unmarkable, trouble } = marks;
    if let Some(error) = trouble {
        state.stop(error);
    }
    state.done.recorded(marked.iter().cloned());
    state.done.recorded(failed.iter().chain(&unmarkable).filter_map(|error| error.id.clone()));
    for document in stored.iter().filter(|document| marked.contains(&document.id)) {
        context.monitor.event(document.recorded());
    }
    if !marked.is_empty() {
        state.summary.errors.retain(|failed| failed.id.as_ref().is_none_or(|id| !marked.contains(id)));
        state.summary.synced += marked.len();
        state.reconnects_without_progress = 0;
    }
    state.done.renamed(renamed.iter().cloned());
    state.asked.again(renamed);
    for error in failed.into_iter().chain(unmarkable) {
        context.monitor.event(DocumentEvent::Failed { id: error.id.as_ref(), error: &error.error });
        state.fail(error);
    }
}

/// Whether documents failed by what is the trouble of this machine: then they are taken out and stay pending.
///
/// A file that is missing may be that of its document. It is not where the whole folder is empty or cannot be read.
async fn take_out_trouble_of_this_machine(
    context: &Context,
    failed: &mut Vec<DocumentError>,
) -> Result<Option<NasSyncError>> {
    let kind = |failed: &DocumentError| failed.error.kind();
    let mut trouble =
        failed.iter().find(|failed| kind(failed).concerns_this_machine()).map(|failed| failed.error.clone());
    let of_files = |kind| matches!(kind, ErrorKind::SourceMissing | ErrorKind::SourceUnreadable);
    if trouble.is_none()
        && let Some(root) = &context.root
        && failed.iter().any(|failed| of_files(kind(failed)))
    {
        let root = Arc::clone(root);
        trouble = blocking::run(move || Ok(root.check().err())).await?;
        if trouble.is_some() {
            failed.retain(|failed| !of_files(kind(failed)));
        }
    }
    failed.retain(|failed| !kind(failed).concerns_this_machine());
    Ok(trouble)
}

async fn write(context: &Context, state: &State, guard: &LeaseGuard, part: &Outcomes) -> Result<Marks> {
    let Outcomes { stored, failed, attempts } = part;
    let stamps: HashMap<DocumentId, Stamp> =
        stored.iter().map(|document| (document.id.clone(), document.stamp)).collect();
    let settlement = Settlement {
        synced: stored.iter().map(record_of).collect(),
        failed: failed.iter().filter_map(failed_try).collect(),
        attempts: attempts.iter().map(attempt_row).collect(),
    };
    let (root, unseen) = (context.root.clone(), Arc::new(Mutex::new(HashMap::new())));
    let noted = Arc::clone(&unseen);
    let is_still = move |record: &SyncedRecord| match is_still(root.as_deref(), record, &stamps) {
        Ok(is_still) => is_still,
        Err(error) => {
            blocking::lock(&noted).insert(record.id.clone(), error);
            false
        }
    };
    let (now, retries) = (Utc::now(), context.retries);
    let next = move |kind, tries| backoff::next_try(kind, tries, retries, now);
    let outcomes = context.store.settle(guard.fence(), settlement, now, next, is_still).await?;
    let mut marks = Marks::default();
    for (document, outcome) in stored.iter().zip(outcomes) {
        let id = &document.id;
        match (outcome, blocking::lock(&unseen).remove(id)) {
            (MarkOutcome::Rewritten, Some(error)) => marks.trouble = Some(error),
            (MarkOutcome::Marked, _) => drop(marks.marked.insert(id.clone())),
            (MarkOutcome::Changed, _) if !state.done.was_renamed(id) => marks.renamed.push(id.clone()),
            (outcome, _) => marks.unmarkable.extend(cannot_be_marked(id, outcome)),
        }
    }
    if !marks.unmarkable.is_empty() {
        let failed = marks.unmarkable.iter().filter_map(failed_try).collect();
        let settlement = Settlement { failed, ..Settlement::default() };
        context.store.settle(guard.fence(), settlement, now, next, |_| false).await?;
    }
    Ok(marks)
}

/// Whether the file of a record is still the one that was read. One that is gone or closed to us was stored all the same.
/// Fails when that cannot be known, for a reason that has nothing to do with it. It is only looked at, because other users
/// of the database wait meanwhile.
fn is_still(root: Option<&HeldFolder>, record: &SyncedRecord, stamps: &HashMap<DocumentId, Stamp>) -> Result<bool> {
    match tree::look(root, &record.file_path) {
        Ok(Found::File(stamp)) => Ok(stamps.get(&record.id) == Some(&stamp)),
        Err(error) if error.kind().concerns_this_machine() => Err(error),
        Ok(Found::Folder | Found::Other) | Err(_) => Ok(true),
    }
}

fn record_of(document: &StoredDocument) -> SyncedRecord {
    SyncedRecord {
        id: document.id.clone(),
        file_path: document.path.clone(),
        copy: StoredCopy {
            remote_name: document.name.as_bytes().to_vec(),
            bytes: document.bytes,
            mtime: document.mtime,
            level: document.level,
            sha256: document.sha256,
        },
    }
}

fn attempt_row(attempt: &Attempt) -> store::Attempt {
    store::Attempt {
        id: attempt.id.clone(),
        remote_name: attempt.name.as_bytes().to_vec(),
        sha256: attempt.sha256,
        started: attempt.started,
        took: attempt.took,
        bytes: attempt.bytes,
        end: match attempt.end {
            AttemptEnd::Stored => store::AttemptEnd::Synced,
            AttemptEnd::Failed => store::AttemptEnd::Failed,
            AttemptEnd::Cut => store::AttemptEnd::Cut,
        },
        durable_by: attempt.durable_by,
        failure: attempt.failure.as_ref().map(|error| (error.kind(), error.message().to_owned())),
    }
}

fn failed_try(failed: &DocumentError) -> Option<FailedTry> {
    let (id, error) = (failed.id.clone()?, &failed.error);
    let solution = error.own_solution().map(ToOwned::to_owned);
    Some(FailedTry { id, kind: error.kind(), text: error.message().to_owned(), solution })
}

/// Why a document that is stored cannot be marked all the same; `None` where it is no longer the affair of this run: it
/// is synced already, its row is gone or names another file now, or another worker has taken it over.
fn cannot_be_marked(id: &DocumentId, outcome: MarkOutcome) -> Option<DocumentError> {
    let error = match outcome {
        MarkOutcome::Rewritten => NasSyncError::new(ErrorKind::SourceChanged, "it changed after it had been sent"),
        MarkOutcome::Changed => {
            let message = "its row named another file each time it had been sent";
            NasSyncError::new(ErrorKind::SourceChanged, message)
        }
        MarkOutcome::NameTaken(other) => {
            NasSyncError::new(ErrorKind::NameClash, format!("its name on the NAS belongs to document {other} now"))
        }
        MarkOutcome::Refused(reason) => NasSyncError::new(
            ErrorKind::DatabaseUnusable,
            format!("it is on the NAS, but the database does not let it be marked: {reason}"),
        ),
        _ => return None,
    };
    Some(DocumentError { id: Some(id.clone()), error })
}
