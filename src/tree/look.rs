//! Looking around below a held folder: what is there, without following a symlink anywhere.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use rustix::fs::{AtFlags, Dir, FileType};
use rustix::io::{Errno, retry_on_intr};

use super::beneath;
use super::source::{Root, Stamp};

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

impl Root {
    /// What is under a path below this folder: normal components only, none for the folder itself.
    pub fn look(&self, relative: &Path) -> io::Result<Found> {
        let (Some(folder), Some(name)) = (relative.parent(), relative.file_name()) else { return Ok(Found::Folder) };
        let folder = beneath::open_folder(self.folder(), folder.as_os_str().as_bytes())?;
        Ok(find(folder.as_fd(), name)?)
    }

    /// Shows each entry of a folder below this one, in no order. What vanishes meanwhile is left out.
    pub fn list(&self, relative: &Path, mut each: impl FnMut(&OsStr, Found)) -> io::Result<()> {
        let folder = beneath::open_listing(self.folder(), relative.as_os_str().as_bytes())?;
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
        let root = Root::open(dir.path()).unwrap();

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
