//! `list`: documents as they stand, the newest first.

use std::borrow::Cow;

use clap::Args;
use clap::builder::PossibleValuesParser;
use unicode_width::UnicodeWidthStr as _;

use crate::cli::args::user;
use crate::cli::columns::cut;
use crate::cli::console::Console;
use crate::cli::text::time;
use crate::error::Result;
use crate::id::UserId;
use crate::json;
use crate::service::NasSyncService;
use crate::store::{Deferred, DocumentState, ListRequest, ListedDocument, Listing, NextTry, Selection};
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
    /// How many documents at most
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
}

impl List {
    /// Prints a row for each document, and why it is not on the NAS.
    pub async fn run(self, service: &NasSyncService, console: &Console) -> Result<u8> {
        let listing = service.list(self.request()).await?;
        console.words(&render(&listing, Console::columns()));
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

/// What stands between two columns.
const GAP: &str = "  ";
/// From so many columns on names are cut rather than levels and times, or the names on the NAS, left out.
const ALL: usize = 100;
const BOTH_NAMES: usize = 60;
/// A name has at least so many columns.
const LEAST_NAME: usize = 8;

/// A table, as wide as a terminal or as it is, and below a document why it is not on the NAS.
fn render(listing: &Listing, columns: Option<usize>) -> String {
    if listing.documents.is_empty() {
        return "no documents".to_owned();
    }
    let rows: Vec<_> = listing.documents.iter().map(row).collect();
    let widths = widths(&rows, columns);
    let mut lines = vec![line(&HEADINGS.map(Cow::Borrowed), &widths)];
    for (row, document) in rows.iter().zip(&listing.documents) {
        lines.push(line(row, &widths));
        lines.extend(document.deferred.iter().flat_map(why));
    }
    if listing.more {
        lines.push("… and more; --limit lists them".to_owned());
    }
    lines.join("\n")
}

const HEADINGS: [&str; 6] = ["ID", "STATE", "FILE", "ON THE NAS", "LEVEL", "SYNCED"];
const ID: usize = 0;
const FILE: usize = 2;
const ON_THE_NAS: usize = 3;
const LEVEL: usize = 4;

type Row<'d> = [Cow<'d, str>; HEADINGS.len()];

fn row(document: &ListedDocument) -> Row<'_> {
    let state = if document.sending { "sending" } else { document.state.as_str() };
    let copy = document.copy.as_ref().filter(|_| document.state == DocumentState::Synced);
    [
        document.id.to_string().into(),
        state.into(),
        text::escape(&document.file).into(),
        copy.map(|copy| text::escape_bytes(&copy.remote_name)).unwrap_or_default().into(),
        copy.map_or("", |copy| copy.level.as_str()).into(),
        document.synced_at.map(time).unwrap_or_default().into(),
    ]
}

/// How wide each column is; a column of no width is left out.
fn widths(rows: &[Row<'_>], columns: Option<usize>) -> [usize; HEADINGS.len()] {
    let mut widths = HEADINGS.map(str::len);
    for row in rows {
        for (width, text) in widths.iter_mut().zip(row) {
            *width = text.width().max(*width);
        }
    }
    let Some(columns) = columns else { return widths };
    let is_full = |widths: &[usize]| widths.iter().sum::<usize>() + GAP.len() * (widths.len() - 1) > columns;
    if !is_full(&widths) {
        return widths;
    }
    if columns < ALL {
        widths[LEVEL..].fill(0);
    }
    if columns < BOTH_NAMES && is_full(&widths[..LEVEL]) {
        widths[ON_THE_NAS] = 0;
    }
    let is_name = |column: &usize| [FILE, ON_THE_NAS].contains(column);
    let shown = |width: &&usize| **width > 0;
    let gaps = GAP.len() * (widths.iter().filter(shown).count() - 1);
    let others: usize = (0..widths.len()).filter(|column| !is_name(column)).map(|column| widths[column]).sum();
    let room = columns.saturating_sub(gaps + others);
    // The shorter name gives what it does not need to the longer one.
    let half = if widths[ON_THE_NAS] > 0 { room / 2 } else { room };
    let file = widths[FILE].min(half.max(room.saturating_sub(widths[ON_THE_NAS])));
    widths[FILE] = file.max(LEAST_NAME);
    widths[ON_THE_NAS] = widths[ON_THE_NAS].min(room.saturating_sub(file).max(LEAST_NAME));
    widths
}

fn line(row: &Row<'_>, widths: &[usize; HEADINGS.len()]) -> String {
    let cells = row.iter().zip(widths).enumerate().filter(|(_, (_, width))| **width > 0);
    let cells = cells.map(|(column, (text, &width))| {
        let text = cut(text, width);
        // What a format pads with counts letters, of which some take two columns.
        let blanks = " ".repeat(width - text.width());
        if column == ID { format!("{blanks}{text}") } else { format!("{text}{blanks}") }
    });
    cells.collect::<Vec<_>>().join(GAP).trim_end().to_owned()
}

/// Why its last try failed, what comes next, and what to do.
fn why(deferred: &Deferred) -> Vec<String> {
    let next = match deferred.next {
        NextTry::At(at) => format!("next try at {}", time(at)),
        NextTry::Never => "`nas-sync retry` tries again".to_owned(),
    };
    let mut lines = vec![format!("    {} ({next})", text::escape(&deferred.failure.text))];
    lines.extend(deferred.failure.solution().map(|solution| format!("    {}", text::escape(solution))));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_column_is_left_out_only_where_it_does_not_fit() {
        let rows =
            [["1", "synced", "invoice.pdf", "1_invoice.pdf", "durable", "2026-12-01 05:42:00 UTC"].map(Cow::Borrowed)];
        let all = widths(&rows, None);
        let needed = line(&rows[0], &all).width();
        for columns in [needed, 76, 80, 90, 200] {
            assert_eq!(widths(&rows, Some(columns)), all, "{columns}");
        }
        let fewer = widths(&rows, Some(needed - 1));
        assert_eq!((&fewer[..LEVEL], &fewer[LEVEL..]), (&all[..LEVEL], &[0, 0][..]));
        assert_eq!(widths(&rows, Some(20))[ON_THE_NAS], 0);
    }
}
