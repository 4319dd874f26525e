//! Local files, as far as a push needs them: names, safe opening, walking, owners' names.
//!
//! Guarantees: a document is opened without following a symlink where trust matters, is a regular file, and carries a
//! [`Stamp`] that tells whether it changed while it was read. Never: writes a file, follows a name out of a held
//! folder, blocks on a pipe or touches a device.

pub mod attrs;
mod beneath;
mod look;
pub mod path;
pub mod source;
pub mod walk;

pub use attrs::IdNames;
pub use look::Found;
pub use path::{NameFault, Operand, RemoteName};
pub use source::{Root, SourceFile, Stamp};
pub use walk::{Depth, Effect, Links, Listing, Reason, Sources, WalkOptions, WalkWarning, walk};
