//! Text for people. Nothing here prints; foreign text has been escaped, or is escaped here.

use std::fmt::Write as _;

use chrono::{DateTime, Utc};

use super::console::Style;
use super::rsync::numbers::{self, Numbers};
use crate::config::{KeySource, Settings};
use crate::error::{ErrorKind, NasSyncError};
use crate::service::{ConnectionReport, Retried, SyncSummary};
use crate::store::{NextTry, Pause, Queue, SyncStats};
use crate::text;

/// How many documents with failures `status` lists.
const SHOWN_FAILURES: usize = 20;

/// An error: what, what else is known, why, and what to do.
pub fn error(error: &NasSyncError, style: Style) -> String {
    let (red, bold, off) = match style {
        Style::Coloured => ("\x1b[1;31m", "\x1b[1m", "\x1b[0m"),
        Style::Plain => ("", "", ""),
    };
    let mut text = format!("{red}error:{off} {}", error.message());
    for line in error.details().into_iter().flat_map(str::lines) {
        append(&mut text, format_args!("\n    {line}"));
    }
    append(&mut text, format_args!("\n{bold}cause:{off} {}", error.cause()));
    append(&mut text, format_args!("\n{bold}solution:{off} {}", error.solution()));
    text
}

/// `config`: every setting that may be shown, and what is missing.
pub fn config(settings: &Settings) -> String {
    let shown = |value: Option<&String>| value.map_or_else(|| "(not set)".to_owned(), |value| text::escape(value));
    let path = |path: &std::path::Path| text::escape_bytes(path.as_os_str().as_encoded_bytes());
    let key = match &settings.key {
        KeySource::Text(_) => "(text in NAS_KEY)".to_owned(),
        KeySource::File(file) => path(file),
        KeySource::FirstOf(files) => {
            files.iter().find(|file| file.exists()).map_or_else(|| "(none found)".to_owned(), |file| path(file))
        }
    };
    let host_keys = match (&settings.host_key, &settings.known_hosts) {
        (Some(pin), _) => format!("only {}", text::escape(pin)),
        (None, Some(file)) => path(file),
        (None, None) => "(none)".to_owned(),
    };
    let durability = settings.durability.map_or("best that the NAS can do, up to durable", crate::proof::Level::as_str);
    let rows = [
        ("host", shown(settings.host.as_ref())),
        ("user", shown(settings.user.as_ref())),
        ("path", shown(settings.path.as_ref())),
        ("port", settings.port.to_string()),
        ("key", key),
        ("host keys", host_keys),
        ("database", path(&settings.db)),
        ("upload dir", settings.upload_dir.as_deref().map_or_else(|| "(not set)".to_owned(), path)),
        ("layout", text::escape(&settings.layout)),
        ("durability", durability.to_owned()),
    ];
    let missing = settings.missing();
    let verdict = if missing.is_empty() {
        "Configured. `nas-sync test` tries the connection.".to_owned()
    } else {
        let verb = if missing.len() == 1 { "is" } else { "are" };
        format!("Not configured: {} {verb} missing.", missing.join(", "))
    };
    format!("{}\n{verdict}", table(&rows))
}

/// `test`
pub fn test(report: &ConnectionReport, message: &str) -> String {
    let version = report.rsync_version.as_deref().unwrap_or("(does not say its version)");
    table(&[
        ("result", message.to_owned()),
        ("host key", report.host_key.clone()),
        ("ssh server", text::escape(&report.ssh_server)),
        ("rsync", format!("{version}, protocol {}", report.protocol)),
        ("best level", report.level.as_str().to_owned()),
        ("login took", format!("{} ms", report.connect_time.as_millis())),
    ])
}

/// `test`, in one sentence.
pub fn test_message(settings: &Settings) -> String {
    let show = |value: &Option<String>| text::escape(value.as_deref().unwrap_or_default());
    let (host, user, path) = (show(&settings.host), show(&settings.user), show(&settings.path));
    format!("connected to {host} as {user}; {path} is writable")
}

/// `sync`, in one line. The errors are told beside it.
pub fn sync(summary: &SyncSummary) -> String {
    let mut line = format!("{} of {} documents synced", summary.synced, summary.total);
    for (count, what) in [(summary.failed, "failed"), (summary.pending, "still pending")] {
        if count > 0 {
            append(&mut line, format_args!(", {count} {what}"));
        }
    }
    let sent = numbers::count(summary.bytes_sent, Numbers::Separated);
    append(&mut line, format_args!("; {sent} bytes sent in {:.1} s", summary.elapsed.as_secs_f64()));
    line
}

/// `status`
pub fn status(stats: &SyncStats, queue: &Queue, pause: Option<&Pause>, configured: bool) -> String {
    let last = stats.last_sync.map_or_else(|| "never".to_owned(), time);
    let waiting = queue.deferred.iter().filter(|deferred| deferred.next != NextTry::Never).count();
    let counts = [
        (queue.leased, "being sent"),
        (waiting as u64, "waiting for their next try"),
        ((queue.deferred.len() - waiting) as u64, "failed for good"),
    ];
    let counts: Vec<_> =
        counts.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}")).collect();
    let pending = match counts.as_slice() {
        [] => stats.pending.to_string(),
        counts => format!("{} ({})", stats.pending, counts.join(", ")),
    };
    let mut text = table(&[
        ("documents", stats.total_documents.to_string()),
        ("synced", format!("{} ({:.1}%)", stats.synced, stats.sync_percentage)),
        ("pending", pending),
        ("last sync", last),
        ("NAS", if configured { "configured" } else { "not configured" }.to_owned()),
    ]);
    if let Some(Pause { until, failure, .. }) = pause {
        let until = until.map_or_else(|| "until `nas-sync retry`".to_owned(), |until| format!("until {}", time(until)));
        append(&mut text, format_args!("\npaused      {until}: {}", failure.text));
    }
    for deferred in queue.deferred.iter().take(SHOWN_FAILURES) {
        let next = match deferred.next {
            NextTry::At(at) => format!("next try at {}", time(at)),
            NextTry::Never => "failed for good; `nas-sync retry` tries again".to_owned(),
        };
        let failure = text::escape(&deferred.failure.text);
        append(&mut text, format_args!("\nDocument {}: {failure} (tries: {}; {next})", deferred.id, deferred.tries));
        if let Some(kind) = ErrorKind::from_name(&deferred.failure.kind) {
            append(&mut text, format_args!("\n    {}", kind.solution()));
        }
    }
    if queue.deferred.len() > SHOWN_FAILURES {
        append(&mut text, format_args!("\n… and {} more; --json lists all", queue.deferred.len() - SHOWN_FAILURES));
    }
    text
}

/// `retry`
pub fn retry(retried: &Retried) -> String {
    let mut text = match retried.documents {
        0 => "no document waited or had failed".to_owned(),
        1 => "1 document goes with the next sync".to_owned(),
        documents => format!("{documents} documents go with the next sync"),
    };
    if let Some(pause) = &retried.pause {
        append(&mut text, format_args!("; the pause is over: {}", pause.failure.text));
    }
    text
}

/// A time.
pub fn time(time: DateTime<Utc>) -> String {
    time.format("%Y-%m-%d %H:%M:%S UTC").to_string()
}

fn table(rows: &[(&str, String)]) -> String {
    let lines: Vec<_> = rows.iter().map(|(name, value)| format!("{name:<11} {value}")).collect();
    lines.join("\n")
}

fn append(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    // Writing to a String has no error to report.
    let _ = text.write_fmt(arguments);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_shows_all_that_is_known() {
        let fault =
            NasSyncError::new(ErrorKind::DiskFull, "no room").with_details("one\ntwo").with_solution("Buy disks.");
        assert_eq!(
            error(&fault, Style::Plain),
            format!("error: no room\n    one\n    two\ncause: {}\nsolution: Buy disks.", ErrorKind::DiskFull.cause())
        );
        assert!(error(&fault, Style::Coloured).starts_with("\x1b[1;31merror:\x1b[0m no room"));
    }

    #[test]
    fn a_summary_names_only_what_happened() {
        let mut summary = SyncSummary { total: 2, synced: 2, bytes_sent: 1234, ..SyncSummary::default() };
        assert_eq!(sync(&summary), "2 of 2 documents synced; 1,234 bytes sent in 0.0 s");
        (summary.synced, summary.failed) = (1, 1);
        assert!(sync(&summary).starts_with("1 of 2 documents synced, 1 failed; "));
    }
}
