//! What a role may do, and what its owner has to say when it may not.

use super::fault::Fault;
use super::link::Tx;
use super::values::Value;
use crate::database::quoted;

/// Refuses for want of a right, and names what to grant.
fn lacking(what: String, grant: &str) -> Fault {
    Fault::Refused { what, solution: Some(format!("Let the owner run: {grant}")) }
}

/// The role of this connection.
pub(super) fn role(tx: &Tx<'_>) -> Result<String, Fault> {
    Ok(tx.one("SELECT current_user::text", &[])?.try_get(0)?)
}

/// Fails where a table may not be read, or its marks not be set.
pub(super) fn check(tx: &Tx<'_>, oid: i64, table: &str, schema: &str, writes: bool) -> Result<(), Fault> {
    let sql = "SELECT has_schema_privilege($2, 'USAGE'),
                      has_table_privilege($1::oid, 'SELECT') OR has_any_column_privilege($1::oid, 'SELECT'),
                      has_column_privilege($1::oid, 'synced_to_nas', 'UPDATE')
                      AND has_column_privilege($1::oid, 'synced_at', 'UPDATE')";
    let row = tx.one(sql, &[Value::integer(oid), Value::text(schema)])?;
    let (usage, select, update): (bool, bool, bool) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
    if usage && select && (update || !writes) {
        return Ok(());
    }
    let role = role(tx)?;
    let grant = format!(
        "GRANT USAGE ON SCHEMA {} TO {role}; GRANT SELECT, UPDATE (synced_to_nas, synced_at) ON {table} TO {role};",
        quoted(schema),
        role = quoted(&role)
    );
    let what = if select { "mark rows of" } else { "read" };
    Err(lacking(format!("the role {role} may not {what} the table {table}"), &grant))
}

/// The error of a role that may not make the tables.
pub(super) fn may_not_create(tx: &Tx<'_>, schema: &str) -> Result<Fault, Fault> {
    let role = role(tx)?;
    let grant = format!(
        "GRANT USAGE, CREATE ON SCHEMA {0} TO {1}; then run this command again; once nas-sync has made its tables (nas_sync_…), \
         the owner may run: REVOKE CREATE ON SCHEMA {0} FROM {1};",
        quoted(schema),
        quoted(&role)
    );
    let what = format!("the role {role} may not make nas-sync's own tables in the schema {}", quoted(schema));
    Ok(lacking(what, &grant))
}

/// Whether tables may be made in a schema.
pub(super) fn may_create(tx: &Tx<'_>, schema: &str) -> Result<bool, Fault> {
    Ok(tx.one("SELECT has_schema_privilege($1, 'CREATE')", &[Value::text(schema)])?.try_get(0)?)
}
