//! Text within the columns of a terminal: lines that end between words, and names without their middle.

use std::borrow::Cow;
use std::os::fd::AsFd;

use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

/// A terminal that is narrower counts as this.
const LEAST: usize = 20;
/// How far the second line of a paragraph is indented.
const INDENT: usize = 4;

/// How wide a terminal is at this moment; `None` for what is no terminal, or does not say it.
pub fn columns(of: impl AsFd) -> Option<usize> {
    let size = rustix::termios::tcgetwinsize(of).ok()?;
    (size.ws_col > 0).then(|| usize::from(size.ws_col).max(LEAST))
}

/// Text whose lines end between words where they would be too long for a terminal; a word that is longer stays whole. Without a
/// terminal it stays as it is.
pub fn fitted(text: &str, columns: Option<usize>) -> Cow<'_, str> {
    match columns {
        Some(columns) if text.lines().any(|line| seen(line) > columns) => {
            let lines: Vec<_> = text.split('\n').map(|line| fitted_line(line, columns)).collect();
            Cow::Owned(lines.join("\n"))
        }
        _ => Cow::Borrowed(text),
    }
}

fn fitted_line(line: &str, columns: usize) -> String {
    if seen(line) <= columns {
        return line.to_owned();
    }
    let leading = line.len() - line.trim_start_matches(' ').len();
    let (indent, line) = match second_line(line, columns) {
        Some(indent) => (indent, Cow::Borrowed(line)),
        // Below a column that is too far to the right there is no room.
        None if leading > 0 => (INDENT, Cow::Owned(format!("{:INDENT$}{}", "", &line[leading..]))),
        None => (INDENT, Cow::Borrowed(line)),
    };
    let (mut out, mut at) = (String::new(), 0);
    for word in line.split_inclusive(' ') {
        if at > indent && at + seen(word.trim_end_matches(' ')) > columns {
            out.truncate(out.trim_end_matches(' ').len());
            out.push('\n');
            out.extend(std::iter::repeat_n(' ', indent));
            at = indent;
        }
        out.push_str(word);
        at += seen(word);
    }
    out
}

/// Where a long line goes on: below the last of its columns, which begin behind two blanks or more, in its first third.
fn second_line(line: &str, columns: usize) -> Option<usize> {
    let mut last = None;
    let (mut at, mut blanks) = (0, 0);
    for letter in line.chars() {
        match letter {
            ' ' => blanks += 1,
            _ if at > columns / 3 => break,
            _ => {
                if blanks > 1 {
                    last = Some(at);
                }
                blanks = 0;
            }
        }
        at += letter.width().unwrap_or(0);
    }
    last
}

/// The columns that a text takes; those of a change of colour are none.
fn seen(text: &str) -> usize {
    let mut parts = text.split('\x1b');
    let first = parts.next().map_or(0, str::width);
    first + parts.map(|part| part.split_once('m').map_or(0, |(_, shown)| shown.width())).sum::<usize>()
}

/// A name without its middle where it takes more columns than there are: both ends tell more.
pub fn cut(name: &str, columns: usize) -> Cow<'_, str> {
    if name.width() <= columns {
        return Cow::Borrowed(name);
    }
    let letters: Vec<char> = name.chars().collect();
    let start = fitting(letters.iter().copied(), columns / 2);
    let end = fitting(letters.iter().rev().copied(), columns.saturating_sub(1) - columns / 2);
    let (start, end) = (&letters[..start], &letters[letters.len() - end..]);
    Cow::Owned(format!("{}…{}", start.iter().collect::<String>(), end.iter().collect::<String>()))
}

/// How many of the first letters fit into so many columns.
fn fitting(letters: impl Iterator<Item = char>, columns: usize) -> usize {
    let widths = letters.scan(0, |width, letter| {
        *width += letter.width().unwrap_or(0);
        Some(*width)
    });
    widths.take_while(|width| *width <= columns).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_end_between_words_and_go_on_below_their_last_column() {
        for (columns, text, expected) in [
            (24, "exactly as wide as it is", "exactly as wide as it is"),
            (20, "error: the NAS refused the password", "error: the NAS\n    refused the\n    password"),
            (
                40,
                "host key   SHA256:K7njeIA0efCAV (ssh-ed25519)",
                "host key   SHA256:K7njeIA0efCAV\n           (ssh-ed25519)",
            ),
            (20, "host key     far to the right", "host key     far to\n    the right"),
            (40, "               not so far to the right of it", "    not so far to the right of it"),
            (20, "    cause: it is so, and stays", "    cause: it is so,\n    and stays"),
            (20, "a SHA256:K7njeIA0efCAVmGpLYbQDLIhKIVb b", "a SHA256:K7njeIA0efCAVmGpLYbQDLIhKIVb\n    b"),
            (20, "one\n\ntwo 見積書 見積書 見積書", "one\n\ntwo 見積書 見積書\n    見積書"),
            (20, "\x1b[1;31merror:\x1b[0m no room there", "\x1b[1;31merror:\x1b[0m no room there"),
        ] {
            assert_eq!(fitted(text, Some(columns)), expected);
            assert_eq!(fitted(text, None), text);
        }
    }

    #[test]
    fn names_are_cut_in_their_middle_by_the_columns_that_they_take() {
        assert_eq!(cut("short.pdf", 9), "short.pdf");
        assert_eq!(cut("a long name.pdf", 9), "a lo….pdf");
        assert_eq!(cut("見積書の控え.pdf", 10), "見積….pdf");
        for columns in 1..40 {
            assert!(cut("見積書 of 2024, é\u{301}, twelfth copy.pdf", columns).width() <= columns, "{columns}");
        }
    }
}
