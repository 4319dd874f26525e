//! What the NAS runs, and how well documents are kept there.

use super::{Diagnosis, Finding, folder};
use crate::client::Client;
use crate::client::capabilities::{Capabilities, Shape, warning};
use crate::client::check::{ask_for_flush, flush_evidence, shape_of};
use crate::client::dry_run::{DryRun, find_refused};
use crate::client::nas::{Echo, echo};
use crate::client::rehearse::rehearse;
use crate::client::survey::{Survey, survey};
use crate::config::Settings;
use crate::error::{ErrorKind, NasSyncError, Result};
use crate::jobs::Jobs;
use crate::proof::{Capability, DurableBy, Level};
use crate::text;

/// How many sessions are opened to see whether there are that many: those of a batch, its flush, and a question beside.
const BESIDE: usize = 2;

/// Makes all checks that need a login.
pub(super) async fn examine(diagnosis: &mut Diagnosis, client: &Client, settings: &Settings) {
    let answer = match echo(client).await {
        Ok(answer) => answer,
        Err(error) => return diagnosis.problem("exec", error),
    };
    let folder = settings.path.as_deref();
    let survey = survey(client, folder.unwrap_or(".")).await;
    diagnosis.vendor = survey.as_ref().ok().and_then(|survey| survey.vendor);
    match shell(&answer) {
        Some(finding) => diagnosis.note("shell", finding),
        None => diagnosis.not_known("shell", "the NAS runs nothing but what it expects for this user"),
    }
    let Some(folder) = folder else {
        diagnosis.note("exec", exec_alone(&answer));
        return;
    };
    let mut capabilities = Capabilities::without([], settings.durability);
    match start_rsync(client, folder, settings, &mut capabilities).await {
        Ok(()) => {}
        Err(error) => {
            let check = culprit(&error, &answer);
            if check != "exec" {
                diagnosis.note("exec", Finding::ok(runs(&answer)));
            }
            if matches!(check, "folder" | "writable") {
                diagnosis.note("rsync", rsync(client, &capabilities).await);
                diagnosis.note("sessions", sessions(client, settings).await);
            }
            return diagnosis.problem(check, error);
        }
    }
    diagnosis.note("exec", Finding::ok(runs(&answer)));
    diagnosis.note("rsync", rsync(client, &capabilities).await);
    diagnosis.note("sessions", sessions(client, settings).await);
    diagnosis.note("folder", Finding::ok(format!("{} is there", text::escape(folder))));
    match rehearse(client, folder, &capabilities).await.and_then(|rehearsal| rehearsal.check().map(drop)) {
        Ok(()) => diagnosis.note("writable", Finding::ok("rsync could make a file, and kept none")),
        Err(error) => return diagnosis.problem("writable", error),
    }
    // Its times are those of the file that was just made.
    let survey = survey_again(client, folder, survey).await;
    folder::examine(diagnosis, client, folder, survey.as_ref()).await;
    durability(diagnosis, client, folder, &mut capabilities).await;
}

async fn survey_again(client: &Client, folder: &str, before: Result<Survey, String>) -> Result<Survey, String> {
    before?;
    survey(client, folder).await
}

async fn start_rsync(
    client: &Client,
    folder: &str,
    settings: &Settings,
    capabilities: &mut Capabilities,
) -> Result<()> {
    // A layout that makes no sense was named with the configuration.
    let shape = shape_of(settings).unwrap_or(Shape::PLAIN);
    let dry: DryRun = find_refused(client, folder, capabilities, shape).await?;
    dry.check(client, folder).await
}

/// The check that an error of the first session belongs to.
fn culprit(error: &NasSyncError, answer: &Echo) -> &'static str {
    match (error.kind(), answer) {
        (ErrorKind::DestinationMissing, _) => "folder",
        (ErrorKind::PermissionDenied | ErrorKind::ReadOnly | ErrorKind::DiskFull, _) => "writable",
        (ErrorKind::ExecRefused, _) | (ErrorKind::StrayOutput, Echo::Other(_)) => "exec",
        (ErrorKind::StrayOutput, Echo::Noisy(_)) => "shell",
        _ => "rsync",
    }
}

fn runs(answer: &Echo) -> String {
    match answer {
        Echo::Clean | Echo::Noisy(_) => String::from("the NAS runs commands for this user"),
        Echo::Other(said) => format!("the NAS runs rsync for this user, and to others it says: {said}"),
    }
}

fn exec_alone(answer: &Echo) -> Finding {
    match answer {
        Echo::Clean | Echo::Noisy(_) => Finding::ok(runs(answer)),
        Echo::Other(said) => {
            let message = format!("the NAS does not run what it is asked to: {said}");
            Finding::Problem(NasSyncError::new(ErrorKind::ExecRefused, message))
        }
    }
}

/// Whether the shell's start-up files print what rsync would take for its own.
fn shell(answer: &Echo) -> Option<Finding> {
    match answer {
        Echo::Clean => Some(Finding::ok("it prints nothing of its own")),
        Echo::Noisy(said) => {
            let message = format!("it prints something of its own: {said}");
            Some(Finding::Problem(NasSyncError::new(ErrorKind::StrayOutput, message)))
        }
        Echo::Other(_) => None,
    }
}

/// Which rsync there is, and what it does not do.
async fn rsync(client: &Client, capabilities: &Capabilities) -> Finding {
    let version = client.rsync_version().await;
    let version =
        version.map_or_else(|| String::from("it does not say its version"), |version| format!("version {version}"));
    let refused: Vec<String> = capabilities
        .refusals()
        .filter(|refusal| refusal.counts())
        .map(|refusal| format!("{}: {}", refusal.capability.as_str(), refusal.evidence))
        .collect();
    if refused.is_empty() {
        return Finding::ok(format!("{version}, takes all that is asked of it"));
    }
    Finding::ok(format!("{version}, does without {}", refused.join("; ")))
}

/// Whether as many sessions can be open as are wanted side by side.
async fn sessions(client: &Client, settings: &Settings) -> Finding {
    let wanted = match settings.jobs {
        // More than one is only tried.
        Jobs::Auto => 1,
        Jobs::Number(number) => usize::from(number),
    };
    match client.ssh().count_sessions(wanted + BESIDE).await {
        Err(error) => Finding::Problem(error),
        Ok(most) if most >= wanted + BESIDE => Finding::ok(format!("{most} side by side, and maybe more")),
        Ok(most) if most >= wanted.max(2) => Finding::ok(format!("{most} side by side")),
        Ok(most) => Finding::warning(
            format!("the NAS opens {} side by side", text::counted(most as u64, "session", "sessions")),
            format!(
                "It works, and takes longer. Raise MaxSessions in the sshd_config of the NAS to {} or more{}.",
                wanted + BESIDE,
                if wanted > most { ", or lower NAS_JOBS" } else { "" }
            ),
        ),
    }
}

/// Whether documents survive a power cut there, and the level that follows.
async fn durability(diagnosis: &mut Diagnosis, client: &Client, folder: &str, capabilities: &mut Capabilities) {
    if let Err(error) = ask_for_flush(client, folder, capabilities).await {
        return diagnosis.problem("flush", error);
    }
    let evidence = match flush_evidence(client, folder, capabilities).await {
        Ok(evidence) => evidence,
        Err(error) => return diagnosis.problem("flush", error),
    };
    match flush(capabilities, evidence.as_deref()) {
        Some(finding) => diagnosis.note("flush", finding),
        None => diagnosis.not_known("flush", "the level that is asked for needs none"),
    }
    diagnosis.note("level", level(capabilities));
}

fn flush(capabilities: &Capabilities, evidence: Option<&str>) -> Option<Finding> {
    if let Some(evidence) = evidence {
        return Some(Finding::ok(format!("once behind each batch ({evidence})")));
    }
    if capabilities.durable_by(DurableBy::File) {
        return Some(Finding::ok("each file is flushed"));
    }
    let missing =
        [Capability::Flush, Capability::Fsync].into_iter().find(|capability| !capabilities.has(*capability))?;
    let evidence = capabilities.refusals().find(|refusal| refusal.capability == missing)?.evidence.clone();
    let why = format!("{}: {evidence}", missing.as_str());
    Some(Finding::warning(why, warning(missing).unwrap_or_default()))
}

fn level(capabilities: &Capabilities) -> Finding {
    let best = capabilities.best();
    if let Err(error) = capabilities.check() {
        return Finding::Problem(error);
    }
    let message = format!("documents reach the level {}", best.as_str());
    if best >= Level::Durable || capabilities.is_enough() {
        return Finding::ok(message);
    }
    Finding::warning(
        message,
        "A newer rsync on the NAS (3.2.4 and later), and the right to run `sync`, give the level durable.",
    )
}
