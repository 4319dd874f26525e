//! A pull: the other side is the sender.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::converse::{Intake, Needed, Opening, Outcome, Side, Terms, converse};
use super::deadline::Receipts;
use crate::error::{ErrorKind, NasSyncError, Result};
use crate::role::agreement::Agreement;
use crate::role::event::Monitor;
use crate::role::parts::Parts;
use crate::role::pull::{self, Findings, PullJob};
use crate::transport::Exec;
use crate::wire::flist::io_error;
use crate::wire::mux::Message;
use crate::wire::offer::Offer;

/// What is pulled.
#[derive(Clone)]
pub struct Pull {
    /// What the server's arguments were made from.
    pub offer: Offer,
    /// What to do with it.
    pub job: PullJob,
    /// How long the session may go without progress in either direction.
    pub idle_limit: Duration,
    /// Who listens.
    pub monitor: Arc<dyn Monitor>,
}

/// Runs one pull to its end.
pub async fn pull(exec: Exec, opening: Opening, pull: Pull) -> Outcome {
    let Pull { offer, job, idle_limit, monitor } = pull;
    let terms = Terms {
        offer,
        needed: Needed::Everything,
        receipts: Receipts::NotAsked,
        idle_limit,
        monitor: Arc::clone(&monitor),
    };
    converse(exec, opening, terms, move |agreement| {
        let Agreement::Whole(negotiated) = agreement else {
            return Err(NasSyncError::new(ErrorKind::Internal, "a pull needs the whole agreement"));
        };
        let findings = Arc::clone(&job.findings);
        let parts = Arc::new(Parts::default());
        let open = Arc::clone(&parts);
        Ok(Side {
            intake: Intake::AtDiskSpeed,
            role: Box::new(move |port| pull::run(job, *negotiated, port, monitor, parts)),
            on_message: Box::new(move |message, _timer| note(&message, &findings, &open)),
        })
    })
    .await
}

fn note(message: &Message, findings: &Findings, parts: &Parts) -> Result<()> {
    match message {
        Message::IoError(bits) => {
            findings.errors.fetch_or(bits & io_error::KNOWN, Ordering::Relaxed);
            Ok(())
        }
        Message::NoSend(ndx) => parts.not_sent(*ndx),
        _ => Ok(()),
    }
}
