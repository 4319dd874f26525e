//! rsync's lines about how far it is, beside those of stock rsync: what parses `NN%` and `to-chk=` reads the same.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use super::{ours_command, words};
use crate::support::chaos::{Chaos, Fault, Pace};
use crate::support::terminal::AtTerminal;
use crate::support::{Site, noise};

fn output(mut command: Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Some files of different sizes, below folders.
fn tree(site: &Site) -> PathBuf {
    let from = site.path("from");
    fs::create_dir_all(from.join("sub")).unwrap();
    fs::write(from.join("a.bin"), noise(3_000_000, 1)).unwrap();
    fs::write(from.join("b n°.txt"), "hi\n").unwrap();
    fs::write(from.join("empty"), "").unwrap();
    fs::write(from.join("sub/c.bin"), noise(100_000, 2)).unwrap();
    from.join("")
}

/// The lines with rate and time masked. What comes in the middle of a file depends on how far it was when somebody looked, and
/// so does how often the last one is repeated.
fn masked(text: &str) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for line in text.split(['\r', '\n']).filter(|line| !line.is_empty()) {
        let line = match line.find('%') {
            None => line.to_owned(),
            Some(percent) => {
                let (bytes, rest) = line.split_at(percent + 1);
                let (figures, counts) = rest.split_at(rest.find('(').unwrap_or(rest.len()));
                let words: Vec<_> = figures.split_whitespace().collect();
                let [rate, time] = words[..] else { panic!("{line:?}") };
                assert!(rate.ends_with("B/s") && rate[..rate.len() - 4].parse::<f64>().is_ok(), "{line:?}");
                assert!(
                    time.split(':').count() == 3 && figures.len() == 24 + usize::from(counts.is_empty()),
                    "{line:?}"
                );
                if counts.is_empty() {
                    // Only that there are such lines.
                    assert_eq!(percent, 19, "{line:?}");
                    continue;
                }
                format!("{bytes} RATE TIME {counts}")
            }
        };
        // The end of each phase repeats what is done, with what is left to be looked at by then.
        let is_repeated =
            lines.last().is_some_and(|last| transfer(last).is_some() && transfer(last) == transfer(&line));
        if !is_repeated || (line.contains("to-chk=0/") && lines.last() != Some(&line)) {
            lines.push(line);
        }
    }
    lines
}

/// Which transfer a line is about.
fn transfer(line: &str) -> Option<&str> {
    line.split_once("(xfr#")?.1.split(',').next()
}

#[test]
fn lines_are_those_of_stock_rsync_also_where_nobody_looks() {
    for options in
        ["-rt --progress", "-a --progress --no-h", "-ah --progress", "-rt --info=progress2", "-rtv --info=progress2"]
    {
        let site = Site::new();
        let from = tree(&site);
        let [mine, theirs] = ["mine", "theirs"].map(|name| site.path("nas").join(name));
        for folder in [&mine, &theirs] {
            fs::create_dir(folder).unwrap();
        }
        let run = |to: &Path, is_ours: bool| {
            let words = words(&site, options, &[&from], to);
            let mut command = if is_ours { ours_command(&site, &words) } else { Command::new("rsync") };
            if !is_ours {
                command.args(&words);
            }
            output(command)
        };
        let only_traffic = |line: &String| !line.starts_with("sent ");
        let compare = |what: &str| {
            let (mut mine, mut theirs) = (masked(&run(&mine, true)), masked(&run(&theirs, false)));
            mine.retain(only_traffic);
            theirs.retain(only_traffic);
            // It depends on how many bytes travelled.
            let cut = |lines: Vec<String>| -> Vec<String> {
                lines.into_iter().map(|line| line.split("  speedup is").next().unwrap().to_owned()).collect()
            };
            assert_eq!(cut(mine), cut(theirs), "{options}, {what}");
        };
        compare("the first time");
        fs::write(from.join("b n°.txt"), "more\n").unwrap();
        fs::remove_file(from.join("a.bin")).unwrap();
        compare("the second time");
    }
}

#[test]
fn the_other_ways_to_show_progress_can_be_asked_for() {
    let site = Site::new();
    let from = tree(&site);
    let push = |how: &str| {
        let words = words(&site, &format!("-a --progress={how}"), &[&from], &site.path("nas"));
        let output = ours_command(&site, &words).output().unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap())
    };
    let (code, stdout, stderr) = push("json");
    assert_eq!((code, stdout.as_str()), (Some(0), ""), "{stderr}");
    let events: Vec<Value> = stderr.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(events.first().unwrap()["event"], "started");
    let last = events.last().unwrap();
    assert_eq!((&last["event"], &last["synced"], &last["failed"]), (&"finished".into(), &4.into(), &0.into()));
    let (code, stdout, stderr) = push("none");
    assert_eq!((code, stdout.as_str(), stderr.as_str()), (Some(0), "", ""));
    let (code, _, stderr) = push("fancy");
    assert_eq!(code, Some(1));
    assert!(stderr.contains("one of auto, bar, plain, json, none"), "{stderr}");
}

#[test]
fn what_ends_a_push_is_said_on_a_line_of_its_own() {
    let mut site = Site::new();
    let chaos = Chaos::before(site.sshd.port(), 1);
    chaos.plan(|_| Fault::pace(Pace::Throttle(1_000_000)));
    let file = site.upload("large.bin", &noise(60_000_000, 1));
    site.know_every_port();
    let mut typed = words(&site, "--progress", &[&file], &site.path("nas"));
    typed[1] = format!("{} -o Port={}", typed[1], chaos.port());
    typed[1] =
        typed[1].replace(site.sshd.path("known_hosts").to_str().unwrap(), site.path("known_hosts").to_str().unwrap());
    typed[1] = typed[1].replace(&format!("-p {} ", site.sshd.port()), "");
    let mut command = ours_command(&site, &typed);
    command.env("NO_COLOR", "1");
    let mut person = AtTerminal::start_at(command, 80);
    person.expect("0%");
    person.expect("/s");
    assert_eq!(person.interrupt(), Some(20));
    let (_, shown) = person.end();
    assert!(shown.contains("\nerror: interrupted"), "{shown:?}");
}
