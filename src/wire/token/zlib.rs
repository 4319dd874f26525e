//! zlib and zlibx: a raw deflate stream for each file, synchronised before each copied block and at the end.
//!
//! With `zlib` the copied blocks are part of the history that later literals may refer to; with `zlibx` they are not.
//!
//! Guarantees: the four bytes that every synchronisation ends with never travel, in either direction; copied blocks
//! cost a copy of at most [`WINDOW`] bytes each, and nothing more unless a literal follows them in the same file;
//! the decoder gives out a bounded piece at a time. Wire facts: `protocol-notes/08-tokens.md`.

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress};

use super::control::{self, MAX_CHUNK};
use super::{TokenError, ZlibHistory};
use crate::wire::reader::{Decode, DecodeError};

/// How far back a deflate stream can refer, in bytes.
const WINDOW: usize = 32_768;

/// What a synchronised stream ends with. Senders cut it off and receivers put it back.
const SYNC_END: [u8; 4] = [0x00, 0x00, 0xff, 0xff];

/// The most data that a stored deflate block holds, in bytes, and so the piece by which copied blocks enter.
const STORED_MAX: usize = 65_535;

/// Spare room for each call of the compressor, in bytes. More than its own buffers hold, so that a synchronisation
/// seldom needs a second call.
const ROOM: usize = 128 * 1024;

/// The copied blocks since the last literal, as far back as a stream can refer.
///
/// Older data need not enter the stream on either side: a compressor that has not seen it cannot refer to it, and a
/// window that is filled behind it has forgotten it.
#[derive(Debug)]
struct Copied {
    history: ZlibHistory,
    bytes: Vec<u8>,
}

impl Copied {
    fn new(history: ZlibHistory) -> Self {
        Self { history, bytes: Vec::new() }
    }

    fn add(&mut self, block: &[u8]) {
        match self.history {
            ZlibHistory::Whole => self.keep(block),
            ZlibHistory::RepeatsStart => {
                let mut left = block.len();
                while left > 0 {
                    let piece = left.min(STORED_MAX);
                    self.keep(&block[..piece]);
                    left -= piece;
                }
            }
        }
    }

    fn keep(&mut self, data: &[u8]) {
        let data = &data[data.len().saturating_sub(WINDOW)..];
        // Twice the window before old bytes are dropped, so that a small block does not move a whole window.
        if self.bytes.len() + data.len() > 2 * WINDOW {
            self.bytes.drain(..self.bytes.len() - (WINDOW - data.len()));
        }
        self.bytes.extend_from_slice(data);
    }

    /// What the window has to be given now, oldest byte first.
    fn window(&self) -> &[u8] {
        &self.bytes[self.bytes.len().saturating_sub(WINDOW)..]
    }
}

pub(super) struct Encoder {
    stream: Compress,
    /// `None` for zlibx.
    copied: Option<Copied>,
    /// Compressed bytes that do not fill a record yet.
    held: Vec<u8>,
    /// Whether the stream holds anything of the current file.
    used: bool,
}

impl Encoder {
    /// `level` is 1 to 9. Without a `history` copied blocks stay out of the stream.
    pub(super) fn new(level: u32, history: Option<ZlibHistory>) -> Self {
        Self {
            stream: Compress::new(Compression::new(level), false),
            copied: history.map(Copied::new),
            held: Vec::new(),
            used: false,
        }
    }

    pub(super) fn literal(&mut self, mut data: &[u8], out: &mut Vec<u8>) -> Result<(), TokenError> {
        self.used = true;
        if let Some(copied) = &mut self.copied
            && !copied.bytes.is_empty()
        {
            // The stream stands at a block boundary here, where a dictionary extends the history in place. It costs
            // a fraction of compressing the blocks only to throw the output away, and gives the same history.
            self.stream.set_dictionary(copied.window()).map_err(|error| TokenError::compressor(self.name(), &error))?;
            self.forget_copied();
        }
        while !data.is_empty() {
            let taken = self.step(data, FlushCompress::None)?;
            if taken == 0 && self.held.len() < self.held.capacity() {
                return Err(TokenError::compressor(self.name(), &"it takes no more data"));
            }
            data = &data[taken..];
            self.write_full_chunks(out);
        }
        Ok(())
    }

    pub(super) fn flush(&mut self, out: &mut Vec<u8>) -> Result<(), TokenError> {
        self.step(&[], FlushCompress::Sync)?;
        // Only room to spare proves that the synchronisation is complete.
        while self.held.len() == self.held.capacity() {
            self.step(&[], FlushCompress::Sync)?;
        }
        if !self.held.ends_with(&SYNC_END) {
            return Err(TokenError::compressor(self.name(), &"it did not synchronise"));
        }
        self.held.truncate(self.held.len() - SYNC_END.len());
        control::data(&self.held, out);
        self.held.clear();
        Ok(())
    }

    pub(super) fn copied(&mut self, block: &[u8]) {
        if let Some(copied) = &mut self.copied {
            copied.add(block);
        }
    }

    pub(super) fn end_file(&mut self) {
        self.forget_copied();
        // A reset clears a hash table of 128 KiB, too much for a file that had nothing to compress.
        if self.used {
            self.stream.reset();
            self.used = false;
        }
    }

    /// Runs the compressor once. Returns how much of `data` it took.
    fn step(&mut self, data: &[u8], flush: FlushCompress) -> Result<usize, TokenError> {
        self.held.reserve(ROOM);
        let before = self.stream.total_in();
        self.stream
            .compress_vec(data, &mut self.held, flush)
            .map_err(|error| TokenError::compressor(self.name(), &error))?;
        usize::try_from(self.stream.total_in() - before).map_err(|error| TokenError::compressor(self.name(), &error))
    }

    fn write_full_chunks(&mut self, out: &mut Vec<u8>) {
        let whole = self.held.len() / MAX_CHUNK * MAX_CHUNK;
        control::data(&self.held[..whole], out);
        self.held.drain(..whole);
    }

    fn forget_copied(&mut self) {
        if let Some(copied) = &mut self.copied {
            copied.bytes.clear();
        }
    }

    fn name(&self) -> &'static str {
        if self.copied.is_some() { "zlib" } else { "zlibx" }
    }
}

pub(super) struct Decoder {
    stream: Decompress,
    /// `None` for zlibx.
    copied: Option<Copied>,
    /// Whether the stream holds anything of the current file.
    used: bool,
}

impl Decoder {
    pub(super) fn new(history: Option<ZlibHistory>) -> Self {
        Self { stream: Decompress::new(false), copied: history.map(Copied::new), used: false }
    }

    /// Must come before the first [`Decoder::run`] of each chunk. `room` is overwritten.
    pub(super) fn start_chunk(&mut self, room: &mut [u8]) -> Decode<()> {
        self.used = true;
        let Some(copied) = &mut self.copied else { return Ok(()) };
        if copied.bytes.is_empty() {
            return Ok(());
        }
        // As a stored block, the way the peer's compressor believes it was done: a stream that does not stand at a
        // block boundary shows itself here.
        let window = copied.window();
        let [a, b, ..] = window.len().to_le_bytes();
        let strangers = "copied blocks do not fit in: it does not stand at a block boundary";
        Self::silent(&mut self.stream, &[0, a, b, !a, !b], room, strangers)?;
        let mut left = window;
        while !left.is_empty() {
            let (taken, given) = inflate(&mut self.stream, left, room)?;
            if taken == 0 || given != taken {
                return Err(malformed(strangers));
            }
            left = &left[taken..];
        }
        copied.bytes.clear();
        Ok(())
    }

    /// Decodes from `input` until it is used up or `room` is full. Returns how much of each was used.
    pub(super) fn run(&mut self, input: &[u8], room: &mut [u8]) -> Decode<(usize, usize)> {
        let mut taken = 0;
        let mut given = 0;
        loop {
            let (more_taken, more_given) = inflate(&mut self.stream, &input[taken..], &mut room[given..])?;
            taken += more_taken;
            given += more_given;
            if taken == input.len() || given == room.len() {
                return Ok((taken, given));
            }
            // Nothing in this protocol ends a deflate stream, and one that has ended takes no more bytes.
            if more_taken == 0 && more_given == 0 {
                return Err(malformed("data follow the end of the deflate stream"));
            }
        }
    }

    /// Puts back what the sender cut off. `room` is overwritten.
    pub(super) fn flush_point(&mut self, room: &mut [u8]) -> Decode<()> {
        Self::silent(&mut self.stream, &SYNC_END, room, "it was not synchronised before a token")
    }

    pub(super) fn copied(&mut self, block: &[u8]) {
        if let Some(copied) = &mut self.copied {
            copied.add(block);
        }
    }

    pub(super) fn end_file(&mut self) {
        if let Some(copied) = &mut self.copied {
            copied.bytes.clear();
        }
        if self.used {
            self.stream.reset(false);
            self.used = false;
        }
    }

    /// Feeds bytes that must be taken whole and must yield nothing.
    fn silent(stream: &mut Decompress, bytes: &[u8], room: &mut [u8], reason: &str) -> Decode<()> {
        match inflate(stream, bytes, room)? {
            (taken, 0) if taken == bytes.len() => Ok(()),
            _ => Err(malformed(reason)),
        }
    }
}

fn inflate(stream: &mut Decompress, input: &[u8], room: &mut [u8]) -> Decode<(usize, usize)> {
    let before = (stream.total_in(), stream.total_out());
    stream.decompress(input, room, FlushDecompress::None).map_err(|error| malformed(error.to_string()))?;
    let used = |now: u64, before: u64| usize::try_from(now - before).map_err(|error| malformed(error.to_string()));
    Ok((used(stream.total_in(), before.0)?, used(stream.total_out(), before.1)?))
}

fn malformed(reason: impl Into<String>) -> DecodeError {
    DecodeError::malformed("deflate chunk", reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn copied(history: ZlibHistory, block: &[u8]) -> Copied {
        let mut copied = Copied::new(history);
        copied.add(block);
        copied
    }

    fn counted(len: usize) -> Vec<u8> {
        (0..len).map(|i| (i * 7 + i / 256).to_le_bytes()[0]).collect()
    }

    #[test]
    fn the_window_is_the_end_of_all_copied_blocks() {
        for sizes in [&[700; 3][..], &[700; 200], &[WINDOW, 1], &[1, WINDOW], &[131_072, 700], &[40_000; 3]] {
            let mut copied = Copied::new(ZlibHistory::Whole);
            let mut all = Vec::new();
            for (number, len) in sizes.iter().enumerate() {
                let block = counted(number + len)[number..].to_vec();
                copied.add(&block);
                all.extend_from_slice(&block);
                assert!(copied.window() == &all[all.len().saturating_sub(WINDOW)..], "{number} of {sizes:?}");
                assert!(copied.bytes.len() <= 2 * WINDOW);
            }
        }
    }

    #[test]
    fn old_peers_repeat_the_start_of_a_long_block() {
        let block = counted(3 * STORED_MAX + 1000);
        let pieces = [&block[..STORED_MAX], &block[..STORED_MAX], &block[..STORED_MAX], &block[..1000]].concat();
        let expected = &pieces[pieces.len() - WINDOW..];
        assert!(copied(ZlibHistory::RepeatsStart, &block).window() == expected);
        assert!(copied(ZlibHistory::Whole, &block).window() != expected);
        let short = &block[..STORED_MAX];
        assert!(copied(ZlibHistory::RepeatsStart, short).window() == copied(ZlibHistory::Whole, short).window());
    }
}
