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

/// What makes function and triggers, or makes them anew. On one line: it may be told to somebody who is to run it.
fn definition(schema: &Schema) -> String {
    let channel = channel(schema);
    let function = format!(
        "CREATE OR REPLACE FUNCTION {{{NAME}}}() RETURNS trigger LANGUAGE plpgsql \
         AS $$ BEGIN NOTIFY {channel}; RETURN NULL; END $$;"
    );
    let trigger = |(table, columns): (&str, &str)| {
        format!(
            " DROP TRIGGER IF EXISTS {NAME} ON {{{table}}}; \
             CREATE TRIGGER {NAME} AFTER INSERT OR DELETE OR UPDATE {columns} ON {{{table}}} \
             FOR EACH STATEMENT EXECUTE FUNCTION {{{NAME}}}();"
        )
    };
    schema.expand(&(function + &TABLES.map(trigger).concat()))
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
        let definition = definition(&self.schema);
        self.write("add triggers to", |tx, _| tx.batch(&definition)).map_err(|error| {
            error.with_solution(format!("Only the owner of the table may add them. Let the owner run: {definition}"))
        })?;
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
