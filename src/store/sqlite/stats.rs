//! Statistics of the documents, from one look at each row and so from one state of the database. Nobody keeps the sums: triggers
//! would, and do not see all that others do to the table.

use chrono::{DateTime, Utc};
use rusqlite::params_from_iter;
use rusqlite::types::{Value, ValueRef};

use super::connection::SqliteStore;
use super::pending_index::IS_SYNCED;
use super::{documents, schema};
use crate::error::Result;
use crate::id::UserId;
use crate::store::model::{Selection, SyncStats};
use crate::store::{policy, timestamp};

impl SqliteStore {
    /// Statistics of one user, or of all.
    pub fn stats(&self, user: Option<UserId>) -> Result<SyncStats> {
        self.count(&user.map_or_else(Selection::all, Selection::of_user)).map_err(self.fault("count the documents of"))
    }

    fn count(&self, selection: &Selection) -> rusqlite::Result<SyncStats> {
        let (condition, values) = documents::condition(selection);
        let table = &self.table;
        // Downwards, because the last rows are mostly the last ones synced: then few times need be read.
        let order = if schema::id_is_rowid(&self.conn, table)? { "ORDER BY d.id DESC" } else { "" };
        let mut statement = self.conn.prepare(&format!(
            "SELECT CASE WHEN {IS_SYNCED} THEN NULL ELSE EXISTS (
                 SELECT 1 FROM nas_sync_documents s
                 WHERE s.document_id = d.id AND s.last_error_kind IS NOT NULL AND {}) END, d.synced_at
             FROM {table} d WHERE {condition} {order}",
            table.is_about()
        ))?;
        let mut rows = statement.query(params_from_iter(&values))?;
        let (mut total, mut synced, mut failed, mut last) = (0, 0, 0, Last::default());
        while let Some(row) = rows.next()? {
            total += 1;
            let has_failed: Option<bool> = row.get(0)?;
            if let Some(has_failed) = has_failed {
                failed += u64::from(has_failed);
                continue;
            }
            synced += 1;
            if let ValueRef::Text(text) = row.get_ref(1)? {
                last.see(text);
            }
        }
        // A document that is pending again was synced all the same.
        let sql = format!(
            "SELECT max(a.started_at) FROM nas_sync_attempts a JOIN {table} d ON d.id = a.document_id
             WHERE {condition} AND a.outcome = 'synced' AND a.started_at > ?"
        );
        let after = Value::Text(last.time.map_or_else(String::new, timestamp::format));
        let attempt: Option<String> =
            self.conn.query_row(&sql, params_from_iter(values.iter().chain([&after])), |row| row.get(0))?;
        let last_sync = last.time.max(attempt.as_deref().and_then(timestamp::parse));
        Ok(policy::stats(total, synced, failed, last_sync))
    }
}

/// The last of times that are shown to it.
#[derive(Default)]
struct Last {
    time: Option<DateTime<Utc>>,
    /// As it stands in its row, where it is plain.
    text: Vec<u8>,
}

impl Last {
    fn see(&mut self, text: &[u8]) {
        // Most rows are passed by here: to read a time takes longer than all else.
        if text.get(10) == self.text.get(10) && text <= self.text.as_slice() && is_plain(text) {
            return;
        }
        let time = str::from_utf8(text).ok().and_then(timestamp::parse);
        if time > self.time {
            self.time = time;
            self.text.clear();
            if is_plain(text) {
                self.text.extend_from_slice(text);
            }
        }
    }
}

/// Whether a text is a date and a time with digits alone in all their places, and without a zone: such texts are in the order of
/// their times.
fn is_plain(text: &[u8]) -> bool {
    let is_right = |(at, byte): (usize, &u8)| match at {
        4 | 7 => *byte == b'-',
        10 => matches!(byte, b' ' | b'T'),
        13 | 16 => *byte == b':',
        19 => *byte == b'.',
        _ => byte.is_ascii_digit(),
    };
    text.len() >= 19 && text.iter().enumerate().all(is_right)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_time_is_the_last_in_whatever_form_and_order() {
        let mut texts = [
            "2024-01-15 14:30:00.000001",
            "2024-01-15 14:30:00",
            "2024-01-15T14:29:00",
            "2024-01-15T14:30:00.5",
            "2024-01-15 16:30:00+02:00",
            "2024-01-15 10:30:01-04:00",
            " 2024-01-15 14:30:03 ",
            "9999-99-99 99:99:99",
            "2024-01-15",
            "1705329004",
            "20240115143002",
            "later",
            "",
        ];
        for _ in 0..texts.len() {
            for _ in 0..2 {
                for some in 1..=texts.len() {
                    let texts = &texts[..some];
                    let mut last = Last::default();
                    for text in texts {
                        last.see(text.as_bytes());
                    }
                    assert_eq!(last.time, texts.iter().filter_map(|text| timestamp::parse(text)).max(), "{texts:?}");
                }
                texts.reverse();
            }
            texts.rotate_left(1);
        }
    }
}
