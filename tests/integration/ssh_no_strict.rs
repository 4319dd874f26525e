//! A server without strict key exchange: what depends on it must not be used (CVE-2023-48795).

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use nas_sync::internal::transport::ssh::{Identity, SshClient, SshConfig, UnknownHostKey};
use nas_sync::{ErrorKind, NasSyncError};
use russh::keys::load_secret_key;
use russh::server::{Auth, Config, Handler, VerifiedPublicKey, run_stream};
use russh::{Preferred, cipher, kex, mac};
use tempfile::TempDir;
use tokio::net::TcpListener;

use crate::support::sshd::keygen;

/// Lets everybody in.
struct Server;

impl Handler for Server {
    type Error = russh::Error;

    async fn auth_publickey(&mut self, _: &str, _: VerifiedPublicKey<'_>) -> Result<Auth, russh::Error> {
        Ok(Auth::Accept)
    }
}

/// Logs in on a server that offers these. Returns the result and the number of connections it took.
async fn login(ciphers: &[cipher::Name], macs: &[mac::Name]) -> (Result<SshClient, NasSyncError>, usize) {
    let folder = TempDir::new().expect("a folder");
    let key = folder.path().join("key");
    keygen(&key, "ed25519", "");
    let server = Arc::new(Config {
        keys: vec![load_secret_key(&key, None).expect("a host key")],
        preferred: Preferred {
            kex: vec![kex::CURVE25519].into(),
            cipher: ciphers.to_vec().into(),
            mac: macs.to_vec().into(),
            ..Preferred::DEFAULT
        },
        ..Config::default()
    });
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let connections = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&connections);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            counter.fetch_add(1, Ordering::Relaxed);
            let server = Arc::clone(&server);
            tokio::spawn(async move {
                if let Ok(session) = run_stream(server, stream, Server).await {
                    let _ = session.await;
                }
            });
        }
    });
    let mut config = SshConfig::new("127.0.0.1", "me");
    config.port = port;
    config.identity = Identity::Files(vec![key]);
    config.known_hosts = Vec::new();
    config.unknown_host_key = UnknownHostKey::Accept;
    (SshClient::connect(&config).await, connections.load(Ordering::Relaxed))
}

#[tokio::test]
async fn what_protects_itself_is_used_at_once() {
    let (result, connections) = login(&[cipher::AES_256_GCM], &[]).await;
    assert!(result.is_ok(), "{result:?}");
    assert_eq!(connections, 1);
    let (result, connections) = login(&[cipher::AES_256_CTR], &[mac::HMAC_SHA256]).await;
    assert!(result.is_ok(), "{result:?}");
    assert_eq!(connections, 1);
}

#[tokio::test]
async fn another_choice_is_made_when_the_first_is_not_covered() {
    let ciphers = [cipher::CHACHA20_POLY1305, cipher::AES_256_CTR];
    let (result, connections) = login(&ciphers, &[mac::HMAC_SHA256_ETM, mac::HMAC_SHA256]).await;
    assert!(result.is_ok(), "{result:?}");
    assert_eq!(connections, 2);
}

#[tokio::test]
async fn without_another_choice_the_server_is_refused() {
    for (ciphers, macs) in [(cipher::CHACHA20_POLY1305, mac::HMAC_SHA256), (cipher::AES_256_CTR, mac::HMAC_SHA256_ETM)]
    {
        let error = login(&[ciphers], &[macs]).await.0.expect_err("it is not safe");
        assert_eq!(error.kind(), ErrorKind::NoCommonAlgorithm, "{error}");
        assert!(
            error.details().is_some_and(|details| details.contains("strict key exchange")),
            "{:?}",
            error.details()
        );
    }
}
