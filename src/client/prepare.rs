//! From what a person names to a file list and the files behind it.

use std::collections::BTreeSet;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use super::file_list;
use crate::blocking;
use crate::error::{NasSyncError, Result};
use crate::filter::Rules;
use crate::role::list::{IdNames, PartSource, Parts, SendList, SendPart, Sources};
use crate::tree::{
    self, Climbing, Depth, Effect, Followed, Links, Operand, RemoteName, SourceFile, WalkOptions, WalkPart, WalkWarning,
};
use crate::wire::flist::idlist::NamedId;
use crate::wire::flist::{Counts, Entries, FileEntry, FileMeta, ListOrder, io_error};
use crate::wire::server_args::PushOptions;

/// Which files a push sends.
#[derive(Debug, Clone)]
pub enum Files {
    /// What the operands of an rsync command stand for.
    Operands(Vec<PathBuf>),
    /// What names in a list stand for, below a folder, as for `--files-from`. Folders among them come without what is in them,
    /// but for those whose names end with a slash, or with [`PushOptions::recursive`].
    Listed {
        /// The folder.
        folder: PathBuf,
        /// The names.
        names: Vec<Vec<u8>>,
    },
    /// Regular files, each under a name of its own. No name may occur twice. Folders on the way to a name are made where
    /// they are missing; those that exist are left as they are.
    Named(Vec<(PathBuf, RemoteName)>),
}

/// A push whose files were listed.
pub(super) struct Prepared {
    pub options: PushOptions,
    pub list: SendList,
    /// Where what is in the list is still to be found, if that is how.
    pub parts: Option<Parts>,
    pub sources: Arc<dyn Sources>,
    pub told: Arc<Mutex<Told>>,
    /// Files that could not even be listed.
    pub failures: Vec<(Box<[u8]>, NasSyncError)>,
}

/// What has been found until now.
#[derive(Default)]
pub(super) struct Told {
    pub warnings: Vec<WalkWarning>,
    pub counts: Counts,
}

impl Told {
    /// The worst that happened while listing.
    pub fn worst(&self) -> Effect {
        let any = |effect| self.warnings.iter().any(|warning| warning.effect() == effect);
        match () {
            () if any(Effect::Failed) => Effect::Failed,
            () if any(Effect::Vanished) => Effect::Vanished,
            () => Effect::None,
        }
    }
}

/// What the receiver has to know of what was left out, as bits.
fn error_bits(warnings: &[WalkWarning]) -> i32 {
    let vanished = warnings.iter().any(|warning| warning.effect() == Effect::Vanished);
    let hidden = warnings.iter().any(WalkWarning::may_hide_something);
    let bit = |is_set, bit| if is_set { bit } else { 0 };
    bit(vanished, io_error::VANISHED) | bit(hidden, io_error::GENERAL)
}

/// Finds files folder by folder, while they are sent.
struct FolderByFolder {
    walk: tree::Walk,
    top: Option<WalkPart>,
    told: Arc<Mutex<Told>>,
    /// Whether the receiver is not to mind what was left out.
    ignores_errors: bool,
    errors: i32,
}

impl PartSource for FolderByFolder {
    fn next(&mut self) -> Result<Option<SendPart>> {
        let found = match self.top.take() {
            Some(top) => Some(top),
            None => self.walk.below()?,
        };
        let Some(WalkPart { folder, entries, warnings }) = found else { return Ok(None) };
        if !self.ignores_errors {
            self.errors |= error_bits(&warnings);
        }
        let mut told = blocking::lock(&self.told);
        told.warnings.extend(warnings);
        told.counts.add(&entries.count());
        Ok(Some(SendPart { folder, entries, errors: self.errors }))
    }
}

/// Lists the files.
pub(super) fn prepare(files: Files, options: PushOptions, rules: &Rules, in_parts: bool) -> Result<Prepared> {
    let mut prepared = match files {
        Files::Operands(operands) => {
            let operands = operands.iter().map(|operand| {
                if !options.relative {
                    return Operand::parse(operand);
                }
                Operand::relative(Path::new(""), operand.as_os_str().as_bytes(), Climbing::Refused)
            });
            let operands = operands.collect::<Result<Vec<_>>>()?;
            if in_parts && let Some(prepared) = prepare_in_parts(operands.clone(), &options, rules)? {
                return Ok(prepared);
            }
            prepare_operands(&operands, depth(&options, Depth::FilesOnly), options, rules)?
        }
        Files::Listed { folder, names } => {
            let operands = names.iter().map(|name| listed(&folder, name, &options)).collect::<Result<Vec<_>>>()?;
            prepare_operands(&operands, depth(&options, Depth::Folders), options, rules)?
        }
        Files::Named(pairs) => prepare_named(pairs, options),
    };
    // The receiver is not to mind them then.
    if !prepared.options.receiver.ignore_errors {
        let failed = if prepared.failures.is_empty() { 0 } else { io_error::GENERAL };
        prepared.list.errors = failed | error_bits(&blocking::lock(&prepared.told).warnings);
    }
    Ok(prepared)
}

/// An operand out of a list. It cannot climb out of the folder.
fn listed(folder: &Path, name: &[u8], options: &PushOptions) -> Result<Operand> {
    let slashes = name.iter().take_while(|&&byte| byte == b'/').count();
    let operand = Operand::relative(folder, &name[slashes..], Climbing::Undone)?;
    if options.relative {
        return Ok(operand);
    }
    let end = if operand.means_contents() { "/" } else { "" };
    let mut path = operand.path().into_os_string();
    path.push(end);
    Operand::parse(Path::new(&path))
}

fn depth(options: &PushOptions, least: Depth) -> Depth {
    match () {
        () if options.recursive => Depth::Recursive,
        () if options.dirs => Depth::Folders,
        () => least,
    }
}

fn walk_options(depth: Depth, options: &PushOptions) -> WalkOptions {
    WalkOptions {
        links: match () {
            () if options.copy_links => Links::Follow,
            () if options.links => Links::Keep,
            () => Links::Skip,
        },
        followed: Followed { to_folders: options.copy_dirlinks, unsafe_ones: options.copy_unsafe_links },
        unmunges: options.munge_links,
        depth,
        leaves_way: options.no_implied_dirs,
        one_file_system: options.one_file_system,
        fields: options.list_fields(),
        lists_skipped: options.receiver.deletion.is_some(),
    }
}

/// Looks at what lies at the top, and leaves the rest for later. `None` where that is all: a list of one part would have the far
/// side waited for more often than a whole one.
fn prepare_in_parts(operands: Vec<Operand>, options: &PushOptions, rules: &Rules) -> Result<Option<Prepared>> {
    let mut walk = tree::Walk::new(operands, walk_options(Depth::Recursive, options), rules);
    let top = Some(walk.top()?);
    if walk.is_over() {
        return Ok(None);
    }
    let sources = Arc::new(walk.sources());
    let system = tree::IdNames::system();
    // Which of them occur shows later.
    let names = (!options.numeric_ids).then(|| IdNames { users: system.users(), groups: system.groups() });
    let list = SendList { fields: options.list_fields(), names, ..SendList::default() };
    let told = Arc::<Mutex<Told>>::default();
    let ignores_errors = options.receiver.ignore_errors;
    let parts = FolderByFolder { walk, top, told: Arc::clone(&told), ignores_errors, errors: 0 };
    let (parts, options): (Parts, _) = (Arc::new(Mutex::new(parts)), options.clone());
    Ok(Some(Prepared { options, list, parts: Some(parts), sources, told, failures: Vec::new() }))
}

fn prepare_operands(operands: &[Operand], depth: Depth, options: PushOptions, rules: &Rules) -> Result<Prepared> {
    let mut warnings = Vec::new();
    let listing = tree::walk(operands, walk_options(depth, &options), rules, &mut |warning| warnings.push(warning))?;
    let mut list = send_list(listing.entries, &options);
    // The order of all but the oldest protocols. To sort once more what is sorted costs next to nothing.
    list.entries.sort(ListOrder::FilesFirst);
    let told = Told { warnings, counts: list.entries.count() };
    let (sources, told) = (Arc::new(listing.sources), Arc::new(Mutex::new(told)));
    Ok(Prepared { options, list, parts: None, sources, told, failures: Vec::new() })
}

/// Folders on the way to names travel too, and those that exist are left as they are. Of the files only what documents need is
/// sent.
pub(super) fn named_options<'n>(names: impl Iterator<Item = &'n RemoteName>, options: PushOptions) -> PushOptions {
    let options = PushOptions { atimes: false, hard_links: false, ..options };
    if !file_list::has_folders(names) {
        return options;
    }
    PushOptions { recursive: true, omit_directory_times: true, keep_dirlinks: true, ..options }
}

fn prepare_named(pairs: Vec<(PathBuf, RemoteName)>, options: PushOptions) -> Prepared {
    let options = named_options(pairs.iter().map(|(_, name)| name), options);
    let mut failures = Vec::new();
    let mut files = Vec::with_capacity(pairs.len());
    let mut paths = Vec::with_capacity(pairs.len());
    for (path, name) in pairs {
        match SourceFile::open(&path) {
            Ok(file) => {
                files.push((name, *file.meta()));
                paths.push(path);
            }
            Err(error) => failures.push((name.into_bytes(), error)),
        }
    }
    let entries = file_list::entries(files.iter().map(|(name, meta)| (name, *meta)), &options);
    let list = send_list(entries, &options);
    let told = Told { warnings: Vec::new(), counts: list.entries.count() };
    let (sources, told) = (Arc::new(NamedSources(paths)), Arc::new(Mutex::new(told)));
    Prepared { options, list, parts: None, sources, told, failures }
}

fn send_list(entries: Entries, options: &PushOptions) -> SendList {
    let system = tree::IdNames::system();
    let named_ids = |id_of: fn(FileMeta) -> u32, name_of: &dyn Fn(u32) -> Option<&'static [u8]>| -> Vec<NamedId> {
        let ids: BTreeSet<u32> = entries.iter().map(|entry| id_of(entry.meta)).collect();
        ids.into_iter().filter_map(|id| Some((id, Box::from(name_of(id)?)))).collect()
    };
    let names = (!options.numeric_ids).then(|| IdNames {
        users: named_ids(|meta| meta.uid, &|uid| system.user(uid)),
        groups: named_ids(|meta| meta.gid, &|gid| system.group(gid)),
    });
    SendList { fields: options.list_fields(), names, errors: 0, entries }
}

impl Sources for tree::Sources {
    fn open(&self, entry: &FileEntry<'_>) -> Result<SourceFile> {
        self.open(entry)
    }

    fn remove(&self, entry: &FileEntry<'_>) -> Result<()> {
        self.remove(entry)
    }
}

/// The paths of files, by tag.
struct NamedSources(Vec<PathBuf>);

impl Sources for NamedSources {
    fn open(&self, entry: &FileEntry<'_>) -> Result<SourceFile> {
        SourceFile::open(file_list::tagged(&self.0, entry)?)
    }
}
