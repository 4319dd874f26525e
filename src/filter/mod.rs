//! rsync's filter rules: which names take part in a transfer, and which may be deleted, `protocol-notes/16-filters.md`.
//!
//! Pure: files of rules are read by the caller. Guarantees: whatever rules say, deciding about a name ends, and files that name
//! one another are an error; a rule that is not understood is an error and never passed over.

mod list;
mod parse;
mod pattern;
mod rule;
mod scope;
mod wildmatch;

pub use self::list::{FilterError, ReadFile, Rules};
pub use self::parse::BadRule;
pub use self::pattern::Name;
pub use self::rule::Verdict;
pub use self::scope::{Around, Scope};
