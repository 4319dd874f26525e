//! Logging in with a password, where a NAS takes no keys: against real accounts of a real sshd, and PAM.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use nas_sync::internal::transport::ssh::{Identity, LoginQuestion, Person, SshClient, UnknownHostKey};
use nas_sync::{ErrorKind, Secret};
use zeroize::Zeroizing;

use crate::support::mock_ssh::{MockSsh, Quirk};
use crate::support::sshd::Setup;
use crate::support::{Account, Cli, Site, Sshd, with};

/// A site whose NAS user is an account with a password, and whose key is not let in.
fn site(account: &Account, server: Setup) -> Site {
    let mut site = Site::with(server.start());
    site.set("NAS_USER", account.name());
    site.set("NAS_PATH", account.make_folder("nas"));
    site.set("NAS_PASSWORD_FILE", account.password_file());
    site
}

fn cli(site: &Site, account: &Account) -> Cli {
    let mut cli = Cli::new(site);
    cli.keep_secret(account.password());
    cli
}

/// How often the server was given a password, and how often it took it.
fn passwords(sshd: &Sshd) -> [usize; 2] {
    ["Failed password", "Accepted password"].map(|words| sshd.log().matches(words).count())
}

#[test]
fn where_no_key_is_taken_a_password_lets_everything_through() {
    let Some(account) = Account::new() else { return };
    let mut site = site(&account, Account::sshd_with_passwords().line("PubkeyAuthentication no"));
    // There need not be a key.
    site.variables.remove("NAS_KEY_FILE");
    let cli = cli(&site, &account);
    let run = cli.line("config");
    assert!(run.ends(0).stdout.contains("(set; a key goes first)"), "{}", run.all());
    cli.line("test").ends(0);
    let paths: Vec<PathBuf> = (0..3).map(|number| site.upload(&format!("{number}.pdf"), b"facture")).collect();
    cli.add(1, &paths);
    cli.line("sync").ends(0);
    cli.line("verify").ends(0);
    assert_eq!(fs::read(PathBuf::from(&site.variables["NAS_PATH"]).join("2.pdf")).unwrap(), b"facture");
    assert_eq!(passwords(&site.sshd), [0, 3], "{}", site.sshd.log());

    // The variable does, too, and what is pushed needs no key either.
    let mut cli = cli;
    cli.unset("NAS_PASSWORD_FILE").set("NAS_PASSWORD", account.password());
    cli.line("test").ends(0);
    let target = format!("{}@127.0.0.1:{}/", account.name(), site.variables["NAS_PATH"].display());
    let port = format!("ssh -p {}", site.sshd.port());
    cli.run(&["push", "-e", &port, paths[0].to_str().unwrap(), &target]).ends(0);
    assert_eq!(passwords(&site.sshd), [0, 5], "{}", site.sshd.log());
}

#[test]
fn a_key_goes_first_and_then_no_password_is_sent() {
    let Some(account) = Account::new() else { return };
    let site = site(&account, Account::sshd_with_passwords());
    let ssh = account.home().join(".ssh");
    fs::create_dir(&ssh).unwrap();
    fs::copy(site.sshd.path("user_ed25519.pub"), ssh.join("authorized_keys")).unwrap();
    account.own(&ssh, 0o700);
    account.own(&ssh.join("authorized_keys"), 0o600);
    cli(&site, &account).line("test").ends(0);
    assert_eq!(passwords(&site.sshd), [0, 0], "{}", site.sshd.log());

    // A key that is refused is no hindrance.
    fs::write(ssh.join("authorized_keys"), "").unwrap();
    cli(&site, &account).line("test").ends(0);
    assert_eq!(passwords(&site.sshd), [0, 1], "{}", site.sshd.log());
}

#[test]
fn a_wrong_password_is_sent_once_and_named() {
    let Some(account) = Account::new() else { return };
    let mut site = site(&account, Account::sshd_with_passwords().line("KbdInteractiveAuthentication yes"));
    site.set("NAS_PASSWORD", "not that one");
    site.variables.remove("NAS_PASSWORD_FILE");
    let mut cli = cli(&site, &account);
    cli.keep_secret("not that one");
    let run = cli.line("test --json");
    let error = &run.ends(3).json()["error"];
    assert_eq!(error["kind"], "login_refused");
    for (key, part) in [("message", "refused the password of"), ("solution", "NAS_PASSWORD_FILE")] {
        assert!(error[key].as_str().unwrap().contains(part), "{error}");
    }
    assert_eq!(passwords(&site.sshd), [1, 0], "{}", site.sshd.log());

    // Neither is it sent to a host that may be another one, nor to one that asks for none.
    fs::write(site.sshd.path("known_hosts"), "").unwrap();
    let run = cli.line("test --json");
    assert_eq!(run.ends(3).json()["error"]["kind"], "host_key_unknown");
    assert_eq!(passwords(&site.sshd), [1, 0], "{}", site.sshd.log());
}

#[test]
fn a_server_that_takes_keys_only_sees_no_password() {
    let Some(account) = Account::new() else { return };
    let site = site(&account, Account::sshd());
    let run = cli(&site, &account).line("test --json");
    let error = &run.ends(3).json()["error"];
    assert!(error["message"].as_str().unwrap().ends_with("it would accept: publickey"), "{error}");
    assert!(error["solution"].as_str().unwrap().starts_with("Allow login with a password"), "{error}");
}

#[test]
fn a_password_that_is_not_there_is_named_by_its_file() {
    let Some(account) = Account::new() else { return };
    let site = site(&account, Account::sshd_with_passwords());
    let cli = cli(&site, &account);
    fs::remove_file(account.password_file()).unwrap();
    let run = cli.line("test --json");
    let error = &run.ends(2).json()["error"];
    assert!(error["message"].as_str().unwrap().contains("NAS_PASSWORD_FILE: cannot read"), "{error}");
}

#[test]
fn pam_gets_the_password_as_the_answer_to_its_question() {
    let Some(account) = Account::new() else { return };
    let server = Account::sshd().line("UsePAM yes").line("KbdInteractiveAuthentication yes");
    let site = site(&account, server);
    cli(&site, &account).line("test").ends(0);
    assert_eq!(site.sshd.log().matches("Accepted keyboard-interactive/pam").count(), 1, "{}", site.sshd.log());
}

#[tokio::test]
async fn a_code_is_asked_for_from_a_person_and_where_there_is_none_the_question_is_shown() {
    let mock = MockSsh::start(Quirk::AsksForACode);
    let mut config =
        with!(mock.config(), identity: Identity::Files(Vec::new()), unknown_host_key: UnknownHostKey::Accept);
    config.password = Some(Secret::new("sesame".into()));
    let error = SshClient::connect(&config).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::LoginRefused);
    assert!(error.message().ends_with("for more than a password: Verification code:"), "{error}");
    assert_eq!(error.details(), Some("Two steps to \\x1b[31mgo"));

    let asked = Arc::new(Mutex::new(Vec::<LoginQuestion>::new()));
    let heard = Arc::clone(&asked);
    config.person = Some(Person::new(move |question| {
        heard.lock().unwrap().push(question.clone());
        Ok(Zeroizing::new("123456".into()))
    }));
    let client = SshClient::connect(&config).await.unwrap();
    client.disconnect().await;
    let asked = std::mem::take(&mut *asked.lock().unwrap());
    assert_eq!(asked.len(), 1, "the password is known: {asked:?}");
    assert_eq!((asked[0].prompt.as_str(), asked[0].echo), ("Verification code:", true));

    config.person = Some(Person::new(|_| Err(io::Error::other("they left"))));
    let error = SshClient::connect(&config).await.unwrap_err();
    assert_eq!(error.message(), "nobody answers \"Verification code:\": they left");
}
