//! The accounts and servers that people meet: `setup` and `doctor` name the same trouble, each with what to do, and are
//! content once that is done.

use std::fs;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::{Diagnosis, Place};
use crate::support::cli::{Run, write_program};
use crate::support::mock_ssh::{MockSsh, Quirk};
use crate::support::sshd::{free_port, keygen};
use crate::support::terminal::AtTerminal;
use crate::support::{Account, skip, until};

/// A trouble, as both commands see it.
struct Trouble<'a> {
    /// Words of both.
    words: &'a [&'a str],
    /// The kind and the solution of the error that `setup` ends with.
    setup: (&'a str, &'a str),
    /// The check of `doctor` that finds it, the kind of its error, and its solution.
    doctor: (&'a str, &'a str, &'a str),
}

#[track_caller]
fn both_name(place: &Place, trouble: &Trouble<'_>) -> Diagnosis {
    let run = place.setup(&[&["--json"], trouble.words].concat());
    assert_ne!(run.code, Some(0), "{}", run.all());
    let error = run.json()["error"].clone();
    assert_eq!(error["kind"], trouble.setup.0, "{}", run.all());
    assert!(error["solution"].as_str().unwrap().contains(trouble.setup.1), "{}: {}", trouble.setup.1, run.all());
    let run = place.doctor(trouble.words);
    let diagnosis = Diagnosis(run.ends(3).json());
    diagnosis.finds(trouble.doctor.0, trouble.doctor.1, trouble.doctor.2);
    diagnosis
}

/// Lets `doctor` log in as `setup` does before there is a key.
fn with_password(mut place: Place) -> Place {
    let file = place.account.password_file();
    place.cli.set("NAS_PASSWORD_FILE", file);
    place
}

/// `setup` goes through, and `doctor` is content.
#[track_caller]
fn both_are_content(place: &Place, words: &[&str]) -> Diagnosis {
    place.setup(words).ends(0);
    place.is_healthy()
}

#[test]
fn a_home_that_others_can_write_to() {
    let Some(place) = Place::new(Account::sshd_with_passwords) else { return };
    place.account.own(&place.account.home(), 0o777);
    let remedy = format!("chmod g-w,o-w {}", place.account.home().display());
    let run = place.setup(&["--json"]);
    let error = run.ends(3).json()["error"].clone();
    assert!(error["kind"] == "key_not_installed" && error["solution"].as_str().unwrap().contains(&remedy), "{error}");
    // From outside a refused key is all there is to see.
    let found = Diagnosis(place.doctor(&["--identity=nas_key"]).ends(3).json());
    found.finds("login", "login_refused", "must not be writable by others");
    found.finds("login", "login_refused", "nas-sync setup");
    assert!(found.check("key")["message"].as_str().unwrap().contains("nas_key"), "{}", found.0);
    assert!(Command::new("sh").args(["-c", &remedy]).status().unwrap().success());
    both_are_content(&place, &["--password-file=/nonexistent"]);
}

#[test]
fn a_user_without_a_home() {
    let Some(place) = Place::new(Account::sshd_with_passwords) else { return };
    place.cli.line("setup --print-key").ends(0);
    let home = place.account.home();
    place.account.modify(&["--home", "/nonexistent"]);
    let run = place.setup(&["--json"]);
    let error = run.ends(3).json()["error"].clone();
    assert!(error["kind"] == "key_not_installed" && error["solution"].as_str().unwrap().contains("user home service"));
    let found = Diagnosis(place.doctor(&["--identity=nas_key"]).ends(3).json());
    found.finds("login", "login_refused", "names what makes the NAS refuse it");
    place.account.modify(&["--home", home.to_str().unwrap()]);
    both_are_content(&place, &[]);
}

#[test]
fn a_user_without_a_shell() {
    let Some(place) = Place::new(Account::sshd_with_passwords).map(with_password) else { return };
    place.account.modify(&["--shell", "/usr/sbin/nologin"]);
    let found = both_name(
        &place,
        &Trouble {
            words: &[],
            setup: ("exec_refused", "/bin/sh"),
            doctor: ("exec", "exec_refused", "run rsync over SSH"),
        },
    );
    assert!(found.check("rsync").is_null() && found.check("login")["status"] == "ok", "{}", found.0);
    place.account.modify(&["--shell", "/bin/sh"]);
    both_are_content(&place, &[]);
}

#[test]
fn an_account_for_sftp_alone() {
    let Some(place) =
        Place::new(|| Account::sshd_with_passwords().line("ForceCommand internal-sftp")).map(with_password)
    else {
        return;
    };
    both_name(
        &place,
        &Trouble {
            words: &[],
            setup: ("exec_refused", "not SFTP only"),
            doctor: ("exec", "exec_refused", "run rsync over SSH"),
        },
    );
    place.site.sshd.change("ForceCommand internal-sftp", "");
    both_are_content(&place, &[]);
}

#[test]
fn a_server_that_takes_passwords_only() {
    let Some(place) = Place::new(|| Account::sshd_with_passwords().line("PubkeyAuthentication no")) else { return };
    let run = place.setup(&["--json"]);
    let error = run.ends(3).json()["error"].clone();
    assert!(error["solution"].as_str().unwrap().contains("setup --keep-password"), "{error}");
    // Without any key, that is what is missing here.
    let found = Diagnosis(place.doctor(&[]).ends(2).json());
    found.finds("key", "key_unusable", "NAS_KEY_FILE");
    assert_eq!(found.check("host_key")["status"], "ok", "{}", found.0);
    let found = Diagnosis(place.doctor(&["--identity=nas_key"]).ends(3).json());
    found.finds("login", "login_refused", "NAS_PASSWORD_FILE");
    both_are_content(&place, &["--keep-password"]);
    assert_eq!(place.logins("publickey"), 0);
}

#[test]
fn a_server_that_only_asks_questions() {
    let asks = || {
        let server = Account::sshd().line("UsePAM yes").line("KbdInteractiveAuthentication yes");
        server.line("PubkeyAuthentication no")
    };
    let Some(place) = Place::new(asks) else { return };
    let run = place.setup(&["--json"]);
    let error = run.ends(3).json()["error"].clone();
    assert!(error["solution"].as_str().unwrap().contains("setup --keep-password"), "{error}");
    let found = Diagnosis(place.doctor(&["--identity=nas_key"]).ends(3).json());
    found.finds("login", "login_refused", "NAS_PASSWORD_FILE");
    both_are_content(&place, &["--keep-password"]);
    assert!(place.logins("keyboard-interactive/pam") >= 3, "{}", place.site.sshd.log());
}

/// The server is a mock: it asks for a password and a code, as PAM with a one-time code does, and takes the keys that the
/// user has.
#[test]
fn a_code_is_typed_at_a_terminal_once_and_never_again() {
    let Some(place) = Place::new(Account::sshd) else { return };
    let home = place.site.path("home");
    fs::create_dir(&home).unwrap();
    let mock = MockSsh::with_home(Quirk::AsksForACode, &home);
    let port = mock.port().to_string();
    let folder = place.site.path("nas");
    let words = ["setup", "--nas-host=127.0.0.1", "--port", &port, "--nas-user=me", "--nas-path"];
    let mut person = AtTerminal::start(place.cli.command(&[&words[..], &[folder.to_str().unwrap()]].concat()));
    person.answer("Is it the one that the NAS shows? (yes/no)", "yes");
    person.answer("used once and not kept:", "sesame");
    person.answer("Verification code:", "123456");
    let (code, shown) = person.end();
    assert_eq!(code, Some(0), "{shown}");
    assert!(shown.contains("Two steps to") && !shown.contains("sesame") && !shown.contains('\x1b'), "{shown}");
    place.is_healthy();
    place.a_document_arrives();
    assert!(fs::read_to_string(home.join(".ssh/authorized_keys")).unwrap().starts_with("restrict ssh-ed25519 "));
}

#[test]
fn an_account_that_is_held_to_rrsync() {
    if !std::path::Path::new("/usr/bin/rrsync").exists() {
        return skip("rrsync is not installed");
    }
    let Some(place) = Place::new(Account::sshd) else { return };
    let run = place.cli.line("setup --print-key");
    let (line, folder) = (run.ends(0).stdout.trim(), place.folder.to_str().unwrap());
    let ssh = place.account.home().join(".ssh");
    fs::create_dir(&ssh).unwrap();
    let held = format!("command=\"/usr/bin/rrsync -wo '{folder}'\",{line}\n");
    fs::write(ssh.join("authorized_keys"), held).unwrap();
    place.account.own(&ssh, 0o700);
    place.account.own(&ssh.join("authorized_keys"), 0o600);
    // Below the folder of rrsync there is none of this name.
    both_name(
        &place,
        &Trouble {
            words: &["--identity=nas_key"],
            setup: ("destination_missing", "NAS_PATH"),
            doctor: ("folder", "destination_missing", "NAS_PATH"),
        },
    );
    let found = both_are_content(&place, &["--identity=nas_key", "--nas-path=/"]);
    assert!(found.check("exec")["message"].as_str().unwrap().contains("runs rsync"), "{}", found.0);
    assert!(found.check("clock").is_null() && found.check("shell").is_null(), "{}", found.0);
    assert_eq!(found.check("level")["status"], "warning", "{}", found.0);
    let omitted = found.0["omitted"].as_array().unwrap();
    assert!(omitted.iter().any(|check| check["name"] == "clock"), "{}", found.0);
    place.a_document_arrives();
}

#[test]
fn a_folder_that_is_not_there_or_not_the_users() {
    let Some(place) = Place::new(Account::sshd_with_passwords).map(with_password) else { return };
    let folder = place.account.home().join("later");
    let path = format!("--nas-path={}", folder.display());
    let found = both_name(
        &place,
        &Trouble {
            words: &[&path],
            setup: ("destination_missing", "This user can write to"),
            doctor: ("folder", "destination_missing", "Create the folder"),
        },
    );
    assert!(found.check("rsync")["status"] == "ok" && found.check("exec")["status"] == "ok", "{}", found.0);
    fs::create_dir(&folder).unwrap();
    let found = both_name(
        &place,
        &Trouble {
            words: &[&path],
            setup: ("permission_denied", "This user can write to"),
            doctor: ("writable", "permission_denied", "write permission"),
        },
    );
    assert_eq!(found.check("folder")["status"], "ok", "{}", found.0);
    place.account.own(&folder, 0o755);
    both_are_content(&place, &[&path]);
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 0, "nothing stays behind");
}

#[test]
fn a_server_with_one_session_at_a_time() {
    let Some(place) = Place::new(|| Account::sshd_with_passwords().line("MaxSessions 1")) else { return };
    let found = both_are_content(&place, &[]);
    assert_eq!(found.check("sessions")["status"], "warning", "{}", found.0);
    assert!(found.check("sessions")["solution"].as_str().unwrap().contains("MaxSessions"), "{}", found.0);
    place.site.sshd.change("MaxSessions 1\n", "MaxSessions 10\n");
    assert_eq!(place.is_healthy().check("sessions")["status"], "ok");
}

#[test]
fn a_server_with_old_algorithms_only() {
    let old = || {
        let server = Account::sshd_with_passwords().line("KexAlgorithms diffie-hellman-group14-sha1");
        server.line("Ciphers aes128-cbc").line("MACs hmac-sha1")
    };
    let Some(place) = Place::new(old) else { return };
    let found = both_name(
        &place,
        &Trouble {
            words: &[],
            setup: ("no_common_algorithm", "--legacy-ssh"),
            doctor: ("ssh", "no_common_algorithm", "--legacy-ssh"),
        },
    );
    assert_eq!(found.check("tcp")["status"], "ok", "{}", found.0);
    let found = both_are_content(&place, &["--legacy-ssh"]);
    assert_eq!(found.check("ssh")["status"], "warning", "{}", found.0);
    assert!(found.check("ssh")["message"].as_str().unwrap().contains("group14-sha1"), "{}", found.0);
}

/// The refusal of a Synology's rsync, by a script in its place: a mock.
#[test]
fn a_refusal_like_a_synologys() {
    let Some(place) = Place::new(Account::sshd_with_passwords).map(with_password) else { return };
    let program = place.account.make_folder("bin").join("rsync");
    write_program(&program, "#!/bin/sh\necho 'rsync service is no running'; exit 43\n");
    let rsync = format!("--rsync-path={}", program.display());
    both_name(
        &place,
        &Trouble {
            words: &[&rsync],
            setup: ("service_disabled", "switch on the rsync service"),
            doctor: ("rsync", "service_disabled", "switch on the rsync service"),
        },
    );
    write_program(&program, "#!/bin/sh\nexec rsync \"$@\"\n");
    both_are_content(&place, &[&rsync]);
}

#[test]
fn a_name_and_a_port_where_nobody_is() {
    let Some(place) = Place::new(Account::sshd_with_passwords).map(with_password) else { return };
    let found = both_name(
        &place,
        &Trouble {
            words: &["--nas-host=nas.invalid"],
            setup: ("name_not_resolved", "NAS_HOST"),
            doctor: ("name", "name_not_resolved", "NAS_HOST"),
        },
    );
    assert!(found.check("tcp").is_null(), "{}", found.0);
    let port = format!("--port={}", free_port());
    let found = both_name(
        &place,
        &Trouble {
            words: &[&port],
            setup: ("connection_refused", "NAS_PORT"),
            doctor: ("tcp", "connection_refused", "NAS_PORT"),
        },
    );
    assert!(found.check("name")["message"] == "127.0.0.1" && found.check("ssh").is_null(), "{}", found.0);
    both_are_content(&place, &[]);
}

/// A dropbear that lets the users of this system in.
struct Dropbear {
    server: Child,
    port: u16,
}

impl Dropbear {
    fn start(place: &Place) -> Option<Self> {
        let key = place.site.path("dropbear-key");
        keygen(&place.site.path("openssh-key"), "ed25519", "");
        let convert = Command::new("dropbearconvert")
            .args(["openssh", "dropbear"])
            .args([&place.site.path("openssh-key"), &key])
            .output();
        if !convert.is_ok_and(|output| output.status.success()) {
            skip("dropbear is not installed");
            return None;
        }
        let port = free_port();
        let mut command = Command::new("dropbear");
        command.args(["-F", "-E", "-m", "-P", "", "-p", &format!("127.0.0.1:{port}"), "-r"]).arg(key);
        let server = command.stdin(Stdio::null()).stderr(Stdio::null()).spawn().expect("dropbear starts");
        until("dropbear listens", Duration::from_secs(20), || {
            std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()
        });
        Some(Self { server, port })
    }
}

impl Drop for Dropbear {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

#[test]
fn dropbear_in_place_of_openssh() {
    let Some(place) = Place::new(Account::sshd) else { return };
    let Some(dropbear) = Dropbear::start(&place) else { return };
    let port = format!("--port={}", dropbear.port);
    place.account.own(&place.account.home(), 0o777);
    let run = place.setup(&[&port, "--json"]);
    let error = run.ends(3).json()["error"].clone();
    assert!(
        error["kind"] == "key_not_installed" && error["solution"].as_str().unwrap().contains("chmod g-w"),
        "{error}"
    );
    let found = Diagnosis(place.doctor(&[&port, "--identity=nas_key"]).ends(3).json());
    found.finds("login", "login_refused", "must not be writable by others");
    place.account.own(&place.account.home(), 0o755);
    let found = both_are_content(&place, &[&port, "--password-file=/nonexistent"]);
    assert!(found.check("ssh")["message"].as_str().unwrap().contains("dropbear"), "{}", found.0);
    place.a_document_arrives();
}

/// The files by which a kind of NAS is known lie in a folder of the test, to which the script is led: a mock of each.
#[test]
fn each_kind_of_nas_is_recognised_and_its_own_words_are_used() {
    let marks = [
        ("etc/synoinfo.conf", "", "Synology DSM", "Enable rsync service"),
        ("etc/config/uLinux.conf", "", "QNAP", "HBS 3"),
        ("usr/bin/midclt", "", "TrueNAS", "not needed"),
        ("etc/unraid-version", "version=\"7.0.0\"\n", "Unraid", "needs no service"),
        ("etc/openmediavault/config.xml", "", "OpenMediaVault", "not needed"),
        ("etc/nas.conf", "Vendor = ASUSTOR\n", "Asustor ADM", "Rsync Server"),
    ];
    let model = tempfile::tempdir().unwrap();
    let root = model.path().join("root");
    let filter = model.path().join("filter");
    let script = format!(
        "#!/bin/sh\ncase $SSH_ORIGINAL_COMMAND in\nsh) sed 's, \\(/etc/\\|/usr/\\), {}\\1,g' | exec sh ;;\n\
         *) exec sh -c \"$SSH_ORIGINAL_COMMAND\" ;;\nesac\n",
        root.display()
    );
    write_program(&filter, &script);
    let open = |path: &std::path::Path| {
        fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    };
    open(model.path());
    let server = || Account::sshd_with_passwords().line(format!("ForceCommand {}", filter.display()));
    let Some(place) = Place::new(server) else { return };
    let refusing = place.account.make_folder("bin").join("rsync");
    write_program(&refusing, "#!/bin/sh\necho 'rsync service is no running'; exit 43\n");
    let rsync = format!("--rsync-path={}", refusing.display());
    assert!(both_are_content(&place, &[]).0["vendor"].is_null());
    for (file, content, name, words) in marks {
        let file = root.join(file);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, content).unwrap();
        assert_eq!(place.is_healthy().0["vendor"], name);
        let says_so = |run: Run, solution: String| {
            assert!(solution.contains(name) && solution.contains(words), "{name}: {}", run.all());
        };
        let run = place.cli.run(&["doctor", "--json", &rsync]);
        let found = Diagnosis(run.ends(3).json());
        says_so(run, found.check("rsync")["solution"].as_str().unwrap().to_owned());
        let run = place.cli.run(&["test", "--json", &rsync]);
        let solution = run.ends(3).json()["error"]["solution"].as_str().unwrap().to_owned();
        says_so(run, solution);
        fs::remove_file(&file).unwrap();
    }
}
