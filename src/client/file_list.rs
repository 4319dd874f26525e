//! File lists in which each file has a name chosen for it, and the folders on the way to those names.

use std::collections::BTreeSet;

use crate::error::{ErrorKind, NasSyncError, Result};
use crate::tree::RemoteName;
use crate::wire::flist::{Content, Entries, EntryKind, FileEntry, FileMeta};
use crate::wire::server_args::PushOptions;

/// What a folder gets that has to be made on the way, before the NAS's own mask.
const FOLDER_PERMISSIONS: u16 = 0o755;

/// The files, tagged with their positions, and every folder on the way to them, once and without a tag: receivers refuse a
/// file whose folder is not in the list. What the folders are to the receiver depends on the options.
pub(crate) fn entries<'f>(
    files: impl Iterator<Item = (&'f RemoteName, FileMeta)> + Clone,
    options: &PushOptions,
) -> Entries {
    let folders: BTreeSet<&[u8]> = files.clone().flat_map(|(name, _)| name.parents()).collect();
    let content = if options.no_implied_dirs { Content::Implied } else { Content::Unlisted };
    let folder = FileMeta { permissions: FOLDER_PERMISSIONS, ..FileMeta::default() };
    let file = |(tag, (name, meta)): (u32, (&'f RemoteName, FileMeta))| FileEntry {
        tag: Some(tag),
        ..FileEntry::new(name.as_bytes(), EntryKind::File, meta)
    };
    let on_the_way = |name| FileEntry::new(name, EntryKind::Directory(content), folder);
    (0..).zip(files).map(file).chain(folders.into_iter().map(on_the_way)).collect()
}

/// What belongs to an entry among things in the order of its list's files.
pub(crate) fn tagged<'t, T>(things: &'t [T], entry: &FileEntry<'_>) -> Result<&'t T> {
    let thing = entry.tag.and_then(|tag| things.get(tag as usize));
    thing.ok_or_else(|| NasSyncError::new(ErrorKind::Internal, "an entry is no file of the caller's"))
}

/// Whether any of these names lies in a folder.
pub(crate) fn has_folders<'f>(mut names: impl Iterator<Item = &'f RemoteName>) -> bool {
    names.any(|name| name.parents().next().is_some())
}
