//! What a set-up writes into the `.env` of the working directory.

use std::path::Path;

use super::Run;
use crate::blocking;
use crate::config::{EnvFile, KeySource, Settings};
use crate::error::{ErrorKind, NasSyncError, Result};
use crate::service::setup::NasKey;
use crate::text;

const FILE: &str = ".env";
/// Names that cannot clash, however many documents are called the same.
const LAYOUT: &str = "{year}/{id}_{name}";
const PORT: u16 = 22;

async fn read() -> Result<EnvFile> {
    blocking::run(|| EnvFile::read(Path::new(FILE))).await
}

/// What is known before anything is done, and what it is called.
fn nas(settings: &Settings, port_is_set: bool) -> Vec<(&'static str, String)> {
    let port = settings.port.filter(|&port| port != PORT || port_is_set).map(|port| port.to_string());
    let all = [
        ("NAS_HOST", settings.host.clone()),
        ("NAS_USER", settings.user.clone()),
        ("NAS_PORT", port),
        ("NAS_PATH", settings.path.clone()),
    ];
    all.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
}

/// Looks whether the file says something else than what is asked for, before anything is done. A person may replace it.
pub async fn check(run: &Run<'_>) -> Result<()> {
    let file = read().await?;
    let asked = nas(&run.settings, file.value("NAS_PORT").is_some()).into_iter().chain(run.flags.others());
    let differ: Vec<(&str, String)> =
        asked.filter(|(name, value)| file.value(name).is_some_and(|there| there != value)).collect();
    let named: Vec<String> = differ
        .iter()
        .map(|(name, value)| {
            format!(
                "{name} is {} there, and {} here",
                text::escape(file.value(name).unwrap_or_default()),
                text::escape(value)
            )
        })
        .collect();
    if differ.is_empty() {
        return Ok(());
    }
    let message = format!(".env says something else: {}", named.join("; "));
    match &run.person {
        Some(person) if person.agrees(&format!("{message}. Replace it?")).await? => Ok(()),
        _ => Err(NasSyncError::new(ErrorKind::Usage, message).with_solution(
            "Change or remove those lines of .env, or run this in another folder; nothing was changed.",
        )),
    }
}

/// Writes what is missing. Gives the names of what is new.
pub async fn write(run: &Run<'_>, key: Option<&NasKey>) -> Result<Vec<String>> {
    let mut file = read().await?;
    let mut wanted = nas(&run.settings, file.value("NAS_PORT").is_some());
    wanted.extend(run.flags.others());
    let shown = |path: &Path| path.to_str().map(ToOwned::to_owned);
    if let (Some(_), KeySource::File(path)) = (key, &run.settings.key) {
        wanted.extend(shown(path).map(|path| ("NAS_KEY_FILE", path)));
    }
    if key.is_none() {
        let path = run.settings.password.as_ref().and_then(|password| password.file().and_then(shown));
        wanted.extend(path.map(|path| ("NAS_PASSWORD_FILE", path)));
    }
    wanted.extend(run.pinned.clone().map(|print| ("NAS_HOST_KEY", print)));
    // Documents that are there already have names; others than these would be second copies.
    let is_proposed = run.settings.layout == "flat" && run.flags.layout.is_none() && !run.settings.db.exists();
    if is_proposed && file.value("NAS_LAYOUT").is_none() && std::env::var_os("NAS_LAYOUT").is_none() {
        wanted.push(("NAS_LAYOUT", LAYOUT.to_owned()));
    }
    blocking::run(move || {
        let mut written = Vec::new();
        for (name, value) in wanted {
            if file.set(name, &value)? {
                written.push(name.to_owned());
            }
        }
        if !written.is_empty() {
            file.write()?;
        }
        Ok(written)
    })
    .await
}
