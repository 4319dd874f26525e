//! The bar: bytes, rate, time left, current file. It appears once the work turns out to take a while.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use super::console::Console;
use crate::client::documents::{DocumentEvent, DocumentMonitor};
use crate::role::event::{Event, Monitor, Severity};
use crate::text;

/// Work that is done sooner gets no bar.
const PATIENCE: Duration = Duration::from_millis(400);
const TEMPLATE: &str = "{bar:24} {percent:>3}% {bytes}/{total_bytes} {bytes_per_sec} {eta} {wide_msg}";

/// One bar for all sessions of a command.
#[derive(Debug)]
pub struct Bar {
    console: Console,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    started: Instant,
    bar: Option<ProgressBar>,
    total: u64,
    done: u64,
    current: String,
}

impl Bar {
    /// A bar on this console, which decides whether anything is drawn.
    pub fn new(console: Console) -> Self {
        let state = State { started: Instant::now(), bar: None, total: 0, done: 0, current: String::new() };
        Self { console, state: Mutex::new(state) }
    }

    /// Takes the bar away.
    pub fn finish(&self) {
        if let Some(bar) = self.state().bar.take() {
            bar.finish_and_clear();
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // The state is consistent between any two statements that hold the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn start(&self, state: &State) -> ProgressBar {
        // Elapsed time and rate count from the start of the work.
        let bar = ProgressBar::new(state.total).with_elapsed(state.started.elapsed());
        if let Ok(style) = ProgressStyle::with_template(TEMPLATE) {
            bar.set_style(style.progress_chars("=> "));
        }
        let bar = self.console.add_bar(bar);
        bar.set_message(state.current.clone());
        bar
    }

    /// There is more to do than was known.
    fn add_total(&self, bytes: u64) {
        let mut state = self.state();
        state.total += bytes;
        if let Some(bar) = &state.bar {
            bar.set_length(state.total);
        }
    }

    /// A file begins.
    fn set_current(&self, name: &[u8]) {
        let mut state = self.state();
        state.current = text::escape_bytes(name);
        if let Some(bar) = &state.bar {
            bar.set_message(state.current.clone());
        }
    }

    /// More bytes are done.
    fn advance(&self, bytes: u64) {
        let mut state = self.state();
        state.done += bytes;
        if state.bar.is_none() && state.started.elapsed() >= PATIENCE {
            state.bar = Some(self.start(&state));
        }
        if let Some(bar) = &state.bar {
            bar.set_position(state.done);
        }
    }
}

impl Monitor for Bar {
    fn event(&self, event: Event<'_>) {
        match event {
            Event::Listed { bytes, .. } => self.add_total(bytes),
            Event::FileStarted { entry, .. } => self.set_current(entry.name),
            Event::Progress { bytes } => self.advance(bytes),
            _ => {}
        }
    }
}

impl DocumentMonitor for Bar {
    fn event(&self, event: DocumentEvent<'_>) {
        match event {
            DocumentEvent::Planned { bytes, .. } => self.add_total(bytes),
            DocumentEvent::Started { name, .. } => self.set_current(name.as_bytes()),
            DocumentEvent::Progress { bytes } => self.advance(bytes),
            _ => {}
        }
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
