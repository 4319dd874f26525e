//! From a NAS and a password to a key that logs in: the steps, each of which says what it found.
//!
//! Guarantees: a password is only sent to the host key that the settings accept; a key that is there is used and never
//! replaced; a refusal is explained by what was seen on the NAS. Running a step again changes nothing.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::blocking;
use crate::client::account::{self, Installed, Permit};
use crate::client::{Client, ClientConfig};
use crate::config::{KeySource, Settings};
use crate::error::{ErrorKind, NasSyncError, Result};
use crate::secret::Secret;
use crate::transport::ssh::{self, Identity, Person, ShownHostKey, SshClient};

/// Where the key of a set-up lies, where nothing else is set.
pub(crate) const KEY_FILE: &str = "nas_key";
/// How long a login may take in which a person answers.
const PERSON: Duration = Duration::from_secs(180);

/// The key of a set-up.
#[derive(Debug, Clone)]
pub(crate) struct NasKey {
    /// The file that holds it; `None` for one that is given as text.
    pub file: Option<PathBuf>,
    /// Its public half, as it stands in authorized_keys.
    pub public: String,
    /// Whether it was made just now.
    pub is_new: bool,
}

/// The settings with the key that a set-up uses: the configured one, or else one of its own beside the `.env`, never a
/// person's.
pub(crate) fn with_own_key(settings: &Settings) -> Settings {
    match settings.key {
        KeySource::FirstOf(_) => settings.clone().key_file(KEY_FILE),
        _ => settings.clone(),
    }
}

/// The key of such settings, where it is there.
pub(crate) async fn find_key(settings: &Settings) -> Result<Option<NasKey>> {
    let file = file_of(settings);
    if file.as_deref().is_some_and(|file| file.symlink_metadata().is_err()) {
        return Ok(None);
    }
    let config = by_key_alone(settings)?;
    let public = blocking::run(move || ssh::public_key(&config.ssh)).await?;
    Ok(Some(NasKey { file, public, is_new: false }))
}

/// The key of such settings, made where it is not there. Fails with `KeyUnusable` or `LocalFile`.
pub(crate) async fn find_or_make_key(settings: &Settings) -> Result<NasKey> {
    if let Some(key) = find_key(settings).await? {
        return Ok(key);
    }
    let file = file_of(settings).unwrap_or_else(|| PathBuf::from(KEY_FILE));
    let path = file.clone();
    let public = blocking::run(move || ssh::make_key(&path)).await?;
    Ok(NasKey { file: Some(file), public, is_new: true })
}

fn file_of(settings: &Settings) -> Option<PathBuf> {
    match &settings.key {
        KeySource::File(file) => Some(file.clone()),
        KeySource::Text(_) => None,
        KeySource::FirstOf(_) => Some(Path::new(KEY_FILE).to_owned()),
    }
}

/// What the settings say about the login; the folder need not be known yet.
fn config_of(settings: &Settings) -> Result<ClientConfig> {
    let path = settings.path.clone().or_else(|| Some(String::from(".")));
    ClientConfig::of(&Settings { path, ..settings.clone() })
}

fn by_key_alone(settings: &Settings) -> Result<ClientConfig> {
    let mut config = config_of(settings)?;
    config.ssh.password = None;
    Ok(config)
}

/// Connects and looks at the host key.
pub(crate) async fn look(settings: &Settings) -> Result<ShownHostKey> {
    SshClient::look(&config_of(settings)?.ssh).await
}

/// Logs in with the key, and nothing else.
pub(crate) async fn log_in_by_key(settings: &Settings) -> Result<Client> {
    Client::connect(&by_key_alone(settings)?).await
}

/// Logs in with a password, and nothing else; a person answers what the NAS asks besides.
pub(crate) async fn log_in_by_password(
    settings: &Settings,
    password: Secret,
    person: Option<Person>,
) -> Result<Client> {
    let mut config = config_of(settings)?;
    if person.is_some() {
        config.ssh.connect_timeout = config.ssh.connect_timeout.max(PERSON);
    }
    config.ssh.identity = Identity::Files(Vec::new());
    config.ssh.password = Some(password);
    config.ssh.person = person;
    Client::connect(&config).await
}

/// Lets the key in over a login.
pub(crate) async fn install(client: &Client, key: &NasKey, settings: &Settings, locked: bool) -> Result<Installed> {
    let permit = match settings.path.as_deref().filter(|_| locked) {
        Some(path) => Permit::Folder { path, rsync_path: &settings.rsync_path },
        None => Permit::Commands,
    };
    account::install(client, &key.public, permit).await
}

/// Logs in with a key that was just installed; where it is refused, says why. Fails with `KeyNotInstalled`.
pub(crate) async fn prove(settings: &Settings, installed: &Installed) -> Result<Client> {
    let refused = match log_in_by_key(settings).await {
        Err(error) if error.kind() == ErrorKind::LoginRefused => error,
        result => return result,
    };
    let (what, remedy) = match installed.faults.as_slice() {
        [] => {
            let what = format!("although it stands in {}/.ssh/authorized_keys", installed.home);
            (
                what,
                String::from(
                    "Allow login with public keys (PubkeyAuthentication) in the SSH settings of the NAS, and let them be read from ~/.ssh/authorized_keys",
                ),
            )
        }
        faults => {
            let what: Vec<&str> = faults.iter().map(|fault| fault.what.as_str()).collect();
            let remedies: Vec<&str> = faults.iter().map(|fault| fault.remedy.as_str()).collect();
            (format!("because {}", what.join(", and ")), format!("On the NAS: {}", remedies.join(" && ")))
        }
    };
    let error = NasSyncError::new(ErrorKind::KeyNotInstalled, format!("the NAS refuses the key, {what}"));
    let solution = format!(
        "{remedy}. Then run `nas-sync setup` again. Where no key can be used, `nas-sync setup --keep-password` does without one."
    );
    Err(error.with_details(refused.message()).with_solution(solution).with_source(refused))
}
