//! The roles of the rsync protocol, as straight-line blocking code that reads like `protocol-notes/`.
//!
//! A role runs on a thread of its own behind a [`port::Port`] and needs no async runtime: a test fills the inbox with
//! a recorded session, or connects the port to a real server. Roles never see a socket, a clock or a database.

pub mod agreement;
pub mod asked;
mod deletion;
pub mod event;
mod generator;
pub mod inbox;
pub mod incoming;
pub mod ledger;
pub mod links;
pub mod list;
mod names;
pub mod outbox;
pub mod parts;
pub mod port;
mod prune;
pub mod pull;
mod receiver;
pub mod sender;
pub mod waits;
