//! The pattern of a rule, and which names it matches, `protocol-notes/16-filters.md#patterns`.

use super::wildmatch::wildmatch;

/// A name that rules are held against.
#[derive(Debug, Clone, Copy)]
pub struct Name<'a> {
    /// Relative to the root of the transfer, without slashes at its ends.
    pub name: &'a [u8],
    /// Whether it is a folder.
    pub is_dir: bool,
    /// The absolute path of the root of the transfer, without its first slash.
    pub root: &'a [u8],
}

/// What a rule says about names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    /// Without a slash that anchors it, and without the one that asks for folders.
    text: Vec<u8>,
    anchor: Anchor,
    /// How it is read, by the characters in it.
    form: Form,
    dirs_only: bool,
}

/// Where a pattern with a slash in front begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Anchor {
    /// It had none.
    None,
    /// At the root of the transfer.
    Root,
    /// At the root of the file system: with the modifier `/`, or in the folder where the file lies that holds it.
    System,
    /// The same for a pattern without a slash in front.
    SystemAnywhere,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is one thing that a pattern may hold")]
struct Form {
    /// Whether it has wildcards. Without any a backslash is an ordinary byte.
    wild: bool,
    /// Whether it has `**`, which makes it one for whole paths.
    crosses: bool,
    /// Whether it begins with `**`.
    begins_crossing: bool,
    /// Whether it ends with `***`, which matches the folder and all in it.
    with_content: bool,
    /// How many slashes it has, that of an anchor left out.
    slashes: usize,
}

impl Pattern {
    /// Reads a pattern. `folder` is where the file lies that holds it, if that is one of a folder's own; `from_system` the
    /// modifier `/`.
    pub fn new(written: &[u8], folder: Option<&[u8]>, from_system: bool) -> Self {
        let crosses = written.windows(2).any(|pair| pair == b"**");
        let (with_content, begins_crossing) = (written.ends_with(b"***"), written.starts_with(b"**"));
        let (dirs_only, text) = match written.strip_suffix(b"/") {
            Some(text) if !text.is_empty() => (true, text),
            _ => (false, written),
        };
        let (anchor, text) = match (text.strip_prefix(b"/"), folder) {
            (Some(rest), _) if from_system => (Anchor::System, rest.to_vec()),
            // As for rsync, wildcards in the folder's own name are wildcards of the pattern then.
            (Some(rest), Some(b"")) => (Anchor::System, rest.to_vec()),
            (Some(rest), Some(folder)) => (Anchor::System, [folder, b"/", rest].concat()),
            (Some(rest), None) => (Anchor::Root, rest.to_vec()),
            (None, _) if from_system => (Anchor::SystemAnywhere, text.to_vec()),
            (None, _) => (Anchor::None, text.to_vec()),
        };
        let wild = text.iter().any(|byte| matches!(byte, b'*' | b'?' | b'['));
        let slashes = count_slashes(&text);
        let form = Form { wild, crosses, begins_crossing, with_content, slashes };
        Self { text, anchor, form, dirs_only }
    }

    /// Whether it matches. With `negated` (the modifier `!`) it is the other way round.
    pub fn matches(&self, name: Name<'_>, negated: bool) -> bool {
        ((name.is_dir || !self.dirs_only) && self.fits(name)) != negated
    }

    fn fits(&self, Name { name, is_dir, root }: Name<'_>) -> bool {
        let end: &[u8] = if is_dir && self.form.with_content { b"/" } else { b"" };
        let absolute = || {
            let between: &[u8] = if root.is_empty() { b"" } else { b"/" };
            [root, between, name, end].concat()
        };
        match self.anchor {
            Anchor::Root => self.is(&[name, end].concat()),
            Anchor::System => self.is(&absolute()),
            Anchor::None | Anchor::SystemAnywhere if self.form.slashes == 0 && !self.form.crosses => {
                let last = name.rsplit(|&byte| byte == b'/').next().unwrap_or(name);
                self.is(&[last, end].concat())
            }
            Anchor::SystemAnywhere => self.is_end_of(&absolute()),
            Anchor::None if self.form.begins_crossing => self.is(&[b"/", name, end].concat()),
            Anchor::None => self.is_end_of(&[name, end].concat()),
        }
    }

    fn is(&self, text: &[u8]) -> bool {
        if self.form.wild { wildmatch(&self.text, text) } else { self.text == text }
    }

    /// Whether it matches the text, or what stands behind a slash in it.
    fn is_end_of(&self, text: &[u8]) -> bool {
        if !self.form.wild {
            return text == self.text || text.strip_suffix(&*self.text).is_some_and(|before| before.ends_with(b"/"));
        }
        let behind_slashes = text.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| &text[at + 1..]);
        if self.form.crosses {
            return self.is(text) || (!self.form.begins_crossing && behind_slashes.into_iter().any(|end| self.is(end)));
        }
        // As many components as the pattern has.
        match count_slashes(text).checked_sub(self.form.slashes) {
            None => false,
            Some(0) => self.is(text),
            Some(before) => behind_slashes.into_iter().nth(before - 1).is_some_and(|end| self.is(end)),
        }
    }
}

fn count_slashes(text: &[u8]) -> usize {
    text.split(|&byte| byte == b'/').count() - 1
}

/// What of an absolute path lies below a folder.
pub(super) fn below<'a>(path: &'a [u8], folder: &[u8]) -> Option<&'a [u8]> {
    path.strip_prefix(folder)?.strip_prefix(b"/")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fits(pattern: &str, name: &str) -> bool {
        let (name, is_dir) = name.strip_suffix('/').map_or((name, false), |name| (name, true));
        let name = Name { name: name.as_bytes(), is_dir, root: b"home/me/src" };
        Pattern::new(pattern.as_bytes(), None, false).matches(name, false)
    }

    #[test]
    fn patterns_and_names() {
        for (pattern, name, expected) in [
            ("a", "a", true),
            ("a", "d/a", true),
            ("/a", "d/a", false),
            ("/d/a", "d/a", true),
            ("d/a", "x/d/a", true),
            ("d/a", "xd/a", false),
            ("a/", "a", false),
            ("a/", "a/", true),
            ("*.o", "d/x.o", true),
            ("d/*.o", "x/d/x.o", true),
            ("d/*.o", "d/y/x.o", false),
            ("d/**.o", "x/d/y/x.o", true),
            ("**/a", "a", true),
            ("**/a", "x/y/a", true),
            ("d/***", "d/", true),
            ("d/***", "d", false),
            ("d/***", "x/d/y/z", true),
            ("/d/***", "x/d/y/z", false),
            ("a\\b", "a\\b", true),
            ("a\\b*", "ab", true),
            ("**", "x/y", true),
            ("/", "a", false),
        ] {
            assert_eq!(fits(pattern, name), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn anchors() {
        let name = Name { name: b"d/a", is_dir: false, root: b"home/me/src" };
        let at = |pattern: &str, folder: Option<&[u8]>, from_system| {
            Pattern::new(pattern.as_bytes(), folder, from_system).matches(name, false)
        };
        assert!(at("/a", Some(b"home/me/src/d"), false) && !at("/a", Some(b"home/me/src"), false));
        assert!(at("/home/me/src/d/a", None, true) && at("src/d/a", None, true) && !at("/d/a", None, true));
        assert!(at("/d/a", Some(b"home/me/src"), false) && at("/src/d/a", Some(b"home/me"), false));
        // The folder's name is a part of the pattern.
        let name = |name| Name { name, is_dir: false, root: b"r" };
        let pattern = Pattern::new(b"/x", Some(b"r/a[b]"), false);
        assert!(pattern.matches(name(b"ab/x"), false) && !pattern.matches(name(b"a[b]/x"), false));
    }

    #[test]
    fn the_other_way_round() {
        let name = |is_dir| Name { name: b"a", is_dir, root: b"" };
        let pattern = Pattern::new(b"a/", None, false);
        assert!(pattern.matches(name(false), true) && !pattern.matches(name(true), true));
    }
}
