//! What a terminal shows, however wide it is: nothing goes beyond its edge but a word that is longer, and a bar is one line.

use std::fs;

use unicode_width::UnicodeWidthStr as _;

use crate::support::chaos::{Chaos, Fault, Pace};
use crate::support::terminal::AtTerminal;
use crate::support::{Cli, Site, noise};

const WIDTHS: [u16; 3] = [40, 80, 200];
/// How far a line may be indented on the narrowest of them.
const LONGEST_INDENT: usize = 13;
const LONG: &str = "Contrat de location meublée – avenant n° 7 signé par les deux parties le 14 juillet 2024.pdf";

/// Each line that was on the screen, also those that were written over, without what moves and colours.
fn lines(shown: &str) -> Vec<String> {
    let mut parts = shown.split('\x1b');
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let end = part.find(|letter: char| letter.is_ascii_alphabetic()).map_or(part.len(), |at| at + 1);
        plain.push_str(&part[end..]);
    }
    plain.split(['\n', '\r']).filter(|line| !line.is_empty()).map(ToOwned::to_owned).collect()
}

/// Whether it has a word for which there is no room in any line.
fn has_a_long_word(line: &str, columns: u16) -> bool {
    line.split(' ').any(|word| word.width() + LONGEST_INDENT > usize::from(columns))
}

/// Runs it at a terminal of so many columns, and gives the lines that it shows, none of which is too long.
#[track_caller]
fn at(cli: &Cli, columns: u16, line: &str, code: i32) -> Vec<String> {
    let words: Vec<_> = line.split_whitespace().collect();
    let (ended, shown) = AtTerminal::start_at(cli.command(&words), columns).end();
    assert_eq!(ended, Some(code), "{line}: {shown}");
    let lines = lines(&shown);
    for shown in &lines {
        let fits = shown.width() <= usize::from(columns) || has_a_long_word(shown, columns);
        assert!(fits, "{line} at {columns}: {shown:?}");
    }
    lines
}

#[test]
fn a_bar_is_one_line_at_any_width_and_keeps_both_ends_of_a_name() {
    let mut site = Site::new();
    let chaos = Chaos::before(site.sshd.port(), 1);
    chaos.plan(|_| Fault::pace(Pace::Throttle(4_000_000)));
    site.through(&chaos);
    let cli = Cli::new(&site);
    let paths: Vec<_> =
        (0..12).map(|number| site.upload(&format!("{number} {LONG}"), &noise(500_000, number))).collect();
    cli.add(1, &paths);
    for columns in WIDTHS {
        cli.line("resend --all").ends(0);
        // What is there would be compared and not sent.
        for name in site.stored_names() {
            fs::remove_file(site.path("nas").join(name)).unwrap();
        }
        let lines = at(&cli, columns, "sync", 0);
        let bars: Vec<_> = lines.iter().filter(|line| line.contains('%')).map(|line| line.trim_end()).collect();
        assert!(!bars.is_empty(), "{columns}: {lines:?}");
        assert!(bars.iter().all(|bar| bar.width() < usize::from(columns)), "{columns}: {bars:?}");
        let named: Vec<_> = bars.iter().filter_map(|bar| bar.strip_suffix(".pdf")).collect();
        assert!(!named.is_empty(), "{columns}: {bars:?}");
        assert!(named.iter().all(|bar| bar.contains('…') == (columns < 200)), "{columns}: {bars:?}");
        assert!(lines.last().unwrap().contains(" s"), "{lines:?}");
    }
}

#[test]
fn tables_are_aligned_and_words_stay_whole() {
    let site = Site::new();
    let mut cli = Cli::new(&site);
    cli.set("NAS_LAYOUT", "{year}/{id}_{name}");
    let names = [LONG, "見積書.pdf", "short.pdf", "gone.pdf"];
    let paths = names.map(|name| site.upload(name, name.as_bytes()));
    cli.add(1, &paths);
    fs::remove_file(&paths[3]).unwrap();
    cli.line("sync").ends(1);
    for columns in WIDTHS {
        for (line, code) in [("status", 0), ("status --document 1", 0), ("config", 0), ("doctor", 0), ("test", 0)] {
            at(&cli, columns, line, code);
        }
        let list = at(&cli, columns, "list", 0);
        let heading = list[0].split_whitespace().collect::<Vec<_>>().join(" ");
        let expected = match columns {
            40 => "ID STATE FILE",
            80 => "ID STATE FILE ON THE NAS",
            _ => "ID STATE FILE ON THE NAS LEVEL SYNCED",
        };
        assert_eq!(heading, expected);
        let rows: Vec<_> = list.iter().filter(|line| line.contains("synced")).collect();
        let place = |line: &str, text: &str| line.find(text).map(|at| line[..at].width());
        // The year stands before the first slash.
        let there = |row: &str| place(row, "/").map(|at| at - 4);
        let file = place(&list[0], "FILE").unwrap();
        assert_eq!(rows.iter().map(|row| place(row, "見")).find(Option::is_some), Some(Some(file)), "{list:?}");
        if columns > 40 {
            let column = place(&list[0], "ON THE NAS");
            assert!(rows.len() == 3 && rows.iter().all(|row| there(row) == column), "{list:?}");
        }
        let long = rows.iter().find(|row| row.contains("Contrat")).unwrap();
        assert!(long.contains("2024.pdf") && long.contains('…'), "{long}");
    }
    // Where nobody looks nothing is cut.
    assert!(cli.line("list").ends(0).stdout.contains(&format!("/1_{LONG}")));
}

#[test]
fn a_terminal_that_can_do_little_gets_no_bar_and_no_colour() {
    let site = Site::new();
    let mut cli = Cli::new(&site);
    for (variable, value) in [("TERM", "dumb"), ("NO_COLOR", "1")] {
        cli.set(variable, value);
        let (code, shown) = AtTerminal::start_at(cli.command(&["sync"]), 80).end();
        assert_eq!(code, Some(4), "{shown}");
        assert!(!shown.contains('\x1b'), "{variable}: {shown:?}");
        cli.unset(variable);
    }
    let (_, shown) = AtTerminal::start_at(cli.command(&["sync"]), 80).end();
    assert!(shown.contains("\x1b[1;31merror:"), "{shown:?}");
}
