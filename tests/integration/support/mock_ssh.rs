//! An SSH server that behaves as no real one does, or as few do. It is a mock, made of russh's own server half.
//!
//! It lets everybody in and runs real commands by `sh -c`, except where its quirk says otherwise.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use nas_sync::internal::transport::ssh::{Identity, SshConfig, UnknownHostKey};
use russh::keys::{PublicKey, PublicKeyBase64 as _, load_secret_key};
use russh::server::{
    Auth, ChannelOpenHandle, Config, Handle, Handler, Msg, Response, Session, VerifiedPublicKey, run_stream,
};
use russh::{Channel, ChannelId, Disconnect, MethodKind, MethodSet};
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::process::{Child, Command};
use tokio::sync::{mpsc, oneshot};

use super::sshd::keygen;

/// What is odd about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quirk {
    /// It never says how a command ended.
    NoExitStatus,
    /// It sends data for a command for ever, and never accepts the command.
    TalksBeforeAccepting,
    /// It opens channels to the client for ever.
    OpensChannels,
    /// It asks for the password `sesame`, then for the code `123456`, and takes no keys.
    AsksForACode,
    /// It closes the first two channels as soon as they are open.
    ClosesChannels,
    /// It ends the login with 200 KB of text on one line, as soon as a command is to run.
    LongGoodbye,
}

/// A running mock.
pub struct MockSsh {
    folder: TempDir,
    port: u16,
    /// Messages or bytes that it could say to clients, whichever its quirk is about.
    said: Arc<AtomicU64>,
    /// Dropping it ends the server.
    _running: oneshot::Sender<()>,
}

impl MockSsh {
    /// Starts it. It takes all keys, but where it asks for a code.
    pub fn start(quirk: Quirk) -> Self {
        Self::start_at(quirk, None)
    }

    /// Starts it for a user with this home folder, whose authorized_keys says which keys it takes.
    pub fn with_home(quirk: Quirk, home: &Path) -> Self {
        Self::start_at(quirk, Some(home.to_owned()))
    }

    fn start_at(quirk: Quirk, home: Option<PathBuf>) -> Self {
        let folder = TempDir::new().expect("a folder");
        keygen(&folder.path().join("key"), "ed25519", "");
        let key = load_secret_key(folder.path().join("key"), None).expect("a host key");
        let mut server = Config { keys: vec![key], ..Config::default() };
        if quirk == Quirk::AsksForACode {
            server.methods = MethodSet::from(&[MethodKind::PublicKey, MethodKind::KeyboardInteractive][..]);
        }
        let server = Arc::new(server);
        let (told, listening) = std::sync::mpsc::channel();
        let (running, ended) = oneshot::channel();
        let said = Arc::<AtomicU64>::default();
        let counter = Arc::clone(&said);
        // On a thread of its own, so that tests with and without a runtime can use it.
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async move {
                let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
                told.send(listener.local_addr().expect("an address").port()).expect("somebody waits for it");
                tokio::select! {
                    () = accept(listener, server, Peer::new(quirk, counter, home)) => {}
                    _ = ended => {}
                }
            });
        });
        let port = listening.recv().expect("it listens");
        Self { folder, port, said, _running: running }
    }

    /// A configuration that logs in.
    pub fn config(&self) -> SshConfig {
        let mut config = SshConfig::new("127.0.0.1", "me");
        config.port = self.port;
        config.identity = Identity::Files(vec![self.key()]);
        config.known_hosts = Vec::new();
        config.unknown_host_key = UnknownHostKey::Accept;
        config
    }

    /// Its port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// A key that logs in.
    pub fn key(&self) -> PathBuf {
        self.folder.path().join("key")
    }

    /// How much of what its quirk is about it could say.
    pub fn said(&self) -> u64 {
        self.said.load(Ordering::Relaxed)
    }
}

async fn accept(listener: TcpListener, server: Arc<Config>, like: Peer) {
    while let Ok((stream, _)) = listener.accept().await {
        let peer = Peer::new(like.quirk, Arc::clone(&like.said), like.home.clone());
        let server = Arc::clone(&server);
        tokio::spawn(async move {
            if let Ok(session) = run_stream(server, stream, peer).await {
                let _ = session.await;
            }
        });
    }
}

struct Peer {
    quirk: Quirk,
    /// The home folder of the user, where it has one.
    home: Option<PathBuf>,
    said: Arc<AtomicU64>,
    /// Where the input of each command goes.
    inputs: HashMap<ChannelId, mpsc::UnboundedSender<Bytes>>,
    /// Channels that it closes: no command of theirs starts any more.
    closed: HashSet<ChannelId>,
}

impl Peer {
    fn new(quirk: Quirk, said: Arc<AtomicU64>, home: Option<PathBuf>) -> Self {
        Self { quirk, home, said, inputs: HashMap::new(), closed: HashSet::new() }
    }

    fn takes(&self, key: &PublicKey) -> bool {
        let Some(home) = &self.home else { return self.quirk != Quirk::AsksForACode };
        let keys = std::fs::read_to_string(home.join(".ssh/authorized_keys")).unwrap_or_default();
        keys.contains(&key.public_key_base64())
    }
}

impl Handler for Peer {
    type Error = russh::Error;

    async fn auth_publickey(&mut self, _: &str, key: VerifiedPublicKey<'_>) -> Result<Auth, russh::Error> {
        Ok(if self.takes(key.public_key) { Auth::Accept } else { Auth::reject() })
    }

    async fn auth_keyboard_interactive<'a>(
        &'a mut self,
        _: &str,
        _: &str,
        response: Option<Response<'a>>,
    ) -> Result<Auth, russh::Error> {
        if self.quirk != Quirk::AsksForACode {
            return Ok(Auth::reject());
        }
        let ask = |prompt: &'static str, echo| Auth::Partial {
            name: "".into(),
            instructions: "Two steps to \x1b[31mgo".into(),
            prompts: vec![(prompt.into(), echo)].into(),
        };
        let Some(mut response) = response else { return Ok(ask("Password: ", false)) };
        Ok(match response.next().as_deref() {
            Some(b"sesame") => ask("Verification code: ", true),
            Some(b"123456") => Auth::Accept,
            _ => Auth::reject(),
        })
    }

    async fn auth_succeeded(&mut self, session: &mut Session) -> Result<(), russh::Error> {
        if self.quirk == Quirk::OpensChannels {
            let (handle, said) = (session.handle(), Arc::clone(&self.said));
            tokio::spawn(async move {
                loop {
                    // Each is asked for without waiting for the answer to the one before.
                    let asking = tokio::spawn({
                        let handle = handle.clone();
                        async move { handle.channel_open_session().await }
                    });
                    if said.fetch_add(1, Ordering::Relaxed) % 256 == 255
                        && matches!(asking.await, Ok(Err(russh::Error::SendError | russh::Error::Disconnect)))
                    {
                        return;
                    }
                }
            });
        }
        Ok(())
    }

    async fn channel_open_session(
        &mut self,
        channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        session: &mut Session,
    ) -> Result<(), russh::Error> {
        reply.accept().await;
        if self.quirk == Quirk::ClosesChannels && self.said.fetch_add(1, Ordering::Relaxed) < 2 {
            let (handle, id) = (session.handle(), channel.id());
            self.closed.insert(id);
            tokio::spawn(async move { handle.close(id).await });
        }
        Ok(())
    }

    async fn exec_request(&mut self, id: ChannelId, line: &[u8], session: &mut Session) -> Result<(), russh::Error> {
        if self.closed.contains(&id) {
            return Ok(());
        }
        let handle = session.handle();
        match self.quirk {
            Quirk::TalksBeforeAccepting => {
                let said = Arc::clone(&self.said);
                tokio::spawn(async move {
                    let noise = Bytes::from(vec![b'x'; 32 * 1024]);
                    while handle.data(id, noise.clone()).await.is_ok() {
                        said.fetch_add(noise.len() as u64, Ordering::Relaxed);
                    }
                });
            }
            Quirk::LongGoodbye => {
                session.disconnect(Disconnect::ByApplication, &"bye\x1b[31m ".repeat(20_000), "")?;
            }
            Quirk::NoExitStatus | Quirk::OpensChannels | Quirk::ClosesChannels | Quirk::AsksForACode => {
                session.channel_success(id)?;
                let (input, lines) = mpsc::unbounded_channel();
                self.inputs.insert(id, input);
                let line = String::from_utf8_lossy(line).into_owned();
                tokio::spawn(run(line, lines, handle, id, self.home.clone()));
            }
        }
        Ok(())
    }

    async fn data(&mut self, id: ChannelId, data: &[u8], _: &mut Session) -> Result<(), russh::Error> {
        if let Some(input) = self.inputs.get(&id) {
            let _ = input.send(Bytes::copy_from_slice(data));
        }
        Ok(())
    }

    async fn channel_eof(&mut self, id: ChannelId, _: &mut Session) -> Result<(), russh::Error> {
        self.inputs.remove(&id);
        Ok(())
    }
}

/// Runs a command to its end, and does not tell how it ended.
async fn run(
    line: String,
    mut lines: mpsc::UnboundedReceiver<Bytes>,
    handle: Handle,
    id: ChannelId,
    home: Option<PathBuf>,
) {
    let command = Command::new("sh")
        .envs(home.map(|home| ("HOME", home)))
        .arg("-c")
        .arg(line)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let Child { stdin, stdout, stderr, .. } = command.expect("sh runs");
    let mut stdin = stdin.expect("its input");
    tokio::spawn(async move {
        while let Some(bytes) = lines.recv().await {
            if stdin.write_all(&bytes).await.is_err() {
                return;
            }
        }
    });
    tokio::join!(
        tell(stdout.expect("its output"), &handle, id, None),
        tell(stderr.expect("its errors"), &handle, id, Some(1))
    );
    let _ = handle.eof(id).await;
    let _ = handle.close(id).await;
}

async fn tell(mut from: impl AsyncRead + Unpin, handle: &Handle, id: ChannelId, ext: Option<u32>) {
    let mut buffer = vec![0; 16 * 1024];
    while let Ok(len @ 1..) = from.read(&mut buffer).await {
        let bytes = Bytes::copy_from_slice(&buffer[..len]);
        let sent = match ext {
            None => handle.data(id, bytes).await,
            Some(ext) => handle.extended_data(id, ext, bytes).await,
        };
        if sent.is_err() {
            return;
        }
    }
}
