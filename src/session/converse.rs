//! What every session does, in whichever direction the files go.

use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use tokio::sync::mpsc;

use super::deadline::{ProgressTimer, Receipts, Stall};
use super::end::{self, SessionFailure};
use super::pump::{self, OnMessage};
use super::received::Received;
use super::remote_text::RemoteText;
use crate::blocking;
use crate::error::{ErrorKind, Result};
use crate::role::event::Monitor;
use crate::role::outbox::OUTBOX_FRAMES;
use crate::role::port::Port;
use crate::transport::{Exec, ExecReader, ExecWriter, ExitStatus};
use crate::wire::handshake::Handshake;
use crate::wire::negotiated::Negotiated;
use crate::wire::offer::{Offer, Protocol};

/// What a session needs to know, whatever it is for.
pub(super) struct Terms {
    /// What the server's arguments were made from.
    pub offer: Offer,
    /// Whether the server's arguments ask for acknowledgements.
    pub receipts: Receipts,
    /// How long the session may go without progress in either direction.
    pub idle_limit: Duration,
    /// Who listens.
    pub monitor: Arc<dyn Monitor>,
}

/// This end of a session: its role, and what the other side's messages mean to it.
pub(super) struct Side {
    pub role: Box<dyn FnOnce(Port) -> Result<()> + Send>,
    pub on_message: OnMessage,
}

/// How a session ended. The texts and counts are there whatever the result.
#[derive(Debug)]
pub struct Outcome {
    /// An error ends the session as a whole; failures of single files are told by the monitor, the text and the exit
    /// status 23 or 24, which are no error here.
    pub result: Result<()>,
    /// Whether it ended because too many files had failed over there for the rest to go on. Those that are named in the
    /// text failed; the others can be sent in another session.
    pub jammed: bool,
    /// What the other side said for people.
    pub text: RemoteText,
    /// How the remote command ended, if it was heard.
    pub exit: Option<ExitStatus>,
    /// The protocol in use, once the handshake was complete.
    pub protocol: Option<Protocol>,
    /// Bytes sent, framing included.
    pub sent: u64,
    /// Bytes received, framing included.
    pub received: u64,
}

impl Outcome {
    /// Whether a wrapper that lets in one rsync at a time found another one at work.
    pub fn found_another(&self) -> bool {
        self.protocol.is_none() && self.result.is_err() && self.text.says_one_at_a_time()
    }

    /// Whether the server refused its arguments before anything else happened, so that fewer may do.
    pub fn refused_an_option(&self) -> bool {
        self.protocol.is_none() && self.result.as_ref().is_err_and(|error| error.kind() == ErrorKind::OptionRefused)
    }
}

/// Runs a session to its end. `prepare` makes this end of it once the encodings are known, on a thread that may block.
pub(super) async fn converse(
    exec: Exec,
    terms: Terms,
    prepare: impl FnOnce(Negotiated) -> Result<Side> + Send + 'static,
) -> Outcome {
    let timer = ProgressTimer::new(terms.receipts);
    let mut received = Received::default();
    let mut protocol = None;
    let end = run(exec, terms, prepare, &timer, &mut received, &mut protocol).await;
    let jammed = matches!(end, Err(SessionFailure::Stalled(Stall::Jammed)));
    let result = match end {
        Ok(()) => end::result(&received),
        Err(failure) => Err(end::error(failure, &received)),
    };
    let counts = (timer.sent(), timer.received());
    Outcome { result, jammed, text: received.text, exit: received.exit, protocol, sent: counts.0, received: counts.1 }
}

async fn run(
    exec: Exec,
    terms: Terms,
    prepare: impl FnOnce(Negotiated) -> Result<Side> + Send + 'static,
    timer: &ProgressTimer,
    received: &mut Received,
    protocol: &mut Option<Protocol>,
) -> Result<(), SessionFailure> {
    let Exec { mut reader, mut writer } = exec;
    let mut input = BytesMut::new();
    let negotiated = tokio::select! {
        shaken = shake_hands(terms.offer, &mut reader, &mut writer, &mut input, timer, received) => shaken?,
        stall = timer.stalled(terms.idle_limit) => return Err(SessionFailure::Stalled(stall)),
    };
    *protocol = Some(negotiated.protocol);
    received.text.handshake_is_complete();
    received.listener = Some(terms.monitor);
    let framing = negotiated.client_framing;
    // Local work only: it may take as long as the disks need, which may be longer than the other side is given to move.
    let Side { role, mut on_message } = blocking::run(move || prepare(negotiated)).await?;
    timer.restart();
    let (sink, frames) = mpsc::channel(OUTBOX_FRAMES);
    let (port, feeder) = Port::new(framing, sink);
    let thread = blocking::run(move || role(port));
    let (mut role, mut inbound, mut outbound) = (Ok(()), Ok(()), Ok(()));
    let stalled = tokio::select! {
        _ = async { tokio::join!(
            async {
                role = thread.await;
                if role.is_err() { timer.await_last_words() } else { timer.role_ended() }
            },
            async { outbound = pump::outbound(frames, &mut writer, timer).await },
            async {
                let input = input.freeze();
                inbound = pump::inbound(input, &mut reader, feeder, &mut on_message, timer, received).await;
                if inbound.is_err() { timer.await_last_words() }
            },
        ) } => None,
        stall = timer.stalled(terms.idle_limit) => Some(stall),
    };
    // A peer that broke the protocol explains the rest; a role that lost its connection explains less than the peer's
    // own last words, which `end` looks at. That a peer does not end after a failure explains nothing.
    inbound?;
    role?;
    match stalled {
        Some(stall) => Err(SessionFailure::Stalled(stall)),
        None => Ok(outbound?),
    }
}

/// Exchanges versions and algorithms; afterwards `input` holds what already belongs to the multiplexed stream.
async fn shake_hands(
    offer: Offer,
    reader: &mut ExecReader,
    writer: &mut ExecWriter,
    input: &mut BytesMut,
    timer: &ProgressTimer,
    received: &mut Received,
) -> Result<Negotiated, SessionFailure> {
    let mut out = Vec::new();
    let mut handshake = Handshake::start(offer, &mut out);
    // A server that refuses its arguments is gone before it reads: its words matter, not the failed write.
    let mut sent = pump::send(&mut out, writer, timer).await;
    loop {
        match received.next(reader, timer).await {
            Some(bytes) => input.extend_from_slice(&bytes),
            None => return Err(SessionFailure::NoHandshake { input: std::mem::take(input).to_vec() }),
        }
        match handshake.advance(input, &mut out) {
            Ok(outcome) => {
                sent = sent.and(pump::send(&mut out, writer, timer).await);
                if let Some(negotiated) = outcome {
                    sent?;
                    return Ok(negotiated);
                }
            }
            Err(error) => {
                // What follows the first bytes is worth showing.
                received.linger(reader, input, timer).await;
                return Err(SessionFailure::Handshake { error, input: std::mem::take(input).to_vec() });
            }
        }
    }
}
