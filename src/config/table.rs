//! The settings: each with its variable and its flag.

/// One setting: its variable and, where there is one, its flag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Setting {
    pub(super) variable: &'static str,
    pub(super) flag: Option<&'static str>,
}

const fn setting(variable: &'static str, flag: &'static str) -> Setting {
    Setting { variable, flag: Some(flag) }
}

pub(super) const HOST: Setting = setting("NAS_HOST", "--nas-host");
pub(super) const USER: Setting = setting("NAS_USER", "--nas-user");
pub(super) const PATH: Setting = setting("NAS_PATH", "--nas-path");
pub(super) const PORT: Setting = setting("NAS_PORT", "--port");
pub(super) const KEY: Setting = Setting { variable: "NAS_KEY", flag: None };
pub(super) const KEY_FILE: Setting = setting("NAS_KEY_FILE", "--identity");
pub(super) const KEY_PASSPHRASE: Setting = Setting { variable: "NAS_KEY_PASSPHRASE", flag: None };
pub(super) const KNOWN_HOSTS: Setting = setting("NAS_KNOWN_HOSTS", "--known-hosts");
pub(super) const HOST_KEY: Setting = Setting { variable: "NAS_HOST_KEY", flag: None };
pub(super) const ACCEPT_NEW_HOST_KEY: Setting = setting("NAS_ACCEPT_NEW_HOST_KEY", "--accept-new-host-key");
pub(super) const LEGACY_SSH: Setting = setting("NAS_LEGACY_SSH", "--legacy-ssh");
pub(super) const DB: Setting = setting("NAS_DB", "--db");
pub(super) const UPLOAD_DIR: Setting = setting("UPLOAD_DIR", "--upload-dir");
pub(super) const LAYOUT: Setting = setting("NAS_LAYOUT", "--layout");
pub(super) const CONNECT_TIMEOUT: Setting = setting("NAS_CONNECT_TIMEOUT", "--connect-timeout");
pub(super) const FILE_TIMEOUT: Setting = setting("NAS_FILE_TIMEOUT", "--file-timeout");
pub(super) const RSYNC_PATH: Setting = setting("NAS_RSYNC_PATH", "--rsync-path");
pub(super) const DURABILITY: Setting = setting("NAS_DURABILITY", "--durability");
pub(super) const RETRIES: Setting = setting("NAS_RETRIES", "--retries");
pub(super) const JOBS: Setting = setting("NAS_JOBS", "--jobs");
pub(super) const METRICS_ADDR: Setting = setting("NAS_METRICS_ADDR", "--metrics");

/// All of them.
pub(super) const SETTINGS: [Setting; 21] = [
    HOST,
    USER,
    PATH,
    PORT,
    KEY,
    KEY_FILE,
    KEY_PASSPHRASE,
    KNOWN_HOSTS,
    HOST_KEY,
    ACCEPT_NEW_HOST_KEY,
    LEGACY_SSH,
    DB,
    UPLOAD_DIR,
    LAYOUT,
    CONNECT_TIMEOUT,
    FILE_TIMEOUT,
    RSYNC_PATH,
    DURABILITY,
    RETRIES,
    JOBS,
    METRICS_ADDR,
];
