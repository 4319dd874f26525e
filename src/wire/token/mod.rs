//! The new content of a file as a stream of tokens: literal data, copies of blocks that the receiver has, an end.
//!
//! Guarantees: what [`TokenEncoder`] writes, [`TokenDecoder`] reads back, in every coding, however the bytes are
//! split on the way. Neither keeps more than a few windows of its compressor in memory, and a decoder gives out at
//! most [`MAX_PIECE`] bytes a call whatever a peer compressed. This module never decides which coding is used and
//! never checks a block number against a file. Wire facts: `protocol-notes/08-tokens.md`.

mod control;
mod lz4;
pub mod plain;
#[cfg(test)]
mod tests;
mod zlib;
mod zstd;

use std::fmt::Display;

use super::reader::{Decode, Reader};
use control::{Record, Run, RunWriter};

/// The most literal data that one call of [`TokenDecoder::next`] gives out, in bytes.
pub const MAX_PIECE: usize = 65_536;

/// How the tokens of a session are written. Both sides must agree, the levels aside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenCoding {
    /// No compression.
    Plain,
    /// Deflate, with the copied blocks in its history.
    Zlib {
        /// 1 (fast) to 9 (small).
        level: u32,
    },
    /// Deflate over the literal data alone.
    Zlibx {
        /// 1 (fast) to 9 (small).
        level: u32,
    },
    /// Zstandard over the literal data of the whole session.
    Zstd {
        /// −131072 (fast) to 22 (small), never 0.
        level: i32,
    },
    /// LZ4, each chunk for itself.
    Lz4,
}

impl TokenCoding {
    /// Every name of a coding on the wire, in the order in which stock peers prefer them.
    pub const NAMES: [&'static str; 5] = ["zstd", "lz4", "zlibx", "zlib", "none"];

    const ZLIB_LEVEL: i32 = 6;
    const ZSTD_LEVEL: i32 = 3;
    const ZSTD_FASTEST: i32 = -131_072;
    const ZSTD_SMALLEST: i32 = 22;

    /// The coding of that name, or `None` when there is no such name.
    ///
    /// Without a `level` it is the one that stock peers use; one out of range becomes the nearest in range, as with
    /// stock rsync. Level 0 is the default for zstd, and means [`TokenCoding::Plain`] for zlib and zlibx, for both
    /// sides.
    pub fn from_name(name: &str, level: Option<i32>) -> Option<Self> {
        let deflate = level.unwrap_or(Self::ZLIB_LEVEL).clamp(1, 9).unsigned_abs();
        match name {
            "zlib" | "zlibx" if level == Some(0) => Some(Self::Plain),
            "zlib" => Some(Self::Zlib { level: deflate }),
            "zlibx" => Some(Self::Zlibx { level: deflate }),
            "zstd" => Some(Self::Zstd {
                level: level
                    .filter(|level| *level != 0)
                    .unwrap_or(Self::ZSTD_LEVEL)
                    .clamp(Self::ZSTD_FASTEST, Self::ZSTD_SMALLEST),
            }),
            "lz4" => Some(Self::Lz4),
            "none" => Some(Self::Plain),
            _ => None,
        }
    }

    /// The name on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Plain => "none",
            Self::Zlib { .. } => "zlib",
            Self::Zlibx { .. } => "zlibx",
            Self::Zstd { .. } => "zstd",
            Self::Lz4 => "lz4",
        }
    }

    /// Fails when the level is one that [`TokenCoding::from_name`] never gives.
    fn check(self) -> Result<(), TokenError> {
        let (level, good) = match self {
            Self::Plain | Self::Lz4 => return Ok(()),
            Self::Zlib { level } | Self::Zlibx { level } => (i64::from(level), (1..=9).contains(&level)),
            Self::Zstd { level } => {
                (i64::from(level), level != 0 && (Self::ZSTD_FASTEST..=Self::ZSTD_SMALLEST).contains(&level))
            }
        };
        if good { Ok(()) } else { Err(TokenError::Level { coding: self.name(), level }) }
    }
}

/// What of a copied block longer than 65,535 bytes enters the history of `zlib`. Other codings have none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ZlibHistory {
    /// The block as it is.
    Whole,
    /// A historic mistake that both sides have to make: the block goes in by pieces, and each piece is taken from
    /// the start of the block.
    RepeatsStart,
}

/// Why tokens could not be written. The session cannot go on, because the compressor's state is lost.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// The coding does not have this level.
    #[error("{coding} has no level {level}")]
    Level {
        /// The coding's name on the wire.
        coding: &'static str,
        /// What was asked for.
        level: i64,
    },
    /// A block number that the wire cannot carry.
    #[error("block number {0} is too large")]
    Block(u32),
    /// The compression library failed, for lack of memory most likely.
    #[error("{coding}: {reason}")]
    Compressor {
        /// The coding's name on the wire.
        coding: &'static str,
        /// What the library says.
        reason: String,
    },
}

impl TokenError {
    fn compressor(coding: &'static str, reason: &dyn Display) -> Self {
        Self::Compressor { coding, reason: reason.to_string() }
    }
}

/// Writes the tokens of a session, file after file.
pub struct TokenEncoder {
    form: Form<Packer>,
    runs: RunWriter,
    /// Whether literal data went to the compressor since it was last flushed.
    open: bool,
}

enum Form<T> {
    Plain,
    Packed(T),
}

enum Packer {
    Zlib(zlib::Encoder),
    Zstd(zstd::Encoder),
    Lz4(lz4::Encoder),
}

impl TokenEncoder {
    /// Starts a session. Fails on a level that the coding does not have, or for lack of memory.
    pub fn new(coding: TokenCoding, history: ZlibHistory) -> Result<Self, TokenError> {
        coding.check()?;
        let form = match coding {
            TokenCoding::Plain => Form::Plain,
            TokenCoding::Zlib { level } => Form::Packed(Packer::Zlib(zlib::Encoder::new(level, Some(history)))),
            TokenCoding::Zlibx { level } => Form::Packed(Packer::Zlib(zlib::Encoder::new(level, None))),
            TokenCoding::Zstd { level } => Form::Packed(Packer::Zstd(zstd::Encoder::new(level)?)),
            TokenCoding::Lz4 => Form::Packed(Packer::Lz4(lz4::Encoder::new())),
        };
        Ok(Self { form, runs: RunWriter::default(), open: false })
    }

    /// Appends new data to the current file. `data` may have any length, also none, but what is written to `out`
    /// grows with it. A compressor may hold data back until the next copy or the end.
    pub fn literal(&mut self, data: &[u8], out: &mut Vec<u8>) -> Result<(), TokenError> {
        if data.is_empty() {
            return Ok(());
        }
        let Form::Packed(packer) = &mut self.form else {
            plain::literal(data, out);
            return Ok(());
        };
        self.runs.flush(out);
        self.open = true;
        match packer {
            Packer::Zlib(encoder) => encoder.literal(data, out),
            Packer::Zstd(encoder) => encoder.literal(data, out),
            Packer::Lz4(encoder) => encoder.literal(data, out),
        }
    }

    /// Appends a block that the receiver has. `block` is below 2^31. `data` is the content of the block, which
    /// `zlib` needs and the other codings ignore. A compressed coding holds the token back to make runs.
    pub fn copy(&mut self, block: u32, data: &[u8], out: &mut Vec<u8>) -> Result<(), TokenError> {
        if matches!(self.form, Form::Plain) {
            return plain::copy(block, out);
        }
        self.close(out)?;
        self.runs.push(block, out)?;
        if let Form::Packed(Packer::Zlib(encoder)) = &mut self.form {
            encoder.copied(data);
        }
        Ok(())
    }

    /// Ends the current file; the next call begins another. Everything that was held back is in `out` after it.
    pub fn end(&mut self, out: &mut Vec<u8>) -> Result<(), TokenError> {
        if matches!(self.form, Form::Plain) {
            plain::end(out);
            return Ok(());
        }
        self.close(out)?;
        self.runs.end(out);
        if let Form::Packed(Packer::Zlib(encoder)) = &mut self.form {
            encoder.end_file();
        }
        Ok(())
    }

    /// Brings all literal data into `out`.
    fn close(&mut self, out: &mut Vec<u8>) -> Result<(), TokenError> {
        let Form::Packed(packer) = &mut self.form else { return Ok(()) };
        if !std::mem::take(&mut self.open) {
            return Ok(());
        }
        match packer {
            Packer::Zlib(encoder) => encoder.flush(out),
            Packer::Zstd(encoder) => encoder.flush(out),
            Packer::Lz4(encoder) => encoder.flush(out),
        }
    }
}

/// One step of a received file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Token {
    /// The next bytes of the file, at most [`MAX_PIECE`]. There may be none: a compressed chunk can be too short to
    /// yield anything yet.
    Literal(Vec<u8>),
    /// The next bytes are those of this block of the basis. Below 2^31; whether the basis has it is for the caller
    /// to check.
    Copy {
        /// The block's number, from 0.
        block: u32,
    },
    /// The file is complete. The next token belongs to another file.
    End,
}

/// Reads the tokens of a session, file after file.
pub struct TokenDecoder {
    form: Form<Unpacker>,
    plain: plain::Decoder,
}

impl TokenDecoder {
    /// Starts a session. The level of the coding is the one that the sender was asked for; it bounds the memory.
    /// Fails on a level that the coding does not have, or for lack of memory.
    pub fn new(coding: TokenCoding, history: ZlibHistory) -> Result<Self, TokenError> {
        coding.check()?;
        let stream = match coding {
            TokenCoding::Plain => None,
            TokenCoding::Zlib { .. } => Some(Stream::Zlib(zlib::Decoder::new(Some(history)))),
            TokenCoding::Zlibx { .. } => Some(Stream::Zlib(zlib::Decoder::new(None))),
            TokenCoding::Zstd { level } => Some(Stream::Zstd(zstd::Decoder::new(level)?)),
            TokenCoding::Lz4 => Some(Stream::Lz4),
        };
        let form = stream.map_or(Form::Plain, |stream| Form::Packed(Unpacker::new(stream)));
        Ok(Self { form, plain: plain::Decoder::default() })
    }

    /// Reads the next token, or the next piece of one.
    ///
    /// A call can succeed without reading anything: a run of blocks and a chunk that inflates to more than
    /// [`MAX_PIECE`] bytes are given out over several calls. After "need more" the decoder is as it was before the
    /// call; after "malformed" it must not be used again.
    pub fn next(&mut self, reader: &mut Reader<'_>) -> Decode<Token> {
        match &mut self.form {
            Form::Plain => self.plain.next(reader),
            Form::Packed(unpacker) => unpacker.next(reader),
        }
    }

    /// Whether [`TokenDecoder::history`] has to be called.
    pub fn wants_history(&self) -> bool {
        matches!(self.form, Form::Packed(Unpacker { stream: Stream::Zlib(_), .. }))
    }

    /// Tells the decoder the content of the block that was just copied. Must be called once after each
    /// [`Token::Copy`], before the next call of [`TokenDecoder::next`]. Only `zlib` uses it.
    pub fn history(&mut self, data: &[u8]) {
        if let Form::Packed(Unpacker { stream: Stream::Zlib(decoder), .. }) = &mut self.form {
            decoder.copied(data);
        }
    }
}

/// The state that the compressed codings share.
struct Unpacker {
    stream: Stream,
    /// Blocks of the current run that have not been given out.
    run: Option<Run>,
    /// The last block of the latest run of this file, or 0.
    last: u32,
    /// The current chunk and how much of it the stream has taken.
    chunk: Vec<u8>,
    taken: usize,
    /// Whether the stream may still give data without being given any.
    full: bool,
    /// Whether a chunk was read since the last flush point.
    open: bool,
    room: Box<[u8]>,
}

enum Stream {
    Zlib(zlib::Decoder),
    Zstd(zstd::Decoder),
    Lz4,
}

impl Unpacker {
    fn new(stream: Stream) -> Self {
        Self {
            stream,
            run: None,
            last: 0,
            chunk: Vec::with_capacity(control::MAX_CHUNK),
            taken: 0,
            full: false,
            open: false,
            room: vec![0; MAX_PIECE].into_boxed_slice(),
        }
    }

    fn next(&mut self, reader: &mut Reader<'_>) -> Decode<Token> {
        if let Some(run) = self.run.take() {
            return Ok(self.copy(run));
        }
        if self.full {
            let piece = self.drain()?;
            if !piece.is_empty() {
                return Ok(Token::Literal(piece));
            }
        }
        match control::decode(self.last, reader)? {
            Record::Data(chunk) => self.chunk(chunk).map(Token::Literal),
            Record::Run(run) => {
                self.flush_point()?;
                self.last = run.last();
                Ok(self.copy(run))
            }
            Record::End => {
                self.flush_point()?;
                self.last = 0;
                if let Stream::Zlib(decoder) = &mut self.stream {
                    decoder.end_file();
                }
                Ok(Token::End)
            }
        }
    }

    /// Gives out the first block of `run` and keeps the others.
    fn copy(&mut self, run: Run) -> Token {
        self.run = run.more.checked_sub(1).map(|more| Run { first: run.first + 1, more });
        Token::Copy { block: run.first }
    }

    /// Begins a chunk and gives out the first piece of it.
    fn chunk(&mut self, chunk: &[u8]) -> Decode<Vec<u8>> {
        self.open = true;
        match &mut self.stream {
            Stream::Lz4 => return lz4::decode(chunk, &mut self.room),
            Stream::Zlib(decoder) => decoder.start_chunk(&mut self.room)?,
            Stream::Zstd(_) => {}
        }
        self.chunk.clear();
        self.chunk.extend_from_slice(chunk);
        self.taken = 0;
        self.drain()
    }

    /// Gives out what the stream has, at most [`MAX_PIECE`] bytes.
    fn drain(&mut self) -> Decode<Vec<u8>> {
        let input = &self.chunk[self.taken..];
        let (taken, given) = match &mut self.stream {
            Stream::Zlib(decoder) => decoder.run(input, &mut self.room)?,
            Stream::Zstd(decoder) => decoder.run(input, &mut self.room)?,
            Stream::Lz4 => (0, 0),
        };
        self.taken += taken;
        self.full = given == self.room.len();
        Ok(self.room[..given].to_vec())
    }

    fn flush_point(&mut self) -> Decode<()> {
        match &mut self.stream {
            Stream::Zlib(decoder) if std::mem::take(&mut self.open) => decoder.flush_point(&mut self.room),
            _ => Ok(()),
        }
    }
}
