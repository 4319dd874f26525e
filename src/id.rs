//! Names of documents and users, as databases give them.

use std::fmt;

/// A number or a text.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Id {
    Integer(i64),
    Text(Box<str>),
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Integer(number) => number.fmt(f),
            // It may come from anywhere.
            Self::Text(text) => f.write_str(&crate::text::escape(text)),
        }
    }
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Id);

        impl $name {
            /// The number, where it is one.
            pub fn as_integer(&self) -> Option<i64> {
                match self.0 {
                    Id::Integer(number) => Some(number),
                    Id::Text(_) => None,
                }
            }

            /// The text, where it is one; not escaped.
            pub fn as_text(&self) -> Option<&str> {
                match &self.0 {
                    Id::Integer(_) => None,
                    Id::Text(text) => Some(text),
                }
            }
        }

        impl From<i64> for $name {
            fn from(number: i64) -> Self {
                Self(Id::Integer(number))
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self(Id::Text(text.into()))
            }
        }

        impl From<String> for $name {
            fn from(text: String) -> Self {
                Self(Id::Text(text.into()))
            }
        }

        /// Safe to print.
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0)
            }
        }
    };
}

id! {
    /// A document: the `id` of its row, or a key of the caller's. A number or a text (such as a UUID); numbers come before
    /// texts.
    DocumentId
}

id! {
    /// A user: the `user_id` of a document's row. A number or a text; numbers come before texts.
    UserId
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_ordered_as_numbers_and_before_texts() {
        let mut ids: Vec<DocumentId> = vec!["10".into(), 10.into(), "b\n".into(), 9.into(), (-1).into()];
        ids.sort();
        let shown: Vec<_> = ids.iter().map(ToString::to_string).collect();
        assert_eq!(shown, ["-1", "9", "10", "10", "b\\n"]);
        assert_eq!((ids[2].as_integer(), ids[3].as_integer()), (Some(10), None));
        assert_eq!((ids[2].as_text(), ids[4].as_text()), (None, Some("b\n")));
        assert_ne!(DocumentId::from(10), DocumentId::from("10"));
    }
}
