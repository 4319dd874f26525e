//! `--prune-empty-dirs`: which folders of a list that came whole are left out, because nothing that is no folder lies below them.

use crate::filter::{Around, Name, Scope};
use crate::wire::flist::FileEntry;

/// Their positions, out of all entries that count, in the order of the list. As for rsync, a folder that the rules exclude here stays,
/// with those around it. The order must be one in which a folder stands before all that is in it, and nothing else between.
pub(super) fn empty_folders<'e>(entries: impl Iterator<Item = (usize, FileEntry<'e>)>, rules: &Scope) -> Vec<usize> {
    let mut empty = Vec::new();
    // Folders that may still turn out to be empty, each in the one before.
    let mut open: Vec<usize> = Vec::new();
    let mut last_depth = 0;
    for (position, entry) in entries {
        if !entry.kind.is_dir() || entry.name == b"." {
            open.clear();
            continue;
        }
        let depth = entry.name.split(|&byte| byte == b'/').count();
        for _ in depth..=last_depth {
            empty.extend(open.pop());
        }
        last_depth = depth;
        if rules.keeps(Name { name: entry.name, is_dir: true, root: b"" }, Around::Stays) {
            open.clear();
        } else {
            open.push(position);
        }
    }
    empty.extend(open);
    empty
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::filter::Rules;
    use crate::wire::flist::{Content, EntryKind, FileMeta};

    #[track_caller]
    fn left(names: &[&str], rules: &str, expected: &[&str]) {
        let entry = |name: &&'static str| {
            let kind = if name.ends_with('/') { EntryKind::Directory(Content::Listed) } else { EntryKind::File };
            FileEntry::new(name.trim_end_matches('/').as_bytes(), kind, FileMeta::default())
        };
        let rules = Rules::of_text(rules, &mut |_| Err(std::io::ErrorKind::NotFound.into())).unwrap();
        let entries: Vec<_> = names.iter().map(|name| (*name).to_owned().leak() as &'static str).collect();
        let entries: Vec<_> = entries.iter().map(entry).collect();
        let scope = Scope::of_receiver(&rules, false);
        let mut empty = empty_folders(entries.into_iter().enumerate(), &scope);
        empty.sort_unstable();
        let empty: Vec<_> = empty.into_iter().map(|at| names[at]).collect();
        assert_eq!(empty, expected, "{names:?} {rules:?}");
    }

    #[test]
    fn folders_without_files_go() {
        left(&["./", "a/", "a/b/", "a/b/c/", "d/", "d/f", "d/e/"], "", &["a/", "a/b/", "a/b/c/", "d/e/"]);
        left(&["./", "a/", "a/b/", "a/b/f", "a/c/", "z/"], "", &["a/c/", "z/"]);
        left(&["a/", "a/b/", "a/c/", "a/c/x"], "", &["a/b/"]);
        left(&["a/", "a/b/", "a/b/c/"], "- b/", &["a/b/c/"]);
        left(&["a/", "a/b/", "a/b/c/"], "P c/; P /z", &[]);
    }
}
