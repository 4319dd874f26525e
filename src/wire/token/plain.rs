//! The token stream without compression: one signed 32-bit number before each literal or copied block.
//!
//! Guarantees: a literal is never longer than [`MAX_LITERAL`] on the wire, because some receivers end the session
//! above it. A longer literal of a peer is accepted, but handed out in pieces of that size, so its announced length
//! never sizes an allocation. Wire facts: `protocol-notes/07-transfer.md` and `protocol-notes/08-tokens.md`.

use super::{Token, TokenError};
use crate::wire::reader::{Decode, DecodeError, Reader};

/// The longest literal that is sent as one token, in bytes.
pub const MAX_LITERAL: usize = 32_768;

/// The four bytes that stand before a literal of `len` bytes.
///
/// A sender that holds the literal in its own buffer writes this header and then the buffer, which saves the copy
/// that [`TokenEncoder::literal`](super::TokenEncoder::literal) makes. Only for [`TokenCoding::Plain`](super::TokenCoding::Plain).
///
/// # Panics
/// When `len` is 0, which would mean the end of the file, or above [`MAX_LITERAL`].
pub fn literal_header(len: usize) -> [u8; 4] {
    assert!((1..=MAX_LITERAL).contains(&len), "a literal token holds 1 to {MAX_LITERAL} bytes, not {len}");
    let [a, b, ..] = len.to_le_bytes();
    [a, b, 0, 0]
}

/// Appends `data` as literal tokens.
pub(super) fn literal(data: &[u8], out: &mut Vec<u8>) {
    for piece in data.chunks(MAX_LITERAL) {
        out.extend_from_slice(&literal_header(piece.len()));
        out.extend_from_slice(piece);
    }
}

/// Appends the token that copies `block`.
pub(super) fn copy(block: u32, out: &mut Vec<u8>) -> Result<(), TokenError> {
    let block = i32::try_from(block).map_err(|_| TokenError::Block(block))?;
    out.extend_from_slice(&(!block).to_le_bytes());
    Ok(())
}

/// Appends the token that ends the file.
pub(super) fn end(out: &mut Vec<u8>) {
    out.extend_from_slice(&[0; 4]);
}

/// Decodes the plain stream.
#[derive(Debug, Default)]
pub(super) struct Decoder {
    /// Bytes of the current literal that have not been handed out.
    left: usize,
}

impl Decoder {
    /// Decodes one token, or the next piece of a long literal.
    pub(super) fn next(&mut self, reader: &mut Reader<'_>) -> Decode<Token> {
        let left = match self.left {
            0 => match reader.i32()? {
                0 => return Ok(Token::End),
                number if number < 0 => return Ok(Token::Copy { block: number.unsigned_abs() - 1 }),
                number => usize::try_from(number)
                    .map_err(|_| DecodeError::malformed("literal length", format!("{number} bytes")))?,
            },
            left => left,
        };
        let piece = reader.bytes(left.min(MAX_LITERAL))?;
        self.left = left - piece.len();
        Ok(Token::Literal(piece.to_vec()))
    }
}
