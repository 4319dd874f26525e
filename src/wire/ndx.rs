//! File indices, `protocol-notes/05-integers.md#file-indices`.
//!
//! A plain 32-bit number up to protocol 29; from 30 on the difference to the previous index of the same direction, so
//! each direction keeps a coder of its own for the whole session.

use super::reader::{Decode, Reader};

/// No more of this phase.
pub const DONE: i32 = -1;
/// No more incremental file lists.
pub const LIST_EOF: i32 = -2;
/// Five counts of deleted entries follow.
pub const DELETE_STATS: i32 = -3;

/// What stands before the part of a list that holds the content of the folder of this number.
pub fn list_of_folder(number: usize) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX).saturating_neg().saturating_sub(101)
}

/// The number of the folder whose content follows behind this.
pub fn folder_of_list(ndx: i32) -> Option<usize> {
    usize::try_from((-101_i32).checked_sub(ndx)?).ok()
}

/// How indices travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NdxCoding {
    /// A 32-bit number.
    Fixed,
    /// The difference to the previous index.
    Differential,
}

/// The state of one direction.
#[derive(Debug, Clone)]
pub struct NdxCoder {
    coding: NdxCoding,
    previous: i32,
    previous_negative: i32,
}

impl NdxCoder {
    /// The state at the start of a session.
    pub fn new(coding: NdxCoding) -> Self {
        Self { coding, previous: -1, previous_negative: 1 }
    }

    /// Writes an index.
    pub fn put(&mut self, out: &mut Vec<u8>, ndx: i32) {
        if self.coding == NdxCoding::Fixed {
            out.extend_from_slice(&ndx.to_le_bytes());
            return;
        }
        if ndx == DONE {
            out.push(0);
            return;
        }
        let (value, previous) = if ndx >= 0 {
            (ndx, &mut self.previous)
        } else {
            out.push(0xff);
            (ndx.saturating_neg(), &mut self.previous_negative)
        };
        let difference = value.wrapping_sub(*previous);
        *previous = value;
        let [difference_low, difference_high, ..] = difference.to_le_bytes();
        match difference {
            1..=253 => out.push(difference_low),
            0 | 254..=0x7fff => out.extend_from_slice(&[0xfe, difference_high, difference_low]),
            _ => {
                let [low, middle, high, top] = value.to_le_bytes();
                out.extend_from_slice(&[0xfe, top | 0x80, low, middle, high]);
            }
        }
    }

    /// Reads an index. The state changes only when the whole index was there.
    pub fn take(&mut self, reader: &mut Reader<'_>) -> Decode<i32> {
        if self.coding == NdxCoding::Fixed {
            return reader.i32();
        }
        let mut first = reader.u8()?;
        let negative = first == 0xff;
        if negative {
            first = reader.u8()?;
        } else if first == 0 {
            return Ok(DONE);
        }
        let previous = if negative { self.previous_negative } else { self.previous };
        let value = if first == 0xfe {
            let high = reader.u8()?;
            let low = reader.u8()?;
            if high & 0x80 == 0 {
                previous.wrapping_add(i32::from(high) << 8 | i32::from(low))
            } else {
                let [middle, top] = reader.array()?;
                i32::from_le_bytes([low, middle, top, high & 0x7f])
            }
        } else {
            previous.wrapping_add(i32::from(first))
        };
        if negative {
            self.previous_negative = value;
            Ok(value.wrapping_neg())
        } else {
            self.previous = value;
            Ok(value)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn sequence_as_captured() {
        let mut coder = NdxCoder::new(NdxCoding::Differential);
        let mut out = Vec::new();
        for ndx in [0, 1, 2, 254, 508, 40000, 39999, 5, DONE, -101, -102, LIST_EOF, DELETE_STATS] {
            coder.put(&mut out, ndx);
        }
        let expected = [
            &[1_u8, 1, 1, 0xfc][..],
            &[0xfe, 0, 0xfe],
            &[0xfe, 0x80, 0x40, 0x9c, 0],
            &[0xfe, 0x80, 0x3f, 0x9c, 0],
            &[0xfe, 0x80, 5, 0, 0],
            &[0],
            &[0xff, 0x64],
            &[0xff, 1],
            &[0xff, 0xfe, 0x80, 2, 0, 0],
            &[0xff, 1],
        ]
        .concat();
        assert_eq!(out, expected);
    }

    proptest! {
        #[test]
        fn both_ends_agree(indices in proptest::collection::vec(prop_oneof![-300..300_i32, 0..i32::MAX, Just(DONE)], 0..50),
                           coding in prop_oneof![Just(NdxCoding::Fixed), Just(NdxCoding::Differential)]) {
            let mut out = Vec::new();
            let mut coder = NdxCoder::new(coding);
            for &ndx in &indices {
                coder.put(&mut out, ndx);
            }
            let mut reader = Reader::new(&out);
            let mut coder = NdxCoder::new(coding);
            for &ndx in &indices {
                prop_assert_eq!(coder.take(&mut reader), Ok(ndx));
            }
            prop_assert!(reader.is_empty());
        }
    }
}
