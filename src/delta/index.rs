//! Finding the blocks of a basis by the sums of a window.
//!
//! Both sums come from a peer that may have chosen them to make the search slow. So blocks with equal weak sums are
//! kept sorted by their strong sums and found by bisection: however many there are, one window costs one strong sum
//! and a logarithmic number of comparisons, and no candidate is given up. How often a window may ask for a strong sum
//! in vain is limited by [`super::Search`].

use super::{BlockSums, Digest, StrongAlgorithm, StrongSum};

/// Longer blocks, in bytes, are not searched for: a window of one block must be held in memory, and the peer names its
/// length. The heuristic reaches it only for a basis of 256 TiB.
pub const MAX_SEARCHED_BLOCK_LEN: u32 = 16 << 20;

/// 2^32 divided by the golden ratio: spreads weak sums, which are far from random, over the buckets.
const SPREAD: u32 = 0x9e37_79b1;

/// A basis prepared for searching. Holds 15 to 26 bytes a block beside the sums, less for many blocks; see [`BlockIndex::byte_len`].
#[derive(Debug)]
pub struct BlockIndex<'a> {
    sums: &'a BlockSums,
    strong: StrongSum,
    /// How many bytes of a strong sum are compared.
    strong_len: usize,
    filter: WeakFilter,
    /// The full-length blocks by bucket; in a bucket by weak sum, then strong sum, then number.
    order: Vec<u32>,
    /// Where each bucket begins in `order`, and after the last one the end.
    starts: Vec<u32>,
    shift: u32,
    /// The length of the short last block, if there is one.
    short_len: Option<u32>,
}

impl<'a> BlockIndex<'a> {
    /// Prepares `sums`, which were computed with `strong`. If the sums prove too little (no strong sum) or blocks are
    /// too long to be held, the index is empty and everything will be sent literally.
    pub fn new(sums: &'a BlockSums, strong: StrongSum) -> Self {
        let head = sums.head();
        // Some servers ask again with more bytes than the digest has; what they put there means nothing.
        let strong_len = usize::from(head.strong_len).min(strong.algorithm.digest_len());
        let provable = strong.algorithm != StrongAlgorithm::None && strong_len > 0;
        let usable = provable && (1..=MAX_SEARCHED_BLOCK_LEN).contains(&head.block_len);
        let full = if usable { (head.full_blocks() as usize).min(sums.len()) } else { 0 };
        let has_short = usable && sums.is_complete() && head.full_blocks() < head.count;
        let weak = &sums.all_weak()[..full];

        let bucket_bits = (full / 2).max(2).ilog2();
        let shift = u32::BITS - bucket_bits;
        let mut index = Self {
            sums,
            strong,
            strong_len,
            filter: WeakFilter::new(weak),
            order: vec![0; full],
            starts: vec![0; (1 << bucket_bits) + 1],
            shift,
            short_len: has_short.then_some(head.remainder),
        };
        index.fill(weak);
        index
    }

    /// Sorts by counting into buckets, then each bucket.
    fn fill(&mut self, weak: &[u32]) {
        for &weak in weak {
            self.starts[bucket(weak, self.shift)] += 1;
        }
        let mut end = 0;
        for start in &mut self.starts {
            end += *start;
            *start = end;
        }
        // Each start is still the end of its bucket; filling brings it to the beginning, and going backwards leaves
        // equal blocks in order, which the sort below likes.
        let blocks = u32::try_from(weak.len()).unwrap_or(u32::MAX);
        for (block, &weak) in (0..blocks).zip(weak).rev() {
            let start = &mut self.starts[bucket(weak, self.shift)];
            *start -= 1;
            self.order[*start as usize] = block;
        }
        let (sums, strong_len) = (self.sums, self.strong_len);
        for range in self.starts.windows(2) {
            let blocks = &mut self.order[range[0] as usize..range[1] as usize];
            if blocks.len() > 1 {
                blocks.sort_unstable_by_key(|&block| (sums.weak(block), &sums.strong(block)[..strong_len], block));
            }
        }
    }

    /// Whether nothing can ever match.
    pub fn is_empty(&self) -> bool {
        self.order.is_empty() && self.short_len.is_none()
    }

    /// The memory held beside the sums, in bytes.
    pub fn byte_len(&self) -> usize {
        (self.order.capacity() + self.starts.capacity()) * size_of::<u32>() + self.filter.byte_len()
    }

    /// The sums underneath.
    pub fn sums(&self) -> &'a BlockSums {
        self.sums
    }

    /// How many blocks of full length can be found.
    pub(super) fn full_blocks(&self) -> usize {
        self.order.len()
    }

    /// The length of the short last block, if there is one.
    pub(super) fn short_len(&self) -> Option<u32> {
        self.short_len
    }

    pub(super) fn filter(&self) -> &WeakFilter {
        &self.filter
    }

    /// The strong sum of a window, to be compared with that of blocks.
    pub(super) fn digest(&self, window: &[u8]) -> Digest {
        self.strong.digest(window)
    }

    /// Whether block `block` exists, is of full length and has this weak sum.
    pub(super) fn has_weak(&self, block: u32, weak: u32) -> bool {
        (block as usize) < self.order.len() && self.sums.weak(block) == Some(weak)
    }

    /// Whether block `block` has this strong sum as far as it travelled.
    pub(super) fn has_strong(&self, block: u32, digest: &Digest) -> bool {
        self.strong_of(block) == digest.truncated(self.strong_len)
    }

    /// All full-length blocks with this weak sum.
    pub(super) fn with_weak(&self, weak: u32) -> &[u32] {
        let bucket = bucket(weak, self.shift);
        let blocks = &self.order[self.starts[bucket] as usize..self.starts[bucket + 1] as usize];
        let begin = blocks.partition_point(|&block| self.sums.weak(block) < Some(weak));
        let len = blocks[begin..].partition_point(|&block| self.sums.weak(block) == Some(weak));
        &blocks[begin..begin + len]
    }

    /// The first of `blocks`, which [`BlockIndex::with_weak`] returned, that has this strong sum and a number of at
    /// least `least`. Adds the comparisons made to `compared`.
    pub(super) fn with_strong(&self, blocks: &[u32], digest: &Digest, least: u32, compared: &mut u64) -> Option<u32> {
        let wanted = (digest.truncated(self.strong_len), least);
        let found = blocks.partition_point(|&block| {
            *compared += 1;
            (self.strong_of(block), block) < wanted
        });
        blocks.get(found).copied().filter(|&block| self.has_strong(block, digest))
    }

    fn strong_of(&self, block: u32) -> &[u8] {
        &self.sums.strong(block)[..self.strong_len]
    }
}

fn bucket(weak: u32, shift: u32) -> usize {
    (weak.wrapping_mul(SPREAD) >> shift) as usize
}

/// Says cheaply that a window matches nothing. The first table is indexed by the halves of a weak sum as they are,
/// because it is asked at every offset; about one in a hundred of what it lets through by chance remains after the
/// second, which is indexed by all their bits mixed. 64 to 128 and a quarter of that many bits a block, at most 640 KiB
/// so that both stay in the processor's caches.
#[derive(Debug)]
pub(super) struct WeakFilter {
    first: Vec<u64>,
    second: Vec<u64>,
}

impl WeakFilter {
    fn new(weak: &[u32]) -> Self {
        let words = weak.len().clamp(4, 1 << 16).next_power_of_two();
        let mut filter = Self { first: vec![0; words], second: vec![0; words / 4] };
        for &weak in weak {
            let (word, bit) = first_bit(weak, weak >> 16, words - 1);
            filter.first[word] |= 1 << bit;
            let (word, bit) = second_bit(weak, weak >> 16, words / 4 - 1);
            filter.second[word] |= 1 << bit;
        }
        filter
    }

    /// A test of the halves of a weak sum; their upper 16 bits are ignored. False means that no block has that sum.
    #[inline]
    pub(super) fn test(&self) -> impl Fn(u32, u32) -> bool {
        let (first, second) = (self.first.as_slice(), self.second.as_slice());
        let (first_mask, second_mask) = (first.len() - 1, second.len() - 1);
        move |a, b| {
            let (word, bit) = first_bit(a, b, first_mask);
            first[word] >> bit & 1 != 0 && {
                let (word, bit) = second_bit(a, b, second_mask);
                second[word] >> bit & 1 != 0
            }
        }
    }

    fn byte_len(&self) -> usize {
        (self.first.capacity() + self.second.capacity()) * size_of::<u64>()
    }
}

#[inline]
fn first_bit(a: u32, b: u32, mask: usize) -> (usize, u32) {
    (b as usize & mask, a & 63)
}

#[inline]
fn second_bit(a: u32, b: u32, mask: usize) -> (usize, u32) {
    let mixed = (b << 16 | a & 0xffff).wrapping_mul(SPREAD);
    ((mixed >> 12) as usize & mask, mixed >> 26)
}
