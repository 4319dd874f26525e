//! The list of files that a sending server offers, read and checked.
//!
//! All of it is somebody else's word. Guarantees for what comes out: every name is one that was asked for, is relative, has no
//! `.` or `..` in it, and lies in folders that are entries of the list themselves, so never below a symlink; none stands for
//! two things; there are no more entries, and no more bytes of them, than the limits.

use std::collections::{HashMap, HashSet};

use super::inbox::Inbox;
use crate::error::{ErrorKind, NasSyncError, Result};
use crate::text;
use crate::tree::RemoteName;
use crate::wire::flist::idlist::{self, NamedId};
use crate::wire::flist::{EndOfList, Entries, EntryKind, ListCoder, ListFields, Listed, io_error};
use crate::wire::negotiated::ListTerms;
use crate::wire::pattern;

/// The most entries that a list may have, and the most memory that they may take, in bytes.
const MAX_ENTRIES: usize = 10_000_000;
const MAX_BYTES: usize = 1 << 30;
/// The most users or groups that a list may name.
const MAX_IDS: usize = 65_536;

/// Which names a list may hold.
#[derive(Debug, Clone)]
pub enum Scope {
    /// Whatever lies in a folder that was asked for by its content (`dir/`).
    Anything,
    /// What a source's last component names, with wildcards, and all below.
    Below(Vec<Box<[u8]>>),
    /// These, and the folders on the way to them.
    Exactly(HashSet<Box<[u8]>>),
}

impl Scope {
    /// What sources stand for, as a person writes them behind the colon.
    pub fn of_sources(sources: &[Vec<u8>]) -> Self {
        let mut patterns: Vec<Box<[u8]>> = Vec::new();
        for source in sources {
            match source.rsplit(|&byte| byte == b'/').next() {
                None | Some(b"" | b"." | b"..") => return Self::Anything,
                // A home folder goes by another name.
                Some(last) if last.len() == source.len() && last[0] == b'~' => return Self::Anything,
                Some(last) => patterns.push(last.into()),
            }
        }
        Self::Below(patterns)
    }

    /// These names, and the folders on the way to them.
    pub fn exactly<'n>(names: impl Iterator<Item = &'n RemoteName>) -> Self {
        Self::Exactly(names.flat_map(|name| name.parents().chain([name.as_bytes()])).map(Box::from).collect())
    }

    fn holds(&self, name: &[u8]) -> bool {
        match self {
            Self::Anything => true,
            Self::Exactly(names) => names.contains(name),
            Self::Below(patterns) => {
                let first = name.split(|&byte| byte == b'/').next().unwrap_or(name);
                // A shell leaves a pattern that nothing matches as it is.
                patterns.iter().any(|pattern| **pattern == *first || pattern::matches(pattern, first))
            }
        }
    }
}

/// What a list is read with.
#[derive(Debug, Clone)]
pub struct Expected {
    /// The optional fields.
    pub fields: ListFields,
    /// Whether ids travel with names.
    pub id_names: bool,
    /// Which names it may hold.
    pub scope: Scope,
    /// Whether several sources were named, so that a name may come from two of them.
    pub may_overlap: bool,
}

/// A list as it arrived, in the order in which both ends number it.
#[derive(Debug, Default)]
pub struct Incoming {
    /// The entries.
    pub entries: Entries,
    /// Numbers of entries that another one of the same name replaces.
    pub replaced: Vec<usize>,
    /// Names of users.
    pub users: Vec<NamedId>,
    /// Names of groups.
    pub groups: Vec<NamedId>,
    /// What went wrong while it was made, as bits of [`io_error`].
    pub errors: i32,
}

impl Incoming {
    /// Reads a list.
    pub fn take(expected: &Expected, terms: ListTerms, inbox: &mut Inbox) -> Result<Self> {
        let mut list = Self::default();
        let mut coder = ListCoder::new(terms.coding, expected.fields);
        loop {
            match inbox.take(|reader| coder.take(reader, &mut list.entries), || Ok(()))? {
                Listed::Entry if list.entries.len() > MAX_ENTRIES || list.entries.byte_len() > MAX_BYTES => {
                    return Err(refused(&format!("has more than {MAX_ENTRIES} entries, or {MAX_BYTES} bytes")));
                }
                Listed::Entry => {}
                Listed::End { errors } => {
                    list.errors |= errors & io_error::KNOWN;
                    break;
                }
            }
        }
        let mut ids = || {
            let mut names = Vec::new();
            loop {
                match inbox.take(|reader| idlist::decode(&terms.coding, reader), || Ok(()))? {
                    idlist::Listed::Id(_) if names.len() >= MAX_IDS => return Err(refused("names too many users")),
                    idlist::Listed::Id(id) => names.push(id),
                    idlist::Listed::End(root) => {
                        names.extend(root.filter(|name| !name.is_empty()).map(|name| (0, name)));
                        return Ok(names);
                    }
                }
            }
        };
        if expected.id_names && expected.fields.owner {
            list.users = ids()?;
        }
        if expected.id_names && expected.fields.group {
            list.groups = ids()?;
        }
        if terms.coding.end == EndOfList::ErrorsAfterIds {
            list.errors |= inbox.take(|reader| terms.coding.ints.int(reader), || Ok(()))? & io_error::KNOWN;
        }
        list.entries.sort(terms.order);
        list.replaced = check(&list.entries, expected)?;
        list.entries.shrink_to_fit();
        Ok(list)
    }
}

/// Checks all names, and gives the numbers of those entries that do not count.
fn check(entries: &Entries, expected: &Expected) -> Result<Vec<usize>> {
    let mut replaced = Vec::new();
    let mut folders: HashMap<&[u8], usize> = HashMap::new();
    let twice = |name: &[u8]| {
        if expected.may_overlap {
            return Ok(());
        }
        Err(refused(&format!("names {} twice", text::escape_bytes(name))))
    };
    for (number, entry) in entries.iter().enumerate().filter(|(_, entry)| entry.kind.is_dir()) {
        if folders.contains_key(entry.name) {
            twice(entry.name)?;
            replaced.push(number);
        } else {
            folders.insert(entry.name, number);
        }
    }
    let mut previous: Option<&[u8]> = None;
    for (number, entry) in entries.iter().enumerate() {
        let name = entry.name;
        let shown = || text::escape_bytes(name);
        if name == b"." {
            if !entry.kind.is_dir() || matches!(expected.scope, Scope::Below(_)) {
                return Err(refused("has an entry `.` that was not asked for"));
            }
            continue;
        }
        RemoteName::check(name).map_err(|fault| refused(&format!("has the name {}: {fault}", shown())))?;
        if !expected.scope.holds(name) {
            return Err(refused(&format!("has {}, which was not asked for", shown())));
        }
        if let Some(slash) = name.iter().rposition(|&byte| byte == b'/')
            && !folders.contains_key(&name[..slash])
        {
            return Err(refused(&format!("has {}, and no folder that it could lie in", shown())));
        }
        if !entry.kind.is_dir() {
            if previous == Some(name) || folders.contains_key(name) {
                twice(name)?;
                replaced.push(number);
            }
            previous = Some(name);
        }
        if matches!(entry.kind, EntryKind::Symlink(target) if target.contains(&0)) {
            return Err(refused(&format!("has a symlink {} to a name with a NUL byte", shown())));
        }
    }
    Ok(replaced)
}

fn refused(what: &str) -> NasSyncError {
    NasSyncError::new(ErrorKind::Protocol, format!("the NAS broke the protocol: its list of files {what}"))
}
