//! `test`: a login, rsync on the NAS, and a destination that is proved to be writable.

use crate::cli::console::Console;
use crate::cli::text::table;
use crate::client::ConnectionReport;
use crate::error::Result;
use crate::json;
use crate::proof::DurableBy;
use crate::service::NasSyncService;
use crate::text;

/// Tests the connection, and says what was found.
pub async fn run(service: &NasSyncService, console: &Console) -> Result<u8> {
    let report = service.test_connection().await?;
    let message = service.connected();
    console.report(&render(&report, &message));
    console.object(&json::test(&report, &message));
    Ok(0)
}

fn render(report: &ConnectionReport, message: &str) -> String {
    let version = report.rsync_version.as_deref().unwrap_or("(does not say its version)");
    let mut rows = vec![
        ("result", message.to_owned()),
        ("host key", report.host_key.clone()),
        ("ssh server", text::escape(&report.ssh_server)),
        ("rsync", format!("{version}, protocol {}", report.protocol)),
        ("best level", report.level.as_str().to_owned()),
        ("login took", format!("{} ms", report.connect_time.as_millis())),
    ];
    rows.extend(report.durable_by.map(|way| ("durable by", how(way, report.flush_evidence.as_deref()))));
    let refusals = report.refusals.iter();
    rows.extend(
        refusals.map(|refusal| ("does without", format!("{}: {}", refusal.capability.as_str(), refusal.evidence))),
    );
    table(&rows)
}

fn how(way: DurableBy, evidence: Option<&str>) -> String {
    match way {
        DurableBy::File => String::from("flushing each file"),
        DurableBy::Batch => format!("one flush behind a batch ({})", evidence.unwrap_or_default()),
    }
}
