//! What a document is called on the NAS: `flat`, `tree`, or a template (`NAS_LAYOUT`).
//!
//! Guarantees: the result is a [`RemoteName`]; only a slash that the template itself has makes a folder (and those of
//! `{path}`, which is a path on purpose), so no value in the database can place a document elsewhere; the same facts
//! always give the same name. File names keep their bytes, also when they are not UTF-8. What lacks a value is refused
//! by name instead of being guessed.

use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use chrono::{Datelike as _, NaiveDate};

use crate::error::{ErrorKind, NasSyncError, Result};
use crate::id::{DocumentId, UserId};
use crate::tree::RemoteName;
use crate::wire::server_args::PARTIAL_DIR;

const ACCEPTED: &str = "flat, tree, or a template of {id} {user_id} {year} {month} {day} {type} {name} {path}, \
    for example {year}/{month}/{id}_{name}";

/// What is known about a document, besides its file.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct DocumentFacts<'a> {
    /// `documents.id`.
    pub id: &'a DocumentId,
    /// `documents.user_id`.
    pub user_id: &'a UserId,
    /// `documents.file_path`, absolute or relative.
    pub path: &'a Path,
    /// `documents.original_name`: what the person who uploaded it called it.
    pub original_name: Option<&'a str>,
    /// `documents.doc_type`: a word such as `invoice`.
    pub doc_type: Option<&'a str>,
    /// `documents.file_type`: often a MIME type; counts where `doc_type` is missing.
    pub file_type: Option<&'a str>,
    /// `documents.date`: the date on the document.
    pub date: Option<NaiveDate>,
    /// The day of `documents.created_at`, in UTC; counts where `date` is missing.
    pub created: Option<NaiveDate>,
    /// The column that counts and its text, where that is no date that is understood. None of the others counts then: the
    /// document would lie under a wrong year.
    pub odd_date: Option<(&'a str, &'a str)>,
}

impl<'a> DocumentFacts<'a> {
    /// What must be known; the rest can be set.
    pub fn new(id: &'a DocumentId, user_id: &'a UserId, path: &'a Path) -> Self {
        Self {
            id,
            user_id,
            path,
            original_name: None,
            doc_type: None,
            file_type: None,
            date: None,
            created: None,
            odd_date: None,
        }
    }
}

/// What is known of a document's file.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct FileFacts<'a> {
    /// Its path relative to `UPLOAD_DIR`, when that is set; see [`crate::tree::HeldFolder::relative`].
    pub below_root: Option<&'a Path>,
    /// The day of its mtime, in UTC; counts where the document has no date.
    pub modified: Option<NaiveDate>,
}

/// A rule that gives each document its name on the NAS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout(Rule);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Rule {
    Flat,
    Tree,
    Template(Vec<Piece>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    Value(Placeholder),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Placeholder {
    Id,
    UserId,
    Year,
    Month,
    Day,
    Type,
    Name,
    Path,
}

impl Placeholder {
    const ALL: [(&str, Self); 8] = [
        ("id", Self::Id),
        ("user_id", Self::UserId),
        ("year", Self::Year),
        ("month", Self::Month),
        ("day", Self::Day),
        ("type", Self::Type),
        ("name", Self::Name),
        ("path", Self::Path),
    ];

    fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|&(known, _)| known == name).map(|(_, placeholder)| placeholder)
    }
}

impl Layout {
    /// Whether a name may lie in a folder below the destination.
    pub fn makes_folders(&self) -> bool {
        match &self.0 {
            Rule::Flat => false,
            Rule::Tree => true,
            Rule::Template(pieces) => pieces.iter().any(|piece| match piece {
                Piece::Text(text) => text.contains('/'),
                Piece::Value(value) => *value == Placeholder::Path,
            }),
        }
    }

    /// Reads `flat`, `tree` or a template. Fails with `Usage` for anything that can give no valid name, or one name
    /// to every document.
    pub fn parse(text: &str) -> Result<Self> {
        match text {
            "flat" => return Ok(Self(Rule::Flat)),
            "tree" => return Ok(Self(Rule::Tree)),
            _ => {}
        }
        let pieces = pieces(text)?;
        let distinct = [Placeholder::Id, Placeholder::Name, Placeholder::Path];
        if !distinct.iter().any(|&placeholder| pieces.contains(&Piece::Value(placeholder))) {
            return Err(usage(text, "it has none of {id}, {name} and {path}, so documents would overwrite each other"));
        }
        // Slashes and dots of the template itself are wrong for every document or for none.
        let sample: String =
            pieces.iter().map(|piece| if let Piece::Text(text) = piece { text.as_str() } else { "x" }).collect();
        if let Err(fault) = RemoteName::check(sample.as_bytes()) {
            return Err(usage(text, &format!("the name on the NAS cannot be used, {fault}")));
        }
        Ok(Self(Rule::Template(pieces)))
    }

    /// Whether names depend on a document's path below `UPLOAD_DIR`, so that it must be set.
    pub fn needs_root(&self) -> bool {
        match &self.0 {
            Rule::Flat => false,
            Rule::Tree => true,
            Rule::Template(pieces) => pieces.contains(&Piece::Value(Placeholder::Path)),
        }
    }

    /// Whether a name depends on the date of the document's file.
    pub(super) fn needs_file_date(&self, document: &DocumentFacts<'_>) -> bool {
        let dates = [Placeholder::Year, Placeholder::Month, Placeholder::Day];
        let is_dated = |piece: &Piece| matches!(piece, Piece::Value(value) if dates.contains(value));
        let known = document.date.is_some() || document.created.is_some() || document.odd_date.is_some();
        !known && matches!(&self.0, Rule::Template(pieces) if pieces.iter().any(is_dated))
    }

    /// The document's name. Fails with `NameUnsendable` where a value is missing or the name breaks a rule, and with
    /// `Usage` where the layout needs `UPLOAD_DIR` and `below_root` is missing.
    pub(super) fn name_for(&self, document: &DocumentFacts<'_>, file: &FileFacts<'_>) -> Result<RemoteName> {
        let mut name = Vec::new();
        match &self.0 {
            Rule::Flat => name.extend_from_slice(base_name(document)?),
            Rule::Tree => name.extend_from_slice(below_root(file)?),
            Rule::Template(pieces) => {
                for piece in pieces {
                    match piece {
                        Piece::Text(text) => name.extend_from_slice(text.as_bytes()),
                        Piece::Value(placeholder) => write_value(&mut name, *placeholder, document, file)?,
                    }
                }
            }
        }
        let name = RemoteName::new(name)?;
        if name.as_bytes().split(|&byte| byte == b'/').any(|part| part == PARTIAL_DIR.as_bytes()) {
            // rsync keeps interrupted files in a folder of this name, and removes what stands in its way.
            let message = format!("its name on the NAS holds {PARTIAL_DIR}, which rsync needs for itself");
            return Err(NasSyncError::new(ErrorKind::NameUnsendable, message));
        }
        Ok(name)
    }
}

fn pieces(text: &str) -> Result<Vec<Piece>> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find(['{', '}']) {
        let (before, from) = rest.split_at(at);
        if !before.is_empty() {
            pieces.push(Piece::Text(before.to_owned()));
        }
        let Some(inner) = from.strip_prefix('{') else {
            return Err(usage(text, "a } has no { before it"));
        };
        let Some((name, after)) = inner.split_once('}') else {
            return Err(usage(text, "a { has no } after it"));
        };
        let Some(placeholder) = Placeholder::named(name) else {
            return Err(usage(text, &format!("{{{name}}} is not known")));
        };
        pieces.push(Piece::Value(placeholder));
        rest = after;
    }
    if !rest.is_empty() {
        pieces.push(Piece::Text(rest.to_owned()));
    }
    Ok(pieces)
}

fn usage(text: &str, why: &str) -> NasSyncError {
    NasSyncError::new(ErrorKind::Usage, format!("The layout \"{text}\" is not understood: {why}"))
        .with_solution(format!("Set NAS_LAYOUT to {ACCEPTED}."))
}

fn write_value(
    name: &mut Vec<u8>,
    placeholder: Placeholder,
    document: &DocumentFacts<'_>,
    file: &FileFacts<'_>,
) -> Result<()> {
    match placeholder {
        Placeholder::Id => name.extend(document.id.to_string().bytes()),
        Placeholder::UserId => name.extend(document.user_id.to_string().bytes()),
        Placeholder::Year => name.extend(format!("{:04}", date(document, file, "{year}")?.year()).bytes()),
        Placeholder::Month => name.extend(format!("{:02}", date(document, file, "{month}")?.month()).bytes()),
        Placeholder::Day => name.extend(format!("{:02}", date(document, file, "{day}")?.day()).bytes()),
        Placeholder::Type => {
            let value = [document.doc_type, document.file_type].into_iter().flatten().find(|value| !value.is_empty());
            push_value(name, value.ok_or_else(|| missing("{type}", "doc_type and file_type"))?);
        }
        Placeholder::Name => match document.original_name.map(uploaded_name).filter(|original| !original.is_empty()) {
            Some(original) => push_value(name, original),
            None => name.extend_from_slice(base_name(document)?),
        },
        Placeholder::Path => name.extend_from_slice(below_root(file)?),
    }
    Ok(())
}

/// Writes a value from the database so that it stays within its component and can be listed: slashes, backslashes
/// and control characters become `_`.
fn push_value(name: &mut Vec<u8>, value: &str) {
    let safe = |c: char| if matches!(c, '/' | '\\') || c.is_control() { '_' } else { c };
    name.extend(value.chars().map(safe).collect::<String>().bytes());
}

/// Browsers have sent whole local paths as a file's name, with either separator.
fn uploaded_name(original: &str) -> &str {
    original.rsplit(['/', '\\']).next().unwrap_or(original)
}

fn base_name<'a>(document: &DocumentFacts<'a>) -> Result<&'a [u8]> {
    match document.path.file_name() {
        Some(name) => Ok(name.as_bytes()),
        None => Err(NasSyncError::new(
            ErrorKind::NameUnsendable,
            format!("the path \"{}\" has no file name", document.path.display()),
        )),
    }
}

fn below_root<'a>(file: &FileFacts<'a>) -> Result<&'a [u8]> {
    match file.below_root {
        Some(path) => Ok(path.as_os_str().as_bytes()),
        None => Err(NasSyncError::new(
            ErrorKind::Usage,
            "The layout tree, or {path}, needs UPLOAD_DIR, for names are paths below it",
        )
        .with_cause("Names are paths below the folder of the documents, and which one that is has not been said.")
        .with_solution("Set UPLOAD_DIR to the folder of the documents, or choose another NAS_LAYOUT.")),
    }
}

fn date(document: &DocumentFacts<'_>, file: &FileFacts<'_>, placeholder: &str) -> Result<NaiveDate> {
    if let Some((column, text)) = document.odd_date {
        let text = format!("the layout has {placeholder}, but {column} is {text:?}, which is not understood as a date");
        return Err(NasSyncError::new(ErrorKind::NameUnsendable, text).with_solution(format!(
            "Write {column} as YYYY-MM-DD in the database, or choose a NAS_LAYOUT without {placeholder}."
        )));
    }
    let date = document.date.or(document.created).or(file.modified);
    let date = date.ok_or_else(|| missing(placeholder, "date, created_at and the file's own date"))?;
    // Other years have a sign or a fifth digit, and no document.
    if (0..=9999).contains(&date.year()) {
        Ok(date)
    } else {
        let text = format!("the year {} is out of range for a name", date.year());
        Err(NasSyncError::new(ErrorKind::NameUnsendable, text))
    }
}

fn missing(placeholder: &str, columns: &str) -> NasSyncError {
    let text = format!("the layout has {placeholder}, but {columns} are missing");
    NasSyncError::new(ErrorKind::NameUnsendable, text)
        .with_solution(format!("Fill one of them in the database, or choose a NAS_LAYOUT without {placeholder}."))
}

#[cfg(test)]
mod tests;
