//! `list`: documents as they stand, the newest first.

use std::fmt::Write as _;

use clap::Args;
use clap::builder::PossibleValuesParser;

use crate::cli::args::user;
use crate::cli::console::Console;
use crate::cli::text::time;
use crate::error::Result;
use crate::id::UserId;
use crate::json;
use crate::service::NasSyncService;
use crate::store::{DocumentState, ListRequest, ListedDocument, Listing, NextTry, Selection};
use crate::text;

/// Which documents are listed.
#[derive(Debug, Args)]
pub struct List {
    /// Only documents of this user
    #[arg(long, value_name = "ID", allow_negative_numbers = true, value_parser = user)]
    pub(super) user: Option<UserId>,
    /// Only documents that stand so
    #[arg(long, value_parser = PossibleValuesParser::new(DocumentState::ALL.map(DocumentState::as_str)))]
    state: Option<String>,
    /// Only documents with this in their name, in whatever case
    #[arg(long, value_name = "TEXT")]
    name: Option<String>,
    /// How many at most
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
}

impl List {
    /// Prints a line for each document, and why it is not on the NAS.
    pub async fn run(self, service: &NasSyncService, console: &Console) -> Result<u8> {
        let listing = service.list(self.request()).await?;
        console.line(&render(&listing));
        console.object(&json::list(&listing));
        Ok(0)
    }

    fn request(self) -> ListRequest {
        let selection = self.user.map_or_else(Selection::all, Selection::of_user);
        let state = self.state.as_deref().and_then(DocumentState::from_name);
        let limit = usize::try_from(self.limit).unwrap_or(usize::MAX);
        ListRequest { state, name: self.name, limit, ..ListRequest::new(selection) }
    }
}

fn render(listing: &Listing) -> String {
    let width = listing.documents.iter().map(|document| document.id.to_string().len()).max().unwrap_or(0);
    let mut lines: Vec<_> = listing.documents.iter().map(|document| line(document, width)).collect();
    match listing {
        Listing { documents, .. } if documents.is_empty() => lines.push("no documents".to_owned()),
        Listing { more: true, .. } => lines.push("… and more; --limit lists them".to_owned()),
        _ => {}
    }
    lines.join("\n")
}

fn line(document: &ListedDocument, width: usize) -> String {
    let (id, state) = (document.id.to_string(), document.state.as_str());
    let state = if document.sending { "sending" } else { state };
    let file = text::escape(&document.file);
    let mut line = format!("{id:>width$}  {state:<7}  {file}");
    // Writing to a String has no error to report.
    if let (DocumentState::Synced, Some(copy)) = (document.state, &document.copy) {
        let when = document.synced_at.map(|at| format!(", {}", time(at))).unwrap_or_default();
        let _ = write!(line, " -> {} ({}{when})", text::escape_bytes(&copy.remote_name), copy.level.as_str());
    }
    if let Some(deferred) = &document.deferred {
        let next = match deferred.next {
            NextTry::At(at) => format!("next try at {}", time(at)),
            NextTry::Never => "`nas-sync retry` tries again".to_owned(),
        };
        let _ = write!(line, "\n    {} ({next})", text::escape(&deferred.failure.text));
        if let Some(solution) = deferred.failure.solution() {
            let _ = write!(line, "\n    {}", text::escape(solution));
        }
    }
    line
}
