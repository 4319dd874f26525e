//! rsync's own lines about how far it is, for whatever reads them: of each file (`--progress`), or of all (`--info=progress2`).
//!
//! They go to stdout, whether that is a terminal or not: a line begins with a carriage return and takes the place of the one
//! before, and the last one of a file says which transfer it was and how many entries are left to be looked at.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use super::numbers::{Numbers, count, ratio};
use crate::blocking;
use crate::cli::console::Console;
use crate::role::event::Event;

/// How far lines of one file are apart.
const PACE: Duration = Duration::from_secs(1);

/// What the lines are about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum About {
    /// One file.
    Each,
    /// All files.
    All,
}

/// Writes the lines of a push.
pub struct ProgressLines {
    console: Console,
    about: About,
    numbers: Numbers,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    began: Instant,
    /// When the last line was written about what is going on.
    shown: Option<Instant>,
    /// Bytes of the file, or of all, and how many of them have been sent.
    size: u64,
    sent: u64,
    entries: usize,
    /// The entry that the other side looks at.
    index: usize,
    transferred: u64,
    /// A line stands there without its end.
    is_open: bool,
}

impl ProgressLines {
    /// For a push that begins now.
    pub fn new(console: Console, about: About, numbers: Numbers) -> Self {
        let began = Instant::now();
        let state =
            State { began, shown: None, size: 0, sent: 0, entries: 0, index: 0, transferred: 0, is_open: false };
        Self { console, about, numbers, state: Mutex::new(state) }
    }

    /// Takes in what happens.
    pub fn event(&self, event: &Event<'_>) {
        let state = &mut *blocking::lock(&self.state);
        let now = Instant::now();
        match event {
            Event::Listed { entries, bytes } => {
                if self.about == About::All {
                    state.size += bytes;
                    if state.entries == 0 {
                        state.began = now;
                    }
                }
                state.entries += entries;
            }
            Event::Asked { index } => state.index = *index,
            Event::FileStarted { entry } if self.about == About::Each => {
                (state.size, state.sent, state.began, state.shown) = (entry.meta.size, 0, now, None);
            }
            Event::Progress { bytes } => {
                state.sent = (state.sent + bytes).min(state.size);
                if state.shown.is_none_or(|shown| now >= shown + PACE) {
                    state.shown = Some(now);
                    let line = state.line(now, self.numbers);
                    self.write(state, &format!("\r{line}  "));
                }
            }
            Event::FileSent { .. } => {
                state.transferred += 1;
                let left = state.entries.saturating_sub(state.index + 1);
                let end = if self.about == About::Each { "\n" } else { "" };
                let line = state.last_line(now, self.numbers) + &state.counts(left);
                self.write(state, &format!("\r{line}{end}"));
            }
            Event::FileFailed { .. } => self.end_line(state),
            _ => {}
        }
    }

    /// Something else is about to be written.
    pub fn make_way(&self) {
        self.end_line(&mut blocking::lock(&self.state));
    }

    /// All is done.
    pub fn finish(&self) {
        let state = &mut *blocking::lock(&self.state);
        if self.about == About::All {
            let line = state.last_line(Instant::now(), self.numbers) + &state.counts(0);
            self.write(state, &format!("\r{line}\n"));
        }
        self.end_line(state);
    }

    fn end_line(&self, state: &mut State) {
        if state.is_open {
            self.write(state, "\n");
        }
    }

    fn write(&self, state: &mut State, text: &str) {
        state.is_open = !text.ends_with('\n');
        self.console.part(text);
    }
}

impl State {
    /// While it goes on: with the time that is left.
    fn line(&self, now: Instant, numbers: Numbers) -> String {
        let passed = now.saturating_duration_since(self.began);
        // What fills buffers in the first moment is no rate.
        let rate = if passed < PACE { 0.0 } else { per_second(self.sent, passed) };
        let left = if rate > 0.0 { ratio(self.size - self.sent, 1) / rate } else { 0.0 };
        self.parts(rate, Duration::try_from_secs_f64(left).unwrap_or_default(), numbers)
    }

    /// At the end: with the time that it took.
    fn last_line(&self, now: Instant, numbers: Numbers) -> String {
        let passed = now.saturating_duration_since(self.began);
        self.parts(per_second(self.sent, passed), passed, numbers)
    }

    fn parts(&self, rate: f64, time: Duration, numbers: Numbers) -> String {
        let percent = if self.sent == self.size { 100 } else { u128::from(self.sent) * 100 / u128::from(self.size) };
        let (rate, unit) = match rate / 1024.0 {
            rate if rate < 1024.0 => (rate, "kB/s"),
            rate if rate < 1024.0 * 1024.0 => (rate / 1024.0, "MB/s"),
            rate => (rate / 1024.0 / 1024.0, "GB/s"),
        };
        let seconds = time.as_secs();
        format!(
            "{:>15} {percent:>3}% {rate:>7.2}{unit} {:>4}:{:02}:{:02}",
            count(self.sent, numbers),
            seconds / 3600,
            seconds / 60 % 60,
            seconds % 60
        )
    }

    fn counts(&self, left: usize) -> String {
        format!(" (xfr#{}, to-chk={left}/{})", self.transferred, self.entries)
    }
}

fn per_second(bytes: u64, passed: Duration) -> f64 {
    let seconds = passed.as_secs_f64();
    if seconds > 0.0 { ratio(bytes, 1) / seconds } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(size: u64, sent: u64) -> State {
        let began = Instant::now();
        State { began, shown: None, size, sent, entries: 6, index: 1, transferred: 1, is_open: false }
    }

    #[test]
    fn lines_have_the_columns_of_stock_rsync() {
        let at = |state: &State, seconds| state.began + Duration::from_secs(seconds);
        let going = state(3_000_000, 32_768);
        assert_eq!(going.line(at(&going, 0), Numbers::Separated), "         32,768   1%    0.00kB/s    0:00:00");
        assert_eq!(going.line(at(&going, 2), Numbers::Separated), "         32,768   1%   16.00kB/s    0:03:01");
        let done = state(3_000_000, 3_000_000);
        let last = done.last_line(at(&done, 1), Numbers::Separated) + &done.counts(4);
        assert_eq!(last, "      3,000,000 100%    2.86MB/s    0:00:01 (xfr#1, to-chk=4/6)");
        assert!(done.last_line(at(&done, 3661), Numbers::Decimal).starts_with("          3.00M 100%"));
        assert!(done.last_line(at(&done, 3661), Numbers::Plain).ends_with("    1:01:01"));
        let empty = state(0, 0);
        assert_eq!(empty.last_line(at(&empty, 0), Numbers::Separated), "              0 100%    0.00kB/s    0:00:00");
    }
}
