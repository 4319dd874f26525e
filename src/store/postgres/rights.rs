//! What a role may do, and what its owner has to say when it may not.

use super::fault::Fault;
use super::link::Tx;
use super::values::Value;
use crate::database::quoted;

/// What makes transactions read-only that do not say what they are.
const READ_ONLY: &str = "default_transaction_read_only";

/// Refuses for want of a right, and names what to grant.
fn lacking(what: String, grant: &str) -> Fault {
    Fault::Refused { what, solution: Some(format!("Let the owner run: {grant}")) }
}

/// The role of this connection.
pub(super) fn role(tx: &Tx<'_>) -> Result<String, Fault> {
    Ok(tx.one("SELECT current_user::text", &[])?.try_get(0)?)
}

/// Fails where nothing is to be written: on a standby, and where transactions are read-only by default. That could be
/// overridden; but somebody has set it for this role, this database or the server, and meant it.
pub(super) fn refuse_read_only(tx: &Tx<'_>) -> Result<(), Fault> {
    let sql = "SELECT pg_is_in_recovery(), setting = 'on', source, session_user::text, current_database()::text
               FROM pg_settings WHERE name = 'default_transaction_read_only'";
    let row = tx.one(sql, &[])?;
    if row.try_get(0)? {
        let solution = Some("Name the primary server in NAS_DB or --db.");
        return Err(Fault::refused("the server is a read-only standby", solution));
    }
    if !row.try_get::<_, bool>(1)? {
        return Ok(());
    }
    let (source, role, database): (String, String, String) = (row.try_get(2)?, row.try_get(3)?, row.try_get(4)?);
    let (role, database) = (quoted(&role), quoted(&database));
    let (whose, reset) = match source.as_str() {
        "user" => (format!("for the role {role}"), format!("ALTER ROLE {role} RESET {READ_ONLY};")),
        "database" => (format!("for the database {database}"), format!("ALTER DATABASE {database} RESET {READ_ONLY};")),
        "database user" => (
            format!("for the role {role} in the database {database}"),
            format!("ALTER ROLE {role} IN DATABASE {database} RESET {READ_ONLY};"),
        ),
        "global" => ("for all roles".to_owned(), format!("ALTER ROLE ALL RESET {READ_ONLY};")),
        // As its source has it: a file, or a command line, which has to be changed itself.
        _ => (
            format!("for the server ({source})"),
            format!("ALTER SYSTEM SET {READ_ONLY} = off; SELECT pg_reload_conf();"),
        ),
    };
    let solution = format!(
        "Name a role or a database that may be written to in NAS_DB or --db; or let whoever set it run: {reset}"
    );
    Err(Fault::Refused { what: format!("it is read-only: {READ_ONLY} is on {whose}"), solution: Some(solution) })
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

/// Fails where rows of a table may not be deleted.
pub(super) fn check_delete(tx: &Tx<'_>, oid: i64, table: &str) -> Result<(), Fault> {
    if tx.one("SELECT has_table_privilege($1::oid, 'DELETE')", &[Value::integer(oid)])?.try_get(0)? {
        return Ok(());
    }
    let role = role(tx)?;
    let grant = format!("GRANT DELETE ON {table} TO {};", quoted(&role));
    Err(lacking(format!("the role {role} may not delete rows of the table {table}"), &grant))
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
