//! The one escaper between foreign bytes and a person's terminal.
//!
//! File names, banners, remote error texts and database values all pass through here before they are shown.
//! Guarantees: the result holds no control character (C0, DEL, C1), no bidirectional or zero-width format
//! character, and no invalid UTF-8; what was replaced stays readable (`\n`, `\x1b`, `\u{202e}`).

use std::fmt::Write as _;

/// A number and the word for it: `1 document`, `2 documents`.
#[cfg(feature = "service")]
pub fn counted(number: u64, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

/// The name that was meant by a mistyped one: more of it is right than wrong, or one of the two is a part of the other.
pub fn nearest<'n>(typed: &str, names: impl IntoIterator<Item = &'n str>) -> Option<&'n str> {
    let likeness = |name: &'n str| {
        let shorter = typed.len().min(name.len());
        let is_part = shorter >= SHORTEST_PART && (typed.contains(name) || name.contains(typed));
        let distance = distance(typed, name);
        (is_part || 2 * distance < typed.len().max(name.len())).then_some((!is_part, distance, name))
    };
    names.into_iter().filter_map(likeness).min().map(|(.., name)| name)
}

/// A shorter word is a part of many by chance.
const SHORTEST_PART: usize = 4;

/// How many letters must be put in, taken out, changed, or exchanged with their neighbours to make one word of the other.
fn distance(one: &str, other: &str) -> usize {
    let (one, other) = (one.as_bytes(), other.as_bytes());
    let (mut before, mut above) = (Vec::new(), (0..=other.len()).collect::<Vec<_>>());
    for (i, a) in one.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, b) in other.iter().enumerate() {
            let mut least = (above[j] + usize::from(a != b)).min(above[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && *a == other[j - 1] && one[i - 1] == *b {
                least = least.min(before[j - 1] + 1);
            }
            row.push(least);
        }
        before = std::mem::replace(&mut above, row);
    }
    above[other.len()]
}

/// A number of bytes as people say it.
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["KB", "MB", "GB", "TB", "PB"];
    let (mut unit, mut left) = ("bytes", (bytes, 0));
    for next in UNITS {
        if left.0 < 1000 {
            break;
        }
        (unit, left) = (next, (left.0 / 1000, left.0 % 1000 / 100));
    }
    if unit == "bytes" { format!("{bytes} bytes") } else { format!("{}.{} {unit}", left.0, left.1) }
}

/// Makes bytes of unknown origin safe to print. Invalid UTF-8 appears as `\xNN` for each byte.
pub fn escape_bytes(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        escape_into(&mut out, chunk.valid());
        for byte in chunk.invalid() {
            write_escape(&mut out, format_args!("\\x{byte:02x}"));
        }
    }
    out
}

/// Makes text of unknown origin safe to print.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    escape_into(&mut out, text);
    out
}

/// Makes the beginning of a text of unknown origin and length safe to print: `most` bytes of it, and a sign where more
/// follows.
pub fn escape_start(text: &str, most: usize) -> String {
    let end = (0..=most.min(text.len())).rev().find(|&end| text.is_char_boundary(end)).unwrap_or(0);
    let (start, rest) = text.split_at(end);
    let mut out = escape(start);
    if !rest.is_empty() {
        out.push('…');
    }
    out
}

/// Like [`escape_bytes`], for text of several lines: line ends at the edges go, those inside stay, each line is escaped.
pub fn escape_lines(bytes: &[u8]) -> String {
    let lines: Vec<String> =
        bytes.split(|&byte| byte == b'\n').map(|line| escape_bytes(line.strip_suffix(b"\r").unwrap_or(line))).collect();
    lines.join("\n").trim_matches('\n').to_owned()
}

/// Like [`escape_lines`], for text of unknown length: of each line the first `line` bytes, and lines for `all` bytes; signs
/// where more follows.
pub fn escape_lines_start(bytes: &[u8], line: usize, all: usize) -> String {
    let mut out = String::new();
    for one in bytes.trim_ascii_end().split(|&byte| byte == b'\n').skip_while(|one| one.trim_ascii().is_empty()) {
        if out.len() > all {
            out.push('…');
            break;
        }
        let one = one.strip_suffix(b"\r").unwrap_or(one);
        out.push_str(&escape_bytes_start(one, line));
        out.push('\n');
    }
    out.trim_end_matches('\n').to_owned()
}

/// Makes the beginning of bytes of unknown origin and length safe to print, and puts a sign where more follows.
pub fn escape_bytes_start(bytes: &[u8], most: usize) -> String {
    let mut out = escape_bytes(&bytes[..bytes.len().min(most)]);
    if bytes.len() > most {
        out.push('…');
    }
    out
}

/// Makes a text of JSON safe to print; it means the same.
#[cfg(feature = "cli")]
pub fn escape_json(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    let mut units = [0; 2];
    for c in json.chars() {
        // Those of ASCII are escaped already, and stand in strings only.
        if c.is_control() || is_deceptive(c) {
            for unit in c.encode_utf16(&mut units) {
                write_escape(&mut out, format_args!("\\u{unit:04x}"));
            }
        } else {
            out.push(c);
        }
    }
    out
}

fn escape_into(out: &mut String, text: &str) {
    for c in text.chars() {
        match c {
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if (c as u32) < 0x80 && c.is_control() => write_escape(out, format_args!("\\x{:02x}", c as u32)),
            c if c.is_control() || is_deceptive(c) => write_escape(out, format_args!("\\u{{{:x}}}", c as u32)),
            c => out.push(c),
        }
    }
}

fn write_escape(out: &mut String, escape: std::fmt::Arguments<'_>) {
    // Writing to a String has no error to report.
    let _ = out.write_fmt(escape);
}

/// Characters that reorder, hide or join what stands beside them.
fn is_deceptive(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_moves_a_terminal_survives() {
        assert_eq!(escape_bytes(b"a\x1b[2Jb\xffc\n"), "a\\x1b[2Jb\\xffc\\n");
        assert_eq!(escape("fac\u{202e}fdp.exe"), "fac\\u{202e}fdp.exe");
        assert_eq!(escape("caf\u{e9} \u{9b}"), "caf\u{e9} \\u{9b}");
    }

    #[test]
    fn long_texts_are_cut_between_characters() {
        assert_eq!(escape_start("caf\u{e9}\n", 6), "caf\u{e9}\\n");
        assert_eq!(escape_start("caf\u{e9}\n", 4), "caf…");
        assert_eq!(escape_start("", 0), "");
        assert_eq!(escape_bytes_start(b"abc\n", 4), "abc\\n");
        assert_eq!(escape_bytes_start(b"abc\n", 3), "abc…");
    }

    #[cfg(feature = "cli")]
    #[test]
    fn json_means_the_same_when_it_is_safe() {
        let text = "caf\u{e9}\n\u{202e}\u{9b}\u{7f}\u{e0001}\u{1f600}";
        let json = serde_json::json!({ "text": text }).to_string();
        let safe = escape_json(&json);
        assert_eq!(safe, r#"{"text":"café\n\u202e\u009b\u007f\udb40\udc01😀"}"#);
        assert_eq!(serde_json::from_str::<serde_json::Value>(&safe).unwrap()["text"], text);
    }

    #[test]
    fn lines_stay_lines() {
        assert_eq!(escape_lines(b"one\r\ntwo\x07\n\n"), "one\ntwo\\x07");
        assert_eq!(escape_lines_start(b"\none\r\n\ntwo\x07\n\n", 99, 99), "one\n\ntwo\\x07");
        assert_eq!(escape_lines_start(b"long line\nb\nc\n", 4, 5), "long…\n…");
    }
}
