//! What can go wrong, said once.
//!
//! [`NasSyncError`] is the error of the whole crate. Its [`ErrorKind`] is what programs match; the table in
//! `table` is the only place that maps a kind to a name, the party at fault, exit codes, a cause and a
//! solution. Messages may quote foreign text, which is escaped when the error is built, never when it is shown.

mod table;

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use crate::text;

pub use self::table::{ErrorKind, Healing, Party};

/// An error of nas-sync: a kind, one sentence, and what is known beyond it.
#[derive(Debug, Clone)]
pub struct NasSyncError {
    inner: Box<Inner>,
}

#[derive(Debug, Clone)]
struct Inner {
    kind: ErrorKind,
    message: String,
    details: Option<String>,
    cause: Option<String>,
    solution: Option<String>,
    source: Option<Arc<dyn std::error::Error + Send + Sync>>,
}

/// The most of a message that is shown, in bytes: a path may be long, a NAS may say anything.
const MAX_MESSAGE: usize = 8 * 1024;
/// The same for one line of details, and for all of them.
const MAX_LINE: usize = 1024;
const MAX_DETAILS: usize = 16 * 1024;

/// The crate's result.
pub type Result<T, E = NasSyncError> = std::result::Result<T, E>;

impl NasSyncError {
    /// `message` is one sentence without a final stop; control characters in it are escaped, and one that is longer than any
    /// sentence of ours is cut.
    pub fn new(kind: ErrorKind, message: impl AsRef<str>) -> Self {
        let message = text::escape_start(message.as_ref(), MAX_MESSAGE);
        Self { inner: Box::new(Inner { kind, message, details: None, cause: None, solution: None, source: None }) }
    }

    /// An error about a local path, with the operating system's reason.
    pub fn at_path(kind: ErrorKind, what: &str, path: &Path, source: std::io::Error) -> Self {
        Self::new(kind, format!("{what} {}: {source}", path.display())).with_source(source)
    }

    /// Adds what else is known, several lines allowed: the remote text, both lists of algorithms. Of long lines 1 KiB is
    /// kept, and 16 KiB in all.
    #[must_use]
    pub fn with_details(mut self, details: impl AsRef<[u8]>) -> Self {
        let details = text::escape_lines_start(details.as_ref(), MAX_LINE, MAX_DETAILS);
        self.inner.details = (!details.is_empty()).then_some(details);
        self
    }

    /// Replaces the table's cause by what is known of this case.
    #[must_use]
    pub(crate) fn with_cause(mut self, cause: impl AsRef<str>) -> Self {
        self.inner.cause = Some(text::escape(cause.as_ref()));
        self
    }

    /// Replaces the table's solution by one that names the exact thing to do.
    #[must_use]
    pub fn with_solution(mut self, solution: impl AsRef<str>) -> Self {
        self.inner.solution = Some(text::escape(solution.as_ref()));
        self
    }

    /// Keeps the error underneath, for [`std::error::Error::source`].
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.inner.source = Some(Arc::from(source.into()));
        self
    }

    /// What went wrong, for programs.
    pub fn kind(&self) -> ErrorKind {
        self.inner.kind
    }

    /// What went wrong, in one sentence, safe to print.
    pub fn message(&self) -> &str {
        &self.inner.message
    }

    /// What else is known, such as the text that the NAS printed; safe to print.
    pub fn details(&self) -> Option<&str> {
        self.inner.details.as_deref()
    }

    /// What this usually means.
    pub fn cause(&self) -> &str {
        self.inner.cause.as_deref().unwrap_or(self.inner.kind.cause())
    }

    /// What to do about it.
    pub fn solution(&self) -> &str {
        self.own_solution().unwrap_or(self.inner.kind.solution())
    }

    /// The solution that is its own, where it has more to say than its kind.
    pub(crate) fn own_solution(&self) -> Option<&str> {
        self.inner.solution.as_deref()
    }
}

impl fmt::Display for NasSyncError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.inner.message)
    }
}

impl std::error::Error for NasSyncError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.inner.source.as_deref().map(|source| source as _)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_text_is_escaped_on_the_way_in() {
        let error = NasSyncError::new(ErrorKind::RemoteFailed, "said \x1b[31m").with_details("a\nb\x07");
        assert_eq!(error.message(), "said \\x1b[31m");
        assert_eq!(error.details(), Some("a\nb\\x07"));
    }

    #[test]
    fn a_text_without_end_is_cut() {
        let long = "x".repeat(200_000);
        let error = NasSyncError::new(ErrorKind::RemoteFailed, &long).with_details(format!("one\n{long}\nthree"));
        assert!(error.message().len() < 2 * MAX_MESSAGE && error.message().ends_with("x…"));
        let lines: Vec<&str> = error.details().unwrap().lines().collect();
        assert_eq!((lines[0], lines[2]), ("one", "three"));
        assert!(lines[1].len() < 2 * MAX_LINE && lines[1].ends_with("x…"));
        let error = error.with_details("line\n".repeat(100_000));
        let details = error.details().unwrap();
        assert!(details.len() < 2 * MAX_DETAILS && details.starts_with("line\nline\n") && details.ends_with("line\n…"));
    }
}
