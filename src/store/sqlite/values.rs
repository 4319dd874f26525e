//! Values of our own tables as they really stand there: SQLite lets any column hold any type, and a damaged page, a tool
//! or a person may have left anything in them.
//!
//! Guarantees: a value that makes no sense is as good as none, so that it costs what its own row says and never the others.

use rusqlite::Row;
use rusqlite::types::ValueRef;

/// A whole number.
pub(super) fn integer(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<i64>> {
    Ok(match row.get_ref(column)? {
        ValueRef::Integer(number) => Some(number),
        _ => None,
    })
}

/// A whole number within the bounds of its type.
pub(super) fn number<N: TryFrom<i64>>(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<N>> {
    Ok(integer(row, column)?.and_then(|number| N::try_from(number).ok()))
}

/// A truth as SQL sees it, where it is a number.
pub(super) fn is_true(row: &Row<'_>, column: usize) -> rusqlite::Result<bool> {
    Ok(integer(row, column)?.is_some_and(|number| number != 0))
}

/// A text.
pub(super) fn text(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<String>> {
    Ok(match row.get_ref(column)? {
        ValueRef::Text(bytes) => str::from_utf8(bytes).ok().map(ToOwned::to_owned),
        _ => None,
    })
}

/// Bytes.
pub(super) fn blob(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<Vec<u8>>> {
    Ok(match row.get_ref(column)? {
        ValueRef::Blob(bytes) => Some(bytes.to_vec()),
        _ => None,
    })
}
