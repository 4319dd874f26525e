//! The known_hosts files: reading, looking up, adding a line.
//!
//! Guarantees: a file that cannot be read, or a line that is not understood, is an error that names file and line, never
//! an empty file. Only a missing file is empty. Lines that OpenSSH writes or documents are understood: comments,
//! patterns with `*`, `?` and `!`, `[host]:port`, hashed names, `@revoked`, `@cert-authority`, key types we cannot use,
//! and SSH-1 keys, which are skipped. A file is never rewritten; adding is one appended write. See
//! `protocol-notes/13-ssh.md`.

use std::fmt;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hmac::{Hmac, KeyInit as _, Mac as _};
use russh::keys::ssh_encoding::base64::{Base64, Encoding as _};
use sha1::Sha1;
use sha2::{Digest as _, Sha256};

use crate::error::{ErrorKind, NasSyncError, Result};
use crate::small_file;

/// A file beyond this size in bytes is not a known_hosts file.
const MAX_FILE: usize = 16 << 20;

/// What a line says about its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Marker {
    /// It is a host key.
    HostKey,
    /// It must never be accepted.
    Revoked,
    /// It signs host certificates; it is no host key itself.
    CertAuthority,
}

/// One line that holds a key.
#[derive(Debug)]
pub(super) struct Entry {
    place: Place,
    marker: Marker,
    hosts: Hosts,
    key_type: String,
    blob: Vec<u8>,
}

/// Where a line stands.
#[derive(Debug, Clone)]
pub(super) struct Place {
    file: Arc<Path>,
    line: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file.display(), self.line)
    }
}

#[derive(Debug)]
enum Hosts {
    Patterns(Vec<Pattern>),
    Hashed { salt: Vec<u8>, hash: Vec<u8> },
}

#[derive(Debug)]
struct Pattern {
    negated: bool,
    glob: Vec<u8>,
}

impl Entry {
    pub(super) fn place(&self) -> &Place {
        &self.place
    }

    pub(super) fn marker(&self) -> Marker {
        self.marker
    }

    /// The key type as the line names it, such as `ssh-ed25519` or `ssh-rsa`.
    pub(super) fn key_type(&self) -> &str {
        &self.key_type
    }

    pub(super) fn is_key(&self, blob: &[u8]) -> bool {
        self.blob == blob
    }

    pub(super) fn fingerprint(&self) -> String {
        fingerprint(&self.blob)
    }

    /// `name` is lower-case, and `[host]:port` where the port is not 22.
    fn matches(&self, name: &str) -> bool {
        match &self.hosts {
            Hosts::Hashed { salt, hash } => Hmac::<Sha1>::new_from_slice(salt)
                .is_ok_and(|mac| mac.chain_update(name.as_bytes()).verify_slice(hash).is_ok()),
            Hosts::Patterns(patterns) => {
                // A negated pattern that matches beats every other on the line.
                let hit = |pattern: &&Pattern| glob_matches(&pattern.glob, name.as_bytes());
                let mut hits = patterns.iter().filter(hit).peekable();
                hits.peek().is_some() && hits.all(|pattern| !pattern.negated)
            }
        }
    }
}

/// The fingerprint of a public key in its wire form, as `ssh-keygen -l` prints it.
pub(super) fn fingerprint(blob: &[u8]) -> String {
    let digest = Base64::encode_string(&Sha256::digest(blob));
    format!("SHA256:{}", digest.trim_end_matches('='))
}

/// The name under which a host is recorded.
pub(super) fn lookup_name(host: &str, port: u16) -> String {
    let host = host.to_ascii_lowercase();
    if port == super::config::DEFAULT_PORT { host } else { format!("[{host}]:{port}") }
}

/// All lines of the known_hosts files, in order.
#[derive(Debug, Default)]
pub(super) struct KnownHosts {
    entries: Vec<Entry>,
}

impl KnownHosts {
    /// Reads the files; a missing one is empty. Fails with `KnownHostsUnusable`.
    pub(super) fn load(paths: &[PathBuf]) -> Result<Self> {
        let mut known = Self::default();
        for path in paths {
            match read_file(path) {
                Ok(Some(content)) => known.parse(path, &content)?,
                Ok(None) => {}
                Err(error) => {
                    return Err(NasSyncError::at_path(ErrorKind::KnownHostsUnusable, "cannot read", path, error)
                        .with_solution("Make the file readable for this user, or name another with NAS_KNOWN_HOSTS."));
                }
            }
        }
        Ok(known)
    }

    /// The lines about a host, by its [`lookup_name`].
    pub(super) fn about<'a, 'n>(&'a self, name: &'n str) -> impl Iterator<Item = &'a Entry> + use<'a, 'n> {
        self.entries.iter().filter(move |entry| entry.matches(name))
    }

    fn parse(&mut self, path: &Path, content: &[u8]) -> Result<()> {
        let file: Arc<Path> = path.into();
        for (index, line) in content.split(|&byte| byte == b'\n').enumerate() {
            let place = Place { file: Arc::clone(&file), line: index + 1 };
            match parse_line(line, &place) {
                Ok(entry) => self.entries.extend(entry),
                Err(reason) => {
                    let message = format!("{place} is not a known_hosts line: {reason}");
                    return Err(NasSyncError::new(ErrorKind::KnownHostsUnusable, message));
                }
            }
        }
        Ok(())
    }
}

fn read_file(path: &Path) -> std::io::Result<Option<Vec<u8>>> {
    match small_file::read(path, MAX_FILE) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        content => content.map(|mut content| Some(std::mem::take(&mut *content))),
    }
}

fn parse_line(line: &[u8], place: &Place) -> Result<Option<Entry>, &'static str> {
    let mut fields = line.split(u8::is_ascii_whitespace).filter(|field| !field.is_empty());
    let Some(mut first) = fields.next().filter(|field| field.first() != Some(&b'#')) else { return Ok(None) };
    let marker = match first {
        b"@revoked" => Marker::Revoked,
        b"@cert-authority" => Marker::CertAuthority,
        [b'@', ..] => return Err("unknown marker"),
        _ => Marker::HostKey,
    };
    if marker != Marker::HostKey {
        first = fields.next().ok_or("the host is missing")?;
    }
    let hosts = parse_hosts(first)?;
    let key_type = fields.next().ok_or("the key type is missing")?;
    if key_type.iter().all(u8::is_ascii_digit) {
        return Ok(None); // `bits exponent modulus` of SSH-1
    }
    let key_type = str::from_utf8(key_type).map_err(|_| "the key type is not text")?;
    let blob = fields.next().ok_or("the key is missing")?;
    let blob =
        str::from_utf8(blob).ok().and_then(|blob| Base64::decode_vec(blob).ok()).ok_or("the key is not Base64")?;
    if blob_type(&blob) != Some(key_type.as_bytes()) {
        return Err("the key is not of the type that stands before it");
    }
    Ok(Some(Entry { place: place.clone(), marker, hosts, key_type: key_type.to_owned(), blob }))
}

/// The type inside a key: a length of four bytes and that many characters, with more behind.
fn blob_type(blob: &[u8]) -> Option<&[u8]> {
    let (length, rest) = blob.split_first_chunk::<4>()?;
    let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
    rest.get(..length).filter(|name| name.len() < rest.len())
}

fn parse_hosts(field: &[u8]) -> Result<Hosts, &'static str> {
    if let Some(hashed) = field.strip_prefix(b"|") {
        let hashed = str::from_utf8(hashed).map_err(|_| "the hashed host is damaged")?;
        let mut parts = hashed.split('|');
        let (Some("1"), Some(salt), Some(hash), None) = (parts.next(), parts.next(), parts.next(), parts.next()) else {
            return Err("the hashed host is damaged");
        };
        return match (Base64::decode_vec(salt), Base64::decode_vec(hash)) {
            (Ok(salt), Ok(hash)) if hash.len() == 20 => Ok(Hosts::Hashed { salt, hash }),
            _ => Err("the hashed host is damaged"),
        };
    }
    let pattern = |text: &[u8]| match text.strip_prefix(b"!") {
        Some(glob) => Pattern { negated: true, glob: glob.to_ascii_lowercase() },
        None => Pattern { negated: false, glob: text.to_ascii_lowercase() },
    };
    Ok(Hosts::Patterns(field.split(|&byte| byte == b',').filter(|text| !text.is_empty()).map(pattern).collect()))
}

/// `*` stands for any run of bytes, `?` for one. Time is bounded by the product of the lengths.
pub(super) fn glob_matches(glob: &[u8], name: &[u8]) -> bool {
    let (mut at, mut star) = ((0, 0), None);
    while at.1 < name.len() {
        match glob.get(at.0) {
            Some(b'*') => {
                star = Some(at);
                at.0 += 1;
            }
            Some(&byte) if byte == b'?' || byte == name[at.1] => at = (at.0 + 1, at.1 + 1),
            _ => match &mut star {
                // Let the last star take one byte more.
                Some((glob_at, name_at)) => {
                    *name_at += 1;
                    at = (*glob_at + 1, *name_at);
                }
                None => return false,
            },
        }
    }
    glob[at.0..].iter().all(|&byte| byte == b'*')
}

/// The line that records a key for a host.
pub(super) fn line(name: &str, key_type: &str, blob: &[u8]) -> String {
    format!("{name} {key_type} {}", Base64::encode_string(blob))
}

/// Adds a [`line`] to a file, which is created together with its folder when missing. Fails with `KnownHostsUnusable`.
pub(super) fn append(path: &Path, line: &str) -> Result<()> {
    let result = (|| {
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        }
        let mut file = OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(path)?;
        let glue = if ends_inside_a_line(&mut file)? { "\n" } else { "" };
        // One write, so that two clients that learn a host at once do not mix their lines.
        file.write_all(format!("{glue}{line}\n").as_bytes())
    })();
    result.map_err(|error: std::io::Error| {
        NasSyncError::at_path(ErrorKind::KnownHostsUnusable, "cannot record the accepted host key in", path, error)
            .with_solution(
                "Make the file writable, name another with NAS_KNOWN_HOSTS, or pin the key with NAS_HOST_KEY.",
            )
    })
}

fn ends_inside_a_line(file: &mut File) -> std::io::Result<bool> {
    if !file.metadata()?.is_file() || file.seek(SeekFrom::End(0))? == 0 {
        return Ok(false);
    }
    file.seek(SeekFrom::End(-1))?;
    let mut last = [0];
    file.read_exact(&mut last)?;
    Ok(last != *b"\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ";

    fn parse(text: &str) -> Result<KnownHosts> {
        let mut known = KnownHosts::default();
        known.parse(Path::new("/k"), text.as_bytes()).map(|()| known)
    }

    fn lines_about(text: &str, name: &str) -> Vec<usize> {
        parse(text).unwrap().about(name).map(|entry| entry.place.line).collect()
    }

    #[test]
    fn comments_blank_lines_and_line_ends_do_not_matter() {
        let text =
            format!("# c\r\n\r\n  \t\n  nas,192.0.2.1\tssh-ed25519  {KEY} a comment \u{e9}\r\nother ssh-ed25519 {KEY}");
        assert_eq!(lines_about(&text, "nas"), [4]);
        assert_eq!(lines_about(&text, "192.0.2.1"), [4]);
        assert_eq!(lines_about(&text, "other"), [5]);
        assert!(lines_about(&text, "na").is_empty());
    }

    #[test]
    fn patterns_and_ports() {
        let text = format!("*.lan,!bad.lan ssh-ed25519 {KEY}\n[nas]:2222 ssh-ed25519 {KEY}\nNAS? ssh-ed25519 {KEY}\n");
        assert_eq!(lines_about(&text, "good.lan"), [1]);
        assert!(lines_about(&text, "bad.lan").is_empty());
        assert_eq!(lines_about(&text, &lookup_name("NAS", 2222)), [2]);
        assert!(lines_about(&text, &lookup_name("nas", 22)).is_empty());
        assert_eq!(lines_about(&text, "nas1"), [3]);
        assert!(lines_about(&format!("!nas ssh-ed25519 {KEY}"), "other").is_empty());
    }

    #[test]
    fn globs_backtrack_and_end() {
        for (glob, name, expected) in [
            ("*", "", true),
            ("a*b*c", "aXbYbZc", true),
            ("a*b*c", "aXbYb", false),
            ("?", "", false),
            ("**", "x", true),
            ("", "x", false),
        ] {
            assert_eq!(glob_matches(glob.as_bytes(), name.as_bytes()), expected, "{glob} {name}");
        }
        let (glob, name) = ("*a".repeat(2000), "a".repeat(1000));
        assert!(!glob_matches(glob.as_bytes(), name.as_bytes()));
    }

    #[test]
    fn hashed_names_are_those_of_openssh() {
        // HMAC-SHA1 over the name, keyed with the salt; the integration tests let `ssh-keygen -H` write such a line.
        let salt = Base64::encode_string(&[7; 20]);
        let mac = Hmac::<Sha1>::new_from_slice(&[7; 20]).unwrap().chain_update(b"nas.example").finalize();
        let hash = Base64::encode_string(&mac.into_bytes());
        let text = format!("|1|{salt}|{hash} ssh-ed25519 {KEY}\n");
        assert_eq!(lines_about(&text, "nas.example"), [1]);
        assert!(lines_about(&text, "nas").is_empty());
    }

    #[test]
    fn markers_foreign_types_and_ssh_1_are_recognised() {
        let dss = Base64::encode_string(b"\x00\x00\x00\x07ssh-dss\x00");
        let text = format!(
            "@revoked nas ssh-ed25519 {KEY}\n@cert-authority *.lan ssh-ed25519 {KEY}\nnas ssh-dss {dss}\nnas 1024 35 1234567 c\n"
        );
        let known = parse(&text).unwrap();
        let seen: Vec<_> = known.about("nas").map(|entry| (entry.marker, entry.key_type())).collect();
        assert_eq!(seen, [(Marker::Revoked, "ssh-ed25519"), (Marker::HostKey, "ssh-dss")]);
        assert_eq!(known.about("a.lan").map(Entry::marker).collect::<Vec<_>>(), [Marker::CertAuthority]);
    }

    #[test]
    fn a_line_that_is_not_understood_is_an_error_that_names_it() {
        for bad in [
            "nas",
            "nas ssh-ed25519",
            "nas ssh-ed25519 ####",
            "@trust nas ssh-ed25519 AAAA",
            &format!("nas ssh-rsa {KEY}"),
            "|1|AAAA ssh-ed25519 AAAA",
            "|2|AAAA|AAAA ssh-ed25519 AAAA",
            "nas ssh-ed25519 AAAAC3NzaC1lZDI1NTE5",
            "@revoked",
            "<html>",
        ] {
            let error = parse(&format!("# one\n{bad}\n")).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::KnownHostsUnusable);
            assert!(error.message().starts_with("/k:2 "), "{bad}: {error}");
        }
    }

    #[test]
    fn a_pipe_is_not_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("known_hosts");
        assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
        let error = KnownHosts::load(&[path]).unwrap_err();
        assert!(error.message().contains("it is a pipe"), "{error}");
        assert!(KnownHosts::load(&[PathBuf::from("/dev/null")]).unwrap().entries.is_empty());
    }

    #[test]
    fn missing_is_empty_and_unreadable_is_not() {
        let folder = tempfile::tempdir().unwrap();
        assert!(KnownHosts::load(&[folder.path().join("none")]).unwrap().entries.is_empty());
        let error = KnownHosts::load(&[folder.path().to_owned()]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::KnownHostsUnusable);
    }

    #[test]
    fn an_added_line_stands_alone_and_is_private() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/known_hosts");
        append(&path, &format!("a ssh-ed25519 {KEY}")).unwrap();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
        // A file whose last line has no end must not swallow the new one.
        std::fs::write(&path, format!("a ssh-ed25519 {KEY}")).unwrap();
        append(&path, &format!("b ssh-ed25519 {KEY}")).unwrap();
        let known = KnownHosts::load(std::slice::from_ref(&path)).unwrap();
        assert_eq!(known.about("b").map(|entry| entry.place.line).collect::<Vec<_>>(), [2]);
        append(Path::new("/dev/null"), "x").unwrap();
    }

    #[test]
    fn fingerprints_are_those_of_ssh_keygen() {
        let blob = Base64::decode_vec(KEY).unwrap();
        assert!(super::super::config::HostKeyPin::parse(&fingerprint(&blob)).is_ok());
    }
}
