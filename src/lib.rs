//! Sends documents to a NAS by rsync over SSH and records in SQLite what is stored there.
//!
//! Neither rsync nor ssh is needed on this side: the crate speaks both protocols itself. On the NAS it starts
//! `rsync --server` and asks it to acknowledge each file.
//!
//! # What to start with
//!
//! - [`NasSyncService`] syncs the documents of one database with one NAS. It takes [`Settings`], which come from flags, the
//!   environment and a `.env` file, or are filled in by the caller.
//! - [`Client`] has no database: one login, any number of pushes over it, side by side if wanted.
//! - [`NasSyncError`] is the error of everything. Programs match its [`kind`](NasSyncError::kind); people read its message,
//!   cause and solution.
//!
//! ```no_run
//! use nas_sync::{Environment, Flags, NasSyncError, NasSyncService, Settings, UserId};
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), NasSyncError> {
//! let settings = Settings::resolve(&Flags::default(), &Environment::of_process()?)?;
//! let nas = NasSyncService::new(settings);
//! nas.add(UserId(7), vec!["/srv/uploads/invoice.pdf".into()]).await?;
//! let summary = nas.sync_all_pending(UserId(7)).await?;
//! for failed in &summary.errors {
//!     eprintln!("{failed}: {}", failed.error.solution());
//! }
//! # Ok(())
//! # }
//! ```
//!
//! Without a database:
//!
//! ```no_run
//! use std::sync::Arc;
//!
//! use nas_sync::role::event::Silent;
//! use nas_sync::transport::ssh::SshConfig;
//! use nas_sync::wire::{handshake::Offer, server_args::PushOptions};
//! use nas_sync::{Client, ClientConfig, Files, NasSyncError, PushRequest};
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), NasSyncError> {
//! let client = Client::connect(&ClientConfig::new(SshConfig::new("192.168.1.100", "backup"))).await?;
//! let request = PushRequest {
//!     files: Files::Operands(vec!["photos/".into()]),
//!     destination: b"/volume1/photos/".to_vec(),
//!     options: PushOptions { recursive: true, times: true, ..PushOptions::default() },
//!     offer: Offer::default(),
//! };
//! let report = client.push(request, Arc::new(Silent)).await?;
//! println!("{} files sent, exit status {}", report.stats.transferred, report.exit_code);
//! client.disconnect().await;
//! # Ok(())
//! # }
//! ```
//!
//! # The floors
//!
//! Modules import downward only. Those on one floor do not know each other.
//!
//! | floor | module | what it is |
//! | --- | --- | --- |
//! | 8 | `cli` | the command line (feature `cli`): words become calls, events become text, bars or JSON |
//! | 7 | `watch` | the loop that keeps syncing |
//! | 6 | [`service`] | documents in, outcomes out: plan, send, prove, record |
//! | 5 | [`client`] | one login, no database: pushes, questions to the NAS |
//! | 4 | [`config`] | settings |
//! | 4 | [`session`] | one rsync session over one transport: pumps bytes between it and the roles, and judges the end |
//! | 3 | [`role`] | the sender: straight-line blocking code that reads like the protocol |
//! | 2 | [`tree`] | local files: names, walking, reading, attributes |
//! | 2 | [`transport`] | where bytes come from: SSH, or a local child process |
//! | 2 | [`store`] | SQLite: documents, attempts, names |
//! | 1 | [`wire`] | pure: bytes to values and back |
//! | 0 | [`delta`] | pure: rolling and strong sums, block geometry, search, patch |
//! | 0 | [`error`], [`mod@text`], [`secret`], [`proof`], [`blocking`], [`process`] | what everybody uses |
//!
//! Floors 0 and 1 never touch a file, a socket or a clock; only `transport`, `session` and what stands above are asynchronous. The
//! protocol is described topic by topic in `protocol-notes/` of the repository.

pub mod blocking;
#[cfg(feature = "cli")]
pub mod cli;
pub mod client;
pub mod config;
pub mod delta;
pub mod error;
pub mod process;
pub mod proof;
pub mod role;
pub mod secret;
pub mod service;
pub mod session;
pub mod store;
pub mod text;
pub mod transport;
pub mod tree;
#[cfg(feature = "cli")]
pub mod watch;
pub mod wire;

pub use client::{Client, ClientConfig, Files, PushReport, PushRequest};
pub use config::{Environment, Flags, Settings};
pub use error::{ErrorKind, NasSyncError};
pub use service::{ConnectionReport, DocumentError, NasSyncService, SyncSummary, SyncedFile};
pub use store::{DocumentId, Selection, SyncStats, UserId};
pub use tree::RemoteName;

/// The examples of the README are compiled like those of this page.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
