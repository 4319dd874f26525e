//! Where text goes: results to stdout, everything else to stderr, around a bar that may be drawn there.
//!
//! Guarantees: a closed or full output never panics; a reader that has gone away (`| head`) ends nothing, while a result
//! that could not be written is not a success. Never: a colour where `NO_COLOR` or a file is, a bar where nobody looks.

use std::io::{self, IsTerminal as _, Write};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget};
use serde_json::Value;

use super::columns::{columns, fitted};
use super::log;
use super::text::{self, Style};
use crate::config::LogFormat;
use crate::error::NasSyncError;
use crate::json;

/// Both outputs. Clones are the same console.
#[derive(Debug, Clone)]
pub struct Console {
    bars: MultiProgress,
    style: Style,
    json: bool,
    quiet: bool,
    /// Whether what goes to stderr is an object a line.
    objects: Arc<AtomicBool>,
    fault: Arc<Mutex<Option<io::Error>>>,
}

impl Console {
    /// The process's own outputs. With `json`, stdout belongs to [`Console::object`] alone.
    pub fn new(json: bool, quiet: bool) -> Self {
        let is_set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let terminal = io::stderr().is_terminal() && std::env::var_os("TERM").is_none_or(|term| term != "dumb");
        let style = if terminal && !is_set("NO_COLOR") { Style::Coloured } else { Style::Plain };
        let target = if terminal && !quiet { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        Self {
            bars: MultiProgress::with_draw_target(target),
            style,
            json,
            quiet,
            objects: Arc::default(),
            fault: Arc::default(),
        }
    }

    /// What was done, for people; not shown when quiet.
    pub fn report(&self, line: &str) {
        if !self.quiet {
            self.words(line);
        }
    }

    /// What was asked for, in words: on a terminal no word is broken at its edge.
    pub fn words(&self, text: &str) {
        self.line(&fitted(text, Self::columns()));
    }

    /// A line of what was asked for, as it is.
    pub fn line(&self, line: &str) {
        if !self.json {
            self.write_out(line);
        }
    }

    /// A part of a line of the result, for people, which is seen at once.
    pub fn part(&self, text: &str) {
        if !self.json {
            let mut fault = self.lock();
            if fault.is_none() {
                let write = || io::stdout().write_all(text.as_bytes()).and_then(|()| io::stdout().flush());
                *fault = self.bars.suspend(write).err();
            }
        }
    }

    /// The result, for programs.
    pub fn object(&self, object: &Value) {
        if self.json {
            self.write_out(&crate::text::escape_json(&object.to_string()));
        }
    }

    /// Something worth knowing; not shown when quiet.
    pub fn note(&self, line: &str) {
        if !self.quiet {
            self.say("info", line);
        }
    }

    /// The same, for lines that are copied from here: they stay as they are.
    pub fn verbatim(&self, lines: &str) {
        if !self.quiet {
            self.write_err(lines);
        }
    }

    /// A line on stderr that is always shown.
    pub fn err(&self, line: &str) {
        self.say("warn", line);
    }

    /// Lines on stderr that are always shown: the first few, and how many more there are.
    pub fn some(&self, lines: impl ExactSizeIterator<Item = String>) {
        const SHOWN: usize = 20;
        let more = lines.len().saturating_sub(SHOWN);
        lines.take(SHOWN).for_each(|line| self.err(&line));
        if more > 0 {
            self.err(&format!("… and {more} more like these; --json lists all"));
        }
    }

    fn say(&self, level: &str, line: &str) {
        if self.objects.load(Ordering::Relaxed) {
            self.event(&Value::Object(log::object(level, line)));
        } else {
            self.write_err(&fitted(line, columns(io::stderr())));
        }
    }

    /// An object on stderr, whatever else is said there.
    pub fn event(&self, object: &Value) {
        self.write_err(&crate::text::escape_json(&object.to_string()));
    }

    fn write_err(&self, line: &str) {
        // There is nobody left to tell that stderr cannot be written.
        self.bars.suspend(|| drop(writeln!(io::stderr(), "{line}")));
    }

    /// An error, with all that is known about it.
    pub fn error(&self, error: &NasSyncError) {
        if self.objects.load(Ordering::Relaxed) {
            let mut object = log::object("error", error.message());
            object.insert("error".to_owned(), json::error(error));
            self.event(&Value::Object(object));
        } else {
            self.write_err(&fitted(&text::error(error, self.style), columns(io::stderr())));
        }
    }

    /// From now on what goes to stderr has the form of the log.
    pub fn write_log_as(&self, format: LogFormat) {
        self.objects.store(format == LogFormat::Json, Ordering::Relaxed);
    }

    /// Whether a bar would be seen.
    pub fn draws_bars(&self) -> bool {
        !self.bars.is_hidden()
    }

    /// How wide the terminal is that shows what was asked for, if it is one.
    pub fn columns() -> Option<usize> {
        columns(io::stdout())
    }

    /// Whether objects are wanted.
    pub fn is_json(&self) -> bool {
        self.json
    }

    /// Whether only errors are wanted, and what was asked for.
    pub fn is_quiet(&self) -> bool {
        self.quiet
    }

    /// Ends the line on which a terminal shows `^C`.
    pub fn end_line(&self) {
        if self.draws_bars() {
            self.write_err("");
        }
    }

    /// Says that the end is under way.
    pub fn stopping(&self) {
        self.end_line();
        self.note("stopping in order; once more stops at once");
    }

    /// Draws a bar, where somebody looks.
    pub fn add_bar(&self, bar: ProgressBar) -> ProgressBar {
        self.bars.add(bar)
    }

    /// The exit status of the process: `code`, unless a result could not be written; a code of 0 is then `unwritten`. A
    /// reader that has seen enough is no reason.
    pub fn exit_code(&self, code: u8, unwritten: u8) -> ExitCode {
        match self.lock().take().filter(|error| error.kind() != io::ErrorKind::BrokenPipe) {
            Some(error) => {
                self.err(&format!("error: the result could not be written: {error}"));
                ExitCode::from(if code == 0 { unwritten } else { code })
            }
            None => ExitCode::from(code),
        }
    }

    fn write_out(&self, line: &str) {
        let mut fault = self.lock();
        if fault.is_none() {
            *fault = self.bars.suspend(|| writeln!(io::stdout(), "{line}")).err();
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<io::Error>> {
        // The value is whole between any two statements that hold the lock.
        self.fault.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// For log output: around the bar.
impl Write for Console {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let text = str::from_utf8(bytes).ok().filter(|_| !self.objects.load(Ordering::Relaxed));
        let text = text.map(|text| fitted(text, columns(io::stderr())));
        self.bars.suspend(|| io::stderr().write_all(text.as_deref().map_or(bytes, str::as_bytes)))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}
