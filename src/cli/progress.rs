//! How far a run is, for people and programs (`--progress`): a bar, a line every ten seconds, objects, or nothing.
//!
//! Never: a bar where nobody looks, and a line in the first ten seconds.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use clap::ValueEnum;
use indicatif::{ProgressBar, ProgressFinish, ProgressStyle};
use tokio::task::JoinHandle;
use unicode_width::UnicodeWidthStr as _;

use super::columns::{columns, cut};
use super::console::Console;
use crate::blocking;
use crate::client::documents::{DocumentEvent, DocumentMonitor, TriedDocuments};
use crate::json::{self, ProgressEvent, ProgressMonitor};
use crate::role::event::{Event, Monitor, Severity};
use crate::text;

/// Work that is done sooner gets no bar.
const PATIENCE: Duration = Duration::from_millis(400);
/// How often a line is written.
const LINE_PACE: Duration = Duration::from_secs(10);
/// Longer names are cut in their middle, in a log.
const NAME_LEN: usize = 40;
/// From so many columns on there is room for all words.
const WIDE: usize = 100;
/// A name with fewer columns is left out.
const LEAST_NAME: usize = 8;
/// A terminal that does not say how wide it is counts as this.
const USUAL: usize = 80;

/// How progress is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Show {
    /// A bar on a terminal, elsewhere lines
    #[default]
    Auto,
    /// A bar on a terminal, elsewhere nothing
    Bar,
    /// A line every ten seconds
    Plain,
    /// One JSON object a line on stderr
    Json,
    /// Nothing
    None,
}

/// Shows how far a run of documents is, and with `-v` each document and what the NAS says.
pub struct Display {
    monitor: Arc<ProgressMonitor>,
    console: Console,
    verbose: u8,
    lines: Option<JoinHandle<()>>,
    /// For the object at the end.
    tried: Option<TriedDocuments>,
}

impl Display {
    /// Begins. Must be called inside a runtime.
    pub fn begin(show: Show, console: &Console, verbose: u8) -> Self {
        let show = match show {
            Show::Auto if console.draws_bars() => Show::Bar,
            Show::Auto if console.is_quiet() => Show::None,
            Show::Auto => Show::Plain,
            show => show,
        };
        let out = console.clone();
        let monitor = Arc::new(match show {
            Show::Json => ProgressMonitor::new(move |event| out.event(&json::progress(&event))),
            Show::Bar => bar(out),
            Show::Auto | Show::Plain | Show::None => ProgressMonitor::new(|_| {}),
        });
        let lines = (show == Show::Plain).then(|| tokio::spawn(write_lines(Arc::clone(&monitor), console.clone())));
        Self {
            monitor,
            console: console.clone(),
            verbose,
            lines,
            tried: console.is_json().then(|| TriedDocuments::at_most(usize::MAX)),
        }
    }

    /// The documents that were tried; none unless objects are wanted.
    pub fn tried(&self) -> Option<&TriedDocuments> {
        self.tried.as_ref()
    }

    /// The run is over, with so many documents synced and failed.
    pub fn finish(&self, synced: usize, failed: usize) {
        self.monitor.finish(synced as u64, failed as u64);
    }
}

impl Drop for Display {
    fn drop(&mut self) {
        if let Some(lines) = &self.lines {
            lines.abort();
        }
    }
}

impl DocumentMonitor for Display {
    fn event(&self, event: DocumentEvent<'_>) {
        if self.verbose > 0 {
            match &event {
                DocumentEvent::Sent { name, .. } => self.console.note(&format!("sent {name}")),
                DocumentEvent::Text { severity, text } => show_remote_text(&self.console, *severity, text),
                _ => {}
            }
        }
        if let Some(tried) = &self.tried {
            tried.event(event);
        }
        DocumentMonitor::event(&*self.monitor, event);
    }
}

/// Of a push, whose files are told by its own lines.
impl Monitor for Display {
    fn event(&self, event: Event<'_>) {
        Monitor::event(&*self.monitor, event);
    }
}

async fn write_lines(monitor: Arc<ProgressMonitor>, console: Console) {
    let mut pace = tokio::time::interval(LINE_PACE);
    // The first tick comes at once.
    pace.tick().await;
    loop {
        pace.tick().await;
        if let Some(line) = line(&monitor.now()) {
            console.err(&line);
        }
    }
}

/// How far a run is, in one line for a log; `None` where that is not what the event tells.
fn line(event: &ProgressEvent) -> Option<String> {
    let ProgressEvent::Progress { documents, .. } = event else { return None };
    if *documents == 0 {
        return None;
    }
    let mut words = figures(event, Words::All);
    words.extend(under_way(event).map(|name| cut(name, NAME_LEN).into_owned()));
    Some(words.join(", "))
}

/// How much is said of each figure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Words {
    /// What it is.
    All,
    /// The number and its unit.
    Few,
}

/// Documents, bytes, rate and time left, as far as they are known; of few words, what matters most comes first.
fn figures(event: &ProgressEvent, words: Words) -> Vec<String> {
    let ProgressEvent::Progress { done, documents, bytes, bytes_total, bytes_per_second, eta_seconds, .. } = event
    else {
        return Vec::new();
    };
    let is_moving = !is_handed_on(event);
    let rate = (*bytes_per_second).filter(|_| is_moving).map(|rate| format!("{}/s", text::size(rate)));
    let left = (*eta_seconds).filter(|_| is_moving).map(|seconds| format!("{} left", time(seconds)));
    match words {
        Words::All => {
            let documents = text::counted(*documents, "document", "documents");
            let bytes = format!("{}/{}", text::size(*bytes), text::size(*bytes_total));
            [Some(format!("{done}/{documents}")), Some(bytes), rate, left].into_iter().flatten().collect()
        }
        Words::Few => [Some(format!("{done}/{documents}")), left, rate].into_iter().flatten().collect(),
    }
}

/// Whether all bytes are on their way, and what is left is for the NAS to store: no rate tells how long that takes.
fn is_handed_on(event: &ProgressEvent) -> bool {
    matches!(event, ProgressEvent::Progress { done, documents, bytes, bytes_total, .. }
        if bytes == bytes_total && done < documents)
}

/// What is under way.
fn under_way(event: &ProgressEvent) -> Option<&str> {
    match event {
        event if is_handed_on(event) => Some("waiting for the NAS"),
        ProgressEvent::Progress { current, .. } => current.as_deref(),
        _ => None,
    }
}

/// A number of seconds as people say it.
fn time(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min {:02} s", seconds / 60, seconds % 60),
        _ => format!("{} h {:02} min", seconds / 3600, seconds % 3600 / 60),
    }
}

/// A terminal of so many columns shows one line: a bar where there is room, the share, the figures, and as much of the name as
/// fits.
fn drawn(event: &ProgressEvent, columns: usize) -> Option<String> {
    let ProgressEvent::Progress { documents, bytes, bytes_total, .. } = event else { return None };
    if *documents == 0 {
        return None;
    }
    let share = if *bytes_total == 0 { 0 } else { u128::from(*bytes) * 100 / u128::from(*bytes_total) };
    let percent = format!("{share:>3}%");
    let words = if columns >= WIDE { Words::All } else { Words::Few };
    let bar = match columns {
        WIDE.. => 24,
        60.. => 12,
        _ => 0,
    };
    let mut line = if bar == 0 { percent } else { format!("{} {percent}", bar_of(share, bar)) };
    for (at, figure) in figures(event, words).into_iter().enumerate() {
        let gap = if at == 0 { " " } else { ", " };
        if line.width() + gap.len() + figure.width() < columns {
            line = line + gap + &figure;
        }
    }
    // The last column is left free, where some terminals would begin a new line.
    let left = columns.saturating_sub(line.width() + 3);
    if let Some(name) = under_way(event).filter(|_| left >= LEAST_NAME) {
        // Of a name that does not fit, its folders tell least.
        let last = name.rsplit('/').next().unwrap_or(name);
        line = format!("{line}, {}", cut(if name.width() > left { last } else { name }, left));
    }
    Some(line)
}

fn bar_of(share: u128, columns: usize) -> String {
    let full = usize::try_from(share).unwrap_or(100).min(100) * columns / 100;
    let head = if full < columns { ">" } else { "" };
    format!("{:<columns$}", "=".repeat(full) + head)
}

/// Draws one bar for all sessions of a command.
fn bar(console: Console) -> ProgressMonitor {
    let bar = Bar { console, began: Instant::now(), drawn: Mutex::default() };
    ProgressMonitor::new(move |event| bar.show(&event))
}

/// It appears once the work turns out to take a while, and goes at its end.
struct Bar {
    console: Console,
    began: Instant,
    drawn: Mutex<Option<ProgressBar>>,
}

impl Bar {
    fn show(&self, event: &ProgressEvent) {
        let mut shown = blocking::lock(&self.drawn);
        if let ProgressEvent::Finished { .. } = event {
            *shown = None;
        } else if self.began.elapsed() >= PATIENCE
            && let Some(line) = drawn(event, columns(std::io::stderr()).unwrap_or(USUAL))
        {
            shown.get_or_insert_with(|| self.draw()).set_message(line);
        }
    }

    fn draw(&self) -> ProgressBar {
        let bar = ProgressBar::no_length().with_finish(ProgressFinish::AndClear);
        if let Ok(style) = ProgressStyle::with_template("{msg}") {
            bar.set_style(style);
        }
        self.console.add_bar(bar)
    }
}

/// The most of one line of the NAS that is shown, and of all that it says at a time, in bytes.
const MAX_LINE: usize = 1024;
const MAX_SAID: usize = 64 * 1024;

/// What the NAS says, on the way to stderr.
pub fn show_remote_text(console: &Console, severity: Severity, bytes: &[u8]) {
    for line in text::escape_lines_start(bytes, MAX_LINE, MAX_SAID).lines().filter(|line| !line.is_empty()) {
        match severity {
            Severity::Info => console.note(&format!("nas: {line}")),
            Severity::Warning | Severity::Error => console.err(&format!("nas: {line}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_says_how_far_it_is() {
        let event = |done, bytes_per_second, eta_seconds, current: Option<&str>| ProgressEvent::Progress {
            done,
            documents: 300,
            bytes: 95_000_000,
            bytes_total: 1_500_000_000,
            bytes_per_second,
            eta_seconds,
            current: current.map(ToOwned::to_owned),
        };
        assert_eq!(line(&event(0, None, None, None)).unwrap(), "0/300 documents, 95.0 MB/1.5 GB");
        assert_eq!(
            line(&event(57, Some(26_000_000), Some(75), Some("Facture n° 57.pdf"))).unwrap(),
            "57/300 documents, 95.0 MB/1.5 GB, 26.0 MB/s, 1 min 15 s left, Facture n° 57.pdf"
        );
        let long = line(&event(1, None, None, Some(&"0123456789".repeat(9)))).unwrap();
        assert!(long.ends_with(", 01234567890123456789…1234567890123456789"), "{long}");
        assert_eq!(line(&ProgressEvent::Started { documents: 1, bytes: 1 }), None);
        for (columns, expected) in [
            (
                200,
                "=>                         6% 57/300 documents, 95.0 MB/1.5 GB, 26.0 MB/s, 1 min 15 s left, Facture n° 57.pdf",
            ),
            (80, ">              6% 57/300, 1 min 15 s left, 26.0 MB/s, Facture n° 57.pdf"),
            (40, "  6% 57/300, 1 min 15 s left, 26.0 MB/s"),
            (39, "  6% 57/300, 1 min 15 s left, Fact…pdf"),
        ] {
            let event = event(57, Some(26_000_000), Some(75), Some("Facture n° 57.pdf"));
            assert_eq!(drawn(&event, columns).unwrap(), expected);
        }
        let mut stored = event(57, Some(26_000_000), Some(0), Some("Facture n° 300.pdf"));
        if let ProgressEvent::Progress { bytes, bytes_total, .. } = &mut stored {
            *bytes = *bytes_total;
        }
        assert_eq!(drawn(&stored, 40).unwrap(), "100% 57/300, waiting for the NAS");
        assert_eq!(line(&stored).unwrap(), "57/300 documents, 1.5 GB/1.5 GB, waiting for the NAS");
        for columns in 20..220 {
            let event = event(57, Some(26_000_000), Some(75), Some(&"見積書".repeat(80)));
            let drawn = drawn(&event, columns).unwrap();
            assert!(drawn.width() < columns && !drawn.contains('\n'), "{columns}: {drawn}");
        }
    }

    #[test]
    fn times_have_two_units() {
        assert_eq!(
            [0, 59, 60, 3599, 3600, 90_061].map(time),
            ["0 s", "59 s", "1 min 00 s", "59 min 59 s", "1 h 00 min", "25 h 01 min"]
        );
    }
}
