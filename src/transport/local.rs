//! A child process of this machine as the other side, for tests, benches and the wire recorder.

use std::process::Stdio;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};

use super::{Exec, ExecEvent, ExecReader, ExecWriter, ExitStatus};
use crate::error::{ErrorKind, NasSyncError, Result};

/// How much one read takes at most.
const READ_SIZE: usize = 64 * 1024;

/// Starts a program with its arguments; no shell is involved. The child is killed when its [`Reader`] is dropped.
pub fn spawn(program: &str, arguments: &[Vec<u8>]) -> Result<Exec> {
    use std::os::unix::ffi::OsStrExt as _;
    let mut child = Command::new(program)
        .args(arguments.iter().map(|argument| std::ffi::OsStr::from_bytes(argument)))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| {
            NasSyncError::new(ErrorKind::RsyncMissing, format!("cannot start {program}: {error}")).with_source(error)
        })?;
    let stdin = child.stdin.take();
    let stdout = child.stdout.take();
    let stderr = child.stderr.take();
    Ok(Exec {
        reader: ExecReader::Local(Reader { child: Box::new(child), stdout, stderr, ended: false }),
        writer: ExecWriter::Local(Writer { stdin }),
    })
}

/// Output, errors and end of a child process.
#[derive(Debug)]
pub struct Reader {
    // Boxed, because it is large beside what the other transport holds.
    child: Box<Child>,
    stdout: Option<ChildStdout>,
    stderr: Option<ChildStderr>,
    ended: bool,
}

impl Reader {
    pub(super) async fn next(&mut self) -> Option<ExecEvent> {
        let mut out = BytesMut::with_capacity(READ_SIZE);
        let mut err = BytesMut::new();
        while self.stdout.is_some() || self.stderr.is_some() {
            tokio::select! {
                read = read_some(&mut self.stdout, &mut out) => match read {
                    Some(bytes) => return Some(ExecEvent::Stdout(bytes)),
                    None => self.stdout = None,
                },
                read = read_some(&mut self.stderr, &mut err) => match read {
                    Some(bytes) => return Some(ExecEvent::Stderr(bytes)),
                    None => self.stderr = None,
                },
            }
        }
        if self.ended {
            return None;
        }
        let status = self.child.wait().await.ok()?;
        self.ended = true;
        Some(ExecEvent::Exit(exit_status(status)))
    }
}

/// Reads once; `None` at the end of the stream or on an error. Never resolves without a stream.
async fn read_some<R: tokio::io::AsyncRead + Unpin>(stream: &mut Option<R>, buffer: &mut BytesMut) -> Option<Bytes> {
    let Some(stream) = stream else { return std::future::pending().await };
    buffer.reserve(READ_SIZE);
    match stream.read_buf(buffer).await {
        Ok(0) | Err(_) => None,
        Ok(_) => Some(buffer.split().freeze()),
    }
}

fn exit_status(status: std::process::ExitStatus) -> ExitStatus {
    use std::os::unix::process::ExitStatusExt as _;
    match (status.code(), status.signal()) {
        (Some(code), _) => ExitStatus::Code(code.unsigned_abs()),
        (None, Some(signal)) => ExitStatus::Signal(signal.to_string()),
        (None, None) => ExitStatus::Signal(String::from("unknown")),
    }
}

/// The input of a child process.
#[derive(Debug)]
pub struct Writer {
    stdin: Option<ChildStdin>,
}

impl Writer {
    pub(super) async fn write(&mut self, bytes: Bytes) -> Result<()> {
        let lost = |error: Option<std::io::Error>| {
            let lost = NasSyncError::new(ErrorKind::ConnectionLost, "the child process no longer reads");
            match error {
                Some(error) => lost.with_source(error),
                None => lost,
            }
        };
        let stdin = self.stdin.as_mut().ok_or_else(|| lost(None))?;
        stdin.write_all(&bytes).await.map_err(|error| lost(Some(error)))
    }

    pub(super) fn finish(&mut self) {
        self.stdin = None;
    }
}
