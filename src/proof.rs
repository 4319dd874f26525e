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

/// By what the NAS made a document last, so that it is [`Level::Durable`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DurableBy {
    /// Its rsync flushed each file before it was renamed, and the folders were flushed behind the batch.
    File,
    /// The file system was flushed once behind the batch.
    Batch,
}

impl DurableBy {
    /// The name used in JSON and in the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Batch => "batch",
        }
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
    /// Leaving folders that travel with the documents as they are where they exist (`-K` and `-O`).
    Folders,
    /// Leaving holes where a file has zeros (`-S`).
    Sparse,
    /// Running `sync`.
    Flush,
    /// Flushing the whole file system behind a batch, where that proves as much as flushing each file.
    OneFlush,
    /// Saying how much room there is.
    Space,
}

impl Capability {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Fsync,
        Self::Partial,
        Self::Acknowledge,
        Self::Folders,
        Self::Sparse,
        Self::Flush,
        Self::OneFlush,
        Self::Space,
    ];

    /// The word under which it is remembered.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Fsync => "fsync",
            Self::Partial => "partial",
            Self::Acknowledge => "acknowledge",
            Self::Folders => "folders",
            Self::Sparse => "sparse",
            Self::Flush => "flush",
            Self::OneFlush => "one-flush",
            Self::Space => "space",
        }
    }

    /// How often in a row it has to be refused before it is no longer asked for. What rsync's options are is found out by
    /// trying without each; a command beside rsync may also fail in passing.
    const fn proof(self) -> u32 {
        match self {
            Self::Fsync | Self::Partial | Self::Acknowledge | Self::Folders | Self::Sparse => 1,
            Self::Flush | Self::OneFlush | Self::Space => 2,
        }
    }
}

/// How it became known that a NAS does not do something.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Refusal {
    /// What it does not do.
    pub capability: Capability,
    /// What showed it: the words of the NAS where it said any, safe to print.
    pub evidence: String,
    /// How the SSH server named itself then; behind another one it is not believed.
    pub server: String,
    /// How often in a row it was so.
    pub times: u32,
}

impl Refusal {
    /// Something that was refused for the first time.
    pub fn new(capability: Capability, evidence: impl Into<String>, server: impl Into<String>) -> Self {
        Self { capability, evidence: evidence.into(), server: server.into(), times: 1 }
    }

    /// Something that would be refused however often it was asked for, by the NAS's own words.
    pub fn certain(capability: Capability, evidence: impl Into<String>, server: impl Into<String>) -> Self {
        Self { times: capability.proof(), ..Self::new(capability, evidence, server) }
    }

    /// Whether that is enough to go without.
    pub fn counts(&self) -> bool {
        self.times >= self.capability.proof()
    }
}
