//! What is needed to log in to one NAS.
//!
//! Guarantees: a passphrase, a password or a key given as text is zeroized when dropped and never appears in `Debug` output.
//! Nothing here opens a file, and only the defaults read the environment: `HOME` and `SSH_AUTH_SOCK`.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use russh::keys::ssh_encoding::base64::{Base64Unpadded, Encoding as _};

use super::algorithm_list::Choices;
use super::algorithms;
use super::ciphers::CipherList;
use super::person::Person;
use super::ssh_config::{HostOptions, IdentityAgent};
use crate::error::{ErrorKind, NasSyncError, Result};
use crate::secret::Secret;

/// The SSH port of a host that says nothing else.
pub const DEFAULT_PORT: u16 = 22;
/// The host keys that the administrator of this machine recorded.
pub const SYSTEM_KNOWN_HOSTS: &str = "/etc/ssh/ssh_known_hosts";
/// How long name lookup, TCP, key exchange and login may take together.
pub const DEFAULT_CONNECT_TIMEOUT: Duration = Duration::from_secs(30);
/// How long the server may be silent before it is asked for a sign of life.
pub const DEFAULT_KEEPALIVE: Duration = Duration::from_secs(15);
/// Payload bytes in one direction after which new session keys are made; also the most that is allowed.
pub const MAX_REKEY_BYTES: usize = 1 << 30;

/// Which private key proves who we are. One key is offered at a time.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Identity {
    /// The first of `~/.ssh/id_ed25519`, `id_ecdsa`, `id_rsa` that exists; without any, the agent.
    Default,
    /// Exactly these files, in this order. There may be none of them where a password is set.
    Files(Vec<PathBuf>),
    /// The text of a private key.
    Text(Secret),
    /// The keys of the agent, at most three of them.
    Agent,
}

/// What to do with a host key that no record mentions. A *changed* key is refused in either case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnknownHostKey {
    /// Refuse it, and say how it can be accepted.
    Refuse,
    /// Trust it on first use and record it in the first known_hosts file.
    Accept,
}

/// Whether algorithms that rest on SHA-1, CBC or small groups may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LegacyAlgorithms {
    /// Never.
    Refuse,
    /// When the server has nothing better; for old firmware.
    Allow,
}

/// The one host key that is accepted, whatever known_hosts says: `SHA256:` and 43 characters of Base64.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostKeyPin(String);

impl HostKeyPin {
    /// Reads the form that `ssh-keygen -l` prints. Fails with `Usage` on anything else.
    pub fn parse(text: &str) -> Result<Self> {
        let text = text.trim().trim_end_matches('=');
        let digest = text.strip_prefix("SHA256:").and_then(|digest| Base64Unpadded::decode_vec(digest).ok());
        match digest {
            Some(digest) if digest.len() == 32 => Ok(Self(text.to_owned())),
            _ => Err(NasSyncError::new(
                ErrorKind::Usage,
                format!("{text:?} is not a host key fingerprint of the form SHA256:…"),
            )
            .with_solution("Copy the fingerprint that `ssh-keygen -lf` or the NAS shows, with its SHA256: in front.")),
        }
    }

    /// The fingerprint, `SHA256:` included.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Which kind of address is used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum AddressFamily {
    /// Either.
    #[default]
    Any,
    /// IPv4.
    Inet,
    /// IPv6.
    Inet6,
}

/// Everything that one login needs.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct SshConfig {
    /// Host name, IPv4 or IPv6 address; an IPv6 address may stand in brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// User on the NAS.
    pub user: String,
    /// The hosts to go through, each with a login of its own, the nearest first. Their own `jumps` and timeouts do not count.
    pub jumps: Vec<SshConfig>,
    /// Which kind of address is used.
    pub family: AddressFamily,
    /// The address of this machine from which to connect.
    pub bind_address: Option<IpAddr>,
    /// Which private key to use.
    pub identity: Identity,
    /// Certificates of user keys, beside those that lie beside a key as `KEY-cert.pub`.
    pub certificates: Vec<PathBuf>,
    /// The socket of the ssh-agent.
    pub agent: Option<PathBuf>,
    /// The passphrase of an encrypted key.
    pub passphrase: Option<Secret>,
    /// The password of the user, sent when no key was accepted, and only to a server that asks for one.
    pub password: Option<Secret>,
    /// Who answers what a server asks besides, such as a one-time code. They answer within `connect_timeout`.
    pub person: Option<Person>,
    /// Host key records. All are read; a newly accepted key goes into the first. A missing file is empty.
    pub known_hosts: Vec<PathBuf>,
    /// The name under which the host's key is recorded, in place of its name and port.
    pub host_key_alias: Option<String>,
    /// When set, exactly this host key is accepted and `known_hosts` is neither read nor written.
    pub host_key: Option<HostKeyPin>,
    /// What to do with a host key that is not recorded.
    pub unknown_host_key: UnknownHostKey,
    /// Budget for name lookup, TCP, key exchange and login together; also for the start of each command.
    pub connect_timeout: Duration,
    /// Whether old algorithms may be used.
    pub legacy: LegacyAlgorithms,
    /// Ciphers in order of preference, instead of our own choice.
    pub ciphers: Option<CipherList>,
    /// Which of the algorithms that are allowed are used, and in which order. `ciphers` beats its ciphers.
    pub algorithms: Choices,
    /// Silence after which the server is asked for a sign of life; after five such intervals the connection counts as
    /// lost. `None` waits forever.
    pub keepalive: Option<Duration>,
    /// Payload bytes in one direction after which new session keys are made; values above [`MAX_REKEY_BYTES`] mean that.
    pub rekey_bytes: usize,
}

impl SshConfig {
    /// The defaults for one user on one host.
    pub fn new(host: impl Into<String>, user: impl Into<String>) -> Self {
        let mut known_hosts = Vec::new();
        known_hosts.extend(std::env::home_dir().map(|home| home.join(".ssh/known_hosts")));
        known_hosts.push(PathBuf::from(SYSTEM_KNOWN_HOSTS));
        Self {
            host: host.into(),
            port: DEFAULT_PORT,
            user: user.into(),
            jumps: Vec::new(),
            family: AddressFamily::Any,
            bind_address: None,
            identity: Identity::Default,
            certificates: Vec::new(),
            agent: std::env::var_os("SSH_AUTH_SOCK").filter(|socket| !socket.is_empty()).map(PathBuf::from),
            passphrase: None,
            password: None,
            person: None,
            known_hosts,
            host_key_alias: None,
            host_key: None,
            unknown_host_key: UnknownHostKey::Refuse,
            connect_timeout: DEFAULT_CONNECT_TIMEOUT,
            legacy: LegacyAlgorithms::Refuse,
            ciphers: None,
            algorithms: Choices::default(),
            keepalive: Some(DEFAULT_KEEPALIVE),
            rekey_bytes: MAX_REKEY_BYTES,
        }
    }

    /// With what OpenSSH's configuration says about the host, but for the way through others.
    pub fn apply(&mut self, options: &HostOptions) {
        let HostOptions { host_name, user, port, .. } = options;
        self.host = host_name.clone().unwrap_or_else(|| self.host.clone());
        self.user = user.clone().unwrap_or_else(|| self.user.clone());
        self.port = port.unwrap_or(self.port);
        self.family = options.family;
        self.bind_address = options.bind_address;
        match &options.agent {
            IdentityAgent::Usual => {}
            IdentityAgent::None => self.agent = None,
            IdentityAgent::At(socket) => self.agent = Some(socket.clone()),
        }
        if let Some(files) = &options.identities {
            // As in ssh a key that is not there is no mistake.
            let there: Vec<_> = files.iter().filter(|file| file.exists()).cloned().collect();
            let by_agent = there.is_empty() && self.agent.is_some() && !options.identities_only;
            self.identity = match there.as_slice() {
                [] if by_agent => Identity::Agent,
                [] => Identity::Files(files.clone()),
                _ => Identity::Files(there),
            };
        }
        self.certificates.clone_from(&options.certificates);
        let (own, global) = (options.user_known_hosts.as_ref(), options.global_known_hosts.as_ref());
        if own.is_some() || global.is_some() {
            let (is_system, is_own) =
                self.known_hosts.iter().cloned().partition(|file| file == Path::new(SYSTEM_KNOWN_HOSTS));
            self.known_hosts = [own.unwrap_or(&is_own).as_slice(), global.unwrap_or(&is_system)].concat();
        }
        self.host_key_alias.clone_from(&options.host_key_alias);
        self.unknown_host_key = options.unknown_host_key.unwrap_or(self.unknown_host_key);
        self.connect_timeout = options.connect_timeout.unwrap_or(self.connect_timeout);
        self.algorithms.clone_from(&options.algorithms);
    }

    /// The host without the brackets of an IPv6 literal.
    pub(super) fn bare_host(&self) -> &str {
        self.host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(&self.host)
    }

    /// Refuses what could not be a host or user, before it reaches a resolver or a known_hosts line.
    pub(super) fn check(&self) -> Result<()> {
        let host = self.bare_host();
        let odd = |c: char| c.is_whitespace() || c.is_control() || ",*?!#|@[]\"'/\\".contains(c);
        if host.is_empty() || host.len() > 255 || host.starts_with('-') || host.contains(odd) {
            return Err(NasSyncError::new(ErrorKind::Usage, format!("{host:?} is not a host name or address")));
        }
        if self.user.is_empty() || self.user.contains(char::is_control) {
            return Err(NasSyncError::new(ErrorKind::Usage, format!("{:?} is not a user name", self.user)));
        }
        algorithms::check(self)
    }

    /// `host:port` for messages, with brackets around an IPv6 address.
    pub(super) fn address(&self) -> String {
        let host = self.bare_host();
        if host.contains(':') { format!("[{host}]:{}", self.port) } else { format!("{host}:{}", self.port) }
    }
}

/// Replaces a leading `~/` by the home folder of this user, as a shell would.
pub fn expand_home(path: &Path) -> PathBuf {
    match (path.strip_prefix("~"), std::env::home_dir()) {
        (Ok(rest), Some(home)) => home.join(rest),
        _ => path.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_do_not_show() {
        let mut config = SshConfig::new("nas", "me");
        config.passphrase = Some(Secret::new("hunter2".into()));
        config.identity = Identity::Text(Secret::new("BEGIN KEY".into()));
        config.password = Some(Secret::new("swordfish".into()));
        let shown = format!("{config:?}");
        assert!(!shown.contains("hunter2") && !shown.contains("swordfish") && !shown.contains("BEGIN KEY"), "{shown}");
    }

    #[test]
    fn a_pin_is_a_sha256_fingerprint() {
        let good = "SHA256:Nh0Me49Zh9fDw/VYUfq43IJmI1T+XrjiYONPND8GzaM";
        assert_eq!(HostKeyPin::parse(&format!(" {good}=\n")).unwrap().as_str(), good);
        for bad in ["", "SHA256:", "Nh0Me49Zh9fDw/VYUfq43IJmI1T+XrjiYONPND8GzaM", "MD5:aa:bb", "SHA256:Nh0Me49Zh9fDw"] {
            assert_eq!(HostKeyPin::parse(bad).unwrap_err().kind(), ErrorKind::Usage, "{bad}");
        }
    }

    #[test]
    fn hosts_that_could_not_be_hosts_are_refused() {
        for bad in ["", "a b", "a\nb", "-oProxyCommand=x", "*.example", "a,b", "[::1"] {
            assert!(SshConfig::new(bad, "me").check().is_err(), "{bad:?}");
        }
        for good in ["nas", "nas.local", "192.0.2.1", "::1", "[::1]", "fe80::1%eth0", "a_b"] {
            assert!(SshConfig::new(good, "me").check().is_ok(), "{good:?}");
        }
        assert_eq!(SshConfig::new("[::1]", "me").address(), "[::1]:22");
    }
}
