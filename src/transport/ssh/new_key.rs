//! Making a key, and the public half of one that is there.
//!
//! Guarantees: a private key is written for its owner alone, whole or not at all, and never over another file; what was
//! computed on the way is wiped from memory. Blocking.

use std::path::Path;

use russh::keys::ssh_key::LineEnding;
use russh::keys::ssh_key::private::{Ed25519Keypair, KeypairData};
use russh::keys::{PrivateKey, PublicKey};
use rustix::rand::{GetRandomFlags, getrandom};
use zeroize::Zeroizing;

use super::config::SshConfig;
use super::key_file::{self, Credential};
use crate::error::{ErrorKind, NasSyncError, Result};
use crate::{secret, small_file};

/// What stands behind a key of ours in authorized_keys.
const COMMENT: &str = "nas-sync";
const PRIVATE: u32 = 0o600;
const PUBLIC: u32 = 0o644;

/// Makes an ed25519 key without a passphrase: the file, and its public half in `….pub`. Gives the public half as it stands
/// in authorized_keys. Fails with `LocalFile`, also when the file is there already.
pub fn make_key(path: &Path) -> Result<String> {
    let unwritable = |error| {
        NasSyncError::at_path(ErrorKind::LocalFile, "cannot write the key", path, error)
            .with_solution("Name a file in a folder that you can write to: --identity FILE.")
    };
    if path.symlink_metadata().is_ok() {
        return Err(unwritable(std::io::Error::from(std::io::ErrorKind::AlreadyExists)));
    }
    let (text, public) = secret::aside(generate)?;
    small_file::replace(path, text.as_bytes(), PRIVATE, None).map_err(unwritable)?;
    let mut beside = path.as_os_str().to_owned();
    beside.push(".pub");
    let content = format!("{public}\n");
    small_file::replace(Path::new(&beside), content.as_bytes(), PUBLIC, None).map_err(unwritable)?;
    Ok(public)
}

fn generate() -> Result<(Zeroizing<String>, String)> {
    let unmade = |error: &dyn std::fmt::Display| {
        NasSyncError::new(ErrorKind::Internal, format!("no key could be made: {error}"))
    };
    let mut seed = Zeroizing::new([0; 32]);
    let filled = getrandom(&mut seed[..], GetRandomFlags::empty()).map_err(|error| unmade(&error))?;
    if filled != seed.len() {
        return Err(unmade(&"the system gave too little randomness"));
    }
    let pair = KeypairData::from(Ed25519Keypair::from_seed(&seed));
    let key = PrivateKey::new(pair, COMMENT).map_err(|error| unmade(&error))?;
    let text = key.to_openssh(LineEnding::LF).map_err(|error| unmade(&error))?;
    Ok((text, line(key.public_key())?))
}

/// The public half of the key that the configuration names, as it stands in authorized_keys. Fails with `KeyUnusable`.
pub fn public_key(config: &SshConfig) -> Result<String> {
    let credentials = key_file::load(config)?;
    let public = credentials.iter().find_map(|credential| match credential {
        Credential::Key { key, .. } => Some(key.public_key()),
        Credential::Locked { public, .. } => Some(public),
        Credential::Agent | Credential::Password(_) => None,
    });
    line(public.ok_or_else(|| NasSyncError::new(ErrorKind::KeyUnusable, "there is no key file"))?)
}

fn line(key: &PublicKey) -> Result<String> {
    let text = key.to_openssh().map_err(|error| {
        NasSyncError::new(ErrorKind::KeyUnusable, format!("the public key cannot be written: {error}"))
    })?;
    let words: Vec<&str> = text.split_whitespace().take(2).chain([COMMENT]).collect();
    Ok(words.join(" "))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::super::config::Identity;
    use super::*;

    #[test]
    fn a_key_is_made_once_and_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("nas_key");
        let made = make_key(&path).unwrap();
        assert!(made.starts_with("ssh-ed25519 AAAA") && made.ends_with(" nas-sync"), "{made}");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let mut config = SshConfig::new("nas", "me");
        config.identity = Identity::Files(vec![path.clone()]);
        assert_eq!(public_key(&config).unwrap(), made);
        assert_eq!(std::fs::read_to_string(folder.path().join("nas_key.pub")).unwrap(), format!("{made}\n"));
        let before = std::fs::read(&path).unwrap();
        assert_eq!(make_key(&path).unwrap_err().kind(), ErrorKind::LocalFile);
        assert_eq!(std::fs::read(&path).unwrap(), before);
        assert_ne!(make_key(&folder.path().join("another")).unwrap(), made);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 4);
    }
}
