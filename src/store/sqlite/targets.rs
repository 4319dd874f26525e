//! What is remembered about each NAS: what it refused and how that is known, so that it is not asked again each time, and
//! a pause.
//!
//! A refusal is forgotten after a month, because firmware is updated.

use chrono::{DateTime, Utc};
use rusqlite::{OptionalExtension as _, Row};

use super::connection::SqliteStore;
use super::values;
use crate::error::Result;
use crate::proof::Refusal;
use crate::store::model::{Failure, Pause};
use crate::store::{policy, timestamp};

impl SqliteStore {
    /// What this NAS has refused, as far as it is still believed.
    pub fn refusals(&self, target: &str, now: DateTime<Utc>) -> Result<Vec<Refusal>> {
        let read = || {
            let mut rows = self.conn.prepare(
                "SELECT capability, evidence, server, times, learnt_at FROM nas_sync_refusals WHERE target = ?1",
            )?;
            let rows = rows.query_map([target], |row| read_refusal(row, now))?;
            rows.filter_map(Result::transpose).collect::<rusqlite::Result<_>>()
        };
        read().map_err(self.fault("read what is known about the NAS in"))
    }

    /// Remembers what this NAS refuses, in place of what was remembered before. What was known keeps its day.
    pub fn remember_refusals(&mut self, target: &str, refusals: &[Refusal], now: DateTime<Utc>) -> Result<()> {
        let known: Vec<Refusal> = self.refusals(target, now)?;
        self.write("remember what the NAS does in", |tx, _| {
            for gone in known.iter().filter(|known| !refusals.contains(known)) {
                tx.execute(
                    "DELETE FROM nas_sync_refusals WHERE target = ?1 AND capability = ?2",
                    (target, gone.capability.as_str()),
                )?;
            }
            for new in refusals.iter().filter(|refusal| !known.contains(refusal)) {
                tx.execute(
                    "INSERT OR REPLACE INTO nas_sync_refusals (target, capability, evidence, server, times, learnt_at)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
                    (
                        target,
                        new.capability.as_str(),
                        &new.evidence,
                        &new.server,
                        i64::from(new.times),
                        timestamp::format(now),
                    ),
                )?;
            }
            Ok(())
        })
    }

    /// The place at which all documents are that count as synced; `None`: nothing was recorded yet.
    pub fn place(&self) -> Result<Option<String>> {
        let read = || {
            let sql = "SELECT value FROM nas_sync_meta WHERE key = 'place'";
            self.conn.query_row(sql, [], |row| values::text(row, 0)).optional().map(Option::flatten)
        };
        read().map_err(self.fault("read what is known about the NAS in"))
    }

    /// Remembers that place.
    pub fn set_place(&mut self, place: &str) -> Result<()> {
        self.write("remember where the documents are in", |tx, _| {
            tx.execute(
                "INSERT INTO nas_sync_meta (key, value) VALUES ('place', ?1)
                 ON CONFLICT (key) DO UPDATE SET value = excluded.value",
                [place],
            )
            .map(drop)
        })
    }

    /// The pause of this NAS, also when it is over by now.
    pub fn pause(&self, target: &str) -> Result<Option<Pause>> {
        let read = || {
            self.conn
                .query_row(
                    "SELECT paused_until, pause_kind, pause_text, pauses, pause_solution FROM nas_sync_targets
                     WHERE target = ?1 AND pause_kind IS NOT NULL",
                    [target],
                    |row| {
                        let until = values::text(row, 0)?.as_deref().and_then(timestamp::parse);
                        let Some(kind) = values::text(row, 1)? else { return Ok(None) };
                        let text = values::text(row, 2)?.unwrap_or_default();
                        let count = values::number(row, 3)?.unwrap_or(1);
                        let failure = Failure { kind, text, solution: values::text(row, 4)? };
                        Ok(Some(Pause { until, failure, count }))
                    },
                )
                .optional()
                .map(Option::flatten)
        };
        read().map_err(self.fault("read what is known about the NAS in"))
    }

    /// When this NAS refused the login: the last few times, the oldest first. A pause that ends, ends them too.
    pub fn refused_logins(&self, target: &str) -> Result<Vec<DateTime<Utc>>> {
        let read = || {
            self.conn
                .query_row("SELECT refused_logins FROM nas_sync_targets WHERE target = ?1", [target], |row| {
                    values::text(row, 0)
                })
                .optional()
        };
        let times = read().map_err(self.fault("read what is known about the NAS in"))?.flatten().unwrap_or_default();
        Ok(policy::refused_logins_in(&times))
    }

    /// Remembers that this NAS refused the login.
    pub fn record_refused_login(&mut self, target: &str, at: DateTime<Utc>) -> Result<()> {
        let last = policy::refused_logins(self.refused_logins(target)?, at);
        self.write("record a refused login in", |tx, _| {
            tx.execute(
                "INSERT INTO nas_sync_targets (target, refused_logins) VALUES (?1, ?2)
                 ON CONFLICT (target) DO UPDATE SET refused_logins = excluded.refused_logins",
                (target, last),
            )?;
            Ok(())
        })
    }

    /// Sets the pause of this NAS, or ends it.
    pub fn set_pause(&mut self, target: &str, pause: Option<&Pause>) -> Result<()> {
        let until = pause.and_then(|pause| pause.until).map(timestamp::format);
        let (kind, text) = pause.map(|pause| (&pause.failure.kind, &pause.failure.text)).unzip();
        let solution = pause.and_then(|pause| pause.failure.solution.as_deref());
        self.write("record a pause in", |tx, _| {
            tx.execute(
                "INSERT INTO nas_sync_targets (target, paused_until, pause_kind, pause_text, pauses, pause_solution)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6)
                 ON CONFLICT (target) DO UPDATE SET paused_until = excluded.paused_until,
                     refused_logins = CASE WHEN excluded.pause_kind IS NULL THEN NULL ELSE refused_logins END,
                     pause_kind = excluded.pause_kind, pause_text = excluded.pause_text, pauses = excluded.pauses,
                     pause_solution = excluded.pause_solution",
                (target, until, kind, text, pause.map_or(0, |pause| pause.count), solution),
            )?;
            Ok(())
        })
    }
}

/// `None` for one that makes no sense or is too old.
fn read_refusal(row: &Row<'_>, now: DateTime<Utc>) -> rusqlite::Result<Option<Refusal>> {
    let learnt = values::text(row, 4)?.as_deref().and_then(timestamp::parse);
    let name = values::text(row, 0)?.unwrap_or_default();
    let (evidence, server) = (values::text(row, 1)?.unwrap_or_default(), values::text(row, 2)?.unwrap_or_default());
    Ok(policy::refusal(&name, evidence, server, values::number(row, 3)?, learnt, now))
}
