//! The parts of a list that are open on the receiving side: one where it came whole, else those that have come and are not
//! done with, the oldest first.
//!
//! Where the list comes in parts, a part is done with when the generator has been through it and each of its files has come,
//! or will not come.

use std::collections::{HashSet, VecDeque};
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use super::incoming::{Folder, Incoming, MAX_BYTES, refused};
use crate::blocking;
use crate::error::Result;
use crate::wire::flist::{Entries, FileEntry, ListOrder};

/// How far an entry has come.
pub(super) mod state {
    /// It was not asked for.
    pub const IDLE: u8 = 0;
    /// Its data was asked for.
    pub const ASKED: u8 = 1;
    /// Its data was wrong.
    pub const WRONG: u8 = 2;
    /// Its data was asked for once more.
    pub const ASKED_AGAIN: u8 = 3;
    /// There is no more to come.
    pub const OVER: u8 = 4;
    /// It does not count: another entry of its name does, or it is left out.
    pub const REPLACED: u8 = 5;
}

/// What the generator hears of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Word {
    /// Its data was wrong and is to be asked for once more.
    Again(i32),
    /// It is stored.
    Stored(i32),
    /// The NAS does not send it.
    NotSent(i32),
    /// It does not come, as was told.
    Failed(i32),
}

/// A list, or a part of one.
#[derive(Debug)]
pub(super) struct Part {
    pub entries: Entries,
    start: i32,
    /// One [`state`] for each entry.
    states: Vec<AtomicU8>,
    /// How many files were asked for and may still come, and how many names wait for such a file.
    awaited: AtomicUsize,
    /// Names of folders that are left out.
    pruned: HashSet<Box<[u8]>>,
}

impl Part {
    /// The position of a number.
    fn position(&self, ndx: i32) -> Option<usize> {
        let position = usize::try_from(ndx.checked_sub(self.start)?).ok()?;
        Some(position).filter(|&position| position < self.entries.len())
    }

    /// An entry and its state.
    pub fn get(&self, ndx: i32) -> Option<(FileEntry<'_>, &AtomicU8)> {
        let position = self.position(ndx)?;
        Some((self.entries.get(position)?, self.states.get(position)?))
    }

    /// All entries that count, numbered.
    pub fn numbered(&self) -> impl DoubleEndedIterator<Item = (i32, FileEntry<'_>)> {
        (0..self.entries.len()).filter_map(|position| {
            let counts = self.states[position].load(Ordering::Acquire) != state::REPLACED;
            let ndx = self.start.saturating_add(i32::try_from(position).unwrap_or(i32::MAX));
            self.entries.get(position).filter(|_| counts).map(|entry| (ndx, entry))
        })
    }

    /// The number behind the last entry.
    pub fn end(&self) -> i32 {
        self.start.saturating_add(i32::try_from(self.entries.len()).unwrap_or(i32::MAX))
    }

    /// An entry waits for another one.
    pub fn wait(&self) {
        self.awaited.fetch_add(1, Ordering::AcqRel);
    }

    /// Whether there is an entry of this name that counts.
    pub fn has_name(&self, name: &[u8], order: ListOrder) -> bool {
        self.entries.has_name(name, order) && !self.pruned.contains(name)
    }

    /// A file is asked for.
    pub fn ask(&self, ndx: i32, asked: u8) {
        if let Some((_, state)) = self.get(ndx) {
            if asked == state::ASKED {
                self.wait();
            }
            state.store(asked, Ordering::Release);
        }
    }
}

impl From<Incoming> for Part {
    fn from(list: Incoming) -> Self {
        let mut states: Vec<_> = list.entries.iter().map(|_| AtomicU8::new(state::IDLE)).collect();
        for without in list.replaced.iter().chain(&list.pruned) {
            states[*without] = AtomicU8::new(state::REPLACED);
        }
        let names = list.pruned.iter().filter_map(|at| list.entries.get(*at)).map(|entry| entry.name.into());
        let pruned = names.collect();
        Self { entries: list.entries, start: list.start, states, awaited: AtomicUsize::new(0), pruned }
    }
}

/// What the generator has to do.
pub(super) enum Step {
    /// To pass on what was said.
    Hear(Vec<Word>),
    /// To go through a part, and the folder whose content it is.
    Visit(Arc<Part>, Option<Arc<Folder>>),
    /// To say that it is done with a part, which was this folder's content, and is not the last.
    Close(Option<Arc<Folder>>),
    /// Everything was asked for, and where the list came in parts, has come.
    End,
    /// Nothing: the receiver has ended.
    Stop,
}

/// The parts that are open.
#[derive(Debug, Default)]
pub struct Parts {
    inner: Mutex<Inner>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Inner {
    /// Whether there is more than one.
    is_incremental: bool,
    /// How many entries the generator knows before it goes through the next part, unless there are no more.
    ahead: usize,
    open: VecDeque<(Arc<Part>, Option<Arc<Folder>>)>,
    /// How many of them the generator has been given.
    visited: usize,
    /// How many are closed.
    closed: usize,
    /// How many entries there have been.
    entries: usize,
    is_whole: bool,
    /// Folders whose content did not come.
    left: Vec<Arc<Folder>>,
    words: Vec<Word>,
    receiver: ReceiverState,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum ReceiverState {
    #[default]
    Speaks,
    /// No more words follow.
    Silent,
    /// It has ended before everything came.
    Stopped,
}

impl Parts {
    fn change<T>(&self, change: impl FnOnce(&mut Inner) -> T) -> T {
        let changed = change(&mut blocking::lock(&self.inner));
        self.changed.notify_one();
        changed
    }

    /// The list comes in parts, and the generator looks so many entries ahead.
    pub(super) fn expect_parts(&self, ahead: usize) {
        self.change(|inner| (inner.is_incremental, inner.ahead) = (true, ahead));
    }

    /// A part has come.
    pub(super) fn add(&self, mut list: Incoming) -> Result<()> {
        let folder = list.folder.take();
        let part = Arc::new(Part::from(list));
        self.change(|inner| {
            inner.entries += part.entries.len();
            inner.open.push_back((part, folder));
            inner.is_whole = !inner.is_incremental;
            let bytes: usize = inner.open.iter().map(|(part, _)| part.entries.byte_len()).sum();
            if bytes > MAX_BYTES {
                return Err(refused(&format!("is more than {MAX_BYTES} bytes ahead of what was asked for")));
            }
            Ok(())
        })
    }

    /// No more parts follow; the content of these folders did not come.
    pub(super) fn end(&self, left: Vec<Arc<Folder>>) -> Result<()> {
        self.change(|inner| {
            if std::mem::replace(&mut inner.is_whole, true) {
                return Err(refused("ends twice"));
            }
            inner.left = left;
            Ok(())
        })
    }

    /// Whether more parts may come.
    pub(super) fn is_whole(&self) -> bool {
        blocking::lock(&self.inner).is_whole
    }

    /// How many parts are closed.
    pub(super) fn closed(&self) -> usize {
        blocking::lock(&self.inner).closed
    }

    /// How many entries have come.
    pub(super) fn entries(&self) -> usize {
        blocking::lock(&self.inner).entries
    }

    /// The part that a number belongs to, where that is open.
    pub(super) fn find(&self, ndx: i32) -> Option<Arc<Part>> {
        blocking::lock(&self.inner).find(ndx).cloned()
    }

    /// All that are open.
    pub(super) fn open(&self) -> Vec<Arc<Part>> {
        blocking::lock(&self.inner).open.iter().map(|(part, _)| Arc::clone(part)).collect()
    }

    /// All that are open and begin behind a number, or with it.
    pub(super) fn behind(&self, ndx: i32) -> Vec<Arc<Part>> {
        let inner = blocking::lock(&self.inner);
        let first = inner.open.partition_point(|(part, _)| part.start < ndx);
        inner.open.range(first..).map(|(part, _)| Arc::clone(part)).collect()
    }

    /// There is no more to come of a file, and this is what the generator hears of it.
    pub(super) fn settle(&self, part: &Part, word: Option<Word>) {
        self.change(|inner| {
            inner.words.extend(word);
            part.awaited.fetch_sub(1, Ordering::AcqRel);
        });
    }

    /// The generator hears this.
    pub(super) fn say(&self, word: Word) {
        self.change(|inner| inner.words.push(word));
    }

    /// The NAS says that a file will not come. Where the list came whole, the file is missed at the end of its phase.
    pub fn not_sent(&self, ndx: i32) -> Result<()> {
        self.change(|inner| {
            if !inner.is_incremental {
                return Ok(());
            }
            let part = inner.find(ndx).cloned();
            let state = part.as_ref().and_then(|part| part.get(ndx)).map(|(_, state)| state);
            let was_asked = state.is_some_and(|state| {
                let over = |asked| state.compare_exchange(asked, state::OVER, Ordering::AcqRel, Ordering::Acquire);
                over(state::ASKED).or_else(|_| over(state::ASKED_AGAIN)).is_ok()
            });
            let Some(part) = part.filter(|_| was_asked) else {
                return Err(super::receiver::protocol(&format!(
                    "declines to send entry {ndx}, which was not asked for"
                )));
            };
            inner.words.push(Word::NotSent(ndx));
            part.awaited.fetch_sub(1, Ordering::AcqRel);
            Ok(())
        })
    }

    /// No more words follow.
    pub(super) fn fall_silent(&self) {
        self.change(|inner| inner.receiver = ReceiverState::Silent);
    }

    /// The receiver has ended before everything came.
    pub(super) fn stop(&self) {
        self.change(|inner| inner.receiver = ReceiverState::Stopped);
    }

    /// Whether it has.
    pub(super) fn has_stopped(&self) -> bool {
        blocking::lock(&self.inner).receiver == ReceiverState::Stopped
    }

    /// What was said since the last time, without waiting.
    pub(super) fn words(&self) -> Vec<Word> {
        std::mem::take(&mut blocking::lock(&self.inner).words)
    }

    /// What is said until nothing more follows; `before_wait` runs whenever a wait begins.
    pub(super) fn more_words(&self, before_wait: impl FnMut() -> Result<()>) -> Result<Option<Vec<Word>>> {
        self.wait(before_wait, |inner| {
            let words = std::mem::take(&mut inner.words);
            if words.is_empty() && inner.receiver == ReceiverState::Speaks {
                None
            } else {
                Some(Some(words).filter(|words| !words.is_empty()))
            }
        })
    }

    /// What comes next.
    pub(super) fn next(&self, before_wait: impl FnMut() -> Result<()>) -> Result<Step> {
        self.wait(before_wait, Inner::next)
    }

    fn wait<T>(
        &self,
        mut before_wait: impl FnMut() -> Result<()>,
        mut look: impl FnMut(&mut Inner) -> Option<T>,
    ) -> Result<T> {
        if let Some(found) = look(&mut blocking::lock(&self.inner)) {
            return Ok(found);
        }
        before_wait()?;
        let mut inner = blocking::lock(&self.inner);
        loop {
            if let Some(found) = look(&mut inner) {
                return Ok(found);
            }
            inner = self.changed.wait(inner).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Inner {
    fn find(&self, ndx: i32) -> Option<&Arc<Part>> {
        let behind = self.open.partition_point(|(part, _)| part.start <= ndx);
        let (part, _) = self.open.get(behind.checked_sub(1)?)?;
        part.position(ndx).map(|_| part)
    }

    fn next(&mut self) -> Option<Step> {
        if self.receiver == ReceiverState::Stopped {
            return Some(Step::Stop);
        }
        if !self.words.is_empty() {
            return Some(Step::Hear(std::mem::take(&mut self.words)));
        }
        let is_done = |(part, _): &(Arc<Part>, _)| self.visited > 0 && part.awaited.load(Ordering::Acquire) == 0;
        let is_first_done = self.is_incremental && self.open.front().is_some_and(is_done);
        // Before there is a next one, the other side takes a DONE for the end of the phase.
        if is_first_done && self.open.len() > 1 {
            self.visited -= 1;
            self.closed += 1;
            return self.open.pop_front().map(|(_, folder)| Step::Close(folder));
        }
        if let Some((part, folder)) = self.open.get(self.visited).filter(|_| self.knows_enough()) {
            self.visited += 1;
            return Some(Step::Visit(Arc::clone(part), folder.clone()));
        }
        (self.is_whole && (is_first_done || !self.is_incremental)).then_some(Step::End)
    }

    fn knows_enough(&self) -> bool {
        let known = || self.open.iter().map(|(part, _)| part.entries.len()).sum::<usize>();
        self.is_whole || self.ahead == 0 || known() >= self.ahead
    }

    /// The folders that are not done with, when everything has come: that of the last part, and those whose content did not
    /// come.
    fn last_folders(&mut self) -> (Vec<Arc<Folder>>, Option<Arc<Folder>>) {
        let last = self.open.pop_front().and_then(|(_, folder)| folder);
        (std::mem::take(&mut self.left), last)
    }
}

impl Parts {
    /// The folders that are left at [`Step::End`] of a list in parts: those whose content did not come, and that of the last
    /// part, which is closed by this.
    pub(super) fn close_last(&self) -> (Vec<Arc<Folder>>, Option<Arc<Folder>>) {
        self.change(Inner::last_folders)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::flist::{EntryKind, FileMeta};

    fn parts() -> Parts {
        let parts = Parts::default();
        parts.expect_parts(0);
        for (start, name) in [(1, b"a"), (3, b"b")] {
            let entries = [FileEntry::new(name, EntryKind::File, FileMeta::default())].into_iter().collect();
            parts.add(Incoming { entries, start, ..Incoming::default() }).unwrap();
        }
        parts
    }

    fn visit(parts: &Parts) -> Arc<Part> {
        let Ok(Step::Visit(part, None)) = parts.next(|| Ok(())) else { panic!("there is another part") };
        part
    }

    #[test]
    fn what_is_declined_was_asked_for_and_is_declined_once() {
        let parts = parts();
        let refused = |ndx: i32| parts.not_sent(ndx).unwrap_err().message().contains("which was not asked for");
        let part = visit(&parts);
        assert!([0, 1, 2, 3, 4].map(refused) == [true; 5]);
        part.ask(1, state::ASKED);
        parts.not_sent(1).unwrap();
        assert!(refused(1));
        assert!(matches!(parts.next(|| Ok(())), Ok(Step::Hear(words)) if words == [Word::NotSent(1)]));
        assert!(matches!(parts.next(|| Ok(())), Ok(Step::Close(None))));
        assert!(refused(1));
    }

    #[test]
    fn names_of_one_file_are_looked_for_ahead() {
        let parts = parts();
        parts.expect_parts(3);
        assert!(blocking::lock(&parts.inner).next().is_none());
        parts.end(Vec::new()).unwrap();
        let first = visit(&parts);
        // Something in it waits for what is in the next one.
        first.wait();
        drop(visit(&parts));
        assert!(blocking::lock(&parts.inner).next().is_none());
        parts.settle(&first, None);
        assert!(matches!(parts.next(|| Ok(())), Ok(Step::Close(None))));
    }

    #[test]
    fn a_part_is_closed_when_its_files_have_come_and_the_last_when_it_is_known_to_be() {
        let parts = parts();
        let [first, second] = [visit(&parts), {
            parts.open()[0].ask(1, state::ASKED);
            visit(&parts)
        }];
        second.ask(3, state::ASKED);
        parts.settle(&second, None);
        parts.settle(&first, None);
        assert!(matches!(parts.next(|| Ok(())), Ok(Step::Close(None))));
        parts.end(Vec::new()).unwrap();
        assert!(matches!(parts.next(|| Ok(())), Ok(Step::End)));
        assert_eq!((parts.closed(), parts.entries()), (1, 2));
    }
}
