//! What goes out for one file: the head, the data, and the sum of the whole.

use super::{Sender, internal};
use crate::delta::{BasisUse, BlockIndex, BlockSums, Op, Search, StrongHasher, SumHead};
use crate::error::{NasSyncError, Result};
use crate::role::event::{Event, FileStats, Stability};
use crate::role::sender::ChangedFile;
use crate::tree::source::SourceFile;
use crate::wire::flist::{FileEntry, io_error};
use crate::wire::iflags::ItemFlags;
use crate::wire::receiver_args::Writing;
use crate::wire::sums;
use crate::wire::token::{TokenCoding, plain};

/// Longer blocks are not compared with those of a file that must stay.
const MOST_COMPARED: usize = 16 << 20;

/// What the receiver has of a file.
pub(super) enum Basis {
    /// Nothing, or nothing of use.
    None,
    /// Blocks with these sums.
    Blocks {
        sums: BlockSums,
        /// Whether the file is written into where it stands.
        is_overwritten: bool,
    },
    /// Its beginning, to which the rest is added.
    Start(SumHead),
}

impl Basis {
    fn head(&self) -> SumHead {
        match self {
            Self::None => SumHead::EMPTY,
            Self::Blocks { sums, .. } => sums.head(),
            Self::Start(head) => *head,
        }
    }

    /// The length of what is added to, 0 where nothing is.
    pub(super) fn appended_len(&self) -> u64 {
        match self {
            Self::Start(head) => head.basis_len(),
            Self::None | Self::Blocks { .. } => 0,
        }
    }
}

impl Sender<'_> {
    /// Whether something stands under the name there that is not known to be the same, block by block. What an rsync does not
    /// say is not known.
    pub(super) fn another_is_there(&self, entry: &FileEntry<'_>, flags: ItemFlags, basis: &Basis) -> bool {
        if flags.has(ItemFlags::UNSAID) || flags.has(ItemFlags::NEW) {
            return false;
        }
        let is_same = || match basis {
            Basis::Blocks { sums, .. } => self.sources.open(entry).is_ok_and(|source| self.has_blocks(source, sums)),
            _ => entry.meta.size == 0,
        };
        flags.has(ItemFlags::SIZE) || !is_same()
    }

    /// Whether a file has these blocks, one behind the other and nothing else.
    fn has_blocks(&self, mut source: SourceFile, sums: &BlockSums) -> bool {
        let head = sums.head();
        let len = head.block_len as usize;
        if len > MOST_COMPARED || !sums.is_complete() {
            return false;
        }
        let (mut block, mut all) = (vec![0; len], source.stamp().size);
        for index in 0..head.count {
            let Some(len) = fill(&mut source, &mut block).filter(|len| *len > 0) else { return false };
            if !sums.is_block(index, &block[..len], self.negotiated.block_sum) {
                return false;
            }
            all = all.saturating_sub(len as u64);
        }
        all == 0
    }

    pub(super) fn send_file(&mut self, entry: &FileEntry<'_>, mut source: SourceFile, basis: &Basis) -> Result<()> {
        sums::encode_head(&basis.head(), self.port.outbox.frame());
        let mut hasher = self.negotiated.file_sum.hasher();
        let skipped = self.skip_start(&mut source, basis, &mut hasher);
        let mut read = match basis {
            _ if skipped.is_err() => FileRead::default(),
            Basis::Blocks { sums, is_overwritten } => {
                let basis = if *is_overwritten { BasisUse::Overwritten } else { BasisUse::Kept };
                self.send_delta(&mut source, (sums, basis), &mut hasher)?
            }
            Basis::None if self.negotiated.tokens == TokenCoding::Plain => self.send_plain(&mut source, &mut hasher)?,
            Basis::None | Basis::Start(_) => self.send_literals(&mut source, &mut hasher)?,
        };
        let skipped = skipped.unwrap_or_else(|failure| {
            read.failure = Some(failure);
            0
        });
        self.tokens.end(self.port.outbox.frame()).map_err(internal)?;
        let stability = if source.unchanged() { Stability::Unchanged } else { Stability::Changed };
        let invalid = read.failure.is_some()
            || (stability == Stability::Changed && self.changed == ChangedFile::Invalidate)
            || skipped + read.stats.literal + read.stats.matched < source.stamp().size;
        self.doubtful |= invalid;
        self.put_whole_sum(hasher, if invalid { WholeSum::Invalid } else { WholeSum::Valid });
        // Told before the frame can leave, so that no acknowledgement overtakes it.
        match read.failure {
            None => {
                let (stats, sha256) = (read.stats, source.sha256());
                self.monitor.event(Event::FileSent { entry, stats, stability, sha256 });
            }
            Some(error) => {
                self.errors |= io_error::GENERAL;
                self.monitor.event(Event::FileFailed { entry, error: &error });
            }
        }
        self.port.outbox.settle()
    }

    pub(super) fn send_rehearsed(&mut self, entry: &FileEntry<'_>) -> Result<()> {
        sums::encode_head(&SumHead::EMPTY, self.port.outbox.frame());
        self.tokens.end(self.port.outbox.frame()).map_err(internal)?;
        self.put_whole_sum(self.negotiated.file_sum.hasher(), WholeSum::Invalid);
        let (stats, stability) = (FileStats::default(), Stability::Unchanged);
        self.monitor.event(Event::FileSent { entry, stats, stability, sha256: None });
        self.port.outbox.settle()
    }

    fn put_whole_sum(&mut self, hasher: StrongHasher, validity: WholeSum) {
        let digest = hasher.finish();
        let flip = if validity == WholeSum::Invalid { 0xff } else { 0 };
        self.port.outbox.frame().extend(digest.as_bytes().iter().map(|byte| byte ^ flip));
    }

    /// Reads what the receiver has already, and gives its length. Whether the sum of the whole counts it is a matter of the
    /// option, and of the protocol's age.
    fn skip_start(&mut self, source: &mut SourceFile, basis: &Basis, hasher: &mut StrongHasher) -> Result<u64> {
        let counts = self.duties.writing == Writing::AppendVerify || self.negotiated.sums_what_is_appended_to;
        let len = basis.appended_len();
        let mut left = len;
        while left > 0 {
            let most = self.buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            let read = source.read(&mut self.buffer[..most])?;
            if read == 0 {
                break;
            }
            if counts {
                hasher.update(&self.buffer[..read]);
            }
            left -= read as u64;
            self.monitor.event(Event::Progress { bytes: read as u64 });
        }
        Ok(len - left)
    }

    /// Whole file, nothing compressed: read straight into the frame, one token for each read.
    fn send_plain(&mut self, source: &mut SourceFile, hasher: &mut StrongHasher) -> Result<FileRead> {
        let mut read = FileRead::default();
        let size = source.stamp().size;
        loop {
            let most = literal_len(size.saturating_sub(read.stats.literal), self.port.outbox.room());
            let frame = self.port.outbox.frame();
            let token = frame.len();
            let data = token + size_of::<i32>();
            frame.resize(data + most, 0);
            let len = match source.read(&mut frame[data..]) {
                Ok(len) => len,
                Err(error) => {
                    read.failure = Some(error);
                    0
                }
            };
            if len == 0 {
                frame.truncate(token);
                return Ok(read);
            }
            frame[token..data].copy_from_slice(&plain::literal_header(len));
            frame.truncate(data + len);
            hasher.update(&frame[data..]);
            read.stats.literal += len as u64;
            self.monitor.event(Event::Progress { bytes: len as u64 });
            self.port.outbox.settle()?;
        }
    }

    /// Whole file through the token coder.
    fn send_literals(&mut self, source: &mut SourceFile, hasher: &mut StrongHasher) -> Result<FileRead> {
        let mut read = FileRead::default();
        while let Some(len) = read.next(source, &mut self.buffer) {
            let data = &self.buffer[..len];
            hasher.update(data);
            read.stats.literal += len as u64;
            self.tokens.literal(data, self.port.outbox.frame()).map_err(internal)?;
            self.monitor.event(Event::Progress { bytes: len as u64 });
            self.port.outbox.settle()?;
        }
        Ok(read)
    }

    /// What differs from the receiver's old file.
    fn send_delta(
        &mut self,
        source: &mut SourceFile,
        (sums, basis): (&BlockSums, BasisUse),
        hasher: &mut StrongHasher,
    ) -> Result<FileRead> {
        let mut read = FileRead::default();
        let mut stats = FileStats::default();
        let index = BlockIndex::new(sums, self.negotiated.block_sum);
        let mut search = Search::new(&index, basis);
        let (tokens, out) = (&mut self.tokens, &mut self.port.outbox);
        let mut put = |op: Op<'_>| {
            match op {
                Op::Literal(data) => {
                    stats.literal += data.len() as u64;
                    tokens.literal(data, out.frame())
                }
                Op::Copy { block, data } => {
                    stats.matched += data.len() as u64;
                    tokens.copy(block, data, out.frame())
                }
            }
            .map_err(internal)?;
            out.settle()
        };
        while let Some(len) = read.next(source, &mut self.buffer) {
            let data = &self.buffer[..len];
            hasher.update(data);
            search.feed(data, &mut put)?;
            self.monitor.event(Event::Progress { bytes: len as u64 });
        }
        search.finish(&mut put)?;
        read.stats = stats;
        Ok(read)
    }
}

/// How much to read as one literal when `left` bytes are expected: what fills the frame exactly, and no more than is
/// there, since the space must be cleared before. At the end of a file it is enough to see that it is the end.
fn literal_len(left: u64, room: usize) -> usize {
    const LEAST: usize = 512;
    let len = usize::try_from(left).unwrap_or(usize::MAX).clamp(LEAST, plain::MAX_LITERAL);
    let room = room.saturating_sub(size_of::<i32>());
    if room < LEAST { len } else { len.min(room) }
}

/// Reads as much as there is room for, or is left; `None` where that fails.
fn fill(source: &mut SourceFile, block: &mut [u8]) -> Option<usize> {
    let mut filled = 0;
    while filled < block.len() {
        match source.read(&mut block[filled..]).ok()? {
            0 => break,
            len => filled += len,
        }
    }
    Some(filled)
}

/// Whether the sum behind a file can match.
#[derive(Clone, Copy, PartialEq, Eq)]
enum WholeSum {
    /// It is that of the bytes sent.
    Valid,
    /// It cannot match, so the receiver throws the file away and may ask once more.
    Invalid,
}

/// How far a file could be read.
#[derive(Default)]
struct FileRead {
    stats: FileStats,
    failure: Option<NasSyncError>,
}

impl FileRead {
    /// Reads the next piece; `None` at the end, or after a failure, which is kept.
    fn next(&mut self, source: &mut SourceFile, buffer: &mut [u8]) -> Option<usize> {
        match source.read(buffer) {
            Ok(len) => (len > 0).then_some(len),
            Err(error) => {
                self.failure = Some(error);
                None
            }
        }
    }
}
