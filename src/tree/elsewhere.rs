//! What the user lets a pull keep outside a file's own place: its temporary file, what came of it, its older version.
//!
//! Guarantees: of such a path the user's own words alone lead out of the destination; a folder in the destination is reached
//! through real folders only, as everywhere, since the NAS may have named what is there.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::{Errno, retry_on_intr};

use super::apply::Wanted;
use super::beneath;
use super::place::{Destination, Place, make_folder, open_root};
use super::source::split;
use super::stage::{Staged, temporary_name};

impl Destination {
    /// A folder that the user has named, as seen from the destination.
    pub fn open_own(&self, path: &Path) -> Result<Arc<OwnedFd>, Errno> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        retry_on_intr(|| rustix::fs::openat(self.root(), path, flags, Mode::empty())).map(Arc::new)
    }
}

impl Place {
    /// The same name in another folder.
    #[must_use]
    pub fn in_folder(&self, folder: Arc<OwnedFd>) -> Self {
        Self { folder, name: self.name.clone() }
    }

    /// The same name in the folder for what came of files, which lies beside it or, by an absolute path, anywhere. With `makes`
    /// the folder is made, and what is there that is none gives way.
    pub fn waiting(&self, folder: &[u8], makes: bool) -> Result<Self, Errno> {
        let path = Path::new(OsStr::from_bytes(folder));
        let open =
            || if path.is_absolute() { open_root(path) } else { beneath::open_folder(self.folder.as_fd(), folder) };
        let opened = match open() {
            Err(errno @ (Errno::NOENT | Errno::NOTDIR | Errno::LOOP)) if makes => {
                if path.is_absolute() {
                    make_folder(path)?;
                } else {
                    let (above, name) = split(folder);
                    let above = beneath::open_folder(self.folder.as_fd(), above)?;
                    if errno != Errno::NOENT {
                        rustix::fs::unlinkat(&above, name, AtFlags::empty())?;
                    }
                    rustix::fs::mkdirat(&above, name, Mode::RWXU)?;
                }
                open()
            }
            opened => opened,
        };
        Ok(self.in_folder(Arc::new(opened?)))
    }

    /// Removes that folder, if it lies beside the file and nothing is in it.
    pub fn leave_waiting(&self, folder: &[u8]) {
        let (above, name) = split(folder);
        if !folder.starts_with(b"/")
            && let Ok(above) = beneath::open_folder(self.folder.as_fd(), above)
        {
            // What is in it belongs to other files.
            let _ = rustix::fs::unlinkat(&above, name, AtFlags::REMOVEDIR);
        }
    }

    /// The regular file that is there, or a new one, to be written where it is.
    pub fn in_place(&self) -> Result<Staged, Errno> {
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let mode = Mode::from_raw_mode(0o600);
        let file: File = retry_on_intr(|| rustix::fs::openat(&self.folder, &self.name, flags, mode))?.into();
        let is_file = file.metadata().is_ok_and(|metadata| metadata.is_file());
        if is_file { Ok(Staged::in_place(Arc::clone(&self.folder), file)) } else { Err(Errno::INVAL) }
    }

    /// Takes a file, if it was made in another folder, into this one, still under a name of its own.
    pub fn fetch(&self, staged: Staged) -> io::Result<Staged> {
        match staged.move_to(Arc::clone(&self.folder), temporary_name(&self.name))? {
            Ok(moved) => Ok(moved),
            Err(far) => {
                let copy = self.stage()?;
                copy_all(far.file(), copy.file())?;
                Ok(copy)
            }
        }
    }

    /// Puts a copy of a file there at once.
    pub fn put_copy(&self, file: &File, wanted: &Wanted) -> io::Result<()> {
        let copy = self.stage()?;
        copy_all(file, copy.file())?;
        copy.apply(wanted)?;
        Ok(self.take(copy)?)
    }
}

/// From its first byte on, wherever it was read last.
fn copy_all(mut from: &File, mut to: &File) -> io::Result<()> {
    use std::io::Seek as _;
    from.rewind()?;
    io::copy(&mut from, &mut to).map(drop)
}
