//! One login on a NAS, and what can be done over it. No database.

#[cfg(feature = "cli")]
pub(crate) mod account;
pub(crate) mod capabilities;
pub(crate) mod check;
pub(crate) mod compare;
mod config;
pub(crate) mod destination;
pub mod documents;
pub(crate) mod dry_run;
pub(crate) mod file_list;
pub(crate) mod login;
pub mod nas;
pub(crate) mod one_flush;
mod prepare;
mod pull;
mod push;
pub(crate) mod rehearse;
mod removal;
pub(crate) mod space;
mod stats;
#[cfg(feature = "cli")]
pub(crate) mod survey;
#[cfg(feature = "cli")]
pub(crate) mod vendor;

pub use self::check::ConnectionReport;
pub use self::config::ClientConfig;
pub use self::login::Client;
pub use self::prepare::Files;
pub use self::pull::PullRequest;
#[cfg(feature = "cli")]
pub(crate) use self::pull::login_and_pull;
#[cfg(feature = "cli")]
pub(crate) use self::push::login_and_push;
pub use self::push::{PushRequest, push_over};
pub use self::stats::{TransferReport, TransferStats};
