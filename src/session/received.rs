//! What is received beside the data stream: texts for people, how the command ended, what was announced. All bounded.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};

use super::deadline::ProgressTimer;
use super::remote_text::{RemoteText, contains};
use crate::role::event::{Event, Monitor, Severity};
use crate::transport::{ExecEvent, ExecReader, ExitStatus};
use crate::wire::mux::Message;

/// How long to wait for more of a text that stands where the handshake should be, and how much of it.
const STRAY_WAIT: Duration = Duration::from_millis(300);
const STRAY_LEN: usize = 2048;
/// What was received beside the data stream.
#[derive(Default)]
pub struct Received {
    /// Who is told what comes on the error stream. Before the handshake nobody is: then the text explains the failure.
    pub listener: Option<Arc<dyn Monitor>>,
    pub text: RemoteText,
    pub exit: Option<ExitStatus>,
    /// The status that the peer announced before it ended.
    pub announced_exit: Option<i32>,
}

impl Received {
    /// The next bytes of standard output; texts and the exit status on the way are kept.
    pub async fn next(&mut self, reader: &mut ExecReader, timer: &ProgressTimer) -> Option<Bytes> {
        loop {
            match reader.next().await? {
                ExecEvent::Stdout(bytes) => {
                    timer.add_received(bytes.len());
                    return Some(bytes);
                }
                ExecEvent::Stderr(bytes) => self.take_text(Severity::Error, &bytes, timer),
                ExecEvent::Exit(status) => self.exit = Some(status),
            }
        }
    }

    /// Keeps a message that is a text for people; gives back any other.
    pub fn keep_text(&mut self, message: Message, timer: &ProgressTimer) -> Option<Message> {
        match message {
            Message::ErrorXfer(text) => {
                self.take_text(Severity::Error, &text, timer);
                self.text.set_partial();
            }
            Message::Error(text) => self.take_text(Severity::Error, &text, timer),
            Message::Warning(text) => self.take_text(Severity::Warning, &text, timer),
            Message::Info(text) => self.take_text(Severity::Info, &text, timer),
            other => return Some(other),
        }
        None
    }

    /// Keeps a text, counts the files that failed according to it, and tells the listener.
    fn take_text(&mut self, severity: Severity, text: &[u8], timer: &ProgressTimer) {
        let lines = text.split(|&byte| byte == b'\n');
        timer.add_failures(lines.filter(|line| line.starts_with(b"rsync: ") && contains(line, " failed: ")).count());
        self.text.push(severity, text);
        if let Some(listener) = &self.listener {
            listener.event(Event::Text { severity, text });
        }
    }

    /// Collects a little more of a text that is not the protocol.
    pub async fn linger(&mut self, reader: &mut ExecReader, input: &mut BytesMut, timer: &ProgressTimer) {
        let more = async {
            while input.len() < STRAY_LEN
                && let Some(bytes) = self.next(reader, timer).await
            {
                input.extend_from_slice(&bytes);
            }
        };
        // Silence after the text is as good an end as any.
        let _ = tokio::time::timeout(STRAY_WAIT, more).await;
        input.truncate(STRAY_LEN);
    }
}
