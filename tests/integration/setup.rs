//! `setup`: from nothing but a NAS, its address and a password, to a document that is verified there. Against real accounts
//! of a real sshd, with no other program on this side.

mod faults;
mod ground;
mod locked;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::support::cli::Run;
use crate::support::sshd::Setup;
use crate::support::terminal::AtTerminal;
use crate::support::{Account, Cli, Site};

/// A NAS with an account, and a clean machine beside it.
struct Place {
    account: Account,
    site: Site,
    cli: Cli,
    folder: PathBuf,
}

impl Place {
    fn new(server: impl FnOnce() -> Setup) -> Option<Self> {
        let account = Account::new()?;
        let site = Site::with(server().start());
        let folder = account.make_folder("Mes factures");
        let mut cli = Cli::new(&site);
        cli.variables.retain(|name, _| name == "PATH");
        let clean = site.path("clean");
        fs::create_dir(&clean).unwrap();
        cli.set("HOME", &clean).working_in(&clean);
        cli.keep_secret(account.password());
        Some(Self { account, site, cli, folder })
    }

    /// `setup --yes` with all that it needs; each of the words replaces what stands before the first `=` in it.
    fn words(&self, more: &[&str]) -> Vec<String> {
        let port = self.site.sshd.port().to_string();
        let password = self.account.password_file();
        let all = [
            ("--nas-host", "127.0.0.1"),
            ("--port", &port),
            ("--nas-user", self.account.name()),
            ("--nas-path", self.folder.to_str().unwrap()),
            ("--password-file", password.to_str().unwrap()),
        ];
        let is_replaced = |flag: &str| more.iter().any(|word| word.split('=').next() == Some(flag));
        let kept = all.iter().filter(|(flag, _)| !is_replaced(flag)).map(|(flag, value)| format!("{flag}={value}"));
        let start = ["setup", "--yes", "--accept-new-host-key"].map(ToOwned::to_owned);
        start.into_iter().chain(kept).chain(more.iter().map(|word| (*word).to_owned())).collect()
    }

    fn setup(&self, more: &[&str]) -> Run {
        self.cli.run(&self.words(more))
    }

    /// `doctor --json` with the same NAS; each of the words replaces what stands before the first `=` in it.
    fn doctor(&self, more: &[&str]) -> Run {
        let is_shared = |word: &String| word.starts_with("--nas-") || word.starts_with("--port");
        let shared = self.words(more).into_iter().filter(is_shared).filter(|word| !word.ends_with('='));
        let others = more.iter().filter(|word| !word.starts_with("--nas-") && !word.starts_with("--port"));
        let start = ["doctor", "--json", "--accept-new-host-key"].map(ToOwned::to_owned);
        self.cli.run(&start.into_iter().chain(shared).chain(others.map(|word| (*word).to_owned())).collect::<Vec<_>>())
    }

    /// Insists that `doctor` finds nothing that keeps a sync from working, with what `setup` wrote and nothing else.
    #[track_caller]
    fn is_healthy(&self) -> Diagnosis {
        let run = self.cli.line("doctor --json");
        assert_eq!(run.ends(0).json()["healthy"], true, "{}", run.all());
        Diagnosis(run.json())
    }

    fn here(&self, name: &str) -> PathBuf {
        self.site.path("clean").join(name)
    }

    fn authorized_keys(&self) -> String {
        fs::read_to_string(self.account.home().join(".ssh/authorized_keys")).unwrap_or_default()
    }

    /// Adds, sends and verifies a document, with what `setup` left and nothing else.
    #[track_caller]
    fn a_document_arrives(&self) {
        let path = self.site.upload("Facture n° 1.pdf", b"facture");
        self.cli.add(7, &[path]);
        self.cli.line("sync").ends(0);
        let run = self.cli.line("verify --json");
        assert_eq!(run.ends(0).json()["equal"], 1, "{}", run.all());
    }

    fn logins(&self, method: &str) -> usize {
        self.site.sshd.log().matches(&format!("Accepted {method}")).count()
    }
}

/// What `doctor --json` prints.
struct Diagnosis(Value);

impl Diagnosis {
    /// One check; null where it was not made.
    fn check(&self, name: &str) -> &Value {
        let checks = self.0["checks"].as_array().unwrap();
        checks.iter().find(|check| check["name"] == name).unwrap_or(&Value::Null)
    }

    /// Insists that this check is the first problem, that none behind it that needs it was made, and that its solution says this.
    #[track_caller]
    fn finds(&self, name: &str, kind: &str, solution: &str) {
        let checks = self.0["checks"].as_array().unwrap();
        let first = checks.iter().find(|check| check["status"] == "problem").unwrap_or(&Value::Null);
        assert_eq!((&first["name"], &first["error"]["kind"]), (&name.into(), &kind.into()), "{}", self.0);
        assert!(first["solution"].as_str().unwrap().contains(solution), "{solution}: {}", self.0);
        assert_eq!(self.0["healthy"], false, "{}", self.0);
        assert!(self.check("level").is_null(), "{}", self.0);
    }
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

/// All files below a folder, as paths from there.
fn files(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(
                files(&path).into_iter().map(|below| format!("{}/{below}", path.file_name().unwrap().display())),
            );
        } else {
            found.push(path.file_name().unwrap().display().to_string());
        }
    }
    found
}

#[test]
fn by_flags_from_nothing_to_a_verified_document_and_again() {
    let Some(place) = Place::new(Account::sshd_with_passwords) else { return };
    let run = place.setup(&[]);
    run.ends(0);
    for part in [
        "), accepted",
        "by password",
        "made nas_key",
        "`restrict`",
        "by the key",
        "is writable",
        "written: NAS_HOST",
        "Next:",
    ] {
        assert!(run.stdout.contains(part), "{part}: {}", run.all());
    }
    assert_eq!((mode(&place.here(".env")), mode(&place.here("nas_key"))), (0o600, 0o600));
    let home = place.account.home();
    assert_eq!((mode(&home.join(".ssh")), mode(&home.join(".ssh/authorized_keys"))), (0o700, 0o600));
    assert!(place.authorized_keys().starts_with("restrict ssh-ed25519 "), "{}", place.authorized_keys());
    assert_eq!((place.logins("password"), place.logins("publickey")), (1, 2));
    place.a_document_arrives();
    let stored = files(&place.folder);
    assert!(stored.len() == 1 && stored[0].ends_with("/1_Facture n° 1.pdf"), "a name that cannot clash: {stored:?}");

    // Again: nothing changes, and no password is sent.
    let (env, keys) = (fs::read(place.here(".env")).unwrap(), place.authorized_keys());
    let run = place.setup(&["--password-file=/nonexistent"]);
    assert!(run.ends(0).stdout.contains("holds all this already"), "{}", run.all());
    assert_eq!((fs::read(place.here(".env")).unwrap(), place.authorized_keys()), (env.clone(), keys.clone()));
    assert_eq!(place.logins("password"), 1);

    // A key that was thrown out is let in again, beside those of others.
    fs::write(home.join(".ssh/authorized_keys"), "ssh-rsa AAAA somebody's").unwrap();
    let object = place.setup(&["--json"]).ends(0).json();
    assert_eq!(place.authorized_keys(), format!("ssh-rsa AAAA somebody's\n{keys}"));
    assert_eq!((&object["success"], &object["key_file"]), (&true.into(), &"nas_key".into()));
    assert_eq!(fs::read(place.here(".env")).unwrap(), env);
    let mut left = files(&place.site.path("clean"));
    left.sort();
    assert_eq!(left, [".env", "nas-sync.db", "nas_key", "nas_key.pub"], "no litter");
}

#[test]
fn at_a_terminal_each_question_is_answered_and_the_password_is_not_shown() {
    let Some(place) = Place::new(Account::sshd_with_passwords) else { return };
    fs::write(place.here(".env"), "# of the application\nSECRET=1\n").unwrap();
    let port = place.site.sshd.port().to_string();
    let mut person = AtTerminal::start(place.cli.command(&["setup"]));
    person.answer("Name or address of the NAS", "127.0.0.1:ssh");
    person.expect("without a port");
    person.answer("Name or address of the NAS", "127.0.0.1:77777");
    person.expect("must be a whole number from 1 to 65535");
    person.answer("Name or address of the NAS", &format!("127.0.0.1:{port}"));
    person.answer("User on the NAS:", place.account.name());
    person.answer("Is it the one that the NAS shows? (yes/no)", "what?");
    person.answer("Is it the one that the NAS shows? (yes/no)", "yes");
    person.answer("used once and not kept:", "wrong");
    person.expect("refused the password");
    person.answer("used once and not kept:", place.account.password());
    person.answer("or another path):", "99");
    person.expect("the list goes from 1 to");
    person.answer("or another path):", "/nonexistent/docs");
    person.answer("is not there. Make it? (yes/no)", "no");
    let folder = place.folder.join("new");
    person.answer("or another path):", folder.to_str().unwrap());
    person.answer("is not there. Make it? (yes/no)", "yes");
    let (code, shown) = person.end();
    assert_eq!(code, Some(0), "{shown}");
    assert!(!shown.contains(place.account.password()) && !shown.contains("wrong"), "{shown}");
    assert!(shown.contains("Next: "), "{shown}");
    let env = fs::read_to_string(place.here(".env")).unwrap();
    assert!(env.starts_with("# of the application\nSECRET=1\nNAS_HOST=127.0.0.1\n"), "{env}");
    place.a_document_arrives();
    assert_eq!(files(&folder).len(), 1);

    // What stands there is only replaced when that is agreed to.
    let words = ["setup", "--nas-path", place.folder.to_str().unwrap()];
    let mut person = AtTerminal::start(place.cli.command(&words));
    person.answer("Replace it? (yes/no)", "no");
    let (code, shown) = person.end();
    assert_eq!((code, fs::read_to_string(place.here(".env")).unwrap()), (Some(2), env), "{shown}");
    let mut person = AtTerminal::start(place.cli.command(&words));
    person.answer("Replace it? (yes/no)", "yes");
    let (code, shown) = person.end();
    assert_eq!(code, Some(0), "{shown}");
    let env = fs::read_to_string(place.here(".env")).unwrap();
    assert!(env.contains("/Mes factures'\n") && !env.contains("/new"), "{env}");
}

#[test]
fn an_interrupted_question_leaves_the_terminal_as_it_was() {
    let Some(place) = Place::new(Account::sshd_with_passwords) else { return };
    let words = place.words(&["--password-file="]);
    let is_kept = |word: &&String| !["--yes", "--password-file="].contains(&word.as_str());
    let mut person = AtTerminal::start(place.cli.command(&words.iter().filter(is_kept).collect::<Vec<_>>()));
    person.expect("used once and not kept:");
    assert!(!person.shows_typing());
    assert_eq!(person.interrupt(), Some(130));
    assert!(person.shows_typing());
    let (_, shown) = person.end();
    assert!(shown.ends_with('\n'), "{shown:?}");
    assert!(!place.here("nas_key").exists() && !place.here(".env").exists());
}

#[test]
fn the_password_may_come_from_standard_input() {
    let Some(place) = Place::new(Account::sshd_with_passwords) else { return };
    let words = place.words(&["--password-file="]);
    let words: Vec<&String> = words.iter().filter(|word| *word != "--password-file=").collect();
    let mut command = place.cli.command(&words);
    command.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped());
    let mut child = command.spawn().unwrap();
    let input = format!("{}\nand more", place.account.password());
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), input.as_bytes()).unwrap();
    assert!(child.wait_with_output().unwrap().status.success(), "{}", place.site.sshd.log());
    assert_eq!(place.logins("publickey"), 2);
}

#[test]
fn a_key_that_is_installed_by_hand_needs_no_password() {
    let Some(place) = Place::new(Account::sshd) else { return };
    let run = place.cli.line("setup --print-key --nas-host nas --nas-user me");
    let line = run.ends(0).stdout.trim().to_owned();
    assert!(line.starts_with("restrict ssh-ed25519 ") && run.stderr.contains(&line), "{}", run.all());
    for name in ["Synology", "QNAP", "TrueNAS", "not tried"] {
        assert!(run.stderr.contains(name), "{name}: {}", run.all());
    }
    assert_eq!(place.cli.line("setup --print-key").ends(0).stdout.trim(), line, "the same key again");
    let ssh = place.account.home().join(".ssh");
    fs::create_dir(&ssh).unwrap();
    fs::write(ssh.join("authorized_keys"), format!("{line}\n")).unwrap();
    place.account.own(&ssh, 0o700);
    place.account.own(&ssh.join("authorized_keys"), 0o600);
    place.setup(&["--password-file=/nonexistent"]).ends(0);
    place.a_document_arrives();
}
