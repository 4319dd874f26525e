//! The delta algorithm: what a sender and a receiver compute, over slices only.
//!
//! A basis is cut into blocks ([`SumHead`]), each block is summed twice ([`rolling`], [`strong`]), the sums
//! ([`BlockSums`]) are looked up at every offset of the new content ([`BlockIndex`], [`Search`]), and the result is
//! applied to the basis ([`Patch`]). Nothing here knows how any of it travels, and nothing opens a file or allocates
//! by a number that a peer named.

pub mod index;
pub mod patch;
pub mod rolling;
pub mod search;
pub mod strong;
pub mod sum_head;
pub mod sums;

pub use index::BlockIndex;
pub use patch::{Patch, PatchError, PatchOp};
pub use rolling::{Rolling, weak_sum};
pub use search::{BasisUse, MAX_LITERAL, Op, Search, SearchTotals};
pub use strong::{Digest, SeedPlacement, StrongAlgorithm, StrongHasher, StrongSum};
pub use sum_head::SumHead;
pub use sums::BlockSums;

#[cfg(test)]
mod tests;
