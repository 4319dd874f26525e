//! A file in the making: under a name of its own beside its place, until it is whole, or in its place where that was asked for.
//!
//! Guarantees: it is new, and nobody else's; it takes its place by one rename; whatever happens before, it is removed. What is
//! written in its place is a regular file, and no symlink was followed to it.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read as _, Seek as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use rustix::fs::{AtFlags, FallocateFlags, Gid, Mode, RenameFlags, Uid};
use rustix::io::Errno;

use super::apply::Wanted;
use super::path::RemoteName;
use super::place::times;

/// How many letters are drawn.
const DRAWN: usize = 6;
/// How much of two files is compared at once.
const COMPARED_LEN: usize = 64 << 10;
/// In pieces of this length zeros are looked for that become holes.
const HOLE_LEN: usize = 1024;

/// A file in the making.
#[derive(Debug)]
pub struct Staged {
    folder: Arc<OwnedFd>,
    /// `None` once it has its place.
    name: Option<OsString>,
    file: File,
    /// Where the next byte goes.
    at: u64,
    /// How many zeros before that are not written yet; `None` where zeros are written like all else.
    zeros: Option<u64>,
}

impl Staged {
    pub(super) fn new(folder: Arc<OwnedFd>, name: OsString, file: File) -> Self {
        Self { folder, name: Some(name), file, at: 0, zeros: None }
    }

    /// One that is written in its place.
    pub(super) fn in_place(folder: Arc<OwnedFd>, file: File) -> Self {
        Self { folder, name: None, file, at: 0, zeros: None }
    }

    /// Leaves holes where there are zeros.
    pub fn leave_holes(&mut self) {
        self.zeros = Some(0);
    }

    /// Whether it has its place already, with what was there before.
    pub fn is_in_place(&self) -> bool {
        self.name.is_none()
    }

    /// What is there.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Where the next byte goes.
    pub fn position(&self) -> u64 {
        self.at
    }

    /// Leaves so many bytes as they are.
    pub fn skip(&mut self, len: u64) -> io::Result<()> {
        self.fill()?;
        self.at += len;
        Ok(())
    }

    /// Adds to the content.
    pub fn write(&mut self, data: &[u8]) -> io::Result<()> {
        if self.zeros.is_none() {
            return self.put(data);
        }
        let mut rest = data;
        while !rest.is_empty() {
            let past_edge = usize::try_from(self.at % HOLE_LEN as u64).unwrap_or_default();
            let to_edge = rest.len().min(HOLE_LEN - past_edge);
            let (piece, behind) = rest.split_at(to_edge);
            rest = behind;
            match &mut self.zeros {
                Some(zeros) if piece.iter().all(|byte| *byte == 0) => {
                    *zeros += piece.len() as u64;
                    self.at += piece.len() as u64;
                }
                _ => {
                    self.fill()?;
                    self.put(piece)?;
                }
            }
        }
        Ok(())
    }

    fn put(&mut self, data: &[u8]) -> io::Result<()> {
        self.file.write_all_at(data, self.at)?;
        self.at += data.len() as u64;
        Ok(())
    }

    /// Zeros that were left out become a hole also where something was.
    fn fill(&mut self) -> io::Result<()> {
        let Some(len) = self.zeros.as_mut().map(std::mem::take).filter(|len| *len > 0) else { return Ok(()) };
        let begin = self.at - len;
        if begin >= self.file.metadata()?.len() {
            return Ok(());
        }
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        match rustix::fs::fallocate(&self.file, flags, begin, len) {
            // Not every file system knows how.
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => {
                let mut at = begin;
                while at < self.at {
                    let zeros = [0; HOLE_LEN];
                    let piece = usize::try_from(self.at - at).map_or(zeros.len(), |len| len.min(zeros.len()));
                    self.file.write_all_at(&zeros[..piece], at)?;
                    at += piece as u64;
                }
                Ok(())
            }
            result => Ok(result?),
        }
    }

    /// Ends the content here.
    pub fn finish(&mut self) -> io::Result<()> {
        self.fill()?;
        if self.is_in_place() || self.zeros.is_some() { self.file.set_len(self.at) } else { Ok(()) }
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

    /// Goes to another folder, under this temporary name. It comes back if that lies on another file system.
    pub(super) fn move_to(mut self, folder: Arc<OwnedFd>, name: OsString) -> Result<Result<Self, Self>, Errno> {
        let Some(old) = self.name.as_ref().filter(|_| !Arc::ptr_eq(&self.folder, &folder)) else { return Ok(Ok(self)) };
        match rustix::fs::renameat(&self.folder, old, &folder, &name) {
            Err(Errno::XDEV) => Ok(Err(self)),
            Err(errno) => Err(errno),
            Ok(()) => {
                (self.folder, self.name) = (folder, Some(name));
                Ok(Ok(self))
            }
        }
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
    use crate::tree::place::{Destination, Following, Making, Place, Places, Shape};

    fn place(folder: &Path) -> Place {
        let destination = Destination::resolve(folder, Shape::Tree, Making::Last).unwrap().unwrap();
        Places::new(Arc::new(destination), Following::default()).find(b"a").unwrap().unwrap()
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
