//! Notifications of changes, where the owner of the database wants them: triggers of ours on the documents and on what is
//! remembered about them. With them a process that watches asks nothing until there is something.
//!
//! Guarantees: nobody relies on notifications that do not come. A pooler may give each transaction another session, so a
//! listener first proves that it hears what somebody else says; where it does not, it asks as before, and that is said once.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::fault::Fault;
use super::link::{Link, Tx};
use super::login::Login;
use super::schema::{PostgresStore, Schema};
use super::values::Value;
use crate::error::Result;

/// The function, and its triggers.
const NAME: &str = "nas_sync_notify";
/// The tables whose changes concern a queue, and where it is not all of them, of which columns.
const TABLES: [(&str, &str); 3] =
    [("documents", "OF id, user_id, file_path, synced_to_nas"), ("nas_sync_documents", ""), ("nas_sync_targets", "")];
/// How long the proof that notifications arrive may take.
const PROOF: Duration = Duration::from_secs(2);
/// How long one look for notifications that have arrived takes.
const LOOK: Duration = Duration::from_millis(1);

/// Set where they do not arrive.
static IS_DEAF: AtomicBool = AtomicBool::new(false);

/// A table without the trigger.
struct Lacking {
    /// As statements name it.
    name: String,
    /// Whose it is.
    owner: String,
    /// Whether this role may do what the owner may.
    is_ours: bool,
    /// What makes the trigger, or makes it anew, and the function with that of the documents. On one line: it may be told to
    /// somebody who is to run it.
    definition: String,
}

/// What makes the trigger of one of the tables.
fn definition(schema: &Schema, (table, columns): (&str, &str)) -> String {
    let channel = channel(schema);
    let function = format!(
        "CREATE OR REPLACE FUNCTION {{{NAME}}}() RETURNS trigger LANGUAGE plpgsql \
         AS $$ BEGIN NOTIFY {channel}; RETURN NULL; END $$; "
    );
    let trigger = format!(
        "DROP TRIGGER IF EXISTS {NAME} ON {{{table}}}; \
         CREATE TRIGGER {NAME} AFTER INSERT OR DELETE OR UPDATE {columns} ON {{{table}}} \
         FOR EACH STATEMENT EXECUTE FUNCTION {{{NAME}}}();"
    );
    schema.expand(&if table == TABLES[0].0 { function + &trigger } else { trigger })
}

/// The tables without the trigger.
fn lacking(tx: &Tx<'_>, schema: &Schema) -> Result<Vec<Lacking>, Fault> {
    let sql = "SELECT pg_get_userbyid(c.relowner)::text, pg_has_role(c.relowner, 'USAGE') FROM pg_class c
               WHERE c.oid = to_regclass($1)
                   AND NOT EXISTS (SELECT FROM pg_trigger t WHERE t.tgrelid = c.oid AND t.tgname = $2 AND t.tgenabled <> 'D')";
    let mut found = Vec::new();
    for table in TABLES {
        let name = schema.expand(&format!("{{{}}}", table.0));
        if let Some(row) = tx.first(sql, &[Value::text(&name), Value::text(NAME)])? {
            let definition = definition(schema, table);
            found.push(Lacking { name, owner: row.try_get(0)?, is_ours: row.try_get(1)?, definition });
        }
    }
    Ok(found)
}

/// Adds what is lacking, or says which owner may add what. Those of this role come with the next call, behind the function.
fn add(tx: &Tx<'_>, schema: &Schema) -> Result<(), Fault> {
    let lacking = lacking(tx, schema)?;
    let (ours, others): (Vec<_>, Vec<_>) = lacking.iter().partition(|table| table.is_ours);
    if others.is_empty() {
        return tx.batch(&ours.iter().map(|table| table.definition.as_str()).collect::<Vec<_>>().join(" "));
    }
    let names: Vec<_> = others.iter().map(|table| format!("{} (of {})", table.name, table.owner)).collect();
    let what = format!("only the owner of a table may add triggers to it: {}", names.join(", "));
    let mut solution = String::new();
    for (at, table) in others.iter().enumerate() {
        if at.checked_sub(1).is_none_or(|before| others[before].owner != table.owner) {
            for part in ["Let ", &table.owner, " run: "] {
                solution.push_str(part);
            }
        }
        solution.push_str(&table.definition);
        solution.push(' ');
    }
    solution.push_str("Then run this command again.");
    Err(Fault::Refused { what, solution: Some(solution) })
}

/// Each table has a channel of its own: its number is the server's.
fn channel(schema: &Schema) -> String {
    format!("nas_sync_{}", schema.oid)
}

/// Whether the triggers are there.
fn exist(tx: &Tx<'_>, schema: &Schema) -> Result<bool, Fault> {
    let tables = TABLES.map(|(table, _)| schema.expand(&format!("{{{table}}}")));
    let sql = "SELECT count(*) = cardinality($1::text[]) FROM pg_trigger t JOIN unnest($1::text[]) AS r (name) ON t.tgrelid = to_regclass(r.name)
               WHERE t.tgname = $2 AND t.tgenabled <> 'D'";
    Ok(tx.one(sql, &[Value::texts(&tables), Value::text(NAME)])?.try_get(0)?)
}

impl PostgresStore {
    /// Adds the triggers; `false`: they are there already. Fails, with what the owner may run, where this role may not.
    pub fn add_notify(&mut self) -> Result<bool> {
        if self.read("look for triggers in", exist)? {
            return Ok(false);
        }
        self.write("add triggers to", add)?;
        Ok(true)
    }

    /// How much was notified of so far; `None` where that cannot be relied on.
    pub(super) fn heard(&mut self) -> Result<Option<i64>> {
        if let Some(heard) = self.link.heard(LOOK) {
            return Ok(Some(heard));
        }
        if IS_DEAF.load(Ordering::Relaxed) || !self.read("look for triggers in", exist)? {
            return Ok(None);
        }
        let channel = channel(&self.schema);
        self.link.listen("listen to", &channel)?;
        let before = self.link.heard(LOOK);
        let login = Login { url: self.link.login.url.clone() };
        Link::new(login)?.alone("notify through", &format!("NOTIFY {channel}"))?;
        let began = Instant::now();
        while began.elapsed() < PROOF {
            match self.link.heard(LOOK) {
                // A connection that was lost meanwhile proves nothing; the next look makes another one.
                None => return Ok(None),
                heard if heard > before => return Ok(heard),
                Some(_) => {}
            }
        }
        self.link.listens = false;
        if !IS_DEAF.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                "what the database notifies of does not arrive here, as through PgBouncer in transaction mode: it is asked for \
                 changes instead"
            );
        }
        Ok(None)
    }
}
