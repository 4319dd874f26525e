//! What the other side says for people, and all that is ever read out of it. The wording of servers differs, so texts only
//! choose between explanations.

use crate::error::ErrorKind;
use crate::role::event::Severity;

/// The most remote text that is kept, in bytes.
const MAX_TEXT: usize = 64 * 1024;

/// What the other side said for people, bounded.
#[derive(Debug, Default)]
pub struct RemoteText {
    /// Errors and warnings, as they came.
    bytes: Vec<u8>,
    /// Whether a file failed there.
    partial: bool,
    /// How much of it came before the handshake: a shell's greeting, a warning about a terminal.
    before: usize,
}

impl RemoteText {
    /// A file failed there.
    pub(super) fn set_partial(&mut self) {
        self.partial = true;
    }

    /// What comes from now on is rsync's own.
    pub(super) fn rsync_speaks(&mut self) {
        self.before = self.bytes.len();
    }

    pub(super) fn push(&mut self, severity: Severity, text: &[u8]) {
        // Some servers tell what went wrong as if it were news.
        let complains = |line: &[u8]| line.starts_with(b"ERROR") || line.starts_with(b"rsync: ");
        if severity == Severity::Info && !text.split(|&byte| byte == b'\n').any(complains) {
            return;
        }
        let room = MAX_TEXT.saturating_sub(self.bytes.len());
        self.bytes.extend_from_slice(&text[..text.len().min(room)]);
    }

    /// The lines, not escaped.
    pub fn lines(&self) -> impl Iterator<Item = &[u8]> {
        self.bytes.split(|&byte| byte == b'\n').map(<[u8]>::trim_ascii).filter(|line| !line.is_empty())
    }

    /// Whether rsync itself has said anything but news.
    pub fn has_complaints(&self) -> bool {
        self.bytes[self.before..].iter().any(|byte| !byte.is_ascii_whitespace())
    }

    /// All of it, not escaped.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Whether a file that failed its check was thrown away. rsync before 2.6.3 keeps it.
    pub fn says_discarded(&self) -> bool {
        contains(&self.bytes, "update discarded")
    }

    /// Whether a wrapper that lets in one rsync at a time found another one at work.
    pub fn says_one_at_a_time(&self) -> bool {
        contains(&self.bytes, "Another instance of rrsync")
    }

    /// Whether there may have been more than is kept.
    pub fn is_cut(&self) -> bool {
        self.bytes.len() >= MAX_TEXT
    }

    /// Whether the other side said, outside its exit status, that a file failed there.
    pub fn is_partial(&self) -> bool {
        self.partial
    }
}

/// What a line of remote text is about, as far as the operating system's own reason at its end tells. A path before it
/// may hold any words and numbers.
pub fn kind_of_text(line: &[u8]) -> Option<ErrorKind> {
    let reason = line.rsplit(|&byte| byte == b'"').next().unwrap_or(line);
    let table: [(&[&str], ErrorKind); 4] = [
        (&["(28)", "(122)", "No space left", "quota exceeded"], ErrorKind::DiskFull),
        (&["(30)", "Read-only file system"], ErrorKind::ReadOnly),
        (&["(13)", "(1)", "Permission denied", "Operation not permitted"], ErrorKind::PermissionDenied),
        (&["(2)", "(20)", "No such file or directory", "Not a directory"], ErrorKind::DestinationMissing),
    ];
    table.iter().find(|(words, _)| words.iter().any(|word| contains(reason, word))).map(|(_, kind)| *kind)
}

/// Whether a line of remote text names this file: its name, below the destination, stands alone in it, or as the
/// temporary one that rsync makes of it. Servers write bytes they do not print as `\\#ooo`.
pub fn names_file(line: &[u8], name: &[u8]) -> bool {
    let line = unescape(line);
    let folder = name.iter().rposition(|&byte| byte == b'/').map_or(0, |slash| slash + 1);
    let temporary = [&name[..folder], b".", &name[folder..]].concat();
    stands_alone(&line, name) || stands_alone(&line, &temporary)
}

/// Whether a line of remote text says that this folder, a path below the destination, could not be made.
pub fn names_unmade_folder(line: &[u8], folder: &[u8]) -> bool {
    let line = unescape(line);
    let Some(start) = line.windows(UNMADE.len()).position(|window| window == UNMADE) else { return false };
    let path = &line[start + UNMADE.len()..];
    let Some(end) = path.iter().rposition(|&byte| byte == b'"') else { return false };
    path[..end].strip_suffix(folder).is_some_and(|before| before.is_empty() || before.ends_with(b"/"))
}

const UNMADE: &[u8] = b"mkdir \"";

fn stands_alone(line: &[u8], name: &[u8]) -> bool {
    let before = |byte: u8| matches!(byte, b'/' | b'"' | b' ');
    let behind = |byte: u8| matches!(byte, b'"' | b'.' | b' ' | b':' | b',');
    !name.is_empty()
        && line.windows(name.len()).enumerate().any(|(start, window)| {
            window == name
                && start.checked_sub(1).is_none_or(|at| before(line[at]))
                && line.get(start + name.len()).is_none_or(|&byte| behind(byte))
        })
}

fn unescape(line: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(line.len());
    let mut rest = line;
    while let Some((&first, behind)) = rest.split_first() {
        let octal = rest.strip_prefix(b"\\#").and_then(|digits| digits.first_chunk::<3>());
        let code = octal.and_then(|digits| u8::from_str_radix(str::from_utf8(digits).ok()?, 8).ok());
        plain.push(code.unwrap_or(first));
        rest = if code.is_some() { &rest[5..] } else { behind };
    }
    plain
}

pub(super) fn contains(haystack: &[u8], needle: &str) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_name_is_no_reason() {
        let line = b"rsync: [receiver] mkstemp \"/nas/.scan (1).pdf.Xa3Bc9\" failed: File name too long (36)";
        assert_eq!(kind_of_text(line), None);
        let line = b"rsync: [receiver] mkstemp \"/nas/.No space left (2).Xa3Bc9\" failed: Permission denied (13)";
        assert_eq!(kind_of_text(line), Some(ErrorKind::PermissionDenied));
    }

    #[test]
    fn lines_are_about_the_file_they_name() {
        let line = b"rsync: [receiver] mkstemp \"/nas/.r\\#303\\#251gl\\#303\\#251.pdf.Xa3Bc9\" failed: x (13)";
        assert!(names_file(line, "r\u{e9}gl\u{e9}.pdf".as_bytes()));
        assert!(!names_file(line, b"gl"));
        assert!(!names_file(b"rsync: \"/nas/.bill.pdf.Xa3Bc9\" failed", b"ill.pdf"));
        let line = b"rsync: [receiver] mkstemp \"/nas/bad/.1.pdf.Xa3Bc9\" failed: Permission denied (13)";
        assert!(names_file(line, b"bad/1.pdf") && !names_file(line, b"good/1.pdf"));
        assert!(names_file(b"ERROR: bill.pdf failed verification -- update discarded.", b"bill.pdf"));
    }

    #[test]
    fn a_folder_that_could_not_be_made_is_named_by_its_path() {
        let line = b"rsync: [generator] recv_generator: mkdir \"/nas/2026/\\#303\\#251t\\#303\\#251\" failed: Permission denied (13)";
        assert!(names_unmade_folder(line, "2026/\u{e9}t\u{e9}".as_bytes()));
        assert!(!names_unmade_folder(line, b"2026") && !names_unmade_folder(line, b"t\xc3\xa9"));
        let line = b"rsync: [receiver] mkstemp \"/nas/2026/.a.Xa3Bc9\" failed: Permission denied (13)";
        assert!(!names_unmade_folder(line, b"2026"));
    }
}
