//! The file list: one entry for each file, folder and symlink, `protocol-notes/06-file-list.md`.

mod coder;
mod counts;
mod entries;
mod entry;
pub mod idlist;
mod order;
mod xflags;

pub use self::coder::{
    DeviceCoding, EndOfList, HeardNames, LinkCoding, ListCoder, ListCoding, ListFields, Listed, io_error,
};
pub use self::counts::{Counts, KindCounts};
pub use self::entries::Entries;
pub use self::entry::{Content, Device, EntryKind, Extras, FileEntry, FileId, FileMeta, MAX_NAME, Mtime, Special};
pub use self::order::ListOrder;
pub use self::xflags::XflagCoding;
