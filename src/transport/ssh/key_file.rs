//! Private keys, from a file or given as text.
//!
//! Guarantees: a key file is a regular file that belongs to this user (or root) and is closed to everybody else, which
//! is checked on the opened handle, so that it cannot be swapped in between. Key text is zeroized after use. Blocking:
//! an encrypted key costs a good part of a second of CPU.

use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use russh::keys::{PrivateKey, PublicKey, decode_secret_key};
use rustix::fs::{Mode, OFlags};
use zeroize::Zeroizing;

use super::config::{Identity, SshConfig, expand_home};
use crate::error::{ErrorKind, NasSyncError, Result};
use crate::secret::Secret;

/// No private key file is larger than this, in bytes.
const MAX_FILE: u64 = 64 * 1024;
/// Bits of the file mode that let others in.
const OPEN_TO_OTHERS: u32 = 0o077;
/// The default keys below the home folder, in order.
const DEFAULT_FILES: [&str; 3] = [".ssh/id_ed25519", ".ssh/id_ecdsa", ".ssh/id_rsa"];

/// Something that can be offered to the server.
#[derive(Debug, Clone)]
pub(super) enum Credential {
    /// A key in memory, and where it came from.
    Key { key: Arc<PrivateKey>, origin: String },
    /// An encrypted key without a passphrase; the agent may hold it unlocked.
    Locked { public: PublicKey, path: PathBuf },
    /// The keys of the agent.
    Agent,
}

/// Finds and reads what the configuration names. Fails with `KeyUnusable`.
pub(super) fn load(config: &SshConfig) -> Result<Vec<Credential>> {
    let passphrase = config.passphrase.as_ref();
    match &config.identity {
        Identity::Files(paths) if paths.is_empty() => Err(none_found(&[])),
        Identity::Files(paths) => paths.iter().map(|path| read(&expand_home(path), passphrase)).collect(),
        Identity::Text(text) => match decode(text.expose(), passphrase, "the given key")? {
            Decoded::Key(key) => Ok(vec![Credential::Key { key, origin: String::from("given as text") }]),
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
        Some(path) => Ok(vec![read(path, config.passphrase.as_ref())?]),
        None if config.agent.is_some() => Ok(vec![Credential::Agent]),
        None => Err(none_found(files)),
    }
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
        .with_solution("Make one with `ssh-keygen -t ed25519` and copy it to the NAS with `ssh-copy-id`, or point NAS_KEY_FILE at an existing key.")
}

fn read(path: &Path, passphrase: Option<&Secret>) -> Result<Credential> {
    let text = read_private(path)?;
    match decode(&text, passphrase, &path.display().to_string())? {
        Decoded::Key(key) => Ok(Credential::Key { key, origin: path.display().to_string() }),
        Decoded::Locked(public) => Ok(Credential::Locked { public, path: path.to_owned() }),
    }
}

fn read_private(path: &Path) -> Result<Zeroizing<String>> {
    let unusable =
        |error: std::io::Error| NasSyncError::at_path(ErrorKind::KeyUnusable, "cannot read the key", path, error);
    // A pipe of that name must not make us wait for its other end.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOCTTY | OFlags::NONBLOCK;
    let file = File::from(rustix::fs::open(path, flags, Mode::empty()).map_err(|error| unusable(error.into()))?);
    let meta = file.metadata().map_err(unusable)?;
    let shown = path.display();
    if !meta.is_file() {
        return Err(NasSyncError::new(ErrorKind::KeyUnusable, format!("the key {shown} is not a regular file")));
    }
    let own = rustix::process::geteuid().as_raw();
    if meta.uid() != own && meta.uid() != 0 {
        let message = format!("the key {shown} belongs to another user (uid {}, not {own})", meta.uid());
        return Err(NasSyncError::new(ErrorKind::KeyUnusable, message)
            .with_solution(format!("chown {own} {shown} && chmod 600 {shown}")));
    }
    if meta.mode() & OPEN_TO_OTHERS != 0 {
        let message = format!("the key {shown} is open to other users (mode {:04o})", meta.mode() & 0o7777);
        return Err(NasSyncError::new(ErrorKind::KeyUnusable, message).with_solution(format!("chmod 600 {shown}")));
    }
    let mut text = Zeroizing::new(String::with_capacity(usize::try_from(meta.len().min(MAX_FILE)).unwrap_or(0) + 1));
    file.take(MAX_FILE).read_to_string(&mut text).map_err(unusable)?;
    Ok(text)
}

enum Decoded {
    Key(Arc<PrivateKey>),
    Locked(PublicKey),
}

fn decode(text: &str, passphrase: Option<&Secret>, what: &str) -> Result<Decoded> {
    let wrong_passphrase = || {
        NasSyncError::new(ErrorKind::KeyUnusable, format!("the passphrase does not open {what}"))
            .with_solution("Correct NAS_KEY_PASSPHRASE; `ssh-keygen -yf FILE` tells whether a passphrase is right.")
    };
    let unknown_form = |reason: String| {
        NasSyncError::new(ErrorKind::KeyUnusable, format!("{what} is not a private key that can be read: {reason}"))
            .with_solution(
                "Name the private key, not the .pub file; `ssh-keygen -p -f FILE` rewrites an old form as a new one.",
            )
    };
    let text = text.trim_start_matches('\u{feff}').trim_start();
    if text.starts_with("-----BEGIN OPENSSH PRIVATE KEY-----") {
        let key = PrivateKey::from_openssh(text).map_err(|error| unknown_form(error.to_string()))?;
        return match (key.is_encrypted(), passphrase) {
            (false, _) => Ok(Decoded::Key(Arc::new(key))),
            (true, None) => Ok(Decoded::Locked(key.public_key().clone())),
            (true, Some(secret)) => match key.decrypt(secret.expose()) {
                Ok(key) => Ok(Decoded::Key(Arc::new(key))),
                Err(_) => Err(wrong_passphrase()),
            },
        };
    }
    let header = text.get(..256.min(text.len())).unwrap_or(text);
    let encrypted =
        header.contains("ENCRYPTED") || (header.starts_with("PuTTY") && !header.contains("Encryption: none"));
    if encrypted && passphrase.is_none() {
        return Err(passphrase_needed(what));
    }
    if header.contains("DEK-Info:") && !header.contains("DEK-Info: AES-128-CBC") {
        return Err(unknown_form(String::from("its old encryption is not supported")));
    }
    match decode_secret_key(text, passphrase.map(Secret::expose)) {
        Ok(key) => Ok(Decoded::Key(Arc::new(key))),
        Err(_) if encrypted => Err(wrong_passphrase()),
        Err(error) => Err(unknown_form(error.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;
    use std::process::Command;

    use super::*;

    fn keygen(path: &Path, arguments: &[&str]) {
        let status = Command::new("ssh-keygen").args(["-q", "-f"]).arg(path).args(arguments).status().unwrap();
        assert!(status.success());
    }

    fn failure(path: &Path, passphrase: Option<&str>) -> NasSyncError {
        let secret = passphrase.map(|text| Secret::new(text.to_owned()));
        let error = read(path, secret.as_ref()).map(|_| ()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::KeyUnusable);
        error
    }

    #[test]
    fn every_form_of_openssh_and_openssl_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let secret = Secret::new(String::from("opensesame"));
        let forms: [&[&str]; 7] = [
            &["-t", "ed25519"],
            &["-t", "ecdsa", "-b", "256"],
            &["-t", "ecdsa", "-b", "384"],
            &["-t", "rsa", "-b", "2048"],
            &["-t", "rsa", "-b", "2048", "-m", "PEM"],
            &["-t", "rsa", "-b", "2048", "-m", "PKCS8"],
            &["-t", "ecdsa", "-b", "256", "-m", "PKCS8"],
        ];
        for (number, form) in forms.iter().enumerate() {
            for passphrase in ["", "opensesame"] {
                let path = folder.path().join(format!("{number}{passphrase}"));
                keygen(&path, &[form, &["-N", passphrase][..]].concat());
                let public =
                    PublicKey::from_openssh(&std::fs::read_to_string(path.with_extension("pub")).unwrap()).unwrap();
                match read(&path, (!passphrase.is_empty()).then_some(&secret)) {
                    Ok(Credential::Key { key, .. }) => {
                        assert_eq!(key.public_key().key_data(), public.key_data(), "{form:?}");
                    }
                    other => panic!("{form:?} {passphrase:?}: {other:?}"),
                }
                if !passphrase.is_empty() {
                    assert!(failure(&path, Some("wrong")).message().contains("passphrase"), "{form:?}");
                }
            }
        }
    }

    #[test]
    fn the_first_default_key_counts_and_then_the_agent() {
        let folder = tempfile::tempdir().unwrap();
        let files = ["id_ed25519", "id_ecdsa", "id_rsa"].map(|name| folder.path().join(name));
        let mut config = SshConfig::new("nas", "me");
        config.agent = None;
        let error = first_of(&files, &config).unwrap_err();
        assert!(error.message().contains("id_rsa") && error.solution().contains("ssh-keygen"), "{error}");
        config.agent = Some(PathBuf::from("/agent"));
        assert!(matches!(first_of(&files, &config).unwrap()[..], [Credential::Agent]));
        keygen(&files[1], &["-t", "ecdsa", "-N", ""]);
        assert!(
            matches!(&first_of(&files, &config).unwrap()[..], [Credential::Key { origin, .. }] if origin.ends_with("id_ecdsa"))
        );
        // A key that is there but cannot be used is not passed over.
        std::fs::write(&files[0], "x").unwrap();
        assert_eq!(first_of(&files, &config).unwrap_err().kind(), ErrorKind::KeyUnusable);
    }

    #[test]
    fn an_encrypted_key_without_passphrase_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let (new, old) = (folder.path().join("new"), folder.path().join("old"));
        keygen(&new, &["-t", "ed25519", "-N", "opensesame"]);
        keygen(&old, &["-t", "rsa", "-b", "2048", "-m", "PKCS8", "-N", "opensesame"]);
        assert!(matches!(read(&new, None), Ok(Credential::Locked { .. })));
        assert!(failure(&old, None).message().contains("no passphrase"));
    }

    #[test]
    fn what_others_could_read_or_is_no_file_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        keygen(&path, &["-t", "ed25519", "-N", ""]);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        let error = failure(&path, None);
        assert!(error.message().contains("0640") && error.solution().starts_with("chmod 600"), "{error}");
        assert!(failure(folder.path(), None).message().contains("regular file"));
        assert!(failure(&folder.path().join("none"), None).message().contains("cannot read"));
        assert!(failure(Path::new("/dev/null"), None).message().contains("regular file"));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        std::fs::write(&path, "ssh-ed25519 AAAA me").unwrap();
        assert!(failure(&path, None).solution().contains(".pub"));
    }
}
