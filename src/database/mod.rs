//! Where the documents are: an SQLite file, or a table of a PostgreSQL database.

mod table;
mod url;

use std::fmt;
use std::path::{Path, PathBuf};

use crate::text;

pub use self::table::TableName;
pub use self::url::PostgresUrl;
#[cfg(feature = "postgres")]
pub(crate) use self::{
    table::quoted,
    url::{Host, RootCertificates, Tls},
};

/// The database that holds the documents. `Display` shows it without any password.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Database {
    /// This SQLite file.
    Sqlite(PathBuf),
    /// A PostgreSQL database.
    Postgres(Box<PostgresUrl>),
}

impl Database {
    /// The SQLite file.
    pub fn file(&self) -> Option<&Path> {
        match self {
            Self::Sqlite(path) => Some(path),
            Self::Postgres(_) => None,
        }
    }

    /// Whether there is something that can be opened. Whether a server answers is not asked.
    #[cfg(feature = "service")]
    pub(crate) fn exists(&self) -> bool {
        self.file().is_none_or(Path::exists)
    }
}

impl From<PostgresUrl> for Database {
    fn from(url: PostgresUrl) -> Self {
        Self::Postgres(Box::new(url))
    }
}

impl fmt::Display for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(path) => f.write_str(&text::escape_bytes(path.as_os_str().as_encoded_bytes())),
            Self::Postgres(url) => url.fmt(f),
        }
    }
}
