//! Everything at once, for a long time: an application, two workers on one database, and random faults.
//!
//! Ignored unless asked for: `cargo test --test integration -- --ignored soak --nocapture`. `NAS_SYNC_SOAK_SECONDS` says
//! how long (900), `NAS_SYNC_SEED` draws other faults. Which faults come and how long they last is the same for the same
//! seed; what they hit is not, because all parts run side by side.
//!
//! Checked all the time: what is marked, and not touched since, is on the NAS with the bytes of its file; rows are
//! neither lost nor added; no run ends well while what it found pending still is; each run ends by its deadline, with a
//! known exit status and in little memory. At the end all faults stop, and everything must become synced.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::support::random::Random;
use crate::support::volume::Volume;
use crate::support::{Chaos, Cli, Site};

mod application;
mod checker;
mod faults;
mod worker;

use application::Files;
use worker::Slot;

/// How many workers share the database.
const WORKERS: usize = 2;
/// What nas-sync may use of memory.
const MOST_MEMORY: u64 = 64 << 20;
/// How long a run may take, not counting the time in which it was stopped.
const LONGEST_RUN: Duration = Duration::from_secs(240);
/// How long everything may take to become synced when nothing is in the way any more.
const LONGEST_DRAIN: Duration = Duration::from_secs(300);
/// Entries of the log that are shown when something is wrong.
const SHOWN: usize = 60;

/// The parts that run side by side.
struct Soak {
    site: Site,
    chaos: Chaos,
    /// The disk of the NAS; without root it has none of its own, and it never gets full.
    volume: Option<Volume>,
    nas: PathBuf,
    variables: BTreeMap<String, OsString>,
    started: Instant,
    over: AtomicBool,
    files: Mutex<Files>,
    slots: [Mutex<Slot>; WORKERS],
    log: Mutex<Vec<(Duration, &'static str, String)>>,
    figures: Mutex<BTreeMap<String, u64>>,
}

impl Soak {
    fn new(random: &mut Random) -> Self {
        let mut site = Site::new();
        let chaos = Chaos::before(site.sshd.port(), random.next());
        site.through(&chaos);
        let volume = Volume::ext4(1024);
        let nas = volume.as_ref().map_or_else(|| site.path("nas"), |volume| volume.path().join("nas"));
        fs::create_dir_all(&nas).unwrap();
        let mut cli = Cli::new(&site);
        cli.set("NAS_PATH", nas.clone()).set("NAS_LAYOUT", "{user_id}/{id}_{name}");
        cli.set("NAS_CONNECT_TIMEOUT", "10").set("NAS_FILE_TIMEOUT", "10");
        // Makes the tables.
        cli.add(1, &[site.upload("first.pdf", b"")]);
        site.database().execute("DELETE FROM documents", []).unwrap();
        Self {
            variables: cli.variables,
            site,
            chaos,
            volume,
            nas,
            started: Instant::now(),
            over: AtomicBool::new(false),
            files: Mutex::default(),
            slots: std::array::from_fn(|_| Mutex::default()),
            log: Mutex::default(),
            figures: Mutex::default(),
        }
    }

    /// The database as another program uses it, with more patience than anybody holds it.
    fn database(&self) -> rusqlite::Connection {
        let database = self.site.database();
        database.busy_timeout(Duration::from_secs(60)).unwrap();
        database
    }

    fn note(&self, who: &'static str, what: impl Into<String>) {
        lock(&self.log).push((self.started.elapsed(), who, what.into()));
    }

    fn count(&self, what: impl Into<String>) {
        self.add(what, 1);
    }

    fn add(&self, what: impl Into<String>, more: u64) {
        *lock(&self.figures).entry(what.into()).or_default() += more;
    }

    fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    /// Sleeps, but not beyond the end.
    fn rest(&self, time: Duration) {
        let until = Instant::now() + time;
        while !self.is_over() && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(20).min(until.saturating_duration_since(Instant::now())));
        }
    }

    /// Fails with the end of the log, and of all that concerns one subject.
    #[track_caller]
    fn fail(&self, subject: &str, what: &str) -> ! {
        let log = lock(&self.log);
        let show = |entries: &[&(Duration, &str, String)]| {
            for (when, who, what) in &entries[entries.len().saturating_sub(SHOWN)..] {
                eprintln!("{:10.3} {who}: {what}", when.as_secs_f64());
            }
        };
        eprintln!("-- the log");
        show(&log.iter().collect::<Vec<_>>());
        eprintln!("-- of it, {subject}");
        show(&log.iter().filter(|(_, _, what)| what.contains(subject)).collect::<Vec<_>>());
        drop(log);
        self.over.store(true, Ordering::Relaxed);
        panic!("after {:?}: {what}", self.started.elapsed());
    }

    fn print_figures(&self) {
        for (what, count) in &*lock(&self.figures) {
            println!("{count:>12} {what}");
        }
    }
}

/// Ends everything when one part fails, so that the others do not go on for the rest of the time.
struct EndOfAll<'s>(&'s Soak);

impl Drop for EndOfAll<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.over.store(true, Ordering::Relaxed);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[test]
#[ignore = "takes a quarter of an hour"]
fn soak() {
    let seconds = std::env::var("NAS_SYNC_SOAK_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(900);
    let mut random = Random::of_environment("soak");
    let soak = Soak::new(&mut random);
    let [app, sudden, lasting, more, first, second] = std::array::from_fn(|_| random.split());
    std::thread::scope(|scope| {
        let soak = &soak;
        scope.spawn(move || application::run(soak, app));
        faults::of_the_network(soak, random.next());
        scope.spawn(move || faults::sudden(soak, sudden));
        for random in [lasting, more] {
            scope.spawn(move || faults::lasting(soak, random));
        }
        scope.spawn(move || checker::run(soak));
        for (number, random) in [first, second].into_iter().enumerate() {
            scope.spawn(move || worker::run(soak, number, random));
        }
        soak.rest(Duration::from_secs(seconds));
        soak.over.store(true, Ordering::Relaxed);
    });
    faults::stop_all(&soak);
    worker::drain(&soak);
    checker::check_end(&soak);
    soak.print_figures();
}
