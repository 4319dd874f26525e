//! The settings: each with its variable and its flag.

use crate::text;

/// One setting: its variable and, where there is one, its flag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Setting {
    pub(super) variable: &'static str,
    pub(super) flag: Option<&'static str>,
}

impl Setting {
    /// Its name as a keyword argument: `port` for `NAS_PORT`.
    pub(super) fn argument(self) -> String {
        self.variable.strip_prefix("NAS_").unwrap_or(self.variable).to_lowercase()
    }
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
pub(super) const PASSWORD: Setting = Setting { variable: "NAS_PASSWORD", flag: None };
pub(super) const KNOWN_HOSTS: Setting = setting("NAS_KNOWN_HOSTS", "--known-hosts");
pub(super) const SSH_CONFIG: Setting = setting("NAS_SSH_CONFIG", "--ssh-config");
pub(super) const HOST_KEY: Setting = Setting { variable: "NAS_HOST_KEY", flag: None };
pub(super) const ACCEPT_NEW_HOST_KEY: Setting = setting("NAS_ACCEPT_NEW_HOST_KEY", "--accept-new-host-key");
pub(super) const LEGACY_SSH: Setting = setting("NAS_LEGACY_SSH", "--legacy-ssh");
pub(super) const DB: Setting = setting("NAS_DB", "--db");
pub(super) const TABLE: Setting = setting("NAS_TABLE", "--table");
pub(super) const UPLOAD_DIR: Setting = setting("UPLOAD_DIR", "--upload-dir");
pub(super) const LAYOUT: Setting = setting("NAS_LAYOUT", "--layout");
pub(super) const CONNECT_TIMEOUT: Setting = setting("NAS_CONNECT_TIMEOUT", "--connect-timeout");
pub(super) const FILE_TIMEOUT: Setting = setting("NAS_FILE_TIMEOUT", "--file-timeout");
pub(super) const RSYNC_PATH: Setting = setting("NAS_RSYNC_PATH", "--rsync-path");
pub(super) const DURABILITY: Setting = setting("NAS_DURABILITY", "--durability");
pub(super) const RETRIES: Setting = setting("NAS_RETRIES", "--retries");
pub(super) const JOBS: Setting = setting("NAS_JOBS", "--jobs");
pub(super) const BWLIMIT: Setting = setting("NAS_BWLIMIT", "--bwlimit");
pub(super) const METRICS_ADDR: Setting = setting("NAS_METRICS_ADDR", "--metrics");
pub(super) const API_ADDR: Setting = setting("NAS_API_ADDR", "--listen");
pub(super) const API_TOKEN: Setting = Setting { variable: "NAS_API_TOKEN", flag: None };
pub(super) const API_HOSTS: Setting = Setting { variable: "NAS_API_HOSTS", flag: None };

pub(super) const SCAN_FILTER: Setting = setting("NAS_SCAN_FILTER", "--scan-filter");
pub(super) const LOG_FORMAT: Setting = setting("NAS_LOG_FORMAT", "--log-format");
pub(super) const ON_SUCCESS: Setting = setting("NAS_ON_SUCCESS", "--on-success");
pub(super) const ON_FAILURE: Setting = setting("NAS_ON_FAILURE", "--on-failure");
pub(super) const WEBHOOK_URL: Setting = setting("NAS_WEBHOOK_URL", "--webhook-url");
pub(super) const PING_URL: Setting = setting("NAS_PING_URL", "--ping-url");

/// All of them.
pub(super) const SETTINGS: [Setting; 34] = [
    HOST,
    USER,
    PATH,
    PORT,
    KEY,
    KEY_FILE,
    KEY_PASSPHRASE,
    PASSWORD,
    KNOWN_HOSTS,
    SSH_CONFIG,
    HOST_KEY,
    ACCEPT_NEW_HOST_KEY,
    LEGACY_SSH,
    DB,
    TABLE,
    UPLOAD_DIR,
    LAYOUT,
    CONNECT_TIMEOUT,
    FILE_TIMEOUT,
    RSYNC_PATH,
    DURABILITY,
    RETRIES,
    JOBS,
    BWLIMIT,
    METRICS_ADDR,
    API_ADDR,
    API_TOKEN,
    API_HOSTS,
    SCAN_FILTER,
    LOG_FORMAT,
    ON_SUCCESS,
    ON_FAILURE,
    WEBHOOK_URL,
    PING_URL,
];

/// What a login needs, and nothing about which NAS: all that `push` takes from the environment.
pub(super) const OF_A_LOGIN: [Setting; 11] = [
    KEY,
    KEY_FILE,
    KEY_PASSPHRASE,
    PASSWORD,
    KNOWN_HOSTS,
    SSH_CONFIG,
    HOST_KEY,
    ACCEPT_NEW_HOST_KEY,
    LEGACY_SSH,
    CONNECT_TIMEOUT,
    RSYNC_PATH,
];

/// What documents need besides a login where their database is somebody else's: which NAS, how they are sent, and how their table
/// is called.
pub(super) const OF_DOCUMENTS: [Setting; 11] =
    [HOST, USER, PATH, PORT, UPLOAD_DIR, LAYOUT, FILE_TIMEOUT, DURABILITY, JOBS, BWLIMIT, TABLE];

/// What must not be seen by others.
pub(super) const SECRETS: [Setting; 4] = [KEY, KEY_PASSPHRASE, PASSWORD, API_TOKEN];

/// The variables that programs which are started must not see, with what names their files.
#[cfg(feature = "cli")]
pub fn secret_variables() -> impl Iterator<Item = &'static str> {
    SECRETS.into_iter().chain([WEBHOOK_URL, PING_URL]).map(|setting| setting.variable).chain(["PGPASSWORD"])
}

/// Whether this is the name of a setting, or of one with `_FILE` behind it.
pub(super) fn is_known(name: &str) -> bool {
    let is_setting = |name: &str| SETTINGS.iter().any(|setting| setting.variable == name);
    is_setting(name) || name.strip_suffix("_FILE").is_some_and(is_setting)
}

/// The variable that was meant by this name. What nearly all of them begin with makes none of them likely.
pub(super) fn nearest(name: &str) -> Option<&'static str> {
    let own = |name: &'static str| name.strip_prefix("NAS_").unwrap_or(name);
    let meant =
        text::nearest(name.strip_prefix("NAS_").unwrap_or(name), SETTINGS.map(|setting| own(setting.variable)))?;
    SETTINGS.iter().map(|setting| setting.variable).find(|variable| own(variable) == meant)
}

/// The keyword argument that was meant by this name.
pub(super) fn nearest_argument(name: &str) -> Option<String> {
    let names = SETTINGS.map(Setting::argument);
    text::nearest(name, names.iter().map(String::as_str)).map(ToOwned::to_owned)
}
