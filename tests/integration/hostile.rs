//! Servers that break the rules: each limit on what a peer may say ends the session with an error, in time.
//!
//! The servers here are mocks, since no real one does this: either bytes that were made up for the sender's inbox, or
//! a shell script that says recorded and made-up bytes over real pipes.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use nas_sync::internal::role::list::{PartSource, Parts, SendPart, Sources};
use nas_sync::internal::role::port::Port;
use nas_sync::internal::role::sender::{self, ChangedFile, Duties, SendJob};
use nas_sync::internal::session::{self, Contents, Outcome, Push, Receipts};
use nas_sync::internal::transport::local;
use nas_sync::internal::wire::flist::Entries;
use nas_sync::internal::wire::handshake::Handshake;
use nas_sync::internal::wire::int::{put_varint, put_vstring};
use nas_sync::internal::wire::mux::{Message, data_header};
use nas_sync::internal::wire::ndx::{DELETE_STATS, DONE, NdxCoder};
use nas_sync::internal::wire::negotiated::Negotiated;
use nas_sync::internal::wire::offer::{Offer, Protocol};
use nas_sync::{ErrorKind, NasSyncError};
use nas_sync::{Monitor, Silent};
use tokio::sync::mpsc;

use super::fixtures::{Case, Files, Tally};
use super::replay::shake_hands;
use crate::support::with;

/// Asks for a file's data.
const TRANSFER: u16 = 0x8000;

/// A made-up generator, speaking to a sender of the case `32-names`, whose numbers are: 0 `.`, 1 to 3 files and a
/// symlink, 4 a folder, 5 and 6 files in it.
struct Mock {
    negotiated: Negotiated,
    ndx: NdxCoder,
    says: Vec<u8>,
}

impl Mock {
    fn new(protocol: u8) -> Self {
        Self::with_flags(protocol, 0x1ae)
    }

    /// One that takes the list in two parts: 1 is `.`, 2 to 4 are files and a symlink, 5 is a folder, 7 and 8 are files in it.
    fn in_parts() -> Self {
        Self::with_flags(32, 0x1af)
    }

    fn with_flags(protocol: u8, flags: i32) -> Self {
        let offer = with!(Offer::default(), protocol: Protocol::new(protocol).unwrap(), incremental: flags & 1 != 0);
        let mut handshake = Handshake::start(offer, &mut Vec::new());
        let mut hello = 32_i32.to_le_bytes().to_vec();
        if protocol >= 30 {
            put_varint(&mut hello, flags);
            put_vstring(&mut hello, b"md5");
        }
        hello.extend_from_slice(&7_i32.to_le_bytes());
        let negotiated = handshake.advance(&mut BytesMut::from(&*hello), &mut Vec::new()).unwrap().unwrap();
        Self { ndx: NdxCoder::new(negotiated.ndx), negotiated, says: Vec::new() }
    }

    fn ndx(mut self, ndx: i32) -> Self {
        self.ndx.put(&mut self.says, ndx);
        self
    }

    fn flags(self, flags: u16) -> Self {
        self.raw(&flags.to_le_bytes())
    }

    fn raw(mut self, bytes: &[u8]) -> Self {
        self.says.extend_from_slice(bytes);
        self
    }

    fn head(self, fields: [i32; 4]) -> Self {
        self.raw(&fields.map(i32::to_le_bytes).concat())
    }

    /// Asks for a whole file.
    fn wants(self, ndx: i32) -> Self {
        self.ndx(ndx).flags(TRANSFER).head([0; 4])
    }

    fn done(self, times: usize) -> Self {
        (0..times).fold(self, |mock, _| mock.ndx(DONE))
    }

    /// How a sender ends that hears all this, and then the end of the stream.
    fn end(self) -> Result<(), NasSyncError> {
        let case = Case::load("32-names");
        let (sink, mut frames) = mpsc::channel(8);
        let (port, feeder) = Port::new(self.negotiated.list_terms.client_framing, sink);
        feeder.push(Bytes::from(self.says)).unwrap();
        drop(feeder);
        let terms = self.negotiated.list_terms;
        let list = case.list();
        let parts = terms.is_incremental.then(|| Arc::new(Mutex::new(in_parts(&list.entries))) as Parts);
        let list = if parts.is_some() { list.in_parts() } else { list.number(terms.order).unwrap() };
        let job = SendJob {
            list: list.into(),
            parts,
            sources: Arc::new(Files::of(&case)),
            changed: ChangedFile::Invalidate,
            mode: case.mode(),
            duties: Duties::default(),
        };
        std::thread::scope(|scope| {
            scope.spawn(move || while frames.blocking_recv().is_some() {});
            sender::run(job, self.negotiated.into(), port, &Silent)
        })
    }

    fn assert_refused(self, what: &str, says: &str) {
        assert_protocol_error(&self.end().expect_err(what), what, says);
    }
}

/// What lies at the top, and then the content of each folder.
struct Given(VecDeque<SendPart>);

impl PartSource for Given {
    fn next(&mut self) -> Result<Option<SendPart>, NasSyncError> {
        Ok(self.0.pop_front())
    }
}

fn in_parts(entries: &Entries) -> Given {
    let above = |name: &[u8]| name.iter().rposition(|byte| *byte == b'/').map(|at| Box::from(&name[..at]));
    let part = |folder: Option<Box<[u8]>>| {
        let entries = entries.iter().filter(|entry| above(entry.name) == folder).collect();
        SendPart { folder, entries, errors: 0 }
    };
    let folders = entries.iter().filter(|entry| entry.has_listed_content() && entry.name != b".");
    Given([None].into_iter().chain(folders.map(|folder| Some(folder.name.into()))).map(part).collect())
}

/// The error is that of this very rule.
fn assert_protocol_error(error: &NasSyncError, what: &str, says: &str) {
    assert_eq!(error.kind(), ErrorKind::Protocol, "{what}: {error}");
    assert!(error.message().contains(says), "{what}: {error}, and not: {says}");
}

#[test]
fn the_mock_itself_is_a_server_that_can_be_served() {
    Mock::new(32).wants(1).wants(6).ndx(4).flags(0x0008).done(5).end().unwrap();
    Mock::new(32).wants(1).done(1).wants(1).done(4).end().unwrap();
    Mock::new(32).done(2).ndx(1).flags(0x0008).done(3).end().unwrap();
    Mock::new(32).ndx(1).flags(TRANSFER).head([1, 700, 2, 0]).raw(&[0; 6]).done(1).wants(1).done(4).end().unwrap();
    Mock::new(29).wants(1).done(4).end().unwrap();
}

#[test]
fn indices_outside_the_list_are_refused() {
    for ndx in [7, 40_000, i32::MAX, -2, -4, -101, i32::MIN + 1] {
        Mock::new(32)
            .ndx(ndx)
            .flags(TRANSFER)
            .head([0; 4])
            .done(5)
            .assert_refused(&format!("ndx {ndx}"), &format!("file {ndx} was asked for, the list has 7"));
        Mock::new(29)
            .ndx(ndx)
            .flags(TRANSFER)
            .head([0; 4])
            .done(4)
            .assert_refused(&format!("ndx {ndx}"), &format!("file {ndx} was asked for, the list has 7"));
    }
}

#[test]
fn a_list_in_parts_is_asked_for_within_the_parts_that_are_open() {
    Mock::in_parts().wants(2).ndx(6).flags(0x0008).wants(7).done(6).end().unwrap();
    Mock::in_parts().wants(2).done(1).wants(8).wants(8).done(5).end().unwrap();
    Mock::in_parts().ndx(0).flags(0x0008).done(6).end().unwrap();
    for ndx in [9, 40_000, i32::MAX, -2, -101, i32::MIN + 1] {
        let mock = Mock::in_parts().ndx(ndx).flags(TRANSFER).head([0; 4]).done(6);
        mock.assert_refused(&format!("ndx {ndx}"), &format!("file {ndx} was asked for, the list has 7"));
    }
    for folder in [0, 1, 5, 6] {
        let says = format!("the data of entry {folder} was asked for when it may not be");
        Mock::in_parts().wants(folder).done(6).assert_refused("a folder", &says);
    }
    let says = "file 2 was asked for, which is not in a list that is open";
    Mock::in_parts().wants(2).done(1).wants(2).done(5).assert_refused("a part that is done with", says);
}

#[test]
fn an_idle_server_of_protocol_29_may_say_so_but_not_for_ever() {
    let idle = |protocol, times| (0..times).fold(Mock::new(protocol), |mock, _| mock.ndx(7).flags(0x2000));
    idle(29, 3).wants(1).done(4).end().unwrap();
    idle(29, 1000).done(4).assert_refused("idle for ever", "records without end");
    idle(32, 1).done(5).assert_refused("idle records where frames are", "file 7 was asked for, the list has 7");
    Mock::new(29)
        .ndx(7)
        .flags(0x2008)
        .done(4)
        .assert_refused("a record behind the last entry", "file 7 was asked for, the list has 7");
}

#[test]
fn only_files_have_data() {
    for ndx in [0, 3, 4] {
        Mock::new(32).wants(ndx).done(5).assert_refused(
            "a folder or a symlink",
            &format!("the data of entry {ndx} was asked for when it may not be"),
        );
    }
}

#[test]
fn a_file_is_sent_twice_at_most() {
    Mock::new(32)
        .wants(1)
        .wants(1)
        .wants(1)
        .done(5)
        .assert_refused("three times at once", "the data of entry 1 was asked for when it may not be");
    Mock::new(32)
        .wants(1)
        .done(1)
        .wants(1)
        .wants(1)
        .done(4)
        .assert_refused("twice again", "the data of entry 1 was asked for when it may not be");
}

#[test]
fn each_phase_has_its_requests() {
    Mock::new(32)
        .done(2)
        .wants(1)
        .done(3)
        .assert_refused("data in the last phase", "the data of entry 1 was asked for when it may not be");
    Mock::new(32)
        .done(3)
        .wants(1)
        .done(2)
        .assert_refused("a file in the goodbye", "file 1 was asked for after the last phase");
    Mock::new(32)
        .done(4)
        .ndx(1)
        .flags(0x0008)
        .done(1)
        .assert_refused("a record in the goodbye", "file 1 was asked for after the last phase");
}

#[test]
fn sum_heads_stay_within_their_limits() {
    for (head, says) in [
        ([-1, 700, 2, 0], "block count"),
        ([i32::MIN, 700, 2, 0], "block count"),
        ([1, 0, 2, 0], "block length"),
        ([1, -1, 2, 0], "block length"),
        ([1, 131_073, 2, 0], "block length"),
        ([1, 700, -1, 0], "strong sum length"),
        ([1, 700, 17, 0], "strong sum length"),
        ([1, 700, 2, -1], "remainder"),
        ([1, 700, 2, 701], "remainder"),
    ] {
        Mock::new(32).ndx(1).flags(TRANSFER).head(head).done(5).assert_refused(&format!("{head:?}"), says);
    }
    // Older protocols allow longer blocks, but not any.
    let block = [0; 4 + 2];
    Mock::new(29).ndx(1).flags(TRANSFER).head([1, 1 << 29, 2, 0]).raw(&block).done(4).end().unwrap();
    Mock::new(29)
        .ndx(1)
        .flags(TRANSFER)
        .head([1, (1 << 29) + 1, 2, 0])
        .done(4)
        .assert_refused("a huge block", "block length");
}

#[test]
fn a_promise_of_many_sums_takes_no_memory() {
    let error = Mock::new(32).ndx(1).flags(TRANSFER).head([i32::MAX, 700, 16, 0]).raw(&[0; 2000]).end().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionLost);
    assert!(error.message().contains("closed the stream too early"), "{error}");
}

#[test]
fn basis_names_are_short_and_hold_no_nul() {
    let named = |name: &[u8]| {
        let mut says = Vec::new();
        put_vstring(&mut says, name);
        Mock::new(32).ndx(1).flags(TRANSFER | 0x1800).raw(&[0x83]).raw(&says).head([0; 4]).done(5)
    };
    named(&[b'x'; 4095]).end().unwrap();
    named(&[b'x'; 4096]).assert_refused("4096 bytes", "4096 bytes, at most 4095 are allowed");
    named(b"a\0b").assert_refused("NUL", "alternate basis name: it holds a NUL byte");
}

/// Says the file `$1`, then stays to listen.
const SAY: &str = "cat \"$1\"; exec cat >/dev/null";
/// Says the file `$1`, then neither reads nor ends.
const SAY_AND_HANG: &str = "cat \"$1\"; exec sleep 60";
/// Says the file `$1` and leaves.
const SAY_AND_LEAVE: &str = "exec cat \"$1\"";
/// Says the file `$1`, then the file `$2` every now and then for ever.
const SAY_FOR_EVER: &str = "cat \"$1\"; while cat \"$2\"; do sleep 0.02; done";

/// The idle limit where the session must end by it, and where it must end before it even on a busy machine.
const SHORT: Duration = Duration::from_secs(1);
const LONG: Duration = Duration::from_secs(15);
/// The idle limit, the time for last words, and some for a busy machine.
const IN_TIME: Duration = Duration::from_secs(30);

/// Pushes a case's files to a script that says the first bytes, and perhaps the others again and again.
async fn push_to(
    script: &str,
    idle_limit: Duration,
    case: &Case,
    sources: Arc<dyn Sources>,
    says: [&[u8]; 2],
) -> Outcome {
    let folder = tempfile::tempdir().unwrap();
    let mut arguments = vec![b"-c".to_vec(), script.into(), b"sh".to_vec()];
    for (name, bytes) in ["first", "again"].into_iter().zip(says) {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        arguments.push(path.into_os_string().into_encoded_bytes());
    }
    let push = Push {
        offer: case.offer,
        list: case.list(),
        parts: None,
        sources,
        contents: Contents::Unsummed,
        receipts: Receipts::NotAsked,
        changed: ChangedFile::Invalidate,
        mode: case.mode(),
        duties: Duties::default(),
        idle_limit,
        monitor: Arc::new(Tally::default()) as Arc<dyn Monitor>,
    };
    let started = Instant::now();
    let session = session::push(local::spawn("sh", &arguments).unwrap(), push);
    let outcome = tokio::time::timeout(IN_TIME, session).await;
    outcome.unwrap_or_else(|_| panic!("{}: still running after {:?}", case.name, started.elapsed()))
}

/// The error of a session whose server says these bytes after the recorded handshake of `32-names`.
async fn error_of(script: &str, idle_limit: Duration, first: &[u8], again: &[u8]) -> NasSyncError {
    let case = Case::load("32-names");
    let s2c = case.bytes("s2c.bin");
    let handshake = shake_hands(&case, [&*s2c]).handshake_len;
    let first = [&s2c[..handshake], first].concat();
    let files = Arc::new(Files::of(&case));
    push_to(script, idle_limit, &case, files, [&first, again]).await.result.expect_err("a hostile server is refused")
}

fn message(message: &Message) -> Vec<u8> {
    let mut frame = Vec::new();
    message.encode(&mut frame);
    frame
}

fn data(bytes: &[u8]) -> Vec<u8> {
    [&data_header(bytes.len()), bytes].concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_that_no_server_sends_end_the_session() {
    let frames: [(&str, &str, Vec<u8>); 9] = [
        ("an unknown tag", "99 is not a known message", vec![0, 0, 0, 99 + 7]),
        ("an internal tag", "9 is not a known message", vec![4, 0, 0, 9 + 7, 0, 0, 0, 0]),
        ("no tag at all", "frame header", vec![0, 0, 0, 6]),
        ("a text of 8 KiB and a byte", "8193 bytes for message 2", [&[1, 0x20, 0, 2 + 7][..], &[b'x'; 8193]].concat()),
        ("a long acknowledgement", "5 bytes for message 100", vec![5, 0, 0, 100 + 7, 1, 0, 0, 0, 0]),
        (
            "text without end",
            "more than 1 MiB of text in one session",
            message(&Message::Info(vec![b'x'; 8192].into())).repeat(129),
        ),
        ("an acknowledged folder", "acknowledged entry 4, which is no file of the list", message(&Message::Success(4))),
        (
            "an acknowledgement outside the list",
            "acknowledged entry 7, which is no file of the list",
            message(&Message::Success(7)),
        ),
        (
            "a negative acknowledgement",
            "acknowledged entry -1, which is no file of the list",
            message(&Message::Success(-1)),
        ),
    ];
    for (what, says, frame) in frames {
        assert_protocol_error(&error_of(SAY, LONG, &frame, b"").await, what, says);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_server_broke_is_said_even_if_it_reads_no_more() {
    let mut case = Case::load("32-names");
    let s2c = case.bytes("s2c.bin");
    for planned in &mut case.entries {
        planned.content.resize(8 << 20, b'x');
    }
    let hello = &s2c[..shake_hands(&case, [&*s2c]).handshake_len];
    let says = [hello, &data(&Mock::new(32).wants(1).says), &[0, 0, 0, 99 + 7]].concat();
    let outcome = push_to(SAY_AND_HANG, LONG, &case, Arc::new(Files::of(&case)), [&says, b""]).await;
    assert_protocol_error(&outcome.result.unwrap_err(), "it reads no more", "99 is not a known message");
}

#[tokio::test(flavor = "multi_thread")]
async fn keepalives_are_no_progress() {
    let error = error_of(SAY_FOR_EVER, SHORT, b"", &data(b"")).await;
    assert_eq!(error.kind(), ErrorKind::Stalled, "{error}");
    assert!(error.message().contains("no progress for too long"), "{error}");
    let error = error_of(SAY_FOR_EVER, SHORT, b"", &message(&Message::Info(b"soon".as_slice().into()))).await;
    assert_eq!(error.kind(), ErrorKind::Stalled, "{error}");
    assert!(error.message().contains("no progress for too long"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_goes_on_after_an_error_is_left() {
    let error = error_of(SAY_FOR_EVER, LONG, &data(&Mock::new(32).wants(0).says), &data(&[0])).await;
    assert_protocol_error(&error, "a folder", "the data of entry 0 was asked for when it may not be");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_goes_on_after_the_goodbye_is_left() {
    let error = error_of(SAY_FOR_EVER, SHORT, &data(&Mock::new(32).done(5).says), &data(&[0])).await;
    assert_eq!(error.kind(), ErrorKind::Stalled, "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn records_come_to_an_end() {
    // The same index once more is a difference of 0.
    let error =
        error_of(SAY_FOR_EVER, LONG, &data(&Mock::new(32).ndx(1).flags(8).says), &data(&[0xfe, 0, 0, 8, 0])).await;
    assert_protocol_error(&error, "records", "records without end");
}

#[tokio::test(flavor = "multi_thread")]
async fn counts_of_deleted_entries_come_to_an_end() {
    let first = data(&Mock::new(32).ndx(DELETE_STATS).raw(&[0; 5]).says);
    let error = error_of(SAY_FOR_EVER, LONG, &first, &data(&[0xff, 0xfe, 0, 0, 0, 0, 0, 0, 0])).await;
    assert_protocol_error(&error, "counts", "records without end");
}

#[tokio::test(flavor = "multi_thread")]
async fn repeated_acknowledgements_are_no_progress() {
    let error = error_of(SAY_FOR_EVER, SHORT, b"", &message(&Message::Success(1))).await;
    assert_eq!(error.kind(), ErrorKind::Stalled, "{error}");
    assert!(error.message().contains("no progress for too long"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_leaves_at_any_byte_is_an_error() {
    for name in ["27-whole", "29-redo", "32-whole", "32-vanished"] {
        let case = Arc::new(Case::load(name));
        let s2c: Arc<[u8]> = case.bytes("s2c.bin").into();
        // The script that says everything must be served, or the others prove nothing.
        push_to(SAY, LONG, &case, Arc::new(Files::of(&case)), [&s2c, b""]).await.result.unwrap();
        for batch in (0..s2c.len()).collect::<Vec<_>>().chunks(16) {
            let mut sessions = tokio::task::JoinSet::new();
            for &len in batch {
                let (case, s2c) = (Arc::clone(&case), Arc::clone(&s2c));
                sessions.spawn(async move {
                    let files = Arc::new(Files::of(&case));
                    let outcome = push_to(SAY_AND_LEAVE, LONG, &case, files, [&s2c[..len], b""]).await;
                    (len, outcome)
                });
            }
            for (len, outcome) in sessions.join_all().await {
                let error = outcome.result.expect_err("it said less than all");
                let kinds = [ErrorKind::ConnectionLost, ErrorKind::ExecRefused, ErrorKind::StrayOutput];
                assert!(
                    kinds.contains(&error.kind()),
                    "{name}: {len} of {} bytes: {:?} {error}",
                    s2c.len(),
                    error.kind()
                );
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_falls_silent_at_any_byte_has_stalled() {
    let case = Arc::new(Case::load("32-whole"));
    let s2c: Arc<[u8]> = case.bytes("s2c.bin").into();
    let mut sessions = tokio::task::JoinSet::new();
    for len in (0..s2c.len()).step_by(5) {
        let (case, s2c) = (Arc::clone(&case), Arc::clone(&s2c));
        sessions.spawn(async move {
            let files = Arc::new(Files::of(&case));
            (len, push_to(SAY, SHORT, &case, files, [&s2c[..len], b""]).await)
        });
    }
    for (len, outcome) in sessions.join_all().await {
        let error = outcome.result.expect_err("it said less than all");
        assert_eq!(error.kind(), ErrorKind::Stalled, "{len} bytes: {error}");
    }
}
