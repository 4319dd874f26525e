//! What a run writes down: what became of documents, what the NAS refuses, and when it goes on.

use std::collections::HashSet;

use chrono::{DateTime, Utc};

use super::verdicts::{self, Verdicts};
use super::{Others, Run, Stopping, interrupted};
use crate::client::capabilities::{self, Capabilities};
use crate::error::{ErrorKind, Healing, NasSyncError, Result};
use crate::proof::Capability;
use crate::service::lease::LeaseGuard;
use crate::service::{DocumentError, backoff, lease};
use crate::store::{BadRow, Deferred, DocumentId, FailedTry, Failure, MarkOutcome, NextTry, Pause, Queue, Settlement};

impl Run<'_> {
    /// Remembers what this NAS refuses, and says what changes by that: once, because from now on it is known.
    pub(super) async fn learn(&mut self, asked: &Capabilities) -> Result<()> {
        let news: Vec<Capability> = self.capabilities.refused().difference(asked.refused()).copied().collect();
        for capability in news {
            if self.service.settings().durability.is_none()
                && let Some(warning) = capabilities::warning(capability)
                && !self.summary.warnings.iter().any(|said| said == warning)
            {
                self.summary.warnings.push(warning.to_owned());
            }
        }
        let (target, refused) = (self.connection.target(), self.capabilities.refused().clone());
        self.store.with(move |store| store.remember_refused(&target, &refused, Utc::now())).await
    }

    /// Records verdicts and takes their documents out of the lease, in one commit.
    pub(super) async fn record(&mut self, guard: &LeaseGuard, verdicts: Verdicts) -> Result<()> {
        let Verdicts { synced, stamps, failed, attempts, .. } = verdicts;
        let settlement =
            Settlement { synced: synced.clone(), failed: failed.iter().filter_map(failed_try).collect(), attempts };
        let root = self.root.clone();
        let (fence, retries) = (guard.fence(), self.service.settings().retries);
        let (marked, renamed, unmarkable) = self
            .store
            .with(move |store| {
                let now = Utc::now();
                let is_still = |record: &_| verdicts::is_still(root.as_deref(), record, &stamps);
                let next = |kind, tries| backoff::next_try(kind, tries, retries, now);
                let outcomes = store.settle(fence, &settlement, now, &next, &is_still)?;
                let (mut marked, mut renamed, mut unmarkable) = (Vec::new(), Vec::new(), Vec::new());
                for (record, outcome) in synced.iter().zip(outcomes) {
                    match outcome {
                        MarkOutcome::Marked => marked.push(record.id),
                        MarkOutcome::Changed => renamed.push(record.id),
                        outcome => unmarkable.extend(cannot_be_marked(record.id, outcome)),
                    }
                }
                if !unmarkable.is_empty() {
                    let failed = unmarkable.iter().filter_map(failed_try).collect();
                    let failed = Settlement { failed, ..Settlement::default() };
                    store.settle(fence, &failed, now, &next, &is_still)?;
                }
                Ok((marked, renamed, unmarkable))
            })
            .await?;
        if !marked.is_empty() {
            let marked: HashSet<_> = marked.into_iter().map(Some).collect();
            self.summary.errors.retain(|failed| !marked.contains(&failed.id));
            self.summary.synced += marked.len();
            self.reconnects_without_progress = 0;
        }
        // Their rows name other files now.
        self.ask_again(renamed);
        for error in failed.into_iter().chain(unmarkable) {
            self.fail(error);
        }
        if self.summary.synced > 0 && self.pause.take().is_some() {
            self.set_pause(None).await?;
        }
        Ok(())
    }

    pub(super) fn refuse(&mut self, rows: Vec<BadRow>) {
        self.summary.errors.extend(rows.into_iter().map(|row| DocumentError { id: row.id, error: row.error }));
    }

    /// The last error of a document counts.
    fn fail(&mut self, error: DocumentError) {
        self.summary.errors.retain(|failed| failed.id.is_none() || failed.id != error.id);
        self.summary.errors.push(error);
    }

    async fn set_pause(&self, pause: Option<Pause>) -> Result<()> {
        let target = self.connection.target();
        self.store.with(move |store| store.set_pause(&target, pause.as_ref())).await
    }

    /// Counts what is left, and says when things go on.
    pub(super) async fn finish(&mut self) {
        let (selection, began) = (self.request.selection.clone(), self.began);
        let queue = self.store.with(move |store| store.queue(&selection, began, &lease::worker())).await;
        let Queue { due, leased, deferred } = queue.unwrap_or_else(|error| {
            self.stop(error);
            Queue::default()
        });
        for deferred in deferred {
            if !self.summary.errors.iter().any(|failed| failed.id == Some(deferred.id)) {
                self.summary.errors.push(still_deferred(&deferred));
            }
        }
        self.summary.errors.sort_by_key(|failed| failed.id);
        self.summary.failed = self.summary.errors.len();
        self.summary.pending = usize::try_from(due + leased).unwrap_or(usize::MAX);
        self.summary.total = self.summary.synced + self.summary.failed + self.summary.pending;
        if self.summary.pending > 0 && *self.stopping.borrow() != Stopping::No {
            // Asked between two batches.
            self.stop(interrupted());
        }
        let all_done = self.summary.failed == 0 && self.summary.pending == 0 && self.summary.synced > 0;
        if let Some(error) = self.summary.stopped.take_if(|error| all_done && error.kind().concerns_nas()) {
            // Such as a connection that was cut behind the last acknowledgement.
            self.summary.warnings.push(format!("everything is on the NAS, but it ended badly: {error}"));
        }
        if let Some(error) = self.summary.stopped.clone() {
            self.pause_for(&error).await;
        }
    }

    /// When the NAS takes nothing, or somebody has to do something first, that is recorded for `watch` and `status`.
    async fn pause_for(&mut self, error: &NasSyncError) {
        let count = self.pause.as_ref().map_or(1, |pause| pause.count.saturating_add(1));
        let until = match error.kind().healing() {
            Healing::Pausing => Some(backoff::pause_until(count, Utc::now())),
            // A run by hand, with settings that may be its own, must not stop a `watch` that works.
            Healing::Permanent if self.request.others == Others::Leave => None,
            Healing::Permanent | Healing::Transient => return,
        };
        let failure = Failure { kind: error.kind().as_str().to_owned(), text: error.message().to_owned() };
        if let Err(error) = self.set_pause(Some(Pause { until, failure, count })).await {
            tracing::warn!(%error, "a pause could not be recorded");
        }
        self.summary.paused_until = until;
    }
}

fn failed_try(failed: &DocumentError) -> Option<FailedTry> {
    let text = failed.error.message().to_owned();
    failed.id.map(|id| FailedTry { id, kind: failed.error.kind(), text })
}

/// A document that was not tried in this run, because its last try failed.
fn still_deferred(deferred: &Deferred) -> DocumentError {
    let kind = ErrorKind::from_name(&deferred.failure.kind).unwrap_or(ErrorKind::NotAcknowledged);
    let text = &deferred.failure.text;
    let (message, solution) = match deferred.next {
        NextTry::At(time) => (format!("{text} (next try at {})", shown(time)), "`nas-sync retry` tries again at once."),
        NextTry::Never => (
            format!("{text} (failed for good, tries: {})", deferred.tries),
            "See to the cause, then run `nas-sync retry`; the next sync tries again.",
        ),
    };
    let solution = format!("{} {solution}", kind.solution());
    DocumentError { id: Some(deferred.id), error: NasSyncError::new(kind, message).with_solution(solution) }
}

fn shown(time: DateTime<Utc>) -> impl std::fmt::Display {
    time.format("%Y-%m-%d %H:%M:%S UTC")
}

/// Why a document that is stored cannot be marked all the same; `None` where it is no longer the affair of this run: it
/// is synced already, its row is gone or names another file now, or another worker has taken it over.
fn cannot_be_marked(id: DocumentId, outcome: MarkOutcome) -> Option<DocumentError> {
    let error = match outcome {
        MarkOutcome::Rewritten => NasSyncError::new(ErrorKind::SourceChanged, "it changed after it had been sent"),
        MarkOutcome::NameTaken(other) => {
            NasSyncError::new(ErrorKind::NameClash, format!("its name on the NAS belongs to document {other} now"))
        }
        MarkOutcome::Refused(reason) => NasSyncError::new(
            ErrorKind::DatabaseUnusable,
            format!("it is on the NAS, but the database does not let it be marked: {reason}"),
        ),
        _ => return None,
    };
    Some(DocumentError { id: Some(id), error })
}
