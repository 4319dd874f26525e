//! The tables in which the program `nas-sync` remembers documents, for a session that makes them and writes to them.

use nas_sync::internal::folding;
use nas_sync::internal::own_tables::{LEASE_TERM, postgres, sqlite};
use pyo3::prelude::*;

/// The version of the tables in a kind of database, and the statements that make them, in which `{…}` stands for what is the
/// database's own. `None` for a kind that the program does not know.
#[pyfunction]
pub fn own_tables(dialect: &str) -> Option<(usize, Vec<String>)> {
    let (version, script) = match dialect {
        "sqlite" => {
            let steps = sqlite::MIGRATIONS;
            (steps.len(), sqlite::META.to_owned() + &steps.concat())
        }
        "postgresql" => (postgres::VERSION.try_into().ok()?, postgres::steps_from(0)),
        _ => return None,
    };
    // No statement of them has another semicolon than the one at its end.
    let statements = script.split(';').map(str::trim).filter(|statement| !statement.is_empty());
    Some((version, statements.map(ToOwned::to_owned).collect()))
}

/// After how many seconds without a word of its worker a lease of documents is over.
#[pyfunction]
pub fn lease_seconds() -> u64 {
    LEASE_TERM.as_secs()
}

/// The form that is the same for all names that may be one file on some NAS.
#[pyfunction]
pub fn folded(name: &[u8]) -> Vec<u8> {
    folding::folded(name)
}
