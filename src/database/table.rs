//! The name of a table, as SQL writes it.

use std::fmt;

use crate::error::{ErrorKind, NasSyncError, Result};

/// A table, and where it was named its schema: `documents`, `app.documents`, `"Odd Name"`. What is not quoted counts in
/// lower case, as in SQL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableName {
    pub(crate) schema: Option<String>,
    pub(crate) name: String,
}

impl TableName {
    /// Reads a name. Fails with `Usage` when it is none.
    pub fn parse(text: &str) -> Result<Self> {
        let wrong = || {
            let message = format!("{text:?} is no name of a table");
            let solution = "Write documents, schema.documents, or a quoted name such as \"Odd Name\".";
            NasSyncError::new(ErrorKind::Usage, message).with_solution(solution)
        };
        let (first, rest) = identifier(text.trim()).ok_or_else(wrong)?;
        if rest.is_empty() {
            return Ok(Self { schema: None, name: first });
        }
        let rest = rest.strip_prefix('.').ok_or_else(wrong)?;
        match identifier(rest) {
            Some((name, "")) => Ok(Self { schema: Some(first), name }),
            _ => Err(wrong()),
        }
    }
}

impl TableName {
    /// The schema, where one is named.
    pub fn schema(&self) -> Option<&str> {
        self.schema.as_deref()
    }

    /// The table's own name, without quotes.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl Default for TableName {
    /// `documents`, wherever it is found.
    fn default() -> Self {
        Self { schema: None, name: "documents".to_owned() }
    }
}

impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(schema) = &self.schema {
            write!(f, "{}.", quoted(schema))?;
        }
        f.write_str(&quoted(&self.name))
    }
}

/// A name as it stands in a statement.
pub(crate) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// One name at the start of a text, and what follows.
fn identifier(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let is_part = |c: char| c.is_alphanumeric() || matches!(c, '_' | '$');
        let end = text.find(|c| !is_part(c)).unwrap_or(text.len());
        let (name, rest) = text.split_at(end);
        let starts_well = name.starts_with(|c: char| c.is_alphabetic() || c == '_');
        return starts_well.then(|| (name.to_lowercase(), rest));
    };
    let mut name = String::new();
    let mut rest = quoted;
    loop {
        let (part, after) = rest.split_once('"')?;
        name.push_str(part);
        rest = after;
        match rest.strip_prefix('"') {
            Some(more) => {
                name.push('"');
                rest = more;
            }
            None => return (!name.is_empty() && !name.contains('\0')).then_some((name, rest)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_sql_reads_them() {
        for (text, shown) in [
            ("documents", "\"documents\""),
            ("Documents", "\"documents\""),
            (" app.documents ", "\"app\".\"documents\""),
            ("\"Odd Name\"", "\"Odd Name\""),
            ("app.\"a.b\"", "\"app\".\"a.b\""),
            ("\"a\"\"b\".c", "\"a\"\"b\".\"c\""),
        ] {
            assert_eq!(TableName::parse(text).unwrap().to_string(), shown, "{text}");
        }
        for text in ["", "a b", "a.", ".a", "a.b.c", "\"a", "\"\"", "1a", "a;b", "a-b"] {
            assert_eq!(TableName::parse(text).unwrap_err().kind(), ErrorKind::Usage, "{text}");
        }
    }
}
