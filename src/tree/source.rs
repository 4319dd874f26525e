//! Opening the file that is sent, and knowing whether it stayed the same.
//!
//! Guarantees: what is opened is a regular file and never a symlink; below a [`HeldFolder`] no symlink is followed on the
//! way either, so nothing outside is read; a pipe cannot block and a device is not even opened. A [`Stamp`] is taken
//! before the first byte is read, and [`SourceFile::unchanged`] compares it with what the path and the handle show
//! afterwards.

use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{Advice, AtFlags, CWD, Mode, OFlags, Stat};
use rustix::io::{Errno, retry_on_intr};
use sha2::{Digest as _, Sha256};

use super::attrs::{has_holes, meta_of};
use super::beneath;
use super::folder::HeldFolder;
use super::refusal::{cannot_enter, cannot_open, cannot_read, require_regular};
use super::stamp::Stamp;
use crate::error::{ErrorKind, NasSyncError, Result};
use crate::wire::flist::FileMeta;

/// Files up to this length are read ahead whole by any kernel, without a hint.
const READ_AHEAD: u64 = 128 * 1024;

/// An opened document, read from start to the end that it had when it was opened.
#[derive(Debug)]
pub struct SourceFile {
    file: OwnedFd,
    /// `None` where it does not matter what the path leads to later.
    place: Option<Place>,
    /// How much has been read.
    position: u64,
    /// For messages.
    shown: PathBuf,
    meta: FileMeta,
    stamp: Stamp,
    settled: bool,
    sparse: bool,
    /// Of what has been read, where somebody asked for it.
    sha256: Option<Sha256>,
}

/// Where a file is looked up once more.
#[derive(Debug)]
struct Place {
    /// `None` for the working directory.
    folder: Option<OwnedFd>,
    name: PathBuf,
}

impl Place {
    fn folder(&self) -> BorrowedFd<'_> {
        self.folder.as_ref().map_or(CWD, AsFd::as_fd)
    }
}

impl SourceFile {
    /// Opens a document: below `root` where there is one, else as a plain path.
    pub fn open_document(root: Option<&HeldFolder>, path: &Path) -> Result<Self> {
        match root {
            Some(root) => Self::open_beneath(root, path),
            None => Self::open(path).map_err(|error| match error.kind() {
                ErrorKind::SourceMissing if path.is_relative() => without_root(error),
                _ => error,
            }),
        }
    }

    /// Opens a path. Symlinks on the way are followed, the last component must be a regular file itself.
    ///
    /// Fails with `SourceMissing`, `SourceNotRegular` or `SourceUnreadable`. A file that changed within the last 20 ms
    /// (where its file system keeps whole seconds: 2 s) makes this wait that long, for younger stamps prove nothing.
    pub fn open(path: &Path) -> Result<Self> {
        Self::open_in(None, path.to_owned(), path)
    }

    /// Opens a document below `root`, following no symlink at all.
    ///
    /// Fails like [`SourceFile::open`], and with `SourceOutside` where the path or a symlink leads out of the root.
    pub fn open_beneath(root: &HeldFolder, path: &Path) -> Result<Self> {
        let relative = root.relative(path)?;
        let shown = root.path().join(&relative);
        let (folder, name) = split(relative.as_os_str().as_bytes());
        let folder = beneath::open_folder(root.handle(), folder).map_err(|errno| cannot_enter(&shown, errno))?;
        Self::open_in(Some(folder), PathBuf::from(OsStr::from_bytes(name)), &shown)
    }

    /// Opens a file that a walk has seen under this name in this folder; a symlink is refused. What the path leads to
    /// later does not matter.
    pub(super) fn open_seen(folder: BorrowedFd<'_>, name: &[u8], shown: PathBuf) -> Result<Self> {
        let file = open_to_read(folder, Path::new(OsStr::from_bytes(name))).map_err(|e| cannot_open(&shown, e))?;
        Self::opened(file, None, shown)
    }

    fn open_in(folder: Option<OwnedFd>, name: PathBuf, shown: &Path) -> Result<Self> {
        let place = Place { folder, name };
        let look = rustix::fs::statat(place.folder(), &place.name, AtFlags::SYMLINK_NOFOLLOW);
        // Looking first keeps devices closed: opening one can rewind a tape or start a watchdog.
        require_regular(&look.map_err(|errno| cannot_open(shown, errno))?, shown)?;
        // What was looked at may have been replaced since, so what is opened must pass the same test again.
        let file = open_to_read(place.folder(), &place.name).map_err(|errno| cannot_open(shown, errno))?;
        Self::opened(file, Some(place), shown.to_owned())
    }

    /// Opens a path with all symlinks followed, for a push that copies what links point to.
    pub(super) fn open_following(path: &Path) -> Result<Self> {
        let real = std::fs::canonicalize(path).map_err(|error| match Errno::from_io_error(&error) {
            Some(errno) => cannot_open(path, errno),
            None => NasSyncError::at_path(ErrorKind::SourceUnreadable, "Cannot open", path, error),
        })?;
        Self::open_in(None, real, path)
    }

    fn opened(file: OwnedFd, place: Option<Place>, shown: PathBuf) -> Result<Self> {
        let look = || rustix::fs::fstat(&file).map_err(|errno| cannot_open(&shown, errno));
        let mut stat = look()?;
        require_regular(&stat, &shown)?;
        let mut settled = true;
        if let Some(wait) = Stamp::of(&stat).has_to_wait() {
            std::thread::sleep(wait);
            stat = look()?;
            settled = Stamp::of(&stat).has_to_wait().is_none();
        }
        if Stamp::of(&stat).size > READ_AHEAD {
            // Only a hint; a file system without read-ahead loses nothing.
            let _ = rustix::fs::fadvise(&file, 0, None, Advice::Sequential);
        }
        let (meta, stamp, sparse) = (meta_of(&stat), Stamp::of(&stat), has_holes(&stat));
        Ok(Self { file, place, position: 0, shown, meta, stamp, settled, sparse, sha256: None })
    }

    /// Size, times, mode and owner when it was opened.
    pub fn meta(&self) -> &FileMeta {
        &self.meta
    }

    /// The stamp taken when it was opened.
    pub fn stamp(&self) -> &Stamp {
        &self.stamp
    }

    /// Whether it takes clearly less room on its disk than its length.
    pub fn is_sparse(&self) -> bool {
        self.sparse
    }

    /// The path, for messages.
    pub fn path(&self) -> &Path {
        &self.shown
    }

    /// Keeps the SHA-256 of all that is read from now on.
    #[must_use]
    pub fn hashed(self) -> Self {
        Self { sha256: Some(Sha256::new()), ..self }
    }

    /// The SHA-256 of what has been read so far; `None` unless [`SourceFile::hashed`] asked for it.
    pub fn sha256(&self) -> Option<[u8; 32]> {
        self.sha256.clone().map(|hasher| hasher.finalize().into())
    }

    /// Reads on from where the last read ended; 0 at the end of the file, or for an empty buffer. What it has grown by
    /// since it was opened is no longer read, unless it was empty then, as those that the kernel makes up are. Fails with
    /// `SourceUnreadable`.
    pub fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        if self.position > 0 && self.position == self.stamp.size {
            return Ok(0);
        }
        let len = retry_on_intr(|| rustix::io::read(&self.file, &mut *buffer))
            .map_err(|errno| cannot_read(&self.shown, errno))?;
        self.position += len as u64;
        if let Some(sha256) = &mut self.sha256 {
            sha256.update(&buffer[..len]);
        }
        Ok(len)
    }

    /// Whether the file is still what it was when it was opened, and, unless a walk has found it, still what its path leads
    /// to. `false` also when that cannot be known, so that the document is sent again rather than wrongly recorded.
    pub fn unchanged(&self) -> bool {
        let same = |stat: Result<Stat, Errno>| stat.is_ok_and(|stat| Stamp::of(&stat) == self.stamp);
        let leads_here =
            |place: &Place| same(rustix::fs::statat(place.folder(), &place.name, AtFlags::SYMLINK_NOFOLLOW));
        self.settled && same(rustix::fs::fstat(&self.file)) && self.place.as_ref().is_none_or(leads_here)
    }
}

/// A clean relative name taken apart: the folder, empty for none, and the name in it.
pub(super) fn split(relative: &[u8]) -> (&[u8], &[u8]) {
    match relative.iter().rposition(|&byte| byte == b'/') {
        Some(slash) => (&relative[..slash], &relative[slash + 1..]),
        None => (b"", relative),
    }
}

/// Opens without following a symlink, and without waiting for a writer when it is a pipe.
fn open_to_read(folder: BorrowedFd<'_>, name: &Path) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    retry_on_intr(|| rustix::fs::openat(folder, name, flags, Mode::empty()))
}

/// A relative path that leads nowhere: what it was taken from is what is wrong with it most often.
fn without_root(error: NasSyncError) -> NasSyncError {
    let here = std::env::current_dir().unwrap_or_default();
    error.with_solution(format!(
        "UPLOAD_DIR is not set: relative paths are taken from {}, in which this process runs. Set UPLOAD_DIR to the folder of the documents, or put the file there.",
        here.display()
    ))
}

#[cfg(test)]
mod tests;
