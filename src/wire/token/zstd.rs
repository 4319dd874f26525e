//! zstd: one stream for the whole session, flushed before each copied block and at the end of each file.
//!
//! Guarantees: the encoder starts one frame and never ends it; the decoder accepts one frame or many, refuses a
//! window larger than the level that was asked for can need, and gives out a bounded piece at a time.
//! Wire facts: `protocol-notes/08-tokens.md`.

use zstd::stream::raw::{self, DParameter, InBuffer, Operation, OutBuffer};
use zstd::zstd_safe::CCtx;

use super::TokenError;
use super::control;
use crate::wire::reader::{Decode, DecodeError};

const NAME: &str = "zstd";

pub(super) struct Encoder {
    stream: raw::Encoder<'static>,
    /// Room for one whole block, so that the library writes into it without a buffer of its own.
    room: Vec<u8>,
}

impl Encoder {
    pub(super) fn new(level: i32) -> Result<Self, TokenError> {
        let stream = raw::Encoder::new(level).map_err(|error| TokenError::compressor(NAME, &error))?;
        Ok(Self { stream, room: Vec::with_capacity(CCtx::out_size()) })
    }

    pub(super) fn literal(&mut self, data: &[u8], out: &mut Vec<u8>) -> Result<(), TokenError> {
        let mut input = InBuffer::around(data);
        while input.pos() < data.len() {
            self.room.clear();
            self.stream
                .run(&mut input, &mut OutBuffer::around(&mut self.room))
                .map_err(|error| TokenError::compressor(NAME, &error))?;
            control::data(&self.room, out);
        }
        Ok(())
    }

    pub(super) fn flush(&mut self, out: &mut Vec<u8>) -> Result<(), TokenError> {
        loop {
            self.room.clear();
            let left = self
                .stream
                .flush(&mut OutBuffer::around(&mut self.room))
                .map_err(|error| TokenError::compressor(NAME, &error))?;
            control::data(&self.room, out);
            if left == 0 {
                return Ok(());
            }
        }
    }
}

pub(super) struct Decoder {
    stream: raw::Decoder<'static>,
}

impl Decoder {
    pub(super) fn new(level: i32) -> Result<Self, TokenError> {
        let mut stream = raw::Decoder::new().map_err(|error| TokenError::compressor(NAME, &error))?;
        stream
            .set_parameter(DParameter::WindowLogMax(window_log(level)))
            .map_err(|error| TokenError::compressor(NAME, &error))?;
        Ok(Self { stream })
    }

    /// Decodes from `input` until it is used up or `room` is full. Returns how much of each was used.
    pub(super) fn run(&mut self, input: &[u8], room: &mut [u8]) -> Decode<(usize, usize)> {
        let mut input = InBuffer::around(input);
        let mut output = OutBuffer::around(room);
        loop {
            self.stream
                .run(&mut input, &mut output)
                .map_err(|error| DecodeError::malformed("zstd chunk", error.to_string()))?;
            // A call also stops at the end of a frame; another frame may follow in the same chunk.
            if input.pos() == input.src.len() || output.pos() == output.capacity() {
                return Ok((input.pos(), output.pos()));
            }
        }
    }
}

/// The largest window, as a power of two, that a sender at `level` uses.
fn window_log(level: i32) -> u32 {
    match level {
        ..20 => 23,
        20 => 25,
        21 => 26,
        22.. => 27,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_window_suffices_for_every_level() {
        // The header of a frame of unknown size tells the window in its sixth byte.
        for level in [-100, -1, 1, 3, 10, 15, 17, 19, 20, 21, 22] {
            let mut encoder = Encoder::new(level).unwrap();
            let mut out = Vec::new();
            encoder.literal(b"some text", &mut out).unwrap();
            encoder.flush(&mut out).unwrap();
            let mut room = [0; 100];
            assert_eq!(Decoder::new(level).unwrap().run(&out[2..], &mut room), Ok((out.len() - 2, 9)), "level {level}");
        }
    }

    #[test]
    fn a_larger_window_is_refused() {
        // Window descriptors: exponent above 10 in the high five bits.
        for (log, level, good) in [(23, 3, true), (24, 3, false), (27, 3, false), (27, 22, true), (31, 22, false)] {
            let frame = [0x28, 0xb5, 0x2f, 0xfd, 0x00, (log - 10) << 3, 0x09, 0x00, 0x00, b'x'];
            let answer = Decoder::new(level).unwrap().run(&frame, &mut [0; 100]);
            assert_eq!(answer.is_ok(), good, "2^{log} at level {level}: {answer:?}");
        }
    }
}
