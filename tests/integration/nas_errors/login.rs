//! From the settings to the login.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use super::*;
use crate::support::Sshd;
use crate::support::sshd::{free_port, keygen};

/// A server on a port of its own that does this with each connection.
fn server(serve: impl Fn(TcpStream) + Send + 'static) -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || listener.incoming().flatten().for_each(serve));
    port
}

/// A site whose NAS_PORT is another server's.
fn site_at(port: u16) -> Site {
    let mut site = site_with_a_document();
    site.set("NAS_PORT", port.to_string());
    site
}

#[test]
fn what_is_not_configured_is_named() {
    let site = site_with_a_document();
    let mut cli = Cli::new(&site);
    cli.unset("NAS_HOST").set("NAS_PATH", "");
    for error in [sync_stops(&site, &cli, "not_configured", 2), test_fails(&cli, "not_configured", 2)] {
        let message = text(&error, "message");
        assert!(message.contains("NAS_HOST") && message.contains("NAS_PATH"), "{message}");
        assert!(!message.contains("NAS_USER"), "{message}");
    }
    let config = cli.line("config --json");
    assert_eq!(config.ends(2).json()["configured"], false);
    assert!(cli.line("config").ends(2).stdout.contains("Not configured"));
}

#[test]
fn a_setting_that_makes_no_sense_is_named() {
    let site = site_with_a_document();
    for (name, value) in [
        ("NAS_PORT", "0"),
        ("NAS_HOST", "nas:22/x"),
        ("NAS_FILE_TIMEOUT", "soon"),
        ("NAS_HOST_KEY", "SHA256:short"),
        ("NAS_LAYOUT", "{nom}"),
        ("UPLOAD_DIR", "/no/such/folder"),
    ] {
        let mut cli = Cli::new(&site);
        cli.set(name, value);
        let error = sync_stops(&site, &cli, "usage", 2);
        let said = format!("{} {}", text(&error, "message"), text(&error, "solution"));
        assert!(said.contains(name), "{name}: {said}");
    }
    let run = Cli::new(&site).line("sync --json --document twelve");
    is_error(&run.ends(2).json()["error"], "usage", &run);
}

#[test]
fn a_level_that_cannot_be_had_is_said_before_anything_is_sent() {
    // It can flush neither a file nor a batch in a way that shows a failure.
    let busybox = "case $1 in --help) echo 'BusyBox v1.36.1';; *) exec /bin/sync \"$@\";; esac";
    let mut site = Site::with(Sshd::setup().program("sync", busybox).start());
    add_a_document(&site);
    site.wrap_rsync(
        "case \"$*\" in *--fsync*) echo 'rsync: --fsync: unknown option' >&2; exit 1;; esac\nexec rsync \"$@\"",
    );
    site.set("NAS_DURABILITY", "durable");
    sync_stops(&site, &Cli::new(&site), "durability_unavailable", 3);
    assert!(site.stored_names().is_empty());
    // From now on that is known.
    sync_stops(&site, &Cli::new(&site), "durability_unavailable", 3);
    assert_eq!(site.sshd.log().matches("Accepted publickey").count(), 1, "it logged in again");
}

/// Lets the key run one command only, as `command="…"` in authorized_keys does. `NAS` in it is the NAS folder.
fn force_command(site: &Site, command: &str) {
    let file = site.sshd.path("authorized_keys");
    let keys = fs::read_to_string(&file).unwrap();
    let key = &keys[keys.find("ssh-").unwrap()..];
    let command = command.replace("NAS", site.path("nas").to_str().unwrap());
    fs::write(&file, format!("restrict,command=\"{command}\" {key}")).unwrap();
}

#[test]
fn a_forced_command_with_other_options_is_named_for_what_it_is() {
    let site = site_with_a_document();
    for command in [
        // Told by the handshake.
        "rsync --server -logDtpre.iLsfxCIvu . NAS/",
        // These two wait for the rest of another list than is sent.
        "rsync --server -logDtpre.fCvu . NAS/",
        "rsync --server -logDtpr . NAS/",
        // The other direction.
        "rsync --server --sender -logDtpre.fCvu . NAS/",
    ] {
        force_command(&site, command);
        let run = Cli::new(&site).line("sync --json");
        let error = run.ends(3).json()["error"].clone();
        is_error(&error, "exec_refused", &run);
        assert!(text(&error, "message").contains("a fixed command with other options"), "{command}: {error}");
        assert!(text(&error, "solution").contains("rrsync"), "{command}: {error}");
        // The usual limit is 300 s.
        assert!(run.elapsed < Duration::from_secs(40), "{command}: {}", run.all());
    }
    force_command(&site, "exec sh -c \\\"$SSH_ORIGINAL_COMMAND\\\"");
    sync_works(&site);
}

#[test]
fn a_name_without_an_address() {
    let mut site = site_with_a_document();
    // No query can carry a label of 64 bytes, so the answer comes from this machine.
    site.set("NAS_HOST", format!("{}.invalid", "n".repeat(64)));
    let error = both_fail(&site, "name_not_resolved", 3);
    assert!(text(&error, "message").contains(".invalid"), "{error}");
}

#[test]
fn a_port_where_nothing_listens() {
    let port = free_port();
    let site = site_at(port);
    let error = both_fail(&site, "connection_refused", 3);
    assert!(text(&error, "message").contains(&port.to_string()), "{error}");
}

#[test]
fn a_server_that_says_nothing() {
    // What the kernel takes into the queue and nobody reads.
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let mut site = site_at(listener.local_addr().unwrap().port());
    site.set("NAS_CONNECT_TIMEOUT", "1");
    let run = Cli::new(&site).line("sync --json");
    is_error(&run.ends(3).json()["error"], "connection_timed_out", &run);
    assert!(run.elapsed < Duration::from_secs(8), "{}", run.all());
    both_fail(&site, "connection_timed_out", 3);
}

#[test]
fn a_server_that_hangs_up() {
    let site = site_at(server(drop));
    both_fail(&site, "connection_lost", 3);
}

#[test]
fn a_web_page_is_no_ssh_server() {
    let site = site_at(server(|mut stream| {
        let _ = stream.write_all(b"HTTP/1.1 400 \x1b[31mBad\x07 Request\r\n\r\n");
        let _ = stream.read(&mut [0; 1024]);
    }));
    let error = both_fail(&site, "not_ssh", 3);
    assert!(text(&error, "message").contains("HTTP/1.1 400 \\x1b[31mBad\\x07"), "{error}");
}

#[test]
fn an_unknown_host_is_refused_then_accepted_then_known() {
    let mut site = site_with_a_document();
    let known_hosts = site.path("known_hosts");
    site.set("NAS_KNOWN_HOSTS", &known_hosts);
    let error = both_fail(&site, "host_key_unknown", 3);
    let print = fingerprint(&site.sshd);
    assert!(text(&error, "message").contains(&print), "{error}");
    for way in ["--accept-new-host-key", &format!("NAS_HOST_KEY={print}"), known_hosts.to_str().unwrap()] {
        assert!(text(&error, "solution").contains(way), "{way}: {error}");
    }
    assert!(!known_hosts.exists());
    Cli::new(&site).line("test --json --accept-new-host-key").ends(0);
    let recorded = fs::read_to_string(&known_hosts).unwrap();
    assert_eq!(recorded, site.sshd.known_hosts_line(&site.sshd.host_public_keys()[0]));
    sync_works(&site);
}

#[test]
fn a_pinned_key_is_enough_and_another_is_refused() {
    let mut site = site_with_a_document();
    site.set("NAS_KNOWN_HOSTS", site.path("not there"));
    let wrong = format!("SHA256:{}", "A".repeat(43));
    site.set("NAS_HOST_KEY", &wrong);
    let error = both_fail(&site, "host_key_changed", 3);
    let print = fingerprint(&site.sshd);
    assert!(text(&error, "message").contains(&wrong) && text(&error, "message").contains(&print), "{error}");
    // Not even with leave to accept new keys.
    let run = Cli::new(&site).line("sync --json --accept-new-host-key");
    is_error(&run.ends(3).json()["error"], "host_key_changed", &run);
    site.set("NAS_HOST_KEY", &print);
    sync_works(&site);
}

#[test]
fn a_changed_or_revoked_host_key_stops_everything() {
    let mut site = site_with_a_document();
    keygen(&site.path("other"), "ed25519", "");
    let other = fs::read_to_string(site.path("other.pub")).unwrap();
    let known_hosts = site.path("known_hosts");
    site.set("NAS_KNOWN_HOSTS", &known_hosts);
    site.set("NAS_ACCEPT_NEW_HOST_KEY", "1");
    let changed = site.sshd.known_hosts_line(other.trim());
    fs::write(&known_hosts, &changed).unwrap();
    let error = both_fail(&site, "host_key_changed", 3);
    assert!(text(&error, "message").contains(&fingerprint(&site.sshd)), "{error}");
    assert!(text(&error, "solution").contains(known_hosts.to_str().unwrap()), "{error}");
    assert_eq!(fs::read_to_string(&known_hosts).unwrap(), changed, "the file was changed");
    let revoked = format!("@revoked {}", site.sshd.known_hosts_line(&site.sshd.host_public_keys()[0]));
    fs::write(&known_hosts, revoked).unwrap();
    both_fail(&site, "host_key_revoked", 3);
    fs::write(&known_hosts, "[127.0.0.1]:22 ssh-ed25519 not-base64!\n").unwrap();
    both_fail(&site, "known_hosts_unusable", 2);
}

#[test]
fn a_refused_key_is_named() {
    let mut site = site_with_a_document();
    let key = site.path("stranger");
    keygen(&key, "ed25519", "");
    site.set("NAS_KEY_FILE", &key);
    let mut cli = Cli::new(&site);
    cli.keep_secret(fs::read_to_string(&key).unwrap().lines().nth(2).unwrap());
    let error = sync_stops(&site, &cli, "login_refused", 3);
    let said = format!("{} {}", text(&error, "message"), text(&error, "details"));
    assert!(said.contains(key.to_str().unwrap()), "{error}");
    test_fails(&cli, "login_refused", 3);

    // For people: all of it on stderr, the result on stdout.
    let run = cli.line("sync");
    run.ends(3);
    for key in ["message", "cause", "solution"] {
        assert!(run.stderr.contains(text(&error, key)), "{key}: {}", run.all());
    }
    for start in ["error: ", "cause: ", "solution: "] {
        assert!(run.stderr.lines().any(|line| line.starts_with(start)), "{}", run.all());
    }
    assert!(run.stdout.starts_with("0 of 1 document synced, 1 still pending;"), "{}", run.all());
    assert_eq!(run.stdout.lines().count(), 1, "{}", run.all());
}

#[test]
fn keys_that_cannot_be_used() {
    let mut site = site_with_a_document();
    let key = site.path("key");
    fs::copy(site.sshd.path("user_ed25519"), &key).unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    site.set("NAS_KEY_FILE", &key);
    let error = both_fail(&site, "key_unusable", 2);
    let said = format!("{} {}", text(&error, "message"), text(&error, "solution"));
    assert!(said.contains(key.to_str().unwrap()) && said.contains("chmod 600"), "{error}");

    let locked = site.sshd.add_user_key("locked", "ed25519", "open sesame");
    site.set("NAS_KEY_FILE", &locked);
    both_fail(&site, "key_unusable", 2);
    let mut cli = Cli::new(&site);
    cli.set("NAS_KEY_PASSPHRASE", "wrong horse").keep_secret("wrong horse");
    sync_stops(&site, &cli, "key_unusable", 2);
    site.set("NAS_KEY_FILE", site.path("not there"));
    both_fail(&site, "key_unusable", 2);
    site.set("NAS_KEY_FILE", &locked);
    site.set("NAS_KEY_PASSPHRASE", "open sesame");
    sync_works(&site);
}

#[test]
fn a_key_is_taken_from_a_variable_however_it_was_put_there() {
    let mut site = site_with_a_document();
    let text = fs::read_to_string(site.sshd.path("user_ed25519")).unwrap();
    site.variables.remove("NAS_KEY_FILE");
    site.set("NAS_KEY", text.replace('\n', "\\n"));
    Cli::new(&site).line("test").ends(0);
    let packed = std::process::Command::new("base64").arg(site.sshd.path("user_ed25519")).output().unwrap().stdout;
    site.set("NAS_KEY", String::from_utf8(packed).unwrap());
    sync_works(&site);
    site.set("NAS_KEY", fs::read_to_string(site.sshd.path("user_ed25519.pub")).unwrap());
    let error = test_fails(&Cli::new(&site), "key_unusable", 2);
    assert!(
        text_of(&error).contains("a public key, not the private one") && !text_of(&error).contains("chmod"),
        "{error}"
    );
}

fn text_of(error: &serde_json::Value) -> String {
    format!("{} {}", text(error, "message"), text(error, "solution"))
}

#[test]
fn a_server_with_old_algorithms_only() {
    let sshd = Sshd::setup().line("KexAlgorithms diffie-hellman-group14-sha1").start();
    let mut site = Site::with(sshd);
    add_a_document(&site);
    let error = both_fail(&site, "no_common_algorithm", 3);
    assert!(text(&error, "details").contains("theirs: diffie-hellman-group14-sha1"), "{error}");
    assert!(text(&error, "solution").contains("--legacy-ssh"), "{error}");
    site.set("NAS_LEGACY_SSH", "1");
    sync_works(&site);
}

fn fingerprint(sshd: &Sshd) -> String {
    let output = std::process::Command::new("ssh-keygen")
        .arg("-lf")
        .arg(sshd.path("host_ed25519.pub"))
        .output()
        .expect("ssh-keygen runs");
    let line = String::from_utf8(output.stdout).unwrap();
    line.split(' ').find(|word| word.starts_with("SHA256:")).unwrap().to_owned()
}
