//! `sync`: sends what is due, with a bar while it runs. A signal ends it in order.

use std::sync::Arc;

use clap::Args;

use crate::cli::args::{SelectionArgs, Talk};
use crate::cli::console::Console;
use crate::cli::progress::{self, Bar};
use crate::cli::report;
use crate::cli::signals::Signals;
use crate::client::documents::{DocumentEvent, DocumentMonitor};
use crate::error::Result;
use crate::service::NasSyncService;

/// Which documents go.
#[derive(Debug, Args)]
pub struct Sync {
    #[command(flatten)]
    selection: SelectionArgs,
}

impl Sync {
    /// Sends the documents, and says what became of them.
    pub async fn run(self, service: &NasSyncService, talk: Talk, console: &Console, signals: Signals) -> Result<u8> {
        let verbose = talk.verbose;
        let display = Arc::new(Display { bar: Bar::new(console.clone()), console: console.clone(), verbose });
        let (stop, stopped) = signals.into_stop();
        let result =
            service.sync(self.selection.selection(), Arc::clone(&display) as Arc<dyn DocumentMonitor>, stop).await;
        display.bar.finish();
        Ok(report::sync(&result?, stopped.get().copied(), verbose, console))
    }
}

/// Shows the bar, and with `-v` each document and what the NAS says.
struct Display {
    bar: Bar,
    console: Console,
    verbose: u8,
}

impl DocumentMonitor for Display {
    fn event(&self, event: DocumentEvent<'_>) {
        if self.verbose > 0 {
            match &event {
                DocumentEvent::Sent { name, .. } => self.console.note(&format!("sent {name}")),
                DocumentEvent::Text { severity, text } => progress::show_remote_text(&self.console, *severity, text),
                _ => {}
            }
        }
        self.bar.event(event);
    }
}
