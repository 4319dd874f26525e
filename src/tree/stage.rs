//! A file in the making: under a name of its own beside its place, until it is whole.
//!
//! Guarantees: it is new, and nobody else's; it takes its place by one rename; whatever happens before, it is removed.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::sync::Arc;

use rustix::fs::{AtFlags, Gid, Mode, Uid};
use rustix::io::Errno;

use super::apply::Wanted;
use super::path::RemoteName;
use super::place::times;

/// How many letters are drawn.
const DRAWN: usize = 6;

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
        if let Some(mtime) = wanted.mtime {
            rustix::fs::futimens(&self.file, &times(mtime))?;
        }
        Ok(())
    }

    /// Writes it through to the disk.
    pub fn flush_to_disk(&self) -> io::Result<()> {
        self.file.sync_all()
    }

    pub(super) fn rename_to(mut self, place: &OsStr) -> Result<(), Errno> {
        let folder = self.folder.as_fd();
        if let Some(name) = &self.name {
            rustix::fs::renameat(folder, name, folder, place)?;
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
