//! Names: what may stand in a file list, and what a push operand means.
//!
//! Guarantees: a [`RemoteName`] is relative, has no `.` or `..` component, and fits the limits that every rsync
//! receiver sets; bytes that are not UTF-8, control characters and leading dashes are legal and kept. Nothing here
//! asks the file system: it is all lexical.

use std::borrow::Borrow;
use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path, PathBuf};

use crate::error::{ErrorKind, NasSyncError, Result};
use crate::text;

/// A name as a file list carries it, relative to the destination folder: 1 to 4,095 bytes, components of 1 to 255 bytes.
///
/// The limits are those of `protocol-notes/06-file-list.md`. The `.` entry that stands for the destination folder
/// itself is not a `RemoteName`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RemoteName(Box<[u8]>);

/// The rule that a name breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NameFault {
    /// No bytes at all.
    #[error("it is empty")]
    Empty,
    /// It starts with a slash.
    #[error("it starts with a slash")]
    Absolute,
    /// Two slashes in a row, or one at the end.
    #[error("it has an empty component")]
    EmptyComponent,
    /// A component `.`.
    #[error("it has a component `.`")]
    Dot,
    /// A component `..`.
    #[error("it has a component `..`")]
    DotDot,
    /// A NUL byte.
    #[error("it holds a NUL byte")]
    Nul,
    /// More than [`RemoteName::MAX_LEN`] bytes.
    #[error("it has {0} bytes, more than the 4095 that rsync carries")]
    TooLong(usize),
    /// A component of more than [`RemoteName::MAX_COMPONENT`] bytes.
    #[error("it has a component of {0} bytes, more than the 255 that file systems store")]
    ComponentTooLong(usize),
}

impl RemoteName {
    /// The longest name, in bytes.
    pub const MAX_LEN: usize = 4095;

    /// The longest component, in bytes. rsync shortens the name of its temporary file itself, so all 255 can be used.
    pub const MAX_COMPONENT: usize = 255;

    /// Says which rule `name` breaks, if any.
    pub fn check(name: &[u8]) -> Result<(), NameFault> {
        if name.is_empty() {
            return Err(NameFault::Empty);
        }
        if name.len() > Self::MAX_LEN {
            return Err(NameFault::TooLong(name.len()));
        }
        if name[0] == b'/' {
            return Err(NameFault::Absolute);
        }
        if name.contains(&0) {
            return Err(NameFault::Nul);
        }
        name.split(|&byte| byte == b'/').try_for_each(|component| match component {
            b"" => Err(NameFault::EmptyComponent),
            b"." => Err(NameFault::Dot),
            b".." => Err(NameFault::DotDot),
            long if long.len() > Self::MAX_COMPONENT => Err(NameFault::ComponentTooLong(long.len())),
            _ => Ok(()),
        })
    }

    /// Takes a name that keeps all rules; fails with `NameUnsendable`, naming the broken one.
    pub fn new(name: impl Into<Vec<u8>>) -> Result<Self> {
        let name = name.into();
        match Self::check(&name) {
            Ok(()) => Ok(Self(name.into_boxed_slice())),
            Err(fault) => Err(unsendable(&name, fault)),
        }
    }

    /// The bytes as they are sent.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The bytes, without a copy.
    pub fn into_bytes(self) -> Box<[u8]> {
        self.0
    }

    /// The last component.
    pub fn file_name(&self) -> &[u8] {
        self.0.rsplit(|&byte| byte == b'/').next().unwrap_or(&self.0)
    }

    /// The folders above it, outermost first: `a`, `a/b` for `a/b/c`. A receiver wants each of them in the list.
    pub fn parents(&self) -> impl Iterator<Item = &[u8]> {
        self.0.iter().enumerate().filter(|&(_, &byte)| byte == b'/').map(|(at, _)| &self.0[..at])
    }
}

fn unsendable(name: &[u8], fault: NameFault) -> NasSyncError {
    // A name can be megabytes of database value; its start is enough to recognise it.
    let shown = text::escape_bytes(&name[..name.len().min(300)]);
    let dots = if name.len() > 300 { "…" } else { "" };
    NasSyncError::new(ErrorKind::NameUnsendable, format!("The name \"{shown}{dots}\" cannot be sent: {fault}"))
        .with_source(fault)
}

impl fmt::Debug for RemoteName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RemoteName({self})")
    }
}

/// Escaped, for people.
impl fmt::Display for RemoteName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&text::escape_bytes(&self.0))
    }
}

impl AsRef<[u8]> for RemoteName {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Borrow<[u8]> for RemoteName {
    fn borrow(&self) -> &[u8] {
        &self.0
    }
}

/// A source of a push, taken apart: the folder that names are relative to, and what of it is meant.
///
/// As with rsync, `dir` sends `dir` and what is below it under the name `dir/…`, while `dir/` (and everything that
/// ends in `.` or `..`) sends what is in it, with the entry `.` for the folder itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operand {
    base: PathBuf,
    name: Option<Box<[u8]>>,
    contents: bool,
}

/// What becomes of `..` in a path of which the whole is the name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Climbing {
    /// It is refused.
    Refused,
    /// It takes away what stands before it, and nothing more.
    Undone,
}

impl Operand {
    /// Reads an operand. Repeated slashes and inner `.` go; `..` stays, for only the kernel knows where it leads.
    /// Fails with `Usage` for an empty operand or one with a NUL byte, `NameUnsendable` for a last component that is
    /// too long.
    pub fn parse(operand: &Path) -> Result<Self> {
        let bytes = operand.as_os_str().as_bytes();
        if bytes.is_empty() {
            return Err(NasSyncError::new(ErrorKind::Usage, "A source is empty; write . for the current folder"));
        }
        if bytes.contains(&0) {
            return Err(NasSyncError::new(
                ErrorKind::Usage,
                format!("A source holds a NUL byte: {}", operand.display()),
            ));
        }
        let contents = bytes.ends_with(b"/") || matches!(last_component(bytes), b"." | b"..");
        let mut base: PathBuf = operand.components().filter(|part| *part != Component::CurDir).collect();
        let mut name = None;
        if !contents {
            let last = last_component(bytes);
            RemoteName::check(last).map_err(|fault| unsendable(last, fault))?;
            name = Some(last.into());
            base.pop();
        }
        if base.as_os_str().is_empty() {
            base.push(".");
        }
        Ok(Self { base, name, contents })
    }

    /// Reads an operand of which the whole is the name (`-R`), or what stands behind its first `/./`; a slash at its beginning goes.
    /// `folder` is where it is looked for, if it is not absolute. Fails with `Usage`, or `NameUnsendable`.
    pub fn relative(folder: &Path, operand: &[u8], climbing: Climbing) -> Result<Self> {
        let (before, text) = match operand.windows(3).position(|three| three == b"/./") {
            Some(0) => (&b"/"[..], &operand[3..]),
            Some(at) => (&operand[..at], &operand[at + 3..]),
            None if operand.starts_with(b"/") => (&b"/"[..], operand),
            None => (&b""[..], operand),
        };
        let contents = matches!(last_component(text), b"" | b"." | b"..");
        let mut parts: Vec<&[u8]> = Vec::new();
        for part in text.split(|&byte| byte == b'/').filter(|part| !matches!(*part, b"" | b".")) {
            match (part, climbing) {
                (b"..", Climbing::Refused) => {
                    let shown = text::escape_bytes(operand);
                    let message = format!("{shown} has a component `..`, and its whole path is to be its name");
                    return Err(NasSyncError::new(ErrorKind::Usage, message));
                }
                (b"..", Climbing::Undone) => drop(parts.pop()),
                (part, _) => parts.push(part),
            }
        }
        let name = parts.join(&b'/');
        let base = match (folder.as_os_str().is_empty(), before) {
            (true, b"") => PathBuf::from("."),
            (false, b"") => folder.to_owned(),
            (_, before) => folder.join(OsStr::from_bytes(before)),
        };
        if name.is_empty() {
            return Ok(Self { base, name: None, contents: true });
        }
        RemoteName::check(&name).map_err(|fault| unsendable(&name, fault))?;
        Ok(Self { base, name: Some(name.into()), contents })
    }

    /// Whether it ends with a slash, so that what is in it is meant.
    pub fn means_contents(&self) -> bool {
        self.contents
    }

    /// The folder that names are relative to.
    pub fn base(&self) -> &Path {
        &self.base
    }

    /// The entry in the base folder, or `None` for all that is in it.
    pub fn name(&self) -> Option<&[u8]> {
        self.name.as_deref()
    }

    /// The operand's own local path.
    pub fn path(&self) -> PathBuf {
        local_path(&self.base, self.name.as_deref().unwrap_or(b"."))
    }
}

fn last_component(bytes: &[u8]) -> &[u8] {
    bytes.rsplit(|&byte| byte == b'/').next().unwrap_or(bytes)
}

/// The path of a sent name below its base. `.` is the base itself.
pub(super) fn local_path(base: &Path, name: &[u8]) -> PathBuf {
    match name {
        b"." => base.to_owned(),
        _ if base == Path::new(".") => PathBuf::from(OsStr::from_bytes(name)),
        _ => base.join(OsStr::from_bytes(name)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn each_rule_is_named() {
        let long = vec![b'a'; 256];
        let deep = b"abc/".repeat(1024);
        for (name, fault) in [
            (&b""[..], NameFault::Empty),
            (b"/a", NameFault::Absolute),
            (b"/", NameFault::Absolute),
            (b"a//b", NameFault::EmptyComponent),
            (b"a/", NameFault::EmptyComponent),
            (b".", NameFault::Dot),
            (b"a/./b", NameFault::Dot),
            (b"..", NameFault::DotDot),
            (b"a/../../b", NameFault::DotDot),
            (b"a/..", NameFault::DotDot),
            (b"a\0b", NameFault::Nul),
            (&long, NameFault::ComponentTooLong(256)),
            (&deep, NameFault::TooLong(4096)),
        ] {
            assert_eq!(RemoteName::check(name), Err(fault));
            let error = RemoteName::new(name).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::NameUnsendable);
            assert!(error.message().ends_with(&fault.to_string()), "{error}");
        }
    }

    #[test]
    fn odd_but_legal_names_pass_unchanged() {
        let longest = b"abc/".repeat(1023).into_iter().chain(*b"abc").collect::<Vec<_>>();
        assert_eq!(longest.len(), RemoteName::MAX_LEN);
        for name in
            [&b"-rf"[..], b"a\nb", b"\x1b[2J", b"\xff\xfe", b"...", b" ", b".hidden/..x", &[b'a'; 255], &longest]
        {
            assert_eq!(RemoteName::new(name).unwrap().as_bytes(), name);
        }
    }

    #[test]
    fn parents_are_outermost_first() {
        let name = RemoteName::new("a/b/c").unwrap();
        assert_eq!(name.parents().collect::<Vec<_>>(), [&b"a"[..], b"a/b"]);
        assert_eq!(name.file_name(), b"c");
        assert_eq!(RemoteName::new("c").unwrap().parents().count(), 0);
    }

    #[test]
    fn operands_mean_what_they_mean_to_rsync() {
        for (operand, base, name) in [
            ("dir", ".", Some("dir")),
            ("./dir", ".", Some("dir")),
            ("a//./b", "a", Some("b")),
            ("/b", "/", Some("b")),
            ("/", "/", None),
            ("//", "/", None),
            ("src/", "src", None),
            ("src//", "src", None),
            ("src/.", "src", None),
            (".", ".", None),
            ("./", ".", None),
            ("..", "..", None),
            ("../", "..", None),
            ("a/..", "a/..", None),
            ("../x", "..", Some("x")),
            ("./a//b", "a", Some("b")),
            ("-n", ".", Some("-n")),
            ("...", ".", Some("...")),
        ] {
            let parsed = Operand::parse(Path::new(operand)).unwrap();
            assert_eq!((parsed.base(), parsed.name()), (Path::new(base), name.map(str::as_bytes)), "{operand}");
        }
        for bad in ["", "a\0b"] {
            assert_eq!(Operand::parse(Path::new(bad)).unwrap_err().kind(), ErrorKind::Usage);
        }
    }

    proptest! {
        #[test]
        fn a_checked_name_stays_below_its_folder(name in proptest::collection::vec(any::<u8>(), 0..40)) {
            if RemoteName::check(&name).is_ok() {
                let path = Path::new(OsStr::from_bytes(&name));
                let parts: Vec<_> = path.components().collect();
                prop_assert!(parts.iter().all(|part| matches!(part, Component::Normal(_))));
                // Nothing was normalised away: what is checked is what the other side sees.
                let whole: PathBuf = parts.iter().collect();
                prop_assert_eq!(whole.as_os_str().as_bytes(), &name[..]);
            }
        }

        #[test]
        fn an_operand_keeps_its_last_component(operand in "[a./]{1,12}") {
            let parsed = Operand::parse(Path::new(&operand)).unwrap();
            if let Some(name) = parsed.name() {
                prop_assert!(RemoteName::check(name).is_ok());
                prop_assert!(operand.ends_with(std::str::from_utf8(name).unwrap()));
            }
            prop_assert_eq!(parsed.base().is_absolute(), operand.starts_with('/'));
        }
    }
}
