//! The receiving end of a role: a queue of demultiplexed bytes with a cap.
//!
//! Whoever fills it need not wait: passing the cap is an error, so that the side which reads the network can always go on
//! reading. Data that goes to a disk may come faster than that; whoever fills an inbox with it waits for room.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use bytes::{Buf as _, Bytes, BytesMut};
use tokio::sync::Notify;

use super::waits::Waits;
use crate::blocking;
use crate::error::{ErrorKind, NasSyncError, Result};
use crate::wire::{Decode, DecodeError, Reader};

/// The most bytes that may wait in an inbox.
pub const MAX_QUEUED: usize = 64 * 1024 * 1024;

/// How many bytes may wait for a disk before more are left with the other side.
const ENOUGH: usize = 4 * 1024 * 1024;

#[derive(Debug, Default)]
struct Queue {
    chunks: VecDeque<Bytes>,
    bytes: usize,
    /// Nothing more comes.
    closed: bool,
    /// Nobody reads any more.
    abandoned: bool,
}

#[derive(Debug, Default)]
struct Shared {
    queue: Mutex<Queue>,
    changed: Condvar,
    /// Told when bytes were taken out.
    taken: Notify,
}

/// The end of an inbox that the session holds. Dropping it closes the inbox.
#[derive(Debug)]
pub struct Feeder {
    shared: Arc<Shared>,
}

impl Feeder {
    /// Adds bytes of the data stream. Never waits; more than [`MAX_QUEUED`] is a protocol error.
    pub fn push(&self, bytes: Bytes) -> Result<()> {
        let mut queue = blocking::lock(&self.shared.queue);
        if queue.abandoned {
            return Ok(());
        }
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

impl Feeder {
    /// Waits until there is room for more; `each` runs whenever something was taken out meanwhile.
    pub async fn room(&self, mut each: impl FnMut()) {
        loop {
            let taken = self.shared.taken.notified();
            {
                let queue = blocking::lock(&self.shared.queue);
                if queue.bytes <= ENOUGH || queue.abandoned {
                    return;
                }
            }
            taken.await;
            each();
        }
    }
}

impl Drop for Feeder {
    fn drop(&mut self) {
        blocking::lock(&self.shared.queue).closed = true;
        self.shared.changed.notify_one();
    }
}

/// The receiving end of a role.
#[derive(Debug)]
pub struct Inbox {
    shared: Arc<Shared>,
    buffer: BytesMut,
    waits: Arc<Waits>,
}

impl Inbox {
    /// An inbox, and the end that fills it. How long it is waited for is added to `waits`.
    pub fn new(waits: Arc<Waits>) -> (Self, Feeder) {
        let shared = Arc::new(Shared::default());
        (Self { shared: Arc::clone(&shared), buffer: BytesMut::new(), waits }, Feeder { shared })
    }

    /// Reads one unit, waiting for its bytes if necessary; `before_wait` runs whenever a wait begins.
    pub fn take<T>(
        &mut self,
        mut decode: impl FnMut(&mut Reader<'_>) -> Decode<T>,
        mut before_wait: impl FnMut() -> Result<()>,
    ) -> Result<T> {
        loop {
            let mut reader = Reader::new(&self.buffer);
            match decode(&mut reader) {
                Ok(value) => {
                    let used = reader.position();
                    self.buffer.advance(used);
                    return Ok(value);
                }
                Err(DecodeError::NeedMore) => {
                    if blocking::lock(&self.shared.queue).chunks.is_empty() {
                        before_wait()?;
                    }
                    self.fill()?;
                }
                Err(error @ DecodeError::Malformed { .. }) => {
                    return Err(NasSyncError::new(ErrorKind::Protocol, format!("the NAS broke the protocol: {error}"))
                        .with_source(error));
                }
            }
        }
    }

    /// Waits for one more chunk.
    fn fill(&mut self) -> Result<()> {
        let mut queue = blocking::lock(&self.shared.queue);
        loop {
            if let Some(chunk) = queue.chunks.pop_front() {
                queue.bytes -= chunk.len();
                drop(queue);
                self.shared.taken.notify_one();
                self.buffer.extend_from_slice(&chunk);
                return Ok(());
            }
            if queue.closed {
                return Err(NasSyncError::new(ErrorKind::ConnectionLost, "the NAS closed the stream too early"));
            }
            let changed = &self.shared.changed;
            queue = self.waits.during(|| changed.wait(queue).unwrap_or_else(PoisonError::into_inner));
        }
    }
}

impl Drop for Inbox {
    fn drop(&mut self) {
        let mut queue = blocking::lock(&self.shared.queue);
        (queue.abandoned, queue.bytes) = (true, 0);
        queue.chunks.clear();
        drop(queue);
        self.shared.taken.notify_one();
    }
}
