//! After the login: the command, its rsync, the folder, the disk.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::time::Duration;

use super::*;
use crate::support::{Mounted, Sshd};

/// Many enough bytes to be still under way when somebody looks. They are a hole here and zeros there.
const LARGE: u64 = 200_000_000;

fn site_behind(script: &str) -> Site {
    let mut site = site_with_a_document();
    site.wrap_rsync(script);
    site
}

/// A large document, which is pending.
fn add_large(site: &Site) -> PathBuf {
    let path = site.upload("big.pdf", b"");
    fs::File::options().write(true).open(&path).unwrap().set_len(LARGE).unwrap();
    Cli::new(site).add(1, std::slice::from_ref(&path));
    path
}

#[test]
fn an_account_for_sftp_only() {
    let site = Site::with(Sshd::setup().line("ForceCommand internal-sftp").start());
    add_a_document(&site);
    let error = both_fail(&site, "exec_refused", 3);
    assert!(text(&error, "details").contains("sftp connections only"), "{error}");
}

#[test]
fn an_account_without_a_shell() {
    let site = Site::with(Sshd::setup().line("ForceCommand /usr/sbin/nologin").start());
    add_a_document(&site);
    both_fail(&site, "exec_refused", 3);
}

#[test]
fn no_rsync_there() {
    let mut site = site_with_a_document();
    site.set("NAS_RSYNC_PATH", "rsync-that-is-not-there");
    let error = both_fail(&site, "rsync_missing", 3);
    assert!(text(&error, "details").contains("rsync-that-is-not-there"), "{error}");
    let data = site.path("no-program");
    fs::write(&data, "data").unwrap();
    site.set("NAS_RSYNC_PATH", data);
    both_fail(&site, "rsync_missing", 3);
    site.variables.remove("NAS_RSYNC_PATH");
    sync_works(&site);
}

#[test]
fn the_program_there_is_words_for_its_shell() {
    let mut site = site_with_a_document();
    site.set("NAS_RSYNC_PATH", "nice -n 10 rsync");
    Cli::new(&site).line("test").ends(0);
    sync_works(&site);
}

#[test]
fn text_in_place_of_the_handshake_is_shown_escaped() {
    let site =
        site_behind("printf 'Willkommen \\033]0;title\\007 auf dem \\342\\200\\256NAS\\r\\n'; exec rsync \"$@\"");
    let error = both_fail(&site, "stray_output", 3);
    let shown = "Willkommen \\x1b]0;title\\x07 auf dem \\u{202e}NAS";
    assert!(text(&error, "message").contains(shown) && text(&error, "details").contains(shown), "{error}");
}

#[test]
fn text_on_stderr_and_a_banner_are_no_error() {
    let folder = tempfile::tempdir().unwrap();
    let banner = folder.path().join("banner");
    fs::write(&banner, "Authorized use \x1b[31monly\n").unwrap();
    let mut site = Site::with(Sshd::setup().line(format!("Banner {}", banner.display())).start());
    add_a_document(&site);
    site.wrap_rsync("echo 'last login: \x1b[1myesterday' >&2; exec rsync \"$@\"");
    Cli::new(&site).line("test --json").ends(0);
    let run = Cli::new(&site).line("sync -vv");
    run.ends(0);
    assert_eq!(site.marked(), [(1, true)]);
}

#[test]
fn a_vendors_refusal_is_not_called_a_wrong_password() {
    let site = site_behind("echo 'Permission denied, please try again.' >&2; exit 43");
    let error = both_fail(&site, "service_disabled", 3);
    assert!(
        text(&error, "details").contains("please try again") && text(&error, "solution").contains("rsync"),
        "{error}"
    );
    let site = site_behind("echo 'rsync service is no running'; exit 43");
    both_fail(&site, "service_disabled", 3);
}

#[test]
fn an_rsync_that_knows_none_of_the_options() {
    let site = site_behind("echo 'rsync: -e.LsfxCIvu: unknown option' >&2; exit 1");
    let error = both_fail(&site, "option_refused", 3);
    assert!(text(&error, "message").contains("unknown option"), "{error}");
}

#[test]
fn a_destination_that_is_not_there_is_not_made() {
    let mut site = site_with_a_document();
    for path in ["nas/not there", "nas/not there/nor this"] {
        site.set("NAS_PATH", site.path(path));
        let error = both_fail(&site, "destination_missing", 3);
        assert!(text(&error, "message").contains("not there"), "{error}");
        assert!(site.stored_names().is_empty());
    }
    site.set("NAS_PATH", site.upload("a file", b"kept"));
    both_fail(&site, "destination_missing", 3);
    assert_eq!(fs::read(site.path("uploads/a file")).unwrap(), b"kept");
}

#[test]
fn a_folder_that_may_not_be_written() {
    let mut site = site_with_a_document();
    if is_root() {
        fs::set_permissions(site.path(""), fs::Permissions::from_mode(0o755)).unwrap();
        site.wrap_rsync("exec setpriv --reuid 65534 --regid 65534 --clear-groups rsync \"$@\"");
    } else {
        fs::set_permissions(site.path("nas"), fs::Permissions::from_mode(0o555)).unwrap();
    }
    let error = both_fail(&site, "permission_denied", 3);
    assert!(text(&error, "message").contains("Permission denied"), "{error}");
    // A folder that may not even be entered.
    if is_root() {
        fs::set_permissions(site.path("nas"), fs::Permissions::from_mode(0o700)).unwrap();
        both_fail(&site, "permission_denied", 3);
        site.variables.remove("NAS_RSYNC_PATH");
    } else {
        fs::set_permissions(site.path("nas"), fs::Permissions::from_mode(0o755)).unwrap();
    }
    sync_works(&site);
}

#[test]
fn a_read_only_disk() {
    let site = site_with_a_document();
    let Some(mounted) = Mounted::in_memory(&site.path("nas"), 1 << 18) else { return };
    mounted.remount("ro");
    let error = both_fail(&site, "read_only", 3);
    assert!(text(&error, "message").contains("Read-only file system"), "{error}");
    mounted.remount("rw");
    sync_works(&site);
}

/// Version 31, no flags, a seed: all of a handshake.
const HANDSHAKE: &str = "printf '\\037\\000\\000\\000\\000\\001\\002\\003\\004'";

#[test]
fn garbage_behind_the_handshake() {
    for garbage in ["\\377\\377\\377\\377garbage", "\\003\\000\\000\\007\\360\\000\\200"] {
        let site = site_behind(&format!("{HANDSHAKE}; printf '{garbage}'; exec cat >/dev/null"));
        both_fail(&site, "protocol", 3);
    }
}

#[test]
fn a_handshake_that_makes_no_sense() {
    let site = site_behind("printf '\\032\\000\\000\\000'; exec cat >/dev/null");
    both_fail(&site, "protocol", 3);
}

#[test]
fn an_rsync_that_falls_silent_is_given_up_in_time() {
    for script in [&format!("{HANDSHAKE}; exec sleep 30"), "exec sleep 30"] {
        let mut site = site_behind(script);
        site.set("NAS_FILE_TIMEOUT", "2");
        let run = Cli::new(&site).line("sync --json");
        is_error(&run.ends(3).json()["error"], "stalled", &run);
        assert!(run.elapsed < Duration::from_secs(8), "{}", run.all());
        assert_eq!(site.marked(), []);
    }
}

#[test]
fn a_connection_that_breaks_in_the_middle_of_a_file() {
    let mut site = site_with_a_document();
    add_large(&site);
    site.set("NAS_RETRIES", "1");
    let mut running = Cli::new(&site).start(&["sync", "--json"]);
    running.until(|| site.stored_names().iter().any(|name| name.starts_with(".big.pdf.")));
    site.sshd.kill();
    let run = running.wait();
    let object = run.ends(3).json();
    // It looked again, and what it found then is what a person should know.
    is_error(&object["error"], "connection_refused", &run);
    assert!(run.stderr.contains("going on after a lost connection"), "{}", run.all());
    assert!(!site.marked().iter().any(|(id, _)| *id == 2), "{}", run.all());
    assert_eq!(site.stored("big.pdf"), None);
}

fn is_root() -> bool {
    crate::support::sshd::user() == "root"
}
