//! One flush behind a batch in place of one for each file: where it is used, and what happens where it is not enough.

use std::fs;

use crate::support::cli::write_program;
use crate::support::{Mounted, Site, Sshd, noise};

/// More than a few.
const MANY: usize = 20;

/// Documents by the level that is recorded, and by what made them last.
fn levels(site: &Site) -> Vec<String> {
    let sql = "SELECT s.level || ' ' || ifnull(a.durable_by, '-') || ' ' || count(*) FROM nas_sync_documents s
               JOIN documents d ON d.id = s.document_id AND d.synced_to_nas = 1
               JOIN nas_sync_attempts a ON a.document_id = s.document_id
                   AND a.id = (SELECT max(id) FROM nas_sync_attempts WHERE document_id = s.document_id)
               GROUP BY s.level, a.durable_by ORDER BY 1";
    let database = site.database();
    let mut statement = database.prepare(sql).unwrap();
    statement.query_map([], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap()
}

async fn register(site: &Site, folder: &str, documents: usize) {
    let files = (0..documents).map(|at| site.upload(&format!("{folder}-{at:02}.pdf"), &noise(2_000, at as u64)));
    site.service().add(1.into(), files.collect()).await.unwrap();
}

/// How often an option was among rsync's.
fn count(site: &Site, word: &str) -> usize {
    let log = fs::read_to_string(site.path("sessions")).unwrap_or_default();
    log.lines().filter(|line| line.contains(word) && !line.contains(" -n")).count()
}

/// Writes down what rsync is asked for.
fn logging(site: &mut Site) {
    let log = site.path("sessions");
    site.wrap_rsync(&format!("echo \"$*\" >>'{}'\nexec rsync \"$@\"", log.display()));
}

/// Has an rsync that cannot flush, as before 3.2.4.
fn without_fsync(site: &mut Site) {
    site.wrap_rsync(
        "case \"$*\" in *--fsync*) echo 'rsync: --fsync: unknown option' >&2; exit 1;; esac\nexec rsync \"$@\"",
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_is_flushed_once_and_a_few_files_one_by_one() {
    let mut site = Site::new();
    logging(&mut site);
    register(&site, "many", MANY).await;
    let summary = site.sync().await;
    assert_eq!((summary.synced, summary.warnings.len()), (MANY, 0), "{summary:?}");
    assert_eq!(levels(&site), [format!("durable batch {MANY}")]);
    assert_eq!((count(&site, "--fsync"), count(&site, "--server")), (0, 1));
    register(&site, "few", 3).await;
    assert_eq!(site.sync().await.synced, 3);
    assert_eq!(levels(&site), [format!("durable batch {MANY}"), String::from("durable file 3")]);
    assert_eq!((count(&site, "--fsync"), count(&site, "--server")), (1, 2));
    let report = site.service().test_connection().await.unwrap();
    assert_eq!(report.durable_by.map(nas_sync::DurableBy::as_str), Some("batch"));
    assert!(report.flush_evidence.unwrap().starts_with("Linux "));
}

/// What does not tell of failed writes. Models: a script before the real program.
#[tokio::test(flavor = "multi_thread")]
async fn where_a_flush_may_hide_an_error_each_file_is_flushed() {
    let models = [
        ("uname", "echo Linux 4.4.302+"),
        ("uname", "echo FreeBSD 14.1-RELEASE"),
        ("stat", "test \"$1\" = -c && exec /usr/bin/stat \"$@\"\necho 794c7630"),
        ("stat", "echo 'BusyBox: no such option' >&2; exit 1"),
        ("sync", "case $1 in --help) echo 'BusyBox v1.36.1';; *) exec /bin/sync \"$@\";; esac"),
        ("sh", "exit 1"),
        (
            "xargs",
            "case \"$*\" in *-P*) echo 'xargs: invalid option -- P' >&2; exit 1;; *) exec /usr/bin/xargs \"$@\";; esac",
        ),
    ];
    for (program, script) in models {
        let site = Site::with(Sshd::setup().program(program, script).start());
        register(&site, "many", MANY).await;
        let summary = site.sync().await;
        assert_eq!((summary.synced, summary.warnings.len()), (MANY, 0), "{program} {script}: {summary:?}");
        assert_eq!(levels(&site), [format!("durable file {MANY}")], "{program} {script}");
        let report = site.service().test_connection().await.unwrap();
        assert_eq!(report.durable_by.map(nas_sync::DurableBy::as_str), Some("file"));
        let evidence: Vec<_> = report.refusals.iter().map(|refusal| &*refusal.evidence).collect();
        assert_eq!(evidence.len(), 1, "{evidence:?}");
        println!("{program}: {}", evidence[0]);
    }
}

/// By its own words one flush proves too little: that is no failure in passing.
#[tokio::test(flavor = "multi_thread")]
async fn a_nas_that_says_that_one_flush_is_not_enough_is_asked_once() {
    let asked = tempfile::NamedTempFile::new().unwrap();
    let script = format!("echo >>'{}'; echo Linux 4.4.302+", asked.path().display());
    let site = Site::with(Sshd::setup().program("uname", &script).start());
    for round in ["first", "second"] {
        register(&site, round, MANY).await;
        assert_eq!(site.sync().await.synced, MANY);
    }
    assert_eq!(levels(&site), [format!("durable file {}", 2 * MANY)]);
    assert_eq!(fs::read_to_string(asked.path()).unwrap().lines().count(), 1);
}

/// Neither rsync nor the NAS flushes in a way that tells of every failed write.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_flushed_in_no_way_is_not_taken_for_durable() {
    let mut site = Site::with(Sshd::setup().program("uname", "echo Linux 4.4.302+").start());
    without_fsync(&mut site);
    register(&site, "many", MANY).await;
    let summary = site.sync().await;
    assert_eq!((summary.synced, summary.warnings.len()), (MANY, 1), "{summary:?}");
    assert_eq!(levels(&site), [format!("stored - {MANY}")]);
    let report = site.service().test_connection().await.unwrap();
    assert_eq!((report.durable_by, report.level), (None, nas_sync::Level::Stored));
    assert_eq!(report.refusals.len(), 2, "{:?}", report.refusals);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_rsync_without_fsync_is_durable_by_one_flush() {
    let mut site = Site::new();
    without_fsync(&mut site);
    site.set("NAS_DURABILITY", "durable");
    site.document("a.pdf", b"content").await;
    let summary = site.sync().await;
    assert_eq!((summary.synced, summary.warnings.len()), (1, 0), "{summary:?}");
    assert_eq!(levels(&site), ["durable batch 1"]);
    assert_eq!(site.service().test_connection().await.unwrap().level, nas_sync::Level::Durable);
}

/// An error is told once. A model: a `sync -f` that fails every time, or the first time.
#[tokio::test(flavor = "multi_thread")]
async fn what_the_flush_does_not_prove_is_sent_again() {
    for (failures, left) in [(1, "durable batch 20"), (2, "durable file 20")] {
        let script = format!(
            "if test \"$1\" = -f && test $(ls \"${{0%/*}}\" | grep -c failed) -lt {failures}; then \
             mktemp \"${{0%/*}}/failed.XXXX\" >/dev/null; echo \"sync: error syncing '.': Input/output error\" >&2; exit 1; fi\n\
             exec /bin/sync \"$@\""
        );
        let mut site = Site::with(Sshd::setup().program("sync", &script).start());
        logging(&mut site);
        register(&site, "many", MANY).await;
        let summary = site.sync().await;
        assert_eq!((summary.synced, summary.failed), (MANY, 0), "{failures}: {summary:?}");
        assert_eq!(summary.warnings.len(), 1, "{summary:?}");
        assert!(summary.warnings[0].contains("Input/output error"), "{summary:?}");
        assert_eq!(levels(&site), [left], "{failures}");
        assert_eq!(count(&site, "--server"), failures + 1);
        let cut =
            "SELECT count(*) FROM nas_sync_attempts WHERE outcome = 'cut' AND error_text LIKE '%Input/output error%'";
        let cut: u32 = site.database().query_row(cut, [], |row| row.get(0)).unwrap();
        assert_eq!(cut as usize, MANY * failures);
    }
}

/// One flush of the destination's file system says nothing about another that is mounted below it.
#[tokio::test(flavor = "multi_thread")]
async fn files_on_another_file_system_below_are_flushed_each() {
    let mut site = Site::new();
    fs::create_dir(site.path("nas/below")).unwrap();
    let Some(_mounted) = Mounted::in_memory(&site.path("nas/below"), 16 << 20) else { return };
    site.set("NAS_LAYOUT", "below/{name}");
    register(&site, "many", MANY).await;
    let summary = site.sync().await;
    assert_eq!((summary.synced, summary.failed), (MANY, 0), "{summary:?}");
    assert!(summary.warnings[0].contains("not all files lie on the file system"), "{summary:?}");
    assert_eq!(levels(&site), [format!("durable file {MANY}")]);
}

/// The command that waits for the flush must not keep rsync from its session.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_with_few_sessions_sends_everything() {
    for (sessions, way) in [(1, "file"), (2, "batch"), (3, "batch")] {
        let mut site = Site::with(Sshd::setup().line(format!("MaxSessions {sessions}")).start());
        site.set("NAS_JOBS", "3");
        for batch in ["one", "two"] {
            register(&site, batch, MANY).await;
            let summary = site.sync().await;
            assert_eq!((summary.synced, summary.failed), (MANY, 0), "{sessions}: {summary:?}");
        }
        assert_eq!(levels(&site), [format!("durable {way} {}", 2 * MANY)], "MaxSessions {sessions}");
    }
}

/// The flush has to come from the boot, and from the file system, that took the first byte.
#[tokio::test(flavor = "multi_thread")]
async fn a_flush_that_does_not_live_through_the_batch_proves_nothing() {
    let mut site = Site::new();
    let (ended, script) = (site.path("ended"), site.path("ends"));
    // Whoever stands in the folder and waits is ended when rsync is done, once.
    let ends = "for process in /proc/[0-9]*; do\n\
                test \"$(readlink $process/cwd)\" = \"$NAS\" && grep -q nas-sync-ready $process/cmdline && kill -KILL ${process#/proc/}\n\
                done";
    let text = format!(
        "#!/bin/sh\nNAS='{}'\nrsync \"$@\"\nstatus=$?\nif mkdir '{}' 2>/dev/null; then\n{ends}\nfi\nexit $status\n",
        site.path("nas").display(),
        ended.display()
    );
    write_program(&script, &text);
    site.set("NAS_RSYNC_PATH", script);
    register(&site, "many", MANY).await;
    let summary = site.sync().await;
    assert!(ended.exists());
    assert_eq!((summary.synced, summary.failed), (MANY, 0), "{summary:?}");
    assert!(summary.warnings[0].contains("signal"), "{summary:?}");
    let sent = "SELECT count(*) FROM nas_sync_attempts";
    assert_eq!(site.database().query_row(sent, [], |row| row.get::<_, u32>(0)).unwrap() as usize, 2 * MANY);
}
