//! Registers files as documents of user 7, sends all that is pending, and shows how it goes.
//!
//! Settings come from the environment, as for the program: NAS_HOST, NAS_USER, NAS_PATH, … Run it with
//! `cargo run --example service -- invoice.pdf receipt.jpg`.

use std::sync::Arc;

use nas_sync::{DocumentEvent, DocumentMonitor, Environment, Flags, NasSyncError, NasSyncService, Settings, UserId};

struct Progress;

impl DocumentMonitor for Progress {
    fn event(&self, event: DocumentEvent<'_>) {
        match event {
            DocumentEvent::Planned { documents, bytes } => println!("{documents} documents, {bytes} bytes"),
            DocumentEvent::Recorded { id, level, .. } => println!("document {id} is {}", level.as_str()),
            DocumentEvent::Failed { error, .. } => println!("failed: {error} {}", error.solution()),
            _ => {}
        }
    }
}

#[tokio::main]
async fn main() -> Result<(), NasSyncError> {
    let settings = Settings::resolve(&Flags::default(), &Environment::of_process()?)?;
    let nas = NasSyncService::new(settings);
    let files = std::env::args_os().skip(1).map(Into::into).collect();
    nas.add(UserId::from(7), files).await?;
    let summary = nas.sync_all_pending_with(UserId::from(7), Arc::new(Progress)).await?;
    println!("{} of {} documents synced", summary.synced, summary.total);
    summary.stopped.map_or(Ok(()), Err)
}
