//! The list of files that a sender offers, in the order in which both ends number it.

use std::collections::HashMap;
use std::ops::Range;

use crate::delta::{Digest, StrongSum};
use crate::error::{ErrorKind, NasSyncError, Result};
use crate::tree::source::SourceFile;
use crate::wire::flist::idlist::{self, NamedId};
use crate::wire::flist::{
    Content, EndOfList, Entries, EntryKind, FileEntry, ListCoder, ListCoding, ListFields, ListOrder,
};
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

/// A list whose entries stand in the order in which both ends number them.
#[derive(Debug)]
pub struct FileList {
    entries: Entries,
    fields: ListFields,
    names: Option<IdNames>,
    errors: i32,
    /// The parts in which it travels; none where it goes as a whole.
    parts: Vec<Part>,
}

/// The entries that lie directly in one folder, and travel together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Part {
    /// Where they begin in the list.
    start: usize,
    /// The entry of their folder; `None` for what lies at the top.
    folder: Option<usize>,
}

impl SendList {
    /// Puts the digest of every file into its entry, for `-c`. A file that cannot be read gets none, and is asked for.
    pub fn sum_contents(&mut self, sources: &dyn Sources, sum: StrongSum) {
        self.fields.digest = Some(sum.algorithm.digest_len());
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
        for entry in self.entries.iter() {
            let digest = if entry.kind == EntryKind::File { sum_of(&entry) } else { None };
            summed.push(&FileEntry { digest: digest.as_ref().map(Digest::as_bytes), ..entry });
        }
        self.entries = summed;
    }

    /// Sorts the list as the session's protocol numbers it.
    pub fn number(mut self, order: ListOrder) -> Result<FileList> {
        // In parts each folder takes a number more.
        if self.entries.len() >= i32::MAX as usize / 2 {
            return Err(NasSyncError::new(ErrorKind::Usage, "a list holds at most 2^30-2 files"));
        }
        self.entries.sort(order);
        let Self { entries, fields, names, errors } = self;
        Ok(FileList { entries, fields, names, errors, parts: Vec::new() })
    }

    /// Sorts the list as both ends number it that travels in parts: for each folder one, right behind the part of the folder
    /// that it lies in, or behind what belongs to a folder beside it.
    pub fn number_in_parts(self) -> Result<FileList> {
        let mut list = self.number(ListOrder::FilesFirst)?;
        let groups = groups(&list.entries);
        list.entries.group(&groups.of_entries);
        list.parts = parts(&list.entries, &groups);
        Ok(list)
    }
}

impl FileList {
    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The bytes of all regular files.
    pub fn bytes(&self) -> u64 {
        let files = self.entries.iter().filter(|entry| entry.kind == EntryKind::File);
        files.fold(0, |sum, entry| sum.saturating_add(entry.meta.size))
    }

    /// Where the entry of a number stands. In parts the number before the first of a part is that of its folder.
    pub fn position(&self, ndx: i32) -> Option<usize> {
        let ndx = usize::try_from(ndx).ok()?;
        if self.parts.is_empty() {
            return Some(ndx).filter(|&position| position < self.len());
        }
        let part = self.part_of(ndx)?;
        match ndx - (self.parts[part].start + part) {
            0 => self.parts[part].folder.or_else(|| self.entries.get(0).filter(|first| first.name == b".").map(|_| 0)),
            behind => Some(self.parts[part].start + behind - 1).filter(|&position| position < self.part(part).end),
        }
    }

    /// The entry of a number.
    pub fn get(&self, ndx: i32) -> Option<FileEntry<'_>> {
        self.entries.get(self.position(ndx)?)
    }

    /// How many parts there are; one where it goes as a whole.
    pub fn parts(&self) -> usize {
        self.parts.len().max(1)
    }

    /// The part that a number belongs to.
    pub fn part_of(&self, ndx: usize) -> Option<usize> {
        // The starts grow, and so do they with one number more for each part.
        let (mut low, mut high) = (0, self.parts.len());
        while low < high {
            let middle = usize::midpoint(low, high);
            if self.parts[middle].start + middle <= ndx { low = middle + 1 } else { high = middle }
        }
        if self.parts.is_empty() { Some(0) } else { low.checked_sub(1) }
    }

    /// Where the entries of a part stand.
    pub fn part(&self, part: usize) -> Range<usize> {
        let start_of = |part: usize| self.parts.get(part).map_or(self.len(), |part| part.start);
        start_of(part)..start_of(part + 1)
    }

    /// What went wrong while listing.
    pub fn errors(&self) -> i32 {
        self.errors
    }

    /// Writes the list, its id names and its errors; of a list in parts the first.
    pub fn send(&self, coding: ListCoding, out: &mut Outbox) -> Result<PartSender> {
        let coder = ListCoder::new(coding, self.fields);
        if !self.parts.is_empty() {
            let names = self.names.clone().unwrap_or_default();
            let coder = coder.with_names(&names.users, &names.groups);
            let mut parts = PartSender { coder, sent: 0, is_over: false, listed: 0, numbers: HashMap::new() };
            parts.send_entries(self, out)?;
            self.send_errors(coding, out)?;
            return Ok(parts);
        }
        let mut parts = PartSender { coder, sent: 1, is_over: true, listed: 0, numbers: HashMap::new() };
        let coder = &mut parts.coder;
        // Receivers below protocol 30 delete only below a root that they have heard of by then, and some names sort before `.`.
        let is_root = |entry: &FileEntry<'_>| entry.name == b".";
        let roots = self.entries.iter().filter(is_root);
        for entry in roots.chain(self.entries.iter().filter(|entry| !is_root(entry))) {
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
        self.send_errors(coding, out)?;
        Ok(parts)
    }

    /// Writes the errors where they have no place in the list.
    fn send_errors(&self, coding: ListCoding, out: &mut Outbox) -> Result<()> {
        match coding.end {
            EndOfList::ErrorsAfterIds => out.frame().extend_from_slice(&self.errors.to_le_bytes()),
            EndOfList::ErrorsByMessage if self.errors != 0 => out.message(&Message::IoError(self.errors))?,
            _ => {}
        }
        Ok(())
    }
}

/// Which folder's content each entry is, in groups numbered in the order of the folders.
struct Groups {
    of_entries: Vec<u32>,
    /// The names of the folders, without that of the top.
    folders: Vec<Box<[u8]>>,
}

fn groups(entries: &Entries) -> Groups {
    let mut groups = Groups { of_entries: Vec::with_capacity(entries.len()), folders: Vec::new() };
    // Those around the entry that is looked at: each folder is directly followed by its content.
    let mut around: Vec<(&[u8], u32)> = Vec::new();
    for entry in entries.iter() {
        let lies_in = |folder: &[u8]| entry.name.strip_prefix(folder).is_some_and(|rest| rest.starts_with(b"/"));
        while around.pop_if(|(folder, _)| !lies_in(folder)).is_some() {}
        groups.of_entries.push(around.last().map_or(0, |(_, group)| *group));
        if entry.name != b"." && matches!(entry.kind, EntryKind::Directory(Content::Listed | Content::Argument)) {
            groups.folders.push(entry.name.into());
            around.push((entry.name, u32::try_from(groups.folders.len()).unwrap_or(u32::MAX)));
        }
    }
    groups
}

/// The parts of entries that stand together by their groups.
fn parts(entries: &Entries, groups: &Groups) -> Vec<Part> {
    let mut counts = vec![0_usize; groups.folders.len() + 1];
    for &group in &groups.of_entries {
        counts[group as usize] += 1;
    }
    let positions: HashMap<&[u8], usize> = (entries.iter().enumerate())
        .filter(|(_, entry)| entry.kind.is_dir())
        .map(|(position, entry)| (entry.name, position))
        .collect();
    let folders = groups.folders.iter().map(|name| positions.get(&**name).copied());
    let starts = counts.iter().scan(0, |start, count| Some(std::mem::replace(start, *start + count)));
    starts.zip([None].into_iter().chain(folders)).map(|(start, folder)| Part { start, folder }).collect()
}

/// Sends a list part by part.
#[derive(Debug)]
pub struct PartSender {
    coder: ListCoder,
    /// How many parts have gone out.
    sent: usize,
    /// Whether the end of all has.
    is_over: bool,
    /// How many folders they held.
    listed: usize,
    /// Folders that were listed, by their position, and the number by which a part names its own.
    numbers: HashMap<usize, usize>,
}

impl PartSender {
    /// How many parts have gone out.
    pub fn sent(&self) -> usize {
        self.sent
    }

    /// Whether the end of the last one has gone out, too.
    pub fn is_over(&self) -> bool {
        self.is_over
    }

    /// Sends the next part if there is one, and behind the last one the end of all.
    pub fn send(&mut self, list: &FileList, replies: &mut NdxCoder, out: &mut Outbox) -> Result<()> {
        if let Some(part) = list.parts.get(self.sent) {
            if let Some(number) = part.folder.and_then(|folder| self.numbers.remove(&folder)) {
                replies.put(out.frame(), ndx::list_of_folder(number));
            }
            self.send_entries(list, out)?;
        }
        if self.sent == list.parts() && !self.is_over {
            replies.put(out.frame(), ndx::LIST_EOF);
            self.is_over = true;
        }
        out.settle()
    }

    fn send_entries(&mut self, list: &FileList, out: &mut Outbox) -> Result<()> {
        for position in list.part(self.sent) {
            if let Some(entry) = list.entries.get(position) {
                self.coder.put(&entry, out.frame());
                if entry.kind.is_dir() {
                    self.numbers.insert(position, self.listed);
                    self.listed += 1;
                }
                out.settle()?;
            }
        }
        self.coder.put_end(list.errors, out.frame());
        self.sent += 1;
        out.settle()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::flist::FileMeta;

    fn in_parts(names: &[&'static [u8]]) -> FileList {
        let entries = names.iter().map(|name| {
            let (name, kind) = match name.strip_suffix(b"/") {
                Some(folder) => (folder, EntryKind::Directory(Content::Listed)),
                None => (*name, EntryKind::File),
            };
            FileEntry::new(name, kind, FileMeta::default())
        });
        SendList { entries: entries.collect(), ..SendList::default() }.number_in_parts().unwrap()
    }

    fn numbered(list: &FileList, numbers: std::ops::Range<i32>) -> Vec<Option<&[u8]>> {
        numbers.map(|ndx| list.get(ndx).map(|entry| entry.name)).collect()
    }

    #[test]
    fn each_part_has_a_number_more_which_is_that_of_its_folder() {
        let list = in_parts(&[b"./", b"d2/", b"d1/x", b"d2/y", b"d2/e/", b"d1/", b"a", b"d2/e/z"]);
        let expected: Vec<&[u8]> =
            vec![b".", b".", b"a", b"d1", b"d2", b"d1", b"d1/x", b"d2", b"d2/y", b"d2/e", b"d2/e", b"d2/e/z"];
        assert_eq!(numbered(&list, 0..12), expected.into_iter().map(Some).collect::<Vec<_>>());
        assert_eq!((list.get(12), list.get(-1), list.parts()), (None, None, 4));
        let parts: Vec<_> = [0, 4, 5, 6, 7, 9, 10, 11].map(|ndx| list.part_of(ndx)).into();
        assert_eq!(parts, [0, 0, 1, 1, 2, 2, 3, 3].map(Some));
    }

    #[test]
    fn a_folder_with_nothing_in_it_has_a_part_and_the_top_no_entry_without_a_root() {
        let list = in_parts(&[b"f/", b"f/b/", b"f/b.x/", b"f/b/c"]);
        let expected = [None, Some(&b"f"[..]), Some(b"f"), Some(b"f/b.x"), Some(b"f/b"), Some(b"f/b.x"), Some(b"f/b")];
        assert_eq!(numbered(&list, 0..7), expected);
        assert_eq!((numbered(&list, 7..9), list.part(2)), (vec![Some(&b"f/b/c"[..]), None], 3..3));
    }
}
