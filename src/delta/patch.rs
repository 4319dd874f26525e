//! The receiver's half: new content from a basis and the sender's steps.
//!
//! Refuses blocks that do not exist and content longer than was agreed, whatever the sender says. Where the basis lies
//! and where the content goes is the caller's matter. See `protocol-notes/07-transfer.md`.

use super::{Op, SumHead};

/// How much of a block is read at a time, in bytes; blocks may be far longer.
const PIECE: usize = 64 << 10;

/// One step as it arrives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PatchOp<'a> {
    /// These bytes come next.
    Literal(&'a [u8]),
    /// The block of that number comes next.
    Copy(u32),
}

impl<'a> From<Op<'a>> for PatchOp<'a> {
    fn from(op: Op<'a>) -> Self {
        match op {
            Op::Literal(data) => Self::Literal(data),
            Op::Copy { block, .. } => Self::Copy(block),
        }
    }
}

/// Why a step cannot be taken.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatchError<E> {
    /// The sender names a block that the basis does not have.
    #[error("block {block} of {count} does not exist")]
    NoSuchBlock {
        /// The block named.
        block: u32,
        /// How many there are.
        count: u32,
    },
    /// The content grows beyond what was agreed.
    #[error("the content is longer than {limit} bytes")]
    TooLong {
        /// The agreed length in bytes.
        limit: u64,
    },
    /// Reading the basis or writing the content failed.
    #[error(transparent)]
    Io(#[from] E),
}

/// New content in the making.
#[derive(Debug)]
pub struct Patch {
    head: SumHead,
    limit: u64,
    written: u64,
    piece: Vec<u8>,
}

impl Patch {
    /// Starts at the first byte. `head` is that of the basis, as both sides agreed; more than `limit` bytes are
    /// never written.
    pub fn new(head: SumHead, limit: u64) -> Self {
        Self { head, limit, written: 0, piece: Vec::new() }
    }

    /// Takes one step. `read_at` fills the whole slice from that offset of the basis; `write` appends to the content.
    ///
    /// # Errors
    /// See [`PatchError`]. Nothing of a step that is refused is written; a failed read or write may leave a part.
    pub fn apply<E>(
        &mut self,
        op: PatchOp<'_>,
        mut read_at: impl FnMut(u64, &mut [u8]) -> Result<(), E>,
        mut write: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), PatchError<E>> {
        match op {
            PatchOp::Literal(data) => {
                self.grow(data.len() as u64)?;
                write(data)?;
            }
            PatchOp::Copy(block) => {
                let count = self.head.count;
                let len = self.head.block_size(block).ok_or(PatchError::NoSuchBlock { block, count })?;
                self.grow(len.into())?;
                let mut offset = self.head.block_offset(block);
                let end = offset + u64::from(len);
                while offset < end {
                    let len = usize::try_from(end - offset).map_or(PIECE, |left| left.min(PIECE));
                    self.piece.resize(len, 0);
                    read_at(offset, &mut self.piece)?;
                    write(&self.piece)?;
                    offset += len as u64;
                }
            }
        }
        Ok(())
    }

    /// How many bytes the content has so far.
    pub fn written(&self) -> u64 {
        self.written
    }

    fn grow<E>(&mut self, bytes: u64) -> Result<(), PatchError<E>> {
        let written = self.written.checked_add(bytes).filter(|&written| written <= self.limit);
        self.written = written.ok_or(PatchError::TooLong { limit: self.limit })?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(head: SumHead, limit: u64, op: PatchOp<'_>) -> PatchError<()> {
        let mut patch = Patch::new(head, limit);
        let error = patch.apply(op, |_, _| panic!("read"), |_| panic!("wrote")).unwrap_err();
        assert_eq!(patch.written(), 0);
        error
    }

    #[test]
    fn a_sender_cannot_name_what_does_not_exist_or_write_too_much() {
        let head = SumHead::with_block_len(1500, 1000, 16);
        assert_eq!(refused(head, 9999, PatchOp::Copy(2)), PatchError::NoSuchBlock { block: 2, count: 2 });
        assert_eq!(refused(SumHead::EMPTY, 9999, PatchOp::Copy(0)), PatchError::NoSuchBlock { block: 0, count: 0 });
        assert_eq!(refused(head, 499, PatchOp::Copy(1)), PatchError::TooLong { limit: 499 });
        assert_eq!(refused(head, 3, PatchOp::Literal(b"abcd")), PatchError::TooLong { limit: 3 });
    }

    #[test]
    fn long_blocks_are_copied_in_pieces() {
        let basis: Vec<u8> = (0..=255).cycle().take(3 * PIECE + 5).collect();
        let head = SumHead::with_block_len(basis.len() as u64, 1 << 20, 16);
        let mut patch = Patch::new(head, u64::MAX);
        let mut content = Vec::new();
        let read_at = |offset: u64, piece: &mut [u8]| {
            assert!(piece.len() <= PIECE);
            let offset = usize::try_from(offset).unwrap();
            piece.copy_from_slice(&basis[offset..offset + piece.len()]);
            Ok::<_, ()>(())
        };
        let write = |piece: &[u8]| {
            content.extend_from_slice(piece);
            Ok(())
        };
        patch.apply(PatchOp::Copy(0), read_at, write).unwrap();
        assert_eq!(patch.written(), basis.len() as u64);
        assert!(content == basis);
    }
}
