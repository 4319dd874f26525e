//! Operands: a path on this machine, or `[USER@]HOST:PATH`.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;

/// What an operand names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Operand {
    /// A path on this machine.
    Local(PathBuf),
    /// A path on a host, reached by SSH.
    Remote(Remote),
    /// A module of an rsync daemon.
    Daemon,
    /// A host part that makes no sense.
    Senseless,
}

/// The destination of a push.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remote {
    /// The part before `@`.
    pub user: Option<String>,
    /// Name or address, without brackets.
    pub host: String,
    /// The path there; may be empty, which is the home folder.
    pub path: Vec<u8>,
}

impl Operand {
    /// A host part ends at the first colon, unless a slash stands before it; brackets protect the colons of an IPv6
    /// address.
    pub(super) fn parse(operand: OsString) -> Self {
        let bytes = operand.as_bytes();
        if bytes.get(..8).is_some_and(|scheme| scheme.eq_ignore_ascii_case(b"rsync://")) {
            return Self::Daemon;
        }
        let Some(colon) = host_end(bytes) else { return Self::Local(operand.into()) };
        let (host, path) = (&bytes[..colon], &bytes[colon + 1..]);
        if path.first() == Some(&b':') {
            return Self::Daemon;
        }
        let Ok(host) = str::from_utf8(host) else { return Self::Senseless };
        let (user, host) = match host.rsplit_once('@') {
            Some(("", _)) => return Self::Senseless,
            Some((user, host)) => (Some(user.to_owned()), host),
            None => (None, host),
        };
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        if bare.is_empty() || bare.contains(['[', ']']) {
            return Self::Senseless;
        }
        Self::Remote(Remote { user, host: bare.to_owned(), path: path.to_vec() })
    }
}

/// Where the colon behind a host stands.
fn host_end(operand: &[u8]) -> Option<usize> {
    let host = operand.iter().position(|&byte| byte == b'@').map_or(0, |at| at + 1);
    if operand.get(host) == Some(&b'[') && !operand[..host].contains(&b'/') {
        let close = operand.iter().position(|&byte| byte == b']')?;
        if !operand[host..close].contains(&b'/') && operand.get(close + 1) == Some(&b':') {
            return Some(close + 1);
        }
    }
    let stop = operand.iter().position(|&byte| byte == b':' || byte == b'/')?;
    (operand[stop] == b':').then_some(stop)
}

/// An operand for a message.
pub(super) fn show(operand: &OsStr) -> String {
    format!("\"{}\"", crate::text::escape_bytes(operand.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn remote(text: &str) -> (Option<String>, String, String) {
        match Operand::parse(text.into()) {
            Operand::Remote(Remote { user, host, path }) => (user, host, String::from_utf8(path).unwrap()),
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn hosts_and_paths() {
        let some = |user: &str| Some(user.to_owned());
        assert_eq!(remote("me@nas:/v/a b"), (some("me"), "nas".into(), "/v/a b".into()));
        assert_eq!(remote("nas:"), (None, "nas".into(), String::new()));
        assert_eq!(remote("nas:a:b@c"), (None, "nas".into(), "a:b@c".into()));
        assert_eq!(remote("[fe80::1]:d"), (None, "fe80::1".into(), "d".into()));
        assert_eq!(remote("me@[::1]:/d"), (some("me"), "::1".into(), "/d".into()));
        assert_eq!(remote("me@corp@nas:d"), (some("me@corp"), "nas".into(), "d".into()));
    }

    #[test]
    fn a_slash_before_the_colon_makes_it_local() {
        for text in ["file", "./a:b", "/x/a@[b]:c", "a@b", "dir/h:p", "[x]"] {
            assert_eq!(Operand::parse(text.into()), Operand::Local(text.into()), "{text}");
        }
    }

    #[test]
    fn daemons_and_nonsense() {
        for text in ["nas::module/x", "rsync://nas/module", "RSYNC://nas", "[::1]::m", "::m"] {
            assert_eq!(Operand::parse(text.into()), Operand::Daemon, "{text}");
        }
        for text in [":x", "@nas:x", "me@:x", "[]:x"] {
            assert_eq!(Operand::parse(text.into()), Operand::Senseless, "{text}");
        }
    }
}
