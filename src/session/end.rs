//! From what was heard to what a person should know: the remote text, the exit status and our own failure become one
//! error. The wording of servers differs, so texts are only ever used to choose between explanations.

use super::deadline::Stall;
use super::received::{Heard, contains};
use crate::error::{ErrorKind, NasSyncError, Result};
use crate::text;
use crate::transport::ExitStatus;
use crate::wire::handshake::HandshakeError;

/// Why a session did not come to its end.
#[derive(Debug)]
pub(super) enum Trouble {
    /// Nothing moved for too long.
    Stalled(Stall),
    /// The command ended, or its output did, before the handshake was complete.
    NoHandshake { received: Vec<u8> },
    /// What was received is no handshake.
    Handshake { error: HandshakeError, received: Vec<u8> },
    /// This side failed.
    Failed(NasSyncError),
}

impl From<NasSyncError> for Trouble {
    fn from(error: NasSyncError) -> Self {
        Self::Failed(error)
    }
}

/// The error of a session that did not come to its end.
pub(super) fn judge(trouble: Trouble, heard: &Heard) -> NasSyncError {
    match trouble {
        Trouble::Stalled(stall) => {
            let message = match stall {
                Stall::Silent => "the transfer made no progress for too long",
                Stall::Jammed => "so many files failed on the NAS that the others could not go on",
            };
            NasSyncError::new(ErrorKind::Stalled, message).with_details(heard.text.as_bytes())
        }
        // What was received is the beginning of a handshake, and nobody there has said that it is all.
        Trouble::NoHandshake { received } if !received.is_empty() && heard.exit.is_none() => {
            let message = "the connection ended in the middle of rsync's handshake";
            NasSyncError::new(ErrorKind::ConnectionLost, message).with_details(heard.text.as_bytes())
        }
        Trouble::NoHandshake { received } | Trouble::Handshake { error: HandshakeError::NotRsync, received } => {
            no_handshake(&received, heard)
        }
        Trouble::Handshake { error, .. } => {
            NasSyncError::new(ErrorKind::Protocol, format!("the rsync handshake failed: {error}"))
                .with_details(heard.text.as_bytes())
                .with_source(error)
        }
        Trouble::Failed(error) if error.kind() == ErrorKind::ConnectionLost => judge_end(heard).err().unwrap_or(error),
        Trouble::Failed(error) if error.details().is_none() => error.with_details(heard.text.as_bytes()),
        Trouble::Failed(error) => error,
    }
}

/// The verdict on a session whose roles came to their end, or lost their connection.
pub(super) fn judge_end(heard: &Heard) -> Result<()> {
    let announced = heard.announced_exit.and_then(|status| u32::try_from(status).ok()).filter(|&status| status != 0);
    let status = match (&heard.exit, announced) {
        (Some(ExitStatus::Code(0)) | None, Some(announced)) => announced,
        (Some(ExitStatus::Code(status)), _) => *status,
        (Some(ExitStatus::Signal(signal)), _) => {
            let message = format!("rsync on the NAS was ended by signal {signal}");
            return Err(NasSyncError::new(ErrorKind::ConnectionLost, message).with_details(heard.text.as_bytes()));
        }
        (None, None) => {
            let message = "the connection ended before rsync on the NAS had";
            return Err(NasSyncError::new(ErrorKind::ConnectionLost, message).with_details(heard.text.as_bytes()));
        }
    };
    if matches!(status, 0 | 23 | 24 | 25) {
        return Ok(());
    }
    Err(explain(status, heard))
}

/// A session that ended before any handshake: the shell, a vendor's wrapper or rsync itself said no.
fn no_handshake(received: &[u8], heard: &Heard) -> NasSyncError {
    let status = match &heard.exit {
        Some(ExitStatus::Code(status)) => Some(*status),
        _ => None,
    };
    // Those who refuse do it on either stream.
    let said = [heard.text.as_bytes(), received].concat();
    let says_one_of = |phrases: &[&str]| phrases.iter().any(|words| contains(&said, words));
    let told = |kind, message: &str| NasSyncError::new(kind, message).with_details(&said);
    if says_one_of(&["rsync service", "Permission denied, please try again"]) || matches!(status, Some(43 | 49 | 52)) {
        return told(ErrorKind::ServiceDisabled, "the login worked, but rsync on the NAS refuses to serve");
    }
    match status {
        Some(127) => told(ErrorKind::RsyncMissing, "the NAS has no rsync at that name"),
        Some(126) => told(ErrorKind::RsyncMissing, "the program named as rsync cannot be run on the NAS"),
        _ if says_one_of(&[
            "not allowed to execute",
            "account is currently not available",
            "allows sftp connections only",
        ]) =>
        {
            told(ErrorKind::ExecRefused, "the NAS does not let this user run commands")
        }
        _ if !received.is_empty() => stray_output(received),
        Some(status @ 1..) => explain(status, heard),
        Some(0) => told(ErrorKind::ExecRefused, "the command on the NAS ended at once without a word"),
        None => told(ErrorKind::ConnectionLost, "the connection ended before rsync on the NAS answered"),
    }
}

fn stray_output(received: &[u8]) -> NasSyncError {
    let start = text::escape_bytes(&received[..received.len().min(200)]);
    NasSyncError::new(ErrorKind::StrayOutput, format!("instead of rsync's handshake the NAS sent: \"{start}\""))
        .with_details(received)
}

/// What a remote exit status other than 0, 23, 24 and 25 means.
fn explain(status: u32, heard: &Heard) -> NasSyncError {
    let by_text = heard.text.lines().find_map(kind_of_text);
    let kind = match status {
        1 | 4 | 48 => ErrorKind::OptionRefused,
        2 => ErrorKind::Protocol,
        12 | 255 => by_text.unwrap_or(ErrorKind::ConnectionLost),
        30 => ErrorKind::Stalled,
        41 | 54 => ErrorKind::DiskFull,
        43 | 49 | 52 => ErrorKind::ServiceDisabled,
        44 | 50 | 53 => ErrorKind::PermissionDenied,
        126 | 127 => ErrorKind::RsyncMissing,
        _ => by_text.unwrap_or(ErrorKind::RemoteFailed),
    };
    let said = heard.text.lines().next().map(text::escape_bytes);
    let message = match said {
        Some(line) => format!("rsync on the NAS ended with status {status}: {line}"),
        None => format!("rsync on the NAS ended with status {status} and said nothing"),
    };
    NasSyncError::new(kind, message).with_details(heard.text.as_bytes())
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::role::event::Loudness;

    fn heard(text: &str, exit: Option<ExitStatus>) -> Heard {
        let mut heard = Heard { exit, ..Heard::default() };
        heard.text.push(Loudness::Error, text.as_bytes());
        heard
    }

    fn ended(text: &str, status: u32) -> Result<(), ErrorKind> {
        judge_end(&heard(text, Some(ExitStatus::Code(status)))).map_err(|error| error.kind())
    }

    #[test]
    fn remote_ends_are_told_apart() {
        assert_eq!(ended("", 0), Ok(()));
        assert_eq!(ended("rsync: mkstemp failed: Permission denied (13)", 23), Ok(()));
        assert_eq!(ended("rsync: write failed on \"/x\": No space left on device (28)", 11), Err(ErrorKind::DiskFull));
        assert_eq!(
            ended("rsync: [Receiver] change_dir#1 \"/nope\" failed: No such file or directory (2)", 3),
            Err(ErrorKind::DestinationMissing)
        );
        assert_eq!(ended("rsync: unknown option", 1), Err(ErrorKind::OptionRefused));
        assert_eq!(judge_end(&heard("", None)).unwrap_err().kind(), ErrorKind::ConnectionLost);
    }

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
    fn what_stands_where_the_handshake_should_be() {
        let kind = |received: &[u8], text: &str, status| {
            no_handshake(received, &heard(text, Some(ExitStatus::Code(status)))).kind()
        };
        assert_eq!(kind(b"", "sh: 1: rsync: not found", 127), ErrorKind::RsyncMissing);
        assert_eq!(kind(b"", "Permission denied, please try again.", 43), ErrorKind::ServiceDisabled);
        assert_eq!(kind(b"Hi", "", 0), ErrorKind::StrayOutput);
        assert_eq!(kind(b"", "rsync: --fsync: unknown option", 1), ErrorKind::OptionRefused);
        assert_eq!(kind(b"This service allows sftp connections only.\n", "", 1), ErrorKind::ExecRefused);
        assert_eq!(kind(b"rsync service is no running\n", "", 43), ErrorKind::ServiceDisabled);
    }
}
