//! Times as they stand in the database: UTC, `YYYY-MM-DD HH:MM:SS.ffffff`.
//!
//! That is the form which SQLAlchemy and Python's `datetime.fromisoformat` read and write on SQLite. Reading also
//! accepts the forms that other programs leave there; what is not a time gives `None`, never an error.

use chrono::{DateTime, NaiveDate, NaiveDateTime, NaiveTime, Utc};

/// The stored form, with exactly six digits of fraction (further ones are cut off).
pub fn format(time: DateTime<Utc>) -> String {
    time.format("%Y-%m-%d %H:%M:%S%.6f").to_string()
}

/// Reads a time: date and time parted by a space or `T`, with or without fraction, `Z` or an offset; without one it is
/// UTC. A date alone is its midnight.
pub fn parse(text: &str) -> Option<DateTime<Utc>> {
    let text = text.trim();
    if let Ok(time) = DateTime::parse_from_rfc3339(text) {
        return Some(time.to_utc());
    }
    ["%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M:%S%.f"]
        .iter()
        .find_map(|form| NaiveDateTime::parse_from_str(text, form).ok())
        .or_else(|| whole_date(text).map(|date| date.and_time(NaiveTime::MIN)))
        .map(|time| time.and_utc())
}

/// Reads the date of a date, or of a time in any form that [`parse`] accepts, as it is written (no change of zone).
pub fn parse_date(text: &str) -> Option<NaiveDate> {
    let text = text.trim();
    parse(text)?;
    whole_date(text.get(..10)?)
}

fn whole_date(text: &str) -> Option<NaiveDate> {
    NaiveDate::parse_from_str(text, "%Y-%m-%d").ok()
}

#[cfg(test)]
mod tests {
    use chrono::{TimeZone as _, Timelike as _};

    use super::*;

    #[test]
    fn the_stored_form_round_trips() {
        let time = Utc.with_ymd_and_hms(2024, 1, 15, 14, 30, 5).unwrap().with_nanosecond(120_000).unwrap();
        assert_eq!(format(time), "2024-01-15 14:30:05.000120");
        assert_eq!(parse(&format(time)), Some(time));
        let whole = Utc.with_ymd_and_hms(2024, 1, 15, 14, 30, 0).unwrap();
        assert_eq!(format(whole), "2024-01-15 14:30:00.000000", "SQLAlchemy needs the fraction even when it is zero");
    }

    #[test]
    fn other_programs_forms_are_read() {
        let time = Utc.with_ymd_and_hms(2024, 1, 15, 14, 30, 0).unwrap();
        for text in [
            "2024-01-15 14:30:00",
            "2024-01-15T14:30:00",
            "2024-01-15T14:30:00Z",
            "2024-01-15 14:30:00Z",
            "2024-01-15T14:30:00.000000",
            "2024-01-15T15:30:00+01:00",
            "2024-01-15 14:30:00+00:00",
            " 2024-01-15 14:30:00.0 ",
        ] {
            assert_eq!(parse(text), Some(time), "{text}");
            assert_eq!(parse_date(text), NaiveDate::from_ymd_opt(2024, 1, 15), "{text}");
        }
        assert_eq!(parse("2024-01-15"), Utc.with_ymd_and_hms(2024, 1, 15, 0, 0, 0).single());
    }

    #[test]
    fn what_is_no_time_is_none() {
        for text in
            ["", "now", "yesterday", "2024-13-01 00:00:00", "2024-02-30", "1705329000", "15/01/2024", "2024-01-15é"]
        {
            assert_eq!(parse(text), None, "{text}");
            assert_eq!(parse_date(text), None, "{text}");
        }
    }
}
