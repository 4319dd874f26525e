//! `verify`: compares the copies on the NAS with what was recorded, and says which are not equal.

use clap::Args;

use crate::cli::args::SelectionArgs;
use crate::cli::console::Console;
use crate::error::{ErrorKind, NasSyncError, Result};
use crate::id::DocumentId;
use crate::json;
use crate::service::NasSyncService;
use crate::service::verify::{Method, Requeue, Sample, VerifyReport, VerifyRequest};
use crate::text::counted;

/// The exit status when something is not equal, or could not be compared.
const NOT_EQUAL: u8 = 1;

/// Which documents are compared, and how.
#[derive(Debug, Args)]
pub struct Verify {
    #[command(flatten)]
    pub(super) selection: SelectionArgs,
    /// Only a share of them, drawn anew each time
    #[arg(long, value_name = "N%", value_parser = sample)]
    sample: Option<Sample>,
    /// All of them, as without --sample
    #[arg(long, conflicts_with = "sample")]
    all: bool,
    /// Let the NAS run sha256sum, instead of letting its rsync compare with the files here
    #[arg(long)]
    sha256sum: bool,
    /// Set documents pending again whose copy is missing, or differs from a file that is still what was sent
    #[arg(long)]
    requeue: bool,
}

fn sample(text: &str) -> Result<Sample, String> {
    text.parse().map_err(|error: NasSyncError| error.message().to_owned())
}

impl Verify {
    fn request(&self) -> VerifyRequest {
        VerifyRequest {
            selection: self.selection.selection(),
            sample: self.sample,
            method: if self.sha256sum { Method::Sha256sum } else { Method::DryRun },
            requeue: if self.requeue { Requeue::Yes } else { Requeue::No },
        }
    }

    /// Verifies, and says what was found.
    pub async fn run(self, service: &NasSyncService, console: &Console) -> Result<u8> {
        let report = service.verify(self.request()).await?;
        console.some(report.differing.iter().map(|id| self.of_another(id, &report)));
        console.some(report.missing.iter().map(|id| self.of_none(id, &report)));
        console.some(
            report
                .changed_here
                .iter()
                .map(|id| format!("Document {id}: its file here is no longer what was synced; {}", sends_again(id))),
        );
        console.some(report.unknown.iter().map(|unknown| {
            let is_gone_here = unknown.error.kind() == ErrorKind::SourceMissing;
            let hint =
                if is_gone_here { "; `nas-sync verify --sha256sum` lets the NAS sum its copy alone" } else { "" };
            format!("{unknown}{hint}")
        }));
        if let Some(error) = &report.stopped {
            console.error(error);
        }
        console.report(&line(&report));
        console.object(&json::verify(&report));
        Ok(exit_code(&report))
    }
}

impl Verify {
    /// A document that has another copy.
    fn of_another(&self, id: &DocumentId, report: &VerifyReport) -> String {
        let what = match (report.kept.contains(id), report.gone_here.contains(id)) {
            (_, true) => ", and its file here is gone, so it stays as it is".to_owned(),
            (true, false) => {
                format!(", and its file here is another one, too, so it stays as it is; {}", sends_again(id))
            }
            _ if self.requeue => String::new(),
            _ => format!("; {}", sends_again(id)),
        };
        format!("Document {id}: its copy on the NAS differs{what}")
    }

    /// A document that has no copy.
    fn of_none(&self, id: &DocumentId, report: &VerifyReport) -> String {
        let what = match (report.gone_here.contains(id), self.requeue) {
            (true, true) => ", and its file here is gone, too".to_owned(),
            (true, false) => {
                ", and its file here is gone, too; with --requeue it no longer counts as synced".to_owned()
            }
            (false, true) => String::new(),
            (false, false) => format!("; {}", sends_again(id)),
        };
        format!("Document {id}: it is missing on the NAS{what}")
    }
}

fn sends_again(id: &DocumentId) -> String {
    format!("`nas-sync resend --document {id}` sends it again")
}

fn exit_code(report: &VerifyReport) -> u8 {
    match &report.stopped {
        Some(error) => error.kind().exit_code(),
        None if report.is_clean() => 0,
        None => NOT_EQUAL,
    }
}

/// The result in one line.
fn line(report: &VerifyReport) -> String {
    let counts = [
        (report.differing.len(), "different"),
        (report.missing.len(), "missing"),
        (report.changed_here.len(), "changed here"),
        (report.unknown.len(), "not comparable"),
        (report.total - report.checked, "not reached"),
        (report.requeued, "pending again"),
    ];
    let counts = counts.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!(", {count} {what}"));
    if report.total == 0 {
        return "nothing to compare: no document counts as synced (`nas-sync status` says how they stand)".to_owned();
    }
    let documents = counted(report.total as u64, "document", "documents");
    format!("{} of {documents} equal{}", report.equal, counts.collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_status_and_line() {
        let clean = VerifyReport { total: 3, checked: 3, equal: 3, ..VerifyReport::default() };
        assert_eq!((exit_code(&clean), line(&clean).as_str()), (0, "3 of 3 documents equal"));
        let missing = VerifyReport { equal: 2, missing: vec![DocumentId::from(7)], requeued: 1, ..clean.clone() };
        assert_eq!(
            (exit_code(&missing), line(&missing).as_str()),
            (1, "2 of 3 documents equal, 1 missing, 1 pending again")
        );
        assert!(line(&VerifyReport::default()).starts_with("nothing to compare: "));
        let stopped = Some(NasSyncError::new(ErrorKind::ConnectionLost, "x"));
        let cut = VerifyReport { checked: 1, equal: 1, stopped, ..clean };
        assert_eq!((exit_code(&cut), line(&cut).as_str()), (3, "1 of 3 documents equal, 2 not reached"));
    }
}
