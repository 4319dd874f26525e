//! The peers are ordinary blocking sockets, as a scraper in another language has them.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream as Socket};
use std::time::Instant;

use super::*;

/// Longer than any answer may take.
const LONGEST: Duration = Duration::from_secs(30);

/// A server with two pages, in a thread with a runtime of its own, until it is dropped.
struct Server {
    address: SocketAddr,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Server {
    fn start() -> Self {
        Self::patient(PATIENCE)
    }

    fn patient(patience: Duration) -> Self {
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let (tell, told) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
                tell.send(listener.local_addr().unwrap()).unwrap();
                let pages = |path: &str| match path {
                    "/metrics" => Answer::plain(Status::Ok, "a 1\n"),
                    "/health" => Answer::plain(Status::Unavailable, "no"),
                    _ => Answer::plain(Status::NotFound, ""),
                };
                tokio::select! {
                    () = serve_with(patience, listener, Arc::new(pages)) => panic!("it ended"),
                    _ = stopped => {}
                }
            });
        });
        Self { address: told.recv().unwrap(), stop: Some(stop), thread: Some(thread) }
    }

    fn connect(&self) -> Socket {
        let socket = Socket::connect(self.address).unwrap();
        socket.set_read_timeout(Some(LONGEST)).unwrap();
        socket
    }

    /// Sends bytes and gives back all that is answered.
    fn ask(&self, request: &[u8]) -> String {
        let mut socket = self.connect();
        socket.write_all(request).unwrap();
        answer(&mut socket)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.stop.take());
        let ended = self.thread.take().unwrap().join();
        assert!(ended.is_ok() || std::thread::panicking());
    }
}

fn answer(socket: &mut Socket) -> String {
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    answer
}

fn get(path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").into_bytes()
}

#[test]
fn pages_and_other_paths() {
    let server = Server::start();
    let answer = server.ask(&get("/metrics"));
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("\r\n\r\na 1\n"), "{answer}");
    assert!(answer.contains("\r\nContent-Length: 4\r\n") && answer.contains("\r\nConnection: close\r\n"), "{answer}");
    assert!(server.ask(&get("/metrics?x=1")).ends_with("a 1\n"));
    assert!(server.ask(&get("http://nas:9100/metrics")).ends_with("a 1\n"));
    assert!(server.ask(&get("/health")).starts_with("HTTP/1.1 503 "));
    assert!(server.ask(&get("/")).starts_with("HTTP/1.1 404 "));
    let head = server.ask(b"HEAD /metrics HTTP/1.0\n\n");
    assert!(head.contains("Content-Length: 4\r\n") && head.ends_with("\r\n\r\n"), "{head}");
    let post = server.ask(b"POST /metrics HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc");
    assert!(post.starts_with("HTTP/1.1 405 ") && post.contains("\r\nAllow: GET, HEAD\r\n"), "{post}");
}

#[test]
fn a_body_that_nobody_reads_does_not_cost_the_answer() {
    let server = Server::start();
    let head = b"POST /metrics HTTP/1.1\r\nContent-Length: 100000\r\n\r\n";
    let answer = server.ask(&[&head[..], &vec![b'x'; 100_000]].concat());
    assert!(answer.starts_with("HTTP/1.1 405 ") && answer.ends_with("\r\n\r\n"), "{answer}");
}

#[test]
fn a_request_in_pieces_is_one_request() {
    let server = Server::start();
    let mut socket = server.connect();
    for byte in get("/metrics") {
        socket.write_all(&[byte]).unwrap();
        socket.flush().unwrap();
    }
    assert!(answer(&mut socket).ends_with("a 1\n"));
}

#[test]
fn garbage_is_answered_and_harms_nobody() {
    let server = Server::start();
    for garbage in [
        &b"\r\n\r\n"[..],
        b"GET\r\n\r\n",
        b"GET /metrics SSH-2.0\r\n\r\n",
        b"\xff\xfe\x00 / HTTP/1.1\r\n\r\n",
        b"\x16\x03\x01\n\n",
        b"GET  /metrics HTTP/1.1\r\n\r\n",
        b"get / HTTP/1.1\r\n\r\n",
        b"GET metrics HTTP/1.1\r\n\r\n",
    ] {
        assert!(server.ask(garbage).starts_with("HTTP/1.1 400 "), "{}", garbage.escape_ascii());
    }
    let long = [&b"GET /metrics HTTP/1.1\r\nX: "[..], &vec![b'a'; 2 * LONGEST_HEAD]].concat();
    let mut socket = server.connect();
    // The server may close before all of it is written.
    let _ = socket.write_all(&long);
    let mut start = [0; 12];
    socket.read_exact(&mut start).unwrap();
    assert_eq!(&start, b"HTTP/1.1 431");
    // A peer that goes away in the middle.
    let socket = server.connect();
    (&socket).write_all(b"GET /met").unwrap();
    socket.shutdown(Shutdown::Both).unwrap();
    assert!(server.ask(&get("/metrics")).ends_with("a 1\n"));
}

#[test]
fn those_who_say_nothing_are_sent_away() {
    let server = Server::start();
    let started = Instant::now();
    let mut slow: Vec<Socket> = (0..PEERS).map(|_| server.connect()).collect();
    for socket in slow.iter_mut().step_by(2) {
        socket.write_all(b"GET /metrics HTTP/1.1\r\nX: ").unwrap();
    }
    for socket in &mut slow {
        assert!(answer(socket).starts_with("HTTP/1.1 408 "));
    }
    assert!(started.elapsed() >= PATIENCE, "nobody was sent away before his time");
}

#[test]
fn whoever_asks_is_answered_at_once_however_many_say_nothing() {
    // Nobody is sent away for being slow: a place is there for who comes, or never.
    let server = Server::patient(LONGEST * 100);
    let mut slow: Vec<Socket> = (0..=5 * PEERS).map(|_| server.connect()).collect();
    for socket in slow.iter_mut().step_by(2) {
        // Some have been closed already.
        let _ = socket.write_all(b"G");
    }
    for _ in 0..3 {
        assert!(server.ask(&get("/health")).starts_with("HTTP/1.1 503 "));
        assert!(server.ask(&get("/metrics")).ends_with("a 1\n"));
    }
    // The one that came last, which has said one letter, still has its time.
    let last = slow.last_mut().unwrap();
    last.write_all(&get("/metrics")[1..]).unwrap();
    assert!(answer(last).ends_with("a 1\n"));
}
