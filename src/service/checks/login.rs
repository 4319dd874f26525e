//! The way to a login: what each step came to know is told by the login itself.

use super::{Diagnosis, Finding};
use crate::client::{Client, ClientConfig};
use crate::config::Settings;
use crate::error::{ErrorKind, NasSyncError};
use crate::text;
use crate::transport::ssh::{LoginFacts, LoginProgress, LoginStep, SshClient, UnknownHostKey};

/// Words in the names of algorithms that only old servers still need.
const OLD: [&str; 3] = ["sha1", "-cbc", "3des"];

/// Logs in, and tells of each step.
pub(super) async fn log_in(diagnosis: &mut Diagnosis, settings: &Settings) -> Option<Client> {
    // The folder is another matter.
    let path = settings.path.clone().or_else(|| Some(String::from(".")));
    let config = match ClientConfig::of(&Settings { path, ..settings.clone() }) {
        Ok(config) => config,
        Err(error) => {
            // What is missing has been said of the configuration.
            if error.kind() != ErrorKind::NotConfigured || diagnosis.is_healthy() {
                diagnosis.problem("login", error);
            }
            return None;
        }
    };
    let progress = LoginProgress::default();
    let result = Client::connect_observed(&config, &progress).await;
    tell(diagnosis, &progress, result.as_ref().err());
    if result.is_err() && progress.facts().step == LoginStep::Key {
        look(diagnosis, &config).await;
    }
    let client = result.ok()?;
    let took = client.ssh().connect_time().as_millis();
    diagnosis.note("login", Finding::ok(format!("{}, after {took} ms", text::escape(&config.ssh.user))));
    Some(client)
}

/// A key that cannot be read is found before anybody is asked; the way to the host key can be gone without it.
async fn look(diagnosis: &mut Diagnosis, config: &ClientConfig) {
    let progress = LoginProgress::default();
    match SshClient::look_observed(&config.ssh, &progress).await {
        Err(error) => tell(diagnosis, &progress, Some(&error)),
        // One that may be trusted on first use is no trouble.
        Ok(shown) if shown.is_known || config.ssh.unknown_host_key == UnknownHostKey::Accept => {
            tell(diagnosis, &progress, None);
        }
        Ok(shown) => {
            let message = format!("the host key is not known: {} ({})", shown.fingerprint, shown.key_type);
            tell(diagnosis, &progress, Some(&NasSyncError::new(ErrorKind::HostKeyUnknown, message)));
        }
    }
}

/// The check that an error of a login belongs to.
fn failed_in(step: LoginStep, kind: ErrorKind) -> &'static str {
    match (kind, step) {
        (ErrorKind::HostKeyUnknown | ErrorKind::HostKeyChanged | ErrorKind::HostKeyRevoked, _)
        | (_, LoginStep::KnownHosts) => "host_key",
        (ErrorKind::KeyUnusable, _) | (_, LoginStep::Key) => "key",
        (_, LoginStep::Name) => "name",
        (_, LoginStep::Tcp) => "tcp",
        (_, LoginStep::KeyExchange) => "ssh",
        (_, LoginStep::Login) => "login",
    }
}

/// Tells of the steps that were made, and of the one that failed.
fn tell(diagnosis: &mut Diagnosis, progress: &LoginProgress, error: Option<&NasSyncError>) {
    let facts = progress.facts();
    let failed = error.map(|error| failed_in(facts.step, error.kind()));
    let server = progress.server_version();
    let made = [
        ("name", name(&facts)),
        ("tcp", facts.peer.map(|peer| Finding::ok(format!("{peer} takes connections")))),
        // Without a server that names itself there is no host key to judge.
        ("ssh", server.filter(|_| facts.host_key.is_some() || failed == Some("host_key")).map(|id| ssh(&id, &facts))),
        ("host_key", facts.host_key.as_ref().map(|(kind, print)| Finding::ok(format!("{print} ({kind})")))),
        ("key", (!facts.credentials.is_empty()).then(|| Finding::ok(text::escape(&facts.credentials.join(", "))))),
    ];
    for (check, finding) in made {
        if let Some(finding) = finding.filter(|_| failed != Some(check)) {
            diagnosis.note(check, finding);
        }
    }
    if let (Some(check), Some(error)) = (failed, error) {
        diagnosis.problem(check, with_setup(error.clone()));
    }
}

fn name(facts: &LoginFacts) -> Option<Finding> {
    let addresses: Vec<String> = facts.addresses.iter().map(|address| address.ip().to_string()).collect();
    (!addresses.is_empty()).then(|| Finding::ok(addresses.join(", ")))
}

fn ssh(server: &str, facts: &LoginFacts) -> Finding {
    let Some(algorithms) = &facts.algorithms else { return Finding::ok(server) };
    let message = format!("{server}: {algorithms}");
    if OLD.iter().any(|word| algorithms.contains(word)) {
        return Finding::warning(message, "These algorithms are no longer considered safe: update the NAS's firmware.");
    }
    Finding::ok(message)
}

/// Why a key is refused can be seen from inside only.
fn with_setup(error: NasSyncError) -> NasSyncError {
    if error.kind() != ErrorKind::LoginRefused {
        return error;
    }
    let solution = format!("{} `nas-sync setup` also names what makes the NAS refuse it.", error.solution());
    error.with_solution(solution)
}
