//! Options that are the receiver's business, and what they ask of the sender: both programs push the same tree over copies of
//! the same older one, to the same server. Same tree afterwards, same exit status, same words for the server.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::stock::{close, figure};
use super::{ours, set_time, words};
use crate::support::cli::{Run, write_program};
use crate::support::sshd::user;
use crate::support::{Site, noise};

/// A site with trees to push from and over, and one more beside the destination.
struct Yard {
    site: Site,
}

impl Yard {
    fn new() -> Self {
        let yard = Self { site: Site::new() };
        Self::make_source(&yard.site.path("from"));
        Self::make_there(&yard.site.path("there"));
        Self::make_beside(&yard.site.path("nas/beside"));
        write_program(
            &yard.site.path("recorder"),
            &format!("#!/bin/sh\nprintf '%s\\n' \"$@\" >{}\nexec rsync \"$@\"\n", yard.site.path("words").display()),
        );
        yard
    }

    fn make_source(from: &Path) {
        for (name, content, time) in [
            ("same", b"the same".to_vec(), "2020-01-01 UTC"),
            ("touched", b"the same".to_vec(), "2020-01-02 UTC"),
            ("resized", b"longer than it was".to_vec(), "2020-01-01 UTC"),
            ("hidden change", b"SAME".to_vec(), "2020-01-01 UTC"),
            ("older here", b"old".to_vec(), "2010-01-01 UTC"),
            ("second", b"second".to_vec(), "2020-01-01 00:00:01 UTC"),
            ("fraction", b"fraction".to_vec(), "2020-01-01 00:00:00.5 UTC"),
            ("new", b"new".to_vec(), "2020-01-01 UTC"),
            ("d/new too", b"new".to_vec(), "2020-01-01 UTC"),
            ("d/beside", b"beside".to_vec(), "2020-01-01 UTC"),
            ("d/beside but other", b"beside".to_vec(), "2020-01-01 UTC"),
            ("grown", noise(300_000, 7), "2020-01-01 UTC"),
            ("grown and changed", noise(200_000, 8), "2020-01-01 UTC"),
            ("shifted", [noise(50_000, 1), noise(90_000, 2), noise(70_000, 3)].concat(), "2020-01-01 UTC"),
            ("zeros", [noise(5000, 4), vec![0; 300_000], noise(5000, 5)].concat(), "2020-01-01 UTC"),
            ("empty", Vec::new(), "2020-01-01 UTC"),
            ("file for folder", b"file".to_vec(), "2020-01-01 UTC"),
            ("large", noise(70_000, 6), "2020-01-01 UTC"),
        ] {
            put(&from.join(name), &content, time);
        }
        fs::create_dir_all(from.join("e/nothing")).unwrap();
        fs::set_permissions(from.join("new"), fs::Permissions::from_mode(0o755)).unwrap();
        symlink("same", from.join("link")).unwrap();
        assert!(Command::new("mkfifo").arg(from.join("pipe")).status().unwrap().success());
        set_time(&from.join("link"), "2020-01-01 UTC");
        // Last, so that no folder has the second in which something is deleted from its copy.
        for name in ["d", "e/nothing", "e", ""] {
            set_time(&from.join(name), "2021-01-01 UTC");
        }
    }

    fn make_there(there: &Path) {
        let mut changed = noise(150_000, 8);
        changed[70_000] ^= 1;
        for (name, content, time) in [
            ("same", b"the same".to_vec(), "2020-01-01 UTC"),
            ("touched", b"the same".to_vec(), "2020-01-01 UTC"),
            ("resized", b"short".to_vec(), "2020-01-01 UTC"),
            ("hidden change", b"same".to_vec(), "2020-01-01 UTC"),
            ("older here", b"newer there".to_vec(), "2015-01-01 UTC"),
            ("second", b"secOND".to_vec(), "2020-01-01 UTC"),
            ("fraction", b"FRACtion".to_vec(), "2020-01-01 UTC"),
            ("grown", noise(200_000, 7), "2019-01-01 UTC"),
            ("grown and changed", changed, "2019-01-01 UTC"),
            // What moves to the front was written over by then, and what moves to the back is still there.
            ("shifted", [noise(90_000, 2), noise(50_000, 1), noise(70_000, 3)].concat(), "2019-01-01 UTC"),
            ("file for folder/in it", b"x".to_vec(), "2019-01-01 UTC"),
            ("gone", b"gone".to_vec(), "2019-01-01 UTC"),
            ("gone.o", b"gone".to_vec(), "2019-01-01 UTC"),
            ("d/gone", b"gone".to_vec(), "2019-01-01 UTC"),
            ("d/gone~", b"gone".to_vec(), "2019-01-01 UTC"),
            ("gone folder/a", b"gone".to_vec(), "2019-01-01 UTC"),
            ("gone folder/b/c.o", b"gone".to_vec(), "2019-01-01 UTC"),
            // A link and a pipe here: their names there stay what they are where those are not sent.
            ("link", b"no link".to_vec(), "2019-01-01 UTC"),
            ("pipe", b"no pipe".to_vec(), "2019-01-01 UTC"),
        ] {
            put(&there.join(name), &content, time);
        }
        for name in ["d", "gone folder/b", "gone folder", ""] {
            set_time(&there.join(name), "2018-01-01 UTC");
        }
    }

    fn make_beside(beside: &Path) {
        put(&beside.join("d/beside"), b"beside", "2020-01-01 UTC");
        put(&beside.join("d/beside but other"), b"BESIDE", "2019-01-01 UTC");
        put(&beside.join("large"), &noise(70_000, 6), "2019-01-01 UTC");
    }

    fn copy(&self, from: &str, to: &str) -> PathBuf {
        let to = self.site.path(to);
        let _ = fs::remove_dir_all(&to);
        assert!(Command::new("cp").arg("-a").arg(self.site.path(from)).arg(&to).status().unwrap().success());
        to
    }

    /// The words of the server that was started last, without what differs in any case.
    fn words(&self, to: &Path) -> BTreeSet<String> {
        let words = fs::read_to_string(self.site.path("words")).unwrap();
        let words = words.lines().filter(|word| *word != format!("{}/", to.display()));
        let letters = |word: &str| -> Vec<String> {
            let (letters, _) = word.split_once("e.").unwrap_or((word, ""));
            letters[1..].chars().map(String::from).collect()
        };
        let kept = |word: String| !matches!(&*word, "D" | "v" | "--stats" | "--log-format=%i" | "--server");
        words
            .flat_map(|word| match word.as_bytes() {
                [b'-', b'-', ..] | [] => vec![word.to_owned()],
                [b'-', ..] if !word.starts_with("-@") => letters(word),
                _ => vec![word.to_owned()],
            })
            .filter(|word| kept(word.clone()))
            .collect()
    }

    /// Both programs, each over its own copies. They must end alike and leave the same on both sides; gives our run.
    #[track_caller]
    fn both(&self, options: &str) -> Run {
        self.both_from(options, &[""])
    }

    /// The same with other sources, by their names below the folder.
    #[track_caller]
    fn both_from(&self, options: &str, sources: &[&str]) -> Run {
        let recorder = self.site.path("recorder");
        let options = format!("{options} --rsync-path={}", recorder.display());
        // Both push to a place of the same name, so that words that hold it are the same, too.
        let (from, to) = (self.copy("from", "mine"), self.copy("there", "nas/to"));
        let sources: Vec<_> = sources.iter().map(|source| from.join(source)).collect();
        let sources: Vec<_> = sources.iter().map(PathBuf::as_path).collect();
        let run = ours(&self.site, &options, &sources, &to.join(""));
        let (mine, our_words) = ((tree(&from), tree(&to)), self.words(&to));
        let (from, to) = (self.copy("from", "mine"), self.copy("there", "nas/to"));
        let theirs = format!("{options} --no-inc-recursive");
        let output = Command::new("rsync").args(words(&self.site, &theirs, &sources, &to.join(""))).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(run.code, output.status.code(), "{options}: {}\n{said}", run.all());
        let theirs = (tree(&from), tree(&to));
        assert_eq!(mine.1, theirs.1, "{options}: {}\n{said}", run.all());
        assert_eq!(mine.0, theirs.0, "the source, {options}: {}\n{said}", run.all());
        assert_eq!(our_words, self.words(&to), "{options}");
        let listed = String::from_utf8_lossy(&output.stdout).into_owned();
        let sorted = |text: &str| -> BTreeSet<String> {
            // What the server says for people is on stderr here.
            let is_said =
                |line: &&str| ["skipping", "cannot delete", "IO error"].iter().any(|start| line.starts_with(start));
            text.lines().filter(|line| !is_said(line)).map(ToOwned::to_owned).collect()
        };
        if options.contains("--stats") {
            // A file that failed its check would have gone twice.
            for label in ["Literal data: ", "Matched data: "] {
                let (ours, theirs) = (figure(&run.stdout, label), figure(&listed, label));
                assert!(close(ours, theirs, 3), "{options}: {label}{ours}, of stock rsync {theirs}");
            }
        } else {
            assert_eq!(sorted(&run.stdout), sorted(&listed), "{options}: {}\n{listed}", run.all());
        }
        run
    }
}

fn put(path: &Path, content: &[u8], time: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
    set_time(path, time);
}

/// What lies in a tree, sorted: kind, mode, owner, time, content, and how much of a disk it takes in halves of itself. Of
/// folders no time, since those that are made on the way have that of the moment.
fn tree(folder: &Path) -> Vec<String> {
    let mut lines = Vec::new();
    let mut open = vec![folder.to_owned()];
    while let Some(path) = open.pop() {
        let meta = fs::symlink_metadata(&path).unwrap();
        let kind = meta.file_type();
        let name = path.strip_prefix(folder).unwrap().display();
        // A time of today is that of a copy, which is made twice.
        let time =
            if meta.mtime() > 1_700_000_000 { "now".into() } else { format!("{}.{}", meta.mtime(), meta.mtime_nsec()) };
        let owner = format!("{:o} {}:{}", meta.mode(), meta.uid(), meta.gid());
        if kind.is_dir() {
            open.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            lines.push(format!("{name}/ {owner}"));
        } else if kind.is_symlink() {
            lines.push(format!("{name} -> {} {}", fs::read_link(&path).unwrap().display(), time));
        } else if kind.is_fifo() {
            lines.push(format!("{name} pipe"));
        } else {
            let content = fs::read(&path).unwrap();
            let sum = content.iter().fold(7_u64, |sum, byte| sum.wrapping_mul(31).wrapping_add(u64::from(*byte)));
            let holes = meta.blocks() * 512 < meta.len() / 2;
            lines.push(format!(
                "{name} {owner} {} bytes {sum:x} {time} links {} holes {holes}",
                content.len(),
                meta.nlink()
            ));
        }
    }
    lines.sort();
    lines
}

#[test]
fn which_files_are_sent() {
    let yard = Yard::new();
    for options in [
        "-ai --no-D -u",
        "-ai --no-D --existing",
        "-ai --no-D --ignore-existing",
        "-ai --no-D --existing --ignore-existing",
        "-ai --no-D --size-only",
        "-ai --no-D --modify-window=1",
        "-ai --no-D -@-1",
        "-ai --no-D -c",
        "-ai --no-D -cu --existing",
        "-ai --no-D -I",
        "-ai --no-D --min-size=10 --max-size=100K",
        "-rtim",
        "-rti --fsync -W",
        "-rlti -E",
        "-rltiJ",
        "-rtiKy",
    ] {
        yard.both(options);
    }
}

#[test]
fn how_files_are_written() {
    let yard = Yard::new();
    let somewhere = yard.site.path("nas/somewhere");
    fs::create_dir(&somewhere).unwrap();
    for options in [
        "--inplace --no-W",
        "--inplace -I --no-W",
        "--inplace --no-W -z",
        "--inplace -b --no-W",
        "--inplace --no-W --protocol=28",
        "--inplace -b --no-W --protocol=28",
        "--append",
        "--append-verify",
        "--append -z",
        "--append --protocol=29",
        "--append-verify --protocol=27 -z",
        "--partial",
        "--partial-dir=.part",
        &format!("--temp-dir={}", somewhere.display()),
        "--delay-updates",
        "-S",
        "-S --inplace",
        "--preallocate",
        "-b",
        "-b --suffix=.old",
        "-b --backup-dir=kept",
        "-b --backup-dir=kept --suffix=.old",
        "--link-dest=../beside",
        "--copy-dest=../beside",
        "--compare-dest=../beside",
        "--link-dest=../beside --protocol=28",
        "--link-dest=/no/such --link-dest=../beside",
        "--usermap=*:7 --groupmap=*:8",
        "--chown=9:10",
        "--chown=:11 --numeric-ids",
        "--super",
    ] {
        if user() != "root" && options.contains("map") {
            continue;
        }
        yard.both(&format!("-a --no-D --stats {options}"));
    }
}

#[test]
fn what_is_deleted_and_when() {
    let yard = Yard::new();
    for options in [
        "-ai --no-D --delete",
        "-ai --no-D --delete-before",
        "-ai --no-D --del",
        "-ai --no-D --delete-delay",
        "-ai --no-D --delete-after",
        "-ai --no-D --delete --protocol=31",
        "-ai --no-D --delete --protocol=30",
        "-ai --no-D --delete --protocol=29",
        "-a --no-D --delete --protocol=28",
        "-a --no-D --delete --protocol=27",
        "-ani --no-D --delete",
        "-ai --no-D --delete --no-t --size-only --ignore-existing --existing",
        "-ai --no-D --delete --max-delete=2",
        "-ai --no-D --delete --max-delete=0",
        "-ai --no-D --force",
        "-ai --no-D --delete --force",
        "-ai --no-D --delete -b",
        "-ai --no-D --delete -b --suffix=.o",
        "-ai --no-D --delete -b --backup-dir=kept",
        "-ai --no-D --delete --delay-updates",
        "-ai --no-D --delete --partial-dir=.part",
        "-ai --no-D --delete --exclude=*.o",
        "-ai --no-D --delete-excluded --exclude=*.o",
        "-a --no-D --delete-excluded --exclude=*.o --protocol=28",
        "-ai --no-D --delete-excluded --exclude=*.o --delete-after",
        "-ai --no-D --delete --filter=P_gone --filter=H_new",
        "-ai --no-D --delete -m --exclude=new*",
        // Links and pipes that are not sent keep their names there.
        "-rti --delete",
        "-rt --delete --delete-after",
    ] {
        let run = yard.both(options);
        if options.ends_with("-ai --no-D --delete") {
            assert!(run.stdout.contains("*deleting   gone folder/b/c.o\n"), "{}", run.all());
        }
    }
}

#[test]
fn what_becomes_of_links_and_of_folders_alone() {
    let yard = Yard::new();
    let from = yard.site.path("from");
    put(&yard.site.path("outside/file"), b"outside", "2020-01-01 UTC");
    put(&yard.site.path("outside/folder/file"), b"inside", "2020-01-01 UTC");
    for (target, name) in [
        ("d", "to a folder"),
        ("d/new too", "to a file"),
        ("nowhere", "to nothing"),
        ("d/../same", "roundabout"),
        ("../same", "d/up"),
        ("/rsyncd-munged/same", "munged"),
        ("../outside/file", "out to a file"),
        ("../outside/folder", "out to a folder"),
        ("../../outside/file", "d/far out"),
        ("../nowhere", "out to nothing"),
    ] {
        symlink(target, from.join(name)).unwrap();
        set_time(&from.join(name), "2020-01-01 UTC");
    }
    for name in ["d", ""] {
        set_time(&from.join(name), "2021-01-01 UTC");
    }
    for options in [
        "-rtiL",
        "-ai --no-D -L --delete",
        "-ai --no-D -k",
        "-rtik",
        "-ai --no-D --copy-unsafe-links",
        "-rti --copy-unsafe-links",
        "-ai --no-D --copy-unsafe-links -k",
        "-ai --no-D --safe-links --delete",
        "-ai --no-D --munge-links",
        "-dti",
        "-dlti --delete",
        "-dti --delete --protocol=29",
        "-dt --delete-after --protocol=27 --exclude=gone",
        "-rdti",
    ] {
        yard.both(options);
    }
}

#[test]
fn whole_paths_are_names() {
    let yard = Yard::new();
    let from = yard.site.path("from");
    put(&from.join("p/q/r/s/file"), b"deep", "2020-01-01 UTC");
    put(&from.join("p/q/other"), b"other", "2020-01-01 UTC");
    put(&from.join("p/x.o"), b"object", "2020-01-01 UTC");
    symlink("p/q", from.join("way")).unwrap();
    for name in ["p/q/r/s", "p/q/r", "p/q", "p", ""] {
        set_time(&from.join(name), "2021-01-01 UTC");
    }
    set_time(&from.join("way"), "2020-01-01 UTC");
    for protocol in [32, 30, 29, 27] {
        for (options, sources) in [
            ("-a --no-D -R --delete", &["./p/q/r", "./d/new too"][..]),
            ("-a --no-D -R --no-implied-dirs", &["./p/q/r/s/file", "./d/"]),
            ("-lt -R", &["./p/q/r/s/file", "./p/q", "./p/q/other", "p/./q/other"]),
            ("-dlt -R", &["./p/q/", "./p"]),
            ("-a --no-D -R --exclude=q --exclude=*.o", &["./p/q/r", "./p/x.o", "./p/q", "./p"]),
            ("-a --no-D -R", &["./way/r/s/file", "./way", "./no/such", "./p/none"]),
            ("-rt --no-implied-dirs", &["p/q"]),
        ] {
            // Before protocol 30 stock rsync's own server takes no file whose folder is not in the list.
            if protocol < 30 && options.contains("-R --no-implied-dirs") {
                continue;
            }
            yard.both_from(&format!("{options} --stats --protocol={protocol}"), sources);
        }
    }
    let run = ours(&yard.site, "-aR", &[&from.join("p/../d")], &yard.site.path("nas/to"));
    assert_eq!(run.code, Some(1), "{}", run.all());
}

#[test]
fn names_come_from_a_file() {
    let yard = Yard::new();
    put(&yard.site.path("from/p/q/r/file"), b"deep", "2020-01-01 UTC");
    put(&yard.site.path("from/p/q/other"), b"other", "2020-01-01 UTC");
    for name in ["p/q/r", "p/q", "p", ""] {
        set_time(&yard.site.path("from").join(name), "2021-01-01 UTC");
    }
    let names = "/p/q/r/file\n\n# none\n;none\np/./q\r\nd/\n../e\np/../same\nno such\nnew\nnew\n";
    for (file, content) in [
        ("lines", names.to_owned()),
        ("zeros", names.replace("\r\n", "\0").replace('\n', "\0")),
        ("whole", String::from(".")),
        ("empty", String::new()),
    ] {
        fs::write(yard.site.path(file), content).unwrap();
    }
    let from = |file: &str| format!("--files-from={}", yard.site.path(file).display());
    for (options, file) in [
        ("-ai --no-D", "lines"),
        ("-ati --no-D --protocol=29", "lines"),
        ("-ai --no-D -r", "lines"),
        ("-rlti", "lines"),
        ("-ai --no-D --no-R", "lines"),
        ("-ai --no-D --no-implied-dirs", "lines"),
        ("-ai0 --no-D", "zeros"),
        ("-ai --no-D --exclude=q --exclude=new", "lines"),
        ("-ai --no-D --delete", "whole"),
        ("-ai --no-D", "empty"),
    ] {
        yard.both(&format!("{options} {}", from(file)));
    }
    let run =
        ours(&yard.site, &from("lines"), &[&yard.site.path("from"), &yard.site.path("nas")], &yard.site.path("nas/to"));
    assert_eq!(run.code, Some(1), "{}", run.all());
    let run = ours(&yard.site, "--files-from=nas:/list", &[&yard.site.path("from")], &yard.site.path("nas/to"));
    assert_eq!(run.code, Some(4), "{}", run.all());
}

#[test]
fn what_could_not_be_listed_is_not_deleted() {
    let yard = Yard::new();
    for (options, second, kept) in [
        ("-a --delete", "same/below a file", true),
        ("-a --delete-before --protocol=30", "same/below a file", true),
        ("-a --delete --protocol=29", "same/below a file", true),
        ("-a --delete-after --protocol=27", "same/below a file", true),
        ("-a --delete --ignore-errors", "same/below a file", false),
        ("-a --delete --ignore-errors --protocol=29", "same/below a file", false),
        // What is not there is not hidden either.
        ("-a --delete", "no such", false),
    ] {
        let mut left = Vec::new();
        for mine in [true, false] {
            let (from, to) = (yard.copy("from", "mine"), yard.copy("there", "nas/to"));
            let options = format!("{options} --no-D");
            let (inside, second) = (from.join(""), from.join(second));
            let sources = [&*inside, &*second];
            let code = if mine {
                ours(&yard.site, &options, &sources, &to.join("")).code
            } else {
                let words = words(&yard.site, &options, &sources, &to.join(""));
                Command::new("rsync").args(words).output().unwrap().status.code()
            };
            assert_eq!(code, Some(23), "{options}");
            assert_eq!(to.join("d/gone").exists(), kept, "{options}, mine {mine}");
            left.push(tree(&to));
        }
        assert_eq!(left[0], left[1], "{options}");
    }
}

#[test]
fn sources_are_removed_once_they_are_there() {
    let yard = Yard::new();
    for options in [
        "-ai --no-D --remove-source-files",
        "-ain --no-D --remove-source-files",
        "-ai --no-D --remove-source-files --existing",
        "-ai --no-D --remove-source-files --ignore-existing",
        "-ai --no-D --remove-source-files --delete",
        "-ai --no-D --remove-source-files --protocol=30",
        "-ai --no-D --remove-source-files --protocol=29",
        "-rt --remove-source-files --protocol=31",
        "-ai --no-D --remove-source-files --delay-updates",
    ] {
        yard.both(options);
    }
}
