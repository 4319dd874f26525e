//! The sender: offers a file list, answers the generator's requests with deltas, and says goodbye,
//! `protocol-notes/07-transfer.md` and `10-phases-and-goodbye.md`.
//!
//! It guarantees that a file whose reading failed, or that changed while it was read, arrives with a digest that
//! cannot match, so the receiver throws it away; that a request outside the list, of the wrong kind or phase, or for
//! the third time ends the session; and that it never opens a path that a peer named.

use std::sync::Arc;

use super::agreement::Agreement;
use super::event::{Event, FileStats, Monitor, Stability};
use super::list::{FileList, Sources};
use super::port::Port;
use crate::delta::{BasisUse, BlockIndex, BlockSums, Op, Search, StrongHasher, SumHead};
use crate::error::{ErrorKind, NasSyncError, Result};
use crate::tree::source::SourceFile;
use crate::wire::flist::{EntryKind, FileEntry, io_error};
use crate::wire::iflags::{Item, ItemFlags};
use crate::wire::mux::{Framing, Message};
use crate::wire::ndx::{self, NdxCoder};
use crate::wire::negotiated::{Goodbye, IdleSign, Negotiated, Unsendable};
use crate::wire::stats::DeleteStats;
use crate::wire::sums::{self, HeadLimits};
use crate::wire::token::{TokenCoding, TokenEncoder, TokenError, plain};

/// How much of a file is read at once when it is searched or compressed.
const READ_LEN: usize = 256 * 1024;
/// Up to protocol 32, servers before 3.4.4 announce strong sums of this length on a second try, whatever their digest.
const REDO_STRONG_LEN: usize = 16;
/// A generator has at most this many records to say for each entry on the average: what differs, a second try, and
/// twice as much for servers that repeat themselves.
const RECORDS_PER_ENTRY: usize = 4;
/// Records that do not depend on the number of entries, such as counts of deleted ones.
const MORE_RECORDS: usize = 16;

/// What happens to a file that somebody changed while it was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangedFile {
    /// It arrives with an invalid whole-file sum, so that the receiver keeps what it had and asks once more.
    Invalidate,
    /// What was read is stored, as rsync does.
    Keep,
}

/// Whether the receiver was asked to change anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// It was.
    Transfer,
    /// Nothing but item records travel.
    DryRun,
    /// Every file travels empty and with an invalid whole-file sum: the receiver makes its temporary file, finds it wrong, asks once more and
    /// keeps nothing. Proves that it can write without leaving anything behind.
    Rehearsal,
}

/// What a sender needs to know beside what was negotiated.
pub struct SendJob {
    /// What is sent, numbered as the session's protocol numbers it.
    pub list: Arc<FileList>,
    /// Where the contents come from.
    pub sources: Arc<dyn Sources>,
    /// About files that change meanwhile.
    pub changed: ChangedFile,
    /// Whether anything is transferred.
    pub mode: Mode,
}

/// Runs the sender from the file list to the goodbye. On an error the other side may still have something to say, so
/// the caller goes on reading.
pub fn run(job: SendJob, agreement: Agreement, mut port: Port, monitor: &dyn Monitor) -> Result<()> {
    let list = job.list;
    monitor.event(Event::Begun { waits: &port.waits });
    monitor.event(Event::Listed { entries: list.len(), bytes: list.bytes() });
    list.send(agreement.list_terms().coding, &mut port.outbox)?;
    let negotiated = agreement.whole(|| port.outbox.flush())?;
    let tokens = TokenEncoder::new(negotiated.tokens, negotiated.zlib_history).map_err(internal)?;
    let mut sender = Sender {
        requests: NdxCoder::new(negotiated.ndx),
        replies: NdxCoder::new(negotiated.ndx),
        sent: vec![0; list.len()],
        records_left: list.len().saturating_mul(RECORDS_PER_ENTRY).saturating_add(MORE_RECORDS),
        errors: list.errors(),
        reported_errors: list.errors(),
        doubtful: false,
        said_all: false,
        list,
        sources: job.sources,
        changed: job.changed,
        mode: job.mode,
        negotiated,
        tokens,
        port,
        monitor,
        buffer: vec![0; READ_LEN],
    };
    sender.transfer()?;
    sender.goodbye()
}

/// The first phases answer requests; after the second DONE, data may no longer be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Requests, and second tries.
    Data,
    /// Only attributes and renames are reported.
    Attributes,
}

struct Sender<'m> {
    negotiated: Negotiated,
    list: Arc<FileList>,
    sources: Arc<dyn Sources>,
    changed: ChangedFile,
    mode: Mode,
    port: Port,
    monitor: &'m dyn Monitor,
    requests: NdxCoder,
    replies: NdxCoder,
    tokens: TokenEncoder,
    /// How often each file was asked for: once, and once more if its digest did not match.
    sent: Vec<u8>,
    /// How many records may still come, so that a peer cannot go on for ever with those that ask for nothing.
    records_left: usize,
    errors: i32,
    reported_errors: i32,
    /// Whether a file may have arrived that does not match its sum: one that was put together from a copy there, or that is
    /// to be thrown away.
    doubtful: bool,
    /// Whether every DONE of this side is said, some ahead of their turn: then nothing can be answered any more.
    said_all: bool,
    buffer: Vec<u8>,
}

impl Sender<'_> {
    fn transfer(&mut self) -> Result<()> {
        for answered in 0..=self.negotiated.answered_phases {
            let phase = if answered < 2 { Phase::Data } else { Phase::Attributes };
            while let Some(ndx) = self.next_request()? {
                self.answer(ndx, phase)?;
            }
            if self.said_all {
                continue;
            }
            if answered == self.negotiated.answered_phases {
                self.report_errors()?;
            }
            self.put_ndx(ndx::DONE)?;
            if answered == 0 && self.nothing_can_follow() {
                for _ in 0..=self.negotiated.answered_phases {
                    self.put_ndx(ndx::DONE)?;
                }
                self.said_all = true;
            }
        }
        Ok(())
    }

    /// Whether the other phases are empty for certain, so that they need not be waited for one by one: the generator has
    /// asked for all that it wants, and every file has gone out whole and with a sum that matches.
    fn nothing_can_follow(&self) -> bool {
        self.negotiated.goodbye == Goodbye::Exchange
            && self.mode != Mode::Rehearsal
            && !self.doubtful
            && self.errors == self.reported_errors
    }

    fn goodbye(&mut self) -> Result<()> {
        self.port.outbox.flush()?;
        self.expect_done()?;
        if self.negotiated.goodbye == Goodbye::Exchange {
            if !self.said_all {
                self.put_ndx(ndx::DONE)?;
                self.port.outbox.flush()?;
            }
            self.expect_done()?;
        }
        Ok(())
    }

    fn expect_done(&mut self) -> Result<()> {
        match self.next_request()? {
            None => Ok(()),
            Some(ndx) => Err(protocol(format!("file {ndx} was asked for after the last phase"))),
        }
    }

    /// Trouble that came up while reading, for receivers that have not been told yet.
    fn report_errors(&mut self) -> Result<()> {
        if self.errors == self.reported_errors || self.negotiated.list_terms.client_framing == Framing::Raw {
            return Ok(());
        }
        self.reported_errors = self.errors;
        self.port.outbox.message(&Message::IoError(self.errors))
    }

    /// The next index that is asked for; `None` for DONE. Counts of deleted entries may stand anywhere before.
    fn next_request(&mut self) -> Result<Option<i32>> {
        loop {
            let coder = &mut self.requests;
            let ndx = self.port.take(|reader| {
                let mut next = coder.clone();
                let ndx = next.take(reader)?;
                *coder = next;
                Ok(ndx)
            })?;
            if ndx == ndx::DONE {
                return Ok(None);
            }
            let left = self.records_left.checked_sub(1);
            self.records_left = left.ok_or_else(|| protocol(String::from("the NAS sent records without end")))?;
            match ndx {
                ndx::DELETE_STATS => {
                    self.port.take(DeleteStats::decode)?;
                }
                ndx => return Ok(Some(ndx)),
            }
        }
    }

    fn put_ndx(&mut self, ndx: i32) -> Result<()> {
        self.replies.put(self.port.outbox.frame(), ndx);
        self.port.outbox.settle()
    }

    fn answer(&mut self, ndx: i32, phase: Phase) -> Result<()> {
        let list = Arc::clone(&self.list);
        let items = self.negotiated.items;
        let item = self.port.take(|reader| Item::decode(items, reader))?;
        let Some(entry) = list.get(ndx) else {
            let behind_the_last = usize::try_from(ndx) == Ok(list.len());
            return match self.negotiated.idle {
                IdleSign::Record if behind_the_last && item.flags.0 == ItemFlags::NEW => Ok(()),
                _ => Err(protocol(format!("file {ndx} was asked for, the list has {}", list.len()))),
            };
        };
        let entry = &entry;
        self.monitor.event(Event::Asked { index: usize::try_from(ndx).unwrap_or_default() });
        self.monitor.event(Event::Itemized { entry, flags: item.flags });
        if !item.flags.has(ItemFlags::TRANSFER) {
            // Nobody there hears an echo any more.
            return if self.said_all { Ok(()) } else { self.echo(ndx, &item) };
        }
        let times = usize::try_from(ndx).ok().and_then(|ndx| self.sent.get_mut(ndx));
        match (entry.kind, phase, times) {
            (EntryKind::File, Phase::Data, Some(times)) if *times < 2 => *times += 1,
            _ => return Err(protocol(format!("the data of entry {ndx} was asked for when it may not be"))),
        }
        if self.mode == Mode::DryRun {
            return self.echo(ndx, &item);
        }
        let sums = self.take_sums()?;
        if self.said_all {
            let message = "what arrived on the NAS is not what was sent, and it goes again another time";
            let error = NasSyncError::new(ErrorKind::NotAcknowledged, message);
            self.monitor.event(Event::FileFailed { entry, error: &error });
            return Ok(());
        }
        self.monitor.event(Event::FileStarted { entry });
        if self.mode == Mode::Rehearsal {
            self.echo(ndx, &item)?;
            return self.send_rehearsed(entry);
        }
        match self.sources.open(entry) {
            Ok(source) => {
                self.echo(ndx, &item)?;
                self.send_file(entry, source, sums.as_ref())
            }
            Err(error) => {
                self.errors |=
                    if error.kind() == ErrorKind::SourceMissing { io_error::VANISHED } else { io_error::GENERAL };
                self.monitor.event(Event::FileFailed { entry, error: &error });
                self.decline(ndx)
            }
        }
    }

    /// Says that a requested file will not come.
    fn decline(&mut self, ndx: i32) -> Result<()> {
        match self.negotiated.unsendable {
            Unsendable::Omitted => Ok(()),
            Unsendable::Message => self.port.outbox.message(&Message::NoSend(ndx)),
        }
    }

    fn echo(&mut self, ndx: i32, item: &Item) -> Result<()> {
        self.put_ndx(ndx)?;
        item.encode(self.negotiated.items, self.port.outbox.frame());
        self.port.outbox.settle()
    }

    /// Reads the sums of the receiver's old file. `None` when there is none, or when its sums are too many to keep.
    fn take_sums(&mut self) -> Result<Option<BlockSums>> {
        let digest_len = self.negotiated.block_sum.algorithm.digest_len();
        let limits =
            HeadLimits { block_len: self.negotiated.max_block_len, strong_len: digest_len.max(REDO_STRONG_LEN) };
        let head = self.port.take(|reader| sums::decode_head(reader, limits))?;
        if head.count == 0 {
            return Ok(None);
        }
        self.doubtful = true;
        let strong_len = head.strong_len.min(u8::try_from(digest_len).unwrap_or(u8::MAX));
        let head = SumHead { strong_len, ..head };
        // Sums that cannot tell blocks apart, or that would not fit, are read and forgotten.
        let mut kept =
            (strong_len > 0 && head.sums_len() <= sums::MAX_SUM_BYTES).then(|| BlockSums::with_capacity(head));
        for _ in 0..head.count {
            self.port.take(|reader| {
                let (weak, strong) = sums::decode_block(reader, head.strong_len)?;
                if let Some(kept) = &mut kept {
                    kept.push(weak, &strong[..usize::from(strong_len)]);
                }
                Ok(())
            })?;
        }
        Ok(kept)
    }

    fn send_file(&mut self, entry: &FileEntry<'_>, mut source: SourceFile, sums: Option<&BlockSums>) -> Result<()> {
        let head = sums.map_or(SumHead::EMPTY, BlockSums::head);
        sums::encode_head(&head, self.port.outbox.frame());
        let mut hasher = self.negotiated.file_sum.hasher();
        let read = match sums {
            Some(sums) => self.send_delta(&mut source, sums, &mut hasher)?,
            None if self.negotiated.tokens == TokenCoding::Plain => self.send_plain(&mut source, &mut hasher)?,
            None => self.send_literals(&mut source, &mut hasher)?,
        };
        self.tokens.end(self.port.outbox.frame()).map_err(internal)?;
        let stability = if source.unchanged() { Stability::Unchanged } else { Stability::Changed };
        let invalid = read.failure.is_some()
            || (stability == Stability::Changed && self.changed == ChangedFile::Invalidate)
            || read.stats.literal + read.stats.matched < source.stamp().size;
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

    fn send_rehearsed(&mut self, entry: &FileEntry<'_>) -> Result<()> {
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
    fn send_delta(&mut self, source: &mut SourceFile, sums: &BlockSums, hasher: &mut StrongHasher) -> Result<FileRead> {
        let mut read = FileRead::default();
        let mut stats = FileStats::default();
        let index = BlockIndex::new(sums, self.negotiated.block_sum);
        let mut search = Search::new(&index, BasisUse::Kept);
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

fn protocol(message: String) -> NasSyncError {
    NasSyncError::new(ErrorKind::Protocol, message)
}

fn internal(error: TokenError) -> NasSyncError {
    let message = format!("the token coder failed: {error}");
    NasSyncError::new(ErrorKind::Internal, message).with_source(error)
}
