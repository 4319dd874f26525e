//! What became of each document of a session, in the words of the rows.
//!
//! Guarantees: a document becomes a record only if its file stayed the same and the NAS proved that it is stored.

use std::collections::{HashMap, HashSet};

use super::batch::FileProgress;
use super::plan::Planned;
use crate::client::capabilities::Proof;
use crate::error::{ErrorKind, NasSyncError};
use crate::proof::Level;
use crate::role::event::Stability;
use crate::service::DocumentError;
use crate::session::{Outcome, kind_of_text, names_file};
use crate::store::{Attempt, AttemptEnd, DocumentId, SyncedRecord};
use crate::transport::ExitStatus;
use crate::tree::{Root, SourceFile, Stamp};

/// What is known when a session is over, or was cut off.
pub(super) struct SessionEnd<'o> {
    pub proof: Proof,
    /// `None` when it was cut off from this side.
    pub outcome: Option<&'o Outcome>,
}

pub(super) enum Verdict {
    Proved(Level),
    Failed(NasSyncError),
    /// Not reached: nothing is known, so it stays pending.
    Open,
}

/// Whether the file of a record is still the one that was read. One that is gone or closed to us was stored all the same.
pub(super) fn is_still(root: Option<&Root>, record: &SyncedRecord, stamps: &HashMap<DocumentId, Stamp>) -> bool {
    SourceFile::open_document(root, &record.file_path).map_or(true, |file| stamps.get(&record.id) == Some(file.stamp()))
}

/// What became of a batch.
#[derive(Debug, Default)]
pub(super) struct Verdicts {
    pub synced: Vec<SyncedRecord>,
    /// What the files of those were when they were read.
    pub stamps: HashMap<DocumentId, Stamp>,
    pub failed: Vec<DocumentError>,
    /// Every attempt to send one of them.
    pub attempts: Vec<Attempt>,
    /// Documents of which nothing is known.
    pub open: Vec<Planned>,
    /// Folders on the NAS in which something was stored.
    pub written: HashSet<Vec<u8>>,
    /// Folders in which something was not, for a reason that is not the document's.
    pub refusing: HashMap<Vec<u8>, NasSyncError>,
}

impl Verdicts {
    /// After a jam: a document of which nothing is known, in a folder that refused others and took none, fails like
    /// them. So every further session has a folder less to run into.
    pub fn spread_refusals(&mut self) {
        for planned in std::mem::take(&mut self.open) {
            match self.refusing.get(planned.folder()) {
                Some(error) if !self.written.contains(planned.folder()) => {
                    self.failed.push(DocumentError { id: Some(planned.document.id), error: error.clone() });
                }
                _ => self.open.push(planned),
            }
        }
    }

    /// Trouble that every further document would meet too: the NAS is full, or takes nothing at all. The documents
    /// that met it are not to blame and stay pending.
    pub fn trouble_of_the_nas(&mut self) -> Option<NasSyncError> {
        let of_nas = |failed: &DocumentError| failed.error.kind().concerns_nas();
        let full = |failed: &DocumentError| matches!(failed.error.kind(), ErrorKind::DiskFull | ErrorKind::ReadOnly);
        // A folder below may refuse for reasons of its own, and documents of other folders must not wait for that.
        let takes_nothing = self.synced.is_empty()
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
        for attempt in self.attempts.iter_mut().filter(|attempt| attempt.end == AttemptEnd::Synced) {
            attempt.end = AttemptEnd::Cut;
            attempt.failure = Some((cause.kind(), cause.message().to_owned()));
        }
        self.synced.drain(..).map(|record| record.id).collect()
    }

    /// Adds what became of another batch.
    pub fn append(&mut self, other: Self) {
        let Self { synced, stamps, failed, attempts, open, written, refusing } = other;
        self.synced.extend(synced);
        self.stamps.extend(stamps);
        self.failed.extend(failed);
        self.attempts.extend(attempts);
        self.open.extend(open);
        self.written.extend(written);
        self.refusing.extend(refusing);
    }

    /// After the NAS has read again what it stored: who is without an error is verified.
    pub fn read_back(&mut self, errors: Vec<Option<NasSyncError>>) {
        let records = std::mem::take(&mut self.synced);
        for (mut record, error) in records.into_iter().zip(errors) {
            match error {
                None => {
                    record.copy.level = Level::Verified;
                    self.synced.push(record);
                }
                Some(error) => self.failed.push(DocumentError { id: Some(record.id), error }),
            }
        }
    }

    /// Raises the level of what the NAS acknowledged.
    pub fn raise_to(&mut self, level: Level) {
        for record in &mut self.synced {
            record.copy.level = record.copy.level.max(level);
        }
    }
}

impl SessionEnd<'_> {
    pub fn verdict(&self, planned: &Planned, progress: &FileProgress) -> Verdict {
        match (&progress.failure, progress.sent, self.proof) {
            (Some(error), _, _) => Verdict::Failed(error.clone()),
            (None, Some(Stability::Unchanged), Proof::Acknowledgements) if progress.acknowledged => {
                Verdict::Proved(Level::Stored)
            }
            (None, Some(Stability::Unchanged), Proof::CleanEnd) if self.ended_clean() => Verdict::Proved(Level::Sent),
            (None, Some(Stability::Changed), _) => Verdict::Failed(NasSyncError::new(
                ErrorKind::SourceChanged,
                format!("{} changed while it was read", planned.document.file_path.display()),
            )),
            (None, _, _) => match self.outcome {
                // Without acknowledgements one bad document hides what became of the others.
                Some(outcome) if outcome.result.is_ok() && self.proof == Proof::CleanEnd && progress.sent.is_some() => {
                    match named(planned, outcome) {
                        Some(_) => Verdict::Failed(not_stored(planned, outcome)),
                        None => Verdict::Open,
                    }
                }
                Some(outcome) if outcome.result.is_ok() || outcome.jammed && named(planned, outcome).is_some() => {
                    Verdict::Failed(not_stored(planned, outcome))
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
            outcome.result.is_ok() && outcome.exit == Some(ExitStatus::Code(0)) && !outcome.text.is_partial()
        })
    }
}

/// The session ended well, but not for this document: what the NAS said about it, or about all of them.
pub(super) fn not_stored(planned: &Planned, outcome: &Outcome) -> NasSyncError {
    let of_all =
        |connection: &&[u8]| matches!(kind_of_text(connection), Some(ErrorKind::DiskFull | ErrorKind::ReadOnly));
    let connection = named(planned, outcome).or_else(|| outcome.text.lines().find(of_all));
    let kind = connection.and_then(kind_of_text).unwrap_or(ErrorKind::NotAcknowledged);
    let message = match connection {
        Some(connection) => format!("the NAS did not store it: {}", String::from_utf8_lossy(connection)),
        None => String::from("the NAS did not confirm that it is stored"),
    };
    NasSyncError::new(kind, message).with_details(outcome.text.as_bytes())
}

/// What the NAS said about this document by name.
fn named<'o>(planned: &Planned, outcome: &'o Outcome) -> Option<&'o [u8]> {
    outcome.text.lines().find(|connection| names_file(connection, planned.name.as_bytes()))
}
