//! Moves bytes between the async halves of a command and a role's port.

use bytes::Bytes;
use tokio::sync::mpsc;

use super::converse::Intake;
use super::deadline::ProgressTimer;
use super::pace::Pace;
use super::received::Received;
use crate::error::{ErrorKind, NasSyncError, Result};
use crate::role::inbox::Feeder;
use crate::transport::{ExecReader, ExecWriter};
use crate::wire::mux::{Demultiplexer, Frame, Message};

/// Sends handshake bytes.
pub async fn send(out: &mut Vec<u8>, writer: &mut ExecWriter, timer: &ProgressTimer) -> Result<()> {
    if out.is_empty() {
        return Ok(());
    }
    timer.add_sent(out.len());
    writer.write(std::mem::take(out).into()).await
}

/// Sends what the role writes, until it is done; then closes the command's input.
pub async fn outbound(
    mut frames: mpsc::Receiver<Bytes>,
    writer: &mut ExecWriter,
    timer: &ProgressTimer,
    pace: Option<&Pace>,
) -> Result<()> {
    while let Some(mut frame) = frames.recv().await {
        while !frame.is_empty() {
            let len = match pace {
                Some(pace) => pace.next(frame.len()).await,
                None => frame.len(),
            };
            writer.write(frame.split_to(len)).await?;
            timer.add_sent(len);
            timer.progress();
        }
    }
    writer.finish().await
}

/// What a message beside the data stream means to this end of the session. It says itself what is progress.
pub type OnMessage = Box<dyn FnMut(Message, &ProgressTimer) -> Result<()> + Send>;

/// Reads until the command ends. Awaits nothing but the read half, and where data comes at the speed of this side's disk, that.
pub async fn inbound(
    rest: Bytes,
    reader: &mut ExecReader,
    (feeder, intake): (Feeder, Intake),
    on_message: &mut OnMessage,
    timer: &ProgressTimer,
    received: &mut Received,
) -> Result<()> {
    let mut feeder = Some(feeder);
    let mut demultiplexer = Demultiplexer::default();
    let mut input = rest;
    loop {
        while let Some(frame) = demultiplexer.next(&mut input).map_err(|error| {
            NasSyncError::new(ErrorKind::Protocol, format!("the NAS broke the protocol: {error}")).with_source(error)
        })? {
            match frame {
                Frame::Data(bytes) => {
                    timer.progress();
                    if let Some(feeder) = &feeder {
                        feeder.push(bytes)?;
                        if intake == Intake::AtDiskSpeed {
                            feeder.room(|| timer.progress()).await;
                        }
                    }
                }
                Frame::Message(Message::ErrorExit(status)) => {
                    received.announced_exit = status;
                    // Nothing more comes for the role.
                    feeder = None;
                }
                Frame::Message(message) => {
                    if let Some(message) = received.keep_text(message, timer) {
                        on_message(message, timer)?;
                    }
                }
            }
        }
        match received.next(reader, timer).await {
            Some(bytes) => input = bytes,
            None => return Ok(()),
        }
    }
}
