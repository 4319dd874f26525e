//! The sender: offers a file list, answers the generator's requests with deltas, and says goodbye,
//! `protocol-notes/07-transfer.md` and `10-phases-and-goodbye.md`.
//!
//! It guarantees that a file whose reading failed, or that changed while it was read, arrives with a digest that
//! cannot match, so the receiver throws it away; that a request outside the list, of the wrong kind or phase, or for
//! the third time ends the session; and that it never opens a path that a peer named.

mod content;

use std::sync::Arc;

use self::content::Basis;
use super::agreement::Agreement;
use super::event::{Event, Monitor};
use super::list::{FileList, ListPart, PartSender, Parts, Sources};
use super::port::Port;
use crate::delta::{BlockSums, SumHead};
use crate::error::{ErrorKind, NasSyncError, Result};
use crate::wire::flist::{EntryKind, FileEntry, io_error};
use crate::wire::iflags::{Item, ItemCoding, ItemFlags};
use crate::wire::mux::{Framing, Message};
use crate::wire::ndx::{self, NdxCoder};
use crate::wire::negotiated::{Goodbye, IdleSign, Negotiated, Unsendable};
use crate::wire::receiver_args::Writing;
use crate::wire::rules::{self, RuleCoding, RuleText};
use crate::wire::stats;
use crate::wire::sums::{self, HeadLimits};
use crate::wire::token::{TokenEncoder, TokenError};

/// How much of a file is read at once when it is searched or compressed.
const READ_LEN: usize = 256 * 1024;
/// Up to protocol 32, servers before 3.4.4 announce strong sums of this length on a second try, whatever their digest.
const REDO_STRONG_LEN: usize = 16;
/// A generator has at most this many records to say for each entry on the average: what differs, a second try, and
/// twice as much for servers that repeat themselves.
const RECORDS_PER_ENTRY: usize = 4;
/// Records that do not depend on the number of entries, such as counts of deleted ones.
const MORE_RECORDS: usize = 16;

/// How many entries may be listed beyond the part that the generator is at: enough that it never waits over a long way, and few
/// enough that its memory stays small.
const ENTRIES_AHEAD: usize = 10_000;

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

/// What the receiver's options ask of the sender.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Duties {
    /// How the receiver writes.
    pub writing: Writing,
    /// Whether it keeps what it replaces.
    pub backup: bool,
    /// Whether it has more to do at the end than to take files, so that each phase is waited for.
    pub has_late_work: bool,
    /// The rules that it reads before the list, where it reads any.
    pub rules: Option<Vec<RuleText>>,
    /// Whether it deletes also what they exclude: old receivers read none then.
    pub deletes_excluded: bool,
}

/// What a sender needs to know beside what was negotiated.
pub struct SendJob {
    /// What is sent, numbered as the session's protocol numbers it.
    pub list: Arc<FileList>,
    /// Where what is sent is found meanwhile, if that is how.
    pub parts: Option<Parts>,
    /// Where the contents come from.
    pub sources: Arc<dyn Sources>,
    /// About files that change meanwhile.
    pub changed: ChangedFile,
    /// Whether anything is transferred.
    pub mode: Mode,
    /// What follows from the receiver's options.
    pub duties: Duties,
}

/// Runs the sender from the file list to the goodbye. On an error the other side may still have something to say, so
/// the caller goes on reading.
pub fn run(job: SendJob, agreement: Agreement, mut port: Port, monitor: &dyn Monitor) -> Result<()> {
    let list = job.list;
    monitor.event(Event::Begun { waits: &port.waits });
    let terms = agreement.list_terms();
    let reads_none = job.duties.deletes_excluded && terms.rules == RuleCoding::Patterns;
    if let Some(rules) = job.duties.rules.as_ref().filter(|_| !reads_none) {
        rules::put(rules, terms.rules, port.outbox.frame())
            .map_err(|error| NasSyncError::new(ErrorKind::OptionRefused, error.to_string()).with_source(error))?;
    }
    if let Some(whole) = list.oldest() {
        monitor.event(Event::Listed { entries: whole.entries(), bytes: whole.bytes() });
    }
    let parts = list.send(job.parts, terms.coding, &mut port.outbox)?;
    let negotiated = agreement.whole(|| port.outbox.flush())?;
    let tokens = TokenEncoder::new(negotiated.tokens, negotiated.zlib_history).map_err(internal)?;
    let mut sender = Sender {
        requests: NdxCoder::new(negotiated.ndx),
        replies: NdxCoder::new(negotiated.ndx),
        records_left: (list.len() + 1).saturating_mul(RECORDS_PER_ENTRY).saturating_add(MORE_RECORDS),
        parts,
        asked: 0,
        errors: list.errors(),
        reported_errors: list.errors(),
        doubtful: false,
        said_all: false,
        list,
        sources: job.sources,
        changed: job.changed,
        mode: job.mode,
        duties: job.duties,
        negotiated,
        tokens,
        port,
        monitor,
        buffer: vec![0; READ_LEN],
    };
    sender.send_parts()?;
    sender.transfer()?;
    sender.goodbye()
}

/// The first phases answer requests; after the second DONE, data may no longer be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Requests.
    First,
    /// Second tries.
    Redo,
    /// Only attributes and renames are reported.
    Attributes,
}

struct Sender<'m> {
    negotiated: Negotiated,
    list: Arc<FileList>,
    parts: PartSender,
    /// How many entries there are up to the end of the last part that something was asked for of.
    asked: usize,
    sources: Arc<dyn Sources>,
    changed: ChangedFile,
    mode: Mode,
    duties: Duties,
    port: Port,
    monitor: &'m dyn Monitor,
    requests: NdxCoder,
    replies: NdxCoder,
    tokens: TokenEncoder,
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
            let phase = match answered {
                0 => Phase::First,
                1 => Phase::Redo,
                _ => Phase::Attributes,
            };
            loop {
                match self.next_request()? {
                    Some(ndx) => self.answer(ndx, phase)?,
                    // Each part has a DONE of its own; that of the last one ends the phase.
                    None if phase == Phase::First && self.list.open() > 1 => {
                        self.list.close_oldest();
                        self.put_ndx(ndx::DONE)?;
                    }
                    None => break,
                }
                self.send_parts()?;
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

    /// Sends parts of the list ahead of what the generator is at. It needs at least the next one to go on, or to hear that
    /// there is none.
    fn send_parts(&mut self) -> Result<()> {
        while !self.parts.is_over() && self.entries_ahead() < ENTRIES_AHEAD {
            if let Some(part) = self.parts.send(&self.list, &mut self.replies, &mut self.port.outbox)? {
                let records = (part.entries() + 1).saturating_mul(RECORDS_PER_ENTRY);
                self.records_left = self.records_left.saturating_add(records);
                self.monitor.event(Event::Listed { entries: part.entries(), bytes: part.bytes() });
            }
        }
        // They have gone out with the parts.
        self.errors |= self.parts.errors();
        self.reported_errors |= self.parts.errors();
        Ok(())
    }

    fn entries_ahead(&self) -> usize {
        let oldest = self.list.oldest().map_or(0, |oldest| oldest.end());
        self.list.len() - self.asked.max(oldest)
    }

    /// Whether the other phases are empty for certain, so that they need not be waited for one by one: the generator has
    /// asked for all that it wants, and every file has gone out whole and with a sum that matches.
    fn nothing_can_follow(&self) -> bool {
        self.negotiated.goodbye == Goodbye::Exchange
            && self.mode != Mode::Rehearsal
            && !self.duties.has_late_work
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
                    let counts = self.port.take(stats::decode_deleted)?;
                    self.monitor.event(Event::DeletedCounts { counts: &counts });
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
        let part = list.find(ndx);
        let Some((part, entry)) = part.as_ref().and_then(|part| Some((part, part.get(ndx)?))) else {
            let behind_the_last = usize::try_from(ndx) == Ok(list.len());
            return match self.negotiated.idle {
                IdleSign::Record if behind_the_last && item.flags.0 == ItemFlags::NEW => Ok(()),
                _ if list.is_closed(ndx) => {
                    Err(protocol(format!("file {ndx} was asked for, which is not in a list that is open")))
                }
                _ => Err(protocol(format!("file {ndx} was asked for, the list has {}", list.len()))),
            };
        };
        self.answer_for(ndx, &item, &entry, part, phase)
    }

    fn answer_for(
        &mut self,
        ndx: i32,
        item: &Item,
        entry: &FileEntry<'_>,
        part: &ListPart,
        phase: Phase,
    ) -> Result<()> {
        self.asked = self.asked.max(part.end());
        self.monitor.event(Event::Asked { index: part.index(ndx) });
        let linked_to = item.xname.as_deref().filter(|_| item.flags.has(ItemFlags::LOCAL_CHANGE));
        self.monitor.event(Event::Itemized { entry, flags: item.flags, linked_to });
        if !item.flags.has(ItemFlags::TRANSFER) {
            // Nobody there hears an echo any more.
            return if self.said_all { Ok(()) } else { self.echo(ndx, item) };
        }
        let is_redo = match (entry.kind, phase, part.ask(ndx)) {
            (EntryKind::File, Phase::First | Phase::Redo, Some(times @ 0..=1)) => phase == Phase::Redo || times == 1,
            _ => return Err(protocol(format!("the data of entry {ndx} was asked for when it may not be"))),
        };
        if self.mode == Mode::DryRun {
            return self.echo(ndx, item);
        }
        let basis = self.take_basis(item, is_redo)?;
        if self.said_all {
            let message = "what arrived on the NAS is not what was sent, and it goes again another time";
            let error = NasSyncError::new(ErrorKind::NotAcknowledged, message);
            self.monitor.event(Event::FileFailed { entry, error: &error });
            return Ok(());
        }
        self.monitor.event(Event::FileStarted { entry });
        if self.mode == Mode::Rehearsal {
            self.echo(ndx, item)?;
            return self.send_rehearsed(entry);
        }
        match self.sources.open(entry) {
            // It cannot be added to what is longer than itself.
            Ok(source) if basis.appended_len() > source.stamp().size => {
                let error =
                    NasSyncError::new(ErrorKind::SourceChanged, format!("{} became shorter", source.path().display()));
                self.monitor.event(Event::FileFailed { entry, error: &error });
                self.decline(ndx)
            }
            Ok(source) => {
                if let Some(error) = self.sources.keeps_what_is_there(entry)
                    && self.another_is_there(entry, item.flags, &basis)
                {
                    self.monitor.event(Event::FileFailed { entry, error: &error });
                    return self.decline(ndx);
                }
                self.echo(ndx, item)?;
                self.send_file(entry, source, &basis)
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

    /// Reads what the receiver says about its old file.
    fn take_basis(&mut self, item: &Item, is_redo: bool) -> Result<Basis> {
        let digest_len = self.negotiated.block_sum.algorithm.digest_len();
        let limits =
            HeadLimits { block_len: self.negotiated.max_block_len, strong_len: digest_len.max(REDO_STRONG_LEN) };
        let head = self.port.take(|reader| sums::decode_head(reader, limits))?;
        if head.count == 0 {
            return Ok(Basis::None);
        }
        self.doubtful = true;
        let strong_len = head.strong_len.min(u8::try_from(digest_len).unwrap_or(u8::MAX));
        let head = SumHead { strong_len, ..head };
        if !is_redo && let Writing::Append | Writing::AppendVerify = self.duties.writing {
            return Ok(Basis::Start(head));
        }
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
        Ok(kept.map_or(Basis::None, |sums| Basis::Blocks { sums, is_overwritten: self.overwrites(item) }))
    }

    /// Whether the receiver writes over the file whose sums it sent.
    fn overwrites(&self, item: &Item) -> bool {
        let keeps_another = match self.negotiated.items {
            ItemCoding::Flagged => item.basis_type.is_some(),
            // Such a receiver does not say which file it is.
            ItemCoding::Bare => self.duties.backup,
        };
        self.duties.writing != Writing::Aside && !keeps_another
    }
}

fn protocol(message: String) -> NasSyncError {
    NasSyncError::new(ErrorKind::Protocol, message)
}

fn internal(error: TokenError) -> NasSyncError {
    let message = format!("the token coder failed: {error}");
    NasSyncError::new(ErrorKind::Internal, message).with_source(error)
}
