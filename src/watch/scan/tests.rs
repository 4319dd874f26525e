//! Real files, real events, a real database.

use std::fs;
use std::io::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::symlink;

use tempfile::TempDir;
use tokio::runtime::Runtime;

use super::*;
use crate::config::Settings;
use crate::database::TableName;
use crate::store::{Selection, SqliteStore};

/// Longer than anything here may take.
const LONGEST: Duration = Duration::from_secs(30);
/// So long that a test sees only what events tell.
const NEVER: Duration = Duration::from_secs(3600);
const QUIET: Duration = Duration::from_millis(150);

/// An upload folder and a database beside it.
struct Place {
    folder: TempDir,
    runtime: Runtime,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("uploads")).unwrap();
        Self { folder, runtime: Runtime::new().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join("uploads").join(name)
    }

    fn write(&self, name: &str) {
        fs::create_dir_all(self.path(name).parent().unwrap()).unwrap();
        fs::write(self.path(name), name).unwrap();
    }

    fn config(&self, interval: Duration) -> ScanConfig {
        ScanConfig {
            root: self.path(""),
            db: Database::sqlite(self.folder.path().join("documents.db")),
            user: UserId::from(7),
            interval,
            quiet: QUIET,
            filter: Rules::of_text(&Settings::new("h", "u", "p").scan_filter, &mut |_| unreachable!()).unwrap(),
            leave_out: Vec::new(),
            runtime: self.runtime.handle().clone(),
        }
    }

    fn start(&self, interval: Duration) -> Scan {
        Scan::start(self.config(interval)).unwrap()
    }

    fn once(&self) -> usize {
        scan_once(self.config(NEVER), LONGEST, &Arc::default()).unwrap()
    }

    fn store(&self) -> SqliteStore {
        SqliteStore::open(self.config(NEVER).db.file().unwrap(), &TableName::default(), Access::Create).unwrap()
    }

    /// The registered paths, sorted.
    fn registered(&self) -> Vec<String> {
        let rows = self.store().documents(&Selection::of_user(UserId::from(7))).unwrap();
        let mut paths: Vec<_> =
            rows.into_iter().map(|row| row.unwrap().file_path.to_string_lossy().into_owned()).collect();
        paths.sort();
        paths
    }

    #[track_caller]
    fn until(&self, paths: &[&str]) {
        let deadline = Instant::now() + LONGEST;
        while self.registered() != paths {
            assert!(Instant::now() < deadline, "{:?} instead of {paths:?}", self.registered());
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

#[test]
fn a_walk_finds_regular_files_and_leaves_the_rest() {
    let place = Place::new();
    for name in ["a.pdf", "2024/07/b.pdf", ".hidden", ".cache/c.pdf", "2024/.part/d.pdf", "-e\n.pdf"] {
        place.write(name);
    }
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("secret"), "x").unwrap();
    symlink(outside.path(), place.path("folder-link")).unwrap();
    symlink(outside.path().join("secret"), place.path("file-link")).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, place.path("pipe"), rustix::fs::Mode::RUSR).unwrap();
    fs::write(place.path("").join(std::ffi::OsStr::from_bytes(b"f\xff.pdf")), "f").unwrap();
    assert_eq!(place.once(), 4);
    assert_eq!(place.registered(), ["-e\n.pdf", "2024/07/b.pdf", "a.pdf", "f\u{fffd}.pdf"]);
    let names = place.store().documents(&Selection::all()).unwrap();
    let mut names: Vec<_> = names.into_iter().map(|row| row.unwrap().original_name).collect();
    names.sort();
    assert_eq!(names[1..], [Some("-e\n.pdf".to_owned()), Some("a.pdf".to_owned()), Some("b.pdf".to_owned())]);
    // Nothing is new now.
    assert_eq!(place.once(), 0);
}

#[test]
fn a_path_counts_as_registered_however_it_is_written() {
    let place = Place::new();
    for name in ["a", "b", "c", "d", "e"] {
        place.write(name);
    }
    let link = place.folder.path().join("link");
    symlink(place.path(""), &link).unwrap();
    let paths = [place.path("a"), "b".into(), "./c".into(), link.join("d")];
    let documents: Vec<_> = paths.into_iter().map(|file_path| NewDocument { file_path, original_name: None }).collect();
    // Another user's, too.
    place.store().add_documents(&UserId::from(1), &documents, Utc::now()).unwrap();
    let config = ScanConfig { root: link, ..place.config(NEVER) };
    assert_eq!(scan_once(config, LONGEST, &Arc::default()).unwrap(), 1);
    assert_eq!(place.registered(), ["e"]);
}

#[test]
fn a_file_that_somebody_else_registers_meanwhile_is_left_to_him() {
    let place = Place::new();
    for name in ["a", "b", "c"] {
        place.write(name);
    }
    let (notes, _inbox) = sync_channel(1);
    let mut scanner = Scanner::new(place.config(NEVER), Arc::default(), notes);
    scanner.walk().unwrap();
    let paths = [place.path("a"), "b".into()];
    let documents: Vec<_> = paths.into_iter().map(|file_path| NewDocument { file_path, original_name: None }).collect();
    place.store().add_documents(&UserId::from(1), &documents, Utc::now()).unwrap();
    scanner.settle(scanner.candidates.next_due().unwrap() + QUIET).unwrap();
    assert_eq!(place.registered(), ["c"]);
    assert_eq!(scanner.count, 1);
}

#[test]
fn what_a_nas_or_a_desktop_keeps_among_the_files_is_left_out_until_others_rules_are_given() {
    let place = Place::new();
    let names = ["a.pdf", "b.pdf.part", "d/@eaDir/a.pdf", "d/~$b.docx", "#recycle/c.pdf", "Thumbs.db", "@eaDir"];
    for name in names {
        place.write(name);
    }
    assert_eq!(place.once(), 2);
    assert_eq!(place.registered(), ["@eaDir", "a.pdf"]);
    let filter = Rules::of_text("- *.part; + /d/***\n# none\n- /*/", &mut |_| unreachable!()).unwrap();
    let config = ScanConfig { filter, ..place.config(NEVER) };
    assert_eq!(scan_once(config, LONGEST, &Arc::default()).unwrap(), 3);
    assert_eq!(place.registered(), ["@eaDir", "Thumbs.db", "a.pdf", "d/@eaDir/a.pdf", "d/~$b.docx"]);
}

#[test]
fn rules_in_folders_hold_for_walks_and_events() {
    let place = Place::new();
    for (name, rules) in [(".rules", "- *.tmp\n- kept/\n"), ("d/.rules", "+ /e/kept/\n!\n"), ("x/.rules", "frob\n")] {
        place.write(name);
        fs::write(place.path(name), rules).unwrap();
    }
    for name in ["a", "a.tmp", "kept/a", "d/e/kept/a", "x/a"] {
        place.write(name);
    }
    let config =
        ScanConfig { filter: Rules::of_text(": .rules", &mut |_| unreachable!()).unwrap(), ..place.config(NEVER) };
    let scan = Scan::start(config).unwrap();
    place.until(&["a", "d/e/kept/a"]);
    for name in ["b.tmp", "d/b.tmp", "d/e/kept/b", "new/c", "new/c.tmp", "kept/b", "x/b", "z"] {
        place.write(name);
    }
    place.until(&["a", "d/b.tmp", "d/e/kept/a", "d/e/kept/b", "new/c", "z"]);
    drop(scan);
}

#[test]
fn the_database_and_what_lies_beside_it_are_no_documents() {
    let place = Place::new();
    place.write("a");
    place.write("db.health");
    let config = ScanConfig {
        db: Database::sqlite(place.path("db")),
        leave_out: vec![place.path("db.health")],
        ..place.config(NEVER)
    };
    // Its companions are there.
    let reader = SqliteStore::open(config.db.file().unwrap(), &TableName::default(), Access::Create).unwrap();
    assert_eq!(scan_once(config.clone(), LONGEST, &Arc::default()).unwrap(), 1);
    assert!(place.path("db-wal").exists());
    assert_eq!(scan_once(config, LONGEST, &Arc::default()).unwrap(), 0);
    drop(reader);
}

#[test]
fn events_tell_of_files_folders_and_what_is_moved_there() {
    let place = Place::new();
    place.write("old/first");
    let scan = place.start(NEVER);
    place.until(&["old/first"]);
    place.write("a");
    place.write("old/b");
    place.write("new/deep/er/c");
    place.write(".hidden/d");
    place.until(&["a", "new/deep/er/c", "old/b", "old/first"]);
    place.write("new/deep/er/e");
    // A whole tree that was made elsewhere, and a file under its final name.
    let elsewhere = place.folder.path().join("elsewhere");
    fs::create_dir_all(elsewhere.join("x")).unwrap();
    fs::write(elsewhere.join("x/f"), "f").unwrap();
    fs::rename(&elsewhere, place.path("moved")).unwrap();
    place.write(".g.part");
    fs::rename(place.path(".g.part"), place.path("g")).unwrap();
    place.until(&["a", "g", "moved/x/f", "new/deep/er/c", "new/deep/er/e", "old/b", "old/first"]);
    // A folder that was removed and made again.
    fs::remove_dir_all(place.path("new")).unwrap();
    place.write("new/h");
    place.until(&["a", "g", "moved/x/f", "new/deep/er/c", "new/deep/er/e", "new/h", "old/b", "old/first"]);
    drop(scan);
}

#[test]
fn without_events_each_walk_finds_what_is_new() {
    let place = Place::new();
    let (notes, inbox) = sync_channel(MOST_NOTES);
    let stop = Arc::new(AtomicBool::new(false));
    let mut scanner = Scanner::new(place.config(Duration::from_millis(100)), Arc::clone(&stop), notes);
    scanner.inotify = Inotify::Shut;
    let thread = std::thread::spawn(move || scanner.run(&inbox));
    place.write("a");
    place.until(&["a"]);
    place.write("new/b");
    place.until(&["a", "new/b"]);
    stop.store(true, Ordering::Release);
    thread.join().unwrap();
}

#[test]
fn what_was_lost_is_found_by_a_walk_long_before_the_next_one() {
    let place = Place::new();
    let (notes, inbox) = sync_channel(MOST_NOTES);
    let stop = Arc::new(AtomicBool::new(false));
    let mut scanner = Scanner::new(place.config(NEVER), Arc::clone(&stop), notes.clone());
    scanner.inotify = Inotify::Shut;
    let lost = Arc::clone(&scanner.lost);
    let thread = std::thread::spawn(move || scanner.run(&inbox));
    place.write("a");
    // Until the first walk is over it could find it by itself.
    let deadline = Instant::now() + LONGEST;
    while place.registered() != ["a"] {
        assert!(Instant::now() < deadline);
        lost.store(true, Ordering::Release);
        notes.send(Note::Wake).unwrap();
        std::thread::sleep(Duration::from_millis(20));
    }
    place.write("b");
    lost.store(true, Ordering::Release);
    notes.send(Note::Wake).unwrap();
    place.until(&["a", "b"]);
    stop.store(true, Ordering::Release);
    notes.send(Note::Wake).unwrap();
    thread.join().unwrap();
}

#[test]
fn a_file_that_grows_waits_until_it_is_quiet() {
    let place = Place::new();
    let config = ScanConfig { quiet: Duration::from_secs(2), ..place.config(NEVER) };
    let scan = Scan::start(config).unwrap();
    let mut file = fs::File::create(place.path("growing")).unwrap();
    place.write("quiet");
    let started = Instant::now();
    // It grows for as long as the other one needs, and then some.
    while place.registered().is_empty() || started.elapsed() < Duration::from_secs(4) {
        assert!(started.elapsed() < LONGEST, "{:?}", place.registered());
        file.write_all(b"more").unwrap();
        std::thread::sleep(Duration::from_millis(50));
        assert!(!place.registered().contains(&"growing".to_owned()), "it still grows");
    }
    place.until(&["growing", "quiet"]);
    drop(scan);
}

#[test]
fn a_root_that_vanishes_is_not_the_end() {
    let place = Place::new();
    place.write("a");
    let scan = place.start(Duration::from_millis(100));
    place.until(&["a"]);
    fs::rename(place.path(""), place.folder.path().join("away")).unwrap();
    std::thread::sleep(Duration::from_millis(300));
    place.write("b");
    place.until(&["a", "b"]);
    // Of the new folder, too, events tell: at the latest after the next walk.
    place.write("c/d");
    place.until(&["a", "b", "c/d"]);
    drop(scan);
}

#[test]
fn a_database_that_is_locked_is_tried_again() {
    let place = Place::new();
    drop(place.store());
    let lock = rusqlite::Connection::open(place.config(NEVER).db.file().unwrap()).unwrap();
    lock.execute_batch("BEGIN IMMEDIATE").unwrap();
    place.write("a");
    let scan = place.start(NEVER);
    // Longer than one try waits for the lock.
    std::thread::sleep(crate::store::BUSY_TIMEOUT + Duration::from_secs(1));
    assert!(place.registered().is_empty());
    lock.execute_batch("COMMIT").unwrap();
    place.until(&["a"]);
    drop(scan);
}

#[test]
fn two_that_scan_register_each_of_many_files_once() {
    let place = Place::new();
    let first = place.start(Duration::from_millis(200));
    let second = place.start(Duration::from_millis(200));
    let names: Vec<String> = (0..1500).map(|number| format!("{:02}/{number:04}", number % 20)).collect();
    for name in &names {
        place.write(name);
    }
    let mut sorted: Vec<&str> = names.iter().map(String::as_str).collect();
    sorted.sort_unstable();
    place.until(&sorted);
    drop((first, second));
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(place.registered().len(), names.len());
}

#[test]
fn without_a_quiet_period_what_is_there_is_registered() {
    let place = Place::new();
    place.write("a");
    place.write("sub/b");
    let config = ScanConfig { quiet: Duration::ZERO, ..place.config(NEVER) };
    assert_eq!(scan_once(config, Duration::ZERO, &Arc::default()).unwrap(), 2);
    assert_eq!(place.registered(), ["a", "sub/b"]);
}
