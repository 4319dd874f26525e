//! The copies that were recorded, and forgetting.

use chrono::{DateTime, Utc};
use tokio_postgres::Row;

use super::documents::{self, all_ids, id_in};
use super::fault::Fault;
use super::link::Tx;
use super::schema::{PostgresStore, Schema};
use super::values::{Value, capped, number};
use crate::error::{ErrorKind, Result};
use crate::id::DocumentId;
use crate::proof::Level;
use crate::store::model::{Copies, Selection, StoredCopy, SyncedCopy};
use crate::store::policy::path_fault;
use crate::wire::flist::Mtime;

/// The tables that remember documents.
pub(super) const REMEMBERING: [&str; 2] = ["nas_sync_documents", "nas_sync_names"];
/// So many rows are one part.
const PART: u32 = 1_000;
/// Copies as parameters $1 to $6, and whether row `s` still describes one of them.
const COPIES: &str = "unnest($1::text[]::{T}[], $2::bytea[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bytea[])
         AS r (id, name, bytes, seconds, nanoseconds, sha256)";
const IS_RECORDED: &str = "s.document_id = r.id AND s.remote_name = r.name AND s.bytes = r.bytes
    AND s.mtime_seconds = r.seconds AND s.mtime_nanoseconds = r.nanoseconds AND s.sha256 IS NOT DISTINCT FROM r.sha256";

impl PostgresStore {
    /// Forgets the failed tries, waits and final failures of a selection's pending documents, in one commit, and says
    /// of how many.
    pub fn forget_failures(&mut self, selection: &Selection) -> Result<usize> {
        self.write("forget failures in", |tx, schema| {
            let mut values = Vec::new();
            let condition = documents::condition(schema, selection, &mut values)? + " AND {pending}";
            forget_failures(tx, &condition, &values)
        })
    }

    /// Ends the waits of a selection's pending documents whose last try failed for this reason; the tries stay counted.
    pub fn end_waits(&mut self, selection: &Selection, kind: ErrorKind) -> Result<()> {
        self.write("end waits in", |tx, schema| {
            let mut values = Vec::new();
            let condition = documents::condition(schema, selection, &mut values)?;
            values.push(Value::text(kind.as_str()));
            let sql = format!(
                "UPDATE {{nas_sync_documents}} SET next_attempt_at = NULL
                 WHERE next_attempt_at IS NOT NULL AND NOT failed_for_good AND last_error_kind = ${} AND document_id IN
                     (SELECT d.id FROM {{documents}} d WHERE {condition} AND {{pending}})",
                values.len()
            );
            tx.execute(&sql, &values)?;
            Ok(())
        })
    }

    /// Forgets what is remembered about documents whose rows are gone, part by part, one with each call: it only takes room,
    /// because ids are not given anew here as a rule, and where one is the row says so.
    pub fn forget_gone(&mut self) -> Result<()> {
        for table in REMEMBERING {
            let part = self.read("read what is recorded in", |tx, _| Part::next(tx, table))?;
            // The usual case takes no lock.
            if part.gone.is_empty() && part.is_all() {
                continue;
            }
            self.write("forget deleted documents in", |tx, _| part.forget(tx, table))?;
        }
        Ok(())
    }

    /// The last acknowledged copy of a document, also when it is pending again.
    pub fn copy_of(&mut self, id: DocumentId) -> Result<Option<StoredCopy>> {
        let ids = [id];
        self.read("read what is recorded in", |tx, schema| {
            let sql = "SELECT {copy} FROM {nas_sync_documents} s JOIN {documents} d ON d.id = s.document_id
                       WHERE s.document_id = ANY($1::text[]::{T}[]) AND {same}";
            let row = tx.first(sql, &[documents::id_list(schema, &ids)])?;
            row.map_or(Ok(None), |row| read_copy(&row))
        })
    }

    /// The documents of a selection that have copies, by ascending id. Rows that make no sense are left out.
    pub fn copies(&mut self, selection: &Selection, of: Copies) -> Result<Vec<SyncedCopy>> {
        let has_copy = match of {
            Copies::OfSynced => "{synced}",
            Copies::OfPendingToo => "({synced} OR s.remote_name IS NOT NULL AND {same})",
        };
        self.read("read the copies recorded in", |tx, schema| {
            let mut values = Vec::new();
            let condition = documents::condition(schema, selection, &mut values)?;
            let sql = format!(
                "SELECT {{copy}}, d.id::text, d.file_path::text
                 FROM {{documents}} d LEFT JOIN {{nas_sync_documents}} s
                      ON s.document_id = d.id AND s.file_path IS NOT DISTINCT FROM d.file_path::text
                 WHERE {condition} AND {has_copy} AND d.id IS NOT NULL ORDER BY d.id"
            );
            let mut copies = Vec::new();
            for row in tx.query(&sql, &values)? {
                let path: Option<String> = row.try_get(7)?;
                if let Some(path) = path.filter(|path| path_fault(path.as_bytes()).is_none()) {
                    copies.push(SyncedCopy {
                        id: id_in(schema, &row, 6)?,
                        file_path: path.into(),
                        copy: read_copy(&row)?,
                    });
                }
            }
            Ok(copies)
        })
    }

    /// Records that copies were read back and found equal, in one commit. A copy that survives a power cut becomes
    /// [`Level::Verified`]; of others only the time is kept. Copies that are no longer the recorded ones are passed over.
    pub fn record_verified(&mut self, copies: &[(DocumentId, StoredCopy)], at: DateTime<Utc>) -> Result<()> {
        self.write("record what was verified in", |tx, schema| {
            let sql = format!(
                "UPDATE {{nas_sync_documents}} AS s SET verified_at = $7::timestamptz,
                     level = CASE WHEN s.level = $8 THEN $9 ELSE s.level END
                 FROM {COPIES} WHERE {IS_RECORDED}"
            );
            let levels = [Level::Durable, Level::Verified].map(|level| Value::text(level.as_str()));
            let values = parameters(schema, copies).into_iter().chain([Value::time(at)]).chain(levels);
            tx.execute(&sql, &values.collect::<Vec<_>>())?;
            Ok(())
        })
    }

    /// Makes the synced documents of a selection pending again, in one commit, and says how many became so. Failures of
    /// earlier times are forgotten.
    pub fn resend(&mut self, selection: &Selection) -> Result<usize> {
        self.write("make documents pending again in", |tx, schema| {
            let mut values = Vec::new();
            let condition = documents::condition(schema, selection, &mut values)? + " AND {synced}";
            forget_failures(tx, &condition, &values)?;
            let sql =
                format!("UPDATE {{documents}} AS d SET synced_to_nas = FALSE, synced_at = NULL WHERE {condition}");
            Ok(usize::try_from(tx.execute(&sql, &values)?).unwrap_or(usize::MAX))
        })
    }

    /// Makes synced documents pending again if their copies are still the recorded ones, in one commit, and says how
    /// many became so.
    pub fn requeue(&mut self, copies: &[(DocumentId, StoredCopy)]) -> Result<usize> {
        self.write("make documents pending again in", |tx, schema| {
            let sql = format!(
                "UPDATE {{documents}} AS d SET synced_to_nas = FALSE, synced_at = NULL
                 FROM {COPIES} JOIN {{nas_sync_documents}} s ON {IS_RECORDED} WHERE d.id = r.id AND {{synced}}"
            );
            Ok(usize::try_from(tx.execute(&sql, &parameters(schema, copies))?).unwrap_or(usize::MAX))
        })
    }
}

/// Forgets the failures of the documents of which a condition on row `d` holds, and says of how many.
fn forget_failures(tx: &Tx<'_>, condition: &str, values: &[Value]) -> Result<usize, Fault> {
    let sql = format!(
        "UPDATE {{nas_sync_documents}} SET attempts = 0, last_error_kind = NULL, last_error_text = NULL,
             last_error_solution = NULL, next_attempt_at = NULL, failed_for_good = FALSE
         WHERE (attempts > 0 OR last_error_kind IS NOT NULL) AND document_id IN
             (SELECT d.id FROM {{documents}} d WHERE {condition})"
    );
    Ok(usize::try_from(tx.execute(&sql, values)?).unwrap_or(usize::MAX))
}

/// Copies as the parameters of [`COPIES`].
pub(super) fn parameters(schema: &Schema, copies: &[(DocumentId, StoredCopy)]) -> Vec<Value> {
    let all = || copies.iter().map(|(_, copy)| copy);
    vec![
        all_ids(schema, copies.iter().map(|(id, _)| id)),
        Value::blobs(all().map(|copy| copy.remote_name.clone())),
        Value::integers(all().map(|copy| capped(copy.bytes))),
        Value::integers(all().map(|copy| copy.mtime.seconds)),
        Value::integers(all().map(|copy| i64::from(copy.mtime.nanoseconds))),
        Value::Blobs(all().map(|copy| copy.sha256.map(Vec::from)).collect()),
    ]
}

/// The part of what is remembered that is looked through next.
struct Part {
    /// The documents in it whose rows are gone.
    gone: Vec<String>,
    /// Behind which document it begins.
    after: Option<String>,
    /// Its last document; `None` when there is nothing behind it.
    last: Option<String>,
}

impl Part {
    fn next(tx: &Tx<'_>, table: &str) -> Result<Self, Fault> {
        let sql = "SELECT value FROM {nas_sync_meta} m WHERE key = $1";
        let row = tx.first(sql, &[Value::text(Self::key(table))])?;
        let after: Option<String> = row.map(|row| row.try_get(0)).transpose()?;
        let sql = format!(
            "SELECT s.document_id::text, EXISTS (SELECT 1 FROM {{documents}} d WHERE d.id = s.document_id)
             FROM {{{table}}} s WHERE $1::text IS NULL OR s.document_id > $1::text::{{T}} ORDER BY s.document_id LIMIT {PART}"
        );
        let rows = tx.query(&sql, &[Value::Text(after.clone())])?;
        let (mut gone, mut last) = (Vec::new(), None);
        for row in &rows {
            let id: String = row.try_get(0)?;
            if !row.try_get::<_, bool>(1)? {
                gone.push(id.clone());
            }
            last = Some(id);
        }
        Ok(Self { gone, after, last: last.filter(|_| rows.len() == PART as usize) })
    }

    fn key(table: &str) -> String {
        format!("{table} looked through to")
    }

    /// Whether there are no others.
    fn is_all(&self) -> bool {
        self.after.is_none() && self.last.is_none()
    }

    fn forget(&self, tx: &Tx<'_>, table: &str) -> Result<(), Fault> {
        let sql = format!(
            "DELETE FROM {{{table}}} s WHERE s.document_id = ANY($1::text[]::{{T}}[])
             AND NOT EXISTS (SELECT 1 FROM {{documents}} d WHERE d.id = s.document_id)"
        );
        tx.execute(&sql, &[Value::texts(&self.gone)])?;
        let key = Value::text(Self::key(table));
        match &self.last {
            None => tx.execute("DELETE FROM {nas_sync_meta} WHERE key = $1", &[key])?,
            Some(last) => tx.execute(
                "INSERT INTO {nas_sync_meta} (key, value) VALUES ($1, $2)
                 ON CONFLICT (key) DO UPDATE SET value = excluded.value",
                &[key, Value::text(last)],
            )?,
        };
        Ok(())
    }
}

/// The columns of `{copy}`. `None` also when one of them makes no sense: then nothing is known about the copy.
pub(super) fn read_copy(row: &Row) -> Result<Option<StoredCopy>, Fault> {
    let (name, level): (Option<Vec<u8>>, Option<String>) = (row.try_get(0)?, row.try_get(4)?);
    let (bytes, nanoseconds) = (number(row, 1)?, number(row, 3)?);
    let seconds: Option<i64> = row.try_get(2)?;
    let sha256 = match row.try_get::<_, Option<Vec<u8>>>(5)? {
        None => Some(None),
        Some(digest) => digest.try_into().ok().map(Some),
    };
    let copy = || {
        let nanoseconds = nanoseconds.filter(|nanoseconds| *nanoseconds < 1_000_000_000)?;
        Some(StoredCopy {
            remote_name: name?,
            bytes: bytes?,
            mtime: Mtime { seconds: seconds?, nanoseconds },
            level: Level::from_name(&level?)?,
            sha256: sha256?,
        })
    };
    Ok(copy())
}
