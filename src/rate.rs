//! rsync's sizes, and how many bytes may be sent in a second.

use std::fmt;
use std::num::NonZeroU64;

/// What a rate is rounded to, and counted in where it has no unit.
const KIB: u64 = 1024;

/// A bound on what is sent, in bytes a second: whole KiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate(NonZeroU64);

impl Rate {
    /// Reads the form of rsync's `--bwlimit`: KiB, or with a unit such as `1.5m` or `2MB`, rounded to whole KiB. `Some(None)` is no
    /// bound, which is 0; `None` is no rate: what is not a number, and less than half a KiB.
    pub fn parse(text: &str) -> Option<Option<Self>> {
        let has_unit = text.ends_with(|c: char| c.is_ascii_alphabetic());
        let bytes = if has_unit { size(text) } else { size(&format!("{text}K")) }?;
        match bytes {
            0 => Some(None),
            1..512 => None,
            _ => NonZeroU64::new((bytes.checked_add(KIB / 2)? / KIB) * KIB).map(|rate| Some(Self(rate))),
        }
    }

    /// Bytes in a second.
    pub fn bytes(self) -> u64 {
        self.0.get()
    }

    /// KiB in a second.
    pub(crate) fn kib(self) -> u64 {
        self.bytes() / KIB
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} KiB/s", self.kib())
    }
}

/// A size as rsync reads it: bytes, or with a letter for a power of 1024 (`1.5M`, `1.5MiB`) or of 1000 (`1.5MB`); `+1` or `-1`
/// behind it is one byte more or less.
pub(crate) fn size(text: &str) -> Option<u64> {
    let (text, shift) = match text.len().checked_sub(2).map(|at| text.split_at_checked(at)) {
        Some(Some((number, "+1"))) => (number, 1),
        Some(Some((number, "-1"))) => (number, -1),
        _ => (text, 0),
    };
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = text[digits.len()..].to_ascii_uppercase();
    let (letter, base) = match unit.strip_suffix('B') {
        Some(letter) if letter.len() == 1 => (letter.to_owned(), 1000_u64),
        Some("") => (String::new(), 1),
        _ => (unit.trim_end_matches("IB").to_owned(), 1024),
    };
    let power = if letter.is_empty() { 0 } else { u32::try_from("KMGTPE".find(&letter)?).ok()? + 1 };
    let unit = base.checked_pow(power)?;
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    if whole.is_empty() && fraction.is_empty() || !(whole.bytes().chain(fraction.bytes())).all(|c| c.is_ascii_digit()) {
        return None;
    }
    let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let mut part = 0_u128;
    for digit in fraction.bytes().rev() {
        part = (part + u128::from(digit - b'0') * u128::from(unit)) / 10;
    }
    whole.checked_mul(unit)?.checked_add(u64::try_from(part).ok()?)?.checked_add_signed(shift)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_as_rsync_reads_them() {
        let rate = |text| Rate::parse(text).map(|rate| rate.map(Rate::bytes));
        for (text, expected) in [
            ("1", 1024),
            ("100", 102_400),
            ("1.5", 2048),
            ("1.4", 1024),
            ("0.5", 1024),
            ("1.5m", 1_572_864),
            ("2MB", 1953 * 1024),
            ("700b", 1024),
            ("1g", 1 << 30),
        ] {
            assert_eq!(rate(text), Some(Some(expected)), "{text}");
        }
        assert_eq!((rate("0"), rate("0m")), (Some(None), Some(None)));
        for text in ["", "-1", "fast", "0.4", "511b", "1q", "9999999999999g"] {
            assert_eq!(rate(text), None, "{text}");
        }
    }
}
