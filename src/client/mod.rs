//! One login on a NAS, and what can be done over it. No database.

pub(crate) mod capabilities;
pub(crate) mod compare;
mod config;
pub(crate) mod destination;
pub mod documents;
pub(crate) mod file_list;
pub(crate) mod login;
pub mod nas;
mod push;
pub(crate) mod space;

pub use self::config::ClientConfig;
pub use self::login::Client;
pub use self::push::{Files, PushReport, PushRequest, PushStats, push_over};
