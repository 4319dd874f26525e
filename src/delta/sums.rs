//! The sums of a basis, block by block, packed.
//!
//! Grows with what really arrives, never with the count that a peer announced.

use super::{StrongSum, SumHead, weak_sum};

/// How many blocks' room is made before the first sum arrives.
const FIRST_ROOM: usize = 1024;

/// The sums of the blocks of a basis, in order.
#[derive(Debug, Clone)]
pub struct BlockSums {
    head: SumHead,
    weak: Vec<u32>,
    strong: Vec<u8>,
}

impl BlockSums {
    /// No basis.
    pub const EMPTY: Self = Self { head: SumHead::EMPTY, weak: Vec::new(), strong: Vec::new() };

    /// No sums yet. Makes room for a few blocks only.
    pub fn with_capacity(head: SumHead) -> Self {
        let blocks = FIRST_ROOM.min(head.count as usize);
        let strong_len = usize::from(head.strong_len);
        Self { head, weak: Vec::with_capacity(blocks), strong: Vec::with_capacity(blocks * strong_len) }
    }

    /// Adds the sums of the next block; of `strong` the first `strong_len` bytes are kept. Sums beyond the announced
    /// count are ignored.
    ///
    /// # Panics
    /// If `strong` is shorter than the head's `strong_len`.
    pub fn push(&mut self, weak: u32, strong: &[u8]) {
        if self.is_complete() {
            return;
        }
        self.weak.push(weak);
        self.strong.extend_from_slice(&strong[..usize::from(self.head.strong_len)]);
    }

    /// The sums of a basis that is at hand. `head` is that of `basis`, with a `strong_len` that `strong` can fill.
    ///
    /// # Panics
    /// If `head` asks for longer strong sums than `strong` computes.
    pub fn of_basis(head: SumHead, basis: &[u8], strong: StrongSum) -> Self {
        let mut sums = Self::with_capacity(head);
        if !head.is_empty() {
            for block in basis.chunks(head.block_len as usize) {
                sums.push(weak_sum(block), strong.digest(block).as_bytes());
            }
        }
        sums
    }

    /// How the basis was cut.
    pub fn head(&self) -> SumHead {
        self.head
    }

    /// How many blocks' sums are here.
    pub fn len(&self) -> usize {
        self.weak.len()
    }

    /// Whether no block's sums are here.
    pub fn is_empty(&self) -> bool {
        self.weak.is_empty()
    }

    /// Whether all announced sums are here.
    pub fn is_complete(&self) -> bool {
        self.weak.len() >= self.head.count as usize
    }

    /// The weak sum of block `index`, if it is here.
    pub fn weak(&self, index: u32) -> Option<u32> {
        self.weak.get(index as usize).copied()
    }

    /// The truncated strong sum of block `index`; empty if it is not here.
    pub fn strong(&self, index: u32) -> &[u8] {
        let len = usize::from(self.head.strong_len);
        let start = index as usize * len;
        self.strong.get(start..start + len).unwrap_or_default()
    }

    /// Whether a block holds these bytes, as far as its sums tell.
    pub fn is_block(&self, index: u32, data: &[u8], strong: StrongSum) -> bool {
        let len = usize::from(self.head.strong_len);
        self.weak(index) == Some(weak_sum(data))
            && strong.digest(data).as_bytes().get(..len) == Some(self.strong(index))
    }

    /// All weak sums in order.
    pub(super) fn all_weak(&self) -> &[u32] {
        &self.weak
    }

    /// The memory held, in bytes.
    pub fn byte_len(&self) -> usize {
        self.weak.capacity() * size_of::<u32>() + self.strong.capacity()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delta::StrongAlgorithm;

    #[test]
    fn an_announced_count_allocates_nothing_much() {
        let head = SumHead { count: u32::MAX / 2, block_len: 131_072, remainder: 0, strong_len: 16 };
        let sums = BlockSums::with_capacity(head);
        assert!(sums.byte_len() <= 64 << 10, "{}", sums.byte_len());
        assert!(head.sums_len() > 1 << 34);
    }

    #[test]
    fn strong_sums_are_kept_truncated_and_surplus_is_ignored() {
        let strong = StrongSum::unseeded(StrongAlgorithm::Md5);
        let head = SumHead::with_block_len(10, 4, 16);
        let mut sums = BlockSums::of_basis(head, b"0123456789", strong);
        assert_eq!((sums.len(), sums.is_complete()), (3, true));
        assert_eq!(sums.strong(2), &strong.digest(b"89").as_bytes()[..2]);
        assert_eq!((sums.weak(2), sums.weak(3), sums.strong(3)), (Some(weak_sum(b"89")), None, &[][..]));
        sums.push(1, &[0; 16]);
        assert_eq!(sums.len(), 3);
    }
}
