//! The start of a session: versions, compatibility flags, names of algorithms, seed, `protocol-notes/03-handshake.md`.
//!
//! [`Handshake`] is a machine without input or output of its own: it is fed what the server sent and says what to send.
//! It never waits for the server before its own version is out, because the oldest servers speak second.

use bytes::{Buf as _, BytesMut};

use super::int::{put_vstring, varint, vstring};
use super::negotiated::{ListTerms, Negotiated};
use super::offer::{ChecksumChoice, CompatFlags, CompressionChoice, Offer, Protocol};
use super::reader::{DecodeError, Reader};
use crate::delta::strong::StrongAlgorithm;

/// Names offered, best first: the stock order with what this crate does not offer left out. The order matters, since
/// some servers choose by the client's list and others by their own.
const CHECKSUMS: [StrongAlgorithm; 5] = [
    StrongAlgorithm::Xxh128,
    StrongAlgorithm::Xxh3,
    StrongAlgorithm::Xxh64,
    StrongAlgorithm::Md5,
    StrongAlgorithm::Sha1,
];
const COMPRESSIONS: [&str; 4] = ["zstd", "lz4", "zlibx", "zlib"];

/// The longest list of names that a peer may send.
const MAX_NAMES: usize = 255;

/// Why a handshake failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HandshakeError {
    /// Where the version should be stands something else, usually text.
    #[error("the first bytes are not an rsync version")]
    NotRsync,
    /// The server speaks only versions that this crate does not.
    #[error("the server speaks rsync protocol {0}, the oldest supported is {oldest}", oldest = Protocol::OLDEST)]
    TooOld(i32),
    /// No algorithm in common.
    #[error("no {what} in common: the server offers \"{theirs}\"")]
    NothingInCommon {
        /// Checksum or compression.
        what: &'static str,
        /// The server's list.
        theirs: String,
    },
    /// The server does what only a server with other options does.
    #[error("the server was started with other options than those it was asked for")]
    OtherOptions,
    /// The server's flags are not those that were counted on when the file list left ahead of them.
    #[error("the server answers otherwise than it was counted on")]
    Unexpected,
    /// A field is wrong.
    #[error(transparent)]
    Decode(#[from] DecodeError),
}

/// What a server answers to an offer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answer {
    version: i32,
    flags: CompatFlags,
}

/// Whether the client counts on a server's flags, so that its names and its file list can leave before the flags have
/// arrived. A server whose flags are others takes the names for a frame that cannot be, and ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ahead {
    /// It waits for them.
    Never,
    /// It counts on them where the version tells them, or when a server of this version has answered so before.
    CountingOn(Option<Answer>),
}

impl Ahead {
    fn flags(self, offer: &Offer, version: i32, protocol: Protocol) -> Option<CompatFlags> {
        let Self::CountingOn(known) = self else { return None };
        // Whether a server takes a list in parts depends on its options, too.
        if offer.incremental {
            return None;
        }
        let known = known.filter(|answer| answer.version == version).map(|answer| answer.flags.of_whole_lists());
        // The names are what tells a server that does not expect them, so there have to be some.
        let guess = (protocol == Protocol::NEWEST && offer.checksum == ChecksumChoice::Negotiate)
            .then_some(CompatFlags::OF_PROTOCOL_32);
        known.or(guess).filter(|_| protocol.number() >= 30)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Version,
    Flags,
    ChecksumNames,
    CompressionNames,
    Seed,
}

/// The client's side of the handshake.
#[derive(Debug)]
pub struct Handshake {
    offer: Offer,
    ahead: Ahead,
    stage: Stage,
    version: i32,
    protocol: Protocol,
    /// Those of the server, or those that are counted on until they come.
    flags: Option<CompatFlags>,
    checksum: Option<StrongAlgorithm>,
    compression: Option<&'static str>,
}

impl Handshake {
    /// Starts; the client's version is written to `out` and must be sent at once.
    pub fn start(offer: Offer, out: &mut Vec<u8>) -> Self {
        out.extend_from_slice(&i32::from(offer.protocol.number()).to_le_bytes());
        Self {
            offer,
            ahead: Ahead::Never,
            stage: Stage::Version,
            version: 0,
            protocol: offer.protocol,
            flags: None,
            checksum: None,
            compression: None,
        }
    }

    /// Lets the list leave ahead of the server's flags where they can be counted on.
    #[must_use]
    pub fn ahead(self, ahead: Ahead) -> Self {
        Self { ahead, ..self }
    }

    /// What the file list is written by, as soon as that is known: before the server's names and its seed, and perhaps
    /// before its flags. From then on [`Handshake::advance`] has nothing more to send. Never below protocol 30, where the
    /// seed comes with the version.
    pub fn list_terms(&self) -> Option<ListTerms> {
        self.flags.map(|flags| ListTerms::new(self.protocol, flags))
    }

    /// What the server has answered, once its flags have come.
    pub fn answer(&self) -> Option<Answer> {
        let flags = self.flags.filter(|_| !matches!(self.stage, Stage::Version | Stage::Flags))?;
        Some(Answer { version: self.version, flags })
    }

    /// Goes on as far as `input` reaches, taking what it used; what must be sent is written to `out`. Gives the outcome
    /// once the seed has arrived: whatever is left in `input` then is multiplexed.
    pub fn advance(&mut self, input: &mut BytesMut, out: &mut Vec<u8>) -> Result<Option<Negotiated>, HandshakeError> {
        loop {
            let mut reader = Reader::new(input);
            let step = self.step(&mut reader, out);
            let used = reader.position();
            match step {
                Ok(outcome) => {
                    input.advance(used);
                    if outcome.is_some() {
                        return Ok(outcome);
                    }
                }
                Err(HandshakeError::Decode(DecodeError::NeedMore)) => return Ok(None),
                Err(error) => return Err(error),
            }
        }
    }

    fn step(&mut self, reader: &mut Reader<'_>, out: &mut Vec<u8>) -> Result<Option<Negotiated>, HandshakeError> {
        match self.stage {
            Stage::Version => self.take_version(reader, out)?,
            Stage::Flags => self.take_flags(reader, out)?,
            Stage::ChecksumNames => {
                let names = vstring(reader, MAX_NAMES, "checksum names")?;
                self.checksum = Some(choose("checksum", &CHECKSUMS, StrongAlgorithm::name, names)?);
                self.stage = self.after_checksums();
            }
            Stage::CompressionNames => {
                let names = vstring(reader, MAX_NAMES, "compression names")?;
                self.compression = Some(choose("compression", &COMPRESSIONS, |name| name, names)?);
                self.stage = Stage::Seed;
            }
            Stage::Seed => {
                let seed = reader.i32()?;
                let flags = self.flags.unwrap_or_default();
                let outcome =
                    Negotiated::new(&self.offer, self.protocol, flags, seed, self.checksum, self.compression)?;
                return Ok(Some(outcome));
            }
        }
        Ok(None)
    }

    fn take_version(&mut self, reader: &mut Reader<'_>, out: &mut Vec<u8>) -> Result<(), HandshakeError> {
        let theirs = reader.i32()?;
        if !(20..=40).contains(&theirs) {
            return Err(HandshakeError::NotRsync);
        }
        if theirs < i32::from(Protocol::OLDEST.number()) {
            return Err(HandshakeError::TooOld(theirs));
        }
        self.version = theirs;
        let theirs = u8::try_from(theirs).ok().and_then(Protocol::new).unwrap_or(Protocol::NEWEST);
        self.protocol = self.offer.protocol.min(theirs);
        self.stage = if self.protocol.number() >= 30 { Stage::Flags } else { Stage::Seed };
        self.flags = self.ahead.flags(&self.offer, self.version, self.protocol);
        if self.flags.is_some() {
            self.put_names(out);
        }
        Ok(())
    }

    fn take_flags(&mut self, reader: &mut Reader<'_>, out: &mut Vec<u8>) -> Result<(), HandshakeError> {
        let flags = CompatFlags::new(varint(reader)?);
        // Servers take it up only where it is offered.
        if flags.has(CompatFlags::INCREMENTAL) && !self.offer.incremental {
            return Err(HandshakeError::OtherOptions);
        }
        let counted_on = self.flags.replace(flags);
        match counted_on {
            None => self.put_names(out),
            Some(counted_on) if counted_on.reads_lists_as(flags) => {}
            Some(_) => return Err(HandshakeError::Unexpected),
        }
        self.stage = if self.negotiates_checksum() { Stage::ChecksumNames } else { self.after_checksums() };
        Ok(())
    }

    /// Both ends write all their names before they read any.
    fn put_names(&self, out: &mut Vec<u8>) {
        if self.negotiates_checksum() {
            put_vstring(out, CHECKSUMS.map(StrongAlgorithm::name).join(" ").as_bytes());
        }
        if self.negotiates_compression() {
            put_vstring(out, COMPRESSIONS.join(" ").as_bytes());
        }
    }

    fn negotiates(&self) -> bool {
        self.flags.is_some_and(|flags| flags.has(CompatFlags::VARINT_XFLAGS))
    }

    fn negotiates_checksum(&self) -> bool {
        self.negotiates() && self.offer.checksum == ChecksumChoice::Negotiate
    }

    fn negotiates_compression(&self) -> bool {
        self.negotiates() && matches!(self.offer.compression, CompressionChoice::Negotiate { .. })
    }

    fn after_checksums(&self) -> Stage {
        if self.negotiates_compression() { Stage::CompressionNames } else { Stage::Seed }
    }
}

/// The first of our names that the server listed.
fn choose<T: Copy>(
    what: &'static str,
    ours: &[T],
    name: impl Fn(T) -> &'static str,
    theirs: &[u8],
) -> Result<T, HandshakeError> {
    ours.iter()
        .copied()
        .find(|&candidate| theirs.split(|&byte| byte == b' ').any(|listed| listed == name(candidate).as_bytes()))
        .ok_or_else(|| HandshakeError::NothingInCommon { what, theirs: String::from_utf8_lossy(theirs).into_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delta::strong::SeedPlacement;

    fn run(offer: Offer, server: &[u8]) -> (Vec<u8>, Result<Option<Negotiated>, HandshakeError>) {
        let mut out = Vec::new();
        let mut handshake = Handshake::start(offer, &mut out);
        let mut input = BytesMut::new();
        // One byte at a time: the result may not depend on how the bytes were split.
        for &byte in server {
            input.extend_from_slice(&[byte]);
            match handshake.advance(&mut input, &mut out) {
                Ok(None) => {}
                other => return (out, other),
            }
        }
        (out, Ok(None))
    }

    #[test]
    fn a_current_server_as_captured() {
        let mut server = vec![0x20, 0, 0, 0, 0x81, 0xfe];
        put_vstring(&mut server, b"xxh128 xxh3 xxh64 md5 md4 sha1 none");
        server.extend_from_slice(&[0x01, 0xd9, 0x13, 0x6b]);
        let (sent, outcome) = run(Offer::default(), &server);
        let outcome = outcome.unwrap().expect("complete");
        assert_eq!(&sent[..4], [0x20, 0, 0, 0]);
        assert_eq!(&sent[5..], b"xxh128 xxh3 xxh64 md5 sha1");
        assert_eq!(outcome.protocol, Protocol::NEWEST);
        assert_eq!(outcome.block_sum.algorithm, StrongAlgorithm::Xxh128);
        assert_eq!(outcome.block_sum.seed, 0x6b13_d901);
    }

    #[test]
    fn an_old_server_sends_version_and_seed_only() {
        let (sent, outcome) = run(Offer::default(), &[29, 0, 0, 0, 0xc2, 0xcb, 0x13, 0x6b]);
        let outcome = outcome.unwrap().expect("complete");
        assert_eq!(sent, [32, 0, 0, 0]);
        assert_eq!(outcome.block_sum.algorithm, StrongAlgorithm::Md4);
        assert_eq!(outcome.file_sum.placement, SeedPlacement::Before);
    }

    #[test]
    fn a_list_may_leave_ahead_of_the_flags_where_they_can_be_counted_on() {
        let names = b"\x1axxh128 xxh3 xxh64 md5 sha1";
        let hear = |ahead, server: &[u8]| {
            let mut out = Vec::new();
            let mut handshake = Handshake::start(Offer::default(), &mut Vec::new()).ahead(ahead);
            let end = handshake.advance(&mut BytesMut::from(server), &mut out).map(|_| handshake.list_terms());
            (out, end, handshake.answer())
        };
        let (said, terms, answer) = hear(Ahead::CountingOn(None), &[32, 0, 0, 0]);
        assert_eq!((&said[..], answer), (&names[..], None));
        let expected = terms.unwrap().expect("it is known");
        let (said, terms, answer) = hear(Ahead::Never, &[32, 0, 0, 0, 0x81, 0xfe]);
        assert_eq!((&said[..], terms.unwrap()), (&names[..], Some(expected)));
        // A version that may or may not negotiate is waited for, unless it is known.
        let (said, terms, _) = hear(Ahead::CountingOn(None), &[31, 0, 0, 0]);
        assert!(said.is_empty() && terms.unwrap().is_none());
        let (said, terms, _) = hear(Ahead::CountingOn(answer), &[31, 0, 0, 0]);
        assert!(said.is_empty() && terms.unwrap().is_none(), "another version answered so");
        let (_, _, answer) = hear(Ahead::Never, &[31, 0, 0, 0, 0x81, 0xfe]);
        assert_eq!(hear(Ahead::CountingOn(answer), &[31, 0, 0, 0]).0, names);
        let surprise = hear(Ahead::CountingOn(answer), &[31, 0, 0, 0, 0x2e]).1;
        assert_eq!(surprise.unwrap_err(), HandshakeError::Unexpected);
        assert_eq!(hear(Ahead::CountingOn(None), &[29, 0, 0, 0]).1.unwrap(), None);
    }

    #[test]
    fn text_is_not_a_version() {
        assert_eq!(run(Offer::default(), b"Welcome to NAS").1.unwrap_err(), HandshakeError::NotRsync);
        assert_eq!(run(Offer::default(), &[26, 0, 0, 0]).1.unwrap_err(), HandshakeError::TooOld(26));
    }

    #[test]
    fn what_was_not_offered_is_refused() {
        let answer = run(Offer::default(), &[32, 0, 0, 0, 0x81, 0xff]).1;
        assert_eq!(answer.unwrap_err(), HandshakeError::OtherOptions);
        let mut server = vec![0x20, 0, 0, 0, 0x81, 0xfe];
        put_vstring(&mut server, b"sha512");
        assert!(matches!(run(Offer::default(), &server).1, Err(HandshakeError::NothingInCommon { .. })));
    }
}
