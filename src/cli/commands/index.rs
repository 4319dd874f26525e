//! `index`: adds an index to a table that somebody else made, on request.

use clap::Args;

use crate::cli::console::Console;
use crate::config::Settings;
use crate::error::Result;
use crate::json;
use crate::service::NasSyncService;

/// Add an index.
#[derive(Debug, Args)]
pub struct Index {
    /// In PostgreSQL, also add triggers that notify `watch` of changes, so that it asks nothing until there is something
    #[arg(long)]
    notify: bool,
}

/// What is added to which table, and what that costs in either kind of database.
fn intention(settings: &Settings) -> String {
    let others = if settings.db.file().is_some() {
        "- Until it is made, which takes one look at each row, others cannot write.
- Programs that use this database need SQLite 3.9 (2015) or newer."
    } else {
        "- Others go on writing while it is made."
    };
    format!(
        "nas-sync adds the index nas_sync_pending to the table {}, unless it is there. With it, looking for pending rows costs
the same however many are synced.
- It holds the pending rows only, some 20 bytes for each.
- Writing a row costs a little more, where it becomes pending or synced.
{others}
The owner of the table may remove it at any time: DROP INDEX nas_sync_pending",
        settings.db.table_name()
    )
}

const NOTIFYING: &str = "\
It also adds the function nas_sync_notify and triggers of that name, which notify of each statement that changes the table.
- Transactions that change it are committed one after the other, and cannot be prepared for two phases.
The owner may remove them at any time: DROP FUNCTION nas_sync_notify CASCADE";

impl Index {
    /// Says what will be done, does it, and says whether it was needed.
    pub async fn run(self, service: &NasSyncService, console: &Console) -> Result<u8> {
        console.note(&intention(service.settings()));
        if self.notify {
            console.note(NOTIFYING);
        }
        let notifies = if self.notify { Some(service.add_notify().await?) } else { None };
        let created = service.add_index().await?;
        console.report(if created {
            "the index nas_sync_pending was added"
        } else {
            "the index nas_sync_pending is there already"
        });
        if let Some(added) = notifies {
            console.report(if added { "the triggers were added" } else { "the triggers are there already" });
        }
        console.object(&json::index(created, notifies));
        Ok(0)
    }
}
