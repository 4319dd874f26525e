//! Sends documents to a NAS by rsync over SSH and says what is stored there, by proof.
//!
//! Neither rsync nor ssh is needed on this side: the crate speaks both protocols itself. On the NAS it starts
//! `rsync --server` and asks it to acknowledge each file.
//!
//! There are three ways in:
//!
//! | you have | use | what you get |
//! | --- | --- | --- |
//! | a database with a table of documents | [`NasSyncService`] | pending rows are sent, and marked when it is proved that they are stored |
//! | files, and a record of your own | [`Client::send_documents`] | for each file, by a key of yours: its level of proof and SHA-256, or an error |
//! | folders | [`Client::push`] | rsync's own push, with rsync's options, report and exit status |
//!
//! # A database with documents
//!
//! [`NasSyncService`] syncs the documents of one database with one NAS. It takes [`Settings`], which are made here or come
//! from flags, the environment and a `.env` file ([`Settings::resolve`]). The [`Database`] is an SQLite file, or a
//! PostgreSQL database by its [`PostgresUrl`], and the [`TableName`] of their table.
//!
//! ```no_run
//! use nas_sync::{NasSyncError, NasSyncService, Settings, UserId};
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), NasSyncError> {
//! let settings = Settings::new("192.168.1.100", "backup", "/volume1/invoices").database("/srv/app/app.db");
//! let nas = NasSyncService::new(settings);
//! nas.add(UserId::from(7), vec!["/srv/uploads/invoice.pdf".into()]).await?;
//! let summary = nas.sync_all_pending(UserId::from(7)).await?;
//! for failed in &summary.errors {
//!     eprintln!("{failed}: {}", failed.error.solution());
//! }
//! # Ok(())
//! # }
//! ```
//!
//! [`NasSyncService::test_connection`] says whether the NAS can be used, [`NasSyncService::sync_stats`] how far the documents
//! are, [`NasSyncService::queue`] what waits and why ([`Queue`], [`Deferred`], [`Failure`], [`NextTry`]; a whole NAS that
//! takes nothing has a [`Pause`]), [`NasSyncService::list`] each document as it stands ([`ListRequest`], [`Listing`],
//! [`ListedDocument`], [`DocumentState`]), [`NasSyncService::retry`] ends the waits ([`Retried`]), [`NasSyncService::resend`]
//! makes synced documents pending again, [`NasSyncService::restore`] fetches them back ([`RestoreRequest`], [`RestoreReport`]),
//! [`NasSyncService::preview`] says what a sync would do ([`SyncPreview`], [`PlannedDocument`]), [`NasSyncService::remove`] takes
//! back what was added, and [`NasSyncService::verify`] compares the copies with what was recorded ([`VerifyRequest`], [`Sample`], [`Method`], [`Requeue`], [`VerifyReport`]).
//! [`SyncSummary`], [`SyncedFile`], [`DocumentError`], [`SyncStats`], [`ConnectionReport`] (with a [`Refusal`] for each
//! [`Capability`] that the NAS lacks, and [`DurableBy`]) and [`ConfigStatus`] are what they give.
//! Rows are named by [`DocumentId`] and [`UserId`], and chosen by a [`Selection`]. Where a table of somebody else's has very
//! many, [`NasSyncService::add_index`] makes the pending ones quick to find.
//!
//! Every long operation has a form with a [`DocumentMonitor`], which hears [`DocumentEvent`]s that carry the document's id,
//! the totals, and when a row is recorded; [`Unmonitored`] hears nothing, and [`RecordingMonitor`] keeps
//! [`RecordedEvent`]s, for tests. With the feature `serde` a [`ProgressMonitor`] makes of them the objects that `--progress json`
//! writes, each a [`ProgressEvent`]: totals, rate and time left at most ten times a second, and the outcome of each document. Dropping the future of an operation cancels it: what was not recorded goes again.
//!
//! # Documents without a database
//!
//! ```no_run
//! use std::sync::Arc;
//!
//! use nas_sync::{Client, ClientConfig, DocumentId, NasSyncError, OutgoingDocument, RemoteName, SendDocuments};
//! use nas_sync::{Settings, Unmonitored};
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), NasSyncError> {
//! let settings = Settings::new("192.168.1.100", "backup", "/volume1/invoices");
//! let client = Client::connect(&ClientConfig::of(&settings)?).await?;
//! let invoice = OutgoingDocument::new(DocumentId::from(42), "/srv/uploads/a.pdf", RemoteName::new("2024/a.pdf")?);
//! for outcome in client.send_documents(SendDocuments::new("/volume1/invoices", vec![invoice]), Arc::new(Unmonitored)).await? {
//!     let stored = outcome.result?;
//!     println!("{}: {}", outcome.id, stored.level.as_str());
//! }
//! client.disconnect().await;
//! # Ok(())
//! # }
//! ```
//!
//! A [`Client`] is one login. [`SendDocuments`] holds what to send, each an [`OutgoingDocument`] with a key of the caller's,
//! and how many sessions side by side may carry them ([`Jobs`]). How fast all of a login may send is a [`Rate`].
//! A [`DocumentOutcome`] holds a [`StoredDocument`] with its [`Level`], or the error. Names on the NAS are [`RemoteName`]s;
//! a [`NameFault`] says which rule one breaks. A [`Naming`] gives documents of a database the names that the service would
//! give them, from [`DocumentFacts`]. [`Client::fetch_documents`] brings documents back: [`FetchDocuments`] names each [`WantedDocument`]
//! and its SHA-256, and every one ends as a [`FetchedDocument`], which says how it came ([`Fetched`]). [`Client::check`] proves beforehand that a sync would work.
//!
//! # Folders, as rsync pushes them
//!
//! ```no_run
//! use std::sync::Arc;
//!
//! use nas_sync::{Client, ClientConfig, Files, NasSyncError, PushOptions, PushRequest, Settings, Silent};
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), NasSyncError> {
//! let client = Client::connect(&ClientConfig::of(&Settings::new("192.168.1.100", "backup", "."))?).await?;
//! let mut options = PushOptions::default();
//! (options.recursive, options.times) = (true, true);
//! let request = PushRequest::new(Files::Operands(vec!["photos/".into()]), "/volume1/photos/", options);
//! let report = client.push(request, Arc::new(Silent)).await?;
//! println!("{} files sent, exit status {}", report.stats.transferred, report.exit_code);
//! client.disconnect().await;
//! # Ok(())
//! # }
//! ```
//!
//! A [`PushRequest`] has [`Files`], [`PushOptions`] and an [`Offer`] of what to negotiate ([`Protocol`], [`ChecksumChoice`] of
//! [`StrongAlgorithm`]s, [`CompressionChoice`] of [`TokenCoding`]s). A [`Monitor`] hears its [`Event`]s ([`Silent`] hears
//! nothing), each about a [`FileEntry`] of an [`EntryKind`] (for a folder, its [`Content`], and else perhaps a [`Special`] one, as a [`Device`]) with its [`FileMeta`], [`Extras`], [`FileId`] and
//! [`Mtime`], with [`ItemFlags`], [`FileStats`], [`Stability`] and texts of a [`Severity`]. A [`TransferReport`] has [`TransferStats`] with [`KindCounts`], and a [`WalkWarning`] with [`Reason`] and
//! [`Effect`] for whatever was left out. [`push_over`] does the same over a stream of the caller's.
//!
//! [`Rules`] (each with a [`Verdict`], or a [`FilterError`]) say which files take part. What is the receiver's business is in
//! [`ReceiverOptions`]: [`Writing`], what becomes of a [`Partial`] file, an [`AlternateUse`] of other folders, and [`Deletion`] at a
//! [`DeleteTime`].
//!
//! [`Client::pull`] goes the other way: a [`PullRequest`] has sources on the NAS, a destination here and [`PullOptions`], and
//! ends with a [`TransferReport`], too.
//!
//! # Keys and settings
//!
//! A [`ClientConfig`] holds an [`SshConfig`]: an [`Identity`], what to do about an [`UnknownHostKey`], a [`HostKeyPin`],
//! [`LegacyAlgorithms`], a [`CipherList`], and where the NAS asks for more than a password, a [`Person`] who answers each
//! [`LoginQuestion`]. [`Settings`] say the same in a simpler way ([`KeySource`], [`Secret`]) and are read from [`Flags`] and an
//! [`Environment`]; where they leave something open, the files of OpenSSH's configuration that an [`SshConfigFile`] names may say
//! it. A [`Listen`] says where something is served, a [`WebUrl`] where somebody is told, a [`LogFormat`] how the program's log is
//! written.
//!
//! # Errors
//!
//! [`NasSyncError`] is the error of everything. Programs match its [`kind`](NasSyncError::kind), an [`ErrorKind`] with the
//! [`Party`] that has to act and its [`Healing`]; people read its message, cause and solution. [`Result`] is short for it.
//!
//! # Watching
//!
//! With the feature `watch`, [`NasSyncService::watch`] syncs what becomes pending until it is stopped: [`WatchOptions`],
//! [`NewFiles`], [`WatchSummary`]. With the feature `api`, `NasSyncService::serve` does so beside an HTTP API and a page. It keeps a health file ([`default_health_file`]), and [`check_health`] says whether it is
//! well: a [`Checkup`] with the last [`Beat`], which may be [`MAX_HEALTH_AGE`] old.
//!
//! # Features
//!
//! `sqlite` and `postgres` (default) are the service with either database or both, `watch` its loop, `api` the loop over HTTP,
//! `cli` (default) the program; `serde` lets reports, errors and keys be serialized, as the objects that `--json` prints. Without
//! features only the client is there.
//!
//! # How it is built
//!
//! Modules import downward only; those on one floor do not know each other. The protocol is described topic by topic in
//! `protocol-notes/` of the repository, which begins with the way of one document through the code.
//!
//! | floor | module | what it is |
//! | --- | --- | --- |
//! | 9 | `cli` | the command line: words become calls, events become text, bars or JSON |
//! | 8 | `api` | the loop over HTTP: routes, metrics, a page |
//! | 7 | `watch`, `json` | the loop that keeps syncing; results as JSON |
//! | 6 | `service` | documents in, outcomes out: plan, send, prove, record |
//! | 5 | `client` | one login, no database: pushes, documents, questions to the NAS |
//! | 4 | `session` | one rsync session over one command |
//! | 4 | `config` | settings: one table, one row a setting |
//! | 3 | `role` | sender, generator and receiver: straight-line blocking code that reads like the protocol |
//! | 2 | `tree`, `transport`, `store` | local files; where bytes come from; what is remembered |
//! | 1 | `wire`, `filter` | pure: bytes to values and back; rules and names |
//! | 0 | `delta`, `database`, `error`, `folding`, `id`, `jobs`, `own_tables`, `rate`, `text`, `secret`, `proof`, `blocking`, `process`, `small_file`, `system_roots` | what everybody uses |

#[cfg(feature = "api")]
mod api;
mod blocking;
#[cfg(feature = "cli")]
pub mod cli;
mod client;
mod config;
mod database;
mod delta;
mod error;
mod filter;
mod folding;
mod id;
mod jobs;
#[cfg(feature = "serde")]
mod json;
mod own_tables;
#[cfg(feature = "service")]
mod process;
mod proof;
mod rate;
mod role;
mod secret;
#[cfg(feature = "service")]
mod service;
mod session;
mod small_file;
#[cfg(feature = "service")]
mod store;
#[cfg(any(feature = "postgres", feature = "cli"))]
mod system_roots;
mod text;
mod transport;
mod tree;
#[cfg(feature = "watch")]
mod watch;
mod wire;

pub use client::compare::Method;
pub use client::documents::{
    DocumentEvent, DocumentFacts, DocumentMonitor, DocumentOutcome, FetchDocuments, Fetched, FetchedDocument, Naming,
    OutgoingDocument, RecordedEvent, RecordingMonitor, SendDocuments, StoredDocument, Unmonitored, WantedDocument,
};
pub use client::{
    Client, ClientConfig, ConnectionReport, Files, PullRequest, PushRequest, TransferReport, TransferStats, push_over,
};
pub use config::{ConfigStatus, Environment, Flags, KeySource, Listen, LogFormat, Settings, WebUrl};
pub use database::{Database, PostgresUrl, TableName};
pub use delta::StrongAlgorithm;
pub use error::{ErrorKind, Healing, NasSyncError, Party, Result};
pub use filter::{FilterError, Rules, Verdict};
pub use id::{DocumentId, UserId};
pub use jobs::Jobs;
#[cfg(feature = "serde")]
pub use json::{ProgressEvent, ProgressMonitor};
pub use proof::{Capability, DurableBy, Level, Refusal};
pub use rate::Rate;
pub use role::event::{Event, FileStats, Monitor, Severity, Silent, Stability};
pub use secret::Secret;
#[cfg(feature = "service")]
pub use service::restore::{RestoreReport, RestoreRequest};
#[cfg(feature = "service")]
pub use service::verify::{Requeue, Sample, VerifyReport, VerifyRequest};
#[cfg(feature = "service")]
pub use service::{DocumentError, NasSyncService, PlannedDocument, SyncPreview, SyncSummary, SyncedFile};
#[cfg(feature = "service")]
pub use store::{
    Deferred, DocumentState, Failure, ListRequest, ListedDocument, Listing, NextTry, Pause, Queue, Retried, Selection,
    SyncStats,
};
pub use transport::ssh::ssh_config::SshConfigFile;
pub use transport::ssh::{
    CipherList, HostKeyPin, Identity, LegacyAlgorithms, LoginQuestion, Person, SshConfig, UnknownHostKey,
};
pub use tree::{Effect, NameFault, Reason, RemoteName, WalkWarning};
#[cfg(feature = "watch")]
pub use watch::health_file::{Beat, Checkup, MAX_HEALTH_AGE, check_health, default_health_file};
#[cfg(feature = "watch")]
pub use watch::{NewFiles, WatchOptions, WatchSummary};
pub use wire::flist::{Content, Device, EntryKind, Extras, FileEntry, FileId, FileMeta, KindCounts, Mtime, Special};
pub use wire::iflags::ItemFlags;
pub use wire::offer::{ChecksumChoice, CompressionChoice, Offer, Protocol};
pub use wire::pull_args::PullOptions;
pub use wire::receiver_args::{AlternateUse, DeleteTime, Deletion, Partial, ReceiverOptions, Writing};
pub use wire::server_args::PushOptions;
pub use wire::token::TokenCoding;

/// What the tests, benchmarks, fuzz targets and the Python package of this repository take apart. No part of the interface: any of it may change
/// with any version.
#[doc(hidden)]
pub mod internal {
    pub mod client {
        pub use crate::client::{documents, nas};
    }
    pub mod delta {
        pub use crate::delta::*;
    }
    pub mod folding {
        pub use crate::folding::folded;
    }
    pub mod own_tables {
        pub use crate::own_tables::*;
    }
    #[cfg(feature = "service")]
    pub mod process {
        pub use crate::process::{Holder, Life};
    }
    pub mod filter {
        pub use crate::filter::*;
    }
    pub mod role {
        pub use crate::role::*;
    }
    pub mod session {
        pub use crate::session::*;
    }
    #[cfg(feature = "service")]
    pub mod store {
        pub use crate::store::*;
    }
    pub mod transport {
        pub use crate::transport::*;
    }
    pub mod tree {
        pub use crate::tree::*;
    }
    pub mod wire {
        pub use crate::wire::*;
    }
}

/// The examples of docs/library.md are compiled like those of this page.
#[cfg(doctest)]
#[doc = include_str!("../docs/library.md")]
struct LibraryPage;
