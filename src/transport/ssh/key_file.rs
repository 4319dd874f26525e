//! Private keys, from a file or given as text.
//!
//! Guarantees: a key file is a regular file that nobody else can have written. One that belongs to this user is closed to
//! everybody else, as OpenSSH wants it; one that root put there, or that is mounted read-only (the secrets of Kubernetes,
//! Docker and Compose), may be readable, because this user cannot change that. All this is checked on the opened handle, so
//! that the file cannot be swapped in between. The text of a key, its passphrase and what is computed from them are wiped
//! from memory here, heap and stack; the key itself is when the credential is dropped. (Not with PuTTY's form, which russh
//! reads.) Blocking: an encrypted key costs a good part of a second of CPU.

use std::fs::{File, Metadata};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use russh::keys::pkcs8::decode_pkcs8;
use russh::keys::ssh_key::Cipher;
use russh::keys::{PrivateKey, PublicKey, decode_secret_key};
use rustix::fs::StatVfsMountFlags;
use zeroize::Zeroizing;

use super::certificate::{self, UserCertificate};
use super::config::{Identity, SshConfig, expand_home};
use super::key_cipher::{self, Closed, Way};
use super::key_text::{self, KeyText, OPENSSH, Pem};
use crate::error::{ErrorKind, NasSyncError, Result};
use crate::secret::{self, Secret};
use crate::small_file;

/// Bits of the file mode that let others in.
const OPEN_TO_OTHERS: u32 = 0o077;
/// Bits of the file mode that let others write.
const WRITABLE_BY_OTHERS: u32 = 0o022;
/// The default keys below the home folder, in order.
const DEFAULT_FILES: [&str; 3] = [".ssh/id_ed25519", ".ssh/id_ecdsa", ".ssh/id_rsa"];

/// Something that can be offered to the server.
#[derive(Debug, Clone)]
pub(super) enum Credential {
    /// A key in memory, where it came from, and the certificates of it.
    Key { key: Arc<PrivateKey>, origin: String, certificates: Vec<UserCertificate> },
    /// An encrypted key without a passphrase; the agent may hold it unlocked.
    Locked { public: PublicKey, path: PathBuf },
    /// The keys of the agent.
    Agent,
    /// The password of the user; it is read when it is sent.
    Password(Secret),
}

/// Finds and reads what the configuration names: keys, and behind them the password. Fails with `KeyUnusable`.
pub(super) fn load(config: &SshConfig) -> Result<Vec<Credential>> {
    let mut credentials = secret::aside(|| find(config))?;
    credentials.extend(config.password.clone().map(Credential::Password));
    Ok(credentials)
}

fn find(config: &SshConfig) -> Result<Vec<Credential>> {
    let passphrase = config.passphrase.as_ref();
    match &config.identity {
        Identity::Files(paths) if paths.is_empty() && config.password.is_none() => Err(none_found(&[])),
        Identity::Files(paths) => paths.iter().map(|path| read(&expand_home(path), config)).collect(),
        Identity::Text(text) => match decode(&text_of(text, "the given key")?, passphrase, "the given key")? {
            Decoded::Key(key) => {
                let certificates = certificate::of_key(key.public_key(), None, &config.certificates)?;
                Ok(vec![Credential::Key { key, origin: String::from("given as text"), certificates }])
            }
            Decoded::Locked(_) => Err(passphrase_needed("the given key")),
        },
        Identity::Agent => Ok(vec![Credential::Agent]),
        Identity::Default => {
            let home = std::env::home_dir();
            let files: Vec<_> = home.iter().flat_map(|home| DEFAULT_FILES.map(|name| home.join(name))).collect();
            first_of(&files, config)
        }
    }
}

fn first_of(files: &[PathBuf], config: &SshConfig) -> Result<Vec<Credential>> {
    match files.iter().find(|path| path.exists()) {
        Some(path) => Ok(vec![read(path, config)?]),
        None if config.agent.is_some() => Ok(vec![Credential::Agent]),
        None if config.password.is_some() => Ok(Vec::new()),
        None => Err(none_found(files)),
    }
}

pub(super) fn text_of(secret: &Secret, what: &str) -> Result<Arc<Zeroizing<String>>> {
    secret.text().map_err(|error| match secret.file() {
        Some(file) => NasSyncError::at_path(ErrorKind::KeyUnusable, &format!("cannot read {what}"), file, error),
        None => NasSyncError::new(ErrorKind::KeyUnusable, format!("cannot read {what}: {error}")).with_source(error),
    })
}

/// A key that needs a passphrase which is not there.
pub(super) fn passphrase_needed(what: &str) -> NasSyncError {
    NasSyncError::new(ErrorKind::KeyUnusable, format!("{what} is encrypted and no passphrase is set"))
        .with_solution("Set NAS_KEY_PASSPHRASE, or NAS_KEY_PASSPHRASE_FILE, or add the key to an ssh-agent.")
}

fn none_found(candidates: &[PathBuf]) -> NasSyncError {
    let tried: Vec<_> = candidates.iter().map(|path| path.display().to_string()).collect();
    let tried =
        if tried.is_empty() { String::from("no file is named") } else { format!("looked for {}", tried.join(", ")) };
    NasSyncError::new(ErrorKind::KeyUnusable, format!("there is no private key: {tried}, and no agent is running"))
        .with_solution("Run `nas-sync setup`, which makes one and lets it in on the NAS; or make one with `ssh-keygen -t ed25519` and copy it there with `ssh-copy-id`; or point NAS_KEY_FILE at an existing key.")
}

fn read(path: &Path, config: &SshConfig) -> Result<Credential> {
    let text = read_private(path)?;
    match decode(&text, config.passphrase.as_ref(), &path.display().to_string())? {
        Decoded::Key(key) => {
            let certificates = certificate::of_key(key.public_key(), Some(path), &config.certificates)?;
            Ok(Credential::Key { key, origin: path.display().to_string(), certificates })
        }
        Decoded::Locked(public) => Ok(Credential::Locked { public, path: path.to_owned() }),
    }
}

fn read_private(path: &Path) -> Result<Zeroizing<String>> {
    let unusable =
        |error: std::io::Error| NasSyncError::at_path(ErrorKind::KeyUnusable, "cannot read the key", path, error);
    let file = small_file::open(path).map_err(unusable)?;
    let meta = file.metadata().map_err(unusable)?;
    if !meta.is_file() {
        let message = format!("the key {} is not a regular file", path.display());
        return Err(NasSyncError::new(ErrorKind::KeyUnusable, message));
    }
    let bytes = small_file::read_open(&file, secret::MAX_FILE).map_err(unusable)?;
    // What is no text is no key either, which is said where the form is looked at.
    let text = Zeroizing::new(String::from_utf8_lossy(&bytes).into_owned());
    // Asking to close a public key would lead away from the mistake.
    if !key_text::is_public(&text) {
        Access::of(&file, &meta).check(rustix::process::geteuid().as_raw(), path)?;
    }
    Ok(text)
}

/// Who can read and write a key file.
#[derive(Debug, Clone, Copy)]
struct Access {
    owner: u32,
    mode: u32,
    /// Whether it lies on a file system that is mounted read-only.
    read_only: bool,
}

impl Access {
    fn of(file: &File, meta: &Metadata) -> Self {
        let flags = rustix::fs::fstatvfs(file).map(|system| system.f_flag);
        let read_only = flags.is_ok_and(|flags| flags.contains(StatVfsMountFlags::RDONLY));
        Self { owner: meta.uid(), mode: meta.mode() & 0o7777, read_only }
    }

    fn check(self, own: u32, path: &Path) -> Result<()> {
        let Self { owner, mode, read_only } = self;
        let shown = path.display();
        let is_ours_to_close = owner == own && !read_only;
        let is_trusted = owner == own || owner == 0 || read_only;
        let (message, solution) = if !is_trusted {
            (
                format!("belongs to another user (uid {owner}, not {own})"),
                format!("chown {own} {shown} && chmod 600 {shown}"),
            )
        } else if mode & WRITABLE_BY_OTHERS != 0 || (is_ours_to_close && mode & OPEN_TO_OTHERS != 0) {
            (format!("is open to other users (mode {mode:04o})"), format!("chmod 600 {shown}"))
        } else {
            return Ok(());
        };
        let error = NasSyncError::new(ErrorKind::KeyUnusable, format!("the key {shown} {message}"));
        Err(error.with_solution(solution))
    }
}

enum Decoded {
    Key(Arc<PrivateKey>),
    Locked(PublicKey),
}

fn decode(text: &str, passphrase: Option<&Secret>, what: &str) -> Result<Decoded> {
    let found = key_text::find(text).map_err(|looks_like| {
        NasSyncError::new(ErrorKind::KeyUnusable, format!("{what} is {looks_like}")).with_solution(
            "Name the private key, not the .pub file: it begins with -----BEGIN OPENSSH PRIVATE KEY----- or the like.",
        )
    })?;
    match found {
        KeyText::Pem(pem) if pem.label == OPENSSH => openssh(&pem.body, passphrase, what),
        KeyText::Pem(pem) => openssl(&pem, passphrase, what),
        KeyText::Putty(text) => {
            let encrypted = !text.contains("Encryption: none");
            let passphrase = if encrypted { Some(needed(passphrase, what)?) } else { None };
            by_russh(decode_secret_key(&text, passphrase.as_ref().map(|text| text.as_str())), encrypted, what)
        }
    }
}

/// The passphrase of a key that is encrypted.
fn needed(passphrase: Option<&Secret>, what: &str) -> Result<Arc<Zeroizing<String>>> {
    text_of(passphrase.ok_or_else(|| passphrase_needed(what))?, "the passphrase")
}

/// A key in OpenSSH's own form.
fn openssh(bytes: &[u8], passphrase: Option<&Secret>, what: &str) -> Result<Decoded> {
    let key = PrivateKey::from_bytes(bytes).map_err(|error| unknown_form(what, &error.to_string()))?;
    match (key.is_encrypted(), passphrase) {
        (false, _) => Ok(Decoded::Key(Arc::new(key))),
        (true, _) if key.cipher() == Cipher::TdesCbc => Err(unsupported(what, key.cipher().as_str())),
        (true, None) => Ok(Decoded::Locked(key.public_key().clone())),
        (true, Some(secret)) => match key.decrypt(text_of(secret, "the passphrase")?.as_bytes()) {
            Ok(key) => Ok(Decoded::Key(Arc::new(key))),
            Err(_) => Err(wrong_passphrase(what)),
        },
    }
}

/// A key in one of OpenSSL's forms. russh gets its bytes: of a text it leaves copies.
fn openssl(pem: &Pem, passphrase: Option<&Secret>, what: &str) -> Result<Decoded> {
    let closed = |closed| match closed {
        Closed::WrongPassphrase => wrong_passphrase(what),
        Closed::Unsupported(name) => unsupported(what, &name),
        Closed::Damaged => unknown_form(what, "it is damaged"),
    };
    if pem.label == "ENCRYPTED PRIVATE KEY" {
        let passphrase = needed(passphrase, what)?;
        return match key_cipher::open_pkcs8(&pem.body, &passphrase).map_err(closed)? {
            Way::Opened(opened) => by_russh(decode_pkcs8(&opened, None), false, what),
            Way::ByRussh => by_russh(decode_pkcs8(&pem.body, Some(passphrase.as_bytes())), true, what),
        };
    }
    let opened;
    let body = match pem.headers.iter().find_map(|header| header.strip_prefix("DEK-Info:")) {
        Some(info) => {
            opened = key_cipher::open_dek(&pem.body, info, &needed(passphrase, what)?).map_err(closed)?;
            &opened
        }
        None => &pem.body,
    };
    match pem.label.as_str() {
        "RSA PRIVATE KEY" => by_russh(decode_pkcs8(&rsa_as_pkcs8(body), None), false, what),
        "EC PRIVATE KEY" | "PRIVATE KEY" => by_russh(decode_pkcs8(body, None), false, what),
        other => Err(unknown_form(what, &format!("{other} is not a form that is known here"))),
    }
}

/// A key of PKCS#1 as russh takes it (RFC 5208): version 0, rsaEncryption, and the key as octets.
fn rsa_as_pkcs8(key: &[u8]) -> Zeroizing<Vec<u8>> {
    const RSA: &[u8] = b"\x02\x01\x00\x30\x0d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01\x05\x00";
    /// A tag and a length in two bytes, which each RSA key needs that is of any use.
    fn header(tag: u8, length: usize) -> [u8; 4] {
        let [.., high, low] = length.to_be_bytes();
        [tag, 0x82, high, low]
    }
    let octets = header(0x04, key.len());
    let whole = header(0x30, RSA.len() + octets.len() + key.len());
    let mut bytes = Zeroizing::new(Vec::with_capacity(key.len() + 64));
    for part in [&whole[..], RSA, &octets, key] {
        bytes.extend_from_slice(part);
    }
    bytes
}

fn by_russh(result: Result<PrivateKey, russh::keys::Error>, encrypted: bool, what: &str) -> Result<Decoded> {
    match result {
        Ok(key) => Ok(Decoded::Key(Arc::new(key))),
        Err(_) if encrypted => Err(wrong_passphrase(what)),
        Err(error) => Err(unknown_form(what, &error.to_string())),
    }
}

fn wrong_passphrase(what: &str) -> NasSyncError {
    NasSyncError::new(ErrorKind::KeyUnusable, format!("the passphrase does not open {what}"))
        .with_solution("Correct NAS_KEY_PASSPHRASE; `ssh-keygen -yf FILE` tells whether a passphrase is right.")
}

fn unsupported(what: &str, name: &str) -> NasSyncError {
    NasSyncError::new(ErrorKind::KeyUnusable, format!("{what} is encrypted with {name}, which is not supported"))
        .with_solution("`ssh-keygen -p -f FILE` writes the key anew, with an encryption of today.")
}

fn unknown_form(what: &str, reason: &str) -> NasSyncError {
    NasSyncError::new(ErrorKind::KeyUnusable, format!("{what} is not a private key that can be read: {reason}"))
        .with_solution(
            "Name the private key, not the .pub file; `ssh-keygen -p -f FILE` rewrites an old form as a new one.",
        )
}

#[cfg(test)]
mod tests;
