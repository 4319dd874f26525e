//! The list of files that a sender offers, in the order in which both ends number it.

use crate::delta::StrongSum;
use crate::error::{ErrorKind, NasSyncError, Result};
use crate::tree::source::SourceFile;
use crate::wire::flist::{EntryKind, FileEntry, ListCoder, ListFields};
use crate::wire::flist_order::ListOrder;
use crate::wire::idlist::{self, NamedId};
use crate::wire::negotiated::{Negotiated, Unsendable};
use crate::wire::{flist, mux::Message};

use super::port::Port;

/// How much of a file is read at once for its digest.
const SUM_READ_LEN: usize = 256 * 1024;

/// Opens the files of a list. The index is the position at which the caller named the file.
pub trait Sources: Send + Sync {
    /// Opens one file for reading.
    fn open(&self, index: usize, entry: &FileEntry) -> Result<SourceFile>;

    /// Told when a file has been read for its digest in the list, or could not be.
    fn summed(&self, _index: usize, _file: Result<&SourceFile, &NasSyncError>) {}
}

/// What is sent: entries in the caller's order, and what their optional fields mean.
#[derive(Debug, Clone, Default)]
pub struct SendList {
    /// The entries, in the caller's order. No name may occur twice.
    pub entries: Vec<FileEntry>,
    /// The optional fields of each entry.
    pub fields: ListFields,
    /// Names of the user ids that occur; `None` when ids travel without names.
    pub names: Option<IdNames>,
    /// What went wrong while listing, as bits of [`flist::io_error`].
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

fn sum_content(file: &mut SourceFile, sum: StrongSum, buffer: &mut [u8]) -> Result<Box<[u8]>> {
    let mut hasher = sum.hasher();
    loop {
        match file.read(buffer)? {
            0 => return Ok(hasher.finish().as_bytes().into()),
            len => hasher.update(&buffer[..len]),
        }
    }
}

/// A list whose entries are numbered as on the wire.
#[derive(Debug)]
pub struct NumberedList {
    entries: Vec<FileEntry>,
    /// For each number, the position at which the caller named the entry.
    origins: Vec<u32>,
    fields: ListFields,
    names: Option<IdNames>,
    errors: i32,
}

impl SendList {
    /// Puts the digest of every file into its entry, for `-c`. A file that cannot be read gets none, and is asked for.
    pub fn sum_contents(&mut self, sources: &dyn Sources, sum: StrongSum) {
        self.fields.digest = Some(sum.algorithm.digest_len());
        let mut buffer = vec![0; SUM_READ_LEN];
        for (index, entry) in self.entries.iter_mut().enumerate() {
            if entry.kind == EntryKind::File {
                let summed = sources.open(index, entry).and_then(|mut file| {
                    let digest = sum_content(&mut file, sum, &mut buffer)?;
                    Ok((file, digest))
                });
                sources.summed(index, summed.as_ref().map(|(file, _)| file));
                entry.digest = summed.ok().map(|(_, digest)| digest);
            }
        }
    }

    /// Sorts the list as the session's protocol numbers it.
    pub fn number(self, order: ListOrder) -> Result<NumberedList> {
        let mut origins: Vec<u32> = (0..self.entries.len())
            .map(|origin| {
                u32::try_from(origin)
                    .ok()
                    .filter(|&origin| origin < i32::MAX as u32)
                    .ok_or_else(|| NasSyncError::new(ErrorKind::Usage, "a list holds at most 2^31-2 files"))
            })
            .collect::<Result<_>>()?;
        let key = |origin: &u32| self.entries[*origin as usize].sort_key();
        origins.sort_by(|a, b| order.compare(key(a), key(b)));
        Ok(NumberedList { entries: self.entries, origins, fields: self.fields, names: self.names, errors: self.errors })
    }
}

impl NumberedList {
    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.origins.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.origins.is_empty()
    }

    /// The bytes of all regular files.
    pub fn bytes(&self) -> u64 {
        let files = self.entries.iter().filter(|entry| entry.kind == EntryKind::File);
        files.fold(0, |sum, entry| sum.saturating_add(entry.size))
    }

    /// The entry of a number, and where the caller named it.
    pub fn get(&self, ndx: i32) -> Option<(usize, &FileEntry)> {
        let origin = *self.origins.get(usize::try_from(ndx).ok()?)? as usize;
        Some((origin, &self.entries[origin]))
    }

    /// What went wrong while listing.
    pub fn errors(&self) -> i32 {
        self.errors
    }

    /// Writes the whole list, its id names and its errors.
    pub fn send(&self, negotiated: &Negotiated, port: &mut Port) -> Result<()> {
        let mut coder = ListCoder::new(negotiated.list, self.fields);
        for &origin in &self.origins {
            coder.put(&self.entries[origin as usize], port.out());
            port.settle()?;
        }
        coder.put_end(self.errors, port.out());
        if let Some(names) = &self.names {
            if self.fields.owner {
                idlist::encode(&negotiated.list, &names.users, port.out());
            }
            if self.fields.group {
                idlist::encode(&negotiated.list, &names.groups, port.out());
            }
        }
        match negotiated.list.end {
            flist::EndOfList::ErrorsAfterIds => port.out().extend_from_slice(&self.errors.to_le_bytes()),
            flist::EndOfList::ErrorsByMessage if self.errors != 0 => port.message(&Message::IoError(self.errors))?,
            _ => {}
        }
        Ok(())
    }

    /// Says that a requested file will not come.
    pub fn decline(negotiated: &Negotiated, ndx: i32, port: &mut Port) -> Result<()> {
        match negotiated.unsendable {
            Unsendable::Omitted => Ok(()),
            Unsendable::Message => port.message(&Message::NoSend(ndx)),
        }
    }
}
