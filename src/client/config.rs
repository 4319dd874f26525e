//! What a login needs to know, from settings or in full.

use std::path::PathBuf;
use std::time::Duration;

use crate::config::{KeySource, Settings, local_user};
use crate::error::{ErrorKind, NasSyncError, Result};
use crate::rate::Rate;
use crate::transport::ssh::ssh_config::{HostOptions, Jump, loops};
use crate::transport::ssh::{HostKeyPin, Identity, LegacyAlgorithms, SYSTEM_KNOWN_HOSTS, SshConfig, UnknownHostKey};

/// What a [`Client`](crate::Client) needs to know.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ClientConfig {
    /// The login.
    pub ssh: SshConfig,
    /// The program started on the NAS; usually `rsync`.
    pub rsync_path: String,
    /// How long a session may go without progress.
    pub idle_limit: Duration,
    /// How fast all its sessions together may send, and each pull receive; `None`: as fast as they can.
    pub rate: Option<Rate>,
    /// What a person should know about it, such as what is not taken from ssh_config. One sentence each.
    pub warnings: Vec<String>,
}

impl ClientConfig {
    /// The defaults around a login: `rsync`, five minutes.
    pub fn new(ssh: SshConfig) -> Self {
        let idle_limit = Duration::from_secs(300);
        Self { ssh, rsync_path: String::from("rsync"), idle_limit, rate: None, warnings: Vec::new() }
    }

    /// What the settings say about the login, and where they leave it open the files that [`Settings::ssh_config`] names.
    /// Fails with `NotConfigured`, naming what is missing, and with `Usage` for what is wrong in those files.
    pub fn of(settings: &Settings) -> Result<Self> {
        Self::with_ssh_options(settings, &[])
    }

    /// The same, with lines of ssh_config that come before those of the files.
    pub(crate) fn with_ssh_options(settings: &Settings, given: &[String]) -> Result<Self> {
        let Some(host) = settings.host.as_deref().filter(|_| settings.path.is_some()) else {
            return Err(missing(settings));
        };
        let options = settings.ssh_options(host, settings.user.as_deref(), settings.port, given)?;
        let mut warnings = options.warnings.clone();
        let user = settings.user.clone().or_else(|| options.user.clone()).ok_or_else(|| missing(settings))?;
        let mut ssh = SshConfig::new(host, user);
        ssh.apply(&options);
        ssh.jumps = Way { settings, warnings: &mut warnings, hosts: vec![host.to_owned()] }.through(&options.jumps)?;
        match &settings.key {
            KeySource::Text(text) => ssh.identity = Identity::Text(text.clone()),
            KeySource::File(path) => ssh.identity = Identity::Files(vec![path.clone()]),
            KeySource::FirstOf(_) => {}
        }
        ssh.password.clone_from(&settings.password);
        ssh.host_key = settings.host_key.as_deref().map(HostKeyPin::parse).transpose()?;
        if settings.legacy_ssh {
            ssh.legacy = LegacyAlgorithms::Allow;
        }
        if let Some(port) = settings.port {
            ssh.port = port;
        }
        if let Some(timeout) = settings.connect_timeout {
            ssh.connect_timeout = timeout;
        }
        on_every_host(&mut ssh, settings, &options);
        Ok(ClientConfig {
            ssh,
            rsync_path: settings.rsync_path.clone(),
            idle_limit: settings.file_timeout,
            rate: settings.bwlimit,
            warnings,
        })
    }
}

fn missing(settings: &Settings) -> NasSyncError {
    NasSyncError::new(ErrorKind::NotConfigured, format!("not configured, missing: {}", settings.missing().join(", ")))
}

/// What the settings say about the hosts on the way as well. A password, a key and a pin are the NAS's alone.
fn on_every_host(ssh: &mut SshConfig, settings: &Settings, options: &HostOptions) {
    ssh.passphrase.clone_from(&settings.key_passphrase);
    if let Some(known_hosts) = &settings.known_hosts {
        // In place of the user's own file; what the machine's administrator recorded still counts.
        ssh.known_hosts = vec![known_hosts.clone()];
        let global = || vec![PathBuf::from(SYSTEM_KNOWN_HOSTS)];
        ssh.known_hosts.extend(options.global_known_hosts.clone().unwrap_or_else(global));
    }
    match settings.accept_new_host_key {
        Some(true) => ssh.unknown_host_key = UnknownHostKey::Accept,
        Some(false) => ssh.unknown_host_key = UnknownHostKey::Refuse,
        None => {}
    }
}

/// The way through other hosts.
struct Way<'a> {
    settings: &'a Settings,
    warnings: &'a mut Vec<String>,
    /// What was passed, from the NAS on.
    hosts: Vec<String>,
}

impl Way<'_> {
    /// A login on each host, the nearest first. As with ssh the first of a list may have a way of its own.
    fn through(&mut self, jumps: &[Jump]) -> Result<Vec<SshConfig>> {
        let mut logins = Vec::new();
        for (index, jump) in jumps.iter().enumerate() {
            if self.hosts.contains(&jump.host) {
                return Err(loops(&jump.host));
            }
            let reached: &[String] = if index == 0 { &[] } else { &[String::from("ProxyCommand none")] };
            let options = self.settings.ssh_options(&jump.host, jump.user.as_deref(), jump.port, reached)?;
            self.warnings.extend(options.warnings.iter().cloned());
            self.hosts.push(jump.host.clone());
            logins.extend(self.through(&options.jumps)?);
            let user = options.user.clone().or_else(local_user).unwrap_or_default();
            let mut ssh = SshConfig::new(jump.host.clone(), user);
            ssh.apply(&options);
            on_every_host(&mut ssh, self.settings, &options);
            logins.push(ssh);
        }
        Ok(logins)
    }
}
