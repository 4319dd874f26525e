//! Where the documents are: an SQLite file, or a table of a PostgreSQL database.

mod table;
mod url;

use std::fmt;
use std::path::{Path, PathBuf};

use crate::text;

pub use self::table::TableName;
#[cfg(feature = "service")]
pub(crate) use self::table::quoted;
pub use self::url::PostgresUrl;
#[cfg(feature = "postgres")]
pub(crate) use self::url::{Host, RootCertificates, Tls};

/// The database that holds the documents, and the name of their table in it. `Display` shows it without any password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Database {
    pub(crate) place: Place,
    pub(crate) table: TableName,
}

/// The kinds of database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    /// This file.
    Sqlite(PathBuf),
    /// Whatever answers there.
    Postgres(Box<PostgresUrl>),
}

impl Database {
    /// The table `documents` of this SQLite file.
    pub fn sqlite(file: impl Into<PathBuf>) -> Self {
        Self { place: Place::Sqlite(file.into()), table: TableName::default() }
    }

    /// With another table than `documents`.
    #[must_use]
    pub fn table(self, table: TableName) -> Self {
        Self { table, ..self }
    }

    /// The name of the table.
    pub fn table_name(&self) -> &TableName {
        &self.table
    }

    /// The SQLite file.
    pub fn file(&self) -> Option<&Path> {
        match &self.place {
            Place::Sqlite(path) => Some(path),
            Place::Postgres(_) => None,
        }
    }

    /// Whether there is something that can be opened. Whether a server answers is not asked.
    #[cfg(feature = "service")]
    pub(crate) fn exists(&self) -> bool {
        self.file().is_none_or(Path::exists)
    }
}

impl From<PostgresUrl> for Database {
    /// The table `documents`, wherever it is found there.
    fn from(url: PostgresUrl) -> Self {
        Self { place: Place::Postgres(Box::new(url)), table: TableName::default() }
    }
}

impl fmt::Display for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Place::Sqlite(path) => f.write_str(&text::escape_bytes(path.as_os_str().as_encoded_bytes())),
            Place::Postgres(url) => url.fmt(f),
        }
    }
}
