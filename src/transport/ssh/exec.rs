//! One remote command.
//!
//! Guarantees: output, errors and exit status arrive in the order the server sent them, none is lost; a write ends with
//! an error once the command can no longer read, it never waits for a window that cannot open any more.
//!
//! All commands of one login share one connection, and russh hands out what arrives in order: a [`Reader`] that nobody
//! polls stops the others once [`CHANNEL_BUFFER`] messages wait for it. So a reader is always polled, or dropped.

use std::collections::VecDeque;
use std::fmt;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use russh::client::{Handle, Msg};
use russh::{Channel, ChannelMsg, ChannelReadHalf, ChannelWriteHalf, Disconnect, Sig};
use tokio::runtime;
use tokio::sync::{oneshot, watch};
use tokio::time::timeout;

use super::link::{Callbacks, Link};
use super::places::{Again, Place, Places};
use super::spares::{Choice, Coming, Spares};
use crate::error::{ErrorKind, NasSyncError, Result};
use crate::transport::{Exec, ExecEvent, ExecReader, ExecWriter, ExitStatus};

/// Messages of at most 32 KiB each that may wait for one reader.
pub const CHANNEL_BUFFER: usize = 512;
/// How much a server may say before it has accepted a command, in bytes.
const MAX_EARLY: usize = 1 << 20;
/// How long a server may take to show that it has seen the end of a channel.
const SETTLING: Duration = Duration::from_secs(5);
/// The most of a signal's name that is shown, in bytes.
const MAX_SIGNAL: usize = 64;
const BEFORE_START: &str = "before a command could start";
/// Number that marks standard error in SSH (RFC 4254, section 5.2).
const STDERR: u32 = 1;

type WriteHalf = ChannelWriteHalf<Msg>;

/// The login that commands run over.
pub(super) struct Login<'a> {
    pub spares: &'a Spares,
    pub handle: &'a Arc<Handle<Callbacks>>,
    pub link: &'a Arc<Link>,
    pub address: &'a str,
    /// How long the server may take to start a command.
    pub budget: Duration,
}

/// Starts a command once there is a place for it: behind commands that run, where the server lets no more of them run at
/// once. Fails with `ExecRefused`, `ConnectionLost`, `NotSsh`, or `Stalled`.
pub(super) async fn start(login: &Login<'_>, command: &[u8], first_input: Bytes) -> Result<Exec> {
    loop {
        let (reader, was_spare) = match login.spares.choose() {
            Choice::Spare(coming) => match timeout(login.budget, coming).await {
                Ok(Ok(Ok(spare))) => match spare.if_untouched().await {
                    Some(reader) => (reader, true),
                    None => continue,
                },
                _ => continue,
            },
            Choice::Wait(_others) => (open(login).await?, false),
        };
        let running = run(reader, login.link, command, first_input.clone());
        match timeout(login.budget, running).await.unwrap_or_else(|_| Err(login.late())) {
            // Some close channels that are not used for a while.
            Err(error) if was_spare && error.kind() == ErrorKind::ExecRefused => {}
            started => return started,
        }
    }
}

/// Opens channels for commands to come.
pub(super) fn open_ahead(login: &Login<'_>, count: usize) {
    login.spares.fill(count, || Places::take_free(login.link.places()), |place| ask(login.handle, place));
}

/// How many sessions the server opens side by side, up to `most`: they are opened, and closed again. Fails when the
/// connection is lost, or with `Stalled`.
#[cfg(feature = "cli")]
pub(super) async fn count_sessions(login: &Login<'_>, most: usize) -> Result<usize> {
    let mut open = Vec::new();
    while open.len() < most
        && let Some(place) = Places::take_free(login.link.places())
    {
        match timeout(login.budget, ask_for_channel(login.handle, place)).await {
            Ok(Ok(reader)) => open.push(reader),
            Ok(Err(russh::Error::ChannelOpenFailure(_))) => break,
            Ok(Err(_)) => return Err(login.link.lost(BEFORE_START)),
            Err(_) => return Err(login.late()),
        }
    }
    Ok(open.len())
}

impl Login<'_> {
    fn late(&self) -> NasSyncError {
        let message = format!("{} did not start a command within {} s", self.address, self.budget.as_secs_f32());
        NasSyncError::new(ErrorKind::Stalled, message)
    }
}

/// Opens a channel.
async fn open(login: &Login<'_>) -> Result<Reader> {
    let places = login.link.places();
    let mut refusals = 0;
    loop {
        let place = tokio::select! {
            place = Places::take(places) => place,
            _ = login.link.ended() => return Err(login.link.lost(BEFORE_START)),
        };
        let attempt = places.attempt();
        let reason = match timeout(login.budget, ask_for_channel(login.handle, place)).await {
            Ok(Ok(reader)) => return Ok(reader),
            Ok(Err(russh::Error::ChannelOpenFailure(reason))) => reason,
            Ok(Err(_)) => return Err(login.link.lost(BEFORE_START)),
            Err(_) => return Err(login.late()),
        };
        match places.after_refusal(&attempt, refusals) {
            Again::WhenOneIsFree => {}
            Again::After(wait) => tokio::time::sleep(wait).await,
            Again::Never => {
                return Err(NasSyncError::new(ErrorKind::ExecRefused, "the NAS opens no session for a command")
                    .with_details(format!("{reason:?}")));
            }
        }
        refusals += 1;
    }
}

async fn ask_for_channel(handle: &Arc<Handle<Callbacks>>, place: Place) -> Result<Reader, russh::Error> {
    ask(handle, place).await.unwrap_or(Err(russh::Error::Disconnect))
}

/// Asks for a channel, in a task of its own, so that one that opens when nobody waits for it any more is closed and not
/// forgotten.
fn ask(handle: &Arc<Handle<Callbacks>>, place: Place) -> Coming {
    let (told, answer) = oneshot::channel();
    let handle = Arc::clone(handle);
    tokio::spawn(async move {
        let opened = handle.channel_open_session().await;
        let opened = opened.map(|channel| Reader::new(channel, place, Arc::clone(&handle)));
        // Without anybody who takes it the reader is dropped, and that closes the channel.
        let _ = told.send(opened);
    });
    answer
}

/// Starts the command of a channel. An error, or a caller who stops waiting, closes the channel through the reader.
async fn run(mut reader: Reader, link: &Arc<Link>, command: &[u8], first_input: Bytes) -> Result<Exec> {
    let lost = || link.lost(BEFORE_START);
    reader.write.exec(true, command).await.map_err(|_| lost())?;
    let write = Arc::clone(&reader.write);
    let mut unsent = !first_input.is_empty();
    let mut first_input = pin!(write.data_bytes(first_input));
    let mut early = 0;
    loop {
        let message = tokio::select! {
            biased;
            // Where it cannot be sent the command is not accepted either. It may have to wait until it is.
            _ = &mut first_input, if unsent => {
                unsent = false;
                continue;
            }
            message = reader.half.wait() => message,
        };
        match message {
            Some(ChannelMsg::Success) => break,
            Some(ChannelMsg::Close) => {
                reader.closed_by_server();
                return Err(refused());
            }
            Some(ChannelMsg::Failure) => return Err(refused()),
            // No server should speak before it has agreed, but if one does nothing is lost.
            Some(message) => {
                early += weight(&message);
                if early > MAX_EARLY {
                    reader.end_login().await;
                    let message = "the NAS sends output without end for a command that it has not accepted";
                    return Err(NasSyncError::new(ErrorKind::NotSsh, message));
                }
                reader.early.push_back(message);
            }
            None => return Err(lost()),
        }
    }
    if unsent {
        // A command that has ended already reads nothing; its reader says how it ended.
        let _ = first_input.await;
    }
    let (write, closed) = (Arc::clone(&reader.write), reader.closing.subscribe());
    let writer = Writer { write, closed, link: Arc::clone(link), finished: false };
    Ok(Exec { reader: ExecReader::Ssh(reader), writer: ExecWriter::Ssh(writer) })
}

fn refused() -> NasSyncError {
    NasSyncError::new(ErrorKind::ExecRefused, "the NAS refuses to run a command for this user")
}

/// What a message that waits costs in bytes; also those without content cost something.
fn weight(message: &ChannelMsg) -> usize {
    let content = match message {
        ChannelMsg::Data { data } | ChannelMsg::ExtendedData { data, .. } => data.len(),
        _ => 0,
    };
    content + size_of::<ChannelMsg>()
}

/// Output, errors and end of a remote command. Dropping it closes the command's channel.
pub struct Reader {
    half: ChannelReadHalf,
    write: Arc<WriteHalf>,
    early: VecDeque<ChannelMsg>,
    closing: watch::Sender<bool>,
    /// Until the channel is over.
    place: Option<Place>,
    handle: Arc<Handle<Callbacks>>,
    /// Whether the server has said how the command ended.
    exit_said: bool,
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader").field("over", &self.place.is_none()).finish_non_exhaustive()
    }
}

impl Reader {
    fn new(channel: Channel<Msg>, mut place: Place, handle: Arc<Handle<Callbacks>>) -> Self {
        let (half, write) = channel.split();
        place.is_for(write.id());
        let (closing, _) = watch::channel(false);
        let place = Some(place);
        Self { half, write: Arc::new(write), early: VecDeque::new(), closing, place, handle, exit_said: false }
    }

    pub(in crate::transport) async fn next(&mut self) -> Option<ExecEvent> {
        while self.place.is_some() {
            let message = match self.early.pop_front() {
                Some(message) => Some(message),
                None => self.half.wait().await,
            };
            match message {
                Some(ChannelMsg::Data { data }) if !data.is_empty() => return Some(ExecEvent::Stdout(data)),
                Some(ChannelMsg::ExtendedData { data, ext: STDERR }) if !data.is_empty() => {
                    return Some(ExecEvent::Stderr(data));
                }
                Some(ChannelMsg::ExitStatus { exit_status }) => {
                    self.exit_said = true;
                    return Some(ExecEvent::Exit(ExitStatus::Code(exit_status)));
                }
                Some(ChannelMsg::ExitSignal { signal_name, .. }) => {
                    self.exit_said = true;
                    return Some(ExecEvent::Exit(ExitStatus::Signal(signal(signal_name))));
                }
                Some(ChannelMsg::Close) => {
                    self.closed_by_server();
                    if !self.exit_said {
                        return Some(ExecEvent::Exit(ExitStatus::NotSaid));
                    }
                }
                None => {
                    self.closing.send_replace(true);
                    self.place = None;
                }
                Some(_) => {}
            }
        }
        None
    }

    /// Unless the server has done more with it since it was opened than to enlarge its window.
    async fn if_untouched(mut self) -> Option<Self> {
        loop {
            tokio::select! {
                biased;
                message = self.half.wait() => match message {
                    Some(ChannelMsg::WindowAdjusted { .. }) => {}
                    _ => return None,
                },
                () = std::future::ready(()) => return Some(self),
            }
        }
    }

    /// The server counts a session until it has seen that this side closed the channel, too, and has cleaned up behind
    /// it. It has once it answers a question that was asked after that.
    fn closed_by_server(&mut self) {
        self.closing.send_replace(true);
        if let Some(place) = self.place.take() {
            let handle = Arc::clone(&self.handle);
            in_background(async move { settle(&handle, place).await });
        }
    }

    /// For a server that does not keep to SSH.
    async fn end_login(&self) {
        // It ends all the same when the server does not take the goodbye.
        let _ = self.handle.disconnect(Disconnect::ProtocolError, "", "").await;
    }
}

async fn settle(handle: &Handle<Callbacks>, place: Place) {
    // A server that does not answer may hold the place for longer; its refusals will tell.
    let _ = timeout(SETTLING, handle.send_ping()).await;
    drop(place);
}

fn signal(signal: Sig) -> String {
    match signal {
        Sig::Custom(name) => crate::text::escape_start(&name, MAX_SIGNAL),
        known => format!("{known:?}"),
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        if let Some(place) = self.place.take() {
            let (write, handle) = (Arc::clone(&self.write), Arc::clone(&self.handle));
            in_background(async move {
                // Without a connection there is nothing to close.
                let _ = write.close().await;
                settle(&handle, place).await;
            });
        }
    }
}

/// The input of a remote command.
#[derive(Debug)]
pub struct Writer {
    write: Arc<WriteHalf>,
    closed: watch::Receiver<bool>,
    link: Arc<Link>,
    finished: bool,
}

impl Writer {
    pub(in crate::transport) async fn write(&mut self, bytes: Bytes) -> Result<()> {
        let sent = tokio::select! {
            biased;
            // Also when the reader is gone, and with it the sender of this value.
            _ = self.closed.wait_for(|closed| *closed) => false,
            sent = self.write.data_bytes(bytes) => sent.is_ok(),
        };
        if sent { Ok(()) } else { Err(self.no_reader()) }
    }

    pub(in crate::transport) async fn finish(&mut self) -> Result<()> {
        if std::mem::replace(&mut self.finished, true) {
            return Ok(());
        }
        let sent = tokio::select! {
            biased;
            // A command that has ended needs no end of its input.
            _ = self.closed.wait_for(|closed| *closed) => true,
            sent = self.write.eof() => sent.is_ok(),
        };
        if sent { Ok(()) } else { Err(self.no_reader()) }
    }

    fn no_reader(&self) -> NasSyncError {
        match self.link.end() {
            Some(_) => self.link.lost("while a command ran"),
            None => {
                NasSyncError::new(ErrorKind::ConnectionLost, "the command on the NAS has ended and no longer reads")
            }
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        if !self.finished {
            let write = Arc::clone(&self.write);
            in_background(async move {
                // A connection that is lost ends the input as well.
                let _ = write.eof().await;
            });
        }
    }
}

/// Sends a last message from a destructor. Outside a runtime there is no session task that could be told.
fn in_background(last_word: impl Future<Output = ()> + Send + 'static) {
    if let Ok(runtime) = runtime::Handle::try_current() {
        runtime.spawn(last_word);
    }
}
