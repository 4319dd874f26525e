//! A list of rules, as options and files give them, and what of it is in force in a folder.

use std::sync::Arc;

use super::parse::{BadRule, Origin, Parsed, lines};
use super::pattern::{Name, Pattern, below};
use super::rule::{FolderRules, NameRule, Reading, Rule, Side, Verdict};

/// How deep files of rules may name one another.
const MOST_NESTED: usize = 16;

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
    rules: Vec<Rule>,
    zero_ended: bool,
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

    fn add(
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

fn no_file(_path: &[u8]) -> std::io::Result<Vec<u8>> {
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

/// Who decides by rules, and about what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Decides {
    /// A sender, about what takes part.
    Sender,
    /// A receiver, about what it keeps.
    Receiver {
        /// Whether it keeps nothing for being left out (`--delete-excluded`).
        excluded_too: bool,
    },
}

impl Decides {
    /// Whether it looks at rules about names.
    fn by_names(self, side: Side) -> bool {
        match self {
            Self::Sender => side != Side::Receiver,
            Self::Receiver { excluded_too } => side == Side::Receiver || side == Side::Both && !excluded_too,
        }
    }

    /// Whether it reads files of rules that a file names: not those for the other side.
    fn by_files(self, side: Side) -> bool {
        let others = if self == Self::Sender { Side::Receiver } else { Side::Sender };
        side != others
    }
}

/// The rules that are in force in a folder, for one side.
#[derive(Debug, Clone)]
pub struct Scope {
    rules: Arc<[InForce]>,
    /// Whether any of them is about files in folders.
    changes: bool,
    decides: Decides,
}

/// What becomes of the folder in which a name is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Around {
    /// It stays.
    Stays,
    /// It is to be deleted, and perishable rules keep nothing.
    Goes,
}

#[derive(Debug, Clone)]
enum InForce {
    Names(Arc<NameRule>),
    /// With those that the files of this folder and the folders above it hold.
    Folders(Arc<FolderRules>, Scope),
}

impl Scope {
    /// A sender's that hold above all folders.
    pub fn new(rules: &Rules) -> Self {
        Self::above(rules, Decides::Sender)
    }

    /// A receiver's that hold above all folders. `excluded_too` says that it keeps nothing for being left out.
    pub fn of_receiver(rules: &Rules, excluded_too: bool) -> Self {
        Self::above(rules, Decides::Receiver { excluded_too })
    }

    fn above(rules: &Rules, decides: Decides) -> Self {
        let rules = rules.rules.iter().filter_map(|rule| match rule {
            Rule::Names(rule) => decides.by_names(rule.side).then(|| InForce::Names(Arc::new(rule.clone()))),
            // As for rsync, files for the other side are read and may be wrong, though they decide nothing.
            Rule::Folders(rule) => Some(InForce::Folders(Arc::new(rule.clone()), Self::of([], decides))),
        });
        Self::of(rules, decides)
    }

    fn of(rules: impl IntoIterator<Item = InForce>, decides: Decides) -> Self {
        let rules: Arc<[InForce]> = rules.into_iter().collect();
        let changes = rules.iter().any(|rule| matches!(rule, InForce::Folders(..)));
        Self { rules, changes, decides }
    }

    /// Whether a sender sends a name.
    pub fn sends(&self, name: Name<'_>) -> bool {
        self.verdict(name, Around::Stays) != Some(Verdict::Exclude)
    }

    /// Whether a receiver keeps a name that it could delete.
    pub fn keeps(&self, name: Name<'_>, around: Around) -> bool {
        self.verdict(name, around) == Some(Verdict::Exclude)
    }

    fn verdict(&self, name: Name<'_>, around: Around) -> Option<Verdict> {
        self.rules.iter().find_map(|rule| match rule {
            InForce::Names(rule) if rule.perishable && around == Around::Goes => None,
            InForce::Names(rule) => rule.matches(name).then_some(rule.verdict),
            InForce::Folders(_, inner) => inner.verdict(name, around),
        })
    }

    /// Whether rules may lie in the folders above the transfer.
    pub fn looks_above(&self) -> bool {
        self.rules.iter().any(|rule| matches!(rule, InForce::Folders(rule, _) if rule.from_above.is_some()))
    }

    fn add_files(&self, files: &mut Vec<Vec<u8>>) {
        for rule in &*self.rules {
            if let InForce::Folders(rule, inner) = rule {
                files.push(rule.file.clone());
                inner.add_files(files);
            }
        }
    }

    /// Those in force in a folder below, whose absolute path has no slash in front here. `read` gives the content of a file
    /// in that folder.
    pub fn enter(&self, folder: &[u8], read: &mut ReadFolder<'_>) -> Result<Self, FilterError> {
        self.entered(folder, &|_| true, false, read)
    }

    /// Those in force below a folder that lies above the transfer.
    pub fn enter_above(&self, folder: &[u8], read: &mut ReadFolder<'_>) -> Result<Self, FilterError> {
        let is_below = |top: &Vec<u8>| top.is_empty() || folder == top || below(folder, top).is_some();
        self.entered(folder, &|rule| rule.from_above.as_ref().is_some_and(is_below), true, read)
    }

    fn entered(
        &self,
        folder: &[u8],
        applies: &dyn Fn(&FolderRules) -> bool,
        is_above: bool,
        read: &mut ReadFolder<'_>,
    ) -> Result<Self, FilterError> {
        if !self.changes {
            return Ok(self.clone());
        }
        let mut known = Vec::new();
        self.add_files(&mut known);
        let mut reader = Reader { folder, is_above, known, read, decides: self.decides };
        let rules: Result<Vec<_>, FilterError> = self
            .rules
            .iter()
            .map(|rule| match rule {
                InForce::Folders(rule, above) if applies(rule) => {
                    let inner = reader.inner(rule, above, 0)?;
                    Ok(InForce::Folders(Arc::clone(rule), inner))
                }
                other => Ok(other.clone()),
            })
            .collect();
        Ok(Self::of(rules?, self.decides))
    }
}

/// Gives the content of a file in a folder; `None` where there is no such file.
pub type ReadFolder<'a> = dyn FnMut(&[u8]) -> std::io::Result<Option<Vec<u8>>> + 'a;

/// Reads what the files of a folder hold.
struct Reader<'a, 'r> {
    folder: &'a [u8],
    /// Whether the folder lies above the transfer.
    is_above: bool,
    /// The files that rules in force name: others that name them count for nothing.
    known: Vec<Vec<u8>>,
    read: &'a mut ReadFolder<'r>,
    decides: Decides,
}

impl Reader<'_, '_> {
    /// What the folder's file and those above it hold: its own rules come first.
    fn inner(&mut self, rule: &FolderRules, above: &Scope, nested: usize) -> Result<Scope, FilterError> {
        if nested == MOST_NESTED {
            return Err(FilterError::TooDeep);
        }
        let failed = |source| FilterError::File { path: crate::text::escape_bytes(&rule.file), source };
        let content = (self.read)(&rule.file).map_err(failed)?;
        let inherited = if rule.not_inherited { self.nothing() } else { self.again(above, nested)? };
        let Some(content) = content else { return Ok(inherited) };
        let origin = Origin { reading: rule.reading, folder: Some(self.folder) };
        let mut own = Rules { rules: Vec::new(), zero_ended: rule.reading.zero_ended };
        let mut cleared = false;
        for line in lines(&content, rule.reading.words, rule.reading.zero_ended) {
            let parsed = origin.rule(line)?;
            cleared |= parsed == Parsed::Clear;
            let mut beside = |path: &[u8]| (self.read)(path)?.ok_or_else(|| std::io::ErrorKind::NotFound.into());
            own.add(parsed, origin, &mut beside, nested)?;
        }
        let mut rules = Vec::new();
        for rule in own.rules {
            match rule {
                Rule::Names(rule) if !self.decides.by_names(rule.side) => {}
                Rule::Names(rule) => rules.push(InForce::Names(Arc::new(rule))),
                Rule::Folders(rule) if !self.decides.by_files(rule.reading.side) => {}
                Rule::Folders(rule) if self.known.contains(&rule.file) => {}
                Rule::Folders(mut rule) => {
                    self.known.push(rule.file.clone());
                    if self.is_above {
                        rule.from_above.get_or_insert_with(|| self.folder.to_vec());
                    }
                    let content = self.inner(&rule, &self.nothing(), nested + 1)?;
                    rules.push(InForce::Folders(Arc::new(rule), content));
                }
            }
        }
        let inherited = inherited.rules.iter().filter(|_| !cleared).cloned();
        Ok(Scope::of(rules.into_iter().chain(inherited), self.decides))
    }

    fn nothing(&self) -> Scope {
        Scope::of([], self.decides)
    }

    /// What of the rules of a file above is about files in folders is read here, too.
    fn again(&mut self, above: &Scope, nested: usize) -> Result<Scope, FilterError> {
        let mut again = |rule: &InForce| match rule {
            InForce::Folders(rule, above) => {
                Ok(InForce::Folders(Arc::clone(rule), self.inner(rule, above, nested + 1)?))
            }
            names @ InForce::Names(_) => Ok(names.clone()),
        };
        let rules: Result<Vec<_>, FilterError> = above.rules.iter().map(&mut again).collect();
        Ok(Scope::of(rules?, self.decides))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn rules(filters: &[&str]) -> Rules {
        let mut rules = Rules::default();
        for filter in filters {
            rules.add_filter(filter.as_bytes(), &mut no_file).unwrap();
        }
        rules
    }

    fn sends(scope: &Scope, name: &str) -> bool {
        let (name, is_dir) = name.strip_suffix('/').map_or((name, false), |name| (name, true));
        scope.sends(Name { name: name.as_bytes(), is_dir, root: b"r" })
    }

    fn enter(scope: &Scope, folder: &str, files: &BTreeMap<&str, &str>) -> Scope {
        let mut read = |name: &[u8]| {
            let path = format!("{folder}/{}", String::from_utf8_lossy(name));
            Ok(files.get(&*path).map(|content| content.as_bytes().to_vec()))
        };
        scope.enter(folder.as_bytes(), &mut read).unwrap()
    }

    #[test]
    fn a_text_has_rules_by_lines_and_semicolons() {
        let text = "- *.o; + x\n# none\r\n\n;;P y;";
        assert_eq!(Rules::of_text(text, &mut no_file).unwrap(), rules(&["- *.o", "+ x", "P y"]));
        assert!(Rules::of_text("- a; b", &mut no_file).is_err());
    }

    #[test]
    fn the_first_that_matches_decides() {
        let scope = Scope::new(&rules(&["+ keep.o", "- *.o", "P *.c", "H *.h", "- x", "!", "- y"]));
        assert!(sends(&scope, "keep.o") && sends(&scope, "a.o") && sends(&scope, "x") && !sends(&scope, "y"));
        let scope = Scope::new(&rules(&["+ keep.o", "- *.o", "P *.c", "H *.h"]));
        assert!(sends(&scope, "d/keep.o") && !sends(&scope, "d/a.o") && sends(&scope, "a.c") && !sends(&scope, "a.h"));
    }

    #[test]
    fn folders_have_rules_of_their_own_and_pass_them_on() {
        let files = BTreeMap::from([
            ("r/.rules", "- /a\n- deep"),
            ("r/d/.rules", "+ deep\n: .more"),
            ("r/d/.more", "- m"),
            ("r/d/e/.rules", "!\n- z"),
        ]);
        let top = Scope::new(&rules(&[": .rules", "- y"]));
        let root = enter(&top, "r", &files);
        assert!(!sends(&root, "a") && !sends(&root, "deep") && sends(&root, "m") && !sends(&root, "y"));
        let below = enter(&root, "r/d", &files);
        assert!(sends(&below, "d/a") && sends(&below, "d/deep") && !sends(&below, "d/m"));
        let deepest = enter(&below, "r/d/e", &files);
        assert!(sends(&deepest, "d/e/deep") && sends(&deepest, "d/e/m") && !sends(&deepest, "d/e/z"));
        // Beside it nothing of that holds.
        let other = enter(&root, "r/f", &files);
        assert!(!sends(&other, "f/deep") && sends(&other, "f/m"));
    }

    #[test]
    fn some_rules_are_for_one_folder() {
        let files = BTreeMap::from([("r/.rules", "a"), ("r/.cvsignore", "b c*")]);
        let root = enter(&Scope::new(&rules(&[":n- .rules", ":C"])), "r", &files);
        assert!(!sends(&root, "a") && !sends(&root, "b") && !sends(&root, "cc"));
        let below = enter(&root, "r/d", &files);
        assert!(sends(&below, "d/a") && sends(&below, "d/b"));
    }

    #[test]
    fn files_that_name_one_another_end() {
        let files = BTreeMap::from([("r/.rules", ": .rules")]);
        let top = Scope::new(&rules(&[": .rules"]));
        assert!(sends(&enter(&top, "r", &files), "a"));
        let mut itself = |_: &[u8]| Ok(b". again".to_vec());
        let endless = Rules::default().add_filter(b". again", &mut itself);
        assert!(matches!(endless, Err(FilterError::TooDeep)));
    }

    #[test]
    fn what_a_receiver_keeps() {
        let all = rules(&["P p", "R *.r", "H h", "- *.o", "+ s", "-p b", "- x"]);
        let keeps = |scope: &Scope, name: &str, around| {
            let (name, is_dir) = name.strip_suffix('/').map_or((name, false), |name| (name, true));
            scope.keeps(Name { name: name.as_bytes(), is_dir, root: b"r" }, around)
        };
        let kept = |scope: &Scope, around| -> Vec<&str> {
            ["p", "x.r", "h", "a.o", "s", "b", "x", "y"].into_iter().filter(|name| keeps(scope, name, around)).collect()
        };
        let usual = Scope::of_receiver(&all, false);
        assert_eq!(kept(&usual, Around::Stays), ["p", "a.o", "b", "x"]);
        assert_eq!(kept(&usual, Around::Goes), ["p", "a.o", "x"]);
        assert_eq!(kept(&Scope::of_receiver(&all, true), Around::Stays), ["p"]);
        // A file for the other side that a file names is not read, and nothing in it is an error.
        let files = BTreeMap::from([("r/.rules", "P q\n:s .theirs"), ("r/.theirs", "H two sides")]);
        let inside = enter(&Scope::of_receiver(&rules(&[": .rules"]), true), "r", &files);
        assert!(keeps(&inside, "q", Around::Goes) && !keeps(&inside, "p", Around::Goes));
    }

    #[test]
    fn what_the_receiver_is_told() {
        let all = rules(&["- *.o", "H x", "P y", "S z", ":e .rules"]);
        let told = |rules: &Rules| -> Vec<String> {
            rules.for_receiver().map(|(prefix, text)| format!("{prefix} {}", String::from_utf8_lossy(&text))).collect()
        };
        assert_eq!(told(&all), ["- *.o", "-r y", "- .rules", ": .rules"]);
        let mut alone = all;
        alone.keep_nothing_excluded();
        assert_eq!(told(&alone), ["-r y", ": .rules"]);
        let sender: Vec<_> = alone.for_sender().map(|(prefix, _)| prefix).collect();
        assert_eq!(sender, ["-s", "-s", "+s", "-s", ":"]);
        let mut cvs = Rules::default();
        cvs.add_cvs(b" mine ");
        let told = told(&cvs);
        assert_eq!((&*told[0], &*told[1], told.last().unwrap().as_str()), (":C .cvsignore", "-p RCS", "-p mine"));
    }
}
