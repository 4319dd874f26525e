//! What is drawn: names, patterns, rules and trees, out of so few words that they meet.

use std::fs;
use std::path::Path;

use crate::support::random::Random;

/// Components of names. Some look like patterns, some are what CVS leaves out, some end with what backups end with.
const NAMES: [&str; 18] =
    ["a", "b", "ab", "abc", "a.o", "c.o", "d", "e", "x y", "[a]", "a\\b", "*b", "b~", "core", "CVS", ".h", "#n", "-n"];
/// Components of patterns that are more than a name.
const WILD: [&str; 20] = [
    "*",
    "a*",
    "*b",
    "?",
    "??",
    "*.o",
    "[ab]",
    "[!a]*",
    "[^a-c]",
    "[[:alpha:]]",
    "**",
    "a**",
    "**b",
    "\\[a\\]",
    "\\*b",
    "*\\b",
    "[]a]",
    "x?y",
    "a\\*",
    "[a",
];
/// The names of files of rules in folders.
pub const IN_FOLDERS: [&str; 4] = [".rules", ".more", ".rsync-filter", ".cvsignore"];

/// One out of some.
pub fn one<'a>(random: &mut Random, of: &[&'a str]) -> &'a str {
    of[random.index(of.len())]
}

/// A pattern: plain or wild, anchored or not, for folders alone or not.
pub fn pattern(random: &mut Random, root: &str) -> String {
    let mut text = String::new();
    if random.one_in(4) {
        text.push('/');
    } else if random.one_in(12) {
        text.push_str("**/");
    }
    for at in 0..[1, 1, 1, 2, 2, 3][random.index(6)] {
        if at > 0 {
            text.push('/');
        }
        text.push_str(if random.one_in(2) { one(random, &NAMES) } else { one(random, &WILD) });
    }
    match random.below(10) {
        0 | 1 => text.push('/'),
        2 => text.push_str("/**"),
        3 => text.push_str("/***"),
        _ => {}
    }
    // An absolute one fits seldom by chance.
    if text.starts_with('/') && random.one_in(8) { format!("{root}{text}") } else { text }
}

/// A rule of a file or of `--filter`. `nested` says that files may name others.
pub fn rule(random: &mut Random, root: &str, nested: bool) -> String {
    let names = [
        ("-", "exclude"),
        ("-", "exclude"),
        ("-", "exclude"),
        ("+", "include"),
        ("+", "include"),
        ("H", "hide"),
        ("S", "show"),
        ("P", "protect"),
        ("R", "risk"),
    ];
    match random.below(24) {
        0 => String::from(if random.one_in(2) { "!" } else { "clear" }),
        1 if random.one_in(2) => String::from("-C"),
        2 | 3 if nested => {
            let file = one(random, &IN_FOLDERS);
            let modifiers = file_modifiers(random);
            joined(random, ":", "dir-merge", &modifiers, file)
        }
        _ => {
            let (letter, word) = names[random.index(names.len())];
            let mut modifiers = String::new();
            for (modifier, chance) in [('/', 10), ('!', 12), ('p', 8)] {
                if random.one_in(chance) {
                    modifiers.push(modifier);
                }
            }
            if matches!(letter, "-" | "+") && random.one_in(8) {
                modifiers.push(if random.one_in(2) { 's' } else { 'r' });
            }
            let pattern = pattern(random, root);
            joined(random, letter, word, &modifiers, &pattern)
        }
    }
}

/// Modifiers of a rule about files.
pub fn file_modifiers(random: &mut Random) -> String {
    let mut modifiers = String::new();
    match random.below(8) {
        0 => modifiers.push('C'),
        1 => modifiers.push('-'),
        2 => modifiers.push('+'),
        3 => modifiers.push_str("w-"),
        4 => modifiers.push('w'),
        _ => {}
    }
    for (modifier, chance) in [('n', 5), ('e', 5), ('s', 8), ('r', 8), ('p', 10), ('/', 16)] {
        let is_odd = (modifier == 'n' && modifiers.contains('C')) || (modifier == 'r' && modifiers.contains('s'));
        if random.one_in(chance) && !is_odd {
            modifiers.push(modifier);
        }
    }
    modifiers
}

/// A rule in its short or its long form.
fn joined(random: &mut Random, letter: &str, word: &str, modifiers: &str, value: &str) -> String {
    let space = if random.one_in(6) { '_' } else { ' ' };
    if random.one_in(4) {
        let comma = if modifiers.is_empty() { "" } else { "," };
        format!("{word}{comma}{modifiers}{space}{value}")
    } else {
        let comma = if random.one_in(8) && !modifiers.is_empty() { "," } else { "" };
        format!("{letter}{comma}{modifiers}{space}{value}")
    }
}

/// The text of a file of rules; `bare` has nothing but patterns.
pub fn rules_file(random: &mut Random, root: &str, bare: bool, nested: bool) -> String {
    let mut text = String::new();
    for _ in 0..random.below(4) {
        match random.below(12) {
            0 => text.push_str("# no rule"),
            1 => text.push_str("; no rule"),
            2 => {}
            _ if bare => text.push_str(&pattern(random, root)),
            _ => text.push_str(&rule(random, root, nested)),
        }
        text.push_str(if random.one_in(8) { "\r\n" } else { "\n" });
    }
    text
}

/// Makes a tree of empty files, and gives its names. The folder itself has none.
pub fn tree(random: &mut Random, folder: &Path) -> Vec<String> {
    fs::create_dir_all(folder).unwrap();
    let (mut names, mut folders) = (Vec::new(), vec![(String::new(), 0)]);
    while let Some((prefix, depth)) = folders.pop() {
        for _ in 0..2 + random.below(5) {
            let name = format!("{prefix}{}", one(random, &NAMES));
            if names.contains(&name) {
                continue;
            }
            if depth < 3 && random.one_in(2) {
                fs::create_dir(folder.join(&name)).unwrap();
                folders.push((format!("{name}/"), depth + 1));
            } else {
                fs::write(folder.join(&name), "").unwrap();
            }
            names.push(name);
        }
    }
    names
}
