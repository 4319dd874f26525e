//! Addresses of the web that somebody is told at.

use std::fmt;

use super::origin::{Found, refuse};
use crate::error::Result;

/// An `http` or `https` URL. What stands behind the host may be a secret, and is not shown.
#[derive(Clone, PartialEq, Eq)]
pub struct WebUrl {
    /// Whether it is `https`.
    pub tls: bool,
    /// The host's name or address, without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
    /// The path and what follows it.
    pub target: String,
}

impl WebUrl {
    /// Reads a URL without user, blanks and control characters.
    pub fn parse(text: &str) -> Option<Self> {
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return None;
        }
        let (scheme, rest) = text.split_once("://")?;
        let tls = match scheme.to_ascii_lowercase().as_str() {
            "http" => false,
            "https" => true,
            _ => return None,
        };
        let rest = rest.split('#').next().unwrap_or(rest);
        let (authority, target) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        let (host, port) = match authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((host, "")) => (host, None),
            Some((host, port)) => (host, Some(port.strip_prefix(':')?)),
            None => authority.split_once(':').map_or((authority, None), |(host, port)| (host, Some(port))),
        };
        if host.is_empty() || host.contains(['@', '[', ']']) || authority.contains('@') {
            return None;
        }
        let port = port.map_or(Some(if tls { 443 } else { 80 }), |port| port.parse().ok().filter(|port| *port > 0))?;
        let target = if target.starts_with('/') { target.to_owned() } else { format!("/{target}") };
        Some(Self { tls, host: host.to_owned(), port, target })
    }

    /// Host and port, as a request names them.
    pub fn authority(&self) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        if self.port == if self.tls { 443 } else { 80 } { host } else { format!("{host}:{}", self.port) }
    }
}

impl fmt::Display for WebUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}/…", if self.tls { "https" } else { "http" }, self.authority())
    }
}

impl fmt::Debug for WebUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

pub(super) fn parse(found: &Found) -> Result<WebUrl> {
    let url = found.text.to_str().and_then(|text| WebUrl::parse(text.trim()));
    url.ok_or_else(|| refuse(&found.origin, "…".as_ref(), "an http:// or https:// URL without a user"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_read_and_their_secrets_not_shown() {
        let parts =
            |text: &str| WebUrl::parse(text).map(|url| (url.tls, url.host.clone(), url.port, url.target.clone()));
        let whole = |tls, host: &str, port, target: &str| Some((tls, host.to_owned(), port, target.to_owned()));
        assert_eq!(parts("https://hc.example/p/1?x=2#y"), whole(true, "hc.example", 443, "/p/1?x=2"));
        assert_eq!(parts("HTTP://[::1]:8080"), whole(false, "::1", 8080, "/"));
        assert_eq!(parts("http://nas?x"), whole(false, "nas", 80, "/?x"));
        for wrong in [
            "",
            "nas",
            "ftp://nas/",
            "http://",
            "http://a:b@c/",
            "http://a b/",
            "http://a:0/",
            "http://a\r\nb/",
            "http://[::1/",
        ] {
            assert_eq!(parts(wrong), None, "{wrong:?}");
        }
        assert_eq!(WebUrl::parse("https://[::1]:8443/secret").unwrap().to_string(), "https://[::1]:8443/…");
    }
}
