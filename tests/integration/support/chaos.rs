//! A network that misbehaves as told: a proxy on 127.0.0.1 in front of a server.
//!
//! Each connection gets the fault that the plan names for its number, 0 first, and works otherwise. What is drawn (the
//! sizes of slices) comes from the seed, so a run with the same bytes misbehaves in the same way. All connections are
//! reset when the proxy goes away.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, tcp};
use tokio::sync::{oneshot, watch};

use super::random::Random;

/// How long a connection that was cut with FIN stays open for the other sides to close theirs.
const LINGER: Duration = Duration::from_secs(10);

/// Which way bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Way {
    ToServer,
    ToClient,
}

/// What happens at the byte where a connection stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stop {
    /// Both sides see an orderly end.
    Fin,
    /// Both sides see a reset.
    Reset,
    /// Nothing passes any more in either direction, and nobody is told: a pulled cable.
    Silence,
    /// Nothing passes any more in this direction, while the other one works.
    HalfSilence,
}

/// How bytes pass before that.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Pace {
    #[default]
    Free,
    /// In pieces of 1 to so many bytes.
    Slices(usize),
    /// Each piece this much later.
    Delay(Duration),
    /// At most so many bytes a second.
    Throttle(u64),
}

/// What is wrong with one connection.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Fault {
    /// After so many bytes in this direction. With 0 bytes and [`Stop::Reset`] it is refused.
    pub stop: Option<(Way, u64, Stop)>,
    pub pace: Pace,
}

impl Fault {
    /// A connection that stops.
    pub fn stop(way: Way, after: u64, how: Stop) -> Self {
        Self { stop: Some((way, after, how)), pace: Pace::Free }
    }

    /// A connection of which nothing comes.
    pub fn refused() -> Self {
        Self::stop(Way::ToServer, 0, Stop::Reset)
    }

    /// A connection that works in its own way.
    pub fn pace(pace: Pace) -> Self {
        Self { stop: None, pace }
    }
}

/// What has passed on one connection.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Bytes forwarded to the server.
    pub to_server: u64,
    /// Bytes forwarded to the client.
    pub to_client: u64,
    /// The counts (to the server, to the client) at which the conversation changed its direction.
    pub turns: Vec<(u64, u64)>,
    /// Whether the fault's stop was reached.
    pub stopped: bool,
    last: Option<Way>,
}

impl Traffic {
    /// Bytes forwarded in one direction.
    pub fn bytes(&self, way: Way) -> u64 {
        match way {
            Way::ToServer => self.to_server,
            Way::ToClient => self.to_client,
        }
    }

    fn add(&mut self, way: Way, bytes: u64) {
        if self.last.is_some_and(|last| last != way) {
            self.turns.push((self.to_server, self.to_client));
        }
        self.last = Some(way);
        match way {
            Way::ToServer => self.to_server += bytes,
            Way::ToClient => self.to_client += bytes,
        }
    }
}

type Plan = Box<dyn Fn(usize) -> Fault + Send>;

struct Shared {
    plan: Mutex<Plan>,
    connections: Mutex<Vec<Traffic>>,
    seed: u64,
}

/// The proxy.
pub struct Chaos {
    port: u16,
    shared: Arc<Shared>,
    end: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Chaos {
    /// Listens in front of the server on this port of 127.0.0.1; all connections work.
    pub fn before(server: u16, seed: u64) -> Self {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        listener.set_nonblocking(true).expect("a socket that does not block");
        let port = listener.local_addr().expect("it has an address").port();
        let plan: Plan = Box::new(|_| Fault::default());
        let shared = Arc::new(Shared { plan: Mutex::new(plan), connections: Mutex::default(), seed });
        let (end, ended) = oneshot::channel();
        let thread = std::thread::spawn({
            let shared = Arc::clone(&shared);
            move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
                // Whatever still runs afterwards is dropped with the runtime.
                runtime.block_on(async {
                    tokio::select! {
                        () = listen(listener, server, shared) => {}
                        _ = ended => {}
                    }
                });
            }
        });
        Self { port, shared, end: Some(end), thread: Some(thread) }
    }

    /// The port on 127.0.0.1 that clients use.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Says which connection, counted from 0 at the start of the proxy, gets which fault.
    pub fn plan(&self, plan: impl Fn(usize) -> Fault + Send + 'static) {
        *lock(&self.shared.plan) = Box::new(plan);
    }

    /// The connections so far.
    pub fn connections(&self) -> Vec<Traffic> {
        lock(&self.shared.connections).clone()
    }
}

impl Drop for Chaos {
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn listen(listener: std::net::TcpListener, server: u16, shared: Arc<Shared>) {
    let listener = TcpListener::from_std(listener).expect("a listener");
    loop {
        let (client, _) = listener.accept().await.expect("a connection");
        let number = {
            let mut connections = lock(&shared.connections);
            connections.push(Traffic::default());
            connections.len() - 1
        };
        let fault = lock(&shared.plan)(number);
        tokio::spawn(serve(client, server, Line { shared: Arc::clone(&shared), number, fault }));
    }
}

/// One connection and what is wrong with it.
struct Line {
    shared: Arc<Shared>,
    number: usize,
    fault: Fault,
}

/// Why bytes no longer pass in one direction.
enum End {
    /// The side that sent them has closed its half, or is gone.
    Closed,
    /// Here the fault wants it.
    Stopped(Stop),
}

async fn serve(mut client: TcpStream, server: u16, line: Line) {
    // A reset unless something else is decided: then both sides learn at once that the proxy is gone.
    for_reset(&client, true);
    if line.fault.stop == Fault::refused().stop {
        line.note(|traffic| traffic.stopped = true);
        return;
    }
    let Ok(mut server) = TcpStream::connect(SocketAddr::from((Ipv4Addr::LOCALHOST, server))).await else { return };
    for_reset(&server, true);
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let stopped = {
        let (from_client, to_client) = client.split();
        let (from_server, to_server) = server.split();
        let (silence, silenced) = watch::channel(false);
        let up = line.pass(Way::ToServer, from_client, to_server, &silence, silenced.clone());
        let down = line.pass(Way::ToClient, from_server, to_client, &silence, silenced);
        tokio::pin!(up, down);
        // The end of one half leaves the other one as it is; a stop of one half ends both.
        let (first, other) = tokio::select! {
            end = &mut up => (end, &mut down as &mut (dyn Future<Output = End> + Unpin + Send)),
            end = &mut down => (end, &mut up as _),
        };
        match first {
            End::Closed => other.await,
            stopped @ End::Stopped(_) => stopped,
        }
    };
    match stopped {
        End::Stopped(Stop::Reset) => {}
        // What arrives after an orderly end is read and forgotten: closing with unread bytes would be a reset.
        End::Stopped(_) => {
            let _ = (client.shutdown().await, server.shutdown().await);
            let (mut client_sink, mut server_sink) = (tokio::io::sink(), tokio::io::sink());
            let both = async {
                tokio::join!(
                    tokio::io::copy(&mut client, &mut client_sink),
                    tokio::io::copy(&mut server, &mut server_sink)
                )
            };
            let _ = tokio::time::timeout(LINGER, both).await;
        }
        End::Closed => {
            for_reset(&client, false);
            for_reset(&server, false);
        }
    }
}

/// Ready when nothing passes any more in either direction.
async fn silence_of(line: &mut watch::Receiver<bool>) {
    if line.wait_for(|silenced| *silenced).await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// Whether closing the socket resets its connection.
fn for_reset(socket: &TcpStream, reset: bool) {
    let _ = SockRef::from(socket).set_linger(reset.then_some(Duration::ZERO));
}

impl Line {
    fn note(&self, note: impl FnOnce(&mut Traffic)) {
        note(&mut lock(&self.shared.connections)[self.number]);
    }

    /// Forwards one direction up to its end or its stop.
    async fn pass(
        &self,
        way: Way,
        mut from: tcp::ReadHalf<'_>,
        mut to: tcp::WriteHalf<'_>,
        silence: &watch::Sender<bool>,
        mut silenced: watch::Receiver<bool>,
    ) -> End {
        let stop = self.fault.stop.filter(|(stopped, ..)| *stopped == way);
        let mut random = Random::new(self.shared.seed ^ ((self.number as u64) << 1) ^ u64::from(way == Way::ToClient));
        let mut buffer = vec![0; 16 * 1024];
        let mut passed = 0;
        loop {
            if let Some((_, after, how)) = stop
                && passed == after
            {
                self.note(|traffic| traffic.stopped = true);
                match how {
                    Stop::Fin | Stop::Reset => return End::Stopped(how),
                    Stop::Silence => drop(silence.send(true)),
                    Stop::HalfSilence => {}
                }
                return std::future::pending().await;
            }
            let most = match self.fault.pace {
                Pace::Slices(most) => random.below(most as u64) + 1,
                _ => buffer.len() as u64,
            };
            let most = most.min(stop.map_or(u64::MAX, |(_, after, _)| after - passed));
            let most = usize::try_from(most).map_or(buffer.len(), |most| most.min(buffer.len()));
            let read = tokio::select! {
                biased;
                () = silence_of(&mut silenced) => std::future::pending().await,
                read = from.read(&mut buffer[..most]) => read.unwrap_or(0),
            };
            if read == 0 {
                let _ = to.shutdown().await;
                return End::Closed;
            }
            match self.fault.pace {
                Pace::Delay(time) => tokio::time::sleep(time).await,
                Pace::Throttle(rate) => tokio::time::sleep(Duration::from_micros(read as u64 * 1_000_000 / rate)).await,
                Pace::Free | Pace::Slices(_) => {}
            }
            // Counted first: whoever has received the bytes must find them counted.
            self.note(|traffic| traffic.add(way, read as u64));
            passed += read as u64;
            if to.write_all(&buffer[..read]).await.is_err() {
                return End::Closed;
            }
        }
    }
}
