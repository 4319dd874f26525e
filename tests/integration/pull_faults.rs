//! Pulls and restores that are killed, or whose connection is cut: what stands under a name is whole, old or new; nothing else
//! lies there but temporary files, and not even those unless the client was killed; the next run finishes.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::support::chaos::{Fault, Stop, Way};
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
use crate::support::cli::PROGRAM;
use crate::support::cli::Run;
use crate::support::random::{Random, long};
use crate::support::sshd::user;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
use crate::support::tracer::{self, Kill, Start};
use crate::support::{Chaos, Cli, Site, noise};

/// How many calls, and how many offsets, are tried in the short form.
const SHORT: usize = 24;
const FILES: usize = 12;

/// Names and what they stand for: the bytes of a file, or where a symlink leads.
type Tree = BTreeMap<String, Vec<u8>>;

/// Files that are new on the NAS, and older here.
struct Ground {
    site: Site,
    chaos: Chaos,
    words: Vec<OsString>,
    here: PathBuf,
    new: Tree,
    old: Tree,
}

/// Of the files that are here, each third is missing, and another third the same.
fn trees() -> (Tree, Tree) {
    let (mut new, mut old) = (Tree::new(), Tree::new());
    for number in 0..FILES {
        let name = format!("{}file{number}", ["", "sub/", "sub/deeper/"][number % 3]);
        let content = noise(1 + number * 9_000, number as u64);
        let older = [&content[..content.len() / 2], b"inserted", &content[content.len() / 2..]].concat();
        match number / 3 % 3 {
            0 => drop(old.insert(name.clone(), older)),
            1 => drop(old.insert(name.clone(), content.clone())),
            _ => {}
        }
        new.insert(name, content);
    }
    (new, old)
}

fn write(root: &Path, tree: &Tree, age: u64) {
    for (name, content) in tree {
        let path = root.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        let time = SystemTime::now().checked_sub(Duration::from_secs(age)).unwrap();
        fs::File::options().write(true).open(&path).unwrap().set_modified(time).unwrap();
    }
}

fn read(root: &Path) -> Tree {
    let mut tree = Tree::new();
    let mut open = vec![root.to_owned()];
    while let Some(path) = open.pop() {
        let meta = fs::symlink_metadata(&path).unwrap();
        let name = || path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
        if meta.is_dir() {
            open.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else if meta.is_symlink() {
            tree.insert(name(), fs::read_link(&path).unwrap().into_os_string().into_encoded_bytes());
        } else {
            tree.insert(name(), fs::read(&path).unwrap());
        }
    }
    tree
}

impl Ground {
    fn new(mut site: Site, words: Vec<OsString>, here: PathBuf) -> Self {
        let chaos = Chaos::before(site.sshd.port(), 1);
        site.through(&chaos);
        let (new, old) = trees();
        Self { site, chaos, words, here, new, old }
    }

    fn of_a_pull() -> Self {
        let site = Site::new();
        let (there, here) = (site.path("there"), site.path("here"));
        let mut ground = Self::new(site, Vec::new(), here.clone());
        write(&there, &ground.new, 3600);
        for (tree, target) in [(&mut ground.new, "file0"), (&mut ground.old, "file1")] {
            tree.insert("link".to_owned(), target.into());
        }
        symlink("file0", there.join("link")).unwrap();
        let source = format!("{}@127.0.0.1:{}/", user(), there.display());
        let port = ground.chaos.port().to_string();
        let words = ["pull", "-a", "--timeout=10", "--port", &port, &source, here.to_str().unwrap()];
        ground.words = words.map(OsString::from).to_vec();
        ground
    }

    async fn of_a_restore() -> Self {
        let mut site = Site::new();
        site.set("UPLOAD_DIR", site.path("uploads"));
        site.set("NAS_LAYOUT", "tree");
        let here = site.path("uploads");
        let ground = Self::new(site, vec!["restore".into(), "--overwrite".into()], here);
        for (name, content) in &ground.new {
            ground.site.document(name, content).await;
        }
        write(&ground.here, &ground.new, 3600);
        let summary = ground.site.sync().await;
        assert_eq!((summary.total, summary.failed), (FILES, 0), "{summary:?}");
        ground
    }

    /// Puts here what is older.
    fn begin(&self) {
        // The first time there is nothing yet.
        let _ = fs::remove_dir_all(&self.here);
        let mut files = self.old.clone();
        let link = files.remove("link");
        write(&self.here, &files, 7200);
        if let Some(target) = link {
            symlink(String::from_utf8(target).unwrap(), self.here.join("link")).unwrap();
        }
    }

    fn run(&self) -> Run {
        Cli::new(&self.site).run(&self.words)
    }

    /// Whatever has happened, what is here is old or new. Gives the number of temporary files.
    #[track_caller]
    fn check(&self, what: &str) -> usize {
        let mut temporary = 0;
        for (name, content) in read(&self.here) {
            let is = |tree: &Tree| tree.get(&name).is_some_and(|whole| *whole == content);
            let last = name.rsplit('/').next().unwrap();
            if last.starts_with('.') && last.len() > 8 && last.as_bytes()[last.len() - 7] == b'.' {
                temporary += 1;
            } else {
                assert!(is(&self.new) || is(&self.old), "{what}: {name} has {} bytes of neither", content.len());
            }
        }
        temporary
    }

    /// Another run, which nothing disturbs, brings the rest.
    #[track_caller]
    fn finish(&self, what: &str) {
        let run = self.run();
        assert_eq!(run.code, Some(0), "after {what}: {}", run.all());
        let here = read(&self.here);
        for (name, content) in &self.new {
            assert!(here.get(name) == Some(content), "{what}: {name} did not come");
        }
    }

    #[cfg(all(target_os = "linux", target_arch = "x86_64"))]
    fn kill_at_each_call(&self, random: &mut Random) {
        let traced = |when: Kill| {
            let cli = Cli::new(&self.site);
            let words: Vec<&str> = self.words.iter().map(|word| word.to_str().unwrap()).collect();
            let stderr = fs::File::create(self.site.path("stderr")).unwrap();
            tracer::run(
                Start {
                    program: Path::new(PROGRAM),
                    words: &words,
                    variables: cli.variables.into_iter().map(|(name, value)| (name.into(), value)).collect(),
                    folder: &self.site.path(""),
                    stderr,
                },
                when,
            )
        };
        self.begin();
        let clean = traced(Kill::Never);
        assert_eq!(clean.code, Some(0), "{}", fs::read_to_string(self.site.path("stderr")).unwrap());
        let step = if long() { 1 } else { clean.calls.div_ceil(SHORT / 2) };
        let (mut kills, mut partly, mut temporary) = (0, 0, 0);
        for number in (0..clean.calls).step_by(step) {
            let number = number + random.index(step);
            for when in [Kill::Before(number), Kill::After(number)] {
                self.begin();
                let seen = traced(when);
                let what = format!("{when:?} {:?}", seen.killed_at);
                kills += usize::from(seen.killed_at.is_some());
                temporary += self.check(&what);
                let here = read(&self.here);
                let come = self.new.iter().filter(|(name, content)| here.get(*name) == Some(content)).count();
                partly += usize::from(come > FILES / 3 && come < FILES);
                self.finish(&what);
            }
        }
        println!("{} calls, {kills} kills, {partly} in the middle, {temporary} temporary files left", clean.calls);
        assert!(kills >= SHORT / 2 && partly > 0);
    }

    fn cut_everywhere(&self, random: &mut Random) {
        self.begin();
        let run = self.run();
        assert_eq!(run.code, Some(0), "{}", run.all());
        let clean = self.chaos.connections().pop().unwrap();
        let mut failed = 0;
        for number in 0..if long() { 400 } else { SHORT } {
            let way = if random.one_in(2) { Way::ToServer } else { Way::ToClient };
            let bytes = clean.bytes(way);
            // Half of the cuts near the beginning and the end, where the turns of a session are.
            let after = match number % 4 {
                0 => random.below(bytes.min(8000)),
                1 => bytes - random.below(bytes.min(2000)),
                _ => random.below(bytes),
            };
            let how = if random.one_in(2) { Stop::Fin } else { Stop::Reset };
            let cut = self.chaos.connections().len();
            self.chaos.plan(move |number| if number == cut { Fault::stop(way, after, how) } else { Fault::default() });
            self.begin();
            let what = format!("{how:?} after {after} of {bytes} bytes {way:?}");
            let run = self.run();
            assert_eq!(self.check(&what), 0, "{what}: a temporary file stays");
            failed += usize::from(run.code != Some(0));
            if run.code == Some(0) {
                assert!(self.new.iter().all(|(name, content)| read(&self.here).get(name) == Some(content)), "{what}");
            }
            self.finish(&what);
        }
        println!("{failed} runs failed");
        assert!(failed > SHORT / 4);
    }
}

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
#[test]
fn a_pull_killed_at_each_changing_call_leaves_whole_files_and_is_finished_by_the_next() {
    let mut random = Random::of_environment("kill a pull");
    Ground::of_a_pull().kill_at_each_call(&mut random);
}

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
#[tokio::test(flavor = "multi_thread")]
async fn a_restore_killed_at_each_changing_call_leaves_whole_files_and_is_finished_by_the_next() {
    let mut random = Random::of_environment("kill a restore");
    Ground::of_a_restore().await.kill_at_each_call(&mut random);
}

#[test]
fn a_pull_cut_anywhere_leaves_whole_files_and_is_finished_by_the_next() {
    let mut random = Random::of_environment("cut a pull");
    Ground::of_a_pull().cut_everywhere(&mut random);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_cut_anywhere_leaves_whole_files_and_is_finished_by_the_next() {
    let mut random = Random::of_environment("cut a restore");
    Ground::of_a_restore().await.cut_everywhere(&mut random);
}
