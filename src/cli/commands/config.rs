//! `config`: says what is configured and what is missing, and never a secret.

use std::path::Path;

use crate::blocking;
use crate::cli::console::Console;
use crate::cli::text::table;
use crate::client::ClientConfig;
use crate::client::documents::Naming;
use crate::config::{KeySource, Settings};
use crate::error::{ErrorKind, NasSyncError, Result};
use crate::json;
use crate::proof::Level;
use crate::service::NasSyncService;
use crate::text;
use crate::transport::ssh::{Identity, SshConfig};

/// The exit status when something required is missing.
const NOT_CONFIGURED: u8 = ErrorKind::NotConfigured.exit_code();

/// Prints the settings; the exit status says whether they are complete, and then whether the database can be used.
pub async fn run(service: &NasSyncService, console: &Console) -> u8 {
    let settings = service.settings();
    let login = login(settings);
    console.words(&render(settings, login.as_ref().ok()));
    let documents = naming(settings).await;
    let database = service.check_database().await;
    let login = if settings.is_configured() { login.map(drop) } else { Ok(()) };
    let faults: Vec<NasSyncError> = [login, documents, database].into_iter().filter_map(Result::err).collect();
    for error in &faults {
        console.error(error);
    }
    console.object(&json::config(settings, faults.first()));
    match faults.first() {
        _ if !settings.is_configured() => NOT_CONFIGURED,
        Some(error) => error.kind().exit_code(),
        None => 0,
    }
}

/// Whether documents can be found here, and named there.
async fn naming(settings: &Settings) -> Result<()> {
    let settings = settings.clone();
    blocking::run(move || Naming::of(&settings).map(drop)).await
}

/// What the settings and ssh_config together say about the login; the folder does not matter.
fn login(settings: &Settings) -> Result<SshConfig> {
    let path = settings.path.clone().or_else(|| Some(String::from(".")));
    ClientConfig::of(&Settings { path, ..settings.clone() }).map(|config| config.ssh)
}

/// Whether there is something to log in with.
fn can_log_in(settings: &Settings, login: Option<&SshConfig>) -> bool {
    let has_key = match &settings.key {
        KeySource::FirstOf(_) if login.is_some_and(|login| !matches!(login.identity, Identity::Default)) => true,
        KeySource::Text(_) => true,
        KeySource::File(file) => file.exists(),
        KeySource::FirstOf(files) => files.iter().any(|file| file.exists()) || has_agent(),
    };
    has_key || settings.password.is_some()
}

fn has_agent() -> bool {
    std::env::var_os("SSH_AUTH_SOCK").is_some_and(|socket| Path::new(&socket).exists())
}

/// Every setting that may be shown, and what is missing.
fn render(settings: &Settings, login: Option<&SshConfig>) -> String {
    let shown = |value: Option<&String>| value.map_or_else(|| "(not set)".to_owned(), |value| text::escape(value));
    let path = |path: &Path| text::escape_bytes(path.as_os_str().as_encoded_bytes());
    let key = match &settings.key {
        KeySource::Text(_) => "(text in NAS_KEY)".to_owned(),
        KeySource::File(file) if file.exists() => path(file),
        KeySource::File(file) => format!("{} (does not exist)", path(file)),
        KeySource::FirstOf(files) => {
            match (login.map(|login| &login.identity), files.iter().find(|file| file.exists())) {
                (Some(Identity::Files(named)), _) => {
                    let named: Vec<_> = named.iter().map(|file| path(file)).collect();
                    format!("{} (from ssh_config)", named.join(", "))
                }
                (_, Some(file)) => path(file),
                _ if has_agent() => "(those of the ssh-agent)".to_owned(),
                _ => "(none found)".to_owned(),
            }
        }
    };
    let host_keys = match (&settings.host_key, login.and_then(|login| login.known_hosts.first()), &settings.known_hosts)
    {
        (Some(pin), ..) => format!("only {}", text::escape(pin)),
        (None, Some(file), _) | (None, None, Some(file)) => path(file),
        (None, None, None) => "(none)".to_owned(),
    };
    let jumps: Vec<_> = login
        .iter()
        .flat_map(|login| &login.jumps)
        .map(|jump| text::escape(&format!("{}:{}", jump.host, jump.port)))
        .collect();
    let address = login.map(|login| &login.host).filter(|address| Some(*address) != settings.host.as_ref());
    let host = match address {
        Some(address) => format!("{} ({} in ssh_config)", shown(settings.host.as_ref()), text::escape(address)),
        None => shown(settings.host.as_ref()),
    };
    let durability = settings.durability.map_or("best that the NAS can do, up to durable", Level::as_str);
    let mut rows = vec![
        ("host", host),
        ("user", shown(settings.nas_user().as_ref())),
        ("path", shown(settings.path.as_ref())),
        ("port", settings.nas_port().to_string()),
        ("key", key),
        ("password", settings.password.as_ref().map_or("(not set)", |_| "(set; a key goes first)").to_owned()),
        ("host keys", host_keys),
        ("database", settings.db.to_string()),
        ("upload dir", settings.upload_dir.as_deref().map_or_else(|| "(not set)".to_owned(), path)),
        ("layout", text::escape(&settings.layout)),
        ("durability", durability.to_owned()),
        ("scan filter", text::escape(&settings.scan_filter)),
    ];
    if !jumps.is_empty() {
        rows.insert(1, ("through", jumps.join(", ")));
    }
    let missing = settings.missing();
    let conclusion = if missing.is_empty() && can_log_in(settings, login) {
        "Configured. `nas-sync test` tries the connection.".to_owned()
    } else if missing.is_empty() {
        "Nobody can log in yet: there is no private key. `nas-sync setup` makes one and lets it in on the NAS; NAS_KEY_FILE \
         names one that you have."
            .to_owned()
    } else {
        let verb = if missing.len() == 1 { "is" } else { "are" };
        format!("Not configured: {} {verb} missing. `nas-sync setup` asks for what is needed.", missing.join(", "))
    };
    format!("{}\n{conclusion}", table(&rows))
}
