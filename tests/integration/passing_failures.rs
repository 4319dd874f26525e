//! Failures that pass: none of them lowers what a later run proves.
//!
//! A model of what passes: scripts before the real programs of the NAS, which fail once.

use std::fs;

use rusqlite::OptionalExtension as _;

use crate::support::cli::write_program;
use crate::support::{Site, Sshd};

/// Where something fails.
#[derive(Debug, Clone, Copy)]
enum Place {
    /// In place of rsync.
    Rsync,
    /// In place of the program that flushes.
    Flush,
    /// In place of whatever is asked for: a command bound to the key.
    Account,
}

/// What fails, as words of the shell.
fn failures() -> Vec<(Place, String)> {
    let mut all = Vec::new();
    for status in [1, 2, 3, 4, 5, 6, 10, 11, 12, 13, 14, 20, 21, 22, 24, 25, 30, 35, 126, 127, 255] {
        all.push((Place::Rsync, format!("exit {status}")));
    }
    for signal in ["KILL", "TERM", "HUP", "SEGV", "PIPE"] {
        all.push((Place::Rsync, format!("kill -{signal} $$")));
    }
    for said in [
        "echo 'sh: 1: Cannot fork' >&2; exit 2",
        "echo 'bash: fork: retry: Resource temporarily unavailable' >&2; exit 254",
        "echo 'ERROR: out of memory in receiver' >&2; exit 22",
        "echo 'rsync: [receiver] write failed: Disk quota exceeded (122)' >&2; exit 11",
        "echo 'This account is currently not available.'; exit 1",
        "echo 'Killed' >&2; exit 137",
        "echo 'NAS is updating, please wait'; exit 0",
        "exit 0",
    ] {
        all.push((Place::Rsync, said.to_owned()));
    }
    for bytes in [1, 4, 20, 100] {
        all.push((Place::Rsync, format!("timeout -s KILL 1 /usr/bin/rsync \"$@\" | head -c {bytes}; exit 12")));
    }
    for flush in
        ["exit 1", "exit 2", "exit 126", "exit 127", "kill -KILL $$", "kill -TERM $$", "echo 'Cannot fork'; exit 1"]
    {
        all.push((Place::Flush, flush.to_owned()));
    }
    for command in ["/bin/false", "/bin/true", "echo maintenance", "exit 255", "echo no >&2; exit 1"] {
        all.push((Place::Account, command.to_owned()));
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn none_lowers_what_a_later_run_proves() {
    let programs = tempfile::tempdir().unwrap();
    let once = |name: &str| programs.path().join(format!("{name}.once"));
    for (name, real) in [("rsync", "/usr/bin/rsync"), ("sync", "/bin/sync")] {
        let file = once(name);
        let script = format!(
            "#!/bin/sh\nif mv '{0}' '{0}.used' 2>&-; then . '{0}.used'; fi\nexec {real} \"$@\"\n",
            file.display()
        );
        write_program(&programs.path().join(name), &script);
    }
    let path = format!("{}:/usr/local/bin:/usr/bin:/bin", programs.path().display());
    let site = Site::with(Sshd::setup().env("PATH", path).start());
    let authorized = site.sshd.path("authorized_keys");
    let key = fs::read_to_string(&authorized).unwrap();
    let failures = failures();
    assert!(failures.len() >= 50, "{}", failures.len());
    for (number, (place, words)) in failures.iter().enumerate() {
        match place {
            Place::Rsync => fs::write(once("rsync"), words).unwrap(),
            Place::Flush => fs::write(once("sync"), words).unwrap(),
            Place::Account => fs::write(&authorized, format!("command=\"{words}\" {key}")).unwrap(),
        }
        site.document(&format!("{number}-during.pdf"), b"content").await;
        let during = site.sync().await;
        match place {
            Place::Rsync => assert!(!once("rsync").exists(), "{place:?} {words}: {during:?}"),
            Place::Flush => assert!(!once("sync").exists(), "{place:?} {words}: {during:?}"),
            Place::Account => fs::write(&authorized, &key).unwrap(),
        }
        let document = site.document(&format!("{number}-after.pdf"), b"content").await;
        let after = site.sync().await;
        let sql = "SELECT level FROM nas_sync_documents WHERE document_id = ?1";
        let level: Option<String> =
            site.database().query_row(sql, [document.as_integer()], |row| row.get(0)).optional().unwrap().flatten();
        assert_eq!(level.as_deref(), Some("durable"), "{place:?} {words}: {during:?} {after:?}");
        assert!(after.warnings.is_empty(), "{place:?} {words}: {during:?} {after:?}");
    }
}
