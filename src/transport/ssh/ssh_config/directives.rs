//! What the lines of ssh_config that apply to one host say, before anybody makes sense of the values.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use crate::error::{ErrorKind, NasSyncError};

/// Keywords of which every line counts.
const ADDING_UP: [&str; 2] = ["identityfile", "certificatefile"];

/// Where a line stands.
#[derive(Debug, Clone)]
pub(super) enum Place {
    /// On the command line, so to say: before all files.
    Given,
    File(Arc<Path>, usize),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Given => f.write_str("an option of ssh"),
            Self::File(file, line) => write!(f, "{}:{line}", file.display()),
        }
    }
}

/// A line that counts.
#[derive(Debug, Clone)]
pub(super) struct Directive {
    /// In lower case.
    pub(super) keyword: String,
    /// At least one.
    pub(super) words: Vec<String>,
    pub(super) place: Place,
}

impl Directive {
    /// The error of a value that makes no sense, or that cannot be honoured.
    pub(super) fn refuse(&self, reason: impl fmt::Display) -> NasSyncError {
        let Self { keyword, words, place } = self;
        NasSyncError::new(ErrorKind::Usage, format!("{place}: {keyword} {} {reason}", words.join(" "))).with_solution(
            "Correct that line, or name another ssh_config with NAS_SSH_CONFIG (--ssh-config; `none` reads none).",
        )
    }
}

/// The lines that count for one host, in their order. As in ssh the first line of a keyword counts.
#[derive(Debug, Default)]
pub(super) struct Directives(Vec<Directive>);

impl Directives {
    /// Takes a line, unless an earlier one has said it.
    pub(super) fn obtain(&mut self, line: Directive) {
        let is_said = match line.keyword.as_str() {
            keyword if ADDING_UP.contains(&keyword) => self.all(keyword).any(|earlier| earlier.words == line.words),
            // ProxyCommand beats what follows of either; a ProxyJump that is none leaves room for a ProxyCommand.
            "proxyjump" => self.first("proxyjump").or(self.first("proxycommand")).is_some(),
            "proxycommand" => {
                let jump = self.first("proxyjump").is_some_and(|jump| !is_none(&jump.words[0]));
                jump || self.first("proxycommand").is_some()
            }
            keyword => self.first(keyword).is_some(),
        };
        if !is_said {
            self.0.push(line);
        }
    }

    /// The line of a keyword.
    pub(super) fn first(&self, keyword: &str) -> Option<&Directive> {
        self.0.iter().find(|line| line.keyword == keyword)
    }

    /// All lines of a keyword.
    pub(super) fn all<'a>(&'a self, keyword: &str) -> impl Iterator<Item = &'a Directive> {
        self.0.iter().filter(move |line| line.keyword == keyword)
    }
}

/// The word that switches a setting off.
pub(super) fn is_none(word: &str) -> bool {
    word.eq_ignore_ascii_case("none")
}
