//! Which names come with a pull, by its options: the same words for our program and for stock rsync must leave the same tree, list
//! the same and end alike, in all protocols, with the list whole and in parts.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::{copy, tree};
use crate::push_cli::shell;
use crate::push_cli::stock::snapshot;
use crate::support::cli::write_program;
use crate::support::random::Random;
use crate::support::sshd::user;
use crate::support::{Cli, Site, noise};

/// Options, and sources below the folder that is there.
type Words = (&'static str, &'static [&'static str]);

const WHOLE_PATHS: [Words; 15] = [
    ("-aR", &["/./a/b"]),
    ("-aR", &["/./a/b/c/f", "/./a/empty", "/./x"]),
    ("-aR", &["/a/./b/c", "/./a/b/c/", "/./to-a/"]),
    ("-aR", &["/./"]),
    ("-aR", &["/./*/b*/c", "/./x*"]),
    ("-rltR --delete", &["/./a/b/c", "/./a/empty"]),
    ("-rltR --delete-after", &["/./a/b/"]),
    ("-aR --delete --no-implied-dirs", &["/./a/b/c", "/./way/in/f"]),
    ("-aR --no-implied-dirs", &["/./a/b/c/f", "/./way/in/f"]),
    ("-tR --no-implied-dirs", &["/./a/b/c/f"]),
    ("-tR", &["/./a/b/c/f", "/./a/b"]),
    ("-aR --exclude=c", &["/./a/b"]),
    ("-aRn --no-implied-dirs", &["/./way/in/f", "/./a/b/new/f"]),
    ("-dtR", &["/./a/b/", "/./a/empty"]),
    ("-aR --no-implied-dirs --existing", &["/./way/in/f", "/./a/b/c/f"]),
];

const LISTS: [Words; 9] = [
    ("-a --files-from=LIST", &["/"]),
    ("-ar --files-from=LIST", &["/"]),
    ("-a --files-from=LIST --no-implied-dirs", &["/"]),
    ("-lt --files-from=LIST --no-relative", &["/"]),
    ("-a -0 --files-from=LIST0", &["/"]),
    ("-a --files-from=:LIST", &["/"]),
    ("-a -0 --files-from=:LIST0", &["/"]),
    ("-a --files-from=LIST --delete", &["/"]),
    ("-a --files-from=LIST --exclude=f", &["/a/.."]),
];

const FOLDERS: [Words; 9] = [
    ("-dt", &["/"]),
    ("-dlpt", &["/a", "/x", "/to-a"]),
    ("-dlpt --delete", &["/a/", "/way"]),
    ("-dlptogD", &["/a/b/", "/a/"]),
    ("-am", &["/"]),
    ("-am --delete", &["/"]),
    ("-am --delete-after --exclude=f", &["/"]),
    ("-am --exclude=empty/", &["/a", "/x"]),
    ("-amR --include=*/ --include=*.txt --exclude=*", &["/./"]),
];

const LINKS: [Words; 10] = [
    ("-aK", &["/"]),
    ("-aK --delete", &["/"]),
    ("-aKn --delete", &["/"]),
    ("-rtK --delete-after -b", &["/"]),
    ("-aKR", &["/./way/in/f", "/./a/b"]),
    ("-a --safe-links", &["/"]),
    ("-a --safe-links --delete", &["/"]),
    ("-a --munge-links", &["/"]),
    ("-a --munge-links --safe-links", &["/a"]),
    ("-rlt --munge-links -n", &["/"]),
];

/// What is there: folders in folders, empty ones, links of all kinds.
fn source(random: &mut Random, from: &Path) {
    tree::folder(from);
    for folder in ["a/b/c", "a/empty/deep/er", "a/b/new", "way/in", "out of/the way"] {
        fs::create_dir_all(from.join(folder)).unwrap();
    }
    for (number, name) in ["x", "a/b/c/f", "a/b/g.txt", "a/b/new/f", "way/in/f", ".bashrc", "#x", ";y", "xx.txt", "a/*"]
        .iter()
        .enumerate()
    {
        fs::write(from.join(name), noise(number * 300, 4)).unwrap();
    }
    let links = [
        ("a", "to-a"),
        ("../../x", "a/b/up"),
        ("../../../../x", "a/b/far"),
        ("/etc/passwd", "etc"),
        ("nowhere", "a/no"),
    ];
    for (target, name) in links {
        symlink(target, from.join(name)).unwrap();
    }
    tree::change(random, &from.join("out of"));
    let all: Vec<_> = snapshot(from).into_keys().collect();
    for (path, age) in all.iter().rev().zip(1..) {
        tree::set_time(&from.join(path), (1_000_000_000 + age * 1000, 123_456_789));
    }
}

/// What was there once, and other things: links to folders in the places of folders, folders in those of files.
fn destination(from: &Path, to: &Path) {
    copy(from, to);
    fs::rename(to.join("way"), to.join("real way")).unwrap();
    symlink("real way", to.join("way")).unwrap();
    fs::rename(to.join("a/b/c"), to.join("a/elsewhere")).unwrap();
    symlink("../elsewhere", to.join("a/b/c")).unwrap();
    symlink("nowhere at all", to.join("a/empty/deep/link")).unwrap();
    fs::remove_dir_all(to.join("a/b/new")).unwrap();
    fs::remove_dir_all(to.join("out of")).unwrap();
    fs::write(to.join("out of"), "a file").unwrap();
    for name in ["mine", "a/mine", "a/b/mine", "a/empty/mine", "real way/mine", "a/elsewhere/mine"] {
        fs::write(to.join(name), "mine").unwrap();
    }
    for name in ["x", "a/b/g.txt", "a/elsewhere/f", "real way/in/f"] {
        fs::write(to.join(name), "older").unwrap();
        tree::set_time(&to.join(name), (900_000_000, 0));
    }
    for (path, age) in snapshot(to).keys().rev().zip(1..) {
        tree::set_time(&to.join(path), (800_000_000 + age * 1000, 0));
    }
}

struct Places {
    site: Site,
    from: PathBuf,
    base: PathBuf,
    remote_shell: PathBuf,
}

impl Places {
    fn new(seed: &str) -> Self {
        let mut random = Random::of_environment(seed);
        let site = Site::new();
        let [from, base, remote_shell] = ["from", "base", "remote-shell"].map(|name| site.path(name));
        source(&mut random, &from);
        destination(&from, &base);
        write_program(&remote_shell, "#!/bin/sh\nshift\nexec sh -c \"$*\"\n");
        let names = ["a/b/c/f", "#x", ";y", "/x", "way/in/f", "a/empty/", "./a/b", "a/../x", "a/*", "", "no such"];
        fs::write(site.path("list"), names.join("\n")).unwrap();
        fs::write(site.path("list0"), names.join("\0")).unwrap();
        Self { site, from, base, remote_shell }
    }

    fn options(&self, options: &str) -> String {
        let path = |name| self.site.path(name).to_str().unwrap().to_owned();
        options.replace("LIST0", &path("list0")).replace("LIST", &path("list"))
    }

    /// Both programs, each to a place of its own: how they differ.
    fn compare(&self, number: usize, (options, sources): Words, protocol: u8, in_parts: bool) -> Vec<String> {
        let parts = if in_parts { "--inc-recursive" } else { "--no-inc-recursive" };
        let letters = if protocol >= 29 { "-i" } else { "" };
        let options = format!("{} {parts} {letters}", self.options(options));
        // With it and an older protocol stock rsync 3.5 takes what its own sender lists for an attack. In these the root of a
        // name such as `./a` is no folder on the way.
        let is_unknown = options.contains("--no-implied-dirs") && protocol < 30;
        let theirs = format!("{options} --protocol={}", if is_unknown { 30 } else { protocol });
        let options = format!("{options} --protocol={protocol}");
        let sources: Vec<_> = sources.iter().map(|source| format!("{}{source}", self.from.display())).collect();
        let to = ["ours", "stock"].map(|who| self.site.path(&format!("{who}{number}")));
        let mut differences = Vec::new();
        for round in ["onto what is here", "again", "into nothing"] {
            if round != "again" {
                for to in &to {
                    let _ = fs::remove_dir_all(to);
                    fs::create_dir(to).unwrap();
                    if round == "into nothing" {
                        fs::create_dir(to.join("to")).unwrap();
                    } else {
                        copy(&self.base, &to.join("to"));
                    }
                    tree::set_time(&to.join("to"), (936_868_149, 5));
                }
            }
            let [ours, stock] = [self.ours(&options, &sources, &to[0]), self.stock(&theirs, &sources, &to[1])];
            // Of a link that it follows stock rsync compares the time of the folder behind it, and sets that of the link.
            let is_other = |line: &String| {
                options.contains('K') && line.starts_with(".d..t...... ") || is_unknown && line == ".d..t...... ./"
            };
            let [ours, stock] = [ours, stock].map(|(status, mut lines, said)| {
                lines.retain(|line| !is_other(line));
                (status, lines, said)
            });
            if ours.0 != stock.0 || ours.1 != stock.1 {
                let [only_ours, only_stock] = [ours.1.difference(&stock.1), stock.1.difference(&ours.1)];
                let (only_ours, only_stock): (Vec<_>, Vec<_>) = (only_ours.collect(), only_stock.collect());
                let (status, their_status, said) = (ours.0, stock.0, &ours.2);
                differences.push(format!(
                    "{options} {sources:?}, {round}: ours ends with {status} {only_ours:?} {said}, stock with {their_status} {only_stock:?} {}", stock.2
                ));
            }
            let [mine, theirs] = to.each_ref().map(|to| {
                let mut facts = facts(&to.join("to"), &options);
                facts.retain(|(path, _)| !is_unknown || path.as_os_str() != "");
                facts
            });
            let [only_mine, only_theirs] = [mine.difference(&theirs), theirs.difference(&mine)];
            let (only_mine, only_theirs): (Vec<_>, Vec<_>) = (only_mine.collect(), only_theirs.collect());
            if !only_mine.is_empty() || !only_theirs.is_empty() {
                differences
                    .push(format!("{options} {sources:?}, {round}: ours leaves {only_mine:?}, stock {only_theirs:?}"));
            }
        }
        for to in &to {
            fs::remove_dir_all(to).unwrap();
        }
        differences
    }

    fn ours(&self, options: &str, sources: &[String], to: &Path) -> (i32, BTreeSet<String>, String) {
        let mut cli = Cli::new(&self.site).named_rsync();
        cli.variables.retain(|name, _| matches!(name.as_str(), "PATH" | "HOME"));
        let mut words = vec!["-e".to_owned(), shell(&self.site)];
        words.extend(options.split_whitespace().map(ToOwned::to_owned));
        words.extend(sources.iter().map(|source| format!("{}@127.0.0.1:{source}", user())));
        words.push(to.join("to").to_str().unwrap().to_owned());
        let run = cli.run(&words);
        (run.code.unwrap_or(-1), lines(&run.stdout), run.stderr)
    }

    fn stock(&self, options: &str, sources: &[String], to: &Path) -> (i32, BTreeSet<String>, String) {
        let output = Command::new("rsync")
            .arg("-e")
            .arg(&self.remote_shell)
            .args(options.split_whitespace())
            .args(sources.iter().map(|source| format!("there:{source}")))
            .arg(to.join("to"))
            .env("LC_ALL", "C")
            .output()
            .expect("rsync is installed");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code().unwrap(), lines(&text(&output.stdout)), text(&output.stderr))
    }
}

/// What is listed, but for what is told in other words.
fn lines(text: &str) -> BTreeSet<String> {
    let is_told_otherwise = |line: &&str| {
        ["skipping ", "cannot delete ", "ignoring unsafe symlink"].iter().any(|begin| line.starts_with(begin))
            || line.contains('\\')
            || !line.is_ascii()
    };
    text.lines().filter(|line| !is_told_otherwise(line)).map(ToOwned::to_owned).collect()
}

/// Everything in a tree; times of those made in the run are as they come.
fn facts(folder: &Path, options: &str) -> BTreeSet<(PathBuf, Vec<String>)> {
    let year = chrono::Utc::now().timestamp() - 365 * 86_400;
    let mut seen: Vec<_> = snapshot(folder).into_iter().collect();
    for (_, facts) in &mut seen {
        let seconds: i64 = facts[3].split('.').next().unwrap().parse().unwrap();
        let is_followed = options.contains('K') && (facts[2] == "folder" || facts[0].starts_with("12"));
        if seconds > year || is_followed || options.contains("-b ") && facts[2] == "folder" {
            facts.truncate(3);
        }
    }
    seen.into_iter().collect()
}

/// All cases of a list, a few at a time; of the protocols that differ in nothing that matters here one in turn, or all with
/// `NAS_SYNC_LONG=1`.
fn compare_all(seed: &str, cases: &[Words]) {
    let places = Places::new(seed);
    let mut all = Vec::new();
    let takes_all = std::env::var_os("NAS_SYNC_LONG").is_some();
    for (number, &words) in cases.iter().enumerate() {
        // Older ones prune no folders.
        let oldest = if words.0.contains("-am") { 29 } else { 27 };
        let in_turn = [27, 28, 31][number % 3];
        for protocol in
            (oldest..=32).filter(|protocol| takes_all || ![27, 28, 31].contains(protocol) || *protocol == in_turn)
        {
            all.push((words, protocol, false));
            if protocol >= 30 {
                all.push((words, protocol, true));
            }
        }
    }
    let next = AtomicUsize::new(0);
    let work = || {
        let mut differences = Vec::new();
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let Some(&(words, protocol, in_parts)) = all.get(number) else { return differences };
            differences.extend(places.compare(number, words, protocol, in_parts));
        }
    };
    let differences: Vec<_> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..3).map(|_| scope.spawn(work)).collect();
        workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect()
    });
    assert!(differences.is_empty(), "{} differences\n{}", differences.len(), differences.join("\n"));
}

#[test]
fn whole_paths_come_as_by_stock_rsync() {
    compare_all("whole_paths_come_as_by_stock_rsync", &WHOLE_PATHS);
}

#[test]
fn names_in_files_come_as_by_stock_rsync() {
    compare_all("names_in_files_come_as_by_stock_rsync", &LISTS);
}

#[test]
fn folders_alone_and_folders_with_something_in_them_come_as_by_stock_rsync() {
    compare_all("folders_come_as_by_stock_rsync", &FOLDERS);
}

#[test]
fn links_are_kept_left_out_and_made_unusable_as_by_stock_rsync() {
    compare_all("links_are_as_by_stock_rsync", &LINKS);
}

#[test]
fn more_names_than_a_connection_holds_are_sent_while_the_list_comes() {
    let site = Site::new();
    let [from, to] = ["from", "to"].map(|name| site.path(name));
    fs::create_dir(&from).unwrap();
    fs::create_dir(&to).unwrap();
    // No name has much in common with another, or the list were short.
    let names: Vec<_> =
        (0..60_000_u64).map(|number| format!("{:0>20}{}", number * 7919 % 60_000, "x".repeat(180))).collect();
    for name in &names {
        fs::write(from.join(name), "").unwrap();
    }
    fs::write(site.path("list"), names.join("\n")).unwrap();
    for protocol in [29, 30, 32] {
        let mut cli = Cli::new(&site).named_rsync();
        cli.variables.retain(|name, _| matches!(name.as_str(), "PATH" | "HOME"));
        let list = format!("--files-from={}", site.path("list").display());
        let source = format!("{}@127.0.0.1:{}/", user(), from.display());
        let protocol = format!("--protocol={protocol}");
        let run = cli.run(&[
            "-nt",
            "--stats",
            &list,
            "-e",
            &shell(&site),
            &protocol,
            "--timeout=30",
            &source,
            to.to_str().unwrap(),
        ]);
        run.ends(0);
        assert!(run.stdout.contains("Number of files: 60,000"), "{}", run.all());
    }
}
