//! `doctor`: every check, what it found and what to do about it.

use crate::cli::console::Console;
use crate::cli::text::more;
use crate::config::Settings;
use crate::error::Result;
use crate::json;
use crate::service::checks::{self, Diagnosis, Finding};
use crate::text;

/// Makes all checks. Settings that make no sense are the first thing that is found.
pub async fn run(settings: Result<Settings>, warnings: &[String], console: &Console) -> u8 {
    let diagnosis = checks::examine(settings, warnings).await;
    for line in render(&diagnosis, console.is_quiet()) {
        console.words(&line);
    }
    console.object(&json::doctor(&diagnosis));
    diagnosis.exit_code()
}

fn render(diagnosis: &Diagnosis, is_quiet: bool) -> Vec<String> {
    let mut lines = Vec::new();
    let findings = diagnosis.findings();
    for (check, finding) in findings.iter().filter(|(_, finding)| !is_quiet || finding.status() != "ok") {
        let name = check.replace('_', " ");
        lines.push(format!("{:<8} {name:<14} {}", finding.status(), finding.message()));
        if let Finding::Problem(error) = finding {
            lines.extend(more(error).map(|line| format!("{:<24}| {line}", "")));
        }
        lines.extend(finding.solution().map(|solution| format!("{:<24}{solution}", "")));
    }
    if is_quiet {
        return lines;
    }
    let count = |status| findings.iter().filter(|(_, finding)| finding.status() == status).count() as u64;
    let mut summary = vec![
        text::counted(count("problem"), "problem", "problems"),
        text::counted(count("warning"), "warning", "warnings"),
    ];
    let omitted = diagnosis.omitted();
    if !omitted.is_empty() {
        summary.push(format!("{} not made", text::counted(omitted.len() as u64, "check", "checks")));
    }
    lines.push(summary.join(", "));
    if let Some(vendor) = diagnosis.vendor {
        lines.push(format!("The NAS looks like {}.", vendor.name));
    }
    let mut reasons: Vec<&str> = omitted.iter().map(|(_, why)| *why).collect();
    reasons.dedup();
    reasons.sort_unstable();
    reasons.dedup();
    for reason in reasons {
        let names: Vec<&str> = omitted.iter().filter(|(_, why)| *why == reason).map(|(name, _)| *name).collect();
        lines.push(format!("Not checked, because {reason}: {}", names.join(", ").replace('_', " ")));
    }
    lines
}
