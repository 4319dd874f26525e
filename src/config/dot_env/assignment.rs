//! One assignment of a `.env` file: `NAME=value`, with quotes, escapes, comments and `$NAME` as in the crate dotenvy.
//!
//! Guarantees: the value, which may be a secret, lies in one place that is wiped when it is dropped. (dotenvy itself leaves
//! copies of the whole file in memory.)

use std::str::Chars;

use zeroize::Zeroizing;

/// Gives the value of a name that a value refers to.
pub(super) type LookUp<'a> = dyn Fn(&str) -> Option<Zeroizing<String>> + 'a;

/// The name and the value. `None` for what is no assignment.
pub(super) fn read<'a>(text: &'a str, look_up: &LookUp) -> Option<(&'a str, Zeroizing<String>)> {
    let (first, rest) = name(text.trim())?;
    let (name, rest) = if first == "export" && !rest.starts_with('=') { name(rest)? } else { (first, rest) };
    let text = rest.strip_prefix('=')?.trim_start();
    let value = if text.starts_with('#') { Zeroizing::default() } else { value(text, look_up)? };
    Some((name, value))
}

/// A name, and what follows it and blanks.
fn name(text: &str) -> Option<(&str, &str)> {
    let end = text.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == '.')).unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_').then(|| (name, rest.trim_start()))
}

fn value(text: &str, look_up: &LookUp) -> Option<Zeroizing<String>> {
    let mut value = Zeroizing::new(String::with_capacity(text.len()));
    let mut quote = None;
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        match (c, quote) {
            ('\'', Some('\'')) | ('"', Some('"')) => quote = None,
            // Whether it is to end the quotes here would be a guess.
            ('\\', Some('\'')) if rest.as_str().starts_with('\'') => return None,
            (c, Some('\'')) => value.push(c),
            ('\\', _) => match rest.next() {
                Some(c @ ('\\' | '\'' | '"' | '$' | ' ')) => value.push(c),
                Some('n') => value.push('\n'),
                Some(_) => return None,
                None => {}
            },
            ('$', _) => {
                let found = look_up(reference(&mut rest)?).unwrap_or_default();
                make_room(&mut value, found.len() + rest.as_str().len());
                value.push_str(&found);
            }
            ('\'' | '"', None) => quote = Some(c),
            (' ' | '\t', None) => {
                let behind = rest.as_str().trim_start_matches([' ', '\t']);
                return (behind.is_empty() || behind.starts_with('#')).then_some(value);
            }
            ('\r' | '\n', None) => return None,
            (c, _) => value.push(c),
        }
    }
    quote.is_none().then_some(value)
}

/// The name behind a `$`, in braces or not.
fn reference<'a>(rest: &mut Chars<'a>) -> Option<&'a str> {
    let text = rest.as_str();
    let (name, behind) = match text.strip_prefix('{') {
        Some(inside) => inside.split_once('}')?,
        None => text.split_at(text.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(text.len())),
    };
    *rest = behind.chars();
    Some(name)
}

/// Room for so many bytes more. A text that grows by itself would leave what it held behind.
fn make_room(text: &mut Zeroizing<String>, more: usize) {
    if text.capacity() - text.len() < more {
        let mut larger = Zeroizing::new(String::with_capacity(text.len() + more));
        larger.push_str(text);
        *text = larger;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read_with(text: &str, known: &[(&str, &str)]) -> Option<(String, String)> {
        let look_up = |name: &str| {
            let found = known.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| Zeroizing::new((*value).to_owned()))
        };
        read(text, &look_up).map(|(name, value)| (name.to_owned(), value.as_str().to_owned()))
    }

    #[test]
    fn names_are_replaced_outside_of_single_quotes() {
        let known = [("BASE", "/volume1"), ("MY_DIR", "docs")];
        for (text, value) in [
            ("A=$BASE/x", "/volume1/x"),
            ("A=${BASE}x", "/volume1x"),
            ("A=\"$BASE\"", "/volume1"),
            ("A=$BASE/$MY_DIR", "/volume1/docs"),
            ("A=$NONE-x", "-x"),
            ("A='$BASE'", "$BASE"),
            (r"A=\$BASE", "$BASE"),
            ("A=$BASE # where", "/volume1"),
            ("A=a$", "a"),
        ] {
            assert_eq!(read_with(text, &known), Some((String::from("A"), value.to_owned())), "{text}");
        }
        assert_eq!(read_with("A=${BASE", &known), None);
    }

    /// What dotenvy says, where it takes the text for one assignment.
    fn by_dotenvy(text: &str) -> Option<(String, String)> {
        let line = format!("{text}\n");
        let mut items = dotenvy::from_read_iter(line.as_bytes());
        let item = items.next()?.ok()?;
        items.next().is_none().then_some(item)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4000))]
        #[test]
        fn lines_are_read_as_by_dotenvy(
            start in prop::sample::select(vec!["A=", "A =", "export A=", " A= ", "export=", "A.b_1=", "1A=", "A", "A-b="]),
            value in r#"[abn#\\'" \t=é]{0,12}"#,
        ) {
            let text = format!("{start}{value}");
            let theirs = by_dotenvy(&text);
            let ours = read_with(&text, &[]);
            // In mixtures of escapes and comments dotenvy finds the end of the line by other rules than that of the value.
            let (escapes, comments) = (value.contains('\\'), value.contains('#'));
            if let (Some(ours), Some(theirs)) = (&ours, &theirs)
                && !(escapes && comments)
            {
                prop_assert_eq!(ours, theirs, "{:?}", text);
            }
            if !escapes && !comments {
                prop_assert_eq!(ours.is_some(), theirs.is_some(), "{:?}", text);
            }
        }
    }
}
