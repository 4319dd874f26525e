//! From a host name to a stream that suits SSH: TCP, or a channel of another login that leads there.
//!
//! Guarantees: every address of the name gets its chance, a quarter of a second apart, so that one dead address does not
//! use up the budget. Sets no deadline itself. The stream keeps what the server said first, for [`Greeting`], and asks
//! the kernel to acknowledge at once: servers that run Nagle's algorithm would otherwise wait 40 ms per small answer.

use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs as _};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use russh::client::Msg;
use russh::{ChannelOpenFailure, ChannelStream};
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite, BufReader, ReadBuf};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::SshClient;
use super::config::{AddressFamily, SshConfig};
#[cfg(feature = "cli")]
use super::multicast;
use crate::blocking;
use crate::error::{ErrorKind, NasSyncError, Result};

/// Head start of each address before the next is tried as well (RFC 8305).
const STAGGER: Duration = Duration::from_millis(250);
/// Idle time before the kernel probes a connection; a net below the SSH keepalive.
const TCP_KEEPALIVE: Duration = Duration::from_secs(60);
/// How much of the server's first words is kept, in bytes.
const MAX_GREETING: usize = 4096;
/// How much of words in the identification's place is shown, in bytes.
const MAX_REFUSAL: usize = 200;
/// How services begin that are none of SSH: the web, mail, remote desktops, rsync's own. Mail and FTP also say numbers.
const OTHER_SERVICES: [&[u8]; 8] = [b"HTTP/", b"<", b"{", b"* ", b"+OK", b"-ERR", b"RFB ", b"@RSYNCD:"];
/// Reads from the kernel take at most this many bytes; SSH reads a length, then a packet, and would call twice.
const READ_BUFFER: usize = 64 * 1024;

/// The addresses of the host. Fails with `NameNotResolved`, or `ResourceShortage` where no thread can be had.
pub(super) async fn resolve(config: &SshConfig) -> Result<Vec<SocketAddr>> {
    let host = config.bare_host();
    let (name, port) = (host.to_owned(), config.port);
    // The system's resolver may block.
    let found = blocking::run(move || Ok((name.as_str(), port).to_socket_addrs().map(Iterator::collect::<Vec<_>>)));
    #[cfg(feature = "cli")]
    let found = multicast::or_ask_the_network(host, port, found);
    let is_wanted = |address: &SocketAddr| match config.family {
        AddressFamily::Any => true,
        AddressFamily::Inet => address.is_ipv4(),
        AddressFamily::Inet6 => address.is_ipv6(),
    };
    let reason = match found.await? {
        Ok(found) if found.iter().any(is_wanted) => return Ok(found.into_iter().filter(is_wanted).collect()),
        Ok(found) if !found.is_empty() => io::Error::other("it has none of the kind that AddressFamily asks for"),
        Ok(_) => io::Error::other("it has no address"),
        Err(error) => error,
    };
    Err(NasSyncError::new(ErrorKind::NameNotResolved, format!("cannot find the address of {host}: {reason}"))
        .with_source(reason))
}

/// The first connection that comes about. When none does, the most telling failure.
pub(super) async fn connect(
    config: &SshConfig,
    addresses: &[SocketAddr],
    greeting: &Arc<Greeting>,
) -> Result<BufReader<Socket>> {
    let mut waiting = addresses.iter().copied();
    let mut attempts = JoinSet::new();
    let mut failures = Vec::new();
    loop {
        if let Some(address) = waiting.next() {
            let from = config.bind_address;
            attempts.spawn(async move { (address, connect_to(address, from).await) });
        } else if attempts.is_empty() {
            return Err(connect_failure(config, &failures));
        }
        tokio::select! {
            Some(attempt) = attempts.join_next() => match attempt {
                Ok((_, Ok(stream))) => {
                    prepare(&stream);
                    return Ok(buffered(Carrier::Tcp(stream), greeting));
                }
                Ok((address, Err(error))) => failures.push((address, error)),
                Err(_) => {} // An attempt that panicked counts as failed.
            },
            () = sleep(STAGGER), if waiting.len() > 0 => {}
        }
    }
}

async fn connect_to(address: SocketAddr, from: Option<IpAddr>) -> io::Result<TcpStream> {
    let Some(from) = from else { return TcpStream::connect(address).await };
    let socket = if from.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.bind(SocketAddr::new(from, 0))?;
    socket.connect(address).await
}

/// A connection that a login on another host makes. Fails with `Unreachable` or `ConnectionLost`.
pub(super) async fn connect_through(
    jump: &SshClient,
    config: &SshConfig,
    greeting: &Arc<Greeting>,
) -> Result<BufReader<Socket>> {
    let port = u32::from(config.port);
    // Nobody listens here for what comes back.
    let channel = jump.handle.channel_open_direct_tcpip(config.bare_host(), port, "127.0.0.1", 0).await;
    match channel {
        Ok(channel) => Ok(buffered(Carrier::Channel(channel.into_stream()), greeting)),
        Err(russh::Error::ChannelOpenFailure(reason)) => {
            let (from, to) = (&jump.address, config.address());
            let (message, solution) = match reason {
                ChannelOpenFailure::AdministrativelyProhibited => (
                    format!("{from} lets nobody through to {to}"),
                    "Allow it on the host to go through: AllowTcpForwarding, PermitOpen and DisableForwarding of its sshd_config, and the options before the key in authorized_keys.",
                ),
                reason => (
                    format!("{from} cannot connect to {to}: {reason:?}"),
                    "Check the name and the port as that host knows them: it is what connects.",
                ),
            };
            Err(NasSyncError::new(ErrorKind::Unreachable, message).with_solution(solution))
        }
        Err(_) => Err(jump.link.lost("on the way to the NAS")),
    }
}

fn buffered(carrier: Carrier, greeting: &Arc<Greeting>) -> BufReader<Socket> {
    BufReader::with_capacity(READ_BUFFER, Socket { carrier, greeting: Arc::clone(greeting) })
}

fn connect_failure(config: &SshConfig, failures: &[(SocketAddr, io::Error)]) -> NasSyncError {
    let kind = |error: &io::Error| match error.kind() {
        io::ErrorKind::ConnectionRefused => ErrorKind::ConnectionRefused,
        io::ErrorKind::TimedOut => ErrorKind::ConnectionTimedOut,
        _ => ErrorKind::Unreachable,
    };
    // A machine that refuses is there; one that is silent may be; the rest says something about this side.
    let rank = |error: &io::Error| match kind(error) {
        ErrorKind::ConnectionRefused => 0,
        ErrorKind::ConnectionTimedOut => 1,
        _ => 2,
    };
    let kind =
        failures.iter().map(|(_, error)| error).min_by_key(|error| rank(error)).map_or(ErrorKind::Unreachable, kind);
    let said: Vec<_> = failures.iter().map(|(address, error)| format!("{address}: {error}")).collect();
    let summary = match kind {
        ErrorKind::ConnectionRefused => format!("nothing accepts connections at {}", config.address()),
        ErrorKind::ConnectionTimedOut => format!("{} does not answer", config.address()),
        _ => format!("cannot reach {}", config.address()),
    };
    NasSyncError::new(kind, summary).with_details(said.join("\n"))
}

/// None of these options is needed for a working connection, so that a kernel without one does no harm.
fn prepare(stream: &TcpStream) {
    let _ = stream.set_nodelay(true);
    // What a client that ended has not delivered yet is thrown away: an rsync that comes back to life later must not
    // complete an old version of a document. In good order nothing is under way when the connection is closed.
    let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
    let _ = SockRef::from(stream).set_tcp_keepalive(&TcpKeepalive::new().with_time(TCP_KEEPALIVE));
    acknowledge_at_once(stream);
}

/// The kernel falls back to delayed acknowledgements by itself, so this is repeated.
fn acknowledge_at_once(stream: &TcpStream) {
    #[cfg(target_os = "linux")]
    let _ = SockRef::from(stream).set_tcp_quickack(true);
    #[cfg(not(target_os = "linux"))]
    let _ = stream;
}

/// The first bytes that a server sent on the latest connection, at most 4 KiB.
#[derive(Debug, Default)]
pub(super) struct Greeting {
    bytes: Mutex<Vec<u8>>,
    /// When the connection was asked for.
    asked: Mutex<Option<Instant>>,
    /// How long after that the first byte came.
    took: Mutex<Option<Duration>>,
}

impl Greeting {
    fn lock(&self) -> MutexGuard<'_, Vec<u8>> {
        self.bytes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Another connection is asked for now.
    pub(super) fn begin(&self) {
        self.lock().clear();
        *blocking::lock(&self.asked) = Some(Instant::now());
        *blocking::lock(&self.took) = None;
    }

    /// How long a round trip takes: the connection is one, the first words are another. Who stands between may take the
    /// connection at once, and then the words take two.
    pub(super) fn round_trip(&self) -> Duration {
        blocking::lock(&self.took).unwrap_or_default() / 2
    }

    /// What came so far.
    pub(super) fn bytes(&self) -> Vec<u8> {
        self.lock().clone()
    }

    /// The identification of the server, such as `SSH-2.0-OpenSSH_9.2`, once its line is complete.
    pub(super) fn server_id(&self) -> Option<String> {
        let bytes = self.lock();
        let mut lines = bytes.split_inclusive(|&byte| byte == b'\n');
        let line = lines.find(|line| line.starts_with(b"SSH-") && line.ends_with(b"\n"))?;
        Some(crate::text::escape_bytes(line.trim_ascii_end()))
    }

    /// Whether the line of the identification is complete and no UTF-8.
    pub(super) fn has_unreadable_id(&self) -> bool {
        let bytes = self.lock();
        let mut lines = bytes.split_inclusive(|&byte| byte == b'\n');
        lines.any(|line| line.starts_with(b"SSH-") && line.ends_with(b"\n") && str::from_utf8(line).is_err())
    }

    /// What came, safe to print, if it is words for people in place of an identification: that is how SSH servers turn
    /// a connection away. Other services begin with words of their own.
    pub(super) fn refusal(&self) -> Option<String> {
        let bytes = self.lock();
        let words = bytes.trim_ascii();
        let is_text = |byte: &u8| !byte.is_ascii_control() || byte.is_ascii_whitespace();
        let has_code = words.len() >= 3 && words[..3].iter().all(u8::is_ascii_digit);
        let is_other = has_code || OTHER_SERVICES.iter().any(|start| words.starts_with(start));
        (!words.is_empty() && words.iter().all(is_text) && !is_other)
            .then(|| crate::text::escape_bytes_start(words, MAX_REFUSAL))
    }

    /// Whether what came last is the beginning of an identification.
    pub(super) fn is_cut_short(&self) -> bool {
        let bytes = self.lock();
        let last = bytes.rsplit(|&byte| byte == b'\n').next().unwrap_or_default();
        !last.is_empty() && (last.starts_with(b"SSH-") || b"SSH-".starts_with(last))
    }

    fn keep(&self, read: &[u8]) {
        let asked = *blocking::lock(&self.asked);
        blocking::lock(&self.took).get_or_insert_with(|| asked.map_or(Duration::ZERO, |asked| asked.elapsed()));
        let mut bytes = self.lock();
        let room = MAX_GREETING.saturating_sub(bytes.len()).min(read.len());
        bytes.extend_from_slice(&read[..room]);
    }

    fn is_full(&self) -> bool {
        self.lock().len() >= MAX_GREETING
    }
}

/// What bytes travel on.
enum Carrier {
    Tcp(TcpStream),
    /// A channel of the login on the host before.
    Channel(ChannelStream<Msg>),
}

/// A stream that notes the greeting, and re-arms quick acknowledgements.
pub(super) struct Socket {
    carrier: Carrier,
    greeting: Arc<Greeting>,
}

impl Socket {
    /// The address at the other end.
    pub(super) fn peer(&self) -> Option<SocketAddr> {
        match &self.carrier {
            Carrier::Tcp(stream) => stream.peer_addr().ok(),
            Carrier::Channel(_) => None,
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        match &mut self.carrier {
            Carrier::Tcp(stream) => {
                ready!(Pin::new(&mut *stream).poll_read(cx, buf))?;
                acknowledge_at_once(stream);
            }
            Carrier::Channel(channel) => ready!(Pin::new(channel).poll_read(cx, buf))?,
        }
        if !self.greeting.is_full() {
            self.greeting.keep(&buf.filled()[before..]);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.carrier {
            Carrier::Tcp(stream) => Pin::new(stream).poll_write(cx, buf),
            Carrier::Channel(channel) => Pin::new(channel).poll_write(cx, buf),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.carrier {
            Carrier::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Carrier::Channel(channel) => Pin::new(channel).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // The peer may be gone already. That must not take the place of the reason why the connection ended.
        let _ = ready!(match &mut self.carrier {
            Carrier::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Carrier::Channel(channel) => Pin::new(channel).poll_shutdown(cx),
        });
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_identification_is_found_behind_other_lines() {
        let greeting = Greeting::default();
        greeting.keep(b"welcome\r\nSSH-2.0-Open");
        assert_eq!(greeting.server_id(), None);
        greeting.keep(b"SSH_9\r\n\x00\x00");
        assert_eq!(greeting.server_id().as_deref(), Some("SSH-2.0-OpenSSH_9"));
        greeting.keep(&[0; 2 * MAX_GREETING]);
        assert_eq!(greeting.bytes().len(), MAX_GREETING);
    }

    #[test]
    fn words_for_people_are_told_from_other_services() {
        let refusal = |said: &[u8]| {
            let greeting = Greeting::default();
            greeting.keep(said);
            greeting.refusal()
        };
        assert_eq!(refusal(b"Not allowed at this time\r\n").as_deref(), Some("Not allowed at this time"));
        assert_eq!(
            refusal("Zugriff f\u{fc}r jetzt gesperrt\n".as_bytes()).as_deref(),
            Some("Zugriff f\u{fc}r jetzt gesperrt")
        );
        assert_eq!(refusal(b"Not now, f\xfcr Sie\n").as_deref(), Some("Not now, f\\xfcr Sie"));
        assert_eq!(refusal(&[b'x'; 3000]), Some("x".repeat(MAX_REFUSAL) + "…"));
        for other in [
            &b"HTTP/1.1 400 Bad Request\r\n"[..],
            b"220 mail ready\r\n",
            b"RFB 003.008\n",
            b"@RSYNCD: 31.0\n",
            b"\x15\x03\x01\x00\x02\x02\x16",
            b"\r\n",
            b"",
        ] {
            assert_eq!(refusal(other), None, "{}", crate::text::escape_bytes(other));
        }
    }

    #[test]
    fn a_refusal_says_more_than_a_dead_route() {
        let config = SshConfig::new("nas", "me");
        let at = |error: io::ErrorKind| ("192.0.2.1:22".parse().unwrap(), io::Error::from(error));
        let failures =
            [at(io::ErrorKind::HostUnreachable), at(io::ErrorKind::ConnectionRefused), at(io::ErrorKind::TimedOut)];
        assert_eq!(connect_failure(&config, &failures).kind(), ErrorKind::ConnectionRefused);
        assert_eq!(connect_failure(&config, &failures[..1]).kind(), ErrorKind::Unreachable);
    }
}
