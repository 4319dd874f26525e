//! A cursor over received bytes. "Not all bytes are here yet" and "these bytes are wrong" are different results.
//!
//! Every decoder of this floor reads one bounded unit through a [`Reader`]. When it answers
//! [`DecodeError::NeedMore`] the caller discards what was read, waits for more bytes and decodes the unit again from
//! its start; so a decoder gives the same result however the bytes were split.

/// Why a unit could not be decoded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The unit may be fine, but its end has not arrived.
    #[error("more bytes are needed")]
    NeedMore,
    /// The unit can never become valid.
    #[error("{field}: {reason}")]
    Malformed {
        /// The field, by the name that the protocol notes use.
        field: &'static str,
        /// What is wrong with it.
        reason: String,
    },
}

impl DecodeError {
    /// A malformed field.
    pub fn malformed(field: &'static str, reason: impl Into<String>) -> Self {
        Self::Malformed { field, reason: reason.into() }
    }
}

/// The result of a decoder.
pub type Decode<T> = Result<T, DecodeError>;

/// The cursor.
#[derive(Debug, Clone)]
pub struct Reader<'a> {
    rest: &'a [u8],
    len: usize,
}

impl<'a> Reader<'a> {
    /// Starts at the first byte.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes, len: bytes.len() }
    }

    /// How many bytes have been read.
    pub fn position(&self) -> usize {
        self.len - self.rest.len()
    }

    /// Takes the next `len` bytes.
    pub fn bytes(&mut self, len: usize) -> Decode<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(len).ok_or(DecodeError::NeedMore)?;
        self.rest = rest;
        Ok(taken)
    }

    /// Takes the next `N` bytes as an array.
    pub fn array<const N: usize>(&mut self) -> Decode<[u8; N]> {
        let (taken, rest) = self.rest.split_first_chunk::<N>().ok_or(DecodeError::NeedMore)?;
        self.rest = rest;
        Ok(*taken)
    }

    /// Takes one byte.
    pub fn u8(&mut self) -> Decode<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    /// Takes a 16-bit little-endian number.
    pub fn u16(&mut self) -> Decode<u16> {
        self.array().map(u16::from_le_bytes)
    }

    /// Takes a 32-bit little-endian number.
    pub fn i32(&mut self) -> Decode<i32> {
        self.array().map(i32::from_le_bytes)
    }

    /// Takes a 64-bit little-endian number.
    pub fn i64(&mut self) -> Decode<i64> {
        self.array().map(i64::from_le_bytes)
    }

    /// Whether every byte has been read.
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Fails when bytes are left over after the last field of a message whose length is known.
    pub fn expect_end(&self, field: &'static str) -> Decode<()> {
        if self.rest.is_empty() {
            return Ok(());
        }
        Err(DecodeError::malformed(field, format!("{} bytes too many", self.rest.len())))
    }
}
