//! Sum heads and block sums, `protocol-notes/07-transfer.md#sum-heads`.

use super::reader::{Decode, DecodeError, Reader};
use crate::delta::sum_head::SumHead;

/// The most memory that one file's block sums may take here, in bytes.
pub const MAX_SUM_BYTES: u64 = 64 * 1024 * 1024;

/// The greatest values that a head may hold.
#[derive(Debug, Clone, Copy)]
pub struct HeadLimits {
    /// The greatest block length, in bytes.
    pub block_len: u32,
    /// The length of the strong sum, in bytes.
    pub strong_len: usize,
}

/// Reads a sum head and checks each field against the limits. An empty basis gives [`SumHead::EMPTY`].
pub fn decode_head(reader: &mut Reader<'_>, limits: HeadLimits) -> Decode<SumHead> {
    let count = field(reader.i32()?, i32::MAX as u32, "block count")?;
    let block_len = field(reader.i32()?, limits.block_len, "block length")?;
    let strong_len = reader.i32()?;
    let remainder = field(reader.i32()?, block_len, "block remainder")?;
    if count == 0 {
        return Ok(SumHead::EMPTY);
    }
    if block_len == 0 {
        return Err(DecodeError::malformed("block length", "0 with a block count above 0"));
    }
    match u8::try_from(strong_len) {
        Ok(strong_len) if usize::from(strong_len) <= limits.strong_len => {
            Ok(SumHead { count, block_len, remainder, strong_len })
        }
        _ => Err(DecodeError::malformed("strong sum length", format!("{strong_len}, at most {}", limits.strong_len))),
    }
}

fn field(value: i32, max: u32, name: &'static str) -> Decode<u32> {
    u32::try_from(value)
        .ok()
        .filter(|&value| value <= max)
        .ok_or_else(|| DecodeError::malformed(name, format!("{value}, allowed are 0 to {max}")))
}

/// Writes a sum head.
pub fn encode_head(geometry: &SumHead, out: &mut Vec<u8>) {
    for field in [geometry.count, geometry.block_len, u32::from(geometry.strong_len), geometry.remainder] {
        out.extend_from_slice(&field.to_le_bytes());
    }
}

/// Reads one block's sums: the rolling sum and `strong_len` bytes of the strong one.
pub fn decode_block<'a>(reader: &mut Reader<'a>, strong_len: u8) -> Decode<(u32, &'a [u8])> {
    let weak = u32::from_le_bytes(reader.array()?);
    Ok((weak, reader.bytes(usize::from(strong_len))?))
}

/// Writes one block's sums.
pub fn encode_block(weak: u32, strong: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(&weak.to_le_bytes());
    out.extend_from_slice(strong);
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: HeadLimits = HeadLimits { block_len: 131_072, strong_len: 16 };

    fn head(fields: [i32; 4]) -> Decode<SumHead> {
        let bytes: Vec<u8> = fields.iter().flat_map(|field| field.to_le_bytes()).collect();
        decode_head(&mut Reader::new(&bytes), LIMITS)
    }

    #[test]
    fn a_head_survives() {
        let geometry = SumHead { count: 701, block_len: 700, remainder: 1, strong_len: 2 };
        let mut out = Vec::new();
        encode_head(&geometry, &mut out);
        assert_eq!(decode_head(&mut Reader::new(&out), LIMITS), Ok(geometry));
    }

    #[test]
    fn an_empty_basis_has_two_spellings() {
        assert_eq!(head([0, 0, 0, 0]), Ok(SumHead::EMPTY));
        assert_eq!(head([0, 32768, 2, 0]), Ok(SumHead::EMPTY));
    }

    #[test]
    fn every_limit_holds() {
        for fields in
            [[-1, 700, 2, 0], [1, 0, 2, 0], [1, 131_073, 2, 0], [1, 700, 17, 0], [1, 700, -1, 0], [1, 700, 2, 701]]
        {
            assert!(matches!(head(fields), Err(DecodeError::Malformed { .. })), "{fields:?}");
        }
    }
}
