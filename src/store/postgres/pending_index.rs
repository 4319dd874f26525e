//! The index over the pending rows, with which a look at them costs the same however many rows are synced.
//!
//! The table that this program creates has it from the start; to one that is there already it is added on request only.

use super::fault::Fault;
use super::link::Tx;
use super::schema::{PostgresStore, Schema};
use super::values::Value;
use crate::database::quoted;
use crate::error::Result;

const NAME: &str = "nas_sync_pending";

/// What makes the index; `beside`: while others write.
pub(super) fn definition(schema: &Schema, beside: bool) -> String {
    let how = if beside { "CONCURRENTLY " } else { "" };
    schema.expand(&format!("CREATE INDEX {how}{NAME} ON {{documents}} (id) WHERE synced_to_nas IS NOT TRUE"))
}

/// Whether the index is there; `None`: one of that name is, and is none (its making was cut short).
fn look(tx: &Tx<'_>, schema: &Schema) -> Result<Option<bool>, Fault> {
    let sql = "SELECT i.indisvalid AND pg_get_expr(i.indpred, i.indrelid) = '(synced_to_nas IS NOT TRUE)'
               FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_namespace n ON n.oid = c.relnamespace
               WHERE i.indrelid = to_regclass($1) AND n.nspname = $2 AND c.relname = $3";
    let values = [Value::text(schema.table()), Value::text(schema.own_name()), Value::text(NAME)];
    let is_good = tx.first(sql, &values)?.map(|row| row.try_get::<_, Option<bool>>(0)).transpose()?;
    Ok(match is_good {
        None => Some(false),
        Some(Some(true)) => Some(true),
        Some(_) => None,
    })
}

pub(super) fn exists(tx: &Tx<'_>, schema: &Schema) -> Result<bool, Fault> {
    Ok(look(tx, schema)? == Some(true))
}

impl PostgresStore {
    /// Adds the index; `false`: it is there already. Others go on writing meanwhile.
    pub fn add_index(&mut self) -> Result<bool> {
        let found = self.read("look for an index in", look)?;
        if found == Some(true) {
            return Ok(false);
        }
        let doing = "add an index to";
        if found.is_none() {
            let name = format!("{}.{NAME}", quoted(self.schema.own_name()));
            self.link.alone(doing, &format!("DROP INDEX CONCURRENTLY IF EXISTS {name}"))?;
        }
        let definition = definition(&self.schema, true);
        self.link.alone(doing, &definition).map_err(|error| {
            error.with_solution(format!("Only the owner of the table may add one. Let the owner run: {definition}"))
        })?;
        Ok(true)
    }
}
