//! Which names a server may list: those that the sources of a pull stand for, less what its rules leave out there.
//!
//! What cannot be known here is let through: what a home folder is called, what a file with names or rules over there says.

use std::collections::{HashMap, HashSet};

use crate::error::Result;
use crate::filter;
use crate::text;
use crate::tree::RemoteName;
use crate::wire::pattern;

use super::incoming::refused;

/// How much of a folder is listed that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// It alone.
    Itself,
    /// What is in it, where it was asked for by its content (`dir/`).
    Content,
    /// All below it.
    Whole,
}

/// How names come out of sources.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Naming {
    /// `-R`: whole paths are names, and the folders on the way are listed, too.
    pub whole_paths: bool,
    /// How much of a folder comes.
    pub reach: Reach,
}

impl Naming {
    /// The last components of paths, and all below them.
    pub const TREES: Self = Self { whole_paths: false, reach: Reach::Whole };
}

/// Which names a list may hold.
#[derive(Debug, Clone)]
pub struct Scope {
    naming: Naming,
    /// Names, and whether the content was asked for. The empty one is the root of the transfer.
    named: HashMap<Box<[u8]>, bool>,
    /// The folders on the way to them.
    above: HashSet<Box<[u8]>>,
    /// The same for names with wildcards, by their components.
    patterns: Vec<(Vec<Box<[u8]>>, bool)>,
    /// Whether folders on the way may be left out of the list.
    way_may_lack: bool,
    rules: Option<filter::Scope>,
}

impl Scope {
    fn empty(naming: Naming) -> Self {
        Self {
            naming,
            named: HashMap::new(),
            above: HashSet::new(),
            patterns: Vec::new(),
            way_may_lack: false,
            rules: None,
        }
    }

    /// Whatever lies below a folder that was asked for by its content.
    pub fn anything(whole_paths: bool) -> Self {
        let mut scope = Self::empty(Naming { whole_paths, reach: Reach::Whole });
        scope.named.insert(Box::default(), true);
        scope
    }

    /// What sources stand for, as a person writes them behind the colon, wildcards included.
    pub fn of_sources(sources: &[Vec<u8>], naming: Naming) -> Self {
        let mut scope = Self::empty(naming);
        for source in sources {
            let (name, opened) = name_of(source, naming.whole_paths);
            // A home folder goes by another name.
            if name.len() == source.len() && name.first() == Some(&b'~') {
                return Self::anything(naming.whole_paths);
            }
            if name.iter().any(|byte| matches!(byte, b'*' | b'?' | b'[' | b'\\')) {
                let components = components(name).map(Box::from).collect();
                scope.patterns.push((components, opened));
            } else {
                scope.add(&components(name).collect::<Vec<_>>(), opened);
            }
        }
        scope
    }

    /// What the names of `--files-from` stand for.
    pub fn of_names(names: &[Vec<u8>], naming: Naming) -> Self {
        let mut scope = Self::empty(naming);
        for name in names {
            let (name, opened) = name_of(name, naming.whole_paths);
            let mut parts = Vec::new();
            // The NAS lets no name climb out of the source.
            for component in components(name) {
                if component == b".." {
                    parts.pop();
                } else {
                    parts.push(component);
                }
            }
            scope.add(&parts, opened);
        }
        scope
    }

    /// These names, and the folders on the way to them.
    pub fn exactly<'n>(names: impl Iterator<Item = &'n RemoteName>) -> Self {
        let mut scope = Self::empty(Naming { whole_paths: true, reach: Reach::Itself });
        names.for_each(|name| scope.add(&components(name.as_bytes()).collect::<Vec<_>>(), false));
        scope
    }

    /// Without the names that these rules leave out in any case.
    #[must_use]
    pub fn ruled_by(self, rules: filter::Scope) -> Self {
        Self { rules: Some(rules), ..self }
    }

    /// With names whose folders are not listed (`--no-implied-dirs` of old protocols).
    #[must_use]
    pub fn lacking_the_way(self, way_may_lack: bool) -> Self {
        Self { way_may_lack, ..self }
    }

    fn add(&mut self, components: &[&[u8]], opened: bool) {
        let name = components.join(&b'/');
        self.above.extend(self.naming.whole_paths.then(|| parents(&name).map(Box::from)).into_iter().flatten());
        *self.named.entry(name.into()).or_default() |= opened;
    }

    /// Whether names are whole paths.
    pub(super) fn has_whole_paths(&self) -> bool {
        self.naming.whole_paths
    }

    /// Whether all below folders is listed.
    pub(super) fn is_deep(&self) -> bool {
        self.naming.reach == Reach::Whole
    }

    /// Whether a name may be listed without the folder in which it is.
    pub(super) fn way_may_lack(&self) -> bool {
        self.way_may_lack
    }

    /// Whether the root of the transfer may be an entry.
    pub(super) fn has_root(&self) -> bool {
        self.naming.whole_paths || self.named.contains_key(&b""[..])
    }

    /// Refuses a name that is not to be listed.
    pub(super) fn check(&self, name: &[u8], is_dir: bool) -> Result<()> {
        if !self.holds(name, is_dir) {
            return Err(refused(&format!("has {}, which was not asked for", text::escape_bytes(name))));
        }
        let name_in_rules = filter::Name { name, is_dir, root: b"" };
        if self.rules.as_ref().is_some_and(|rules| rules.surely_hides(name_in_rules)) {
            let error = refused(&format!("has {}, which is excluded", text::escape_bytes(name)));
            // A sender asks no rule about the folders on the way to a source.
            let is_on_the_way = is_dir && self.above.contains(name);
            let solution = "Exclude what is in that folder, or begin the name behind it by `/./`.";
            return Err(if is_on_the_way { error.with_solution(solution) } else { error });
        }
        Ok(())
    }

    fn holds(&self, name: &[u8], is_dir: bool) -> bool {
        self.named.contains_key(name)
            || is_dir && self.above.contains(name)
            || self.is_below_a_name(name)
            || self.patterns.iter().any(|(pattern, opened)| self.fits(pattern, *opened, name, is_dir))
    }

    fn is_below_a_name(&self, name: &[u8]) -> bool {
        let mut above = parents(name).chain([&b""[..]]);
        match self.naming.reach {
            Reach::Itself => false,
            Reach::Content => {
                let folder = name.iter().rposition(|&byte| byte == b'/').map_or(&b""[..], |slash| &name[..slash]);
                self.named.get(folder) == Some(&true)
            }
            Reach::Whole => above.any(|folder| self.named.contains_key(folder)),
        }
    }

    fn fits(&self, pattern: &[Box<[u8]>], opened: bool, name: &[u8], is_dir: bool) -> bool {
        // A shell leaves a pattern that nothing matches as it is.
        let fits = |(wanted, part): (&[u8], &[u8])| wanted == part || pattern::matches(wanted, part);
        let depth = components(name).count();
        let reaches = match (depth.checked_sub(pattern.len()), self.naming.reach) {
            (None, _) => self.naming.whole_paths && is_dir,
            (Some(0), _) | (_, Reach::Whole) => true,
            (Some(1), Reach::Content) => opened,
            (Some(_), Reach::Content | Reach::Itself) => false,
        };
        reaches && pattern.iter().map(|wanted| &**wanted).zip(components(name)).all(fits)
    }
}

/// What of a path becomes a name, and whether the content of that folder is meant.
fn name_of(path: &[u8], whole_paths: bool) -> (&[u8], bool) {
    let last = path.rsplit(|&byte| byte == b'/').next().unwrap_or(path);
    let opened = matches!(last, b"" | b"." | b"..");
    match path.windows(3).position(|window| window == b"/./") {
        Some(at) if whole_paths => (&path[at + 3..], opened),
        _ if whole_paths => (path, opened),
        // The content of a folder lies in the root.
        _ if opened => (b"", true),
        _ => (last, false),
    }
}

fn components(name: &[u8]) -> impl Iterator<Item = &[u8]> {
    name.split(|&byte| byte == b'/').filter(|part| !matches!(*part, b"" | b"."))
}

/// The folders on the way to a name.
fn parents(name: &[u8]) -> impl Iterator<Item = &[u8]> {
    name.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| &name[..at])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::filter::Rules;

    #[track_caller]
    fn holds(scope: &Scope, names: &[(&str, bool)]) {
        for (name, expected) in names {
            let (bare, is_dir) = name.strip_suffix('/').map_or((*name, false), |name| (name, true));
            assert_eq!(scope.check(bare.as_bytes(), is_dir).is_ok(), *expected, "{name}");
        }
    }

    fn sources(sources: &[&str], whole_paths: bool, reach: Reach) -> Scope {
        let sources: Vec<Vec<u8>> = sources.iter().map(|source| source.as_bytes().to_vec()).collect();
        Scope::of_sources(&sources, Naming { whole_paths, reach })
    }

    #[test]
    fn sources_by_their_last_components() {
        let trees = |source| sources(&[source], false, Reach::Whole);
        holds(&trees("/v/docs"), &[("docs", true), ("docs/a", true), (".bashrc", false), ("doc", false), ("v", false)]);
        holds(&trees("docs/*.pdf"), &[("a.pdf", true), ("a.pdf/x", true), ("*.pdf", true), ("a.txt", false)]);
        for source in ["docs/", "docs/.", "docs/..", "..", ".", "", "~", "~me"] {
            holds(&trees(source), &[("anything", true), ("a/b", true)]);
        }
        holds(&sources(&["a", "b/"], false, Reach::Itself), &[("a", true), ("a/x", false), ("x", false)]);
        let content = sources(&["a", "b/"], false, Reach::Content);
        holds(&content, &[("a/", true), ("a/x", false), ("x", true), ("x/y", false)]);
    }

    #[test]
    fn sources_by_their_whole_paths() {
        let trees = |source| sources(&[source], true, Reach::Whole);
        let all = [("a/", true), ("a", false), ("a/b/", true), ("a/b/c", true), ("a/b/c/d", true), ("a/x", false)];
        for source in ["/a/b/c", "a/b//c/", "./a/b/c/.", "/x/./a/b/c", "x y/.//a/b/c"] {
            holds(&trees(source), &all);
        }
        holds(&trees("/a/./b"), &[("a/", false), ("b", true)]);
        holds(&trees("/a/./"), &[("anything", true)]);
        holds(&trees("~/a"), &[("anything", true)]);
        holds(&trees("~/./a"), &[("a", true), ("b", false)]);
        holds(
            &trees("/a/*/c?"),
            &[("a/x/", true), ("a/x", false), ("a/x/c1/d", true), ("a/x/d", false), ("b/", false)],
        );
        let content = sources(&["a/b/"], true, Reach::Content);
        holds(&content, &[("a/", true), ("a/b/", true), ("a/b/c", true), ("a/b/c/d", false), ("a/c", false)]);
    }

    #[test]
    fn names_of_a_list_have_no_wildcards() {
        let names: Vec<Vec<u8>> = ["/a/*", "b/../../c/d", "e/./f", "g/"].map(Into::into).into();
        let scope = Scope::of_names(&names, Naming { whole_paths: true, reach: Reach::Content });
        holds(&scope, &[("a/", true), ("a/*", true), ("a/x", false), ("c/d", true), ("b/", false), ("f", true)]);
        holds(&scope, &[("e/", false), ("g/", true), ("g/x", true), ("g/x/y", false), ("c/d/x", false)]);
    }

    #[test]
    fn what_rules_leave_out_in_any_case() {
        let ruled = |text: &str| {
            let rules = Rules::of_text(text, &mut |_| Err(std::io::ErrorKind::NotFound.into())).unwrap();
            Scope::anything(false).ruled_by(filter::Scope::new(&rules))
        };
        holds(&ruled("+ a.o; - *.o; H h; P p; - d/"), &[("a.o", true), ("b.o", false), ("h", false), ("p", true)]);
        holds(&ruled("- d/"), &[("d/", false), ("d", true), ("x/d/", false)]);
        // What a folder's file says there, or what the NAS calls the way to the source, is not known here.
        holds(&ruled("- a; : .rules; - b; - c"), &[("a", false), ("b", true)]);
        holds(&ruled("-/ /v/*; - b"), &[("b", true)]);
    }
}
