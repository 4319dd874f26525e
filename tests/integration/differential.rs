//! Random trees, sent and fetched again by our program and by stock rsync: both must leave the same, end alike, and cost the
//! same number of bytes.
//!
//! Ours runs in this process, over one login for all cases. Stock rsync starts its server without SSH in between, which
//! changes nothing of what the two say to each other. `NAS_SYNC_CASES` says how many cases, `NAS_SYNC_SEED` which.

mod names;
pub mod tree;

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use nas_sync::{
    Client, ClientConfig, CompressionChoice, DeleteTime, Deletion, Files, Offer, Partial, Protocol, PullOptions,
    PullRequest, PushOptions, PushRequest, Silent, TokenCoding, TransferReport, Writing,
};

use crate::push_cli::stock::{figure, snapshot};
use crate::support::cli::write_program;
use crate::support::random::Random;
use crate::support::{Site, with};

/// Of bytes that travelled: those of one program may be this much more than the other's, in percent, and this many more: each part
/// of a list may come so late that what is said of it is a frame of its own.
const DEARER: (u64, u64) = (5, 128);

/// Letters that are options of both directions.
const OPTIONS: [&str; 15] = [
    "rlptgoD", "rlptgoD", "rlptgoDc", "rlptgo", "rlptgo", "rlptgoc", "rlptgoI", "rlptgoW", "rlptgoO", "rlptgoIc",
    "rlt", "rt", "rlpt", "rltg", "rlptgon",
];

/// Options that are the receiving side's business.
const OWN_OPTIONS: [&str; 43] = [
    "-u",
    "-u -I",
    "--existing",
    "--ignore-existing",
    "--existing --ignore-existing",
    "--size-only",
    "--size-only -u",
    "--max-size=1400",
    "--min-size=701",
    "--min-size=1 --max-size=700 -u",
    "--delete",
    "--delete",
    "--delete-before",
    "--delete-after",
    "--delete -n",
    "--delete -u",
    "--delete --existing",
    "--delete-after --ignore-existing",
    "--delete --max-delete=3",
    "--delete-before --max-delete=0",
    "-b",
    "-b --suffix=.old",
    "-b --delete",
    "-b --delete-after --suffix=.old -I",
    "--delete-delay --max-delete=5",
    "--inplace",
    "--inplace -b -I",
    "--inplace --sparse -I",
    "--inplace --delete -u",
    "--append",
    "--append-verify",
    "--append -b",
    "--sparse -I",
    "--partial --temp-dir=.",
    "--partial-dir=.part",
    "--partial-dir=.part -I --delete-before",
    "--modify-window=2",
    "--modify-window=1 -u",
    "-@-1",
    "--force",
    "--force -b --max-delete=2",
    "-E",
    "-E --inplace",
];

/// One case. Its text names it.
#[derive(Clone)]
#[expect(clippy::struct_excessive_bools, reason = "each is an option that combines with all others")]
struct Case {
    protocol: u8,
    compression: &'static str,
    letters: &'static str,
    numeric_ids: bool,
    /// Whether a push sends the list in parts, where there is such a thing.
    in_parts: bool,
    /// `-U`.
    atimes: bool,
    /// `-H`.
    hard_links: bool,
    /// Of [`OWN_OPTIONS`].
    own: &'static str,
}

impl Case {
    fn draw(number: usize, random: &mut Random) -> Self {
        let protocol = 27 + u8::try_from(number % 6).unwrap();
        let methods = ["", "zstd", "lz4", "zlibx", "zlib"];
        Self {
            protocol,
            // Older protocols have no other.
            compression: if protocol < 30 { ["", "zlib"][number / 6 % 2] } else { methods[number / 6 % 5] },
            letters: OPTIONS[random.index(OPTIONS.len())],
            numeric_ids: random.one_in(4),
            in_parts: protocol >= 30 && random.one_in(2),
            // Of protocol 27 stock rsync cannot read its own list of them.
            atimes: protocol > 27 && number.is_multiple_of(5),
            hard_links: (number / 6) % 2 == 1,
            own: "",
        }
    }

    fn has(&self, letter: char) -> bool {
        self.letters.contains(letter)
    }

    fn offer(&self) -> Offer {
        let compression = match self.compression {
            "" => CompressionChoice::Off,
            method => CompressionChoice::Fixed(TokenCoding::from_name(method, None).unwrap()),
        };
        with!(Offer::default(), protocol: Protocol::new(self.protocol).unwrap(), compression: compression)
    }

    fn push_options(&self) -> PushOptions {
        let mut options = with!(
            PushOptions::default(),
            recursive: self.has('r'), links: self.has('l'), permissions: self.has('p'), times: self.has('t'),
            group: self.has('g'), owner: self.has('o'), checksum: self.has('c'), ignore_times: self.has('I'),
            whole_file: self.has('W'), omit_directory_times: self.has('O'), dry_run: self.has('n'),
            numeric_ids: self.numeric_ids, devices: self.has('D'), specials: self.has('D'), atimes: self.atimes, hard_links: self.hard_links,
        );
        for word in self.own.split_whitespace() {
            let (name, value) = word.split_once('=').unwrap_or((word, ""));
            let receiver = &mut options.receiver;
            let number = || value.parse().unwrap();
            match name {
                "-u" => receiver.update = true,
                "-I" => options.ignore_times = true,
                "-n" => options.dry_run = true,
                "-b" => receiver.backup = true,
                "--suffix" => receiver.suffix = Some(value.into()),
                "--inplace" => receiver.writing = Writing::InPlace,
                "--append" => receiver.writing = Writing::Append,
                "--append-verify" => receiver.writing = Writing::AppendVerify,
                "--modify-window" => receiver.modify_window = Some(value.parse().unwrap()),
                "-@-1" => receiver.modify_window = Some(-1),
                "--force" => receiver.force = true,
                "-E" => receiver.executability = true,
                "--sparse" => options.sparse = true,
                "--partial" => receiver.partial = Partial::Kept,
                "--partial-dir" => receiver.partial = Partial::Aside(value.into()),
                "--temp-dir" => receiver.temp_dir = Some(value.into()),
                "--existing" => receiver.existing = true,
                "--ignore-existing" => receiver.ignore_existing = true,
                "--size-only" => receiver.size_only = true,
                "--max-size" => receiver.max_size = Some(number()),
                "--min-size" => receiver.min_size = Some(number()),
                "--delete" => receiver.deletion = Some(Deletion::default()),
                "--delete-before" => receiver.deletion = Some(deletion(DeleteTime::Before)),
                "--delete-after" => receiver.deletion = Some(deletion(DeleteTime::After)),
                "--delete-delay" => receiver.deletion = Some(deletion(DeleteTime::Delay)),
                "--max-delete" => receiver.max_delete = Some(value.parse().unwrap()),
                "--remove-source-files" => options.remove_source_files = true,
                _ => panic!("{word}"),
            }
        }
        options
    }

    /// The same for a pull.
    fn pull_options(&self) -> PullOptions {
        let push = self.push_options();
        with!(
            PullOptions::default(),
            recursive: push.recursive, links: push.links, permissions: push.permissions, times: push.times,
            group: push.group, owner: push.owner, checksum: push.checksum, ignore_times: push.ignore_times,
            whole_file: push.whole_file, omit_directory_times: push.omit_directory_times, dry_run: push.dry_run,
            numeric_ids: push.numeric_ids, devices: push.devices, specials: push.specials, sparse: push.sparse, atimes: push.atimes, hard_links: push.hard_links,
            remove_source_files: push.remove_source_files, receiver: push.receiver,
        )
    }

    /// What of the result is no accident: names, modes, owners and contents always, times where they are kept.
    fn result(&self, folder: &Path) -> Vec<(PathBuf, Vec<String>)> {
        let counts_time = |path: &Path, facts: &[String]| {
            let is_folder = facts[2] == "folder";
            // What is kept or stays by a limit changes the time of its folder. Of a file in whose place a folder would come, and
            // that stays by --ignore-existing, stock rsync changes the time.
            // Nor does it see to the time of a folder for files on their way, or of one in which what came of a file waits.
            let is_timeless = path.ends_with(".part")
                || self.own.contains("--temp-dir")
                || self.has('O')
                || self.own.split(' ').any(|word| word == "-b")
                || self.own.contains("--max-delete");
            self.has('t') && !(is_folder && is_timeless) && !self.own.contains("--ignore-existing")
        };
        // Before the files are read. What is compared by contents is read by either side, and may keep that time.
        // What has been read by one name is listed by another with the time of that.
        let kept = self.atimes && !self.hard_links && !self.has('c') && !self.has('n') && self.own.is_empty();
        let atimes: HashMap<_, _> = if kept { tree::atimes(folder).into_iter().collect() } else { HashMap::new() };
        let links = if self.hard_links && !self.own.starts_with("-b") { tree::links(folder) } else { HashMap::new() };
        let now = chrono::Utc::now().timestamp();
        let mut seen: Vec<_> = snapshot(folder).into_iter().collect();
        for (path, facts) in &mut seen {
            if !counts_time(path, facts) {
                facts.truncate(3);
            }
            facts.extend(links.get(&folder.join(&*path)).map(|first| format!("the same as {}", first.display())));
            // What was read and not set has the second in which that was.
            let accessed = |&atime: &i64| if atime > now - 3600 { "lately".to_owned() } else { atime.to_string() };
            facts.extend(atimes.get(&folder.join(path)).map(accessed).map(|time| format!("accessed {time}")));
        }
        seen
    }
}

fn deletion(when: DeleteTime) -> Deletion {
    with!(Deletion::default(), when: Some(when))
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = if self.in_parts { "" } else { "no-" };
        write!(f, "-{} --protocol={} --{parts}inc-recursive --stats", self.letters, self.protocol)?;
        write!(f, "{}", if self.has('D') { "" } else { " --no-D" })?;
        // Both ends are on one machine, and rsync would leave the comparison of blocks out.
        write!(f, "{}", if self.has('W') { "" } else { " --no-W" })?;
        write!(f, "{}{}", if self.atimes { " --atimes" } else { "" }, if self.hard_links { " -H" } else { "" })?;
        write!(f, "{}", if self.numeric_ids { " --numeric-ids" } else { "" })?;
        write!(f, "{}{}", if self.own.is_empty() { "" } else { " " }, self.own)?;
        if self.compression.is_empty() { Ok(()) } else { write!(f, " --zc={}", self.compression) }
    }
}

/// How a run ended, and how many bytes it sent and received.
#[derive(Debug, Clone, Copy)]
struct End {
    status: i32,
    sent: u64,
    received: u64,
}

impl From<TransferReport> for End {
    fn from(report: TransferReport) -> Self {
        if let Some(error) = &report.error {
            println!("{error} {:?}", error.details());
        }
        for (name, failure) in &report.failures {
            println!("{}: {failure}", name.escape_ascii());
        }
        Self { status: report.exit_code.into(), sent: report.stats.sent, received: report.stats.received }
    }
}

/// Both programs.
struct Twins {
    client: Client,
    remote_shell: PathBuf,
    /// The most that ours cost, in per mille of what stock rsync did.
    dearest: u64,
    /// What differed.
    differences: Vec<String>,
}

impl Twins {
    async fn of(site: &Site) -> Self {
        let remote_shell = site.path("remote-shell");
        write_program(&remote_shell, "#!/bin/sh\nshift\nexec sh -c \"$*\"\n");
        let client = Client::connect(&ClientConfig::new(site.sshd.config())).await.unwrap();
        Self { client, remote_shell, dearest: 0, differences: Vec::new() }
    }

    fn stock(&self, case: &Case, from: &str, to: &str) -> End {
        let output = Command::new("rsync")
            .arg("-e")
            .arg(&self.remote_shell)
            .args(case.to_string().split(' '))
            .args([from, to])
            .env("LC_ALL", "C")
            .output()
            .expect("rsync is installed");
        let text = String::from_utf8_lossy(&output.stdout);
        let status = output.status.code().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!text.is_empty(), "{case}: {status} {said}");
        End { status, sent: figure(&text, "Total bytes sent: "), received: figure(&text, "Total bytes received: ") }
    }

    /// Sends the content of a folder to a place of each.
    async fn push(&mut self, case: &Case, from: &Path, to: [&Path; 2]) {
        let to = to.map(|folder| folder.to_str().unwrap());
        let request = PushRequest::new(Files::Operands(vec![from.join("")]), to[0], case.push_options());
        let request = with!(request, offer: with!(case.offer(), incremental: case.in_parts));
        tree::set_atimes(from);
        let ours = self.client.push(request, Arc::new(Silent)).await.unwrap().into();
        tree::set_atimes(from);
        let theirs = self.stock(case, from.join("").to_str().unwrap(), &format!("there:{}", to[1]));
        self.compare(case, "push", ours, theirs);
    }

    /// Fetches the content of one folder to a place of each.
    async fn pull(&mut self, case: &Case, from: &Path, to: [&Path; 2]) {
        self.pull_each(case, [from; 2], to).await;
    }

    /// Each fetches the content of a folder to a place of its own.
    async fn pull_each(&mut self, case: &Case, from: [&Path; 2], to: [&Path; 2]) {
        let from = from.map(|folder| folder.join("").to_str().unwrap().to_owned());
        let request = PullRequest::new(vec![from[0].clone().into()], to[0], case.pull_options());
        let request = with!(request, offer: with!(case.offer(), incremental: case.in_parts));
        tree::set_atimes(Path::new(&from[0]));
        let ours = self.client.pull(request, Arc::new(Silent)).await.unwrap().into();
        tree::set_atimes(Path::new(&from[1]));
        let theirs = self.stock(case, &format!("there:{}", from[1]), to[1].to_str().unwrap());
        self.compare(case, "pull", ours, theirs);
    }

    fn compare(&mut self, case: &Case, what: &str, ours: End, theirs: End) {
        if ours.status != theirs.status {
            self.differ(format!("{what} {case}: status {}, and {} of stock rsync", ours.status, theirs.status));
        }
        // Behind its last file stock rsync counts no more what a server says that deletes late, though the same comes.
        let is_told_late = what == "push" && case.own.contains("--delete");
        let received = (!is_told_late).then_some((ours.received, theirs.received));
        for (ours, theirs) in [(ours.sent, theirs.sent)].into_iter().chain(received) {
            let most = theirs + theirs * DEARER.0 / 100 + DEARER.1;
            if ours > most {
                self.differ(format!("{what} {case}: {ours} bytes, and {theirs} of stock rsync"));
            }
            self.dearest = self.dearest.max(ours * 1000 / theirs.max(1000));
        }
    }
}

impl Twins {
    /// They must have left the same.
    fn same(&mut self, case: &Case, what: &str, folders: [&Path; 2]) {
        let [mine, theirs] = folders.map(|folder| case.result(folder));
        let only = |one: &[(PathBuf, Vec<String>)], other: &[(PathBuf, Vec<String>)]| -> Vec<_> {
            one.iter().filter(|fact| !other.contains(fact)).cloned().collect()
        };
        let (here, there) = (only(&mine, &theirs), only(&theirs, &mine));
        if !here.is_empty() || !there.is_empty() {
            self.differ(format!("{what} {case}:\nours  {here:?}\nstock {there:?}"));
        }
    }

    fn differ(&mut self, difference: String) {
        println!("{difference}");
        self.differences.push(difference);
    }

    #[track_caller]
    fn end(self) {
        assert!(self.differences.is_empty(), "{}", self.differences.join("\n"));
        println!("at most {} per mille of stock rsync's bytes", self.dearest);
    }
}

/// How many cases there are.
fn cases(usual: usize) -> usize {
    std::env::var("NAS_SYNC_CASES").ok().map_or(usual, |count| count.parse().expect("a number of cases"))
}

#[tokio::test(flavor = "multi_thread")]
async fn random_trees_go_and_come_as_with_stock_rsync() {
    let mut seeds = Random::of_environment("random_trees_go_and_come_as_with_stock_rsync");
    let site = Site::new();
    let mut twins = Twins::of(&site).await;
    for number in 0..cases(100) {
        let mut random = seeds.split();
        let case = Case::draw(number, &mut random);
        println!("case {number}: {case}");
        let folder = site.path(&format!("case{number}"));
        let names = ["from", "there-ours", "there-stock", "here-ours", "here-stock"];
        let [from, there_ours, there_stock, here_ours, here_stock] = names.map(|name| folder.join(name));
        for folder in [&from, &there_ours, &there_stock, &here_ours, &here_stock] {
            tree::folder(folder);
        }
        tree::change(&mut random, &from);
        tree::change(&mut random, &from);
        for round in ["first", "again"] {
            tree::change(&mut random, &from);
            if case.has('D') {
                tree::add_specials(&mut random, &from);
            }
            if case.hard_links {
                tree::add_links(&mut random, &from);
            }
            clear_way(&case, &from, [&there_ours, &there_stock]);
            twins.push(&case, &from, [&there_ours, &there_stock]).await;
            twins.same(&case, &format!("push {round}"), [&there_ours, &there_stock]);
            // What comes back has been pushed by ours, or has never been elsewhere.
            let source = if case.has('n') { &from } else { &there_ours };
            clear_way(&case, source, [&here_ours, &here_stock]);
            twins.pull(&case, source, [&here_ours, &here_stock]).await;
            twins.same(&case, &format!("pull {round}"), [&here_ours, &here_stock]);
        }
        std::fs::remove_dir_all(&folder).unwrap();
    }
    twins.end();
}

/// In parts stock rsync 3.5 breaks off where a folder with something in it is in the way of one of several names of a file.
fn clear_way<const N: usize>(case: &Case, from: &Path, to: [&Path; N]) {
    if !case.hard_links || !case.in_parts {
        return;
    }
    for name in tree::links(from).keys() {
        for there in to.map(|to| to.join(name.strip_prefix(from).unwrap())) {
            if there.is_dir() && !there.is_symlink() {
                std::fs::remove_dir_all(there).unwrap();
            }
        }
    }
}

/// A copy of a tree.
fn copy(from: &Path, to: &Path) {
    assert!(Command::new("cp").arg("-a").args([from, to]).status().unwrap().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn options_of_a_receiver_leave_what_stock_rsync_leaves() {
    let mut seeds = Random::of_environment("options_of_a_receiver_leave_what_stock_rsync_leaves");
    let site = Site::new();
    let mut twins = Twins::of(&site).await;
    for number in 0..cases(200) {
        let mut random = seeds.split();
        let own = OWN_OPTIONS[number % OWN_OPTIONS.len()];
        let mut case = Case { own, ..Case::draw(random.index(60), &mut random) };
        if own.starts_with("--append") && case.has('W') {
            case.letters = "rlptgo";
        }
        if own.starts_with("-E") {
            // Permissions that are kept say it all.
            case.letters = ["rltgo", "rt"][number % 2];
        }
        if own.starts_with("--inplace -b") || own == "--append -b" {
            // In older ones stock rsync copies no fractions of seconds.
            case.protocol = 31;
        }
        println!("case {number}: {case}");
        let folder = site.path(&format!("case{number}"));
        let [from, ours, stock] = ["from", "ours", "stock"].map(|name| folder.join(name));
        tree::folder(&from);
        for _ in 0..3 {
            tree::change(&mut random, &from);
        }
        if case.has('D') {
            tree::add_specials(&mut random, &from);
        }
        if case.hard_links {
            tree::add_links(&mut random, &from);
        }
        // What is in the destination was the same once; since then both have gone their own ways.
        copy(&from, &ours);
        tree::change(&mut random, &ours);
        tree::change(&mut random, &ours);
        tree::change(&mut random, &from);
        if own.starts_with("--partial-dir") {
            tree::add_parts(&mut random, &from, &ours);
        }
        if own.starts_with("--modify-window") || own.starts_with("-@") {
            tree::nudge(&mut random, &from);
        }
        clear_way(&case, &from, [&ours]);
        copy(&ours, &stock);
        for round in ["first", "again"] {
            if number % 2 == 0 {
                twins.pull(&case, &from, [&ours, &stock]).await;
            } else {
                twins.push(&case, &from, [&ours, &stock]).await;
            }
            twins.same(&case, round, [&ours, &stock]);
        }
        std::fs::remove_dir_all(&folder).unwrap();
    }
    twins.end();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_here_is_removed_there_as_by_stock_rsync() {
    let mut random = Random::of_environment("what_is_here_is_removed_there_as_by_stock_rsync");
    let site = Site::new();
    let mut twins = Twins::of(&site).await;
    for (number, letters) in ["rlptgo", "rlptgoI", "rt", "rlptgoc"].into_iter().enumerate() {
        let case = Case {
            own: "--remove-source-files",
            protocol: 30 + u8::try_from(number % 3).unwrap(),
            letters,
            ..Case::draw(0, &mut random)
        };
        let folder = site.path(&format!("case{number}"));
        let names = ["there-ours", "there-stock", "here-ours", "here-stock"];
        let [there_ours, there_stock, here_ours, here_stock] = names.map(|name| folder.join(name));
        tree::folder(&there_ours);
        for _ in 0..4 {
            tree::change(&mut random, &there_ours);
        }
        copy(&there_ours, &here_ours);
        tree::change(&mut random, &here_ours);
        copy(&here_ours, &here_stock);
        copy(&there_ours, &there_stock);
        let files = |folder: &Path| {
            let is_file = |path: &PathBuf| folder.join(path).symlink_metadata().unwrap().is_file();
            case.result(folder).into_iter().filter(|(path, _)| is_file(path)).count()
        };
        let before = files(&there_ours);
        twins.pull_each(&case, [&there_ours, &there_stock], [&here_ours, &here_stock]).await;
        twins.same(&case, "here", [&here_ours, &here_stock]);
        // A removed file changes the time of its folder.
        let left = Case { letters: "rlpgo", ..case };
        twins.same(&left, "there", [&there_ours, &there_stock]);
        assert!(files(&there_ours) < before, "{case}");
    }
    twins.end();
}
