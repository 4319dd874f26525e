//! Bytes and values: each message of the rsync protocol, decode beside encode.
//!
//! Pure: nothing here knows a file, a socket or a clock. Every decoder takes one bounded unit at a time and tells
//! "more bytes are needed" from "this can never be right". Versions of the protocol differ only in the encodings that
//! [`negotiated::Negotiated`] holds.

pub mod flist;
pub mod handshake;
pub mod iflags;
pub mod int;
pub mod mux;
pub mod ndx;
pub mod negotiated;
pub mod offer;
pub mod pattern;
pub mod pull_args;
pub mod reader;
pub mod receiver_args;
pub mod rules;
pub mod server_args;
pub mod stats;
pub mod sums;
pub mod token;

pub use reader::{Decode, DecodeError, Reader};
