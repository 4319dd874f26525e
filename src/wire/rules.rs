//! Filter rules on the wire, `protocol-notes/16-filters.md#on-the-wire`: each with its length in front, and a zero at the end.

/// How rules travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RuleCoding {
    /// As bare patterns, which exclude, or behind `+ `, which include (protocols 27 and 28).
    Patterns,
    /// As rules (protocol 29).
    Rules,
    /// As rules with the modifier `p`.
    PerishableRules,
}

/// A rule for the other side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleText {
    /// The letter and its modifiers.
    pub prefix: String,
    /// The pattern, or the name of a file.
    pub pattern: Vec<u8>,
}

/// The longest rule that servers take.
const MAX_RULE: usize = 5119;

/// Why a rule cannot be said to the other side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unsayable {
    /// The protocol has no words for it.
    #[error("the rsync on the NAS is too old for such filter rules")]
    TooOld,
    /// It is too long.
    #[error("a filter rule is longer than 5,119 bytes")]
    TooLong,
}

/// Writes the rules and their end.
pub fn put(rules: &[RuleText], coding: RuleCoding, out: &mut Vec<u8>) -> Result<(), Unsayable> {
    for rule in rules {
        let text = text(rule, coding)?;
        let len = i32::try_from(text.len()).ok().filter(|_| text.len() <= MAX_RULE).ok_or(Unsayable::TooLong)?;
        out.extend_from_slice(&len.to_le_bytes());
        out.extend_from_slice(&text);
    }
    out.extend_from_slice(&0_i32.to_le_bytes());
    Ok(())
}

fn text(RuleText { prefix, pattern }: &RuleText, coding: RuleCoding) -> Result<Vec<u8>, Unsayable> {
    // Old servers keep what is excluded in any case, and the oldest know no sides: what they are told is for them.
    let known = match coding {
        RuleCoding::PerishableRules => prefix.clone(),
        RuleCoding::Rules => prefix.replace('p', ""),
        RuleCoding::Patterns => prefix.replace(['p', 'r', 's'], ""),
    };
    let looks_prefixed = pattern.starts_with(b"- ") || pattern.starts_with(b"+ ");
    match (coding, &*known) {
        (RuleCoding::Patterns, "-") if !looks_prefixed => Ok(pattern.clone()),
        (RuleCoding::Patterns, "-" | "+") | (RuleCoding::Rules | RuleCoding::PerishableRules, _) => {
            Ok([known.as_bytes(), b" ", pattern].concat())
        }
        (RuleCoding::Patterns, _) => Err(Unsayable::TooOld),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(prefix: &str, pattern: &str, coding: RuleCoding) -> Result<String, Unsayable> {
        let mut out = Vec::new();
        put(&[RuleText { prefix: prefix.into(), pattern: pattern.into() }], coding, &mut out)?;
        let len = usize::try_from(i32::from_le_bytes(*out.first_chunk().unwrap())).unwrap();
        assert_eq!(out[4 + len..], [0; 4]);
        Ok(String::from_utf8(out[4..4 + len].to_vec()).unwrap())
    }

    #[test]
    fn each_age_has_its_form() {
        use RuleCoding::{Patterns, PerishableRules, Rules};
        for (prefix, pattern, coding, expected) in [
            ("-", "*.o", PerishableRules, Ok("- *.o")),
            ("-rp", "x", PerishableRules, Ok("-rp x")),
            ("-rp", "x", Rules, Ok("-r x")),
            (":C", ".cvsignore", Rules, Ok(":C .cvsignore")),
            ("-", "*.o", Patterns, Ok("*.o")),
            ("-p", "*.o", Patterns, Ok("*.o")),
            ("-", "- x", Patterns, Ok("- - x")),
            ("+", "x", Patterns, Ok("+ x")),
            ("-r", "x", Patterns, Ok("x")),
            ("-s", "x", Patterns, Ok("x")),
            (":", ".x", Patterns, Err(Unsayable::TooOld)),
        ] {
            assert_eq!(
                sent(prefix, pattern, coding).as_deref(),
                expected.as_ref().map(|text| *text),
                "{prefix} {pattern}"
            );
        }
        assert_eq!(sent("-", &"x".repeat(5118), Rules), Err(Unsayable::TooLong));
    }

    #[test]
    fn none_is_a_zero() {
        let mut out = Vec::new();
        put(&[], RuleCoding::Patterns, &mut out).unwrap();
        assert_eq!(out, [0; 4]);
    }
}
