//! What of a list of rules is in force in a folder, for one side.

use std::sync::Arc;

use super::list::{FilterError, MOST_NESTED, Rules};
use super::parse::{Origin, Parsed, lines};
use super::pattern::{Name, below};
use super::rule::{FolderRules, NameRule, Rule, Side, Verdict};

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

    /// Whether the rules for a sender leave a name out whatever the folders over there are called and hold.
    pub fn surely_hides(&self, name: Name<'_>) -> bool {
        for rule in &*self.rules {
            match rule {
                InForce::Names(rule) if !rule.from_system => {
                    if rule.matches(name) {
                        return rule.verdict == Verdict::Exclude;
                    }
                }
                InForce::Names(_) | InForce::Folders(..) => return false,
            }
        }
        false
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
    use crate::filter::list::no_file;
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
