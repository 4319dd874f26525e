//! A program that keeps its documents with diesel in SQLite, and sends them with nas-sync. It only has to compile: one
//! program can hold one libsqlite3-sys, so nas-sync and diesel must agree on its version.

use std::error::Error;

use diesel::{RunQueryDsl as _, SqliteConnection, sql_query, sql_types::Text};
use nas_sync::{NasSyncService, UserId};

/// Sends what is due of a user, then writes down how many documents went.
pub async fn sync(nas: &NasSyncService, user: UserId, sqlite: &mut SqliteConnection) -> Result<(), Box<dyn Error>> {
    let summary = nas.sync_all_pending(user).await?;
    let line = format!("{} documents are on the NAS", summary.synced);
    sql_query("INSERT INTO journal (line) VALUES (?)").bind::<Text, _>(line).execute(sqlite)?;
    Ok(())
}
