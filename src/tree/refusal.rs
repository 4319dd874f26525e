//! Why a file cannot be read, in the words of a person.

use std::path::Path;

use rustix::fs::{FileType, Stat};
use rustix::io::Errno;

use crate::error::{ErrorKind, NasSyncError, Result};

/// Fails with `SourceNotRegular` for anything but a regular file.
pub(super) fn require_regular(stat: &Stat, shown: &Path) -> Result<()> {
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => Ok(()),
        other => Err(not_regular(shown, other)),
    }
}

pub(super) fn not_regular(path: &Path, found: FileType) -> NasSyncError {
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

/// The error of a file that cannot be opened.
pub(super) fn cannot_open(path: &Path, errno: Errno) -> NasSyncError {
    let kind = match errno {
        // A name that is too long or holds a NUL byte (INVAL) cannot exist either.
        Errno::NOENT | Errno::NOTDIR | Errno::NAMETOOLONG | Errno::INVAL => ErrorKind::SourceMissing,
        // Only a swap between looking and opening leads here: to a symlink, or to a socket or dead device.
        Errno::LOOP | Errno::NXIO | Errno::NODEV => ErrorKind::SourceNotRegular,
        errno if is_shortage(errno) => ErrorKind::ResourceShortage,
        _ => ErrorKind::SourceUnreadable,
    };
    NasSyncError::at_path(kind, "Cannot open", path, errno.into())
}

/// The error of a file whose folder cannot be entered without following a symlink.
pub(super) fn cannot_enter(path: &Path, errno: Errno) -> NasSyncError {
    match errno {
        Errno::LOOP | Errno::XDEV => NasSyncError::new(
            ErrorKind::SourceOutside,
            format!("A folder on the way to {} is a symlink, which is not followed", path.display()),
        ),
        errno => cannot_open(path, errno),
    }
}

/// The error of a file that was opened and cannot be read.
pub(super) fn cannot_read(path: &Path, errno: Errno) -> NasSyncError {
    let kind = if is_shortage(errno) { ErrorKind::ResourceShortage } else { ErrorKind::SourceUnreadable };
    NasSyncError::at_path(kind, "Cannot read", path, errno.into())
}

/// Whether the process or the machine has too little of something, which says nothing about the file.
pub(super) fn is_shortage(errno: Errno) -> bool {
    matches!(errno, Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::NOBUFS)
}
