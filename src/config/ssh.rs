//! What OpenSSH's configuration says about a host, where the settings leave it open.

use super::settings::Settings;
use crate::error::Result;
use crate::transport::ssh::DEFAULT_PORT;
use crate::transport::ssh::ssh_config::{self, HostOptions, Query};
use crate::tree::IdNames;

impl Settings {
    /// What the files say about a host. What is known of user and port already is not asked, and `given` are lines that
    /// come before those of all files. Fails with `Usage`.
    pub(crate) fn ssh_options(
        &self,
        host: &str,
        user: Option<&str>,
        port: Option<u16>,
        given: &[String],
    ) -> Result<HostOptions> {
        let home = std::env::home_dir().filter(|home| !home.as_os_str().is_empty());
        let local_user = local_user();
        let query = Query { host, user, port, given, home: home.as_deref(), local_user: local_user.as_deref() };
        ssh_config::look_up(&self.ssh_config, &query)
    }

    /// The port of the NAS. What is wrong with a file is said where the login is made.
    pub fn nas_port(&self) -> u16 {
        let said = || self.ssh_options(self.host.as_deref()?, self.user.as_deref(), None, &[]).ok()?.port;
        self.port.or_else(said).unwrap_or(DEFAULT_PORT)
    }

    /// The user on the NAS. What is wrong with a file is said where the login is made.
    pub(crate) fn nas_user(&self) -> Option<String> {
        let said = || self.ssh_options(self.host.as_deref()?, None, self.port, &[]).ok()?.user;
        self.user.clone().or_else(said)
    }
}

/// The name of the user who runs this, which ssh takes when none is given.
pub fn local_user() -> Option<String> {
    let id = rustix::process::getuid().as_raw();
    let named = IdNames::system().user(id).and_then(|name| str::from_utf8(name).ok()).map(ToOwned::to_owned);
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    named.or_else(|| variable("LOGNAME")).or_else(|| variable("USER"))
}
