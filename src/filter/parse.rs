//! rsync's language of rules: `--filter`, `--exclude` and `--include`, and files of them.

use super::pattern::Pattern;
use super::rule::{FolderRules, NameRule, Reading, Rule, Side, Verdict};
use crate::text;

/// Why a rule is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the filter rule \"{}\" {reason}", text::escape_bytes(.rule))]
pub struct BadRule {
    rule: Vec<u8>,
    reason: &'static str,
}

/// What one rule asks for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Parsed {
    /// A rule more.
    Rule(Rule),
    /// All rules before it are void.
    Clear,
    /// The rules of a file take its place.
    File { path: Vec<u8>, reading: Reading, exclude_itself: bool },
    /// A rule about files of rules, which are no part of the transfer themselves.
    FolderRules { rule: FolderRules, exclude_itself: bool },
    /// What CVS leaves out.
    Cvs { side: Side },
}

/// What a rule begins with.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Names(Verdict, Option<Side>),
    File,
    Folders,
    Clear,
}

const KINDS: [(&[u8], u8, Kind); 9] = [
    (b"exclude", b'-', Kind::Names(Verdict::Exclude, None)),
    (b"include", b'+', Kind::Names(Verdict::Include, None)),
    (b"hide", b'H', Kind::Names(Verdict::Exclude, Some(Side::Sender))),
    (b"show", b'S', Kind::Names(Verdict::Include, Some(Side::Sender))),
    (b"protect", b'P', Kind::Names(Verdict::Exclude, Some(Side::Receiver))),
    (b"risk", b'R', Kind::Names(Verdict::Include, Some(Side::Receiver))),
    (b"merge", b'.', Kind::File),
    (b"dir-merge", b':', Kind::Folders),
    (b"clear", b'!', Kind::Clear),
];

/// Where a rule comes from.
#[derive(Clone, Copy)]
pub(super) struct Origin<'a> {
    /// What all rules there have in common.
    pub reading: Reading,
    /// The folder of the file that holds it, where that is one of a folder's own.
    pub folder: Option<&'a [u8]>,
}

impl Origin<'_> {
    fn names(&self, verdict: Verdict, modifiers: &Modifiers, written: &[u8]) -> Rule {
        let from_system = modifiers.from_system || self.reading.from_system;
        Rule::Names(NameRule {
            verdict,
            side: modifiers.side.unwrap_or(self.reading.side),
            pattern: Pattern::new(written, self.folder, from_system),
            written: written.to_vec(),
            negated: modifiers.negated || self.reading.negated,
            from_system,
            perishable: modifiers.perishable || self.reading.perishable,
        })
    }

    /// A line of a file of patterns, or the value of `--exclude` or `--include`: a pattern, with `- ` or `+ ` in front of it
    /// where it means the other thing, or `!` alone.
    pub fn pattern(&self, line: &[u8], verdict: Verdict) -> Result<Parsed, BadRule> {
        let (verdict, written) = match line {
            b"!" => return Ok(Parsed::Clear),
            [b'-', b' ', written @ ..] => (Verdict::Exclude, written),
            [b'+', b' ', written @ ..] => (Verdict::Include, written),
            written => (verdict, written),
        };
        if written.is_empty() {
            return Err(bad(line, "has no pattern"));
        }
        Ok(Parsed::Rule(self.names(verdict, &Modifiers::default(), written)))
    }

    /// A rule.
    pub fn rule(&self, rule: &[u8]) -> Result<Parsed, BadRule> {
        if let Some(verdict) = self.reading.only {
            return match rule {
                b"!" if self.reading.words => Ok(Parsed::Clear),
                written => Ok(Parsed::Rule(self.names(verdict, &Modifiers::default(), written))),
            };
        }
        let (kind, rest) = kind(rule).ok_or_else(|| bad(rule, "begins with no known word or letter"))?;
        let (modifiers, value) = Modifiers::read(kind, rest).map_err(|reason| bad(rule, reason))?;
        let says_side = modifiers.side.is_some() || matches!(kind, Kind::Names(_, Some(_)));
        if says_side && self.reading.side != Side::Both {
            return Err(bad(rule, "says for which side it is, as its file does already"));
        }
        match kind {
            Kind::Clear if value.is_empty() && modifiers == Modifiers::default() => Ok(Parsed::Clear),
            Kind::Clear => Err(bad(rule, "has something behind it")),
            Kind::Names(Verdict::Exclude, None) if modifiers.cvs && value.is_empty() => {
                Ok(Parsed::Cvs { side: modifiers.side.unwrap_or(self.reading.side) })
            }
            Kind::Names(..) if modifiers.cvs => Err(bad(rule, "has the modifier C, which stands alone with -")),
            Kind::Names(verdict, side) => {
                if value.is_empty() {
                    return Err(bad(rule, "has no pattern"));
                }
                Ok(Parsed::Rule(self.names(verdict, &Modifiers { side: side.or(modifiers.side), ..modifiers }, value)))
            }
            Kind::File | Kind::Folders => self.file(kind, &modifiers, rule, value),
        }
    }

    fn file(&self, kind: Kind, modifiers: &Modifiers, rule: &[u8], value: &[u8]) -> Result<Parsed, BadRule> {
        let value: &[u8] = match value {
            b"" if modifiers.cvs => b".cvsignore",
            b"" => return Err(bad(rule, "names no file")),
            value => value,
        };
        let reading = Reading {
            only: if modifiers.cvs { Some(Verdict::Exclude) } else { modifiers.only },
            words: modifiers.words || modifiers.cvs,
            side: modifiers.side.unwrap_or(self.reading.side),
            perishable: modifiers.perishable || self.reading.perishable,
            negated: modifiers.negated,
            from_system: modifiers.from_system,
            zero_ended: false,
        };
        let exclude_itself = modifiers.exclude_itself;
        if kind == Kind::File {
            return Ok(Parsed::File { path: value.to_vec(), reading, exclude_itself });
        }
        let (from_above, file) = match value.rsplitn(2, |&byte| byte == b'/').collect::<Vec<_>>()[..] {
            [file, folder] => (Some(folder), file),
            _ => (None, value),
        };
        if file.is_empty() || from_above.is_some_and(|folder| !matches!(folder, [] | [b'/', ..])) {
            return Err(bad(rule, "has a path that does not begin with a slash where the name of a file belongs"));
        }
        let from_above = from_above.map(|folder| folder.strip_prefix(b"/").unwrap_or(folder).to_vec());
        let not_inherited = modifiers.not_inherited || modifiers.cvs;
        let file = file.to_vec();
        let rule = FolderRules { file, from_above, reading, not_inherited, like_cvs: modifiers.cvs };
        Ok(Parsed::FolderRules { rule, exclude_itself })
    }
}

/// What stands between a rule's first word and its pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[expect(clippy::struct_excessive_bools, reason = "they are rsync's own letters")]
struct Modifiers {
    side: Option<Side>,
    only: Option<Verdict>,
    from_system: bool,
    negated: bool,
    cvs: bool,
    exclude_itself: bool,
    not_inherited: bool,
    words: bool,
    perishable: bool,
}

impl Modifiers {
    /// Reads them up to the one space or underscore behind them, and gives what follows.
    fn read(kind: Kind, mut rest: &[u8]) -> Result<(Self, &[u8]), &'static str> {
        let mut all = Self::default();
        let is_file = matches!(kind, Kind::File | Kind::Folders);
        if let Some(behind) = rest.strip_prefix(b",") {
            rest = behind;
        }
        while let [letter, behind @ ..] = rest {
            rest = behind;
            match letter {
                b' ' | b'_' => return Ok((all, rest)),
                b'/' => all.from_system = true,
                b'!' if !is_file => all.negated = true,
                b'-' if is_file => all.only = Some(Verdict::Exclude),
                b'+' if is_file => all.only = Some(Verdict::Include),
                b'C' => all.cvs = true,
                b'e' if is_file => all.exclude_itself = true,
                b'n' if is_file => all.not_inherited = true,
                b'w' if is_file => all.words = true,
                b'p' => all.perishable = true,
                b's' | b'r' if matches!(kind, Kind::Names(_, Some(_))) => {
                    return Err("says twice for which side it is");
                }
                b's' => all.side = Some(all.and_for(Side::Sender)),
                b'r' => all.side = Some(all.and_for(Side::Receiver)),
                b'x' => return Err("is about extended attributes, which is not supported yet"),
                _ => return Err("has an unknown modifier"),
            }
        }
        Ok((all, rest))
    }

    fn and_for(&self, side: Side) -> Side {
        if self.side.is_none_or(|before| before == side) { side } else { Side::Both }
    }
}

fn kind(rule: &[u8]) -> Option<(Kind, &[u8])> {
    let is_end = |rest: &[u8]| matches!(rest.first(), None | Some(b' ' | b'_' | b','));
    let by_word = KINDS.iter().find_map(|(word, _, kind)| {
        let rest = rule.strip_prefix(*word).filter(|rest| is_end(rest))?;
        Some((*kind, rest))
    });
    let by_letter = || {
        let (first, rest) = rule.split_first()?;
        KINDS.iter().find(|(_, letter, _)| letter == first).map(|(_, _, kind)| (*kind, rest))
    };
    by_word.or_else(by_letter)
}

fn bad(rule: &[u8], reason: &'static str) -> BadRule {
    BadRule { rule: rule.to_vec(), reason }
}

/// The rules of a file, one by one: comments and empty lines are none.
pub(super) fn lines(content: &[u8], words: bool, zero_ended: bool) -> impl Iterator<Item = &[u8]> {
    let is_end = move |byte: &u8| match byte {
        b'\0' => zero_ended,
        b'\n' | b'\r' => words || !zero_ended,
        byte => words && byte.is_ascii_whitespace(),
    };
    let is_rule = move |line: &&[u8]| !line.is_empty() && (words || !matches!(line[0], b'#' | b';'));
    content.split(is_end).filter(is_rule)
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMMAND_LINE: Origin<'static> = Origin { reading: Reading::RULES, folder: None };

    fn prefixed(rule: &str) -> String {
        match COMMAND_LINE.rule(rule.as_bytes()) {
            Ok(Parsed::Rule(Rule::Names(rule))) => {
                format!("{} {}", rule.prefix(), String::from_utf8_lossy(&rule.written))
            }
            Ok(Parsed::FolderRules { rule, .. }) => {
                format!("{} {}", rule.prefix(), String::from_utf8_lossy(&rule.written()))
            }
            Ok(other) => format!("{other:?}"),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn short_and_long_forms_are_one() {
        for (rule, expected) in [
            ("- *.o", "- *.o"),
            ("exclude *.o", "- *.o"),
            ("exclude,! *.o", "-! *.o"),
            ("-,/ x", "-/ x"),
            ("+_x y", "+ x y"),
            ("-  x", "-  x"),
            ("hide x", "-s x"),
            ("S x", "+s x"),
            ("protect,p x", "-rp x"),
            ("R x", "+r x"),
            ("-rs x", "- x"),
            (": .rules", ": .rules"),
            ("dir-merge,n- .gitignore", ":n- .gitignore"),
            (":C", ":C .cvsignore"),
            (": /.rsync-filter", ": /.rsync-filter"),
            (": /a/b/.rules", ": /a/b/.rules"),
            (":w .words", ":w .words"),
            ("!", "Clear"),
            ("clear", "Clear"),
        ] {
            assert_eq!(prefixed(rule), expected, "{rule}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_said() {
        for (rule, reason) in [
            ("frob x", "begins with no known"),
            ("", "begins with no known"),
            ("-", "has no pattern"),
            ("- ", "has no pattern"),
            ("! x", "something behind"),
            ("-n x", "unknown modifier"),
            ("Hs x", "twice"),
            (".", "names no file"),
            (": a/b", "does not begin with a slash"),
            (": /", "does not begin with a slash"),
            ("-x user.*", "extended attributes"),
        ] {
            assert!(prefixed(rule).contains(reason), "{rule}: {}", prefixed(rule));
        }
    }

    #[test]
    fn lines_words_and_comments() {
        let all = |content: &'static str, words, zero| lines(content.as_bytes(), words, zero).count();
        assert_eq!(all("# no\n; no\n\na\r\n b \n", false, false), 2);
        assert_eq!(all("a b\tc\n#d", true, false), 4);
        assert_eq!(all("a\nb\0c\0", false, true), 2);
    }
}
