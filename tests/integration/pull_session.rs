//! Whole sessions of a pull over pipes that are hard on them, and with servers that break the rules.
//!
//! A pipe here has a window, hands on so many bytes at a time, and may rest now and then. At its other end is the system's rsync,
//! or nobody: bytes that were recorded or made up, since no real server breaks the rules.

use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use nas_sync::internal::role::incoming::{Expected, Scope};
use nas_sync::internal::role::pull::{PullJob, To};
use nas_sync::internal::session::{self, Opening, Outcome, Pull};
use nas_sync::internal::transport::stream;
use nas_sync::internal::tree::apply::Keep;
use nas_sync::internal::wire::int::{put_varint, put_vstring};
use nas_sync::internal::wire::mux::Message;
use nas_sync::internal::wire::offer::Offer;
use nas_sync::internal::wire::pull_args::{PullOptions, source_paths};
use nas_sync::{EntryKind, ErrorKind, NasSyncError, Protocol, Silent};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, DuplexStream};
use tokio::process::Command;
use tokio::task::JoinHandle;

use super::differential::tree::set_time;
use super::interop::SIZES;
use super::pull_hostile::{FIELDS, FOLDER, Mock};
use crate::support::{noise, until, with};

/// The idle limit where the session must end by it, and where it must end before it even on a busy machine.
const SHORT: Duration = Duration::from_secs(1);
const LONG: Duration = Duration::from_secs(20);
/// The idle limit, the time for last words, and some for a busy machine.
const IN_TIME: Duration = Duration::from_secs(60);

/// A pipe.
#[derive(Debug, Clone, Copy)]
struct Pipe {
    /// How many bytes it holds.
    window: usize,
    /// How many it hands on at a time.
    step: usize,
    /// How many it hands on before it rests, if it does.
    rests_after: Option<usize>,
}

impl Pipe {
    const WIDE: Self = Self { window: 64 * 1024, step: 64 * 1024, rests_after: None };

    /// Hands on what one side says, and tells each piece.
    async fn hand_on(
        self,
        mut from: impl AsyncRead + Unpin,
        mut to: impl AsyncWrite + Unpin,
        mut said: impl FnMut(&[u8]),
    ) {
        let (mut buffer, mut unrested) = (vec![0; self.step], 0);
        while let Ok(len @ 1..) = from.read(&mut buffer).await {
            if self.rests_after.is_some_and(|bytes| unrested >= bytes) {
                unrested = 0;
                // That a stall ends is what is tested, not how long it takes.
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            unrested += len;
            said(&buffer[..len]);
            if to.write_all(&buffer[..len]).await.is_err() {
                break;
            }
        }
        // The other end may be gone already.
        let _ = to.shutdown().await;
    }
}

/// What a server said, each piece with the number of bytes that it had been told before.
type Recording = Vec<(usize, Vec<u8>)>;

/// Starts the system's rsync at the other end of a pipe. Gives what it said, once it has ended.
fn serve(arguments: &[Vec<u8>], pipe: Pipe) -> (DuplexStream, JoinHandle<Recording>) {
    let (near, far) = tokio::io::duplex(pipe.window);
    let mut child = Command::new("rsync")
        .args(arguments.iter().map(|argument| std::ffi::OsStr::from_bytes(argument)))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("rsync is installed");
    let (input, output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let task = tokio::spawn(async move {
        let (from_client, to_client) = tokio::io::split(far);
        let told = AtomicUsize::new(0);
        let mut said = Recording::new();
        tokio::join!(
            pipe.hand_on(from_client, input, |piece| {
                told.fetch_add(piece.len(), Ordering::Relaxed);
            }),
            pipe.hand_on(output, to_client, |piece| said.push((told.load(Ordering::Relaxed), piece.to_vec()))),
        );
        child.wait().await.unwrap();
        said
    });
    (near, task)
}

fn options() -> PullOptions {
    with!(PullOptions::default(), recursive: true, links: true, times: true, permissions: true)
}

async fn pull(near: DuplexStream, job: PullJob, offer: Offer, idle_limit: Duration) -> Outcome {
    let pull = Pull { offer, job, idle_limit, monitor: Arc::new(Silent) };
    let session = session::pull(stream::over(near), Opening::SLOW, pull);
    tokio::time::timeout(IN_TIME, session).await.expect("a session ends in time")
}

fn job(to: &Path) -> PullJob {
    let fields = options().list_fields();
    let expected = Expected { fields, id_names: true, scope: Scope::anything(false), may_overlap: false };
    let keep = Keep { times: true, permissions: true, ..Keep::default() };
    PullJob { keep, ..PullJob::new(expected, To::Path(to.to_owned())) }
}

/// Pulls what is in a folder from a real server. Gives what the server said.
async fn pull_from(from: &Path, to: &Path, pipe: Pipe, offer: Offer) -> Recording {
    let arguments = [options().arguments(&offer), source_paths(&[from.join("").as_os_str().as_bytes().to_vec()])];
    let (near, served) = serve(&arguments.concat(), pipe);
    let outcome = pull(near, job(to), offer, LONG).await;
    outcome.result.unwrap_or_else(|error| panic!("{pipe:?} {offer:?}: {error} {:?}", error.details()));
    served.await.unwrap()
}

fn tree(root: &Path, seed: u64, largest: usize) {
    for folder in ["sub", "sub/deeper", "empty"] {
        fs::create_dir_all(root.join(folder)).unwrap();
    }
    for (size, number) in SIZES.into_iter().filter(|size| *size < largest).zip(0..) {
        let folder = ["", "sub", "sub/deeper"][number % 3];
        let path = root.join(folder).join(format!("f{size}"));
        fs::write(&path, noise(size, seed + size as u64)).unwrap();
        set_time(&path, (i64::try_from(seed).unwrap() * 1_000_000, 0));
    }
    // A link of any older time is made anew.
    let _ = fs::remove_file(root.join("link"));
    symlink("sub/deeper", root.join("link")).unwrap();
}

/// All that a pull of [`options`] brings, but for the fractions of seconds that older protocols do not have.
fn brought(root: &Path) -> Vec<(String, u32, i64, Vec<u8>)> {
    use std::os::unix::fs::MetadataExt as _;
    let mut found = Vec::new();
    let mut open = vec![root.to_owned()];
    while let Some(path) = open.pop() {
        let meta = fs::symlink_metadata(&path).unwrap();
        let content = if meta.is_dir() {
            open.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            Vec::new()
        } else if meta.is_symlink() {
            fs::read_link(&path).unwrap().into_os_string().into_encoded_bytes()
        } else {
            fs::read(&path).unwrap()
        };
        let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
        found.push((name, meta.mode(), meta.mtime(), content));
    }
    found.sort();
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn it_works_over_every_pipe() {
    let narrow = Pipe { window: 1024, step: 1024, rests_after: None };
    let one_byte = Pipe { window: 1, step: 1, rests_after: None };
    let stalling = Pipe { window: 1024, step: 4096, rests_after: Some(100_000) };
    for (number, pipe) in [(27, narrow), (32, narrow), (29, one_byte), (32, one_byte), (30, stalling), (32, stalling)] {
        let offer = with!(Offer::default(), protocol: Protocol::new(number).unwrap());
        let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        // A byte at a time takes its time.
        let (largest, part) = if pipe.step == 1 { (40_000, 20_000) } else { (600_000, 300_000) };
        tree(from.path(), 1, largest);
        pull_from(from.path(), to.path(), pipe, offer).await;
        assert!(brought(from.path()) == brought(to.path()), "{pipe:?} {number}");
        // Other contents onto those: now this side has much to say, too.
        tree(from.path(), 9, largest);
        let large = [noise(part, 1), noise(part, 2), noise(part, 3)];
        fs::write(from.path().join("large"), large.concat()).unwrap();
        fs::write(to.path().join("large"), [&large[0][..], b"inserted", &large[2], &large[1]].concat()).unwrap();
        pull_from(from.path(), to.path(), pipe, offer).await;
        assert!(brought(from.path()) == brought(to.path()), "{pipe:?} {number}, again");
    }
}

/// A small tree, and what a server says that sends it to an empty folder: the same each time, since a seed concerns old copies
/// alone.
async fn recorded(from: &Path) -> Recording {
    fs::create_dir(from.join("sub")).unwrap();
    fs::write(from.join("a"), noise(40, 1)).unwrap();
    fs::write(from.join("sub/b"), noise(900, 2)).unwrap();
    symlink("a", from.join("link")).unwrap();
    let to = tempfile::tempdir().unwrap();
    let said = pull_from(from, to.path(), Pipe::WIDE, Offer::default()).await;
    assert!(brought(from) == brought(to.path()));
    said
}

/// What stands under its name is what the server has, and nothing else is left.
fn assert_whole(from: &Path, to: &Path, what: &str) {
    let there = brought(from);
    until(&format!("{what}: nothing is left in the making"), LONG, || {
        brought(to).iter().all(|(name, _, _, content)| {
            // A folder's time is set when all has come.
            there.iter().any(|(other, _, _, whole)| name == other && whole == content)
        })
    });
}

/// What a server does that has said all it has to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Then {
    Leave,
    Listen,
}

fn len(recording: &Recording) -> usize {
    recording.iter().map(|(_, piece)| piece.len()).sum()
}

/// A server that says the first bytes of what was recorded, each as soon as it has been told as much as then.
fn say(recording: Arc<Recording>, mut left: usize, then: Then) -> DuplexStream {
    let (near, mut far) = tokio::io::duplex(1024 * 1024);
    tokio::spawn(async move {
        let (mut told, mut buffer) = (0, vec![0; 4096]);
        for (before, piece) in recording.iter() {
            let part = &piece[..piece.len().min(left)];
            left -= part.len();
            while told < *before && !part.is_empty() {
                match far.read(&mut buffer).await {
                    Ok(len @ 1..) => told += len,
                    _ => return,
                }
            }
            // The client may be gone by then.
            let _ = far.write_all(part).await;
        }
        if then == Then::Listen {
            let _ = tokio::io::copy(&mut far, &mut tokio::io::sink()).await;
        }
    });
    near
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_leaves_at_any_byte_leaves_whole_files() {
    let from = tempfile::tempdir().unwrap();
    let said = Arc::new(recorded(from.path()).await);
    for batch in (0..len(&said)).collect::<Vec<_>>().chunks(16) {
        let mut sessions = tokio::task::JoinSet::new();
        for &bytes in batch {
            let said = Arc::clone(&said);
            sessions.spawn(async move {
                let to = tempfile::tempdir().unwrap();
                let outcome = pull(say(said, bytes, Then::Leave), job(to.path()), Offer::default(), LONG).await;
                (bytes, outcome, to)
            });
        }
        for (bytes, outcome, to) in sessions.join_all().await {
            let what = format!("{bytes} of {} bytes", len(&said));
            let error = outcome.result.expect_err(&what);
            let kinds = [ErrorKind::ConnectionLost, ErrorKind::ExecRefused, ErrorKind::StrayOutput];
            assert!(kinds.contains(&error.kind()), "{what}: {:?} {error}", error.kind());
            assert_whole(from.path(), to.path(), &what);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_falls_silent_at_any_byte_has_stalled() {
    let from = tempfile::tempdir().unwrap();
    let said = Arc::new(recorded(from.path()).await);
    let mut sessions = tokio::task::JoinSet::new();
    for bytes in (0..len(&said)).step_by(13) {
        let said = Arc::clone(&said);
        sessions.spawn(async move {
            let to = tempfile::tempdir().unwrap();
            let outcome = pull(say(said, bytes, Then::Listen), job(to.path()), Offer::default(), SHORT).await;
            (bytes, outcome, to)
        });
    }
    for (bytes, outcome, to) in sessions.join_all().await {
        let error = outcome.result.expect_err("it said less than all");
        assert_eq!(error.kind(), ErrorKind::Stalled, "{bytes} bytes: {error}");
        assert_whole(from.path(), to.path(), &format!("{bytes} bytes"));
    }
}

/// How a session ends whose server says what the mock says, and then these bytes again and again.
async fn end_of(mock: Mock, again: &[u8], to: &Path, idle_limit: Duration) -> Result<(), NasSyncError> {
    let (near, far) = tokio::io::duplex(1024);
    let scope = mock.scope();
    let again = again.to_vec();
    tokio::spawn(async move {
        let (mut heard, mut told) = tokio::io::split(far);
        let [list, then] = mock.session();
        // The client may leave at any time: then there is nothing more to say.
        if told.write_all(&list).await.is_err() {
            return;
        }
        // Its names of algorithms, the empty list of filters, and what is asked for, up to the first DONE.
        let (mut asked, mut buffer) = (Vec::new(), vec![0; 4096]);
        while !then.is_empty() && (asked.len() < 60 || asked.last() != Some(&0)) {
            match heard.read(&mut buffer).await {
                Ok(len @ 1..) => asked.extend_from_slice(&buffer[..len]),
                _ => return,
            }
        }
        let hear = tokio::spawn(async move { tokio::io::copy(&mut heard, &mut tokio::io::sink()).await });
        if told.write_all(&then).await.is_ok() && !again.is_empty() {
            while told.write_all(&again).await.is_ok() {
                // A server that says little at a time must not be able to say it for ever.
                tokio::time::sleep(Duration::from_millis(if again.len() < 1000 { 20 } else { 0 })).await;
            }
        }
        drop(hear.await);
    });
    let expected = Expected { fields: FIELDS, id_names: false, scope, may_overlap: false };
    let job = PullJob { numeric_ids: true, ..PullJob::new(expected, To::Path(to.to_owned())) };
    pull(near, job, Offer::default(), idle_limit).await.result
}

/// A list of one file, number 0.
fn one() -> Mock {
    Mock::new().lists(b"file", EntryKind::File).ends_list()
}

fn message(message: &Message) -> Vec<u8> {
    let mut frame = Vec::new();
    message.encode(&mut frame);
    frame
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_that_no_server_sends_end_a_pull() {
    let frames: [(&str, Vec<u8>); 8] = [
        ("99 is not a known message", vec![0, 0, 0, 99 + 7]),
        ("9 is not a known message", vec![4, 0, 0, 9 + 7, 0, 0, 0, 0]),
        ("frame header", vec![0, 0, 0, 6]),
        ("8193 bytes for message 2", [&[1, 0x20, 0, 2 + 7][..], &[b'x'; 8193]].concat()),
        ("5 bytes for message 22", vec![5, 0, 0, 22 + 7, 1, 0, 0, 0, 0]),
        ("3 bytes for message 102", vec![3, 0, 0, 102 + 7, 1, 0, 0]),
        ("more than 1 MiB of text in one session", message(&Message::Info(vec![b'x'; 8192].into())).repeat(129)),
        ("more than 1 MiB of text in one session", message(&Message::ErrorXfer(vec![b'x'; 8192].into())).repeat(129)),
    ];
    for (says, frame) in frames {
        let to = tempfile::tempdir().unwrap();
        let error = end_of(one(), &frame, to.path(), LONG).await.expect_err(says);
        assert_eq!(error.kind(), ErrorKind::Protocol, "{error}, and not: {says}");
        assert!(error.message().contains(says), "{error}, and not: {says}");
        assert_whole(tempfile::tempdir().unwrap().path(), to.path(), says);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn greetings_that_no_server_sends_end_a_pull() {
    let greeting = |version: i32, names: &[u8]| {
        let mut hello = version.to_le_bytes().to_vec();
        put_varint(&mut hello, 0x1ae);
        put_vstring(&mut hello, names);
        [hello, vec![7, 0, 0, 0]].concat()
    };
    for (hello, kind, says) in [
        (greeting(32, &[b'x'; 300]), ErrorKind::Protocol, "checksum names"),
        (greeting(32, b"one two"), ErrorKind::Protocol, "checksum"),
        (greeting(19, b"md5"), ErrorKind::StrayOutput, ""),
        (greeting(26, b"md5"), ErrorKind::Protocol, "26"),
    ] {
        let to = tempfile::tempdir().unwrap();
        let error = end_of(one().greets(hello), &[], to.path(), LONG).await.expect_err(says);
        assert_eq!(error.kind(), kind, "{says}: {error}");
        assert!(error.message().contains(says), "{error}, and not: {says}");
        assert_eq!(fs::read_dir(to.path()).unwrap().count(), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_progress_does_not_keep_a_pull() {
    let text = || b"soon".as_slice().into();
    let messages = [
        Message::Info(text()),
        Message::IoError(2),
        Message::Noop,
        // It may only shorten the time.
        Message::IoTimeout(3600),
        Message::IoTimeout(-1),
        // What only a receiver says.
        Message::Success(0),
        Message::Deleted(text()),
        Message::NoSend(0),
    ];
    for again in messages.iter().map(message).chain([vec![0, 0, 0, 7]]) {
        let to = tempfile::tempdir().unwrap();
        let error = end_of(one(), &again, to.path(), SHORT).await.expect_err("it says nothing");
        assert_eq!(error.kind(), ErrorKind::Stalled, "{again:?}: {error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_no_end_comes_to_one() {
    let megabyte = |fill: u8| [&[0, 0, 0x10, 7][..], &vec![fill; 0x10_0000]].concat();
    // Names that go on, without an end of the list.
    let mut names = Mock::new();
    for number in 0..1000 {
        names = names.lists(format!("{number:0>200}").as_bytes(), EntryKind::File);
    }
    let to = tempfile::tempdir().unwrap();
    // Each name is the one before with the same ending: the list names it twice, or is too long, at the latest when it ends.
    let error = end_of(names, &megabyte(0), to.path(), LONG).await.expect_err("names without end");
    assert!(matches!(error.kind(), ErrorKind::Protocol | ErrorKind::ConnectionLost), "{error}");
    // A file of five bytes that goes on.
    let file = Mock::new().lists(b"file", EntryKind::File).ends_list().sends(0, [0; 4]).raw(&i32::MAX.to_le_bytes());
    let error = end_of(file, &megabyte(b'x'), to.path(), LONG).await.expect_err("a file without end");
    assert_eq!(error.kind(), ErrorKind::Protocol, "{error}");
    assert!(error.message().contains("without end") || error.message().contains("literal"), "{error}");
    assert_whole(tempfile::tempdir().unwrap().path(), to.path(), "endless");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_becomes_a_symlink_meanwhile_leads_nowhere() {
    let (to, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    fs::write(outside.path().join("file"), "mine").unwrap();
    fs::create_dir(to.path().join("a")).unwrap();
    // Numbers: a, a/file, a/gone.
    let mock = Mock::new()
        .lists(b"a", FOLDER)
        .lists(b"a/file", EntryKind::File)
        .lists(b"a/other", EntryKind::File)
        .ends_list();
    let swapped = {
        let (to, outside) = (to.path().to_owned(), outside.path().to_owned());
        move || {
            fs::rename(to.join("a"), to.join("moved")).unwrap();
            symlink(&outside, to.join("a")).unwrap();
        }
    };
    let mock = mock.when_asked(swapped);
    let mock = mock.sends(1, [0; 4]).literal(b"hello").ends_file(b"hello");
    let mock = mock.sends(2, [0; 4]).literal(b"hello").ends_file(b"hello").goodbye();
    let (end, failed) = mock.end(to.path());
    end.unwrap();
    // Wherever they went, and whether they did, it was not out.
    let names: Vec<_> = fs::read_dir(outside.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["file"], "{failed:?}");
    assert_eq!(fs::read_to_string(outside.path().join("file")).unwrap(), "mine");
}
