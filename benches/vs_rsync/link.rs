//! A link of some length and width: a proxy on 127.0.0.1 that passes bytes on later, and not faster than a rate.
//!
//! A model of distance: what is sent arrives half a round trip later, a connection is open one round trip after it was
//! asked for, and where there is a rate each direction has it for itself. Nothing is lost, and nothing starts slowly.

use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// The most that is passed on at once, in bytes.
const PIECE: usize = 16 << 10;
/// How much a link holds beside what is on its way, as the queues of routers do, in bytes.
const QUEUE: usize = 256 << 10;
/// How much a link without a rate holds, in bytes.
const WIDE: usize = 64 << 20;

/// What kind of link.
#[derive(Debug, Clone, Copy)]
pub struct Distance {
    /// There and back again.
    pub round_trip: Duration,
    /// Bytes a second in each direction, where there is a limit.
    pub rate: Option<u64>,
}

/// A link to a server on this machine. It stays open until the process ends.
pub struct Link {
    port: u16,
    waits: Arc<Mutex<Waits>>,
}

/// How often nothing happened at the client's end for most of a round trip: each time somebody waited for the far side.
struct Waits {
    round_trip: Duration,
    last: Instant,
    count: usize,
}

impl Waits {
    fn happens(&mut self, at: Instant) {
        if at.saturating_duration_since(self.last) >= self.round_trip * 3 / 4 {
            self.count += 1;
        }
        self.last = self.last.max(at);
    }
}

impl Link {
    /// Opens a link to a port.
    pub fn open(to: u16, distance: Distance) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let port = listener.local_addr()?.port();
        let waits = Waits { round_trip: distance.round_trip, last: Instant::now(), count: 0 };
        let waits = Arc::new(Mutex::new(waits));
        let counted = Arc::clone(&waits);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let counted = Arc::clone(&counted);
                // A connection that fails shows at the client.
                thread::spawn(move || drop(connect(client, to, distance, &counted)));
            }
        });
        Ok(Self { port, waits })
    }

    /// Where it begins.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// How often the client has waited for the far side since this was last asked.
    pub fn take_waits(&self) -> usize {
        std::mem::take(&mut lock(&self.waits).count)
    }
}

fn lock(waits: &Mutex<Waits>) -> std::sync::MutexGuard<'_, Waits> {
    waits.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One connection, to its end.
fn connect(client: TcpStream, to: u16, distance: Distance, waits: &Arc<Mutex<Waits>>) -> io::Result<()> {
    client.set_nodelay(true)?;
    lock(waits).last = Instant::now();
    // Until now the client would have waited for an answer; the server hears half a round trip later that it is there.
    thread::sleep(distance.round_trip);
    let (send, arriving) = sync_channel(capacity(distance));
    let (from, counted) = (client.try_clone()?, Arc::clone(waits));
    let up = thread::spawn(move || take(from, &send, distance, Some(&counted)));
    thread::sleep(distance.round_trip / 2);
    let server = TcpStream::connect((Ipv4Addr::LOCALHOST, to))?;
    server.set_nodelay(true)?;
    let sink = server.try_clone()?;
    let give_up = thread::spawn(move || give(sink, &arriving, None));
    let (send, arriving) = sync_channel(capacity(distance));
    let down = thread::spawn(move || take(server, &send, distance, None));
    let counted = Arc::clone(waits);
    let give_down = thread::spawn(move || give(client, &arriving, Some(&counted)));
    for thread in [up, give_up, down, give_down] {
        drop(thread.join());
    }
    Ok(())
}

/// So many pieces are on a link at most.
fn capacity(distance: Distance) -> usize {
    let held = distance.rate.map_or(WIDE, |rate| {
        let on_its_way = u128::from(rate) * distance.round_trip.as_micros() / 1_000_000;
        QUEUE + usize::try_from(on_its_way).unwrap_or(WIDE)
    });
    held.div_ceil(PIECE)
}

/// Bytes, and when they arrive. No bytes: the end.
type Arriving = (Instant, Vec<u8>);

/// Takes what one end sends.
fn take(mut from: TcpStream, link: &SyncSender<Arriving>, distance: Distance, waits: Option<&Mutex<Waits>>) {
    let mut buffer = vec![0; PIECE];
    let mut free = Instant::now();
    loop {
        let len = from.read(&mut buffer).unwrap_or(0);
        let now = Instant::now();
        if let Some(waits) = waits {
            lock(waits).happens(now);
        }
        let takes =
            distance.rate.map_or(Duration::ZERO, |rate| Duration::from_nanos(len as u64 * 1_000_000_000 / rate));
        free = free.max(now) + takes;
        if link.send((free + distance.round_trip / 2, buffer[..len].to_vec())).is_err() || len == 0 {
            return;
        }
    }
}

/// Gives the other end what has arrived.
fn give(mut to: TcpStream, link: &Receiver<Arriving>, waits: Option<&Mutex<Waits>>) {
    for (at, bytes) in link {
        thread::sleep(at.saturating_duration_since(Instant::now()));
        if let Some(waits) = waits {
            lock(waits).happens(Instant::now());
        }
        if bytes.is_empty() {
            let _ = to.shutdown(Shutdown::Write);
            return;
        }
        if to.write_all(&bytes).is_err() {
            return;
        }
    }
}
