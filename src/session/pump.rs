//! Moves bytes between the async halves of a command and a role's port.

use bytes::Bytes;
use tokio::sync::mpsc;

use super::deadline::Pulse;
use super::received::Heard;
use crate::error::{ErrorKind, NasSyncError, Result};
use crate::role::event::{Event, Loudness, Monitor};
use crate::role::list::NumberedList;
use crate::role::port::Feeder;
use crate::transport::{ExecReader, ExecWriter};
use crate::wire::mux::{Demultiplexer, Frame, Message};

/// Sends handshake bytes.
pub async fn send(out: &mut Vec<u8>, writer: &mut ExecWriter, pulse: &Pulse) -> Result<()> {
    if out.is_empty() {
        return Ok(());
    }
    pulse.add_sent(out.len());
    writer.write(std::mem::take(out).into()).await
}

/// Sends what the role writes, until it is done; then closes the command's input.
pub async fn outbound(mut frames: mpsc::Receiver<Bytes>, writer: &mut ExecWriter, pulse: &Pulse) -> Result<()> {
    while let Some(frame) = frames.recv().await {
        let len = frame.len();
        writer.write(frame).await?;
        pulse.add_sent(len);
        pulse.beat();
    }
    writer.finish().await
}

/// Reads until the command ends. Awaits nothing but the read half.
pub async fn inbound(
    rest: Bytes,
    reader: &mut ExecReader,
    feeder: Feeder,
    list: &NumberedList,
    monitor: &dyn Monitor,
    pulse: &Pulse,
    heard: &mut Heard,
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
                    pulse.beat();
                    if let Some(feeder) = &feeder {
                        feeder.push(bytes)?;
                    }
                }
                Frame::Message(message) => {
                    if note(message, list, monitor, pulse, heard)? == Note::PeerEnds {
                        feeder = None;
                    }
                }
            }
        }
        match heard.next(reader, pulse).await {
            Some(bytes) => input = bytes,
            None => return Ok(()),
        }
    }
}

#[derive(PartialEq, Eq)]
enum Note {
    Taken,
    PeerEnds,
}

fn note(
    message: Message,
    list: &NumberedList,
    monitor: &dyn Monitor,
    pulse: &Pulse,
    heard: &mut Heard,
) -> Result<Note> {
    let mut text = |loudness, text: &[u8]| {
        heard.take_text(loudness, text, pulse);
        monitor.event(Event::Text { loudness, text });
    };
    match message {
        Message::ErrorXfer(bytes) => {
            text(Loudness::Error, &bytes);
            heard.text.set_partial();
        }
        Message::Error(bytes) => text(Loudness::Error, &bytes),
        Message::Warning(bytes) => text(Loudness::Warning, &bytes),
        Message::Info(bytes) => text(Loudness::Info, &bytes),
        Message::Success(ndx) => {
            // Servers acknowledge symlinks as well as files, and never a folder.
            let (index, _) = list.get(ndx).filter(|(_, entry)| !entry.is_dir()).ok_or_else(|| {
                NasSyncError::new(
                    ErrorKind::Protocol,
                    format!("the NAS acknowledged entry {ndx}, which is no file of the list"),
                )
            })?;
            heard.acknowledged += 1;
            // Each counts as progress, so a peer must not be able to repeat them for ever.
            if heard.acknowledged > list.len() {
                let message = "the NAS acknowledged more files than the list has";
                return Err(NasSyncError::new(ErrorKind::Protocol, message));
            }
            pulse.beat();
            monitor.event(Event::Acknowledged { index });
        }
        Message::ErrorExit(status) => {
            heard.announced_exit = status;
            return Ok(Note::PeerEnds);
        }
        // A receiving server has no use for these; they change nothing here.
        Message::IoError(_) | Message::IoTimeout(_) | Message::Noop | Message::Deleted(_) | Message::NoSend(_) => {}
    }
    Ok(Note::Taken)
}
