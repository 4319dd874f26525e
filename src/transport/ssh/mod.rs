//! The SSH client: one login, then any number of commands side by side.
//!
//! Guarantees: the host key is checked before anything secret is sent, also on each host on the way (`ProxyJump`); the whole
//! way to a login fits one time budget; every failure names its party. Never asks a question of its own, never offers more
//! keys than configured, never tries a refused login again. See `protocol-notes/13-ssh.md`.

mod algorithm_list;
mod algorithms;
mod approach;
mod auth;
mod certificate;
mod ciphers;
mod config;
mod dial;
pub mod exec;
mod host_keys;
mod key_cipher;
mod key_file;
mod key_text;
mod known_hosts;
mod link;
#[cfg(feature = "cli")]
mod multicast;
#[cfg(feature = "cli")]
mod new_key;
mod password;
mod person;
mod places;
mod progress;
mod spares;
pub mod ssh_config;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use russh::Disconnect;
use russh::client::{self, Handle};
use tokio::time::timeout;

pub use auth::PASSWORD_SETTINGS;
pub use ciphers::CipherList;
pub use config::{
    AddressFamily, DEFAULT_CONNECT_TIMEOUT, DEFAULT_KEEPALIVE, DEFAULT_PORT, HostKeyPin, Identity, LegacyAlgorithms,
    MAX_REKEY_BYTES, SYSTEM_KNOWN_HOSTS, SshConfig, UnknownHostKey, expand_home,
};

#[cfg(feature = "cli")]
pub use new_key::{make_key, public_key};
pub use person::{LoginQuestion, Person};
pub use progress::{LoginFacts, LoginProgress, LoginStep};

use super::Exec;
use crate::error::{ErrorKind, NasSyncError, Result};
use approach::Approach;
use host_keys::{HostKey, HostKeyPolicy, Verdict};
use link::{Callbacks, End, Link};
use spares::Spares;

/// How long the goodbye may take.
const GOODBYE: Duration = Duration::from_secs(1);

/// A login on a NAS. Dropping it, and all its commands, closes the connection.
pub struct SshClient {
    // Before the handle, so that nobody is left who could keep the connection.
    spares: Spares,
    handle: Arc<Handle<Callbacks>>,
    link: Arc<Link>,
    address: String,
    host_key: HostKey,
    server_version: String,
    connect_time: Duration,
    round_trip: Duration,
    budget: Duration,
    /// The login on the host that this one goes through. It ends after this one.
    jump: Option<Box<SshClient>>,
}

impl fmt::Debug for SshClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SshClient")
            .field("address", &self.address)
            .field("end", &self.link.end())
            .finish_non_exhaustive()
    }
}

/// What a server shows before anybody logs in.
#[cfg(feature = "cli")]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShownHostKey {
    /// The port where it listens.
    pub port: u16,
    /// Its fingerprint, `SHA256:…`.
    pub fingerprint: String,
    /// Its type, such as `ssh-ed25519`.
    pub key_type: String,
    /// How the server names itself; safe to print.
    pub server_version: String,
    /// Whether it is pinned or recorded already.
    pub is_known: bool,
}

impl SshClient {
    /// Connects and logs in. Ends within `config.connect_timeout`.
    ///
    /// Errors: `Usage`, `KeyUnusable`, `KnownHostsUnusable`, `NameNotResolved`, `ConnectionRefused`,
    /// `ConnectionTimedOut`, `Unreachable`, `ConnectionLost`, `TurnedAway`, `NotSsh`, `NoCommonAlgorithm`, `HostKeyUnknown`,
    /// `HostKeyChanged`, `HostKeyRevoked`, `LoginRefused`.
    pub async fn connect(config: &SshConfig) -> Result<Self> {
        Self::connect_observed(config, &LoginProgress::default()).await
    }

    /// As [`SshClient::connect`], telling step by step what it comes to know.
    pub async fn connect_observed(config: &SshConfig, progress: &LoginProgress) -> Result<Self> {
        let started = Instant::now();
        let jump = go_through(config, started).await?;
        log_in(config, jump, started, progress).await
    }

    /// Connects and looks at the host key, known or not; nobody logs in, and nothing is recorded. Ends within
    /// `config.connect_timeout`. Errors as [`SshClient::connect`], without those of a login and of unknown keys.
    #[cfg(feature = "cli")]
    pub async fn look(config: &SshConfig) -> Result<ShownHostKey> {
        Self::look_observed(config, &LoginProgress::default()).await
    }

    /// As [`SshClient::look`], telling step by step what it comes to know.
    #[cfg(feature = "cli")]
    pub async fn look_observed(config: &SshConfig, progress: &LoginProgress) -> Result<ShownHostKey> {
        let started = Instant::now();
        let jump = go_through(config, started).await?;
        config.check()?;
        let look = async {
            let policy = blocking(config, |config| Ok(HostKeyPolicy::load(config)?.showing())).await?;
            let (handle, _, host_key, verdict) = exchange_keys(config, jump.as_deref(), policy, progress).await?;
            let _ = handle.disconnect(Disconnect::ByApplication, "", "").await;
            Ok(ShownHostKey {
                port: config.port,
                fingerprint: host_key.fingerprint(),
                key_type: host_key.key_type,
                server_version: progress.greeting().server_id().unwrap_or_default(),
                is_known: matches!(verdict, Verdict::Expected),
            })
        };
        timeout(left(config, started), look).await.unwrap_or_else(|_| Err(progress.timed_out(config)))
    }

    /// Runs a command under the user's login shell. Several may run side by side, as many as the server opens sessions
    /// for: one more waits until one of them has ended. See [`exec`] for what that asks of their readers.
    ///
    /// Fails with `ExecRefused`, `ConnectionLost`, or `Stalled` when the NAS does not answer in time, and with `NotSsh`
    /// when it does not keep to SSH.
    pub async fn exec(&self, command: &[u8]) -> Result<Exec> {
        self.exec_with_input(command, Bytes::new()).await
    }

    /// As [`SshClient::exec`], for a command that reads `first_input` whatever happens: it is sent right behind the request,
    /// so that the command need not wait for it until the server's answer has come all the way.
    pub async fn exec_with_input(&self, command: &[u8], first_input: Bytes) -> Result<Exec> {
        exec::start(&self.for_commands(), command, first_input).await
    }

    /// Opens channels for commands that will follow, up to so many that are spare, and does not wait for them: each command
    /// that takes one is a round trip ahead. As many as the server opens.
    pub fn open_ahead(&self, count: usize) {
        exec::open_ahead(&self.for_commands(), count);
    }

    /// How many sessions the server opens side by side, up to `most`. Nothing runs in them. Errors as [`SshClient::exec`].
    #[cfg(feature = "cli")]
    pub async fn count_sessions(&self, most: usize) -> Result<usize> {
        exec::count_sessions(&self.for_commands(), most).await
    }

    fn for_commands(&self) -> exec::Login<'_> {
        let Self { spares, handle, link, address, .. } = self;
        exec::Login { spares, handle, link, address, budget: self.budget }
    }

    /// Whether the server is known to let no two commands run at once.
    pub fn runs_one_command(&self) -> bool {
        self.link.places().is_one()
    }

    /// Returns once that is known: a command that has not started by then waits for the end of another.
    pub async fn until_it_runs_one_command(&self) {
        self.link.places().until_one().await;
    }

    /// The fingerprint of the NAS's host key, `SHA256:…`.
    pub fn host_key_fingerprint(&self) -> String {
        self.host_key.fingerprint()
    }

    /// The type of the NAS's host key, such as `ssh-ed25519`.
    pub fn host_key_type(&self) -> &str {
        &self.host_key.key_type
    }

    /// How the server names itself, such as `SSH-2.0-OpenSSH_9.2`; safe to print.
    pub fn server_version(&self) -> &str {
        &self.server_version
    }

    /// How long name lookup, TCP, key exchange and login took.
    pub fn connect_time(&self) -> Duration {
        self.connect_time
    }

    /// How long the way there and back takes, as the first words of the server show: rather too much than too little.
    pub fn round_trip(&self) -> Duration {
        self.round_trip
    }

    /// What the server printed before the login, at most 8 KiB, escaped; several lines.
    pub fn banner(&self) -> String {
        crate::text::escape_lines(self.link.banner().as_bytes())
    }

    /// Why the connection ended; `None` while it lives or when we closed it.
    pub fn lost(&self) -> Option<NasSyncError> {
        match self.link.end() {
            None | Some(End::Ours) => None,
            Some(_) => Some(self.link.lost("during the transfer")),
        }
    }

    /// Says goodbye and closes the connection, with every command that still runs. Takes a second at most.
    pub async fn disconnect(&self) {
        let goodbye = async {
            if self.handle.disconnect(Disconnect::ByApplication, "", "").await.is_ok() {
                self.link.ended().await;
            }
        };
        // A server that does not take it gets none.
        let _ = timeout(GOODBYE, goodbye).await;
        if let Some(jump) = &self.jump {
            Box::pin(jump.disconnect()).await;
        }
    }
}

/// What is left of the time for the whole way.
fn left(config: &SshConfig, started: Instant) -> Duration {
    config.connect_timeout.saturating_sub(started.elapsed())
}

/// Logs in on the hosts on the way, each through the one before. The last of them leads on.
async fn go_through(config: &SshConfig, started: Instant) -> Result<Option<Box<SshClient>>> {
    let mut last = None;
    for jump in &config.jumps {
        let host = SshConfig { connect_timeout: config.connect_timeout, jumps: Vec::new(), ..jump.clone() };
        let client = log_in(&host, last, started, &LoginProgress::default()).await;
        last = Some(Box::new(client.map_err(|error| on_the_way(error, &host))?));
    }
    Ok(last)
}

/// What to do about a host on the way: our settings are about the NAS.
fn on_the_way(error: NasSyncError, host: &SshConfig) -> NasSyncError {
    let name = host.bare_host();
    let solution = match error.kind() {
        ErrorKind::LoginRefused | ErrorKind::KeyUnusable => format!(
            "{name} is on the way to the NAS (ProxyJump): User, IdentityFile and Port of its own lines in ssh_config count there."
        ),
        ErrorKind::HostKeyUnknown => format!(
            "{name} is on the way to the NAS (ProxyJump). Compare the fingerprint with the one that host shows. If it is the same, run once with --accept-new-host-key."
        ),
        _ => return error,
    };
    error.with_solution(solution)
}

async fn log_in(
    config: &SshConfig,
    jump: Option<Box<SshClient>>,
    started: Instant,
    progress: &LoginProgress,
) -> Result<SshClient> {
    config.check()?;
    let established = timeout(left(config, started), establish(config, jump, started, progress)).await;
    established.unwrap_or_else(|_| Err(progress.timed_out(config)))
}

async fn establish(
    config: &SshConfig,
    jump: Option<Box<SshClient>>,
    started: Instant,
    progress: &LoginProgress,
) -> Result<SshClient> {
    let policy = blocking(config, HostKeyPolicy::load).await?;
    progress.reach(LoginStep::Key);
    let credentials = blocking(config, key_file::load).await?;
    progress.note(|facts| facts.credentials = credentials.iter().map(auth::describe).collect());
    let (mut handle, link, host_key, verdict) = exchange_keys(config, jump.as_deref(), policy, progress).await?;
    if let Verdict::Learnt { file: Some(file), line } = verdict {
        blocking(config, move |_| known_hosts::append(&file, &line)).await?;
    }
    progress.reach(LoginStep::Login);
    auth::Login::new(&mut handle, config, &link).run(&credentials).await?;
    // Another login reads the keys again.
    drop(credentials);
    Ok(SshClient {
        spares: Spares::default(),
        handle: Arc::new(handle),
        link,
        address: config.address(),
        host_key,
        server_version: progress.greeting().server_id().unwrap_or_default(),
        connect_time: started.elapsed(),
        round_trip: progress.greeting().round_trip(),
        budget: config.connect_timeout,
        jump,
    })
}

/// Connects, agrees on keys, and has the policy judge the host key.
async fn exchange_keys(
    config: &SshConfig,
    jump: Option<&SshClient>,
    policy: HostKeyPolicy,
    progress: &LoginProgress,
) -> Result<(Handle<Callbacks>, Arc<Link>, HostKey, Verdict)> {
    progress.reach(LoginStep::Name);
    // Behind another host its resolver counts.
    let addresses = if jump.is_none() { dial::resolve(config).await? } else { Vec::new() };
    progress.note(|facts| facts.addresses.clone_from(&addresses));
    let mut approach = Approach::new(config, policy);
    let (handle, link) = loop {
        progress.reach(LoginStep::Tcp);
        progress.greeting().begin();
        let stream = match jump {
            None => dial::connect(config, &addresses, progress.greeting()).await?,
            Some(jump) => dial::connect_through(jump, config, progress.greeting()).await?,
        };
        progress.note(|facts| facts.peer = stream.get_ref().peer());
        progress.reach(LoginStep::KeyExchange);
        let link = Arc::new(Link::default());
        let callbacks = Callbacks::new(Arc::clone(&link), approach.policy());
        match client::connect_stream(Arc::new(approach.client_config()), stream, callbacks).await {
            Ok(handle) => break (handle, link),
            Err(failure) => approach.learn_from(failure, progress.greeting())?,
        }
    };
    let (host_key, verdict) = link.take_host_key().ok_or_else(|| link.lost("after the key exchange"))?;
    progress.note(|facts| {
        facts.algorithms = link.algorithms();
        facts.host_key = Some((host_key.key_type.clone(), host_key.fingerprint()));
    });
    Ok((handle, link, host_key, verdict))
}

/// Runs what touches files or burns CPU off the runtime's threads.
async fn blocking<T: Send + 'static>(
    config: &SshConfig,
    work: impl FnOnce(&SshConfig) -> Result<T> + Send + 'static,
) -> Result<T> {
    let config = config.clone();
    crate::blocking::run(move || work(&config)).await
}
