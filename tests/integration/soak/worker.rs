//! The workers: `nas-sync sync` again and again, and what each run must keep to.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::unistd::Pid;
use serde_json::Value;

use super::{EndOfAll, LONGEST_DRAIN, LONGEST_RUN, MOST_MEMORY, Soak, lock};
use crate::support::cli::PROGRAM;
use crate::support::random::Random;

/// A run under way, where faults can find it.
#[derive(Default)]
pub struct Slot {
    /// The process, until it is waited for.
    pub process: Option<Pid>,
    /// How long it has been kept from running.
    pub stopped: Duration,
}

/// How a run ended.
struct Ended {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

pub fn run(soak: &Soak, number: usize, mut random: Random) {
    let _end = EndOfAll(soak);
    let database = soak.database();
    while !soak.is_over() {
        soak.rest(random.time(Duration::from_secs(1)));
        let jobs = 1 + random.below(3);
        let began = Instant::now();
        let before = pending(&database);
        let ended = one(soak, number, &["sync", "--json", "--jobs", &jobs.to_string()]);
        soak.note("worker", format!("{number} ended with {:?}: {}", ended.code, last_line(&ended.stderr)));
        judge(soak, &ended);
        if ended.code == Some(0) {
            let left: BTreeSet<i64> = pending(&database).intersection(&before).copied().collect();
            let files = lock(&soak.files);
            let untouched = |item: &&super::application::Item| !item.in_flux && item.touched < began;
            let forgotten: Vec<i64> = files
                .all
                .iter()
                .filter(untouched)
                .flat_map(|item| &item.ids)
                .filter(|id| left.contains(id))
                .copied()
                .collect();
            drop(files);
            if !forgotten.is_empty() {
                soak.fail("worker", &format!("a run ended well and left {forgotten:?} pending"));
            }
        }
    }
}

/// When nothing is in the way any more, a few runs finish everything.
pub fn drain(soak: &Soak) {
    let began = Instant::now();
    loop {
        let retried = one(soak, 0, &["retry"]);
        assert!(matches!(retried.code, Some(0 | 2)), "{}", retried.stderr);
        let ended = one(soak, 0, &["sync", "--json"]);
        judge(soak, &ended);
        soak.count("runs of the drain");
        if ended.code == Some(0) {
            break;
        }
        assert!(began.elapsed() < LONGEST_DRAIN, "it does not become synced: {} {}", ended.stdout, ended.stderr);
    }
    soak.add("milliseconds of the drain", u64::try_from(began.elapsed().as_millis()).unwrap());
    assert!(pending(&soak.database()).is_empty());
}

fn pending(database: &rusqlite::Connection) -> BTreeSet<i64> {
    let mut statement = database.prepare("SELECT id FROM documents WHERE synced_to_nas IS 0").unwrap();
    statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
}

/// Runs the program once, whatever happens to it.
fn one(soak: &Soak, number: usize, words: &[&str]) -> Ended {
    let [out, err] = ["out", "err"].map(|name| soak.site.path(&format!("worker{number}.{name}")));
    let mut command = Command::new(PROGRAM);
    command.args(words).env_clear().envs(&soak.variables).stdin(Stdio::null());
    command.stdout(File::create(&out).unwrap()).stderr(File::create(&err).unwrap());
    let child = command.spawn().unwrap();
    let process = Pid::from_raw(i32::try_from(child.id()).unwrap());
    *lock(&soak.slots[number]) = Slot { process: Some(process), stopped: Duration::ZERO };
    soak.count("runs");
    let code = wait(soak, number, child);
    let text = |path| String::from_utf8_lossy(&fs::read(path).unwrap()).into_owned();
    Ended { code, stdout: text(out), stderr: text(err) }
}

fn wait(soak: &Soak, number: usize, mut child: Child) -> Option<i32> {
    let began = Instant::now();
    let mut memory = 0;
    loop {
        // The kernel's count for an ended process starts with the memory of the one that started it.
        memory = memory.max(high_water(child.id()).unwrap_or(0));
        {
            let mut slot = lock(&soak.slots[number]);
            if let Some(status) = child.try_wait().unwrap() {
                slot.process = None;
                let mut figures = lock(&soak.figures);
                let most = figures.entry("bytes of memory at most".to_owned()).or_default();
                *most = (*most).max(memory);
                return status.code();
            }
            if began.elapsed() > LONGEST_RUN + slot.stopped {
                drop(slot);
                let _ = child.kill();
                soak.fail("worker", &format!("worker {number} does not end"));
            }
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn high_water(process: u32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().strip_suffix(" kB")?.parse::<u64>().ok()? * 1024)
}

/// What holds for every run.
fn judge(soak: &Soak, ended: &Ended) {
    let Ended { code, stdout, stderr } = ended;
    let all = || format!("{code:?}\n{stdout}\n{stderr}");
    let shown = code.map_or("a signal".to_owned(), |code| code.to_string());
    soak.count(format!("runs that ended with {shown}"));
    if !matches!(code, None | Some(0 | 1 | 3 | 4 | 143)) || stderr.contains("panicked") {
        soak.fail("worker", &format!("a run ended as none may: {}", all()));
    }
    if lock(&soak.figures)["bytes of memory at most"] > MOST_MEMORY {
        soak.fail("worker", &format!("a run used too much memory: {}", all()));
    }
    let Ok(object) = serde_json::from_str::<Value>(stdout) else {
        if code.is_some() && stdout.trim().is_empty() && stderr.trim().is_empty() {
            soak.fail("worker", "a run says nothing");
        }
        return;
    };
    let number = |key: &str| object[key].as_u64().unwrap_or(0);
    let kinds: BTreeMap<String, u64> = error_kinds(&object);
    for (kind, count) in kinds {
        soak.add(format!("errors: {kind}"), count);
    }
    soak.add("documents: marked by runs that told", number("synced"));
    soak.add("bytes sent by runs that told", number("bytes_sent"));
    if *code == Some(0) && (number("failed") > 0 || number("pending") > 0 || !object["error"].is_null()) {
        soak.fail("worker", &format!("a run ended well and says otherwise: {}", all()));
    }
}

/// Errors of a run and of its documents by their kind.
fn error_kinds(object: &Value) -> BTreeMap<String, u64> {
    let mut kinds = BTreeMap::new();
    let failures = object["failures"].as_array().into_iter().flatten().map(|failure| &failure["error"]);
    for error in failures.chain([&object["error"]]) {
        if let Some(kind) = error["kind"].as_str() {
            *kinds.entry(kind.to_owned()).or_default() += 1;
        }
    }
    kinds
}

fn last_line(text: &str) -> &str {
    text.lines().last().unwrap_or_default()
}
