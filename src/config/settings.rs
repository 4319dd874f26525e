//! The checked configuration.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::error::Result;
use crate::proof::Level;

use super::environment::{self, Environment};
use super::listen::{self, Listen};
use super::origin::Found;
use super::table::{
    ACCEPT_NEW_HOST_KEY, API_ADDR, API_HOSTS, API_TOKEN, BWLIMIT, CONNECT_TIMEOUT, DB, DURABILITY, FILE_TIMEOUT, HOST,
    HOST_KEY, JOBS, KEY, KEY_FILE, KEY_PASSPHRASE, KNOWN_HOSTS, LAYOUT, LEGACY_SSH, LOG_FORMAT, METRICS_ADDR,
    ON_FAILURE, ON_SUCCESS, PASSWORD, PATH, PING_URL, PORT, RETRIES, RSYNC_PATH, SCAN_FILTER, SSH_CONFIG, Setting,
    TABLE, UPLOAD_DIR, USER, WEBHOOK_URL,
};
use super::values;
use super::web_url::{self, WebUrl};
use crate::database::{Database, PostgresUrl, TableName};
use crate::jobs::Jobs;
use crate::rate::Rate;
use crate::secret::Secret;
use crate::transport::ssh::ssh_config::SshConfigFile;

/// The values of command-line flags as they were typed; they are checked together with the rest.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Flags {
    /// `--nas-host`
    pub nas_host: Option<OsString>,
    /// `--nas-user`
    pub nas_user: Option<OsString>,
    /// `--nas-path`
    pub nas_path: Option<OsString>,
    /// `--port`
    pub port: Option<OsString>,
    /// `--identity`
    pub identity: Option<OsString>,
    /// `--known-hosts`
    pub known_hosts: Option<OsString>,
    /// `--ssh-config`
    pub ssh_config: Option<OsString>,
    /// `--accept-new-host-key`
    pub accept_new_host_key: bool,
    /// `--legacy-ssh`
    pub legacy_ssh: bool,
    /// `--db`
    pub db: Option<OsString>,
    /// `--table`
    pub table: Option<OsString>,
    /// `--upload-dir`
    pub upload_dir: Option<OsString>,
    /// `--layout`
    pub layout: Option<OsString>,
    /// `--connect-timeout`
    pub connect_timeout: Option<OsString>,
    /// `--file-timeout`
    pub file_timeout: Option<OsString>,
    /// `--rsync-path`
    pub rsync_path: Option<OsString>,
    /// `--durability`
    pub durability: Option<OsString>,
    /// `--retries`
    pub retries: Option<OsString>,
    /// `--jobs`
    pub jobs: Option<OsString>,
    /// `--bwlimit`
    pub bwlimit: Option<OsString>,
    /// `--metrics`
    pub metrics: Option<OsString>,
    /// `--listen`
    pub listen: Option<OsString>,
    /// `--scan-filter`
    pub scan_filter: Option<OsString>,
    /// `--log-format`
    pub log_format: Option<OsString>,
    /// `--on-success`
    pub on_success: Option<OsString>,
    /// `--on-failure`
    pub on_failure: Option<OsString>,
    /// `--webhook-url`
    pub webhook_url: Option<OsString>,
    /// `--ping-url`
    pub ping_url: Option<OsString>,
}

/// What is left out where nobody says otherwise: what a NAS or a desktop keeps among the files of others, and what is not whole.
const SCANNED: &str = "- @eaDir/; - #recycle/; - .DS_Store; - Thumbs.db; - ~$*; - *.part";

/// How the log is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// An object a line.
    Json,
}

/// Where the private key comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeySource {
    /// The text of the key.
    Text(Secret),
    /// This file.
    File(PathBuf),
    /// Nothing is set: what `ssh_config` says, or the first of these files that exists. Empty when the home folder is not known.
    FirstOf(Vec<PathBuf>),
}

/// The checked configuration. Of host, user and path any may still be missing: see [`Settings::missing`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Settings {
    /// Name or address of the NAS, an IPv6 address without brackets, or a name that `ssh_config` knows. No blanks, control characters, `@` or `/`.
    pub host: Option<String>,
    /// The SSH user; `None`: the one that `ssh_config` names. No blanks or control characters.
    pub user: Option<String>,
    /// The folder on the NAS. No NUL, CR or LF.
    pub path: Option<String>,
    /// The SSH port, from 1; `None`: what `ssh_config` says, or 22.
    pub port: Option<u16>,
    /// The private key.
    pub key: KeySource,
    /// For an encrypted key.
    pub key_passphrase: Option<Secret>,
    /// The SSH user's password, for a NAS that takes no keys. Keys are tried first.
    pub password: Option<Secret>,
    /// The known_hosts file; `None`: what `ssh_config` says, or `~/.ssh/known_hosts`.
    pub known_hosts: Option<PathBuf>,
    /// Which files of OpenSSH's configuration say what is not set here.
    pub ssh_config: SshConfigFile,
    /// The one fingerprint that is accepted: `SHA256:` and 43 characters of base64 without padding.
    pub host_key: Option<String>,
    /// Whether a host that is not known yet may be trusted on first use; `None`: what `ssh_config` says, or not.
    pub accept_new_host_key: Option<bool>,
    /// Whether old SSH algorithms are allowed.
    pub legacy_ssh: bool,
    /// The database.
    pub db: Database,
    /// The root of the documents.
    pub upload_dir: Option<PathBuf>,
    /// How documents are named on the NAS; not checked here. No NUL, CR or LF.
    pub layout: String,
    /// For TCP, key exchange and login together; one second to one week. `None`: what `ssh_config` says, or 30 seconds.
    pub connect_timeout: Option<Duration>,
    /// In which one document must be acknowledged; one second to one week.
    pub file_timeout: Duration,
    /// The program started on the NAS. No NUL, CR or LF.
    pub rsync_path: String,
    /// The level required; `None`: the best that can be proved.
    pub durability: Option<Level>,
    /// Tries after the first one before a document counts as failed for good; up to 1,000.
    pub retries: u32,
    /// Sessions side by side.
    pub jobs: Jobs,
    /// How fast all sessions together may send; `None`: as fast as they can.
    pub bwlimit: Option<Rate>,
    /// Where `watch` serves its metrics.
    pub metrics_addr: Option<SocketAddr>,
    /// Where `serve` listens.
    pub api_addr: Listen,
    /// What a request to `serve` has to show.
    pub api_token: Option<Secret>,
    /// Names by which `serve` is reached, beside those that no foreigner can take.
    pub api_hosts: Vec<String>,
    /// Which files below the upload folder become documents: rules as [`Rules::of_text`](crate::Rules::of_text) reads them; not
    /// checked here.
    pub scan_filter: String,
    /// How the log is written.
    pub log_format: LogFormat,
    /// The program that is started behind a run of `watch` that went well.
    pub on_success: Option<PathBuf>,
    /// The program that is started behind one that did not.
    pub on_failure: Option<PathBuf>,
    /// Where each run of `watch` is told.
    pub webhook_url: Option<WebUrl>,
    /// What is asked each minute while all is well.
    pub ping_url: Option<WebUrl>,
}

/// What `nas-sync config` says. Holds no secret.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "they are the keys of `config --json`")]
#[non_exhaustive]
pub struct ConfigStatus {
    /// Whether everything required is set.
    pub configured: bool,
    /// Whether `NAS_HOST` is set.
    pub nas_host: bool,
    /// Whether `NAS_USER` is set, or known from ssh_config.
    pub nas_user: bool,
    /// Whether `NAS_PATH` is set.
    pub nas_path: bool,
    /// The host, where set.
    pub host: Option<String>,
    /// The folder on the NAS, where set.
    pub path: Option<String>,
}

impl Settings {
    /// The defaults around a NAS: port 22, the keys and known hosts in `~/.ssh`, the database `nas-sync.db`, flat names, the
    /// best level that can be proved. Nothing is read from the environment but `HOME`, and no file. The fields can be changed.
    pub fn new(host: impl Into<String>, user: impl Into<String>, path: impl Into<String>) -> Self {
        Self {
            host: Some(host.into()),
            user: Some(user.into()),
            path: Some(path.into()),
            ..Self::defaults(std::env::home_dir().filter(|home| !home.as_os_str().is_empty()).as_deref())
        }
    }

    /// With another NAS.
    #[must_use]
    pub fn nas(self, host: impl Into<String>, user: impl Into<String>, path: impl Into<String>) -> Self {
        Self { host: Some(host.into()), user: Some(user.into()), path: Some(path.into()), ..self }
    }

    /// With the SQLite database that holds the documents.
    #[must_use]
    pub fn database(self, db: impl Into<PathBuf>) -> Self {
        Self { db: Database::sqlite(db), ..self }
    }

    /// With the PostgreSQL database that holds the documents.
    #[must_use]
    pub fn postgres(self, url: PostgresUrl) -> Self {
        Self { db: url.into(), ..self }
    }

    /// With a folder that all documents must lie below; relative paths are below it.
    #[must_use]
    pub fn upload_dir(self, folder: impl Into<PathBuf>) -> Self {
        Self { upload_dir: Some(folder.into()), ..self }
    }

    /// With a private key file.
    #[must_use]
    pub fn key_file(self, path: impl Into<PathBuf>) -> Self {
        Self { key: KeySource::File(path.into()), ..self }
    }

    /// With a known_hosts file.
    #[must_use]
    pub fn known_hosts_file(self, path: impl Into<PathBuf>) -> Self {
        Self { known_hosts: Some(path.into()), ..self }
    }

    /// With another SSH port.
    #[must_use]
    pub fn port(self, port: u16) -> Self {
        Self { port: Some(port), ..self }
    }

    /// With what files of OpenSSH's configuration say about the NAS, where nothing else does.
    #[must_use]
    pub fn ssh_config(self, file: SshConfigFile) -> Self {
        Self { ssh_config: file, ..self }
    }

    /// With names on the NAS by this layout: `flat`, `tree` or a template.
    #[must_use]
    pub fn layout(self, layout: impl Into<String>) -> Self {
        Self { layout: layout.into(), ..self }
    }

    /// With a level of proof that is required.
    #[must_use]
    pub fn require(self, level: Level) -> Self {
        Self { durability: Some(level), ..self }
    }

    fn defaults(home: Option<&Path>) -> Self {
        Self {
            host: None,
            user: None,
            path: None,
            port: None,
            key: default_keys(home),
            key_passphrase: None,
            password: None,
            known_hosts: None,
            ssh_config: SshConfigFile::None,
            host_key: None,
            accept_new_host_key: None,
            legacy_ssh: false,
            db: Database::sqlite("nas-sync.db"),
            upload_dir: None,
            layout: "flat".to_owned(),
            connect_timeout: None,
            file_timeout: Duration::from_secs(300),
            rsync_path: "rsync".to_owned(),
            durability: None,
            retries: 5,
            jobs: Jobs::Auto,
            bwlimit: None,
            metrics_addr: None,
            api_addr: Listen::Address(SocketAddr::from(([127, 0, 0, 1], 8730))),
            api_token: None,
            api_hosts: Vec::new(),
            scan_filter: String::from(SCANNED),
            log_format: LogFormat::Text,
            on_success: None,
            on_failure: None,
            webhook_url: None,
            ping_url: None,
        }
    }

    /// Reads and checks everything. Fails with `Usage`; what is merely missing is no error here.
    pub fn resolve(flags: &Flags, environment: &Environment) -> Result<Self> {
        let find = |setting, flag: &Option<OsString>| environment.find(setting, flag.as_ref());
        let unflagged = |setting| environment.find(setting, None);
        let local = |value: &Found| values::local_path(value, environment.home());
        let default = Self::defaults(environment.home());
        Ok(Self {
            host: find(HOST, &flags.nas_host)?.as_ref().map(values::host).transpose()?,
            user: find(USER, &flags.nas_user)?.as_ref().map(values::user).transpose()?,
            path: find(PATH, &flags.nas_path)?.as_ref().map(values::line).transpose()?,
            port: find(PORT, &flags.port)?.as_ref().map(|value| values::number(value, 1..=65_535)).transpose()?,
            key: key_source(flags, environment)?.unwrap_or(default.key),
            key_passphrase: unflagged(KEY_PASSPHRASE)?.map(values::secret).transpose()?,
            password: unflagged(PASSWORD)?.map(values::secret).transpose()?,
            known_hosts: find(KNOWN_HOSTS, &flags.known_hosts)?.as_ref().map(local).transpose()?,
            ssh_config: match find(SSH_CONFIG, &flags.ssh_config)? {
                None => SshConfigFile::Usual,
                Some(value) if value.text.eq_ignore_ascii_case("none") => SshConfigFile::None,
                Some(value) => SshConfigFile::At(local(&value)?),
            },
            host_key: unflagged(HOST_KEY)?.as_ref().map(values::fingerprint).transpose()?,
            accept_new_host_key: switch(ACCEPT_NEW_HOST_KEY, flags.accept_new_host_key, environment)?,
            legacy_ssh: switch(LEGACY_SSH, flags.legacy_ssh, environment)?.unwrap_or(default.legacy_ssh),
            db: or(find(DB, &flags.db)?, default.db, |value| values::database(value, environment))?.table(or(
                find(TABLE, &flags.table)?,
                TableName::default(),
                values::table,
            )?),
            upload_dir: find(UPLOAD_DIR, &flags.upload_dir)?.as_ref().map(local).transpose()?,
            layout: or(find(LAYOUT, &flags.layout)?, default.layout, values::line)?,
            connect_timeout: find(CONNECT_TIMEOUT, &flags.connect_timeout)?
                .as_ref()
                .map(values::seconds)
                .transpose()?,
            file_timeout: or(find(FILE_TIMEOUT, &flags.file_timeout)?, default.file_timeout, values::seconds)?,
            rsync_path: or(find(RSYNC_PATH, &flags.rsync_path)?, default.rsync_path, values::line)?,
            durability: find(DURABILITY, &flags.durability)?.as_ref().map(values::level).transpose()?,
            retries: or(find(RETRIES, &flags.retries)?, default.retries, |value| values::number(value, 0..=1_000))?,
            jobs: or(find(JOBS, &flags.jobs)?, default.jobs, values::jobs)?,
            bwlimit: or(find(BWLIMIT, &flags.bwlimit)?, default.bwlimit, values::rate)?,
            metrics_addr: find(METRICS_ADDR, &flags.metrics)?.as_ref().map(values::socket_address).transpose()?,
            api_addr: or(find(API_ADDR, &flags.listen)?, default.api_addr, |value| {
                listen::parse(value, environment.home())
            })?,
            api_token: unflagged(API_TOKEN)?.map(values::secret).transpose()?,
            api_hosts: or(unflagged(API_HOSTS)?, default.api_hosts, values::host_names)?,
            scan_filter: or(find(SCAN_FILTER, &flags.scan_filter)?, default.scan_filter, values::rules)?,
            log_format: or(find(LOG_FORMAT, &flags.log_format)?, default.log_format, values::log_format)?,
            on_success: find(ON_SUCCESS, &flags.on_success)?.as_ref().map(local).transpose()?,
            on_failure: find(ON_FAILURE, &flags.on_failure)?.as_ref().map(local).transpose()?,
            webhook_url: find(WEBHOOK_URL, &flags.webhook_url)?.as_ref().map(web_url::parse).transpose()?,
            ping_url: find(PING_URL, &flags.ping_url)?.as_ref().map(web_url::parse).transpose()?,
        })
    }

    /// The variables that are required and not set, in the order host, user, path. A user may also be known from ssh_config.
    pub fn missing(&self) -> Vec<&'static str> {
        [(HOST, self.host.is_some()), (USER, self.nas_user().is_some()), (PATH, self.path.is_some())]
            .into_iter()
            .filter(|(_, is_set)| !is_set)
            .map(|(setting, _)| setting.variable)
            .collect()
    }

    /// Whether everything required is set.
    pub fn is_configured(&self) -> bool {
        self.missing().is_empty()
    }

    /// What may be shown of it.
    pub fn status(&self) -> ConfigStatus {
        ConfigStatus {
            configured: self.is_configured(),
            nas_host: self.host.is_some(),
            nas_user: self.nas_user().is_some(),
            nas_path: self.path.is_some(),
            host: self.host.clone(),
            path: self.path.clone(),
        }
    }
}

/// A flag without a value can only switch on; the variable can say both.
fn switch(setting: Setting, flag: bool, environment: &Environment) -> Result<Option<bool>> {
    if flag {
        return Ok(Some(true));
    }
    environment.find(setting, None)?.as_ref().map(values::boolean).transpose()
}

/// The value that was found, checked, or else the default.
fn or<T>(found: Option<Found>, default: T, check: impl FnOnce(&Found) -> Result<T>) -> Result<T> {
    found.map_or(Ok(default), |found| check(&found))
}

fn key_source(flags: &Flags, environment: &Environment) -> Result<Option<KeySource>> {
    // Both are one setting: of the text and the path the one that stands higher counts.
    let text = environment.find(KEY, None)?;
    let file = environment.find(KEY_FILE, flags.identity.as_ref())?;
    Ok(Some(match (text, file) {
        (Some(text), Some(file)) if text.origin.layer() == file.origin.layer() => {
            return Err(environment::both_set(&text, &file));
        }
        (Some(text), Some(file)) if text.origin.layer() > file.origin.layer() => KeySource::Text(values::secret(text)?),
        (_, Some(file)) => KeySource::File(values::local_path(&file, environment.home())?),
        (Some(text), None) => KeySource::Text(values::secret(text)?),
        (None, None) => return Ok(None),
    }))
}

fn default_keys(home: Option<&Path>) -> KeySource {
    let keys = |home: &Path| ["id_ed25519", "id_ecdsa", "id_rsa"].map(|name| home.join(".ssh").join(name)).to_vec();
    KeySource::FirstOf(home.map_or_else(Vec::new, keys))
}
