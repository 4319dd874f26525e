//! How many sessions send side by side.

use std::fmt;

/// The most sessions that can be asked for.
pub(crate) const MOST: u16 = 64;

/// How many sessions send documents side by side over one login, within what the server opens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Jobs {
    /// One, and up to two beside it while that is measured to pay.
    Auto,
    /// So many, from 1 to 64.
    Number(u16),
}

impl From<u16> for Jobs {
    fn from(number: u16) -> Self {
        Self::Number(number.clamp(1, MOST))
    }
}

impl fmt::Display for Jobs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Number(number) => number.fmt(f),
        }
    }
}
