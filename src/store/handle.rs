//! The database as the rest of the program sees it: each method is one use of it, and none blocks.
//!
//! Each kind of database is an arm of [`Arm`], with the same methods; what is to be done with them stands here, once.
//!
//! Guarantees: what a method writes is one commit, or a few of which each may stand alone: a refused login and the pause
//! behind it, copies that were verified and others that go again, the end of a pause and of waits. Times are given, because
//! a database has no clock.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use chrono::{DateTime, Utc};

#[cfg(feature = "cli")]
use super::examination::Examination;
use super::model::{
    Access, BadRow, Beginning, Claim, Claimed, Copies, Document, Due, Fence, FoundFile, ListRequest, Listing,
    MarkOutcome, Moved, NewDocument, NextTry, Pause, Queue, QueueView, Registered, Retried, Selection, Settlement,
    StoredCopy, SyncStats, SyncedCopy, SyncedRecord, Version, Worker,
};
use super::policy;
#[cfg(feature = "postgres")]
use super::postgres::PostgresStore;
#[cfg(feature = "sqlite")]
use super::sqlite::SqliteStore;
use crate::blocking;
use crate::database::{Database, Place};
use crate::error::{ErrorKind, NasSyncError, Result};
use crate::id::{DocumentId, UserId};
use crate::proof::Refusal;

/// An open database, for any number of tasks: they take turns.
///
/// A run keeps one: a database whose last connection closes is tidied up under a lock, which costs time, and others that
/// come by meanwhile have to wait.
#[derive(Debug, Clone)]
pub struct Store(Arc<Mutex<Arm>>);

/// The kinds of database.
#[derive(Debug)]
enum Arm {
    #[cfg(feature = "sqlite")]
    Sqlite(SqliteStore),
    #[cfg(feature = "postgres")]
    Postgres(Box<PostgresStore>),
}

/// Stands between two places.
const AND: &str = " and ";

/// Works with whichever database it is, on a thread that may block.
macro_rules! with {
    ($self:ident, |$store:ident| $work:expr) => {
        $self
            .with(move |arm| match arm {
                #[cfg(feature = "sqlite")]
                Arm::Sqlite($store) => $work,
                #[cfg(feature = "postgres")]
                Arm::Postgres($store) => $work,
            })
            .await
    };
}

impl Store {
    /// Opens a database. Fails with `DatabaseLocked` or `DatabaseUnusable`; the message names the database.
    pub async fn open(database: &Database, access: Access) -> Result<Self> {
        let database = database.clone();
        let arm = blocking::run(move || match database {
            #[cfg(feature = "sqlite")]
            Database { place: Place::Sqlite(path), table } => SqliteStore::open(&path, &table, access).map(Arm::Sqlite),
            #[cfg(feature = "postgres")]
            Database { place: Place::Postgres(url), table } => {
                PostgresStore::open(*url, &table, access).map(|store| Arm::Postgres(Box::new(store)))
            }
            #[cfg(not(all(feature = "sqlite", feature = "postgres")))]
            other => Err(unknown(&other)),
        })
        .await?;
        Ok(Self(Arc::new(Mutex::new(arm))))
    }

    /// Looks at a database without changing anything: neither tables nor files are made. Fails with `DatabaseLocked` or
    /// `DatabaseUnusable`.
    #[cfg(feature = "cli")]
    pub async fn examine(database: &Database) -> Result<Examination> {
        let database = database.clone();
        blocking::run(move || match database {
            #[cfg(feature = "sqlite")]
            Database { place: Place::Sqlite(path), table } => super::sqlite::examine(&path, &table),
            #[cfg(feature = "postgres")]
            Database { place: Place::Postgres(url), table } => super::postgres::examine(*url, &table),
            #[cfg(not(all(feature = "sqlite", feature = "postgres")))]
            other => Err(unknown(&other)),
        })
        .await
    }

    /// Closes it, unless somebody else uses it: the last to close tidies up on the disk. Dropping does the same, on the
    /// spot.
    pub async fn close(self) {
        // Where no thread can be had, it is dropped here.
        let _ = blocking::run(move || {
            drop(self);
            Ok(())
        })
        .await;
    }

    /// Works with it on a thread that may block.
    async fn with<T: Send + 'static>(&self, work: impl FnOnce(&mut Arm) -> Result<T> + Send + 'static) -> Result<T> {
        let store = Arc::clone(&self.0);
        // Work that panicked has not committed anything, and the next one begins with a transaction of its own.
        blocking::run(move || work(&mut blocking::lock(&store))).await
    }

    /// Registers files as pending documents of one user, all of them or none, but for those that are documents of this user
    /// already; the answers are in the same order.
    pub async fn add(&self, user: UserId, files: Vec<NewDocument>, at: DateTime<Utc>) -> Result<Vec<Registered>> {
        with!(self, |store| store.add_documents(&user, &files, at))
    }

    /// Registers files that were found, except those that are registered already; gives the new ids.
    pub async fn add_found(&self, user: UserId, files: Vec<FoundFile>, at: DateTime<Utc>) -> Result<Vec<DocumentId>> {
        with!(self, |store| store.add_found(&user, &files, at))
    }

    /// What a function makes of each registered path, in no order.
    pub async fn map_paths<T: Send + 'static>(
        &self,
        each: impl Fn(&Path) -> Option<T> + Send + 'static,
    ) -> Result<Vec<T>> {
        with!(self, |store| {
            let mut made = Vec::new();
            store.each_path(|path| made.extend(each(path)))?;
            Ok(made)
        })
    }

    /// The documents of a selection, synced or not, by ascending id.
    pub async fn documents(&self, selection: Selection) -> Result<Vec<Result<Document, BadRow>>> {
        with!(self, |store| store.documents(&selection))
    }

    /// The last acknowledged copy of a document.
    pub async fn copy_of(&self, id: DocumentId) -> Result<Option<StoredCopy>> {
        with!(self, |store| store.copy_of(id))
    }

    /// What a run has to know when it begins. What is remembered of documents that are gone is forgotten first.
    pub async fn begin(&self, selection: Selection, target: String, now: DateTime<Utc>) -> Result<Beginning> {
        with!(self, |store| {
            store.forget_gone()?;
            Ok(Beginning {
                unusable: store.unusable(&selection)?,
                selection: store.as_of_now(&selection)?,
                refusals: store.refusals(&target, now)?,
                pause: store.pause(&target)?,
            })
        })
    }

    /// Remembers that documents go to this place, unless others count as synced that were sent to another one: then it is
    /// those.
    pub async fn send_to(&self, place: String) -> Result<Option<Moved>> {
        with!(self, |store| {
            let known = store.place()?;
            if known.as_ref() == Some(&place) {
                return Ok(None);
            }
            let moved = match known {
                Some(from) => policy::moved(&from, store.stats(None)?.synced),
                None => None,
            };
            if moved.is_none() {
                store.set_place(&place)?;
            }
            Ok(moved)
        })
    }

    /// Documents went to this place, too, besides those that count as synced at another one.
    pub async fn sent_to(&self, place: String) -> Result<()> {
        with!(self, |store| {
            let known = store.place()?.unwrap_or_default();
            if known.split(AND).any(|known| known == place) {
                return Ok(());
            }
            store.set_place(&format!("{known}{AND}{place}"))
        })
    }

    /// The documents that count as synced, and may not be at this place.
    #[cfg(any(feature = "cli", feature = "api"))]
    pub async fn moved(&self, place: String) -> Result<Option<Moved>> {
        with!(self, |store| match store.place()? {
            Some(from) if from != place => Ok(policy::moved(&from, store.stats(None)?.synced)),
            _ => Ok(None),
        })
    }

    /// All documents that count as synced are at this place.
    pub async fn set_place(&self, place: String) -> Result<()> {
        with!(self, |store| store.set_place(&place))
    }

    /// Ends the waits of pending documents whose last try failed for this reason.
    pub async fn end_waits(&self, selection: Selection, kind: ErrorKind) -> Result<()> {
        with!(self, |store| store.end_waits(&selection, kind))
    }

    /// What can never be leased of a selection: ids without a row, and rows whose id makes no sense.
    pub async fn unusable(&self, selection: Selection) -> Result<Vec<BadRow>> {
        with!(self, |store| store.unusable(&selection))
    }

    /// Leases pending documents to a worker: at most `most` of them, and a fair share when others work beside it.
    pub async fn lease(&self, selection: Selection, due: Due, most: usize, worker: Worker<'static>) -> Result<Claimed> {
        with!(self, |store| store.claim(&selection, &due, most, &worker))
    }

    /// The documents of a selection that are leased to anybody.
    pub async fn leased(&self, selection: Selection) -> Result<Vec<DocumentId>> {
        with!(self, |store| store.leased_documents(&selection))
    }

    /// Says that the holder of a lease lives, `clock` on its own clock. `false`: the lease is lost.
    pub async fn renew(&self, fence: Fence, clock: Duration) -> Result<bool> {
        with!(self, |store| store.renew(fence, clock))
    }

    /// Gives a lease back, and what is left in it.
    pub async fn release(&self, fence: Fence) -> Result<()> {
        with!(self, |store| store.release(fence))
    }

    /// Claims a name on the NAS for each document; the answers are in the same order.
    pub async fn claim_names(&self, claims: Vec<(DocumentId, Vec<u8>)>) -> Result<Vec<Claim>> {
        with!(self, |store| store.claim_names(&claims))
    }

    /// Those of these documents that may have a copy under these names.
    pub async fn sent_before(&self, names: Vec<(DocumentId, Vec<u8>)>) -> Result<HashSet<DocumentId>> {
        with!(self, |store| store.sent_before(&names))
    }

    /// Whose these names on the NAS are, of those that are somebody's.
    pub async fn owners(&self, names: Vec<Vec<u8>>) -> Result<HashMap<Vec<u8>, DocumentId>> {
        with!(self, |store| { store.owners_of_names(&names) })
    }

    /// Records what became of documents and takes them out of the lease, in one commit; the outcomes are those of
    /// `settlement.synced`, in its order. `next` gives the next try of a document after so many failed. `is_still` says
    /// whether the file of a record is the one that was sent; others wait meanwhile, so it should only look.
    pub async fn settle(
        &self,
        fence: Fence,
        settlement: Settlement,
        at: DateTime<Utc>,
        next: impl Fn(ErrorKind, u32) -> NextTry + Send + 'static,
        is_still: impl Fn(&SyncedRecord) -> bool + Send + 'static,
    ) -> Result<Vec<MarkOutcome>> {
        with!(self, |store| store.settle(fence, &settlement, at, &next, &is_still))
    }

    /// Remembers what a NAS refuses, in place of what was remembered before.
    pub async fn remember_refusals(&self, target: String, refusals: Vec<Refusal>, now: DateTime<Utc>) -> Result<()> {
        with!(self, |store| store.remember_refusals(&target, &refusals, now))
    }

    /// Why nothing is sent to a NAS, also when that is over by now.
    pub async fn pause(&self, target: String) -> Result<Option<Pause>> {
        with!(self, |store| store.pause(&target))
    }

    /// Records why nothing is sent to a NAS. A login that it refused `at` a time is counted.
    pub async fn begin_pause(&self, target: String, pause: Pause, refused_login: Option<DateTime<Utc>>) -> Result<()> {
        with!(self, |store| {
            if let Some(at) = refused_login {
                store.record_refused_login(&target, at)?;
            }
            store.set_pause(&target, Some(&pause))
        })
    }

    /// Records that a NAS takes documents.
    pub async fn end_pause(&self, target: String) -> Result<()> {
        with!(self, |store| store.set_pause(&target, None))
    }

    /// Forgets the waits and final failures of a selection's pending documents, and the pause of a NAS. Fails with
    /// `DocumentNotFound` when a document that is named does not exist.
    pub async fn retry(&self, selection: Selection, target: Option<String>) -> Result<Retried> {
        with!(self, |store| {
            policy::refuse(store.unusable(&selection)?)?;
            let mut pause = None;
            if let Some(target) = target {
                pause = store.pause(&target)?;
                if pause.is_some() {
                    store.set_pause(&target, None)?;
                }
            }
            Ok(Retried { documents: store.forget_failures(&selection)?, pause })
        })
    }

    /// Makes the synced documents of a selection pending again, and says how many became so. Fails with `DocumentNotFound`
    /// when a document that is named does not exist.
    pub async fn resend(&self, selection: Selection) -> Result<usize> {
        with!(self, |store| {
            policy::refuse(store.unusable(&selection)?)?;
            store.resend(&selection)
        })
    }

    /// Deletes the rows of documents, all of them or none. Fails with `DocumentNotFound` for one that does not exist, and with
    /// `Usage` for one that nas-sync did not register, or that a worker is sending. `worker` is who looks.
    pub async fn remove(&self, documents: Vec<DocumentId>, worker: Worker<'static>) -> Result<()> {
        with!(self, |store| {
            policy::refuse(store.unusable(&Selection::documents(documents.iter().cloned()))?)?;
            store.remove(&documents, &worker)
        })
    }

    /// Documents as they stand at a time, the newest first. `worker` is who looks, as in [`Store::queue`].
    pub async fn list(&self, request: ListRequest, now: DateTime<Utc>, worker: Worker<'static>) -> Result<Listing> {
        with!(self, |store| store.list(&request, now, &worker))
    }

    /// The queue of a selection at a time. `worker` is who looks: what a worker was sending that is dead by now is due.
    pub async fn queue(&self, selection: Selection, now: DateTime<Utc>, worker: Worker<'static>) -> Result<Queue> {
        with!(self, |store| Ok(store.queue(&selection, now, &worker)?.0))
    }

    /// What has to be known of the queue and of a NAS again and again; `None` when nothing has changed since the version
    /// `known`, which costs next to nothing.
    pub async fn view(
        &self,
        selection: Selection,
        target: String,
        known: Option<Version>,
        now: DateTime<Utc>,
        worker: Worker<'static>,
    ) -> Result<Option<QueueView>> {
        with!(self, |store| {
            // First the version: what changes while the rest is read is seen next time.
            let version = Version(store.data_version()?);
            if known == Some(version) {
                return Ok(None);
            }
            let (queue, oldest) = store.queue(&selection, now, &worker)?;
            Ok(Some(QueueView {
                version,
                queue,
                pause: store.pause(&target)?,
                refused_logins: store.refused_logins(&target)?,
                oldest,
            }))
        })
    }

    /// Adds the index over the pending rows; `false`: it is there already.
    pub async fn add_index(&self) -> Result<bool> {
        with!(self, |store| store.add_index())
    }

    /// Adds the triggers that notify of changes; `false`: they are there already. Fails with `Usage` where the database has
    /// no notifications.
    pub async fn add_notify(&self) -> Result<bool> {
        self.with(|arm| match arm {
            #[cfg(feature = "sqlite")]
            Arm::Sqlite(_) => {
                let message =
                    "an SQLite database has no notifications: a process that watches it sees changes by itself";
                Err(NasSyncError::new(ErrorKind::Usage, message))
            }
            #[cfg(feature = "postgres")]
            Arm::Postgres(store) => store.add_notify(),
        })
        .await
    }

    /// The statistics of one user, or of everyone.
    pub async fn stats(&self, user: Option<UserId>) -> Result<SyncStats> {
        with!(self, |store| store.stats(user))
    }

    /// The synced documents of a selection, each with its copy as it was recorded.
    pub async fn synced_copies(&self, selection: Selection) -> Result<Vec<SyncedCopy>> {
        with!(self, |store| store.copies(&selection, Copies::OfSynced))
    }

    /// The same, and the pending ones of which an earlier copy is recorded.
    pub async fn all_copies(&self, selection: Selection) -> Result<Vec<SyncedCopy>> {
        with!(self, |store| store.copies(&selection, Copies::OfPendingToo))
    }

    /// Records that copies were found equal at a time, and makes others pending; gives how many became so. Both only
    /// where the row still is what was compared.
    pub async fn record_comparison(
        &self,
        equal: Vec<(DocumentId, StoredCopy)>,
        again: Vec<(DocumentId, StoredCopy)>,
        at: DateTime<Utc>,
    ) -> Result<usize> {
        with!(self, |store| {
            store.record_verified(&equal, at)?;
            store.requeue(&again)
        })
    }
}

/// The error of a kind of database that this build does not have.
#[cfg(not(all(feature = "sqlite", feature = "postgres")))]
fn unknown(database: &Database) -> NasSyncError {
    NasSyncError::new(
        ErrorKind::DatabaseUnusable,
        format!("this build does not know the kind of database of {database}"),
    )
    .with_solution("Build with the feature `sqlite` or `postgres`.")
}
