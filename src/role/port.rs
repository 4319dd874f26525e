//! Both ends of a role that reads and writes on one thread.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::mpsc;

use super::inbox::{Feeder, Inbox};
use super::outbox::Outbox;
use super::waits::Waits;
use crate::error::Result;
use crate::wire::mux::Framing;
use crate::wire::{Decode, Reader};

/// An inbox, and an outbox that is flushed whenever the role is about to wait for input.
#[derive(Debug)]
pub struct Port {
    /// What is read.
    pub inbox: Inbox,
    /// What is written.
    pub outbox: Outbox,
    /// How long it has waited for the other side.
    pub waits: Arc<Waits>,
}

impl Port {
    /// Connects a role: what is pushed into the [`Feeder`] can be read, what is written goes to `sink`.
    pub fn new(framing: Framing, sink: mpsc::Sender<Bytes>) -> (Self, Feeder) {
        let waits = Arc::new(Waits::default());
        let (inbox, feeder) = Inbox::new(Arc::clone(&waits));
        let outbox = Outbox::new(framing, sink, Arc::clone(&waits));
        (Self { inbox, outbox, waits }, feeder)
    }

    /// Reads one unit, waiting for its bytes if necessary. Whatever was written is sent before the wait.
    pub fn take<T>(&mut self, decode: impl FnMut(&mut Reader<'_>) -> Decode<T>) -> Result<T> {
        self.inbox.take(decode, || self.outbox.flush())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;
    use crate::role::inbox::MAX_QUEUED;

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
        port.outbox.frame().extend_from_slice(b"abc");
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
