//! One sync run: lease documents, plan, send and prove, record, until nothing is left. The way of one document through it is
//! in `protocol-notes/00-a-document.md`.
//!
//! `run` decides what happens next; `plan` makes of rows what can be sent; sending and proving is the client's
//! ([`crate::client::documents`]); `record` turns what was proved into rows; `finish` counts what is left. `state` is
//! what a run knows. `preview` says what a run would do.
//!
//! Guarantees: a document is sent only under a lease; what became of a batch is recorded before the next one begins, all
//! that became of one document in one commit; a connection that is cut is made anew and goes on with what is left, a bounded number of times without
//! progress; whatever stops the run, everything that was not proved stays pending.

mod finish;
mod plan;
mod preview;
mod record;
mod run;
mod state;
mod stopping;

#[cfg(feature = "watch")]
pub(crate) use self::finish::pause_for;
#[cfg(feature = "cli")]
pub(crate) use self::preview::claim_early;
pub(crate) use self::preview::preview;
pub use self::preview::{PlannedDocument, SyncPreview};
pub(crate) use self::run::run;
pub(crate) use self::state::{Others, Request};
pub(crate) use self::stopping::Stopping;
