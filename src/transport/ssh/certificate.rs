//! Certificates of OpenSSH: those of users, beside their keys, and when any is valid.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use chrono::{DateTime, Utc};
use russh::keys::{Certificate, PublicKey};

use crate::error::{ErrorKind, NasSyncError, Result};
use crate::small_file;

/// The most bytes of a file that holds a certificate.
const MAX_FILE: usize = 64 * 1024;

/// Whether now is the time of a certificate.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Period {
    Valid,
    /// It begins then.
    NotYet(String),
    /// It ended then.
    Over(String),
}

/// By the clock of this machine.
pub(super) fn period(certificate: &Certificate) -> Period {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |passed| passed.as_secs());
    if now < certificate.valid_after() {
        Period::NotYet(shown(certificate.valid_after()))
    } else if now >= certificate.valid_before() {
        Period::Over(shown(certificate.valid_before()))
    } else {
        Period::Valid
    }
}

fn shown(seconds: u64) -> String {
    let time = UNIX_EPOCH.checked_add(Duration::from_secs(seconds)).map(DateTime::<Utc>::from);
    time.map_or_else(|| format!("second {seconds}"), |time| time.format("%Y-%m-%dT%H:%M:%SZ").to_string())
}

/// A certificate of a user's key, and where it came from.
#[derive(Debug, Clone)]
pub(super) struct UserCertificate {
    pub(super) certificate: Certificate,
    pub(super) origin: String,
}

impl UserCertificate {
    /// What a server may have against it, as far as that can be seen here.
    pub(super) fn doubt(&self, user: &str) -> Option<String> {
        let (certificate, origin) = (&self.certificate, &self.origin);
        let principals = certificate.valid_principals();
        match period(certificate) {
            Period::NotYet(since) => Some(format!("the certificate {origin} is not valid before {since}")),
            Period::Over(until) => Some(format!("the certificate {origin} has expired: it was valid until {until}")),
            Period::Valid if principals.is_empty() => Some(format!("the certificate {origin} names no user")),
            Period::Valid if !principals.iter().any(|name| name == user) => {
                Some(format!("the certificate {origin} is for {}, not for {user}", principals.join(", ")))
            }
            Period::Valid => None,
        }
    }
}

/// The certificates of one key: those of the list that are its own, and `KEY-cert.pub` beside its file. Fails with
/// `KeyUnusable`.
pub(super) fn of_key(key: &PublicKey, file: Option<&Path>, named: &[PathBuf]) -> Result<Vec<UserCertificate>> {
    let beside = file.map(|file| {
        let mut name = file.as_os_str().to_owned();
        name.push("-cert.pub");
        PathBuf::from(name)
    });
    let beside = beside.into_iter().filter(|path| path.exists() && !named.contains(path));
    let mut found = Vec::new();
    for path in named.iter().cloned().chain(beside) {
        let certificate = read(&path)?;
        if certificate.public_key() == key.key_data() {
            found.push(UserCertificate { certificate, origin: path.display().to_string() });
        }
    }
    Ok(found)
}

fn read(path: &Path) -> Result<Certificate> {
    let unusable = |error| NasSyncError::at_path(ErrorKind::KeyUnusable, "cannot read the certificate", path, error);
    let bytes = small_file::read(path, MAX_FILE).map_err(unusable)?;
    Certificate::from_openssh(String::from_utf8_lossy(&bytes).trim()).map_err(|error| {
        let message = format!("{} is not a certificate of OpenSSH: {error}", path.display());
        NasSyncError::new(ErrorKind::KeyUnusable, message)
            .with_solution("`ssh-keygen -L -f FILE` shows what a certificate says; `ssh-keygen -s` makes one.")
    })
}
