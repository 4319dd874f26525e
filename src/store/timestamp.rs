//! Times as they stand in the database: UTC, `YYYY-MM-DD HH:MM:SS.ffffff`.
//!
//! That is the form which SQLAlchemy and Python's `datetime.fromisoformat` read and write on SQLite. Reading also
//! accepts the forms that other programs leave there; what is not a time gives `None`, never an error.

use chrono::{DateTime, NaiveDate, NaiveDateTime, NaiveTime, Utc};

/// 1970-01-01 00:00 in Julian days.
const UNIX_EPOCH_IN_JULIAN_DAYS: f64 = 2_440_587.5;

/// The stored form, with exactly six digits of fraction (further ones are cut off).
pub fn format(time: DateTime<Utc>) -> String {
    time.format("%Y-%m-%d %H:%M:%S%.6f").to_string()
}

/// Reads a time: date and time parted by a space or `T`, with or without fraction, `Z` or an offset; without one it is
/// UTC. A date alone is its midnight. Numbers are those of other programs: seconds, milliseconds, microseconds or
/// nanoseconds since 1970, whichever lies in our days; `20240203` and `20240203143000`; Julian days with a fraction.
pub fn parse(text: &str) -> Option<DateTime<Utc>> {
    let text = text.trim();
    if text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
        return number(text);
    }
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
    let time = parse(text)?;
    text.get(..10).and_then(whole_date).or_else(|| Some(time.date_naive()))
}

/// A time that is written as a number.
fn number(text: &str) -> Option<DateTime<Utc>> {
    if let ("19" | "20", true) = (text.get(..2)?, matches!(text.len(), 8 | 14) && !text.contains('.')) {
        let date = NaiveDate::parse_from_str(&text[..8], "%Y%m%d").ok()?;
        let time =
            if text.len() == 8 { NaiveTime::MIN } else { NaiveTime::parse_from_str(&text[8..], "%H%M%S").ok()? };
        return Some(date.and_time(time).and_utc());
    }
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if fraction.contains('.') {
        return None;
    }
    let whole: i64 = whole.parse().ok()?;
    match whole {
        // From 1858 to 2131; a day begins at noon.
        2_400_000..2_500_000 if !fraction.is_empty() => {
            let days: f64 = text.parse().ok()?;
            #[expect(clippy::cast_possible_truncation, reason = "it is smaller than 10^13")]
            let milliseconds = ((days - UNIX_EPOCH_IN_JULIAN_DAYS) * 86_400_000.0).round() as i64;
            DateTime::from_timestamp_millis(milliseconds)
        }
        // From 1973 on; what is smaller is no time of a document.
        100_000_000..100_000_000_000 => DateTime::from_timestamp(whole, 0),
        100_000_000_000..100_000_000_000_000 => DateTime::from_timestamp_millis(whole),
        100_000_000_000_000..100_000_000_000_000_000 => DateTime::from_timestamp_micros(whole),
        100_000_000_000_000_000.. => Some(DateTime::from_timestamp_nanos(whole)),
        _ => None,
    }
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
    fn numbers_of_other_programs_are_read() {
        let time = Utc.with_ymd_and_hms(2024, 2, 3, 14, 30, 0).unwrap();
        for text in [
            "1706970600",
            "1706970600.0",
            "1706970600.123",
            "1706970600000",
            "1706970600000000",
            "1706970600000000000",
            "20240203143000",
            "2460344.104166667",
        ] {
            let found = parse(text).unwrap();
            assert!((found - time).num_milliseconds().abs() < 500, "{text}: {found}");
            assert_eq!(parse_date(text), NaiveDate::from_ymd_opt(2024, 2, 3), "{text}");
        }
        assert_eq!(parse_date("20240203"), NaiveDate::from_ymd_opt(2024, 2, 3));
        assert_eq!(parse_date("915148800"), NaiveDate::from_ymd_opt(1999, 1, 1));
    }

    #[test]
    fn what_is_no_time_is_none() {
        for text in [
            "",
            "now",
            "yesterday",
            "2024-13-01 00:00:00",
            "2024-02-30",
            "15/01/2024",
            "2024-01-15é",
            "0",
            "7",
            "45306",
            "20241301",
            "1.2.3",
            ".",
        ] {
            assert_eq!(parse(text), None, "{text}");
            assert_eq!(parse_date(text), None, "{text}");
        }
    }
}
