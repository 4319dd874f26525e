//! The start of a session: versions, compatibility flags, names of algorithms, seed, `protocol-notes/03-handshake.md`.
//!
//! [`Handshake`] is a machine without input or output of its own: it is fed what the server sent and says what to send.
//! It never waits for the server before its own version is out, because the oldest servers speak second.

use bytes::{Buf as _, BytesMut};

use super::int::{put_vstring, varint, vstring};
use super::negotiated::Negotiated;
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
    /// A field is wrong.
    #[error(transparent)]
    Decode(#[from] DecodeError),
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
    stage: Stage,
    protocol: Protocol,
    flags: CompatFlags,
    checksum: Option<StrongAlgorithm>,
    compression: Option<&'static str>,
}

impl Handshake {
    /// Starts; the client's version is written to `out` and must be sent at once.
    pub fn start(offer: Offer, out: &mut Vec<u8>) -> Self {
        out.extend_from_slice(&i32::from(offer.protocol.number()).to_le_bytes());
        Self {
            offer,
            stage: Stage::Version,
            protocol: offer.protocol,
            flags: CompatFlags::default(),
            checksum: None,
            compression: None,
        }
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
            Stage::Version => self.version(reader)?,
            Stage::Flags => self.flags(reader, out)?,
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
                let outcome =
                    Negotiated::new(&self.offer, self.protocol, self.flags, seed, self.checksum, self.compression)?;
                return Ok(Some(outcome));
            }
        }
        Ok(None)
    }

    fn version(&mut self, reader: &mut Reader<'_>) -> Result<(), HandshakeError> {
        let theirs = reader.i32()?;
        if !(20..=40).contains(&theirs) {
            return Err(HandshakeError::NotRsync);
        }
        if theirs < i32::from(Protocol::OLDEST.number()) {
            return Err(HandshakeError::TooOld(theirs));
        }
        let theirs = u8::try_from(theirs).ok().and_then(Protocol::new).unwrap_or(Protocol::NEWEST);
        self.protocol = self.offer.protocol.min(theirs);
        self.stage = if self.protocol.number() >= 30 { Stage::Flags } else { Stage::Seed };
        Ok(())
    }

    fn flags(&mut self, reader: &mut Reader<'_>, out: &mut Vec<u8>) -> Result<(), HandshakeError> {
        self.flags = CompatFlags::new(varint(reader)?);
        // Servers take it up only where it is offered.
        if self.flags.has(CompatFlags::INCREMENTAL) {
            return Err(HandshakeError::OtherOptions);
        }
        // Both ends write all their lists before they read any.
        if self.negotiates_checksum() {
            put_vstring(out, CHECKSUMS.map(StrongAlgorithm::name).join(" ").as_bytes());
        }
        if self.negotiates_compression() {
            put_vstring(out, COMPRESSIONS.join(" ").as_bytes());
        }
        self.stage = if self.negotiates_checksum() { Stage::ChecksumNames } else { self.after_checksums() };
        Ok(())
    }

    fn negotiates_checksum(&self) -> bool {
        self.flags.has(CompatFlags::VARINT_XFLAGS) && self.offer.checksum == ChecksumChoice::Negotiate
    }

    fn negotiates_compression(&self) -> bool {
        self.flags.has(CompatFlags::VARINT_XFLAGS)
            && matches!(self.offer.compression, CompressionChoice::Negotiate { .. })
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
