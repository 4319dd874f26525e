//! What is remembered about each NAS: what it refused and how that is known, so that it is not asked again each time, and
//! a pause.

use chrono::{DateTime, Utc};

use super::schema::PostgresStore;
use super::values::{Value, micros, number, time};
use crate::error::Result;
use crate::proof::Refusal;
use crate::store::model::{Failure, Pause};
use crate::store::policy;

impl PostgresStore {
    /// What this NAS has refused, as far as it is still believed.
    pub fn refusals(&mut self, target: &str, now: DateTime<Utc>) -> Result<Vec<Refusal>> {
        self.read("read what is known about the NAS in", |tx, _| {
            let learnt = micros("learnt_at");
            let sql = format!(
                "SELECT capability, evidence, server, times, {learnt} FROM {{nas_sync_refusals}} r WHERE target = $1"
            );
            let mut refusals = Vec::new();
            for row in tx.query(&sql, &[Value::text(target)])? {
                let (capability, evidence, server): (String, _, _) =
                    (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
                refusals.extend(policy::refusal(&capability, evidence, server, number(&row, 3)?, time(&row, 4)?, now));
            }
            Ok(refusals)
        })
    }

    /// Remembers what this NAS refuses, in place of what was remembered before. What was known keeps its day.
    pub fn remember_refusals(&mut self, target: &str, refusals: &[Refusal], now: DateTime<Utc>) -> Result<()> {
        let known = self.refusals(target, now)?;
        let gone: Vec<_> = known.iter().filter(|known| !refusals.contains(known)).collect();
        let new: Vec<_> = refusals.iter().filter(|refusal| !known.contains(refusal)).collect();
        self.write("remember what the NAS does in", |tx, _| {
            let sql = "DELETE FROM {nas_sync_refusals} WHERE target = $1 AND capability = ANY($2)";
            tx.execute(sql, &[Value::text(target), Value::texts(gone.iter().map(|refusal| refusal.capability.as_str()))])?;
            let sql = "INSERT INTO {nas_sync_refusals} (target, capability, evidence, server, times, learnt_at)
                       SELECT $1, r.*, $6::timestamptz FROM unnest($2::text[], $3::text[], $4::text[], $5::bigint[]) AS r
                       ON CONFLICT (target, capability) DO UPDATE SET evidence = excluded.evidence,
                           server = excluded.server, times = excluded.times, learnt_at = excluded.learnt_at";
            let values = [
                Value::text(target),
                Value::texts(new.iter().map(|refusal| refusal.capability.as_str())),
                Value::texts(new.iter().map(|refusal| &refusal.evidence)),
                Value::texts(new.iter().map(|refusal| &refusal.server)),
                Value::integers(new.iter().map(|refusal| i64::from(refusal.times))),
                Value::time(now),
            ];
            tx.execute(sql, &values)?;
            Ok(())
        })
    }

    /// The place at which all documents are that count as synced; `None`: nothing was recorded yet.
    pub fn place(&mut self) -> Result<Option<String>> {
        self.read("read what is known about the NAS in", |tx, _| {
            let row = tx.first("SELECT value FROM {nas_sync_meta} m WHERE key = 'place'", &[])?;
            Ok(row.map(|row| row.try_get(0)).transpose()?)
        })
    }

    /// Remembers that place.
    pub fn set_place(&mut self, place: &str) -> Result<()> {
        self.write("remember where the documents are in", |tx, _| {
            let sql = "INSERT INTO {nas_sync_meta} (key, value) VALUES ('place', $1)
                       ON CONFLICT (key) DO UPDATE SET value = excluded.value";
            tx.execute(sql, &[Value::text(place)])?;
            Ok(())
        })
    }

    /// The pause of this NAS, also when it is over by now.
    pub fn pause(&mut self, target: &str) -> Result<Option<Pause>> {
        self.read("read what is known about the NAS in", |tx, _| {
            let until = micros("paused_until");
            let sql = format!(
                "SELECT {until}, pause_kind, pause_text, pauses, pause_solution FROM {{nas_sync_targets}} t
                 WHERE target = $1 AND pause_kind IS NOT NULL"
            );
            let Some(row) = tx.first(&sql, &[Value::text(target)])? else { return Ok(None) };
            let text: Option<String> = row.try_get(2)?;
            let failure = Failure { kind: row.try_get(1)?, text: text.unwrap_or_default(), solution: row.try_get(4)? };
            Ok(Some(Pause { until: time(&row, 0)?, failure, count: number(&row, 3)?.unwrap_or(1) }))
        })
    }

    /// When this NAS refused the login: the last few times, the oldest first. A pause that ends, ends them too.
    pub fn refused_logins(&mut self, target: &str) -> Result<Vec<DateTime<Utc>>> {
        self.read("read what is known about the NAS in", |tx, _| {
            let sql = "SELECT coalesce(refused_logins, '') FROM {nas_sync_targets} t WHERE target = $1";
            let row = tx.first(sql, &[Value::text(target)])?;
            let times: String = row.map(|row| row.try_get(0)).transpose()?.unwrap_or_default();
            Ok(policy::refused_logins_in(&times))
        })
    }

    /// Remembers that this NAS refused the login.
    pub fn record_refused_login(&mut self, target: &str, at: DateTime<Utc>) -> Result<()> {
        let last = policy::refused_logins(self.refused_logins(target)?, at);
        self.write("record a refused login in", |tx, _| {
            let sql = "INSERT INTO {nas_sync_targets} (target, refused_logins) VALUES ($1, $2)
                       ON CONFLICT (target) DO UPDATE SET refused_logins = excluded.refused_logins";
            tx.execute(sql, &[Value::text(target), Value::text(&last)])?;
            Ok(())
        })
    }

    /// Sets the pause of this NAS, or ends it.
    pub fn set_pause(&mut self, target: &str, pause: Option<&Pause>) -> Result<()> {
        self.write("record a pause in", |tx, _| {
            let sql = "INSERT INTO {nas_sync_targets} AS t (target, paused_until, pause_kind, pause_text, pauses, pause_solution)
                       VALUES ($1, $2::timestamptz, $3, $4, $5, $6)
                       ON CONFLICT (target) DO UPDATE SET paused_until = excluded.paused_until,
                           refused_logins = CASE WHEN excluded.pause_kind IS NULL THEN NULL ELSE t.refused_logins END,
                           pause_kind = excluded.pause_kind, pause_text = excluded.pause_text, pauses = excluded.pauses,
                           pause_solution = excluded.pause_solution";
            let until = pause.and_then(|pause| pause.until).map_or(Value::Text(None), Value::time);
            let (kind, text) = pause.map(|pause| (&pause.failure.kind, &pause.failure.text)).unzip();
            let count = pause.map_or(0, |pause| i64::from(pause.count));
            let solution = pause.and_then(|pause| pause.failure.solution.as_ref());
            let values = [
                Value::text(target),
                until,
                Value::maybe_text(kind),
                Value::maybe_text(text),
                Value::integer(count),
                Value::maybe_text(solution),
            ];
            tx.execute(sql, &values)?;
            Ok(())
        })
    }
}
