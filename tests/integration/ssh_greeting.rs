//! What SSH servers say before there is a login, in words and characters of their own.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use nas_sync::ErrorKind;

use crate::ssh::{connect, impostor, listens, refused};
use crate::support::sshd::keygen;
use crate::support::{Cli, Site, Sshd};

#[tokio::test]
async fn a_server_that_turns_connections_away_with_words_is_an_ssh_server() {
    let folder = tempfile::tempdir().unwrap();
    keygen(&folder.path().join("key"), "ed25519", "");
    for (said, shown) in [
        (&b"Not allowed at this time\r\n"[..], "Not allowed at this time"),
        (b"Exceeded MaxStartups\r\n", "Exceeded MaxStartups"),
        (b"jetzt nicht, f\xfcr niemanden", "jetzt nicht, f\\xfcr niemanden"),
    ] {
        let config = impostor(folder.path(), move |mut stream| {
            let _ = stream.write_all(said);
            // What the client says is read, so that the end of the connection is no reset.
            let _ = stream.read(&mut [0; 256]);
        });
        let error = refused(&config, ErrorKind::TurnedAway).await;
        assert!(error.message().contains(shown), "{error}");
    }
}

/// A server that is busy with somebody who has not logged in yet.
fn busy_sshd() -> (Sshd, TcpStream) {
    let sshd = Sshd::setup().line("MaxStartups 1:100:1").start();
    let mut somebody = loop {
        // The look whether it listens may still count.
        let stream = TcpStream::connect(("127.0.0.1", sshd.port())).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let mut start = [0; 4];
        if (&stream).read_exact(&mut start).is_ok() && &start == b"SSH-" {
            break stream;
        }
    };
    somebody.write_all(b"SSH-2.0-somebody\r\n").unwrap();
    (sshd, somebody)
}

#[tokio::test]
async fn a_server_with_too_many_logins_under_way_is_named_for_that() {
    let (sshd, somebody) = busy_sshd();
    let error = refused(&sshd.config(), ErrorKind::TurnedAway).await;
    assert!(error.message().contains("MaxStartups"), "{error}");
    drop(somebody);
}

#[tokio::test]
async fn a_sync_goes_on_when_it_was_turned_away_before_its_first_login() {
    let mut site = Site::new();
    site.know_every_port();
    let (listener, sshd) = (TcpListener::bind(("127.0.0.1", 0)).unwrap(), site.sshd.port());
    site.set("NAS_PORT", listener.local_addr().unwrap().port().to_string());
    // Two connections are turned away, the next one gets through.
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok).take(2) {
            let _ = (&stream).write_all(b"Not allowed at this time\r\n");
            let _ = (&stream).read(&mut [0; 256]);
        }
        let (client, _) = listener.accept().unwrap();
        let server = TcpStream::connect(("127.0.0.1", sshd)).unwrap();
        let (mut from, mut to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
        std::thread::spawn(move || std::io::copy(&mut from, &mut to));
        let _ = std::io::copy(&mut &server, &mut &client);
    });
    site.document("a.pdf", b"content").await;
    assert_eq!(Cli::new(&site).line("sync --json").ends(0).json()["synced"], 1);
}

#[tokio::test]
async fn a_version_line_that_is_no_utf_8_is_shown_and_explained() {
    let folder = tempfile::tempdir().unwrap();
    keygen(&folder.path().join("key"), "ed25519", "");
    for behind in [vec![0; 1024], Vec::new()] {
        let config = impostor(folder.path(), move |mut stream| {
            let _ = stream.write_all(&[b"SSH-2.0-OpenSSH_9.2 NAS f\xfcr alle\r\n", &behind[..]].concat());
            listens(stream);
        });
        let error = refused(&config, ErrorKind::NotSsh).await;
        assert!(error.message().contains("OpenSSH_9.2 NAS f\\xfcr alle"), "{error}");
        assert!(error.solution().contains("VersionAddendum"), "{}", error.solution());
    }
}

#[tokio::test]
async fn a_banner_that_is_no_utf_8_is_explained() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("banner");
    fs::write(&file, b"Nur f\xfcr Befugte\n").unwrap();
    let sshd = Sshd::setup().line(format!("Banner {}", file.display())).start();
    let error = refused(&sshd.config(), ErrorKind::NotSsh).await;
    assert!(error.message().contains("banner that is no UTF-8"), "{error}");
    assert!(error.solution().contains("Banner none"), "{}", error.solution());
    fs::write(&file, "Nur f\u{fc}r Befugte\n").unwrap();
    assert_eq!(connect(&sshd.config()).await.banner(), "Nur f\u{fc}r Befugte");
}
