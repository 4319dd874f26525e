//! The sender's search: which parts of the new content the receiver already has.
//!
//! At every offset the window of one block is looked up; the first offset that matches is taken and the search goes on
//! behind it, as every rsync does, so the result is never worse than theirs. The content is pushed in pieces of any
//! size and the operations are the same however it was cut. Memory is bounded by the block length, and time by the
//! length of the content: windows that look like a block but are not cost a strong sum each, so these are rationed
//! (see [`Search::new`]). See `protocol-notes/07-transfer.md`.

use super::index::BlockIndex;
use super::rolling::{Rolling, weak_sum};

/// The longest literal that is handed out, in bytes; some servers refuse longer ones (`protocol-notes/12-limits.md`).
pub const MAX_LITERAL: usize = 32_768;

/// How much is taken in at a time beyond what must be kept: small enough for the processor's caches.
const INTAKE: usize = 128 << 10;

/// Bytes that may be summed in vain at the start, before the ration per byte counts.
const FIRST_CREDIT: u64 = 1 << 20;

/// One step of the new content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Op<'a> {
    /// Bytes that must be sent: 1 to [`MAX_LITERAL`].
    Literal(&'a [u8]),
    /// The content of a block that the receiver has.
    Copy {
        /// The block's number.
        block: u32,
        /// Its content, which some compressors have to see.
        data: &'a [u8],
    },
}

/// What happens to the basis while the receiver builds the new content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BasisUse {
    /// It stays as it is: any block can be copied at any time.
    Kept,
    /// The new content is written over it: only blocks at or behind the offset reached are still there.
    Overwritten,
}

/// What a search found and what that took.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SearchTotals {
    /// Bytes handed out as literals.
    pub literal: u64,
    /// Bytes handed out as copies.
    pub matched: u64,
    /// Blocks handed out as copies.
    pub copies: u64,
    /// Windows whose weak sum was that of a block.
    pub weak_hits: u64,
    /// Strong sums computed for them.
    pub strong_sums: u64,
    /// Weak hits passed over because the ration was used up.
    pub rationed: u64,
    /// Comparisons of strong sums.
    pub compared: u64,
}

/// A search in progress. Feed it the content, then finish it.
#[derive(Debug)]
pub struct Search<'a> {
    /// The bytes from the first one not handed out to the last one fed.
    held: Vec<u8>,
    /// The most that `held` grows to.
    room: usize,
    state: State<'a>,
}

#[derive(Debug)]
struct State<'a> {
    index: &'a BlockIndex<'a>,
    basis: BasisUse,
    block_len: usize,
    /// Where `held` begins in the content.
    base: u64,
    /// Where in `held` the literal that is not handed out yet begins.
    literal: usize,
    /// Where in `held` the window begins.
    window: usize,
    /// The window's sum; set once the window is known to match nothing.
    rolling: Option<Rolling>,
    /// The block behind the last one copied.
    next: Option<u32>,
    /// How many bytes may still be summed in vain.
    credit: u64,
    credit_per_byte: u64,
    totals: SearchTotals,
}

impl<'a> Search<'a> {
    /// Starts at the first byte of the content.
    ///
    /// Random content meets the weak sum of a block by chance once in 2^32 pairs of offset and block. Four times the
    /// strong sums that this takes, and eight bytes summed for each byte of content, are granted, up to 64 bytes for
    /// each byte of content; when a crafted set of sums uses more, windows are passed over until the ration has
    /// grown again. The result stays right and only gets larger.
    pub fn new(index: &'a BlockIndex<'a>, basis: BasisUse) -> Self {
        let block_len = if index.is_empty() { 0 } else { index.sums().head().block_len as usize };
        let chance = (index.full_blocks() as u64 * block_len as u64) >> 32;
        let state = State {
            index,
            basis,
            block_len,
            base: 0,
            literal: 0,
            window: 0,
            rolling: None,
            next: Some(0),
            credit: FIRST_CREDIT + 64 * block_len as u64,
            credit_per_byte: (8 + 4 * chance).min(64),
            totals: SearchTotals::default(),
        };
        // Twice what may have to be kept, so that moving it to the front is paid for by as many new bytes.
        Self { held: Vec::new(), room: 2 * (block_len + MAX_LITERAL) + INTAKE, state }
    }

    /// Takes the next bytes and hands out what is certain.
    ///
    /// # Errors
    /// Those of `sink`; the search cannot be continued then.
    pub fn feed<E>(&mut self, data: &[u8], mut sink: impl FnMut(Op<'_>) -> Result<(), E>) -> Result<(), E> {
        if self.state.index.is_empty() {
            return self.pass_through(data, &mut sink);
        }
        let mut rest = data;
        while !rest.is_empty() {
            if self.held.len() == self.room {
                self.state.forget_handed_out(&mut self.held);
            }
            let (taken, later) = rest.split_at(rest.len().min(self.room - self.held.len()));
            self.hold(taken);
            rest = later;
            self.state.scan(&self.held, &mut sink)?;
        }
        Ok(())
    }

    /// Ends the content and hands out the rest.
    ///
    /// # Errors
    /// Those of `sink`.
    pub fn finish<E>(mut self, mut sink: impl FnMut(Op<'_>) -> Result<(), E>) -> Result<SearchTotals, E> {
        self.state.end(&self.held, &mut sink)?;
        Ok(self.state.totals)
    }

    /// The memory held beside the index, in bytes: at most three times the block length and half a MiB.
    pub fn byte_len(&self) -> usize {
        self.held.capacity()
    }

    /// Grows with the content and to `room` at most, so that small content with a large block length costs little.
    fn hold(&mut self, data: &[u8]) {
        let len = self.held.len() + data.len();
        if len > self.held.capacity() {
            let capacity = (2 * self.held.capacity()).clamp(len, self.room.max(len));
            self.held.reserve_exact(capacity - self.held.len());
        }
        self.held.extend_from_slice(data);
    }

    /// Without blocks there is nothing to keep but the beginning of a literal, and most bytes need not be copied.
    fn pass_through<E>(&mut self, data: &[u8], sink: &mut impl FnMut(Op<'_>) -> Result<(), E>) -> Result<(), E> {
        let mut rest = data;
        if !self.held.is_empty() {
            let (taken, later) = rest.split_at(rest.len().min(MAX_LITERAL - self.held.len()));
            self.hold(taken);
            rest = later;
            if self.held.len() < MAX_LITERAL {
                return Ok(());
            }
            self.state.hand_out_literal(&self.held, sink)?;
            self.held.clear();
        }
        let (pieces, tail) = rest.as_chunks::<MAX_LITERAL>();
        for piece in pieces {
            self.state.hand_out_literal(piece, sink)?;
        }
        self.hold(tail);
        Ok(())
    }
}

impl State<'_> {
    /// Looks at every window that lies wholly in `held` and was not looked at yet.
    fn scan<E>(&mut self, held: &[u8], sink: &mut impl FnMut(Op<'_>) -> Result<(), E>) -> Result<(), E> {
        if self.index.full_blocks() == 0 {
            // Only the short last block can match, and only at the end of the content.
            let tail = self.index.short_len().map_or(0, |len| len as usize);
            self.window = self.window.max(held.len().saturating_sub(tail));
            return self.hand_out_pieces(held, sink);
        }
        loop {
            let (sum, candidate) = match self.rolling.take() {
                None => {
                    let Some(window) = held.get(self.window..self.window + self.block_len) else { break };
                    (Rolling::new(window), true)
                }
                Some(mut sum) => {
                    let entering = &held[self.window + self.block_len..];
                    if entering.is_empty() {
                        self.rolling = Some(sum);
                        break;
                    }
                    let leaving = &held[self.window..held.len() - self.block_len];
                    let (rolled, candidate) = sum.roll_until(leaving, entering, self.index.filter().test());
                    self.advance(rolled);
                    (sum, candidate)
                }
            };
            let window = &held[self.window..self.window + self.block_len];
            match self.find(sum.value(), window, candidate) {
                Some(block) => self.hand_out_copy(held, block, self.block_len, sink)?,
                None => self.rolling = Some(sum),
            }
        }
        self.hand_out_pieces(held, sink)
    }

    /// The block that the window equals, if `candidate` says that it may equal one. Of several the one that goes on
    /// with the run of copies, else the one that stays where it was, else the first.
    fn find(&mut self, weak: u32, window: &[u8], candidate: bool) -> Option<u32> {
        if !candidate {
            return None;
        }
        let index = self.index;
        let offset = self.base + self.window as u64;
        let block_len = self.block_len as u64;
        let least = match self.basis {
            BasisUse::Kept => 0,
            BasisUse::Overwritten => u32::try_from(offset.div_ceil(block_len)).unwrap_or(u32::MAX),
        };
        let wanted = |block: &u32| *block >= least && index.has_weak(*block, weak);
        let next = self.next.filter(wanted);
        let same_weak = if next.is_some() { &[] } else { index.with_weak(weak) };
        if next.is_none() && same_weak.is_empty() {
            return None;
        }
        self.totals.weak_hits += 1;
        if self.credit < block_len {
            self.totals.rationed += 1;
            return None;
        }
        self.totals.strong_sums += 1;
        let digest = index.digest(window);
        let same_place = offset.is_multiple_of(block_len).then(|| u32::try_from(offset / block_len).ok()).flatten();
        for block in [next, same_place.filter(wanted)].into_iter().flatten() {
            self.totals.compared += 1;
            if index.has_strong(block, &digest) {
                return Some(block);
            }
        }
        let same_weak = if next.is_some() { index.with_weak(weak) } else { same_weak };
        let found = index.with_strong(same_weak, &digest, least, &mut self.totals.compared);
        if found.is_none() {
            self.credit -= block_len;
        }
        found
    }

    /// The content is complete: what is left is shorter than a block, or was looked at.
    fn end<E>(&mut self, held: &[u8], sink: &mut impl FnMut(Op<'_>) -> Result<(), E>) -> Result<(), E> {
        if let Some((block, len)) = self.short_block_at_end(held) {
            self.window = held.len() - len;
            self.hand_out_copy(held, block, len, sink)?;
        }
        self.window = held.len();
        self.hand_out_literals(held, sink)
    }

    fn short_block_at_end(&self, held: &[u8]) -> Option<(u32, usize)> {
        let len = self.index.short_len()? as usize;
        let start = held.len().checked_sub(len).filter(|&start| start >= self.window)?;
        let sums = self.index.sums();
        let block = sums.head().count - 1;
        let offset = self.base + start as u64;
        let there = self.basis == BasisUse::Kept || sums.head().block_offset(block) >= offset;
        let tail = &held[start..];
        let equal =
            there && sums.weak(block) == Some(weak_sum(tail)) && self.index.has_strong(block, &self.index.digest(tail));
        equal.then_some((block, len))
    }

    /// Moves the window on.
    fn advance(&mut self, bytes: usize) {
        self.window += bytes;
        self.credit = self.credit.saturating_add(self.credit_per_byte * bytes as u64);
    }

    /// Hands out what lies before the window, then the window as a copy of `block`.
    fn hand_out_copy<E>(
        &mut self,
        held: &[u8],
        block: u32,
        len: usize,
        sink: &mut impl FnMut(Op<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        self.hand_out_literals(held, sink)?;
        let data = &held[self.window..self.window + len];
        self.totals.copies += 1;
        self.totals.matched += len as u64;
        sink(Op::Copy { block, data })?;
        self.advance(len);
        self.literal = self.window;
        self.next = block.checked_add(1);
        Ok(())
    }

    /// Hands out all that lies before the window.
    fn hand_out_literals<E>(&mut self, held: &[u8], sink: &mut impl FnMut(Op<'_>) -> Result<(), E>) -> Result<(), E> {
        self.hand_out_pieces(held, sink)?;
        if self.literal < self.window {
            self.hand_out_literal(&held[self.literal..self.window], sink)?;
            self.literal = self.window;
        }
        Ok(())
    }

    /// Hands out the pieces of full length that lie before the window. A literal is always cut from its beginning, so
    /// the pieces do not depend on how the content was fed.
    fn hand_out_pieces<E>(&mut self, held: &[u8], sink: &mut impl FnMut(Op<'_>) -> Result<(), E>) -> Result<(), E> {
        while self.window - self.literal >= MAX_LITERAL {
            self.hand_out_literal(&held[self.literal..self.literal + MAX_LITERAL], sink)?;
            self.literal += MAX_LITERAL;
        }
        Ok(())
    }

    fn hand_out_literal<E>(&mut self, literal: &[u8], sink: &mut impl FnMut(Op<'_>) -> Result<(), E>) -> Result<(), E> {
        self.totals.literal += literal.len() as u64;
        sink(Op::Literal(literal))
    }

    /// Drops from `held` what was handed out.
    fn forget_handed_out(&mut self, held: &mut Vec<u8>) {
        held.drain(..self.literal);
        self.base += self.literal as u64;
        self.window -= self.literal;
        self.literal = 0;
    }
}
