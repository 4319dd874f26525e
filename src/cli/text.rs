//! Text for people, as several commands write it. Nothing here prints; foreign text has been escaped already.

use chrono::{DateTime, Utc};

use super::rsync::numbers::{self, Numbers};
use crate::error::NasSyncError;

/// Whether errors are coloured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// They are.
    Coloured,
    /// They are not.
    Plain,
}

/// An error: its message, what else is known, its cause, and what to do about it.
pub fn error(error: &NasSyncError, style: Style) -> String {
    let (red, bold, off) = match style {
        Style::Coloured => ("\x1b[1;31m", "\x1b[1m", "\x1b[0m"),
        Style::Plain => ("", "", ""),
    };
    let mut lines = vec![format!("{red}error:{off} {}", error.message())];
    lines.extend(more(error).map(|line| format!("    {line}")));
    lines.push(format!("{bold}cause:{off} {}", error.cause()));
    lines.push(format!("{bold}solution:{off} {}", error.solution()));
    lines.join("\n")
}

/// What else is known: the lines that the message does not quote.
pub fn more(error: &NasSyncError) -> impl Iterator<Item = &str> {
    let lines = error.details().into_iter().flat_map(str::lines);
    lines.filter(|line| !error.message().contains(line.trim()))
}

/// Names and values in two columns.
pub fn table(rows: &[(&str, String)]) -> String {
    let lines: Vec<_> = rows.iter().map(|(name, value)| format!("{name:<11} {value}")).collect();
    lines.join("\n")
}

/// A number of bytes, to the last one.
pub fn bytes(count: u64) -> String {
    format!("{} {}", numbers::count(count, Numbers::Separated), if count == 1 { "byte" } else { "bytes" })
}

/// A time to the second, in UTC.
pub fn time(time: DateTime<Utc>) -> String {
    time.format("%Y-%m-%d %H:%M:%S UTC").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    #[test]
    fn an_error_shows_all_that_is_known() {
        let fault = NasSyncError::new(ErrorKind::DiskFull, "no room")
            .with_details("one\nno room\ntwo")
            .with_solution("Buy disks.");
        assert_eq!(
            error(&fault, Style::Plain),
            format!("error: no room\n    one\n    two\ncause: {}\nsolution: Buy disks.", ErrorKind::DiskFull.cause())
        );
        assert!(error(&fault, Style::Coloured).starts_with("\x1b[1;31merror:\x1b[0m no room"));
    }
}
