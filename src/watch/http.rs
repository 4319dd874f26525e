//! As much of HTTP/1.1 as a scrape and a health check need: one small request, one answer, goodbye.
//!
//! Guarantees: a request's head has 8 KiB and 5 seconds, an answer 5 seconds to be taken, and 32 peers are served at
//! once; for one more the one goes that has been there longest, so that whoever asks is answered at once, however many
//! say nothing. Whatever a peer sends, nothing else of the program waits for it, and nothing of it is kept or logged.
//! Never: a body, a second request on one connection, a file, anything but the fixed answers.
//!
//! It is written here because a general server would make the program larger by more than this file is worth.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{sleep, timeout};

/// The most that the head of a request may be, in bytes.
const LONGEST_HEAD: usize = 8 * 1024;
/// How long a head, and taking an answer, may each take.
const PATIENCE: Duration = Duration::from_secs(5);
/// Peers at once.
const PEERS: usize = 32;
/// How long a peer may go on sending once it has its answer.
const LINGER: Duration = Duration::from_secs(1);
/// How long it rests when no connection can be accepted, for example for want of descriptors.
const REST: Duration = Duration::from_millis(500);

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answer {
    pub status: Status,
    pub media_type: &'static str,
    pub body: String,
}

/// The status of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Status {
    Ok,
    BadRequest,
    NotFound,
    MethodNotAllowed,
    RequestTimeout,
    HeadTooLarge,
    Unavailable,
}

impl Status {
    fn line(self) -> &'static str {
        match self {
            Self::Ok => "200 OK",
            Self::BadRequest => "400 Bad Request",
            Self::NotFound => "404 Not Found",
            Self::MethodNotAllowed => "405 Method Not Allowed\r\nAllow: GET, HEAD",
            Self::RequestTimeout => "408 Request Timeout",
            Self::HeadTooLarge => "431 Request Header Fields Too Large",
            Self::Unavailable => "503 Service Unavailable",
        }
    }
}

impl Answer {
    /// A short text.
    pub fn plain(status: Status, body: impl Into<String>) -> Self {
        Self { status, media_type: "text/plain; charset=utf-8", body: body.into() }
    }
}

/// Gives the answer for a path without its query.
pub(super) type Pages = dyn Fn(&str) -> Answer + Send + Sync;

/// Answers requests until it is dropped, and all connections with it.
pub(super) async fn serve(listener: TcpListener, pages: Arc<Pages>) {
    serve_with(PATIENCE, listener, pages).await;
}

async fn serve_with(patience: Duration, listener: TcpListener, pages: Arc<Pages>) {
    let mut peers = JoinSet::new();
    // In the order in which they came.
    let mut present: VecDeque<AbortHandle> = VecDeque::with_capacity(PEERS);
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::debug!("a connection cannot be accepted: {error}");
                sleep(REST).await;
                continue;
            }
        };
        while peers.try_join_next().is_some() {}
        present.retain(|peer| !peer.is_finished());
        if present.len() >= PEERS
            && let Some(oldest) = present.pop_front()
        {
            oldest.abort();
        }
        let pages = Arc::clone(&pages);
        present.push_back(peers.spawn(async move { attend(stream, patience, &*pages).await }));
    }
}

/// One peer, from its request to the end.
async fn attend(mut stream: TcpStream, patience: Duration, pages: &Pages) {
    let (method, answer) = match timeout(patience, read_head(&mut stream)).await {
        Ok(Ok(Some(head))) => respond(&head, pages),
        Ok(Ok(None)) => (Method::Get, Answer::plain(Status::HeadTooLarge, "")),
        // It went away.
        Ok(Err(_)) => return,
        Err(_) => (Method::Get, Answer::plain(Status::RequestTimeout, "")),
    };
    // Nothing can be done for a peer that does not take its answer.
    let _ = timeout(patience, write(&mut stream, method, &answer)).await;
}

/// Reads to the empty line behind the head. `None`: it is too long.
async fn read_head(stream: &mut TcpStream) -> io::Result<Option<Vec<u8>>> {
    let mut head = Vec::with_capacity(1024);
    loop {
        if head.windows(4).any(|end| end == b"\r\n\r\n") || head.windows(2).any(|end| end == b"\n\n") {
            return Ok(Some(head));
        }
        if head.len() >= LONGEST_HEAD {
            return Ok(None);
        }
        let mut chunk = [0; 1024];
        let room = chunk.len().min(LONGEST_HEAD - head.len());
        match stream.read(&mut chunk[..room]).await? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            count => head.extend_from_slice(&chunk[..count]),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Method {
    Get,
    Head,
}

fn respond(head: &[u8], pages: &Pages) -> (Method, Answer) {
    let line = head.split(|&byte| byte == b'\n').next().unwrap_or_default();
    let words = str::from_utf8(line).map(|line| line.trim_end_matches('\r').split(' ').collect::<Vec<_>>());
    let Ok([method, target, version]) = words.as_deref() else {
        return (Method::Get, Answer::plain(Status::BadRequest, ""));
    };
    if !version.starts_with("HTTP/1.") || method.is_empty() || !method.bytes().all(|byte| byte.is_ascii_uppercase()) {
        return (Method::Get, Answer::plain(Status::BadRequest, ""));
    }
    let method = match *method {
        "GET" => Method::Get,
        "HEAD" => Method::Head,
        _ => return (Method::Get, Answer::plain(Status::MethodNotAllowed, "")),
    };
    // A proxy may name the host, too.
    let path = match target.strip_prefix("http://") {
        Some(rest) => rest.find('/').map_or("/", |slash| &rest[slash..]),
        None => target,
    };
    if !path.starts_with('/') {
        return (method, Answer::plain(Status::BadRequest, ""));
    }
    (method, pages(path.split(['?', '#']).next().unwrap_or(path)))
}

async fn write(stream: &mut TcpStream, method: Method, answer: &Answer) -> io::Result<()> {
    let Answer { status, media_type, body } = answer;
    let mut text = format!(
        "HTTP/1.1 {}\r\nContent-Type: {media_type}\r\nContent-Length: {}\r\nCache-Control: no-store\r\n\
         Connection: close\r\n\r\n",
        status.line(),
        body.len()
    );
    if method == Method::Get {
        text.push_str(body);
    }
    stream.write_all(text.as_bytes()).await?;
    stream.shutdown().await?;
    // What a peer still sends is taken for a while: closing over unread bytes would take the answer back.
    let mut rest = [0; 1024];
    let drain = async { while !matches!(stream.read(&mut rest).await, Ok(0) | Err(_)) {} };
    // A peer that does not end is left alone.
    let _ = timeout(LINGER, drain).await;
    Ok(())
}

#[cfg(test)]
mod tests;
