//! What both ends agreed on, as encodings. Built once, by the handshake; every coder takes what it needs from here.
//!
//! This, `handshake.rs` and `offer.rs` are the only places that compare protocol versions, `protocol-notes/03-handshake.md`.

use super::flist::{DeviceCoding, EndOfList, LinkCoding, ListCoding, ListOrder, XflagCoding};
use super::iflags::ItemCoding;
use super::int::IntCoding;
use super::mux::Framing;
use super::ndx::NdxCoding;
use super::offer::{ChecksumChoice, CompatFlags, CompressionChoice, Offer, Protocol};
use super::reader::{Decode, DecodeError};
use super::rules::RuleCoding;
use super::stats::SenderTimes;
use super::token::{TokenCoding, ZlibHistory};
use crate::delta::strong::{SeedPlacement, StrongAlgorithm, StrongSum};

/// How a session ends after its last phase.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Goodbye {
    /// The generator says DONE once more.
    Single,
    /// The generator says DONE, the sender answers, the generator says DONE again.
    Exchange,
}

/// How a sender says that it cannot send a requested file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unsendable {
    /// It leaves the reply out.
    Omitted,
    /// It sends a message with the index.
    Message,
}

/// How a generator that has nothing to say keeps the connection alive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IdleSign {
    /// By empty frames, which the demultiplexer swallows.
    Frame,
    /// By a record of the index behind the last entry that says nothing but "new" (protocol 29).
    Record,
}

/// How a client sends the names of the files that it wants (`--files-from`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NamesFraming {
    /// As bytes between the frames (protocols up to 30).
    Raw,
    /// In the data stream.
    Data,
}

/// What a file list depends on: known before the algorithms and the seed are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListTerms {
    /// How it is written.
    pub coding: ListCoding,
    /// The order that numbers it.
    pub order: ListOrder,
    /// How the pushing client's direction is framed; the server's always is multiplexed.
    pub client_framing: Framing,
    /// How rules travel, before the list.
    pub rules: RuleCoding,
    /// Whether it travels in parts, folder by folder.
    pub is_incremental: bool,
}

impl ListTerms {
    pub(super) fn new(protocol: Protocol, flags: CompatFlags) -> Self {
        let version = protocol.number();
        Self {
            coding: list_coding(version, flags),
            order: if version >= 29 { ListOrder::FilesFirst } else { ListOrder::Bytewise },
            client_framing: if version >= 30 { Framing::Multiplexed } else { Framing::Raw },
            rules: match version {
                ..29 => RuleCoding::Patterns,
                29 => RuleCoding::Rules,
                _ => RuleCoding::PerishableRules,
            },
            is_incremental: flags.has(CompatFlags::INCREMENTAL),
        }
    }
}

/// The outcome of the handshake.
#[derive(Debug, Clone)]
pub struct Negotiated {
    /// The protocol version, for reports only.
    pub protocol: Protocol,
    /// Small and large integers.
    pub ints: IntCoding,
    /// File indices.
    pub ndx: NdxCoding,
    /// Item records.
    pub items: ItemCoding,
    /// The file list, and the framing of this side.
    pub list_terms: ListTerms,
    /// How often the generator says DONE and is answered before the last DONE.
    pub answered_phases: u32,
    /// The end of the session.
    pub goodbye: Goodbye,
    /// What replaces the reply for a file that cannot be sent.
    pub unsendable: Unsendable,
    /// Whether the sum of a file to which something was added without a look counts all of it.
    pub sums_what_is_appended_to: bool,
    /// What a sending server counts at the end.
    pub sender_times: SenderTimes,
    /// How names of wanted files travel.
    pub names: NamesFraming,
    /// What may stand between two records.
    pub idle: IdleSign,
    /// The greatest block length that a peer may ask for, in bytes.
    pub max_block_len: u32,
    /// The strong sum of one block.
    pub block_sum: StrongSum,
    /// The digest of a whole file after its data.
    pub file_sum: StrongSum,
    /// The digest of a file in the file list.
    pub list_sum: StrongSum,
    /// The token stream.
    pub tokens: TokenCoding,
    /// How matched blocks longer than 65,535 bytes enter zlib's history.
    pub zlib_history: ZlibHistory,
}

impl Negotiated {
    pub(super) fn new(
        offer: &Offer,
        protocol: Protocol,
        flags: CompatFlags,
        seed: i32,
        checksum: Option<StrongAlgorithm>,
        compression: Option<&str>,
    ) -> Decode<Self> {
        let version = protocol.number();
        let modern = version >= 30;
        let (transfer, list) = match offer.checksum {
            ChecksumChoice::Fixed { transfer, list } => (transfer, list),
            ChecksumChoice::Negotiate => {
                let default = if modern { StrongAlgorithm::Md5 } else { StrongAlgorithm::Md4 };
                (checksum.unwrap_or(default), checksum.unwrap_or(default))
            }
        };
        Ok(Self {
            protocol,
            ints: if modern { IntCoding::Variable } else { IntCoding::Fixed },
            ndx: if modern { NdxCoding::Differential } else { NdxCoding::Fixed },
            items: if version >= 29 { ItemCoding::Flagged } else { ItemCoding::Bare },
            list_terms: ListTerms::new(protocol, flags),
            answered_phases: if version >= 29 { 2 } else { 1 },
            goodbye: if version >= 31 { Goodbye::Exchange } else { Goodbye::Single },
            unsendable: if modern { Unsendable::Message } else { Unsendable::Omitted },
            sums_what_is_appended_to: !modern,
            names: if version >= 31 { NamesFraming::Data } else { NamesFraming::Raw },
            sender_times: if version >= 29 { SenderTimes::Said } else { SenderTimes::NotSaid },
            idle: if version == 29 { IdleSign::Record } else { IdleSign::Frame },
            max_block_len: if modern { 131_072 } else { 1 << 29 },
            block_sum: block_sum(transfer, modern, flags, seed),
            file_sum: file_sum(transfer, modern, seed),
            list_sum: StrongSum { algorithm: list, placement: SeedPlacement::Unseeded, seed },
            tokens: match offer.compression {
                CompressionChoice::Off => TokenCoding::Plain,
                CompressionChoice::Fixed(coding) => coding,
                CompressionChoice::Negotiate { level } => {
                    let name = compression.unwrap_or("zlib");
                    TokenCoding::from_name(name, level)
                        .ok_or_else(|| DecodeError::malformed("compression", format!("{name} is not known")))?
                }
            },
            zlib_history: if version >= 31 { ZlibHistory::Whole } else { ZlibHistory::RepeatsStart },
        })
    }
}

fn list_coding(version: u8, flags: CompatFlags) -> ListCoding {
    let modern = version >= 30;
    let varint_flags = flags.has(CompatFlags::VARINT_XFLAGS);
    ListCoding {
        ints: if modern { IntCoding::Variable } else { IntCoding::Fixed },
        xflags: match version {
            27 => XflagCoding::Byte,
            _ if varint_flags => XflagCoding::Varint,
            _ => XflagCoding::Word,
        },
        end: match version {
            ..30 => EndOfList::ErrorsAfterIds,
            _ if varint_flags => EndOfList::ErrorsAlways,
            30 if !flags.has(CompatFlags::SAFE_FILE_LIST) => EndOfList::ErrorsByMessage,
            _ => EndOfList::ErrorsIfAny,
        },
        devices: match version {
            27 => DeviceCoding::Whole,
            ..30 => DeviceCoding::ShortMinor,
            30 => DeviceCoding::Parts,
            _ => DeviceCoding::DevicesAlone,
        },
        links: match version {
            27 => LinkCoding::NumbersOfFiles,
            ..30 => LinkCoding::Numbers,
            _ => LinkCoding::FirstEntry,
        },
        nanoseconds: version >= 31,
        content_flags: modern,
        zero_id_names: flags.has(CompatFlags::ZERO_ID_NAMES),
        digest_for_every_entry: version == 27,
    }
}

/// Where the seed enters block sums, `protocol-notes/09-checksums.md#seeds`.
fn block_sum(algorithm: StrongAlgorithm, modern: bool, flags: CompatFlags, seed: i32) -> StrongSum {
    let placement = match algorithm {
        StrongAlgorithm::Xxh128 | StrongAlgorithm::Xxh3 | StrongAlgorithm::Xxh64 => SeedPlacement::Parameter,
        StrongAlgorithm::Md4 => SeedPlacement::After,
        StrongAlgorithm::Md5 if modern && !flags.has(CompatFlags::SEED_BEFORE_DATA) => SeedPlacement::After,
        StrongAlgorithm::Md5 | StrongAlgorithm::Sha1 => SeedPlacement::Before,
        StrongAlgorithm::None => SeedPlacement::Unseeded,
    };
    StrongSum { algorithm, placement, seed }
}

/// Only the MD4 digest of old protocols is seeded.
fn file_sum(algorithm: StrongAlgorithm, modern: bool, seed: i32) -> StrongSum {
    let placement = match algorithm {
        StrongAlgorithm::Md4 if !modern => SeedPlacement::Before,
        _ => SeedPlacement::Unseeded,
    };
    StrongSum { algorithm, placement, seed }
}
