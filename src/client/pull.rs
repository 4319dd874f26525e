//! A person's own pull: one session, one report with rsync's exit status.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

#[cfg(feature = "cli")]
use super::config::ClientConfig;
use super::login::Client;
use super::push::with_own_rules;
use super::stats::{TransferReport, TransferStats};
use crate::blocking;
use crate::error::{ErrorKind, NasSyncError, Result};
use crate::filter::{Rules, Scope};
use crate::role::asked::{Naming, Reach};
use crate::role::event::Monitor;
use crate::role::incoming::{self, Expected};
use crate::role::ledger::{Account, Ledger};
use crate::role::links::LinkRules;
use crate::role::pull::{DeleteRules, Findings, PassedOver, PullJob, PullRules, QuickCheck, To};
use crate::session::{Outcome, Pull};
use crate::transport::ExitStatus;
use crate::tree::apply::Keep;
use crate::wire::flist::io_error;
use crate::wire::offer::Offer;
use crate::wire::pull_args::PullOptions;
use crate::wire::receiver_args::DeleteTime;
use crate::wire::rules::RuleText;

/// What to fetch and how.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct PullRequest {
    /// The sources, each as a person writes it behind the colon of `HOST:SRC`, wildcards included.
    pub sources: Vec<Vec<u8>>,
    /// Where they go on this machine.
    pub destination: PathBuf,
    /// rsync's options.
    pub options: PullOptions,
    /// Protocol, sums and compression.
    pub offer: Offer,
    /// Which files take part, and which of those here may be deleted.
    pub rules: Rules,
    /// `--files-from`: paths below the only source, which come instead of it. With [`PullOptions::relative`] they are names here,
    /// too.
    pub names: Option<Vec<Vec<u8>>>,
}

impl PullRequest {
    /// These sources to a destination on this machine, with the newest protocol and no compression.
    pub fn new(sources: Vec<Vec<u8>>, destination: impl Into<PathBuf>, options: PullOptions) -> Self {
        let destination = destination.into();
        Self { sources, destination, options, offer: Offer::default(), rules: Rules::default(), names: None }
    }

    /// The rules for the NAS, which reads those of CVS by itself, and those for here.
    fn rules(&self) -> PullRules {
        let options = &self.options;
        let mut rules = with_own_rules(self.rules.clone(), &options.receiver);
        let excluded_too = options.receiver.deletion.is_some_and(|deletion| deletion.excluded);
        let told = rules.for_sender().map(|(prefix, pattern)| RuleText { prefix, pattern }).collect();
        if let Some(more) = &options.cvs_exclude {
            rules.add_cvs_of_receiver(more);
        }
        PullRules { told, own: Scope::of_receiver(&rules, excluded_too) }
    }

    /// A list in parts is of whole folders, and what is deleted all at once needs all of it.
    fn possible_offer(&self) -> Offer {
        let options = &self.options;
        let when = options.receiver.deletion.and_then(|deletion| deletion.when).unwrap_or(DeleteTime::During);
        let is_in_turn = when == DeleteTime::During && !options.receiver.prune_empty_directories;
        let incremental = self.offer.incremental && options.recursive && is_in_turn;
        Offer { incremental, ..self.offer }
    }

    /// Whether names in a file say what comes.
    fn has_names(&self) -> bool {
        self.names.is_some() || self.options.names_there.is_some()
    }

    /// The names that the NAS may list.
    fn scope(&self) -> incoming::Scope {
        let options = &self.options;
        let reach = match options {
            PullOptions { recursive: true, .. } => Reach::Whole,
            PullOptions { dirs: true, .. } => Reach::Content,
            // Folders that are named in a file come without what is in them.
            _ if self.has_names() => Reach::Content,
            _ => Reach::Itself,
        };
        let naming = Naming { whole_paths: options.relative, reach };
        let scope = match &self.names {
            Some(names) => incoming::Scope::of_names(names, naming),
            None if options.names_there.is_some() => incoming::Scope::anything(options.relative),
            None => incoming::Scope::of_sources(&self.sources, naming),
        };
        let rules = with_own_rules(self.rules.clone(), &options.receiver);
        let way_may_lack = options.relative && options.no_implied_dirs && self.offer.protocol.number() < 30;
        scope.ruled_by(Scope::new(&rules)).lacking_the_way(way_may_lack)
    }

    /// What is deleted here: by --delete, and in the way of something by --force.
    fn deletion(&self, lists_folders: bool) -> Option<DeleteRules> {
        let receiver = &self.options.receiver;
        let deletion = receiver.deletion.filter(|_| lists_folders);
        (deletion.is_some() || receiver.force).then(|| DeleteRules {
            when: deletion.and_then(|deletion| deletion.when),
            limit: receiver.max_delete.map(u64::from),
            in_spite_of_errors: receiver.ignore_errors,
            only_in_the_way: deletion.is_none(),
        })
    }

    fn job(&self, findings: Arc<Findings>) -> PullJob {
        let options = &self.options;
        let receiver = &options.receiver;
        let lists_folders = options.recursive || options.dirs || self.has_names();
        let expected = Expected {
            fields: options.list_fields(),
            id_names: !options.numeric_ids,
            scope: self.scope(),
            may_overlap: self.sources.len() > 1
                || self.has_names()
                || self.sources.iter().any(|source| has_wildcard(source)),
        };
        PullJob {
            keep: Keep {
                permissions: options.permissions,
                times: options.times,
                atimes: options.atimes,
                // A kept version changes its folder; rsync has it so.
                omit_directory_times: options.omit_directory_times || receiver.backup,
                omit_link_times: receiver.omit_link_times,
                owner: options.owner,
                group: options.group,
                executability: receiver.executability,
                modify_window: receiver.modify_window.unwrap_or(0),
            },
            numeric_ids: options.numeric_ids,
            // The one that stands first wins where several were given.
            check: match options {
                PullOptions { checksum: true, .. } => QuickCheck::Contents,
                _ if receiver.size_only => QuickCheck::Size,
                PullOptions { ignore_times: true, .. } => QuickCheck::Nothing,
                _ => QuickCheck::SizeAndTime,
            },
            whole_file: options.whole_file,
            passed_over: PassedOver {
                newer_here: receiver.update,
                missing: receiver.existing,
                present: receiver.ignore_existing,
                above: receiver.max_size,
                below: receiver.min_size,
            },
            deletion: self.deletion(lists_folders),
            rules: self.rules(),
            backup: receiver.backup_ending().map(|ending| OsStr::from_bytes(ending).into()),
            writing: receiver.writing,
            partial: receiver.partial.clone(),
            temp_dir: receiver.temp_dir.as_deref().map(|folder| OsStr::from_bytes(folder).into()),
            sparse: options.sparse,
            tells_stored: options.remove_source_files,
            makes_path: receiver.make_path,
            names: self.names.as_ref().map(|names| names.iter().map(|name| name.as_slice().into()).collect()),
            leaves_way: options.relative && options.no_implied_dirs,
            prunes: receiver.prune_empty_directories,
            links: LinkRules {
                safe: receiver.safe_links,
                munges: options.munge_links,
                keeps_folders: options.keep_dirlinks,
            },
            dry_run: options.dry_run,
            fsync: options.fsync,
            findings,
            ..PullJob::new(expected, To::Path(self.destination.clone()))
        }
    }
}

fn has_wildcard(source: &[u8]) -> bool {
    source.iter().any(|byte| matches!(byte, b'*' | b'?' | b'['))
}

impl Client {
    /// Fetches files and folders from the NAS, as `rsync HOST:SRC… DEST` does. Nothing is written outside the destination, and
    /// no symlink in it is followed, whatever the NAS says.
    ///
    /// Fails when the session could not start; what went wrong later, or with single files, is in the report.
    pub async fn pull(&self, request: PullRequest, monitor: Arc<dyn Monitor>) -> Result<TransferReport> {
        if request.sources.is_empty() {
            return Err(NasSyncError::new(ErrorKind::Usage, "a pull needs a source"));
        }
        if request.has_names() && request.sources.len() > 1 {
            return Err(NasSyncError::new(ErrorKind::Usage, "names in a file are names below one source"));
        }
        let started = Instant::now();
        let findings = Arc::new(Findings::default());
        let ledger = Arc::new(Ledger::new(monitor, 0));
        let pull = Pull {
            offer: request.possible_offer(),
            job: request.job(Arc::clone(&findings)),
            idle_limit: self.idle_limit(),
            monitor: Arc::clone(&ledger) as Arc<dyn Monitor>,
        };
        let options = PullOptions { names_follow: request.names.is_some(), ..request.options.clone() };
        let outcome = Box::pin(self.pull_session(&request.sources, &options, pull)).await?;
        let Account { totals, failures, .. } = ledger.take();
        let counts = *blocking::lock(&findings.counts);
        let kept_by_limit = findings.kept_by_limit.load(Ordering::Relaxed);
        let stats = TransferStats { kept_by_limit, ..TransferStats::of_list(counts).with(&totals) };
        Ok(TransferReport {
            stats: TransferStats { sent: outcome.sent, received: outcome.received, ..stats },
            elapsed: started.elapsed(),
            exit_code: exit_code(&outcome, findings.errors.load(Ordering::Relaxed), !failures.is_empty()),
            warnings: Vec::new(),
            failures,
            remote_text: outcome.text.as_bytes().to_vec(),
            error: outcome.result.err(),
        })
    }
}

/// Logs in, pulls and logs out.
#[cfg(feature = "cli")]
pub(crate) async fn login_and_pull(
    config: &ClientConfig,
    request: PullRequest,
    monitor: Arc<dyn Monitor>,
) -> Result<TransferReport> {
    let client = Box::pin(Client::connect(config)).await?;
    let report = client.pull(request, monitor).await;
    client.disconnect().await;
    report
}

/// rsync's rule: the larger of both sides' findings.
fn exit_code(outcome: &Outcome, errors: i32, has_failures: bool) -> u8 {
    let remote = match &outcome.exit {
        Some(ExitStatus::Code(status)) => u8::try_from(*status).unwrap_or(u8::MAX),
        _ => 0,
    };
    if let Err(error) = &outcome.result {
        // What this side has broken off the other side only sees end.
        let is_own = matches!(
            error.kind(),
            ErrorKind::LocalFile | ErrorKind::DestinationNotFolder | ErrorKind::Protocol | ErrorKind::Usage
        );
        let own = error.kind().rsync_exit_code();
        return if is_own { own } else { own.max(remote) };
    }
    let vanished = errors & io_error::VANISHED != 0;
    let own = match () {
        () if errors & io_error::GENERAL != 0 || outcome.text.is_partial() => 23,
        // What vanished there does not come, and that is all that is wrong.
        () if vanished => 24,
        () if has_failures => 23,
        () if errors & io_error::DELETE_LIMIT != 0 => 25,
        () => 0,
    };
    if own == 23 || remote == 23 { 23 } else { own.max(remote) }
}
