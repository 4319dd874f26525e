//! Where threads are refused: by the filter of an old container runtime, which the static binary gets around, and by a limit.

use std::process::{Command, Output};

use seccompiler::sock_filter;
use serde_json::Value;

use super::binary;
use crate::support::{Site, noise};

/// SECCOMP_RET_ERRNO with EPERM.
const EPERM: u32 = 0x0005_0001;
/// SECCOMP_RET_ALLOW.
const ALLOW: u32 = 0x7fff_0000;
const CLONE3: u32 = 435;
const CLONE: u32 = if cfg!(target_arch = "x86_64") { 56 } else { 220 };
/// The flag of a clone that makes a thread.
const CLONE_THREAD: u32 = 0x0001_0000;

fn instruction(code: u16, jt: u8, jf: u8, k: u32) -> sock_filter {
    sock_filter { code, jt, jf, k }
}

/// As libseccomp before 2.4.4 with the list of Docker before 20.10.10: clone3 is unknown, and refused as all that is.
fn old_docker() -> Vec<sock_filter> {
    vec![
        instruction(0x20, 0, 0, 0),
        instruction(0x15, 0, 1, CLONE3),
        instruction(0x06, 0, 0, EPERM),
        instruction(0x06, 0, 0, ALLOW),
    ]
}

/// No thread at all; processes may be started.
fn no_threads() -> Vec<sock_filter> {
    vec![
        instruction(0x20, 0, 0, 0),
        instruction(0x15, 3, 0, CLONE3),
        instruction(0x15, 0, 3, CLONE),
        // The flags, which are the first argument.
        instruction(0x20, 0, 0, 16),
        instruction(0x45, 0, 1, CLONE_THREAD),
        instruction(0x06, 0, 0, EPERM),
        instruction(0x06, 0, 0, ALLOW),
    ]
}

/// Runs the static binary behind a filter.
fn run(site: &Site, filter: Vec<sock_filter>, words: &[&str]) -> Output {
    let mut command = Command::new(binary());
    command.args(words).env_clear().envs(&site.variables).env("HOME", site.path(""));
    // A process that is to become another user is started by fork, which needs no clone3.
    std::os::unix::process::CommandExt::uid(&mut command, rustix::process::geteuid().as_raw());
    // A filter is for the thread that takes it, and for all that it starts.
    let thread = std::thread::spawn(move || {
        seccompiler::apply_filter(&filter).unwrap();
        command.output().unwrap()
    });
    thread.join().unwrap()
}

fn object(output: &Output) -> Value {
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!said.contains("panicked"), "{said}");
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

#[test]
fn it_works_behind_the_filter_of_an_old_docker() {
    let site = Site::new();
    let file = site.upload("one.pdf", &noise(300_000, 1));
    let run = |words: &[&str]| {
        let output = run(&site, old_docker(), words);
        assert!(output.status.success(), "{words:?}: {output:?}");
        object(&output)
    };
    // The filter does what it says: this program's C library has no thread there either.
    let helpless = std::thread::spawn(|| {
        seccompiler::apply_filter(&old_docker()).unwrap();
        std::thread::Builder::new().spawn(|| ()).map(drop).unwrap_err().kind()
    });
    assert_eq!(helpless.join().unwrap(), std::io::ErrorKind::PermissionDenied);
    assert_eq!(run(&["config", "--json"])["configured"], true);
    run(&["add", "--json", "--user", "1", file.to_str().unwrap()]);
    let synced = run(&["sync", "--json"]);
    assert_eq!((&synced["synced"], &synced["failed"]), (&1.into(), &0.into()), "{synced}");
    assert_eq!(run(&["status", "--json"])["synced"], 1);
    assert_eq!(site.stored("one.pdf"), Some(noise(300_000, 1)));
}

#[test]
fn without_threads_there_is_an_error_and_no_panic() {
    let site = Site::new();
    for words in [&["status", "--json"][..], &["sync", "--json"], &["watch", "--once", "--json"]] {
        let output = run(&site, no_threads(), words);
        assert_eq!(output.status.code(), Some(1), "{words:?}: {output:?}");
        let object = object(&output);
        assert_eq!(object["error"]["kind"], "resource_shortage", "{object}");
    }
    // What needs none is not refused.
    assert!(run(&site, no_threads(), &["--version"]).status.success());
}
