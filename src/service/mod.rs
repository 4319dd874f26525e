//! Documents in, outcomes out: the operations of the service, with one login for each.
//!
//! A run (`sync::run`) leases rows (`lease`), makes a plan of them (`sync::plan`), has it sent and proved in batches over one
//! kept login (`connection`), and turns what became of it into rows again (`sync::record`). Nothing is marked that was not
//! proved, and what was proved is recorded whatever happens next.

pub(crate) mod backoff;
#[cfg(feature = "cli")]
pub(crate) mod checks;
pub(crate) mod connection;
mod connection_check;
pub(crate) mod lease;
pub mod restore;
#[cfg(feature = "cli")]
pub(crate) mod setup;
#[cfg(feature = "cli")]
pub(crate) mod stream;
mod summary;
pub(crate) mod sync;
pub mod verify;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use chrono::Utc;

use self::connection::NasConnection;
use self::restore::{RestoreReport, RestoreRequest};
pub use self::summary::{DocumentError, SyncSummary, SyncedFile};
use self::sync::{Others, Request, Stopping};
pub use self::sync::{PlannedDocument, SyncPreview};
use self::verify::{VerifyReport, VerifyRequest};
use crate::blocking;
use crate::client::documents::{DocumentMonitor, Naming, Unmonitored, open_upload_dir};
#[cfg(feature = "api")]
use crate::client::nas::Space;
use crate::client::{ClientConfig, ConnectionReport};
use crate::config::{ConfigStatus, Settings};
use crate::error::{ErrorKind, NasSyncError, Result};
use crate::id::{DocumentId, UserId};
use crate::role::event::Monitor;
#[cfg(any(feature = "cli", feature = "api"))]
use crate::store::Moved;
use crate::store::{
    Access, ListRequest, Listing, NewDocument, Pause, Queue, Registered, Retried, Selection, Store, SyncStats,
};
#[cfg(feature = "api")]
use crate::text;
use crate::tree::{HeldFolder, SourceFile};

/// Syncs the documents of one database with one NAS.
///
/// Every operation is independent: it opens the database and, where it needs the NAS, logs in once. Dropping the
/// future of an operation cancels it; what was sent but not yet recorded is then sent again next time.
#[derive(Debug)]
pub struct NasSyncService {
    settings: Settings,
}

impl NasSyncService {
    /// A service with these settings; nothing is opened yet.
    pub fn new(settings: Settings) -> Self {
        Self { settings }
    }

    /// The settings.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Whether everything required is set.
    pub fn is_configured(&self) -> bool {
        self.settings.is_configured()
    }

    /// What is configured, without any secret.
    pub fn config_status(&self) -> ConfigStatus {
        self.settings.status()
    }

    /// Logs in, starts rsync on the NAS and proves that the destination can be written to: the receiver makes a
    /// temporary file and throws it away. Nothing stays behind.
    pub async fn test_connection(&self) -> Result<ConnectionReport> {
        connection_check::test(self).await
    }

    /// As [`NasSyncService::test_connection`], and how much room there is, where the NAS says it.
    #[cfg(feature = "api")]
    pub(crate) async fn test_with_room(&self) -> Result<(ConnectionReport, Option<Space>)> {
        connection_check::test_with_room(self).await
    }

    /// What a test that succeeded proves, in one sentence.
    #[cfg(feature = "api")]
    pub(crate) fn connected(&self) -> String {
        let show = |value: &Option<String>| text::escape(value.as_deref().unwrap_or_default());
        let (host, path) = (show(&self.settings.host), show(&self.settings.path));
        format!("connected to {host} as {}; {path} is writable", show(&self.settings.nas_user()))
    }

    /// Registers files as pending documents of a user. Every path must be a readable regular file: all are registered,
    /// or none. Where an upload folder is set, the files must be below it and are stored relative to it; a relative path
    /// then means the working directory first and the upload folder second. A file that is a document of this user already
    /// stays that one. Gives the ids in the order of the paths.
    pub async fn add(&self, user: UserId, paths: Vec<PathBuf>) -> Result<Vec<DocumentId>> {
        let documents = self.registrable(paths).await?;
        let register = |store: Store| async move { store.add(user, documents, Utc::now()).await };
        let registered = self.with_store(Access::Create, register).await?;
        Ok(registered.iter().map(Registered::id).cloned().collect())
    }

    /// As [`NasSyncService::add`]; says also which were documents before, and which will fail, as far as that is known here.
    #[cfg(feature = "cli")]
    pub(crate) async fn add_with_care(
        &self,
        user: UserId,
        paths: Vec<PathBuf>,
    ) -> Result<(Vec<Registered>, Vec<DocumentError>)> {
        let naming = Naming::of(&self.settings)?;
        let documents = self.registrable(paths).await?;
        self.with_store(Access::Create, |store| async move {
            let registered = store.add(user, documents, Utc::now()).await?;
            let clashes = sync::claim_early(&store, &naming, &registered).await?;
            Ok((registered, clashes))
        })
        .await
    }

    /// The files as they are registered.
    async fn registrable(&self, paths: Vec<PathBuf>) -> Result<Vec<NewDocument>> {
        let root = self.root()?;
        let look = move |path: PathBuf| {
            let file_path = registered_path(root.as_deref(), &path)?;
            SourceFile::open_document(root.as_deref(), &file_path).map_err(not_there_to_add)?;
            let original_name = path.file_name().and_then(std::ffi::OsStr::to_str).map(ToOwned::to_owned);
            Ok(NewDocument { file_path, original_name })
        };
        blocking::run(move || paths.into_iter().map(look).collect()).await
    }

    /// Deletes the rows of documents that nas-sync registered itself, all of them or none; the NAS keeps its copies, whose names
    /// are free then. Fails with `DocumentNotFound` for a document that does not exist, and with `Usage` for one that another
    /// program registered or changed, or that is being sent.
    pub async fn remove(&self, documents: Vec<DocumentId>) -> Result<()> {
        let remove = |store: Store| async move { store.remove(documents, lease::worker()).await };
        self.with_store(Access::Existing, remove).await
    }

    /// What a sync of a selection would do, as far as that is known without the NAS. Nothing is changed.
    pub async fn preview(&self, selection: Selection) -> Result<SyncPreview> {
        let naming = Naming::of(&self.settings)?;
        self.with_store(Access::ReadOnly, |store| async move { sync::preview(&store, naming, selection).await }).await
    }

    /// Syncs one document and says where it is. One that is synced already is left alone.
    pub async fn sync_file(&self, id: DocumentId) -> Result<SyncedFile> {
        self.sync_file_with(id, Arc::new(Unmonitored)).await
    }

    /// As [`NasSyncService::sync_file`], followed by a monitor.
    pub async fn sync_file_with(&self, id: DocumentId, monitor: Arc<dyn DocumentMonitor>) -> Result<SyncedFile> {
        let summary = self.sync(Selection::documents(vec![id.clone()]), monitor, std::future::pending()).await?;
        if let Some(error) = summary.stopped {
            return Err(error);
        }
        if let Some(failed) = summary.errors.into_iter().next() {
            return Err(failed.error);
        }
        let known = id.clone();
        let copy = self.with_store(Access::ReadOnly, |store| async move { store.copy_of(known).await }).await?;
        let copy = copy.ok_or_else(|| {
            NasSyncError::new(
                ErrorKind::DocumentNotFound,
                format!("document {id} was marked as synced by somebody else"),
            )
        })?;
        Ok(SyncedFile { id, remote_name: copy.remote_name, bytes: copy.bytes, level: copy.level })
    }

    /// Syncs what is pending of one user.
    pub async fn sync_all_pending(&self, user: UserId) -> Result<SyncSummary> {
        self.sync_all_pending_with(user, Arc::new(Unmonitored)).await
    }

    /// As [`NasSyncService::sync_all_pending`], followed by a monitor.
    pub async fn sync_all_pending_with(&self, user: UserId, monitor: Arc<dyn DocumentMonitor>) -> Result<SyncSummary> {
        self.sync(Selection::of_user(user), monitor, std::future::pending()).await
    }

    /// Syncs what is pending of everyone.
    pub async fn sync_everything(&self) -> Result<SyncSummary> {
        self.sync(Selection::all(), Arc::new(Unmonitored), std::future::pending()).await
    }

    /// Syncs a selection over one login; a login that is lost is made anew. When `stop` is ready, what was acknowledged is
    /// recorded and the run ends with `Interrupted` in the summary. Documents that wait for their next try, or have
    /// failed for good, are left alone unless they are named in the selection. Documents that another worker is sending
    /// are waited for.
    ///
    /// Fails only when nothing could be looked at: wrong settings, or a database that cannot be used.
    pub async fn sync(
        &self,
        selection: Selection,
        monitor: Arc<dyn DocumentMonitor>,
        stop: impl Future<Output = ()>,
    ) -> Result<SyncSummary> {
        self.run(Request { selection, others: Others::WaitFor, overwrite: false }, monitor, stop).await
    }

    /// As [`NasSyncService::sync`]; a file on the NAS that has the name of a document, and was not sent from this database, is
    /// replaced, too.
    pub async fn sync_over(
        &self,
        selection: Selection,
        monitor: Arc<dyn DocumentMonitor>,
        stop: impl Future<Output = ()>,
    ) -> Result<SyncSummary> {
        self.run(Request { selection, others: Others::WaitFor, overwrite: true }, monitor, stop).await
    }

    async fn run(
        &self,
        request: Request,
        monitor: Arc<dyn DocumentMonitor>,
        stop: impl Future<Output = ()>,
    ) -> Result<SyncSummary> {
        let mut connection = self.connection()?;
        let (ask, stopping) = tokio::sync::watch::channel(Stopping::No);
        let summary = {
            let mut run = Box::pin(sync::run(self, &mut connection, request, monitor, stopping));
            tokio::select! {
                summary = &mut run => summary,
                () = stop => {
                    ask.send_replace(Stopping::Now);
                    run.await
                }
            }
        };
        connection.disconnect().await;
        summary
    }

    /// Compares what is on the NAS with what was recorded when it was synced, and with the files here, over one login;
    /// no contents travel. Copies found equal are recorded as verified. Dropping the future ends it; what was found until
    /// then is recorded for every 2,000 documents.
    ///
    /// Fails only when nothing could be looked at: wrong settings, or a database that cannot be used.
    pub async fn verify(&self, request: VerifyRequest) -> Result<VerifyReport> {
        verify::run(self, request).await
    }

    /// Fetches documents back from the NAS under the names that were recorded, each held against its recorded SHA-256 before it
    /// takes its place; what is here already is not fetched. Nothing changes on the NAS or in the database. Run again, it
    /// finishes what it could not.
    ///
    /// Fails only when nothing could be tried: wrong settings, a database that cannot be used, or no login.
    pub async fn restore(&self, request: RestoreRequest, monitor: Arc<dyn Monitor>) -> Result<RestoreReport> {
        Box::pin(restore::run(self, request, monitor)).await
    }

    /// Forgets the waits and final failures of a selection's pending documents, and what keeps `watch` from trying this
    /// NAS: all are due now. Fails with `DocumentNotFound` when a document that is named does not exist.
    pub async fn retry(&self, selection: Selection) -> Result<Retried> {
        let target = self.connection().ok().map(|connection| connection.target());
        self.with_store(Access::Existing, |store| async move { store.retry(selection, target).await }).await
    }

    /// Makes synced documents of a selection pending again, because their files changed, and says how many. Fails with
    /// `DocumentNotFound` when a document that is named does not exist.
    pub async fn resend(&self, selection: Selection) -> Result<usize> {
        self.with_store(Access::Existing, |store| async move { store.resend(selection).await }).await
    }

    /// Documents with their names, states, levels and next tries, the newest first.
    pub async fn list(&self, request: ListRequest) -> Result<Listing> {
        let look = |store: Store| async move { store.list(request, Utc::now(), lease::worker()).await };
        self.with_store(Access::ReadOnly, look).await
    }

    /// Single documents, as [`NasSyncService::list`] has them. Fails with `DocumentNotFound` when one that is named does not
    /// exist.
    pub async fn show(&self, selection: Selection) -> Result<Listing> {
        let look = |store: Store| async move {
            let request = ListRequest { limit: usize::MAX, ..ListRequest::new(selection.clone()) };
            match store.unusable(selection).await?.into_iter().find(|row| row.id.is_some()) {
                Some(unknown) => Err(unknown.error),
                None => store.list(request, Utc::now(), lease::worker()).await,
            }
        };
        self.with_store(Access::ReadOnly, look).await
    }

    /// The pending documents: how many are due or being sent, and which wait or have failed for good, and why.
    pub async fn queue(&self, selection: Selection) -> Result<Queue> {
        let look = |store: Store| async move { store.queue(selection, Utc::now(), lease::worker()).await };
        self.with_store(Access::ReadOnly, look).await
    }

    /// Why nothing is sent to this NAS at the moment, if that is so.
    pub async fn pause(&self) -> Result<Option<Pause>> {
        let Ok(connection) = self.connection() else { return Ok(None) };
        let pause =
            self.with_store(Access::ReadOnly, |store| async move { store.pause(connection.target()).await }).await?;
        Ok(pause.filter(|pause| pause.until.is_none_or(|until| until > Utc::now())))
    }

    /// Documents that count as synced, and may not be at the place that is set.
    #[cfg(any(feature = "cli", feature = "api"))]
    pub(crate) async fn moved(&self) -> Result<Option<Moved>> {
        let Ok(connection) = self.connection() else { return Ok(None) };
        self.with_store(Access::ReadOnly, |store| async move { store.moved(connection.place()).await }).await
    }

    /// The statistics of one user.
    pub async fn sync_stats(&self, user: UserId) -> Result<SyncStats> {
        self.stats(Some(user)).await
    }

    /// The statistics of one user, or of everyone.
    pub async fn stats(&self, user: Option<UserId>) -> Result<SyncStats> {
        self.with_store(Access::ReadOnly, |store| async move { store.stats(user).await }).await
    }

    /// Adds the index `nas_sync_pending` to the table, so that looking for pending documents costs the same however many are
    /// synced; `false`: it is there already, as in a table that nas-sync created. It holds the ids of the pending rows only.
    /// Others cannot write to the database until it is made, which takes one look at each row. Fails with `DatabaseLocked`
    /// or `DatabaseUnusable`.
    pub async fn add_index(&self) -> Result<bool> {
        self.with_store(Access::Existing, |store| async move { store.add_index().await }).await
    }

    /// Adds triggers to a PostgreSQL database that notify of changes, so that a process that watches asks nothing until there
    /// is something; `false`: they are there already. Fails with `Usage` where the database is another one.
    pub async fn add_notify(&self) -> Result<bool> {
        self.with_store(Access::Existing, |store| async move { store.add_notify().await }).await
    }

    /// Fails with `Usage` for ids that the documents of this database cannot have: those in SQLite have whole numbers.
    #[cfg(feature = "api")]
    pub(crate) fn check_ids(&self, user: Option<&UserId>, documents: &[DocumentId]) -> Result<()> {
        let text = user.and_then(UserId::as_text).or_else(|| documents.iter().find_map(DocumentId::as_text));
        match text {
            Some(text) if self.settings.db.file().is_some() => {
                let text = text::escape_start(text, 100);
                let message = format!("\"{text}\" is no id of an SQLite database: it must be a whole number");
                Err(NasSyncError::new(ErrorKind::Usage, message)
                    .with_solution("Give the number that stands in the table."))
            }
            _ => Ok(()),
        }
    }

    /// What a [`Client`](crate::Client) for this NAS needs. Fails with `NotConfigured`, naming what is missing.
    pub fn client_config(&self) -> Result<ClientConfig> {
        ClientConfig::of(&self.settings)
    }

    /// The destination as it was configured.
    pub(crate) fn connection(&self) -> Result<NasConnection> {
        Ok(NasConnection::new(self.client_config()?, self.nas_path()?))
    }

    pub(crate) fn nas_path(&self) -> Result<&str> {
        let missing = || NasSyncError::new(ErrorKind::NotConfigured, "not configured, missing: NAS_PATH");
        self.settings.path.as_deref().ok_or_else(missing)
    }

    pub(crate) fn root(&self) -> Result<Option<Arc<HeldFolder>>> {
        self.settings.upload_dir.as_deref().map(|path| open_upload_dir(path).map(Arc::new)).transpose()
    }

    /// Whether the database can be used. One that is not there yet is no fault, nor is one that somebody holds.
    #[cfg(feature = "api")]
    pub(crate) async fn check_database(&self) -> Result<()> {
        if !self.settings.db.exists() {
            return Ok(());
        }
        match self.with_store(Access::ReadOnly, |_| async { Ok(()) }).await {
            Err(error) if error.kind() == ErrorKind::DatabaseLocked => Ok(()),
            result => result,
        }
    }

    /// Opens the database for one use of it.
    async fn with_store<T, F>(&self, access: Access, work: impl FnOnce(Store) -> F) -> Result<T>
    where
        F: Future<Output = Result<T>>,
    {
        let store = Store::open(&self.settings.db, access).await?;
        let result = work(store.clone()).await;
        store.close().await;
        result
    }
}

/// What is missing was never registered.
fn not_there_to_add(error: NasSyncError) -> NasSyncError {
    match error.kind() {
        ErrorKind::SourceMissing => error.with_solution("Name files that exist. Nothing was registered."),
        _ => error,
    }
}

/// The path under which a file is registered: relative to the upload folder where there is one, else absolute.
fn registered_path(root: Option<&HeldFolder>, path: &Path) -> Result<PathBuf> {
    let absolute = std::path::absolute(path)
        .map_err(|error| NasSyncError::at_path(ErrorKind::LocalFile, "Cannot resolve", path, error))?;
    match root {
        None => Ok(absolute),
        Some(root) if absolute.symlink_metadata().is_ok() => root.relative(&absolute),
        Some(root) => root.relative(path),
    }
}
