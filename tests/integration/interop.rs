//! The sender against the system's `rsync --server`, over pipes.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use nas_sync::NasSyncError;
use nas_sync::internal::role::list::{SendList, Sources};
use nas_sync::internal::role::sender::{ChangedFile, Duties, Mode};
use nas_sync::internal::session::{self, Contents, Outcome, Push, Receipts};
use nas_sync::internal::transport::local;
use nas_sync::internal::tree::SourceFile;
use nas_sync::internal::wire::flist::{Entries, EntryKind, FileEntry, FileMeta, Mtime};
use nas_sync::internal::wire::offer::{ChecksumChoice, CompressionChoice, Offer, Protocol};
use nas_sync::internal::wire::server_args::PushOptions;
use nas_sync::internal::wire::token::TokenCoding;
use nas_sync::{Event, FileStats, Monitor};

use crate::support::{noise, with};

/// Files of one folder, named as they are.
struct Folder(Vec<PathBuf>);

impl Sources for Folder {
    fn open(&self, entry: &FileEntry<'_>) -> Result<SourceFile, NasSyncError> {
        SourceFile::open(&self.0[entry.tag.unwrap() as usize])
    }
}

/// Writes down what the session tells.
#[derive(Default)]
struct Record {
    totals: Mutex<FileStats>,
    acknowledged: Mutex<Vec<u32>>,
    failed: Mutex<Vec<NasSyncError>>,
}

impl Monitor for Record {
    fn event(&self, event: Event<'_>) {
        match event {
            Event::FileSent { stats, .. } => {
                let mut totals = self.totals.lock().unwrap();
                totals.literal += stats.literal;
                totals.matched += stats.matched;
            }
            Event::Acknowledged { entry } => self.acknowledged.lock().unwrap().push(entry.tag.unwrap()),
            Event::FileFailed { error, .. } => self.failed.lock().unwrap().push(error.clone()),
            _ => {}
        }
    }
}

fn documents() -> PushOptions {
    with!(PushOptions::default(), recursive: true, times: true, ignore_times: true, acknowledge: true)
}

async fn push_files(files: &[PathBuf], to: &Path, offer: Offer, options: PushOptions) -> (Outcome, Arc<Record>) {
    let exec = local::spawn("rsync", &options.arguments(&offer, to.as_os_str().as_encoded_bytes())).unwrap();
    let (push, record) = prepare(files, offer, &options);
    (session::push(exec, push).await, record)
}

fn prepare(files: &[PathBuf], offer: Offer, options: &PushOptions) -> (Push, Arc<Record>) {
    use std::os::unix::ffi::OsStrExt as _;
    use std::os::unix::fs::MetadataExt as _;
    let mut entries = Entries::default();
    for (tag, path) in (0..).zip(files) {
        let meta = path.metadata().unwrap();
        let mtime = Mtime { seconds: meta.mtime(), nanoseconds: u32::try_from(meta.mtime_nsec()).unwrap() };
        let meta = with!(FileMeta::default(), size: meta.len(), mtime: mtime, permissions: 0o644);
        let name = path.file_name().unwrap().as_bytes();
        entries.push(&with!(FileEntry::new(name, EntryKind::File, meta), tag: Some(tag)));
    }
    let record = Arc::new(Record::default());
    let push = Push {
        offer,
        list: SendList { entries, fields: options.list_fields(), names: None, errors: 0 },
        parts: None,
        sources: Arc::new(Folder(files.to_vec())),
        contents: Contents::Unsummed,
        receipts: Receipts::NotAsked,
        changed: ChangedFile::Invalidate,
        mode: Mode::Transfer,
        duties: Duties::default(),
        idle_limit: Duration::from_secs(20),
        monitor: Arc::clone(&record) as Arc<dyn Monitor>,
    };
    (push, record)
}

pub const SIZES: [usize; 13] =
    [0, 1, 6, 699, 700, 701, 32767, 32768, 32769, 131_071, 131_072, 131_073, 5 * 1024 * 1024];

pub fn offers() -> Vec<Offer> {
    let mut offers: Vec<Offer> =
        (27..=32).map(|number| with!(Offer::default(), protocol: Protocol::new(number).unwrap())).collect();
    for coding in [
        CompressionChoice::Negotiate { level: None },
        CompressionChoice::Fixed(TokenCoding::from_name("zlib", None).unwrap()),
        CompressionChoice::Fixed(TokenCoding::from_name("zlibx", None).unwrap()),
        CompressionChoice::Fixed(TokenCoding::from_name("zstd", None).unwrap()),
        CompressionChoice::Fixed(TokenCoding::Lz4),
    ] {
        offers.push(with!(Offer::default(), compression: coding));
    }
    for number in 27..=29 {
        let protocol = Protocol::new(number).unwrap();
        let compression = CompressionChoice::Negotiate { level: None };
        offers.push(with!(Offer::default(), protocol: protocol, compression: compression));
    }
    for name in ["xxh128", "xxh3", "xxh64", "md5", "md4", "sha1"] {
        let sum = nas_sync::internal::delta::StrongAlgorithm::from_name(name).unwrap();
        let checksum = ChecksumChoice::Fixed { transfer: sum, list: sum };
        offers.push(with!(Offer::default(), checksum: checksum));
    }
    offers
}

#[tokio::test(flavor = "multi_thread")]
async fn new_files_of_every_size_arrive_under_every_offer() {
    let from = tempfile::tempdir().unwrap();
    let files: Vec<PathBuf> = SIZES
        .iter()
        .map(|&size| {
            let path = from.path().join(format!("f{size:08}"));
            std::fs::write(&path, noise(size, size as u64)).unwrap();
            path
        })
        .collect();
    for offer in offers() {
        let to = tempfile::tempdir().unwrap();
        let (outcome, record) = push_files(&files, to.path(), offer, documents()).await;
        outcome.result.unwrap_or_else(|error| panic!("{offer:?}: {error} {:?}", error.details()));
        for file in &files {
            let there = to.path().join(file.file_name().unwrap());
            assert!(std::fs::read(file).unwrap() == std::fs::read(there).unwrap(), "{offer:?} {file:?}");
        }
        let acknowledged = record.acknowledged.lock().unwrap().len();
        assert!(acknowledged == files.len() || offer.protocol.number() < 29, "{offer:?}: {acknowledged}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_copy_is_updated_by_delta_under_every_offer() {
    for offer in offers() {
        let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let mut files = Vec::new();
        for size in SIZES {
            let path = from.path().join(format!("f{size:08}"));
            let old = noise(size, 7);
            let mut new = old.clone();
            for edit in 0..size / 40_000 {
                new[edit * 40_000 + 17] ^= 0xff;
            }
            new.splice(size / 2..size / 2, *b"inserted");
            std::fs::write(to.path().join(path.file_name().unwrap()), &old).unwrap();
            std::fs::write(&path, &new).unwrap();
            files.push(path);
        }
        let (outcome, record) = push_files(&files, to.path(), offer, documents()).await;
        outcome.result.unwrap_or_else(|error| panic!("{offer:?}: {error} {:?}", error.details()));
        for file in &files {
            let there = to.path().join(file.file_name().unwrap());
            assert!(std::fs::read(file).unwrap() == std::fs::read(there).unwrap(), "{offer:?} {file:?}");
        }
        let totals = *record.totals.lock().unwrap();
        assert!(totals.matched > 4 * totals.literal, "{offer:?}: {totals:?}");
    }
}

/// Files that take their time to open.
struct Slow(Folder, Duration);

impl Sources for Slow {
    fn open(&self, entry: &FileEntry<'_>) -> Result<SourceFile, NasSyncError> {
        // More time than the idle limit is what is tested.
        std::thread::sleep(self.1);
        self.0.open(entry)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn reading_files_for_their_digests_is_no_standstill() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let file = from.path().join("file");
    std::fs::write(&file, "content").unwrap();
    std::fs::copy(&file, to.path().join("file")).unwrap();
    let options = with!(PushOptions::default(), checksum: true, recursive: true);
    let offer = Offer::default();
    let exec = local::spawn("rsync", &options.arguments(&offer, to.path().as_os_str().as_encoded_bytes())).unwrap();
    let (push, _) = prepare(std::slice::from_ref(&file), offer, &options);
    // Longer than any credit that a session may have got.
    let idle_limit = Duration::from_secs(2);
    let sources = Arc::new(Slow(Folder(vec![file]), idle_limit * 5));
    let outcome = session::push(exec, Push { sources, idle_limit, contents: Contents::Summed, ..push }).await;
    outcome.result.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_arrives_damaged_behind_an_early_goodbye_fails_alone() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let files: Vec<PathBuf> = [("damaged", "Q"), ("whole", "all is well")]
        .into_iter()
        .map(|(name, content)| {
            let path = from.path().join(name);
            std::fs::write(&path, content).unwrap();
            let time = std::time::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
            std::fs::File::options().write(true).open(&path).unwrap().set_modified(time).unwrap();
            path
        })
        .collect();
    let (offer, options) = (Offer::default(), documents());
    // No other byte that travels is a Q.
    let mut arguments: Vec<Vec<u8>> = ["-c", "stdbuf -o0 tr Q R | rsync \"$@\"", "sh"].map(Into::into).into();
    arguments.extend(options.arguments(&offer, to.path().as_os_str().as_encoded_bytes()));
    let (push, record) = prepare(&files, offer, &options);
    let outcome = session::push(local::spawn("sh", &arguments).unwrap(), push).await;
    outcome.result.unwrap();
    assert_eq!(*record.acknowledged.lock().unwrap(), [1]);
    let failed: Vec<String> = record.failed.lock().unwrap().iter().map(ToString::to_string).collect();
    assert_eq!(failed, ["what arrived on the NAS is not what was sent, and it goes again another time"]);
    assert!(to.path().join("whole").exists() && !to.path().join("damaged").exists());
}
