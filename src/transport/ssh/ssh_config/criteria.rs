//! `Host` and `Match`: whether the lines below apply.

use super::super::known_hosts::glob_matches;
use super::Query;
use super::directives::Directives;

/// What is asked of one line, at the point where it stands.
pub(super) struct Asked<'a> {
    pub(super) query: &'a Query<'a>,
    /// The host as `Host` sees it: as it was typed, and in the second reading its real name.
    pub(super) host: &'a str,
    /// What the lines above have said.
    pub(super) said: &'a Directives,
    /// Whether this is the second reading, which `Match final` asks for.
    pub(super) is_final: bool,
}

/// What came of a `Match` line.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Matched {
    pub(super) applies: bool,
    /// Whether a second reading was asked for.
    pub(super) wants_final: bool,
    /// The criterion that would have decided, and is not looked at here.
    pub(super) unknown: Option<String>,
}

/// Whether a list of patterns names this: one does, and none with `!` before it.
fn any(patterns: impl Iterator<Item = impl AsRef<str>>, name: &str) -> bool {
    let mut is_named = false;
    for pattern in patterns {
        let pattern = pattern.as_ref();
        match pattern.strip_prefix('!') {
            Some(pattern) if glob_matches(pattern.as_bytes(), name.as_bytes()) => return false,
            Some(_) => {}
            None => is_named |= glob_matches(pattern.as_bytes(), name.as_bytes()),
        }
    }
    is_named
}

impl Asked<'_> {
    /// A `Host` line.
    pub(super) fn host(&self, words: &[String]) -> bool {
        any(words.iter(), self.host)
    }

    /// A `Match` line. The error is a reason for people.
    pub(super) fn matches(&self, words: &[String]) -> Result<Matched, String> {
        let mut words = words.iter().map(String::as_str).peekable();
        let mut matched = Matched { applies: true, ..Matched::default() };
        while let Some(word) = words.next() {
            // A value may also stand behind `=`.
            let (word, attached) = word.split_once('=').map_or((word, None), |(word, value)| (word, Some(value)));
            let (word, negated) = word.strip_prefix('!').map_or((word, false), |word| (word, true));
            let criterion = word.to_ascii_lowercase();
            let fits = match criterion.as_str() {
                "all" if words.peek().is_some() || negated => return Err(String::from("all stands alone")),
                "all" => true,
                // Host names are not looked up to be made canonical.
                "canonical" => false,
                "final" => {
                    matched.wants_final = true;
                    self.is_final
                }
                _ => {
                    let value = attached.or_else(|| words.next()).ok_or_else(|| format!("{word} needs a value"))?;
                    let Some(fits) = self.fits(&criterion, value) else {
                        if matched.applies {
                            matched.unknown = Some(criterion);
                        }
                        matched.applies = false;
                        continue;
                    };
                    fits
                }
            };
            matched.applies &= fits != negated;
        }
        Ok(matched)
    }

    /// `None` for a criterion that is not looked at.
    fn fits(&self, criterion: &str, value: &str) -> Option<bool> {
        let lower = |text: &str| text.to_ascii_lowercase();
        let list = || value.split(',');
        Some(match criterion {
            "host" => {
                let said = self.said.first("hostname").map(|line| line.words[0].replace("%h", self.host));
                any(list().map(lower), &lower(said.as_deref().unwrap_or(self.host)))
            }
            "originalhost" => any(list().map(lower), &lower(self.query.host)),
            "user" => {
                let said = self.said.first("user").map(|line| line.words[0].as_str());
                any(list(), said.or(self.query.local_user).unwrap_or_default())
            }
            "localuser" => any(list(), self.query.local_user.unwrap_or_default()),
            _ => return None,
        })
    }
}
