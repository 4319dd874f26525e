//! What is learnt about a NAS, and from what: evidence, not exit codes.

use std::fs;
use std::path::Path;

use nas_sync::{ErrorKind, Level};
use rusqlite::OptionalExtension as _;

use crate::support::cli::write_program;
use crate::support::{Site, Sshd};

fn level(site: &Site, document: i64) -> Option<String> {
    let sql = "SELECT level FROM nas_sync_documents WHERE document_id = ?1";
    site.database().query_row(sql, [document], |row| row.get(0)).optional().unwrap().flatten()
}

fn lines(file: &Path) -> usize {
    fs::read_to_string(file).unwrap_or_default().lines().count()
}

/// Binds the key of a site to a command, or to none.
fn bind_key(site: &Site, command: Option<&str>) {
    let key = fs::read_to_string(site.sshd.path("user_ed25519.pub")).unwrap();
    let options = command.map(|command| format!("command=\"{command}\",restrict ")).unwrap_or_default();
    fs::write(site.sshd.path("authorized_keys"), options + &key).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forced_command_that_fails_teaches_nothing() {
    let site = Site::new();
    site.document("a.pdf", b"content").await;
    bind_key(&site, Some("/bin/false"));
    let summary = site.sync().await;
    assert_eq!((summary.synced, summary.pending), (0, 1), "{summary:?}");
    let stopped = summary.stopped.unwrap();
    assert_eq!(stopped.kind(), ErrorKind::ExecRefused);
    assert!(stopped.message().ends_with("rsync ended with status 1 and said nothing"), "{stopped}");
    bind_key(&site, None);
    let summary = site.sync().await;
    assert_eq!((summary.synced, summary.warnings.len()), (1, 0), "{summary:?}");
    assert_eq!(level(&site, 1).as_deref(), Some("durable"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_rsync_that_fails_once_without_a_word_teaches_nothing() {
    for failures in [1, 2] {
        let mut site = Site::new();
        let left = site.path("failures");
        fs::write(&left, "x\n".repeat(failures)).unwrap();
        site.wrap_rsync(&format!(
            "if test -s '{0}'; then sed -i 1d '{0}'; exit 1; fi\nexec rsync \"$@\"",
            left.display()
        ));
        site.document("a.pdf", b"content").await;
        let summary = site.sync().await;
        assert_eq!((summary.synced, summary.warnings.len()), (1, 0), "{failures}: {summary:?}");
        assert_eq!(level(&site, 1).as_deref(), Some("durable"), "{failures}");
    }
}

/// A NAS whose `sync` fails now and then. A model: a script before the real one.
fn with_failing_flush(failures: usize) -> (Site, tempfile::TempDir) {
    let programs = tempfile::tempdir().unwrap();
    let left = programs.path().join("failures");
    fs::write(&left, "x\n".repeat(failures)).unwrap();
    let script = format!(
        "#!/bin/sh\nif test -s '{0}'; then sed -i 1d '{0}'; exit 1; fi\nexec /bin/sync \"$@\"\n",
        left.display()
    );
    write_program(&programs.path().join("sync"), &script);
    let path = format!("{}:/usr/local/bin:/usr/bin:/bin", programs.path().display());
    (Site::with(Sshd::setup().env("PATH", path).start()), programs)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flush_that_fails_once_is_asked_for_again() {
    let (site, _programs) = with_failing_flush(1);
    site.document("a.pdf", b"content").await;
    let summary = site.sync().await;
    assert_eq!((summary.synced, summary.warnings.len()), (1, 0), "{summary:?}");
    assert_eq!(level(&site, 1).as_deref(), Some("durable"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flush_that_fails_for_a_batch_is_asked_for_with_the_next() {
    let (site, _programs) = with_failing_flush(2);
    site.document("a.pdf", b"content").await;
    let summary = site.sync().await;
    assert_eq!((summary.synced, summary.warnings.len()), (1, 1), "{summary:?}");
    assert_eq!(level(&site, 1).as_deref(), Some("stored"));
    site.document("b.pdf", b"content").await;
    let summary = site.sync().await;
    assert_eq!((summary.synced, summary.warnings.len()), (1, 0), "{summary:?}");
    assert_eq!(level(&site, 2).as_deref(), Some("durable"));
}

#[tokio::test(flavor = "multi_thread")]
async fn options_that_are_refused_without_a_word_are_told_apart() {
    for (refused, level_left) in
        [("--fsync", "durable"), ("--partial-dir", "durable"), ("--remove-source-files", "sent")]
    {
        let mut site = Site::new();
        site.wrap_rsync(&format!("case \"$*\" in *{refused}*) exit 1;; esac\nexec rsync \"$@\""));
        site.document("a.pdf", b"content").await;
        let summary = site.sync().await;
        assert_eq!(summary.synced, 1, "{refused}: {summary:?}");
        assert_eq!(level(&site, 1).as_deref(), Some(level_left), "{refused}");
        let known: Vec<String> = site
            .database()
            .prepare("SELECT capability || ': ' || evidence FROM nas_sync_refusals")
            .unwrap()
            .query_map([], |row| row.get(0))
            .unwrap()
            .collect::<Result<_, _>>()
            .unwrap();
        assert_eq!(known.len(), 1, "{refused}: {known:?}");
        assert!(known[0].ends_with("rsync ended with status 1 and said nothing"), "{known:?}");
        let report = site.service().test_connection().await.unwrap();
        assert_eq!((report.level.as_str(), report.refusals.len()), (level_left, 1), "{refused}: {report:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_server_refused_is_forgotten() {
    // Where one flush of the file system proves too little.
    let mut site = Site::with(Sshd::setup().program("uname", "echo Linux 4.4.302+").start());
    site.wrap_rsync("exec rsync \"$@\"");
    site.document("a.pdf", b"content").await;
    assert_eq!(site.sync().await.synced, 1);
    let remember = |server: &str| {
        let target: String =
            site.database().query_row("SELECT target FROM nas_sync_targets", [], |row| row.get(0)).unwrap();
        site.database()
            .execute(
                "INSERT OR REPLACE INTO nas_sync_refusals VALUES (?1, 'fsync', 'x', ?2, 1, datetime('now'))",
                (target, server),
            )
            .unwrap();
    };
    let server = site.service().test_connection().await.unwrap().ssh_server;
    for (number, (server, expected)) in
        [(server.as_str(), "stored"), ("SSH-2.0-older", "durable")].into_iter().enumerate()
    {
        remember(server);
        site.document(&format!("{number}.pdf"), b"content").await;
        assert_eq!(site.sync().await.synced, 1);
        assert_eq!(level(&site, 2 + i64::try_from(number).unwrap()).as_deref(), Some(expected));
    }
}

/// A NAS whose key is bound to `rrsync -wo`, the stock wrapper.
fn rrsync() -> Site {
    let site = Site::new();
    let nas = site.path("nas");
    bind_key(&site, Some(&format!("/usr/bin/rrsync -wo {}", nas.display())));
    site
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_bound_to_rrsync_stores_in_its_folder() {
    for path in ["/", ".", "sub", "/sub/"] {
        let mut site = rrsync();
        fs::create_dir(site.path("nas/sub")).unwrap();
        site.set("NAS_PATH", path);
        let report = site.service().test_connection().await.unwrap_or_else(|error| panic!("{path}: {error}"));
        assert_eq!(report.level, Level::Stored, "{path}: {report:?}");
        site.document("a.pdf", b"content").await;
        let summary = site.sync().await;
        assert_eq!((summary.synced, summary.failed), (1, 0), "{path}: {summary:?}");
        assert_eq!(level(&site, 1).as_deref(), Some("stored"), "{path}");
        let folder = if path.contains("sub") { "sub/a.pdf" } else { "a.pdf" };
        assert_eq!(site.stored(folder), Some(b"content".to_vec()), "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_folder_behind_rrsync_is_an_error_and_is_not_made() {
    let mut site = rrsync();
    site.set("NAS_PATH", "not/mounted");
    let error = site.service().test_connection().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::DestinationMissing, "{error}");
    assert!(error.message().contains("not/mounted"), "{error}");
    for name in ["a.pdf", "b.pdf"] {
        site.document(name, b"content").await;
        let summary = site.sync().await;
        assert_eq!(summary.synced, 0, "{summary:?}");
        assert_eq!(summary.stopped.unwrap().kind(), ErrorKind::DestinationMissing);
    }
    // The folder of partial files is made by rrsync itself, for each option that names one.
    assert_eq!(site.stored_names(), [".rsync-partial"]);
}

/// A NAS whose rsync makes a missing folder as soon as it has heard the client's version, and says nothing in a dry run, as
/// openrsync. A model: a script in front of the stock one.
#[tokio::test(flavor = "multi_thread")]
async fn a_missing_folder_is_noticed_where_rsync_would_make_it() {
    let mut site = Site::new();
    site.wrap_rsync(
        "case \"$2\" in -n*) exec rsync --server --existing --ignore-existing \"$2\" . \"$NAS/\";; esac\n\
         for folder; do :; done\nversion=$(mktemp)\ndd bs=4 count=1 of=\"$version\" 2>/dev/null\n\
         test ! -s \"$version\" || mkdir -p \"$folder\"\ncat \"$version\" - | rsync \"$@\"",
    );
    site.document("a.pdf", b"content").await;
    let missing = site.path("nas/not mounted");
    site.set("NAS_PATH", missing.clone());
    assert_eq!(site.service().test_connection().await.unwrap_err().kind(), ErrorKind::DestinationMissing);
    let summary = site.sync().await;
    assert_eq!(summary.stopped.as_ref().map(nas_sync::NasSyncError::kind), Some(ErrorKind::DestinationMissing));
    assert_eq!((summary.synced, site.stored_names()), (0, Vec::new()));
    fs::create_dir(missing).unwrap();
    site.service().test_connection().await.unwrap();
    assert_eq!(site.sync().await.synced, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_level_sent_can_be_asked_for_where_nothing_is_acknowledged() {
    let mut site = Site::new();
    // Takes the option and never acknowledges.
    site.wrap_rsync(
        "for word do shift; case $word in --remove-source-files) ;; *) set -- \"$@\" \"$word\";; esac; done\nexec rsync \"$@\"",
    );
    site.document("a.pdf", b"content").await;
    site.set("NAS_DURABILITY", "sent");
    let summary = site.sync().await;
    assert_eq!((summary.synced, summary.failed), (1, 0), "{summary:?}");
    assert_eq!(level(&site, 1).as_deref(), Some("sent"));
}

/// Where nothing is acknowledged, a session that went well does not make the next one smaller.
#[tokio::test(flavor = "multi_thread")]
async fn three_thousand_documents_at_the_level_sent_go_in_a_few_sessions() {
    let mut site = Site::new();
    let log = site.path("sessions");
    site.wrap_rsync(&format!(
        "case \"$*\" in *--remove-source-files*) exit 1;; esac\necho \"$*\" >>'{}'\nexec rsync \"$@\"",
        log.display()
    ));
    let files: Vec<_> = (0..3_000).map(|number| site.upload(&format!("{number}.pdf"), b"x")).collect();
    let user = 1.into();
    assert_eq!(site.service().add(user, files).await.unwrap().len(), 3_000);
    let summary = site.sync().await;
    assert_eq!((summary.synced, summary.failed), (3_000, 0), "{:?}", summary.stopped);
    // Two dry runs find out, two batches go.
    assert!(lines(&log) <= 7, "{} sessions", lines(&log));
}

/// At the level `sent` a complaint leaves unmarked what it may be about, on whatever channel it comes.
#[tokio::test(flavor = "multi_thread")]
async fn a_complaint_of_a_server_that_ends_well_leaves_its_document_unmarked() {
    let mut site = Site::new();
    site.wrap_rsync("rsync \"$@\"\necho 'ERROR: b.pdf failed verification -- update discarded.' >&2\nexit 0");
    site.set("NAS_DURABILITY", "sent");
    for name in ["a.pdf", "b.pdf", "c.pdf"] {
        site.document(name, b"content").await;
    }
    let summary = site.sync().await;
    assert!(!site.marked().contains(&(2, true)), "{summary:?} {:?}", site.marked());
    assert!(summary.errors.iter().any(|failed| failed.id == Some(2.into())), "{summary:?}");
}

/// What a shell says when it starts is no complaint of rsync's.
#[tokio::test(flavor = "multi_thread")]
async fn a_greeting_on_the_error_stream_is_no_complaint() {
    let mut site = Site::new();
    site.wrap_rsync("echo 'stdin: is not a tty' >&2\nsleep 0.2\nexec rsync \"$@\"");
    site.set("NAS_DURABILITY", "sent");
    site.document("a.pdf", b"content").await;
    let summary = site.sync().await;
    assert_eq!((summary.synced, summary.failed), (1, 0), "{summary:?}");
}
