//! `config`: says what is configured and what is missing, and never a secret.

use std::path::Path;

use crate::cli::console::Console;
use crate::cli::text::table;
use crate::config::{KeySource, Settings};
use crate::error::ErrorKind;
use crate::json;
use crate::proof::Level;
use crate::service::NasSyncService;
use crate::text;

/// The exit status when something required is missing.
const NOT_CONFIGURED: u8 = ErrorKind::NotConfigured.exit_code();

/// Prints the settings; the exit status says whether they are complete, and then whether the database can be used.
pub async fn run(service: &NasSyncService, console: &Console) -> u8 {
    let settings = service.settings();
    console.line(&render(settings));
    let database = service.check_database().await;
    console.object(&json::config(settings, database.as_ref().err()));
    if let Err(error) = &database {
        console.error(error);
    }
    match database {
        _ if !settings.is_configured() => NOT_CONFIGURED,
        Err(error) => error.kind().exit_code(),
        Ok(()) => 0,
    }
}

/// Whether there is something to log in with.
fn can_log_in(settings: &Settings) -> bool {
    let has_key = match &settings.key {
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
fn render(settings: &Settings) -> String {
    let shown = |value: Option<&String>| value.map_or_else(|| "(not set)".to_owned(), |value| text::escape(value));
    let path = |path: &Path| text::escape_bytes(path.as_os_str().as_encoded_bytes());
    let key = match &settings.key {
        KeySource::Text(_) => "(text in NAS_KEY)".to_owned(),
        KeySource::File(file) if file.exists() => path(file),
        KeySource::File(file) => format!("{} (does not exist)", path(file)),
        KeySource::FirstOf(files) => match files.iter().find(|file| file.exists()) {
            Some(file) => path(file),
            None if has_agent() => "(those of the ssh-agent)".to_owned(),
            None => "(none found)".to_owned(),
        },
    };
    let host_keys = match (&settings.host_key, &settings.known_hosts) {
        (Some(pin), _) => format!("only {}", text::escape(pin)),
        (None, Some(file)) => path(file),
        (None, None) => "(none)".to_owned(),
    };
    let durability = settings.durability.map_or("best that the NAS can do, up to durable", Level::as_str);
    let rows = [
        ("host", shown(settings.host.as_ref())),
        ("user", shown(settings.user.as_ref())),
        ("path", shown(settings.path.as_ref())),
        ("port", settings.port.to_string()),
        ("key", key),
        ("password", settings.password.as_ref().map_or("(not set)", |_| "(set; a key goes first)").to_owned()),
        ("host keys", host_keys),
        ("database", settings.db.to_string()),
        ("upload dir", settings.upload_dir.as_deref().map_or_else(|| "(not set)".to_owned(), path)),
        ("layout", text::escape(&settings.layout)),
        ("durability", durability.to_owned()),
    ];
    let missing = settings.missing();
    let conclusion = if missing.is_empty() && can_log_in(settings) {
        "Configured. `nas-sync test` tries the connection.".to_owned()
    } else if missing.is_empty() {
        "Nobody can log in yet: there is no private key. Make one with `ssh-keygen -t ed25519`, let it in on the NAS with \
         `ssh-copy-id`, and name it with NAS_KEY_FILE if it does not lie in ~/.ssh."
            .to_owned()
    } else {
        let verb = if missing.len() == 1 { "is" } else { "are" };
        format!("Not configured: {} {verb} missing.", missing.join(", "))
    };
    format!("{}\n{conclusion}", table(&rows))
}
