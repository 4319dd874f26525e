//! Moves bytes between the async halves of a command and a role's port, and feels the pulse of the session.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::verdict::RemoteText;
use crate::error::{ErrorKind, NasSyncError, Result};
use crate::role::monitor::{Event, Loudness, Monitor};
use crate::role::port::Feeder;
use crate::role::send_list::NumberedList;
use crate::transport::{ExecEvent, ExecReader, ExecWriter, ExitStatus};
use crate::wire::mux::{Demultiplexer, Frame, Message};

/// How long the other side may still talk once this side has failed.
const LAST_WORDS: Duration = Duration::from_secs(5);
/// How long to wait for more of a text that stands where the handshake should be, and how much of it.
const STRAY_WAIT: Duration = Duration::from_millis(300);
const STRAY_LEN: usize = 2048;

/// When something last moved, and how much has moved.
#[derive(Debug)]
pub struct Pulse {
    last: Mutex<Instant>,
    hurried: AtomicBool,
    role_ended: AtomicBool,
    sent: AtomicU64,
    received: AtomicU64,
}

impl Pulse {
    pub fn new() -> Self {
        Self {
            last: Mutex::new(Instant::now()),
            hurried: AtomicBool::new(false),
            role_ended: AtomicBool::new(false),
            sent: AtomicU64::new(0),
            received: AtomicU64::new(0),
        }
    }

    fn beat(&self) {
        // A peer must not be able to keep a session that is over.
        if self.role_ended.load(Ordering::Relaxed) {
            return;
        }
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    /// Only the other side's end is still awaited; nothing that moves from now on is progress.
    pub fn role_ended(&self) {
        self.beat();
        self.role_ended.store(true, Ordering::Relaxed);
    }

    /// As [`Pulse::role_ended`], after a failure: the other side has time for its last words only.
    pub fn hurry(&self) {
        self.hurried.store(true, Ordering::Relaxed);
        self.role_ended();
    }

    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    pub fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    /// Returns once nothing has moved for `limit`.
    pub async fn stalled(&self, limit: Duration) {
        loop {
            let limit = if self.hurried.load(Ordering::Relaxed) { limit.min(LAST_WORDS) } else { limit };
            let deadline = *self.last.lock().unwrap_or_else(PoisonError::into_inner) + limit;
            if Instant::now() >= deadline {
                return;
            }
            // Short naps, because `hurry` may bring the deadline forward.
            tokio::time::sleep_until(deadline.min(Instant::now() + LAST_WORDS / 5)).await;
        }
    }
}

/// What was heard beside the data stream.
#[derive(Debug, Default)]
pub struct Heard {
    pub text: RemoteText,
    pub exit: Option<ExitStatus>,
    /// The status that the peer announced before it ended.
    pub announced_exit: Option<i32>,
    /// How many acknowledgements there were.
    pub acknowledged: usize,
}

impl Heard {
    /// The next bytes of standard output; texts and the exit status on the way are kept.
    pub async fn next(&mut self, reader: &mut ExecReader, pulse: &Pulse) -> Option<Bytes> {
        loop {
            match reader.next().await? {
                ExecEvent::Stdout(bytes) => {
                    pulse.received.fetch_add(bytes.len() as u64, Ordering::Relaxed);
                    return Some(bytes);
                }
                ExecEvent::Stderr(bytes) => self.text.push(Loudness::Error, &bytes),
                ExecEvent::Exit(status) => self.exit = Some(status),
            }
        }
    }

    /// Collects a little more of a text that is not the protocol.
    pub async fn linger(&mut self, reader: &mut ExecReader, input: &mut BytesMut, pulse: &Pulse) {
        let more = async {
            while input.len() < STRAY_LEN
                && let Some(bytes) = self.next(reader, pulse).await
            {
                input.extend_from_slice(&bytes);
            }
        };
        // Silence after the text is as good an end as any.
        let _ = tokio::time::timeout(STRAY_WAIT, more).await;
        input.truncate(STRAY_LEN);
    }
}

/// Sends handshake bytes.
pub async fn send(out: &mut Vec<u8>, writer: &mut ExecWriter, pulse: &Pulse) -> Result<()> {
    if out.is_empty() {
        return Ok(());
    }
    pulse.sent.fetch_add(out.len() as u64, Ordering::Relaxed);
    writer.write(std::mem::take(out).into()).await
}

/// Sends what the role writes, until it is done; then closes the command's input.
pub async fn outbound(mut frames: mpsc::Receiver<Bytes>, writer: &mut ExecWriter, pulse: &Pulse) -> Result<()> {
    while let Some(frame) = frames.recv().await {
        let len = frame.len() as u64;
        writer.write(frame).await?;
        pulse.sent.fetch_add(len, Ordering::Relaxed);
        pulse.beat();
    }
    writer.finish().await
}

/// Reads until the command ends. Awaits nothing but the read half.
pub async fn inbound(
    rest: Bytes,
    reader: &mut ExecReader,
    feeder: Feeder,
    list: &NumberedList,
    monitor: &dyn Monitor,
    pulse: &Pulse,
    heard: &mut Heard,
) -> Result<()> {
    let mut feeder = Some(feeder);
    let mut demultiplexer = Demultiplexer::default();
    let mut input = rest;
    loop {
        while let Some(frame) = demultiplexer.next(&mut input).map_err(|error| {
            NasSyncError::new(ErrorKind::Protocol, format!("the NAS broke the protocol: {error}")).with_source(error)
        })? {
            match frame {
                Frame::Data(bytes) => {
                    pulse.beat();
                    if let Some(feeder) = &feeder {
                        feeder.push(bytes)?;
                    }
                }
                Frame::Message(message) => {
                    if note(message, list, monitor, pulse, heard)? == Note::PeerEnds {
                        feeder = None;
                    }
                }
            }
        }
        match heard.next(reader, pulse).await {
            Some(bytes) => input = bytes,
            None => return Ok(()),
        }
    }
}

#[derive(PartialEq, Eq)]
enum Note {
    Taken,
    PeerEnds,
}

fn note(
    message: Message,
    list: &NumberedList,
    monitor: &dyn Monitor,
    pulse: &Pulse,
    heard: &mut Heard,
) -> Result<Note> {
    let mut text = |loudness, text: &[u8]| {
        heard.text.push(loudness, text);
        monitor.event(Event::Text { loudness, text });
    };
    match message {
        Message::ErrorXfer(bytes) => {
            text(Loudness::Error, &bytes);
            heard.text.partial = true;
        }
        Message::Error(bytes) => text(Loudness::Error, &bytes),
        Message::Warning(bytes) => text(Loudness::Warning, &bytes),
        Message::Info(bytes) => text(Loudness::Info, &bytes),
        Message::Success(ndx) => {
            // Servers acknowledge symlinks as well as files, and never a folder.
            let (index, entry) = list.get(ndx).filter(|(_, entry)| !entry.is_dir()).ok_or_else(|| {
                NasSyncError::new(
                    ErrorKind::Protocol,
                    format!("the NAS acknowledged entry {ndx}, which is no file of the list"),
                )
            })?;
            debug_assert!(!entry.name.is_empty());
            heard.acknowledged += 1;
            // Each counts as progress, so a peer must not be able to repeat them for ever.
            if heard.acknowledged > list.len() {
                let message = "the NAS acknowledged more files than the list has";
                return Err(NasSyncError::new(ErrorKind::Protocol, message));
            }
            pulse.beat();
            monitor.event(Event::Acknowledged { index });
        }
        Message::ErrorExit(status) => {
            heard.announced_exit = status;
            return Ok(Note::PeerEnds);
        }
        // A receiving server has no use for these; they change nothing here.
        Message::IoError(_) | Message::IoTimeout(_) | Message::Noop | Message::Deleted(_) | Message::NoSend(_) => {}
    }
    Ok(Note::Taken)
}
