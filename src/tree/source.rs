//! Opening the file that is sent, and knowing whether it stayed the same.
//!
//! Guarantees: what is opened is a regular file and never a symlink; below a [`Root`] no symlink is followed on the
//! way either, so nothing outside is read; a pipe cannot block and a device is not even opened. A [`Stamp`] is taken
//! before the first byte is read, and [`SourceFile::unchanged`] compares it with what the path and the handle show
//! afterwards.

use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::fs::{Advice, AtFlags, CWD, FileType, Mode, OFlags, Stat};
use rustix::io::{Errno, retry_on_intr};
use sha2::{Digest as _, Sha256};

use super::attrs::{meta_of, mtime_of, nanoseconds, size_of};
use super::beneath;
use crate::error::{ErrorKind, NasSyncError, Result};
use crate::wire::flist::{FileMeta, Mtime};

/// The folder that documents must lie below (`UPLOAD_DIR`), held open: renaming it or changing a symlink that leads
/// to it changes nothing for documents opened through this handle.
#[derive(Debug)]
pub struct Root {
    folder: OwnedFd,
    /// As configured, made absolute.
    given: PathBuf,
    /// With its own symlinks resolved.
    real: PathBuf,
}

impl Root {
    /// Opens the folder. Its own path may lead through symlinks. Fails with `Usage`: the setting is wrong.
    pub fn open(path: &Path) -> Result<Self> {
        let fail = |error: std::io::Error| {
            NasSyncError::at_path(ErrorKind::Usage, "Cannot open the upload folder", path, error)
                .with_solution("Create that folder, let this user enter it, or correct UPLOAD_DIR.")
        };
        let real = std::fs::canonicalize(path).map_err(fail)?;
        let given = std::path::absolute(path).map_err(fail)?;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = rustix::fs::open(&real, flags, Mode::empty()).map_err(|errno| fail(errno.into()))?;
        Ok(Self { folder, given, real })
    }

    /// The handle.
    pub(super) fn folder(&self) -> BorrowedFd<'_> {
        self.folder.as_fd()
    }

    /// The folder's path with its own symlinks resolved.
    pub fn path(&self) -> &Path {
        &self.real
    }

    /// The path of a document relative to this folder: normal components only, at least one.
    ///
    /// A relative path is below the folder; an absolute one must start with the folder's path, as configured or with
    /// symlinks resolved. `..` is resolved by text, which is exact because symlinks are refused when the file is
    /// opened. Fails with `SourceOutside`, or `SourceNotRegular` for the folder itself.
    pub fn relative(&self, path: &Path) -> Result<PathBuf> {
        let outside = || {
            let text = format!("{} lies outside {}", path.display(), self.real.display());
            NasSyncError::new(ErrorKind::SourceOutside, text)
        };
        let below = if path.is_absolute() {
            path.strip_prefix(&self.given).or_else(|_| path.strip_prefix(&self.real)).map_err(|_| outside())?
        } else {
            path
        };
        let mut relative = PathBuf::new();
        for component in below.components() {
            match component {
                Component::Normal(part) => relative.push(part),
                Component::CurDir => {}
                // Popping nothing means leaving the folder.
                Component::ParentDir if relative.pop() => {}
                Component::ParentDir | Component::RootDir | Component::Prefix(_) => return Err(outside()),
            }
        }
        if relative.as_os_str().is_empty() {
            return Err(not_regular(path, FileType::Directory));
        }
        Ok(relative)
    }
}

/// What makes a file's content the same as before: any write, truncation or replacement changes one of these.
///
/// Not seen: stores through a shared memory mapping into a page that was already dirty, which the kernel does not
/// stamp.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// Device number.
    pub dev: u64,
    /// Inode number.
    pub ino: u64,
    /// Length in bytes.
    pub size: u64,
    /// Last change of content.
    pub mtime: Mtime,
    /// Last change of content or attributes; unlike `mtime` it cannot be set back.
    pub ctime: Mtime,
}

impl Stamp {
    pub(super) fn of(stat: &Stat) -> Self {
        Self {
            dev: stat.st_dev,
            ino: stat.st_ino,
            size: size_of(stat),
            mtime: mtime_of(stat),
            ctime: Mtime { seconds: stat.st_ctime, nanoseconds: nanoseconds(stat.st_ctime_nsec) },
        }
    }

    /// How long ago `ctime` was; `None` when it lies ahead of the clock.
    fn age(&self) -> Option<Duration> {
        let changed = Duration::new(u64::try_from(self.ctime.seconds).ok()?, self.ctime.nanoseconds);
        SystemTime::now().duration_since(UNIX_EPOCH).ok()?.checked_sub(changed)
    }
}

/// Kernels stamp with the time of the last timer tick, 10 ms apart at worst: two changes within one tick look alike.
/// Files up to this length are read ahead whole by any kernel, without a hint.
const READ_AHEAD: u64 = 128 * 1024;
/// A stamp proves something only when the last change is older than that.
const TICK: Duration = Duration::from_millis(20);

/// An opened document, read from start to end.
#[derive(Debug)]
pub struct SourceFile {
    file: OwnedFd,
    /// Where `name` is looked up; `None` for the working directory.
    folder: Option<OwnedFd>,
    name: PathBuf,
    /// For messages.
    shown: PathBuf,
    meta: FileMeta,
    stamp: Stamp,
    settled: bool,
    /// Of what has been read, where somebody asked for it.
    sha256: Option<Sha256>,
}

impl SourceFile {
    /// Opens a document: below `root` where there is one, else as a plain path.
    pub fn open_document(root: Option<&Root>, path: &Path) -> Result<Self> {
        match root {
            Some(root) => Self::open_beneath(root, path),
            None => Self::open(path),
        }
    }

    /// Opens a path. Symlinks on the way are followed, the last component must be a regular file itself.
    ///
    /// Fails with `SourceMissing`, `SourceNotRegular` or `SourceUnreadable`. A file that changed within the last 20 ms
    /// makes this wait that long, for younger stamps prove nothing.
    pub fn open(path: &Path) -> Result<Self> {
        Self::open_in(None, path.to_owned(), path)
    }

    /// Opens a document below `root`, following no symlink at all.
    ///
    /// Fails like [`SourceFile::open`], and with `SourceOutside` where the path or a symlink leads out of the root.
    pub fn open_beneath(root: &Root, path: &Path) -> Result<Self> {
        let relative = root.relative(path)?;
        Self::open_below(root.folder.as_fd(), relative.as_os_str().as_bytes(), &root.real.join(&relative))
    }

    /// Opens a clean relative name below a held folder, following no symlink.
    pub(super) fn open_below(root: BorrowedFd<'_>, relative: &[u8], shown: &Path) -> Result<Self> {
        let (folder, name) = match relative.iter().rposition(|&byte| byte == b'/') {
            Some(slash) => (&relative[..slash], &relative[slash + 1..]),
            None => (&b""[..], relative),
        };
        let folder = beneath::open_folder(root, folder).map_err(|errno| match errno {
            Errno::LOOP | Errno::XDEV => NasSyncError::new(
                ErrorKind::SourceOutside,
                format!("A folder on the way to {} is a symlink, which is not followed", shown.display()),
            ),
            errno => cannot_open(shown, errno),
        })?;
        Self::open_in(Some(folder), PathBuf::from(OsStr::from_bytes(name)), shown)
    }

    fn open_in(folder: Option<OwnedFd>, name: PathBuf, shown: &Path) -> Result<Self> {
        let at = folder.as_ref().map_or(CWD, AsFd::as_fd);
        // Looking first keeps devices closed: opening one can rewind a tape or start a watchdog.
        let before = rustix::fs::statat(at, &name, AtFlags::SYMLINK_NOFOLLOW).map_err(|e| cannot_open(shown, e))?;
        require_regular(&before, shown)?;
        // What was looked at may have been replaced since, so what is opened must pass the same test again.
        let file = open_to_read(at, &name).map_err(|errno| cannot_open(shown, errno))?;
        Self::opened(file, folder, name, shown)
    }

    /// Opens a path with all symlinks followed, for a push that copies what links point to.
    pub(super) fn open_following(path: &Path) -> Result<Self> {
        let real = std::fs::canonicalize(path).map_err(|error| match Errno::from_io_error(&error) {
            Some(errno) => cannot_open(path, errno),
            None => NasSyncError::at_path(ErrorKind::SourceUnreadable, "Cannot open", path, error),
        })?;
        Self::open_in(None, real, path)
    }

    fn opened(file: OwnedFd, folder: Option<OwnedFd>, name: PathBuf, shown: &Path) -> Result<Self> {
        let look = || rustix::fs::fstat(&file).map_err(|errno| cannot_open(shown, errno));
        let mut stat = look()?;
        require_regular(&stat, shown)?;
        let mut settled = true;
        if let Some(wait) = Stamp::of(&stat).age().and_then(|age| TICK.checked_sub(age)) {
            std::thread::sleep(wait);
            stat = look()?;
            settled = Stamp::of(&stat).age().is_none_or(|age| age >= TICK);
        }
        if Stamp::of(&stat).size > READ_AHEAD {
            // Only a hint; a file system without read-ahead loses nothing.
            let _ = rustix::fs::fadvise(&file, 0, None, Advice::Sequential);
        }
        let (meta, stamp) = (meta_of(&stat), Stamp::of(&stat));
        Ok(Self { file, folder, name, shown: shown.to_owned(), meta, stamp, settled, sha256: None })
    }

    /// Size, times, mode and owner when it was opened.
    pub fn meta(&self) -> &FileMeta {
        &self.meta
    }

    /// The stamp taken when it was opened.
    pub fn stamp(&self) -> &Stamp {
        &self.stamp
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

    /// Reads on from where the last read ended; 0 at the end of the file, or for an empty buffer.
    /// Fails with `SourceUnreadable`.
    pub fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let len = retry_on_intr(|| rustix::io::read(&self.file, &mut *buffer)).map_err(|errno| {
            NasSyncError::at_path(ErrorKind::SourceUnreadable, "Cannot read", &self.shown, errno.into())
        })?;
        if let Some(sha256) = &mut self.sha256 {
            sha256.update(&buffer[..len]);
        }
        Ok(len)
    }

    /// Whether the file is still what it was when it was opened, and still what its path leads to. `false` also when
    /// that cannot be known, so that the document is sent again rather than wrongly recorded.
    pub fn unchanged(&self) -> bool {
        let at = self.folder.as_ref().map_or(CWD, AsFd::as_fd);
        let same = |stat: Result<Stat, Errno>| stat.is_ok_and(|stat| Stamp::of(&stat) == self.stamp);
        self.settled
            && same(rustix::fs::fstat(&self.file))
            && same(rustix::fs::statat(at, &self.name, AtFlags::SYMLINK_NOFOLLOW))
    }
}

/// Opens without following a symlink, and without waiting for a writer when it is a pipe.
fn open_to_read(folder: BorrowedFd<'_>, name: &Path) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    retry_on_intr(|| rustix::fs::openat(folder, name, flags, Mode::empty()))
}

fn require_regular(stat: &Stat, shown: &Path) -> Result<()> {
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => Ok(()),
        other => Err(not_regular(shown, other)),
    }
}

fn not_regular(path: &Path, found: FileType) -> NasSyncError {
    let what = match found {
        FileType::Directory => "a folder",
        FileType::Symlink => "a symlink",
        FileType::Fifo => "a pipe",
        FileType::Socket => "a socket",
        FileType::CharacterDevice | FileType::BlockDevice => "a device",
        _ => "of an unknown type",
    };
    NasSyncError::new(ErrorKind::SourceNotRegular, format!("{} is {what}, not a regular file", path.display()))
}

pub(super) fn cannot_open(path: &Path, errno: Errno) -> NasSyncError {
    let kind = match errno {
        // A name that is too long or holds a NUL byte (INVAL) cannot exist either.
        Errno::NOENT | Errno::NOTDIR | Errno::NAMETOOLONG | Errno::INVAL => ErrorKind::SourceMissing,
        // Only a swap between looking and opening leads here: to a symlink, or to a socket or dead device.
        Errno::LOOP | Errno::NXIO | Errno::NODEV => ErrorKind::SourceNotRegular,
        _ => ErrorKind::SourceUnreadable,
    };
    NasSyncError::at_path(kind, "Cannot open", path, errno.into())
}

#[cfg(test)]
mod tests;
