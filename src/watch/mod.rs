//! Syncing until stopped, and how others learn that it goes well.
//!
//! `run_loop` is the loop, `poller` its look at the database, `barrier` what keeps it from sending and `orders` what others ask
//! it for; `scan` finds new files below the upload folder. `status` holds what the health file (`health_file`) says, and the
//! figures (`metrics`).
//!
//! Guarantees: new pending documents are sent soon after they stop coming; the NAS is not connected to while nothing is
//! due, and logged out of when nothing has been for a while; a login that was refused is tried again after long waits, at
//! most four times an hour. Never: an error of the NAS, of a document or of the database ends it; it goes on by itself some
//! day, and only a changed host key is waited for until somebody has seen to it.

mod barrier;
mod ground;
pub mod health_file;
mod log_on_change;
pub mod metrics;
pub mod orders;
mod poller;
mod run_loop;
pub mod scan;
pub mod status;
mod tally;

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::task::JoinSet;

use self::health_file::{HealthFile, State};
use self::orders::{Follower, OneMonitor, OrderBook, Orders};
use self::run_loop::{Course, WatchLoop};
use self::scan::{Scan, ScanConfig, scan_once};
use self::status::WatchStatus;
use crate::blocking;
use crate::client::documents::DocumentMonitor;
use crate::client::documents::interrupted;
use crate::error::{ErrorKind, NasSyncError, Result};
use crate::filter::Rules;
use crate::id::UserId;
use crate::service::connection::NasConnection;
use crate::service::{NasSyncService, SyncSummary};
use crate::small_file;
use crate::store::Selection;
use crate::text;

/// [`NasSyncService::watch_once`] waits at most so many quiet periods for new files to be quiet.
const PATIENCE: u32 = 10;
/// The longest file of rules.
const MAX_RULES: usize = 1 << 20;

/// How to watch.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct WatchOptions {
    /// Whose documents; `None`: everyone's.
    pub user: Option<UserId>,
    /// Whether new files below the upload folder become documents of `user`.
    pub new_files: NewFiles,
    /// How often everything is looked at, whatever the kernel and the database tell.
    pub interval: Duration,
    /// How long nothing new must have come before it is sent.
    pub quiet: Duration,
    /// How long a batch that is being sent when it is asked to stop may go on.
    pub grace: Duration,
    /// Where the health file is; `None`: none is written.
    pub health_file: Option<PathBuf>,
}

impl Default for WatchOptions {
    /// Everyone's documents; no new files are looked for, and no health file is written. Looks at everything each minute, waits
    /// for two quiet seconds, and gives a batch ten to end.
    fn default() -> Self {
        Self {
            user: None,
            new_files: NewFiles::Ignored,
            interval: Duration::from_secs(60),
            quiet: Duration::from_secs(2),
            grace: Duration::from_secs(10),
            health_file: None,
        }
    }
}

/// What others may see of a loop and ask it for.
#[derive(Debug)]
pub struct Attended {
    /// How it is.
    pub status: Arc<WatchStatus>,
    /// What it is asked for.
    pub orders: OrderBook,
    /// Whether somebody asks: it finds out how much room the NAS has, and remembers which documents a run was about.
    pub is_asked: bool,
}

impl Attended {
    /// A loop that is only looked at.
    pub fn alone(status: Arc<WatchStatus>) -> Self {
        Self { status, orders: Orders::new().1, is_asked: false }
    }
}

/// What a watch did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct WatchSummary {
    /// Documents that it stored.
    pub synced: u64,
    /// Tries of documents, and runs, that failed.
    pub failures: u64,
    /// Bytes written to the NAS.
    pub bytes_sent: u64,
    /// From start to end.
    pub elapsed: Duration,
}

/// What becomes of new files below the upload folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NewFiles {
    /// Nothing.
    Ignored,
    /// They become pending documents.
    Registered,
}

impl NasSyncService {
    /// Syncs what is pending and what becomes so, until `stop` is ready.
    ///
    /// Fails only at the start: with `NotConfigured`, or with `Usage` when an option cannot be followed.
    pub async fn watch(
        &self,
        options: WatchOptions,
        monitor: Arc<dyn DocumentMonitor>,
        stop: impl Future<Output = ()>,
    ) -> Result<WatchSummary> {
        let attended = Attended::alone(Arc::default());
        self.watch_attended(options, attended, Arc::new(OneMonitor(monitor)), stop).await
    }

    /// As [`NasSyncService::watch`], while others look at it and ask it for runs.
    pub(crate) async fn watch_attended(
        &self,
        options: WatchOptions,
        attended: Attended,
        follower: Arc<dyn Follower>,
        stop: impl Future<Output = ()>,
    ) -> Result<WatchSummary> {
        let began = Instant::now();
        let Surroundings { status, health, connection, scan } =
            Surroundings::new(self, &options, attended.status).await?;
        tracing::info!("{}", self.intention(&options));
        let scan = scan.map(Scan::start).transpose()?;
        let mut stop = pin!(stop);
        let course = Course { is_asked: attended.is_asked, ..course(&options) };
        let mut run_loop = WatchLoop::new(self, course, connection, follower, Arc::clone(&status), attended.orders);
        surrounded(&status, health, run_loop.until(&mut stop)).await;
        drop(scan);
        Ok(status.summary(began.elapsed()))
    }

    /// What is going to be done, in one line.
    fn intention(&self, options: &WatchOptions) -> String {
        let settings = self.settings();
        let shown = |text: &Option<String>| text::escape(text.as_deref().unwrap_or_default());
        let (user, host, path) = (shown(&settings.nas_user()), shown(&settings.host), shown(&settings.path));
        let whose = options.user.as_ref().map_or_else(String::new, |user| format!(" of user {user}"));
        format!(
            "watching the documents{whose} in {} for {user}@{host} port {}, folder {path}; names on the NAS: {}; everything is \
             looked at every {} s",
            settings.db,
            settings.nas_port(),
            text::escape(&settings.layout),
            options.interval.as_secs()
        )
    }

    /// Does once what [`NasSyncService::watch`] does again and again: registers new files where that is asked for, and
    /// sends what is due.
    pub async fn watch_once(
        &self,
        options: WatchOptions,
        monitor: Arc<dyn DocumentMonitor>,
        stop: impl Future<Output = ()>,
    ) -> Result<SyncSummary> {
        self.watch_once_attended(options, Arc::default(), monitor, stop).await
    }

    /// As [`NasSyncService::watch_once`], while others look at it.
    pub(crate) async fn watch_once_attended(
        &self,
        options: WatchOptions,
        status: Arc<WatchStatus>,
        monitor: Arc<dyn DocumentMonitor>,
        stop: impl Future<Output = ()>,
    ) -> Result<SyncSummary> {
        let Surroundings { status, health, connection, scan } = Surroundings::new(self, &options, status).await?;
        let mut stop = pin!(stop);
        let (follower, orders) = (Arc::new(OneMonitor(monitor)), Orders::new().1);
        let mut run_loop = WatchLoop::new(self, course(&options), connection, follower, Arc::clone(&status), orders);
        let work = async {
            if let Some(scan) = scan {
                let (enough, patience) = (Arc::new(AtomicBool::new(false)), options.quiet * PATIENCE);
                let asked = Arc::clone(&enough);
                tokio::select! {
                    found = blocking::run(move || scan_once(scan, patience, &asked)) => found?,
                    () = &mut stop => {
                        enough.store(true, Ordering::Release);
                        return Err(interrupted());
                    }
                };
            }
            run_loop.once(&mut stop).await
        };
        surrounded(&status, health, work).await
    }
}

/// What surrounds the loop.
struct Surroundings {
    status: Arc<WatchStatus>,
    health: Option<HealthFile>,
    connection: NasConnection,
    scan: Option<ScanConfig>,
}

impl Surroundings {
    async fn new(service: &NasSyncService, options: &WatchOptions, status: Arc<WatchStatus>) -> Result<Self> {
        let connection = service.connection()?;
        let scan = match options.new_files {
            NewFiles::Ignored => None,
            NewFiles::Registered => Some(scan_config(service, options)?),
        };
        // An alert on the last success should not begin anew with each start.
        if let Ok(stats) = service.stats(options.user.clone()).await
            && let Some(last) = stats.last_sync
        {
            status.set_last_success(last);
        }
        Ok(Self { status, health: options.health_file.clone().map(HealthFile::new), connection, scan })
    }
}

/// Does work while the health file is kept up, and says at the end that it is over.
async fn surrounded<T>(status: &Arc<WatchStatus>, health: Option<HealthFile>, work: impl Future<Output = T>) -> T {
    let mut around = JoinSet::new();
    if let Some(file) = health.clone() {
        around.spawn(Arc::clone(status).keep_health_file(file));
    }
    let result = work.await;
    around.shutdown().await;
    status.set_state(State::Stopped);
    if let Some(file) = health
        && let Err(error) = status.write_health_file(&file).await
    {
        tracing::warn!("{error}");
    }
    result
}

fn course(options: &WatchOptions) -> Course {
    let selection = options.user.clone().map_or_else(Selection::all, Selection::of_user);
    Course { selection, interval: options.interval, quiet: options.quiet, grace: options.grace, is_asked: false }
}

/// A file of rules that the filter of the scan names.
fn read_rules(path: &[u8]) -> std::io::Result<Vec<u8>> {
    small_file::read(Path::new(OsStr::from_bytes(path)), MAX_RULES).map(|content| content.to_vec())
}

fn scan_config(service: &NasSyncService, options: &WatchOptions) -> Result<ScanConfig> {
    let settings = service.settings();
    let missing = |what: &str, solution: &str| {
        NasSyncError::new(ErrorKind::Usage, format!("looking for new files needs {what}"))
            .with_cause("A setting that this needs is missing.")
            .with_solution(solution)
    };
    let root = settings.upload_dir.clone();
    Ok(ScanConfig {
        root: root.ok_or_else(|| {
            missing("UPLOAD_DIR, the root of the documents", "Set UPLOAD_DIR to the folder that holds the documents.")
        })?,
        db: settings.db.clone(),
        user: options
            .user
            .clone()
            .ok_or_else(|| missing("a user, whose documents they become", "Name the user with --user ID."))?,
        interval: options.interval,
        quiet: options.quiet,
        filter: Rules::of_text(&settings.scan_filter, &mut read_rules).map_err(|error| {
            NasSyncError::new(ErrorKind::Usage, format!("NAS_SCAN_FILTER: {error}")).with_source(error)
        })?,
        leave_out: options.health_file.iter().cloned().collect(),
        runtime: Handle::current(),
    })
}
