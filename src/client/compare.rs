//! Reading back: whether copies on the NAS are what was recorded, without moving their contents.
//!
//! Guarantees: a copy counts as equal only if the NAS compared it, as it compared a file that cannot be there, or said its
//! sum, and did not complain about it; a
//! file that is no longer what was recorded is told apart from a copy that is not; everything ends by a deadline. What a
//! dry run says, and what its silence means, is in `protocol-notes/07-transfer.md#comparing-without-sending`.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::destination::destination_of;
use super::dry_run::unheard_of;
use super::file_list;
use super::login::Client;
use super::nas::{Sum, Sums, sha256_of};
use crate::blocking;
use crate::error::{ErrorKind, NasSyncError, Result};
use crate::role::event::{Monitor, Silent};
use crate::role::ledger::{FileReport, Ledger};
use crate::role::list::{SendList, Sources};
use crate::role::sender::{ChangedFile, Duties, Mode};
use crate::session::{Contents, Outcome, Push, Receipts, RemoteText, kind_of_text, names_file};
use crate::transport::ExitStatus;
use crate::tree::{HeldFolder, RemoteName, SourceFile};
use crate::wire::flist::{EntryKind, FileEntry, FileMeta, Mtime};
use crate::wire::iflags::ItemFlags;
use crate::wire::offer::Offer;
use crate::wire::server_args::PushOptions;

/// So much of a file is read at once, in bytes.
#[cfg(feature = "service")]
const READ: usize = 256 << 10;

/// The most copies of one session.
pub(crate) const MOST_ITEMS: usize = 2_000;
/// The most bytes of one session, unless one file alone has more.
const MOST_BYTES: u64 = 1 << 30;
/// A NAS that says nothing may be reading: bytes a second that even a slow one reads.
const SLOWEST: u64 = 4 << 20;

/// How copies are read back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Method {
    /// rsync over there compares its sums with those of the files here: a dry run of `--checksum`.
    DryRun,
    /// `sha256sum` over there; the files here are not needed.
    Sha256sum,
}

/// A copy as it was recorded.
#[derive(Debug, Clone)]
pub(crate) struct Item {
    /// Its name on the NAS.
    pub name: RemoteName,
    /// Its file here.
    pub path: PathBuf,
    /// Its length in bytes.
    pub bytes: u64,
    /// Its modification time.
    pub mtime: Mtime,
    /// The SHA-256 of what was sent, where it was kept.
    pub sha256: Option<[u8; 32]>,
}

/// What became of a copy.
#[derive(Debug, Clone)]
pub(crate) enum Comparison {
    /// It is what was recorded.
    Equal,
    /// Its content is another one, or could not be read over there: a dry run does not say which.
    Differs,
    /// There is no regular file of its name.
    Missing,
    /// Its file here is no longer what was recorded, so that nothing is known about the copy.
    ChangedHere,
    /// Nothing is known, because of this.
    Unknown(NasSyncError),
}

/// Compares copies below `path`, in their order. Files here are looked for below `root` where there is one.
///
/// Fails when a session did not come to its end, or when the NAS cannot do what the method needs.
pub(crate) async fn compare(
    client: &Client,
    path: &str,
    root: Option<&Arc<HeldFolder>>,
    items: &[Item],
    method: Method,
) -> Result<Vec<Comparison>> {
    let mut comparisons = Vec::with_capacity(items.len());
    while let Some(rest) = items.get(comparisons.len()..).filter(|rest| !rest.is_empty()) {
        let part = &rest[..part_len(rest)];
        comparisons.extend(match method {
            Method::DryRun => dry_run(client, path, root, part).await?,
            Method::Sha256sum => sums(client, path, part).await?,
        });
    }
    Ok(comparisons)
}

/// How many copies the next session takes, at least one.
fn part_len(items: &[Item]) -> usize {
    let mut bytes = 0_u64;
    let fits = |item: &&Item| {
        bytes = bytes.saturating_add(item.bytes);
        bytes <= MOST_BYTES
    };
    items.iter().take(MOST_ITEMS).take_while(fits).count().max(1)
}

/// How long the NAS may say nothing while it reads all these.
fn patience(client: &Client, items: &[Item]) -> Duration {
    let bytes = items.iter().fold(0, |sum: u64, item| sum.saturating_add(item.bytes));
    client.idle_limit() + Duration::from_secs(bytes / SLOWEST)
}

async fn sums(client: &Client, path: &str, items: &[Item]) -> Result<Vec<Comparison>> {
    let names: Vec<RemoteName> = items.iter().map(|item| item.name.clone()).collect();
    let sums = match sha256_of(client, path, &names, patience(client, items)).await? {
        Sums::Said(sums) => sums,
        Sums::Refused(why) => {
            let message = format!("the NAS does not let nas-sync run sha256sum: {why}");
            return Err(NasSyncError::new(ErrorKind::ExecRefused, message)
                .with_solution("Verify without --sha256sum: rsync on the NAS compares as well, with the files that are still here; for the others use a key that is not held to rsync."));
        }
    };
    let compare = |(item, sum): (&Item, Sum)| match (sum, item.sha256) {
        (Sum::Missing, _) => Comparison::Missing,
        (Sum::Unreadable, _) => Comparison::Unknown(NasSyncError::new(
            ErrorKind::PermissionDenied,
            "the NAS user cannot read the copy, or the disk cannot",
        )),
        (Sum::Is(_), None) => Comparison::Unknown(unrecorded()),
        (Sum::Is(there), Some(recorded)) if there == recorded => Comparison::Equal,
        (Sum::Is(_), Some(_)) => Comparison::Differs,
    };
    Ok(items.iter().zip(sums).map(compare).collect())
}

/// The error of a copy about which too little was kept.
pub(crate) fn unrecorded() -> NasSyncError {
    NasSyncError::new(ErrorKind::DocumentNotFound, "too little was recorded about its copy when it was synced")
        .with_solution(
            "`nas-sync resend` with its id makes it pending, so that the next sync sends and records it again.",
        )
}

async fn dry_run(
    client: &Client,
    path: &str,
    root: Option<&Arc<HeldFolder>>,
    items: &[Item],
) -> Result<Vec<Comparison>> {
    let (given, root) = (items.to_vec(), root.cloned());
    let (reading, metas) = blocking::run(move || Ok(Reading::look(given, root))).await?;
    let reading = Arc::new(reading);
    if reading.listed.is_empty() {
        return Ok(reading.comparisons(&[], None));
    }
    let in_folders = file_list::has_folders(reading.listed.iter().map(|&at| &reading.items[at].name));
    let mut options = PushOptions {
        recursive: true,
        dry_run: true,
        checksum: true,
        keep_dirlinks: in_folders,
        omit_directory_times: in_folders,
        ..PushOptions::default()
    };
    let mut answer = ask(client, path, &reading, &metas, &options).await?;
    if in_folders && answer.1.refused_an_option() {
        options = options.with_implied_folders();
        answer = ask(client, path, &reading, &metas, &options).await?;
    }
    let (told, mut outcome) = answer;
    std::mem::replace(&mut outcome.result, Ok(()))?;
    let about_unheard_of = told.last().and_then(|file| file.flags);
    let found = {
        let reading = Arc::clone(&reading);
        blocking::run(move || Ok(reading.comparisons(&told, Some(&outcome)))).await?
    };
    match about_unheard_of {
        None => by_other_means(client, path, items, found).await,
        Some(_) => look_closer(client, path, items, found).await,
    }
}

/// One dry run about all files of the list. Gives what was told about each, and last about a file that cannot be there.
async fn ask(
    client: &Client,
    path: &str,
    reading: &Arc<Reading>,
    metas: &[FileMeta],
    options: &PushOptions,
) -> Result<(Vec<FileReport>, Outcome)> {
    let listed = || reading.listed.iter().map(|&at| &reading.items[at]);
    let mut entries = file_list::entries(listed().map(|item| &item.name).zip(metas.iter().copied()), options);
    let name = unheard_of();
    let unheard_of = FileEntry::new(&name, EntryKind::File, FileMeta::default());
    entries.push(&FileEntry { tag: u32::try_from(metas.len()).ok(), ..unheard_of });
    let ledger = Arc::new(Ledger::new(Arc::new(Silent), metas.len() + 1));
    let push = Push {
        offer: Offer::default(),
        list: SendList { entries, fields: options.list_fields(), ..SendList::default() },
        parts: None,
        sources: Arc::clone(reading) as Arc<dyn Sources>,
        contents: Contents::Summed,
        receipts: Receipts::NotAsked,
        changed: ChangedFile::Invalidate,
        mode: Mode::DryRun,
        duties: Duties::default(),
        idle_limit: patience(client, &reading.items),
        monitor: Arc::clone(&ledger) as Arc<dyn Monitor>,
    };
    let outcome = client.session(&destination_of(path), options, push).await?;
    Ok((ledger.take().files, outcome))
}

/// rsync asks for a copy that it cannot read as it asks for one that differs, and an old one asks for a missing copy so, too.
/// Which it is: what `sha256sum` says, where the NAS runs it.
async fn look_closer(
    client: &Client,
    path: &str,
    items: &[Item],
    mut found: Vec<Comparison>,
) -> Result<Vec<Comparison>> {
    let differing: Vec<usize> = (0..items.len()).filter(|&at| matches!(found[at], Comparison::Differs)).collect();
    let asked: Vec<Item> = differing.iter().map(|&at| items[at].clone()).collect();
    let said = match sums(client, path, &asked).await {
        Err(error) if error.kind() == ErrorKind::ExecRefused => Vec::new(),
        said => said?,
    };
    for (at, comparison) in differing.into_iter().zip(said) {
        // What was not recorded was compared all the same.
        if items[at].sha256.is_some() || matches!(comparison, Comparison::Missing) {
            found[at] = comparison;
        }
    }
    Ok(found)
}

/// Where rsync says nothing in dry runs: what `sha256sum` says about the copies that rsync was silent about, or that nothing
/// is known about them.
async fn by_other_means(
    client: &Client,
    path: &str,
    items: &[Item],
    mut found: Vec<Comparison>,
) -> Result<Vec<Comparison>> {
    let silent: Vec<usize> = (0..items.len()).filter(|&at| matches!(found[at], Comparison::Equal)).collect();
    let asked: Vec<Item> = silent.iter().map(|&at| items[at].clone()).collect();
    let said = match sums(client, path, &asked).await {
        Ok(said) => said,
        Err(error) if error.kind() == ErrorKind::ExecRefused => {
            let message = "rsync on the NAS says nothing in a dry run, and the NAS runs no sha256sum either";
            vec![Comparison::Unknown(NasSyncError::new(ErrorKind::RemoteFailed, message)); asked.len()]
        }
        Err(error) => return Err(error),
    };
    for (at, comparison) in silent.into_iter().zip(said) {
        found[at] = comparison;
    }
    Ok(found)
}

/// What the file here is; nothing before it was read.
#[derive(Debug, Clone)]
enum Here {
    Same,
    Changed,
    Unreadable(NasSyncError),
}

/// One session: which files are in its list, and what they are here.
struct Reading {
    items: Vec<Item>,
    root: Option<Arc<HeldFolder>>,
    /// For each file of the list, its position in `items`.
    listed: Vec<usize>,
    /// As `items`.
    here: Mutex<Vec<Option<Here>>>,
}

impl Reading {
    /// Looks at the files here. Those that are gone, or clearly not what was recorded, need not be compared. Gives what is to
    /// be said about the others.
    fn look(items: Vec<Item>, root: Option<Arc<HeldFolder>>) -> (Self, Vec<FileMeta>) {
        let mut here = vec![None; items.len()];
        let mut files = Vec::new();
        for (at, item) in items.iter().enumerate() {
            match SourceFile::open_document(root.as_deref(), &item.path) {
                Ok(file) if item.may_be(file.meta()) => files.push((at, *file.meta())),
                Ok(_) => here[at] = Some(Here::Changed),
                Err(error) => here[at] = Some(Here::Unreadable(error)),
            }
        }
        let (listed, metas) = files.into_iter().unzip();
        (Self { items, root, listed, here: Mutex::new(here) }, metas)
    }

    /// What the session proved about each copy; without one, all is known beforehand. `told` is about the files of the
    /// list.
    fn comparisons(&self, told: &[FileReport], outcome: Option<&Outcome>) -> Vec<Comparison> {
        let mut flags = vec![None; self.items.len()];
        for (&at, file) in self.listed.iter().zip(told) {
            flags[at] = file.flags;
        }
        let silence = outcome.map_or(Ok(()), |outcome| self.meaning_of_silence(outcome));
        let compare = |((item, here), flags): ((&Item, &Option<Here>), Option<ItemFlags>)| match (here, flags) {
            (Some(Here::Unreadable(error)), _) => Comparison::Unknown(error.clone()),
            (Some(Here::Changed), _) => Comparison::ChangedHere,
            (None, _) => Comparison::Unknown(NasSyncError::new(ErrorKind::Internal, "its file here was not read")),
            (Some(Here::Same), Some(flags)) if flags.has(ItemFlags::TRANSFER | ItemFlags::NEW) => Comparison::Missing,
            (Some(Here::Same), Some(flags)) if flags.has(ItemFlags::TRANSFER) => Comparison::Differs,
            (Some(Here::Same), _) => match (outcome.and_then(|outcome| about(&outcome.text, item)), &silence) {
                (Some(line), _) => Comparison::Unknown(complaint(line)),
                (None, Err(error)) => Comparison::Unknown(error.clone()),
                (None, Ok(())) => Comparison::Equal,
            },
        };
        let here = blocking::lock(&self.here);
        self.items.iter().zip(&*here).zip(flags).map(compare).collect()
    }

    /// A copy about which nothing is said is equal, if all complaints are about others.
    fn meaning_of_silence(&self, outcome: &Outcome) -> Result<()> {
        let text = &outcome.text;
        let ended_well = match outcome.exit {
            Some(ExitStatus::Code(0)) => !text.is_partial(),
            // Some servers never say how a command ended; who has a reason to end badly says so.
            Some(ExitStatus::NotSaid) => !text.is_partial() && text.lines().next().is_none(),
            _ => false,
        };
        if ended_well {
            return Ok(());
        }
        let is_explained = |line: &[u8]| {
            line.starts_with(b"rsync error: ") || self.listed.iter().any(|&at| is_about(line, &self.items[at]))
        };
        match text.lines().find(|line| !is_explained(line)) {
            Some(line) => Err(complaint(line)),
            None if text.is_cut() || text.lines().next().is_none() => Err(NasSyncError::new(
                ErrorKind::RemoteFailed,
                "rsync on the NAS complained, and it is not known about what",
            )
            .with_details(text.as_bytes())),
            None => Ok(()),
        }
    }
}

impl Item {
    /// Whether the file here is still what was recorded. Blocks: a file with another time is read.
    #[cfg(feature = "service")]
    pub fn is_unchanged(&self, root: Option<&HeldFolder>) -> Result<bool> {
        let file = SourceFile::open_document(root, &self.path)?;
        if !self.may_be(file.meta()) {
            return Ok(false);
        }
        if file.meta().mtime == self.mtime {
            return Ok(true);
        }
        let (mut file, mut buffer) = (file.hashed(), vec![0; READ]);
        while file.read(&mut buffer)? > 0 {}
        Ok(self.is_in(&file))
    }

    /// Whether a file of this size and time may be what was recorded. Times decide only where no sum was kept.
    fn may_be(&self, meta: &FileMeta) -> bool {
        meta.size == self.bytes && (self.sha256.is_some() || meta.mtime == self.mtime)
    }

    /// Whether a file that was read is what was recorded.
    fn is_in(&self, file: &SourceFile) -> bool {
        match self.sha256 {
            Some(sha256) => file.sha256() == Some(sha256),
            None => self.may_be(file.meta()) && file.unchanged(),
        }
    }
}

impl Sources for Reading {
    fn open(&self, entry: &FileEntry<'_>) -> Result<SourceFile> {
        let item = &self.items[*file_list::tagged(&self.listed, entry)?];
        SourceFile::open_document(self.root.as_deref(), &item.path).map(SourceFile::hashed)
    }

    fn summed(&self, entry: &FileEntry<'_>, file: Result<&SourceFile, &NasSyncError>) {
        let Ok(&at) = file_list::tagged(&self.listed, entry) else { return };
        let here = match file {
            Ok(file) if self.items[at].is_in(file) => Here::Same,
            Ok(_) => Here::Changed,
            Err(error) => Here::Unreadable(error.clone()),
        };
        blocking::lock(&self.here)[at] = Some(here);
    }
}

/// The line of remote text that is about a copy, or about a folder on the way to it.
fn about<'t>(text: &'t RemoteText, item: &Item) -> Option<&'t [u8]> {
    text.lines().find(|line| is_about(line, item))
}

fn is_about(line: &[u8], item: &Item) -> bool {
    names_file(line, item.name.as_bytes()) || item.name.parents().any(|folder| names_file(line, folder))
}

fn complaint(line: &[u8]) -> NasSyncError {
    let kind = kind_of_text(line).unwrap_or(ErrorKind::RemoteFailed);
    NasSyncError::new(kind, format!("the NAS could not compare it: {}", String::from_utf8_lossy(line)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn items(sizes: &[u64]) -> Vec<Item> {
        let item = |bytes| Item {
            name: RemoteName::new("a").unwrap(),
            path: PathBuf::new(),
            bytes,
            mtime: Mtime::default(),
            sha256: None,
        };
        sizes.iter().map(|&bytes| item(bytes)).collect()
    }

    #[test]
    fn sessions_are_cut_by_count_and_by_bytes() {
        assert_eq!(part_len(&items(&vec![1; 3 * MOST_ITEMS])), MOST_ITEMS);
        assert_eq!(part_len(&items(&[MOST_BYTES / 2; 5])), 2);
        assert_eq!(part_len(&items(&[u64::MAX, 1])), 1);
        assert_eq!(part_len(&items(&[1])), 1);
    }

    #[test]
    fn a_file_without_a_recorded_sum_is_known_by_size_and_time() {
        let mut item = items(&[5]).remove(0);
        let meta = FileMeta { size: 5, mtime: Mtime { seconds: 0, nanoseconds: 1 }, ..FileMeta::default() };
        assert!(!item.may_be(&meta));
        assert!(item.may_be(&FileMeta { mtime: Mtime::default(), ..meta }));
        item.sha256 = Some([0; 32]);
        assert!(item.may_be(&meta) && !item.may_be(&FileMeta { size: 4, ..meta }));
    }
}
