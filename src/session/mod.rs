//! One rsync session over one running command: handshake, role, pumps, deadline, verdict.
//!
//! Guarantees: everything ends by a deadline, also against a peer that answers keepalives and does nothing else; the
//! read half is never kept waiting by the write half; after a failure the other side's last words and exit status are
//! still collected; the role's thread ends when the session's future is dropped.

mod deadline;
mod end;
mod pump;
mod received;

use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use tokio::sync::mpsc;

use self::deadline::{Pulse, Stall};
use self::end::Trouble;
use self::received::Heard;
use crate::error::{ErrorKind, NasSyncError, Result};
use crate::role::event::Monitor;
use crate::role::list::{NumberedList, SendList, Sources};
use crate::role::port::{OUTBOX_FRAMES, Port};
use crate::role::sender::{self, ChangedFile, Mode, SendJob};
use crate::transport::{Exec, ExecReader, ExecWriter, ExitStatus};
use crate::wire::handshake::{Handshake, Offer, Protocol};
use crate::wire::negotiated::Negotiated;

pub use self::deadline::Receipts;
pub use self::end::{kind_of_text, names_file};
pub use self::received::RemoteText;

/// What is pushed.
pub struct Push {
    /// What the server's arguments were made from.
    pub offer: Offer,
    /// The files.
    pub list: SendList,
    /// Their contents.
    pub sources: Arc<dyn Sources>,
    /// Whether the list carries digests of the files' contents (`-c`).
    pub contents: Contents,
    /// Whether the server's arguments ask for acknowledgements.
    pub receipts: Receipts,
    /// About files that change meanwhile.
    pub changed: ChangedFile,
    /// Whether anything is transferred.
    pub mode: Mode,
    /// How long the session may go without progress in either direction.
    pub idle_limit: Duration,
    /// Who listens.
    pub monitor: Arc<dyn Monitor>,
}

/// What a file list says about the files' contents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Contents {
    /// Nothing.
    Unsummed,
    /// Their digests; every file is read once before the list goes out.
    Summed,
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
    /// Whether the server refused its arguments before anything else happened, so that fewer may do.
    pub fn refused_an_option(&self) -> bool {
        self.protocol.is_none() && self.result.as_ref().is_err_and(|error| error.kind() == ErrorKind::OptionRefused)
    }
}

/// Runs one push to its end.
pub async fn push(exec: Exec, push: Push) -> Outcome {
    let pulse = Pulse::new(push.receipts);
    let mut heard = Heard::default();
    let mut protocol = None;
    let end = run(exec, push, &pulse, &mut heard, &mut protocol).await;
    let jammed = matches!(end, Err(Trouble::Stalled(Stall::Jammed)));
    let result = match end {
        Ok(()) => end::judge_end(&heard),
        Err(trouble) => Err(end::judge(trouble, &heard)),
    };
    let (sent, received) = (pulse.sent(), pulse.received());
    Outcome { result, jammed, text: heard.text, exit: heard.exit, protocol, sent, received }
}

async fn run(
    exec: Exec,
    push: Push,
    pulse: &Pulse,
    heard: &mut Heard,
    protocol: &mut Option<Protocol>,
) -> Result<(), Trouble> {
    let Exec { mut reader, mut writer } = exec;
    let mut input = BytesMut::new();
    let negotiated = tokio::select! {
        shaken = shake_hands(push.offer, &mut reader, &mut writer, &mut input, pulse, heard) => shaken?,
        stall = pulse.stalled(push.idle_limit) => return Err(Trouble::Stalled(stall)),
    };
    *protocol = Some(negotiated.protocol);
    heard.listener = Some(Arc::clone(&push.monitor));
    let list = Arc::new(number(push.list, &push.sources, push.contents, &negotiated).await?);
    // That may have taken longer than the other side is given to move.
    pulse.beat();
    let (sink, frames) = mpsc::channel(OUTBOX_FRAMES);
    let (port, feeder) = Port::new(negotiated.client_framing, sink);
    let job = SendJob { list: Arc::clone(&list), sources: push.sources, changed: push.changed, mode: push.mode };
    let monitor = Arc::clone(&push.monitor);
    let thread = tokio::task::spawn_blocking(move || sender::run(job, negotiated, port, &*monitor));
    let (mut role, mut inbound, mut outbound) = (Ok(()), Ok(()), Ok(()));
    let stalled = tokio::select! {
        _ = async { tokio::join!(
            async {
                role = thread.await.unwrap_or_else(|error| {
                    Err(NasSyncError::new(ErrorKind::Internal, "the sender stopped unexpectedly").with_source(error))
                });
                if role.is_err() { pulse.hurry() } else { pulse.role_ended() }
            },
            async { outbound = pump::outbound(frames, &mut writer, pulse).await },
            async {
                let input = input.freeze();
                inbound = pump::inbound(input, &mut reader, feeder, &list, &*push.monitor, pulse, heard).await;
                if inbound.is_err() { pulse.hurry() }
            },
        ) } => None,
        stall = pulse.stalled(push.idle_limit) => Some(stall),
    };
    // A peer that broke the protocol explains the rest; a role that lost its connection explains less than the peer's
    // own last words, which the verdict looks at. That a peer does not end after a failure explains nothing.
    inbound?;
    role?;
    match stalled {
        Some(stall) => Err(Trouble::Stalled(stall)),
        None => Ok(outbound?),
    }
}

/// Makes the list as the session's protocol wants it. Local work only: it may take as long as the disks need.
async fn number(
    mut list: SendList,
    sources: &Arc<dyn Sources>,
    contents: Contents,
    negotiated: &Negotiated,
) -> Result<NumberedList> {
    let (sources, sum, order) = (Arc::clone(sources), negotiated.list_sum, negotiated.order);
    let numbered = tokio::task::spawn_blocking(move || {
        if contents == Contents::Summed {
            list.sum_contents(&*sources, sum);
        }
        list.number(order)
    });
    numbered.await.map_err(|error| {
        NasSyncError::new(ErrorKind::Internal, "listing the files stopped unexpectedly").with_source(error)
    })?
}

/// Exchanges versions and algorithms; afterwards `input` holds what already belongs to the multiplexed stream.
async fn shake_hands(
    offer: Offer,
    reader: &mut ExecReader,
    writer: &mut ExecWriter,
    input: &mut BytesMut,
    pulse: &Pulse,
    heard: &mut Heard,
) -> Result<Negotiated, Trouble> {
    let mut out = Vec::new();
    let mut handshake = Handshake::start(offer, &mut out);
    // A server that refuses its arguments is gone before it reads: its words matter, not the failed write.
    let mut sent = pump::send(&mut out, writer, pulse).await;
    loop {
        match heard.next(reader, pulse).await {
            Some(bytes) => input.extend_from_slice(&bytes),
            None => return Err(Trouble::NoHandshake { received: std::mem::take(input).to_vec() }),
        }
        match handshake.advance(input, &mut out) {
            Ok(outcome) => {
                sent = sent.and(pump::send(&mut out, writer, pulse).await);
                if let Some(negotiated) = outcome {
                    sent?;
                    return Ok(negotiated);
                }
            }
            Err(error) => {
                // What follows the first bytes is worth showing.
                heard.linger(reader, input, pulse).await;
                return Err(Trouble::Handshake { error, received: std::mem::take(input).to_vec() });
            }
        }
    }
}
