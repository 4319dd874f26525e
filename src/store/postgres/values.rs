//! Values on their way to a statement and out of a row. Only types that PostgreSQL itself brings travel: nothing has to be
//! asked about them first.

use chrono::{DateTime, Utc};
use tokio_postgres::Row;
use tokio_postgres::types::{ToSql, Type};

use super::fault::Fault;
use crate::store::timestamp;

/// A parameter.
#[derive(Debug, Clone)]
pub(super) enum Value {
    Text(Option<String>),
    Integer(Option<i64>),
    Texts(Vec<Option<String>>),
    Blobs(Vec<Option<Vec<u8>>>),
    Integers(Vec<Option<i64>>),
    Truths(Vec<bool>),
}

impl Value {
    /// A text. No text of PostgreSQL's holds a NUL.
    pub fn text(text: impl AsRef<str>) -> Self {
        Self::Text(Some(clean(text.as_ref())))
    }

    pub fn maybe_text<T: AsRef<str>>(text: Option<T>) -> Self {
        Self::Text(text.map(|text| clean(text.as_ref())))
    }

    pub fn texts<T: AsRef<str>>(texts: impl IntoIterator<Item = T>) -> Self {
        Self::Texts(texts.into_iter().map(|text| Some(clean(text.as_ref()))).collect())
    }

    pub fn maybe_texts<T: AsRef<str>>(texts: impl IntoIterator<Item = Option<T>>) -> Self {
        Self::Texts(texts.into_iter().map(|text| text.map(|text| clean(text.as_ref()))).collect())
    }

    pub fn integer(number: impl Into<i64>) -> Self {
        Self::Integer(Some(number.into()))
    }

    pub fn integers(numbers: impl IntoIterator<Item = i64>) -> Self {
        Self::Integers(numbers.into_iter().map(Some).collect())
    }

    pub fn blobs<B: Into<Vec<u8>>>(blobs: impl IntoIterator<Item = B>) -> Self {
        Self::Blobs(blobs.into_iter().map(|blob| Some(blob.into())).collect())
    }

    /// A time for a `timestamptz`.
    pub fn time(time: DateTime<Utc>) -> Self {
        Self::Text(Some(zoned(time)))
    }

    pub(super) fn typed(&self) -> (&(dyn ToSql + Sync), Type) {
        match self {
            Self::Text(text) => (text, Type::TEXT),
            Self::Integer(number) => (number, Type::INT8),
            Self::Texts(texts) => (texts, Type::TEXT_ARRAY),
            Self::Blobs(blobs) => (blobs, Type::BYTEA_ARRAY),
            Self::Integers(numbers) => (numbers, Type::INT8_ARRAY),
            Self::Truths(truths) => (truths, Type::BOOL_ARRAY),
        }
    }
}

fn clean(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}

/// A time with its zone, whatever that of the session is.
pub(super) fn zoned(time: DateTime<Utc>) -> String {
    format!("{}+00", timestamp::format(time))
}

/// A number that PostgreSQL can hold.
pub(super) fn capped(number: impl TryInto<i64>) -> i64 {
    number.try_into().unwrap_or(i64::MAX)
}

/// What a `timestamptz` is selected as: whole microseconds since 1970.
pub(super) fn micros(expression: &str) -> String {
    format!("(extract(epoch FROM {expression}) * 1000000)::bigint")
}

/// A time that was selected so.
pub(super) fn time(row: &Row, at: usize) -> Result<Option<DateTime<Utc>>, Fault> {
    let micros: Option<i64> = row.try_get(at)?;
    Ok(micros.and_then(DateTime::from_timestamp_micros))
}

/// A whole number within the bounds of its type.
pub(super) fn number<N: TryFrom<i64>>(row: &Row, at: usize) -> Result<Option<N>, Fault> {
    let number: Option<i64> = row.try_get(at)?;
    Ok(number.and_then(|number| N::try_from(number).ok()))
}

/// A count.
pub(super) fn count(row: &Row, at: usize) -> Result<u64, Fault> {
    Ok(number(row, at)?.unwrap_or(0))
}
