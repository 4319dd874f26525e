//! Recorded sessions, spoken again without a server.
//!
//! The recorded server is fed to our sender in pieces of many sizes, and what the sender says must be what it said to
//! the real server, byte for byte. Then our receiving decoders read the recorded client as a receiver would.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use nas_sync::internal::role::list::Sources;
use nas_sync::internal::role::port::Port;
use nas_sync::internal::role::sender::{self, ChangedFile, Duties, SendJob};
use nas_sync::internal::wire::flist::{EndOfList, EntryKind, FileEntry};
use nas_sync::internal::wire::handshake::Handshake;
use nas_sync::internal::wire::mux::{Demultiplexer, Frame, Framing, Message};
use nas_sync::internal::wire::negotiated::Negotiated;
use tokio::sync::mpsc;

use super::fixtures::{CASES, Case, Files, Tally, root};

/// One direction taken apart: its data stream and its messages; a client's handshake too.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Direction {
    handshake: Vec<u8>,
    pub data: Vec<u8>,
    pub messages: Vec<Message>,
}

impl Direction {
    fn demultiplex(&mut self, demultiplexer: &mut Demultiplexer, bytes: Bytes) {
        let mut input = bytes;
        while let Some(frame) = demultiplexer.next(&mut input).unwrap() {
            match frame {
                Frame::Data(piece) => self.data.extend_from_slice(&piece),
                Frame::Message(message) => self.messages.push(message),
            }
        }
    }

    /// Takes apart what a client sent; the first `handshake` bytes of it are no frames.
    pub fn of_client(sent: &[u8], handshake: usize, framing: Framing) -> Self {
        let mut direction = Self { handshake: sent[..handshake].to_vec(), ..Self::default() };
        match framing {
            Framing::Raw => direction.data = sent[handshake..].to_vec(),
            Framing::Multiplexed => {
                let bytes = Bytes::copy_from_slice(&sent[handshake..]);
                direction.demultiplex(&mut Demultiplexer::default(), bytes);
            }
        }
        direction
    }
}

/// A recorded server as the client's handshake leaves it.
pub struct Server {
    pub negotiated: Negotiated,
    /// What the client said in the handshake.
    pub client_handshake: Vec<u8>,
    pub direction: Direction,
    /// How many of the server's bytes the handshake took.
    pub handshake_len: usize,
    /// The data stream in the pieces in which it arrived.
    pieces: Vec<Bytes>,
}

/// Shakes hands with a recorded server whose bytes arrive in these pieces, and takes the rest of them apart.
pub fn shake_hands<'a>(case: &Case, pieces: impl IntoIterator<Item = &'a [u8]>) -> Server {
    let mut client_handshake = Vec::new();
    let mut handshake = Handshake::start(case.offer, &mut client_handshake);
    let mut pieces = pieces.into_iter();
    let (mut input, mut taken) = (BytesMut::new(), 0);
    let negotiated = loop {
        let piece = pieces.next().expect("the handshake ends");
        input.extend_from_slice(piece);
        taken += piece.len();
        if let Some(negotiated) = handshake.advance(&mut input, &mut client_handshake).unwrap() {
            break negotiated;
        }
    };
    let handshake_len = taken - input.len();
    let direction = Direction::default();
    let mut server = Server { negotiated, client_handshake, direction, handshake_len, pieces: Vec::new() };
    let mut demultiplexer = Demultiplexer::default();
    let rest = std::iter::once(input.freeze()).chain(pieces.map(Bytes::copy_from_slice));
    for piece in rest {
        let before = server.direction.data.len();
        server.direction.demultiplex(&mut demultiplexer, piece);
        if server.direction.data.len() > before {
            server.pieces.push(Bytes::copy_from_slice(&server.direction.data[before..]));
        }
    }
    server
}

/// Runs our sender against a recorded server, whose bytes arrive in these pieces.
fn replay<'a>(case: &Case, files: &Arc<Files>, pieces: impl IntoIterator<Item = &'a [u8]>) -> (Direction, Tally) {
    let server = shake_hands(case, pieces);
    let negotiated = server.negotiated;
    let framing = negotiated.list_terms.client_framing;
    let (sink, mut frames) = mpsc::channel(8);
    let (port, feeder) = Port::new(framing, sink);
    for piece in server.pieces {
        feeder.push(piece).unwrap();
    }
    drop(feeder);
    let tally = Tally::default();
    let job = SendJob {
        list: case.list().number(negotiated.list_terms.order).unwrap().into(),
        parts: None,
        sources: Arc::clone(files) as Arc<dyn Sources>,
        changed: ChangedFile::Invalidate,
        mode: case.mode(),
        duties: Duties::default(),
    };
    let sent = std::thread::scope(|scope| {
        let collector = scope.spawn(move || {
            let mut sent = server.client_handshake;
            while let Some(frame) = frames.blocking_recv() {
                sent.extend_from_slice(&frame);
            }
            sent
        });
        sender::run(job, negotiated.into(), port, &tally).unwrap_or_else(|error| panic!("{}: {error}", case.name));
        collector.join().unwrap()
    });
    (Direction::of_client(&sent, handshake_len(case), framing), tally)
}

/// How long the client's handshake is.
pub fn handshake_len(case: &Case) -> usize {
    shake_hands(case, [&*case.bytes("s2c.bin")]).client_handshake.len()
}

/// What the recorded client said.
pub fn recorded_client(case: &Case) -> Direction {
    let server = shake_hands(case, [&*case.bytes("s2c.bin")]);
    Direction::of_client(
        &case.bytes("c2s.bin"),
        server.client_handshake.len(),
        server.negotiated.list_terms.client_framing,
    )
}

fn assert_same(case: &Case, (spoken, tally): &(Direction, Tally), how: &str) {
    let recorded = recorded_client(case);
    let data = (&spoken.data, &recorded.data);
    let first = data.0.iter().zip(data.1).position(|(a, b)| a != b).unwrap_or(data.0.len().min(data.1.len()));
    assert!(data.0 == data.1, "{} {how}: the data differs from byte {first:#x} on", case.name);
    assert_eq!(spoken, &recorded, "{} {how}", case.name);
    let server = shake_hands(case, [&*case.bytes("s2c.bin")]);
    let acknowledged = server.direction.messages.iter().filter(|message| matches!(message, Message::Success(_)));
    assert_eq!(tally.seen(acknowledged.count()), case.expected, "{} {how}", case.name);
}

#[test]
fn every_recorded_session_is_spoken_again_byte_for_byte() {
    for case in CASES.map(Case::load) {
        let s2c = case.bytes("s2c.bin");
        let files = || Arc::new(Files::of(&case));
        assert_same(&case, &replay(&case, &files(), [&*s2c]), "whole");
        assert_same(&case, &replay(&case, &files(), s2c.chunks(1)), "byte by byte");
        assert_same(&case, &replay(&case, &files(), s2c.chunks(7)), "by sevens");
    }
}

#[test]
fn a_session_cut_in_two_anywhere_stays_the_same() {
    for case in ["27-whole", "29-vanished", "32-whole"].map(Case::load) {
        let s2c = case.bytes("s2c.bin");
        let files = Arc::new(Files::of(&case));
        for cut in 0..=s2c.len() {
            let (head, tail) = s2c.split_at(cut);
            assert_same(&case, &replay(&case, &files, [head, tail]), &format!("cut at {cut}"));
        }
    }
}

#[test]
fn the_fixtures_are_those_that_are_tested() {
    let names = |path: &std::path::Path| -> BTreeSet<String> {
        let entries = std::fs::read_dir(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    };
    // The first two are for git and for people.
    assert_eq!(names(root().parent().unwrap()), [".gitattributes", "README.md", "wire"].map(String::from).into());
    assert_eq!(names(&root()), CASES.map(String::from).into());
    for name in CASES {
        let files = ["c2s.bin", "case.toml", "s2c.bin"].map(String::from);
        assert_eq!(names(&root().join(name)), files.into(), "{name}");
    }
}

/// The entries as they arrive: in the session's order, without what its coding cannot carry.
pub fn arriving(case: &Case, negotiated: &Negotiated) -> Vec<(usize, FileEntry<'static>)> {
    let fields = case.fields();
    let list = case.list().number(negotiated.list_terms.order).unwrap();
    let numbers = 0..i32::try_from(list.len()).unwrap();
    let arriving = numbers.map(|ndx| {
        let tag = list.find(ndx).unwrap().get(ndx).unwrap().tag.unwrap() as usize;
        let mut entry = case.entries[tag].entry;
        let meta = &mut entry.meta;
        meta.mtime.nanoseconds = if negotiated.list_terms.coding.nanoseconds { meta.mtime.nanoseconds } else { 0 };
        meta.uid = if fields.owner { meta.uid } else { 0 };
        meta.gid = if fields.group { meta.gid } else { 0 };
        if let EntryKind::Symlink(target) = &mut entry.kind
            && !fields.links
        {
            *target = &[];
        }
        (tag, entry)
    });
    arriving.collect()
}

/// The lister's errors travel in exactly one of three places.
pub fn errors_in_list_end(case: &Case, negotiated: &Negotiated) -> i32 {
    match negotiated.list_terms.coding.end {
        EndOfList::ErrorsAlways | EndOfList::ErrorsIfAny => case.errors,
        EndOfList::ErrorsAfterIds | EndOfList::ErrorsByMessage => 0,
    }
}
