//! Text that must not be seen.

use std::fmt;

use zeroize::Zeroizing;

/// A secret: wiped from memory when dropped, and without a shape in `Debug`.
///
/// The process environment, which the operating system keeps, may still hold a copy.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Takes the text over.
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// The text itself.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}
