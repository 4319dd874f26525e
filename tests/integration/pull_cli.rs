//! `pull`, and the name `rsync` with the host in front: the same words for our program and for stock rsync, from the same
//! server: same tree, same lines, same exit status.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::push_cli::stock::{same_trees, tree};
use crate::push_cli::{set_time, shell};
use crate::support::cli::Run;
use crate::support::random::Random;
use crate::support::sshd::user;
use crate::support::{Cli, Site, noise};

fn words(site: &Site, options: &str, sources: &[&str], to: &Path) -> Vec<String> {
    let mut words = vec!["-e".to_owned(), shell(site)];
    words.extend(options.split_whitespace().map(ToOwned::to_owned));
    words.extend(sources.iter().map(|source| format!("{}@127.0.0.1:{source}", user())));
    words.push(to.to_str().unwrap().to_owned());
    words
}

/// Our program under the name `rsync`.
fn ours(site: &Site, options: &str, sources: &[&str], to: &Path) -> Run {
    let mut cli = Cli::new(site).named_rsync();
    cli.variables.retain(|name, _| matches!(name.as_str(), "PATH" | "HOME"));
    cli.run(&words(site, options, sources, to))
}

/// The system's rsync over the system's ssh, from the same server. Gives its exit status and what it lists.
fn stock(site: &Site, options: &str, sources: &[&str], to: &Path) -> (i32, BTreeSet<String>) {
    let output = Command::new("rsync").args(words(site, options, sources, to)).output().expect("rsync is installed");
    (output.status.code().unwrap(), lines(&String::from_utf8(output.stdout).unwrap()))
}

fn lines(text: &str) -> BTreeSet<String> {
    text.lines().map(ToOwned::to_owned).collect()
}

/// Both programs, each to its own place. They must end alike and list the same.
#[track_caller]
fn both(site: &Site, options: &str, sources: &[&str], to: [&Path; 2]) {
    let run = ours(site, options, sources, to[0]);
    let (status, listed) = stock(site, options, sources, to[1]);
    run.ends(status);
    assert_eq!(lines(&run.stdout), listed, "{options} {sources:?}");
}

/// Rewrites, renames, replaces and retimes what a tree holds.
fn mutate(from: &Path) {
    fs::write(from.join("a"), noise(3000, 9)).unwrap();
    fs::set_permissions(from.join("b.sh"), fs::Permissions::from_mode(0o500)).unwrap();
    set_time(&from.join("sub/secret"), "2012-12-12 12:12:12.5 UTC");
    fs::remove_file(from.join("link")).unwrap();
    symlink("b.sh", from.join("link")).unwrap();
    fs::remove_file(from.join("dangling")).unwrap();
    fs::write(from.join("dangling"), "a file by now").unwrap();
    fs::remove_file(from.join("far")).unwrap();
    fs::create_dir(from.join("far")).unwrap();
    fs::write(from.join("far/new"), "new").unwrap();
    fs::remove_dir(from.join("empty")).unwrap();
    fs::write(from.join("empty"), "no folder any more").unwrap();
    set_time(&from.join("far"), "2013-12-12 12:12:12.5 UTC");
    set_time(from, "2014-12-12 12:12:12.5 UTC");
}

#[test]
fn an_archive_is_what_stock_rsync_makes_of_it() {
    for protocol in 27..=32 {
        let site = Site::new();
        let from = tree(&site);
        let inside = format!("{}/", from.display());
        let [mine, theirs] = ["o", "s"].map(|who| site.path(&format!("{who}{protocol}")));
        let options = format!("-a -i --no-D --protocol={protocol}");
        both(&site, &options, &[&inside], [&mine, &theirs]);
        same_trees(&mine, &theirs, &format!("{protocol}"));
        mutate(&from);
        both(&site, &options, &[&inside], [&mine, &theirs]);
        same_trees(&mine, &theirs, &format!("{protocol}, again"));
        both(&site, &options, &[&inside], [&mine, &theirs]);
        if protocol >= 31 {
            same_trees(&mine, &from, "the source itself");
        }
    }
}

#[test]
fn other_sets_of_options_and_operands_give_what_stock_rsync_gives() {
    let site = Site::new();
    let from = tree(&site);
    let (inside, whole) = (format!("{}/", from.display()), from.display().to_string());
    let (file, sub) = (format!("{whole}/a"), format!("{whole}/sub"));
    let wild = format!("{whole}/*b*");
    for (number, (options, sources, to)) in [
        ("-rlt", vec![&*inside], "modeless"),
        ("-rlpt", vec![&*inside], "ownerless/"),
        ("-rlptgo --numeric-ids", vec![&*sub, &*file], "two/"),
        ("-rl", vec![&*inside], "without"),
        ("-rlptO", vec![&*inside], "times-of-files-only"),
        ("-rt", vec![&*inside], "linkless"),
        ("-t", vec![&*file], "renamed"),
        ("-t", vec![&*file], "existing/"),
        ("-t", vec![&*sub, &*file], "no-folders/"),
        ("-rlptc", vec![&*inside], "compared"),
        ("-rlptI -z", vec![&*inside], "compressed"),
        ("-rlpt --zc=lz4", vec![&*wild], "wild"),
        ("-rlptn -i", vec![&*inside], "dry"),
        ("-rlpt", vec![&*whole], "with-the-folder"),
    ]
    .into_iter()
    .enumerate()
    {
        let [mine, theirs] = ["o", "s"].map(|who| site.path(&format!("{who}{number}")));
        for folder in [&mine, &theirs] {
            fs::create_dir_all(folder.join("existing")).unwrap();
            fs::create_dir_all(folder.join("compared")).unwrap();
            fs::write(folder.join("compared/a"), "x").unwrap();
        }
        both(&site, options, &sources, [&mine.join(to), &theirs.join(to)]);
        let timed = options.contains('t');
        compare(&mine, &theirs, timed, options);
        // And once more, onto what is there.
        both(&site, options, &sources, [&mine.join(to), &theirs.join(to)]);
        compare(&mine, &theirs, timed, options);
    }
}

/// All but times of the folders that the test has made, and of what got none.
#[track_caller]
fn compare(mine: &Path, theirs: &Path, timed: bool, options: &str) {
    let facts = |folder: &Path| {
        let mut found = BTreeSet::new();
        let mut open = vec![PathBuf::new()];
        while let Some(path) = open.pop() {
            let full = folder.join(&path);
            let meta = fs::symlink_metadata(&full).unwrap();
            let time = (timed && !meta.is_dir()).then(|| meta.modified().unwrap());
            let content = if meta.is_dir() {
                open.extend(fs::read_dir(&full).unwrap().map(|entry| path.join(entry.unwrap().file_name())));
                None
            } else if meta.is_symlink() {
                Some(fs::read_link(&full).unwrap().into_os_string().into_encoded_bytes())
            } else {
                Some(fs::read(&full).unwrap())
            };
            let time = time.filter(|_| !meta.is_symlink());
            found.insert((path, meta.permissions().mode(), content, time));
        }
        found
    };
    let (mine, theirs) = (facts(mine), facts(theirs));
    let differ: Vec<_> = mine.symmetric_difference(&theirs).map(|fact| (&fact.0, fact.1, fact.3)).collect();
    assert!(differ.is_empty(), "{options}: {differ:?}");
}

#[test]
fn failures_end_as_those_of_stock_rsync() {
    let site = Site::new();
    let from = tree(&site);
    let (file, other) = (format!("{}/a", from.display()), format!("{}/b.sh", from.display()));
    let missing = format!("{}/no such", from.display());
    let here = site.path("here");
    fs::create_dir(&here).unwrap();
    fs::write(here.join("file"), "x").unwrap();
    fs::create_dir_all(here.join("full/a/b")).unwrap();
    for (sources, to) in [
        (vec![&*missing], here.clone()),
        (vec![&*missing, &*file], here.join("partly/")),
        (vec![&*file, &*other], here.join("file")),
        (vec![&*file], here.join("no/such/")),
        (vec![&*file], here.join("no/such")),
        (vec![&*file], here.join("full")),
    ] {
        let run = ours(&site, "-t", &sources, &to);
        let (status, _) = stock(&site, "-t", &sources, &to);
        assert!(status != 0, "{sources:?}");
        run.ends(status);
        assert!(run.stderr.contains("error: "), "{}", run.all());
    }
    assert_eq!(fs::read_to_string(here.join("file")).unwrap(), "x");
    assert!(here.join("full/a/b").is_dir() && here.join("partly/a").is_file());
}

#[test]
fn the_word_pull_and_its_report() {
    let site = Site::new();
    let from = tree(&site);
    let to = site.path("here");
    let mut line = vec!["pull".to_owned(), "--json".to_owned()];
    line.extend(words(&site, "-a", &[&format!("{}/", from.display())], &to));
    let run = Cli::new(&site).run(&line);
    let report = run.ends(0).json();
    assert_eq!((&report["exit_code"], &report["transferred"]), (&0.into(), &7.into()), "{}", run.all());
    assert_eq!(report["files"], 7, "{}", run.all());
}

/// A random tree, changed again and again, under every protocol and compression in turn.
#[test]
fn random_trees_come_as_with_stock_rsync() {
    let mut random = Random::of_environment("random_trees_come_as_with_stock_rsync");
    let site = Site::new();
    let from = site.path("random");
    fs::create_dir(&from).unwrap();
    let source = format!("{}/", from.display());
    let rounds = if crate::support::random::long() { 200 } else { 24 };
    let [mine, theirs] = ["o", "s"].map(|who| site.path(&format!("random-{who}")));
    for round in 0..rounds {
        grow(&mut random, &from);
        let protocol = 27 + round % 6;
        let compression = match random.below(5) {
            0 if protocol >= 31 => "-z --zc=zstd",
            1 if protocol >= 31 => "--zc=lz4",
            2 if protocol >= 31 => "--zc=zlibx",
            3 => "-z",
            _ => "",
        };
        let more = ["", "-c", "-I", "-W"][random.index(4)];
        let options = format!("-a --no-D -i --protocol={protocol} {compression} {more}");
        both(&site, &options, &[&source], [&mine, &theirs]);
        same_trees(&mine, &theirs, &format!("round {round}: {options}"));
    }
}

/// Adds, changes and removes a few things.
fn grow(random: &mut Random, from: &Path) {
    const NAMES: [&str; 8] = ["a", "-b", "c d", "é", "e'f", "$g", "h\ni", "j\"k"];
    let name = |random: &mut Random| {
        let depth = 1 + random.index(3);
        (0..depth).map(|_| NAMES[random.index(NAMES.len())]).collect::<PathBuf>()
    };
    for _ in 0..12 {
        let path = from.join(name(random));
        if path.parent().is_some_and(|parent| parent.is_dir() && !parent.is_symlink()) {
            let old = fs::symlink_metadata(&path).ok();
            match (random.below(8), old) {
                (0, Some(old)) if old.is_dir() => fs::remove_dir_all(&path).unwrap(),
                (1, Some(old)) if !old.is_dir() => fs::remove_file(&path).unwrap(),
                (2, None) => symlink(name(random), &path).unwrap(),
                (3 | 4, None) => fs::create_dir(&path).unwrap(),
                (5, Some(old)) if !old.is_symlink() => {
                    let mode = if old.is_dir() { 0o700 } else { 0o400 } | u32::try_from(random.below(0o100)).unwrap();
                    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
                }
                (_, Some(old)) if old.is_file() => {
                    let mut content = fs::read(&path).unwrap();
                    let at = random.index(content.len() + 1);
                    content.splice(at..at, noise(random.index(900), random.next()));
                    fs::remove_file(&path).unwrap();
                    fs::write(&path, content).unwrap();
                    set_time(
                        &path,
                        &format!("2001-02-03 04:05:{:02}.{:09} UTC", random.below(60), random.below(1_000_000_000)),
                    );
                }
                (_, None) => {
                    let len = [0, 1, 699, 700, 701, 70_000, 491_000][random.index(7)];
                    fs::write(&path, noise(len, random.next())).unwrap();
                }
                _ => {}
            }
        }
    }
}
