//! How a session ended, for a person to know: the remote text, the exit status and our own failure become one
//! error. The wording of servers differs, so texts are only ever used to choose between explanations.

use super::deadline::Stall;
use super::received::Received;
use super::remote_text::{contains, kind_of_text};
use crate::error::{ErrorKind, NasSyncError, Result};
use crate::text;
use crate::transport::ExitStatus;
use crate::wire::handshake::HandshakeError;

/// How much of a line is shown in a message, in bytes; the details hold more.
const SHOWN: usize = 200;

/// Why a session did not come to its end.
#[derive(Debug)]
pub(super) enum SessionFailure {
    /// Nothing moved for too long.
    Stalled(Stall),
    /// The command ended, or its output did, before the handshake was complete.
    NoHandshake { input: Vec<u8> },
    /// What was received is no handshake.
    Handshake { error: HandshakeError, input: Vec<u8> },
    /// This side failed.
    Failed(NasSyncError),
}

impl From<NasSyncError> for SessionFailure {
    fn from(error: NasSyncError) -> Self {
        Self::Failed(error)
    }
}

/// The error of a session that did not come to its end.
pub(super) fn error(failure: SessionFailure, received: &Received) -> NasSyncError {
    match failure {
        SessionFailure::Stalled(stall) => {
            let message = match stall {
                Stall::Silent => "the transfer made no progress for too long",
                Stall::Jammed => "so many files failed on the NAS that the others could not go on",
            };
            NasSyncError::new(ErrorKind::Stalled, message).with_details(received.text.as_bytes())
        }
        // What was received is the beginning of a handshake, and nobody there has said that it is all.
        SessionFailure::NoHandshake { input } if !input.is_empty() && received.exit.is_none() => {
            let message = "the connection ended in the middle of rsync's handshake";
            NasSyncError::new(ErrorKind::ConnectionLost, message).with_details(received.text.as_bytes())
        }
        SessionFailure::NoHandshake { input }
        | SessionFailure::Handshake { error: HandshakeError::NotRsync, input } => no_handshake(&input, received),
        SessionFailure::Handshake { error: error @ HandshakeError::OtherOptions, .. } => {
            fixed_command().with_source(error)
        }
        SessionFailure::Handshake { error, .. } => {
            NasSyncError::new(ErrorKind::Protocol, format!("the rsync handshake failed: {error}"))
                .with_details(received.text.as_bytes())
                .with_source(error)
        }
        SessionFailure::Failed(error) if error.kind() == ErrorKind::ConnectionLost => {
            result(received).err().unwrap_or(error)
        }
        SessionFailure::Failed(error) if error.details().is_none() => error.with_details(received.text.as_bytes()),
        SessionFailure::Failed(error) => error,
    }
}

/// The error of an account that runs one fixed command, whatever it is asked for, and one that does not suit.
pub fn fixed_command() -> NasSyncError {
    let message = "the NAS does not run the rsync it is asked for, but a fixed command with other options";
    NasSyncError::new(ErrorKind::ExecRefused, message).with_solution(
        "On the NAS, look for `command=\"…\"` before the key in authorized_keys (or ForceCommand in sshd_config): replace it by `command=\"rrsync -wo FOLDER\"`, which takes the options it is given, or remove it.",
    )
}

/// How a session ended whose roles came to their end, or lost their connection.
pub(super) fn result(received: &Received) -> Result<()> {
    let announced = received.announced_exit.and_then(|status| u32::try_from(status).ok()).filter(|&status| status != 0);
    let status = match (&received.exit, announced) {
        (Some(ExitStatus::Code(0) | ExitStatus::NotSaid) | None, Some(announced)) => announced,
        (Some(ExitStatus::Code(status)), _) => *status,
        // The roles came to their goodbye, and the server closed the command in good order.
        (Some(ExitStatus::NotSaid), None) => 0,
        (Some(ExitStatus::Signal(signal)), _) => {
            let message = format!("rsync on the NAS was ended by signal {signal}");
            return Err(NasSyncError::new(ErrorKind::ConnectionLost, message).with_details(received.text.as_bytes()));
        }
        (None, None) => {
            let message = "the connection ended before rsync on the NAS had";
            return Err(NasSyncError::new(ErrorKind::ConnectionLost, message).with_details(received.text.as_bytes()));
        }
    };
    match status {
        0 | 23 | 24 | 25 => Ok(()),
        // Options are refused before the handshake. Behind it, openrsync ends so where stock rsync says 23.
        1 if received.text.has_complaints() => Ok(()),
        1 => {
            let message = "rsync on the NAS ended with status 1 and said nothing";
            Err(NasSyncError::new(ErrorKind::RemoteFailed, message))
        }
        status => Err(explain(status, received)),
    }
}

/// A session that ended before any handshake: the shell, a vendor's wrapper or rsync itself said no.
fn no_handshake(input: &[u8], received: &Received) -> NasSyncError {
    let status = match &received.exit {
        Some(ExitStatus::Code(status)) => Some(*status),
        _ => None,
    };
    // Those who refuse do it on either stream.
    let said = [received.text.as_bytes(), input].concat();
    let says_one_of = |phrases: &[&str]| phrases.iter().any(|words| contains(&said, words));
    let told = |kind, message: &str| NasSyncError::new(kind, message).with_details(&said);
    if says_one_of(&["rsync service", "Permission denied, please try again"]) || matches!(status, Some(43 | 49 | 52)) {
        return told(ErrorKind::ServiceDisabled, "the login worked, but rsync on the NAS refuses to serve");
    }
    if let Some(line) = said.split(|&byte| byte == b'\n').find(|line| contains(line, "(setup --lock-down)")) {
        return held_to_a_folder(line).with_details(&said);
    }
    match status {
        // It may also be the program that is to start rsync, such as sudo.
        Some(127) => match said.split(|&byte| byte == b'\n').find(|line| !line.is_empty()) {
            Some(line) => {
                let line = text::escape_bytes_start(line, SHOWN);
                told(ErrorKind::RsyncMissing, &format!("the NAS has no program of the name it is asked for: {line}"))
            }
            None => told(ErrorKind::RsyncMissing, "the NAS has no program of the name it is asked for"),
        },
        _ if received.text.says_one_at_a_time() => told(
            ErrorKind::RemoteFailed,
            "the key is bound to rrsync, which lets in one rsync at a time, and another one is at work",
        )
        .with_solution(
            "Run the same command again when the other one is done; or write `rrsync -no-lock` in authorized_keys on the NAS.",
        ),
        Some(126) => told(ErrorKind::RsyncMissing, "the program named as rsync cannot be run on the NAS"),
        _ if says_one_of(&[
            "not allowed to execute",
            "account is currently not available",
            "allows sftp connections only",
        ]) =>
        {
            told(ErrorKind::ExecRefused, "the NAS does not let this user run commands")
        }
        _ if !input.is_empty() => stray_output(input),
        Some(status @ 1..) => explain(status, received),
        Some(0) => told(ErrorKind::ExecRefused, "the command on the NAS ended at once without a word"),
        None if received.exit == Some(ExitStatus::NotSaid) => without_status(received),
        None => told(ErrorKind::ConnectionLost, "the connection ended before rsync on the NAS answered"),
    }
}

/// The script of `setup --lock-down` refuses whatever is not in its folder, and options with which a thief of the key could do more.
fn held_to_a_folder(line: &[u8]) -> NasSyncError {
    let line = line.strip_prefix(b"nas-sync: ").unwrap_or(line);
    let message = format!("the NAS refuses it: {}", text::escape_bytes_start(line, SHOWN));
    NasSyncError::new(ErrorKind::OptionRefused, message)
        .with_cause("The key is held to one folder by its forced command, which lets through neither other folders nor every option.")
        .with_solution("Name that folder itself, not one above or below it; push with `-rt` instead of `-a`, without deleting. For anything else use another key.")
}

/// The command ended before any handshake on a server that does not say how commands end.
fn without_status(received: &Received) -> NasSyncError {
    let Some(line) = received.text.lines().next() else {
        return NasSyncError::new(ErrorKind::ExecRefused, "the command on the NAS ended at once without a word");
    };
    let kind = match line {
        _ if contains(line, "not found") => Some(ErrorKind::RsyncMissing),
        _ if contains(line, "unknown option") || contains(line, "has been disabled") => Some(ErrorKind::OptionRefused),
        _ => kind_of_text(line),
    };
    let message = format!("rsync on the NAS ended at once: {}", text::escape_bytes_start(line, SHOWN));
    NasSyncError::new(kind.unwrap_or(ErrorKind::RemoteFailed), message).with_details(received.text.as_bytes())
}

fn stray_output(received: &[u8]) -> NasSyncError {
    let start = text::escape_bytes_start(received, SHOWN);
    NasSyncError::new(ErrorKind::StrayOutput, format!("instead of rsync's handshake the NAS sent: \"{start}\""))
        .with_details(received)
}

/// What a remote exit status other than 0, 23, 24 and 25 means.
fn explain(status: u32, received: &Received) -> NasSyncError {
    let by_text = received.text.lines().find_map(kind_of_text);
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
    let said = received.text.lines().next().map(text::escape_bytes);
    let message = match said {
        Some(line) => format!("rsync on the NAS ended with status {status}: {line}"),
        None => format!("rsync on the NAS ended with status {status} and said nothing"),
    };
    NasSyncError::new(kind, message).with_details(received.text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::role::event::Severity;

    fn received(text: &str, exit: Option<ExitStatus>) -> Received {
        let mut received = Received { exit, ..Received::default() };
        received.text.push(Severity::Error, text.as_bytes());
        received
    }

    fn ended(text: &str, status: u32) -> Result<(), ErrorKind> {
        result(&received(text, Some(ExitStatus::Code(status)))).map_err(|error| error.kind())
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
        assert_eq!(ended("rsync: mkstemp failed: Permission denied (13)", 1), Ok(()));
        assert_eq!(ended("", 1), Err(ErrorKind::RemoteFailed));
        assert_eq!(result(&received("", None)).unwrap_err().kind(), ErrorKind::ConnectionLost);
    }

    #[test]
    fn what_stands_where_the_handshake_should_be() {
        let kind = |input: &[u8], text: &str, status| {
            no_handshake(input, &received(text, Some(ExitStatus::Code(status)))).kind()
        };
        assert_eq!(kind(b"", "sh: 1: rsync: not found", 127), ErrorKind::RsyncMissing);
        assert_eq!(kind(b"", "Permission denied, please try again.", 43), ErrorKind::ServiceDisabled);
        assert_eq!(kind(b"Hi", "", 0), ErrorKind::StrayOutput);
        assert_eq!(kind(b"", "rsync: --fsync: unknown option", 1), ErrorKind::OptionRefused);
        assert_eq!(kind(b"This service allows sftp connections only.\n", "", 1), ErrorKind::ExecRefused);
        for said in [
            "this key is held to /nas (setup --lock-down), and may not do this",
            "this key may do nothing else here (setup --lock-down)",
        ] {
            let held = no_handshake(b"", &received(&format!("nas-sync: {said}"), Some(ExitStatus::Code(1))));
            assert_eq!(
                (held.kind(), held.message()),
                (ErrorKind::OptionRefused, &*format!("the NAS refuses it: {said}"))
            );
            assert!(held.cause().contains("held to one folder") && held.solution().contains("`-rt`"));
        }
        let locked = "rrsync error: Another instance of rrsync is already accessing this directory.";
        assert_eq!(kind(b"", locked, 1), ErrorKind::RemoteFailed);
        assert_eq!(kind(b"rsync service is no running\n", "", 43), ErrorKind::ServiceDisabled);
    }

    #[test]
    fn a_server_that_does_not_say_how_commands_end_is_heard_by_its_texts() {
        assert!(result(&received("", Some(ExitStatus::NotSaid))).is_ok());
        let announced = Received { announced_exit: Some(11), ..received("", Some(ExitStatus::NotSaid)) };
        assert_eq!(result(&announced).unwrap_err().kind(), ErrorKind::RemoteFailed);
        let kind = |text: &str| no_handshake(b"", &received(text, Some(ExitStatus::NotSaid))).kind();
        assert_eq!(kind(""), ErrorKind::ExecRefused);
        assert_eq!(kind("sh: 1: rsync: not found"), ErrorKind::RsyncMissing);
        assert_eq!(
            kind("rsync: change_dir \"/nas\" failed: No such file or directory (2)"),
            ErrorKind::DestinationMissing
        );
        assert_eq!(kind("rsync: --fsync: unknown option"), ErrorKind::OptionRefused);
        assert_eq!(kind("rrsync error: option -K has been disabled on this server."), ErrorKind::OptionRefused);
    }
}
