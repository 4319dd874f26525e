//! The way to the keys of a session: what is offered in each key exchange, and what a failed one teaches.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use russh::{AlgorithmKind, Limits, Preferred, SshId, client};

use super::algorithms::{self, StrictKex};
use super::config::{LegacyAlgorithms, MAX_REKEY_BYTES, SshConfig};
use super::dial::Greeting;
use super::exec;
use super::host_keys::{HostKey, HostKeyPolicy};
use super::link::Failure;
use crate::error::{ErrorKind, NasSyncError, Result};

/// Bytes a server may send on one channel before it must wait for us. The far end sends sums and messages, and on a pull
/// the files themselves: enough for 100 ms at 300 Mbit/s and more.
const WINDOW: u32 = 8 << 20;
/// The largest payload of one packet; what every server must accept (RFC 4253, section 6.1).
const MAX_PACKET: u32 = 32 * 1024;
/// Signs of life that may stay without an answer.
const KEEPALIVE_TRIES: u32 = 4;
/// Age of session keys at which new ones are made.
const REKEY_AFTER: Duration = Duration::from_secs(3600);
/// What a server that signs with its RSA key by SHA-1 calls that.
const SHA1_RSA: &str = "ssh-rsa";
const HIDDEN_RSA: &str = "The NAS may also have an RSA key, which it shows by an old algorithm only; if that is the pinned one, --legacy-ssh allows it.";
/// The most of a server's list of algorithms that is shown, in bytes.
const MAX_SHOWN_LIST: usize = 2048;

/// One server, and what earlier key exchanges with it taught us. Only before the login is there a second try.
pub(super) struct Approach<'a> {
    config: &'a SshConfig,
    policy: Arc<HostKeyPolicy>,
    strict: StrictKex,
    seen: Vec<HostKey>,
}

impl<'a> Approach<'a> {
    pub(super) fn new(config: &'a SshConfig, policy: HostKeyPolicy) -> Self {
        Self { config, policy: Arc::new(policy), strict: StrictKex::Assumed, seen: Vec::new() }
    }

    /// Who judges the host key.
    pub(super) fn policy(&self) -> Arc<HostKeyPolicy> {
        Arc::clone(&self.policy)
    }

    fn preferred(&self) -> Preferred {
        let seen: HashSet<&str> = self.seen.iter().map(|key| key.key_type.as_str()).collect();
        let accepts = |name: &str| self.policy.accepts_type(name) && !seen.contains(name);
        algorithms::preferred(self.config, self.strict, self.policy.certificates(), accepts)
    }

    pub(super) fn client_config(&self) -> client::Config {
        let rekey = self.config.rekey_bytes.min(MAX_REKEY_BYTES);
        client::Config {
            client_id: SshId::Standard(concat!("SSH-2.0-nas-sync_", env!("CARGO_PKG_VERSION")).into()),
            limits: Limits::new(rekey, rekey, REKEY_AFTER),
            window_size: WINDOW,
            maximum_packet_size: MAX_PACKET,
            channel_buffer_size: exec::CHANNEL_BUFFER,
            preferred: self.preferred(),
            // Also ends a write into a connection whose other end has vanished; keepalives are only sent between writes.
            inactivity_timeout: self.config.keepalive.map(|interval| interval * (KEEPALIVE_TRIES + 1)),
            keepalive_interval: self.config.keepalive,
            keepalive_max: KEEPALIVE_TRIES as usize,
            gex: algorithms::group_exchange(self.config.legacy),
            ..client::Config::default()
        }
    }

    /// Decides whether a failed key exchange is worth another with other lists; each turn offers less than the one before.
    pub(super) fn learn_from(&mut self, failure: Failure, greeting: &Greeting) -> Result<()> {
        match failure {
            Failure::NotCovered if self.strict == StrictKex::Assumed => {
                self.strict = StrictKex::Missing;
                Ok(())
            }
            Failure::NotThePinned(key) => {
                self.seen.push(key);
                if self.preferred().key.is_empty() { Err(self.policy.pin_mismatch(&self.seen)) } else { Ok(()) }
            }
            Failure::HostKey(error) => Err(error),
            Failure::Unasked => {
                let message = format!("{} goes on offering what nobody asked for", self.config.address());
                Err(NasSyncError::new(ErrorKind::NotSsh, message))
            }
            Failure::NotCovered => Err(self.no_common(&AlgorithmKind::Cipher, &[], &[])),
            Failure::Ssh(russh::Error::NoCommonAlgo { kind: AlgorithmKind::Key, theirs, .. })
                if !self.seen.is_empty() =>
            {
                let error = self.policy.pin_mismatch(&self.seen);
                let hidden =
                    self.config.legacy == LegacyAlgorithms::Refuse && theirs.iter().any(|name| name == SHA1_RSA);
                Err(if hidden { error.with_details(HIDDEN_RSA) } else { error })
            }
            Failure::Ssh(russh::Error::NoCommonAlgo { kind: AlgorithmKind::Key, theirs, .. })
                if !self.policy.accepts_every_type() && !self.policy.may_have_recorded(&theirs) =>
            {
                Err(self.policy.no_recorded_type(&theirs))
            }
            Failure::Ssh(russh::Error::NoCommonAlgo { kind, ours, theirs }) => {
                Err(self.no_common(&kind, &ours, &theirs))
            }
            Failure::Ssh(error) => Err(exchange_failure(self.config, error, greeting)),
        }
    }

    fn no_common(&self, kind: &AlgorithmKind, ours: &[String], theirs: &[String]) -> NasSyncError {
        let what = match kind {
            AlgorithmKind::Kex => "key exchange",
            AlgorithmKind::Key => "host key",
            AlgorithmKind::Cipher => "cipher",
            AlgorithmKind::Compression => "compression",
            AlgorithmKind::Mac => "MAC",
        };
        let message = format!("{} and nas-sync share no {what} algorithm", self.config.address());
        let theirs = crate::text::escape_start(&theirs.join(", "), MAX_SHOWN_LIST);
        let mut details = format!("ours: {}\ntheirs: {theirs}", ours.join(", "));
        if self.strict == StrictKex::Missing {
            details +=
                "\nThe server has no strict key exchange, so chacha20-poly1305 and -etm MACs are not used with it.";
        }
        let error = NasSyncError::new(ErrorKind::NoCommonAlgorithm, message).with_details(details);
        match self.config.legacy {
            LegacyAlgorithms::Refuse => error,
            LegacyAlgorithms::Allow => {
                error.with_solution("Update the firmware of the NAS; even --legacy-ssh has nothing in common with it.")
            }
        }
    }
}

fn exchange_failure(config: &SshConfig, error: russh::Error, greeting: &Greeting) -> NasSyncError {
    let address = config.address();
    let said = greeting.bytes();
    let lost = matches!(error, russh::Error::IO(_) | russh::Error::HUP | russh::Error::Disconnect);
    if greeting.has_unreadable_id() {
        return unreadable_id(config, greeting);
    }
    if greeting.server_id().is_none() && !said.is_empty() && !(lost && greeting.is_cut_short()) {
        return match greeting.refusal().filter(|_| lost) {
            Some(words) => {
                let message = format!("{address} closed the connection before the login and said: {words}");
                NasSyncError::new(ErrorKind::TurnedAway, message).with_source(error)
            }
            None => not_ssh(config, greeting),
        };
    }
    if lost {
        let when = if said.is_empty() { "before it said anything" } else { "during the key exchange" };
        NasSyncError::new(ErrorKind::ConnectionLost, format!("{address} closed the connection {when}"))
            .with_source(error)
    } else {
        NasSyncError::new(ErrorKind::NotSsh, format!("the key exchange with {address} failed: {error}"))
            .with_source(error)
    }
}

/// A version line that is no UTF-8 is no version to russh, and what both sides sign holds it byte by byte, so that it
/// cannot be given to russh in another form either.
pub(super) fn unreadable_id(config: &SshConfig, greeting: &Greeting) -> NasSyncError {
    let id = greeting.server_id().unwrap_or_default();
    let message = format!("{} names its SSH version in characters that are no UTF-8: {id}", config.address());
    NasSyncError::new(ErrorKind::NotSsh, message)
        .with_solution("In the SSH settings of the NAS, write that text in plain ASCII or leave it away (VersionAddendum in sshd_config).")
}

pub(super) fn not_ssh(config: &SshConfig, greeting: &Greeting) -> NasSyncError {
    let said = greeting.bytes();
    let said = crate::text::escape_bytes(&said[..said.len().min(64)]);
    let message = format!("{} does not speak SSH; it began with: {said}", config.address());
    NasSyncError::new(ErrorKind::NotSsh, message)
}
