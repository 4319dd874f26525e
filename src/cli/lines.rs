//! Documents as lines of JSON, from an input that need not end.
//!
//! Guarantees: a line that makes no sense is one all the same, with its number; memory is bounded whatever comes.

use std::io::{self, BufRead, BufReader, Read};

use serde_json::{Map, Value};
use tokio::sync::mpsc;

use crate::blocking;
use crate::client::documents::OutgoingDocument;
use crate::error::{ErrorKind, NasSyncError, Result};
use crate::tree::RemoteName;

/// The longest line, in bytes: path and name are 4,095 bytes at most, each of which JSON may write as six.
const LONGEST: usize = 64 * 1024;
/// Lines that wait for whoever takes them.
const WAITING: usize = 64;

/// What stands in a line.
#[derive(Debug)]
pub enum Line {
    /// A document to send.
    Document(OutgoingDocument),
    /// No document.
    Senseless {
        /// Which line, from 1.
        number: u64,
        /// What stands in the place of the key, where that can be read.
        key: Option<Value>,
        /// What is wrong with it.
        error: NasSyncError,
    },
}

/// Reads lines on a thread of its own, and gives them one by one; an error is the last. Blank lines are left out.
pub fn read(input: impl Read + Send + 'static) -> Result<mpsc::Receiver<io::Result<Line>>> {
    let (sender, lines) = mpsc::channel(WAITING);
    blocking::start(move || {
        for line in (Lines { input: BufReader::new(input), number: 0, buffer: Vec::new() }) {
            if sender.blocking_send(line).is_err() {
                break;
            }
        }
    })?;
    Ok(lines)
}

struct Lines<R> {
    input: BufReader<R>,
    number: u64,
    buffer: Vec<u8>,
}

impl<R: Read> Iterator for Lines<R> {
    type Item = io::Result<Line>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            self.buffer.clear();
            let most = LONGEST as u64 + 1;
            match self.input.by_ref().take(most).read_until(b'\n', &mut self.buffer) {
                Ok(0) => return None,
                Ok(_) => self.number += 1,
                Err(error) => return Some(Err(error)),
            }
            if self.buffer.len() > LONGEST && !self.buffer.ends_with(b"\n") {
                if let Err(error) = self.input.skip_until(b'\n') {
                    return Some(Err(error));
                }
                let error = usage(format!("the line is longer than {LONGEST} bytes"));
                return Some(Ok(Line::Senseless { number: self.number, key: None, error }));
            }
            if !self.buffer.trim_ascii().is_empty() {
                return Some(Ok(parse(self.number, &self.buffer)));
            }
        }
    }
}

fn parse(number: u64, line: &[u8]) -> Line {
    let object = match serde_json::from_slice::<Map<String, Value>>(line) {
        Ok(object) => object,
        Err(error) => {
            let error = usage(format!("the line is no JSON object: {error}"));
            return Line::Senseless { number, key: None, error };
        }
    };
    match document(&object) {
        Ok(document) => Line::Document(document),
        Err(error) => {
            // A larger thing in its place would only be echoed.
            let key = object.get("key").filter(|key| key.is_string() || key.is_number()).cloned();
            Line::Senseless { number, key, error }
        }
    }
}

fn document(object: &Map<String, Value>) -> Result<OutgoingDocument> {
    let (key, path, name) = (text(object, "key")?, text(object, "path")?, text(object, "name")?);
    Ok(OutgoingDocument::new(key, path, RemoteName::new(name)?))
}

fn text<'o>(object: &'o Map<String, Value>, name: &str) -> Result<&'o str> {
    match object.get(name) {
        Some(Value::String(text)) if !text.is_empty() => Ok(text),
        Some(Value::String(_)) => Err(usage(format!("{name:?} is empty"))),
        Some(_) => Err(usage(format!("{name:?} is no text"))),
        None => Err(usage(format!("the line has no {name:?}"))),
    }
}

fn usage(message: String) -> NasSyncError {
    const FORM: &str = r#"Write one object a line: {"key":"42","path":"/app/uploads/a.jpg","name":"2024/a.jpg"}."#;
    NasSyncError::new(ErrorKind::Usage, message).with_solution(FORM)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(input: &[u8]) -> Vec<Line> {
        Lines { input: BufReader::new(input), number: 0, buffer: Vec::new() }.map(io::Result::unwrap).collect()
    }

    #[test]
    fn each_line_is_a_document_or_told_by_its_number() {
        let mut input =
            "{\"key\":\"42\",\"path\":\"/a b\",\"name\":\"x/\u{e9}\",\"more\":1}\r\n\n  \n".as_bytes().to_vec();
        input.extend_from_slice(b"garbage\n[1]\n\xff\n{\"key\":7,\"path\":\"a\",\"name\":\"a\"}\n");
        input.extend_from_slice(b"{\"key\":\"k\",\"path\":\"a\"}\n{\"key\":\"k\",\"path\":\"\",\"name\":\"a\"}\n");
        input.extend_from_slice(b"{\"key\":\"k\",\"path\":\"a\",\"name\":\"../a\"}\n");
        input.extend(std::iter::repeat_n(b'[', 1_000_000));
        input.extend_from_slice(b"\n{\"key\":\"last\",\"path\":\"p\",\"name\":\"n\"}");
        let lines = lines(&input);
        let Line::Document(first) = &lines[0] else { panic!("{lines:?}") };
        assert_eq!((first.id.as_text(), first.name.as_bytes()), (Some("42"), "x/\u{e9}".as_bytes()));
        let Some(Line::Document(last)) = lines.last() else { panic!("{lines:?}") };
        assert_eq!(last.id.as_text(), Some("last"));
        let told = lines[1..lines.len() - 1].iter().map(|line| match line {
            Line::Senseless { number, key, error } => (*number, key.clone(), error.kind()),
            Line::Document(_) => panic!("{line:?}"),
        });
        let (usage, key) = (ErrorKind::Usage, Some(Value::from("k")));
        let expected = [
            (4, None, usage),
            (5, None, usage),
            (6, None, usage),
            (7, Some(Value::from(7)), usage),
            (8, key.clone(), usage),
            (9, key.clone(), usage),
            (10, key, ErrorKind::NameUnsendable),
            (11, None, usage),
        ];
        assert_eq!(told.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn a_line_of_the_longest_length_is_read() {
        let line = |len: usize| {
            let start = r#"{"key":"k","path":"p","name":"n","x":""#;
            format!("{start}{}\"}}\n", "x".repeat(len - start.len() - 2))
        };
        assert!(matches!(lines(line(LONGEST).as_bytes())[..], [Line::Document(_)]));
        assert!(matches!(lines(line(LONGEST + 1).as_bytes())[..], [Line::Senseless { .. }]));
    }
}
