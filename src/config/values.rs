//! From text to checked values. Each error names where the value was set and what it may be.

use std::ffi::OsStr;
use std::fmt;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use super::environment::Environment;
use super::origin::{Found, expand_home, refuse, wipe};
use super::settings::LogFormat;
use crate::database::{Database, PostgresUrl, TableName};
use crate::error::{ErrorKind, NasSyncError, Result};
use crate::filter::Rules;
use crate::jobs::{self, Jobs};
use crate::proof::Level;
use crate::rate::Rate;
use crate::secret::Secret;

/// The longest time that can be set, in seconds: one week. Longer ones are mistakes of unit.
const LONGEST: u64 = 7 * 24 * 60 * 60;

/// UTF-8 that fulfils a condition.
fn checked(found: &Found, accepted: &str, is_good: impl Fn(&str) -> bool) -> Result<String> {
    match found.text.to_str() {
        Some(text) if is_good(text) => Ok(text.to_owned()),
        _ => Err(refuse(&found.origin, &found.text, accepted)),
    }
}

/// A whole number of a range. Blanks around it are forgiven, as they are easily left in a file.
pub(super) fn number<T: FromStr + PartialOrd + fmt::Display>(found: &Found, range: RangeInclusive<T>) -> Result<T> {
    let number = found.text.to_str().and_then(|text| text.trim().parse().ok()).filter(|number| range.contains(number));
    number.ok_or_else(|| {
        let accepted = format!("a whole number from {} to {}", range.start(), range.end());
        refuse(&found.origin, &found.text, accepted)
    })
}

/// How many sessions.
pub(super) fn jobs(found: &Found) -> Result<Jobs> {
    let text = found.text.to_str().map(str::trim).filter(|text| !text.is_empty());
    let jobs = match text {
        Some("auto") => Some(Jobs::Auto),
        text => {
            text.and_then(|text| text.parse().ok()).filter(|number| (1..=jobs::MOST).contains(number)).map(Jobs::Number)
        }
    };
    jobs.ok_or_else(|| refuse(&found.origin, &found.text, format!("a whole number from 1 to {}, or auto", jobs::MOST)))
}

/// A rate; 0 is none.
pub(super) fn rate(found: &Found) -> Result<Option<Rate>> {
    let rate = found.text.to_str().and_then(|text| Rate::parse(text.trim()));
    let accepted = "a rate in KiB a second, or with a unit, such as 500, 1.5m or 2MB; 0 is none";
    rate.ok_or_else(|| refuse(&found.origin, &found.text, accepted.to_owned()))
}

/// Whole seconds, at least one.
pub(super) fn seconds(found: &Found) -> Result<Duration> {
    let seconds = found.text.to_str().and_then(whole_seconds).filter(|seconds| (1..=LONGEST).contains(seconds));
    seconds.map(Duration::from_secs).ok_or_else(|| {
        let accepted = format!("a whole number of seconds from 1 to {LONGEST}, such as 30, 30s or 5m");
        refuse(&found.origin, &found.text, accepted)
    })
}

/// A time as people write it, in seconds: `30`, `30s`, `5m`, `2h`, `1d`.
pub fn whole_seconds(text: &str) -> Option<u64> {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let seconds = match unit.trim_start().to_ascii_lowercase().as_str() {
        "" | "s" | "sec" | "secs" | "second" | "seconds" => 1,
        "m" | "min" | "mins" | "minute" | "minutes" => 60,
        "h" | "hour" | "hours" => 60 * 60,
        "d" | "day" | "days" => 24 * 60 * 60,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(seconds)
}

/// A path of an SQLite database, also as the URL that SQLAlchemy writes, or the URL of a PostgreSQL database. What a URL
/// holds besides is not shown: it may be a password.
pub(super) fn database(found: &Found, environment: &Environment) -> Result<Database> {
    if let Some(text) = found.text.to_str().filter(|text| PostgresUrl::is_one(text)) {
        if !cfg!(feature = "postgres") {
            let message =
                format!("{} is the URL of a PostgreSQL database, which this build does not know", found.origin);
            return Err(
                NasSyncError::new(ErrorKind::Usage, message).with_solution("Build with the feature `postgres`.")
            );
        }
        let url = PostgresUrl::with_defaults(text.trim(), &|name| environment.postgres(name))?;
        return Ok(url.in_home(environment.home()).into());
    }
    sqlite_file(found, environment.home()).map(Database::sqlite)
}

/// The name of a table.
pub(super) fn table(found: &Found) -> Result<TableName> {
    found.text.to_str().and_then(|text| TableName::parse(text).ok()).ok_or_else(|| {
        let accepted = "a table: documents, schema.documents, or a quoted name such as \"Odd Name\" (in .env, which takes the outer quotes away: '\"Odd Name\"')";
        refuse(&found.origin, &found.text, accepted)
    })
}

fn sqlite_file(found: &Found, home: Option<&Path>) -> Result<PathBuf> {
    let Some((scheme, rest)) = found.text.to_str().and_then(|text| text.split_once(':')) else {
        return local_path(found, home);
    };
    let is_scheme = |text: &str| {
        text.starts_with(|c: char| c.is_ascii_alphabetic())
            && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'))
    };
    if !is_scheme(scheme) || !rest.starts_with("//") {
        return local_path(found, home);
    }
    let kind = scheme.split('+').next().unwrap_or(scheme).to_ascii_lowercase();
    let path = rest.strip_prefix("///").map(|path| path.split('?').next().unwrap_or(path)).unwrap_or_default();
    if kind == "sqlite" && !path.is_empty() && path != ":memory:" {
        return expand_home(OsStr::new(path), home, &found.origin);
    }
    let message = if kind == "sqlite" {
        format!("{} is a URL without the path of a file", found.origin)
    } else {
        format!("{} is the URL of a {scheme} database, but must be SQLite or PostgreSQL", found.origin)
    };
    let solution =
        "Name the database that holds the documents: a path, sqlite:///PATH, or postgresql://USER@HOST/DATABASE.";
    Err(NasSyncError::new(ErrorKind::Usage, message).with_solution(solution))
}

pub(super) fn boolean(found: &Found) -> Result<bool> {
    match found.text.to_str().map(|text| text.trim().to_ascii_lowercase()).as_deref() {
        Some("1" | "true" | "yes" | "on") => Ok(true),
        Some("0" | "false" | "no" | "off") => Ok(false),
        _ => Err(refuse(&found.origin, &found.text, "1, true, yes or on, or else 0, false, no or off")),
    }
}

/// Text without NUL, CR and LF: it becomes part of a remote command, or of names there.
pub(super) fn line(found: &Found) -> Result<String> {
    checked(found, "UTF-8 text without NUL, carriage return and line feed", |text| !text.contains(['\0', '\r', '\n']))
}

/// Filter rules. Files that they name are not read yet.
pub(super) fn rules(found: &Found) -> Result<String> {
    checked(found, "filter rules as rsync's --filter has them, parted by semicolons or line ends", |text| {
        Rules::of_text(text, &mut |_| Ok(Vec::new())).is_ok()
    })
}

pub(super) fn user(found: &Found) -> Result<String> {
    checked(found, "a user name without blanks and control characters", |text| {
        !text.contains(|c: char| c.is_control() || c.is_whitespace())
    })
}

/// A host name or address; brackets around an IPv6 address go.
pub(super) fn host(found: &Found) -> Result<String> {
    let is_good = |text: &str| {
        let bare = unbracketed(text);
        !bare.is_empty() && !bare.contains(|c: char| c.is_whitespace() || c.is_control() || "@/[]".contains(c))
    };
    let text = checked(found, "a host name or address alone (see also NAS_USER, NAS_PORT and NAS_PATH)", is_good)?;
    let bare = unbracketed(&text);
    // One colon is no IPv6 address.
    match bare.split_once(':') {
        Some((name, port)) if !port.contains(':') => {
            let error = refuse(&found.origin, &found.text, "a host name or address alone, without a port");
            let is_port = port.parse::<u16>().is_ok_and(|port| port > 0) && !name.is_empty();
            Err(if is_port { error.with_solution(format!("Set NAS_HOST={name} and NAS_PORT={port}.")) } else { error })
        }
        _ => Ok(bare.to_owned()),
    }
}

fn unbracketed(host: &str) -> &str {
    host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host)
}

/// `SHA256:` and the base64 of 32 bytes, in the form that `ssh-keygen -l` prints; padding is forgiven.
pub(super) fn fingerprint(found: &Found) -> Result<String> {
    let accepted = "a fingerprint as `ssh-keygen -l` prints it: SHA256: and 43 characters";
    let bare = |text: &str| text.trim().trim_end_matches('=').to_owned();
    let is_good = |text: &str| {
        bare(text).strip_prefix("SHA256:").is_some_and(|hash| {
            hash.len() == 43 && hash.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'+' || byte == b'/')
        })
    };
    checked(found, accepted, is_good).map(|text| bare(&text))
}

pub(super) fn level(found: &Found) -> Result<Level> {
    let level = found.text.to_str().and_then(|text| Level::from_name(text.trim()));
    level.ok_or_else(|| {
        let names = Level::ALL.map(Level::as_str).join(", ");
        refuse(&found.origin, &found.text, format!("one of {names}"))
    })
}

pub(super) fn log_format(found: &Found) -> Result<LogFormat> {
    match found.text.to_str().map(str::trim) {
        Some("text") => Ok(LogFormat::Text),
        Some("json") => Ok(LogFormat::Json),
        _ => Err(refuse(&found.origin, &found.text, "text or json")),
    }
}

pub(super) fn socket_address(found: &Found) -> Result<SocketAddr> {
    let address = found.text.to_str().and_then(|text| text.trim().parse().ok());
    address.ok_or_else(|| {
        refuse(&found.origin, &found.text, "an IP address and a port, such as 127.0.0.1:9100 or [::]:9100")
    })
}

/// Names of hosts, with commas between them; in lower case, without ports.
pub(super) fn host_names(found: &Found) -> Result<Vec<String>> {
    let is_name = |name: &str| {
        !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_'))
    };
    let list = checked(found, "names of hosts without ports, with commas between them", |text| {
        text.split(',').all(|name| is_name(name.trim()))
    })?;
    Ok(list.split(',').map(|name| name.trim().to_ascii_lowercase()).collect())
}

/// A secret; what is wrong with it is said without showing it. One in a file stays there.
pub(super) fn secret(mut found: Found) -> Result<Secret> {
    if let Some(file) = found.file.take() {
        return Ok(Secret::in_file(file));
    }
    std::mem::take(&mut found.text).into_string().map(Secret::new).map_err(|text| {
        wipe(text);
        NasSyncError::new(ErrorKind::Usage, format!("{} is not UTF-8 text", found.origin))
    })
}

/// A path on this machine; a leading `~/` is the home folder, because no shell expands it in a file.
pub(super) fn local_path(found: &Found, home: Option<&Path>) -> Result<PathBuf> {
    expand_home(&found.text, home, &found.origin)
}
