//! File lists in which each file has a name chosen for it, and the folders on the way to those names.

use std::collections::BTreeSet;

use crate::tree::{FileMeta, RemoteName};
use crate::wire::flist::{Content, EntryKind, FileEntry};

/// What a folder gets that has to be made on the way, before the NAS's own mask.
const FOLDER_PERMISSIONS: u16 = 0o755;

/// The files in their order, then every folder on the way to them, once. Receivers refuse a file whose folder is not
/// in the list.
pub(crate) fn entries<'f>(files: impl Iterator<Item = (&'f RemoteName, FileMeta)> + Clone) -> Vec<FileEntry> {
    let folders: BTreeSet<&[u8]> = files.clone().flat_map(|(name, _)| name.parents()).collect();
    let nowhere = FileMeta { size: 0, mtime: 0, mtime_ns: 0, mode: u32::from(FOLDER_PERMISSIONS), uid: 0, gid: 0 };
    let unlisted = EntryKind::Directory(Content::Unlisted);
    files
        .map(|(name, meta)| entry(name.as_bytes(), EntryKind::File, &meta))
        .chain(folders.into_iter().map(|name| entry(name, unlisted, &nowhere)))
        .collect()
}

/// Whether any of these names lies in a folder.
pub(crate) fn has_folders<'f>(mut names: impl Iterator<Item = &'f RemoteName>) -> bool {
    names.any(|name| name.parents().next().is_some())
}

/// One entry of a name and what is known about its file.
pub(crate) fn entry(name: impl Into<Box<[u8]>>, kind: EntryKind, meta: &FileMeta) -> FileEntry {
    FileEntry {
        name: name.into(),
        kind,
        permissions: u16::try_from(meta.mode & 0o7777).unwrap_or_default(),
        size: meta.size,
        mtime: meta.mtime,
        mtime_ns: meta.mtime_ns,
        uid: meta.uid,
        gid: meta.gid,
        target: None,
        digest: None,
    }
}
