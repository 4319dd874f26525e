//! rsync's wildcards, `protocol-notes/16-filters.md#patterns`.

/// Whether the whole text matches: `?` is any byte but a slash, `*` any bytes but slashes, `**` any bytes at all, `[…]` one byte
/// out of a set, and never a slash. A backslash makes the next byte an ordinary one. A set that is not closed matches nothing.
pub fn wildmatch(pattern: &[u8], text: &[u8]) -> bool {
    let (mut at, mut read) = (0, 0);
    // Where to go on when what follows the last star, or the last two, does not fit: behind them, and from the next byte on.
    let mut star: Option<(usize, usize)> = None;
    let mut stars: Option<(usize, usize)> = None;
    loop {
        if pattern.get(at) == Some(&b'*') {
            let run = pattern[at..].iter().take_while(|&&byte| byte == b'*').count();
            at += run;
            if run > 1 {
                (star, stars) = (None, Some((at, read)));
            } else {
                star = Some((at, read));
            }
            continue;
        }
        let step = match (pattern.get(at), text.get(read)) {
            (None, None) => return true,
            (Some(_), Some(&byte)) => one(&pattern[at..], byte),
            _ => None,
        };
        if let Some(len) = step {
            (at, read) = (at + len, read + 1);
            continue;
        }
        // One star takes one byte more, as long as that is no slash; then two stars do, whatever it is.
        let may_take = |place: Option<(usize, usize)>| place.filter(|&(_, from)| from < text.len());
        if let Some((behind, from)) = may_take(star).filter(|&(_, from)| text[from] != b'/') {
            star = Some((behind, from + 1));
            (at, read) = (behind, from + 1);
        } else if let Some((behind, from)) = may_take(stars) {
            (star, stars) = (None, Some((behind, from + 1)));
            (at, read) = (behind, from + 1);
        } else {
            return false;
        }
    }
}

/// The length of what stands at the beginning of a pattern, if this byte matches it. It is no star.
fn one(pattern: &[u8], byte: u8) -> Option<usize> {
    match *pattern {
        [b'?', ..] => (byte != b'/').then_some(1),
        [b'\\', escaped, ..] => (escaped == byte).then_some(2),
        [b'[', ref set @ ..] => bracket(set).filter(|set| set.matches(byte) && byte != b'/').map(|set| set.len + 1),
        [plain, ..] => (plain == byte).then_some(1),
        [] => None,
    }
}

/// A set of bytes in brackets.
struct Bracket {
    members: [bool; 256],
    negated: bool,
    /// From behind the opening bracket to behind the closing one.
    len: usize,
}

impl Bracket {
    fn matches(&self, byte: u8) -> bool {
        self.members[usize::from(byte)] != self.negated
    }
}

/// Reads what follows an opening bracket; `None` where it makes no sense.
fn bracket(pattern: &[u8]) -> Option<Bracket> {
    let negated = matches!(pattern.first(), Some(b'!' | b'^'));
    let mut members = [false; 256];
    let start = usize::from(negated);
    let mut at = start;
    // The byte that a range would begin with.
    let mut low: Option<u8> = None;
    loop {
        match pattern.get(at..)? {
            [] | [b'\\'] => return None,
            [b']', ..] if at > start => return Some(Bracket { members, negated, len: at + 1 }),
            [b'-', high, ..] if low.is_some() && *high != b']' => {
                let (high, len) = if *high == b'\\' { (*pattern.get(at + 2)?, 3) } else { (*high, 2) };
                for byte in low.take().unwrap_or(high)..=high {
                    members[usize::from(byte)] = true;
                }
                at += len;
            }
            [b'[', b':', rest @ ..] => {
                if let Some(name) = class_name(rest) {
                    (0..=u8::MAX).filter(class(name)?).for_each(|byte| members[usize::from(byte)] = true);
                    low = None;
                    at += name.len() + 4;
                } else {
                    // No class: the bracket is a member.
                    (low, members[usize::from(b'[')]) = (Some(b'['), true);
                    at += 1;
                }
            }
            [b'\\', escaped, ..] => {
                (low, members[usize::from(*escaped)]) = (Some(*escaped), true);
                at += 2;
            }
            [member, ..] => {
                (low, members[usize::from(*member)]) = (Some(*member), true);
                at += 1;
            }
        }
    }
}

/// The name of a class, of which the beginning `[:` was read.
fn class_name(rest: &[u8]) -> Option<&[u8]> {
    let end = rest.iter().position(|&byte| byte == b']')?;
    rest[..end].strip_suffix(b":")
}

fn class(name: &[u8]) -> Option<fn(&u8) -> bool> {
    Some(match name {
        b"alnum" => u8::is_ascii_alphanumeric,
        b"alpha" => u8::is_ascii_alphabetic,
        b"blank" => |byte| matches!(byte, b' ' | b'\t'),
        b"cntrl" => u8::is_ascii_control,
        b"digit" => u8::is_ascii_digit,
        b"graph" => u8::is_ascii_graphic,
        b"lower" => u8::is_ascii_lowercase,
        b"print" => |byte| byte.is_ascii_graphic() || *byte == b' ',
        b"punct" => u8::is_ascii_punctuation,
        b"space" => |byte| matches!(byte, b' ' | b'\t'..=b'\r'),
        b"upper" => u8::is_ascii_uppercase,
        b"xdigit" => u8::is_ascii_hexdigit,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn stars_and_slashes() {
        for (pattern, text, fits) in [
            ("*.o", "a.o", true),
            ("*.o", "d/a.o", false),
            ("**.o", "d/a.o", true),
            ("a/*/c", "a/b/c", true),
            ("a/*/c", "a/b/b/c", false),
            ("a/**/c", "a/b/b/c", true),
            ("a/**/c", "a/c", false),
            ("a/***", "a/", true),
            ("***", "", true),
            ("*", "", true),
            ("?", "/", false),
            ("[!x]", "/", false),
            ("a*b*c", "aXbYbZc", true),
            ("**/*x", "a/b/x/y/zx", true),
            ("*a**b", "xa/yb", true),
            ("*a**b", "x/a/yb", false),
        ] {
            assert_eq!(wildmatch(pattern.as_bytes(), text.as_bytes()), fits, "{pattern} {text}");
        }
    }

    #[test]
    fn sets() {
        for (pattern, text, fits) in [
            ("[a-c]", "b", true),
            ("[a-c]", "d", false),
            ("[!a-c]", "d", true),
            ("[^a-c]", "a", false),
            ("[]]", "]", true),
            ("[]-]", "-", true),
            ("[a-]", "-", true),
            ("[\\]]", "]", true),
            ("[a-\\c]", "b", true),
            ("[[:digit:]x]", "7", true),
            ("[[:digit:]x]", "x", true),
            ("[[:nonsense:]x]", "x", false),
            ("[[:]", ":", true),
            ("[a", "a", false),
            ("[", "[", false),
            ("\\[", "[", true),
            ("[c-a]", "b", false),
        ] {
            assert_eq!(wildmatch(pattern.as_bytes(), text.as_bytes()), fits, "{pattern} {text}");
        }
    }

    /// The rule as it is told, without any cleverness.
    fn as_told(pattern: &[u8], text: &[u8]) -> bool {
        match (pattern, text) {
            ([], []) => true,
            ([b'*', b'*', rest @ ..], _) => {
                let rest = &rest[rest.iter().take_while(|&&byte| byte == b'*').count()..];
                (0..=text.len()).any(|at| as_told(rest, &text[at..]))
            }
            ([b'*', rest @ ..], _) => {
                let most = text.iter().take_while(|&&byte| byte != b'/').count();
                (0..=most).any(|at| as_told(rest, &text[at..]))
            }
            ([_, ..], [byte, text @ ..]) => one(pattern, *byte).is_some_and(|len| as_told(&pattern[len..], text)),
            _ => false,
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2048))]
        #[test]
        fn going_back_finds_what_trying_all_finds(pattern in "[ab/*?]{0,8}", text in "[ab/]{0,8}") {
            prop_assert_eq!(wildmatch(pattern.as_bytes(), text.as_bytes()), as_told(pattern.as_bytes(), text.as_bytes()));
        }
    }
}
