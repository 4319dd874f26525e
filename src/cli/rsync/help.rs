//! `push --help`, and the list of options in docs/push.md: both are written from the table of options.

use std::fmt::Write as _;

use clap::{Arg, ArgAction};

use super::table::{Effect, Group, Row, TABLE};

/// Where the descriptions begin.
const COLUMN: usize = 30;

const HEAD: &str = "\
Copies files to or from a NAS with rsync's protocol over SSH; neither rsync nor ssh is needed on this machine.

Usage: nas-sync push [OPTIONS] SRC… [USER@]HOST:DEST
       nas-sync pull [OPTIONS] [USER@]HOST:SRC… DEST
       rsync [OPTIONS] …                             (when the program is called rsync: either)
";

const TAIL: &str = "
--no-OPTION undoes an option, such as --no-owner or --no-o. What is marked [push] is not there for a pull yet.
Other options of rsync are refused by name. ~/.ssh/config is not read.
Exit status: rsync's own.
";

/// What `push --help` prints.
pub fn help() -> String {
    let mut text = String::from(HEAD);
    let groups = [
        ("What is sent", Some(Group::Sent)),
        ("How it is sent", Some(Group::Transfer)),
        ("What is done there, and to what is there", Some(Group::There)),
        ("The login", Some(Group::Login)),
        ("What is shown", Some(Group::Shown)),
        ("Accepted, and without effect here", None),
    ];
    for (heading, group) in groups {
        // Writing to a String has no error to report.
        let _ = write!(text, "\n{heading}:\n");
        for row in TABLE.iter().filter(|row| row.is_accepted() && row.group() == group) {
            let names = names(row);
            let _ = match row.aliases {
                [] => writeln!(text, "{names:<COLUMN$}{}", description(row)),
                aliases => writeln!(text, "{names:<COLUMN$}{} (also --{})", description(row), aliases.join(", --")),
            };
        }
    }
    text + TAIL
}

/// The options for completions and manual pages.
pub fn arguments() -> impl Iterator<Item = Arg> {
    TABLE.iter().filter(|row| row.is_accepted()).map(|row| {
        let mut argument = Arg::new(if row.name.is_empty() { row.help } else { row.name }).help(description(row));
        if !row.name.is_empty() {
            argument = argument.long(row.name);
        }
        if let Some(letter) = row.letter.filter(|letter| !GLOBAL_LETTERS.contains(letter)) {
            argument = argument.short(letter);
        }
        match row.metavar {
            Some(metavar) => argument.value_name(metavar.trim_matches('"')),
            None => argument.action(ArgAction::SetTrue),
        }
    })
}

/// Letters that mean the same before the word `push`.
const GLOBAL_LETTERS: [char; 3] = ['q', 'v', 'V'];

/// Letter and name, indented.
fn names(row: &Row) -> String {
    let letter = row.letter.map_or_else(|| "    ".to_owned(), |letter| format!("-{letter}, "));
    let value = row.metavar.map(|metavar| format!("={metavar}")).unwrap_or_default();
    match row.name {
        "" => format!("  {} ", letter.trim_end_matches(", ")),
        name => format!("  {letter}--{name}{value} "),
    }
}

fn description(row: &Row) -> String {
    match row.effect {
        Effect::Harmless(reason) => format!("{}: {reason}", row.help),
        _ if row.push_only => format!("{} [push]", row.help),
        _ => row.help.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = include_str!("../../../docs/push.md");
    const BEGIN: &str = "<!-- rsync options: a test of src/cli/rsync/help.rs says what belongs here -->\n";
    const END: &str = "<!-- end of the rsync options -->\n";

    /// The list of docs/push.md.
    fn page_list() -> String {
        let row = |row: &Row| {
            let letter = row.letter.map(|letter| format!("`-{letter}`"));
            let value = row.metavar.map(|metavar| format!("={metavar}")).unwrap_or_default();
            let names = row.names().map(|name| format!("`--{name}{value}`"));
            let names: Vec<_> = letter.into_iter().chain(names).collect();
            let effect = match row.effect {
                Effect::Harmless(reason) => format!("{}: no effect, because {reason}", row.help),
                _ if row.push_only => format!("{} (push only)", row.help),
                _ => row.help.to_owned(),
            };
            format!("| {} | {effect} |\n", names.join(", "))
        };
        let rows: String = TABLE.iter().filter(|row| row.is_accepted()).map(row).collect();
        format!("\n| option | what it does |\n| --- | --- |\n{rows}\n")
    }

    #[test]
    fn the_page_lists_what_is_supported() {
        let listed = PAGE.split_once(BEGIN).and_then(|(_, rest)| rest.split_once(END)).map(|(listed, _)| listed);
        let expected = page_list();
        assert!(
            listed == Some(expected.as_str()),
            "docs/push.md must hold this, from the first marker to the last:\n{BEGIN}{expected}{END}"
        );
    }

    #[test]
    fn every_supported_option_is_named_with_its_help() {
        let help = help();
        for row in TABLE {
            let names: Vec<_> = row.names().map(|name| format!("--{name}")).collect();
            let is_named = |name: &String| help.split([' ', '=', ',', ')', '\n']).any(|word| word == name);
            if row.is_accepted() {
                assert!(names.iter().all(is_named), "{names:?}");
                let line = help.lines().find(|line| line.starts_with(&super::names(row))).unwrap();
                assert!(line.contains(row.help), "{line}");
            } else {
                assert!(!names.iter().any(is_named), "{names:?} is listed and refused");
            }
        }
    }

    #[test]
    fn lines_fit_a_wide_terminal() {
        for line in help().lines() {
            assert!(line.chars().count() <= 120 && line == line.trim_end(), "{line:?}");
        }
    }
}
