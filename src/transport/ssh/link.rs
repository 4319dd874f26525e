//! What the session task tells the rest about its connection.
//!
//! [`Callbacks`] runs inside russh's session task; [`Link`] is what it shares with [`super::SshClient`] and its commands.
//! Guarantees: the reason why a connection ended is kept when it is known, and its end is noticed in any case; the
//! banner is bounded. Never blocks the session task.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use russh::client::{ChannelOpenHandle, DisconnectReason, Handler, Msg, Session};
use russh::keys::{PublicKey, PublicKeyOrCertificate, ssh_encoding};
use russh::{Channel, ChannelId, ChannelOpenFailure, Disconnect, Names};
use tokio::sync::watch;

use super::algorithms;
use super::host_keys::{HostKey, HostKeyPolicy, Verdict};
use super::places::Places;
use crate::error::{ErrorKind, NasSyncError};
use crate::text;

/// How much of the server's banner is kept, in bytes.
const MAX_BANNER: usize = 8 * 1024;

/// How much of the server's goodbye is kept, in bytes.
const MAX_GOODBYE: usize = 1024;
/// How many things that nobody asked for a server may offer over one login, such as channels of its own.
const MAX_UNASKED: usize = 32;

/// How a connection ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum End {
    /// The server said goodbye, and why; the text is foreign.
    Server(String),
    /// We closed it.
    Ours,
    /// The server left no way to log in.
    NoMethodLeft,
    /// It sent a text that is no UTF-8, which russh does not take.
    NotUtf8,
    /// It broke. The text is ours.
    Broken(String),
}

/// What is shared between the session task and everybody else.
#[derive(Debug, Default)]
pub(super) struct Link {
    end: watch::Sender<Option<End>>,
    banner: Mutex<String>,
    learnt: Mutex<Option<(HostKey, Verdict)>>,
    algorithms: Mutex<Option<String>>,
    places: Arc<Places>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Link {
    /// Why the connection ended; `None` while it lives.
    pub(super) fn end(&self) -> Option<End> {
        self.end.borrow().clone()
    }

    /// Returns once the connection has ended.
    pub(super) async fn ended(&self) -> End {
        let mut end = self.end.subscribe();
        let ended = end.wait_for(Option::is_some).await.ok().and_then(|end| end.clone());
        ended.unwrap_or_else(|| End::Broken(String::from("it ended")))
    }

    fn set_end(&self, end: End) {
        self.end.send_if_modified(|known| {
            let first = known.is_none();
            known.get_or_insert(end);
            first
        });
    }

    /// What the server printed before the login, at most 8 KiB. Foreign text.
    pub(super) fn banner(&self) -> String {
        lock(&self.banner).clone()
    }

    /// The places for commands.
    pub(super) fn places(&self) -> &Arc<Places> {
        &self.places
    }

    /// The server's key and what was decided about it, once.
    pub(super) fn take_host_key(&self) -> Option<(HostKey, Verdict)> {
        lock(&self.learnt).take()
    }

    /// How keys were agreed on and what encrypts, once that is known; safe to print.
    pub(super) fn algorithms(&self) -> Option<String> {
        lock(&self.algorithms).clone()
    }

    /// The error of somebody who needed the connection for `what`.
    pub(super) fn lost(&self, what: &str) -> NasSyncError {
        let reason = match self.end() {
            Some(End::Server(said)) => format!("the NAS closed it and said: {said}"),
            Some(End::Broken(reason)) => reason,
            Some(End::Ours) => String::from("it was closed by this side"),
            Some(End::NotUtf8) => String::from("the NAS sent a text that is no UTF-8"),
            Some(End::NoMethodLeft) => String::from("the NAS offers no way to log in"),
            None => String::from("it does not respond"),
        };
        NasSyncError::new(ErrorKind::ConnectionLost, format!("the SSH connection is lost {what}: {reason}"))
    }
}

/// Why the session task gave up.
#[derive(Debug)]
pub(super) enum Failure {
    /// Something in SSH itself.
    Ssh(russh::Error),
    /// The host key must not be used.
    HostKey(NasSyncError),
    /// The host key is not the pinned one; the server may have others.
    NotThePinned(HostKey),
    /// The agreed algorithms need strict key exchange, which the server lacks.
    NotCovered,
    /// The server offers again and again what nobody asked for.
    Unasked,
}

impl From<russh::Error> for Failure {
    fn from(error: russh::Error) -> Self {
        Self::Ssh(error)
    }
}

/// What russh calls while a connection lives.
#[derive(Debug)]
pub(super) struct Callbacks {
    link: Arc<Link>,
    policy: Arc<HostKeyPolicy>,
    /// How many things the server has offered that nobody asked for.
    unasked: usize,
}

impl Callbacks {
    pub(super) fn new(link: Arc<Link>, policy: Arc<HostKeyPolicy>) -> Self {
        Self { link, policy, unasked: 0 }
    }

    /// One more thing that nobody asked for. Each costs memory and an answer, so there is an end to them.
    fn unasked(&mut self) -> Result<(), Failure> {
        self.unasked += 1;
        if self.unasked > MAX_UNASKED { Err(Failure::Unasked) } else { Ok(()) }
    }
}

impl Drop for Callbacks {
    fn drop(&mut self) {
        // The session task may end without a word, for instance when the runtime shuts down.
        self.link.set_end(End::Broken(String::from("the session ended")));
    }
}

impl Handler for Callbacks {
    type Error = Failure;

    async fn auth_banner(&mut self, banner: &str, _: &mut Session) -> Result<(), Failure> {
        let mut kept = lock(&self.link.banner);
        let room = MAX_BANNER.saturating_sub(kept.len());
        kept.extend(banner.char_indices().take_while(|(at, c)| at + c.len_utf8() <= room).map(|(_, c)| c));
        Ok(())
    }

    async fn check_server_key(&mut self, key: &PublicKeyOrCertificate) -> Result<bool, Failure> {
        let certificate = key.certificate();
        let key = HostKey::new(&key.public_key());
        let verdict = certificate.map_or_else(|| self.policy.judge(&key), |shown| self.policy.judge_certificate(shown));
        match verdict {
            Verdict::Refused(error) => Err(Failure::HostKey(error)),
            Verdict::NotThePinned => Err(Failure::NotThePinned(key)),
            accepted => {
                *lock(&self.link.learnt) = Some((key, accepted));
                Ok(true)
            }
        }
    }

    async fn kex_done(&mut self, _: Option<&[u8]>, names: &Names, _: &mut Session) -> Result<(), Failure> {
        tracing::debug!(
            kex = names.kex.as_ref(),
            cipher = names.cipher.as_ref(),
            strict = names.strict_kex(),
            "ssh keys agreed"
        );
        *lock(&self.link.algorithms) = Some(format!("{}, {}", names.kex.as_ref(), names.cipher.as_ref()));
        if algorithms::is_covered(names) { Ok(()) } else { Err(Failure::NotCovered) }
    }

    async fn channel_open_confirmation(
        &mut self,
        id: ChannelId,
        _: u32,
        _: u32,
        _: &mut Session,
    ) -> Result<(), Failure> {
        self.link.places.opened(id);
        Ok(())
    }

    async fn channel_open_failure(
        &mut self,
        _: ChannelId,
        _: ChannelOpenFailure,
        _: &str,
        _: &str,
        _: &mut Session,
    ) -> Result<(), Failure> {
        self.link.places.refused();
        Ok(())
    }

    // Nothing is forwarded, so no server has a reason to open a channel. A reply that is dropped says no.

    async fn server_channel_open_session(
        &mut self,
        _: Channel<Msg>,
        _: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), Failure> {
        self.unasked()
    }

    async fn server_channel_open_direct_tcpip(
        &mut self,
        _: Channel<Msg>,
        _: &str,
        _: u32,
        _: &str,
        _: u32,
        _: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), Failure> {
        self.unasked()
    }

    async fn server_channel_open_direct_streamlocal(
        &mut self,
        _: Channel<Msg>,
        _: &str,
        _: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), Failure> {
        self.unasked()
    }

    async fn server_channel_open_x11(
        &mut self,
        _: Channel<Msg>,
        _: &str,
        _: u32,
        _: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), Failure> {
        self.unasked()
    }

    async fn server_channel_open_forwarded_tcpip(
        &mut self,
        _: Channel<Msg>,
        _: &str,
        _: u32,
        _: &str,
        _: u32,
        _: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), Failure> {
        self.unasked()
    }

    async fn server_channel_open_forwarded_streamlocal(
        &mut self,
        _: Channel<Msg>,
        _: &str,
        _: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), Failure> {
        self.unasked()
    }

    async fn server_channel_open_agent_forward(
        &mut self,
        _: Channel<Msg>,
        _: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), Failure> {
        self.unasked()
    }

    async fn should_accept_unknown_server_channel(&mut self, _: ChannelId, _: &str) -> bool {
        // So that it comes to the next function, which can end the session.
        true
    }

    async fn server_channel_open_unknown(
        &mut self,
        _: Channel<Msg>,
        _: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), Failure> {
        self.unasked()
    }

    async fn openssh_ext_host_keys_announced(&mut self, _: Vec<PublicKey>, _: &mut Session) -> Result<(), Failure> {
        self.unasked()
    }

    async fn disconnected(&mut self, reason: DisconnectReason<Failure>) -> Result<(), Failure> {
        self.link.set_end(match reason {
            DisconnectReason::ReceivedDisconnect(info)
                if matches!(info.reason_code, Disconnect::ByApplication) && info.message.is_empty() =>
            {
                End::Server(String::from("(nothing)"))
            }
            DisconnectReason::ReceivedDisconnect(info) => End::Server(text::escape_start(&info.message, MAX_GOODBYE)),
            // What russh calls the end of its own loop, after our disconnect or when the last handle is gone.
            DisconnectReason::Error(Failure::Ssh(russh::Error::Disconnect)) => End::Ours,
            DisconnectReason::Error(Failure::Ssh(russh::Error::NoAuthMethod)) => End::NoMethodLeft,
            DisconnectReason::Error(Failure::Ssh(russh::Error::SshEncoding(
                ssh_encoding::Error::CharacterEncoding,
            ))) => End::NotUtf8,
            DisconnectReason::Error(Failure::Ssh(error)) => End::Broken(describe(&error)),
            DisconnectReason::Error(Failure::Unasked) => {
                End::Broken(String::from("the NAS goes on offering what nobody asked for"))
            }
            DisconnectReason::Error(other) => End::Broken(format!("{other:?}")),
        });
        Ok(())
    }
}

/// russh's errors in words for a person.
fn describe(error: &russh::Error) -> String {
    match error {
        russh::Error::IO(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
            String::from("the NAS closed it")
        }
        russh::Error::KeepaliveTimeout | russh::Error::InactivityTimeout => String::from("the NAS no longer answers"),
        error => error.to_string(),
    }
}
