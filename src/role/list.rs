//! The list of files that a sender offers, in the order in which both ends number it.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use crate::blocking;
use crate::delta::{Digest, StrongSum};
use crate::error::{ErrorKind, NasSyncError, Result};
use crate::tree::source::SourceFile;
use crate::wire::flist::idlist::{self, NamedId};
use crate::wire::flist::{EndOfList, Entries, EntryKind, FileEntry, ListCoder, ListCoding, ListFields, ListOrder};
use crate::wire::mux::Message;
use crate::wire::ndx::{self, NdxCoder};

use super::outbox::Outbox;

/// How much of a file is read at once for its digest.
const SUM_READ_LEN: usize = 256 * 1024;

/// Opens the files of a list, which are known by the tags of their entries.
pub trait Sources: Send + Sync {
    /// Opens one file for reading.
    fn open(&self, entry: &FileEntry<'_>) -> Result<SourceFile>;

    /// Removes a file or a symlink that the receiver has, unless it is another one than was listed. One that is gone already
    /// is no failure.
    fn remove(&self, entry: &FileEntry<'_>) -> Result<()> {
        let message = format!("{} is not to be removed", String::from_utf8_lossy(entry.name));
        Err(NasSyncError::new(ErrorKind::Internal, message))
    }

    /// Why a file is not sent where another content stands under its name; `None`: that is replaced.
    fn keeps_what_is_there(&self, _entry: &FileEntry<'_>) -> Option<NasSyncError> {
        None
    }

    /// Told when a file has been read for its digest in the list, or could not be.
    fn summed(&self, _entry: &FileEntry<'_>, _file: Result<&SourceFile, &NasSyncError>) {}
}

/// What is sent: entries in no order, and what their optional fields mean.
#[derive(Debug, Clone, Default)]
pub struct SendList {
    /// The entries. No name may occur twice.
    pub entries: Entries,
    /// The optional fields of each entry.
    pub fields: ListFields,
    /// Names of the user ids that occur; `None` when ids travel without names.
    pub names: Option<IdNames>,
    /// What went wrong while listing, as bits of [`io_error`](crate::wire::flist::io_error).
    pub errors: i32,
}

/// Names for the ids of a list.
#[derive(Debug, Clone, Default)]
pub struct IdNames {
    /// Users.
    pub users: Vec<NamedId>,
    /// Groups.
    pub groups: Vec<NamedId>,
}

fn sum_content(file: &mut SourceFile, sum: StrongSum, buffer: &mut [u8]) -> Result<Digest> {
    let mut hasher = sum.hasher();
    loop {
        match file.read(buffer)? {
            0 => return Ok(hasher.finish()),
            len => hasher.update(&buffer[..len]),
        }
    }
}

/// A list as both ends number it: whole, or of its parts those that are not done with, the oldest first.
#[derive(Debug)]
pub struct FileList {
    fields: ListFields,
    names: Option<IdNames>,
    errors: i32,
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    parts: VecDeque<Arc<ListPart>>,
    /// How many entries there have been.
    entries: usize,
}

/// A whole list, or the entries that lie directly in one folder, which travel together.
#[derive(Debug)]
pub struct ListPart {
    entries: Entries,
    /// The number of the first.
    start: i32,
    /// How many entries stand before it.
    before: usize,
    /// The entry of the folder, which has the number before the first.
    folder: Entries,
    /// How often the data of each was asked for.
    asked: Vec<AtomicU8>,
    acknowledged: Vec<AtomicBool>,
}

/// What a part of a list is made of.
#[derive(Debug)]
pub struct SendPart {
    /// The folder whose content it is; `None` for what lies at the top.
    pub folder: Option<Box<[u8]>>,
    /// The entries, in no order. No name may occur twice.
    pub entries: Entries,
    /// What went wrong until now, as bits of [`io_error`](crate::wire::flist::io_error).
    pub errors: i32,
}

/// Finds what is sent while it is sent.
pub trait PartSource: Send {
    /// What lies at the top, then the content of each folder whose content is listed, depth first; `None` behind the last.
    fn next(&mut self) -> Result<Option<SendPart>>;
}

/// A source of parts that was not asked yet.
pub type Parts = Arc<Mutex<dyn PartSource>>;

/// Puts the digest of every file into its entry.
pub struct Summed {
    /// Where the entries come from.
    pub parts: Parts,
    /// Where their contents do.
    pub sources: Arc<dyn Sources>,
    /// How they are summed.
    pub sum: StrongSum,
}

impl PartSource for Summed {
    fn next(&mut self) -> Result<Option<SendPart>> {
        let part = blocking::lock(&self.parts).next()?;
        Ok(part.map(|part| SendPart { entries: summed(&part.entries, &*self.sources, self.sum), ..part }))
    }
}

impl SendList {
    /// Puts the digest of every file into its entry, for `-c`. A file that cannot be read gets none, and is asked for.
    pub fn sum_contents(&mut self, sources: &dyn Sources, sum: StrongSum) {
        self.fields.digest = Some(sum.algorithm.digest_len());
        self.entries = summed(&self.entries, sources, sum);
    }

    /// Adds what is still to be found, for a server that takes the list whole.
    pub fn complete(&mut self, parts: &Parts) -> Result<()> {
        while let Some(part) = blocking::lock(parts).next()? {
            self.entries.extend(part.entries.iter());
            self.errors |= part.errors;
        }
        if let Some(names) = &mut self.names {
            let ids = |id_of: fn(&FileEntry<'_>) -> u32| self.entries.iter().map(|entry| id_of(&entry)).collect();
            let [users, groups]: [BTreeSet<u32>; 2] = [ids(|entry| entry.meta.uid), ids(|entry| entry.meta.gid)];
            names.users.retain(|(id, _)| users.contains(id));
            names.groups.retain(|(id, _)| groups.contains(id));
        }
        Ok(())
    }

    /// Sorts the list as the session's protocol numbers it.
    pub fn number(mut self, order: ListOrder) -> Result<FileList> {
        if i32::try_from(self.entries.len()).is_err() {
            return Err(too_long());
        }
        self.entries.sort(order);
        let Self { entries, fields, names, errors } = self;
        let list = FileList { fields, names, errors, held: Mutex::default() };
        list.hold(ListPart::new(entries, 0, Entries::default()));
        Ok(list)
    }

    /// A list that travels in parts, which are still to be found.
    pub fn in_parts(self) -> FileList {
        let Self { fields, names, errors, .. } = self;
        FileList { fields, names, errors, held: Mutex::default() }
    }
}

fn summed(entries: &Entries, sources: &dyn Sources, sum: StrongSum) -> Entries {
    let mut buffer = vec![0; SUM_READ_LEN];
    let mut sum_of = |entry: &FileEntry<'_>| {
        let summed = sources.open(entry).and_then(|mut file| {
            let digest = sum_content(&mut file, sum, &mut buffer)?;
            Ok((file, digest))
        });
        sources.summed(entry, summed.as_ref().map(|(file, _)| file));
        summed.ok().map(|(_, digest)| digest)
    };
    let mut summed = Entries::default();
    for entry in entries.iter() {
        let digest = if entry.kind == EntryKind::File { sum_of(&entry) } else { None };
        summed.push(&FileEntry { digest: digest.as_ref().map(Digest::as_bytes), ..entry });
    }
    summed
}

fn too_long() -> NasSyncError {
    NasSyncError::new(ErrorKind::Usage, "a list holds less than 2^31 files and folders")
}

impl ListPart {
    fn new(entries: Entries, start: i32, folder: Entries) -> Self {
        let asked = entries.iter().map(|_| AtomicU8::new(0)).collect();
        let acknowledged = entries.iter().map(|_| AtomicBool::new(false)).collect();
        Self { entries, start, before: 0, folder, asked, acknowledged }
    }

    fn position(&self, ndx: i32) -> Option<usize> {
        let position = usize::try_from(ndx.checked_sub(self.start)?).ok()?;
        Some(position).filter(|&position| position < self.entries.len())
    }

    /// The entry of a number, which may be that of the folder.
    pub fn get(&self, ndx: i32) -> Option<FileEntry<'_>> {
        if ndx == self.start - 1 {
            return self.folder.get(0);
        }
        self.entries.get(self.position(ndx)?)
    }

    /// How many entries of the list stand before that of a number.
    pub fn index(&self, ndx: i32) -> usize {
        self.before + self.position(ndx).unwrap_or_default()
    }

    /// How many entries of the list there are up to the end of this part.
    pub fn end(&self) -> usize {
        self.before + self.entries.len()
    }

    /// How many entries it has.
    pub fn entries(&self) -> usize {
        self.entries.len()
    }

    /// The bytes of all regular files.
    pub fn bytes(&self) -> u64 {
        let files = self.entries.iter().filter(|entry| entry.kind == EntryKind::File);
        files.fold(0, |sum, entry| sum.saturating_add(entry.meta.size))
    }

    /// The data of an entry is asked for. How often it was before; `None` where it has no number of its own.
    pub fn ask(&self, ndx: i32) -> Option<u8> {
        let asked = self.asked.get(self.position(ndx)?)?;
        let before = asked.load(Ordering::Relaxed);
        asked.store(before.saturating_add(1), Ordering::Relaxed);
        Some(before)
    }

    /// The receiver has an entry. Whether that is news.
    pub fn acknowledge(&self, ndx: i32) -> bool {
        let known = self.position(ndx).and_then(|position| self.acknowledged.get(position));
        known.is_some_and(|known| !known.swap(true, Ordering::Relaxed))
    }
}

impl FileList {
    fn held(&self) -> MutexGuard<'_, Held> {
        blocking::lock(&self.held)
    }

    fn hold(&self, part: ListPart) -> Arc<ListPart> {
        let mut held = self.held();
        let part = Arc::new(ListPart { before: held.entries, ..part });
        held.entries = part.end();
        held.parts.push_back(Arc::clone(&part));
        part
    }

    /// How many entries there have been.
    pub fn len(&self) -> usize {
        self.held().entries
    }

    /// Whether there was none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The part that a number belongs to. In parts the number before the first of each is that of its folder.
    pub fn find(&self, ndx: i32) -> Option<Arc<ListPart>> {
        let held = self.held();
        let behind = held.parts.partition_point(|part| part.start.saturating_sub(1) <= ndx);
        let part = held.parts.get(behind.checked_sub(1)?)?;
        part.get(ndx).map(|_| Arc::clone(part))
    }

    /// How many parts are not done with.
    pub fn open(&self) -> usize {
        self.held().parts.len()
    }

    /// The oldest of them.
    pub fn oldest(&self) -> Option<Arc<ListPart>> {
        self.held().parts.front().cloned()
    }

    /// The oldest is done with.
    pub fn close_oldest(&self) {
        self.held().parts.pop_front();
    }

    /// Whether a number was that of an entry that is done with.
    pub fn is_closed(&self, ndx: i32) -> bool {
        ndx >= 0 && self.oldest().is_some_and(|oldest| ndx < oldest.start - 1)
    }

    /// What went wrong while listing, as far as it is known at the start.
    pub fn errors(&self) -> i32 {
        self.errors
    }

    /// Begins to write the list; a whole one is written at once, with its id names and its errors.
    pub fn send(&self, parts: Option<Parts>, coding: ListCoding, out: &mut Outbox) -> Result<PartSender> {
        let mut coder = ListCoder::new(coding, self.fields);
        if parts.is_some() {
            let names = self.names.clone().unwrap_or_default();
            coder = coder.with_names(&names.users, &names.groups);
        } else if let Some(whole) = self.oldest() {
            self.send_whole(&whole, &mut coder, coding, out)?;
        }
        let errors = if parts.is_some() { 0 } else { self.errors };
        Ok(PartSender { coder, end: coding.end, parts, waiting: HashMap::new(), named: 0, next: 1, errors })
    }

    fn send_whole(&self, whole: &ListPart, coder: &mut ListCoder, coding: ListCoding, out: &mut Outbox) -> Result<()> {
        // Receivers below protocol 30 delete only below a root that they have heard of by then, and some names sort before `.`.
        let is_root = |entry: &FileEntry<'_>| entry.name == b".";
        let roots = whole.entries.iter().filter(is_root);
        for entry in roots.chain(whole.entries.iter().filter(|entry| !is_root(entry))) {
            coder.put(&entry, out.frame());
            out.settle()?;
        }
        coder.put_end(self.errors, out.frame());
        if let Some(names) = &self.names {
            if self.fields.owner {
                idlist::encode(&coding, &names.users, out.frame());
            }
            if self.fields.group {
                idlist::encode(&coding, &names.groups, out.frame());
            }
        }
        match coding.end {
            EndOfList::ErrorsAfterIds => out.frame().extend_from_slice(&self.errors.to_le_bytes()),
            EndOfList::ErrorsByMessage if self.errors != 0 => out.message(&Message::IoError(self.errors))?,
            _ => {}
        }
        Ok(())
    }
}

/// Sends a list part by part.
pub struct PartSender {
    coder: ListCoder,
    end: EndOfList,
    /// Where the parts come from, until the end of all has gone out.
    parts: Option<Parts>,
    /// Folders whose content is still to come, by name: the number by which a part names its own, and its entry.
    waiting: HashMap<Box<[u8]>, (usize, Entries)>,
    /// How many folders have been listed.
    named: usize,
    /// The number of the first entry of the next part.
    next: i32,
    errors: i32,
}

impl PartSender {
    /// Whether the end of the last part has gone out.
    pub fn is_over(&self) -> bool {
        self.parts.is_none()
    }

    /// What went wrong while the parts were found that have gone out.
    pub fn errors(&self) -> i32 {
        self.errors
    }

    /// Sends the next part if there is one, or behind the last one the end of all.
    pub fn send(&mut self, list: &FileList, replies: &mut NdxCoder, out: &mut Outbox) -> Result<Option<Arc<ListPart>>> {
        let Some(parts) = &self.parts else { return Ok(None) };
        let next = blocking::lock(parts).next()?;
        let Some(SendPart { folder, mut entries, errors }) = next else {
            self.parts = None;
            replies.put(out.frame(), ndx::LIST_EOF);
            out.settle()?;
            return Ok(None);
        };
        entries.sort(ListOrder::FilesFirst);
        let own = match folder {
            Some(name) => {
                let unknown = || NasSyncError::new(ErrorKind::Internal, "a folder has content that is not listed");
                let (number, own) = self.waiting.remove(&name).ok_or_else(unknown)?;
                replies.put(out.frame(), ndx::list_of_folder(number));
                own
            }
            None => entries.iter().take(1).filter(|first| first.name == b".").collect(),
        };
        self.send_entries(&entries, out)?;
        self.coder.put_end(errors, out.frame());
        if self.end == EndOfList::ErrorsByMessage && errors != self.errors {
            out.message(&Message::IoError(errors))?;
        }
        self.errors = errors;
        out.settle()?;
        let len = i32::try_from(entries.len()).map_err(|_| too_long())?;
        let start = self.next;
        self.next = start.checked_add(len).and_then(|next| next.checked_add(1)).ok_or_else(too_long)?;
        Ok(Some(list.hold(ListPart::new(entries, start, own))))
    }

    fn send_entries(&mut self, entries: &Entries, out: &mut Outbox) -> Result<()> {
        self.coder.begin_part(self.next);
        for entry in entries.iter() {
            self.coder.put(&entry, out.frame());
            out.settle()?;
            if entry.has_listed_content() && entry.name != b"." {
                self.waiting.insert(entry.name.into(), (self.named, [entry].into_iter().collect()));
            }
            self.named += usize::from(entry.kind.is_dir());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::flist::{Content, DeviceCoding, FileMeta, LinkCoding, XflagCoding};
    use crate::wire::int::IntCoding;
    use crate::wire::mux::Framing;
    use crate::wire::ndx::NdxCoding;
    use tokio::sync::mpsc;

    fn part(folder: Option<&str>, names: &[&'static str]) -> SendPart {
        let entries = names.iter().map(|name| {
            let (name, kind) = match name.strip_suffix('/') {
                Some(folder) => (folder, EntryKind::Directory(Content::Listed)),
                None => (*name, EntryKind::File),
            };
            FileEntry::new(name.as_bytes(), kind, FileMeta::default())
        });
        SendPart { folder: folder.map(|name| name.as_bytes().into()), entries: entries.collect(), errors: 0 }
    }

    struct Given(VecDeque<SendPart>);

    impl PartSource for Given {
        fn next(&mut self) -> Result<Option<SendPart>> {
            Ok(self.0.pop_front())
        }
    }

    fn sent(parts: Vec<SendPart>) -> FileList {
        let (sink, _sent) = mpsc::channel(64);
        let mut out = Outbox::new(Framing::Raw, sink, Arc::default());
        let coding = ListCoding {
            ints: IntCoding::Variable,
            xflags: XflagCoding::Varint,
            end: EndOfList::ErrorsAlways,
            devices: DeviceCoding::DevicesAlone,
            links: LinkCoding::FirstEntry,
            nanoseconds: true,
            content_flags: true,
            zero_id_names: true,
            digest_for_every_entry: false,
        };
        let list = SendList::default().in_parts();
        let parts: Parts = Arc::new(Mutex::new(Given(parts.into())));
        let mut sender = list.send(Some(parts), coding, &mut out).unwrap();
        let mut replies = NdxCoder::new(NdxCoding::Differential);
        while !sender.is_over() {
            sender.send(&list, &mut replies, &mut out).unwrap();
        }
        list
    }

    fn numbered(list: &FileList, numbers: std::ops::Range<i32>) -> Vec<Option<String>> {
        let name = |part: Arc<ListPart>, ndx: i32| String::from_utf8_lossy(part.get(ndx).unwrap().name).into_owned();
        numbers.map(|ndx| list.find(ndx).map(|part| name(part, ndx))).collect()
    }

    fn all(names: &[&str]) -> Vec<Option<String>> {
        names.iter().map(|name| Some(String::from(*name))).collect()
    }

    #[test]
    fn each_part_has_a_number_more_which_is_that_of_its_folder() {
        let list = sent(vec![
            part(None, &["./", "d2/", "d1/", "a"]),
            part(Some("d1"), &["d1/x"]),
            part(Some("d2"), &["d2/y", "d2/e/"]),
            part(Some("d2/e"), &["d2/e/z"]),
        ]);
        let expected = [".", ".", "a", "d1", "d2", "d1", "d1/x", "d2", "d2/y", "d2/e", "d2/e", "d2/e/z"];
        assert_eq!(numbered(&list, 0..12), all(&expected));
        assert_eq!(numbered(&list, 12..13), [None]);
        assert!(list.find(-1).is_none());
        list.close_oldest();
        assert_eq!(
            ([4, 5].map(|ndx| list.is_closed(ndx)), numbered(&list, 4..6)),
            ([true, false], vec![None, Some("d1".into())])
        );
        assert_eq!((list.len(), list.open(), list.find(8).unwrap().index(8)), (8, 3, 5));
    }

    #[test]
    fn a_folder_with_nothing_in_it_has_a_part_and_the_top_no_entry_without_a_root() {
        let list = sent(vec![
            part(None, &["f/"]),
            part(Some("f"), &["f/b/", "f/b.x/"]),
            part(Some("f/b.x"), &[]),
            part(Some("f/b"), &["f/b/c"]),
        ]);
        assert_eq!(numbered(&list, 0..1), [None]);
        assert_eq!(numbered(&list, 1..8), all(&["f", "f", "f/b.x", "f/b", "f/b.x", "f/b", "f/b/c"]));
        assert_eq!(numbered(&list, 8..9), [None]);
    }
}
