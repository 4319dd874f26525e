//! One set of rules over one tree: as options of stock rsync, and as ours.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fmt;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

use nas_sync::internal::tree::{self, Depth, Links, Operand, WalkOptions};
use nas_sync::{
    Client, DeleteTime, Deletion, Event, FileEntry, Files, FilterError, Monitor, Partial, Protocol, PullOptions,
    PullRequest, PushOptions, PushRequest, ReceiverOptions, Rules, Verdict as Means, push_over,
};

use super::draw;
use crate::support::random::Random;
use crate::support::with;

/// What one program made of a case. Folders end with a slash.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It took the rules for wrong.
    Refused,
    /// The names that take part, or with deletion those that the receiver looked at, and those it deleted.
    Names { listed: BTreeSet<String>, deleted: BTreeSet<String> },
}

/// An option about rules.
#[derive(Debug)]
enum Asked {
    Filter(String),
    Pattern(Means, String),
    File(Means, PathBuf),
    /// `-F`, once or twice.
    OfFolders(u8),
}

/// Rules, and what is done with them.
#[expect(clippy::struct_excessive_bools, reason = "each is an option that combines with all others")]
pub struct Case {
    root: PathBuf,
    asked: Vec<Asked>,
    from0: bool,
    cvs: bool,
    /// Whether the source ends with a slash.
    inside: bool,
    deletion: Option<Deletion>,
    prune: bool,
    backup: bool,
    partial: bool,
    /// Whether the receiver is here.
    pulls: bool,
    protocol: u8,
    /// The files of rules that were written, and what is in them.
    files: Vec<(PathBuf, String)>,
}

impl Case {
    /// Draws one, and writes its files of rules into the trees.
    pub fn draw(random: &mut Random, root: &Path, here: &[String], there: &[String]) -> Self {
        let text = root.join("up/src").display().to_string();
        let mut case = Self {
            root: root.to_owned(),
            asked: Vec::new(),
            from0: random.one_in(8),
            cvs: random.one_in(6),
            inside: random.one_in(2),
            deletion: None,
            prune: false,
            backup: false,
            partial: false,
            pulls: false,
            protocol: if random.one_in(4) { 30 } else { 32 },
            files: Vec::new(),
        };
        if random.one_in(2) {
            case.delete(random);
        }
        for at in 0..random.below(6) {
            let asked = case.option(random, &text, at);
            case.asked.push(asked);
        }
        for name in draw::IN_FOLDERS {
            for folder in ["up/src", "there/src"].map(|folder| root.join(folder)) {
                let names = if folder.starts_with(root.join("up")) { here } else { there };
                let folders = names.iter().map(|name| folder.join(name)).filter(|path| path.is_dir());
                for folder in folders.chain([folder.clone()]) {
                    let _ = fs::remove_file(folder.join(name));
                    if random.one_in(4) {
                        case.write(random, &folder.join(name), &text, name == ".cvsignore", name != ".more");
                    }
                }
            }
        }
        for above in [root.join("up"), root.join("there")] {
            let _ = fs::remove_file(above.join(".rsync-filter"));
            if random.one_in(2) {
                case.write(random, &above.join(".rsync-filter"), &text, false, false);
            }
        }
        case
    }

    fn delete(&mut self, random: &mut Random) {
        let when = [None, None, Some(DeleteTime::Before), Some(DeleteTime::After)][random.index(4)];
        self.deletion = Some(with!(Deletion::default(), when: when, excluded: random.one_in(4)));
        self.pulls = random.one_in(2);
        self.prune = !self.pulls && random.one_in(6);
        self.backup = random.one_in(6);
        self.partial = !self.pulls && random.one_in(6);
    }

    fn option(&mut self, random: &mut Random, text: &str, at: u64) -> Asked {
        let means = if random.one_in(3) { Means::Include } else { Means::Exclude };
        match random.below(12) {
            0..=2 => Asked::Filter(draw::rule(random, text, true)),
            3..=5 => {
                let sign = [("", 0), ("- ", 1), ("+ ", 2)][random.index(3)].0;
                let pattern = draw::pattern(random, text);
                Asked::Pattern(means, if random.one_in(4) { format!("{sign}{pattern}") } else { pattern })
            }
            6 => {
                let path = self.root.join(format!("file{at}"));
                self.write(random, &path, text, true, false);
                Asked::File(means, path)
            }
            7 => {
                let path = self.root.join(format!("merge{at}"));
                self.write(random, &path, text, false, true);
                let modifiers = draw::file_modifiers(random).replace('n', "");
                Asked::Filter(format!(".{modifiers} {}", path.display()))
            }
            8 | 9 => {
                let up = self.root.join("up/").display().to_string();
                let place = ["", "", "", "/", &up][random.index(5)].to_owned();
                let modifiers = draw::file_modifiers(random);
                Asked::Filter(format!(":{modifiers} {place}{}", draw::one(random, &draw::IN_FOLDERS)))
            }
            10 => Asked::OfFolders(1 + u8::from(random.one_in(2))),
            _ => Asked::Pattern(means, String::from(if random.one_in(6) { "!" } else { "*" })),
        }
    }

    fn write(&mut self, random: &mut Random, path: &Path, text: &str, bare: bool, nested: bool) {
        let mut content = draw::rules_file(random, text, bare, nested);
        if self.from0 {
            content = content.replace("\r\n", "\0").replace('\n', "\0");
        }
        fs::write(path, &content).unwrap();
        self.files.push((path.to_owned(), content));
    }

    /// Whether something may be deleted.
    pub fn deletes(&self) -> bool {
        self.deletion.is_some()
    }

    fn source(&self) -> PathBuf {
        self.root.join(if self.inside { "up/src/" } else { "up/src" })
    }

    fn destination(&self) -> PathBuf {
        self.root.join(if self.inside { "there/src/" } else { "there/" })
    }

    fn words(&self) -> Vec<String> {
        let mut words: Vec<String> = vec![String::from(if self.deletes() { "-rnIi" } else { "-r" })];
        // It is about the files that are named behind it.
        words.extend(self.from0.then(|| String::from("--from0")));
        for asked in &self.asked {
            match asked {
                Asked::Filter(rule) => words.push(format!("--filter={rule}")),
                Asked::Pattern(Means::Exclude, pattern) => words.push(format!("--exclude={pattern}")),
                Asked::Pattern(Means::Include, pattern) => words.push(format!("--include={pattern}")),
                Asked::File(Means::Exclude, path) => words.push(format!("--exclude-from={}", path.display())),
                Asked::File(Means::Include, path) => words.push(format!("--include-from={}", path.display())),
                Asked::OfFolders(times) => words.push(format!("-{}", "F".repeat(usize::from(*times)))),
            }
        }
        let deletion = self.deletion.map(|deletion| match deletion.when {
            Some(DeleteTime::Before) => "--delete-before",
            Some(DeleteTime::After) => "--delete-after",
            _ => "--delete",
        });
        words.extend(deletion.map(String::from));
        let excluded = self.deletion.is_some_and(|deletion| deletion.excluded);
        let switches = [
            (excluded, "--delete-excluded"),
            (self.cvs, "-C"),
            (self.prune, "-m"),
            (self.backup, "-b"),
            (self.partial, "--partial-dir=d"),
            (!self.deletes(), "--list-only"),
        ];
        words.extend(switches.into_iter().filter(|(is_set, _)| *is_set).map(|(_, word)| word.to_owned()));
        words.push(format!("--protocol={}", self.protocol));
        let (source, destination) = (self.source().display().to_string(), self.destination().display().to_string());
        // Over a remote shell: a receiver of the same process would know options that no server is told.
        words.extend(match (self.deletes(), self.pulls) {
            (false, _) => vec![source],
            (true, false) => vec![source, format!("nas:{destination}")],
            (true, true) => vec![format!("nas:{source}"), destination],
        });
        words
    }

    /// What stock rsync makes of it.
    pub fn stock(&self) -> Verdict {
        let mut command = Command::new("rsync");
        command
            .arg("-e")
            .arg(self.root.join("shell"))
            .args(self.words())
            .current_dir(&self.root)
            .env("HOME", &self.root)
            .env_remove("CVSIGNORE");
        let output = command.output().unwrap();
        match output.status.code() {
            // Also where a folder that is to be replaced holds what may not be deleted.
            Some(0 | 23) => match self.heard(&String::from_utf8(output.stdout).unwrap()) {
                Verdict::Names { listed, deleted } if self.pulls => {
                    Verdict::Names { listed, deleted: self.without_full(deleted) }
                }
                heard => heard,
            },
            // 12 is what it says of a receiver that took rules in its own folders for wrong.
            Some(1 | 11 | 12) => Verdict::Refused,
            _ => panic!("{self}\n{output:?}"),
        }
    }

    /// Without folders in which something stays: of one in another stock rsync says in a dry run that it would go.
    fn without_full(&self, mut deleted: BTreeSet<String>) -> BTreeSet<String> {
        // What is in a folder stands behind it.
        for name in deleted.iter().rev().filter(|name| name.ends_with('/')).cloned().collect::<Vec<_>>() {
            let mut inside = fs::read_dir(self.destination().join(&name)).unwrap().map(|entry| entry.unwrap());
            let goes = |entry: fs::DirEntry| {
                let end = if entry.file_type().unwrap().is_dir() { "/" } else { "" };
                deleted.contains(&format!("{name}{}{end}", entry.file_name().to_str().unwrap()))
            };
            if !inside.all(goes) {
                deleted.remove(&name);
            }
        }
        deleted
    }

    fn heard(&self, text: &str) -> Verdict {
        let (mut listed, mut deleted) = (BTreeSet::new(), BTreeSet::new());
        for line in text.lines() {
            if let Some(name) = line.strip_prefix("*deleting   ") {
                deleted.insert(name.to_owned());
            } else if self.deletes() {
                // `>f+++++++++ NAME`, and what is said for people.
                if line.as_bytes().get(11) == Some(&b' ') && line.starts_with(['>', 'c', '.', '<']) {
                    listed.insert(line[12..].to_owned());
                }
            } else {
                // Mode, size, date and time stand before the name.
                let (mode, rest) = line.split_at(10);
                let rest = rest.trim_start();
                let name = rest.splitn(4, ' ').nth(3).unwrap();
                let end = if mode.starts_with('d') { "/" } else { "" };
                listed.insert(format!("{name}{end}"));
            }
        }
        Verdict::Names { listed, deleted }
    }

    /// What we make of it.
    pub async fn ours(&self, client: &Client) -> Verdict {
        let Ok(rules) = self.rules() else { return Verdict::Refused };
        match (self.deletes(), self.pulls) {
            (false, _) => self.walked(&rules),
            (true, false) => self.pushed(rules).await,
            (true, true) => self.pulled(rules, client).await,
        }
    }

    fn rules(&self) -> Result<Rules, FilterError> {
        let mut rules = Rules::default();
        rules.set_zero_ended(self.from0);
        let mut read = |path: &[u8]| fs::read(self.root.join(OsStr::from_bytes(path)));
        let mut of_folders = 0;
        for asked in &self.asked {
            match asked {
                Asked::Filter(rule) => rules.add_filter(rule.as_bytes(), &mut read)?,
                Asked::Pattern(means, pattern) => rules.add_pattern(pattern.as_bytes(), *means)?,
                Asked::File(means, path) => rules.add_patterns(&fs::read(path).unwrap(), *means)?,
                Asked::OfFolders(times) => {
                    for _ in 0..*times {
                        of_folders += 1;
                        match of_folders {
                            1 => rules.add_filter(b": /.rsync-filter", &mut read)?,
                            2 => rules.add_filter(b"- .rsync-filter", &mut read)?,
                            _ => {}
                        }
                    }
                }
            }
        }
        // Both ends of a pull add them by themselves.
        if self.cvs && !self.pulls {
            rules.add_cvs(b"");
        }
        Ok(rules)
    }

    fn walked(&self, rules: &Rules) -> Verdict {
        let options = WalkOptions { links: Links::Skip, depth: Depth::Recursive, ..WalkOptions::default() };
        let operand = Operand::parse(&self.source()).unwrap();
        let listing = tree::walk(&[operand], options, rules, &mut |warning| panic!("{self}: {warning:?}"));
        let Ok(listing) = listing else { return Verdict::Refused };
        let listed = listing.entries.iter().map(|entry| name_of(&entry)).collect();
        Verdict::Names { listed, deleted: BTreeSet::new() }
    }

    async fn pushed(&self, rules: Rules) -> Verdict {
        let mut options = PushOptions::default();
        (options.recursive, options.dry_run, options.ignore_times) = (true, true, true);
        options.receiver.deletion = self.deletion;
        options.receiver.prune_empty_directories = self.prune;
        options.receiver.backup = self.backup;
        if self.partial {
            options.receiver.partial = Partial::Aside(b"d".to_vec());
        }
        let destination = self.destination().as_os_str().as_bytes().to_vec();
        let mut request = PushRequest::new(Files::Operands(vec![self.source()]), destination, options);
        request.offer.protocol = Protocol::new(self.protocol).unwrap();
        request.rules = rules;
        let arguments = request.server_arguments();
        let mut server = tokio::process::Command::new("rsync")
            .args(arguments.iter().map(|word| OsStr::from_bytes(word)))
            .current_dir(&self.root)
            .env("HOME", &self.root)
            .env_remove("CVSIGNORE")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stream = tokio::io::join(server.stdout.take().unwrap(), server.stdin.take().unwrap());
        let heard = Arc::new(Heard::default());
        let Ok(report) = push_over(stream, request, Arc::clone(&heard) as Arc<dyn Monitor>).await else {
            return Verdict::Refused;
        };
        let output = server.wait_with_output().await.unwrap();
        // It reads rules in its own folders, too.
        if matches!(output.status.code(), Some(1 | 11)) {
            return Verdict::Refused;
        }
        assert!(
            matches!(output.status.code(), Some(0 | 23)) && report.error.is_none(),
            "{self}\n{output:?}\n{:?}",
            report.error
        );
        heard.verdict()
    }

    async fn pulled(&self, rules: Rules, client: &Client) -> Verdict {
        let options = with!(
            PullOptions::default(),
            recursive: true,
            dry_run: true,
            ignore_times: true,
            receiver: with!(ReceiverOptions::default(), deletion: self.deletion, backup: self.backup),
            cvs_exclude: self.cvs.then(Vec::new),
        );
        let source = self.source().as_os_str().as_bytes().to_vec();
        let mut request = PullRequest::new(vec![source], self.destination(), options);
        request.offer.protocol = Protocol::new(self.protocol).unwrap();
        request.rules = rules;
        let heard = Arc::new(Heard::default());
        let report = client.pull(request, Arc::clone(&heard) as Arc<dyn Monitor>).await.unwrap();
        match report.exit_code {
            // What is excluded is not read there, and what keeps its place here is named.
            0 | 23 => heard.verdict(),
            1 | 11 | 12 => Verdict::Refused,
            _ => panic!("{self}\n{report:?}"),
        }
    }
}

/// What a transfer tells.
#[derive(Default)]
struct Heard {
    listed: Mutex<BTreeSet<String>>,
    deleted: Mutex<BTreeSet<String>>,
}

impl Heard {
    fn verdict(&self) -> Verdict {
        let [listed, deleted] = [&self.listed, &self.deleted].map(|names| std::mem::take(&mut *names.lock().unwrap()));
        Verdict::Names { listed, deleted }
    }
}

impl Monitor for Heard {
    fn event(&self, event: Event<'_>) {
        match event {
            // A folder that is there and stays as it is is no news.
            Event::Itemized { entry, flags, .. } if flags.0 != 0 => {
                self.listed.lock().unwrap().insert(name_of(entry));
            }
            Event::Deleted { name, is_dir } => {
                self.deleted.lock().unwrap().insert(text_of(name, is_dir));
            }
            _ => {}
        }
    }
}

fn name_of(entry: &FileEntry<'_>) -> String {
    text_of(entry.name, entry.kind.is_dir())
}

fn text_of(name: &[u8], is_folder: bool) -> String {
    let end = if is_folder { "/" } else { "" };
    format!("{}{end}", String::from_utf8_lossy(name))
}

/// As a command, with the files that it needs.
impl fmt::Display for Case {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (path, content) in &self.files {
            writeln!(out, "{}: {content:?}", path.display())?;
        }
        write!(out, "rsync")?;
        self.words().iter().try_for_each(|word| write!(out, " '{word}'"))
    }
}
