//! How far a run is, for people and programs (`--progress`): a bar, a line every ten seconds, objects, or nothing.
//!
//! Never: a bar where nobody looks, and a line in the first ten seconds.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use clap::ValueEnum;
use indicatif::{ProgressBar, ProgressFinish, ProgressStyle};
use tokio::task::JoinHandle;

use super::console::Console;
use crate::blocking;
use crate::client::documents::{DocumentEvent, DocumentMonitor, TriedDocuments};
use crate::json::{self, ProgressEvent, ProgressMonitor};
use crate::role::event::Severity;
use crate::text;

/// Work that is done sooner gets no bar.
const PATIENCE: Duration = Duration::from_millis(400);
/// How often a line is written.
const LINE_PACE: Duration = Duration::from_secs(10);
const TEMPLATE: &str = "{bar:24} {percent:>3}% {wide_msg}";
/// Longer names are cut in their middle.
const NAME_LEN: usize = 40;

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
            Show::Json => {
                ProgressMonitor::new(move |event| out.err(&text::escape_json(&json::progress(&event).to_string())))
            }
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

/// How far a run is, in one line; `None` where that is not what the event tells.
fn line(event: &ProgressEvent) -> Option<String> {
    let ProgressEvent::Progress { done, documents, bytes, bytes_total, bytes_per_second, eta_seconds, current } = event
    else {
        return None;
    };
    let mut words =
        vec![format!("{done}/{documents} documents"), format!("{}/{}", text::size(*bytes), text::size(*bytes_total))];
    words.extend((*bytes_per_second).map(|rate| format!("{}/s", text::size(rate))));
    words.extend((*eta_seconds).map(|seconds| format!("{} left", time(seconds))));
    words.extend(current.as_deref().map(shortened));
    Some(words.join(", "))
}

/// A number of seconds as people say it.
fn time(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min {:02} s", seconds / 60, seconds % 60),
        _ => format!("{} h {:02} min", seconds / 3600, seconds % 3600 / 60),
    }
}

/// A name without its middle, where it is long: both ends tell more.
fn shortened(name: &str) -> String {
    let letters: Vec<char> = name.chars().collect();
    if letters.len() <= NAME_LEN {
        return name.to_owned();
    }
    let (start, end) = (&letters[..NAME_LEN / 2], &letters[letters.len() - (NAME_LEN / 2 - 1)..]);
    format!("{}…{}", start.iter().collect::<String>(), end.iter().collect::<String>())
}

/// Draws one bar for all sessions of a command.
pub fn bar(console: Console) -> ProgressMonitor {
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
        let mut drawn = blocking::lock(&self.drawn);
        match (event, line(event)) {
            (ProgressEvent::Finished { .. }, _) => *drawn = None,
            (ProgressEvent::Progress { bytes, bytes_total, .. }, Some(line)) if self.began.elapsed() >= PATIENCE => {
                let bar = drawn.get_or_insert_with(|| self.draw());
                bar.set_length(*bytes_total);
                bar.set_message(line);
                bar.set_position(*bytes);
            }
            _ => {}
        }
    }

    fn draw(&self) -> ProgressBar {
        let bar = ProgressBar::no_length().with_finish(ProgressFinish::AndClear);
        if let Ok(style) = ProgressStyle::with_template(TEMPLATE) {
            bar.set_style(style.progress_chars("=> "));
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
    }

    #[test]
    fn times_have_two_units() {
        assert_eq!(
            [0, 59, 60, 3599, 3600, 90_061].map(time),
            ["0 s", "59 s", "1 min 00 s", "59 min 59 s", "1 h 00 min", "25 h 01 min"]
        );
    }
}
