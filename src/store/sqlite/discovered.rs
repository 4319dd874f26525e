//! Registering files that were found rather than named: each of them once, whoever else looks.
//!
//! Guarantees: whether a file is registered already is decided inside the transaction that registers it, so that two
//! processes that find one file make one document of it.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};
use rusqlite::{Transaction, params_from_iter};

use super::connection::SqliteStore;
use super::documents::{PATHS_AT_ONCE, PathParameter, insert, path_in};
use super::schema::Table;
use crate::error::Result;
use crate::id::{DocumentId, UserId};
use crate::store::model::FoundFile;

impl SqliteStore {
    /// Shows the `file_path` of every document, of every user. Rows without a usable one are left out.
    pub fn each_path(&self, mut each: impl FnMut(&Path)) -> Result<()> {
        self.read("read the paths in", |tx, table| {
            let mut statement = tx.prepare(&format!("SELECT d.file_path FROM {table} d"))?;
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                if let Some(path) = path_in(row.get_ref(0)?) {
                    each(&path);
                }
            }
            Ok(())
        })
    }

    /// Registers files as pending documents of one user, in one commit, and gives their ids. Left out are those that
    /// are a document already, of whomever. Otherwise like [`SqliteStore::add_documents`].
    pub fn add_found(&mut self, user: &UserId, found: &[FoundFile], at: DateTime<Utc>) -> Result<Vec<DocumentId>> {
        found.iter().try_for_each(|file| file.document.check())?;
        self.write("add documents to", |tx, table| {
            let mut known = HashSet::new();
            let ways = |file: &'_ FoundFile| -> Vec<PathBuf> {
                std::iter::once(&file.document.file_path).chain(&file.also).cloned().collect()
            };
            let paths: Vec<PathBuf> = found.iter().flat_map(ways).collect();
            for paths in paths.chunks(PATHS_AT_ONCE) {
                registered(tx, table, paths, &mut known)?;
            }
            let mut fresh = Vec::new();
            for file in found {
                let is_known = ways(file).iter().any(|path| known.contains(path));
                // The list itself may name a file twice.
                if !is_known && known.insert(file.document.file_path.clone()) {
                    fresh.push(&file.document);
                }
            }
            insert(tx, table, user, &fresh, at)
        })
    }
}

/// Adds those of the paths that are registered.
fn registered(
    tx: &Transaction<'_>,
    table: &Table,
    paths: &[PathBuf],
    known: &mut HashSet<PathBuf>,
) -> rusqlite::Result<()> {
    let marks = vec!["?"; paths.len() * 2].join(",");
    let mut statement = tx.prepare(&format!("SELECT d.file_path FROM {table} d WHERE d.file_path IN ({marks})"))?;
    let ways = |path| [false, true].map(|as_blob| PathParameter { path, as_blob });
    let mut rows = statement.query(params_from_iter(paths.iter().flat_map(|path| ways(path))))?;
    while let Some(row) = rows.next()? {
        known.extend(path_in(row.get_ref(0)?));
    }
    Ok(())
}
