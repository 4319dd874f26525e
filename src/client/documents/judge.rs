//! What a session proved about each of its documents.
//!
//! Guarantees: a document counts as stored only if its file stayed the same and the NAS proved that it is stored.

use std::time::Instant;

use super::batch::Batch;
use super::meanwhile::Settled;
use super::prepared::Prepared;
use super::report::{Attempt, AttemptEnd, FailedDocument, StoredDocument, Verdicts};
use crate::client::capabilities::Proof;
use crate::error::{ErrorKind, NasSyncError};
use crate::id::DocumentId;
use crate::proof::{DurableBy, Level};
use crate::role::event::Stability;
use crate::role::ledger::FileReport;
use crate::session::{Outcome, kind_of_text, names_file, names_unmade_folder};
use crate::transport::ExitStatus;

/// What is known when a session is over, or was cut off.
pub(super) struct SessionEnd<'o> {
    pub proof: Proof,
    /// `None` when it was cut off from this side.
    pub outcome: Option<&'o Outcome>,
}

enum Verdict {
    Proved(Level),
    Failed(NasSyncError),
    /// Not reached: nothing is known.
    Open,
}

/// What became of each document of a batch.
pub(super) fn judge(batch: &Batch, end: &SessionEnd<'_>) -> Verdicts {
    let mut verdicts = Verdicts::default();
    for (document, report) in batch.documents.iter().zip(batch.ledger.take().files) {
        if report.settled {
            verdicts.written.insert(document.folder().to_vec());
            continue;
        }
        let verdict = match (end.verdict(document, &report), end.unclean()) {
            // There is nobody else whom the complaint could be about.
            (Verdict::Open, Some(outcome)) if batch.documents.len() == 1 => {
                Verdict::Failed(not_stored(document, outcome))
            }
            (verdict, _) => verdict,
        };
        verdicts.attempts.extend(attempt(&report, document, &verdict, end));
        match verdict {
            Verdict::Proved(level) => {
                verdicts.written.insert(document.folder().to_vec());
                verdicts.stored.push(stored(document, level, report.sha256));
            }
            Verdict::Failed(error) => {
                if error.kind().concerns_nas() {
                    let unmade = end.outcome.and_then(|outcome| unmade(document, outcome));
                    let folders = [Some(document.folder()), unmade.map(|(_, folder)| above(folder))];
                    for folder in folders.into_iter().flatten() {
                        verdicts.refusing.entry(folder.to_vec()).or_insert_with(|| error.clone());
                    }
                }
                verdicts.failed.push(FailedDocument { id: document.id.clone(), error });
            }
            Verdict::Open => verdicts.open.push(document.clone()),
        }
    }
    verdicts
}

/// Settles those documents of a batch, while it runs, that a report proves to be stored. `lasts` says by what they were made
/// to last, if they were.
pub(super) fn settle(batch: &Batch, files: &[(usize, FileReport)], lasts: Option<DurableBy>) -> Settled {
    let (mut settled, end) = (Settled::default(), SessionEnd { proof: Proof::Acknowledgements, outcome: None });
    for (tag, report) in files {
        let Some(document) = batch.documents.get(*tag) else { continue };
        let verdict = end.verdict(document, report);
        if let Verdict::Proved(level) = verdict {
            let level = lasts.map_or(level, |_| level.max(Level::Durable));
            let attempt = attempt(report, document, &verdict, &end);
            settled.attempts.extend(attempt.map(|attempt| Attempt { durable_by: lasts, ..attempt }));
            settled.stored.push(stored(document, level, report.sha256));
            batch.ledger.settle(*tag);
        }
    }
    settled
}

fn stored(document: &Prepared, level: Level, sha256: Option<[u8; 32]>) -> StoredDocument {
    StoredDocument {
        id: document.id.clone(),
        path: document.path.clone(),
        name: document.name.clone(),
        bytes: document.bytes(),
        mtime: document.meta.mtime,
        level,
        sha256,
        stamp: document.stamp,
    }
}

/// The attempt to send this document, if there was one.
fn attempt(report: &FileReport, document: &Prepared, verdict: &Verdict, end: &SessionEnd<'_>) -> Option<Attempt> {
    let (started, since) = report.started?;
    let (end, failure) = match verdict {
        Verdict::Proved(_) => (AttemptEnd::Stored, None),
        Verdict::Failed(error) => (AttemptEnd::Failed, Some(error.clone())),
        Verdict::Open => (AttemptEnd::Cut, end.outcome.and_then(|outcome| outcome.result.as_ref().err()).cloned()),
    };
    let took = report.ended.unwrap_or_else(Instant::now).saturating_duration_since(since);
    let (id, name, sha256, bytes) = (document.id.clone(), document.name.clone(), report.sha256, report.literal);
    Some(Attempt { id, name, sha256, started, took, bytes, end, durable_by: None, failure })
}

impl Verdicts {
    /// After a jam: a document of which nothing is known, in a folder that refused others and took none, fails like
    /// them. So every further session has a folder less to run into.
    pub fn spread_refusals(&mut self) {
        for document in std::mem::take(&mut self.open) {
            match self.refusing.get(document.folder()) {
                Some(error) if !self.written.contains(document.folder()) => {
                    self.failed.push(FailedDocument { id: document.id, error: error.clone() });
                }
                _ => self.open.push(document),
            }
        }
    }

    /// Trouble that every further document would meet too: the NAS is full, or takes nothing at all. The documents
    /// that met it are not to blame and stay pending.
    pub fn trouble_of_the_nas(&mut self) -> Option<NasSyncError> {
        let of_nas = |failed: &FailedDocument| failed.error.kind().concerns_nas();
        let full = |failed: &FailedDocument| matches!(failed.error.kind(), ErrorKind::DiskFull | ErrorKind::ReadOnly);
        // A folder below may refuse for reasons of its own, and documents of other folders must not wait for that.
        let takes_nothing = self.written.is_empty()
            && self.open.is_empty()
            && self.failed.iter().all(of_nas)
            && self.refusing.contains_key(&b""[..]);
        let trouble = self.failed.iter().find(|failed| full(failed) || takes_nothing)?.error.clone();
        self.failed.retain(|failed| !of_nas(failed));
        Some(trouble)
    }

    /// Takes back all that was proved: it was acknowledged, but what should make it last did not happen. Gives the
    /// documents.
    pub fn take_back_all(&mut self, cause: &NasSyncError) -> Vec<DocumentId> {
        for attempt in self.attempts.iter_mut().filter(|attempt| attempt.end == AttemptEnd::Stored) {
            attempt.end = AttemptEnd::Cut;
            attempt.failure = Some(cause.clone());
        }
        self.stored.drain(..).map(|document| document.id).collect()
    }

    /// After the NAS has read again what it stored: who is without an error is verified.
    pub fn read_back(&mut self, errors: Vec<Option<NasSyncError>>) {
        let stored = std::mem::take(&mut self.stored);
        for (mut document, error) in stored.into_iter().zip(errors) {
            match error {
                None => {
                    document.level = Level::Verified;
                    self.stored.push(document);
                }
                Some(error) => self.failed.push(FailedDocument { id: document.id, error }),
            }
        }
    }

    /// What the NAS acknowledged was made to last.
    pub fn are_durable(&mut self, by: DurableBy) {
        for document in &mut self.stored {
            document.level = document.level.max(Level::Durable);
        }
        for attempt in self.attempts.iter_mut().filter(|attempt| attempt.end == AttemptEnd::Stored) {
            attempt.durable_by = Some(by);
        }
    }
}

impl SessionEnd<'_> {
    fn verdict(&self, document: &Prepared, report: &FileReport) -> Verdict {
        match (&report.failure, report.stability, self.proof) {
            (Some(error), _, _) => Verdict::Failed(error.clone()),
            (None, Some(Stability::Unchanged), Proof::Acknowledgements) if report.acknowledged => {
                Verdict::Proved(Level::Stored)
            }
            (None, Some(Stability::Unchanged), Proof::CleanEnd) if self.ended_clean() => Verdict::Proved(Level::Sent),
            (None, Some(Stability::Changed), _) => Verdict::Failed(NasSyncError::new(
                ErrorKind::SourceChanged,
                format!("{} changed while it was read", document.path.display()),
            )),
            (None, _, _) => match self.outcome {
                // Without acknowledgements one bad document hides what became of the others.
                Some(outcome)
                    if outcome.result.is_ok() && self.proof == Proof::CleanEnd && report.stability.is_some() =>
                {
                    match named(document, outcome) {
                        Some(_) => Verdict::Failed(not_stored(document, outcome)),
                        None => Verdict::Open,
                    }
                }
                Some(outcome) if outcome.result.is_ok() || outcome.jammed && named(document, outcome).is_some() => {
                    Verdict::Failed(not_stored(document, outcome))
                }
                // openrsync may end in the middle of a session once it has named what it could not store.
                Some(outcome)
                    if self.proof == Proof::CleanEnd && ended_badly(outcome) && named(document, outcome).is_some() =>
                {
                    Verdict::Failed(not_stored(document, outcome))
                }
                _ => Verdict::Open,
            },
        }
    }

    /// A session without acknowledgements that came to its end with complaints.
    pub fn unclean(&self) -> Option<&Outcome> {
        self.outcome.filter(|outcome| outcome.result.is_ok() && self.proof == Proof::CleanEnd && !self.ended_clean())
    }

    fn ended_clean(&self) -> bool {
        self.outcome.is_some_and(|outcome| {
            outcome.result.is_ok()
                // Some servers never say how a command ended.
                && matches!(outcome.exit, Some(ExitStatus::Code(0) | ExitStatus::NotSaid))
                && !outcome.text.is_partial()
                && !outcome.text.has_complaints()
        })
    }
}

/// Whether rsync there ended by itself and said that it was no good end.
fn ended_badly(outcome: &Outcome) -> bool {
    matches!(outcome.exit, Some(ExitStatus::Code(1..)))
}

/// The session ended well, but not for this document: what the NAS said about it, or about all of them.
fn not_stored(document: &Prepared, outcome: &Outcome) -> NasSyncError {
    let of_all = |line: &&[u8]| matches!(kind_of_text(line), Some(ErrorKind::DiskFull | ErrorKind::ReadOnly));
    let line = named(document, outcome)
        .or_else(|| unmade(document, outcome).map(|(line, _)| line))
        .or_else(|| outcome.text.lines().find(of_all));
    let kind = line.and_then(kind_of_text).unwrap_or(ErrorKind::NotAcknowledged);
    let message = match line {
        Some(line) => format!("the NAS did not store it: {}", String::from_utf8_lossy(line)),
        None => String::from("the NAS did not confirm that it is stored"),
    };
    NasSyncError::new(kind, message).with_details(outcome.text.as_bytes())
}

/// What the NAS said about this document by name.
fn named<'o>(document: &Prepared, outcome: &'o Outcome) -> Option<&'o [u8]> {
    outcome.text.lines().find(|line| names_file(line, document.name.as_bytes()))
}

/// The folder of this document that the NAS could not make, with what it said.
fn unmade<'o>(document: &'o Prepared, outcome: &'o Outcome) -> Option<(&'o [u8], &'o [u8])> {
    let of_folder = |folder| Some((outcome.text.lines().find(|line| names_unmade_folder(line, folder))?, folder));
    document.name.parents().find_map(of_folder)
}

/// The folder in which this one lies, as documents name theirs.
fn above(folder: &[u8]) -> &[u8] {
    &folder[..folder.iter().rposition(|&byte| byte == b'/').map_or(0, |slash| slash + 1)]
}
