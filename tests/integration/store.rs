//! What the rest of the program relies on a database for, whichever it is: each case is tried on an SQLite file and in a
//! PostgreSQL database of its own. What only one of them has (values of any type; the clock of a server) is tested beside it.

mod costs;
mod documents;
mod leasing;
mod naming;
mod recording;

use std::path::PathBuf;
use std::pin::Pin;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, TimeZone as _, Utc};
use nas_sync::internal::process::{Holder, Life};
use nas_sync::internal::store::{
    Access, Attempt, AttemptEnd, BadRow, Document, Due, FailedTry, Fence, MarkOutcome, NewDocument, Settlement, Store,
    StoredCopy, SyncedRecord, Worker,
};
use nas_sync::{DocumentId, ErrorKind, Level, Mtime, NextTry, Queue, Result, Selection, UserId};
use tempfile::TempDir;

use crate::support::{Database, Postgres};

type Case = for<'d> fn(&'d Db) -> Pin<Box<dyn Future<Output = ()> + 'd>>;

/// Names of functions as cases.
macro_rules! cases {
    ($($room:ident: $($name:ident),+;)+) => {
        [$($((concat!(stringify!($room), "::", stringify!($name)), (|db| Box::pin($room::$name(db))) as Case)),+),+]
    };
}

const CASES: [(&str, Case); 28] = cases! {
    documents: selections_are_what_they_say, a_run_leaves_out_what_comes_later, unknown_ids_are_rows_of_the_answer,
        no_id_is_too_odd_to_be_asked_for, adding_is_all_or_nothing, found_files_are_registered_once, statistics,
        every_document_is_in_one_state, names_are_found_in_any_case, changes_of_others_are_noticed;
    leasing: a_document_is_leased_once, workers_share_what_there_is, leases_of_the_dead_end_at_once,
        who_lost_the_lease_is_not_believed, a_document_waits_until_its_time_or_for_good, what_a_dead_worker_held_is_due,
        refusals_are_remembered_for_a_while, pauses_last_until_they_end;
    naming: a_name_belongs_to_one_document, claims_are_told_of_other_spellings, of_two_copies_that_go_again_one_yields,
        what_another_worker_sends_is_waited_for;
    recording: what_changed_meanwhile_is_not_marked, failures_are_counted_with_their_cause, attempts_are_kept_within_bounds,
        an_attempt_says_how_it_ended_and_lasts, copies_are_verified_and_requeued_as_they_were_recorded,
        a_new_document_with_an_old_id_has_no_past;
};

/// A database of one case.
struct Db {
    database: Database,
    store: Store,
}

impl Db {
    async fn of(database: Database) -> Self {
        let store = open(&database).await;
        Self { database, store }
    }

    /// Another connection.
    async fn open(&self) -> Store {
        open(&self.database).await
    }

    /// What another program does.
    fn run(&self, sql: &str) {
        self.database.run(sql);
    }

    /// Registers files of a user, and gives their ids.
    async fn add(&self, user: i64, paths: &[&str]) -> Vec<DocumentId> {
        let new = paths.iter().map(|path| NewDocument { file_path: PathBuf::from(path), original_name: None });
        let registered = self.store.add(UserId::from(user), new.collect(), noon()).await.unwrap();
        registered.iter().map(|registered| registered.id().clone()).collect()
    }

    /// Leases everything that is pending, also what waits.
    async fn lease_all(&self) -> Fence {
        let claimed = self.store.lease(Selection::all(), Due::Any, usize::MAX, worker(1, Life::Possible)).await;
        claimed.unwrap().fence.expect("something is pending")
    }

    /// Records what became of documents under a lease, which ends with it.
    async fn settle(&self, fence: Fence, settlement: Settlement) -> Vec<MarkOutcome> {
        self.settle_until(fence, settlement, NextTry::At(noon())).await
    }

    async fn settle_until(&self, fence: Fence, settlement: Settlement, next: NextTry) -> Vec<MarkOutcome> {
        let outcomes = self.store.settle(fence, settlement, noon(), move |_, _| next, |_| true).await.unwrap();
        self.store.release(fence).await.unwrap();
        outcomes
    }

    /// Marks documents under a lease of their own.
    async fn mark(&self, records: &[SyncedRecord]) -> Vec<MarkOutcome> {
        let fence = self.lease_all().await;
        self.settle(fence, Settlement { synced: records.to_vec(), ..Settlement::default() }).await
    }

    /// Fails documents under a lease of their own.
    async fn fail(&self, failed: Vec<FailedTry>, next: NextTry) {
        let fence = self.lease_all().await;
        self.settle_until(fence, Settlement { failed, ..Settlement::default() }, next).await;
    }

    async fn queue(&self, selection: Selection) -> Queue {
        self.store.queue(selection, noon(), worker(1, Life::Possible)).await.unwrap()
    }

    /// The ids of the pending documents.
    async fn pending(&self, selection: Selection) -> Vec<i64> {
        let rows = self.store.documents(selection).await.unwrap();
        let rows = rows.into_iter().map(|row| row.unwrap()).filter(|document| !document.synced);
        rows.map(|document| number(&document.id)).collect()
    }
}

async fn open(database: &Database) -> Store {
    Store::open(&database.documents(), Access::Create).await.unwrap()
}

/// The moment of every case.
fn noon() -> DateTime<Utc> {
    Utc.with_ymd_and_hms(2024, 1, 15, 12, 0, 0).unwrap()
}

fn minutes(minutes: i64) -> DateTime<Utc> {
    noon() + TimeDelta::minutes(minutes)
}

/// A process of this machine, or none of it, that sees all others as said.
fn worker(process: u32, life: Life) -> Worker<'static> {
    let holder = Holder { clock: "here".to_owned(), space: "here".to_owned(), process, started: 1 };
    Worker {
        holder: Box::leak(Box::new(holder)),
        now: Duration::ZERO,
        life_of: Box::leak(Box::new(move |_: &Holder| life)),
    }
}

fn number(id: &DocumentId) -> i64 {
    id.as_integer().unwrap()
}

/// The ids of good rows; a bad row ends the case.
fn ids(rows: Vec<Result<Document, BadRow>>) -> Vec<i64> {
    rows.into_iter().map(|row| number(&row.unwrap().id)).collect()
}

fn synced(id: &DocumentId, file_path: &str, remote_name: &str) -> SyncedRecord {
    SyncedRecord {
        id: id.clone(),
        file_path: PathBuf::from(file_path),
        copy: StoredCopy {
            remote_name: remote_name.into(),
            bytes: 7,
            mtime: Mtime { seconds: -1, nanoseconds: 999_999_999 },
            level: Level::Stored,
            sha256: Some([7; 32]),
        },
    }
}

fn failed(id: &DocumentId, kind: ErrorKind, text: &str) -> FailedTry {
    FailedTry { id: id.clone(), kind, text: text.to_owned(), solution: None }
}

fn attempt(id: &DocumentId, remote_name: &str, end: AttemptEnd) -> Attempt {
    Attempt {
        id: id.clone(),
        remote_name: remote_name.into(),
        sha256: None,
        started: noon(),
        took: Duration::from_millis(1500),
        bytes: 9,
        end,
        durable_by: None,
        failure: None,
    }
}

/// Tries each case on a database of its own, and names the one that fails.
fn each_case(database: impl Fn(&str) -> Database) {
    struct Named(&'static str);
    impl Drop for Named {
        fn drop(&mut self) {
            if std::thread::panicking() {
                eprintln!("FAILED: {}", self.0);
            }
        }
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    for (name, case) in CASES {
        let named = Named(name);
        runtime.block_on(async { case(&Db::of(database(name)).await).await });
        drop(named);
    }
}

#[test]
fn each_case_over_sqlite() {
    let folder = TempDir::new().unwrap();
    each_case(|name| Database::File(folder.path().join(name)));
}

#[test]
fn each_case_over_postgresql() {
    let Some(server) = Postgres::start() else { return };
    let empty = Database::server(server);
    each_case(|_| empty.copy(PathBuf::new()));
}
