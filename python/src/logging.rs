//! Log lines of the library, for the logger `nas_sync` of the interpreter.
//!
//! Guarantees: no thread of ours enters the interpreter; lines are kept until one of its own comes for them, and only so many; a
//! forked child has lines, and a lock on them, of its own.

use std::collections::VecDeque;
use std::fmt::{self, Write as _};
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pyo3::prelude::*;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Dispatch, Event, Level, Metadata, Subscriber};

/// So many lines are kept.
const MOST: usize = 1_000;

/// The lines of one process.
#[derive(Clone, Default)]
pub struct Lines(Arc<Mutex<Kept>>);

#[derive(Default)]
struct Kept {
    lines: VecDeque<(Level, String)>,
    /// Lines for which there was no room.
    lost: usize,
}

impl Lines {
    /// What each thread is to begin with whose lines are to be kept.
    pub fn keeper(&self) -> impl Fn() + Send + Sync + 'static {
        let dispatch = Dispatch::new(Keeper(self.clone()));
        // It holds until the thread ends.
        move || mem::forget(tracing::dispatcher::set_default(&dispatch))
    }

    /// Hands what is kept to the interpreter's `logging`. Fails as its handlers do.
    pub fn deliver(&self, py: Python<'_>) -> PyResult<()> {
        let Kept { lines, lost } = mem::take(&mut *self.kept());
        if lines.is_empty() {
            return Ok(());
        }
        let logger = py.import("logging")?.call_method1("getLogger", ("nas_sync",))?;
        for (level, text) in lines {
            logger.call_method1("log", (number(level), "%s", text))?;
        }
        if lost > 0 {
            logger.call_method1("log", (number(Level::WARN), "%d more lines were lost", lost))?;
        }
        Ok(())
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The interpreter's number of a level.
fn number(level: Level) -> u8 {
    match level {
        Level::ERROR => 40,
        Level::WARN => 30,
        Level::INFO => 20,
        _ => 10,
    }
}

/// Keeps the library's lines, but for those that only its makers read.
struct Keeper(Lines);

impl Subscriber for Keeper {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event() && *metadata.level() <= Level::DEBUG && metadata.target().starts_with("nas_sync")
    }

    fn event(&self, event: &Event<'_>) {
        let mut text = Text::default();
        event.record(&mut text);
        let mut kept = self.0.kept();
        if kept.lines.len() < MOST {
            kept.lines.push_back((*event.metadata().level(), text.0));
        } else {
            kept.lost += 1;
        }
    }

    fn new_span(&self, _span: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _span: &Id, _values: &Record<'_>) {}

    fn record_follows_from(&self, _span: &Id, _follows: &Id) {}

    fn enter(&self, _span: &Id) {}

    fn exit(&self, _span: &Id) {}
}

/// The message of an event, and its fields behind it.
#[derive(Default)]
struct Text(String);

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // To write into a text does not fail.
        let _ = if field.name() == "message" {
            let fields = mem::take(&mut self.0);
            write!(self.0, "{value:?}{fields}")
        } else {
            write!(self.0, " {}={value:?}", field.name())
        };
    }
}
