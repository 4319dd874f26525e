//! The two ends that a role holds: an inbox of demultiplexed bytes and an outbox of framed ones.
//!
//! The inbox is a queue with a byte cap. Whoever fills it never waits: passing the cap is an error, so that the side
//! which reads the network can always go on reading. The outbox is a bounded channel and does wait; it is flushed
//! whenever the role is about to wait for input, which is all that full duplex needs.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use bytes::{Buf as _, Bytes, BytesMut};
use tokio::sync::mpsc;

use crate::error::{ErrorKind, NasSyncError, Result};
use crate::wire::mux::{self, Framing, Message};
use crate::wire::{Decode, DecodeError, Reader};

/// The most bytes that may wait in an inbox.
pub const MAX_QUEUED: usize = 64 * 1024 * 1024;
/// A frame is sent once it is this long. Longer frames would only delay their own encryption. OpenSSH takes 32 KiB in a
/// packet: of a frame a little longer than a multiple of that, each last packet would travel nearly empty.
const FRAME_TARGET: usize = 128 * 1024;
/// How many frames may wait to be encrypted.
pub const OUTBOX_FRAMES: usize = 8;

#[derive(Debug, Default)]
struct Queue {
    chunks: VecDeque<Bytes>,
    bytes: usize,
    closed: bool,
}

#[derive(Debug, Default)]
struct Shared {
    queue: Mutex<Queue>,
    changed: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        // The queue is consistent between any two statements that hold the lock.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The end of an inbox that the session holds. Dropping it closes the inbox.
#[derive(Debug)]
pub struct Feeder {
    shared: Arc<Shared>,
}

impl Feeder {
    /// Adds bytes of the data stream. Never waits; more than [`MAX_QUEUED`] is a protocol error.
    pub fn push(&self, bytes: Bytes) -> Result<()> {
        let mut queue = self.shared.lock();
        queue.bytes += bytes.len();
        if queue.bytes > MAX_QUEUED {
            return Err(NasSyncError::new(
                ErrorKind::Protocol,
                "the NAS sent more requests ahead than can be held; send fewer files at once, or whole files",
            ));
        }
        queue.chunks.push_back(bytes);
        self.shared.changed.notify_one();
        Ok(())
    }
}

impl Drop for Feeder {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.changed.notify_one();
    }
}

/// The receiving end of a role.
#[derive(Debug)]
struct Inbox {
    shared: Arc<Shared>,
    buffer: BytesMut,
}

impl Inbox {
    fn is_idle(&self) -> bool {
        self.shared.lock().chunks.is_empty()
    }

    /// Waits for one more chunk.
    fn fill(&mut self) -> Result<()> {
        let mut queue = self.shared.lock();
        loop {
            if let Some(chunk) = queue.chunks.pop_front() {
                queue.bytes -= chunk.len();
                drop(queue);
                self.buffer.extend_from_slice(&chunk);
                return Ok(());
            }
            if queue.closed {
                return Err(NasSyncError::new(ErrorKind::ConnectionLost, "the NAS closed the stream too early"));
            }
            queue = self.shared.changed.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// The sending end of a role.
#[derive(Debug)]
struct Outbox {
    framing: Framing,
    frame: Vec<u8>,
    sink: mpsc::Sender<Bytes>,
}

impl Outbox {
    /// Where the data of a frame starts.
    fn data_start(&self) -> usize {
        match self.framing {
            Framing::Raw => 0,
            Framing::Multiplexed => mux::HEADER_LEN,
        }
    }

    fn flush(&mut self) -> Result<()> {
        let start = self.data_start();
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

    fn send(&mut self, bytes: Bytes) -> Result<()> {
        self.sink
            .blocking_send(bytes)
            .map_err(|_| NasSyncError::new(ErrorKind::ConnectionLost, "the connection to the NAS is gone"))
    }
}

fn new_frame(start: usize) -> Vec<u8> {
    let mut frame = Vec::with_capacity(FRAME_TARGET + FRAME_TARGET / 2);
    frame.resize(start, 0);
    frame
}

/// Both ends of a role.
#[derive(Debug)]
pub struct Port {
    inbox: Inbox,
    outbox: Outbox,
}

impl Port {
    /// Connects a role: what is pushed into the [`Feeder`] can be read, what is written goes to `sink`.
    pub fn new(framing: Framing, sink: mpsc::Sender<Bytes>) -> (Self, Feeder) {
        let shared = Arc::new(Shared::default());
        let inbox = Inbox { shared: Arc::clone(&shared), buffer: BytesMut::new() };
        let mut outbox = Outbox { framing, frame: Vec::new(), sink };
        outbox.frame = new_frame(outbox.data_start());
        (Self { inbox, outbox }, Feeder { shared })
    }

    /// Reads one unit, waiting for its bytes if necessary. Whatever was written is sent before the wait.
    pub fn take<T>(&mut self, mut decode: impl FnMut(&mut Reader<'_>) -> Decode<T>) -> Result<T> {
        loop {
            let mut reader = Reader::new(&self.inbox.buffer);
            match decode(&mut reader) {
                Ok(value) => {
                    let used = reader.position();
                    self.inbox.buffer.advance(used);
                    return Ok(value);
                }
                Err(DecodeError::NeedMore) => {
                    if self.inbox.is_idle() {
                        self.outbox.flush()?;
                    }
                    self.inbox.fill()?;
                }
                Err(error @ DecodeError::Malformed { .. }) => {
                    return Err(NasSyncError::new(ErrorKind::Protocol, format!("the NAS broke the protocol: {error}"))
                        .with_source(error));
                }
            }
        }
    }

    /// The frame being filled; append to it, then call [`Port::settle`].
    pub fn out(&mut self) -> &mut Vec<u8> {
        &mut self.outbox.frame
    }

    /// How many bytes the frame still takes until it is long enough.
    pub fn room(&self) -> usize {
        FRAME_TARGET.saturating_sub(self.outbox.frame.len())
    }

    /// Sends the frame if it is long enough. May wait until the other side reads.
    pub fn settle(&mut self) -> Result<()> {
        if self.outbox.frame.len() >= FRAME_TARGET { self.outbox.flush() } else { Ok(()) }
    }

    /// Sends what was written.
    pub fn flush(&mut self) -> Result<()> {
        self.outbox.flush()
    }

    /// Sends a message beside the data stream, where this direction has one; dropped otherwise.
    pub fn message(&mut self, message: &Message) -> Result<()> {
        self.outbox.flush()?;
        if self.outbox.framing == Framing::Raw {
            return Ok(());
        }
        let mut bytes = Vec::new();
        message.encode(&mut bytes);
        self.outbox.send(bytes.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(reader: &mut Reader<'_>) -> Decode<i32> {
        reader.i32()
    }

    fn port(framing: Framing) -> (Port, Feeder, mpsc::Receiver<Bytes>) {
        let (sink, sent) = mpsc::channel(64);
        let (port, feeder) = Port::new(framing, sink);
        (port, feeder, sent)
    }

    #[test]
    fn a_unit_may_arrive_in_pieces_and_the_frame_goes_out_before_the_wait() {
        let (mut port, feeder, mut sent) = port(Framing::Multiplexed);
        port.out().extend_from_slice(b"abc");
        let waiter = std::thread::spawn(move || port.take(number).unwrap());
        assert_eq!(sent.blocking_recv().unwrap(), &b"\x03\0\0\x07abc"[..]);
        feeder.push(Bytes::from_static(&[1, 2])).unwrap();
        feeder.push(Bytes::from_static(&[3, 0])).unwrap();
        assert_eq!(waiter.join().unwrap(), 0x0003_0201);
    }

    #[test]
    fn a_closed_inbox_ends_the_wait() {
        let (mut port, feeder, _sent) = port(Framing::Raw);
        drop(feeder);
        assert_eq!(port.take(number).unwrap_err().kind(), ErrorKind::ConnectionLost);
    }

    #[test]
    fn the_cap_is_an_error_and_never_a_wait() {
        let (_port, feeder, _sent) = port(Framing::Raw);
        let chunk = Bytes::from(vec![0; MAX_QUEUED / 2]);
        feeder.push(chunk.clone()).unwrap();
        feeder.push(chunk).unwrap();
        assert_eq!(feeder.push(Bytes::from_static(b"x")).unwrap_err().kind(), ErrorKind::Protocol);
    }
}
