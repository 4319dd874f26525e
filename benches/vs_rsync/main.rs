//! Whole processes against whole processes: `nas-sync push` or `pull` beside the system's `rsync` over `ssh`, both with a real
//! sshd of this benchmark's own on loopback.
//!
//! `cargo bench --bench vs_rsync -- [--quick] [--pull] [--runs N] [--program PATH] [WORKLOAD…]`; see `benches/README.md`. Both
//! run in turns on the same data; every run's result is compared with its source, outside the measured time. Prints a
//! Markdown table and judges nothing.

mod data;
mod distance;
mod durable;
mod link;
mod peers;
#[allow(dead_code, reason = "the tests use more of it")]
#[path = "../../tests/integration/support/sshd.rs"]
mod sshd;

use std::error::Error;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use peers::{Cost, Peer, Site, Way, run};

type Result<T, E = Box<dyn Error>> = std::result::Result<T, E>;

const MIB: u64 = 1 << 20;
/// Room for the largest workload, its older copy and what arrives.
const ROOM: u64 = 3 << 30;

/// What lies at the destination before each run.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Before {
    Nothing,
    OldCopy,
    Everything,
}

struct Workload {
    key: &'static str,
    what: &'static str,
    options: &'static str,
    before: Before,
    /// Fills the source; the second value says whether sizes are cut down for a quick look.
    make: fn(&Path, bool) -> io::Result<()>,
}

const WORKLOADS: [Workload; 7] = [
    Workload {
        key: "document",
        what: "one document, login included",
        options: "-a",
        before: Before::Nothing,
        make: |to, _| data::noise(&to.join("document.pdf"), 100 * 1024, 1),
    },
    Workload {
        key: "big",
        what: "one incompressible file",
        options: "-a",
        before: Before::Nothing,
        make: |to, quick| data::noise(&to.join("big.bin"), if quick { 64 * MIB } else { 1024 * MIB }, 1),
    },
    Workload {
        key: "documents",
        what: "documents",
        options: "-a",
        before: Before::Nothing,
        make: |to, quick| {
            data::tree(to, if quick { 200 } else { 2000 }, if quick { 26_400_000 } else { 264_000_000 }, 100)
        },
    },
    Workload { key: "files", what: "small files", options: "-a", before: Before::Nothing, make: small_files },
    Workload {
        key: "again",
        what: "the small files again, nothing to do",
        options: "-a",
        before: Before::Everything,
        make: small_files,
    },
    Workload {
        key: "edits",
        what: "one file with scattered edits",
        options: "-a",
        before: Before::OldCopy,
        make: |to, quick| data::noise(&to.join("image.bin"), if quick { 32 * MIB } else { 512 * MIB }, 1),
    },
    Workload {
        key: "html",
        what: "HTML, -z",
        options: "-az",
        before: Before::Nothing,
        make: |to, quick| data::html(to, if quick { 24 * MIB } else { 357 * MIB }),
    },
];

fn small_files(to: &Path, quick: bool) -> io::Result<()> {
    if quick { data::tree(to, 1000, 5_900_000, 100) } else { data::tree(to, 20_000, 118_000_000, 100) }
}

/// One workload that is no push: documents as the service meets them.
const SERVICE: &str = "service";
/// The same on a disk, with and without proof that they last: a table of its own.
const DURABLE: &str = "durable";
/// A table of its own, and many minutes: only where it is asked for.
const DISTANCE: &str = "distance";

struct Settings {
    quick: bool,
    way: Way,
    runs: usize,
    program: PathBuf,
    wanted: Vec<String>,
}

impl Settings {
    /// `None` when this is not a benchmark run: `cargo test --all-targets` starts benchmarks too.
    fn parse() -> Result<Option<Self>> {
        let program = PathBuf::from(env!("CARGO_BIN_EXE_nas-sync"));
        let mut settings = Self { quick: false, way: Way::Push, runs: 3, program, wanted: Vec::new() };
        let mut bench = false;
        let mut arguments = std::env::args().skip(1);
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().ok_or(format!("{argument} needs a value"));
            match argument.as_str() {
                "--bench" => bench = true,
                "--quick" => settings.quick = true,
                "--pull" => settings.way = Way::Pull,
                "--runs" => settings.runs = value()?.parse::<usize>()?.max(1),
                "--program" => settings.program = fs::canonicalize(value()?)?,
                key if [SERVICE, DURABLE, DISTANCE].contains(&key)
                    || WORKLOADS.iter().any(|workload| workload.key == key) =>
                {
                    settings.wanted.push(argument);
                }
                other => {
                    let keys: Vec<_> =
                        WORKLOADS.iter().map(|workload| workload.key).chain([SERVICE, DURABLE, DISTANCE]).collect();
                    return Err(format!("{other:?} is neither an option nor one of {}", keys.join(", ")).into());
                }
            }
        }
        Ok(bench.then_some(settings))
    }

    fn wants(&self, key: &str) -> bool {
        self.wanted.is_empty() || self.wanted.iter().any(|wanted| wanted == key)
    }
}

fn main() -> Result<()> {
    let Some(settings) = Settings::parse()? else {
        return Ok(());
    };
    let mut site = Site::start(settings.program.clone());
    if settings.wanted.iter().any(|wanted| wanted == DISTANCE) {
        distance::compare(&mut site, &settings)?;
        return Ok(());
    }
    println!("| workload | peer | wall · CPU · peak | nas-sync: wall · CPU · peak | wall | CPU |");
    println!("| --- | --- | --- | --- | --- | --- |");
    for workload in WORKLOADS.iter().filter(|workload| settings.wants(workload.key)) {
        compare(&site, &settings, workload)?;
    }
    let pushes = settings.way == Way::Push;
    if pushes && settings.wants(SERVICE) {
        compare_service(&site, &settings)?;
    }
    if pushes && settings.wants(DURABLE) {
        durable::compare(&site, &settings)?;
    }
    println!(
        "\nMedians of {}. CPU is user and system time of the client and of every process it waited for,",
        settings.runs
    );
    println!("so ssh is in it; peak is that of the largest single process, so ssh is not added to rsync's.");
    Ok(())
}

/// A folder in memory where there is room, so that no disk is measured.
fn workshop() -> Result<tempfile::TempDir> {
    let memory = Path::new("/dev/shm");
    let roomy = rustix::fs::statvfs(memory).is_ok_and(|stat| stat.f_bavail * stat.f_frsize > ROOM);
    let parent = if roomy { memory.to_owned() } else { std::env::temp_dir() };
    if !roomy {
        eprintln!("/dev/shm has too little room, so the disk below {} takes part", parent.display());
    }
    Ok(tempfile::Builder::new().prefix("vs_rsync").tempdir_in(parent)?)
}

fn compare(site: &Site, settings: &Settings, workload: &Workload) -> Result<()> {
    let shop = workshop()?;
    let [source, old, to] = ["source", "old", "to"].map(|name| shop.path().join(name));
    fs::create_dir(&source)?;
    fs::create_dir(&to)?;
    match (workload.key, data::toolchain_html()) {
        ("html", Some(html)) if !settings.quick => source_is_copy_of(&html, &source)?,
        _ => (workload.make)(&source, settings.quick)?,
    }
    match workload.before {
        Before::Nothing => {}
        Before::OldCopy => {
            fs::rename(&source, &old)?;
            source_is_copy_of(&old, &source)?;
            for entry in fs::read_dir(&source)? {
                let file = entry?.path();
                data::edit(&file, 400)?;
                // Another time than that of the copies, or nobody would look at the content.
                File::options()
                    .write(true)
                    .open(&file)?
                    .set_modified(SystemTime::now() - Duration::from_secs(86_400))?;
            }
        }
        Before::Everything => {
            run(site.push(Peer::Rsync, workload.options, &source.join(""), &to))?;
        }
    }
    let (files, bytes) = data::measure(&source)?;
    let peers: &[Peer] = match workload.key {
        "big" => &[Peer::Rsync, Peer::RsyncGcm, Peer::NasSync],
        _ => &[Peer::Rsync, Peer::NasSync],
    };
    let mut costs = vec![Vec::new(); peers.len()];
    for _ in 0..settings.runs {
        for (peer, costs) in peers.iter().zip(&mut costs) {
            if workload.before != Before::Everything {
                fs::remove_dir_all(&to)?;
                fs::create_dir(&to)?;
            }
            if workload.before == Before::OldCopy {
                source_is_copy_of(&old, &to)?;
            }
            let cost = run(site.copy(settings.way, *peer, workload.options, &source.join(""), &to))?;
            data::same(&source, &to)?;
            eprintln!("{} {}: {}", workload.key, peer.title(), shown(&cost));
            costs.push(cost);
        }
    }
    let what = format!("{}: {}", workload.what, amount(files, bytes));
    report(&what, peers, &costs);
    Ok(())
}

/// Documents one by one, as a service that starts rsync for each does it, beside one `nas-sync sync`.
fn compare_service(site: &Site, settings: &Settings) -> Result<()> {
    let shop = workshop()?;
    let [source, to] = ["source", "to"].map(|name| shop.path().join(name));
    fs::create_dir(&source)?;
    let count = if settings.quick { 10 } else { 150 };
    data::tree(&source, count, count * 100 * 1024, count)?;
    let folder = source.join("d0000");
    let mut documents: Vec<PathBuf> =
        fs::read_dir(&folder)?.map(|entry| entry.map(|entry| entry.path())).collect::<io::Result<_>>()?;
    documents.sort();
    let peers = [Peer::Rsync, Peer::NasSync];
    let mut costs = vec![Vec::new(); peers.len()];
    for round in 0..settings.runs {
        for (peer, costs) in peers.iter().zip(&mut costs) {
            fs::create_dir(&to)?;
            let cost: Cost = if *peer == Peer::NasSync {
                let database = shop.path().join(format!("documents{round}.db"));
                let mut add = site.service(&database, &to);
                add.arg("add").args(&documents).args(["--user", "1"]);
                run(add)?;
                let mut sync = site.service(&database, &to);
                sync.arg("sync");
                run(sync)?
            } else {
                let each = documents.iter().map(|document| run(site.push(*peer, "-t", document, &to)));
                each.collect::<Result<Vec<_>>>()?.into_iter().sum()
            };
            for document in &documents {
                let stored = to.join(document.file_name().ok_or("a document without a name")?);
                if !data::same_content(document, &stored)? {
                    return Err(format!("{} did not arrive", document.display()).into());
                }
            }
            eprintln!("{SERVICE} {}: {}", peer.title(), shown(&cost));
            costs.push(cost);
            fs::remove_dir_all(&to)?;
        }
    }
    let (files, bytes) = data::measure(&source)?;
    report(&format!("documents, one rsync each, one `nas-sync sync`: {}", amount(files, bytes)), &peers, &costs);
    Ok(())
}

fn source_is_copy_of(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let copy = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            source_is_copy_of(&entry.path(), &copy)?;
        } else {
            fs::copy(entry.path(), copy)?;
        }
    }
    Ok(())
}

/// One line for each peer that is not ours. Ratios are ours by theirs: below 1 is less.
fn report(what: &str, peers: &[Peer], costs: &[Vec<Cost>]) {
    let medians: Vec<(Peer, Cost)> = peers.iter().copied().zip(costs.iter().map(|costs| Cost::median(costs))).collect();
    let Some((_, ours)) = medians.iter().find(|(peer, _)| *peer == Peer::NasSync) else {
        return;
    };
    for (peer, theirs) in medians.iter().filter(|(peer, _)| *peer != Peer::NasSync) {
        let ratio = |ours: Duration, theirs: Duration| {
            let ratio = ours.as_secs_f64() / theirs.as_secs_f64();
            if ratio < 0.1 { format!("{ratio:.3} ×") } else { format!("{ratio:.2} ×") }
        };
        println!(
            "| {what} | {} | {} | {} | {} | {} |",
            peer.title(),
            shown(theirs),
            shown(ours),
            ratio(ours.wall, theirs.wall),
            ratio(ours.cpu, theirs.cpu)
        );
    }
}

fn shown(cost: &Cost) -> String {
    let peak = cost.peak.div_ceil(1_000_000);
    format!("{:.3} s · {:.3} s · {peak} MB", cost.wall.as_secs_f64(), cost.cpu.as_secs_f64())
}

fn amount(files: u64, bytes: u64) -> String {
    let size = match bytes {
        ..1_000_000 => format!("{} KB", bytes / 1000),
        _ => format!("{} MB", bytes / 1_000_000),
    };
    if files == 1 { size } else { format!("{files} files, {size}") }
}
