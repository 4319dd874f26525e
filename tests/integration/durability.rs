//! What a mark stands for: the level that was reached, and what happens with a NAS that can do less.

use std::fs;

use nas_sync::ErrorKind;
use rusqlite::OptionalExtension as _;
use sha2::{Digest as _, Sha256};

use crate::support::cli::write_program;
use crate::support::{Mounted, Site, Sshd, noise};

/// A NAS whose rsync refuses arguments that hold a word. A model of older versions: a script before the real one.
fn refusing(words: &str) -> Site {
    let mut site = old();
    let text = format!(
        "case \"$*\" in {words}) echo \"rsync: on remote machine: unknown option\" >&2; exit 1;; esac\nexec rsync \"$@\""
    );
    site.wrap_rsync(&text);
    site
}

/// A NAS on which one flush of the file system proves too little. A model of an old kernel: a script that says so.
fn old() -> Site {
    Site::with(Sshd::setup().program("uname", "echo Linux 4.4.302+").start())
}

/// A NAS that runs nothing but rsync.
fn restricted() -> Site {
    let script = "case \"$SSH_ORIGINAL_COMMAND\" in rsync*) eval \"exec $SSH_ORIGINAL_COMMAND\";; esac; \
                  echo \"only rsync\" >&2; exit 1";
    Site::with(Sshd::setup().line(format!("ForceCommand {script}")).start())
}

fn level(site: &Site, document: i64) -> Option<String> {
    let sql = "SELECT level FROM nas_sync_documents WHERE document_id = ?1";
    site.database().query_row(sql, [document], |row| row.get(0)).optional().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mark_carries_its_level_its_digest_and_its_attempt() {
    let site = Site::new();
    let content = noise(300_000, 4);
    site.document("a.pdf", &content).await;
    let summary = site.sync().await;
    assert_eq!((summary.synced, summary.warnings.len()), (1, 0), "{summary:?}");
    let row: (String, Vec<u8>, i64, String, i64) = site
        .database()
        .query_row(
            "SELECT s.level, s.sha256, s.bytes, a.outcome, a.bytes FROM nas_sync_documents s
             JOIN nas_sync_attempts a ON a.document_id = s.document_id",
            [],
            |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?)),
        )
        .unwrap();
    let expected = ("durable".to_owned(), Sha256::digest(&content).to_vec(), 300_000, "synced".to_owned(), 300_000);
    assert_eq!(row, expected);
    let left: i64 = site.database().query_row("SELECT COUNT(*) FROM nas_sync_leased", [], |row| row.get(0)).unwrap();
    assert_eq!(left, 0);
}

/// A NAS whose disks are busy. A model: a `sync` that takes its time.
#[tokio::test(flavor = "multi_thread")]
async fn a_flush_that_takes_too_long_is_no_refusal() {
    let programs = tempfile::tempdir().unwrap();
    let busy = programs.path().join("busy");
    fs::write(&busy, "").unwrap();
    let script = format!("#!/bin/sh\ntest -e '{}' && sleep 60\nexec /bin/sync \"$@\"\n", busy.display());
    write_program(&programs.path().join("sync"), &script);
    let path = format!("{}:/usr/local/bin:/usr/bin:/bin", programs.path().display());
    let mut site = Site::with(Sshd::setup().env("PATH", path).start());
    site.set("NAS_FILE_TIMEOUT", "2");
    site.document("a.pdf", b"content").await;
    let summary = site.sync().await;
    assert_eq!((summary.synced, summary.pending), (0, 1), "{summary:?}");
    assert_eq!(summary.stopped.unwrap().kind(), ErrorKind::Stalled);
    fs::remove_file(&busy).unwrap();
    assert_eq!(site.sync().await.synced, 1);
    assert_eq!(level(&site, 1).as_deref(), Some("durable"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lower_level_is_enough_where_it_is_asked_for() {
    let mut site = Site::new();
    site.set("NAS_DURABILITY", "stored");
    site.document("a.pdf", b"content").await;
    assert_eq!(site.sync().await.warnings.len(), 0);
    assert_eq!(level(&site, 1).as_deref(), Some("stored"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_rsync_without_fsync_stores_and_it_is_said_once() {
    let mut site = refusing("*--fsync*");
    site.document("a.pdf", b"content").await;
    let summary = site.sync().await;
    assert_eq!(summary.synced, 1, "{summary:?}");
    // The text names nothing, so the smallest set of options was left, and asked for again from now on.
    assert!(summary.warnings.iter().any(|warning| warning.contains("--fsync")), "{summary:?}");
    site.document("b.pdf", b"content").await;
    let summary = site.sync().await;
    assert_eq!((summary.synced, summary.warnings.len()), (1, 0), "{summary:?}");

    site.document("c.pdf", b"content").await;
    site.set("NAS_DURABILITY", "durable");
    let summary = site.sync().await;
    assert_eq!((summary.synced, summary.pending), (0, 1), "{summary:?}");
    assert_eq!(summary.stopped.unwrap().kind(), ErrorKind::DurabilityUnavailable);
    assert_eq!(site.stored("c.pdf"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_that_names_its_option_costs_nothing_else() {
    let mut site = old();
    site.wrap_rsync(
        "case \"$*\" in *--fsync*) echo 'rsync: --fsync: unknown option' >&2; exit 1;; esac\nexec rsync \"$@\"",
    );
    site.document("a.pdf", b"content").await;
    assert_eq!(site.sync().await.synced, 1);
    assert_eq!(level(&site, 1).as_deref(), Some("stored"));
    // After an update of the NAS a test finds out; until then what is known counts.
    site.variables.remove("NAS_RSYNC_PATH");
    site.document("b.pdf", b"content").await;
    assert_eq!(site.sync().await.synced, 1);
    assert_eq!(level(&site, 2).as_deref(), Some("durable"), "another program is another NAS");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_nas_that_runs_nothing_but_rsync_stores() {
    let mut site = restricted();
    site.document("a.pdf", b"content").await;
    let summary = site.sync().await;
    assert_eq!((summary.synced, summary.failed), (1, 0), "{summary:?}");
    assert_eq!(summary.warnings.len(), 1, "{summary:?}");
    assert!(summary.warnings[0].contains("`sync`"), "{summary:?}");
    assert_eq!(level(&site, 1).as_deref(), Some("stored"));
    site.document("b.pdf", b"content").await;
    site.set("NAS_DURABILITY", "durable");
    let stopped = site.sync().await.stopped.unwrap();
    assert_eq!(stopped.kind(), ErrorKind::DurabilityUnavailable);
    assert_eq!(site.marked().len(), 1);
}

/// Without acknowledgements a complaint about one document says nothing about the others of its session.
#[tokio::test(flavor = "multi_thread")]
async fn one_bad_document_does_not_hide_the_others_of_an_old_server() {
    let mut site = refusing("*--remove-source-files*");
    fs::create_dir(site.path("nas/bad.pdf")).unwrap();
    fs::write(site.path("nas/bad.pdf/in the way"), "x").unwrap();
    for name in ["a.pdf", "b.pdf", "bad.pdf", "c.pdf", "d.pdf"] {
        site.document(name, name.as_bytes()).await;
    }
    site.set("NAS_JOBS", "1");
    let summary = site.sync().await;
    assert_eq!((summary.synced, summary.failed, summary.pending), (4, 1, 0), "{summary:?}");
    assert_eq!(level(&site, 1).as_deref(), Some("sent"));
    assert_eq!(site.marked(), [(1, true), (2, true), (4, true), (5, true)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_no_room_waits_and_the_figures_are_said() {
    let site = Site::new();
    let Some(disk) = Mounted::in_memory(&site.path("nas"), 8 << 20) else { return };
    site.document("small.pdf", &noise(1_000_000, 1)).await;
    site.document("large.pdf", &noise(9_000_000, 2)).await;
    // What fits goes; the other is not even begun, and does not hold up the rest.
    let summary = site.sync().await;
    assert_eq!((summary.synced, summary.failed, summary.pending), (1, 1, 0), "{summary:?}");
    assert!(summary.bytes_sent < 2_000_000, "{summary:?}");
    let error = &summary.errors[0].error;
    assert_eq!(error.kind(), ErrorKind::DiskFull);
    assert!(error.message().contains("9.0 MB"), "{error}");
    // When nothing fits, the NAS is left alone for a while; whoever asks has it asked anew.
    let summary = site.sync().await;
    assert_eq!((summary.synced, summary.failed, summary.pending), (0, 0, 1), "{summary:?}");
    let stopped = summary.stopped.unwrap();
    assert_eq!(stopped.kind(), ErrorKind::DiskFull);
    assert!(stopped.message().contains("document 2 needs 9.0 MB"), "{stopped}");
    assert!(summary.paused_until.is_some());
    assert!(site.service().pause().await.unwrap().is_some());
    disk.remount("size=32m");
    let summary = site.sync().await;
    assert_eq!((summary.synced, summary.stopped.is_none()), (1, true), "{summary:?}");
    assert_eq!(site.service().pause().await.unwrap(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_test_tells_the_best_level_and_asks_anew() {
    let mut site = restricted();
    let best = async |site: &Site| site.service().test_connection().await.map(|report| report.level.as_str());
    assert_eq!(best(&site).await.unwrap(), "stored");
    site.set("NAS_DURABILITY", "durable");
    assert_eq!(best(&site).await.unwrap_err().kind(), ErrorKind::DurabilityUnavailable);

    // An update makes it able, and a test finds out.
    let mut site = old();
    let broken = site.path("broken");
    fs::write(&broken, "").unwrap();
    site.wrap_rsync(&format!(
        "if test -e '{}'; then case \"$*\" in *--fsync*) echo 'rsync: --fsync: unknown option' >&2; exit 1;; esac; fi\nexec rsync \"$@\"",
        broken.display()
    ));
    site.document("a.pdf", b"content").await;
    assert_eq!(site.sync().await.synced, 1);
    fs::remove_file(&broken).unwrap();
    site.document("b.pdf", b"content").await;
    assert_eq!(site.sync().await.synced, 1);
    assert_eq!(level(&site, 2).as_deref(), Some("stored"), "it is not asked each time");
    assert_eq!(best(&site).await.unwrap(), "durable");
    site.document("c.pdf", b"content").await;
    assert_eq!(site.sync().await.synced, 1);
    assert_eq!(level(&site, 3).as_deref(), Some("durable"));
    assert_eq!(site.stored_names(), ["a.pdf", "b.pdf", "c.pdf"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_required_to_be_verified_is_read_back() {
    let mut site = Site::new();
    site.set("NAS_DURABILITY", "verified");
    site.document("a.pdf", b"content").await;
    site.document("b.pdf", &noise(100_000, 5)).await;
    let summary = site.sync().await;
    assert_eq!((summary.synced, summary.failed), (2, 0), "{summary:?}");
    assert_eq!([level(&site, 1), level(&site, 2)].map(Option::unwrap), ["verified", "verified"]);
}

/// A disk that loses what it was given. A model: a script that changes a file before it is read back.
#[tokio::test(flavor = "multi_thread")]
async fn what_reads_back_differently_is_not_marked() {
    let mut site = Site::new();
    site.wrap_rsync("case \"$*\" in *-n*c*e.*|*-nr*|*-ntr*) printf X >>\"$NAS/b.pdf\";; esac\nexec rsync \"$@\"");
    site.set("NAS_DURABILITY", "verified");
    site.document("a.pdf", b"content").await;
    site.document("b.pdf", b"lost").await;
    let summary = site.sync().await;
    assert_eq!((summary.synced, summary.failed), (1, 1), "{summary:?}");
    assert_eq!(site.marked(), [(1, true)]);
    assert!(summary.errors[0].error.message().contains("reads back"), "{summary:?}");
}
