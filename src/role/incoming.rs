//! The list of files that a sending server offers, read and checked.
//!
//! All of it is somebody else's word. Guarantees for what comes out: every name is one that was asked for, is relative, has no
//! `.` or `..` in it, and lies in folders that are entries of the list themselves, so never below a symlink; none stands for
//! two things; there are no more entries, and no more bytes of them, than the limits.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, OnceLock};

pub use super::asked::Scope;
use super::inbox::Inbox;
use crate::error::{ErrorKind, NasSyncError, Result};
use crate::text;
use crate::tree::RemoteName;
use crate::tree::apply::Wanted;
use crate::wire::flist::idlist::{self, NamedId};
use crate::wire::flist::{
    Content, EndOfList, Entries, EntryKind, FileEntry, FileMeta, HeardNames, ListCoder, ListFields, Listed, io_error,
};
use crate::wire::negotiated::ListTerms;

/// The most entries that a list may have, and the most memory that they may take, in bytes.
const MAX_ENTRIES: usize = 10_000_000;
pub(super) const MAX_BYTES: usize = 1 << 30;
/// The most users or groups that a list may name.
const MAX_IDS: usize = 65_536;

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

/// A list as it arrived, or a part of one, in the order in which both ends number it.
#[derive(Debug, Default)]
pub struct Incoming {
    /// The entries.
    pub entries: Entries,
    /// The number of the first.
    pub start: i32,
    /// The folder whose content it is; `None` for a whole list, and where the root itself is not listed.
    pub folder: Option<Arc<Folder>>,
    /// Positions of entries that another one of the same name replaces.
    pub replaced: Vec<usize>,
    /// Positions of folders that are left out, because they would be empty here.
    pub pruned: Vec<usize>,
    /// Names of users.
    pub users: Vec<NamedId>,
    /// Names of groups.
    pub groups: Vec<NamedId>,
    /// What went wrong while it was made, as bits of [`io_error`].
    pub errors: i32,
}

/// A folder whose content is a part of the list. It is kept by what lies in it, and given up with the last of that.
#[derive(Debug)]
pub struct Folder {
    /// The folder that it lies in.
    pub parent: Option<Arc<Folder>>,
    number: usize,
    name: Box<[u8]>,
    content: Content,
    meta: FileMeta,
    /// The attributes that it gets when all that is in it has come.
    pub late: OnceLock<Wanted>,
}

impl Folder {
    fn new(parent: Option<Arc<Folder>>, number: usize, entry: &FileEntry<'_>, content: Content) -> Self {
        Self { parent, number, name: entry.name.into(), content, meta: entry.meta, late: OnceLock::new() }
    }

    /// Its entry.
    pub fn entry(&self) -> FileEntry<'_> {
        FileEntry::new(&self.name, EntryKind::Directory(self.content), self.meta)
    }

    fn byte_len(&self) -> usize {
        size_of::<Self>() + self.name.len()
    }
}

/// Reads a list: at once, or in parts, each of which is the content of a folder that one before has named.
#[derive(Debug)]
pub struct ListReader {
    expected: Expected,
    terms: ListTerms,
    coder: ListCoder,
    /// The number of the first entry of the next part.
    next: i32,
    /// How many folders have been named; they are numbered as they stand in their sorted parts.
    named: usize,
    /// Those whose content is still to come, by number, and the memory that they take.
    waiting: HashMap<usize, Arc<Folder>>,
    waiting_bytes: usize,
    /// The last one whose content has come, and those around it, the outermost first.
    path: Vec<usize>,
    ids_left: usize,
}

impl ListReader {
    /// A reader in front of the list.
    pub fn new(expected: Expected, terms: ListTerms) -> Self {
        let coder = ListCoder::new(terms.coding, expected.fields);
        // In parts the number before the first of each is that of its folder.
        let next = i32::from(terms.is_incremental);
        Self {
            expected,
            terms,
            coder,
            next,
            named: 0,
            waiting: HashMap::new(),
            waiting_bytes: 0,
            path: Vec::new(),
            ids_left: MAX_IDS,
        }
    }

    /// Reads the list, or its first part.
    pub fn first(&mut self, inbox: &mut Inbox) -> Result<Incoming> {
        if self.terms.is_incremental {
            return self.take_part(None, inbox);
        }
        let mut list = self.take_entries(inbox)?;
        list.replaced = check(&list.entries, &self.expected, Within::Itself)?;
        self.settle_contents(&mut list);
        let Self { expected, terms, .. } = self;
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
        Ok(list)
    }

    /// Reads the part that is the content of the folder of this number.
    pub fn part(&mut self, number: usize, inbox: &mut Inbox) -> Result<Incoming> {
        let Some(folder) = self.waiting.remove(&number) else {
            return Err(refused(&if number < self.named {
                format!("has the content of folder {number} twice, or of one that has none to list")
            } else {
                format!("has the content of folder {number}, and has named {}", self.named)
            }));
        };
        self.waiting_bytes -= folder.byte_len();
        // What keeps something from being deleted is known of the folders around the last one alone.
        let parent = folder.parent.as_ref().map(|parent| parent.number);
        while self.path.pop_if(|last| Some(*last) != parent).is_some() {}
        if self.path.last() != parent.as_ref() {
            return Err(refused(&format!("has the content of {} out of turn", text::escape_bytes(&folder.name))));
        }
        self.path.push(number);
        self.take_part(Some(folder), inbox)
    }

    /// The folders whose content did not come, when no more parts follow.
    pub fn end(&mut self) -> Vec<Arc<Folder>> {
        let mut left: Vec<_> = self.waiting.drain().collect();
        left.sort_unstable_by_key(|(number, _)| *number);
        left.into_iter().map(|(_, folder)| folder).collect()
    }

    fn take_part(&mut self, folder: Option<Arc<Folder>>, inbox: &mut Inbox) -> Result<Incoming> {
        self.coder.begin_part(self.next);
        let mut part = self.take_entries(inbox)?;
        let within = folder.as_ref().map_or(Within::Top, |folder| Within::Folder(&folder.name));
        part.replaced = check(&part.entries, &self.expected, within)?;
        self.settle_contents(&mut part);
        part.start = self.next;
        let len = i32::try_from(part.entries.len()).unwrap_or(i32::MAX);
        let next = self.next.checked_add(len).and_then(|next| next.checked_add(1));
        self.next = next.ok_or_else(|| refused("has more entries than can be numbered"))?;
        let root = part.entries.get(0).filter(|first| folder.is_none() && first.name == b".");
        let root = root.and_then(|root| Some(Folder::new(None, 0, &root, listed(&root)?)));
        self.path.extend(root.as_ref().map(|root| root.number));
        part.folder = folder.or_else(|| root.map(Arc::new));
        self.name_folders(&part)?;
        let HeardNames { users, groups } = self.coder.take_names();
        let left = self.ids_left.checked_sub(users.len() + groups.len());
        self.ids_left = left.ok_or_else(|| refused("names too many users"))?;
        (part.users, part.groups) = (users, groups);
        Ok(part)
    }

    /// Lets a folder that stands there twice mean as much as either, and one of an old list, in which each says that its
    /// content is listed, only as much as is so.
    fn settle_contents(&self, list: &mut Incoming) {
        for &position in &list.replaced {
            let Some(entry) = list.entries.get(position) else { continue };
            let EntryKind::Directory(content) = entry.kind else { continue };
            let name = entry.name.to_vec();
            list.entries.unite_content(&name, content, self.terms.order);
        }
        if self.terms.coding.content_flags {
            return;
        }
        let is_argument = |entry: &FileEntry<'_>| entry.kind == EntryKind::Directory(Content::Argument);
        let arguments: HashSet<Box<[u8]>> =
            list.entries.iter().filter(is_argument).map(|entry| entry.name.into()).collect();
        let is_below = |name: &[u8]| {
            let above = (0..name.len()).filter(|&at| name[at] == b'/').map(|at| &name[..at]);
            self.expected.scope.is_deep() && above.chain([&b"."[..]]).any(|above| arguments.contains(above))
        };
        list.entries.set_contents(|name, content| match content {
            Content::Listed if !is_below(name) => Content::Unlisted,
            content => content,
        });
    }

    fn name_folders(&mut self, part: &Incoming) -> Result<()> {
        let mut replaced = part.replaced.iter().copied().peekable();
        // Folders of the same part that others lie in: only the first one of whole paths has any.
        let mut around: HashMap<&[u8], Arc<Folder>> = HashMap::new();
        let nests = part.start == 1 && self.expected.scope.has_whole_paths();
        for (position, entry) in part.entries.iter().enumerate() {
            let counts = replaced.next_if_eq(&position).is_none();
            if !entry.kind.is_dir() {
                continue;
            }
            if let Some(content) = listed(&entry)
                && counts
                && entry.name != b"."
            {
                let parent = folder_of(entry.name).and_then(|above| around.get(above)).or(part.folder.as_ref());
                let folder = Arc::new(Folder::new(parent.cloned(), self.named, &entry, content));
                self.waiting_bytes += folder.byte_len();
                if nests {
                    around.insert(entry.name, Arc::clone(&folder));
                }
                self.waiting.insert(self.named, folder);
            }
            self.named += 1;
        }
        if self.waiting_bytes > MAX_BYTES {
            return Err(refused(&format!("names folders of more than {MAX_BYTES} bytes ahead")));
        }
        Ok(())
    }

    fn take_entries(&mut self, inbox: &mut Inbox) -> Result<Incoming> {
        let mut list = Incoming::default();
        let Self { coder, terms, .. } = self;
        loop {
            match inbox.take(|reader| coder.take(reader, &mut list.entries), || Ok(()))? {
                Listed::Entry if list.entries.len() > MAX_ENTRIES || list.entries.byte_len() > MAX_BYTES => {
                    return Err(refused(&format!("has more than {MAX_ENTRIES} entries, or {MAX_BYTES} bytes")));
                }
                Listed::Entry if coder.names_heard() > MAX_IDS => return Err(refused("names too many users")),
                Listed::Entry => {}
                Listed::End { errors } => {
                    list.errors |= errors & io_error::KNOWN;
                    break;
                }
            }
        }
        list.entries.sort(terms.order);
        list.entries.shrink_to_fit();
        Ok(list)
    }
}

/// What a folder says about its content, where a part of the list is that.
fn listed(entry: &FileEntry<'_>) -> Option<Content> {
    match entry.kind {
        EntryKind::Directory(content) if entry.has_part() => Some(content),
        _ => None,
    }
}

/// The folder that a name lies in, below the root.
fn folder_of(name: &[u8]) -> Option<&[u8]> {
    name.iter().rposition(|&byte| byte == b'/').map(|slash| &name[..slash])
}

/// Where the entries of a list have to lie.
#[derive(Debug, Clone, Copy)]
enum Within<'a> {
    /// In folders that it lists itself.
    Itself,
    /// At the top.
    Top,
    /// In this folder.
    Folder(&'a [u8]),
}

/// Checks all names, and gives the positions of those entries that do not count, in their order.
fn check(entries: &Entries, expected: &Expected, within: Within<'_>) -> Result<Vec<usize>> {
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
    let way_may_lack = expected.scope.way_may_lack();
    let is_other = |entry: &FileEntry<'_>| way_may_lack && !entry.kind.is_dir();
    let others: HashSet<&[u8]> = entries.iter().filter(is_other).map(|entry| entry.name).collect();
    let mut previous: Option<&[u8]> = None;
    for (number, entry) in entries.iter().enumerate() {
        let name = entry.name;
        let shown = || text::escape_bytes(name);
        if name == b"." && !matches!(within, Within::Folder(_)) {
            if !entry.kind.is_dir() || !expected.scope.has_root() {
                return Err(refused("has an entry `.` that was not asked for"));
            }
            continue;
        }
        RemoteName::check(name).map_err(|fault| refused(&format!("has the name {}: {fault}", shown())))?;
        expected.scope.check(name, entry.kind.is_dir())?;
        let above = folder_of(name);
        let is_in_folder = || above.is_none_or(|above| folders.contains_key(above));
        match within {
            Within::Itself if way_may_lack => {
                let mut above = above;
                while let Some(folder) = above {
                    if others.contains(folder) {
                        return Err(refused(&format!("has {}, and no folder that it could lie in", shown())));
                    }
                    above = folder_of(folder);
                }
            }
            Within::Itself if !is_in_folder() => {
                return Err(refused(&format!("has {}, and no folder that it could lie in", shown())));
            }
            Within::Top if above.is_some() && !(expected.scope.has_whole_paths() && is_in_folder()) => {
                return Err(refused(&format!("has {} in its first part, which lies deeper", shown())));
            }
            Within::Folder(folder) if above != Some(folder) => {
                let folder = text::escape_bytes(folder);
                return Err(refused(&format!("has {} as content of {folder}", shown())));
            }
            _ => {}
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
    replaced.sort_unstable();
    Ok(replaced)
}

pub(super) fn refused(what: &str) -> NasSyncError {
    NasSyncError::new(ErrorKind::Protocol, format!("the NAS broke the protocol: its list of files {what}"))
}
