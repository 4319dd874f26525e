//! What comes late: a record that waits for the database, a worker that stood still until its lease was another's, an
//! rsync on the NAS that outlives its run.
//!
//! Meanwhile the application rewrites the file and makes its row pending, in this order. Whatever is late must not make
//! the old version count for the new one.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use crate::support::cli::write_program;
use crate::support::{Cli, Site, Sshd, is_long_or_skipped, is_root_or_skipped, noise, until};

/// Passes so many bytes to rsync, and the rest when it is told so: a NAS that stands still for a while.
const STANDS_STILL: &str = r#"
{ dd bs=1 count=20000 iflag=fullblock 2>/dev/null
  dd bs=1 count=30000 iflag=fullblock of="$NAS/../held" 2>/dev/null; touch "$NAS/../still"
  while [ ! -e "$NAS/../go" ]; do sleep 0.02; done; cat "$NAS/../held" -; } | rsync "$@"
touch "$NAS/../ended"
"#;
/// How long something may take to come about.
const LONGEST: Duration = Duration::from_secs(30);
/// A lease ends within a minute when nobody renews it.
const A_LEASE_AND_MORE: Duration = Duration::from_secs(75);

struct Scene {
    site: Site,
    /// With a NAS that works, and with one that stands still in the middle of the document.
    plain: Cli,
    slow: Cli,
    document: PathBuf,
    old: Vec<u8>,
    new: Vec<u8>,
}

impl Scene {
    /// One pending document.
    fn new() -> Self {
        let mut site = Site::new();
        let plain = Cli::new(&site);
        site.wrap_rsync(STANDS_STILL);
        let slow = Cli::new(&site);
        let (old, new) = (noise(50_000, 1), noise(60_000, 2));
        let document = site.upload("a.pdf", &old);
        plain.add(1, std::slice::from_ref(&document));
        Self { site, plain, slow, document, old, new }
    }

    fn goes_on(&self) {
        fs::write(self.site.path("go"), "").unwrap();
    }

    fn holds(&self, content: &[u8]) -> bool {
        self.site.stored("a.pdf").is_some_and(|stored| stored == content)
    }
}

#[test]
fn a_record_that_waited_for_the_database_does_not_count_for_a_file_rewritten_meanwhile() {
    if !is_root_or_skipped() {
        return;
    }
    let scene = Scene::new();
    let mut run = scene.slow.start(&["sync"]);
    run.until(|| scene.site.path("still").exists());
    // The application has the database, as somebody who changes a file and its row in one go.
    let application = scene.site.database();
    application.execute_batch("BEGIN IMMEDIATE").unwrap();
    scene.goes_on();
    run.until(|| scene.holds(&scene.old));
    // It has found its file unchanged, and would record that.
    until("the run waits for the database", LONGEST, || run.waits_for_the_database());
    fs::write(&scene.document, &scene.new).unwrap();
    application.execute_batch("UPDATE documents SET synced_to_nas = 0, synced_at = NULL; COMMIT").unwrap();
    let first = run.wait();
    let marked = !scene.site.marked().is_empty();
    assert!(!marked || scene.holds(&scene.new), "the old version counts for the new one: {}", first.all());
    scene.plain.line("retry").ends(0);
    scene.plain.line("sync").ends(0);
    assert!(scene.holds(&scene.new), "the new version was never sent");
}

#[test]
fn a_file_rewritten_while_the_nas_flushes_is_sent_again() {
    let programs = tempfile::tempdir().unwrap();
    let [flushing, go] = ["flushing", "go"].map(|name| programs.path().join(name));
    let script = format!(
        "#!/bin/sh\ntouch '{}'\nwhile [ ! -e '{}' ]; do sleep 0.02; done\nexit 0\n",
        flushing.display(),
        go.display()
    );
    write_program(&programs.path().join("sync"), &script);
    let path = format!("{}:/usr/local/bin:/usr/bin:/bin", programs.path().display());
    let site = Site::with(Sshd::setup().env("PATH", path).start());
    let cli = Cli::new(&site);
    let document = site.upload("a.pdf", b"the old version");
    cli.add(1, std::slice::from_ref(&document));
    let mut run = cli.start(&["sync"]);
    run.until(|| flushing.exists());
    fs::write(&document, b"the new version, which is longer").unwrap();
    site.database().execute("UPDATE documents SET synced_to_nas = 0, synced_at = NULL", []).unwrap();
    fs::write(go, "").unwrap();
    let first = run.wait();
    cli.line("retry").ends(0);
    cli.line("sync").ends(0);
    let new = site.stored("a.pdf").is_some_and(|stored| stored.starts_with(b"the new"));
    assert!(new, "the new version was never sent: {}", first.all());
}

/// Long, because leases are.
#[test]
fn a_worker_that_lost_its_lease_does_not_bring_back_the_old_version() {
    if !is_root_or_skipped() {
        return;
    }
    if !is_long_or_skipped() {
        return;
    }
    let scene = Scene::new();
    let mut stopped = scene.slow.start(&["sync"]);
    stopped.until(|| scene.site.path("still").exists());
    until("all of the document is on its way", LONGEST, || stopped.is_at_rest());
    stopped.signal("STOP");
    fs::write(&scene.document, &scene.new).unwrap();
    scene.site.database().execute("UPDATE documents SET synced_to_nas = 0, synced_at = NULL", []).unwrap();
    until("the lease has ended", A_LEASE_AND_MORE, || scene.plain.line("sync").code == Some(0));
    assert!(scene.holds(&scene.new));
    scene.goes_on();
    until("the old version is there", LONGEST, || scene.holds(&scene.old));
    stopped.signal("CONT");
    let late = stopped.wait();
    scene.plain.line("sync").ends(0);
    assert!(scene.holds(&scene.new), "the old version is back: {}", late.all());
}

#[test]
#[ignore = "a known limit: nothing can be taken back from an rsync that no longer has a client"]
fn an_rsync_that_outlives_its_run_does_not_bring_back_the_old_version() {
    if !is_root_or_skipped() {
        return;
    }
    let scene = Scene::new();
    let mut killed = scene.slow.start(&["sync"]);
    killed.until(|| scene.site.path("still").exists());
    until("all of the document is on its way", LONGEST, || killed.is_at_rest());
    killed.signal("KILL");
    assert_eq!(killed.wait().code, None);
    fs::write(&scene.document, &scene.new).unwrap();
    scene.plain.line("sync").ends(0);
    assert!(scene.holds(&scene.new));
    scene.goes_on();
    until("the rsync has ended", LONGEST, || scene.site.path("ended").exists());
    assert!(scene.holds(&scene.new), "the old version is back");
}
