//! A file in the making: under a name of its own beside its place, until it is whole.
//!
//! Guarantees: it is new, and nobody else's; it takes its place by one rename; whatever happens before, it is removed.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::sync::Arc;

use rustix::fs::{AtFlags, Gid, Mode, RenameFlags, Uid};
use rustix::io::Errno;

use super::apply::Wanted;
use super::path::RemoteName;
use super::place::times;

/// How many letters are drawn.
const DRAWN: usize = 6;
/// How much of two files is compared at once.
const COMPARED_LEN: usize = 64 << 10;

/// A file in the making.
#[derive(Debug)]
pub struct Staged {
    folder: Arc<OwnedFd>,
    /// `None` once it has its place.
    name: Option<OsString>,
    file: File,
}

impl Staged {
    pub(super) fn new(folder: Arc<OwnedFd>, name: OsString, file: File) -> Self {
        Self { folder, name: Some(name), file }
    }

    /// Appends to the content.
    pub fn write(&mut self, data: &[u8]) -> io::Result<()> {
        self.file.write_all(data)
    }

    /// Gives it its attributes. Owners first, since they clear permissions; times last.
    pub fn apply(&self, wanted: &Wanted) -> Result<(), Errno> {
        if wanted.owner.is_some() || wanted.group.is_some() {
            rustix::fs::fchown(&self.file, wanted.owner.map(Uid::from_raw), wanted.group.map(Gid::from_raw))?;
        }
        if let Some(mode) = wanted.mode {
            rustix::fs::fchmod(&self.file, Mode::from_raw_mode(mode.into()))?;
        }
        if let Some(times) = times(wanted) {
            rustix::fs::futimens(&self.file, &times)?;
        }
        Ok(())
    }

    /// Writes it through to the disk.
    pub fn flush_to_disk(&self) -> io::Result<()> {
        self.file.sync_all()
    }

    /// Whether another file holds the same; not when one of them cannot be read.
    pub fn has_content_of(&self, mut other: File) -> bool {
        let mut own = &self.file;
        let mut is_same = || -> io::Result<bool> {
            if other.metadata()?.len() != own.metadata()?.len() {
                return Ok(false);
            }
            own.rewind()?;
            let (mut here, mut there) = (vec![0; COMPARED_LEN], vec![0; COMPARED_LEN]);
            loop {
                let len = own.read(&mut here)?;
                if len == 0 {
                    return Ok(other.read(&mut there)? == 0);
                }
                other.read_exact(&mut there[..len])?;
                if here[..len] != there[..len] {
                    return Ok(false);
                }
            }
        };
        is_same().unwrap_or(false)
    }

    pub(super) fn rename_to(mut self, place: &OsStr) -> Result<(), Errno> {
        let folder = self.folder.as_fd();
        if let Some(name) = &self.name {
            rustix::fs::renameat(folder, name, folder, place)?;
        }
        self.name = None;
        Ok(())
    }

    /// Takes the place in one step if nothing is there. What could not take it comes back with the reason.
    pub(super) fn rename_to_free(mut self, place: &OsStr) -> Result<(), (Self, Errno)> {
        let folder = self.folder.as_fd();
        if let Some(name) = &self.name
            && let Err(errno) = rustix::fs::renameat_with(folder, name, folder, place, RenameFlags::NOREPLACE)
        {
            return Err((self, errno));
        }
        self.name = None;
        Ok(())
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        if let Some(name) = &self.name {
            // Nobody can be told, and a temporary file is recognised by its name.
            let _ = rustix::fs::unlinkat(&self.folder, name, AtFlags::empty());
        }
    }
}

/// rsync's own form, `.NAME.XXXXXX`: tools that clean up know it.
pub(super) fn temporary_name(name: &OsStr) -> OsString {
    let name = name.as_bytes();
    let kept = name.len().min(RemoteName::MAX_COMPONENT - DRAWN - 2);
    let mut drawn = [b".", &name[..kept], b"."].concat();
    let letters: String = (0..DRAWN).map(|_| fastrand::alphanumeric()).collect();
    drawn.extend_from_slice(letters.as_bytes());
    OsString::from_vec(drawn)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;
    use crate::tree::place::{Destination, Making, Place, Places, Shape};

    fn place(folder: &Path) -> Place {
        let destination = Destination::resolve(folder, Shape::Tree, Making::Last).unwrap().unwrap();
        Places::new(Arc::new(destination)).find(b"a").unwrap().unwrap()
    }

    #[test]
    fn a_place_that_somebody_took_meanwhile_is_left_to_them() {
        let folder = tempfile::tempdir().unwrap();
        let place = place(folder.path());
        let mut staged = place.stage().unwrap();
        staged.write(b"from the NAS").unwrap();
        fs::write(folder.path().join("a"), "precious").unwrap();
        assert_eq!(place.take_if_free(staged), Err(Errno::EXIST));
        assert_eq!(fs::read(folder.path().join("a")).unwrap(), b"precious");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "what could not take the place is removed");
        fs::remove_file(folder.path().join("a")).unwrap();
        place.take_if_free(place.stage().unwrap()).unwrap();
        assert_eq!(fs::read(folder.path().join("a")).unwrap(), b"");
    }
}
