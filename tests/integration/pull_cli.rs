//! `pull`, and the name `rsync` with the host in front: the same words for our program and for stock rsync, from the same
//! server: same tree, same lines, same exit status.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::differential::tree::{add_links, change};
use crate::push_cli::stock::{same_trees, tree};
use crate::push_cli::{set_time, shell};
use crate::support::cli::{Run, write_program};
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

/// What is listed. What is skipped is told on stderr here, what stays without a word, and names that a terminal should not get are escaped in a way of
/// our own.
fn lines(text: &str) -> BTreeSet<String> {
    let is_told_otherwise = |line: &&str| {
        ["skipping ", "cannot delete "].iter().any(|begin| line.starts_with(begin)) || line.contains('\\')
    };
    text.lines().filter(|line| !is_told_otherwise(line)).map(ToOwned::to_owned).collect()
}

/// A folder of a time long past, so that neither program makes it and both see that its time differs.
fn folder(path: PathBuf) -> PathBuf {
    fs::create_dir_all(&path).unwrap();
    set_time(&path, "1999-09-09 09:09:09 UTC");
    path
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
    set_time(&from.join("link"), "2012-11-11 11:11:11.111111111 UTC");
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
        let [mine, theirs] = ["o", "s"].map(|who| folder(site.path(&format!("{who}{protocol}"))));
        // Older protocols do not say what differs.
        let letters = if protocol >= 29 { "-i" } else { "" };
        let options = format!("-a --no-D {letters} --protocol={protocol}");
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
        ("-rlptn -i", vec![&*inside], "existing/"),
        ("-rlpt", vec![&*whole], "with-the-folder"),
        ("-rlptL -i", vec![&*inside], "existing/"),
        ("-rlptk -i", vec![&*inside], "existing/"),
        ("-rlpt -i --copy-unsafe-links", vec![&*inside], "existing/"),
        ("-rlptx -i", vec![&*inside], "existing/"),
        ("-rlptJ -i", vec![&*inside], "existing/"),
    ]
    .into_iter()
    .enumerate()
    {
        let [mine, theirs] = ["o", "s"].map(|who| site.path(&format!("{who}{number}")));
        for folder in [&mine, &theirs] {
            fs::create_dir_all(folder.join("existing")).unwrap();
            fs::create_dir_all(folder.join("compared")).unwrap();
            fs::write(folder.join("compared/a"), "x").unwrap();
            set_time(&folder.join("compared/a"), "2001-01-01 UTC");
        }
        both(&site, options, &sources, [&mine.join(to), &theirs.join(to)]);
        let timed = options.contains('t');
        compare(&mine, &theirs, timed, options);
        if options.contains('J') {
            let age = fs::symlink_metadata(mine.join(to).join("link")).unwrap().modified().unwrap().elapsed();
            assert!(age.is_ok_and(|age| age.as_secs() < 3600), "the link was made just now");
        }
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
fn what_is_here_is_kept_replaced_and_deleted_as_by_stock_rsync() {
    let site = Site::new();
    let from = tree(&site);
    let here = folder(site.path("here"));
    ours(&site, "-a", &[&format!("{}/", from.display())], &here).ends(0);
    mutate(&from);
    fs::write(here.join("b.sh"), "newer, and of another length").unwrap();
    fs::write(here.join("mine"), "mine").unwrap();
    fs::create_dir_all(here.join("my own/folder")).unwrap();
    fs::write(here.join("my own/folder/file"), "mine").unwrap();
    for (number, options) in [
        "--delete",
        "--delete -n",
        "--delete-before --max-delete=1",
        "--delete-delay -b --suffix=.old",
        "--delete-after --ignore-errors",
        "--del -u",
        "-b",
        "--existing",
        "--size-only",
        "--max-size=2k --min-size=500",
        "--remove-source-files",
        "--delete --exclude=a --filter=P_/mine",
        "--delete-after --include=sub/ --exclude=*/ --delete-excluded -f protect_folder/",
        "--delete -C -FF --exclude=*.sh",
    ]
    .into_iter()
    .enumerate()
    {
        let [mine, theirs] = ["o", "s"].map(|who| site.path(&format!("{who}{number}")));
        // Each takes from a place of its own, since it may take away what has come.
        for (to, there) in [(&mine, "there-o"), (&theirs, "there-s")] {
            let there = site.path(there);
            // The first time there is nothing.
            let _ = fs::remove_dir_all(&there);
            for (one, other) in [(&from, &there), (&here, to)] {
                assert!(Command::new("cp").arg("-a").args([one, other]).status().unwrap().success());
            }
        }
        let [at_mine, at_theirs] = ["there-o", "there-s"].map(|who| format!("{}/", site.path(who).display()));
        let run = ours(&site, &format!("-a --no-D -i {options}"), &[&at_mine], &mine);
        let (status, listed) = stock(&site, &format!("-a --no-D -i {options}"), &[&at_theirs], &theirs);
        run.ends(status);
        assert_eq!(lines(&run.stdout), listed, "{options}");
        compare(&mine, &theirs, true, options);
        compare(&site.path("there-o"), &site.path("there-s"), true, options);
    }
    // Below protocol 30 it is done at first, unless told otherwise, which a limit shows: then no folder can make way.
    for protocol in 29..=30 {
        let [mine, theirs] = ["o", "s"].map(|who| site.path(&format!("{who}-{protocol}")));
        for file in ["a/in the way", "sub/mine"] {
            for to in [&mine, &theirs] {
                fs::create_dir_all(to.join(file).parent().unwrap()).unwrap();
                fs::write(to.join(file), "mine").unwrap();
                set_time(&to.join(file), "2015-12-12 12:12:12.5 UTC");
            }
        }
        let options = format!("-a --no-D -i --delete --max-delete=1 --protocol={protocol}");
        both(&site, &options, &[&format!("{}/", from.display())], [&mine, &theirs]);
        compare(&mine, &theirs, true, &options);
        assert_eq!(mine.join("a/in the way").exists(), protocol == 29);
    }
    let [mine, theirs] = ["o", "s"].map(|who| site.path(&format!("{who}/new/path")));
    both(&site, "-a --mkpath", &[&format!("{}/", from.display())], [&mine, &theirs]);
    same_trees(&mine, &theirs, "--mkpath");
}

/// Files of which a server loses some: what it sends of the first fills all that lies between.
fn large_and_small(site: &Site) -> PathBuf {
    let from = site.path("large");
    fs::create_dir_all(from.join("sub")).unwrap();
    fs::write(from.join("1-large"), noise(20 << 20, 1)).unwrap();
    for name in ["2-vanishes", "3-unreadable", "sub/file"] {
        fs::write(from.join(name), noise(1000, 2)).unwrap();
    }
    from
}

#[test]
fn servers_that_fail_end_a_pull_as_that_of_stock_rsync() {
    let site = Site::new();
    let from = large_and_small(&site);
    let vanishing = from.join("2-vanishes");
    let revive = || {
        fs::write(&vanishing, noise(1000, 3)).unwrap();
        set_time(&vanishing, "2001-01-01 UTC");
    };
    let vanish = format!("{{ dd bs=1 count=100000 2>/dev/null; rm -f '{}'; cat; }}", vanishing.display());
    for (name, script, options, status) in [
        // Without these rights root may read no more than others.
        ("unreadable", r#"exec setpriv --bounding-set=-dac_override,-dac_read_search rsync "$@""#, "", 23),
        ("vanished", &*format!(r#"rsync "$@" | {vanish}"#), "", 24),
        ("ends", r#"rsync "$@" | dd bs=1 count=100000 2>/dev/null"#, "", 12),
        ("is killed", r#"rsync "$@" | dd bs=1 count=100000 2>/dev/null; kill -KILL $$"#, "", 12),
        ("is not there", "exit 127", "", 127),
        ("refuses late", r#"rsync "$@" | dd bs=1 count=100000 2>/dev/null; exit 1"#, "", 12),
        ("fails partly", r#"rsync "$@" | dd bs=1 count=100000 2>/dev/null; exit 23"#, "", 23),
        ("stands still", r#"rsync "$@" | { dd bs=1 count=100000 2>/dev/null; sleep 20; }"#, "--timeout=3", 30),
        ("says nothing", "sleep 20", "--timeout=3", 30),
    ] {
        let mode = if name == "unreadable" { 0 } else { 0o644 };
        fs::set_permissions(from.join("3-unreadable"), fs::Permissions::from_mode(mode)).unwrap();
        let server = site.path("server");
        write_program(&server, &format!("#!/bin/bash\nset -o pipefail\n{script}\n"));
        let options = format!("-rt --rsync-path={} {options}", server.display());
        let source = format!("{}/", from.display());
        let [mine, theirs] = ["o", "s"].map(|who| site.path(&format!("{who}-{name}")));
        revive();
        let run = ours(&site, &options, &[&source], &mine);
        revive();
        let (of_stock, _) = stock(&site, &options, &[&source], &theirs);
        assert_eq!(run.code, Some(status), "{name}: {}", run.all());
        // Stock rsync takes the other side's end into account if that has ended by then, as a server does by its own timer, and
        // ssh makes 255 of a signal.
        let may_be = match name {
            "is killed" => [12, 255],
            "is not there" | "fails partly" | "stands still" => [12, status],
            _ => [status; 2],
        };
        assert!(may_be.contains(&of_stock), "{name}: stock rsync ends with {of_stock}");
        if matches!(name, "unreadable" | "vanished") {
            compare(&mine, &theirs, true, name);
            assert!(mine.join("sub/file").exists());
        }
    }
}

/// A server that is killed when it has said some of a large file.
const CUT_OFF: &str = "#!/bin/bash\nrsync \"$@\" | { dd bs=32768 count=60 2>/dev/null; kill -KILL 0; }\n";

#[test]
fn what_is_cut_off_is_kept_as_by_stock_rsync() {
    let site = Site::new();
    let from = large_and_small(&site);
    let content = fs::read(from.join("1-large")).unwrap();
    let source = format!("{}/", from.display());
    let server = site.path("server");
    write_program(&server, CUT_OFF);
    for (number, (options, kept)) in [
        ("--partial", Some("1-large")),
        ("--partial -b", Some("1-large")),
        ("--partial-dir=.part", Some(".part/1-large")),
        ("--partial-dir=.part -b --temp-dir=sub", Some(".part/1-large")),
        ("--inplace", Some("1-large")),
        ("--append", Some("1-large")),
        ("--append-verify", Some("1-large")),
        ("--no-partial", None),
    ]
    .into_iter()
    .enumerate()
    {
        let both_places = ["o", "s"].map(|who| folder(site.path(&format!("cut-{who}{number}"))));
        for to in &both_places {
            fs::create_dir(to.join("sub")).unwrap();
            fs::write(to.join("1-large"), if options.contains("append") { &content[..5000] } else { b"old" }).unwrap();
            set_time(&to.join("1-large"), "2001-01-01 UTC");
        }
        let [mine, theirs] = &both_places;
        let cut = format!("-rtp --rsync-path={} {options}", server.display());
        ours(&site, &cut, &[&source], mine).ends(12);
        // ssh makes 255 of a signal.
        assert!([12, 255].contains(&stock(&site, &cut, &[&source], theirs).0), "{options}");
        let facts = |to: &Path| {
            let mut facts = crate::push_cli::stock::snapshot(to);
            for (path, facts) in &mut facts {
                // How much of it came, and when it was cut off, is an accident.
                let is_cut = kept.is_some_and(|kept| path == Path::new(kept));
                let is_dated = facts.get(3).is_some_and(|time| time.starts_with("0."));
                if is_cut || facts[2] == "folder" {
                    facts.truncate(2);
                    facts.push(format!("of long ago: {is_dated}"));
                }
            }
            facts
        };
        assert_eq!(facts(mine), facts(theirs), "{options}");
        if let Some(kept) = kept {
            let kept = fs::read(mine.join(kept)).unwrap();
            assert!(kept.len() > 100_000 && content.starts_with(&kept), "{options}: {}", kept.len());
        }
        let [run, _] = both_places.each_ref().map(|to| ours(&site, &format!("-rtp --stats {options}"), &[&source], to));
        // What was cut off is an older version then, and how much of it came is an accident.
        if !options.contains("-b") {
            compare(mine, theirs, true, options);
        }
        assert_eq!(fs::read(mine.join("1-large")).unwrap(), content, "{options}");
        assert!(!mine.join(".part").exists(), "{options}");
        let came = crate::push_cli::stock::figure(&run.ends(0).stdout, "Total bytes received: ");
        assert_eq!(came < 20_900_000, kept.is_some(), "{options}: {came} bytes");
    }
}

#[test]
fn files_on_their_way_lie_where_the_user_says() {
    let site = Site::new();
    let from = tree(&site);
    let source = format!("{}/", from.display());
    // Usually another file system, so that what is ready there has to be copied.
    let memory = Path::new("/dev/shm");
    let far = tempfile::tempdir_in(if memory.is_dir() { memory } else { from.parent().unwrap() }).unwrap();
    let [mine, theirs] = ["o", "s"].map(|who| folder(site.path(who)));
    both(&site, &format!("-a --no-D -i --temp-dir={}", far.path().display()), &[&source], [&mine, &theirs]);
    same_trees(&mine, &theirs, "--temp-dir");
    assert_eq!(fs::read_dir(far.path()).unwrap().count(), 0);
    both(&site, "-a --no-D -I --temp-dir=nowhere", &[&source], [&mine, &theirs]);
    // An absolute folder for what was cut off.
    let part = format!("-rtp --partial-dir={}/part", far.path().display());
    let server = site.path("server");
    write_program(&server, CUT_OFF);
    let source = format!("{}/1-large", large_and_small(&site).display());
    ours(&site, &format!("{part} --rsync-path={}", server.display()), &[&source], &mine).ends(12);
    assert!(far.path().join("part/1-large").exists() && !mine.join("1-large").exists());
    ours(&site, &part, &[&source], &mine).ends(0);
    assert_eq!(fs::read_dir(far.path().join("part")).unwrap().count(), 0);
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

/// A random tree, changed again and again: the same lines as well.
#[test]
fn random_trees_are_listed_as_by_stock_rsync() {
    let mut random = Random::of_environment("random_trees_are_listed_as_by_stock_rsync");
    let site = Site::new();
    let from = folder(site.path("random"));
    let source = format!("{}/", from.display());
    let [mine, theirs] = ["o", "s"].map(|who| folder(site.path(&format!("random-{who}"))));
    for round in 0..if crate::support::random::long() { 100 } else { 18 } {
        change(&mut random, &from);
        add_links(&mut random, &from);
        let protocol = 27 + round % 6;
        let more = ["", "-c", "-I", "-W"][random.index(4)];
        let letters = if protocol >= 29 { "-i" } else { "" };
        let links = ["-H", "", "-H --no-inc-recursive"][round / 6 % 3];
        let options = format!("-a --no-D {letters} --protocol={protocol} {more} {links}");
        both(&site, &options, &[&source], [&mine, &theirs]);
        same_trees(&mine, &theirs, &format!("round {round}: {options}"));
    }
}
