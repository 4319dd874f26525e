//! `index`: adds an index to a table that somebody else made, on request.

use crate::cli::console::Console;
use crate::error::Result;
use crate::json;
use crate::service::NasSyncService;

const INTENTION: &str = "\
nas-sync adds the index nas_sync_pending to the table documents, unless it is there. With it, looking for pending rows costs
the same however many are synced.
- It holds the pending rows only, some 20 bytes for each.
- Writing a row costs a little more, where it becomes pending or synced.
- Until it is made, which takes one look at each row, others cannot write (in PostgreSQL they can).
- Programs that use this database need SQLite 3.9 (2015) or newer, if it is one of SQLite's.
The owner of the table may remove it at any time: DROP INDEX nas_sync_pending";

/// Says what will be done, does it, and says whether it was needed.
pub async fn run(service: &NasSyncService, console: &Console) -> Result<u8> {
    console.note(INTENTION);
    let created = service.add_index().await?;
    console.line(if created {
        "the index nas_sync_pending was added"
    } else {
        "the index nas_sync_pending is there already"
    });
    console.object(&json::index(created));
    Ok(0)
}
