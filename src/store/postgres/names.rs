//! Whose each name on the NAS is, so that no document overwrites another's copy.
//!
//! Guarantees: a name belongs to at most one document at a time, across processes. It is claimed before the first byte
//! is sent, and belongs to the document until that is stored under another name or its row is gone. Names are bytes. Some
//! NAS take names for one that differ in case or composition; whether this one does is not known here, so copies under
//! such names are told to whoever claims one, and two workers never send to such names at once: claims of names are made one
//! worker after the other.

use std::collections::{HashMap, HashSet};

use sha2::{Digest as _, Sha256};
use tokio_postgres::Row;

use super::documents::{all_ids, id_in};
use super::fault::Fault;
use super::link::{Part, Tx};
use super::schema::{PostgresStore, Schema, one_at_a_time};
use super::values::{Value, number};
use crate::error::{ErrorKind, Result};
use crate::folding;
use crate::id::DocumentId;
use crate::store::model::{Claim, NeighbourCopy};
use crate::wire::flist::Mtime;

/// By what a name is found.
type Hash = [u8; 32];

fn hash(name: &[u8]) -> Hash {
    Sha256::digest(name).into()
}

impl PostgresStore {
    /// The documents that names (paths below the NAS folder) belong to.
    pub fn owners_of_names(&mut self, names: &[Vec<u8>]) -> Result<HashMap<Vec<u8>, DocumentId>> {
        let owners =
            self.read("read the names in", |tx, schema| owners(tx, schema, names.iter().map(Vec::as_slice)))?;
        Ok(names.iter().filter_map(|name| Some((name.clone(), owners.get(&hash(name))?.clone()))).collect())
    }

    /// Those of these documents that may have a copy under these names: one is recorded, or none is and it was tried to send one.
    /// A try that the file of another ended proves that it is not theirs.
    pub fn sent_before(&mut self, names: &[(DocumentId, Vec<u8>)]) -> Result<HashSet<DocumentId>> {
        self.read("read the names in", |tx, schema| {
            let sql = "SELECT r.id::text FROM unnest($1::text[]::{T}[], $2::bytea[]) AS r (id, name)
                       JOIN {documents} d ON d.id = r.id
                       LEFT JOIN {nas_sync_documents} s ON s.document_id = r.id AND s.remote_name IS NOT NULL AND {same}
                       WHERE coalesce(s.remote_name = r.name, EXISTS (
                           SELECT 1 FROM {nas_sync_attempts} a
                           WHERE a.document_id = r.id AND a.error_kind IS DISTINCT FROM $3))";
            let values = [
                all_ids(schema, names.iter().map(|(id, _)| id)),
                Value::blobs(names.iter().map(|(_, name)| name.clone())),
                Value::text(ErrorKind::NameClash.as_str()),
            ];
            tx.query(sql, &values)?.iter().map(|row| id_in(schema, row, 0)).collect()
        })
    }

    /// Claims a name for each document, in the given order, a [`Part`] in one commit; the answers are in the same order. Names
    /// that are claimed again are given again.
    ///
    /// A document gives up what it claimed before, except the name of the copy that it has on the NAS.
    pub fn claim_names(&mut self, claims: &[(DocumentId, Vec<u8>)]) -> Result<Vec<Claim>> {
        let (mut answers, mut part) = (Vec::with_capacity(claims.len()), Part::default());
        while answers.len() < claims.len() {
            let rest = &claims[answers.len()..];
            part.begin();
            let some = self.write("claim names in", |tx, schema| {
                let most = part.size().min(rest.len());
                claim(tx, schema, &rest[..most])
            })?;
            answers.extend(some);
        }
        Ok(answers)
    }
}

fn claim(tx: &Tx<'_>, schema: &Schema, claims: &[(DocumentId, Vec<u8>)]) -> Result<Vec<Claim>, Fault> {
    one_at_a_time(tx, "names")?;
    let mut owners = owners(tx, schema, claims.iter().map(|(_, name)| name.as_slice()))?;
    let mut taken = Vec::new();
    let mut answers = Vec::with_capacity(claims.len());
    for (document, name) in claims {
        let owner = owners.entry(hash(name)).or_insert_with(|| document.clone());
        if owner == document {
            taken.push((document, name.as_slice()));
            answers.push(Claim::Granted);
        } else {
            answers.push(Claim::TakenBy(owner.clone()));
        }
    }
    take(tx, schema, &taken)?;
    give_up_others(tx, schema, &taken, true)?;
    let mut neighbours = neighbours(tx, schema, &taken)?;
    for (answer, (document, _)) in answers.iter_mut().zip(claims) {
        if *answer == Claim::Granted
            && let Some(met) = neighbours.remove(document)
        {
            *answer = met;
        }
    }
    Ok(answers)
}

/// The owners of names among the documents that still exist.
pub(super) fn owners<'a>(
    tx: &Tx<'_>,
    schema: &Schema,
    names: impl Iterator<Item = &'a [u8]>,
) -> Result<HashMap<Hash, DocumentId>, Fault> {
    let sql = "SELECT n.hash, n.document_id::text FROM {nas_sync_names} n
               WHERE n.hash = ANY($1) AND EXISTS (SELECT 1 FROM {documents} d WHERE d.id = n.document_id)";
    let mut owners = HashMap::new();
    for row in tx.query(sql, &[Value::blobs(names.map(hash))])? {
        if let Ok(hash) = Hash::try_from(row.try_get::<_, &[u8]>(0)?) {
            owners.insert(hash, id_in(schema, &row, 1)?);
        }
    }
    Ok(owners)
}

/// Whose a name is by what [`owners`] gave.
pub(super) fn owner<'a>(owners: &'a HashMap<Hash, DocumentId>, name: &[u8]) -> Option<&'a DocumentId> {
    owners.get(&hash(name))
}

/// Makes names the documents', whoever had them.
pub(super) fn take(tx: &Tx<'_>, schema: &Schema, names: &[(&DocumentId, &[u8])]) -> Result<(), Fault> {
    // Of one that is asked for twice the last one counts; a statement may change a row once only.
    let last: HashMap<&[u8], &DocumentId> = names.iter().map(|(document, name)| (*name, *document)).collect();
    let mut names: Vec<_> = last.into_iter().collect();
    // Two that take the same ones do so in one order.
    names.sort();
    let sql = "INSERT INTO {nas_sync_names} (hash, name, document_id, folded)
               SELECT r.hash, r.name, r.id, r.folded
               FROM unnest($1::bytea[], $2::bytea[], $3::text[]::{T}[], $4::bytea[]) AS r (hash, name, id, folded)
               ON CONFLICT (hash) DO UPDATE SET document_id = excluded.document_id";
    let values = [
        Value::blobs(names.iter().map(|(name, _)| hash(name))),
        Value::blobs(names.iter().map(|(name, _)| *name)),
        all_ids(schema, names.iter().map(|(_, document)| *document)),
        Value::blobs(names.iter().map(|(name, _)| hash(&folding::folded(name)))),
    ];
    tx.execute(sql, &values)?;
    Ok(())
}

/// Takes all other names from documents; on request not those of their recorded copies. A copy of an earlier document, whose
/// id one has now, holds no name for it.
pub(super) fn give_up_others(
    tx: &Tx<'_>,
    schema: &Schema,
    names: &[(&DocumentId, &[u8])],
    but_copies: bool,
) -> Result<(), Fault> {
    let but = if but_copies {
        "AND n.name IS DISTINCT FROM (SELECT s.remote_name FROM {nas_sync_documents} s JOIN {documents} d ON d.id = s.document_id
                                      WHERE s.document_id = n.document_id AND {same} LIMIT 1)"
    } else {
        ""
    };
    let sql = format!(
        "DELETE FROM {{nas_sync_names}} n USING unnest($1::text[]::{{T}}[], $2::bytea[]) AS r (id, hash)
         WHERE n.document_id = r.id AND n.hash <> r.hash {but}"
    );
    let values = [
        all_ids(schema, names.iter().map(|(document, _)| *document)),
        Value::blobs(names.iter().map(|(_, name)| hash(name))),
    ];
    tx.execute(&sql, &values)?;
    Ok(())
}

/// What the NAS may take for the same file as a name that a document has just claimed, or for a folder on the way to it.
fn neighbours(
    tx: &Tx<'_>,
    schema: &Schema,
    names: &[(&DocumentId, &[u8])],
) -> Result<HashMap<DocumentId, Claim>, Fault> {
    const WITH_ANOTHER: &str = "(l.fence IS NOT NULL AND l.fence IS DISTINCT FROM
         (SELECT fence FROM {nas_sync_leased} WHERE document_id = r.id))";
    // Each name, and each folder on the way to it.
    let (mut ids, mut paths, mut full) = (Vec::new(), Vec::new(), Vec::new());
    for (document, name) in names {
        let folders = name.iter().enumerate().filter(|&(_, &byte)| byte == b'/').map(|(at, _)| &name[..at]);
        for path in folders.chain([*name]) {
            ids.push(*document);
            paths.push(path);
            full.push(*name);
        }
    }
    // Of two copies that turn out to be one file, and are both to be sent anew, that of the lower id stays.
    let sql = format!(
        "SELECT r.id::text, n.document_id::text, n.name, s.bytes, s.mtime_seconds, s.mtime_nanoseconds, {WITH_ANOTHER}
         FROM unnest($1::text[]::{{T}}[], $2::bytea[], $3::bytea[], $4::bytea[]) AS r (id, path, folded, name)
         JOIN {{nas_sync_names}} n ON n.folded = r.folded AND n.document_id <> r.id AND n.name <> r.path
         JOIN {{documents}} d ON d.id = n.document_id
         LEFT JOIN {{nas_sync_leased}} l ON l.document_id = n.document_id
         LEFT JOIN {{nas_sync_documents}} s ON s.document_id = n.document_id AND s.remote_name = n.name AND {{same}}
         WHERE {WITH_ANOTHER} OR s.document_id IS NOT NULL AND ({{synced}} OR n.document_id < r.id
             OR NOT EXISTS (SELECT 1 FROM {{nas_sync_documents}} o WHERE o.document_id = r.id AND o.remote_name = r.name))
         ORDER BY r.id, length(r.path), n.document_id"
    );
    let values = [
        all_ids(schema, ids),
        Value::blobs(paths.iter().copied()),
        Value::blobs(paths.iter().map(|path| hash(&folding::folded(path)))),
        Value::blobs(full),
    ];
    let mut met: HashMap<DocumentId, Claim> = HashMap::new();
    for row in tx.query(&sql, &values)? {
        let (document, other) = (id_in(schema, &row, 0)?, id_in(schema, &row, 1)?);
        let with_another: bool = row.try_get(6)?;
        match met.entry(document).or_insert_with(|| Claim::Meets(Vec::new())) {
            Claim::Meets(copies) if !with_another => copies.push(neighbour(&row, other)?),
            claim @ Claim::Meets(_) => *claim = Claim::Awaits(other),
            _ => {}
        }
    }
    Ok(met)
}

fn neighbour(row: &Row, id: DocumentId) -> Result<NeighbourCopy, Fault> {
    let seconds: Option<i64> = row.try_get(4)?;
    let nanoseconds = number(row, 5)?.filter(|nanoseconds| *nanoseconds < 1_000_000_000);
    let mtime = Mtime { seconds: seconds.unwrap_or_default(), nanoseconds: nanoseconds.unwrap_or_default() };
    Ok(NeighbourCopy { id, name: row.try_get(2)?, bytes: number(row, 3)?.unwrap_or_default(), mtime })
}
