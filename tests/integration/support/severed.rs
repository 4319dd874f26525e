//! A way to a PostgreSQL server that is cut around one commit: right before it is asked for, or right before its answer.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

/// Where the way is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// The server never hears of the commit.
    BeforeCommit,
    /// The commit takes place, and nobody is told.
    BeforeAnswer,
}

/// The way. It lets everything through but the commit of one number, counted over all connections from 1.
pub struct Severed {
    port: u16,
    seen: Arc<AtomicU64>,
    over: Arc<AtomicBool>,
}

impl Severed {
    /// A way to a port of this machine.
    pub fn to(server: u16, cut: Cut, at: u64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("its number").port();
        let (seen, over) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let (count, stop) = (Arc::clone(&seen), Arc::clone(&over));
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if stop.load(Ordering::Acquire) {
                    break;
                }
                let Ok(server) = TcpStream::connect(("127.0.0.1", server)) else { continue };
                // A simple query that says so, and its answer.
                let (there, back) = match cut {
                    Cut::BeforeCommit => (Some(&b"Q\0\0\0\x0bCOMMIT\0"[..]), None),
                    Cut::BeforeAnswer => (None, Some(&b"C\0\0\0\x0bCOMMIT\0"[..])),
                };
                lead(&client, &server, there, at, &count);
                lead(&server, &client, back, at, &count);
            }
        });
        Self { port, seen, over }
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// How many commits there were.
    pub fn seen(&self) -> u64 {
        self.seen.load(Ordering::Acquire)
    }
}

impl Drop for Severed {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Release);
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

/// Leads bytes one way until either end closes, or a word comes for the time of that number.
fn lead(from: &TcpStream, to: &TcpStream, word: Option<&'static [u8]>, at: u64, seen: &Arc<AtomicU64>) {
    let (mut from, mut to) = (from.try_clone().expect("a stream"), to.try_clone().expect("a stream"));
    let seen = Arc::clone(seen);
    thread::spawn(move || {
        let mut buffer = vec![0; 64 * 1024];
        while let Ok(count @ 1..) = from.read(&mut buffer) {
            let is_it = word.is_some_and(|word| buffer[..count].windows(word.len()).any(|part| part == word));
            // Client and server send a commit, and its answer, in one piece.
            if is_it && seen.fetch_add(1, Ordering::AcqRel) + 1 == at {
                break;
            }
            if to.write_all(&buffer[..count]).is_err() {
                break;
            }
        }
        let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
    });
}
