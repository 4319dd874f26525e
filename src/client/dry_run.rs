//! Dry runs in which nothing is read here, and nothing made or changed there: about the destination folder (whether rsync
//! starts on the NAS, takes these options, and has that folder), and about names (which of them are there).
//!
//! Guarantees: an option counts as refused only when a session without it was taken and the same session with it was not,
//! twice. A server that ends for another reason teaches nothing.

use std::sync::Arc;

use super::capabilities::{Capabilities, Shape};
use super::destination::destination_of;
use super::file_list;
use super::login::Client;
use super::nas::has_folder;
use crate::error::{ErrorKind, NasSyncError, Result};
use crate::proof::{Capability, Refusal};
use crate::role::event::{Monitor, Silent};
use crate::role::ledger::Ledger;
use crate::role::list::{SendList, Sources};
use crate::role::sender::{ChangedFile, Duties, Mode};
use crate::session::{Contents, Outcome, Push, Receipts};
use crate::text;
use crate::transport::ExitStatus;
use crate::tree::{RemoteName, SourceFile};
use crate::wire::flist::{Content, Entries, EntryKind, FileEntry, FileMeta};
use crate::wire::iflags::ItemFlags;
use crate::wire::offer::Offer;
use crate::wire::server_args::PushOptions;

/// How much of a refusal is worth keeping, in bytes.
const SHOWN: usize = 200;

/// What a dry run showed.
pub(crate) struct DryRun {
    pub outcome: Outcome,
    /// Whether the receiver would have made the folder.
    is_missing: bool,
    /// Whether it does not even say that a file is missing that cannot be there, so that its silence about the folder says
    /// nothing.
    is_silent: bool,
}

impl DryRun {
    /// Fails when the session did, or with `DestinationMissing` when the folder is not there. Where rsync does not tell, the
    /// NAS is asked in another way; where it cannot be, the folder counts as there.
    pub async fn check(self, client: &Client, folder: &str) -> Result<()> {
        let missing = || {
            let message = format!("{} does not exist on the NAS", text::escape(folder));
            NasSyncError::new(ErrorKind::DestinationMissing, message)
        };
        match self.outcome.result {
            Ok(()) if self.is_missing => Err(missing()),
            Ok(()) if self.is_silent && has_folder(client, folder).await? == Some(false) => Err(missing()),
            Ok(()) => Ok(()),
            // The folder above it is not there either.
            Err(error) if error.kind() == ErrorKind::DestinationMissing => {
                Err(missing().with_details(self.outcome.text.as_bytes()))
            }
            Err(error) => Err(error),
        }
    }
}

/// Asks the NAS what it would do about the folder itself, with the options that documents of this shape need.
pub(crate) async fn dry_run(
    client: &Client,
    folder: &str,
    capabilities: &Capabilities,
    shape: Shape,
) -> Result<DryRun> {
    let ledger = Arc::new(Ledger::new(Arc::new(Silent), 2));
    let meta = FileMeta { permissions: 0o755, ..FileMeta::default() };
    let entry = FileEntry::new(b".", EntryKind::Directory(Content::Unlisted), meta);
    let name = unheard_of();
    let unheard_of = FileEntry::new(&name, EntryKind::File, FileMeta::default());
    let entries = [FileEntry { tag: Some(0), ..entry }, FileEntry { tag: Some(1), ..unheard_of }].into_iter().collect();
    let options = PushOptions { dry_run: true, times: false, ..capabilities.options(shape) };
    let destination = format!("{}/", folder.trim_end_matches('/'));
    let outcome = client.session(destination.as_bytes(), &options, push(client, entries, &ledger)).await?;
    let told = ledger.take().files;
    let is_missing = told[0].flags.is_some_and(|flags| flags.has(ItemFlags::NEW));
    // Old protocols ask for files alone, and do not say what differs.
    let is_silent = told[1].flags.is_none_or(|flags| flags.has(ItemFlags::UNSAID));
    Ok(DryRun { outcome, is_missing, is_silent })
}

/// Asks the NAS what it would do about files of these names, sizes and times, whatever is there, and about one that cannot be
/// there. Gives what it says about each, `None` where it says nothing; nothing at all where what it says means nothing. Fails
/// when the session did.
pub(super) async fn ask_about(
    client: &Client,
    folder: &str,
    files: &[(RemoteName, FileMeta)],
) -> Result<Option<Vec<Option<ItemFlags>>>> {
    let absent = RemoteName::new(unheard_of())?;
    let asked = files.iter().map(|(name, meta)| (name, *meta)).chain([(&absent, FileMeta::default())]);
    let in_folders = file_list::has_folders(files.iter().map(|(name, _)| name));
    let mut options = PushOptions {
        recursive: true,
        dry_run: true,
        times: true,
        ignore_times: true,
        keep_dirlinks: in_folders,
        omit_directory_times: in_folders,
        ..PushOptions::default()
    };
    let (mut told, mut outcome) = tell(client, folder, file_list::entries(asked.clone(), &options), &options).await?;
    if in_folders && outcome.refused_an_option() {
        options = options.with_implied_folders();
        (told, outcome) = tell(client, folder, file_list::entries(asked, &options), &options).await?;
    }
    outcome.result?;
    let about_absent = told.pop().flatten();
    Ok(about_absent.is_some_and(|flags| flags.has(ItemFlags::NEW)).then_some(told))
}

/// What a session in which nothing is sent tells about each file of a list, and how it ended.
async fn tell(
    client: &Client,
    folder: &str,
    entries: Entries,
    options: &PushOptions,
) -> Result<(Vec<Option<ItemFlags>>, Outcome)> {
    let files = entries.iter().filter(|entry| entry.tag.is_some()).count();
    let ledger = Arc::new(Ledger::new(Arc::new(Silent), files));
    let outcome = client.session(&destination_of(folder), options, push(client, entries, &ledger)).await?;
    Ok((ledger.take().files.into_iter().map(|file| file.flags).collect(), outcome))
}

/// The name of a file that cannot be there: a server that says nothing about it says nothing about any.
pub(super) fn unheard_of() -> Vec<u8> {
    format!(".nas-sync-{:016x}", fastrand::u64(..)).into_bytes()
}

/// A session in which nothing is sent.
fn push(client: &Client, entries: Entries, ledger: &Arc<Ledger>) -> Push {
    Push {
        offer: Offer::default(),
        list: SendList { entries, ..SendList::default() },
        parts: None,
        sources: Arc::new(NoSources),
        contents: Contents::Unsummed,
        receipts: Receipts::NotAsked,
        changed: ChangedFile::Invalidate,
        mode: Mode::DryRun,
        duties: Duties::default(),
        idle_limit: client.idle_limit(),
        monitor: Arc::clone(ledger) as Arc<dyn Monitor>,
    }
}

/// Finds out which options a server refuses that ended before the handshake. Gives the last dry run: whether the server
/// takes what is left, or why nothing could be found out.
pub(crate) async fn find_refused(
    client: &Client,
    folder: &str,
    capabilities: &mut Capabilities,
    shape: Shape,
) -> Result<DryRun> {
    let mut last = dry_run(client, folder, capabilities, shape).await?;
    if last.outcome.refused_an_option() {
        // It may have been in passing.
        last = dry_run(client, folder, capabilities, shape).await?;
    }
    while last.outcome.refused_an_option() {
        match find_one(client, folder, capabilities, shape, &last.outcome).await? {
            Cause::Option(refusal) => capabilities.refuse(refusal),
            Cause::NoOption if last.outcome.text.lines().next().is_none() => {
                let message =
                    format!("rsync does not start on the NAS, whatever it is asked for: {}", evidence(&last.outcome));
                last.outcome.result = Err(NasSyncError::new(ErrorKind::ExecRefused, message));
                break;
            }
            Cause::NoOption | Cause::Unknown => break,
        }
        last = dry_run(client, folder, capabilities, shape).await?;
    }
    if capabilities.wait_in_vain(last.outcome.protocol) {
        let evidence = "its protocol has no acknowledgements";
        capabilities.refuse(Refusal::new(Capability::Acknowledge, evidence, client.ssh().server_version()));
    }
    Ok(last)
}

/// Why a server ended before the handshake.
enum Cause {
    /// It refuses this.
    Option(Refusal),
    /// It ends in the same way without any option that it may not know.
    NoOption,
    /// It ended in another way the next time.
    Unknown,
}

/// Leaves out one option after the other until the server takes the rest: it refuses the last of them.
async fn find_one(
    client: &Client,
    folder: &str,
    capabilities: &Capabilities,
    shape: Shape,
    refused: &Outcome,
) -> Result<Cause> {
    let mut fewer = capabilities.clone();
    let mut evidence = evidence(refused);
    while let Some(doubted) = most_doubtful(&fewer, shape, &evidence) {
        fewer = fewer.leaving_out(doubted);
        let trial = dry_run(client, folder, &fewer, shape).await?.outcome;
        if trial.protocol.is_some() {
            return Ok(Cause::Option(Refusal::new(doubted, evidence, client.ssh().server_version())));
        }
        if !trial.refused_an_option() {
            return Ok(Cause::Unknown);
        }
        evidence = self::evidence(&trial);
    }
    Ok(Cause::NoOption)
}

/// The option that the server names; else the one that is missed least.
fn most_doubtful(capabilities: &Capabilities, shape: Shape, said: &str) -> Option<Capability> {
    let doubted = capabilities.options_to_doubt(shape);
    let named = doubted.iter().find(|(_, words)| words.iter().any(|word| said.contains(word)));
    named.or(doubted.first()).map(|(capability, _)| *capability)
}

/// The server's own words, safe to print.
fn evidence(outcome: &Outcome) -> String {
    match (outcome.text.lines().next(), &outcome.exit) {
        (Some(line), _) => text::escape_bytes_start(line, SHOWN),
        (None, Some(ExitStatus::Code(status))) => format!("rsync ended with status {status} and said nothing"),
        (None, _) => String::from("rsync ended and said nothing"),
    }
}

/// A session that sends no file opens none.
pub(super) struct NoSources;

impl Sources for NoSources {
    fn open(&self, _entry: &FileEntry<'_>) -> Result<SourceFile> {
        Err(NasSyncError::new(ErrorKind::Internal, "a session without files was asked for one"))
    }
}
