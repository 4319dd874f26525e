//! A person's own push: operands walked, one session, one report with rsync's exit status.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite};

#[cfg(feature = "cli")]
use super::config::ClientConfig;
use super::login::Client;
use super::prepare::{Files, Prepared, named_options, prepare};
use super::removal;
use super::stats::{TransferReport, TransferStats};
use crate::blocking;
use crate::error::{ErrorKind, NasSyncError, Result};
use crate::filter::Rules;
use crate::role::event::Monitor;
use crate::role::ledger::{Account, Ledger};
use crate::role::sender::{ChangedFile, Duties, Mode};
use crate::session::{self, Contents, Outcome, Push, Receipts};
use crate::transport::{ExitStatus, stream};
use crate::tree::{Effect, Operand, Walk};
use crate::wire::offer::Offer;
use crate::wire::receiver_args::{Partial, ReceiverOptions};
use crate::wire::rules::RuleText;
use crate::wire::server_args::PushOptions;

/// Where a receiver that puts files in place at the end keeps them until then.
const DELAYED_DIR: &[u8] = b".~tmp~";

/// How long a session over a stream may go without progress.
const IDLE_LIMIT: Duration = Duration::from_secs(300);

/// What to send and how.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct PushRequest {
    /// The files.
    pub files: Files,
    /// The destination, as a person writes it behind the colon of `HOST:DEST`.
    pub destination: Vec<u8>,
    /// rsync's options.
    pub options: PushOptions,
    /// Protocol, sums and compression.
    pub offer: Offer,
    /// Which files take part, and which of those there may be deleted.
    pub rules: Rules,
}

impl PushRequest {
    /// These files to a destination as a person writes it behind the colon of `HOST:DEST`, with the newest protocol and
    /// no compression.
    pub fn new(files: Files, destination: impl Into<Vec<u8>>, options: PushOptions) -> Self {
        Self { files, destination: destination.into(), options, offer: Offer::default(), rules: Rules::default() }
    }
}

impl PushRequest {
    /// The arguments of the `rsync` that has to run at the other end of a stream, for [`push_over`]: `--server` and what
    /// follows. Nothing is quoted for a shell.
    pub fn server_arguments(&self) -> Vec<Vec<u8>> {
        let options = match &self.files {
            Files::Operands(_) | Files::Listed { .. } => self.options.clone(),
            Files::Named(pairs) => named_options(pairs.iter().map(|(_, name)| name), self.options.clone()),
        };
        options.arguments(&self.possible_offer(), &self.destination)
    }

    /// A list in parts holds whole folders, of which no two may be one there, and no folders that are only on the way to something.
    fn possible_offer(&self) -> Offer {
        let options = &self.options;
        let is_whole = options.recursive
            && match &self.files {
                Files::Operands(operands) => {
                    let operands: Result<Vec<_>> = operands.iter().map(|path| Operand::parse(path)).collect();
                    operands.is_ok_and(|operands| Walk::is_possible(&operands))
                }
                Files::Listed { .. } | Files::Named(_) => false,
            };
        let incremental = self.offer.incremental && is_whole && !options.relative && !options.no_implied_dirs;
        Offer { incremental, ..self.offer }
    }
}

/// A request whose files were listed.
struct Listed {
    started: Instant,
    prepared: Prepared,
    destination: Vec<u8>,
    offer: Offer,
    duties: Duties,
}

impl PushRequest {
    async fn list(self) -> Result<Listed> {
        let started = Instant::now();
        let offer = self.possible_offer();
        let Self { files, destination, options, rules, .. } = self;
        let rules = with_own_rules(rules, &options.receiver);
        let duties = duties(&options, &rules);
        let prepared = blocking::run(move || prepare(files, options, &rules, offer.incremental)).await?;
        let offer = Offer { incremental: prepared.parts.is_some(), ..offer };
        Ok(Listed { started, prepared, destination, offer, duties })
    }
}

/// With the rules that options imply: what they keep in the destination is neither sent nor deleted.
pub(super) fn with_own_rules(mut rules: Rules, receiver: &ReceiverOptions) -> Rules {
    let partial = match &receiver.partial {
        Partial::Aside(folder) => Some(&**folder),
        _ if receiver.delay_updates => Some(DELAYED_DIR),
        Partial::Dropped | Partial::Kept => None,
    };
    if let Some(folder) = partial.filter(|folder| !folder.starts_with(b"/")) {
        rules.add_perishable_exclude(&[folder.strip_suffix(b"/").unwrap_or(folder), b"/"].concat());
    }
    let excluded_too = receiver.deletion.is_some_and(|deletion| deletion.excluded);
    if receiver.backup && receiver.backup_dir.is_none() && receiver.deletion.is_some() && !excluded_too {
        rules.add_protect(&[b"*", receiver.suffix.as_deref().unwrap_or(b"~")].concat());
    }
    if excluded_too {
        rules.keep_nothing_excluded();
    }
    rules
}

/// What the receiver's options ask of the sender.
fn duties(options: &PushOptions, rules: &Rules) -> Duties {
    let receiver = &options.receiver;
    let texts = || rules.for_receiver().map(|(prefix, pattern)| RuleText { prefix, pattern }).collect();
    Duties {
        writing: receiver.writing,
        backup: receiver.backup,
        has_late_work: receiver.deletion.is_some() || receiver.delay_updates,
        rules: receiver.reads_rules().then(texts),
        deletes_excluded: receiver.deletion.is_some_and(|deletion| deletion.excluded),
    }
}

impl Client {
    /// Sends files and folders to a destination on the NAS, as `rsync SRC… HOST:DEST` does.
    ///
    /// Fails when the session could not start; what went wrong later, or with single files, is in the report.
    pub async fn push(&self, request: PushRequest, monitor: Arc<dyn Monitor>) -> Result<TransferReport> {
        self.push_listed(request.list().await?, monitor).await
    }

    async fn push_listed(&self, listed: Listed, monitor: Arc<dyn Monitor>) -> Result<TransferReport> {
        let destination = listed.destination.clone();
        push(listed, self.idle_limit(), monitor, async |options, push| self.session(&destination, &options, push).await)
            .await
    }
}

/// Logs in, pushes and logs out. The files are listed during the login.
#[cfg(feature = "cli")]
pub(crate) async fn login_and_push(
    config: &ClientConfig,
    request: PushRequest,
    monitor: Arc<dyn Monitor>,
) -> Result<TransferReport> {
    let (client, listed) = tokio::try_join!(Box::pin(Client::connect(config)), request.list())?;
    let report = client.push_listed(listed, monitor).await;
    client.disconnect().await;
    report
}

/// Sends files and folders over a stream of the caller's, at whose other end an `rsync` runs with
/// [`PushRequest::server_arguments`]. The stream has no exit status, so that of rsync is the caller's to look at. A session
/// without progress for five minutes ends with `Stalled`.
///
/// Fails when the files could not be listed; what went wrong later, or with single files, is in the report.
pub async fn push_over(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    request: PushRequest,
    monitor: Arc<dyn Monitor>,
) -> Result<TransferReport> {
    push(
        request.list().await?,
        IDLE_LIMIT,
        monitor,
        async |_, push| Ok(session::push(stream::over(stream), push).await),
    )
    .await
}

async fn push(
    listed: Listed,
    idle_limit: Duration,
    monitor: Arc<dyn Monitor>,
    session: impl AsyncFnOnce(PushOptions, Push) -> Result<Outcome>,
) -> Result<TransferReport> {
    let Listed { started, prepared, offer, duties, .. } = listed;
    let options = prepared.options;
    let ledger = Arc::new(Ledger::new(monitor, 0));
    let mut monitor = Arc::clone(&ledger) as Arc<dyn Monitor>;
    let mut removal = None;
    if options.remove_source_files && !options.dry_run {
        let (remover, end) = removal::start(Arc::clone(&prepared.sources), monitor)?;
        (monitor, removal) = (remover, Some(end));
    }
    let push = Push {
        offer,
        list: prepared.list,
        parts: prepared.parts,
        sources: prepared.sources,
        contents: if options.checksum { Contents::Summed } else { Contents::Unsummed },
        receipts: if options.has_receipts() { Receipts::Asked } else { Receipts::NotAsked },
        changed: ChangedFile::Keep,
        mode: if options.dry_run { Mode::DryRun } else { Mode::Transfer },
        duties,
        idle_limit,
        monitor,
    };
    let outcome = session(options, push).await;
    if let Some(removal) = removal {
        removal.finish().await;
    }
    let outcome = outcome?;
    let Account { totals, failures, .. } = ledger.take();
    let told = std::mem::take(&mut *blocking::lock(&prepared.told));
    let listed = if prepared.failures.is_empty() { told.worst() } else { Effect::Failed };
    let stats = TransferStats::of_list(told.counts);
    Ok(TransferReport {
        stats: TransferStats { sent: outcome.sent, received: outcome.received, ..stats.with(&totals) },
        elapsed: started.elapsed(),
        exit_code: exit_code(&outcome, listed, &failures),
        warnings: told.warnings,
        failures: prepared.failures.into_iter().chain(failures).collect(),
        remote_text: outcome.text.as_bytes().to_vec(),
        error: outcome.result.err(),
    })
}

/// rsync's rule: a fatal error decides; else the larger of our own partial failure and the remote status.
fn exit_code(outcome: &Outcome, listed: Effect, failures: &[(Box<[u8]>, NasSyncError)]) -> u8 {
    let remote = match &outcome.exit {
        Some(ExitStatus::Code(status)) => u8::try_from(*status).unwrap_or(u8::MAX),
        _ => 0,
    };
    if let Err(error) = &outcome.result {
        return if matches!(remote, 0 | 23..=25) { error.kind().rsync_exit_code() } else { remote };
    }
    let failed = listed == Effect::Failed
        || failures.iter().any(|(_, error)| error.kind() != ErrorKind::SourceMissing)
        || outcome.text.is_partial();
    let vanished = listed == Effect::Vanished || !failures.is_empty();
    let own = match (failed, vanished) {
        (true, _) => 23,
        (false, true) => 24,
        (false, false) => 0,
    };
    // 23 outranks 24 and 25, although the number is smaller.
    if own == 23 || remote == 23 { 23 } else { own.max(remote) }
}
