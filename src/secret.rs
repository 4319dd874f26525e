//! Text that must not be seen, and work with it that leaves nothing of it behind.
//!
//! Guarantees: a secret that stands in a file is not kept, but read again when it is needed; of one that was given as text
//! there is one copy, whatever is cloned. Both are wiped when nobody holds them any more, and neither shows in `Debug`.
//! [`aside`] wipes what a computation left on the stack. Not in reach: the process environment, which the operating system
//! keeps, and what a caller did with a text before it became a secret.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use zeroize::{Zeroize as _, Zeroizing};

use crate::small_file;

/// The most that a file with a secret may hold, in bytes: far more than a 16384-bit RSA key.
pub const MAX_FILE: usize = 64 * 1024;
/// So much of the stack is wiped: several times what reading a key and signing with it take.
const STACK: usize = 128 * 1024;

/// A secret: a passphrase, or the text of a key. It has no shape in `Debug`.
///
/// Clones are the same secret: a text is held once, and wiped when the last of them is dropped. The process environment,
/// which the operating system keeps, may still hold a copy.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Source);

#[derive(Clone, PartialEq, Eq)]
enum Source {
    Held(Arc<Zeroizing<String>>),
    File(PathBuf),
}

impl Secret {
    /// Takes the text over.
    pub fn new(text: String) -> Self {
        Self(Source::Held(Arc::new(Zeroizing::new(text))))
    }

    /// The content of a file, without its final line end. It is read each time that it is needed, and not kept.
    pub fn in_file(path: impl Into<PathBuf>) -> Self {
        Self(Source::File(path.into()))
    }

    /// The text itself, which is wiped when nobody holds it any more. Blocking where it stands in a file: fails where that
    /// cannot be read, holds more than 64 KiB or is no UTF-8.
    pub fn text(&self) -> io::Result<Arc<Zeroizing<String>>> {
        match &self.0 {
            Source::Held(text) => Ok(Arc::clone(text)),
            Source::File(path) => {
                let bytes = small_file::read(path, MAX_FILE)?;
                line(&bytes).map(|line| Arc::new(Zeroizing::new(line.to_owned())))
            }
        }
    }

    /// The file in which it stands.
    pub fn file(&self) -> Option<&std::path::Path> {
        match &self.0 {
            Source::Held(_) => None,
            Source::File(path) => Some(path),
        }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// What a file holds, without its final line end.
pub fn line(bytes: &[u8]) -> io::Result<&str> {
    let text = str::from_utf8(bytes).map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it is not UTF-8 text"))?;
    Ok(text.strip_suffix('\n').map_or(text, |line| line.strip_suffix('\r').unwrap_or(line)))
}

/// Does what has to do with a secret, then wipes the part of the stack that this may have taken: what is moved, or worked
/// with in a register that is saved, leaves copies there. A secret in what it gives back must lie on the heap, in something
/// that is wiped when it is dropped.
pub fn aside<T>(work: impl FnOnce() -> T) -> T {
    let result = deeper(work);
    wipe_stack();
    result
}

/// In a frame of its own, below that of the caller, and so in what is wiped then.
#[inline(never)]
fn deeper<T>(work: impl FnOnce() -> T) -> T {
    work()
}

#[inline(never)]
#[expect(clippy::large_stack_arrays, reason = "the stack is what it is for")]
fn wipe_stack() {
    let mut filler = [0_u8; STACK];
    filler.zeroize();
    std::hint::black_box(&mut filler);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_in_a_file_is_read_when_it_is_needed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pass");
        let secret = Secret::in_file(&path);
        assert_eq!(secret.text().unwrap_err().kind(), io::ErrorKind::NotFound);
        for (content, text) in [(&b"one"[..], "one"), (b" two \r\n", " two "), (b"a\n\n", "a\n")] {
            std::fs::write(&path, content).unwrap();
            assert_eq!(secret.text().unwrap().as_str(), text);
        }
        std::fs::write(&path, b"\xff").unwrap();
        assert_eq!(secret.text().unwrap_err().kind(), io::ErrorKind::InvalidData);
    }

    #[test]
    fn a_text_is_held_once() {
        let secret = Secret::new(String::from("sesame"));
        let (one, other) = (secret.text().unwrap(), secret.clone().text().unwrap());
        assert!(Arc::ptr_eq(&one, &other));
        assert_eq!(format!("{secret:?}"), "Secret(…)");
    }
}
