//! What the lines mean: values that are checked, and what cannot be honoured.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::super::algorithm_list::{AlgorithmList, Choices};
use super::super::config::{AddressFamily, DEFAULT_PORT, UnknownHostKey};
use super::Query;
use super::directives::{Directive, Directives, is_none};
use super::tokens::Tokens;
use crate::error::{ErrorKind, NasSyncError, Result};

/// Lines that change where or how one connects, or refuse a host, and that cannot be honoured: with the value that changes
/// nothing, and what to do instead.
const NOT_DONE: [(&str, &[&str], &str); 6] = [
    ("proxycommand", &["none"], "starts a program, which is not done here; ProxyJump goes through another host"),
    ("bindinterface", &["none"], "is not supported; BindAddress is"),
    ("canonicalizehostname", &["no", "none"], "is not supported; write the whole name of the host"),
    ("remotecommand", &["none"], "would run another command than rsync"),
    ("revokedhostkeys", &["none"], "is not supported; lines of known_hosts that begin with @revoked are"),
    ("proxyusefdpass", &["no"], "is not supported"),
];

/// What OpenSSH's configuration says about one host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct HostOptions {
    /// `HostName`: where it really is, in lower case.
    pub host_name: Option<String>,
    /// `User`.
    pub user: Option<String>,
    /// `Port`.
    pub port: Option<u16>,
    /// `IdentityFile`, in order; `None` where nothing is said.
    pub identities: Option<Vec<PathBuf>>,
    /// `CertificateFile`, in order.
    pub certificates: Vec<PathBuf>,
    /// `IdentitiesOnly`.
    pub identities_only: bool,
    /// `IdentityAgent`.
    pub agent: IdentityAgent,
    /// `UserKnownHostsFile`.
    pub user_known_hosts: Option<Vec<PathBuf>>,
    /// `GlobalKnownHostsFile`.
    pub global_known_hosts: Option<Vec<PathBuf>>,
    /// `StrictHostKeyChecking`.
    pub unknown_host_key: Option<UnknownHostKey>,
    /// `HostKeyAlias`.
    pub host_key_alias: Option<String>,
    /// `ConnectTimeout`.
    pub connect_timeout: Option<Duration>,
    /// `ProxyJump`: the hosts to go through, the nearest first.
    pub jumps: Vec<Jump>,
    /// `Ciphers`, `KexAlgorithms`, `MACs`, `HostKeyAlgorithms`.
    pub algorithms: Choices,
    /// `AddressFamily`.
    pub family: AddressFamily,
    /// `BindAddress`.
    pub bind_address: Option<IpAddr>,
    /// What a person should know, one sentence each.
    pub warnings: Vec<String>,
}

/// Which agent holds keys.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum IdentityAgent {
    /// The one that the environment names.
    #[default]
    Usual,
    /// None.
    None,
    /// The one at this socket.
    At(PathBuf),
}

/// A host to go through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Jump {
    /// Its name; the files may say more about it.
    pub host: String,
    /// The user there.
    pub user: Option<String>,
    /// Its port.
    pub port: Option<u16>,
}

impl HostOptions {
    pub(super) fn of(said: &Directives, query: &Query<'_>, warnings: Vec<String>) -> Result<Self> {
        for (keyword, harmless, why) in NOT_DONE {
            if let Some(line) = said.first(keyword)
                && !harmless.iter().any(|value| line.words[0].eq_ignore_ascii_case(value))
            {
                return Err(line.refuse(why));
            }
        }
        let mut options = Self { warnings, ..Self::default() };
        options.where_to(said, query)?;
        options.who_is_there(said)?;
        let host = options.host_name.clone().unwrap_or_else(|| query.host.to_ascii_lowercase());
        let tokens = Tokens {
            query,
            key_alias: options.host_key_alias.as_deref().unwrap_or(query.host),
            user: options.user.as_deref().or(query.local_user).unwrap_or_default(),
            port: options.port.unwrap_or(DEFAULT_PORT),
            host: &host,
        };
        let paths = Paths::of(said, &tokens)?;
        Ok(options.with(paths))
    }

    fn where_to(&mut self, said: &Directives, query: &Query<'_>) -> Result<()> {
        self.host_name = value(said, "hostname", |name| host_name(name, query.host))?;
        self.user = value(said, "user", |user| {
            let is_odd = user.is_empty() || user.contains(char::is_control) || user.starts_with('-');
            if is_odd { Err("is not a user name") } else { Ok(user.to_owned()) }
        })?;
        self.port = value(said, "port", |port| {
            port.parse().ok().filter(|&port| port > 0).ok_or("is not a port from 1 to 65535")
        })?;
        self.connect_timeout = value(said, "connecttimeout", |time| {
            if is_none(time) { Ok(None) } else { seconds(time).map(Some).ok_or("is not a time") }
        })?
        .flatten()
        .filter(|seconds| *seconds > 0)
        .map(|seconds| Duration::from_secs(seconds.min(604_800)));
        self.family = value(said, "addressfamily", |family| match family.to_ascii_lowercase().as_str() {
            "any" => Ok(AddressFamily::Any),
            "inet" => Ok(AddressFamily::Inet),
            "inet6" => Ok(AddressFamily::Inet6),
            _ => Err("is not any, inet or inet6"),
        })?
        .unwrap_or_default();
        self.bind_address = value(said, "bindaddress", |address| {
            if address == "*" { Ok(None) } else { address.parse().map(Some).map_err(|_| "is not an IP address") }
        })?
        .flatten();
        self.jumps = value(said, "proxyjump", |list| {
            if is_none(list) {
                return Ok(Vec::new());
            }
            list.split(',').map(|jump| Jump::parse(jump).ok_or("is not a list of [USER@]HOST[:PORT]")).collect()
        })?
        .unwrap_or_default();
        Ok(())
    }

    fn who_is_there(&mut self, said: &Directives) -> Result<()> {
        self.host_key_alias = value(said, "hostkeyalias", |alias| Ok(alias.to_ascii_lowercase()))?;
        self.identities_only = value(said, "identitiesonly", yes_or_no)?.unwrap_or_default();
        if let Some(line) = said.first("stricthostkeychecking") {
            let (policy, weakened) = match line.words[0].to_ascii_lowercase().as_str() {
                "yes" | "true" | "ask" => (UnknownHostKey::Refuse, false),
                "accept-new" => (UnknownHostKey::Accept, false),
                "no" | "false" | "off" => (UnknownHostKey::Accept, true),
                _ => return Err(line.refuse("is not yes, accept-new, ask or no")),
            };
            self.unknown_host_key = Some(policy);
            if weakened {
                self.warnings.push(format!(
                    "{}: StrictHostKeyChecking {} is taken as accept-new: a changed host key is still refused",
                    line.place, line.words[0]
                ));
            }
        }
        let list = |keyword| value(said, keyword, |list| Ok(AlgorithmList::parse(list)));
        self.algorithms = Choices {
            ciphers: list("ciphers")?,
            kex: list("kexalgorithms")?,
            macs: list("macs")?,
            host_keys: list("hostkeyalgorithms")?,
        };
        Ok(())
    }

    fn with(mut self, paths: Paths) -> Self {
        let Paths { identities, certificates, agent, mut user_known_hosts, global_known_hosts } = paths;
        if let Some(files) = &mut user_known_hosts
            && files.iter().any(|file| file == Path::new("/dev/null"))
        {
            // Who remembers no key takes any key the next time.
            files.retain(|file| file != Path::new("/dev/null"));
            if files.is_empty() {
                user_known_hosts = None;
                self.warnings.push(String::from(
                    "UserKnownHostsFile /dev/null of ssh_config would let any host key in the next time, so ~/.ssh/known_hosts is used",
                ));
            }
        }
        Self { identities, certificates, agent, user_known_hosts, global_known_hosts, ..self }
    }
}

/// The values that name files.
struct Paths {
    identities: Option<Vec<PathBuf>>,
    certificates: Vec<PathBuf>,
    agent: IdentityAgent,
    user_known_hosts: Option<Vec<PathBuf>>,
    global_known_hosts: Option<Vec<PathBuf>>,
}

impl Paths {
    fn of(said: &Directives, tokens: &Tokens<'_>) -> Result<Self> {
        let path = |line: &Directive, word: &str| tokens.path(word).map_err(|reason| line.refuse(reason));
        let files = |keyword: &str| -> Result<Option<Vec<PathBuf>>> {
            let Some(line) = said.first(keyword) else { return Ok(None) };
            let words = line.words.iter().filter(|word| !is_none(word));
            words.map(|word| path(line, word)).collect::<Result<_>>().map(Some)
        };
        let adding_up = |keyword: &str| -> Result<Vec<PathBuf>> {
            let lines = said.all(keyword).filter(|line| !is_none(&line.words[0]));
            lines.map(|line| path(line, &line.words[0])).collect()
        };
        let agent = match said.first("identityagent") {
            None => IdentityAgent::Usual,
            Some(line) if is_none(&line.words[0]) => IdentityAgent::None,
            Some(line) if line.words[0] == "SSH_AUTH_SOCK" => IdentityAgent::Usual,
            Some(line) => {
                let word = &line.words[0];
                // A variable may also stand here without braces.
                let word = word
                    .strip_prefix('$')
                    .filter(|name| !name.starts_with('{'))
                    .map_or(word.clone(), |name| format!("${{{name}}}"));
                IdentityAgent::At(path(line, &word)?)
            }
        };
        Ok(Self {
            identities: said.first("identityfile").map(|_| adding_up("identityfile")).transpose()?,
            certificates: adding_up("certificatefile")?,
            agent,
            user_known_hosts: files("userknownhostsfile")?,
            global_known_hosts: files("globalknownhostsfile")?,
        })
    }
}

impl Jump {
    /// `[USER@]HOST[:PORT]`, also as `ssh://…`.
    fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let text = text.strip_prefix("ssh://").map_or(text, |rest| rest.trim_end_matches('/'));
        let (user, place) = text.rsplit_once('@').map_or((None, text), |(user, place)| (Some(user), place));
        let (host, port) = match place.strip_prefix('[') {
            Some(rest) => {
                let (host, behind) = rest.split_once(']')?;
                (host, if behind.is_empty() { None } else { Some(behind.strip_prefix(':')?) })
            }
            None => place.split_once(':').map_or((place, None), |(host, port)| (host, Some(port))),
        };
        let port = port.map(|port| port.parse().ok().filter(|&port| port > 0).ok_or(())).transpose().ok()?;
        let is_host = !host.is_empty()
            && !host.starts_with('-')
            && !host.contains(|c: char| c.is_whitespace() || c.is_control() || "[]%".contains(c));
        if !is_host || user.is_some_and(str::is_empty) {
            return None;
        }
        Some(Self { host: host.to_owned(), user: user.map(ToOwned::to_owned), port })
    }
}

/// The one value of a keyword, checked.
fn value<T>(
    said: &Directives,
    keyword: &str,
    check: impl FnOnce(&str) -> Result<T, &'static str>,
) -> Result<Option<T>> {
    let Some(line) = said.first(keyword) else { return Ok(None) };
    let [word] = line.words.as_slice() else { return Err(line.refuse("is more than one word")) };
    check(word).map(Some).map_err(|reason| line.refuse(reason))
}

/// `%h` is the host as it was named, `%%` a percent sign.
fn host_name(text: &str, host: &str) -> Result<String, &'static str> {
    let mut parts = text.split('%');
    let mut name = parts.next().unwrap_or_default().to_owned();
    while let Some(part) = parts.next() {
        if let Some(rest) = part.strip_prefix('h') {
            name += host;
            name += rest;
        } else if part.is_empty() {
            name.push('%');
            name += parts.next().unwrap_or_default();
        } else {
            return Err("has something else than %h or %% behind a %");
        }
    }
    Ok(name.to_ascii_lowercase())
}

fn yes_or_no(text: &str) -> Result<bool, &'static str> {
    match text.to_ascii_lowercase().as_str() {
        "yes" | "true" => Ok(true),
        "no" | "false" => Ok(false),
        _ => Err("is not yes or no"),
    }
}

/// A time as ssh has it: numbers with units, added up.
fn seconds(text: &str) -> Option<u64> {
    let mut total = 0u64;
    let mut rest = text;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let number: u64 = rest[..end].parse().ok()?;
        let unit = match rest[end..].chars().next() {
            None | Some('s' | 'S') => 1,
            Some('m' | 'M') => 60,
            Some('h' | 'H') => 60 * 60,
            Some('d' | 'D') => 24 * 60 * 60,
            Some('w' | 'W') => 7 * 24 * 60 * 60,
            Some(_) => return None,
        };
        total = total.checked_add(number.checked_mul(unit)?)?;
        rest = rest[end..].get(1..).unwrap_or_default();
    }
    (!text.is_empty()).then_some(total)
}

/// A host that leads to itself.
pub(crate) fn loops(host: &str) -> NasSyncError {
    NasSyncError::new(ErrorKind::Usage, format!("ProxyJump of ssh_config leads from {host} to {host} again"))
        .with_solution(
            "Except the host to go through from that line: `Host * !JUMP`, or write `ProxyJump none` for it above.",
        )
}
