//! The SSH client against a real OpenSSH server, and against things that are none.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nas_sync::Secret;
use nas_sync::internal::transport::ssh::{
    CipherList, HostKeyPin, Identity, LegacyAlgorithms, SYSTEM_KNOWN_HOSTS, SshClient, SshConfig, UnknownHostKey,
};
use nas_sync::{ErrorKind, NasSyncError};

use crate::support::sshd::{collect, free_port, keygen, user};
use crate::support::{Sshd, until};

pub async fn connect(config: &SshConfig) -> SshClient {
    SshClient::connect(config).await.expect("the login works")
}

pub async fn refused(config: &SshConfig, kind: ErrorKind) -> NasSyncError {
    let error = SshClient::connect(config).await.expect_err("the login must fail");
    assert_eq!(error.kind(), kind, "{error}\n{:?}", error.details());
    error
}

/// A listener that treats each connection in a thread of its own. Returns a configuration that leads there.
pub fn impostor(folder: &Path, serve: impl Fn(std::net::TcpStream) + Send + Sync + Clone + 'static) -> SshConfig {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let mut config = SshConfig::new("127.0.0.1", "me");
    config.port = listener.local_addr().expect("an address").port();
    config.identity = Identity::Files(vec![folder.join("key")]);
    config.known_hosts = vec![folder.join("known_hosts")];
    config.connect_timeout = Duration::from_secs(2);
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let serve = serve.clone();
            std::thread::spawn(move || serve(stream));
        }
    });
    config
}

struct Agent {
    process: Child,
    socket: PathBuf,
}

impl Agent {
    fn start(socket: PathBuf) -> Self {
        let process = Command::new("ssh-agent")
            .arg("-D")
            .arg("-a")
            .arg(&socket)
            .stdout(Stdio::null())
            .spawn()
            .expect("ssh-agent runs");
        until("the agent listens", Duration::from_secs(30), || socket.exists());
        Self { process, socket }
    }

    fn add(&self, key: &PathBuf) {
        let status =
            Command::new("ssh-add").arg("-q").arg(key).env("SSH_AUTH_SOCK", &self.socket).stdin(Stdio::null()).status();
        assert!(status.expect("ssh-add runs").success());
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[tokio::test]
async fn every_kind_of_key_logs_in() {
    let sshd = Sshd::start();
    let mut config = sshd.config();
    for (kind, passphrase) in [("ed25519", ""), ("ecdsa", ""), ("rsa", ""), ("ed25519", "opensesame")] {
        let path = sshd.add_user_key(&format!("{kind}{passphrase}"), kind, passphrase);
        config.identity = Identity::Files(vec![path.clone()]);
        config.passphrase = (!passphrase.is_empty()).then(|| Secret::new(passphrase.to_owned()));
        let client = connect(&config).await;
        assert!(client.server_version().starts_with("SSH-2.0-OpenSSH"), "{}", client.server_version());
        client.disconnect().await;
        config.identity = Identity::Text(Secret::new(fs::read_to_string(&path).unwrap()));
        connect(&config).await;
    }
    config.passphrase = Some(Secret::new(String::from("wrong")));
    assert!(refused(&config, ErrorKind::KeyUnusable).await.message().contains("passphrase"));
    config.passphrase = None;
    assert!(refused(&config, ErrorKind::KeyUnusable).await.message().contains("no passphrase"));
}

#[tokio::test]
async fn the_agent_logs_in_and_unlocks_a_locked_file() {
    let sshd = Sshd::start();
    let agent = Agent::start(sshd.path("agent"));
    let mut config = sshd.config();
    config.agent = Some(agent.socket.clone());
    config.identity = Identity::Agent;
    assert!(refused(&config, ErrorKind::KeyUnusable).await.message().contains("no keys"));
    agent.add(&sshd.path("user_ed25519"));
    connect(&config).await;

    let locked = sshd.add_user_key("locked", "rsa", "");
    agent.add(&locked);
    let status = Command::new("ssh-keygen").args(["-q", "-p", "-P", "", "-N", "secret", "-f"]).arg(&locked).status();
    assert!(status.unwrap().success());
    config.identity = Identity::Files(vec![locked]);
    connect(&config).await;
    config.agent = None;
    assert!(refused(&config, ErrorKind::KeyUnusable).await.message().contains("no passphrase"));
}

#[tokio::test]
async fn an_agent_full_of_strange_keys_is_not_tried_to_the_end() {
    let sshd = Sshd::start();
    let agent = Agent::start(sshd.path("agent"));
    for number in 0..5 {
        let path = sshd.path(&format!("strange{number}"));
        keygen(&path, "ed25519", "");
        agent.add(&path);
    }
    let mut config = sshd.config();
    config.agent = Some(agent.socket.clone());
    config.identity = Identity::Agent;
    let error = refused(&config, ErrorKind::LoginRefused).await;
    assert_eq!(error.message().matches("SHA256:").count(), 3, "{error}");
}

#[tokio::test]
async fn a_refused_key_is_offered_once_and_named() {
    let sshd = Sshd::start();
    let mut config = sshd.config();
    let stranger = sshd.path("stranger");
    keygen(&stranger, "ed25519", "");
    config.identity = Identity::Files(vec![stranger]);
    let error = refused(&config, ErrorKind::LoginRefused).await;
    for part in [&user(), "127.0.0.1", "ssh-ed25519", "SHA256:", "stranger", "publickey"] {
        assert!(error.message().contains(part), "{part}: {error}");
    }
    assert_eq!(sshd.log().matches("Failed publickey").count(), 1, "{}", sshd.log());
}

#[tokio::test]
async fn a_second_factor_is_explained() {
    let sshd = Sshd::setup()
        .line("AuthenticationMethods publickey,keyboard-interactive")
        .line("KbdInteractiveAuthentication yes")
        .line("Banner /etc/hostname")
        .start();
    let error = refused(&sshd.config(), ErrorKind::LoginRefused).await;
    assert!(error.message().contains("keyboard-interactive") && error.message().contains("took the key"), "{error}");
    assert_eq!(error.details(), Some(fs::read_to_string("/etc/hostname").unwrap().trim()));
}

#[tokio::test]
async fn a_key_open_to_others_is_refused_before_anything_is_sent() {
    let sshd = Sshd::start();
    let config = sshd.config();
    fs::set_permissions(sshd.path("user_ed25519"), fs::Permissions::from_mode(0o644)).unwrap();
    let error = refused(&config, ErrorKind::KeyUnusable).await;
    assert!(error.solution().starts_with("chmod 600 "), "{}", error.solution());
}

/// Stays until the client leaves, and says nothing.
pub fn listens(mut stream: TcpStream) {
    let _ = std::io::copy(&mut stream, &mut std::io::sink());
}

#[tokio::test]
async fn what_is_no_ssh_server_is_said_to_be_none() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    keygen(&folder.join("key"), "ed25519", "");
    let mut config = impostor(folder, |_| ());
    config.port = free_port();
    refused(&config, ErrorKind::ConnectionRefused).await;
    config.host = String::from("does-not-exist.invalid");
    refused(&config, ErrorKind::NameNotResolved).await;

    let started = Instant::now();
    let mute = impostor(folder, listens);
    let error = refused(&mute, ErrorKind::ConnectionTimedOut).await;
    assert!(error.message().contains("said nothing"), "{error}");
    // The deadline is what is tested.
    assert!(started.elapsed() < Duration::from_secs(5));

    let web = impostor(folder, |mut stream| {
        let _ = stream.read(&mut [0; 256]);
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n\x1b[31m");
    });
    let error = refused(&web, ErrorKind::NotSsh).await;
    assert!(error.message().contains("HTTP/1.1 400") && error.message().contains("\\x1b"), "{error}");

    let mail = impostor(folder, |mut stream| {
        let _ = stream.write_all(b"220 mail ready\r\n");
        listens(stream);
    });
    refused(&mail, ErrorKind::NotSsh).await;

    let closing = impostor(folder, drop);
    refused(&closing, ErrorKind::ConnectionLost).await;

    let old = impostor(folder, |mut stream| {
        let _ = stream.write_all(b"SSH-2.0-old\r\n\xff\xff\xff\xff garbage that is no packet");
        listens(stream);
    });
    refused(&old, ErrorKind::NotSsh).await;
}

#[tokio::test]
async fn an_unknown_host_is_refused_until_accepted_then_known() {
    let sshd = Sshd::start();
    let mut config = sshd.config();
    config.known_hosts = vec![sshd.path("new/known_hosts")];
    let error = refused(&config, ErrorKind::HostKeyUnknown).await;
    let fingerprint = error.message().split_whitespace().find(|word| word.starts_with("SHA256:")).unwrap().to_owned();
    for part in [
        "--accept-new-host-key",
        &format!("NAS_HOST_KEY={fingerprint}"),
        "new/known_hosts",
        sshd.known_hosts_line(&sshd.host_public_keys()[0]).trim(),
    ] {
        assert!(error.solution().contains(part), "{part}: {}", error.solution());
    }
    assert!(!config.known_hosts[0].exists());

    config.unknown_host_key = UnknownHostKey::Accept;
    assert_eq!(connect(&config).await.host_key_fingerprint(), fingerprint);
    config.unknown_host_key = UnknownHostKey::Refuse;
    connect(&config).await;
    let recorded = fs::read_to_string(&config.known_hosts[0]).unwrap();
    assert_eq!(recorded, sshd.known_hosts_line(&sshd.host_public_keys()[0]));
}

#[tokio::test]
async fn a_key_is_never_recorded_for_the_whole_machine() {
    let sshd = Sshd::start();
    let mut config = sshd.config();
    // As it is where there is no home.
    config.known_hosts = vec![SYSTEM_KNOWN_HOSTS.into()];
    config.unknown_host_key = UnknownHostKey::Accept;
    let before = fs::read(SYSTEM_KNOWN_HOSTS).ok();
    let error = refused(&config, ErrorKind::HostKeyUnknown).await;
    assert!(error.message().contains("HOME is not set"), "{error}");
    assert!(
        error.solution().contains("NAS_KNOWN_HOSTS") && error.solution().contains("NAS_HOST_KEY=SHA256:"),
        "{error}"
    );
    assert_eq!(fs::read(SYSTEM_KNOWN_HOSTS).ok(), before);
}

#[tokio::test]
async fn a_changed_or_revoked_host_key_is_always_refused() {
    let sshd = Sshd::setup().host_keys(&["ed25519", "ecdsa"]).start();
    let mut config = sshd.config();
    config.unknown_host_key = UnknownHostKey::Accept;
    let file = config.known_hosts[0].clone();
    keygen(&sshd.path("other"), "ed25519", "");
    let public = fs::read_to_string(sshd.path("other.pub")).unwrap();
    fs::write(&file, format!("# comment\n{}", sshd.known_hosts_line(public.trim()))).unwrap();
    let error = refused(&config, ErrorKind::HostKeyChanged).await;
    assert!(error.message().contains("known_hosts:2") && error.message().matches("SHA256:").count() == 2, "{error}");

    // Recorded with a type that the server does not have: known, so a new type is not trusted.
    keygen(&sshd.path("rsa"), "rsa", "");
    let public = fs::read_to_string(sshd.path("rsa.pub")).unwrap();
    fs::write(&file, sshd.known_hosts_line(public.trim())).unwrap();
    let error = refused(&config, ErrorKind::HostKeyChanged).await;
    assert!(error.message().contains("ssh-rsa"), "{error}");

    let ed25519 = sshd.host_public_keys().into_iter().find(|key| key.starts_with("ssh-ed25519")).unwrap();
    let line = sshd.known_hosts_line(&ed25519);
    fs::write(&file, format!("{line}@revoked * {ed25519}\n")).unwrap();
    let error = refused(&config, ErrorKind::HostKeyRevoked).await;
    assert!(error.message().contains("known_hosts:2"), "{error}");

    fs::write(&file, format!("{line}garbage\n")).unwrap();
    assert!(refused(&config, ErrorKind::KnownHostsUnusable).await.message().contains(":2 "));
}

#[tokio::test]
async fn a_server_with_several_keys_shows_the_recorded_one() {
    let sshd = Sshd::setup().host_keys(&["ed25519", "ecdsa", "rsa"]).start();
    let mut config = sshd.config();
    let file = config.known_hosts[0].clone();
    for key in sshd.host_public_keys() {
        fs::write(&file, sshd.known_hosts_line(&key)).unwrap();
        assert_eq!(Some(connect(&config).await.host_key_type()), key.split(' ').next());
        // A record without the port vouches for the same key.
        if key.starts_with("ssh-ed25519") {
            fs::write(&file, format!("127.0.0.1 {key}\n")).unwrap();
            connect(&config).await;
        }
    }
    fs::write(&file, sshd.known_hosts_line(&sshd.host_public_keys()[0])).unwrap();
    assert!(Command::new("ssh-keygen").arg("-qHf").arg(&file).stderr(Stdio::null()).status().unwrap().success());
    assert!(fs::read_to_string(&file).unwrap().starts_with("|1|"));
    connect(&config).await;
    config.host = String::from("LocalHost");
    refused(&config, ErrorKind::HostKeyUnknown).await;
    let pattern = format!("[localh?st]:{} {}\n", sshd.port(), sshd.host_public_keys()[0]);
    fs::write(&file, pattern).unwrap();
    connect(&config).await;
}

#[tokio::test]
async fn a_pinned_key_beats_the_file_whatever_its_type() {
    let sshd = Sshd::setup().host_keys(&["ed25519", "ecdsa", "rsa"]).start();
    let mut config = sshd.config();
    fs::write(&config.known_hosts[0], "not even a known_hosts file\n").unwrap();
    for kind in ["ed25519", "ecdsa", "rsa"] {
        let path = sshd.path(&format!("host_{kind}.pub"));
        let output = Command::new("ssh-keygen").arg("-lf").arg(path).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let fingerprint = text.split(' ').nth(1).unwrap();
        config.host_key = Some(HostKeyPin::parse(fingerprint).unwrap());
        assert_eq!(connect(&config).await.host_key_fingerprint(), fingerprint);
    }
    let wrong = "SHA256:Nh0Me49Zh9fDw/VYUfq43IJmI1T+XrjiYONPND8GzaM";
    config.host_key = Some(HostKeyPin::parse(wrong).unwrap());
    config.unknown_host_key = UnknownHostKey::Accept;
    let error = refused(&config, ErrorKind::HostKeyChanged).await;
    assert!(error.message().contains(wrong) && error.message().matches("SHA256:").count() == 4, "{error}");
}

#[tokio::test]
async fn old_algorithms_need_permission() {
    let sshd = Sshd::setup()
        .line("KexAlgorithms diffie-hellman-group14-sha1")
        .line("MACs hmac-sha1")
        .line("Ciphers aes128-cbc")
        .start();
    let mut config = sshd.config();
    let error = refused(&config, ErrorKind::NoCommonAlgorithm).await;
    assert!(error.solution().contains("--legacy-ssh"), "{}", error.solution());
    let details = error.details().unwrap();
    assert!(
        details.contains("theirs: diffie-hellman-group14-sha1") && details.contains("curve25519-sha256"),
        "{details}"
    );
    config.legacy = LegacyAlgorithms::Allow;
    let client = connect(&config).await;
    assert_eq!(collect(client.exec(b"echo old").await.unwrap()).await.stdout, b"old\n");
}

#[tokio::test]
async fn a_recorded_key_that_signs_by_an_old_algorithm_only_has_not_changed() {
    let sshd = Sshd::setup().host_keys(&["ed25519", "rsa"]).line("HostKeyAlgorithms ssh-rsa").start();
    let mut config = sshd.config();
    let file = config.known_hosts[0].clone();
    // Whether it is recorded alone or beside others, in the file or not at all.
    let rsa = sshd.host_public_keys().into_iter().find(|key| key.starts_with("ssh-rsa")).unwrap();
    let ed25519 = sshd.host_public_keys().into_iter().find(|key| key.starts_with("ssh-ed25519")).unwrap();
    for recorded in [vec![&rsa], vec![&rsa, &ed25519]] {
        let lines: Vec<_> = recorded.iter().map(|key| sshd.known_hosts_line(key)).collect();
        fs::write(&file, lines.concat()).unwrap();
        config.legacy = LegacyAlgorithms::Refuse;
        let error = refused(&config, ErrorKind::NoCommonAlgorithm).await;
        assert!(error.solution().contains("--legacy-ssh"), "{}", error.solution());
        assert!(error.details().unwrap().contains("theirs: ssh-rsa"), "{:?}", error.details());
        config.legacy = LegacyAlgorithms::Allow;
        assert_eq!(connect(&config).await.host_key_type(), "ssh-rsa");
    }
    // Another type than the recorded one is a change, however it signs.
    fs::write(&file, sshd.known_hosts_line(&ed25519)).unwrap();
    config.legacy = LegacyAlgorithms::Refuse;
    refused(&config, ErrorKind::HostKeyChanged).await;
    // So is another key of the same type, where it can be looked at.
    keygen(&sshd.path("other_rsa"), "rsa", "");
    let other = fs::read_to_string(sshd.path("other_rsa.pub")).unwrap();
    fs::write(&file, sshd.known_hosts_line(other.trim())).unwrap();
    config.legacy = LegacyAlgorithms::Allow;
    refused(&config, ErrorKind::HostKeyChanged).await;
}

#[tokio::test]
async fn the_named_cipher_is_used() {
    let sshd = Sshd::setup().line("LogLevel DEBUG2").start();
    let mut config = sshd.config();
    for cipher in ["aes256-ctr", "chacha20-poly1305@openssh.com", "aes256-gcm@openssh.com"] {
        config.ciphers = Some(CipherList::parse(cipher).unwrap());
        connect(&config).await;
        assert!(sshd.log().contains(&format!("cipher: {cipher}")), "{}", sshd.log());
    }
}
