//! Where `serve` listens.

use std::ffi::OsStr;
use std::fmt;
use std::net::SocketAddr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use super::origin::{Found, expand_home, refuse};
use crate::error::Result;
use crate::text;

/// Where something listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listen {
    /// An address of this machine.
    Address(SocketAddr),
    /// A socket in the file system.
    Unix(PathBuf),
}

impl Listen {
    /// Whether only programs of this machine can connect.
    pub fn is_local(&self) -> bool {
        match self {
            Self::Address(address) => address.ip().is_loopback(),
            Self::Unix(_) => true,
        }
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => write!(f, "http://{address}"),
            Self::Unix(path) => write!(f, "unix:{}", text::escape_bytes(path.as_os_str().as_encoded_bytes())),
        }
    }
}

/// Where to listen: an address with a port, or `unix:` and a path.
pub(super) fn parse(found: &Found, home: Option<&Path>) -> Result<Listen> {
    if let Some(path) = found.text.as_encoded_bytes().strip_prefix(b"unix:") {
        let path = OsStr::from_bytes(path);
        if !path.is_empty() {
            return expand_home(path, home, &found.origin).map(Listen::Unix);
        }
    }
    let address = found.text.to_str().and_then(|text| text.trim().parse().ok()).map(Listen::Address);
    address.ok_or_else(|| {
        let accepted = "an IP address and a port, such as 127.0.0.1:8730 or [::]:8730, or unix: and a path";
        refuse(&found.origin, &found.text, accepted)
    })
}
