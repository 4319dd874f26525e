//! What the recorded sessions under `fixtures/wire/` are about, read from their `case.toml`.
//!
//! A description holds everything that a recording needs: offer, options, entries, and a recipe for each content, so
//! that no content is stored twice. Unknown keys fail, because a key that nothing reads proves nothing.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use crate::support::with;
use nas_sync::NasSyncError;
use nas_sync::internal::delta::StrongAlgorithm;
use nas_sync::internal::role::list::{IdNames, SendList, Sources};
use nas_sync::internal::role::sender::Mode;
use nas_sync::internal::tree::SourceFile;
use nas_sync::internal::wire::flist::idlist::NamedId;
use nas_sync::internal::wire::flist::{Content, EntryKind, FileEntry, FileMeta, ListFields, Mtime};
use nas_sync::internal::wire::offer::{ChecksumChoice, CompressionChoice, Offer, Protocol};
use nas_sync::internal::wire::server_args::PushOptions;
use nas_sync::internal::wire::token::TokenCoding;
use nas_sync::{Event, FileStats, Monitor};

/// The folder of all recorded sessions.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/wire")
}

/// Every recorded session, by the name of its folder. A folder that is not named here fails a test, and so does a
/// name without a folder.
pub const CASES: [&str; 21] = [
    "27-delta-zlib",
    "27-whole",
    "28-whole",
    "29-delta",
    "29-delta-zlib",
    "29-names",
    "29-redo",
    "29-vanished",
    "30-delta",
    "30-plain-list-errors",
    "31-delta-zstd",
    "31-plain-list-errors",
    "32-delta",
    "32-delta-lz4",
    "32-delta-zlib",
    "32-delta-zlibx",
    "32-dry-run",
    "32-names",
    "32-redo",
    "32-vanished",
    "32-whole",
];

/// One described session.
pub struct Case {
    pub name: &'static str,
    pub offer: Offer,
    pub options: PushOptions,
    /// The seed that the server is told to use, so that a new recording differs only where the protocol does.
    pub seed: i32,
    /// The capabilities that the server is told of instead of our own, to make it behave like an older one.
    pub capabilities: Option<String>,
    /// The lister's trouble.
    pub errors: i32,
    pub names: Option<IdNames>,
    pub entries: Vec<Planned>,
    pub expected: Expected,
}

/// One entry and its contents.
#[derive(Debug)]
pub struct Planned {
    /// Its bytes are leaked, as a case is read once in a run.
    pub entry: FileEntry<'static>,
    pub content: Vec<u8>,
    /// What the server has under that name.
    pub basis: Option<Vec<u8>>,
    /// What the file holds when it is opened for the first time. It is overwritten with `content` before it is read.
    pub before: Option<Vec<u8>>,
    /// Whether the file is gone when it is asked for.
    pub vanished: bool,
}

/// What the session must come to.
#[derive(Debug, PartialEq, Eq)]
pub struct Expected {
    pub literal: u64,
    pub matched: u64,
    pub acknowledged: usize,
    pub failed: usize,
}

impl Case {
    pub fn load(name: &'static str) -> Self {
        let path = root().join(name).join("case.toml");
        let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let mut tables = parse(&text);
        let mut top = tables.remove(0);
        let options = options(&top.take("options"));
        let number = top.take("protocol").parse().unwrap();
        assert!(name.starts_with(&format!("{number}-")), "{name} records protocol {number}");
        let names = |list: Option<String>| list.map(|list| named_ids(&list)).unwrap_or_default();
        let (users, groups) = (names(top.find("users")), names(top.find("groups")));
        let case = Self {
            name,
            offer: with!(Offer::default(), protocol: Protocol::new(number).unwrap(),
                checksum: checksum(&top.take("checksum")),
                compression: compression(&top.take("compression"))),
            seed: top.take("seed").parse().unwrap(),
            capabilities: top.find("abilities"),
            errors: top.find("errors").map_or(0, |errors| errors.parse().unwrap()),
            names: (options.owner && !options.numeric_ids).then_some(IdNames { users, groups }),
            options,
            entries: tables.into_iter().map(Planned::read).collect(),
            expected: Expected {
                literal: top.take("literal").parse().unwrap(),
                matched: top.take("matched").parse().unwrap(),
                acknowledged: top.take("acknowledged").parse().unwrap(),
                failed: top.take("failed").parse().unwrap(),
            },
        };
        top.done();
        case
    }

    pub fn file(&self, name: &str) -> PathBuf {
        root().join(self.name).join(name)
    }

    pub fn bytes(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.file(name)).unwrap_or_else(|error| panic!("{}/{name}: {error}", self.name))
    }

    pub fn fields(&self) -> ListFields {
        self.options.list_fields()
    }

    pub fn mode(&self) -> Mode {
        if self.options.dry_run { Mode::DryRun } else { Mode::Transfer }
    }

    pub fn list(&self) -> SendList {
        let tagged = |(tag, planned): (u32, &Planned)| with!(planned.entry, tag: Some(tag));
        let entries = (0..).zip(&self.entries).map(tagged).collect();
        SendList { entries, fields: self.fields(), names: self.names.clone(), errors: self.errors }
    }
}

impl Planned {
    fn read(mut table: Table) -> Self {
        let content = table.find("content").map_or_else(Vec::new, |recipe| cook(&recipe));
        let kind = match &*table.take("kind") {
            "file" => EntryKind::File,
            "argument" => EntryKind::Directory(Content::Argument),
            "directory" => EntryKind::Directory(Content::Listed),
            "symlink" => EntryKind::Symlink(table.take("target").leak().as_bytes()),
            other => panic!("no such kind: {other}"),
        };
        let size = match kind {
            EntryKind::File => content.len(),
            EntryKind::Symlink(target) => target.len(),
            _ => 4096,
        };
        let mut number = |key| table.find(key).map_or(0, |value| value.parse().unwrap());
        let meta = with!(FileMeta::default(), size: size as u64,
            uid: number("uid"),
            gid: number("gid"),
            mtime: Mtime { nanoseconds: number("mtime_ns"), seconds: table.take("mtime").parse().unwrap() },
            permissions: u16::from_str_radix(&table.take("permissions"), 8).unwrap());
        let entry = FileEntry::new(table.take("name").leak().as_bytes(), kind, meta);
        let basis = table.find("basis").map(|recipe| cook(&recipe));
        let before = table.find("before").map(|recipe| cook(&recipe));
        let vanished = table.find("vanished").is_some();
        table.done();
        Self { entry, content, basis, before, vanished }
    }
}

/// One table of a description.
struct Table(BTreeMap<String, String>);

impl Table {
    fn find(&mut self, key: &str) -> Option<String> {
        self.0.remove(key)
    }

    fn take(&mut self, key: &str) -> String {
        self.find(key).unwrap_or_else(|| panic!("the key {key} is missing beside {:?}", self.0))
    }

    fn done(self) {
        assert!(self.0.is_empty(), "keys that nothing reads: {:?}", self.0);
    }
}

/// The part of TOML that the descriptions use: comments, `key = "value"`, and `[[entry]]` before each entry's keys.
fn parse(text: &str) -> Vec<Table> {
    let mut tables = vec![Table(BTreeMap::new())];
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        if line == "[[entry]]" {
            tables.push(Table(BTreeMap::new()));
            continue;
        }
        let (key, value) = line.split_once(" = ").unwrap_or_else(|| panic!("no key and value: {line}"));
        let value = value.strip_prefix('"').and_then(|value| value.strip_suffix('"'));
        let value = value.filter(|value| !value.contains(['"', '\\'])).unwrap_or_else(|| panic!("not plain: {line}"));
        let twice = tables.last_mut().unwrap().0.insert(key.into(), value.into());
        assert!(twice.is_none(), "twice: {line}");
    }
    tables
}

fn options(words: &str) -> PushOptions {
    let mut options = PushOptions::default();
    for word in words.split_whitespace() {
        *match word {
            "recursive" => &mut options.recursive,
            "links" => &mut options.links,
            "owner" => &mut options.owner,
            "group" => &mut options.group,
            "permissions" => &mut options.permissions,
            "times" => &mut options.times,
            "dry_run" => &mut options.dry_run,
            "ignore_times" => &mut options.ignore_times,
            "acknowledge" => &mut options.acknowledge,
            other => panic!("no such option: {other}"),
        } = true;
    }
    options
}

fn checksum(name: &str) -> ChecksumChoice {
    if name == "negotiate" {
        return ChecksumChoice::Negotiate;
    }
    let sum = StrongAlgorithm::from_name(name).unwrap();
    ChecksumChoice::Fixed { transfer: sum, list: sum }
}

fn compression(name: &str) -> CompressionChoice {
    match name {
        "off" => CompressionChoice::Off,
        "negotiate" => CompressionChoice::Negotiate { level: None },
        name => CompressionChoice::Fixed(TokenCoding::from_name(name, None).unwrap()),
    }
}

/// `0:root 1000:ada`.
fn named_ids(list: &str) -> Vec<NamedId> {
    let named = |word: &str| {
        let (id, name) = word.split_once(':').unwrap();
        (id.parse().unwrap(), Box::from(name.as_bytes()))
    };
    list.split_whitespace().map(named).collect()
}

/// Makes a content from its recipe: parts joined by ` + `, each `noise SEED FROM..TO` (no compressor shrinks it),
/// `text SEED FROM..TO` (any does) or `say WORDS`.
fn cook(recipe: &str) -> Vec<u8> {
    let mut content = Vec::new();
    for part in recipe.split(" + ").filter(|part| !part.is_empty()) {
        let (what, rest) = part.split_once(' ').unwrap();
        if what == "say" {
            content.extend_from_slice(rest.as_bytes());
            continue;
        }
        let (seed, range) = rest.split_once(' ').unwrap();
        let (from, to) = range.split_once("..").unwrap();
        let (seed, from, to): (u64, usize, usize) = (seed.parse().unwrap(), from.parse().unwrap(), to.parse().unwrap());
        let whole = match what {
            "noise" => noise(to, seed),
            "text" => prose(to, seed),
            other => panic!("no such recipe: {other}"),
        };
        content.extend_from_slice(&whole[from..to]);
    }
    content
}

/// A linear congruential generator, the same for ever.
fn numbers(mut state: u64) -> impl Iterator<Item = u64> {
    std::iter::repeat_with(move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state ^ (state >> 29)
    })
}

pub fn noise(len: usize, seed: u64) -> Vec<u8> {
    numbers(seed).flat_map(u64::to_le_bytes).take(len).collect()
}

fn prose(len: usize, seed: u64) -> Vec<u8> {
    const WORDS: [&str; 8] = ["the ", "receipt ", "of ", "a ", "contract ", "and ", "its ", "letter\n"];
    numbers(seed).flat_map(|number| WORDS[(number >> 33) as usize % WORDS.len()].bytes()).take(len).collect()
}

/// A case's files on disk, which change and vanish as the case says.
pub struct Files {
    folder: tempfile::TempDir,
    /// For each entry that changes while it is read for the first time, what it holds then.
    changes: Mutex<BTreeMap<usize, Vec<u8>>>,
}

impl Files {
    pub fn of(case: &Case) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut changes = BTreeMap::new();
        for (index, planned) in case.entries.iter().enumerate() {
            if planned.entry.kind != EntryKind::File || planned.vanished {
                continue;
            }
            if planned.before.is_some() {
                changes.insert(index, planned.content.clone());
            }
            let first = planned.before.as_ref().unwrap_or(&planned.content);
            std::fs::write(folder.path().join(index.to_string()), first).unwrap();
        }
        Self { folder, changes: Mutex::new(changes) }
    }
}

impl Sources for Files {
    fn open(&self, entry: &FileEntry<'_>) -> Result<SourceFile, NasSyncError> {
        let index = position(entry);
        let path = self.folder.path().join(index.to_string());
        let source = SourceFile::open(&path);
        if let Some(content) = self.changes.lock().unwrap().remove(&index) {
            std::fs::write(path, content).unwrap();
        }
        source
    }
}

/// Where a case names an entry.
fn position(entry: &FileEntry<'_>) -> usize {
    entry.tag.unwrap() as usize
}

/// Counts what a session tells.
#[derive(Default)]
pub struct Tally {
    totals: Mutex<FileStats>,
    acknowledged: Mutex<Vec<usize>>,
    failed: Mutex<Vec<usize>>,
}

impl Tally {
    /// What was seen, with the acknowledgements that somebody else counted.
    pub fn seen(&self, acknowledged: usize) -> Expected {
        let totals = *self.totals.lock().unwrap();
        let failed = self.failed.lock().unwrap().len();
        Expected { literal: totals.literal, matched: totals.matched, acknowledged, failed }
    }

    pub fn acknowledged(&self) -> usize {
        self.acknowledged.lock().unwrap().len()
    }
}

impl Monitor for Tally {
    fn event(&self, event: Event<'_>) {
        match event {
            Event::FileSent { stats, .. } => {
                let mut totals = self.totals.lock().unwrap();
                totals.literal += stats.literal;
                totals.matched += stats.matched;
            }
            Event::Acknowledged { entry } => self.acknowledged.lock().unwrap().push(position(entry)),
            Event::FileFailed { entry, .. } => self.failed.lock().unwrap().push(position(entry)),
            _ => {}
        }
    }
}
