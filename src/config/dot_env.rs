//! The `.env` file: our settings among the lines of whatever else uses the same file.
//!
//! Guarantees: a line that is not ours never matters, however it is written: blanks without quotes, quotes that are never
//! closed, text that is not UTF-8. A line of ours that is not understood is `Usage`; the message gives its number and never
//! its text, which may be a secret. Names that begin like ours and are none are listed.

mod assignment;

use std::collections::BTreeMap;

use zeroize::Zeroizing;

use super::origin::{LookUp, wipe};
use super::table::is_known;
use crate::error::{ErrorKind, NasSyncError, Result};

/// What the file holds of ours.
#[derive(Default)]
pub(super) struct DotEnv {
    pub(super) values: BTreeMap<String, Zeroizing<String>>,
    /// Every name that is set there, ours or not.
    pub(super) names: Vec<String>,
}

/// One assignment, which may go over several lines, or one line that is none.
struct Record<'a> {
    /// The number of its first line.
    line: usize,
    bytes: &'a [u8],
}

/// Reads the file. As usual for such files, the first of several lines with one name counts, and `$NAME` in a value that is
/// not in single quotes is replaced: by a variable, else by the value of a line before, which may be one that is not ours.
pub(super) fn parse(content: &[u8], variables: &LookUp) -> Result<DotEnv> {
    // Some editors put a byte order mark first.
    let content = content.strip_prefix(b"\xef\xbb\xbf").unwrap_or(content);
    let mut found = DotEnv::default();
    let mut seen: BTreeMap<&str, Zeroizing<String>> = BTreeMap::new();
    let mut dropped: Vec<(String, usize)> = Vec::new();
    for Record { line, bytes } in Records::of(content) {
        let Some(name) = name(bytes) else { continue };
        found.names.push(name.to_owned());
        let look_up = |name: &str| variable(variables, name).or_else(|| seen.get(name).cloned());
        let text = str::from_utf8(bytes).ok();
        let Some((text, (name, value))) = text.and_then(|text| Some((text, assignment::read(text, &look_up)?))) else {
            if is_known(name) {
                return Err(not_understood(line));
            }
            dropped.push((name.to_owned(), line));
            continue;
        };
        if is_known(name) {
            refuse_broken_reference(text, &dropped)?;
            found.values.entry(name.to_owned()).or_insert_with(|| value.clone());
        }
        seen.insert(name, value);
    }
    Ok(found)
}

/// Where the line or lines stand that give this name its value.
#[cfg(feature = "cli")]
pub(super) fn place_of(content: &[u8], wanted: &str) -> Option<std::ops::Range<usize>> {
    let mark = if content.starts_with(b"\xef\xbb\xbf") { 3 } else { 0 };
    let mut start = mark;
    for Record { bytes, .. } in Records::of(&content[mark..]) {
        let end = start + bytes.len();
        if name(bytes) == Some(wanted) {
            return Some(start..end);
        }
        start = end;
    }
    None
}

fn variable(variables: &LookUp, name: &str) -> Option<Zeroizing<String>> {
    match variables(name)?.into_string() {
        Ok(text) => Some(Zeroizing::new(text)),
        Err(text) => {
            wipe(text);
            None
        }
    }
}

/// A value of ours must not silently lose a part that another line was to give.
fn refuse_broken_reference(text: &str, dropped: &[(String, usize)]) -> Result<()> {
    let value = text.split_once('=').map_or("", |(_, value)| value.trim_start());
    if value.starts_with('\'') {
        return Ok(());
    }
    let broken =
        dropped.iter().find(|(name, _)| value.contains(&format!("${{{name}}}")) || value.contains(&format!("${name}")));
    broken.map_or(Ok(()), |(_, line)| Err(not_understood(*line)))
}

fn not_understood(line: usize) -> NasSyncError {
    NasSyncError::new(ErrorKind::Usage, format!("line {line} of .env is not understood"))
        .with_solution("Write NAME=value; put a value with blanks, # or quotes between single quotes.")
}

/// The file in [`Record`]s.
struct Records<'a> {
    rest: &'a [u8],
    line: usize,
}

impl<'a> Records<'a> {
    fn of(content: &'a [u8]) -> Self {
        Self { rest: content, line: 1 }
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Record<'a>;

    fn next(&mut self) -> Option<Record<'a>> {
        if self.rest.is_empty() {
            return None;
        }
        let first = line_end(self.rest);
        let (bytes, rest) = self.rest.split_at(closing_line(self.rest, first).unwrap_or(first));
        let line = self.line;
        self.rest = rest;
        self.line += bytes.split_inclusive(|&byte| byte == b'\n').count();
        Some(Record { line, bytes })
    }
}

/// The length of the first line, with its line feed.
fn line_end(text: &[u8]) -> usize {
    text.iter().position(|&byte| byte == b'\n').map_or(text.len(), |at| at + 1)
}

/// Where an assignment ends whose value begins with a quote that its first line does not close. `None` where it is closed
/// in that line, or nowhere: then the quote is a slip of somebody's, and the next lines are lines of their own. The same
/// where something follows the next such quote, because then that one opens another value.
fn closing_line(text: &[u8], first: usize) -> Option<usize> {
    let equals = text[..first].iter().position(|&byte| byte == b'=')?;
    let start = equals + 1 + text[equals + 1..first].iter().position(|byte| !matches!(byte, b' ' | b'\t'))?;
    let quote = *text.get(start).filter(|byte| matches!(byte, b'\'' | b'"' | b'`'))?;
    let mut at = start + 1;
    loop {
        match *text.get(at)? {
            b'\\' => at += 2,
            byte if byte == quote => break,
            _ => at += 1,
        }
    }
    let behind = at + 1;
    let end = behind + line_end(&text[behind..]);
    let tail = text[behind..end].trim_ascii_start();
    (at >= first && (tail.is_empty() || tail.starts_with(b"#"))).then_some(end)
}

/// The name that a line gives a value to, or seems to want to: ours also without the equals sign.
fn name(line: &[u8]) -> Option<&str> {
    let line = line.trim_ascii_start();
    let line = line.strip_prefix(b"export ").map_or(line, <[u8]>::trim_ascii_start);
    let length = line.iter().position(|byte| !(byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-')));
    let (name, rest) = line.split_at(length.unwrap_or(line.len()));
    let name = str::from_utf8(name).ok().filter(|name| !name.is_empty())?;
    (rest.trim_ascii_start().starts_with(b"=") || is_known(name)).then_some(name)
}
