//! The options of a push that are the receiving server's business, `protocol-notes/02-command-line.md#options-for-the-receiver`:
//! words for it, and at most a duty of the sender that follows from them.

/// What a receiver does by itself with what comes. Each field is an rsync option.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[expect(clippy::struct_excessive_bools, reason = "they are rsync's own switches")]
#[non_exhaustive]
pub struct ReceiverOptions {
    /// `-u`: no files that are newer there.
    pub update: bool,
    /// `--existing`: no files that are new there.
    pub existing: bool,
    /// `--ignore-existing`: no files that are there already.
    pub ignore_existing: bool,
    /// `--size-only`: files of equal size are equal.
    pub size_only: bool,
    /// `--modify-window`: times that differ by at most so many seconds are equal; below 0 nanoseconds count.
    pub modify_window: Option<i32>,
    /// `--min-size`: no files that are smaller, in bytes.
    pub min_size: Option<u64>,
    /// `--max-size`: no files that are larger, in bytes.
    pub max_size: Option<u64>,
    /// `-m`: no folders in which nothing would be.
    pub prune_empty_directories: bool,
    /// `-y`: files of similar names serve as basis, too.
    pub fuzzy: bool,
    /// `--inplace`, `--append`, `--append-verify`.
    pub writing: Writing,
    /// `--partial`, `--partial-dir`.
    pub partial: Partial,
    /// `-T`: the folder for files that are not complete.
    pub temp_dir: Option<Vec<u8>>,
    /// `-b`: keeps what is replaced.
    pub backup: bool,
    /// `--backup-dir`: where it is kept.
    pub backup_dir: Option<Vec<u8>>,
    /// `--suffix`: what its names end with.
    pub suffix: Option<Vec<u8>>,
    /// `--link-dest`, `--copy-dest`, `--compare-dest`: folders there, in which files are looked for that are not in the
    /// destination.
    pub alternates: Option<Alternates>,
    /// `--delay-updates`: all files take their places at the end.
    pub delay_updates: bool,
    /// `--preallocate`: takes the room on the disk at first.
    pub preallocate: bool,
    /// `--mkpath`: makes the folders above the destination.
    pub make_path: bool,
    /// `--safe-links`: no symlinks that lead out of the destination.
    pub safe_links: bool,
    /// `-J`: leaves the times of symlinks alone.
    pub omit_link_times: bool,
    /// `-E`: whether files are programs, where permissions are not sent.
    pub executability: bool,
    /// `--usermap`.
    pub user_map: Option<Vec<u8>>,
    /// `--groupmap`.
    pub group_map: Option<Vec<u8>>,
    /// `--super`: does what only root may.
    pub as_super: bool,
    /// `--delete` and its kin: deletes what the list lacks.
    pub deletion: Option<Deletion>,
    /// `--max-delete`: how many entries may be deleted.
    pub max_delete: Option<u32>,
    /// `--force`: deletes folders in whose places files come.
    pub force: bool,
    /// `--ignore-errors`: deletes although something could not be listed.
    pub ignore_errors: bool,
}

/// How a receiver writes a file of which it has an older version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Writing {
    /// Beside it, and renames it at the end.
    #[default]
    Aside,
    /// Into it.
    InPlace,
    /// To its end, without a look at what is there.
    Append,
    /// To its end; the whole is compared afterwards.
    AppendVerify,
}

/// What becomes of a file that did not come whole.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Partial {
    /// It is thrown away.
    #[default]
    Dropped,
    /// It takes its place.
    Kept,
    /// It waits in this folder.
    Aside(Vec<u8>),
}

/// What a receiver does with a file that it finds in another folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AlternateUse {
    /// It links to it.
    Link,
    /// It copies it.
    Copy,
    /// It leaves it at that: only what differs comes to the destination.
    Compare,
}

/// Other folders there, and what is done with what is found in them.
pub type Alternates = (AlternateUse, Vec<Vec<u8>>);

/// What is deleted, and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Deletion {
    /// When; `None` leaves it to the receiver.
    pub when: Option<DeleteTime>,
    /// `--delete-excluded`: also what is excluded here.
    pub excluded: bool,
}

/// When a receiver deletes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeleteTime {
    /// At first.
    Before,
    /// Folder by folder.
    During,
    /// At the end, as it was found folder by folder.
    Delay,
    /// At the end.
    After,
}

impl AlternateUse {
    /// The name of its option.
    pub fn option(self) -> &'static str {
        match self {
            Self::Link => "--link-dest",
            Self::Copy => "--copy-dest",
            Self::Compare => "--compare-dest",
        }
    }
}

impl ReceiverOptions {
    /// Whether it reads rules before the file list.
    pub fn reads_rules(&self) -> bool {
        self.deletion.is_some() || self.prune_empty_directories
    }

    /// What the names of kept versions end with, where there are any.
    pub fn backup_ending(&self) -> Option<&[u8]> {
        let usual: &[u8] = if self.backup_dir.is_some() { b"" } else { b"~" };
        self.backup.then(|| self.suffix.as_deref().unwrap_or(usual))
    }

    /// The arguments behind the letters. Nothing is quoted yet.
    pub(super) fn arguments(&self) -> Vec<Vec<u8>> {
        let mut arguments: Vec<Vec<u8>> = self.switches().map(|word| word.as_bytes().to_vec()).collect();
        let pairs = [
            ("--backup-dir", &self.backup_dir),
            ("--temp-dir", &self.temp_dir),
            ("--partial-dir", &self.partial.folder()),
        ];
        for (option, value) in pairs {
            if let Some(value) = value {
                arguments.extend([option.as_bytes().to_vec(), value.clone()]);
            }
        }
        if let Some((way, folders)) = &self.alternates {
            arguments.extend(folders.iter().flat_map(|folder| [way.option().as_bytes().to_vec(), folder.clone()]));
        }
        let values = [("--suffix=", &self.suffix), ("--usermap=", &self.user_map), ("--groupmap=", &self.group_map)];
        for (option, value) in values {
            arguments.extend(value.as_ref().map(|value| [option.as_bytes(), value].concat()));
        }
        arguments.extend(self.numbers().into_iter().flatten().map(String::into_bytes));
        arguments
    }

    fn numbers(&self) -> [Option<String>; 4] {
        // None at all would be any number.
        let most = |most| if most == 0 { String::from("--max-delete=-1") } else { format!("--max-delete={most}") };
        let window = |window| if window < 0 { format!("-@{window}") } else { format!("--modify-window={window}") };
        [
            self.max_delete.map(most),
            self.min_size.map(|size| format!("--min-size={size}")),
            self.max_size.map(|size| format!("--max-size={size}")),
            self.modify_window.map(window),
        ]
    }

    fn switches(&self) -> impl Iterator<Item = &'static str> {
        let deletion = self.deletion.and_then(|Deletion { when, excluded }| match when {
            Some(DeleteTime::Before) => Some("--delete-before"),
            Some(DeleteTime::During) => Some("--delete-during"),
            Some(DeleteTime::Delay) => Some("--delete-delay"),
            Some(DeleteTime::After) => Some("--delete-after"),
            None => (!excluded).then_some("--delete"),
        });
        let switches = [
            (self.deletion.is_some_and(|deletion| deletion.excluded), "--delete-excluded"),
            (self.force, "--force"),
            (self.as_super, "--super"),
            (self.size_only, "--size-only"),
            (self.partial == Partial::Kept, "--partial"),
            (self.delay_updates, "--delay-updates"),
            (self.ignore_errors, "--ignore-errors"),
            (self.safe_links, "--safe-links"),
            (self.ignore_existing, "--ignore-existing"),
            (self.existing, "--existing"),
            (self.preallocate, "--preallocate"),
            (self.make_path, "--mkpath"),
        ];
        let switches = switches.into_iter().filter(|(on, _)| *on).map(|(_, word)| word);
        deletion.into_iter().chain(switches).chain(self.writing.words().iter().copied())
    }
}

impl Writing {
    /// The words for it.
    pub(super) fn words(self) -> &'static [&'static str] {
        match self {
            Self::Aside => &[],
            Self::InPlace => &["--inplace"],
            Self::Append => &["--append"],
            // Twice is how it travels, also to servers that do not know the word.
            Self::AppendVerify => &["--append", "--append"],
        }
    }

    /// Whether only what is missing at the end is asked for.
    pub fn appends(self) -> bool {
        matches!(self, Self::Append | Self::AppendVerify)
    }
}

impl Partial {
    fn folder(&self) -> Option<Vec<u8>> {
        match self {
            Self::Aside(folder) => Some(folder.clone()),
            Self::Dropped | Self::Kept => None,
        }
    }
}
