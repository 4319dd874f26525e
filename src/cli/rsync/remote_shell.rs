//! `-e "ssh …"`: read, not run.
//!
//! Guarantees: an option either has the effect it has for ssh, or is one whose effect the in-process client has anyway,
//! or is refused by name. As in ssh the first of several values counts. What concerns the way there and has no flag of ours
//! is handed on as a line that comes before those of ssh_config. Never: a program is started.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::words;
use crate::config::whole_seconds;
use crate::error::{ErrorKind, NasSyncError, Result};
use crate::transport::ssh::CipherList;
use crate::transport::ssh::ssh_config::SshConfigFile;
use crate::transport::ssh::{UnknownHostKey, expand_home};

/// What a remote shell command asks of the connection. What it does not mention is `None` or empty.
#[derive(Debug, Default)]
pub struct RemoteShell {
    /// `-p`, `-o Port`.
    pub port: Option<u16>,
    /// `-l`, `-o User`.
    pub user: Option<String>,
    /// `-i`, `-o IdentityFile`, in this order.
    pub identities: Vec<PathBuf>,
    /// `-o UserKnownHostsFile`.
    pub known_hosts: Vec<PathBuf>,
    /// `-o StrictHostKeyChecking`.
    pub unknown_host_key: Option<UnknownHostKey>,
    /// `-o ConnectTimeout`.
    pub connect_timeout: Option<Duration>,
    /// `-c`, `-o Ciphers`.
    pub ciphers: Option<CipherList>,
    /// `-o ServerAliveInterval`.
    pub keepalive: Option<Keepalive>,
    /// `-F`.
    pub config: Option<SshConfigFile>,
    /// Other options, as lines that come before those of all files.
    pub options: Vec<String>,
    /// What a person should know.
    pub warnings: Vec<String>,
}

/// Whether a silent server is asked for signs of life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keepalive {
    /// After this much silence.
    After(Duration),
    /// Never, which ssh writes as 0.
    Never,
}

/// Settings of ssh that ask for what this client does in any case, and the values with which they do.
const SATISFIED: &[(&str, &[&str])] = &[
    ("BatchMode", &["yes", "no"]),
    ("CheckHostIP", &["yes", "no"]),
    ("ChallengeResponseAuthentication", &["no"]),
    ("ClearAllForwardings", &["yes", "no"]),
    ("Compression", &["no"]),
    ("ConnectionAttempts", &["1"]),
    ("ControlMaster", &["no"]),
    ("ControlPath", &["none"]),
    ("ControlPersist", &["no"]),
    ("EscapeChar", &["none"]),
    ("ExitOnForwardFailure", &["yes", "no"]),
    ("ForwardAgent", &["no"]),
    ("ForwardX11", &["no"]),
    ("ForwardX11Trusted", &["no"]),
    ("GSSAPIAuthentication", &["no"]),
    ("HostbasedAuthentication", &["no"]),
    ("IdentitiesOnly", &["yes", "no"]),
    ("KbdInteractiveAuthentication", &["no"]),
    ("PasswordAuthentication", &["no"]),
    ("PermitLocalCommand", &["no"]),
    ("ProxyCommand", &["none"]),
    ("PubkeyAuthentication", &["yes"]),
    ("RequestTTY", &["no"]),
    ("TCPKeepAlive", &["yes", "no"]),
    ("Tunnel", &["no"]),
    ("UpdateHostKeys", &["no"]),
    ("VisualHostKey", &["no"]),
];

/// Settings that are handed on.
const HANDED_ON: &[&str] = &[
    "AddressFamily",
    "BindAddress",
    "CertificateFile",
    "GlobalKnownHostsFile",
    "HostKeyAlgorithms",
    "HostKeyAlias",
    "IdentityAgent",
    "KexAlgorithms",
    "MACs",
    "ProxyJump",
];

/// Settings that change nothing but log output and speed, whatever their value.
const WITHOUT_EFFECT: &[&str] = &["IPQoS", "LogLevel", "NumberOfPasswordPrompts", "ServerAliveCountMax"];

impl RemoteShell {
    /// Reads a remote shell command; `origin` says where it stood, for messages. Fails with `Usage`.
    pub fn parse(command: &str, origin: &str) -> Result<Self> {
        let refuse = |reason: String| {
            NasSyncError::new(ErrorKind::Usage, format!("{origin}: {reason}"))
                .with_solution("Leave it out, or use an option of nas-sync; see `nas-sync push --help`.")
        };
        let mut words = words::split(command)
            .ok_or_else(|| refuse(format!("a quote in {command:?} is not closed")))?
            .into_iter()
            .peekable();
        let program = words.next().ok_or_else(|| refuse("the remote shell is empty".into()))?;
        if Path::new(&program).file_name().is_none_or(|name| name != "ssh") {
            return Err(refuse(format!("the remote shell {program:?} cannot be used, because only ssh is built in")));
        }
        let mut shell = Self::default();
        while let Some(word) = words.next() {
            let Some(letters) = word.strip_prefix('-').filter(|letters| !letters.is_empty()) else {
                return Err(refuse(format!("{word:?} is not an option of ssh")));
            };
            for (at, letter) in letters.char_indices() {
                let mut value = || {
                    let attached = &letters[at + letter.len_utf8()..];
                    let value = if attached.is_empty() { words.next() } else { Some(attached.to_owned()) };
                    value.ok_or_else(|| refuse(format!("-{letter} of ssh needs a value")))
                };
                let set = match letter {
                    // Quiet, no terminal, no forwarding, more talk: as it is here, or without effect on files.
                    'q' | 'T' | 'x' | 'a' | 'k' | 'v' => continue,
                    '4' => shell.set("AddressFamily", "inet"),
                    '6' => shell.set("AddressFamily", "inet6"),
                    'b' => shell.set("BindAddress", &value()?),
                    'm' => shell.set("MACs", &value()?),
                    'p' => shell.set("Port", &value()?),
                    'l' => shell.set("User", &value()?),
                    'i' => shell.set("IdentityFile", &value()?),
                    'c' => shell.set("Ciphers", &value()?),
                    'S' => shell.set("ControlPath", &value()?),
                    'J' => shell.set("ProxyJump", &value()?),
                    'o' => shell.assign(&value()?),
                    'F' => {
                        let file = value()?;
                        let is_none = file.eq_ignore_ascii_case("none");
                        let at = || SshConfigFile::At(expand_home(Path::new(&file)));
                        shell.config = Some(if is_none { SshConfigFile::None } else { at() });
                        Ok(())
                    }
                    _ => Err(format!("-{letter} of ssh is not supported")),
                };
                set.map_err(refuse)?;
                if matches!(letter, 'p' | 'l' | 'i' | 'c' | 'S' | 'J' | 'o' | 'F' | 'b' | 'm') {
                    break;
                }
            }
        }
        Ok(shell)
    }

    /// `-o`: a keyword and a value, parted by `=` or blanks.
    fn assign(&mut self, text: &str) -> Result<(), String> {
        let text = text.trim();
        let end = text.find(|c: char| c == '=' || c.is_whitespace()).unwrap_or(text.len());
        let (keyword, rest) = text.split_at(end);
        let rest = rest.trim_start();
        let value = rest.strip_prefix('=').unwrap_or(rest).trim();
        let quoted = value.strip_prefix('"').and_then(|value| value.strip_suffix('"'));
        if keyword.is_empty() || value.is_empty() {
            return Err(format!("-o {text:?} is not a keyword and a value"));
        }
        // What is handed on keeps its quotes: there may be several words.
        let is_handed_on = HANDED_ON.iter().any(|name| keyword.eq_ignore_ascii_case(name));
        self.set(keyword, quoted.filter(|_| !is_handed_on).unwrap_or(value))
    }

    /// One setting of ssh. The error is a reason for people.
    fn set(&mut self, keyword: &str, value: &str) -> Result<(), String> {
        let wrong = |accepted: &str| format!("{keyword} of ssh is {value:?}, but must be {accepted}");
        let is = |name: &str| keyword.eq_ignore_ascii_case(name);
        if is("Port") {
            let port = value.parse().ok().filter(|&port| port > 0).ok_or_else(|| wrong("a port from 1 to 65535"))?;
            self.port.get_or_insert(port);
        } else if is("User") {
            self.user.get_or_insert_with(|| value.to_owned());
        } else if is("IdentityFile") {
            self.identities.push(expand_home(Path::new(value)));
        } else if is("UserKnownHostsFile") {
            if self.known_hosts.is_empty() {
                self.known_hosts = value.split_whitespace().map(|path| expand_home(Path::new(path))).collect();
            }
        } else if is("StrictHostKeyChecking") {
            self.set_host_key_checking(value).ok_or_else(|| wrong("yes, accept-new, ask or no"))?;
        } else if is("ConnectTimeout") {
            let seconds = whole_seconds(value).filter(|&seconds| seconds > 0);
            let seconds = seconds.ok_or_else(|| wrong("a whole number of seconds, at least 1"))?;
            self.connect_timeout.get_or_insert(Duration::from_secs(seconds.min(604_800)));
        } else if is("Ciphers") {
            if value.starts_with(['+', '-', '^']) {
                return Err(wrong("a plain list of ciphers"));
            }
            let ciphers = CipherList::parse(value).map_err(|error| format!("{keyword} of ssh: {error}"))?;
            self.ciphers.get_or_insert(ciphers);
        } else if is("ServerAliveInterval") {
            let seconds = whole_seconds(value).ok_or_else(|| wrong("a whole number of seconds"))?;
            self.keepalive.get_or_insert(match u32::try_from(seconds).unwrap_or(u32::MAX) {
                0 => Keepalive::Never,
                seconds => Keepalive::After(Duration::from_secs(u64::from(seconds))),
            });
        } else if is("PreferredAuthentications") {
            if !value.split(',').any(|method| method.trim().eq_ignore_ascii_case("publickey")) {
                return Err(wrong("a list that holds publickey, the only method there is here"));
            }
        } else if let Some((_, accepted)) = SATISFIED.iter().find(|(name, _)| is(name)) {
            if !accepted.iter().any(|accepted| value.eq_ignore_ascii_case(accepted)) {
                return Err(format!("{keyword}={value} of ssh is not supported"));
            }
        } else if HANDED_ON.iter().any(|name| is(name)) {
            self.options.push(format!("{keyword} {value}"));
        } else if !WITHOUT_EFFECT.iter().any(|name| is(name)) {
            return Err(format!("{keyword} of ssh is not supported"));
        }
        Ok(())
    }

    fn set_host_key_checking(&mut self, value: &str) -> Option<()> {
        let policy = match value.to_ascii_lowercase().as_str() {
            "yes" | "ask" | "true" => UnknownHostKey::Refuse,
            "accept-new" => UnknownHostKey::Accept,
            "no" | "off" | "false" => {
                let warning = "StrictHostKeyChecking=no is taken as accept-new: a changed host key is still refused";
                self.warnings.push(warning.into());
                UnknownHostKey::Accept
            }
            _ => return None,
        };
        self.unknown_host_key.get_or_insert(policy);
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(command: &str) -> RemoteShell {
        RemoteShell::parse(command, "-e").unwrap()
    }

    fn reason(command: &str) -> String {
        let error = RemoteShell::parse(command, "-e").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Usage);
        error.message().to_owned()
    }

    #[test]
    fn the_contracts_example() {
        let shell = parse("ssh -o BatchMode=yes -o ConnectTimeout=30");
        assert_eq!(shell.connect_timeout, Some(Duration::from_secs(30)));
        assert!(shell.port.is_none() && shell.user.is_none() && shell.warnings.is_empty());
    }

    #[test]
    fn times_have_units_as_with_ssh() {
        let shell = parse("ssh -o ConnectTimeout=1m -o ServerAliveInterval=30s");
        assert_eq!(shell.connect_timeout, Some(Duration::from_secs(60)));
        assert_eq!(shell.keepalive, Some(Keepalive::After(Duration::from_secs(30))));
    }

    #[test]
    fn values_stand_attached_apart_and_behind_other_letters() {
        let shell = parse("/usr/bin/ssh -qTp2222 -l 'a user' -i /k1 -oIdentityFile=/k2 -x");
        assert_eq!((shell.port, shell.user.as_deref()), (Some(2222), Some("a user")));
        assert_eq!(shell.identities, [Path::new("/k1"), Path::new("/k2")]);
        let shell = parse("ssh -o 'port = 23' -o \"User me\" -p 24 -c aes256-ctr -o ServerAliveInterval=0");
        assert_eq!((shell.port, shell.user.as_deref()), (Some(23), Some("me")), "the first value counts");
        assert!(shell.ciphers.is_some());
        assert_eq!(shell.keepalive, Some(Keepalive::Never));
        let shell = parse("ssh -o UserKnownHostsFile='/a /b' -o StrictHostKeyChecking=accept-new");
        assert_eq!(shell.known_hosts, [Path::new("/a"), Path::new("/b")]);
        assert_eq!(shell.unknown_host_key, Some(UnknownHostKey::Accept));
    }

    #[test]
    fn what_concerns_the_way_comes_before_ssh_config() {
        let shell = parse("ssh -J me@jump -4 -F /etc/other -o 'GlobalKnownHostsFile \"/a b\" /c'");
        assert_eq!(shell.options, ["ProxyJump me@jump", "AddressFamily inet", "GlobalKnownHostsFile \"/a b\" /c"]);
        assert_eq!(shell.config, Some(SshConfigFile::At("/etc/other".into())));
        assert_eq!(parse("ssh -F none").config, Some(SshConfigFile::None));
    }

    #[test]
    fn no_checking_is_trust_on_first_use_and_said() {
        let shell = parse("ssh -o StrictHostKeyChecking=no");
        assert_eq!(shell.unknown_host_key, Some(UnknownHostKey::Accept));
        assert!(shell.warnings[0].contains("changed host key is still refused"));
        assert_eq!(parse("ssh -o StrictHostKeyChecking=yes").unknown_host_key, Some(UnknownHostKey::Refuse));
    }

    #[test]
    fn what_is_asked_for_anyway_is_accepted() {
        parse(
            "ssh -T -q -o IdentitiesOnly=yes -o PasswordAuthentication=no -o LogLevel=ERROR -F none -o compression=no",
        );
        parse("ssh -o PreferredAuthentications=publickey,password");
    }

    #[test]
    fn what_cannot_be_honoured_is_named() {
        for (command, named) in [
            ("rsh -l me", "\"rsh\""),
            ("sudo ssh", "\"sudo\""),
            ("ssh -C", "-C"),
            ("ssh -o ProxyCommand=nc", "ProxyCommand=nc"),
            ("ssh -o SendEnv=LANG", "SendEnv"),
            ("ssh -o PasswordAuthentication=yes", "PasswordAuthentication=yes"),
            ("ssh -o PreferredAuthentications=password", "publickey"),
            ("ssh -p 0", "Port"),
            ("ssh -p", "-p"),
            ("ssh -o Port", "\"Port\""),
            ("ssh -o ConnectTimeout=soon", "ConnectTimeout"),
            ("ssh -o Ciphers=rot13", "rot13"),
            ("ssh nas", "\"nas\""),
            ("ssh 'nas", "not closed"),
            ("", "empty"),
        ] {
            assert!(reason(command).contains(named), "{command}: {}", reason(command));
        }
    }
}
