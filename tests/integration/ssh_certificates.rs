//! Certificates of users and of hosts, signed by `ssh-keygen -s`, with a real sshd.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use nas_sync::internal::transport::ssh::{HostKeyPin, Identity, SshConfig, UnknownHostKey};
use nas_sync::{ErrorKind, Secret};
use tempfile::TempDir;

use crate::ssh::{connect, refused};
use crate::support::Sshd;
use crate::support::sshd::{keygen, user};

/// An authority.
struct Authority {
    folder: TempDir,
}

impl Authority {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        keygen(&folder.path().join("ca"), "ed25519", "");
        Self { folder }
    }

    fn key(&self) -> PathBuf {
        self.folder.path().join("ca")
    }

    fn public(&self) -> String {
        let text = fs::read_to_string(self.folder.path().join("ca.pub")).expect("the public key");
        text.split_whitespace().take(2).collect::<Vec<_>>().join(" ")
    }

    /// A line of known_hosts.
    fn line(&self, hosts: &str) -> String {
        format!("@cert-authority {hosts} {}\n", self.public())
    }

    /// Signs a key; the certificate lies beside it.
    fn sign(&self, public: &Path, options: &[&str]) {
        let mut command = Command::new("ssh-keygen");
        command.args(["-q", "-I", "test id", "-s"]).arg(self.key()).args(options).arg(public);
        assert!(command.status().expect("ssh-keygen runs").success());
    }

    /// A server that trusts it, and a login with a key that is not in authorized_keys.
    fn sshd(&self, kind: &str) -> (Sshd, SshConfig) {
        let sshd = Sshd::setup().line(format!("TrustedUserCAKeys {}.pub", self.key().display())).start();
        let key = sshd.path("stranger");
        keygen(&key, kind, "");
        let mut config = sshd.config();
        config.identity = Identity::Files(vec![key]);
        (sshd, config)
    }
}

#[tokio::test]
async fn a_certificate_beside_the_key_logs_in() {
    let authority = Authority::new();
    for kind in ["ed25519", "ecdsa", "rsa"] {
        let (sshd, config) = authority.sshd(kind);
        refused(&config, ErrorKind::LoginRefused).await;
        authority.sign(&sshd.path("stranger.pub"), &["-n", &format!("other,{}", user()), "-V", "-5m:+1h"]);
        connect(&config).await;
        assert!(sshd.log().contains("ID test id"), "{}", sshd.log());
    }
}

#[tokio::test]
async fn a_certificate_that_is_named_logs_in_also_with_a_key_given_as_text() {
    let authority = Authority::new();
    let (sshd, mut config) = authority.sshd("ed25519");
    authority.sign(&sshd.path("stranger.pub"), &["-n", &user()]);
    let elsewhere = sshd.path("elsewhere");
    fs::rename(sshd.path("stranger-cert.pub"), &elsewhere).unwrap();
    refused(&config, ErrorKind::LoginRefused).await;
    config.certificates = vec![elsewhere];
    connect(&config).await;
    config.identity = Identity::Text(Secret::new(fs::read_to_string(sshd.path("stranger")).unwrap()));
    connect(&config).await;
    // Of another key it says nothing.
    config.identity = Identity::Files(vec![sshd.path("user_ed25519")]);
    connect(&config).await;
    config.certificates = vec![sshd.path("stranger.pub")];
    let error = refused(&config, ErrorKind::KeyUnusable).await;
    assert!(error.message().contains("is not a certificate"), "{error}");
}

#[tokio::test]
async fn a_certificate_that_is_refused_is_named_with_the_reason() {
    let authority = Authority::new();
    let (sshd, config) = authority.sshd("ed25519");
    let user = user();
    for (options, reason) in [
        (["-n", user.as_str(), "-V", "20200101:20200102"], "has expired: it was valid until 2020-01-0"),
        (["-n", user.as_str(), "-V", "20990101:20990102"], "is not valid before 20"),
        (["-n", "somebody", "-V", "-5m:+1h"], "is for somebody, not for"),
    ] {
        authority.sign(&sshd.path("stranger.pub"), &options);
        let error = refused(&config, ErrorKind::LoginRefused).await;
        assert!(error.solution().contains(reason), "{options:?}: {}", error.solution());
        assert!(error.message().contains("certificate test id"), "{error}");
    }
    // One of an authority that the server does not know has nothing wrong with it here.
    Authority::new().sign(&sshd.path("stranger.pub"), &["-n", &user]);
    let error = refused(&config, ErrorKind::LoginRefused).await;
    assert!(!error.solution().contains("ssh-keygen -s"), "{}", error.solution());
    // A key that is let in itself needs no certificate.
    let mut config = sshd.config();
    authority.sign(&sshd.path("user_ed25519.pub"), &["-n", "somebody"]);
    config.identity = Identity::Files(vec![sshd.path("user_ed25519")]);
    connect(&config).await;
}

/// A server whose host key an authority has signed, and a login that knows the authority alone.
fn certified(authority: &Authority, options: &[&str]) -> (Sshd, SshConfig) {
    // The certificate is made before sshd looks for it, and the host key is made by the harness: so it signs twice.
    let folder = authority.folder.path();
    let key = folder.join("host");
    for name in ["host", "host.pub", "host-cert.pub"] {
        let _ = fs::remove_file(folder.join(name));
    }
    keygen(&key, "ed25519", "");
    authority.sign(&folder.join("host.pub"), &[&["-h"], options].concat());
    let sshd = Sshd::setup()
        .host_keys(&[])
        .line(format!("HostKey {}\nHostCertificate {}-cert.pub", key.display(), key.display()))
        .start();
    let mut config = sshd.config();
    fs::write(sshd.path("known_hosts"), authority.line("[127.0.0.1]:*")).unwrap();
    config.connect_timeout = std::time::Duration::from_secs(20);
    (sshd, config)
}

#[tokio::test]
async fn a_host_is_known_by_the_authority_that_signed_its_key() {
    let authority = Authority::new();
    for principals in ["127.0.0.1", "other,127.*"] {
        let (sshd, mut config) = certified(&authority, &["-n", principals, "-V", "-5m:+1h"]);
        let client = connect(&config).await;
        assert_eq!(client.host_key_type(), "ssh-ed25519");
        // Nothing is recorded, as the authority vouches for it.
        config.unknown_host_key = UnknownHostKey::Accept;
        connect(&config).await;
        assert_eq!(fs::read_to_string(sshd.path("known_hosts")).unwrap().lines().count(), 1);
        // A line for every port, and one for no host of this name.
        fs::write(sshd.path("known_hosts"), authority.line("127.0.0.1")).unwrap();
        connect(&config).await;
        config.unknown_host_key = UnknownHostKey::Refuse;
        fs::write(sshd.path("known_hosts"), authority.line("*.example")).unwrap();
        refused(&config, ErrorKind::HostKeyUnknown).await;
        config.host_key = Some(HostKeyPin::parse(&client.host_key_fingerprint()).unwrap());
        connect(&config).await;
    }
}

#[tokio::test]
async fn a_host_certificate_that_does_not_hold_is_never_trusted_on_first_use() {
    let authority = Authority::new();
    for (options, reason) in [
        (&["-n", "127.0.0.1", "-V", "20200101:20200102"][..], "it has expired"),
        (&["-n", "127.0.0.1", "-V", "20990101:20990102"], "it is not valid before"),
        (&["-n", "other", "-V", "-5m:+1h"], "it is for other, not for 127.0.0.1"),
    ] {
        let (sshd, mut config) = certified(&authority, options);
        config.unknown_host_key = UnknownHostKey::Accept;
        let error = refused(&config, ErrorKind::HostKeyUnknown).await;
        assert!(error.message().contains(reason), "{error}");
        // The key may be known by itself.
        let key = fs::read_to_string(authority.folder.path().join("host.pub")).unwrap();
        let line = format!("[127.0.0.1]:{} {key}", sshd.port());
        fs::write(sshd.path("known_hosts"), format!("{}{line}", authority.line("*"))).unwrap();
        connect(&config).await;
    }
}

#[tokio::test]
async fn a_revoked_key_or_authority_is_refused_whatever_signed_it() {
    let authority = Authority::new();
    let (sshd, mut config) = certified(&authority, &["-n", "127.0.0.1"]);
    config.unknown_host_key = UnknownHostKey::Accept;
    let host = fs::read_to_string(authority.folder.path().join("host.pub")).unwrap();
    for revoked in [authority.public(), host] {
        fs::write(sshd.path("known_hosts"), format!("{}@revoked * {revoked}\n", authority.line("*"))).unwrap();
        refused(&config, ErrorKind::HostKeyRevoked).await;
    }
    // An authority that is not known makes the key no better than it is.
    fs::write(sshd.path("known_hosts"), Authority::new().line("*")).unwrap();
    config.unknown_host_key = UnknownHostKey::Refuse;
    refused(&config, ErrorKind::HostKeyUnknown).await;
}
