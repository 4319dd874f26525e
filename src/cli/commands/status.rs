//! `status`: how many documents are on the NAS, and why the others are not.

use std::fmt::{self, Write as _};

use clap::Args;

use crate::cli::args::user;
use crate::cli::console::Console;
use crate::cli::text::{table, time};
use crate::error::Result;
use crate::id::UserId;
use crate::json;
use crate::service::NasSyncService;
use crate::store::{NextTry, Pause, Queue, Selection, SyncStats};
use crate::text;

/// How many documents with failures are listed.
const SHOWN_FAILURES: usize = 20;

/// Whose documents are counted.
#[derive(Debug, Args)]
pub struct Status {
    /// Only those of this user
    #[arg(long, value_name = "ID", allow_negative_numbers = true, value_parser = user)]
    pub(super) user: Option<UserId>,
}

impl Status {
    /// Prints the counts, a pause, and the failures.
    pub async fn run(self, service: &NasSyncService, console: &Console) -> Result<u8> {
        let stats = service.stats(self.user.clone()).await?;
        let queue = service.queue(self.user.map_or_else(Selection::all, Selection::of_user)).await?;
        let pause = service.pause().await?;
        let configured = service.is_configured();
        console.line(&render(&stats, &queue, pause.as_ref(), configured));
        console.object(&json::status(&stats, &queue, pause.as_ref(), configured));
        Ok(0)
    }
}

fn render(stats: &SyncStats, queue: &Queue, pause: Option<&Pause>, configured: bool) -> String {
    let mut text = table(&[
        ("documents", stats.total_documents.to_string()),
        ("synced", format!("{} ({:.1}%)", stats.synced, stats.sync_percentage)),
        ("pending", pending(stats, queue)),
        ("last sync", stats.last_sync.map_or_else(|| "never".to_owned(), time)),
        ("NAS", if configured { "configured" } else { "not configured" }.to_owned()),
    ]);
    // Writing to a String has no error to report.
    let _ = write_pause(&mut text, pause).and_then(|()| write_failures(&mut text, queue));
    text
}

/// How many are pending, and in which states.
fn pending(stats: &SyncStats, queue: &Queue) -> String {
    let waiting = queue.deferred.iter().filter(|deferred| deferred.next != NextTry::Never).count();
    let counts = [
        (queue.leased, "being sent"),
        (waiting as u64, "waiting for their next try"),
        ((queue.deferred.len() - waiting) as u64, "failed for good"),
    ];
    let counts: Vec<_> =
        counts.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}")).collect();
    match counts.as_slice() {
        [] => stats.pending.to_string(),
        counts => format!("{} ({})", stats.pending, counts.join(", ")),
    }
}

fn write_pause(text: &mut String, pause: Option<&Pause>) -> fmt::Result {
    let Some(Pause { until, failure, .. }) = pause else { return Ok(()) };
    let until = until.map_or_else(|| "until `nas-sync retry`".to_owned(), |until| format!("until {}", time(until)));
    write!(text, "\npaused      {until}: {}", failure.text)?;
    match failure.solution() {
        Some(solution) => write!(text, "\n    {}", text::escape(solution)),
        None => Ok(()),
    }
}

fn write_failures(text: &mut String, queue: &Queue) -> fmt::Result {
    for deferred in queue.deferred.iter().take(SHOWN_FAILURES) {
        let next = match deferred.next {
            NextTry::At(at) => format!("next try at {}", time(at)),
            NextTry::Never => "failed for good; `nas-sync retry` tries again".to_owned(),
        };
        let failure = text::escape(&deferred.failure.text);
        write!(text, "\nDocument {}: {failure} (tries: {}; {next})", deferred.id, deferred.tries)?;
        if let Some(solution) = deferred.failure.solution() {
            write!(text, "\n    {}", text::escape(solution))?;
        }
    }
    match queue.deferred.len() {
        count if count > SHOWN_FAILURES => {
            write!(text, "\n… and {} more; --json lists all", count - SHOWN_FAILURES)
        }
        _ => Ok(()),
    }
}
