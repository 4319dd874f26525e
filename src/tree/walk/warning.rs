//! What a walk left out, and why.

use std::fmt;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use crate::text;
use crate::tree::path::NameFault;

/// What a warning means for the session's result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Left out as asked.
    None,
    /// Gone since it was listed: rsync's exit status 24.
    Vanished,
    /// Something that was asked for is missing: rsync's exit status 23, and nothing may be deleted.
    Failed,
}

/// Why something was left out.
#[derive(Debug)]
#[non_exhaustive]
pub enum Reason {
    /// It cannot be looked at or listed.
    Unreadable(io::Error),
    /// It was asked for by name, and is not there.
    Missing(io::Error),
    /// It was there a moment ago.
    Vanished,
    /// A device, pipe or socket.
    Special,
    /// A symlink, and links are not sent.
    Symlink,
    /// A folder, and folders are not sent.
    Folder,
    /// A name that no file list can carry.
    Name(NameFault),
    /// Following links leads from this folder back to itself.
    Loop,
    /// This other path has the same name on the NAS and is sent instead.
    SameNameAs(PathBuf),
}

/// Something that was left out.
#[derive(Debug)]
#[non_exhaustive]
pub struct WalkWarning {
    /// Its local path.
    pub path: PathBuf,
    /// Why.
    pub reason: Reason,
}

impl WalkWarning {
    pub(super) fn new(path: PathBuf, reason: Reason) -> Self {
        Self { path, reason }
    }

    /// Whether something that is here may be left out for it, so that nothing may be deleted for not being listed.
    pub fn may_hide_something(&self) -> bool {
        self.effect() == Effect::Failed && !matches!(self.reason, Reason::Missing(_))
    }

    /// What it means for the result.
    pub fn effect(&self) -> Effect {
        match self.reason {
            Reason::Unreadable(_) | Reason::Missing(_) | Reason::Name(_) | Reason::Loop => Effect::Failed,
            Reason::Vanished => Effect::Vanished,
            // Laying one tree over another is an idiom of rsync, which ends well there.
            Reason::Special | Reason::Symlink | Reason::Folder | Reason::SameNameAs(_) => Effect::None,
        }
    }
}

/// Escaped, for people.
impl fmt::Display for WalkWarning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let show = |path: &Path| text::escape_bytes(path.as_os_str().as_bytes());
        let path = show(&self.path);
        match &self.reason {
            Reason::Unreadable(error) | Reason::Missing(error) => write!(f, "{path} cannot be read: {error}"),
            Reason::Vanished => write!(f, "{path} vanished while it was listed"),
            Reason::Special => write!(f, "{path} is a device, pipe or socket and is skipped"),
            Reason::Symlink => write!(f, "{path} is a symlink and is skipped"),
            Reason::Folder => write!(f, "{path} is a folder and is skipped"),
            Reason::Name(fault) => write!(f, "the name of {path} cannot be sent: {fault}"),
            Reason::Loop => write!(f, "{path} leads back to a folder above it"),
            Reason::SameNameAs(other) => write!(f, "{path} has the same name on the NAS as {}", show(other)),
        }
    }
}
