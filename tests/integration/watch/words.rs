//! What `watch` says of itself, and whom it tells.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, channel};

use serde_json::Value;

use super::{LONGEST, Watch, health, logins};
use crate::support::cli::write_program;
use crate::support::{Cli, Site, until};

/// A site whose database is there and empty.
fn empty_site() -> (Site, Cli) {
    let site = Site::new();
    let cli = Cli::new(&site);
    let id = cli.add(1, &[site.upload("a.pdf", b"a")])[0];
    cli.run(&["remove", "--document", &id.to_string()]).ends(0);
    (site, cli)
}

#[test]
fn a_wrong_login_is_known_at_the_start_although_nothing_is_to_be_sent() {
    let (site, cli) = empty_site();
    let (keys, saved) = (site.sshd.path("authorized_keys"), site.sshd.path("saved"));
    fs::rename(&keys, &saved).unwrap();
    let mut watch = Watch::start(&cli, "--interval 7");
    watch.until_state(&cli, "blocked");
    let (code, object) = health(&cli);
    assert_eq!(code, Some(1));
    assert!(object["reason"].as_str().unwrap().contains("login_refused"), "{object}");
    let run = watch.stop();
    let database = site.variables["NAS_DB"].to_str().unwrap();
    let start = run.stderr.lines().find(|line| line.contains("watching the documents")).unwrap();
    for part in [database, "127.0.0.1", site.path("nas").to_str().unwrap(), "flat", "every 7 s"] {
        assert!(start.contains(part), "{part}: {start}");
    }
    // A restart that may not try says so all the same, and one that may is well.
    fs::rename(&saved, &keys).unwrap();
    let before = logins(&site);
    let mut watch = Watch::start(&cli, "");
    watch.until_state(&cli, "idle");
    assert_eq!((health(&cli).0, logins(&site)), (Some(0), before + 1));
    watch.stop();
}

#[test]
fn a_nas_that_was_never_reached_is_ill_and_is_found_later() {
    let (mut site, _) = empty_site();
    // Nobody listens there yet.
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    site.know_every_port();
    let port = std::mem::replace(site.variables.get_mut("NAS_PORT").unwrap(), address.port().to_string().into());
    let cli = Cli::new(&site);
    let mut watch = Watch::start(&cli, "");
    watch.until_state(&cli, "blocked");
    assert!(health(&cli).1["reason"].as_str().unwrap().contains("connection_refused"), "{:?}", health(&cli));
    let listener = TcpListener::bind(address).unwrap();
    let target = format!("127.0.0.1:{}", port.to_str().unwrap());
    std::thread::spawn(move || {
        for near in listener.incoming().map_while(Result::ok) {
            let Ok(far) = TcpStream::connect(&target) else { return };
            for (mut from, mut to) in
                [(near.try_clone(), far.try_clone()), (Ok(far), Ok(near))].map(|(a, b)| (a.unwrap(), b.unwrap()))
            {
                std::thread::spawn(move || std::io::copy(&mut from, &mut to));
            }
        }
    });
    watch.until_state(&cli, "idle");
    watch.stop();
}

#[test]
fn the_log_can_be_objects() {
    let site = Site::new();
    let mut cli = Cli::new(&site);
    cli.set("NAS_LOG_FORMAT", "json").set("NAS_NONSENSE", "1");
    cli.add(1, &[site.upload("a.pdf", b"a")]);
    let mut watch = Watch::start(&cli, "");
    watch.until_marked(&site, 1);
    watch.until_state(&cli, "idle");
    let run = watch.stop();
    let lines: Vec<Value> =
        run.stderr.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"))).collect();
    assert!(lines.iter().all(|line| line["timestamp"].is_string() && line["level"].is_string()), "{}", run.all());
    for text in ["NAS_NONSENSE", "watching the documents", "1 document synced"] {
        assert!(lines.iter().any(|line| line["message"].as_str().unwrap().contains(text)), "{text}: {}", run.all());
    }
    assert!(!run.stderr.contains("nas_sync::"), "{}", run.all());
    // An error is one, too.
    cli.set("NAS_DB", "/nonexistent/x.db");
    let failed = cli.line("status");
    let line: Value = serde_json::from_str(failed.ends(4).stderr.lines().last().unwrap()).unwrap();
    assert_eq!((&line["level"], &line["error"]["kind"]), (&"error".into(), &"database_unusable".into()));
}

/// A program that keeps what it is given, and its environment.
fn keeper(site: &Site, name: &str) -> (PathBuf, PathBuf) {
    let (program, kept) = (site.path(name), site.path(&format!("{name}.kept")));
    let shown = kept.display();
    write_program(
        &program,
        &format!("#!/bin/sh\n/usr/bin/env >{shown}.env\n/bin/cat >{shown}.new && /bin/mv {shown}.new {shown}\n"),
    );
    (program, kept)
}

fn read_object(path: &Path) -> Value {
    until("the program was started", LONGEST, || path.exists());
    let object = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    fs::remove_file(path).unwrap();
    object
}

#[test]
fn programs_are_told_of_each_run() {
    let site = Site::new();
    let mut cli = Cli::new(&site);
    let ((good, well), (bad, ill)) = (keeper(&site, "good"), keeper(&site, "bad"));
    cli.set("NAS_ON_SUCCESS", good).set("NAS_ON_FAILURE", bad).set("NAS_API_TOKEN", "a-token-for-nobody");
    cli.keep_secret("a-token-for-nobody");
    cli.add(1, &[site.upload("a.pdf", b"a")]);
    let watch = Watch::start(&cli, "");
    let object = read_object(&well);
    assert_eq!((&object["success"], &object["synced"], &object["total"]), (&true.into(), &1.into(), &1.into()));
    let environment = fs::read_to_string(well.with_extension("kept.env")).unwrap();
    assert!(environment.contains("NAS_HOST=") && !environment.contains("a-token-for-nobody"), "{environment}");
    site.insert(Path::new("/no/such/file"));
    let object = read_object(&ill);
    assert_eq!((&object["success"], &object["failed"]), (&false.into(), &1.into()), "{object}");
    watch.stop();

    // One that is not there is warned about, and nothing else.
    cli.set("NAS_ON_SUCCESS", site.path("nowhere"));
    let mut watch = Watch::start(&cli, "");
    cli.add(1, &[site.upload("b.pdf", b"b"), site.upload("c.pdf", b"c")]);
    watch.until_marked(&site, 3);
    watch.until_state(&cli, "idle");
    let run = watch.stop();
    assert!(run.stderr.contains("nowhere (NAS_ON_"), "{}", run.all());
    assert!(run.stderr.contains("nowhere, which is no program that this user can start"), "{}", run.all());
}

/// Takes requests, and answers each with a status.
fn listen(status: &'static str) -> (String, Receiver<(String, Value)>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (sender, requests) = channel();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let mut reader = BufReader::new(stream);
            let (mut head, mut length) = (String::new(), 0);
            loop {
                let mut line = String::new();
                reader.read_line(&mut line).unwrap();
                // The names of headers have no case.
                if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length: ") {
                    length = value.trim().parse().unwrap();
                }
                if line.trim().is_empty() {
                    break;
                }
                head.push_str(&line);
            }
            let mut body = vec![0; length];
            reader.read_exact(&mut body).unwrap();
            let _ = write!(reader.get_mut(), "HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n");
            if sender.send((head, serde_json::from_slice(&body).unwrap_or_default())).is_err() {
                return;
            }
        }
    });
    (url, requests)
}

#[test]
fn a_webhook_and_a_dead_mans_switch_are_told() {
    let site = Site::new();
    let mut cli = Cli::new(&site);
    let (url, requests) = listen("204 No Content");
    cli.set("NAS_WEBHOOK_URL", format!("{url}/hook?x=1")).set("NAS_PING_URL", format!("{url}/ping"));
    cli.add(1, &[site.upload("a.pdf", b"a")]);
    let watch = Watch::start(&cli, "");
    let (mut posted, mut pinged) = (None, false);
    while posted.is_none() || !pinged {
        let (head, object) = requests.recv_timeout(LONGEST).unwrap();
        if head.starts_with("GET /ping HTTP/1.1\r\n") {
            pinged = true;
        } else {
            assert!(head.starts_with("POST /hook?x=1 HTTP/1.1\r\n"), "{head}");
            assert!(head.to_ascii_lowercase().contains("\r\nhost: 127.0.0.1:"), "{head}");
            posted = Some(object);
        }
    }
    assert_eq!(posted.unwrap()["synced"], 1);
    let run = watch.stop();
    assert!(!run.stderr.contains("WARN"), "{}", run.all());
}

#[test]
fn a_webhook_that_refuses_is_warned_about_without_its_secret() {
    let site = Site::new();
    let mut cli = Cli::new(&site);
    let (url, requests) = listen("410 Gone");
    cli.set("NAS_WEBHOOK_URL", format!("{url}/secret-of-the-url"));
    cli.keep_secret("secret-of-the-url");
    cli.add(1, &[site.upload("a.pdf", b"a")]);
    let mut watch = Watch::start(&cli, "");
    requests.recv_timeout(LONGEST).unwrap();
    watch.until_marked(&site, 1);
    watch.until_state(&cli, "idle");
    let run = watch.stop();
    assert!(run.stderr.contains("was not told: it answered with status 410"), "{}", run.all());
}
