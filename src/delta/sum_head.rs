//! How a basis is cut into blocks: the sum head of the protocol as a value.
//!
//! The heuristic is the one that stock generators use, so that a transfer costs what their users are used to. The
//! receiver of a head must accept any values inside the protocol's limits. See `protocol-notes/07-transfer.md`.

/// The block length of small files, and the least that the heuristic chooses.
const LEAST_BLOCK_LEN: u32 = 700;

/// The longest block, in bytes, that may be named from protocol 30 on.
pub const MAX_BLOCK_LEN: u32 = 131_072;

/// The longest block, in bytes, that may be named below protocol 30.
pub const MAX_BLOCK_LEN_BEFORE_30: u32 = 1 << 29;

/// The longest strong sum of a block, in bytes, whatever the digest.
pub const MAX_STRONG_LEN: usize = 16;

/// How a basis is cut into blocks and how much of each strong sum travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct SumHead {
    /// The number of blocks.
    pub count: u32,
    /// The length of each block in bytes.
    pub block_len: u32,
    /// The length of the last block if it is short, else 0. At most `block_len`.
    pub remainder: u32,
    /// How many bytes of each strong sum travel.
    pub strong_len: u8,
}

impl SumHead {
    /// No basis: everything is sent literally.
    pub const EMPTY: Self = Self { count: 0, block_len: 0, remainder: 0, strong_len: 0 };

    /// The stock choice for the first phase, for a basis of `len` bytes. `digest_len` is that of the algorithm, in
    /// bytes. [`SumHead::EMPTY`] if there is nothing to cut, or more blocks than the protocol can count.
    pub fn for_basis(len: u64, max_block_len: u32, digest_len: usize) -> Self {
        // The square root balances the cost of the sums against that of an edit; a multiple of 8 because stock's is.
        let root = u32::try_from(len.isqrt() & !7).unwrap_or(u32::MAX);
        let block_len = root.min(max_block_len).max(LEAST_BLOCK_LEN);
        Self::with_block_len(len, block_len, digest_len)
    }

    /// As [`SumHead::for_basis`], with a block length that the user chose.
    pub fn with_block_len(len: u64, block_len: u32, digest_len: usize) -> Self {
        if len == 0 || block_len == 0 {
            return Self::EMPTY;
        }
        let Some(count) = u32::try_from(len.div_ceil(block_len.into())).ok().filter(|&count| count <= MAX_COUNT) else {
            return Self::EMPTY;
        };
        #[expect(clippy::cast_possible_truncation, reason = "a remainder is below its 32-bit divisor")]
        let remainder = (len % u64::from(block_len)) as u32;
        // Enough bits that among all pairs of offset and block a false match is rare; 32 of them are the weak sum's.
        let bits = (10 + 2 * len.ilog2()).saturating_sub(block_len.ilog2());
        let strong_len = (bits.saturating_sub(24) / 8).max(2);
        #[expect(clippy::cast_possible_truncation, reason = "at most 16")]
        let strong_len = (strong_len as usize).min(full_strong_len(digest_len)) as u8;
        Self { count, block_len, remainder, strong_len }
    }

    /// The same blocks for the second phase, where a file whose digest was wrong goes again with full strong sums.
    #[must_use]
    pub fn redo(self, digest_len: usize) -> Self {
        #[expect(clippy::cast_possible_truncation, reason = "at most 16")]
        let strong_len = full_strong_len(digest_len) as u8;
        if self.is_empty() { self } else { Self { strong_len, ..self } }
    }

    /// Whether there are no blocks. Some servers name a block length even then.
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The length of block `index` in bytes, or `None` if there is no such block.
    pub const fn block_size(&self, index: u32) -> Option<u32> {
        if index >= self.count {
            None
        } else if index == self.count - 1 && self.remainder != 0 {
            Some(self.remainder)
        } else {
            Some(self.block_len)
        }
    }

    /// Where block `index` begins in the basis.
    pub const fn block_offset(&self, index: u32) -> u64 {
        index as u64 * self.block_len as u64
    }

    /// How many blocks are of full length; the others, at most one, can only match at the very end.
    pub const fn full_blocks(&self) -> u32 {
        if self.count > 0 && self.remainder != 0 && self.remainder != self.block_len {
            self.count - 1
        } else {
            self.count
        }
    }

    /// The length of the basis in bytes that these blocks describe.
    pub const fn basis_len(&self) -> u64 {
        let short = if self.remainder == 0 { 0 } else { self.block_len.saturating_sub(self.remainder) as u64 };
        (self.count as u64 * self.block_len as u64).saturating_sub(short)
    }

    /// How many bytes the sums of all blocks take, on the wire and in memory. For deciding, before any is read,
    /// whether they are worth keeping.
    pub const fn sums_len(&self) -> u64 {
        self.count as u64 * (4 + self.strong_len as u64)
    }
}

/// The count travels as a signed number.
const MAX_COUNT: u32 = i32::MAX.cast_unsigned();

fn full_strong_len(digest_len: usize) -> usize {
    digest_len.min(MAX_STRONG_LEN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_heuristic_gives_the_measured_heads() {
        let gib = 1u64 << 30;
        for (len, max, block_len, count, strong_len, remainder) in [
            (700, MAX_BLOCK_LEN, 700, 1, 2, 0),
            (490_000, MAX_BLOCK_LEN, 700, 700, 2, 0),
            (490_001, MAX_BLOCK_LEN, 700, 701, 2, 1),
            (1_000_000, MAX_BLOCK_LEN, 1000, 1000, 2, 0),
            // The root is 1007; block lengths are multiples of 8.
            (1_014_049, MAX_BLOCK_LEN, 1000, 1015, 2, 49),
            (12_345_678, MAX_BLOCK_LEN, 3512, 3516, 2, 998),
            (gib, MAX_BLOCK_LEN, 32_768, 32_768, 3, 0),
            (64 * gib, MAX_BLOCK_LEN, 131_072, 524_288, 5, 0),
            (64 * gib, MAX_BLOCK_LEN_BEFORE_30, 262_144, 262_144, 5, 0),
        ] {
            let head = SumHead::for_basis(len, max, 16);
            assert_eq!(head, SumHead { count, block_len, remainder, strong_len }, "{len}");
            assert_eq!(head.basis_len(), len);
        }
    }

    #[test]
    fn strong_sums_never_exceed_the_digest() {
        assert_eq!(SumHead::for_basis(u64::from(u32::MAX) << 14, MAX_BLOCK_LEN, 8).strong_len, 7);
        let head = SumHead::for_basis(1_000_000, MAX_BLOCK_LEN, 8);
        assert_eq!((head.strong_len, head.redo(8).strong_len, head.redo(20).strong_len), (2, 8, 16));
        assert_eq!(SumHead::for_basis(1000, MAX_BLOCK_LEN, 1).strong_len, 1);
    }

    #[test]
    fn what_cannot_be_cut_is_sent_whole() {
        assert_eq!(SumHead::for_basis(0, MAX_BLOCK_LEN, 16), SumHead::EMPTY);
        assert_eq!(SumHead::for_basis(u64::MAX, MAX_BLOCK_LEN, 16), SumHead::EMPTY);
        assert_eq!(SumHead::EMPTY.redo(16), SumHead::EMPTY);
        assert_eq!(SumHead { block_len: 32_768, strong_len: 2, ..SumHead::EMPTY }.basis_len(), 0);
    }

    #[test]
    fn only_the_last_block_is_short() {
        let head = SumHead::with_block_len(2500, 1000, 16);
        assert_eq!([0, 1, 2, 3].map(|index| head.block_size(index)), [Some(1000), Some(1000), Some(500), None]);
        assert_eq!((head.full_blocks(), head.block_offset(2)), (2, 2000));
        // A peer may name a full last block as its own remainder.
        let odd = SumHead { remainder: 1000, ..head };
        assert_eq!((odd.full_blocks(), odd.basis_len()), (3, 3000));
    }
}
