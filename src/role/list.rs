//! The list of files that a sender offers, in the order in which both ends number it.

use crate::delta::{Digest, StrongSum};
use crate::error::{ErrorKind, NasSyncError, Result};
use crate::tree::source::SourceFile;
use crate::wire::flist::idlist::{self, NamedId};
use crate::wire::flist::{EndOfList, Entries, EntryKind, FileEntry, ListCoder, ListCoding, ListFields, ListOrder};
use crate::wire::mux::Message;

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
        if self.entries.len() >= i32::MAX as usize {
            return Err(NasSyncError::new(ErrorKind::Usage, "a list holds at most 2^31-2 files"));
        }
        self.entries.sort(order);
        Ok(FileList { entries: self.entries, fields: self.fields, names: self.names, errors: self.errors })
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

    /// The entry of a number.
    pub fn get(&self, ndx: i32) -> Option<FileEntry<'_>> {
        self.entries.get(usize::try_from(ndx).ok()?)
    }

    /// What went wrong while listing.
    pub fn errors(&self) -> i32 {
        self.errors
    }

    /// Writes the whole list, its id names and its errors.
    pub fn send(&self, coding: ListCoding, out: &mut Outbox) -> Result<()> {
        let mut coder = ListCoder::new(coding, self.fields);
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
        match coding.end {
            EndOfList::ErrorsAfterIds => out.frame().extend_from_slice(&self.errors.to_le_bytes()),
            EndOfList::ErrorsByMessage if self.errors != 0 => out.message(&Message::IoError(self.errors))?,
            _ => {}
        }
        Ok(())
    }
}
