//! Numbers for people: rsync's own way of writing them, and ours.

/// How numbers are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Numbers {
    /// Digits alone (`--no-h`).
    Plain,
    /// With separators of thousands.
    #[default]
    Separated,
    /// `1.23M`, powers of 1000 (`-h`).
    Decimal,
    /// `1.23M`, powers of 1024 (`-hh`).
    Binary,
}

/// A count of bytes or files as rsync writes it.
pub fn count(value: u64, numbers: Numbers) -> String {
    match numbers {
        Numbers::Plain => value.to_string(),
        Numbers::Separated => separated(&value.to_string()),
        Numbers::Decimal => scaled(value, 1000),
        Numbers::Binary => scaled(value, 1024),
    }
}

/// A rate or ratio, with two decimals.
pub fn decimal(value: f64, numbers: Numbers) -> String {
    match numbers {
        Numbers::Plain => format!("{value:.2}"),
        Numbers::Decimal if value >= 1000.0 => scaled(whole(value), 1000),
        Numbers::Binary if value >= 1024.0 => scaled(whole(value), 1024),
        Numbers::Separated | Numbers::Decimal | Numbers::Binary => separated(&format!("{value:.2}")),
    }
}

/// `part / whole` without a division by zero.
#[expect(clippy::cast_precision_loss, reason = "two decimals are shown")]
pub fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "rates are positive and far below 2^63")]
fn whole(value: f64) -> u64 {
    value.round() as u64
}

/// Two decimals and a letter, from one unit on.
fn scaled(value: u64, unit: u64) -> String {
    if value < unit {
        return value.to_string();
    }
    let letters = ['K', 'M', 'G', 'T', 'P', 'E'];
    let mut step = unit;
    let mut at = 0;
    while at + 1 < letters.len() && value / step >= unit {
        step *= unit;
        at += 1;
    }
    format!("{:.2}{}", ratio(value, step), letters[at])
}

/// Commas between thousands of the whole part.
fn separated(number: &str) -> String {
    let (whole, rest) = number.find('.').map_or((number, ""), |at| number.split_at(at));
    let mut text = String::with_capacity(number.len() + number.len() / 3);
    for (at, digit) in whole.chars().enumerate() {
        if at > 0 && (whole.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_rsync_writes_them() {
        assert_eq!(count(1_234_574, Numbers::Separated), "1,234,574");
        assert_eq!(count(999, Numbers::Separated), "999");
        assert_eq!(count(100_000, Numbers::Separated), "100,000");
        assert_eq!(count(1_234_574, Numbers::Plain), "1234574");
        assert_eq!(count(1_234_574, Numbers::Decimal), "1.23M");
        assert_eq!(count(4801, Numbers::Decimal), "4.80K");
        assert_eq!(count(1024, Numbers::Binary), "1.00K");
        assert_eq!(count(12, Numbers::Decimal), "12");
        assert_eq!(count(u64::MAX, Numbers::Binary), "16.00E");
        assert_eq!(decimal(823_539.33, Numbers::Separated), "823,539.33");
        assert_eq!(decimal(106.02, Numbers::Decimal), "106.02");
        assert_eq!(decimal(23_290.0, Numbers::Decimal), "23.29K");
        assert_eq!(decimal(ratio(3, 0), Numbers::Plain), "0.00");
    }
}
