//! Documents to the NAS, each with a key of the caller's, and what was proved about each. No database.
//!
//! A [`Naming`] (by a `layout`) gives documents of a database their names. A [`Prepared`] document is one whose file was looked at. A [`DocumentSender`] sends prepared ones batch by batch:
//! `limits` cuts the batch, `apart` keeps out of it what the NAS takes for the same file, `sessions` runs a session or several (`side_by_side` says how many, `batch` what each is about), `judge` says what each session proved about each document,
//! `prove` has the NAS make it last, `meanwhile` does both while it runs. `send` is all of that in one call.
//!
//! Guarantees: a document counts as stored only if its file stayed the same and the NAS proved it at the level that is
//! told; two documents never land on one name, nor on two that are one file there; what was proved is told whatever happens next.

mod apart;
mod batch;
mod events;
mod fetch;
mod judge;
pub(crate) mod layout;
mod limits;
mod meanwhile;
mod names;
mod naming;
mod prepared;
mod prove;
mod report;
mod send;
mod sender;
mod sessions;
mod side_by_side;
#[cfg(feature = "watch")]
mod tried;

pub use self::events::{DocumentEvent, DocumentMonitor, RecordedEvent, RecordingMonitor, Unmonitored};
pub use self::fetch::{FetchDocuments, Fetched, FetchedDocument, WantedDocument};
pub use self::layout::DocumentFacts;
pub use self::meanwhile::Settled;
pub use self::names::refuse_clashes;
#[cfg(feature = "service")]
pub(crate) use self::names::{awaits_neighbour, name_clash};
pub use self::naming::Naming;
#[cfg(feature = "service")]
pub(crate) use self::prepared::open_upload_dir;
pub use self::prepared::{Neighbour, OutgoingDocument, Prepared};
pub use self::report::{Attempt, AttemptEnd, BatchReport, FailedDocument, Proof, StoredDocument};
#[cfg(feature = "cli")]
pub(crate) use self::send::prepare;
pub use self::send::{DocumentOutcome, SendDocuments};
pub use self::sender::{Cancelled, DocumentSender, SendSettings};
#[cfg(feature = "service")]
pub(crate) use self::sender::{Room, StartedAhead, interrupted};
#[cfg(feature = "watch")]
pub use self::tried::TriedDocuments;
