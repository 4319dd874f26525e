//! What lies in the memory of the real program: the seed of its key, the text of the key, and its passphrase.
//!
//! All memory that can be read is looked through, as it would stand in a core dump, at three times: in a `watch` that has
//! not logged in yet, behind the login while a transfer is under way, and when it has logged out and rests. What must
//! remain is listed for each way of giving a key; docs/security.md names it.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::os::unix::fs::{FileExt as _, PermissionsExt as _, chown};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use russh::keys::ssh_encoding::base64::{Base64, Encoding as _};
use russh::keys::ssh_key::private::KeypairData;
use russh::keys::{PrivateKey, encode_pkcs8_pem_encrypted};
use tempfile::TempDir;

use crate::support::cli::{PROGRAM, write_program};
use crate::support::sshd::keygen;
use crate::support::{Cli, Site, is_root_or_skipped, until};

/// How long something may take to come about.
const LONGEST: Duration = Duration::from_secs(60);
const PASSPHRASE: &str = "velvet-anchor-93-lantern";
/// A user of whom nothing else runs.
const SOMEBODY: u32 = 61_235;
/// Bytes of memory that are looked at at once.
const CHUNK: usize = 1 << 20;

/// How often something lies in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Count {
    /// Where the kernel put the environment when it started the program.
    environment: usize,
    /// Elsewhere.
    elsewhere: usize,
}

const NOWHERE: Count = Count { environment: 0, elsewhere: 0 };
/// Kept for later logins.
const HELD: Count = Count { environment: 0, elsewhere: 1 };
/// The same, and in the environment.
const HELD_AND_GIVEN: Count = Count { environment: 1, elsewhere: 1 };

/// Looks through the memory of a process.
fn count(process: u32, wanted: &[u8]) -> Count {
    let maps = fs::read_to_string(format!("/proc/{process}/maps")).unwrap();
    let memory = File::open(format!("/proc/{process}/mem")).unwrap();
    let mut count = Count::default();
    let (mut seen, mut chunk) = (0, vec![0; CHUNK + wanted.len()]);
    for line in maps.lines() {
        let (range, rest) = line.split_once(' ').unwrap();
        let (start, end) = range.split_once('-').unwrap();
        let address = |text| u64::from_str_radix(text, 16).unwrap();
        let is_stack = rest.ends_with("[stack]");
        // What the kernel shows of itself holds nothing of ours, and cannot be read in this way.
        if !rest.starts_with('r') || ["[vvar]", "[vvar_vclock]", "[vsyscall]"].iter().any(|name| rest.ends_with(name)) {
            continue;
        }
        let (mut at, end) = (address(start), address(end));
        while at < end {
            let length = usize::try_from(end - at).unwrap().min(chunk.len());
            // What was given back meanwhile is gone.
            let Ok(length) = memory.read_at(&mut chunk[..length], at) else { break };
            let part = &chunk[..length];
            // A chunk and the next one overlap by what could be cut in two.
            let starts = part.iter().take(CHUNK).enumerate().filter(|(_, byte)| **byte == wanted[0]);
            let found = starts.filter(|(at, _)| part[*at..].starts_with(wanted)).count();
            *if is_stack { &mut count.environment } else { &mut count.elsewhere } += found;
            seen += length;
            at += length.min(CHUNK) as u64;
        }
    }
    assert!(seen > 1 << 20, "only {seen} bytes could be looked through");
    count
}

/// A key pair of a test, in the folder where ssh-keygen made it.
struct Key {
    folder: TempDir,
    text: String,
    seed: Vec<u8>,
}

impl Key {
    fn new() -> Self {
        Self::of("ed25519")
    }

    fn of(kind: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        keygen(&folder.path().join("key"), kind, "");
        let text = fs::read_to_string(folder.path().join("key")).unwrap();
        let seed = match PrivateKey::from_openssh(&text).unwrap().key_data() {
            KeypairData::Ed25519(pair) => pair.private.to_bytes().to_vec(),
            KeypairData::Ecdsa(pair) => pair.private_key_bytes().to_vec(),
            _ => panic!("{kind}"),
        };
        Self { folder, text, seed }
    }

    /// A file of this content beside it.
    fn write(&self, name: &str, content: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        path
    }

    /// The same key under [`PASSPHRASE`].
    fn encrypted(&self) -> PathBuf {
        let path = self.write("encrypted", &self.text);
        let status =
            Command::new("ssh-keygen").args(["-q", "-p", "-P", "", "-N", PASSPHRASE, "-f"]).arg(&path).status();
        assert!(status.unwrap().success());
        path
    }

    /// A line of the text that holds a part of the seed.
    fn line(&self) -> &str {
        self.text.lines().nth(4).unwrap()
    }

    fn way(&self, name: &'static str) -> Way {
        let public = fs::read_to_string(self.folder.path().join("key.pub")).unwrap();
        // Numbers lie in memory from their other end.
        let reversed: Vec<u8> = self.seed.iter().rev().copied().collect();
        let wanted = vec![("the seed", self.seed.clone(), NOWHERE), ("the seed reversed", reversed, NOWHERE)];
        Way { name, public, variables: Vec::new(), dot_env: String::new(), wanted }
    }
}

/// One way of giving a key.
struct Way {
    name: &'static str,
    /// The line that lets it in.
    public: String,
    variables: Vec<(&'static str, OsString)>,
    dot_env: String,
    /// What must not be found, with where it may be all the same.
    wanted: Vec<(&'static str, Vec<u8>, Count)>,
}

impl Way {
    fn variable(mut self, name: &'static str, value: impl Into<OsString>) -> Self {
        self.variables.push((name, value.into()));
        self
    }

    fn dot_env(mut self, text: impl Into<String>) -> Self {
        self.dot_env = text.into();
        self
    }

    fn wanted(mut self, what: &'static str, bytes: &[u8], count: Count) -> Self {
        self.wanted.push((what, bytes.to_vec(), count));
        self
    }

    #[track_caller]
    fn check(&self, process: u32, when: &str) {
        for (what, bytes, expected) in &self.wanted {
            assert_eq!(count(process, bytes), *expected, "{}, {when}: {what}", self.name);
        }
    }

    /// Runs a `watch` that is given the key in this way, and looks.
    fn run(&self) {
        let mut site = Site::new();
        let early = Cli::new(&site);
        early.add(1, &[site.upload("early.pdf", b"early")]);
        early.line("sync").ends(0);
        let (held, go) = (site.path("held"), site.path("go"));
        let holding = site.path("holding");
        write_program(
            &holding,
            &format!(
                "#!/bin/sh\ncase \" $* \" in *' --server '*) touch {}; while ! test -e {}; do sleep 0.05; done;; esac\nexec rsync \"$@\"\n",
                held.display(),
                go.display()
            ),
        );
        site.variables.remove("NAS_KEY_FILE");
        site.set("NAS_RSYNC_PATH", holding);
        let (home, authorized) = (site.path("work"), site.sshd.path("authorized_keys"));
        fs::create_dir(&home).unwrap();
        fs::write(home.join(".env"), &self.dot_env).unwrap();
        fs::set_permissions(home.join(".env"), fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(&authorized, &self.public).unwrap();
        let mut cli = Cli::new(&site);
        for (name, value) in &self.variables {
            cli.set(name, value);
        }
        cli.working_in(&home);
        let mut others = Cli::new(&site);
        others.unset("NAS_KEY_FILE");

        let goodbyes = || site.sshd.log().matches("Disconnected from user").count();
        let before = goodbyes();
        let mut watch = cli.start(&["watch", "-v", "--interval", "3600"]);
        let state = |wanted: &str| others.line("health --json").json()["state"] == wanted;
        watch.until(|| state("idle"));
        self.check(watch.id(), "before the login");
        others.add(1, &[site.upload("one.pdf", b"one")]);
        watch.until(|| held.exists());
        self.check(watch.id(), "behind the login");
        fs::write(&go, "").unwrap();
        watch.until(|| goodbyes() > before);
        watch.until(|| state("idle"));
        self.check(watch.id(), "when it has logged out");
        watch.signal("TERM");
        watch.wait().ends(143);
    }
}

fn run_all(ways: &[Way]) {
    std::thread::scope(|scope| {
        for way in ways {
            scope.spawn(|| way.run());
        }
    });
}

#[test]
fn of_a_key_in_a_file_nothing_stays_in_memory() {
    if !is_root_or_skipped() {
        return;
    }
    let key = Key::new();
    // A key of PKCS#8 (RFC 8410), as OpenSSL writes it.
    let pkcs8 = [&b"\x30\x2e\x02\x01\x00\x30\x05\x06\x03\x2b\x65\x70\x04\x22\x04\x20"[..], &key.seed].concat();
    let packed = Base64::encode_string(&pkcs8);
    let pkcs8 = format!("-----BEGIN PRIVATE KEY-----\n{packed}\n-----END PRIVATE KEY-----\n");
    let mut sealed = Vec::new();
    let private = PrivateKey::from_openssh(&key.text).unwrap();
    encode_pkcs8_pem_encrypted(&private, PASSPHRASE.as_bytes(), 2048, &mut sealed).unwrap();
    let sealed = key.write("sealed", &String::from_utf8(sealed).unwrap());
    let passphrase = key.write("passphrase", &format!("{PASSPHRASE}\n"));
    let pointer = key.write("pointer", key.encrypted().to_str().unwrap());
    run_all(&[
        key.way("a file").variable("NAS_KEY_FILE", key.write("plain", &key.text)).wanted(
            "its text",
            key.line().as_bytes(),
            NOWHERE,
        ),
        key.way("a file of PKCS#8").variable("NAS_KEY_FILE", key.write("pkcs8", &pkcs8)).wanted(
            "its text",
            &packed.as_bytes()[20..],
            NOWHERE,
        ),
        key.way("an encrypted file, and the passphrase in a file")
            .variable("NAS_KEY_FILE_FILE", pointer)
            .variable("NAS_KEY_PASSPHRASE_FILE", &passphrase)
            .wanted("the passphrase", PASSPHRASE.as_bytes(), NOWHERE),
        key.way("an encrypted file of PKCS#8, and .env names both files")
            .dot_env(format!("NAS_KEY_FILE={}\nNAS_KEY_PASSPHRASE_FILE={}\n", sealed.display(), passphrase.display()))
            .wanted("the passphrase", PASSPHRASE.as_bytes(), NOWHERE),
    ]);
}

/// Not so with RSA, whose arithmetic leaves a prime in two to four places.
#[test]
fn of_a_key_of_another_type_nothing_stays_either() {
    if !is_root_or_skipped() {
        return;
    }
    let key = Key::of("ecdsa");
    run_all(&[key.way("ECDSA").variable("NAS_KEY_FILE", key.write("plain", &key.text))]);
}

#[test]
fn of_a_key_that_is_given_as_text_one_copy_is_kept_for_later_logins() {
    if !is_root_or_skipped() {
        return;
    }
    let key = Key::new();
    let packed = Base64::encode_string(key.text.as_bytes());
    let line = key.line().as_bytes();
    run_all(&[
        key.way("text").variable("NAS_KEY", &key.text).wanted("the text", line, HELD_AND_GIVEN),
        key.way("text with literal line ends").variable("NAS_KEY", key.text.replace('\n', "\\n")).wanted(
            "the text",
            line,
            HELD_AND_GIVEN,
        ),
        key.way("text as Base64").variable("NAS_KEY", &packed).wanted("the text", line, NOWHERE).wanted(
            "the Base64 of it",
            &packed.as_bytes()[200..240],
            HELD_AND_GIVEN,
        ),
        key.way("text in .env")
            .dot_env(format!("# ours\nNAS_KEY=\"{}\" # not to be seen\nOTHER=x\n", key.text))
            .wanted("the text", line, HELD),
    ]);
}

#[test]
fn of_a_passphrase_that_is_given_as_text_one_copy_is_kept_for_later_logins() {
    if !is_root_or_skipped() {
        return;
    }
    let key = Key::new();
    let file = key.encrypted();
    let text = fs::read_to_string(&file).unwrap();
    run_all(&[
        key.way("a passphrase").variable("NAS_KEY_FILE", &file).variable("NAS_KEY_PASSPHRASE", PASSPHRASE).wanted(
            "the passphrase",
            PASSPHRASE.as_bytes(),
            HELD_AND_GIVEN,
        ),
        key.way("encrypted text and a passphrase in .env")
            .variable("NAS_KEY", text)
            .dot_env(format!("NAS_KEY_PASSPHRASE='{PASSPHRASE}'"))
            .wanted("the passphrase", PASSPHRASE.as_bytes(), HELD),
    ]);
}

#[test]
fn other_processes_of_the_same_user_cannot_look_into_it() {
    if !is_root_or_skipped() {
        return;
    }
    let site = Site::new();
    let program = site.path("nas-sync");
    // By a process of its own: while this one writes, a child of another test may hold it open, and it could not be started.
    assert!(Command::new("cp").arg(PROGRAM).arg(&program).status().unwrap().success());
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    chown(site.path(""), Some(SOMEBODY), Some(SOMEBODY)).unwrap();
    let as_somebody = |words: &[&OsStr]| {
        let mut command = Command::new("setpriv");
        command.args(["--reuid", &SOMEBODY.to_string(), "--clear-groups"]).args(words).current_dir(site.path(""));
        command.env("NAS_KEY_PASSPHRASE", PASSPHRASE).envs(&site.variables).stdout(Stdio::piped());
        command.stderr(Stdio::null());
        command.spawn().unwrap()
    };
    let can_see = |other: &Child| {
        let environment = format!("/proc/{}/environ", other.id());
        let output = as_somebody(&["cat".as_ref(), environment.as_ref()]).wait_with_output().unwrap();
        output.stdout.windows(PASSPHRASE.len()).any(|bytes| bytes == PASSPHRASE.as_bytes())
    };
    let mut ours = as_somebody(&[program.as_os_str(), "watch".as_ref()]);
    let mut ordinary = as_somebody(&["sleep".as_ref(), "600".as_ref()]);
    until("an ordinary program can be looked into", LONGEST, || can_see(&ordinary));
    let name = format!("/proc/{}/comm", ours.id());
    until("it runs", LONGEST, || fs::read_to_string(&name).is_ok_and(|name| name == "nas-sync\n"));
    until("it is closed", LONGEST, || !can_see(&ours));
    assert!(ours.try_wait().unwrap().is_none(), "it runs");
    for child in [&mut ours, &mut ordinary] {
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
