//! Words for what is proved about a copy on the NAS, and for what a NAS may be able to do for that.

/// What is proved about a copy on the NAS; each level includes the ones before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// The session that sent it ended well.
    Sent,
    /// The NAS acknowledged it: checksum matched, renamed into place.
    Stored,
    /// And it survives a power cut of the NAS.
    Durable,
    /// And it was read back and compared.
    Verified,
}

impl Level {
    /// All levels, lowest first.
    pub const ALL: [Self; 4] = [Self::Sent, Self::Stored, Self::Durable, Self::Verified];

    /// The name used in the configuration, in JSON and in the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sent => "sent",
            Self::Stored => "stored",
            Self::Durable => "durable",
            Self::Verified => "verified",
        }
    }

    /// The level of this name, in any ASCII case.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|level| level.as_str().eq_ignore_ascii_case(name))
    }
}

/// Something that not every NAS does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Capability {
    /// Flushing each file before it is renamed (`--fsync`).
    Fsync,
    /// Keeping what it has of a file when the connection is cut (`--partial-dir`).
    Partial,
    /// Acknowledging each file.
    Acknowledge,
    /// Running `sync`.
    Flush,
    /// Saying how much room there is.
    Space,
}

impl Capability {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Fsync, Self::Partial, Self::Acknowledge, Self::Flush, Self::Space];

    /// The word under which it is remembered.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Fsync => "fsync",
            Self::Partial => "partial",
            Self::Acknowledge => "acknowledge",
            Self::Flush => "flush",
            Self::Space => "space",
        }
    }
}
