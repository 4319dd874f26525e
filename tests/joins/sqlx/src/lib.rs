//! A program that keeps its documents with sqlx, in PostgreSQL and in SQLite, and sends them with nas-sync. It only has to
//! compile: one program can hold one libsqlite3-sys, so nas-sync and sqlx must agree on its version.

use std::error::Error;

use nas_sync::{NasSyncService, UserId};
use sqlx::{PgPool, SqlitePool};

/// Sends what is due of a user, then says in both databases how many documents went.
pub async fn sync(nas: &NasSyncService, user: UserId, pg: &PgPool, sqlite: &SqlitePool) -> Result<(), Box<dyn Error>> {
    let summary = nas.sync_all_pending(user).await?;
    let line = format!("{} documents are on the NAS", summary.synced);
    sqlx::query("INSERT INTO journal (line) VALUES ($1)").bind(&line).execute(pg).await?;
    sqlx::query("INSERT INTO journal (line) VALUES (?)").bind(&line).execute(sqlite).await?;
    Ok(())
}
