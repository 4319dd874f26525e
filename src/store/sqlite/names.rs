//! Whose each name on the NAS is, so that no document overwrites another's copy.
//!
//! Guarantees: a name belongs to at most one document at a time, across processes. It is claimed before the first byte
//! is sent, and belongs to the document until that is stored under another name or its row is gone. Names are bytes:
//! whether the NAS folds case or normalizes is not known here.

use rusqlite::{Connection, OptionalExtension, Transaction};

use super::connection::SqliteStore;
use super::schema::Columns;
use super::values;
use crate::error::Result;
use crate::id::DocumentId;
use crate::store::model::Claim;

impl SqliteStore {
    /// The document that a name (path below the NAS folder) belongs to.
    pub fn owner_of_name(&self, name: &[u8]) -> Result<Option<DocumentId>> {
        owner(&self.conn, name).map_err(self.fault("read the names in"))
    }

    /// Every name that belongs to a document, in byte order.
    pub fn remote_names(&self) -> Result<Vec<(Vec<u8>, DocumentId)>> {
        let read = || {
            let mut statement = self.conn.prepare(
                "SELECT n.name, n.document_id FROM nas_sync_names n
                 WHERE EXISTS (SELECT 1 FROM documents d WHERE d.id = n.document_id) ORDER BY n.name",
            )?;
            let mut rows = statement.query([])?;
            let mut names = Vec::new();
            while let Some(row) = rows.next()? {
                if let Some(name) = values::blob(row, 0)? {
                    names.push((name, row.get(1)?));
                }
            }
            Ok(names)
        };
        read().map_err(self.fault("read the names in"))
    }

    /// Claims a name for each document, in the given order and in one commit; the answers are in the same order.
    ///
    /// A document gives up what it claimed before, except the name of the copy that it has on the NAS.
    pub fn claim_names(&mut self, claims: &[(DocumentId, Vec<u8>)]) -> Result<Vec<Claim>> {
        self.write("claim names in", |tx, columns| {
            claims.iter().map(|(document, name)| claim(tx, *columns, document, name)).collect()
        })
    }
}

fn claim(tx: &Transaction<'_>, columns: Columns, document: &DocumentId, name: &[u8]) -> rusqlite::Result<Claim> {
    if let Some(owner) = owner(tx, name)?
        && owner != *document
    {
        return Ok(Claim::TakenBy(owner));
    }
    take(tx, document, name)?;
    // A copy of an earlier document, whose id this one has now, holds no name for it.
    tx.prepare_cached(&format!(
        "DELETE FROM nas_sync_names WHERE document_id = ?1 AND name <> ?2
         AND name IS NOT (SELECT s.remote_name FROM nas_sync_documents s JOIN documents d ON d.id = s.document_id
                          WHERE s.document_id = ?1 AND {})",
        columns.is_same_document()
    ))?
    .execute((document, name))?;
    Ok(Claim::Granted)
}

/// The owner among the documents that still exist.
pub(super) fn owner(conn: &Connection, name: &[u8]) -> rusqlite::Result<Option<DocumentId>> {
    conn.prepare_cached(
        "SELECT n.document_id FROM nas_sync_names n
         WHERE n.name = ?1 AND EXISTS (SELECT 1 FROM documents d WHERE d.id = n.document_id)",
    )?
    .query_row([name], |row| row.get(0))
    .optional()
}

/// Makes a name the document's, whoever had it.
fn take(tx: &Transaction<'_>, document: &DocumentId, name: &[u8]) -> rusqlite::Result<()> {
    tx.prepare_cached(
        "INSERT INTO nas_sync_names (name, document_id) VALUES (?1, ?2)
         ON CONFLICT (name) DO UPDATE SET document_id = excluded.document_id",
    )?
    .execute((name, document))?;
    Ok(())
}

/// Makes a name the only one of a document whose copy is stored under it.
pub(super) fn settle(tx: &Transaction<'_>, document: &DocumentId, name: &[u8]) -> rusqlite::Result<()> {
    take(tx, document, name)?;
    tx.prepare_cached("DELETE FROM nas_sync_names WHERE document_id = ?1 AND name <> ?2")?.execute((document, name))?;
    Ok(())
}
