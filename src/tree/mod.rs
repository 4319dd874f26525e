//! Local files, as far as a push and a pull need them: names, safe opening, walking, owners' names, places and what takes them.
//!
//! Guarantees: a document is opened without following a symlink where trust matters, is a regular file, and carries a
//! [`Stamp`] that tells whether it changed while it was read. Only a pull writes, below the folder that it holds. Never:
//! follows a name out of a held folder, blocks on a pipe or touches a device.

pub mod apply;
pub mod attrs;
mod beneath;
mod elsewhere;
mod folder;
pub mod path;
pub mod place;
mod refusal;
pub mod source;
pub mod stage;
mod stamp;
pub mod walk;

pub use attrs::IdNames;
pub use folder::{Found, HeldFolder, look, says_shortage};
pub use path::{Climbing, NameFault, Operand, RemoteName};
pub use source::SourceFile;
pub use stamp::Stamp;
pub use walk::{
    Depth, Effect, Followed, Links, Listing, Reason, Sources, Walk, WalkOptions, WalkPart, WalkWarning, walk,
};
