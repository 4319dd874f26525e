//! Files of a few kilobytes that a person names: settings, secrets, host keys.
//!
//! Guarantees: never more than the bound is read, and nothing waits for ever. A pipe (`<(pass show nas)` of a shell) is read
//! to its end as long as somebody writes to it; one whose other end stays silent is an error after [`PIPE_WAIT`]. What is
//! read is wiped from memory when it is dropped, since it may be a secret. What is written stands there whole or not at all.

use std::fs::File;
use std::io::{Error, ErrorKind, Read as _, Result};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::{Mode, OFlags};
use zeroize::Zeroizing;

/// How long the other end of a pipe may take.
pub const PIPE_WAIT: Duration = Duration::from_secs(5);
/// How often a pipe is looked at.
const PIPE_PAUSE: Duration = Duration::from_millis(10);

/// Opens a file for reading; a pipe without a writer and a terminal open too.
pub fn open(path: &Path) -> Result<File> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOCTTY | OFlags::NONBLOCK;
    Ok(File::from(rustix::fs::open(path, flags, Mode::empty())?))
}

/// The content of a file of at most `limit` bytes.
pub fn read(path: &Path, limit: usize) -> Result<Zeroizing<Vec<u8>>> {
    read_open(&open(path)?, limit)
}

/// The rest of a file that [`open`] opened, of at most `limit` bytes.
pub fn read_open(file: &File, limit: usize) -> Result<Zeroizing<Vec<u8>>> {
    let meta = file.metadata()?;
    let deadline = Instant::now() + PIPE_WAIT;
    // Room for a small one from the start: a buffer that grows leaves copies behind.
    let room = usize::try_from(meta.len()).unwrap_or(limit).clamp(64 * 1024, limit.max(64 * 1024));
    let mut bytes = Zeroizing::new(Vec::with_capacity(room + 1));
    loop {
        let left = (limit + 1).saturating_sub(bytes.len()) as u64;
        match file.take(left).read_to_end(&mut bytes) {
            Ok(_) if bytes.len() > limit => {
                return Err(Error::new(ErrorKind::FileTooLarge, format!("it is larger than {} KiB", limit / 1024)));
            }
            Ok(_) => break,
            Err(error) if error.kind() == ErrorKind::WouldBlock && Instant::now() < deadline => {
                std::thread::sleep(PIPE_PAUSE);
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Err(silent_pipe()),
            Err(error) => return Err(error),
        }
    }
    // Of a pipe that nobody has open at the other end all that comes is its end.
    let is_pipe = std::os::unix::fs::FileTypeExt::is_fifo(&meta.file_type());
    if bytes.is_empty() && is_pipe { Err(silent_pipe()) } else { Ok(bytes) }
}

/// Puts a file in the place of what may be there: written beside it, through to the disk, then renamed. It has this mode,
/// and this owner and group where one is given.
#[cfg(feature = "cli")]
pub fn replace(path: &Path, content: &[u8], mode: u32, owner: Option<(u32, u32)>) -> Result<()> {
    use std::io::Write as _;
    use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _, fchown};

    let name = path.file_name().ok_or_else(|| Error::from(ErrorKind::InvalidInput))?.to_string_lossy();
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let beside = folder.join(format!(".{name}.{}", std::process::id()));
    let write = || {
        let mut file = File::options().write(true).create_new(true).mode(0o600).open(&beside)?;
        if let Some((user, group)) = owner {
            fchown(&file, Some(user), Some(group))?;
        }
        file.set_permissions(std::fs::Permissions::from_mode(mode))?;
        file.write_all(content)?;
        file.sync_all()?;
        std::fs::rename(&beside, path)?;
        File::open(folder)?.sync_all()
    };
    write().inspect_err(|error| {
        // What is in the way of another is not ours to remove.
        if error.kind() != ErrorKind::AlreadyExists {
            let _ = std::fs::remove_file(&beside);
        }
    })
}

fn silent_pipe() -> Error {
    Error::new(ErrorKind::TimedOut, "it is a pipe, and nothing comes out of it")
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn a_pipe_is_read_while_somebody_writes_and_never_waited_for_without_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pipe");
        let made = std::process::Command::new("mkfifo").arg(&path).status().unwrap();
        assert!(made.success());
        let started = Instant::now();
        assert_eq!(read(&path, 10).unwrap_err().kind(), ErrorKind::TimedOut, "nobody is at the other end");

        // Opened for both, so that this side does not wait either.
        let mut writer = File::options().read(true).write(true).open(&path).unwrap();
        writer.write_all(b"sesame").unwrap();
        let other = path.clone();
        let reader = std::thread::spawn(move || read(&other, 10));
        std::thread::sleep(Duration::from_millis(50));
        drop(writer);
        assert_eq!(reader.join().unwrap().unwrap().as_slice(), b"sesame");
        assert!(started.elapsed() < PIPE_WAIT);
    }

    #[test]
    fn a_bound_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::fs::write(&path, [b'x'; 11]).unwrap();
        assert_eq!(read(&path, 11).unwrap().len(), 11);
        assert_eq!(read(&path, 10).unwrap_err().kind(), ErrorKind::FileTooLarge);
        assert!(read(Path::new("/dev/null"), 10).unwrap().is_empty());
    }
}
