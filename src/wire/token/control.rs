//! The control bytes that all compressed codings share, and the collection of copied blocks into runs.
//!
//! Guarantees: a record is decoded whole or not at all, a chunk holds 1 to [`MAX_CHUNK`] bytes, and every block
//! number handed out fits a signed 32-bit number. This module never looks into a chunk.
//! Wire facts: `protocol-notes/08-tokens.md`.

use super::TokenError;
use crate::wire::reader::{Decode, DecodeError, Reader};

/// The longest chunk of compressed data in one record, in bytes.
pub(super) const MAX_CHUNK: usize = 0x3fff;

const END: u8 = 0x00;
const TOKEN_LONG: u8 = 0x20;
const TOKEN_RUN_LONG: u8 = 0x21;
const DATA: u8 = 0x40;
const TOKEN_REL: u8 = 0x80;
const TOKEN_RUN_REL: u8 = 0xc0;
/// The low bits of the control bytes that carry a value.
const VALUE: u8 = 0x3f;

/// Appends `bytes` as DATA records. Nothing is written for no bytes.
pub(super) fn data(bytes: &[u8], out: &mut Vec<u8>) {
    for chunk in bytes.chunks(MAX_CHUNK) {
        let [low, high, ..] = chunk.len().to_le_bytes();
        out.extend_from_slice(&[DATA | high, low]);
        out.extend_from_slice(chunk);
    }
}

/// Collects copied blocks, so that consecutive ones become a single record.
#[derive(Debug, Default)]
pub(super) struct RunWriter {
    /// The last block of the previous record of this file, or 0.
    last: u32,
    run: Option<Run>,
}

impl RunWriter {
    /// Adds a block; the record before it is written when `block` does not continue it.
    pub(super) fn push(&mut self, block: u32, out: &mut Vec<u8>) -> Result<(), TokenError> {
        if i32::try_from(block).is_err() {
            return Err(TokenError::Block(block));
        }
        if let Some(run) = &mut self.run
            && run.last() + 1 == block
            && let Some(more) = run.more.checked_add(1)
        {
            run.more = more;
            return Ok(());
        }
        self.flush(out);
        self.run = Some(Run { first: block, more: 0 });
        Ok(())
    }

    /// Writes the record that was held back, if there is one.
    pub(super) fn flush(&mut self, out: &mut Vec<u8>) {
        let Some(run) = self.run.take() else { return };
        let near = run.first.checked_sub(self.last).and_then(|offset| u8::try_from(offset).ok());
        self.last = run.last();
        if let Some(offset) = near.filter(|offset| *offset <= VALUE) {
            out.push(offset | if run.more == 0 { TOKEN_REL } else { TOKEN_RUN_REL });
        } else {
            out.push(if run.more == 0 { TOKEN_LONG } else { TOKEN_RUN_LONG });
            out.extend_from_slice(&run.first.to_le_bytes());
        }
        if run.more != 0 {
            out.extend_from_slice(&run.more.to_le_bytes());
        }
    }

    /// Writes what was held back and the end of the file, and forgets the file.
    pub(super) fn end(&mut self, out: &mut Vec<u8>) {
        self.flush(out);
        self.last = 0;
        out.push(END);
    }
}

/// `first` and the `more` blocks after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) first: u32,
    pub(super) more: u16,
}

impl Run {
    /// The last block. Never overflows: `first` is below 2^31.
    pub(super) fn last(self) -> u32 {
        self.first + u32::from(self.more)
    }
}

/// One record of the compressed stream.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Record<'a> {
    /// Compressed bytes, 1 to [`MAX_CHUNK`].
    Data(&'a [u8]),
    /// Blocks to copy.
    Run(Run),
    /// The end of the file.
    End,
}

/// Decodes one record. `last` is the last block of the previous run of the same file, or 0.
pub(super) fn decode<'a>(last: u32, reader: &mut Reader<'a>) -> Decode<Record<'a>> {
    let control = reader.u8()?;
    let value = control & VALUE;
    let run = match control {
        END => return Ok(Record::End),
        TOKEN_LONG => Run { first: long_block(reader)?, more: 0 },
        TOKEN_RUN_LONG => Run { first: long_block(reader)?, more: reader.u16()? },
        DATA..TOKEN_REL => {
            let len = usize::from(u16::from_be_bytes([value, reader.u8()?]));
            if len == 0 {
                return Err(DecodeError::malformed("compressed chunk", "it is empty"));
            }
            return reader.bytes(len).map(Record::Data);
        }
        TOKEN_REL..TOKEN_RUN_REL => Run { first: near_block(last, value), more: 0 },
        TOKEN_RUN_REL.. => Run { first: near_block(last, value), more: reader.u16()? },
        _ => return Err(DecodeError::malformed("token control byte", format!("{control:#04x} is not one"))),
    };
    if i32::try_from(run.last()).is_err() {
        return Err(DecodeError::malformed("block number", format!("{} is too large", run.last())));
    }
    Ok(Record::Run(run))
}

fn long_block(reader: &mut Reader<'_>) -> Decode<u32> {
    let block = reader.i32()?;
    u32::try_from(block).map_err(|_| DecodeError::malformed("block number", format!("{block} is negative")))
}

/// `last` is below 2^31, so the sum cannot overflow.
fn near_block(last: u32, offset: u8) -> u32 {
    last + u32::from(offset)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records(blocks: &[u32]) -> Vec<u8> {
        let mut runs = RunWriter::default();
        let mut out = Vec::new();
        for &block in blocks {
            runs.push(block, &mut out).unwrap();
        }
        runs.flush(&mut out);
        out
    }

    fn decoded(last: u32, bytes: &[u8]) -> Decode<Record<'_>> {
        let mut reader = Reader::new(bytes);
        let record = decode(last, &mut reader)?;
        reader.expect_end("record")?;
        Ok(record)
    }

    #[test]
    fn blocks_take_the_shortest_record() {
        assert_eq!(records(&[0]), [0x80]);
        assert_eq!(records(&[0, 1]), [0xc0, 1, 0]);
        assert_eq!(records(&[63]), [0xbf]);
        assert_eq!(records(&[64]), [0x20, 64, 0, 0, 0]);
        assert_eq!(records(&[64, 65, 66]), [0x21, 64, 0, 0, 0, 2, 0]);
        assert_eq!(records(&[5, 5]), [0x85, 0x80]);
        // Backwards is never near.
        assert_eq!(records(&[5, 4]), [0x85, 0x20, 4, 0, 0, 0]);
        // Relative to the last block of the run, not to its first.
        assert_eq!(records(&[0, 1, 2, 4]), [0xc0, 2, 0, 0x82]);
    }

    #[test]
    fn a_run_ends_at_65536_blocks() {
        let blocks: Vec<u32> = (0..70_000).collect();
        assert_eq!(records(&blocks), [0xc0, 0xff, 0xff, 0xc1, 0x6f, 0x11]);
    }

    #[test]
    fn the_end_forgets_the_last_block() {
        let mut runs = RunWriter::default();
        let mut out = Vec::new();
        runs.push(100, &mut out).unwrap();
        runs.end(&mut out);
        runs.push(0, &mut out).unwrap();
        runs.end(&mut out);
        assert_eq!(out, [0x20, 100, 0, 0, 0, 0, 0x80, 0]);
    }

    #[test]
    fn block_numbers_stop_below_two_to_the_31() {
        let last = i32::MAX.unsigned_abs();
        let mut runs = RunWriter::default();
        assert!(matches!(runs.push(last + 1, &mut Vec::new()), Err(TokenError::Block(_))));
        assert_eq!(records(&[last]), [0x20, 0xff, 0xff, 0xff, 0x7f]);
        assert!(decoded(last, &[0x80]).is_ok());
        for bytes in [&[0x81][..], &[0xc0, 1, 0], &[0x20, 0, 0, 0, 0x80], &[0x21, 0xff, 0xff, 0xff, 0x7f, 1, 0]] {
            assert!(matches!(decoded(last, bytes), Err(DecodeError::Malformed { .. })), "{bytes:x?}");
        }
    }

    #[test]
    fn long_data_is_cut_into_chunks() {
        let mut out = Vec::new();
        data(&[7; MAX_CHUNK + 1], &mut out);
        assert_eq!(out.len(), 2 + MAX_CHUNK + 3);
        assert_eq!(out[..2], [0x7f, 0xff]);
        assert_eq!(out[2 + MAX_CHUNK..], [0x40, 1, 7]);
    }

    #[test]
    fn what_is_no_record_is_malformed() {
        for bytes in [&[0x01][..], &[0x1f], &[0x22], &[0x3f], &[0x40, 0]] {
            assert!(matches!(decoded(0, bytes), Err(DecodeError::Malformed { .. })), "{bytes:x?}");
        }
        for bytes in [&[][..], &[0x20, 0, 0, 0], &[0x21, 0, 0, 0, 0, 1], &[0x40], &[0x40, 2, 1], &[0xc0, 1]] {
            assert_eq!(decoded(0, bytes), Err(DecodeError::NeedMore), "{bytes:x?}");
        }
    }
}
