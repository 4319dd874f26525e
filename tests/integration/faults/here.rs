//! This side: files that change under the reader's hands.
//!
//! A document whose file changes while it is on its way is not marked, whatever the change and whenever it comes. With
//! a writer that never rests, each mark must be about a state that the file really had, and the record must say which.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use nas_sync::internal::store::{Access, SqliteStore};
use nas_sync::{DocumentEvent, DocumentMonitor, Unmonitored};
use nas_sync::{DocumentId, ErrorKind, Selection, SyncSummary, TableName};

use crate::support::random::{Random, long};
use crate::support::{Mounted, Site, noise};

/// What happens to a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    Grows,
    Shrinks,
    /// Another file takes its name.
    Replaced,
    /// As before, with the size and the time of the old one.
    ReplacedAlike,
    /// Other bytes of the same number are written into it.
    Rewritten,
    /// As before, and its time is set back.
    RewrittenAlike,
    Vanishes,
}

impl Change {
    const ALL: [Self; 7] = [
        Self::Grows,
        Self::Shrinks,
        Self::Replaced,
        Self::ReplacedAlike,
        Self::Rewritten,
        Self::RewrittenAlike,
        Self::Vanishes,
    ];

    fn make(self, path: &Path) {
        let before = fs::metadata(path).unwrap();
        let open = || OpenOptions::new().write(true).open(path).unwrap();
        let other = noise(usize::try_from(before.len()).unwrap(), before.len() + 99);
        let aside = path.with_extension("aside");
        match self {
            Self::Grows => OpenOptions::new().append(true).open(path).unwrap().write_all(b"more").unwrap(),
            Self::Shrinks => open().set_len(before.len() / 2).unwrap(),
            Self::Rewritten | Self::RewrittenAlike => open().write_all_at(&other, 0).unwrap(),
            Self::Replaced | Self::ReplacedAlike => fs::write(&aside, &other).unwrap(),
            Self::Vanishes => fs::remove_file(path).unwrap(),
        }
        match self {
            Self::RewrittenAlike => open().set_modified(before.modified().unwrap()).unwrap(),
            Self::ReplacedAlike => {
                File::options().write(true).open(&aside).unwrap().set_modified(before.modified().unwrap()).unwrap();
            }
            _ => {}
        }
        if aside.exists() {
            fs::rename(&aside, path).unwrap();
        }
    }
}

/// When.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Moment {
    /// The NAS has asked for it; it is not open yet.
    Asked,
    /// A part of it has been read.
    Reading,
    /// All of it has been sent.
    Sent,
    /// The NAS has stored it; it is not marked yet.
    Stored,
}

/// Makes a change once, at a moment in the middle of a session.
struct Meddler {
    path: PathBuf,
    change: Change,
    moment: Moment,
    read: AtomicUsize,
    done: AtomicBool,
}

impl DocumentMonitor for Meddler {
    fn event(&self, event: DocumentEvent<'_>) {
        let now = match event {
            DocumentEvent::Started { .. } => self.moment == Moment::Asked,
            DocumentEvent::Progress { .. } => {
                self.moment == Moment::Reading && self.read.fetch_add(1, Ordering::Relaxed) == 1
            }
            DocumentEvent::Sent { .. } => self.moment == Moment::Sent,
            DocumentEvent::Acknowledged { .. } => self.moment == Moment::Stored,
            _ => false,
        };
        if now && !self.done.swap(true, Ordering::Relaxed) {
            self.change.make(&self.path);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_document_that_changes_on_its_way_is_not_marked() {
    let mut wrong = Vec::new();
    let mut tries = 0;
    let site = Site::new();
    for moment in [Moment::Asked, Moment::Reading, Moment::Sent, Moment::Stored] {
        for change in Change::ALL {
            tries += 1;
            let name = format!("{tries}.pdf");
            let id = site.document(&name, &noise(300_000, tries)).await;
            let path = site.path("uploads").join(&name);
            let (read, done) = (AtomicUsize::new(0), AtomicBool::new(false));
            let meddler = Arc::new(Meddler { path: path.clone(), change, moment, read, done });
            let summary = sync(&site, std::slice::from_ref(&id), Arc::clone(&meddler) as _).await;
            assert!(meddler.done.load(Ordering::Relaxed), "{change:?} {moment:?}: {summary:?}");
            if let Some(what) = judge(&site, &path, &summary, change, moment) {
                wrong.push(format!("{change:?} when {moment:?}: {what}"));
            }
            // The next run sends what is there then.
            if path.exists() {
                let next = sync(&site, &[id], Arc::new(Unmonitored)).await;
                assert_eq!((next.failed, next.pending), (0, 0), "{change:?} {moment:?}: {next:?}");
                if summary.synced == 0 {
                    assert_eq!(site.stored(&name), fs::read(&path).ok(), "{change:?} {moment:?}");
                }
            }
        }
    }
    println!("{tries} changes");
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Syncs these documents.
async fn sync(site: &Site, ids: &[DocumentId], monitor: Arc<dyn DocumentMonitor>) -> SyncSummary {
    site.service().sync(Selection::documents(ids.to_vec()), monitor, std::future::pending()).await.unwrap()
}

/// What is wrong with the outcome of a run in which a file changed.
fn judge(site: &Site, path: &Path, summary: &SyncSummary, change: Change, moment: Moment) -> Option<String> {
    let stored = site.stored(path.file_name().unwrap().to_str().unwrap());
    match (change, moment) {
        // What was read is stored, and nobody can ask a file that is gone.
        (Change::Vanishes, Moment::Stored | Moment::Sent) if summary.synced == 1 => None,
        (Change::Vanishes, _) if summary.synced == 0 && summary.failed == 1 => {
            let kind = summary.errors[0].error.kind();
            (!matches!(kind, ErrorKind::SourceMissing | ErrorKind::SourceChanged)).then(|| kind.to_string())
        }
        // Before it was opened, or sent once more because the first reading was in vain: what counts is what is there.
        _ if summary.synced == 1 && stored == fs::read(path).ok() => None,
        _ if summary.synced == 1 => Some(format!("it was marked: {summary:?}")),
        _ if summary.failed == 1 && summary.errors[0].error.kind() == ErrorKind::SourceChanged => None,
        _ => Some(format!("{summary:?}")),
    }
}

/// A state of a file, as it can be told from others.
type State = (u64, i64, i64);

/// The states that files went through, with the bytes of each. Two states within one tick of the clock look alike; a
/// reader that waits for quiet can only have read the later one.
#[derive(Default)]
struct History(Mutex<BTreeMap<(usize, State), Vec<u8>>>);

impl History {
    /// Notes the state that a file is in now; nobody else may write to it.
    fn note(&self, number: usize, path: &Path) {
        let found = fs::metadata(path).unwrap();
        let state = (found.size(), found.mtime(), found.mtime_nsec());
        self.0.lock().unwrap().insert((number, state), fs::read(path).unwrap());
    }

    fn bytes(&self, number: usize, state: State) -> Option<Vec<u8>> {
        self.0.lock().unwrap().get(&(number, state)).cloned()
    }
}

/// Documents under a writer that never rests.
struct Writer {
    paths: Vec<PathBuf>,
    history: History,
    end: AtomicBool,
}

impl Writer {
    fn run(&self, mut random: Random) -> usize {
        let mut changes = 0;
        while !self.end.load(Ordering::Relaxed) {
            self.change(random.index(self.paths.len()), &mut random);
            changes += 1;
            std::thread::sleep(random.time(Duration::from_millis(25)));
        }
        changes
    }

    /// Each step is noted, for a reader may meet any of them.
    fn change(&self, number: usize, random: &mut Random) {
        let path = &self.paths[number];
        let open = || OpenOptions::new().write(true).open(path).unwrap();
        let len = usize::try_from(fs::metadata(path).unwrap().len()).unwrap();
        let bytes = noise(1 + random.index(60_000), random.next());
        match random.below(6) {
            0 => OpenOptions::new().append(true).open(path).unwrap().write_all(&bytes[..bytes.len() / 8]).unwrap(),
            1 => open().set_len(random.below(len as u64 + 1)).unwrap(),
            2 => {
                let aside = path.with_extension("aside");
                fs::write(&aside, &bytes).unwrap();
                fs::rename(&aside, path).unwrap();
            }
            3 => open().write_all_at(&noise(len, random.next()), 0).unwrap(),
            4 => {
                // In two steps, with time between them.
                let half = len / 2;
                open().write_all_at(&noise(half, random.next()), 0).unwrap();
                self.history.note(number, path);
                std::thread::sleep(random.time(Duration::from_millis(40)));
                open().write_all_at(&noise(len - half, random.next()), half as u64).unwrap();
            }
            _ => {
                fs::remove_file(path).unwrap();
                std::thread::sleep(random.time(Duration::from_millis(20)));
                let mut file = File::create(path).unwrap();
                self.history.note(number, path);
                file.write_all(&bytes).unwrap();
            }
        }
        self.history.note(number, path);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn documents_under_a_writer_that_never_rests() {
    let mut random = Random::of_environment("writer");
    let rounds = if long() { 300 } else { 15 };
    let site = Site::new();
    let (mut ids, mut paths) = (Vec::new(), Vec::new());
    for number in 0..12 {
        let name = format!("{number}.pdf");
        ids.push(site.document(&name, &noise(20_000, number)).await);
        paths.push(site.path("uploads").join(name));
    }
    let writer = Arc::new(Writer { paths, history: History::default(), end: AtomicBool::new(false) });
    for (number, path) in writer.paths.iter().enumerate() {
        writer.history.note(number, path);
    }
    let thread = std::thread::spawn({
        let (writer, random) = (Arc::clone(&writer), random.split());
        move || writer.run(random)
    });
    let (mut marks, mut refusals) = (0, 0);
    for _ in 0..rounds {
        let summary = sync(&site, &ids, Arc::new(Unmonitored)).await;
        assert!(summary.stopped.is_none() && summary.pending == 0, "{summary:?}");
        refusals += summary.failed;
        marks += check_marks(&site, &ids, &writer.history);
        // The owner of the rows wants them to go again.
        let again = "UPDATE documents SET synced_to_nas = 0, synced_at = NULL";
        site.database().execute_batch(again).unwrap();
    }
    writer.end.store(true, Ordering::Relaxed);
    let changes = thread.join().unwrap();
    println!("{rounds} rounds, {changes} changes: {marks} marks, {refusals} documents refused");
    // Now that it rests all documents arrive as they are.
    let last = sync(&site, &ids, Arc::new(Unmonitored)).await;
    assert_eq!((last.synced, last.failed, last.pending), (12, 0, 0), "{last:?}");
    check_marks(&site, &ids, &writer.history);
    for (number, path) in writer.paths.iter().enumerate() {
        assert_eq!(site.stored(&format!("{number}.pdf")), fs::read(path).ok(), "{number}");
    }
}

/// Each marked document lies on the NAS in the state that is recorded. Returns how many are marked.
fn check_marks(site: &Site, ids: &[DocumentId], history: &History) -> usize {
    let store = SqliteStore::open(&site.path("documents.db"), &TableName::default(), Access::ReadOnly).unwrap();
    let marked = site.marked();
    for (number, id) in ids.iter().enumerate().filter(|(_, id)| marked.contains(&(id.as_integer().unwrap(), true))) {
        let copy = store.copy_of(id.clone()).unwrap().expect("a record of a marked document");
        let state = (copy.bytes, copy.mtime.seconds, i64::from(copy.mtime.nanoseconds));
        let read = history.bytes(number, state).unwrap_or_else(|| panic!("{id} was never in the state {state:?}"));
        let there = site.stored(&format!("{number}.pdf")).expect("it is there");
        assert!(there == read, "{id}: {} bytes there, {} in the state {state:?}", there.len(), read.len());
    }
    marked.len()
}

/// A file system that keeps whole seconds cannot show a second change in the same one, so a file that was just written has to
/// be waited for.
#[test]
fn a_rewrite_within_one_second_is_seen_where_times_are_whole_seconds() {
    use nas_sync::internal::tree::SourceFile;
    let folder = tempfile::tempdir().unwrap();
    let disk = folder.path().join("disk");
    std::fs::create_dir(&disk).unwrap();
    let Some(_disk) = Mounted::with_whole_seconds(&disk, &folder.path().join("image")) else { return };
    let file = disk.join("document");
    for round in 0..if long() { 200 } else { 3 } {
        // So that all of it may happen in one second.
        let past = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().subsec_millis();
        std::thread::sleep(Duration::from_millis(u64::from(1_000 - past)));
        std::fs::write(&file, vec![b'a'; 200_000]).unwrap();
        let mut source = SourceFile::open(&file).unwrap();
        let mut half = vec![0; 100_000];
        source.read(&mut half).unwrap();
        let mut writer = std::fs::File::options().write(true).open(&file).unwrap();
        std::io::Write::write_all(&mut writer, &vec![b'b'; 200_000]).unwrap();
        while source.read(&mut half).unwrap() > 0 {}
        assert!(!source.unchanged(), "round {round}");
    }
}
