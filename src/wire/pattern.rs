//! Wildcards in the name of a source, `protocol-notes/02-command-line.md`: the NAS expands them, and what it then lists is
//! compared with them.

/// Whether one component of a name matches a pattern of `*`, `?` and `[…]`, in which a backslash makes the next byte an
/// ordinary one. A bracket that is not closed is an ordinary one, too.
pub fn matches(pattern: &[u8], name: &[u8]) -> bool {
    let (mut at, mut read) = (0, 0);
    // Where to go on when what follows the last star does not fit.
    let mut retry: Option<(usize, usize)> = None;
    while read < name.len() {
        let step = match pattern.get(at) {
            Some(b'*') => {
                retry = Some((at + 1, read));
                at += 1;
                continue;
            }
            Some(b'?') => Some(1),
            Some(b'[') => bracket(&pattern[at..], name[read]),
            Some(b'\\') if at + 1 < pattern.len() => (pattern[at + 1] == name[read]).then_some(2),
            Some(&byte) => (byte == name[read]).then_some(1),
            None => None,
        };
        match (step, retry) {
            (Some(step), _) => (at, read) = (at + step, read + 1),
            (None, Some((behind_star, start))) => {
                (at, read) = (behind_star, start + 1);
                retry = Some((behind_star, start + 1));
            }
            (None, None) => return false,
        }
    }
    pattern[at..].iter().all(|&byte| byte == b'*')
}

/// The length of a bracket that this byte matches.
fn bracket(pattern: &[u8], byte: u8) -> Option<usize> {
    let negated = matches!(pattern.get(1), Some(b'!' | b'^'));
    let first = if negated { 2 } else { 1 };
    let Some(len) = pattern.iter().skip(first + 1).position(|&byte| byte == b']') else {
        return (byte == b'[').then_some(1);
    };
    let set = &pattern[first..=first + len];
    // A class of characters (`[[:alpha:]]`) is left to the NAS.
    if set.starts_with(b"[:") {
        return Some(first + len + 3);
    }
    let mut found = false;
    let mut rest = set;
    while let [low, more @ ..] = rest {
        if let [b'-', high, behind @ ..] = more {
            found |= (*low..=*high).contains(&byte);
            rest = behind;
        } else {
            found |= *low == byte;
            rest = more;
        }
    }
    (found != negated).then_some(first + len + 2)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::os::unix::ffi::OsStrExt as _;

    #[test]
    fn wildcards_stand_for_what_a_shell_takes_them_for() {
        for (pattern, name, fits) in [
            ("a", "a", true),
            ("a", "b", false),
            ("*.txt", "a.txt", true),
            ("*.txt", "a.txt.gpg", false),
            ("a*b*c", "aXbYbZc", true),
            ("?", "ab", false),
            ("[a-c]x", "bx", true),
            ("[!a-c]x", "bx", false),
            ("[]]", "]", true),
            ("\\*", "*", true),
            ("\\*", "a", false),
            ("[", "[", true),
            ("*", "", true),
        ] {
            assert_eq!(matches(pattern.as_bytes(), name.as_bytes()), fits, "{pattern} {name}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        /// The oracle is a real shell.
        #[test]
        fn it_is_a_shells_pattern(pattern in "[ab*?\\[\\]-]{1,6}", name in "[ab-]{1,4}") {
            let script = "case \"$2\" in $1) echo yes;; esac";
            let words = ["-c", script, "sh", &pattern, &name].map(|word| std::ffi::OsStr::from_bytes(word.as_bytes()));
            let output = std::process::Command::new("sh").args(words).output().unwrap();
            // What a shell lets through must be let through; more is no danger.
            prop_assert!(output.stdout.is_empty() || matches(pattern.as_bytes(), name.as_bytes()));
        }
    }
}
