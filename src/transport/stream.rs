//! A stream of the caller's as the other side: a pipe to a child process, a socket, another program's SSH channel.
//!
//! It has no errors beside its output and no exit status: that a session came to its goodbye is all that proves its end.

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadHalf, WriteHalf};

use super::{Exec, ExecEvent, ExecReader, ExecWriter, ExitStatus};
use crate::error::{ErrorKind, NasSyncError, Result};

/// How much one read takes at most.
const READ_SIZE: usize = 64 * 1024;

/// Both directions of bytes.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// A command that runs at the other end of a stream.
pub fn over(stream: impl Stream + 'static) -> Exec {
    let (reader, writer) = tokio::io::split(Box::new(stream) as Box<dyn Stream>);
    Exec {
        reader: ExecReader::Stream(Reader { stream: reader, ended: false }),
        writer: ExecWriter::Stream(Writer { stream: writer }),
    }
}

/// What comes from the stream.
pub struct Reader {
    stream: ReadHalf<Box<dyn Stream>>,
    ended: bool,
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader").field("ended", &self.ended).finish_non_exhaustive()
    }
}

impl Reader {
    pub(super) async fn next(&mut self) -> Option<ExecEvent> {
        if self.ended {
            return None;
        }
        let mut buffer = BytesMut::with_capacity(READ_SIZE);
        match self.stream.read_buf(&mut buffer).await {
            Ok(1..) => Some(ExecEvent::Stdout(buffer.freeze())),
            Ok(0) => {
                self.ended = true;
                // Whether the session was over by then the roles know.
                Some(ExecEvent::Exit(ExitStatus::Code(0)))
            }
            Err(_) => {
                self.ended = true;
                None
            }
        }
    }
}

/// What goes into the stream.
pub struct Writer {
    stream: WriteHalf<Box<dyn Stream>>,
}

impl std::fmt::Debug for Writer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Writer").finish_non_exhaustive()
    }
}

impl Writer {
    pub(super) async fn write(&mut self, bytes: Bytes) -> Result<()> {
        let written = async {
            self.stream.write_all(&bytes).await?;
            self.stream.flush().await
        };
        written.await.map_err(|error| {
            NasSyncError::new(ErrorKind::ConnectionLost, "the stream takes no more bytes").with_source(error)
        })
    }

    pub(super) async fn finish(&mut self) -> Result<()> {
        self.stream.shutdown().await.map_err(|error| {
            NasSyncError::new(ErrorKind::ConnectionLost, "the stream cannot be ended").with_source(error)
        })
    }
}
