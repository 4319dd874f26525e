//! lz4: each chunk is one raw LZ4 block that stands alone.
//!
//! Guarantees: no chunk is longer than a record can carry, and none decodes to nothing, which receivers would take
//! for the end of the file. A received chunk that decodes to nothing or to more than [`MAX_DECODED`] is malformed.
//! Wire facts: `protocol-notes/08-tokens.md`.

use lz4_flex::block::{CompressTable, compress_into_with_table, decompress_into, get_maximum_output_size};

use super::TokenError;
use super::control::{self, MAX_CHUNK};
use crate::wire::reader::{Decode, DecodeError};

/// The most input of one chunk, in bytes. The format adds at most one byte in 255 and a few more to data that does
/// not compress, so a block of this size always fits a record and none has to be compressed twice.
const MAX_INPUT: usize = MAX_CHUNK - MAX_CHUNK / 255 - 16;

/// The most that one chunk may decode to, in bytes: what stock receivers have room for.
pub(super) const MAX_DECODED: usize = 32_912;

pub(super) struct Encoder {
    table: CompressTable,
    /// Literal data that does not fill a piece yet.
    held: Vec<u8>,
    block: Box<[u8]>,
}

impl Encoder {
    pub(super) fn new() -> Self {
        Self {
            table: CompressTable::small(),
            held: Vec::with_capacity(MAX_INPUT),
            block: vec![0; get_maximum_output_size(MAX_INPUT)].into_boxed_slice(),
        }
    }

    pub(super) fn literal(&mut self, mut data: &[u8], out: &mut Vec<u8>) -> Result<(), TokenError> {
        while !data.is_empty() {
            if self.held.is_empty()
                && let Some((piece, rest)) = data.split_at_checked(MAX_INPUT)
            {
                write_piece(piece, &mut self.table, &mut self.block, out)?;
                data = rest;
                continue;
            }
            let (part, rest) = data.split_at(data.len().min(MAX_INPUT - self.held.len()));
            self.held.extend_from_slice(part);
            data = rest;
            if self.held.len() == MAX_INPUT {
                self.flush(out)?;
            }
        }
        Ok(())
    }

    pub(super) fn flush(&mut self, out: &mut Vec<u8>) -> Result<(), TokenError> {
        if !self.held.is_empty() {
            write_piece(&self.held, &mut self.table, &mut self.block, out)?;
            self.held.clear();
        }
        Ok(())
    }
}

fn write_piece(piece: &[u8], table: &mut CompressTable, block: &mut [u8], out: &mut Vec<u8>) -> Result<(), TokenError> {
    let refused = |reason: String| TokenError::Compressor { coding: "lz4", reason };
    let len = compress_into_with_table(piece, block, table).map_err(|error| refused(error.to_string()))?;
    if len > MAX_CHUNK {
        return Err(refused(format!("{} bytes became {len}", piece.len())));
    }
    control::data(&block[..len], out);
    Ok(())
}

/// Decodes one chunk. `scratch` must hold [`MAX_DECODED`] bytes.
pub(super) fn decode(chunk: &[u8], scratch: &mut [u8]) -> Decode<Vec<u8>> {
    let malformed = |reason: String| DecodeError::malformed("lz4 chunk", reason);
    let len = decompress_into(chunk, &mut scratch[..MAX_DECODED]).map_err(|error| malformed(error.to_string()))?;
    if len == 0 {
        return Err(malformed("it decodes to nothing".to_owned()));
    }
    Ok(scratch[..len].to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes whose matches are short and come after `gap` new bytes, so that they save the least.
    fn stubborn(seed: u64, gap: usize) -> Vec<u8> {
        let mut state = seed | 1;
        let mut data = Vec::new();
        while data.len() < 4 * MAX_INPUT {
            for _ in 0..gap {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                data.push(state.to_be_bytes()[0]);
            }
            let from = data.len() - gap;
            data.extend_from_within(from..from + gap.min(4));
        }
        data
    }

    #[test]
    fn the_worst_piece_fits_a_record() {
        for gap in [4, 15, 16, 19, 255, 270, 271, 4 * MAX_INPUT] {
            for seed in 0..20 {
                let mut encoder = Encoder::new();
                let mut out = Vec::new();
                encoder.literal(&stubborn(seed, gap), &mut out).unwrap();
                encoder.flush(&mut out).unwrap();
            }
        }
    }

    #[test]
    fn small_literals_share_a_chunk() {
        let mut encoder = Encoder::new();
        let mut out = Vec::new();
        for _ in 0..100 {
            encoder.literal(b"again and again ", &mut out).unwrap();
        }
        assert!(out.is_empty());
        encoder.flush(&mut out).unwrap();
        assert!(out.len() < 60, "{}", out.len());
    }

    #[test]
    fn nothing_and_too_much_are_malformed() {
        let mut scratch = vec![0; 65_536];
        assert_eq!(decode(&[0x10, b'Q'], &mut scratch).unwrap(), b"Q");
        let most = lz4_flex::block::compress(&vec![0; MAX_DECODED]);
        assert_eq!(decode(&most, &mut scratch).unwrap().len(), MAX_DECODED);
        let more = lz4_flex::block::compress(&vec![0; MAX_DECODED + 1]);
        for chunk in [&[0x00][..], &more, &[0x10], &[0x11, b'Q', 9, 0], &[0xff; 40]] {
            assert!(matches!(decode(chunk, &mut scratch), Err(DecodeError::Malformed { .. })), "{chunk:x?}");
        }
    }
}
