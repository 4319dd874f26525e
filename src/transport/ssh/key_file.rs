//! Private keys, from a file or given as text.
//!
//! Guarantees: a key file is a regular file that nobody else can have written. One that belongs to this user is closed to
//! everybody else, as OpenSSH wants it; one that root put there, or that is mounted read-only (the secrets of Kubernetes,
//! Docker and Compose), may be readable, because this user cannot change that. All this is checked on the opened handle, so
//! that the file cannot be swapped in between. Key text is zeroized after use. Blocking: an encrypted key costs a good part
//! of a second of CPU.

use std::fs::{File, Metadata};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use russh::keys::ssh_key::Cipher;
use russh::keys::{PrivateKey, PublicKey, decode_secret_key};
use rustix::fs::StatVfsMountFlags;
use zeroize::Zeroizing;

use super::config::{Identity, SshConfig, expand_home};
use super::key_cipher::{self, Closed, Way};
use super::key_text::{self, KeyText, OPENSSH, Pem};
use crate::error::{ErrorKind, NasSyncError, Result};
use crate::secret::Secret;
use crate::small_file;

/// No private key file is larger than this, in bytes.
const MAX_FILE: usize = 64 * 1024;
/// Bits of the file mode that let others in.
const OPEN_TO_OTHERS: u32 = 0o077;
/// Bits of the file mode that let others write.
const WRITABLE_BY_OTHERS: u32 = 0o022;
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
    let file = small_file::open(path).map_err(unusable)?;
    let meta = file.metadata().map_err(unusable)?;
    if !meta.is_file() {
        let message = format!("the key {} is not a regular file", path.display());
        return Err(NasSyncError::new(ErrorKind::KeyUnusable, message));
    }
    let bytes = small_file::read_open(&file, MAX_FILE).map_err(unusable)?;
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
    let pem = match found {
        KeyText::Pem(pem) => pem,
        KeyText::Putty(text) => {
            let encrypted = !text.contains("Encryption: none");
            return by_russh(&text, encrypted, passphrase, what);
        }
    };
    if pem.label == OPENSSH {
        return openssh(&pem, passphrase, what);
    }
    let info = pem.headers.iter().find_map(|header| header.strip_prefix("DEK-Info:"));
    let is_pkcs8 = pem.label.starts_with("ENCRYPTED");
    let Some(secret) = passphrase.filter(|_| is_pkcs8 || info.is_some()) else {
        return if is_pkcs8 || info.is_some() {
            Err(passphrase_needed(what))
        } else {
            by_russh(&pem.text(), false, None, what)
        };
    };
    let closed = |closed| match closed {
        Closed::WrongPassphrase => wrong_passphrase(what),
        Closed::Unsupported(name) => unsupported(what, &name),
        Closed::Damaged => unknown_form(what, "it is damaged"),
    };
    let opened = match info {
        Some(info) => key_cipher::open_dek(&pem, info, secret.expose()).map_err(closed)?,
        None => match key_cipher::open_pkcs8(&pem, secret.expose()).map_err(closed)? {
            Way::Opened(opened) => opened,
            Way::ByRussh => return by_russh(&pem.text(), true, passphrase, what),
        },
    };
    by_russh(&opened.text(), false, None, what)
}

/// A key in OpenSSH's own form.
fn openssh(pem: &Pem, passphrase: Option<&Secret>, what: &str) -> Result<Decoded> {
    let bytes = pem.bytes().ok_or_else(|| unknown_form(what, "it is damaged"))?;
    let key = PrivateKey::from_bytes(&bytes).map_err(|error| unknown_form(what, &error.to_string()))?;
    match (key.is_encrypted(), passphrase) {
        (false, _) => Ok(Decoded::Key(Arc::new(key))),
        (true, _) if key.cipher() == Cipher::TdesCbc => Err(unsupported(what, key.cipher().as_str())),
        (true, None) => Ok(Decoded::Locked(key.public_key().clone())),
        (true, Some(secret)) => match key.decrypt(secret.expose()) {
            Ok(key) => Ok(Decoded::Key(Arc::new(key))),
            Err(_) => Err(wrong_passphrase(what)),
        },
    }
}

fn by_russh(text: &str, encrypted: bool, passphrase: Option<&Secret>, what: &str) -> Result<Decoded> {
    let passphrase = passphrase.filter(|_| encrypted);
    if encrypted && passphrase.is_none() {
        return Err(passphrase_needed(what));
    }
    match decode_secret_key(text, passphrase.map(Secret::expose)) {
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
mod tests {
    use std::os::unix::fs::PermissionsExt as _;
    use std::process::Command;

    use russh::keys::ssh_encoding::base64::{Base64, Encoding as _};

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

    /// What variables, YAML files and web forms do to a key.
    #[test]
    fn a_key_is_read_however_its_text_came_here() {
        let folder = tempfile::tempdir().unwrap();
        for (number, form) in [&["-t", "ed25519"][..], &["-t", "rsa", "-b", "2048", "-m", "PEM"]].iter().enumerate() {
            let path = folder.path().join(number.to_string());
            keygen(&path, &[form, &["-N", ""][..]].concat());
            let text = std::fs::read_to_string(&path).unwrap();
            let packed = Base64::encode_string(text.as_bytes());
            let wrapped: Vec<&str> = packed.as_bytes().chunks(76).map(|line| str::from_utf8(line).unwrap()).collect();
            for altered in [
                format!("{text}\n"),
                format!("\u{feff}\n  {text} \n\n"),
                text.replace('\n', "\r\n"),
                text.replace('\n', "\\n"),
                text.replace('\n', "\\r\\n"),
                format!("\"{}\"", text.trim_end().replace('\n', "\\n")),
                text.replace('\n', " "),
                text.replace('\n', "\n    "),
                text.replace('\n', "\n\n"),
                text.trim_end().to_owned(),
                format!("Bag Attributes\n    friendlyName: nas\n{text}"),
                packed.clone(),
                packed.trim_end_matches('=').to_owned(),
                wrapped.join("\n") + "\n",
            ] {
                let Ok(Decoded::Key(key)) = decode(&altered, None, "it") else { panic!("{form:?}: {altered:?}") };
                let public = std::fs::read_to_string(path.with_extension("pub")).unwrap();
                assert_eq!(key.public_key().key_data(), PublicKey::from_openssh(&public).unwrap().key_data());
            }
        }
        let body: String = std::fs::read_to_string(folder.path().join("0")).unwrap();
        let body: Vec<&str> = body.lines().filter(|line| !line.starts_with('-')).collect();
        assert!(matches!(decode(&body.concat(), None, "it"), Ok(Decoded::Key(_))), "the body alone");
    }

    fn openssl(arguments: &[&str]) {
        let output = Command::new("openssl").args(arguments).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// What `ssh-keygen -y` reads is read; what is not is named.
    #[test]
    fn encryptions_of_openssl_are_undone_or_named_and_never_called_a_wrong_passphrase() {
        let folder = tempfile::tempdir().unwrap();
        let place = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
        let (plain, ec) = (place("plain"), place("ec"));
        keygen(Path::new(&plain), &["-t", "rsa", "-b", "2048", "-m", "PEM", "-N", ""]);
        keygen(Path::new(&ec), &["-t", "ecdsa", "-b", "256", "-m", "PEM", "-N", ""]);
        let pass = "pass:opensesame";
        let secret = Secret::new(String::from("opensesame"));
        let sealed = |number: usize, key: &str, way: &[&str]| {
            let out = place(&number.to_string());
            let common = ["-in", key, "-out", &out, "-passout", pass];
            let command = if way[0].starts_with("-v") {
                &["pkcs8", "-topk8"][..]
            } else if key == plain {
                &["rsa", "-traditional"][..]
            } else {
                &["ec"]
            };
            openssl(&[command, way, &common].concat());
            std::fs::set_permissions(&out, std::fs::Permissions::from_mode(0o600)).unwrap();
            PathBuf::from(out)
        };
        let read_ones: [&[&str]; 8] = [
            &["-v2", "aes-128-cbc", "-v2prf", "hmacWithSHA1"],
            &["-v2", "aes-192-cbc", "-v2prf", "hmacWithSHA1"],
            &["-v2", "aes-256-cbc", "-v2prf", "hmacWithSHA1", "-iter", "1"],
            &["-v2", "aes-256-cbc", "-v2prf", "hmacWithSHA512"],
            &["-v2", "aes-256-cbc"],
            &["-aes128"],
            &["-aes192"],
            &["-aes256"],
        ];
        for (number, way) in read_ones.iter().enumerate() {
            for key in [&plain, &ec] {
                let path = sealed(number, key, way);
                let public = std::fs::read_to_string(Path::new(key).with_extension("pub")).unwrap();
                match read(&path, Some(&secret)) {
                    Ok(Credential::Key { key: found, .. }) => {
                        let public = PublicKey::from_openssh(&public).unwrap();
                        assert_eq!(found.public_key().key_data(), public.key_data(), "{way:?} {key}");
                    }
                    other => panic!("{way:?} {key}: {other:?}"),
                }
                assert!(failure(&path, Some("wrong")).message().contains("the passphrase does not open"), "{way:?}");
                assert!(failure(&path, None).message().contains("no passphrase"), "{way:?}");
            }
        }
        let named: [(&[&str], &str); 4] = [
            (&["-v2", "des3", "-v2prf", "hmacWithSHA256"], "DES-EDE3-CBC"),
            (&["-v2", "camellia-256-cbc"], "1.2.392.200011.61.1.1.1.4"),
            (&["-v1", "PBE-SHA1-3DES"], "1.2.840.113549.1.12.1.3"),
            (&["-des3"], "DES-EDE3-CBC"),
        ];
        for (number, (way, name)) in named.iter().enumerate() {
            let error = failure(&sealed(number, &plain, way), Some("opensesame"));
            assert!(error.message().contains(name) && error.message().contains("not supported"), "{way:?}: {error}");
            assert!(error.solution().contains("ssh-keygen -p"), "{error}");
        }
    }

    /// Secrets of Kubernetes, Docker and Compose: root's, or on a mount that cannot be written to.
    #[test]
    fn a_key_that_nobody_else_can_have_written_is_accepted_where_it_cannot_be_closed() {
        let verdict = |own, owner, mode, read_only| {
            let error = Access { owner, mode, read_only }.check(own, Path::new("/run/secrets/key")).err();
            error.map(|error| error.solution().to_owned())
        };
        for (own, owner, mode, read_only) in [
            (1000, 1000, 0o600, false),
            (1000, 1000, 0o400, false),
            (1000, 0, 0o440, true),
            (1000, 0, 0o444, true),
            (1000, 0, 0o444, false),
            (1000, 0, 0o644, false),
            (0, 0, 0o444, true),
            (0, 0, 0o644, true),
            (1000, 1001, 0o644, true),
        ] {
            assert_eq!(verdict(own, owner, mode, read_only), None, "{own} {owner} {mode:o} {read_only}");
        }
        for (own, owner, mode, read_only, solution) in [
            (1000, 1000, 0o644, false, "chmod 600"),
            (1000, 1000, 0o640, false, "chmod 600"),
            (0, 0, 0o444, false, "chmod 600"),
            (1000, 0, 0o664, true, "chmod 600"),
            (1000, 0, 0o666, false, "chmod 600"),
            (1000, 1001, 0o600, false, "chown 1000"),
            (0, 1000, 0o400, false, "chown 0"),
        ] {
            let said = verdict(own, owner, mode, read_only).unwrap_or_default();
            assert!(said.starts_with(solution), "{own} {owner} {mode:o} {read_only}: {said}");
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
        // It may be read by everybody: that is not what is wrong with it.
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        let error = failure(&path, None);
        assert!(error.message().ends_with("is a public key, not the private one"), "{error}");
        assert!(!error.solution().contains("chmod"), "{error}");
    }
}
