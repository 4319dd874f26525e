//! Strong sums: the second opinion on a block, and the digest of a whole file.
//!
//! A [`StrongSum`] is the complete recipe: algorithm, seed, and where the seed goes. Which recipe a session uses is
//! decided once, by the handshake; this module only carries it out. See `protocol-notes/09-checksums.md`.

use std::fmt;
use std::hash::Hasher as _;

use md5::Digest as _;
use twox_hash::{XxHash3_64, XxHash3_128, XxHash64};

/// The longest digest, SHA-1's.
pub const MAX_DIGEST_LEN: usize = 20;

/// A checksum that rsync can negotiate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StrongAlgorithm {
    /// XXH3, 128 bits.
    Xxh128,
    /// XXH3, 64 bits.
    Xxh3,
    /// The older 64-bit xxHash.
    Xxh64,
    /// MD5.
    Md5,
    /// MD4 with the padding that RFC 1320 asks for.
    Md4,
    /// SHA-1.
    Sha1,
    /// No checksum; its digest is one zero byte.
    None,
}

impl StrongAlgorithm {
    /// All algorithms in the order in which they are to be offered. The order matters: some servers take the first
    /// name of their own list, some of the client's (`protocol-notes/03-handshake.md`).
    pub const ALL: [Self; 7] = [Self::Xxh128, Self::Xxh3, Self::Xxh64, Self::Md5, Self::Md4, Self::Sha1, Self::None];

    /// The name on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Xxh128 => "xxh128",
            Self::Xxh3 => "xxh3",
            Self::Xxh64 => "xxh64",
            Self::Md5 => "md5",
            Self::Md4 => "md4",
            Self::Sha1 => "sha1",
            Self::None => "none",
        }
    }

    /// The algorithm of that name on the wire; `xxhash` is an old name of `xxh64`.
    pub fn from_name(name: &str) -> Option<Self> {
        if name == "xxhash" {
            return Some(Self::Xxh64);
        }
        Self::ALL.into_iter().find(|algorithm| algorithm.name() == name)
    }

    /// The length of its digest in bytes: 1 to [`MAX_DIGEST_LEN`].
    pub const fn digest_len(self) -> usize {
        match self {
            Self::Xxh3 | Self::Xxh64 => 8,
            Self::Xxh128 | Self::Md5 | Self::Md4 => 16,
            Self::Sha1 => 20,
            Self::None => 1,
        }
    }
}

impl fmt::Display for StrongAlgorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Where the session's seed enters a sum.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SeedPlacement {
    /// Nowhere.
    Unseeded,
    /// Its four bytes, little-endian, are hashed before the data.
    Before,
    /// Its four bytes, little-endian, are hashed after the data.
    After,
    /// It is the seed parameter of an xxHash, sign-extended to 64 bits. Other algorithms have no such parameter and
    /// ignore it.
    Parameter,
}

/// How to compute one kind of strong sum.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct StrongSum {
    /// The hash function.
    pub algorithm: StrongAlgorithm,
    /// Where `seed` goes.
    pub placement: SeedPlacement,
    /// The session's seed. As `Before` or `After`, 0 is not hashed at all.
    pub seed: i32,
}

impl StrongSum {
    /// The plain hash of the data.
    pub const fn unseeded(algorithm: StrongAlgorithm) -> Self {
        Self { algorithm, placement: SeedPlacement::Unseeded, seed: 0 }
    }

    /// The sum of `data`.
    pub fn digest(&self, data: &[u8]) -> Digest {
        // The one-shot forms spare short blocks the buffering of the streaming ones.
        let affix = self.affix().is_some();
        match self.algorithm {
            StrongAlgorithm::Xxh128 if !affix => xxh128_digest(XxHash3_128::oneshot_with_seed(self.parameter(), data)),
            StrongAlgorithm::Xxh3 if !affix => {
                Digest::new(&XxHash3_64::oneshot_with_seed(self.parameter(), data).to_le_bytes())
            }
            StrongAlgorithm::Xxh64 if !affix => Digest::new(&XxHash64::oneshot(self.parameter(), data).to_le_bytes()),
            _ => {
                let mut hasher = self.hasher();
                hasher.update(data);
                hasher.finish()
            }
        }
    }

    /// A hasher for data that comes in pieces.
    pub fn hasher(&self) -> StrongHasher {
        let parameter = self.parameter();
        let mut state = match self.algorithm {
            StrongAlgorithm::Xxh128 => State::Xxh128(Box::new(XxHash3_128::with_seed(parameter))),
            StrongAlgorithm::Xxh3 => State::Xxh3(Box::new(XxHash3_64::with_seed(parameter))),
            StrongAlgorithm::Xxh64 => State::Xxh64(XxHash64::with_seed(parameter)),
            StrongAlgorithm::Md5 => State::Md5(md5::Md5::new()),
            StrongAlgorithm::Md4 => State::Md4(md4::Md4::new()),
            StrongAlgorithm::Sha1 => State::Sha1(sha1::Sha1::new()),
            StrongAlgorithm::None => State::None,
        };
        let affix = self.affix();
        if let (SeedPlacement::Before, Some(seed)) = (self.placement, affix) {
            state.update(&seed);
        }
        let suffix = affix.filter(|_| self.placement == SeedPlacement::After);
        StrongHasher { state, suffix }
    }

    /// The seed as bytes among the data, if it is used so.
    fn affix(self) -> Option<[u8; 4]> {
        let hashed = matches!(self.placement, SeedPlacement::Before | SeedPlacement::After) && self.seed != 0;
        hashed.then(|| self.seed.to_le_bytes())
    }

    /// The seed as a parameter of the hash function.
    fn parameter(self) -> u64 {
        match self.placement {
            SeedPlacement::Parameter => i64::from(self.seed).cast_unsigned(),
            SeedPlacement::Unseeded | SeedPlacement::Before | SeedPlacement::After => 0,
        }
    }
}

/// A strong sum in the making.
pub struct StrongHasher {
    state: State,
    suffix: Option<[u8; 4]>,
}

enum State {
    Xxh128(Box<XxHash3_128>),
    Xxh3(Box<XxHash3_64>),
    Xxh64(XxHash64),
    Md5(md5::Md5),
    Md4(md4::Md4),
    Sha1(sha1::Sha1),
    None,
}

impl State {
    fn update(&mut self, data: &[u8]) {
        match self {
            Self::Xxh128(hasher) => hasher.write(data),
            Self::Xxh3(hasher) => hasher.write(data),
            Self::Xxh64(hasher) => hasher.write(data),
            Self::Md5(hasher) => hasher.update(data),
            Self::Md4(hasher) => hasher.update(data),
            Self::Sha1(hasher) => hasher.update(data),
            Self::None => {}
        }
    }
}

impl StrongHasher {
    /// Adds the next bytes.
    pub fn update(&mut self, data: &[u8]) {
        self.state.update(data);
    }

    /// The sum of all bytes added.
    pub fn finish(mut self) -> Digest {
        if let Some(seed) = self.suffix {
            self.state.update(&seed);
        }
        match self.state {
            State::Xxh128(hasher) => xxh128_digest(hasher.finish_128()),
            State::Xxh3(hasher) => Digest::new(&hasher.finish().to_le_bytes()),
            State::Xxh64(hasher) => Digest::new(&hasher.finish().to_le_bytes()),
            State::Md5(hasher) => Digest::new(&hasher.finalize()),
            State::Md4(hasher) => Digest::new(&hasher.finalize()),
            State::Sha1(hasher) => Digest::new(&hasher.finalize()),
            State::None => Digest::new(&[0]),
        }
    }
}

impl fmt::Debug for StrongHasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StrongHasher").finish_non_exhaustive()
    }
}

/// The low half comes first on the wire, each half little-endian: one little-endian number of 128 bits.
fn xxh128_digest(sum: u128) -> Digest {
    Digest::new(&sum.to_le_bytes())
}

/// A digest in wire order, kept inline.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Digest {
    bytes: [u8; MAX_DIGEST_LEN],
    len: u8,
}

impl Digest {
    /// `digest` has at most [`MAX_DIGEST_LEN`] bytes, because [`StrongAlgorithm::digest_len`] has.
    fn new(digest: &[u8]) -> Self {
        let mut bytes = [0; MAX_DIGEST_LEN];
        bytes[..digest.len()].copy_from_slice(digest);
        #[expect(clippy::cast_possible_truncation, reason = "the line above fails for more than 20 bytes")]
        let len = digest.len() as u8;
        Self { bytes, len }
    }

    /// The bytes as they travel, [`StrongAlgorithm::digest_len`] of them.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }

    /// The first `len` bytes, or all if there are fewer: the form in which sums of blocks travel.
    pub fn truncated(&self, len: usize) -> &[u8] {
        &self.bytes[..usize::from(self.len).min(len)]
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_bytes().iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(algorithm: StrongAlgorithm, placement: SeedPlacement, seed: i32, data: &[u8]) -> String {
        let recipe = StrongSum { algorithm, placement, seed };
        let digest = recipe.digest(data);
        let mut hasher = recipe.hasher();
        data.chunks(3).for_each(|piece| hasher.update(piece));
        assert_eq!(hasher.finish(), digest, "{recipe:?} in pieces");
        assert_eq!(digest.as_bytes().len(), algorithm.digest_len());
        format!("{digest:?}")
    }

    #[test]
    fn names_and_lengths() {
        for algorithm in StrongAlgorithm::ALL {
            assert_eq!(StrongAlgorithm::from_name(algorithm.name()), Some(algorithm));
            sum(algorithm, SeedPlacement::Unseeded, 0, b"");
        }
        assert_eq!(StrongAlgorithm::from_name("xxhash"), Some(StrongAlgorithm::Xxh64));
        assert_eq!(StrongAlgorithm::from_name("crc32"), None);
        assert_eq!(StrongAlgorithm::ALL.map(StrongAlgorithm::digest_len).iter().max(), Some(&MAX_DIGEST_LEN));
    }

    #[test]
    fn plain_sums_are_the_published_ones() {
        use StrongAlgorithm::{Md4, Md5, None, Sha1, Xxh3, Xxh64, Xxh128};
        for (algorithm, data, expected) in [
            (Md4, &b"abc"[..], "a448017aaf21d8525fc10ae87aa6729d"),
            (Md5, b"abc", "900150983cd24fb0d6963f7d28e17f72"),
            (Sha1, b"abc", "a9993e364706816aba3e25717850c26c9cd0d89d"),
            // Published as the number 44bc2cf5ad770999 and its like; they travel with the low byte first.
            (Xxh64, b"abc", "990977adf52cbc44"),
            (Xxh3, b"abc", "50392f89945faf78"),
            // The digest that a stock rsync 3.5.0 sent for this content.
            (Xxh128, b"hello\n", "9ce4c8f135b4105a6df569e0c786ba6b"),
            (None, b"abc", "00"),
        ] {
            assert_eq!(sum(algorithm, SeedPlacement::Unseeded, 77, data), expected, "{algorithm}");
        }
    }

    #[test]
    fn seeds_go_where_the_recipe_says() {
        use SeedPlacement::{After, Before, Parameter, Unseeded};
        let seed = 0x6b13_cbc2;
        // The digest that a stock rsync 3.5.0 sent at protocol 29 with this seed.
        assert_eq!(sum(StrongAlgorithm::Md4, Before, seed, b"hello\n"), "a63131370399cd9f0903a73f6e339ed0");
        for algorithm in [StrongAlgorithm::Md4, StrongAlgorithm::Md5, StrongAlgorithm::Sha1] {
            let data = b"some data";
            let bytes = seed.to_le_bytes();
            let plain = |parts: [&[u8]; 2]| sum(algorithm, Unseeded, 0, &parts.concat());
            assert_eq!(sum(algorithm, Before, seed, data), plain([&bytes, data]));
            assert_eq!(sum(algorithm, After, seed, data), plain([data, &bytes]));
            assert_eq!(sum(algorithm, After, 0, data), plain([data, b""]));
            assert_eq!(sum(algorithm, Before, 0, data), plain([data, b""]));
        }
        for algorithm in [StrongAlgorithm::Xxh64, StrongAlgorithm::Xxh3, StrongAlgorithm::Xxh128] {
            assert_eq!(sum(algorithm, Parameter, 0, b"x"), sum(algorithm, Unseeded, 5, b"x"));
            assert_ne!(sum(algorithm, Parameter, 5, b"x"), sum(algorithm, Unseeded, 5, b"x"));
        }
        // Negative seeds are sign-extended.
        let extended = XxHash64::oneshot(u64::MAX - 1, b"x").to_le_bytes();
        assert_eq!(
            StrongSum { algorithm: StrongAlgorithm::Xxh64, placement: Parameter, seed: -2 }.digest(b"x").as_bytes(),
            extended
        );
    }
}
