//! What every session does, in whichever direction the files go.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::sync::mpsc;

use super::deadline::{ProgressTimer, Receipts, Stall};
use super::end::{self, SessionFailure};
use super::pace::Pace;
use super::pump::{self, OnMessage};
use super::received::Received;
use super::remote_text::RemoteText;
use crate::blocking;
use crate::error::{ErrorKind, Result};
use crate::role::agreement::Agreement;
use crate::role::event::Monitor;
use crate::role::outbox::OUTBOX_FRAMES;
use crate::role::port::Port;
use crate::transport::{Exec, ExecReader, ExecWriter, ExitStatus};
use crate::wire::handshake::{Ahead, Answer, Handshake, HandshakeError};
use crate::wire::negotiated::{ListTerms, Negotiated};
use crate::wire::offer::{Offer, Protocol};

/// How long a role is waited for when its session has ended before it.
const LONGEST_TIDYING: Duration = Duration::from_secs(5);

/// What a session needs to know, whatever it is for.
pub(super) struct Terms {
    /// What the server's arguments were made from.
    pub offer: Offer,
    /// What has to be known for the list.
    pub needed: Needed,
    /// Whether the server's arguments ask for acknowledgements.
    pub receipts: Receipts,
    /// How long the session may go without progress in either direction.
    pub idle_limit: Duration,
    /// Who listens.
    pub monitor: Arc<dyn Monitor>,
}

/// A session's first word, this side's version: it says nothing that depends on the server, so it can be on its way before
/// the server has taken up the command.
pub fn hello(offer: Offer) -> Bytes {
    let mut hello = Vec::new();
    Handshake::start(offer, &mut hello);
    hello.into()
}

/// How a session begins.
#[derive(Debug, Clone)]
pub struct Opening {
    /// Whether the [`hello`] was sent with the request for the command.
    pub hello_sent: bool,
    /// Whether the server's flags are counted on.
    pub ahead: Ahead,
    /// How fast this end sends; `None`: as fast as it can.
    pub pace: Option<Arc<Pace>>,
}

impl Opening {
    /// Word by word.
    pub const SLOW: Self = Self { hello_sent: false, ahead: Ahead::Never, pace: None };
}

/// This end of a session: its role, and what the other side's messages mean to it.
pub(super) struct Side {
    pub intake: Intake,
    pub role: Box<dyn FnOnce(Port) -> Result<()> + Send>,
    pub on_message: OnMessage,
}

/// How fast the other side may send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Intake {
    /// As fast as it likes: what it sends is bounded, and too much of it is an error.
    Bounded,
    /// As fast as this side's disk takes it. Only for a role that never waits for the other side to read.
    AtDiskSpeed,
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
    /// What the server answered to the offer, as far as that is worth remembering.
    pub answer: Option<Answer>,
    /// Whether it answered otherwise than it was counted on. Nothing has happened then.
    pub surprised: bool,
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
    opening: Opening,
    terms: Terms,
    prepare: impl FnOnce(Agreement) -> Result<Side> + Send + 'static,
) -> Outcome {
    let timer = ProgressTimer::new(terms.receipts);
    let mut received = Received::default();
    let mut handshake = Shaking::begin(terms.offer, opening.ahead);
    let end = run(exec, opening, terms, prepare, &timer, &mut received, &mut handshake).await;
    let jammed = matches!(end, Err(SessionFailure::Stalled(Stall::Jammed)));
    let unexpected = |failure: &SessionFailure| {
        matches!(failure, SessionFailure::Handshake { error: HandshakeError::Unexpected, .. })
    };
    let surprised = end.as_ref().is_err_and(unexpected);
    let (protocol, answer) = (handshake.complete, handshake.machine.answer());
    let result = match end {
        Ok(()) => end::result(&received),
        Err(failure) => Err(end::error(failure, &received)),
    };
    let counts = (timer.sent(), timer.received());
    Outcome {
        result,
        jammed,
        text: received.text,
        exit: received.exit,
        protocol,
        answer,
        surprised,
        sent: counts.0,
        received: counts.1,
    }
}

async fn run(
    exec: Exec,
    opening: Opening,
    terms: Terms,
    prepare: impl FnOnce(Agreement) -> Result<Side> + Send + 'static,
    timer: &ProgressTimer,
    received: &mut Received,
    handshake: &mut Shaking,
) -> Result<(), SessionFailure> {
    let Exec { mut reader, mut writer } = exec;
    let agreed = tokio::select! {
        agreed = handshake.start(&opening, terms.needed, &mut reader, &mut writer, timer, received) => agreed?,
        stall = timer.stalled(terms.idle_limit) => return Err(SessionFailure::Stalled(stall)),
    };
    received.text.rsync_speaks();
    received.listener = Some(terms.monitor);
    let (agreement, rest) = match agreed {
        Agreed::Whole(negotiated) => (negotiated.into(), None),
        Agreed::List(terms) => {
            let (tell, told) = std::sync::mpsc::sync_channel(1);
            (Agreement::OfList(terms, told), Some(tell))
        }
    };
    let framing = agreement.list_terms().client_framing;
    // Local work only: it may take as long as the disks need, which may be longer than the other side is given to move.
    let Side { intake, role, mut on_message } = blocking::run(move || prepare(agreement)).await?;
    timer.restart();
    let (sink, frames) = mpsc::channel(OUTBOX_FRAMES);
    let (port, feeder) = Port::new(framing, sink);
    let mut thread = Box::pin(blocking::run(move || role(port)));
    let (mut role, mut inbound, mut outbound) = (None, Ok(()), Ok(()));
    let stalled = tokio::select! {
        // Without a handshake there is nothing to wait for.
        _ = async { tokio::try_join!(
            async {
                let end = thread.as_mut().await;
                if end.is_err() { timer.await_last_words() } else { timer.role_ended() }
                role = Some(end);
                Ok(())
            },
            async {
                outbound = pump::outbound(frames, &mut writer, timer, opening.pace.as_deref()).await;
                Ok(())
            },
            async {
                if let Some(tell) = rest {
                    match handshake.finish(&mut reader, timer, received).await {
                        // A role that has failed does not listen.
                        Ok(negotiated) => drop(tell.send(negotiated)),
                        Err(failure) => {
                            inbound = Err(failure);
                            return Err(());
                        }
                    }
                }
                let input = handshake.input.split().freeze();
                let end = pump::inbound(input, &mut reader, (feeder, intake), &mut on_message, timer, received).await;
                inbound = end.map_err(SessionFailure::from);
                if inbound.is_err() { timer.await_last_words() }
                Ok(())
            },
        ) } => None,
        stall = timer.stalled(terms.idle_limit) => Some(stall),
    };
    if role.is_none() {
        // It hears by now that nothing more comes, and removes what it has begun. What else it says explains nothing.
        let _ = tokio::time::timeout(LONGEST_TIDYING, thread).await;
    }
    // A peer that broke the protocol explains the rest; a role that lost its connection explains less than the peer's
    // own last words, which `end` looks at. That a peer does not end after a failure explains nothing.
    inbound?;
    role.transpose()?;
    match stalled {
        Some(stall) => Err(SessionFailure::Stalled(stall)),
        None => Ok(outbound?),
    }
}

/// What this end has to know before it can write its list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Needed {
    /// How lists are written.
    ListTerms,
    /// The algorithms, too: the list holds digests.
    Everything,
}

/// How far a handshake has come when the list can be written.
enum Agreed {
    Whole(Negotiated),
    List(ListTerms),
}

/// A handshake under way.
struct Shaking {
    machine: Handshake,
    hello: Vec<u8>,
    /// What has been received and not been used.
    input: BytesMut,
    /// The protocol, once all is agreed.
    complete: Option<Protocol>,
}

impl Shaking {
    fn begin(offer: Offer, ahead: Ahead) -> Self {
        let mut hello = Vec::new();
        let machine = Handshake::start(offer, &mut hello).ahead(ahead);
        Self { machine, hello, input: BytesMut::new(), complete: None }
    }

    /// Exchanges what has to be known for the list, and says all that this side has to say.
    async fn start(
        &mut self,
        opening: &Opening,
        needed: Needed,
        reader: &mut ExecReader,
        writer: &mut ExecWriter,
        timer: &ProgressTimer,
        received: &mut Received,
    ) -> Result<Agreed, SessionFailure> {
        let mut out = std::mem::take(&mut self.hello);
        if opening.hello_sent {
            timer.add_sent(out.len());
            out.clear();
        }
        // A server that refuses its arguments is gone before it reads: its words matter, not the failed write.
        let mut sent = pump::send(&mut out, writer, timer).await;
        loop {
            self.hear(reader, timer, received).await?;
            let whole = self.advance(&mut out, reader, timer, received).await?;
            sent = sent.and(pump::send(&mut out, writer, timer).await);
            let agreed = match (whole, self.machine.list_terms()) {
                (Some(negotiated), _) => Agreed::Whole(negotiated),
                (None, Some(terms)) if needed == Needed::ListTerms => Agreed::List(terms),
                (None, _) => continue,
            };
            sent?;
            return Ok(agreed);
        }
    }

    /// Hears the rest, to which nothing has to be said; afterwards `input` holds what belongs to the multiplexed stream.
    async fn finish(
        &mut self,
        reader: &mut ExecReader,
        timer: &ProgressTimer,
        received: &mut Received,
    ) -> Result<Negotiated, SessionFailure> {
        loop {
            self.hear(reader, timer, received).await?;
            if let Some(negotiated) = self.advance(&mut Vec::new(), reader, timer, received).await? {
                return Ok(negotiated);
            }
        }
    }

    async fn hear(
        &mut self,
        reader: &mut ExecReader,
        timer: &ProgressTimer,
        received: &mut Received,
    ) -> Result<(), SessionFailure> {
        match received.next(reader, timer).await {
            Some(bytes) => {
                self.input.extend_from_slice(&bytes);
                Ok(())
            }
            None => Err(SessionFailure::NoHandshake { input: self.input.split().to_vec() }),
        }
    }

    async fn advance(
        &mut self,
        out: &mut Vec<u8>,
        reader: &mut ExecReader,
        timer: &ProgressTimer,
        received: &mut Received,
    ) -> Result<Option<Negotiated>, SessionFailure> {
        match self.machine.advance(&mut self.input, out) {
            Ok(negotiated) => {
                self.complete = negotiated.as_ref().map(|negotiated| negotiated.protocol);
                Ok(negotiated)
            }
            Err(error) => {
                // What follows the first bytes is worth showing.
                received.linger(reader, &mut self.input, timer).await;
                Err(SessionFailure::Handshake { error, input: self.input.split().to_vec() })
            }
        }
    }
}
