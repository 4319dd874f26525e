//! service
pub mod layout;
