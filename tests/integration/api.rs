//! `nas-sync serve`, as programs and browsers use it: the real program, a real sshd, and sockets of another make.

mod connections;
mod page;
mod postgres;
mod requests;
mod runs;

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use serde_json::Value;

use crate::support::cli::{Run, Running};
use crate::support::{Cli, Site, until};

/// How long something may take to come about.
const LONGEST: Duration = Duration::from_secs(60);

/// A `serve` that goes on. It is killed when the test fails.
struct Serve {
    running: Option<Running>,
    place: Place,
    /// Sent with each request, where there is one.
    token: Option<String>,
}

/// Where it listens.
#[derive(Debug, Clone)]
pub enum Place {
    Address(String),
    Socket(PathBuf),
}

/// A connection to either.
pub trait Peer: Read + Write + Send {}
impl<T: Read + Write + Send> Peer for T {}

impl Place {
    /// An address that no other test has.
    fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let (number, [.., high, low]) = (NUMBER.fetch_add(1, Ordering::Relaxed) + 1, std::process::id().to_be_bytes());
        Self::Address(format!("127.{}.{high}.{low}:8730", number % 250))
    }

    pub fn connect(&self) -> io::Result<Box<dyn Peer>> {
        Ok(match self {
            Self::Address(address) => {
                let stream = TcpStream::connect(address)?;
                stream.set_read_timeout(Some(LONGEST))?;
                Box::new(stream)
            }
            Self::Socket(path) => {
                let stream = UnixStream::connect(path)?;
                stream.set_read_timeout(Some(LONGEST))?;
                Box::new(stream)
            }
        })
    }

    /// As `--listen` has it.
    fn flag(&self) -> String {
        match self {
            Self::Address(address) => address.clone(),
            Self::Socket(path) => format!("unix:{}", path.display()),
        }
    }

    /// Sends bytes and gives back what is answered until the other side closes.
    pub fn exchange(&self, bytes: &[u8]) -> Reply {
        let mut peer = self.connect().unwrap();
        // What is refused early may be closed before all of it is written.
        let _ = peer.write_all(bytes);
        Self::answer(peer)
    }

    /// The same, and says that nothing more will come.
    fn exchange_and_end(&self, bytes: &[u8]) -> Reply {
        let Self::Address(address) = self else { unreachable!("only asked of addresses") };
        let mut peer = TcpStream::connect(address).unwrap();
        peer.set_read_timeout(Some(LONGEST)).unwrap();
        // What is refused early may be closed before all of it is written, and read.
        let _ = peer.write_all(bytes).and_then(|()| peer.shutdown(Shutdown::Write));
        Self::answer(peer)
    }

    fn answer(mut peer: impl Read) -> Reply {
        let mut answer = Vec::new();
        if let Err(error) = peer.read_to_end(&mut answer) {
            assert!(!answer.is_empty(), "no answer: {error}");
        }
        Reply::of(&answer)
    }
}

/// An answer.
#[derive(Debug)]
pub struct Reply {
    status: u16,
    /// In lower case.
    head: String,
    body: String,
}

impl Reply {
    fn of(bytes: &[u8]) -> Self {
        let text = String::from_utf8_lossy(bytes);
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
        let status = head.split(' ').nth(1).and_then(|word| word.parse().ok());
        let status = status.unwrap_or_else(|| panic!("no answer: {text:?}"));
        Self { status, head: head.to_lowercase(), body: body.to_owned() }
    }

    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// A problem as RFC 9457 has it, of this status and kind.
    #[track_caller]
    fn is_problem(&self, status: u16, kind: &str) {
        assert_eq!(self.status, status, "{self:?}");
        assert!(self.head.contains("content-type: application/problem+json"), "{self:?}");
        let problem = self.json();
        assert_eq!((&problem["status"], &problem["kind"]), (&status.into(), &kind.into()), "{self:?}");
        for key in ["type", "title", "detail", "cause", "solution"] {
            assert!(problem[key].as_str().is_some_and(|text| !text.is_empty()), "{key}: {self:?}");
            assert!(!self.body.contains("--help"), "a command line is for users of the program: {self:?}");
        }
    }
}

impl Serve {
    fn start(cli: &Cli) -> Self {
        Self::start_at(cli, Place::new())
    }

    fn start_at(cli: &Cli, place: Place) -> Self {
        let flag = place.flag();
        let running = cli.start(&["serve", "--quiet-period", "1", "--listen", &flag]);
        let token = cli.variables.get("NAS_API_TOKEN").map(|token| token.to_str().unwrap().to_owned());
        let serve = Self { running: Some(running), place, token };
        until("it listens", LONGEST, || serve.place.connect().is_ok());
        serve
    }

    /// The bytes of a request without a body, for one answer.
    fn request(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> Vec<u8> {
        let mut text = format!("{method} {path} HTTP/1.1\r\nConnection: close\r\n");
        if !headers.iter().any(|(name, _)| *name == "Host") {
            text += "Host: localhost\r\n";
        }
        if let Some(token) = &self.token {
            text.extend(["Authorization: Bearer ", token, "\r\n"]);
        }
        text.extend(headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")));
        text += "\r\n";
        text.into_bytes()
    }

    fn ask_with(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> Reply {
        self.place.exchange(&self.request(method, path, headers))
    }

    fn get(&self, path: &str) -> Reply {
        self.ask_with("GET", path, &[])
    }

    fn post(&self, path: &str) -> Reply {
        self.ask_with("POST", path, &[])
    }

    /// An answer that is an object.
    #[track_caller]
    fn object(&self, method: &str, path: &str) -> Value {
        let reply = self.ask_with(method, path, &[]);
        assert_eq!(reply.status, 200, "{method} {path}: {reply:?}");
        assert!(reply.head.contains("content-type: application/json"), "{reply:?}");
        reply.json()
    }

    #[track_caller]
    fn until_state(&self, state: &str) {
        until(state, LONGEST, || self.object("GET", "/sync/status")["state"] == state);
    }

    /// Follows the events.
    fn follow(&self) -> Events {
        let mut peer = self.place.connect().unwrap();
        peer.write_all(&self.request("GET", "/sync/events", &[])).unwrap();
        let mut events = Events { peer, unread: Vec::new() };
        let head = events.until(b"\r\n\r\n").expect("a head");
        assert!(head.starts_with("HTTP/1.1 200 ") && head.contains("text/event-stream"), "{head}");
        events
    }

    /// Ends it in order.
    #[track_caller]
    fn stop(mut self) -> Run {
        let running = self.running.take().unwrap();
        running.signal("TERM");
        let run = running.wait();
        run.ends(143);
        run
    }
}

impl Drop for Serve {
    fn drop(&mut self) {
        if let Some(running) = self.running.take() {
            let id = running.id().to_string();
            let _ = Command::new("kill").args(["-KILL", &id]).stderr(Stdio::null()).status();
        }
    }
}

/// A reader of server-sent events.
struct Events {
    peer: Box<dyn Peer>,
    unread: Vec<u8>,
}

impl Events {
    /// What comes up to an end, with it; `None` when the stream is over.
    fn until(&mut self, end: &[u8]) -> Option<String> {
        loop {
            if let Some(at) = self.unread.windows(end.len()).position(|window| window == end) {
                let taken: Vec<u8> = self.unread.drain(..at + end.len()).collect();
                return Some(String::from_utf8_lossy(&taken).into_owned());
            }
            let mut chunk = [0; 4096];
            match self.peer.read(&mut chunk) {
                Ok(0) => return None,
                Ok(count) => self.unread.extend_from_slice(&chunk[..count]),
                // A child of another test has ended.
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => panic!("nothing comes in time: {error}"),
            }
        }
    }

    /// The next object.
    fn next(&mut self) -> Option<Value> {
        loop {
            // Sizes of chunks stand on lines of their own, and beats are comments.
            let line = self.until(b"\n")?;
            if let Some(json) = line.strip_prefix("data: ") {
                return Some(serde_json::from_str(json).unwrap());
            }
        }
    }

    /// The objects up to the end of a run, with it.
    fn run(&mut self) -> Vec<Value> {
        let mut objects = Vec::new();
        while objects.last().is_none_or(|object: &Value| object["event"] != "finished") {
            objects.push(self.next().expect("the run ends"));
        }
        objects
    }
}

/// A NAS whose rsync waits while a file named `closed` stands in the site's folder.
fn gated() -> (Site, PathBuf) {
    let mut site = Site::new();
    site.wrap_rsync("while [ -e \"$NAS/../closed\" ]; do sleep 0.02; done\nexec rsync \"$@\"");
    let gate = site.path("closed");
    (site, gate)
}
