//! Bytes and values: each message of the rsync protocol, decode beside encode. Pure.

pub mod reader;
pub mod token;

pub use reader::{Decode, DecodeError, Reader};
