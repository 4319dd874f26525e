//! A list of rules, as options and files give them.

use super::parse::{BadRule, Origin, Parsed, lines};
use super::pattern::Pattern;
use super::rule::{FolderRules, NameRule, Reading, Rule, Side, Verdict};

/// How deep files of rules may name one another.
pub(super) const MOST_NESTED: usize = 16;

/// What CVS leaves out, in rsync's reading of it.
const LEFT_OUT_BY_CVS: [&str; 36] = [
    "RCS",
    "SCCS",
    "CVS",
    "CVS.adm",
    "RCSLOG",
    "cvslog.*",
    "tags",
    "TAGS",
    ".make.state",
    ".nse_depinfo",
    "*~",
    "#*",
    ".#*",
    ",*",
    "_$*",
    "*$",
    "*.old",
    "*.bak",
    "*.BAK",
    "*.orig",
    "*.rej",
    ".del-*",
    "*.a",
    "*.olb",
    "*.o",
    "*.obj",
    "*.so",
    "*.exe",
    "*.Z",
    "*.elc",
    "*.ln",
    "core",
    ".svn/",
    ".git/",
    ".hg/",
    ".bzr/",
];

/// Why rules cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum FilterError {
    /// One makes no sense.
    #[error(transparent)]
    Rule(#[from] BadRule),
    /// A file of rules cannot be read.
    #[error("the filter file {path} cannot be read: {source}")]
    File {
        /// Its path, escaped.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// Files of rules that name one another go too deep.
    #[error("filter files name one another more than {MOST_NESTED} deep")]
    TooDeep,
}

/// Gives the content of a file of rules that a rule names; `None` where there is none and need not be.
pub type ReadFile<'a> = dyn FnMut(&[u8]) -> std::io::Result<Vec<u8>> + 'a;

/// Rules in their order: the first that matches a name decides, and what none matches takes part.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rules {
    pub(super) rules: Vec<Rule>,
    pub(super) zero_ended: bool,
}

impl Rules {
    /// Reads a text of rules, one a line or parted by semicolons. Empty ones and those that begin with `#` are none.
    pub fn of_text(text: &str, read: &mut ReadFile<'_>) -> Result<Self, FilterError> {
        let mut rules = Self::default();
        let all =
            text.split(['\n', '\r', ';']).map(str::trim).filter(|rule| !rule.is_empty() && !rule.starts_with('#'));
        all.map(str::as_bytes).try_for_each(|rule| rules.add_filter(rule, read))?;
        Ok(rules)
    }

    /// `--from0`: whether what is in files ends with zero bytes, not with lines. What has been read stays as it was read.
    pub fn set_zero_ended(&mut self, on: bool) {
        self.zero_ended = on;
        for rule in &mut self.rules {
            if let Rule::Folders(rule) = rule {
                rule.reading.zero_ended = on;
            }
        }
    }

    /// Adds the value of `--filter`.
    pub fn add_filter(&mut self, rule: &[u8], read: &mut ReadFile<'_>) -> Result<(), FilterError> {
        let origin = Origin { reading: Reading::RULES, folder: None };
        // Spaces in front of a rule mean nothing.
        self.add(origin.rule(rule.trim_ascii_start())?, origin, read, 0)
    }

    /// Adds the value of `--exclude` or `--include`.
    pub fn add_pattern(&mut self, pattern: &[u8], verdict: Verdict) -> Result<(), FilterError> {
        let origin = Origin { reading: Reading::RULES, folder: None };
        self.add(origin.pattern(pattern, verdict)?, origin, &mut no_file, 0)
    }

    /// Adds the content of a file of `--exclude-from` or `--include-from`.
    pub fn add_patterns(&mut self, content: &[u8], verdict: Verdict) -> Result<(), FilterError> {
        lines(content, false, self.zero_ended).try_for_each(|pattern| self.add_pattern(pattern, verdict))
    }

    /// Adds what keeps a folder of this name, below the destination, out of the transfer, as long as its folder stays.
    pub fn add_perishable_exclude(&mut self, pattern: &[u8]) {
        self.rules.push(exclude(pattern, Side::Both, true));
    }

    /// Adds what keeps files there from being deleted whose names match.
    pub fn add_protect(&mut self, pattern: &[u8]) {
        self.rules.push(exclude(pattern, Side::Receiver, false));
    }

    /// `--cvs-exclude`: leaves out what CVS does, by files named `.cvsignore` and by names of its own.
    pub fn add_cvs(&mut self, more: &[u8]) {
        self.add_cvs_for(Side::Both, more);
    }

    /// The same at a receiver whose sender does so by itself. Its names stay also with `--delete-excluded`.
    pub fn add_cvs_of_receiver(&mut self, more: &[u8]) {
        self.add_cvs_for(Side::Receiver, more);
    }

    fn add_cvs_for(&mut self, side: Side, more: &[u8]) {
        self.add_folder_rules(FolderRules {
            file: b".cvsignore".to_vec(),
            from_above: None,
            reading: Reading { only: Some(Verdict::Exclude), words: true, ..Reading::RULES },
            not_inherited: true,
            like_cvs: true,
        });
        self.add_names_of_cvs(side, more);
    }

    /// `--delete-excluded`: what is left out is not kept there for that. A receiver that knows the option reads the files in
    /// folders so by itself.
    pub fn keep_nothing_excluded(&mut self) {
        for rule in &mut self.rules {
            match rule {
                // Of a folder's file only where nothing else can be in it.
                Rule::Names(NameRule { side: side @ Side::Both, .. })
                | Rule::Folders(FolderRules {
                    reading: Reading { only: Some(_), side: side @ Side::Both, .. }, ..
                }) => *side = Side::Sender,
                Rule::Names(_) | Rule::Folders(_) => {}
            }
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// What concerns a receiver: for each rule what stands before its pattern, and the pattern.
    pub fn for_receiver(&self) -> impl Iterator<Item = (String, Vec<u8>)> {
        self.for_all_but(Side::Sender)
    }

    /// What concerns a sender, in the same form.
    pub fn for_sender(&self) -> impl Iterator<Item = (String, Vec<u8>)> {
        self.for_all_but(Side::Receiver)
    }

    fn for_all_but(&self, other: Side) -> impl Iterator<Item = (String, Vec<u8>)> {
        self.rules.iter().filter_map(move |rule| match rule {
            Rule::Names(rule) => (rule.side != other).then(|| (rule.prefix(), rule.written.clone())),
            Rule::Folders(rule) => (rule.reading.side != other).then(|| (rule.prefix(), rule.written())),
        })
    }

    /// Of those that name the same file the first counts.
    fn add_folder_rules(&mut self, mut rule: FolderRules) {
        rule.reading.zero_ended = self.zero_ended;
        let is_other = |other: &Rule| !matches!(other, Rule::Folders(other) if other.file == rule.file);
        if self.rules.iter().all(is_other) {
            self.rules.push(Rule::Folders(rule));
        }
    }

    fn add_names_of_cvs(&mut self, side: Side, more: &[u8]) {
        let more = more.split(u8::is_ascii_whitespace).filter(|pattern| !pattern.is_empty());
        let names = LEFT_OUT_BY_CVS.iter().map(|pattern| pattern.as_bytes()).chain(more);
        self.rules.extend(names.map(|pattern| exclude(pattern, side, true)));
    }

    pub(super) fn add(
        &mut self,
        parsed: Parsed,
        origin: Origin<'_>,
        read: &mut ReadFile<'_>,
        nested: usize,
    ) -> Result<(), FilterError> {
        match parsed {
            Parsed::Rule(rule) => self.rules.push(rule),
            Parsed::Clear => self.rules.clear(),
            Parsed::Cvs { side } => self.add_names_of_cvs(side, b""),
            Parsed::FolderRules { rule, exclude_itself } => {
                if exclude_itself {
                    self.rules.push(exclude(&rule.file, Side::Both, false));
                }
                self.add_folder_rules(rule);
            }
            Parsed::File { path, reading, exclude_itself } => {
                if nested == MOST_NESTED {
                    return Err(FilterError::TooDeep);
                }
                if exclude_itself {
                    let name = path.rsplit(|&byte| byte == b'/').next().unwrap_or(&path);
                    self.rules.push(exclude(name, Side::Both, false));
                }
                let content = read(&path).map_err(|source| {
                    let path = crate::text::escape_bytes(&path);
                    FilterError::File { path, source }
                })?;
                let origin = Origin { reading, ..origin };
                for line in lines(&content, reading.words, self.zero_ended) {
                    self.add(origin.rule(line)?, origin, read, nested + 1)?;
                }
            }
        }
        Ok(())
    }
}

pub(super) fn no_file(_path: &[u8]) -> std::io::Result<Vec<u8>> {
    Err(std::io::ErrorKind::NotFound.into())
}

fn exclude(pattern: &[u8], side: Side, perishable: bool) -> Rule {
    Rule::Names(NameRule {
        verdict: Verdict::Exclude,
        side,
        written: pattern.to_vec(),
        pattern: Pattern::new(pattern, None, false),
        negated: false,
        from_system: false,
        perishable,
    })
}
