//! Keeps `protocol-notes/` honest: what is cited exists, and what is quoted was recorded.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use nas_sync::internal::wire::server_args::command_line;

use super::fixtures::{CASES, Case};

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every section, with its text.
fn sections() -> Vec<(String, String)> {
    let entries = std::fs::read_dir(repository().join("protocol-notes")).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let sections = names.map(|name| {
        let text = std::fs::read_to_string(repository().join("protocol-notes").join(&name)).unwrap();
        (name, text)
    });
    sections.collect()
}

/// The anchors of a section: its headings, as they are linked.
fn anchors(text: &str) -> BTreeSet<String> {
    let headings =
        text.lines().filter_map(|line| line.strip_prefix('#')).map(|line| line.trim_start_matches('#').trim());
    let anchor = |heading: &str| {
        let kept = heading.to_lowercase().replace(' ', "-");
        kept.chars().filter(|letter| letter.is_alphanumeric() || *letter == '-').collect()
    };
    headings.map(anchor).collect()
}

fn rust_files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// References to sections in a text: `NN-name.md` or `NN-name.md#anchor`.
fn references(text: &str) -> Vec<(String, Option<String>)> {
    let mut references = Vec::new();
    for (at, _) in text.match_indices(".md") {
        let start = text[..at].rfind(|letter: char| !letter.is_ascii_alphanumeric() && letter != '-');
        let name = &text[start.map_or(0, |start| start + 1)..at];
        if !(name.len() > 3 && name.as_bytes()[..2].iter().all(u8::is_ascii_digit) && name.as_bytes()[2] == b'-') {
            continue;
        }
        let rest = &text[at + ".md".len()..];
        let anchor = rest.strip_prefix('#').map(|rest| {
            let end = rest.find(|letter: char| !letter.is_ascii_alphanumeric() && letter != '-');
            rest[..end.unwrap_or(rest.len())].to_owned()
        });
        references.push((format!("{name}.md"), anchor));
    }
    references
}

#[test]
fn what_is_cited_exists() {
    let sections = sections();
    let mut citing: Vec<(String, String)> = sections.clone();
    let mut files = Vec::new();
    for folder in ["src", "tests", "benches"] {
        rust_files(&repository().join(folder), &mut files);
    }
    for path in files {
        // This file names made-up sections.
        if !path.ends_with("notes.rs") {
            citing.push((path.display().to_string(), std::fs::read_to_string(&path).unwrap()));
        }
    }
    let mut cited = BTreeSet::new();
    for (place, text) in &citing {
        for (name, anchor) in references(text) {
            let section = sections.iter().find(|(section, _)| *section == name);
            let (_, text) = section.unwrap_or_else(|| panic!("{place} cites {name}, which does not exist"));
            if let Some(anchor) = anchor {
                assert!(
                    anchors(text).contains(&anchor),
                    "{place} cites {name}#{anchor}, a heading that does not exist"
                );
            }
            cited.insert(name);
        }
    }
    let all: BTreeSet<String> = sections.into_iter().map(|(name, _)| name).filter(|name| name != "README.md").collect();
    assert_eq!(cited, all);
}

#[test]
fn the_files_that_the_notes_name_exist() {
    for (name, text) in sections() {
        for word in text.split('`').skip(1).step_by(2) {
            let is_path = ["src/", "tests/", "fixtures/"].iter().any(|start| word.starts_with(start));
            assert!(!is_path || repository().join(word).exists(), "{name} names {word}");
        }
    }
}

/// The hops of the walk, by legs: function and file.
fn walk() -> Vec<Vec<(String, String)>> {
    let text = std::fs::read_to_string(repository().join("protocol-notes/00-a-document.md")).unwrap();
    let hop = |line: &str| {
        let cells: Vec<_> = line.split('|').map(|cell| cell.trim().trim_matches('`')).collect();
        (cells.len() == 6 && cells[1].parse::<u32>().is_ok()).then(|| (cells[2].to_owned(), cells[3].to_owned()))
    };
    text.split("\n## ")
        .map(|leg| leg.lines().filter_map(hop).collect())
        .filter(|leg: &Vec<_>| !leg.is_empty())
        .collect()
}

#[test]
fn a_document_walks_straight_through_functions_that_exist() {
    let legs = walk();
    assert_eq!(legs.len(), 3);
    assert!(legs.iter().map(Vec::len).sum::<usize>() <= 40);
    for leg in &legs {
        let mut left: Vec<&str> = Vec::new();
        for (function, file) in leg {
            let source = std::fs::read_to_string(repository().join(file)).unwrap();
            let declared = ["(", "<"].iter().any(|next| source.contains(&format!("fn {function}{next}")));
            assert!(declared, "{file} has no function {function}");
            assert!(!left.iter().rev().skip(1).any(|before| before == file), "{file} is come back to");
            if left.last() != Some(&&**file) {
                left.push(file);
            }
        }
    }
}

/// The fenced blocks of a section whose first line starts with this word: what follows it, and the lines.
fn blocks<'a>(text: &'a str, word: &str) -> Vec<(&'a str, Vec<&'a str>)> {
    let fenced = text.split("```").skip(1).step_by(2);
    let lines = fenced.filter_map(|block| {
        let mut lines = block.lines();
        let subject = lines.next()?.strip_prefix(word)?.strip_prefix(' ')?;
        Some((subject, lines.collect()))
    });
    lines.collect()
}

#[test]
fn every_quoted_byte_was_recorded() {
    let mut wrong = Vec::new();
    for (name, text) in sections() {
        let blocks = blocks(&text, "hex");
        for (file, lines) in &blocks {
            let bytes = std::fs::read(repository().join("fixtures/wire").join(file)).unwrap();
            for line in lines {
                let (offset, rest) = line.split_once("  ").unwrap_or_else(|| panic!("{name}: {line}"));
                let start = usize::from_str_radix(offset, 16).unwrap_or_else(|_| panic!("{name}: {line}"));
                let hex = rest.split("  ").next().unwrap();
                let quoted: Result<Vec<u8>, _> = hex.split(' ').map(|byte| u8::from_str_radix(byte, 16)).collect();
                let quoted = quoted.unwrap_or_else(|_| panic!("{name}: {line}"));
                let recorded = bytes.get(start..start + quoted.len());
                if recorded != Some(&*quoted) {
                    wrong.push(format!("{name}, {file}: {line}, but recorded is {recorded:02x?}"));
                }
            }
        }
        // The command line is no bytes of a stream, and from SSH on nothing is part of rsync's protocol.
        let quotes_nothing = [
            "README.md",
            "00-a-document.md",
            "02-command-line.md",
            "13-ssh.md",
            "14-database.md",
            "15-levels-of-proof.md",
            "16-filters.md",
        ]
        .contains(&&*name);
        assert_eq!(blocks.is_empty(), quotes_nothing, "{name}");
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn the_quoted_command_lines_are_those_that_are_sent() {
    let mut checked = 0;
    for (name, text) in sections() {
        for (subject, lines) in blocks(&text, "args") {
            let case = CASES.iter().find(|case| **case == subject).unwrap_or_else(|| panic!("{name}: {subject}"));
            let case = Case::load(case);
            let line = command_line("rsync", &case.options.arguments(&case.offer, b"dst")).unwrap();
            assert_eq!(lines, [String::from_utf8(line).unwrap()], "{name}: {subject}");
            checked += 1;
        }
    }
    assert_eq!(checked, 2);
}

/// The table of what was seen to fail is worth something as long as its tests are there.
#[test]
fn the_tests_of_the_table_exist() {
    let readme = std::fs::read_to_string(repository().join("tests/README.md")).unwrap();
    let (_, table) = readme.split_once("## What was seen to fail").unwrap();
    let table = table.split("\n## ").next().unwrap();
    let mut files = Vec::new();
    rust_files(&repository().join("src"), &mut files);
    rust_files(&repository().join("tests"), &mut files);
    let code: String = files.iter().map(|path| std::fs::read_to_string(path).unwrap()).collect();
    let rows = table.lines().filter_map(|line| line.strip_prefix("| ")?.split(" | ").nth(1));
    let named: Vec<&str> = rows.flat_map(|tests| tests.split('`').skip(1).step_by(2)).collect();
    assert!(named.len() > 80, "{named:?}");
    for name in named {
        let name = name.rsplit("::").next().unwrap();
        // The walks of the servers are made from a list.
        let there = [format!("fn {name}("), format!("\n    {name}: Server::")].iter().any(|form| code.contains(form));
        assert!(there, "{name} is no test");
    }
}
