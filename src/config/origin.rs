//! Where a value was found, for messages and for what beats what.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use zeroize::Zeroize as _;

use crate::error::{ErrorKind, NasSyncError, Result};

/// Gives the value of a variable.
pub(super) type LookUp = dyn Fn(&str) -> Option<OsString> + Send + Sync;

/// Which layer a value was found in; a later variant beats an earlier one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Layer {
    DotEnv,
    Process,
    Flag,
}

/// Where a value was found, for messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Origin {
    pub(super) layer: Layer,
    pub(super) name: String,
}

impl Origin {
    pub(super) fn layer(&self) -> Layer {
        self.layer
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        if self.layer == Layer::DotEnv { f.write_str(" in .env") } else { Ok(()) }
    }
}

/// A value that is not empty, and where it was found. It may be a secret, so it has no `Debug`, and is wiped when dropped.
pub(super) struct Found {
    pub(super) text: OsString,
    pub(super) origin: Origin,
    /// The file that it was read from, where that can be read again.
    pub(super) file: Option<PathBuf>,
}

impl Found {
    /// A value that stands there itself.
    pub(super) fn new(layer: Layer, name: impl Into<String>, text: OsString) -> Self {
        Self { text, origin: Origin { layer, name: name.into() }, file: None }
    }
}

impl Drop for Found {
    fn drop(&mut self) {
        wipe(std::mem::take(&mut self.text));
    }
}

/// Wipes a value that may be a secret.
pub(super) fn wipe(text: OsString) {
    text.into_encoded_bytes().zeroize();
}

/// The error of a value that makes no sense.
pub(super) fn refuse(origin: &Origin, text: &OsStr, accepted: impl fmt::Display) -> NasSyncError {
    NasSyncError::new(ErrorKind::Usage, format!("{origin} is {:?}, but must be {accepted}", text.to_string_lossy()))
        .with_solution(format!("Correct or remove {origin}."))
}

/// A path on this machine; a leading `~/` is the home folder, because no shell expands it in a file.
pub(super) fn expand_home(text: &OsStr, home: Option<&Path>, origin: &Origin) -> Result<PathBuf> {
    if text.as_bytes().contains(&0) {
        return Err(refuse(origin, text, "a path without NUL"));
    }
    let path = Path::new(text);
    let Ok(below) = path.strip_prefix("~") else { return Ok(path.to_owned()) };
    match home {
        Some(home) => Ok(home.join(below)),
        None => Err(refuse(origin, text, "a path without ~, because HOME is not set")),
    }
}
