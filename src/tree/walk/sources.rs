//! The files that a walk has found: opened one by one, and removed where that is asked for.

use std::ffi::OsStr;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use rustix::fs::AtFlags;
use rustix::io::Errno;

use super::open_base;
use crate::blocking;
use crate::error::{ErrorKind, NasSyncError, Result};
use crate::tree::attrs::meta_of;
use crate::tree::beneath;
use crate::tree::path::local_path;
use crate::tree::refusal::{cannot_enter, cannot_open};
use crate::tree::source::{SourceFile, split};
use crate::wire::flist::{EntryKind, FileEntry};

/// The folders that the names are relative to. It stays when the entries have been moved elsewhere.
#[derive(Debug)]
pub struct Sources {
    bases: Vec<PathBuf>,
    /// Whether a way may lead through symlinks.
    follows: bool,
    /// The folder in which a file was opened last: the next one mostly lies there, too.
    last: Mutex<Option<Opened>>,
}

/// A folder that is held open.
#[derive(Debug)]
struct Opened {
    base: PathBuf,
    folder: Box<[u8]>,
    handle: OwnedFd,
}

impl Sources {
    pub(super) fn new(bases: Vec<PathBuf>, follows: bool) -> Self {
        Self { bases, follows, last: Mutex::new(None) }
    }

    /// The local path of an entry of the same listing, for opening by others and for messages.
    pub fn local_path(&self, entry: &FileEntry<'_>) -> PathBuf {
        local_path(self.base(entry), entry.name)
    }

    fn base(&self, entry: &FileEntry<'_>) -> &Path {
        let base = entry.tag.and_then(|base| self.bases.get(base as usize));
        base.map_or(Path::new("."), PathBuf::as_path)
    }

    /// Opens an entry of the same listing that is a file. Unless links are followed, a symlink that has appeared since
    /// the walk is refused, at the end of the name (`SourceNotRegular`) and on the way (`SourceOutside`); a folder that is
    /// replaced while its files are sent goes on to be read.
    /// Else fails like [`SourceFile::open`].
    pub fn open(&self, entry: &FileEntry<'_>) -> Result<SourceFile> {
        let path = self.local_path(entry);
        if self.follows {
            return SourceFile::open_following(&path);
        }
        let (folder, name) = split(entry.name);
        let base = self.base(entry);
        let mut last = blocking::lock(&self.last);
        let opened = match last.take() {
            Some(opened) if opened.base == base && *opened.folder == *folder => opened,
            _ => {
                let root = open_base(base).map_err(|errno| cannot_open(&path, errno))?;
                let handle = beneath::open_folder(root.as_fd(), folder).map_err(|errno| cannot_enter(&path, errno))?;
                Opened { base: base.to_owned(), folder: folder.into(), handle }
            }
        };
        SourceFile::open_seen(last.insert(opened).handle.as_fd(), name, path)
    }
    /// Removes an entry of the same listing, a file or a symlink, if size and time are still those of the list; no symlink
    /// that has appeared on the way since is followed. Fails with `SourceChanged`, or as it cannot be removed; one that is
    /// gone already is no failure.
    pub fn remove(&self, entry: &FileEntry<'_>) -> Result<()> {
        let path = self.local_path(entry);
        let failed =
            |errno: Errno| NasSyncError::at_path(ErrorKind::SourceUnreadable, "Cannot remove", &path, errno.into());
        let (folder, name) = split(entry.name);
        let name = OsStr::from_bytes(name);
        let flags = if self.follows { AtFlags::empty() } else { AtFlags::SYMLINK_NOFOLLOW };
        let look = || {
            let root = open_base(self.base(entry))?;
            let folder = if self.follows {
                beneath::open_listing_following(root.as_fd(), folder)?
            } else {
                beneath::open_folder(root.as_fd(), folder)?
            };
            let stat = rustix::fs::statat(&folder, name, flags)?;
            Ok((folder, stat))
        };
        let (folder, stat) = match look() {
            Ok(seen) => seen,
            Err(Errno::NOENT) => return Ok(()),
            Err(errno) => return Err(failed(errno)),
        };
        let meta = meta_of(&stat);
        let same_size = meta.size == entry.meta.size || matches!(entry.kind, EntryKind::Symlink(_));
        if !same_size || meta.mtime != entry.meta.mtime {
            let message = format!("{} has changed since it was listed, and is not removed", path.display());
            return Err(NasSyncError::new(ErrorKind::SourceChanged, message));
        }
        match rustix::fs::unlinkat(&folder, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(failed(errno)),
        }
    }
}
