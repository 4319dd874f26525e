//! One remote command.
//!
//! Guarantees: output, errors and exit status arrive in the order the server sent them, none is lost; a write ends with
//! an error once the command can no longer read, it never waits for a window that cannot open any more.
//!
//! All commands of one login share one connection, and russh hands out what arrives in order: a [`Reader`] that nobody
//! polls stops the others once [`CHANNEL_BUFFER`] messages wait for it. So a reader is always polled, or dropped.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use russh::client::{Handle, Msg};
use russh::{ChannelMsg, ChannelReadHalf, ChannelWriteHalf, Sig};
use tokio::runtime;
use tokio::sync::watch;

use super::link::{Callbacks, Link};
use crate::error::{ErrorKind, NasSyncError, Result};
use crate::transport::{Exec, ExecEvent, ExecReader, ExecWriter, ExitStatus};

/// Messages of at most 32 KiB each that may wait for one reader.
pub const CHANNEL_BUFFER: usize = 512;
/// Number that marks standard error in SSH (RFC 4254, section 5.2).
const STDERR: u32 = 1;

type WriteHalf = ChannelWriteHalf<Msg>;

/// Opens a channel and starts a command. Fails with `ExecRefused` or `ConnectionLost`.
pub(super) async fn start(handle: &Handle<Callbacks>, link: &Arc<Link>, command: &[u8]) -> Result<Exec> {
    let channel = handle.channel_open_session().await.map_err(|error| match error {
        russh::Error::ChannelOpenFailure(reason) => {
            NasSyncError::new(ErrorKind::ExecRefused, "the NAS opens no session for a command")
                .with_details(format!("{reason:?}"))
        }
        _ => link.lost("before a command could start"),
    })?;
    let (half, write) = channel.split();
    let write = Arc::new(write);
    let (closing, closed) = watch::channel(false);
    // From here on an error, or a caller who stops waiting, closes the channel through the reader.
    let mut reader = Reader { half, write: Arc::clone(&write), early: VecDeque::new(), closing, over: false };
    write.exec(true, command).await.map_err(|_| link.lost("before a command could start"))?;
    loop {
        match reader.half.wait().await {
            Some(ChannelMsg::Success) => break,
            Some(ChannelMsg::Failure | ChannelMsg::Close) => {
                return Err(NasSyncError::new(
                    ErrorKind::ExecRefused,
                    "the NAS refuses to run a command for this user",
                ));
            }
            // No server should speak before it has agreed, but if one does nothing is lost.
            Some(message) => reader.early.push_back(message),
            None => return Err(link.lost("before a command could start")),
        }
    }
    let writer = Writer { write, closed, link: Arc::clone(link), finished: false };
    Ok(Exec { reader: ExecReader::Ssh(reader), writer: ExecWriter::Ssh(writer) })
}

/// Output, errors and end of a remote command. Dropping it closes the command's channel.
#[derive(Debug)]
pub struct Reader {
    half: ChannelReadHalf,
    write: Arc<WriteHalf>,
    early: VecDeque<ChannelMsg>,
    closing: watch::Sender<bool>,
    over: bool,
}

impl Reader {
    pub(in crate::transport) async fn next(&mut self) -> Option<ExecEvent> {
        while !self.over {
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
                    return Some(ExecEvent::Exit(ExitStatus::Code(exit_status)));
                }
                Some(ChannelMsg::ExitSignal { signal_name, .. }) => {
                    return Some(ExecEvent::Exit(ExitStatus::Signal(signal(signal_name))));
                }
                Some(ChannelMsg::Close) | None => {
                    self.over = true;
                    self.closing.send_replace(true);
                }
                Some(_) => {}
            }
        }
        None
    }
}

fn signal(signal: Sig) -> String {
    match signal {
        Sig::Custom(name) => crate::text::escape(&name),
        known => format!("{known:?}"),
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        if !self.over {
            let write = Arc::clone(&self.write);
            in_background(async move { write.close().await });
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
            in_background(async move { write.eof().await });
        }
    }
}

/// Sends a last message from a destructor. Outside a runtime there is no session task that could be told.
fn in_background(last_word: impl Future<Output = Result<(), russh::Error>> + Send + 'static) {
    if let Ok(runtime) = runtime::Handle::try_current() {
        runtime.spawn(last_word);
    }
}
