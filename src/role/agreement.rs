//! What a sender knows about its session when its file list goes out.

use std::sync::mpsc::Receiver;

use crate::error::{ErrorKind, NasSyncError, Result};
use crate::wire::negotiated::{ListTerms, Negotiated};

/// What was agreed on, or is being agreed on while the list is on its way: no list depends on the names of algorithms or on
/// the seed.
#[derive(Debug)]
pub enum Agreement {
    /// All of it.
    Whole(Box<Negotiated>),
    /// What a list is written by; the rest comes as soon as the other side has said it.
    OfList(ListTerms, Receiver<Negotiated>),
}

impl From<Negotiated> for Agreement {
    fn from(negotiated: Negotiated) -> Self {
        Self::Whole(Box::new(negotiated))
    }
}

impl Agreement {
    /// What a list is written by.
    pub fn list_terms(&self) -> ListTerms {
        match self {
            Self::Whole(negotiated) => negotiated.list_terms,
            Self::OfList(terms, _) => *terms,
        }
    }

    /// All of it; `before_wait` runs before it waits for the rest. Fails with `ConnectionLost` when that does not come.
    pub fn whole(self, before_wait: impl FnOnce() -> Result<()>) -> Result<Negotiated> {
        match self {
            Self::Whole(negotiated) => Ok(*negotiated),
            Self::OfList(_, rest) => {
                before_wait()?;
                rest.recv().map_err(|_| {
                    NasSyncError::new(ErrorKind::ConnectionLost, "the NAS ended before the handshake was complete")
                })
            }
        }
    }
}
