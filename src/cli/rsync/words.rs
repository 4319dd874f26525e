//! Splits a remote shell's command line into words the way rsync does, not the way a shell would.

/// Blanks separate; single or double quotes keep blanks together, and a quote doubled inside its own kind stands for
/// itself; a backslash means nothing. `None` when a quote is left open.
pub fn split(line: &str) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut chars = line.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            ' ' => words.extend(word.take()),
            '\'' | '"' => {
                let word = word.get_or_insert_default();
                loop {
                    match chars.next()? {
                        inner if inner != c => word.push(inner),
                        _ if chars.next_if_eq(&c).is_some() => word.push(c),
                        _ => break,
                    }
                }
            }
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    Some(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_keep_blanks() {
        let words = |line: &str| split(line).unwrap();
        assert_eq!(words("  ssh -p  22 "), ["ssh", "-p", "22"]);
        assert_eq!(words(r#"ssh -i "/a b/k" -o 'User=x y'z"#), ["ssh", "-i", "/a b/k", "-o", "User=x yz"]);
        assert_eq!(words("ssh '' 'it''s'"), ["ssh", "", "it's"]);
        assert_eq!(words(r"a\ b"), ["a\\", "b"]);
        assert!(words("").is_empty());
        assert_eq!(split("ssh 'open"), None);
    }
}
