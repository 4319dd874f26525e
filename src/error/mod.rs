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
    solution: Option<String>,
    source: Option<Arc<dyn std::error::Error + Send + Sync>>,
}

/// The crate's result.
pub type Result<T, E = NasSyncError> = std::result::Result<T, E>;

impl NasSyncError {
    /// `message` is one sentence without a final stop; control characters in it are escaped.
    pub fn new(kind: ErrorKind, message: impl AsRef<str>) -> Self {
        let message = text::escape(message.as_ref());
        Self { inner: Box::new(Inner { kind, message, details: None, solution: None, source: None }) }
    }

    /// An error about a local path, with the operating system's reason.
    pub fn at_path(kind: ErrorKind, what: &str, path: &Path, source: std::io::Error) -> Self {
        Self::new(kind, format!("{what} {}: {source}", path.display())).with_source(source)
    }

    /// Adds what else is known, several lines allowed: the remote text, both lists of algorithms.
    #[must_use]
    pub fn with_details(mut self, details: impl AsRef<[u8]>) -> Self {
        let details = text::escape_lines(details.as_ref());
        self.inner.details = (!details.is_empty()).then_some(details);
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
        self.inner.kind.cause()
    }

    /// What to do about it.
    pub fn solution(&self) -> &str {
        self.inner.solution.as_deref().unwrap_or(self.inner.kind.solution())
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
}
