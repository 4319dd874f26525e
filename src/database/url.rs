//! The URL of a PostgreSQL database, as libpq, SQLAlchemy and Django write it.
//!
//! Guarantees: the password shows nowhere: not in `Debug`, not in `Display`, not in an error about the URL.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use zeroize::Zeroizing;

use crate::error::{ErrorKind, NasSyncError, Result};
use crate::secret::Secret;
use crate::text;

/// The schemes that mean PostgreSQL; what stands behind a `+` names a driver.
const SCHEMES: [&str; 5] = ["postgresql", "postgres", "psql", "pgsql", "postgis"];
/// Where a server listens unless told otherwise.
const DEFAULT_PORT: u16 = 5432;
/// Where Debian's packages put the socket.
const SOCKET_FOLDER: &str = "/var/run/postgresql";

/// Where a server listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Host {
    /// A name or address.
    Tcp(String),
    /// The folder of a unix socket.
    Unix(PathBuf),
}

/// What is asked of TLS, as libpq's `sslmode` says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tls {
    /// None.
    Disable,
    /// Where the server has it; it is not verified. (`allow` means the same.)
    Prefer,
    /// Always. The server is verified only where root certificates are named.
    Require,
    /// Always, and its certificate is signed by one of the roots.
    VerifyCa,
    /// Always, and its certificate is signed by one of the roots and names the host.
    VerifyFull,
}

/// The certificates that sign a server's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RootCertificates {
    /// Those of this machine.
    System,
    /// Those in a file.
    File(PathBuf),
}

/// The URL of a PostgreSQL database, read and checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PostgresUrl {
    pub(crate) user: Option<String>,
    pub(crate) password: Option<Secret>,
    /// Tried in this order; at least one.
    pub(crate) hosts: Vec<(Host, u16)>,
    pub(crate) database: Option<String>,
    pub(crate) tls: Tls,
    pub(crate) roots: Option<RootCertificates>,
    pub(crate) connect_timeout: Option<Duration>,
    pub(crate) application_name: Option<String>,
    pub(crate) password_file: Option<PathBuf>,
    /// Where `.pgpass` and `.postgresql/root.crt` are looked for.
    pub(crate) home: Option<PathBuf>,
}

/// What a URL leaves open, as the environment says it: `PGPASSWORD` and the like, by their names.
pub(crate) type Defaults<'a> = dyn Fn(&str) -> Option<String> + 'a;

impl PostgresUrl {
    /// Whether a text is such a URL, right or wrong.
    pub fn is_one(text: &str) -> bool {
        let scheme = text.split_once("://").map(|(scheme, _)| scheme.split('+').next().unwrap_or(scheme));
        scheme.is_some_and(|scheme| SCHEMES.iter().any(|known| scheme.eq_ignore_ascii_case(known)))
    }

    /// Reads a URL. Nothing is taken from the environment. Fails with `Usage`, never showing the URL.
    pub fn parse(text: &str) -> Result<Self> {
        Self::with_defaults(text, &|_| None)
    }

    /// Looks for libpq's files in a home folder, where nothing else is said.
    pub(crate) fn in_home(mut self, home: Option<&Path>) -> Self {
        self.home = home.map(ToOwned::to_owned);
        self
    }

    /// Reads a URL, and takes from the environment what it leaves open.
    pub(crate) fn with_defaults(text: &str, defaults: &Defaults<'_>) -> Result<Self> {
        let rest = text.split_once("://").filter(|_| Self::is_one(text)).map(|(_, rest)| rest);
        let rest = rest.ok_or_else(|| wrong("does not begin with postgresql://"))?;
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        // A password may hold an @ that nobody encoded.
        let (login, hosts) = authority.rsplit_once('@').unwrap_or(("", authority));
        let (user, password) = login.split_once(':').map_or((login, None), |(user, password)| (user, Some(password)));
        let mut words = Words::default();
        words.set("user", user)?;
        words.set("password", password.unwrap_or(""))?;
        words.set("dbname", path)?;
        let (hosts, ports) = split_hosts(hosts)?;
        words.set("host", &hosts)?;
        words.set("port", &ports)?;
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            words.set(name, value)?;
        }
        words.read(defaults)
    }
}

impl fmt::Display for PostgresUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("postgresql://")?;
        if let Some(user) = &self.user {
            write!(f, "{}@", text::escape(user))?;
        }
        let mut sockets = self.hosts.iter().filter_map(|(host, port)| match host {
            Host::Unix(folder) => Some((folder, port)),
            Host::Tcp(_) => None,
        });
        let hosts = self.hosts.iter().filter_map(|(host, port)| match host {
            Host::Tcp(name) if name.contains(':') => Some(format!("[{}]:{port}", text::escape(name))),
            Host::Tcp(name) => Some(format!("{}:{port}", text::escape(name))),
            Host::Unix(_) => None,
        });
        write!(f, "{}/", hosts.collect::<Vec<_>>().join(","))?;
        f.write_str(&text::escape(self.database.as_deref().unwrap_or("")))?;
        match sockets.next() {
            Some((folder, port)) => {
                write!(f, "?host={}", text::escape_bytes(folder.as_os_str().as_encoded_bytes()))?;
                if *port == DEFAULT_PORT { Ok(()) } else { write!(f, "&port={port}") }
            }
            None => Ok(()),
        }
    }
}

/// The parts of a URL by libpq's names for them, decoded.
#[derive(Default)]
struct Words {
    words: Vec<(String, Zeroizing<String>)>,
}

/// What libpq and drivers know and has no meaning here.
const HARMLESS: [&str; 14] = [
    "client_encoding",
    "fallback_application_name",
    "gssencmode",
    "keepalives",
    "keepalives_count",
    "keepalives_idle",
    "keepalives_interval",
    "sslcompression",
    "sslsni",
    "tcp_user_timeout",
    "prepared_statement_cache_size",
    "prepare_threshold",
    "conn_max_age",
    "async_fallback",
];
const KNOWN: [&str; 12] = [
    "user",
    "password",
    "dbname",
    "host",
    "port",
    "sslmode",
    "sslrootcert",
    "connect_timeout",
    "application_name",
    "passfile",
    "hostaddr",
    "ssl",
];

impl Words {
    /// The last one of a name counts; an empty one is none.
    fn set(&mut self, name: &str, value: &str) -> Result<()> {
        let name = match decoded(name)?.as_str() {
            "database" => "dbname".to_owned(),
            name => name.to_owned(),
        };
        if HARMLESS.contains(&name.as_str()) {
            return Ok(());
        }
        if !KNOWN.contains(&name.as_str()) {
            return Err(wrong(&format!("sets {}, which is not known here", text::escape(&name))));
        }
        let value = decoded(value)?;
        if !value.is_empty() {
            self.words.retain(|(other, _)| *other != name);
            self.words.push((name, value));
        }
        Ok(())
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.words.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str())
    }

    fn read(&self, defaults: &Defaults<'_>) -> Result<PostgresUrl> {
        let or = |name: &str, variable: &str| {
            self.get(name).map(ToOwned::to_owned).or_else(|| defaults(variable).filter(|text| !text.is_empty()))
        };
        let seconds = or("connect_timeout", "PGCONNECT_TIMEOUT");
        let seconds =
            seconds.map(|text| text.parse::<u32>().map_err(|_| wrong("has a connect_timeout that is no number")));
        let roots = or("sslrootcert", "PGSSLROOTCERT").map(|text| match text.as_str() {
            "system" => RootCertificates::System,
            file => RootCertificates::File(PathBuf::from(file)),
        });
        let mode = or("sslmode", "PGSSLMODE").or_else(|| self.get("ssl").map(asyncpg_mode));
        let tls = mode.map(|mode| tls(&mode)).transpose()?;
        // As in libpq: certificates that anybody can have prove nothing without the name.
        let tls = match (tls, &roots) {
            (None, Some(RootCertificates::System)) => Tls::VerifyFull,
            (Some(mode), Some(RootCertificates::System)) if mode != Tls::VerifyFull => {
                return Err(wrong("sets sslrootcert=system, which needs sslmode=verify-full"));
            }
            (mode, _) => mode.unwrap_or(Tls::Prefer),
        };
        Ok(PostgresUrl {
            user: or("user", "PGUSER"),
            password: or("password", "PGPASSWORD").map(Secret::new),
            hosts: hosts(or("hostaddr", "PGHOSTADDR").or_else(|| or("host", "PGHOST")), or("port", "PGPORT"))?,
            database: or("dbname", "PGDATABASE"),
            tls,
            roots,
            connect_timeout: seconds.transpose()?.filter(|seconds| *seconds > 0).map(|n| Duration::from_secs(n.into())),
            application_name: or("application_name", "PGAPPNAME"),
            password_file: or("passfile", "PGPASSFILE").map(PathBuf::from),
            home: None,
        })
    }
}

/// asyncpg's `ssl`, which takes libpq's words or a truth.
fn asyncpg_mode(text: &str) -> String {
    match text {
        "true" => "require".to_owned(),
        "false" => "disable".to_owned(),
        mode => mode.to_owned(),
    }
}

fn tls(mode: &str) -> Result<Tls> {
    Ok(match mode {
        "disable" => Tls::Disable,
        "allow" | "prefer" => Tls::Prefer,
        "require" => Tls::Require,
        "verify-ca" => Tls::VerifyCa,
        "verify-full" => Tls::VerifyFull,
        _ => return Err(wrong("has an sslmode other than disable, allow, prefer, require, verify-ca and verify-full")),
    })
}

fn hosts(hosts: Option<String>, ports: Option<String>) -> Result<Vec<(Host, u16)>> {
    let hosts = hosts.unwrap_or_else(|| SOCKET_FOLDER.to_owned());
    let hosts: Vec<&str> = hosts.split(',').collect();
    let ports = ports.unwrap_or_default();
    let port = |text: &str| match text {
        "" => Ok(DEFAULT_PORT),
        text => text.parse::<u16>().ok().filter(|port| *port > 0).ok_or_else(|| wrong("has a port that is none")),
    };
    let ports: Vec<u16> = ports.split(',').map(port).collect::<Result<_>>()?;
    let port_of = |at: usize| match ports.as_slice() {
        [one] => Ok(*one),
        many => many.get(at).copied().ok_or_else(|| wrong("names more hosts than ports")),
    };
    let host = |text: &str| match text {
        "" => Host::Unix(PathBuf::from(SOCKET_FOLDER)),
        folder if folder.starts_with('/') => Host::Unix(PathBuf::from(folder)),
        name => Host::Tcp(name.to_owned()),
    };
    hosts.iter().enumerate().map(|(at, text)| Ok((host(text), port_of(at)?))).collect()
}

/// `a:1,[::1]:2` as hosts and ports, each joined by commas.
fn split_hosts(text: &str) -> Result<(String, String)> {
    let (mut hosts, mut ports) = (Vec::new(), Vec::new());
    for one in text.split(',') {
        let (host, port) = match one.strip_prefix('[') {
            Some(rest) => rest.split_once(']').ok_or_else(|| wrong("has a [ without a ]"))?,
            None => one.split_once(':').unwrap_or((one, "")),
        };
        hosts.push(host);
        ports.push(port.strip_prefix(':').unwrap_or(port));
    }
    let join = |words: &[&str]| if words.iter().all(|word| word.is_empty()) { String::new() } else { words.join(",") };
    Ok((join(&hosts), join(&ports)))
}

/// Text with its %XX taken back.
fn decoded(text: &str) -> Result<Zeroizing<String>> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(text.len()));
    let mut rest = text.as_bytes();
    while let [byte, after @ ..] = rest {
        rest = after;
        if *byte != b'%' {
            bytes.push(*byte);
            continue;
        }
        let digits = after.get(..2).and_then(|digits| str::from_utf8(digits).ok());
        let byte = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()).filter(|byte| *byte != 0);
        bytes.push(byte.ok_or_else(|| wrong("has a % without two hexadecimal digits (a % itself is %25)"))?);
        rest = &after[2..];
    }
    let text = str::from_utf8(&bytes).map_err(|_| wrong("is not UTF-8 text"))?;
    Ok(Zeroizing::new(text.to_owned()))
}

/// What is wrong with a URL, which itself is not shown.
fn wrong(what: &str) -> NasSyncError {
    NasSyncError::new(ErrorKind::Usage, format!("the URL of the PostgreSQL database {what}")).with_solution(
        "Write it as postgresql://USER:PASSWORD@HOST:5432/DATABASE?sslmode=verify-full (NAS_DB or --db).",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> PostgresUrl {
        PostgresUrl::parse(text).unwrap()
    }

    #[test]
    fn every_form_is_read() {
        let full = url("postgresql+psycopg2://me:p%40ss@db.example:5433/app?sslmode=verify-full&sslrootcert=/ca.pem");
        assert_eq!((full.user.as_deref(), full.database.as_deref()), (Some("me"), Some("app")));
        assert_eq!(full.password.as_ref().unwrap().text().unwrap().as_str(), "p@ss");
        assert_eq!(full.hosts, [(Host::Tcp("db.example".into()), 5433)]);
        assert_eq!((full.tls, full.roots.clone()), (Tls::VerifyFull, Some(RootCertificates::File("/ca.pem".into()))));
        assert_eq!(full.to_string(), "postgresql://me@db.example:5433/app");
        let socket = url("postgresql:///app?host=/var/run/postgresql");
        assert_eq!(socket.hosts, [(Host::Unix("/var/run/postgresql".into()), 5432)]);
        assert_eq!(socket.to_string(), "postgresql:///app?host=/var/run/postgresql");
        for text in ["postgres://h/d", "postgis://h/d", "psql://h/d", "postgresql+asyncpg://h/d?ssl=require"] {
            assert_eq!(url(text).hosts, [(Host::Tcp("h".into()), 5432)], "{text}");
        }
        assert_eq!(url("postgresql://h/d").tls, Tls::Prefer);
        assert_eq!(url("postgresql://h/d?sslrootcert=system").tls, Tls::VerifyFull);
        let two = url("postgresql://a:1,[::1]:2/d");
        assert_eq!(two.hosts, [(Host::Tcp("a".into()), 1), (Host::Tcp("::1".into()), 2)]);
        assert_eq!(url("postgresql://%2Frun%2Fpg/d").hosts, [(Host::Unix("/run/pg".into()), 5432)]);
        assert_eq!(url("postgresql://u:a@b@h/d").password.unwrap().text().unwrap().as_str(), "a@b");
    }

    #[test]
    fn what_is_left_open_comes_from_the_environment() {
        let environment = |name: &str| match name {
            "PGPASSWORD" => Some("sesame".to_owned()),
            "PGUSER" => Some("me".to_owned()),
            "PGHOST" => Some("h".to_owned()),
            _ => None,
        };
        let url = PostgresUrl::with_defaults("postgresql:///d", &environment).unwrap();
        assert_eq!((url.user.as_deref(), url.hosts), (Some("me"), vec![(Host::Tcp("h".into()), 5432)]));
        assert_eq!(url.password.unwrap().text().unwrap().as_str(), "sesame");
        let url = PostgresUrl::with_defaults("postgresql://you:word@g/d", &environment).unwrap();
        assert_eq!((url.user.as_deref(), url.hosts), (Some("you"), vec![(Host::Tcp("g".into()), 5432)]));
        assert_eq!(url.password.unwrap().text().unwrap().as_str(), "word");
    }

    #[test]
    fn what_is_wrong_is_said_without_the_password() {
        for text in [
            "mysql://u:sesame@h/d",
            "postgresql://u:sesame%@h/d",
            "postgresql://u:sesame@h:x/d",
            "postgresql://u:sesame@h/d?sslmode=maybe",
            "postgresql://u:sesame@h/d?sslcert=x",
            "postgresql://u:sesame@h/d?sslmode=require&sslrootcert=system",
            "postgresql://u:sesame@[::1/d",
            "postgresql://u:sesame@a,b,c:1,2/d?port=1,2",
        ] {
            let error = PostgresUrl::parse(text).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Usage, "{text}");
            assert!(!format!("{error} {} {error:?}", error.solution()).contains("sesame"), "{text}: {error}");
        }
        assert!(!format!("{:?}", url("postgresql://u:sesame@h/d")).contains("sesame"));
    }
}
