use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use super::*;
use crate::client::nas::harmless_lines;
use crate::wire::offer::Offer;
use crate::wire::pull_args::{PullOptions, source_paths};
use crate::wire::server_args::PushOptions;

const FOLDER: &str = "/srv/it's $mine; and #more";

/// Whether a key that is held to [`FOLDER`] gets this command run.
fn runs(command: &str) -> bool {
    let folder = tempfile::tempdir().unwrap();
    for name in ["rsync", "sync", "df"] {
        let path = folder.path().join(name);
        std::fs::write(&path, "#!/bin/sh\necho ran\n").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    let script = only(FOLDER, "rsync").unwrap();
    let mut sh = Command::new("sh");
    sh.args(["-c", &script]).env("SSH_ORIGINAL_COMMAND", command);
    let output = sh.env("PATH", format!("{}:/usr/bin:/bin", folder.path().display())).output().unwrap();
    let (said, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let refused = errors.contains("this key is held to");
    assert!(refused || !said.is_empty(), "{command}: {said}{errors}");
    !refused
}

fn push(options: &PushOptions, folder: &str) -> String {
    let line = command_line("rsync", &options.arguments(&Offer::default(), &destination_of(folder))).unwrap();
    String::from_utf8(line).unwrap()
}

fn good_line(folder: &str) -> String {
    push(&PushOptions { recursive: true, dry_run: true, ..PushOptions::default() }, folder)
}

#[test]
fn a_key_that_is_held_to_a_folder_runs_what_a_sync_needs() {
    let mut options = PushOptions { recursive: true, times: true, ignore_times: true, ..PushOptions::default() };
    assert!(runs(&push(&options, FOLDER)));
    (options.timeout, options.acknowledge, options.fsync, options.partial_dir) = (Some(60), true, true, true);
    (options.dry_run, options.checksum, options.sparse, options.keep_dirlinks) = (true, true, true, true);
    options.receiver.delay_updates = true;
    assert!(runs(&push(&options.with_implied_folders(), FOLDER)));
    for line in harmless_lines(FOLDER).unwrap() {
        assert!(runs(&String::from_utf8(line).unwrap()));
    }
    assert!(runs("rsync --version"));
    let dry = good_line(FOLDER).replace("/./", "/");
    assert!(runs(&dry), "{dry}");
}

#[test]
fn a_key_that_is_held_to_a_folder_fetches_from_it_alone() {
    let fetch = |options: &PullOptions, folder: &str| {
        let source = source_paths(&[literal(folder.as_bytes())]);
        String::from_utf8(sending_command_line("rsync", &options.arguments(&Offer::default()), &source).unwrap())
            .unwrap()
    };
    let mut options =
        PullOptions { times: true, ignore_times: true, names_follow: true, relative: true, ..PullOptions::default() };
    options.timeout = Some(60);
    let good = fetch(&options, FOLDER);
    assert!(runs(&good), "{good}");
    let whole = PullOptions { recursive: true, links: true, permissions: true, ..options.clone() };
    assert!(runs(&fetch(
        &PullOptions { names_follow: false, relative: false, numeric_ids: true, ..whole.clone() },
        &format!("{FOLDER}/")
    )));
    for folder in ["/srv", "/", "", "/srv/it's $mine; and #more/..", "/srv/it's $mine; and #more/sub"] {
        assert!(!runs(&fetch(&whole, folder)), "{folder}");
    }
    for (from, to) in [
        ("--sender", "--sender -L"),
        ("--sender", "--sender -k"),
        ("--sender", "--sender --copy-unsafe-links"),
        ("--sender", "--sender --remove-source-files"),
        ("--sender", "--sender --files-from=x"),
        ("--files-from=-", "--files-from=-x"),
        ("--files-from=-", "--files-from=/etc/passwd"),
        ("--sender", "--sender -s"),
        ("--sender", "--sender --log-file=x"),
        ("--sender", "--sender x"),
        (" . ", " . /etc "),
    ] {
        assert!(!runs(&good.replacen(from, to, 1)), "{to}");
    }
}

#[test]
fn a_key_that_is_held_to_a_folder_runs_nothing_else() {
    let whole = PushOptions { recursive: true, times: true, ..PushOptions::default() };
    let good = push(&whole, FOLDER);
    for folder in ["/srv", "/", "/srv/it's $mine; and #more/sub", "/srv/it's $mine; and #more/.."] {
        assert!(!runs(&push(&whole, folder)), "{folder}");
    }
    for (from, to) in [
        ("--server", "--server --sender"),
        ("--server", "--server --daemon"),
        ("--server", "--server --log-file=/etc/passwd"),
        ("--server", "--server --delete"),
        ("--server", "--server --partial-dir .."),
        ("--server", "--server --temp-dir=x"),
        ("--server", "--server $(reboot)"),
        ("--server", "--server;reboot;"),
        ("--server", "--server\nreboot\n"),
        ("--server", "--server -l"),
        ("--server", "--server -ee.l"),
        ("--server", "--server /etc"),
        ("--server", "--server -- /etc"),
        ("rsync", "/tmp/rsync"),
        ("rsync", "env rsync"),
    ] {
        assert!(!runs(&good.replacen(from, to, 1)), "{to}");
    }
    for command in ["", "sh", "cat .ssh/authorized_keys", "sync && reboot", "sync", "rsync", &format!("{good};sh")] {
        assert!(!runs(command), "{command}");
    }
}

#[test]
fn what_sshd_refuses_is_seen_in_modes() {
    let fault = |line: &str| mode_fault(line, "/home/me", "1000");
    for good in [
        ". drwxr-xr-x 5 1000 100 4096 May 1 12:00 .",
        ".ssh drwx------+ 5 1000 100 4096 May 1 12:00 .ssh",
        ". drwxr-xr-x 5 0 0 4096 May 1 12:00 .",
        "",
    ] {
        assert_eq!(fault(good), None, "{good}");
    }
    let open = fault(". drwxrwxrwx+ 5 1000 100 4096 May 1 12:00 .").unwrap();
    assert_eq!(open.what, "others than the user can write to /home/me (drwxrwxrwx+)");
    assert_eq!(open.remedy, "chmod g-w,o-w /home/me");
    assert!(fault(".ssh/authorized_keys -rw-rw-r-- 1 1000 100 99 x").is_some());
    let foreign = fault(".ssh drwx------ 5 1001 100 4096 x").unwrap();
    assert_eq!(foreign.remedy, "chown 1000 /home/me/.ssh");
}

#[test]
fn lines_of_authorized_keys() {
    assert_eq!(Permit::Commands.line("ssh-ed25519 AAAA nas-sync"), "restrict ssh-ed25519 AAAA nas-sync");
    let held = Permit::Folder { path: "/srv", rsync_path: "rsync" }.line("ssh-ed25519 AAAA nas-sync");
    let script = script_of("ssh-ed25519 AAAA");
    assert_eq!(held, format!("command=\"exec sh .ssh/{script}\",restrict ssh-ed25519 AAAA nas-sync"));
    assert_ne!(script, script_of("ssh-ed25519 BBBB"), "another key may be held to another folder");
}
