//! How far a login has come: for the words of a timeout, and for who tells a person about each step.
//!
//! Guarantees: what was learnt stays known when the login fails. Never holds a secret.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use super::approach::{not_ssh, unreadable_id};
use super::config::SshConfig;
use super::dial::Greeting;
use crate::error::{ErrorKind, NasSyncError};

/// The steps of a login, in their order.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum LoginStep {
    /// Reading which host keys are known.
    #[default]
    KnownHosts,
    /// Reading the private key.
    Key,
    /// Looking up the addresses of the name.
    Name,
    /// Connecting to one of them.
    Tcp,
    /// Agreeing on algorithms and keys, and judging the host key.
    KeyExchange,
    /// Showing who we are.
    Login,
}

/// What a login has come to know.
#[derive(Debug, Clone, Default)]
pub struct LoginFacts {
    /// The step that it is at, or failed in.
    pub step: LoginStep,
    /// What will be offered, in order: keys by type, fingerprint and origin.
    pub credentials: Vec<String>,
    /// The addresses of the name.
    pub addresses: Vec<SocketAddr>,
    /// The one that answered.
    pub peer: Option<SocketAddr>,
    /// How keys are agreed on, and the cipher.
    pub algorithms: Option<String>,
    /// The type and the fingerprint of the host key that was accepted.
    pub host_key: Option<(String, String)>,
}

/// Follows one login.
#[derive(Debug, Default)]
pub struct LoginProgress {
    facts: Mutex<LoginFacts>,
    greeting: Arc<Greeting>,
}

impl LoginProgress {
    /// What is known so far.
    pub fn facts(&self) -> LoginFacts {
        self.facts.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How the server names itself, once it has; safe to print.
    pub fn server_version(&self) -> Option<String> {
        self.greeting.server_id()
    }

    pub(super) fn note(&self, learn: impl FnOnce(&mut LoginFacts)) {
        learn(&mut self.facts.lock().unwrap_or_else(PoisonError::into_inner));
    }

    pub(super) fn reach(&self, step: LoginStep) {
        self.note(|facts| facts.step = step);
    }

    pub(super) fn greeting(&self) -> &Arc<Greeting> {
        &self.greeting
    }

    pub(super) fn timed_out(&self, config: &SshConfig) -> NasSyncError {
        let (address, seconds) = (config.address(), config.connect_timeout.as_secs_f32());
        let message = match self.facts().step {
            LoginStep::KnownHosts | LoginStep::Key => format!("reading the local keys took longer than {seconds} s"),
            LoginStep::Name => format!("looking up {} took longer than {seconds} s", config.bare_host()),
            LoginStep::Tcp => format!("{address} did not answer within {seconds} s"),
            LoginStep::KeyExchange if self.greeting.has_unreadable_id() => {
                return unreadable_id(config, &self.greeting);
            }
            LoginStep::KeyExchange if self.greeting.server_id().is_some() || self.greeting.is_cut_short() => {
                format!("{address} did not finish the key exchange within {seconds} s")
            }
            LoginStep::KeyExchange if !self.greeting.bytes().is_empty() => return not_ssh(config, &self.greeting),
            LoginStep::KeyExchange => format!("{address} took the connection but said nothing within {seconds} s"),
            LoginStep::Login => format!("{address} did not finish the login within {seconds} s"),
        };
        NasSyncError::new(ErrorKind::ConnectionTimedOut, message)
    }
}
