//! A folder that is held open, and looking around below it: without following a symlink anywhere, nothing outside is seen.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags};
use rustix::io::{Errno, retry_on_intr};

use super::beneath;
use super::refusal::{cannot_open, is_shortage, not_regular};
use super::stamp::Stamp;
use super::walk::read_rules;
use crate::error::{ErrorKind, NasSyncError, Result};
use crate::filter::{FilterError, Scope};

/// What an empty folder holds, too: itself, its parent, what keeps it in a repository or an image, what a new file system
/// comes with.
#[cfg(feature = "service")]
const PLACEHOLDERS: [&[u8]; 6] = [b".", b"..", b".gitkeep", b".gitignore", b".keep", b"lost+found"];

/// A folder held open: renaming it or changing a symlink that leads to it changes nothing for what is opened through this
/// handle.
#[derive(Debug)]
pub struct HeldFolder {
    handle: OwnedFd,
    /// As it was named, made absolute.
    given: PathBuf,
    /// With its own symlinks resolved.
    real: PathBuf,
}

impl HeldFolder {
    /// Opens the folder. Its own path may lead through symlinks.
    pub fn open(path: &Path) -> io::Result<Self> {
        let real = std::fs::canonicalize(path)?;
        let given = std::path::absolute(path)?;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let handle = rustix::fs::open(&real, flags, Mode::empty())?;
        Ok(Self { handle, given, real })
    }

    /// Why no file can be found here, where that is the folder's own fault and not theirs: it holds nothing, which is
    /// what a mount point without its disk looks like, or it cannot be read. Fails with `UploadsUnavailable`, or with
    /// `ResourceShortage` when that cannot be known.
    #[cfg(feature = "service")]
    pub fn check(&self) -> Result<()> {
        let unavailable = |what: String| {
            let text = format!("{what}: {}", self.real.display());
            NasSyncError::new(ErrorKind::UploadsUnavailable, text)
        };
        let entries = match beneath::open_listing(self.handle(), b"").and_then(Dir::new) {
            Ok(entries) => entries,
            // It may be entered and not listed: documents are found all the same.
            Err(Errno::ACCESS) => return Ok(()),
            Err(errno) if is_shortage(errno) => return Err(cannot_open(&self.real, errno)),
            Err(errno) => return Err(unavailable(format!("the upload folder cannot be read ({errno})"))),
        };
        for entry in entries {
            match entry {
                Ok(entry) if PLACEHOLDERS.contains(&entry.file_name().to_bytes()) => {}
                Ok(_) => return Ok(()),
                Err(errno) => return Err(unavailable(format!("the upload folder cannot be read ({errno})"))),
            }
        }
        Err(unavailable("the upload folder is empty".to_owned()))
    }

    /// The handle.
    pub(super) fn handle(&self) -> BorrowedFd<'_> {
        self.handle.as_fd()
    }

    /// The folder's path with its own symlinks resolved.
    pub fn path(&self) -> &Path {
        &self.real
    }

    /// The path of a file relative to this folder: normal components only, at least one.
    ///
    /// A relative path is below the folder; an absolute one must start with the folder's path, as it was named or with
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

    /// What is under a path below this folder: normal components only, none for the folder itself.
    pub fn look(&self, relative: &Path) -> io::Result<Found> {
        let (Some(folder), Some(name)) = (relative.parent(), relative.file_name()) else { return Ok(Found::Folder) };
        let folder = beneath::open_folder(self.handle(), folder.as_os_str().as_bytes())?;
        Ok(find(folder.as_fd(), name)?)
    }

    /// The filter rules in force in a folder below this one, out of those in force above that.
    pub fn enter(&self, scope: &Scope, relative: &Path) -> Result<Scope, FilterError> {
        let folder = relative.as_os_str().as_bytes();
        let path = self.real.join(relative);
        let absolute = path.as_os_str().as_bytes();
        scope.enter(absolute.strip_prefix(b"/").unwrap_or(absolute), &mut |name| {
            let folder = beneath::open_folder(self.handle(), folder)?;
            read_rules(folder.as_fd(), name)
        })
    }

    /// Shows each entry of a folder below this one, in no order. What vanishes meanwhile is left out.
    pub fn list(&self, relative: &Path, mut each: impl FnMut(&OsStr, Found)) -> io::Result<()> {
        let folder = beneath::open_listing(self.handle(), relative.as_os_str().as_bytes())?;
        for entry in Dir::read_from(&folder)? {
            let entry = entry?;
            let name = OsStr::from_bytes(entry.file_name().to_bytes());
            if name == "." || name == ".." {
                continue;
            }
            match find(folder.as_fd(), name) {
                Ok(found) => each(name, found),
                Err(Errno::NOENT) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(())
    }
}

/// What is found under a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// A regular file, and how it can be told from a changed one.
    File(Stamp),
    /// A folder.
    Folder,
    /// A symlink, a device, a pipe, a socket.
    Other,
}

/// What is under a path: below `root` where there is one, without following a symlink, else as a plain path whose last
/// component is not followed. Fails like [`SourceFile::open_document`](super::SourceFile::open_document).
pub fn look(root: Option<&HeldFolder>, path: &Path) -> Result<Found> {
    let found = match root {
        Some(root) => root.look(&root.relative(path)?),
        None => find(CWD, path.as_os_str()).map_err(io::Error::from),
    };
    found.map_err(|error| cannot_open(path, Errno::from_io_error(&error).unwrap_or(Errno::IO)))
}

/// Whether an error says that the process or the machine has too little of something.
pub fn says_shortage(error: &io::Error) -> bool {
    Errno::from_io_error(error).is_some_and(is_shortage)
}

fn find(folder: BorrowedFd<'_>, name: &OsStr) -> Result<Found, Errno> {
    let stat = retry_on_intr(|| rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW))?;
    Ok(match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => Found::File(Stamp::of(&stat)),
        FileType::Directory => Found::Folder,
        _ => Found::Other,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    #[test]
    fn files_and_folders_are_seen_and_nothing_behind_a_symlink() {
        let outside = tempfile::tempdir().unwrap();
        fs::write(outside.path().join("secret"), "x").unwrap();
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("a/b")).unwrap();
        fs::write(dir.path().join("a/file"), "12345").unwrap();
        symlink(outside.path(), dir.path().join("a/out")).unwrap();
        symlink("file", dir.path().join("a/link")).unwrap();
        let root = HeldFolder::open(dir.path()).unwrap();

        let mut seen = Vec::new();
        root.list(Path::new("a"), |name, found| seen.push((name.to_str().unwrap().to_owned(), found))).unwrap();
        seen.sort_by(|one, other| one.0.cmp(&other.0));
        let kinds: Vec<_> = seen.iter().map(|(name, found)| (name.as_str(), matches!(found, Found::File(_)))).collect();
        assert_eq!(kinds, [("b", false), ("file", true), ("link", false), ("out", false)]);
        assert!(matches!(seen[1].1, Found::File(stamp) if stamp.size == 5));

        for (path, found) in
            [("", Found::Folder), ("a", Found::Folder), ("a/out", Found::Other), ("a/link", Found::Other)]
        {
            assert_eq!(root.look(Path::new(path)).unwrap(), found, "{path}");
        }
        assert!(matches!(root.look(Path::new("a/file")).unwrap(), Found::File(_)));
        for path in ["a/out/secret", "a/file/x", "missing"] {
            root.look(Path::new(path)).unwrap_err();
        }
        root.list(Path::new("a/out"), |_, _| panic!("it looked behind a symlink")).unwrap_err();
    }
}
