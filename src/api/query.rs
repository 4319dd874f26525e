//! The parameters behind the question mark, and ids.
//!
//! Guarantees: a parameter that nobody knows, or that comes twice, is refused: a mistyped `user_id` must not mean everybody.

use super::problem::Problem;
use crate::id::{DocumentId, UserId};
use crate::service::restore::RestoreRequest;
use crate::store::{DocumentState, ListRequest, Selection};
use crate::text;

/// The most that an id or a name may be long, in bytes.
const LONGEST: usize = 1024;
/// The most documents that are listed at once.
const MOST_LISTED: usize = 1_000;

/// What was asked with.
#[derive(Debug, Default)]
pub struct Query(Vec<(String, String)>);

impl Query {
    /// Takes the text behind the question mark apart. `known` are the names that it may hold.
    pub fn parse(query: &str, known: &[&str]) -> Result<Self, Problem> {
        let mut pairs: Vec<(String, String)> = Vec::new();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            if !known.contains(&&*name) {
                let taken = known.iter().map(|name| format!("{name} takes {}", takes(name))).collect::<Vec<_>>();
                let solution = match &taken[..] {
                    [] => "Leave it away: this path takes no parameter.".to_owned(),
                    taken => format!("What this path knows: {}; /openapi.json describes it.", taken.join("; ")),
                };
                let shown = text::escape_start(&name, 100);
                return Err(Problem::usage(format!("the parameter {shown} is not known here")).with_solution(&solution));
            }
            if pairs.iter().any(|(other, _)| *other == *name) {
                return Err(misused(&name, "comes twice"));
            }
            if value.is_empty() || value.len() > LONGEST {
                return Err(misused(&name, "has no value, or too long a one"));
            }
            pairs.push((name.into_owned(), value.into_owned()));
        }
        Ok(Self(pairs))
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str())
    }

    /// Whose documents are meant.
    pub fn user(&self) -> Option<UserId> {
        let user = self.get("user_id")?;
        Some(number(user).map_or_else(|| UserId::from(user), UserId::from))
    }

    /// The document that is named, where one is.
    pub fn document(&self) -> Option<DocumentId> {
        self.get("document").map(document)
    }

    /// Those of the user, and of these the one document, as far as they are named.
    pub fn selection(&self) -> Selection {
        let selection = self.user().map_or_else(Selection::all, Selection::of_user);
        match self.document() {
            Some(id) => selection.only([id]),
            None => selection,
        }
    }

    /// Which documents are to come back, each to its own place.
    pub fn restore(&self) -> Result<RestoreRequest, Problem> {
        let mut request = RestoreRequest::new(self.selection());
        request.overwrite = match self.get("overwrite") {
            None | Some("false") => false,
            Some("true") => true,
            Some(_) => return Err(misused("overwrite", "is neither true nor false")),
        };
        Ok(request)
    }

    /// Which documents are to be listed.
    pub fn list(&self) -> Result<ListRequest, Problem> {
        let mut request = ListRequest::new(self.selection());
        if let Some(state) = self.get("state") {
            let state = DocumentState::from_name(state);
            request.state = Some(state.ok_or_else(|| misused("state", "is no state of documents"))?);
        }
        if let Some(limit) = self.get("limit") {
            let limit = limit.parse().ok().filter(|limit| (1..=MOST_LISTED).contains(limit));
            request.limit = limit.ok_or_else(|| misused("limit", "is no number, or not one that is taken"))?;
        }
        request.name = self.get("name").map(ToOwned::to_owned);
        Ok(request)
    }
}

/// What a parameter takes.
fn takes(name: &str) -> String {
    match name {
        "user_id" => "a user as the table has it, in SQLite a whole number".to_owned(),
        "state" => format!("one of {}", DocumentState::ALL.map(DocumentState::as_str).join(", ")),
        "limit" => format!("a whole number from 1 to {MOST_LISTED}"),
        "name" => format!("a part of a name, of up to {LONGEST} bytes"),
        "overwrite" => "true or false".to_owned(),
        _ => "the id of a document as the table has it, in SQLite a whole number".to_owned(),
    }
}

/// A parameter that is known, and what is wrong with it.
pub fn misused(name: &str, what: &str) -> Problem {
    let solution = format!("{name} takes {}; /openapi.json describes it.", takes(name));
    Problem::usage(format!("the parameter {name} {what}")).with_solution(&solution)
}

/// A document of this name: a number where it is written as one.
pub fn document(id: &str) -> DocumentId {
    number(id).map_or_else(|| DocumentId::from(id), DocumentId::from)
}

fn number(text: &str) -> Option<i64> {
    text.parse::<i64>().ok().filter(|number| number.to_string() == text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_numbers_where_they_are_written_as_one() {
        assert_eq!(document("42"), DocumentId::from(42));
        assert_eq!(document("-1"), DocumentId::from(-1));
        for text in ["042", "+1", "1e3", "99999999999999999999", "7f1c"] {
            assert_eq!(document(text), DocumentId::from(text));
        }
    }

    #[test]
    fn what_is_not_known_or_makes_no_sense_is_refused() {
        let known = ["user_id", "state", "limit", "name"];
        let parse = |query: &str| Query::parse(query, &known);
        assert!(parse("").unwrap().user().is_none());
        assert_eq!(parse("user_id=7").unwrap().user(), Some(UserId::from(7)));
        assert_eq!(parse("user_id=a%20b").unwrap().user(), Some(UserId::from("a b")));
        for query in ["user=7", "user_id=", "user_id", "user_id=7&user_id=8", "a%0A=1"] {
            assert!(parse(query).is_err(), "{query}");
        }
        let long = format!("user_id={}", "x".repeat(LONGEST + 1));
        assert!(parse(&long).is_err());
        let request = parse("state=failed&limit=5&name=Re%C3%A7u").unwrap().list().unwrap();
        assert_eq!((request.state, request.limit), (Some(DocumentState::Failed), 5));
        assert_eq!(request.name.as_deref(), Some("Reçu"));
        for query in ["state=sent", "limit=0", "limit=1001", "limit=x"] {
            assert!(parse(query).unwrap().list().is_err(), "{query}");
        }
    }
}
