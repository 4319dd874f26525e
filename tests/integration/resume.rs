//! A file whose connection was cut goes on from what had come of it.

use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use nas_sync::internal::role::list::{SendList, Sources};
use nas_sync::internal::role::sender::{ChangedFile, Duties, Mode};
use nas_sync::internal::session::{self, Contents, Outcome, Push, Receipts};
use nas_sync::internal::transport::local;
use nas_sync::internal::tree::SourceFile;
use nas_sync::internal::wire::flist::{EntryKind, FileEntry, FileMeta, Mtime};
use nas_sync::internal::wire::offer::{CompressionChoice, Offer, Protocol};
use nas_sync::internal::wire::server_args::{PARTIAL_DIR, PushOptions, command_line};
use nas_sync::internal::wire::token::TokenCoding;
use nas_sync::{Client, ClientConfig, Files, NasSyncError, PushRequest};
use nas_sync::{Event, FileStats, Monitor};
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;
use tokio::sync::Notify;

use crate::support::{Sshd, noise, until, with};

const SIZE: usize = 32 << 20;
/// How long a receiver may take to notice that nobody sends any more.
const WAIT: Duration = Duration::from_secs(30);

/// One file here, a folder there.
struct Place {
    folder: TempDir,
    file: PathBuf,
}

impl Place {
    fn new(content: &[u8]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("nas")).unwrap();
        let file = folder.path().join("big.bin");
        fs::write(&file, content).unwrap();
        Self { folder, file }
    }

    fn nas(&self, name: &str) -> PathBuf {
        self.folder.path().join("nas").join(name)
    }

    fn partial(&self) -> PathBuf {
        self.nas(PARTIAL_DIR).join("big.bin")
    }

    fn partial_len(&self) -> u64 {
        self.partial().metadata().map_or(0, |meta| meta.len())
    }

    /// What a finished transfer leaves.
    fn assert_whole(&self, content: &[u8], case: &dyn std::fmt::Debug) {
        assert!(fs::read(self.nas("big.bin")).unwrap() == content, "{case:?}");
        let names: Vec<_> = fs::read_dir(self.nas("")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, ["big.bin"], "{case:?}");
    }

    /// One session with a local receiver, which hears at most `limit` bytes and then the end of the stream.
    async fn session(&self, offer: Offer, options: &PushOptions, limit: Option<usize>) -> Session {
        let arguments = options.arguments(&offer, self.nas("").as_os_str().as_bytes());
        let rsync = String::from_utf8(command_line("rsync", &arguments).unwrap()).unwrap();
        let said = self.folder.path().join("said");
        let line = match limit {
            Some(limit) => format!("stdbuf -o0 head -c {limit} | {rsync}"),
            None => format!("{rsync} | tee '{}'", said.display()),
        };
        let exec = local::spawn("sh", &[b"-c".to_vec(), line.into_bytes()]).unwrap();
        let meta = self.file.metadata().unwrap();
        let mtime = Mtime { seconds: meta.mtime(), nanoseconds: u32::try_from(meta.mtime_nsec()).unwrap() };
        let meta = with!(FileMeta::default(), size: meta.len(), mtime: mtime, permissions: 0o644);
        let entry = FileEntry::new(b"big.bin", EntryKind::File, meta);
        let heard = Arc::new(Heard::default());
        let push = Push {
            offer,
            list: SendList {
                entries: [entry].into_iter().collect(),
                fields: options.list_fields(),
                names: None,
                errors: 0,
            },
            parts: None,
            sources: Arc::new(OneFile(self.file.clone())),
            contents: Contents::Unsummed,
            receipts: Receipts::NotAsked,
            changed: ChangedFile::Invalidate,
            mode: Mode::Transfer,
            duties: Duties::default(),
            idle_limit: WAIT,
            monitor: Arc::clone(&heard) as Arc<dyn Monitor>,
        };
        let outcome = session::push(exec, push).await;
        let (sent, sums) = (heard.sent.lock().unwrap().clone(), heard.sums.lock().unwrap().clone());
        Session { outcome, sent, sums, said: fs::read(said).unwrap_or_default() }
    }

    /// Leaves half of the file in the partial folder.
    async fn cut(&self, offer: Offer, options: &PushOptions) {
        let outcome = self.session(offer, options, Some(SIZE / 2)).await.outcome;
        assert!(outcome.result.is_err(), "{offer:?}");
        until("the partial file is there", WAIT, || self.partial_len() > 0);
        let len = self.partial_len();
        assert!(len > SIZE as u64 * 2 / 5 && len <= SIZE as u64 / 2, "{offer:?}: {len}");
    }
}

struct Session {
    outcome: Outcome,
    sent: Vec<FileStats>,
    sums: Vec<Option<[u8; 32]>>,
    /// What the receiver said, byte for byte.
    said: Vec<u8>,
}

impl Session {
    /// The one time that the file was sent: a second time would mean that the first was built on the wrong basis.
    fn only(&self, case: &dyn std::fmt::Debug) -> FileStats {
        self.outcome.result.as_ref().unwrap_or_else(|error| panic!("{case:?}: {error} {:?}", error.details()));
        assert_eq!(self.sent.len(), 1, "{case:?}");
        self.sent[0]
    }

    /// Whether a request of the receiver named the partial file as its basis: flags 11 and 15, the kind, and a head of
    /// sums with small numbers.
    fn named_the_partial_file(&self) -> bool {
        let small = |number: &[u8]| number[2..] == [0, 0];
        self.said.windows(14).any(|at| {
            at[0] & 0x88 == 0x88 && at[1] == 0x81 && small(&at[2..6]) && small(&at[6..10]) && small(&at[10..14])
        })
    }
}

struct OneFile(PathBuf);

impl Sources for OneFile {
    fn open(&self, _entry: &FileEntry<'_>) -> Result<SourceFile, NasSyncError> {
        SourceFile::open(&self.0).map(SourceFile::hashed)
    }
}

/// How files were sent, and a call when much of one has been.
#[derive(Default)]
struct Heard {
    sent: Mutex<Vec<FileStats>>,
    sums: Mutex<Vec<Option<[u8; 32]>>>,
    read: Mutex<u64>,
    far: Notify,
}

impl Monitor for Heard {
    fn event(&self, event: Event<'_>) {
        match event {
            Event::FileSent { stats, sha256, .. } => {
                self.sent.lock().unwrap().push(stats);
                self.sums.lock().unwrap().push(sha256);
            }
            Event::Progress { bytes } => {
                let mut read = self.read.lock().unwrap();
                *read += bytes;
                if *read > SIZE as u64 * 3 / 5 {
                    self.far.notify_one();
                }
            }
            _ => {}
        }
    }
}

fn resumable() -> PushOptions {
    with!(PushOptions::default(), times: true, ignore_times: true, acknowledge: true, partial_dir: true)
}

fn protocols() -> impl Iterator<Item = Offer> {
    (29..=32).map(|number| with!(Offer::default(), protocol: Protocol::new(number).unwrap()))
}

#[tokio::test(flavor = "multi_thread")]
async fn half_a_file_need_not_be_sent_again() {
    let content = noise(SIZE, 1);
    for offer in protocols() {
        let place = Place::new(&content);
        place.cut(offer, &resumable()).await;
        let session = place.session(offer, &resumable(), None).await;
        let stats = session.only(&offer);
        assert!(stats.matched > SIZE as u64 * 2 / 5, "{offer:?}: {stats:?}");
        assert!(session.named_the_partial_file(), "{offer:?}");
        place.assert_whole(&content, &offer);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_come_is_preferred_to_an_older_version() {
    let content = noise(SIZE, 2);
    for offer in protocols() {
        let place = Place::new(&content);
        // Nothing in common with the new content, so what matches was in the partial file.
        fs::write(place.nas("big.bin"), noise(SIZE, 3)).unwrap();
        place.cut(offer, &resumable()).await;
        assert!(fs::read(place.nas("big.bin")).unwrap() == noise(SIZE, 3), "the old version stays until then");
        let stats = place.session(offer, &resumable(), None).await.only(&offer);
        assert!(stats.matched > SIZE as u64 * 2 / 5, "{offer:?}: {stats:?}");
        place.assert_whole(&content, &offer);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_come_of_another_content_does_no_harm() {
    let (before, content) = (noise(SIZE, 4), noise(SIZE + 1, 5));
    let place = Place::new(&before);
    place.cut(Offer::default(), &resumable()).await;
    fs::write(&place.file, &content).unwrap();
    let stats = place.session(Offer::default(), &resumable(), None).await.only(&"changed");
    assert_eq!((stats.matched, stats.literal), (0, SIZE as u64 + 1));
    place.assert_whole(&content, &"changed");
}

#[tokio::test(flavor = "multi_thread")]
async fn cut_twice_it_keeps_what_it_had() {
    let content = noise(SIZE, 6);
    let place = Place::new(&content);
    place.cut(Offer::default(), &resumable()).await;
    let had = place.partial_len();
    // Nothing but blocks that are copied.
    let again = place.session(Offer::default(), &resumable(), Some(8192)).await;
    assert!(again.outcome.result.is_err());
    assert_eq!(place.partial_len(), had);
    // Blocks that are copied take next to nothing, so this ends among the bytes that are new.
    let again = place.session(Offer::default(), &resumable(), Some(SIZE / 4)).await;
    assert!(again.outcome.result.is_err());
    until("more than before is there", WAIT, || place.partial_len() > SIZE as u64 * 13 / 20);
    let stats = place.session(Offer::default(), &resumable(), None).await.only(&"twice");
    assert!(stats.matched > SIZE as u64 * 13 / 20, "{stats:?}");
    place.assert_whole(&content, &"twice");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_read_is_summed_on_every_way_to_send_it() {
    let content = noise(700_000, 9);
    let digest: [u8; 32] = Sha256::digest(&content).into();
    let zstd = CompressionChoice::Fixed(TokenCoding::from_name("zstd", None).unwrap());
    let place = Place::new(&content);
    for (case, compression, whole_file) in [
        ("plain", CompressionChoice::Off, true),
        ("compressed", zstd, true),
        ("delta", CompressionChoice::Off, false),
        ("compressed delta", zstd, false),
    ] {
        let offer = with!(Offer::default(), compression: compression);
        let session = place.session(offer, &with!(resumable(), whole_file: whole_file), None).await;
        assert_eq!(session.only(&case).matched > 0, !whole_file, "{case}");
        assert_eq!(session.sums, [Some(digest)], "{case}");
    }
}

fn request(place: &Place) -> PushRequest {
    PushRequest::new(
        Files::Operands(vec![place.file.clone()]),
        place.nas("").as_os_str().as_bytes().to_vec(),
        with!(resumable(), fsync: true),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_session_is_resumed_over_the_same_login() {
    let content = noise(SIZE, 7);
    let place = Place::new(&content);
    let sshd = Sshd::start();
    let client = Client::connect(&ClientConfig::new(sshd.config())).await.unwrap();
    let heard = Arc::new(Heard::default());
    tokio::select! {
        report = client.push(request(&place), Arc::clone(&heard) as Arc<dyn Monitor>) => panic!("{report:?}"),
        () = heard.far.notified() => {}
    }
    until("the partial file is there", WAIT, || place.partial_len() > 0);
    let heard = Arc::new(Heard::default());
    let report = client.push(request(&place), Arc::clone(&heard) as Arc<dyn Monitor>).await.unwrap();
    assert_eq!(report.exit_code, 0, "{report:?}");
    assert!(report.stats.matched > SIZE as u64 * 2 / 5, "{:?}", report.stats);
    place.assert_whole(&content, &"over ssh");
    client.disconnect().await;
}

/// What a document must therefore never be called; see `protocol-notes/07-transfer.md#going-on-after-a-cut`.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_in_the_place_of_the_partial_folder_is_lost() {
    let place = Place::new(&noise(SIZE, 8));
    fs::write(place.nas(PARTIAL_DIR), b"somebody's file").unwrap();
    place.cut(Offer::default(), &resumable()).await;
    assert!(Path::new(&place.nas(PARTIAL_DIR)).is_dir());
}
