//! The sending end of a role: what is written is framed and handed on, in order.
//!
//! It is a bounded channel and does wait, for the other side to read. Whoever is about to wait for input flushes it first,
//! which is all that full duplex needs.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use super::waits::Waits;
use crate::error::{ErrorKind, NasSyncError, Result};
use crate::wire::mux::{self, Framing, Message};

/// A frame is sent once it is this long. Each costs two threads a wake-up, so shorter ones cost more; longer ones cost
/// memory. OpenSSH takes 32 KiB in a packet: of a frame a little longer than a multiple of that, each last packet would
/// travel nearly empty.
const FRAME_TARGET: usize = 256 * 1024;
/// How much longer a frame may get by what is written last, without moving.
const FRAME_MARGIN: usize = 64 * 1024;
/// How many frames may wait to be encrypted.
pub const OUTBOX_FRAMES: usize = 4;

/// The sending end of a role.
#[derive(Debug)]
pub struct Outbox {
    framing: Framing,
    frame: Vec<u8>,
    sink: mpsc::Sender<Bytes>,
    waits: Arc<Waits>,
}

impl Outbox {
    /// What is written goes to `sink`, framed. How long room is waited for is added to `waits`.
    pub fn new(framing: Framing, sink: mpsc::Sender<Bytes>, waits: Arc<Waits>) -> Self {
        Self { framing, frame: new_frame(data_start(framing)), sink, waits }
    }

    /// The frame being filled; append to it, then call [`Outbox::settle`].
    pub fn frame(&mut self) -> &mut Vec<u8> {
        &mut self.frame
    }

    /// How many bytes the frame still takes until it is long enough.
    pub fn room(&self) -> usize {
        FRAME_TARGET.saturating_sub(self.frame.len())
    }

    /// Sends the frame if it is long enough. May wait until the other side reads.
    pub fn settle(&mut self) -> Result<()> {
        if self.frame.len() >= FRAME_TARGET { self.flush() } else { Ok(()) }
    }

    /// Sends what was written.
    pub fn flush(&mut self) -> Result<()> {
        let start = data_start(self.framing);
        if self.frame.len() <= start {
            return Ok(());
        }
        if self.framing == Framing::Multiplexed {
            let header = mux::data_header(self.frame.len() - start);
            self.frame[..start].copy_from_slice(&header);
        }
        let frame = std::mem::replace(&mut self.frame, new_frame(start));
        self.send(frame.into())
    }

    /// Sends a message beside the data stream, where this direction has one; dropped otherwise.
    pub fn message(&mut self, message: &Message) -> Result<()> {
        self.flush()?;
        if self.framing == Framing::Raw {
            return Ok(());
        }
        let mut bytes = Vec::new();
        message.encode(&mut bytes);
        self.send(bytes.into())
    }

    /// Sends bytes between the frames, where the other side expects them there.
    pub fn unframed(&mut self, bytes: Vec<u8>) -> Result<()> {
        self.flush()?;
        self.send(bytes.into())
    }

    fn send(&mut self, bytes: Bytes) -> Result<()> {
        let sent = match self.sink.try_send(bytes) {
            Err(TrySendError::Full(bytes)) => self.waits.during(|| self.sink.blocking_send(bytes)).is_ok(),
            sent => sent.is_ok(),
        };
        let gone = || NasSyncError::new(ErrorKind::ConnectionLost, "the connection to the NAS is gone");
        if sent { Ok(()) } else { Err(gone()) }
    }
}

/// Where the data of a frame starts.
fn data_start(framing: Framing) -> usize {
    match framing {
        Framing::Raw => 0,
        Framing::Multiplexed => mux::HEADER_LEN,
    }
}

fn new_frame(start: usize) -> Vec<u8> {
    let mut frame = Vec::with_capacity(FRAME_TARGET + FRAME_MARGIN);
    frame.resize(start, 0);
    frame
}
