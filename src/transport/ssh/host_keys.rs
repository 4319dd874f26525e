//! Whether the key that a server proved to hold is the one we expect.
//!
//! Guarantees: a changed or revoked key is refused whatever the settings say; a host recorded with another type of key
//! counts as known, so a new type is never trusted silently. A pinned fingerprint is the only thing that counts when
//! there is one. A certificate counts when an authority of a `@cert-authority` line about the host has signed it, for that
//! host and this time; one that does not hold is never trusted on first use. Never writes a file: what was newly accepted is
//! handed to the caller.

use std::path::{Path, PathBuf};

use russh::keys::ssh_key::certificate::CertType;
use russh::keys::{Algorithm, Certificate, PublicKey, PublicKeyBase64 as _};

use super::algorithms::{Certificates, key_type};
use super::certificate::{self, Period};
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
    alias: Option<String>,
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
            alias: config.host_key_alias.clone(),
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

    /// The name under which the host is recorded, and the one that says nothing about its port.
    fn names(&self) -> [String; 2] {
        match &self.alias {
            Some(alias) => [alias.clone(), alias.clone()],
            None => [self.port, super::config::DEFAULT_PORT].map(|port| lookup_name(&self.host, port)),
        }
    }

    fn recorded(&self) -> Vec<&Entry> {
        let [name, _] = self.names();
        self.known.about(&name).filter(|entry| entry.marker() == Marker::HostKey).collect()
    }

    fn authorities(&self) -> Vec<&Entry> {
        let about = |name: &String| self.known.about(name).collect::<Vec<_>>();
        let entries = self.names().iter().flat_map(about).collect::<Vec<_>>();
        entries.into_iter().filter(|entry| entry.marker() == Marker::CertAuthority).collect()
    }

    /// Whether the server may show a certificate.
    pub(super) fn certificates(&self) -> Certificates {
        if self.authorities().is_empty() { Certificates::Unwanted } else { Certificates::Wanted }
    }

    /// Judges a certificate whose key the server has proved to hold. Without an authority that we know it is worth what the
    /// key is worth.
    pub(super) fn judge_certificate(&self, certificate: &Certificate) -> Verdict {
        let key = HostKey::new(&PublicKey::from(certificate.public_key().clone()));
        let authority = HostKey::new(&PublicKey::from(certificate.signature_key().clone()));
        let is_known = self.authorities().iter().any(|entry| entry.is_key(&authority.blob));
        if self.pin.is_some() || !is_known {
            return self.judge(&key);
        }
        for key in [&key, &authority] {
            if let Some(entry) = self.revocation(key) {
                return Verdict::Refused(self.revoked(key, entry));
            }
        }
        let Some(fault) = self.fault(certificate) else { return Verdict::Expected };
        match self.judge(&key) {
            Verdict::Refused(error) if error.kind() != ErrorKind::HostKeyUnknown => Verdict::Refused(error),
            Verdict::Refused(_) | Verdict::Learnt { .. } => Verdict::Refused(self.invalid(certificate, &key, &fault)),
            expected => expected,
        }
    }

    /// What is wrong with a certificate of an authority that is known.
    fn fault(&self, certificate: &Certificate) -> Option<String> {
        let host = self.alias.as_deref().unwrap_or(&self.host).to_ascii_lowercase();
        let is_for =
            |pattern: &String| known_hosts::glob_matches(pattern.to_ascii_lowercase().as_bytes(), host.as_bytes());
        let principals = certificate.valid_principals();
        if certificate.cert_type() != CertType::Host {
            Some(String::from("it is one of a user, not of a host"))
        } else if certificate.verify_signature().is_err() {
            Some(String::from("its signature is wrong"))
        } else if certificate.signature().algorithm() == (Algorithm::Rsa { hash: None }) {
            Some(String::from("it is signed with SHA-1"))
        } else if !certificate.critical_options().is_empty() {
            Some(String::from("it has critical options, which nobody has defined for hosts"))
        } else if !principals.is_empty() && !principals.iter().any(is_for) {
            Some(format!("it is for {}, not for {host}", principals.join(", ")))
        } else {
            match certificate::period(certificate) {
                Period::Valid => None,
                Period::NotYet(since) => Some(format!("it is not valid before {since}")),
                Period::Over(until) => Some(format!("it has expired: it was valid until {until}")),
            }
        }
    }

    fn invalid(&self, certificate: &Certificate, key: &HostKey, fault: &str) -> NasSyncError {
        let (address, name, print) = (&self.address, certificate.key_id(), key.fingerprint());
        NasSyncError::new(
            ErrorKind::HostKeyUnknown,
            format!("the host certificate {name:?} of {address} does not hold: {fault}; its key is {} {print}", key.key_type),
        )
        .with_solution(format!(
            "Have the authority sign the host key of the NAS anew, or check the clocks. To trust this key without it, set NAS_HOST_KEY={print}"
        ))
    }

    fn revocation(&self, key: &HostKey) -> Option<&Entry> {
        let names = self.names();
        let is_it = |entry: &&Entry| entry.marker() == Marker::Revoked && entry.is_key(&key.blob);
        names.iter().find_map(|name| self.known.about(name).find(is_it))
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
        let [name, plain] = self.names();
        if let Some(entry) = self.revocation(key) {
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
            "Find out why before anything else. If the NAS was reinstalled or replaced, remove the line {first} and accept the new key with `nas-sync test --accept-new-host-key`."
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
