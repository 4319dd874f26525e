//! Connections that say nothing, too much, or nonsense; and sockets in the file system.

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::os::unix::net::UnixListener;
use std::time::Instant;

use super::{LONGEST, Place, Serve};
use crate::support::{Cli, Site, until};

#[test]
fn whoever_asks_is_answered_at_once_however_many_say_nothing() {
    let site = Site::new();
    let cli = Cli::new(&site);
    cli.add(7, &[site.upload("a.pdf", b"a")]);
    let serve = Serve::start(&cli);
    let mut slow: Vec<_> = (0..321).map(|_| serve.place.connect().unwrap()).collect();
    for peer in slow.iter_mut().step_by(2) {
        // Some have been closed already.
        let _ = peer.write_all(b"G");
    }
    for _ in 0..3 {
        assert_eq!(serve.get("/health").status, 200);
        assert!(serve.get("/metrics").body.contains("nas_sync_up 1\n"));
    }
    // One that has said a letter still has its time.
    let last = slow.last_mut().unwrap();
    last.write_all(&serve.request("GET", "/health", &[])[1..]).unwrap();
    let mut answer = String::new();
    last.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    serve.stop();
}

#[test]
fn a_head_that_does_not_end_has_its_time_and_a_connection_that_rests_too() {
    let site = Site::new();
    let cli = Cli::new(&site);
    cli.add(7, &[site.upload("a.pdf", b"a")]);
    let serve = Serve::start(&cli);
    let started = Instant::now();
    let mut peers: Vec<_> = (0..3).map(|_| serve.place.connect().unwrap()).collect();
    peers[0].write_all(b"GET /health HTTP/1.1\r\nX: ").unwrap();
    // One request, and then nothing more on that connection.
    peers[1].write_all(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    for peer in &mut peers {
        let mut rest = Vec::new();
        // It is closed, with or without a word.
        let _ = peer.read_to_end(&mut rest);
    }
    assert!(started.elapsed() < LONGEST);
    assert_eq!(serve.get("/health").status, 200);
    serve.stop();
}

#[test]
fn too_much_is_said_to_be_too_much() {
    let site = Site::new();
    let cli = Cli::new(&site);
    cli.add(7, &[site.upload("a.pdf", b"a")]);
    let serve = Serve::start(&cli);
    let huge = vec![b'x'; 2_000_000];
    let length = huge.len().to_string();
    let request = serve.request("POST", "/sync/run", &[("Content-Length", &length)]);
    serve.place.exchange(&[request, huge.clone()].concat()).is_problem(413, "usage");
    let chunked = serve.request("POST", "/sync/run", &[("Transfer-Encoding", "chunked")]);
    let chunk = [format!("{:x}\r\n", huge.len()).as_bytes(), &huge, b"\r\n0\r\n\r\n"].concat();
    serve.place.exchange(&[chunked, chunk].concat()).is_problem(413, "usage");
    let expecting = [("Content-Length", "99999999999"), ("Expect", "100-continue")];
    serve.ask_with("POST", "/sync/run", &expecting).is_problem(413, "usage");
    let long = format!("GET /health HTTP/1.1\r\nX: {}\r\n\r\n", "a".repeat(100_000));
    assert_eq!(serve.place.exchange(long.as_bytes()).status, 431);
    let many = format!("GET /health HTTP/1.1\r\n{}\r\n", "X: y\r\n".repeat(200));
    assert_eq!(serve.place.exchange(many.as_bytes()).status, 431);
    for garbage in
        [&b"\x16\x03\x01\r\n\r\n"[..], b"GET\r\n\r\n", b"\xff / HTTP/1.1\r\n\r\n", b"GET /metrics SSH-2.0\r\n\r\n"]
    {
        assert_eq!(serve.place.exchange(garbage).status, 400, "{}", garbage.escape_ascii());
    }
    assert_eq!(serve.get("/health").status, 200);
    serve.stop();
}

#[test]
fn a_request_whose_body_is_not_whole_does_nothing() {
    let site = Site::new();
    let cli = Cli::new(&site);
    let id = cli.add(7, &[site.upload("a.pdf", b"a")])[0];
    cli.line("sync").ends(0);
    let serve = Serve::start(&cli);
    let chunked = [("Transfer-Encoding", "chunked")];
    let (two, both) = ([("Content-Length", "2")], [("Content-Length", "2"), chunked[0]]);
    let bodies = [
        (&chunked[..], &b""[..]),
        (&chunked, b"2\r\n{"),
        (&chunked, b"2\r\n{}\r\n"),
        (&chunked, b"2\r\n{}\r\n0\r\n"),
        (&chunked, b"zz\r\n{}\r\n0\r\n\r\n"),
        (&chunked, b"1\r\n{}\r\n0\r\n\r\n"),
        (&two, b"{"),
        // Where lengths contradict each other, chunks count; what would be smuggled behind them is not looked at.
        (&both, b"{}"),
    ];
    let description = serve.object("GET", "/openapi.json");
    for (path, verbs) in description["paths"].as_object().unwrap() {
        for method in verbs.as_object().unwrap().keys() {
            let path = path.replace("{id}", &id.to_string());
            for (headers, body) in bodies {
                let request = serve.request(&method.to_uppercase(), &path, headers);
                serve.place.exchange_and_end(&[&request, body].concat()).is_problem(400, "usage");
            }
        }
    }
    // What waits to be told that it may send, and then sends half of it.
    let expecting = [("Content-Length", "2"), ("Expect", "100-continue")];
    let resend = format!("/sync/resend/{id}");
    let reply = serve.place.exchange_and_end(&[&serve.request("POST", &resend, &expecting)[..], b"{"].concat());
    assert_eq!(reply.status, 100, "{reply:?}");
    assert!(reply.body.starts_with("HTTP/1.1 400 "), "{reply:?}");
    for body in [&b"\xff\xfe"[..], b"{\0}", b"{{", b"\"\xc3\"", b"{}{}"] {
        for media_type in ["application/json", "text/plain", "multipart/form-data; boundary=x", "nonsense"] {
            let length = body.len().to_string();
            let headers = [("Content-Type", media_type), ("Content-Length", &length)];
            let request = serve.request("POST", &resend, &headers);
            serve.place.exchange(&[&request, body].concat()).is_problem(400, "usage");
        }
    }
    // A length that is too short leaves the beginning of a next request, which is none.
    let short = b"GET /health HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{}{}\r\n\r\n";
    let next = b"POST /sync/resend/1 HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let reply = serve.place.exchange(&[&short[..], next].concat());
    assert!(reply.status == 200 && reply.body.contains("HTTP/1.1 400 "), "{reply:?}");
    assert_eq!(serve.object("GET", "/sync/status")["synced"], 1);
    serve.stop();
}

#[test]
fn a_body_that_comes_too_slowly_is_not_waited_for_and_does_nothing() {
    let site = Site::new();
    let cli = Cli::new(&site);
    let id = cli.add(7, &[site.upload("a.pdf", b"a")])[0];
    cli.line("sync").ends(0);
    let serve = Serve::start(&cli);
    let resend = format!("/sync/resend/{id}");
    let request = serve.request("POST", &resend, &[("Content-Length", "2")]);
    serve.place.exchange(&[&request[..], b"{"].concat()).is_problem(408, "usage");
    let request = serve.request("POST", &resend, &[("Content-Length", "1000000")]);
    serve.place.exchange(&[request, vec![b'x'; 100_000]].concat()).is_problem(413, "usage");
    assert_eq!(serve.object("GET", "/sync/status")["synced"], 1);
    serve.stop();
}

#[test]
fn a_socket_in_the_file_system_is_taken_over_from_the_dead_and_from_nobody_else() {
    let site = Site::new();
    let cli = Cli::new(&site);
    cli.add(7, &[site.upload("a.pdf", b"a")]);
    let path = site.path("api.sock");
    // Left by a process that was killed.
    drop(UnixListener::bind(&path).unwrap());
    assert!(path.exists());
    let serve = Serve::start_at(&cli, Place::Socket(path.clone()));
    let meta = fs::metadata(&path).unwrap();
    assert!(meta.file_type().is_socket());
    assert_eq!(meta.permissions().mode() & 0o777, 0o660);
    assert_eq!(serve.object("GET", "/sync/config")["configured"], true);
    serve.ask_with("GET", "/health", &[("Host", "evil.example")]).is_problem(421, "not_allowed");
    let flag = format!("serve --health-file other --listen unix:{}", path.display());
    let run = cli.line(&flag);
    assert!(run.ends(2).stderr.contains("in use"), "{}", run.all());
    assert_eq!(serve.get("/health").status, 200, "who listens is left alone");
    serve.stop();
    assert!(!path.exists(), "it leaves nothing");
    fs::write(&path, "mine").unwrap();
    cli.line(&flag).ends(2);
    assert_eq!(fs::read_to_string(&path).unwrap(), "mine");
}

#[test]
fn watch_serves_its_figures_by_the_same_server_and_nothing_else() {
    let site = Site::new();
    let cli = Cli::new(&site);
    cli.add(7, &[site.upload("a.pdf", b"a")]);
    let place = Place::new();
    let running = cli.start(&["watch", "--metrics", &place.flag()]);
    let serve = Serve { running: Some(running), place, token: None };
    until("it listens", LONGEST, || serve.place.connect().is_ok());
    assert!(serve.get("/metrics").head.contains("version=0.0.4"));
    assert!(serve.ask_with("GET", "/metrics?x=1", &[("Host", "prometheus.example")]).body.contains("nas_sync_up 1\n"));
    assert!(serve.get("http://nas:9100/metrics").body.contains("nas_sync_up 1\n"));
    for path in ["/", "/sync/status", "/openapi.json"] {
        serve.get(path).is_problem(404, "usage");
    }
    assert_eq!(serve.post("/metrics").status, 405);
    serve.stop();
}
