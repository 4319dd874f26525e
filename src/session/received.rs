//! What is heard beside the data stream: texts for people, how the command ended, what was announced. All bounded.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};

use super::deadline::Pulse;
use crate::role::event::{Event, Loudness, Monitor};
use crate::transport::{ExecEvent, ExecReader, ExitStatus};

/// How long to wait for more of a text that stands where the handshake should be, and how much of it.
const STRAY_WAIT: Duration = Duration::from_millis(300);
const STRAY_LEN: usize = 2048;
/// The most remote text that is kept, in bytes.
const MAX_TEXT: usize = 64 * 1024;

/// What the other side said for people, bounded.
#[derive(Debug, Default)]
pub struct RemoteText {
    /// Errors and warnings, as they came.
    bytes: Vec<u8>,
    /// Whether a file failed there.
    partial: bool,
}

impl RemoteText {
    /// A file failed there.
    pub(super) fn set_partial(&mut self) {
        self.partial = true;
    }

    pub(super) fn push(&mut self, loudness: Loudness, text: &[u8]) {
        if loudness == Loudness::Info {
            return;
        }
        let room = MAX_TEXT.saturating_sub(self.bytes.len());
        self.bytes.extend_from_slice(&text[..text.len().min(room)]);
    }

    /// The lines, not escaped.
    pub fn lines(&self) -> impl Iterator<Item = &[u8]> {
        self.bytes.split(|&byte| byte == b'\n').map(<[u8]>::trim_ascii).filter(|line| !line.is_empty())
    }

    /// All of it, not escaped.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
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

/// What was heard beside the data stream.
#[derive(Default)]
pub struct Heard {
    /// Who is told what comes on the error stream. Before the handshake nobody is: then the text explains the failure.
    pub listener: Option<Arc<dyn Monitor>>,
    pub text: RemoteText,
    pub exit: Option<ExitStatus>,
    /// The status that the peer announced before it ended.
    pub announced_exit: Option<i32>,
    /// How many acknowledgements there were.
    pub acknowledged: usize,
}

impl Heard {
    /// The next bytes of standard output; texts and the exit status on the way are kept.
    pub async fn next(&mut self, reader: &mut ExecReader, pulse: &Pulse) -> Option<Bytes> {
        loop {
            match reader.next().await? {
                ExecEvent::Stdout(bytes) => {
                    pulse.add_received(bytes.len());
                    return Some(bytes);
                }
                ExecEvent::Stderr(bytes) => {
                    self.take_text(Loudness::Error, &bytes, pulse);
                    if let Some(listener) = &self.listener {
                        listener.event(Event::Text { loudness: Loudness::Error, text: &bytes });
                    }
                }
                ExecEvent::Exit(status) => self.exit = Some(status),
            }
        }
    }

    /// Keeps a text, and counts the files that failed according to it.
    pub fn take_text(&mut self, loudness: Loudness, text: &[u8], pulse: &Pulse) {
        let lines = text.split(|&byte| byte == b'\n');
        pulse.add_failures(lines.filter(|line| line.starts_with(b"rsync: ") && contains(line, " failed: ")).count());
        self.text.push(loudness, text);
    }

    /// Collects a little more of a text that is not the protocol.
    pub async fn linger(&mut self, reader: &mut ExecReader, input: &mut BytesMut, pulse: &Pulse) {
        let more = async {
            while input.len() < STRAY_LEN
                && let Some(bytes) = self.next(reader, pulse).await
            {
                input.extend_from_slice(&bytes);
            }
        };
        // Silence after the text is as good an end as any.
        let _ = tokio::time::timeout(STRAY_WAIT, more).await;
        input.truncate(STRAY_LEN);
    }
}

pub(super) fn contains(haystack: &[u8], needle: &str) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle.as_bytes())
}
