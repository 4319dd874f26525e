//! Whose each name on the NAS is, so that no document overwrites another's copy.
//!
//! Guarantees: a name belongs to at most one document at a time, across processes. It is claimed before the first byte
//! is sent, and belongs to the document until that is stored under another name or its row is gone. Names are bytes. Some
//! NAS take names for one that differ in case or composition; whether this one does is not known here, so copies under
//! such names are told to whoever claims one, and two workers never send to such names at once.

use std::collections::{HashMap, HashSet};

use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};

use super::connection::SqliteStore;
use super::pending_index::IS_SYNCED;
use super::schema::Table;
use super::values;
use crate::error::{ErrorKind, Result};
use crate::folding;
use crate::id::DocumentId;
use crate::store::model::{Claim, NeighbourCopy};
use crate::wire::flist::Mtime;

impl SqliteStore {
    /// The documents that names (paths below the NAS folder) belong to.
    pub fn owners_of_names(&self, names: &[Vec<u8>]) -> Result<HashMap<Vec<u8>, DocumentId>> {
        self.read("read the names in", |tx, table| {
            let mut owners = HashMap::new();
            for name in names {
                if let Some(owner) = owner(tx, table, name)? {
                    owners.insert(name.clone(), owner);
                }
            }
            Ok(owners)
        })
    }

    /// Those of these documents that may have a copy under these names: one is recorded, or none is and it was tried to send one.
    /// A try that the file of another ended proves that it is not theirs.
    pub fn sent_before(&self, names: &[(DocumentId, Vec<u8>)]) -> Result<HashSet<DocumentId>> {
        self.read("read the names in", |tx, table| {
            let mut statement = tx.prepare_cached(&format!(
                "SELECT coalesce(
                     (SELECT s.remote_name = ?2 FROM nas_sync_documents s JOIN {table} d ON d.id = s.document_id
                      WHERE s.document_id = ?1 AND s.remote_name IS NOT NULL AND {}),
                     EXISTS (SELECT 1 FROM nas_sync_attempts a
                             WHERE a.document_id = ?1 AND a.error_kind IS NOT ?3))",
                table.is_same_document()
            ))?;
            let mut sent = HashSet::new();
            for (document, name) in names {
                if statement.query_row(params![document, name, ErrorKind::NameClash.as_str()], |row| row.get(0))? {
                    sent.insert(document.clone());
                }
            }
            Ok(sent)
        })
    }

    /// Claims a name for each document, in the given order and in one commit; the answers are in the same order.
    ///
    /// A document gives up what it claimed before, except the name of the copy that it has on the NAS.
    pub fn claim_names(&mut self, claims: &[(DocumentId, Vec<u8>)]) -> Result<Vec<Claim>> {
        self.write("claim names in", |tx, table| {
            claims.iter().map(|(document, name)| claim(tx, table, document, name)).collect()
        })
    }
}

fn claim(tx: &Transaction<'_>, table: &Table, document: &DocumentId, name: &[u8]) -> rusqlite::Result<Claim> {
    if let Some(owner) = owner(tx, table, name)?
        && owner != *document
    {
        return Ok(Claim::TakenBy(owner));
    }
    take(tx, document, name)?;
    // A copy of an earlier document, whose id this one has now, holds no name for it.
    tx.prepare_cached(&format!(
        "DELETE FROM nas_sync_names WHERE document_id = ?1 AND name <> ?2
         AND name IS NOT (SELECT s.remote_name FROM nas_sync_documents s JOIN {table} d ON d.id = s.document_id
                          WHERE s.document_id = ?1 AND {})",
        table.is_same_document()
    ))?
    .execute((document, name))?;
    neighbours(tx, table, document, name)
}

/// What the NAS may take for the same file as a name that a document has just claimed, or for a folder on the way to it.
fn neighbours(tx: &Transaction<'_>, table: &Table, document: &DocumentId, name: &[u8]) -> rusqlite::Result<Claim> {
    const WITH_ANOTHER: &str =
        "l.fence IS NOT NULL AND l.fence IS NOT (SELECT fence FROM nas_sync_leased WHERE document_id = ?2)";
    // Of two copies that turn out to be one file, and are both to be sent anew, that of the lower id stays.
    let mut statement = tx.prepare_cached(&format!(
        "SELECT n.document_id, n.name, s.bytes, s.mtime_seconds, s.mtime_nanoseconds, {WITH_ANOTHER}
         FROM nas_sync_names n JOIN {table} d ON d.id = n.document_id
         LEFT JOIN nas_sync_leased l ON l.document_id = n.document_id
         LEFT JOIN nas_sync_documents s
              ON s.document_id = n.document_id AND s.remote_name = n.name AND {}
         WHERE n.folded = ?1 AND n.document_id <> ?2 AND n.name <> ?3 AND ({WITH_ANOTHER}
             OR s.document_id IS NOT NULL AND ({IS_SYNCED} OR n.document_id < ?2
                 OR NOT EXISTS (SELECT 1 FROM nas_sync_documents o WHERE o.document_id = ?2 AND o.remote_name = ?4)))
         ORDER BY n.document_id",
        table.is_same_document()
    ))?;
    let mut met = Vec::new();
    let folders = name.iter().enumerate().filter(|&(_, &byte)| byte == b'/').map(|(at, _)| &name[..at]);
    for path in folders.chain([name]) {
        let mut rows = statement.query(params![folding::folded(path), document, path, name])?;
        while let Some(row) = rows.next()? {
            if row.get(5)? {
                return Ok(Claim::Awaits(row.get(0)?));
            }
            met.extend(neighbour(row)?);
        }
    }
    Ok(if met.is_empty() { Claim::Granted } else { Claim::Meets(met) })
}

/// `None` for a name that makes no sense.
fn neighbour(row: &Row<'_>) -> rusqlite::Result<Option<NeighbourCopy>> {
    let (id, bytes) = (row.get(0)?, values::number(row, 2)?.unwrap_or_default());
    let (seconds, nanoseconds) = (values::integer(row, 3)?.unwrap_or_default(), values::number(row, 4)?);
    let nanoseconds = nanoseconds.filter(|nanoseconds| *nanoseconds < 1_000_000_000).unwrap_or_default();
    let mtime = Mtime { seconds, nanoseconds };
    Ok(values::blob(row, 1)?.map(|name| NeighbourCopy { id, name, bytes, mtime }))
}

/// The owner among the documents that still exist.
pub(super) fn owner(conn: &Connection, table: &Table, name: &[u8]) -> rusqlite::Result<Option<DocumentId>> {
    conn.prepare_cached(&format!(
        "SELECT n.document_id FROM nas_sync_names n
         WHERE n.name = ?1 AND EXISTS (SELECT 1 FROM {table} d WHERE d.id = n.document_id)"
    ))?
    .query_row([name], |row| row.get(0))
    .optional()
}

/// Makes a name the document's, whoever had it.
fn take(tx: &Transaction<'_>, document: &DocumentId, name: &[u8]) -> rusqlite::Result<()> {
    tx.prepare_cached(
        "INSERT INTO nas_sync_names (name, document_id, folded) VALUES (?1, ?2, ?3)
         ON CONFLICT (name) DO UPDATE SET document_id = excluded.document_id",
    )?
    .execute((name, document, folding::folded(name)))?;
    Ok(())
}

/// Makes a name the only one of a document whose copy is stored under it.
pub(super) fn settle(tx: &Transaction<'_>, document: &DocumentId, name: &[u8]) -> rusqlite::Result<()> {
    take(tx, document, name)?;
    tx.prepare_cached("DELETE FROM nas_sync_names WHERE document_id = ?1 AND name <> ?2")?.execute((document, name))?;
    Ok(())
}
