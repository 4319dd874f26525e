//! What a login needs to know, from settings or in full.

use std::path::PathBuf;
use std::time::Duration;

use crate::config::{KeySource, Settings};
use crate::error::{ErrorKind, NasSyncError, Result};
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
}

impl ClientConfig {
    /// The defaults around a login: `rsync`, five minutes.
    pub fn new(ssh: SshConfig) -> Self {
        Self { ssh, rsync_path: String::from("rsync"), idle_limit: Duration::from_secs(300) }
    }

    /// What the settings say about the login. Fails with `NotConfigured`, naming what is missing.
    pub fn of(settings: &Settings) -> Result<Self> {
        let (Some(host), Some(user), true) = (&settings.host, &settings.user, settings.is_configured()) else {
            let missing = settings.missing().join(", ");
            return Err(NasSyncError::new(ErrorKind::NotConfigured, format!("not configured, missing: {missing}")));
        };
        let mut ssh = SshConfig::new(host.clone(), user.clone());
        ssh.port = settings.port;
        ssh.identity = match &settings.key {
            KeySource::Text(text) => Identity::Text(text.clone()),
            KeySource::File(path) => Identity::Files(vec![path.clone()]),
            KeySource::FirstOf(_) => Identity::Default,
        };
        ssh.passphrase.clone_from(&settings.key_passphrase);
        ssh.password.clone_from(&settings.password);
        if let Some(known_hosts) = &settings.known_hosts {
            // In place of the user's own file; what the machine's administrator recorded still counts.
            ssh.known_hosts = vec![known_hosts.clone(), PathBuf::from(SYSTEM_KNOWN_HOSTS)];
        }
        ssh.host_key = settings.host_key.as_deref().map(HostKeyPin::parse).transpose()?;
        if settings.accept_new_host_key {
            ssh.unknown_host_key = UnknownHostKey::Accept;
        }
        if settings.legacy_ssh {
            ssh.legacy = LegacyAlgorithms::Allow;
        }
        ssh.connect_timeout = settings.connect_timeout;
        Ok(ClientConfig { ssh, rsync_path: settings.rsync_path.clone(), idle_limit: settings.file_timeout })
    }
}
