//! A limit on threads, as `ulimit -u` and a container set it, at every height: an error or success, never a panic.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::process::Command;

use serde_json::Value;

use crate::support::cli::PROGRAM;
use crate::support::{Site, is_root_or_skipped, noise};

/// A user of whom nothing runs.
const NOBODY: u32 = 61_234;

#[test]
fn a_shortage_of_threads_is_an_error_wherever_it_begins() {
    // Limits do not hold for root.
    if !is_root_or_skipped() {
        return;
    }
    let mut site = Site::new();
    let key = site.path("key");
    fs::copy(site.sshd.path("user_ed25519"), &key).unwrap();
    let known_hosts = site.path("known_hosts");
    fs::copy(site.sshd.path("known_hosts"), &known_hosts).unwrap();
    site.set("NAS_KEY_FILE", &key);
    site.set("NAS_KNOWN_HOSTS", &known_hosts);
    let file = site.upload("one.pdf", &noise(300_000, 1));
    let program = site.path("nas-sync");
    // A copy made here could still be open for writing in a child that another test starts, and then not be started.
    assert!(Command::new("cp").arg(PROGRAM).arg(&program).status().unwrap().success());
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    for name in ["", "uploads", "uploads/one.pdf", "key"] {
        chown(site.path(name), Some(NOBODY), Some(NOBODY)).unwrap();
    }
    let run = |limit: u32, words: &[&str]| {
        let mut command = Command::new("setpriv");
        command.args(["--reuid", &NOBODY.to_string(), "--clear-groups", "prlimit", &format!("--nproc={limit}")]);
        command.arg(&program).args(words);
        let output = command.env_clear().env("PATH", "/usr/bin:/bin").envs(&site.variables).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!said.contains("panicked"), "{limit}: {words:?}: {said}");
        let object: Value = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{limit}: {words:?}: {error}: {output:?}"));
        (output.status.code(), object)
    };
    assert_eq!(run(64, &["add", "--json", "--user", "1", file.to_str().unwrap()]).0, Some(0));
    assert_eq!(run(1, &["sync", "--json"]).1["error"]["kind"], "resource_shortage");
    for limit in 2.. {
        let (code, object) = run(limit, &["sync", "--json"]);
        if code == Some(0) {
            break;
        }
        // One that was missing only behind the record costs no document.
        assert_eq!((code, &object["error"]["kind"]), (Some(1), &"resource_shortage".into()), "{limit}: {object}");
        assert!(limit < 20, "{object}");
    }
    assert_eq!(site.marked().len(), 1);
    assert_eq!(site.stored("one.pdf"), Some(noise(300_000, 1)));
}
