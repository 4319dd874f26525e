//! How to log in: the URL, and what libpq's files add to it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio_postgres::Config;
use tokio_postgres::config::SslMode;
use zeroize::Zeroizing;

use super::fault::Fault;
use crate::database::{Host, PostgresUrl, Tls};
use crate::error::{ErrorKind, NasSyncError};
use crate::small_file;
use crate::text;

/// How long one address may take to answer, unless the URL says otherwise.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// After so long without an answer to what was sent, or to keepalives, a connection is dead.
const DEAD_AFTER: Duration = Duration::from_secs(20);
/// The most that is read of a password file, in bytes.
const MAX_PASSWORDS: usize = 1024 * 1024;

/// What is needed to log in.
#[derive(Debug)]
pub(super) struct Login {
    pub url: PostgresUrl,
}

impl Login {
    /// The database, without a password.
    pub fn shown(&self) -> String {
        self.url.to_string()
    }

    pub fn hosts(&self) -> &[(Host, u16)] {
        &self.url.hosts
    }

    /// The user, for people.
    pub fn user_shown(&self) -> String {
        self.user().map_or_else(|| "this user".to_owned(), |user| text::escape(&user))
    }

    /// As in libpq, the name of the user that runs this program, unless one is given.
    fn user(&self) -> Option<String> {
        let own = || std::env::var("USER").or_else(|_| std::env::var("LOGNAME")).ok().filter(|name| !name.is_empty());
        self.url.user.clone().or_else(own)
    }

    fn database(&self) -> Option<String> {
        self.url.database.clone().or_else(|| self.user())
    }

    /// How long a connection may take to come about, all addresses together.
    pub fn patience(&self) -> Duration {
        let each = self.url.connect_timeout.unwrap_or(CONNECT_TIMEOUT);
        each.saturating_mul(u32::try_from(self.url.hosts.len()).unwrap_or(1)).saturating_add(CONNECT_TIMEOUT)
    }

    /// The configuration of the next connection. The password is read anew: it may have been changed.
    pub fn config(&self) -> Result<Config, Fault> {
        let mut config = Config::new();
        // Without either, the system is asked who this is.
        self.user().map(|user| config.user(user));
        self.database().map(|database| config.dbname(database));
        for (host, port) in &self.url.hosts {
            match host {
                Host::Tcp(name) => config.host(name),
                Host::Unix(folder) => config.host_path(folder),
            };
            config.port(*port);
        }
        let on_socket = self.url.hosts.iter().all(|(host, _)| matches!(host, Host::Unix(_)));
        config.ssl_mode(match self.url.tls {
            // As in libpq, a socket of this machine has no TLS.
            _ if on_socket => SslMode::Disable,
            Tls::Disable => SslMode::Disable,
            Tls::Prefer => SslMode::Prefer,
            Tls::Require | Tls::VerifyCa | Tls::VerifyFull => SslMode::Require,
        });
        config.application_name(self.url.application_name.as_deref().unwrap_or("nas-sync"));
        config.connect_timeout(self.url.connect_timeout.unwrap_or(CONNECT_TIMEOUT));
        config
            .tcp_user_timeout(DEAD_AFTER)
            .keepalives_idle(DEAD_AFTER / 2)
            .keepalives_interval(DEAD_AFTER / 4)
            .keepalives_retries(2);
        if let Some(password) = self.password()? {
            config.password(password.as_bytes());
        }
        Ok(config)
    }

    fn password(&self) -> Result<Option<Zeroizing<String>>, Fault> {
        if let Some(secret) = &self.url.password {
            let text = secret.text().map_err(|error| {
                NasSyncError::new(
                    ErrorKind::DatabaseUnusable,
                    format!("the password of the database cannot be read: {error}"),
                )
            })?;
            return Ok(Some(Zeroizing::new(text.as_str().to_owned())));
        }
        let named = self.url.password_file.clone();
        let Some(file) = named.or_else(|| self.url.home.as_ref().map(|home| home.join(".pgpass"))) else {
            return Ok(None);
        };
        Ok(passwords(&file).and_then(|lines| self.password_in(&lines)))
    }

    /// The password of the first line that is about this login.
    fn password_in(&self, lines: &str) -> Option<Zeroizing<String>> {
        let (user, database) = (self.user().unwrap_or_default(), self.database().unwrap_or_default());
        lines.lines().filter(|line| !line.starts_with('#')).find_map(|line| {
            let fields = fields(line);
            let [host, port, of_database, of_user, password] = fields.as_slice() else { return None };
            let is = |field: &str, value: &str| field == "*" || field == value;
            let is_here = self.url.hosts.iter().any(|(here, at)| {
                let name = match here {
                    Host::Tcp(name) => name.clone(),
                    Host::Unix(_) => "localhost".to_owned(),
                };
                let folder = matches!(here, Host::Unix(folder) if Path::new(host.as_str()) == folder.as_path());
                (folder || is(host, &name)) && is(port, &at.to_string())
            });
            (is_here && is(of_database, &database) && is(of_user, &user)).then(|| password.clone())
        })
    }

    /// A file of libpq's in the home folder.
    pub fn file_in_home(&self, name: &str) -> Option<PathBuf> {
        self.url.home.as_ref().map(|home| home.join(name)).filter(|file| file.exists())
    }
}

/// The text of a password file. As in libpq, one that is not there or that others can read has no effect; the latter is said.
fn passwords(file: &Path) -> Option<Zeroizing<String>> {
    use std::os::unix::fs::PermissionsExt as _;
    let meta = std::fs::metadata(file).ok().filter(std::fs::Metadata::is_file)?;
    if meta.permissions().mode() & 0o077 != 0 {
        tracing::warn!("the password file {} is not used, because others can read it: chmod 600", file.display());
        return None;
    }
    let bytes = small_file::read(file, MAX_PASSWORDS).ok()?;
    str::from_utf8(&bytes).ok().map(|text| Zeroizing::new(text.to_owned()))
}

/// `host:port:database:user:password`, where `\` keeps the next character from parting fields.
fn fields(line: &str) -> Vec<Zeroizing<String>> {
    let mut fields = vec![Zeroizing::new(String::new())];
    let mut characters = line.chars();
    while let Some(c) = characters.next() {
        match c {
            ':' if fields.len() < 5 => fields.push(Zeroizing::new(String::new())),
            c => {
                let c = if c == '\\' { characters.next().unwrap_or('\\') } else { c };
                if let Some(last) = fields.last_mut() {
                    last.push(c);
                }
            }
        }
    }
    fields
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_that_fits_gives_the_password() {
        let login = |url: &str| Login { url: PostgresUrl::parse(url).unwrap() };
        let lines = "# h:*:*:*:none\nother:*:*:*:no\nh:5433:d:u:a\\:b\\\\c:d\nh:*:*:*:second\nlocalhost:*:*:u:local";
        let found = |url: &str| login(url).password_in(lines).map(|text| text.to_string());
        assert_eq!(found("postgresql://u@h:5433/d").as_deref(), Some("a:b\\c:d"));
        assert_eq!(found("postgresql://u@h/d").as_deref(), Some("second"));
        assert_eq!(found("postgresql://u@/d?host=/run/pg").as_deref(), Some("local"));
        assert_eq!(found("postgresql://u@g/d"), None);
    }
}
