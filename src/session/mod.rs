//! One rsync session over one running command: handshake, role, pumps, deadline, end.
//!
//! Guarantees: everything ends by a deadline, also against a peer that answers keepalives and does nothing else; the
//! read half is never kept waiting by the write half; after a failure the other side's last words and exit status are
//! still collected; the role's thread ends when the session's future is dropped.

mod converse;
mod deadline;
mod end;
mod pace;
mod pull;
mod pump;
mod push;
mod received;
mod remote_text;

pub use self::converse::{Opening, Outcome, hello};
pub use self::deadline::Receipts;
pub use self::end::fixed_command;
pub use self::pace::Pace;
pub use self::pull::{Pull, pull};
pub use self::push::{Contents, Push, push, push_by};
pub use self::remote_text::{RemoteText, kind_of_text, names_file, names_unmade_folder};
