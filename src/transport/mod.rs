//! Where bytes come from and go to: a remote command over SSH, a child process on this machine,
//! or a stream of the caller's.
//!
//! All give the same two halves. The reading half never loses stderr or the exit status; the writing half accepts
//! bytes as fast as the other side's window allows. Neither half sets deadlines: the session does.

pub mod local;
pub mod ssh;
pub mod stream;

use bytes::Bytes;

use crate::error::Result;

/// What a running command says. After [`ExecEvent::Exit`] more output may still follow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExecEvent {
    /// Bytes of its standard output.
    Stdout(Bytes),
    /// Bytes of its standard error.
    Stderr(Bytes),
    /// How it ended.
    Exit(ExitStatus),
}

/// How a command ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExitStatus {
    /// It returned this status.
    Code(u32),
    /// A signal of this name (without `SIG`) ended it.
    Signal(String),
    /// It ended in good order, and the other side does not say how. Some SSH servers never do.
    NotSaid,
}

/// A running command.
#[derive(Debug)]
pub struct Exec {
    /// Its output, errors and end.
    pub reader: ExecReader,
    /// Its input.
    pub writer: ExecWriter,
}

/// The reading half of a running command.
#[derive(Debug)]
pub enum ExecReader {
    /// Over SSH.
    Ssh(ssh::exec::Reader),
    /// A child process.
    Local(local::Reader),
    /// A stream of the caller's.
    Stream(stream::Reader),
}

impl ExecReader {
    /// The next event; `None` when nothing can follow any more, also when the connection broke. A command that ended
    /// in good order has given [`ExecEvent::Exit`] before. Cancel safe.
    pub async fn next(&mut self) -> Option<ExecEvent> {
        match self {
            Self::Ssh(reader) => reader.next().await,
            Self::Local(reader) => reader.next().await,
            Self::Stream(reader) => reader.next().await,
        }
    }
}

/// The writing half of a running command. Dropping it closes the command's input.
#[derive(Debug)]
pub enum ExecWriter {
    /// Over SSH.
    Ssh(ssh::exec::Writer),
    /// A child process.
    Local(local::Writer),
    /// A stream of the caller's.
    Stream(stream::Writer),
}

impl ExecWriter {
    /// Sends bytes; returns when all of them are handed over. Fails with `ConnectionLost` once the command no longer reads.
    pub async fn write(&mut self, bytes: Bytes) -> Result<()> {
        match self {
            Self::Ssh(writer) => writer.write(bytes).await,
            Self::Local(writer) => writer.write(bytes).await,
            Self::Stream(writer) => writer.write(bytes).await,
        }
    }

    /// Says that no more bytes will come.
    pub async fn finish(&mut self) -> Result<()> {
        match self {
            Self::Ssh(writer) => writer.finish().await,
            Self::Stream(writer) => writer.finish().await,
            Self::Local(writer) => {
                writer.finish();
                Ok(())
            }
        }
    }
}
