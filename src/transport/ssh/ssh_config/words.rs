//! One line of an ssh_config file: a keyword and its words.

/// A line that says something.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Line {
    /// In lower case.
    pub(super) keyword: String,
    /// Without quotes.
    pub(super) words: Vec<String>,
}

impl Line {
    /// Reads a line. `None` for an empty one and a comment. The error is a reason for people.
    pub(super) fn read(text: &str) -> Result<Option<Self>, String> {
        let text = text.trim_matches([' ', '\t', '\r', '\n', '\x0c']);
        if text.is_empty() || text.starts_with('#') {
            return Ok(None);
        }
        let is_blank = |c: char| c == ' ' || c == '\t';
        let end = text.find(|c| c == '=' || is_blank(c)).unwrap_or(text.len());
        let (keyword, rest) = text.split_at(end);
        let rest = rest.trim_start_matches(is_blank);
        let rest = rest.strip_prefix('=').unwrap_or(rest);
        let words = split(rest)?;
        if words.is_empty() {
            return Err(format!("{keyword} has no value"));
        }
        Ok(Some(Self { keyword: keyword.to_ascii_lowercase(), words }))
    }
}

/// Splits at blanks, as ssh does: quotes of both kinds may stand anywhere in a word, a backslash takes the meaning of a
/// quote, of another backslash and of a blank outside of quotes, and a word that begins with `#` is a comment.
fn split(text: &str) -> Result<Vec<String>, String> {
    let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None);
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match (c, quote) {
            ('#', None) if word.is_none() => break,
            (' ' | '\t', None) => words.extend(word.take()),
            ('\\', _) => {
                let is_taken = |next: &char| matches!(next, '\'' | '"' | '\\') || (quote.is_none() && *next == ' ');
                word.get_or_insert_default().push(chars.next_if(is_taken).unwrap_or('\\'));
            }
            (c, Some(open)) if c == open => quote = None,
            ('\'' | '"', None) => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            _ => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    if quote.is_some() { Err(String::from("a quote is not closed")) } else { Ok(words) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_as_ssh_reads_them() {
        for (text, keyword, words) in [
            ("Port 22", "port", &["22"][..]),
            (" \tPORT\t=\t22 \r", "port", &["22"]),
            ("Port=22", "port", &["22"]),
            ("Port==22", "port", &["=22"]),
            ("Host a  b\tc # d", "host", &["a", "b", "c"]),
            ("Host a#b", "host", &["a#b"]),
            ("User \"a b\" 'c d' e\\ f", "user", &["a b", "c d", "e f"]),
            ("User a\"b c\"d", "user", &["ab cd"]),
            (r#"User "a\"b" 'c\'d' e\\f g\h"#, "user", &["a\"b", "c'd", "e\\f", "g\\h"]),
            ("User \"\"", "user", &[""]),
        ] {
            let line = Line::read(text).unwrap().unwrap();
            assert_eq!(
                (line.keyword.as_str(), line.words.as_slice()),
                (keyword, &words.iter().map(ToString::to_string).collect::<Vec<_>>()[..]),
                "{text}"
            );
        }
        assert_eq!((Line::read("# Port 22"), Line::read(" \t")), (Ok(None), Ok(None)));
        for (text, reason) in [("Port", "no value"), ("Port # 22", "no value"), ("Port \"22", "not closed")] {
            assert!(Line::read(text).unwrap_err().contains(reason), "{text}");
        }
    }
}
