//! What a client offers before the server has said anything, and the flags with which the server answers,
//! `protocol-notes/03-handshake.md`.

use super::token::TokenCoding;
use crate::delta::strong::StrongAlgorithm;

/// A protocol version that this crate speaks: 27 to 32.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Protocol(u8);

impl Protocol {
    /// The oldest.
    pub const OLDEST: Self = Self(27);
    /// The newest.
    pub const NEWEST: Self = Self(32);

    /// `None` outside 27 to 32.
    pub fn new(number: u8) -> Option<Self> {
        (Self::OLDEST.0..=Self::NEWEST.0).contains(&number).then_some(Self(number))
    }

    /// The number.
    pub const fn number(self) -> u8 {
        self.0
    }

    /// Whether it has a message by which a receiver acknowledges a file.
    pub const fn acknowledges(self) -> bool {
        self.0 >= 29
    }

    /// Whether a client of this version describes its capabilities in the server's arguments.
    pub const fn announces_capabilities(self) -> bool {
        self.0 >= 30
    }
}

impl std::fmt::Display for Protocol {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// Which strong sums a client asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChecksumChoice {
    /// The best that both know.
    Negotiate,
    /// These, said in the server's arguments.
    Fixed {
        /// For blocks and whole files.
        transfer: StrongAlgorithm,
        /// For digests in the file list.
        list: StrongAlgorithm,
    },
}

/// Which compression a client asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CompressionChoice {
    /// None.
    Off,
    /// The best that both know; zlib where nothing can be negotiated.
    Negotiate {
        /// The level, in the scale of whatever is chosen.
        level: Option<i32>,
    },
    /// This one, said in the server's arguments.
    Fixed(TokenCoding),
}

/// What a client offers. The server's arguments and the handshake must come from the same offer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Offer {
    /// The highest protocol version.
    pub protocol: Protocol,
    /// Strong sums.
    pub checksum: ChecksumChoice,
    /// Compression.
    pub compression: CompressionChoice,
    /// Whether the server may take the file list in parts, folder by folder.
    pub incremental: bool,
}

impl Default for Offer {
    fn default() -> Self {
        Self {
            protocol: Protocol::NEWEST,
            checksum: ChecksumChoice::Negotiate,
            compression: CompressionChoice::Off,
            incremental: false,
        }
    }
}

/// The server's compatibility flags.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CompatFlags(i32);

impl CompatFlags {
    /// Incremental recursion.
    pub(super) const INCREMENTAL: Self = Self(0x001);
    /// Errors of the lister may ride in the end of the file list.
    pub(super) const SAFE_FILE_LIST: Self = Self(0x008);
    /// MD5 block sums hash the seed first.
    pub(super) const SEED_BEFORE_DATA: Self = Self(0x020);
    /// Flag words of the file list are varints, and algorithms are negotiated by name.
    pub(super) const VARINT_XFLAGS: Self = Self(0x080);
    /// Id lists name id 0.
    pub(super) const ZERO_ID_NAMES: Self = Self(0x100);

    /// What every stock rsync of protocol 32 answers to what this crate says of itself.
    pub(super) const OF_PROTOCOL_32: Self = Self(0x1fe);

    pub(super) const fn new(flags: i32) -> Self {
        Self(flags)
    }

    /// Whether a server of these flags takes what a client writes that counts on `others`.
    pub(super) const fn reads_lists_as(self, others: Self) -> bool {
        const WRITTEN_BY: i32 =
            CompatFlags::SAFE_FILE_LIST.0 | CompatFlags::VARINT_XFLAGS.0 | CompatFlags::ZERO_ID_NAMES.0;
        (self.0 ^ others.0) & WRITTEN_BY == 0
    }

    /// The same for a client that offers no list in parts.
    pub(super) const fn of_whole_lists(self) -> Self {
        Self(self.0 & !Self::INCREMENTAL.0)
    }

    pub(super) const fn has(self, flag: Self) -> bool {
        self.0 & flag.0 != 0
    }
}
