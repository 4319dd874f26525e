//! Multiplexing: the data stream and out-of-band messages share one direction in frames of a four-byte header and a
//! payload, `protocol-notes/04-multiplexing.md` and `11-messages.md`.
//!
//! Frame borders carry no meaning for the data stream. Every message is checked for its exact or greatest length
//! before its payload is collected; a tag that no peer may send is an error.

use bytes::{Buf as _, Bytes, BytesMut};

use super::reader::{Decode, DecodeError, Reader};

/// The length of a frame's header.
pub const HEADER_LEN: usize = 4;
/// The greatest payload that a header can announce.
pub const MAX_PAYLOAD: usize = 0x00ff_ffff;
/// The longest text message that is accepted.
const MAX_TEXT: usize = 8 * 1024;
/// How much text one session may send in messages.
const MAX_SESSION_TEXT: usize = 1024 * 1024;

/// The value added to a tag in the header.
const TAG_BASE: u8 = 7;
/// The tag of the data stream.
const DATA: u8 = 0;

/// How one direction is framed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// Bytes as they are.
    Raw,
    /// Frames.
    Multiplexed,
}

/// The header of a data frame. `len` must not exceed [`MAX_PAYLOAD`].
pub fn data_header(len: usize) -> [u8; HEADER_LEN] {
    header(DATA, len)
}

fn header(tag: u8, len: usize) -> [u8; HEADER_LEN] {
    debug_assert!(len <= MAX_PAYLOAD);
    let [low, middle, high, ..] = len.to_le_bytes();
    [low, middle, high, tag + TAG_BASE]
}

/// A message beside the data stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// A text about a file that failed; the session ends with a partial transfer.
    ErrorXfer(Box<[u8]>),
    /// A text for people.
    Info(Box<[u8]>),
    /// A text about an error.
    Error(Box<[u8]>),
    /// A text that asks for attention.
    Warning(Box<[u8]>),
    /// Bits of the sender's trouble while it listed or read files.
    IoError(i32),
    /// The peer's I/O timeout in seconds; it may only shorten ours.
    IoTimeout(i32),
    /// Nothing, to keep the connection alive.
    Noop,
    /// The peer ends, with this status if it says one.
    ErrorExit(Option<i32>),
    /// The file of this index is stored.
    Success(i32),
    /// This entry was deleted there.
    Deleted(Box<[u8]>),
    /// The sender could not open the file of this index.
    NoSend(i32),
}

impl Message {
    const fn tag(&self) -> u8 {
        match self {
            Self::ErrorXfer(_) => 1,
            Self::Info(_) => 2,
            Self::Error(_) => 3,
            Self::Warning(_) => 4,
            Self::IoError(_) => 22,
            Self::IoTimeout(_) => 33,
            Self::Noop => 42,
            Self::ErrorExit(_) => 86,
            Self::Success(_) => 100,
            Self::Deleted(_) => 101,
            Self::NoSend(_) => 102,
        }
    }

    /// Writes the message as one frame.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let number;
        let payload: &[u8] = match self {
            Self::ErrorXfer(text)
            | Self::Info(text)
            | Self::Error(text)
            | Self::Warning(text)
            | Self::Deleted(text) => &text[..text.len().min(MAX_TEXT)],
            Self::IoError(value)
            | Self::IoTimeout(value)
            | Self::Success(value)
            | Self::NoSend(value)
            | Self::ErrorExit(Some(value)) => {
                number = value.to_le_bytes();
                &number
            }
            Self::ErrorExit(None) | Self::Noop => &[],
        };
        out.extend_from_slice(&header(self.tag(), payload.len()));
        out.extend_from_slice(payload);
    }

    /// The payload lengths that a tag allows, before anything is collected.
    fn check_len(tag: u8, len: usize) -> Decode<()> {
        let fits = match tag {
            1..=4 | 101 => len <= MAX_TEXT,
            22 | 33 | 100 | 102 => len == 4,
            42 => len == 0,
            86 => len == 0 || len == 4,
            _ => return Err(DecodeError::malformed("message tag", format!("{tag} is not a known message"))),
        };
        if fits {
            return Ok(());
        }
        Err(DecodeError::malformed("message length", format!("{len} bytes for message {tag}")))
    }

    fn decode(tag: u8, payload: &[u8]) -> Decode<Self> {
        let mut reader = Reader::new(payload);
        let message = match tag {
            1 => Self::ErrorXfer(payload.into()),
            2 => Self::Info(payload.into()),
            3 => Self::Error(payload.into()),
            4 => Self::Warning(payload.into()),
            101 => Self::Deleted(payload.into()),
            22 => Self::IoError(reader.i32()?),
            33 => Self::IoTimeout(reader.i32()?),
            86 if payload.is_empty() => Self::ErrorExit(None),
            86 => Self::ErrorExit(Some(reader.i32()?)),
            100 => Self::Success(reader.i32()?),
            102 => Self::NoSend(reader.i32()?),
            _ => Self::Noop,
        };
        Ok(message)
    }
}

/// What a demultiplexer hands out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// A piece of the data stream, never empty.
    Data(Bytes),
    /// A message.
    Message(Message),
}

/// Splits one direction into its data stream and its messages.
#[derive(Debug, Default)]
pub struct Demultiplexer {
    /// A header, or the payload of a message, that has not arrived whole.
    partial: BytesMut,
    /// How much of the current data frame is still to come.
    data_left: usize,
    /// The message whose payload is being collected.
    message: Option<(u8, usize)>,
    /// How much message text has arrived.
    text: usize,
}

impl Demultiplexer {
    /// Takes the next frame or piece of a data frame from `input`; `None` when `input` is used up.
    pub fn next(&mut self, input: &mut Bytes) -> Decode<Option<Frame>> {
        loop {
            if self.data_left > 0 {
                if input.is_empty() {
                    return Ok(None);
                }
                let piece = input.split_to(self.data_left.min(input.len()));
                self.data_left -= piece.len();
                return Ok(Some(Frame::Data(piece)));
            }
            let wanted = self.message.map_or(HEADER_LEN, |(_, len)| len);
            let missing = wanted - self.partial.len();
            let taken = missing.min(input.len());
            self.partial.extend_from_slice(&input[..taken]);
            input.advance(taken);
            if taken < missing {
                return Ok(None);
            }
            let unit = self.partial.split();
            if let Some((tag, _)) = self.message.take() {
                return Message::decode(tag, &unit).map(|message| Some(Frame::Message(message)));
            }
            let [low, middle, high, tag] = Reader::new(&unit).array()?;
            self.start_frame(tag, u32::from_le_bytes([low, middle, high, 0]) as usize)?;
        }
    }

    fn start_frame(&mut self, high: u8, len: usize) -> Decode<()> {
        let tag = high
            .checked_sub(TAG_BASE)
            .ok_or_else(|| DecodeError::malformed("frame header", format!("first byte {high:#04x}")))?;
        if tag == DATA {
            self.data_left = len;
            return Ok(());
        }
        Message::check_len(tag, len)?;
        self.text += len;
        if self.text > MAX_SESSION_TEXT && len > 4 {
            return Err(DecodeError::malformed("messages", "more than 1 MiB of text in one session"));
        }
        self.message = Some((tag, len));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn all(demultiplexer: &mut Demultiplexer, bytes: &[u8]) -> Decode<(Vec<u8>, Vec<Message>)> {
        let mut input = Bytes::copy_from_slice(bytes);
        let (mut data, mut messages) = (Vec::new(), Vec::new());
        while let Some(frame) = demultiplexer.next(&mut input)? {
            match frame {
                Frame::Data(piece) => data.extend_from_slice(&piece),
                Frame::Message(message) => messages.push(message),
            }
        }
        Ok((data, messages))
    }

    #[test]
    fn a_header_as_captured() {
        assert_eq!(data_header(5), [5, 0, 0, 7]);
    }

    #[test]
    fn unknown_and_internal_tags_are_fatal() {
        for tag in [5_u8, 6, 7, 8, 9, 10, 11, 99, 200] {
            let bytes = [0, 0, 0, tag + TAG_BASE];
            assert!(all(&mut Demultiplexer::default(), &bytes).is_err(), "{tag}");
        }
        assert!(all(&mut Demultiplexer::default(), &[0, 0, 0, 3]).is_err());
    }

    #[test]
    fn lengths_are_checked_before_the_payload_arrives() {
        assert!(all(&mut Demultiplexer::default(), &[5, 0, 0, 100 + TAG_BASE]).is_err());
        assert!(all(&mut Demultiplexer::default(), &[1, 0x20, 0, 1 + TAG_BASE]).is_err());
        assert!(all(&mut Demultiplexer::default(), &[0, 0x20, 0, 1 + TAG_BASE]).is_ok());
    }

    #[test]
    fn a_flood_of_text_ends() {
        let mut flood = Vec::new();
        for _ in 0..200 {
            Message::Info(vec![b'x'; MAX_TEXT].into()).encode(&mut flood);
        }
        assert!(all(&mut Demultiplexer::default(), &flood).is_err());
    }

    proptest! {
        #[test]
        fn any_fragmentation_gives_the_same(parts in proptest::collection::vec((0..6_u8, proptest::collection::vec(any::<u8>(), 0..40)), 0..20),
                                            cut in 1..7_usize) {
            let mut wire = Vec::new();
            for (what, payload) in &parts {
                match what {
                    0 => Message::Success(i32::from(payload.first().copied().unwrap_or(0))).encode(&mut wire),
                    1 => Message::ErrorXfer(payload.clone().into()).encode(&mut wire),
                    2 => Message::ErrorExit(None).encode(&mut wire),
                    _ => {
                        wire.extend_from_slice(&data_header(payload.len()));
                        wire.extend_from_slice(payload);
                    }
                }
            }
            let whole = all(&mut Demultiplexer::default(), &wire).unwrap();
            let mut demultiplexer = Demultiplexer::default();
            let (mut data, mut messages) = (Vec::new(), Vec::new());
            for piece in wire.chunks(cut) {
                let (more, said) = all(&mut demultiplexer, piece).unwrap();
                data.extend(more);
                messages.extend(said);
            }
            prop_assert_eq!(whole, (data, messages));
        }

        #[test]
        fn garbage_never_panics(bytes: Vec<u8>) {
            let _ = all(&mut Demultiplexer::default(), &bytes);
        }
    }
}
