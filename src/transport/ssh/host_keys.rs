//! Whether the key that a server proved to hold is the one we expect.
//!
//! Guarantees: a changed or revoked key is refused whatever the settings say; a host recorded with another type of key
//! counts as known, so a new type is never trusted silently. A pinned fingerprint is the only thing that counts when
//! there is one. Never writes a file: what was newly accepted is handed to the caller.

use std::path::{Path, PathBuf};

use russh::keys::{PublicKey, PublicKeyBase64 as _};

use super::algorithms::key_type;
use super::config::{HostKeyPin, SYSTEM_KNOWN_HOSTS, SshConfig, UnknownHostKey, expand_home};
use super::known_hosts::{self, Entry, KnownHosts, Marker, fingerprint, lookup_name};
use crate::error::{ErrorKind, NasSyncError, Result};

/// A server's public key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct HostKey {
    pub(super) key_type: String,
    pub(super) blob: Vec<u8>,
}

impl HostKey {
    pub(super) fn new(key: &PublicKey) -> Self {
        Self { key_type: key_type(&key.algorithm()), blob: key.public_key_bytes() }
    }

    pub(super) fn fingerprint(&self) -> String {
        fingerprint(&self.blob)
    }
}

/// What came of looking at a server's key.
#[derive(Debug)]
pub(super) enum Verdict {
    /// It is the expected one.
    Expected,
    /// It was unknown and may be recorded: append `line` to `file`.
    Learnt { file: Option<PathBuf>, line: String },
    /// It is not the pinned one, but the server may hold another of a different type.
    NotThePinned,
    /// It must not be used.
    Refused(NasSyncError),
}

/// Where a key that is accepted is written down.
#[derive(Debug)]
enum Record {
    /// In the first file that is the user's own.
    In(PathBuf),
    /// There is only the file of the whole machine, which is not ours to write to.
    OthersOnly,
    /// The caller has no files.
    Nowhere,
}

impl Record {
    fn of(files: Vec<PathBuf>) -> Self {
        if files.is_empty() {
            return Self::Nowhere;
        }
        files.into_iter().find(|file| file != Path::new(SYSTEM_KNOWN_HOSTS)).map_or(Self::OthersOnly, Self::In)
    }
}

/// The records and settings that decide about one host.
#[derive(Debug)]
pub(super) struct HostKeyPolicy {
    address: String,
    host: String,
    port: u16,
    pin: Option<HostKeyPin>,
    unknown: UnknownHostKey,
    record: Record,
    known: KnownHosts,
}

impl HostKeyPolicy {
    /// Reads the known_hosts files unless a pin makes them pointless. Fails with `KnownHostsUnusable`.
    pub(super) fn load(config: &SshConfig) -> Result<Self> {
        let files: Vec<_> = config.known_hosts.iter().map(|file| expand_home(file)).collect();
        let known = match config.host_key {
            Some(_) => KnownHosts::default(),
            None => KnownHosts::load(&files)?,
        };
        Ok(Self {
            address: config.address(),
            host: config.bare_host().to_owned(),
            port: config.port,
            pin: config.host_key.clone(),
            unknown: config.unknown_host_key,
            record: Record::of(files),
            known,
        })
    }

    /// The same, for somebody who only looks: an unknown key passes, and nobody records it.
    #[cfg(feature = "cli")]
    pub(super) fn showing(self) -> Self {
        Self { unknown: UnknownHostKey::Accept, record: Record::Nowhere, ..self }
    }

    fn recorded(&self) -> Vec<&Entry> {
        let name = lookup_name(&self.host, self.port);
        self.known.about(&name).filter(|entry| entry.marker() == Marker::HostKey).collect()
    }

    /// The key types to ask the server for. A host that is known must present a type it is known with, or a server with
    /// several keys would look changed.
    pub(super) fn accepts_type(&self, key_type: &str) -> bool {
        let recorded = self.recorded();
        recorded.is_empty() || recorded.iter().any(|entry| entry.key_type() == key_type)
    }

    /// Whether a server that offers these algorithms may have a recorded key, and can show it only by an algorithm that
    /// was not offered to it.
    pub(super) fn may_have_recorded(&self, offered: &[String]) -> bool {
        // RSA keys have one type, and a name for each way to sign.
        let key_type =
            |name: &str| if name.starts_with("rsa-sha2-") { String::from("ssh-rsa") } else { name.to_owned() };
        let recorded = self.recorded();
        offered.iter().any(|name| recorded.iter().any(|entry| entry.key_type() == key_type(name)))
    }

    /// Whether the records leave the choice of the type to the server.
    pub(super) fn accepts_every_type(&self) -> bool {
        self.recorded().is_empty()
    }

    /// Judges a key whose possession the server has proved.
    pub(super) fn judge(&self, key: &HostKey) -> Verdict {
        if let Some(pin) = &self.pin {
            return if pin.as_str() == key.fingerprint() { Verdict::Expected } else { Verdict::NotThePinned };
        }
        let (name, plain) = (lookup_name(&self.host, self.port), lookup_name(&self.host, super::config::DEFAULT_PORT));
        let revoked = |entry: &&Entry| entry.marker() == Marker::Revoked && entry.is_key(&key.blob);
        if let Some(entry) = self.known.about(&name).chain(self.known.about(&plain)).find(revoked) {
            return Verdict::Refused(self.revoked(key, entry));
        }
        let recorded = self.recorded();
        if recorded.iter().any(|entry| entry.is_key(&key.blob)) {
            return Verdict::Expected;
        }
        if !recorded.is_empty() {
            return Verdict::Refused(self.changed(&recorded, &format!("{} {}", key.key_type, key.fingerprint())));
        }
        // A record without a port vouches for the same key on another port, as in OpenSSH, but a different key there
        // says nothing: another port may well be another server.
        let same = |entry: &Entry| entry.marker() == Marker::HostKey && entry.is_key(&key.blob);
        if self.known.about(&plain).any(same) {
            return Verdict::Expected;
        }
        let line = known_hosts::line(&name, &key.key_type, &key.blob);
        match self.unknown {
            UnknownHostKey::Accept => match &self.record {
                Record::In(file) => Verdict::Learnt { file: Some(file.clone()), line },
                Record::Nowhere => Verdict::Learnt { file: None, line },
                Record::OthersOnly => Verdict::Refused(self.unrecordable(key)),
            },
            UnknownHostKey::Refuse => Verdict::Refused(self.unknown(key, &line)),
        }
    }

    /// The server has no key of a type it is known with.
    pub(super) fn no_recorded_type(&self, offered: &[String]) -> NasSyncError {
        self.changed(&self.recorded(), &format!("only keys of other types ({})", offered.join(", ")))
    }

    /// No key of the server is the pinned one. `seen` are those it showed.
    pub(super) fn pin_mismatch(&self, seen: &[HostKey]) -> NasSyncError {
        let pin = self.pin.as_ref().map_or("", HostKeyPin::as_str);
        let seen: Vec<_> = seen.iter().map(|key| format!("{} {}", key.key_type, key.fingerprint())).collect();
        let message = format!("the host key of {} is not the pinned {pin}, but {}", self.address, seen.join(", "));
        NasSyncError::new(ErrorKind::HostKeyChanged, message).with_solution(
            "Find out why before anything else. If the change is genuine, set NAS_HOST_KEY to the fingerprint that the NAS itself shows.",
        )
    }

    fn unknown(&self, key: &HostKey, line: &str) -> NasSyncError {
        let print = key.fingerprint();
        let file = match &self.record {
            Record::In(file) => format!(", or add this line to {}: {line}", file.display()),
            Record::OthersOnly | Record::Nowhere => String::new(),
        };
        NasSyncError::new(
            ErrorKind::HostKeyUnknown,
            format!("the host key of {} is not known: {} {print}", self.address, key.key_type),
        )
        .with_solution(format!(
            "Compare the fingerprint with the one the NAS shows. If it is the same, run once with --accept-new-host-key, or set NAS_HOST_KEY={print}{file}"
        ))
    }

    /// To accept a key without remembering it would be to accept any key next time.
    fn unrecordable(&self, key: &HostKey) -> NasSyncError {
        let (print, key_type) = (key.fingerprint(), &key.key_type);
        let message = format!(
            "the host key of {} is not known ({key_type} {print}), and there is no known_hosts file to record it in: HOME is not set",
            self.address
        );
        NasSyncError::new(ErrorKind::HostKeyUnknown, message).with_solution(format!(
            "Compare the fingerprint with the one the NAS shows. If it is the same, set NAS_HOST_KEY={print}, or name a file with NAS_KNOWN_HOSTS (with ssh's options: -o UserKnownHostsFile=FILE) and run this again."
        ))
    }

    fn changed(&self, recorded: &[&Entry], shown: &str) -> NasSyncError {
        let known: Vec<_> = recorded
            .iter()
            .map(|entry| format!("{} {} ({})", entry.key_type(), entry.fingerprint(), entry.place()))
            .collect();
        let first = recorded.first().map_or_else(String::new, |entry| entry.place().to_string());
        NasSyncError::new(
            ErrorKind::HostKeyChanged,
            format!("the host key of {} has changed: recorded is {}, shown is {shown}", self.address, known.join(", ")),
        )
        .with_solution(format!(
            "Find out why before anything else. If the NAS was reinstalled or replaced, remove the line {first} and accept the new key."
        ))
    }

    fn revoked(&self, key: &HostKey, entry: &Entry) -> NasSyncError {
        NasSyncError::new(
            ErrorKind::HostKeyRevoked,
            format!(
                "the host key of {} is revoked by {}: {} {}",
                self.address,
                entry.place(),
                key.key_type,
                key.fingerprint()
            ),
        )
    }
}
