//! What every kind of database decides in the same way: bounds, shares, and what a value in a row means. No SQL.

use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use chrono::{DateTime, TimeDelta, Utc};

use super::model::{
    BadRow, Document, DocumentState, Failure, LONGEST_WAIT, ListRequest, ListedDocument, MOST_REFUSED_LOGINS, Moved,
    NewDocument, NextTry, SyncStats,
};
use super::timestamp;
use crate::error::{ErrorKind, NasSyncError, Result};
use crate::id::{DocumentId, UserId};
use crate::proof::{Capability, Refusal};
use crate::text;

/// The longest cause that is kept, in bytes.
const TEXT_LIMIT: usize = 2048;
/// What is recorded of a document's copy on the NAS. Another document that gets its id has none.
pub(super) const COPY: [&str; 7] =
    ["remote_name", "bytes", "mtime_seconds", "mtime_nanoseconds", "level", "sha256", "verified_at"];
/// So many attempts of one document are kept: the last ones.
pub(super) const ATTEMPTS_OF_ONE: i64 = 20;
/// So many attempts are kept altogether.
pub(super) const ATTEMPTS_OF_ALL: i64 = 100_000;
/// At most so many rows are deleted by one statement, whatever an older version has left: others wait meanwhile.
pub(super) const DELETED_AT_ONCE: i64 = 10_000;
/// So many pending documents are kept in mind one by one.
pub(super) const FEW: usize = 2_000;
/// However many workers there are, one takes at least this many documents at a time.
const LEAST_SHARE: u64 = 64;
/// How long a refusal is remembered.
const MEMORY: TimeDelta = TimeDelta::days(30);
/// Why a mark that was set is not there, as far as can be known.
pub(super) const SET_BACK: &str = "the mark does not stay, and a trigger of the table is what can do that";

/// How many of the free documents a worker takes beside so many others.
pub(super) fn share(free: u64, most: u64, others: u64) -> u64 {
    free.div_ceil(others + 1).max(LEAST_SHARE).min(most)
}

/// A text that is kept: at most 2 KiB, and only whole characters.
pub(super) fn shortened(text: &str) -> &str {
    let fits = |end: &usize| *end <= TEXT_LIMIT;
    let end = text.char_indices().map(|(start, c)| start + c.len_utf8()).take_while(fits).last();
    &text[..end.unwrap_or(0)]
}

/// Why a document is not due.
pub(super) struct Deferral {
    pub failure: Failure,
    pub tries: u32,
    pub next: NextTry,
}

/// The recorded failure of a pending document, unless it may be sent again by now. A wait that no policy could have set
/// (the wall clock was put back) counts as over.
pub(super) fn deferral(
    failure: Failure,
    tries: u32,
    for_good: bool,
    until: Option<DateTime<Utc>>,
    now: DateTime<Utc>,
) -> Option<Deferral> {
    let until = until.filter(|until| *until > now && *until <= now + LONGEST_WAIT);
    let next = if for_good { Some(NextTry::Never) } else { until.map(NextTry::At) };
    next.map(|next| Deferral { failure, tries, next })
}

/// The statistics of so many documents.
pub(super) fn stats(total: u64, synced: u64, failed: u64, last_sync: Option<DateTime<Utc>>) -> SyncStats {
    SyncStats {
        total_documents: total,
        synced,
        pending: total - synced,
        failed,
        sync_percentage: percentage(synced, total),
        last_sync,
    }
}

/// What there is to say where so many documents were sent to another place than the present one.
pub(super) fn moved(from: &str, synced: u64) -> Option<Moved> {
    (synced > 0).then(|| Moved { from: text::escape(from), documents: synced })
}

/// `part` of `total` in percent, rounded to one decimal; 0 of nothing is 0.
fn percentage(part: u64, total: u64) -> f64 {
    if total == 0 {
        return 0.0;
    }
    let (part, total) = (u128::from(part), u128::from(total));
    let tenths = (part * 2000 + total) / (total * 2);
    // At most 1000, because a part is not more than its whole.
    f64::from(u16::try_from(tenths).unwrap_or(1000)) / 10.0
}

/// What is remembered of a refusal; `None` for one that makes no sense or is too old.
pub(super) fn refusal(
    capability: &str,
    evidence: String,
    server: String,
    times: Option<u32>,
    learnt: Option<DateTime<Utc>>,
    now: DateTime<Utc>,
) -> Option<Refusal> {
    let is_fresh = learnt.is_some_and(|time| (now - time).abs() < MEMORY);
    let capability = Capability::ALL.into_iter().find(|known| is_fresh && known.as_str() == capability)?;
    Some(Refusal { times: times.unwrap_or(1), ..Refusal::new(capability, evidence, server) })
}

/// The times of refused logins as they are kept, with one more.
pub(super) fn refused_logins(mut times: Vec<DateTime<Utc>>, at: DateTime<Utc>) -> String {
    times.push(at);
    let last = times.iter().rev().take(MOST_REFUSED_LOGINS).rev().map(|time| timestamp::format(*time));
    last.collect::<Vec<_>>().join(",")
}

/// Takes apart what [`refused_logins`] made.
pub(super) fn refused_logins_in(text: &str) -> Vec<DateTime<Utc>> {
    text.split(',').filter_map(timestamp::parse).collect()
}

/// What is wrong with a path in a row.
pub(super) fn path_fault(bytes: &[u8]) -> Option<&'static str> {
    if bytes.is_empty() {
        return Some("is empty");
    }
    bytes.contains(&0).then_some("holds a NUL")
}

impl NewDocument {
    /// Fails with `Usage` for a path that no row may hold.
    pub(super) fn check(&self) -> Result<()> {
        if path_fault(self.file_path.as_os_str().as_bytes()).is_none() {
            return Ok(());
        }
        let message =
            format!("the path \"{}\" cannot be registered: it is empty or holds a NUL", self.file_path.display());
        Err(NasSyncError::new(ErrorKind::Usage, message))
    }
}

/// A row that was asked for and is not there, or is another user's.
pub(super) fn not_found(id: DocumentId, user: Option<&UserId>) -> BadRow {
    let message = match user {
        Some(user) => format!("user {user} has no document with the id {id}"),
        None => format!("there is no document with the id {id}"),
    };
    BadRow { id: Some(id), error: NasSyncError::new(ErrorKind::DocumentNotFound, message) }
}

/// Fails when a document that was asked for is not there.
pub(super) fn refuse(unusable: Vec<BadRow>) -> Result<()> {
    let bad = unusable.into_iter().find(|bad| bad.id.is_some());
    bad.map_or(Ok(()), |bad| Err(bad.error))
}

/// Why a document's row is not deleted: a worker is sending it, or nas-sync did not register it.
pub(super) fn kept(id: &DocumentId, is_being_sent: bool) -> NasSyncError {
    if is_being_sent {
        return NasSyncError::new(ErrorKind::Usage, format!("document {id} is being sent at this moment"))
            .with_solution("Run the command again when that is over. Nothing was removed.");
    }
    let message = format!("document {id} was not registered by nas-sync, or its row was changed since");
    NasSyncError::new(ErrorKind::Usage, message).with_solution(
        "The row belongs to the program that made it: remove it there, or set its synced_to_nas. Nothing was removed.",
    )
}

/// How a document stands, whether it is being sent or not.
pub(super) fn state(is_synced: bool, deferral: Option<&Deferral>) -> DocumentState {
    match deferral {
        _ if is_synced => DocumentState::Synced,
        None => DocumentState::Pending,
        Some(Deferral { next: NextTry::At(_), .. }) => DocumentState::Waiting,
        Some(Deferral { next: NextTry::Never, .. }) => DocumentState::Failed,
    }
}

/// How a file is called: as its user named it, else by the last part of its path.
pub(super) fn file_name(named: Option<String>, path: Option<&Path>) -> String {
    let base = || path?.file_name().map(|name| text::escape_bytes(name.as_encoded_bytes()));
    named.or_else(base).unwrap_or_default()
}

impl ListRequest {
    /// Whether a document is among those that are asked for.
    pub(super) fn wants(&self, document: &ListedDocument) -> bool {
        let is_named = |part: &str| {
            let there = document.copy.as_ref().map(|copy| String::from_utf8_lossy(&copy.remote_name).to_lowercase());
            document.file.to_lowercase().contains(part) || there.is_some_and(|name| name.contains(part))
        };
        self.state.is_none_or(|state| state == document.state)
            && self.name.as_deref().is_none_or(|part| is_named(&part.to_lowercase()))
    }
}

/// A row one of whose needed columns makes no sense.
pub(super) fn bad_row(id: Option<DocumentId>, column: &str, what: &str) -> BadRow {
    let error = NasSyncError::new(ErrorKind::SourceUnreadable, format!("its row is not usable: {column} {what}"))
        .with_solution(format!("Correct {column} of this document in the database, or remove the row."));
    BadRow { id, error }
}

/// The rows that were found among those that were not, by ascending id.
pub(super) fn with_unknown(
    mut rows: Vec<Result<Document, BadRow>>,
    unknown: impl IntoIterator<Item = DocumentId>,
    user: Option<&UserId>,
) -> Vec<Result<Document, BadRow>> {
    let found = rows.len();
    rows.extend(unknown.into_iter().map(|id| Err(not_found(id, user))));
    if rows.len() > found {
        rows.sort_by_cached_key(|row| match row {
            Ok(document) => Some(document.id.clone()),
            Err(bad) => bad.id.clone(),
        });
    }
    rows
}

/// The text of an optional column: one of blanks only is none.
pub(super) fn optional(text: Option<String>) -> Option<String> {
    text.filter(|text| !text.trim().is_empty())
}

impl Document {
    /// With what its row says about days: the columns `date` and `created_at` as text.
    pub(super) fn dated(self, date: Option<String>, created_at: Option<String>) -> Self {
        let day = date.as_deref().and_then(timestamp::parse_date);
        let time = created_at.as_deref().and_then(timestamp::parse);
        let odd_date = match (date, day, created_at, time) {
            (Some(date), None, ..) => Some(("date", date)),
            (None, _, Some(created_at), None) => Some(("created_at", created_at)),
            _ => None,
        };
        Self { date: day, created_at: time, odd_date, ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentages_have_one_decimal() {
        let tenths = |part, total| (percentage(part, total) * 10.0).round();
        assert_eq!(format!("{}", percentage(142, 150)), "94.7");
        assert_eq!(format!("{}", percentage(1, 3)), "33.3");
        assert_eq!(format!("{}", percentage(2, 3)), "66.7");
        assert!(tenths(0, 0).abs() < 0.5);
        assert!((tenths(u64::MAX, u64::MAX) - 1000.0).abs() < 0.5);
    }

    #[test]
    fn everybody_gets_a_share_worth_a_session() {
        assert_eq!((share(5_000, 2_000, 0), share(5_000, 2_000, 4)), (2_000, 1_000));
        assert_eq!((share(10, 2_000, 4), share(10, 5, 4)), (64, 5));
    }
}
