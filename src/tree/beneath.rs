//! Opening a folder below a held handle, without following a symlink on the way.
//!
//! Guarantees: the folder that is returned was reached from the handle through real folders only. The kernel does it
//! in one call where it can (`openat2`, Linux 5.6); a kernel or sandbox without that call gets a walk, one component
//! at a time, with the same result.

use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::{Errno, retry_on_intr};

/// A handle to stand on: it needs no read permission on the folder.
const FOLDER: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// A handle to read from.
const LISTING: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NONBLOCK).union(OFlags::CLOEXEC);

/// Opens the folder `relative` (components that are neither empty nor `.` nor `..`; empty for the root itself) as a
/// handle to stand on. A symlink on the way or at the end gives `LOOP`, a file `NOTDIR`.
pub(super) fn open_folder(root: BorrowedFd<'_>, relative: &[u8]) -> Result<OwnedFd, Errno> {
    match open_at_once(root, relative, FOLDER) {
        // Kernels before 5.6 do not know the call; sandboxes of old container engines forbid what they do not know.
        Err(Errno::NOSYS | Errno::PERM) => open_step_by_step(root, relative),
        result => result,
    }
}

/// The same the ordinary way, symlinks followed.
pub(super) fn open_folder_following(root: BorrowedFd<'_>, relative: &[u8]) -> Result<OwnedFd, Errno> {
    retry_on_intr(|| rustix::fs::openat(root, or_dot(relative), FOLDER, Mode::empty()))
}

/// The same as the first, readable, for listing what is in it.
pub(super) fn open_listing(root: BorrowedFd<'_>, relative: &[u8]) -> Result<OwnedFd, Errno> {
    match open_at_once(root, relative, LISTING) {
        Err(Errno::NOSYS | Errno::PERM) => open_listing_following(open_step_by_step(root, relative)?.as_fd(), b""),
        result => result,
    }
}

/// Opens a folder for listing the ordinary way, symlinks followed.
pub(super) fn open_listing_following(root: BorrowedFd<'_>, relative: &[u8]) -> Result<OwnedFd, Errno> {
    retry_on_intr(|| rustix::fs::openat(root, or_dot(relative), LISTING, Mode::empty()))
}

fn or_dot(relative: &[u8]) -> &OsStr {
    OsStr::from_bytes(if relative.is_empty() { b"." } else { relative })
}

fn open_at_once(root: BorrowedFd<'_>, relative: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    retry_on_intr(|| rustix::fs::openat2(root, or_dot(relative), flags, Mode::empty(), resolve))
}

fn open_step_by_step(root: BorrowedFd<'_>, relative: &[u8]) -> Result<OwnedFd, Errno> {
    let mut folder = retry_on_intr(|| rustix::fs::openat(root, c".", FOLDER, Mode::empty()))?;
    for component in relative.split(|&byte| byte == b'/').filter(|part| !part.is_empty()) {
        // `..` would leave the folder that the handle proves.
        if component == b".." {
            return Err(Errno::XDEV);
        }
        folder = step(folder.as_fd(), component)?;
    }
    Ok(folder)
}

fn step(folder: BorrowedFd<'_>, component: &[u8]) -> Result<OwnedFd, Errno> {
    let component = OsStr::from_bytes(component);
    match retry_on_intr(|| rustix::fs::openat(folder, component, FOLDER | OFlags::NOFOLLOW, Mode::empty())) {
        // With O_DIRECTORY a symlink that is not followed is "not a directory"; `openat2` says what it is.
        Err(Errno::NOTDIR) if is_symlink(folder, component) => Err(Errno::LOOP),
        result => result,
    }
}

/// Whether `name` in `folder` is a symlink, for telling errors apart.
pub(super) fn is_symlink(folder: BorrowedFd<'_>, name: &OsStr) -> bool {
    rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW)
        .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Symlink)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    /// Both ways of opening, so that the one this kernel does not need is tested as well.
    fn both(root: &OwnedFd, relative: &[u8]) -> Result<OwnedFd, Errno> {
        let at_once = open_at_once(root.as_fd(), relative, FOLDER);
        let stepped = open_step_by_step(root.as_fd(), relative);
        match (&at_once, &stepped) {
            // Where this machine's sandbox forbids the call there is nothing to compare.
            (Err(Errno::NOSYS | Errno::PERM), _) => return stepped,
            (Ok(one), Ok(other)) => {
                let (one, other) = (rustix::fs::fstat(one).unwrap(), rustix::fs::fstat(other).unwrap());
                assert_eq!((one.st_dev, one.st_ino), (other.st_dev, other.st_ino));
            }
            (one, other) => assert_eq!(one.as_ref().err(), other.as_ref().err(), "{}", relative.escape_ascii()),
        }
        at_once
    }

    #[test]
    fn both_ways_agree_and_neither_follows_a_symlink() {
        let dir = tempfile::tempdir().unwrap();
        let outside = tempfile::tempdir().unwrap();
        fs::create_dir_all(outside.path().join("sub")).unwrap();
        fs::create_dir_all(dir.path().join("a/b")).unwrap();
        fs::write(dir.path().join("a/file"), b"").unwrap();
        symlink(outside.path(), dir.path().join("a/out")).unwrap();
        symlink("b", dir.path().join("a/inside")).unwrap();
        symlink("nowhere", dir.path().join("a/dangling")).unwrap();
        let root = OwnedFd::from(fs::File::open(dir.path()).unwrap());

        for good in ["", "a", "a/b"] {
            assert!(both(&root, good.as_bytes()).is_ok(), "{good}");
        }
        for (bad, errno) in [
            ("a/out", Errno::LOOP),
            ("a/out/sub", Errno::LOOP),
            ("a/inside", Errno::LOOP),
            ("a/dangling", Errno::LOOP),
            ("a/file", Errno::NOTDIR),
            ("a/file/x", Errno::NOTDIR),
            ("a/missing/x", Errno::NOENT),
            ("..", Errno::XDEV),
        ] {
            assert_eq!(both(&root, bad.as_bytes()).unwrap_err(), errno, "{bad}");
        }
    }
}
