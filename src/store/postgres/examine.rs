//! A look at a database that changes nothing in it.

use super::fault::Fault;
use super::link::{Link, Mode, Tx};
use super::login::Login;
use super::pending_index;
use super::schema::{Schema, inspect};
use super::values::Value;
use crate::database::{PostgresUrl, TableName};
use crate::error::{ErrorKind, NasSyncError, Result};
use crate::store::examination::{Examination, Journal, OwnTables};
use crate::store::model::Access;

/// A transaction that others may have to wait for is open for longer than this.
const LONG: &str = "5 minutes";

/// Looks at the database, as somebody who may write to it. Fails with `DatabaseUnusable` or `DatabaseLocked`.
pub fn examine(url: PostgresUrl, table: &TableName) -> Result<Examination> {
    let mut link = Link::new(Login { url })?;
    link.run(None, Mode::Read, "look at", &mut |tx| {
        let schema = inspect(tx, table, Access::Existing)?;
        // `None` only where it may be made.
        let schema = schema.ok_or_else(|| Fault::refused(format!("it has no table {table}"), None))?;
        look(tx, &schema)
    })
}

fn look(tx: &Tx<'_>, schema: &Schema) -> Result<Examination, Fault> {
    let sql = "SELECT current_setting('server_version'), current_setting('fsync') = 'on',
                      pg_total_relation_size(to_regclass($1))";
    let row = tx.one(sql, &[Value::text(schema.table())])?;
    let (version, flushes, bytes): (String, bool, i64) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
    let own_tables = if schema.has_own() { OwnTables::Current } else { OwnTables::None };
    let place = "SELECT value FROM {nas_sync_meta} m WHERE key = 'place'";
    let place = tx.first(&schema.expand(place), &[])?.map(|row| row.try_get(0)).transpose()?;
    let synced = tx.one(&schema.expand("SELECT count(*) FROM {documents} d WHERE {synced}"), &[])?;
    Ok(Examination {
        place,
        synced: synced.try_get::<_, i64>(0)?.unsigned_abs(),
        server: format!("PostgreSQL {version}"),
        own_tables,
        journal: Journal::Server { flushes },
        has_index: pending_index::exists(tx, schema)?,
        bytes: u64::try_from(bytes).unwrap_or(0),
        log_bytes: 0,
        lock: lock(tx, schema)?,
    })
}

/// Whether somebody holds rows or the whole table for long. Other roles' transactions do not show to everybody.
fn lock(tx: &Tx<'_>, schema: &Schema) -> Result<Result<()>, Fault> {
    let sql = format!(
        "SELECT a.pid::text, coalesce(a.application_name, '') FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid
         WHERE l.relation = to_regclass($1) AND l.granted AND l.mode NOT IN ('AccessShareLock', 'RowShareLock')
             AND a.pid <> pg_backend_pid() AND a.xact_start < now() - interval '{LONG}' LIMIT 1"
    );
    let Some(row) = tx.first(&sql, &[Value::text(schema.table())])? else { return Ok(Ok(())) };
    let (process, name): (String, String) = (row.try_get(0)?, row.try_get(1)?);
    let message = format!("the transaction of process {process} ({name}) has held a lock on the documents for {LONG}");
    Ok(Err(NasSyncError::new(ErrorKind::DatabaseLocked, message)
        .with_solution(format!("End that transaction, or let its owner run: SELECT pg_terminate_backend({process});"))))
}
