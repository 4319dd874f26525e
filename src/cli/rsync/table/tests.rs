use std::collections::HashSet;
use std::process::Command;

use super::*;

fn found(name: &str) -> Option<(&'static str, bool)> {
    long(name).map(|(row, on)| (row.name, on))
}

#[test]
fn negation_knows_both_names() {
    assert_eq!(found("owner"), Some(("owner", true)));
    assert_eq!(found("no-owner"), Some(("owner", false)));
    assert_eq!(found("no-o"), Some(("owner", false)));
    assert_eq!(found("no-D"), Some(("", false)));
    assert_eq!(found("no-i-r"), Some(("inc-recursive", false)));
    assert_eq!(found("no-archive"), None);
    assert_eq!(found("no-rsh"), None);
}

#[test]
fn missing_is_told_from_mistaken() {
    for name in ["iconv", "no-iconv", "no-X", "no-xattrs", "zt"] {
        let (row, _) = long(name).unwrap();
        assert!(matches!(row.effect, Effect::Refused(_)), "{name}");
    }
    assert!(matches!(short('X').unwrap().effect, Effect::Refused(_)));
    // A row without a long name is found by its letter alone.
    assert!(short('F').is_some_and(|row| row.name.is_empty()));
    for name in ["frobnicate", "no-frobnicate", "", "no-", "recur"] {
        assert_eq!(found(name), None, "{name}");
    }
    assert!(short('Q').is_none() && short(' ').is_none());
}

#[test]
fn no_name_and_no_letter_stands_twice() {
    let mut seen = HashSet::new();
    for row in TABLE {
        for name in row.names().map(ToOwned::to_owned).chain(row.letter.map(String::from)) {
            assert!(!name.starts_with("no-") && seen.insert(name.clone()), "{name}");
        }
    }
}

#[test]
fn every_row_says_what_there_is_to_say() {
    for row in TABLE {
        let is_phrase = |text: &str| !text.is_empty() && !text.ends_with('.') && !text.contains('\n');
        assert!(row.letter.is_some() || !row.name.is_empty());
        assert!(is_phrase(row.help), "{row:?}");
        assert_eq!(row.metavar.is_some(), matches!(row.effect, Effect::Value(..) | Effect::Text(..)), "{row:?}");
        match row.effect {
            Effect::Switch(..) => {}
            Effect::Value(..) | Effect::Text(..) => assert!(!row.negates, "{row:?}"),
            Effect::Harmless(reason) => assert!(is_phrase(reason), "{row:?}"),
            Effect::Refused(instead) => assert!(instead.ends_with('.') && !instead.contains('\n'), "{row:?}"),
        }
    }
}

/// The names and letters that a line of rsync's help explains, such as `--verbose, -v            increase verbosity`.
fn explained(line: &str) -> Vec<&str> {
    let names = line.trim().split("  ").next().filter(|names| names.starts_with('-')).unwrap_or_default();
    let names = names.split([',', ' ']).filter(|word| word.starts_with('-'));
    names.filter_map(|word| word.split('=').next()).collect()
}

#[test]
fn every_option_in_the_help_of_this_machines_rsync_has_a_row() {
    let help = Command::new("rsync").arg("--help").output().expect("rsync is needed here");
    let help = String::from_utf8(help.stdout).unwrap();
    let mut count = 0;
    for options in help.lines().map(explained).filter(|options| !options.is_empty()) {
        // It stands for every name that can be negated, and -h is help only when it stands alone.
        if options == ["--no-OPTION"] || options.contains(&"--help") {
            continue;
        }
        let rows = options.iter().map(|option| match option.strip_prefix("--") {
            Some(name) => long(name).map(|(row, _)| row),
            None => short(char::from(option.as_bytes()[1])),
        });
        let rows: Vec<_> = rows.map(|row| row.unwrap_or_else(|| panic!("{options:?} is not in the table"))).collect();
        assert!(rows.iter().all(|row| std::ptr::eq(*row, rows[0])), "{options:?} are not one row");
        count += options.len();
    }
    // rsync 3.1 has about 150.
    assert!(count > 140, "the help of rsync was not understood: {count}");
}
