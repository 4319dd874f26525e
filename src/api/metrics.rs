//! What Prometheus scrapes: the figures of the loop, as text of its format 0.0.4.
//!
//! Guarantees: counters stand there from the start with 0, so that the first failure is an increase; no foreign text is in it.
//! Never: a document's name, a host, a label that grows without bound.

use std::fmt::{Display, Write as _};

use chrono::{DateTime, Utc};

use crate::error::ErrorKind;
use crate::watch::metrics::Figures;

/// The media type of [`text`].
pub const MEDIA_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The text at a moment.
pub fn text(figures: &Figures, now: DateTime<Utc>) -> String {
    let mut out = Text(String::new());
    let backlog = &figures.backlog;
    let age = backlog.oldest.map_or(0, |oldest| (now - oldest).num_seconds().max(0));
    out.gauge("up", "1 while watch can go on by itself, 0 when a person has to act.", u8::from(figures.up));
    out.gauge(
        "last_success_timestamp_seconds",
        "When a document was stored last, in seconds since 1970; 0: never.",
        figures.last_success.map_or(0, |time| time.timestamp()),
    );
    out.gauge("pending_documents", "Documents that are not on the NAS yet.", backlog.pending);
    out.gauge("waiting_documents", "Pending documents that failed and are tried again later.", backlog.waiting);
    out.gauge("failed_documents", "Pending documents that are not tried again by themselves.", backlog.failed);
    out.gauge(
        "oldest_pending_age_seconds",
        "Age of the oldest pending document that has not failed for good; 0: there is none.",
        age,
    );
    out.gauge(
        "paused",
        "1 while nothing is sent although documents are due: the NAS is away, full or refuses.",
        u8::from(figures.paused),
    );
    out.counter("sent_bytes_total", "Bytes written to the NAS.", figures.sent_bytes);
    out.counter("synced_documents_total", "Documents stored on the NAS.", figures.synced);
    out.head("failures_total", "counter", "Failures of documents and of runs, by kind of error.");
    for kind in ErrorKind::ALL {
        let count = figures.failures.get(kind).copied().unwrap_or(0);
        out.sample(&format!("failures_total{{kind=\"{kind}\"}}"), count);
    }
    out.0
}

struct Text(String);

impl Text {
    fn gauge(&mut self, name: &str, help: &str, value: impl Display) {
        self.head(name, "gauge", help);
        self.sample(name, value);
    }

    fn counter(&mut self, name: &str, help: &str, value: impl Display) {
        self.head(name, "counter", help);
        self.sample(name, value);
    }

    fn head(&mut self, name: &str, kind: &str, help: &str) {
        // Writing to a String has no error to report.
        let _ = writeln!(self.0, "# HELP nas_sync_{name} {help}\n# TYPE nas_sync_{name} {kind}");
    }

    fn sample(&mut self, series: &str, value: impl Display) {
        let _ = writeln!(self.0, "nas_sync_{series} {value}");
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use chrono::TimeZone as _;

    use super::*;
    use crate::watch::metrics::Backlog;

    fn samples(text: &str) -> HashMap<&str, u64> {
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        lines.map(|line| line.rsplit_once(' ').unwrap()).map(|(name, value)| (name, value.parse().unwrap())).collect()
    }

    #[test]
    fn every_figure_has_its_place() {
        let noon = Utc.with_ymd_and_hms(2024, 1, 15, 12, 0, 0).unwrap();
        let mut figures = Figures {
            backlog: Backlog { pending: 8, waiting: 2, failed: 1, oldest: Some(noon) },
            last_success: Some(noon),
            up: true,
            paused: true,
            sent_bytes: u64::MAX,
            synced: 142,
            ..Figures::default()
        };
        figures.count_failure(ErrorKind::DiskFull);
        figures.count_failure(ErrorKind::DiskFull);
        let text = text(&figures, noon + chrono::Duration::seconds(90));
        let samples = samples(&text);
        for (name, value) in [
            ("up", 1),
            ("last_success_timestamp_seconds", 1_705_320_000),
            ("pending_documents", 8),
            ("waiting_documents", 2),
            ("failed_documents", 1),
            ("oldest_pending_age_seconds", 90),
            ("paused", 1),
            ("sent_bytes_total", u64::MAX),
            ("synced_documents_total", 142),
            ("failures_total{kind=\"disk_full\"}", 2),
            ("failures_total{kind=\"login_refused\"}", 0),
        ] {
            assert_eq!(samples[format!("nas_sync_{name}").as_str()], value, "{name}");
        }
        assert_eq!(samples.len(), 9 + ErrorKind::ALL.len());
        assert!(text.ends_with('\n'));
        // Each metric is announced once, directly before its samples.
        let mut announced = Vec::new();
        for line in text.lines() {
            if let Some(name) = line.strip_prefix("# TYPE ") {
                announced.push(name.split(' ').next().unwrap());
            } else if !line.starts_with('#') {
                assert_eq!(line.split(['{', ' ']).next().unwrap(), *announced.last().unwrap());
            }
        }
        assert_eq!(announced.len(), 10);
    }

    #[test]
    fn before_anything_happened_all_is_zero() {
        let now = Utc.with_ymd_and_hms(2024, 1, 15, 12, 0, 0).unwrap();
        assert!(samples(&text(&Figures::default(), now)).values().all(|&value| value == 0));
        let ahead = Backlog { oldest: Some(now + chrono::Duration::hours(2)), ..Backlog::default() };
        let figures = Figures { backlog: ahead, ..Figures::default() };
        assert_eq!(samples(&text(&figures, now))["nas_sync_oldest_pending_age_seconds"], 0, "a clock that is ahead");
    }
}
