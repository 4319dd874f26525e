//! The database: locked, damaged, on a full or read-only disk, at the worst moment. The exit status is 4, the message
//! names the file, what lies on the NAS does no harm, and once the trouble is over the next run does the rest.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use super::pending::Files;
use crate::nas_errors::{is_error, text};
use crate::support::cli::{Run, Running};
use crate::support::random::{Random, long};
use crate::support::{Cli, Mounted, Site, is_root_or_skipped, noise, until};

/// How long something may take to come about.
const LONGEST: Duration = Duration::from_secs(60);

/// A run that the database ended.
#[track_caller]
fn ended_by_database(run: &Run, kind: &str, database: &Path) {
    let error: Value = run.ends(4).json()["error"].clone();
    is_error(&error, kind, run);
    assert!(text(&error, "message").contains(database.to_str().unwrap()), "{}", run.all());
}

/// A site with some documents; its rsync waits for the word to begin.
fn waiting_site(documents: u64) -> (Site, Files) {
    let mut site = Site::new();
    site.wrap_rsync(
        // Behind the first word of its client, which is said when the documents are about to be sent.
        "dd bs=1 count=4 of=\"$NAS/../word.$$\" 2>/dev/null\n\
         if mkdir \"$NAS/../first\" 2>/dev/null; then until [ -e \"$NAS/../go\" ]; do sleep 0.01; done; fi\n\
         cat \"$NAS/../word.$$\" - | rsync \"$@\"",
    );
    let mut files = Files::default();
    for number in 0..documents {
        files.add(&site, &format!("{number}.pdf"), noise(2_000, number));
    }
    (site, files)
}

/// Starts a sync, waits until it has an rsync, does something, and lets the rsync go on.
fn in_the_middle(site: &Site, something: impl FnOnce()) -> Running {
    let mut running = Cli::new(site).start(&["sync", "--json"]);
    running.until(|| site.path("first").exists());
    something();
    fs::write(site.path("go"), "").unwrap();
    running
}

#[test]
fn a_lock_at_the_moment_of_marking_loses_nothing() {
    let (site, files) = waiting_site(4);
    let other = site.database();
    let run = in_the_middle(&site, || other.execute_batch("BEGIN EXCLUSIVE").unwrap()).wait();
    ended_by_database(&run, "database_locked", &site.path("documents.db"));
    other.execute_batch("ROLLBACK").unwrap();
    // All of it is there, and nothing is marked; it goes once more.
    assert_eq!((site.marked().len(), site.stored_names().len()), (0, 4));
    files.finish(&site);
}

#[test]
fn a_short_lock_at_the_moment_of_marking_only_costs_time() {
    if !is_root_or_skipped() {
        return;
    }
    let (site, files) = waiting_site(4);
    let other = site.database();
    let running = in_the_middle(&site, || other.execute_batch("BEGIN EXCLUSIVE").unwrap());
    until("the run waits for the database", LONGEST, || running.waits_for_the_database());
    other.execute_batch("ROLLBACK").unwrap();
    let run = running.wait();
    run.ends(0);
    assert_eq!(files.check(&site, &run), 4);
}

/// The disk under the database fills up between the plan and the marks, and only so many bytes are left.
#[test]
fn a_full_disk_under_the_database_loses_nothing() {
    let mut failed = 0;
    for room in [0, 36 << 10, 40 << 10, 56 << 10] {
        let mut site = Site::new();
        let folder = site.path("small");
        fs::create_dir(&folder).unwrap();
        let Some(mounted) = Mounted::in_memory(&folder, 400 << 10) else { return };
        let database = folder.join("documents.db");
        site.set("NAS_DB", &database);
        site.wrap_rsync(&format!(
            "mkdir \"$NAS/../first\" 2>/dev/null && {{ cat /dev/zero >'{0}' 2>/dev/null; truncate -s -{room} '{0}'; }}\n\
             exec rsync \"$@\"",
            folder.join("filler").display()
        ));
        let mut files = Files::default();
        files.add_all(&site, (0..60).map(|number| (format!("{number}.pdf"), noise(500, number))));
        let run = Files::sync(&site);
        // A few bytes may be enough; else it stays full, so that no run can do better, and none does harm.
        let done = run.code == Some(0);
        if !done {
            for run in [run, Files::sync(&site)] {
                ended_by_database(&run, "database_unusable", &database);
                assert!(run.stdout.contains("full"), "{}", run.all());
            }
            failed += 1;
        }
        mounted.remount("size=4m");
        assert!(!done || site.marked().len() == 60);
        let marked = site.marked();
        files.check_those(&site, |id| marked.contains(&(id, true)));
        assert_eq!(files.count(&site), 60);
        files.finish(&site);
    }
    println!("{failed} of 4 runs could not mark anything");
    assert!(failed > 0);
}

#[test]
fn a_database_that_may_not_be_written() {
    let mut site = Site::new();
    let folder = site.path("fixed");
    fs::create_dir(&folder).unwrap();
    let root = rustix::process::geteuid().is_root();
    let mounted = if root { Mounted::in_memory(&folder, 4 << 20) } else { None };
    if root && mounted.is_none() {
        return;
    }
    let database = folder.join("documents.db");
    site.set("NAS_DB", &database);
    let mut files = Files::default();
    files.add(&site, "a.pdf", b"content".to_vec());
    let fix = |of_mount: &str, of_folder: u32, of_file: u32| {
        if let Some(mounted) = &mounted {
            mounted.remount(of_mount);
        } else {
            fs::set_permissions(&folder, fs::Permissions::from_mode(of_folder)).unwrap();
            fs::set_permissions(&database, fs::Permissions::from_mode(of_file)).unwrap();
        }
    };
    fix("ro", 0o555, 0o444);
    let before = fs::read(&database).unwrap();
    ended_by_database(&Files::sync(&site), "database_unusable", &database);
    assert_eq!((fs::read(&database).unwrap(), site.stored_names()), (before, Vec::new()));
    fix("rw", 0o755, 0o644);
    files.finish(&site);
}

/// A site with many documents in a database of many pages.
fn site_with_many(documents: u64) -> (Site, Files) {
    let site = Site::new();
    let mut files = Files::default();
    files.add_all(&site, (0..documents).map(|number| (format!("document number {number}.pdf"), noise(100, number))));
    (site, files)
}

/// A copy of the database with some bytes overwritten.
fn damaged(site: &Site, name: &str, at: usize, bytes: &[u8]) -> PathBuf {
    let path = site.path(name);
    let mut content = fs::read(site.path("documents.db")).unwrap();
    content[at..at + bytes.len()].copy_from_slice(bytes);
    fs::write(&path, content).unwrap();
    path
}

#[test]
fn a_database_without_its_header_is_left_alone() {
    let (mut site, _files) = site_with_many(20);
    for (number, garbage) in [[0; 100], [0xa5; 100]].into_iter().enumerate() {
        let path = damaged(&site, &format!("headless{number}.db"), 0, &garbage);
        let before = fs::read(&path).unwrap();
        site.set("NAS_DB", &path);
        for command in ["sync --json", "status --json"] {
            ended_by_database(&Cli::new(&site).line(command), "database_unusable", &path);
        }
        assert_eq!(fs::read(&path).unwrap(), before);
        assert_eq!(site.stored_names(), Vec::<String>::new());
    }
}

/// One page after the other is overwritten. A run may not notice when it does not need that page; when it does, it says
/// so, and never that all is well.
#[test]
fn no_damaged_page_is_taken_for_an_empty_one() {
    let mut random = Random::of_environment("damaged");
    let (mut site, files) = site_with_many(200);
    // Half of them are synced already, so that all tables hold something.
    let half: Vec<_> = (1..=100).map(|id| format!("--document {id}")).collect();
    Cli::new(&site).line(&format!("sync --json {}", half.join(" "))).ends(0);
    let left = files.len() - site.marked().len();
    let page = 4096;
    let pages = fs::read(site.path("documents.db")).unwrap().len() / page;
    let (mut noticed, mut unnoticed) = (0, 0);
    for number in 1..pages {
        let kinds: [Vec<u8>; 3] = [vec![0; page], vec![0xff; page], noise(page, random.next())];
        let kinds = if long() { &kinds[..] } else { &kinds[random.index(3)..][..1] };
        for (kind, garbage) in kinds.iter().enumerate() {
            let path = damaged(&site, &format!("damaged-{number}-{kind}.db"), number * page, garbage);
            let nas = format!("nas/{number}-{kind}");
            fs::create_dir(site.path(&nas)).unwrap();
            site.set("NAS_DB", &path);
            site.set("NAS_PATH", site.path(&nas));
            let run = Files::sync(&site);
            if run.code == Some(4) {
                let error = &run.json()["error"];
                is_error(error, "database_unusable", &run);
                noticed += 1;
                continue;
            }
            // Then all documents were seen, and what is called synced is there.
            let object = run.json();
            assert_eq!(object["total"], left, "page {number}: {}", run.all());
            let there = fs::read_dir(site.path(&nas)).unwrap().count();
            assert!(object["synced"].as_u64() <= Some(there as u64), "page {number}: {}", run.all());
            assert!(run.code != Some(0) || there == left, "page {number}: {}", run.all());
            unnoticed += 1;
        }
    }
    println!("{pages} pages: {noticed} damages were noticed, {unnoticed} were in nobody's way");
    assert!(noticed > 0);
}
