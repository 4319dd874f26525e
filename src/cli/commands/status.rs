//! `status`: how many documents are on the NAS, and why the others are not; or all that is known of one.

use std::fmt::{self, Write as _};
use std::os::unix::ffi::OsStrExt as _;

use clap::Args;

use crate::cli::args::{document, user};
use crate::cli::console::Console;
use crate::cli::text::{bytes, table, time};
use crate::error::Result;
use crate::id::{DocumentId, UserId};
use crate::json;
use crate::service::NasSyncService;
use crate::store::{Deferred, DocumentState, ListedDocument, Moved, NextTry, Pause, Queue, Selection, SyncStats};
use crate::text;

/// How many documents with failures are listed.
const SHOWN_FAILURES: usize = 20;

/// Whose documents are counted.
#[derive(Debug, Args)]
pub struct Status {
    /// Only those of this user
    #[arg(long, value_name = "ID", allow_negative_numbers = true, value_parser = user)]
    pub(super) user: Option<UserId>,
    /// Just this document, with all that is known of it; may be given several times
    #[arg(long = "document", value_name = "ID", allow_negative_numbers = true, value_parser = document)]
    pub(super) documents: Vec<DocumentId>,
}

impl Status {
    /// Prints the counts, a pause, and the failures.
    pub async fn run(self, service: &NasSyncService, console: &Console) -> Result<u8> {
        if !self.documents.is_empty() {
            return self.one_by_one(service, console).await;
        }
        let stats = service.stats(self.user.clone()).await?;
        let queue = service.queue(self.user.map_or_else(Selection::all, Selection::of_user)).await?;
        let pause = service.pause().await?;
        let (configured, moved) = (service.is_configured(), service.moved().await?);
        if let Some(moved) = &moved {
            console.note(&format!("warning: {}; {}", moved.message(), Moved::SOLUTION));
        }
        console.words(&render(&stats, &queue, pause.as_ref(), configured));
        console.object(&json::status(&stats, &queue, pause.as_ref(), moved.as_ref(), configured));
        Ok(0)
    }

    /// Prints all that is known of single documents.
    async fn one_by_one(self, service: &NasSyncService, console: &Console) -> Result<u8> {
        let selection = self.user.map_or_else(Selection::all, Selection::of_user).only(self.documents);
        let listing = service.show(selection).await?;
        for document in &listing.documents {
            console.words(&render_one(document));
        }
        console.object(&json::list(&listing));
        Ok(0)
    }
}

fn render_one(document: &ListedDocument) -> String {
    let state = if document.sending { "being sent" } else { document.state.as_str() };
    let mut rows = vec![("document", document.id.to_string()), ("state", state.to_owned())];
    rows.push(("file", text::escape(&document.file)));
    let path = document.path.as_ref().map(|path| text::escape_bytes(path.as_os_str().as_bytes()));
    rows.extend(path.map(|path| ("path", path)));
    rows.extend(document.user_id.as_ref().map(|user| ("user", user.to_string())));
    if let Some(copy) = &document.copy {
        let on_the_nas = if document.state == DocumentState::Synced { "on the NAS" } else { "old copy" };
        rows.push((on_the_nas, text::escape_bytes(&copy.remote_name)));
        rows.push(("level", copy.level.as_str().to_owned()));
        rows.push(("size", bytes(copy.bytes)));
        rows.extend(copy.sha256.map(|sha256| ("sha256", json::hex(&sha256))));
    }
    rows.extend(document.synced_at.map(|at| ("synced", time(at))));
    if let Some(deferred) = &document.deferred {
        rows.push(("failure", text::escape(&deferred.failure.text)));
        rows.push(("tries", deferred.tries.to_string()));
        rows.push((
            "next try",
            match deferred.next {
                NextTry::At(at) => time(at),
                NextTry::Never => for_good(&deferred.id),
            },
        ));
        rows.extend(deferred.failure.solution().map(|solution| ("solution", text::escape(solution))));
    }
    table(&rows)
}

fn next_try(deferred: &Deferred) -> String {
    match deferred.next {
        NextTry::At(at) => format!("next try at {}", time(at)),
        NextTry::Never => for_good(&deferred.id),
    }
}

fn for_good(id: &DocumentId) -> String {
    format!(
        "failed for good; `nas-sync retry --document {id}` tries again, `nas-sync remove --document {id}` gives it up"
    )
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
        (waiting as u64, "waiting for the next try"),
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
    let until_a_person_comes = until.is_none();
    let until = until.map_or_else(|| "until `nas-sync retry`".to_owned(), |until| format!("until {}", time(until)));
    write!(text, "\npaused      {until}: {}", failure.text)?;
    if let Some(solution) = failure.solution() {
        write!(text, "\n    {}", text::escape(solution))?;
    }
    if until_a_person_comes {
        write!(
            text,
            "\n    A `watch` or `serve` that runs needs a restart for what is changed in .env or the environment."
        )?;
    }
    Ok(())
}

fn write_failures(text: &mut String, queue: &Queue) -> fmt::Result {
    for deferred in queue.deferred.iter().take(SHOWN_FAILURES) {
        let next = next_try(deferred);
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
