//! Eight workers of eight machines on one database, and everything that can happen to them at once: two are killed, one stands
//! still until its lease has run out, the server restarts twice, connections are cut. `NAS_SYNC_DOCUMENTS` says how many
//! documents an application adds meanwhile.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::{all_sent_once, documents, half_marked, site};
use crate::support::cli::{PROGRAM, Running};
use crate::support::database::POSTGRES_WITNESS;
use crate::support::random::long;
use crate::support::trial::strangers;
use crate::support::{Cli, Postgres, Site, is_root_or_skipped, noise, until};

/// How many documents there are, unless more are asked for, and in how many portions they come.
const FEW: usize = 400;
const PORTIONS: usize = 25;
/// How many connections are cut at least.
const CUTS: i64 = 50;
/// How long something may take to come about.
const LONGEST: Duration = Duration::from_secs(120);
/// What a worker may use of memory, in KB.
const MOST_MEMORY: u64 = 64 * 1024;

/// A `watch` as if on a machine of its own.
struct Worker {
    running: Running,
    /// Its process, as this machine knows it.
    process: String,
    /// The end of what it calls its machine.
    space: String,
}

impl Worker {
    fn start(cli: &Cli, number: usize) -> Self {
        let health = format!("health{number}");
        let mut running = cli.start_apart(&["watch", "-q", "--quiet-period", "0", "--health-file", &health]);
        let id = running.id();
        let children = format!("/proc/{id}/task/{id}/children");
        let process = || fs::read_to_string(&children).unwrap_or_default().trim().to_owned();
        let is_it = |line: Vec<u8>| line.starts_with(PROGRAM.as_bytes());
        running.until(|| fs::read(format!("/proc/{}/cmdline", process())).is_ok_and(is_it));
        let process = process();
        let space = fs::read_link(format!("/proc/{process}/ns/pid")).unwrap().display().to_string();
        Self { running, process, space }
    }

    fn signal(&self, name: &str) {
        let status = std::process::Command::new("kill").args(["-s", name, &self.process]).status();
        assert!(status.unwrap().success(), "it is gone already");
    }

    /// Whether it is sending documents.
    fn is_busy(&self, server: &Postgres) -> bool {
        let sql = "SELECT count(*) FROM nas_sync_leases l JOIN nas_sync_leased USING (fence) WHERE right(space, length('{}')) = '{}'";
        server.number(&sql.replace("{}", &self.space)) > 0
    }

    fn peak_memory(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process)).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().strip_suffix(" kB").unwrap().parse().unwrap()
    }
}

/// Takes a worker out of the crew that is in the middle of something.
fn one_at_work(crew: &mut Vec<Worker>, server: &Postgres) -> Worker {
    let mut found = None;
    until("one of them works", LONGEST, || {
        found = crew.iter().position(|worker| worker.is_busy(server));
        found.is_some()
    });
    crew.swap_remove(found.unwrap())
}

/// Registers files as an application does.
fn add(server: &Postgres, paths: &[PathBuf]) {
    let rows: Vec<_> = paths.iter().map(|path| format!("(1, '{}')", path.display())).collect();
    server.sql(&format!("INSERT INTO documents (user_id, file_path) VALUES {}", rows.join(", ")));
}

/// Writes the files, and makes the table with the first of them.
fn prepare(site: &Site, server: &Postgres, count: usize) -> Vec<PathBuf> {
    documents(site, &Cli::new(site), 1);
    server.sql(POSTGRES_WITNESS);
    (1..count).map(|at| site.upload(&format!("{at}.pdf"), &noise(2_000 + at % 3_000, at as u64))).collect()
}

#[test]
fn eight_workers_to_whom_everything_happens_send_each_document_once() {
    if !is_root_or_skipped() {
        return;
    }
    let Some(mut server) = Postgres::start() else { return };
    let asked: Option<usize> = std::env::var("NAS_SYNC_DOCUMENTS").ok().and_then(|text| text.parse().ok());
    let count = asked.unwrap_or(FEW);
    let mut site = site(&server);
    // Who is busy leaves the next portion to others.
    site.wrap_rsync("sleep 0.5\nexec rsync \"$@\"");
    let paths = prepare(&site, &server, count);
    let cli = Cli::new(&site);
    let mut crew: Vec<Worker> = (0..8).map(|number| Worker::start(&cli, number)).collect();
    let began = Instant::now();
    let (mut cuts, mut frozen) = (0, None);
    let open = "SELECT count(*) FROM documents d WHERE NOT synced_to_nas
                AND NOT EXISTS (SELECT FROM nas_sync_leased l WHERE l.document_id = d.id)";
    for (number, portion) in paths.chunks(paths.len().div_ceil(PORTIONS)).enumerate() {
        add(&server, portion);
        match number {
            2 => {
                let worker = one_at_work(&mut crew, &server);
                worker.signal("STOP");
                frozen = Some(worker);
            }
            5 | 15 => one_at_work(&mut crew, &server).signal("KILL"),
            10 | 20 => {
                server.stop();
                server.resume();
            }
            _ => cuts += server.cut(),
        }
        until("somebody takes the portion", LONGEST, || server.number(open) == 0);
    }
    assert!(cuts >= CUTS, "only {cuts} connections were cut");
    // Those who live say so every ten seconds. In the short form, who was silent for twenty has been so for long enough.
    let age = "UPDATE nas_sync_leases SET beat_at = beat_at - interval '1 minute' WHERE beat_at < now() - interval '20 seconds'";
    until("everything is sent", LONGEST + Duration::from_millis(20) * u32::try_from(count).unwrap(), || {
        if asked.is_none() {
            server.sql(age);
        }
        server.number("SELECT count(*) FROM documents WHERE NOT synced_to_nas") == 0
    });
    println!("{count} documents in {:.1?}, {cuts} connections cut", began.elapsed());

    // The one that stood still is not believed, and goes on.
    let frozen = frozen.unwrap();
    frozen.signal("CONT");
    for worker in crew.drain(..) {
        end(worker);
    }
    let last = site.upload("last.pdf", b"last");
    add(&server, &[last]);
    until("it sends what comes now", LONGEST, || {
        server.number("SELECT count(*) FROM documents WHERE NOT synced_to_nas") == 0
    });
    end(frozen);

    let count = count + 1;
    let expected = i64::try_from(count).unwrap();
    assert_eq!(half_marked(&server), 0);
    assert_eq!(server.number("SELECT count(*) FROM documents"), expected, "no row is lost, and none is added");
    assert_eq!(server.number("SELECT count(*) FROM witness"), expected, "each became synced once");
    assert_eq!(server.number("SELECT count(DISTINCT document) FROM witness"), expected);
    let proved = "SELECT count(*) FROM documents d JOIN nas_sync_documents s ON s.document_id = d.id
                  WHERE s.level = 'durable' AND s.last_error_kind IS NULL";
    assert_eq!(server.number(proved), expected, "each mark has its record");
    assert_eq!(server.number("SELECT count(*) FROM nas_sync_leases"), 0, "leases are given back or have run out");
    let uploads = fs::read_dir(site.path("uploads")).unwrap();
    let names: Vec<_> = uploads.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    assert_eq!(names.len(), count);
    for name in &names {
        assert!(site.stored(name) == fs::read(site.path("uploads").join(name)).ok(), "{name}");
    }
    let left = strangers(&site.path("nas"), &names.iter().map(String::as_str).collect());
    println!("{left} temporary files of rsync are left");
}

/// Ends a worker in order.
fn end(worker: Worker) {
    let memory = worker.peak_memory();
    assert!(memory < MOST_MEMORY, "{memory} KB");
    worker.signal("TERM");
    worker.running.wait().ends(143);
}

/// Sends so many documents with so many workers of machines of their own, and says how long that took.
fn together(workers: usize, count: usize) -> Duration {
    let Some(server) = Postgres::start() else { return Duration::ZERO };
    let site = site(&server);
    let cli = Cli::new(&site);
    documents(&site, &cli, count);
    let began = Instant::now();
    let running: Vec<Running> = (0..workers).map(|_| cli.start_apart(&["sync", "--json"])).collect();
    let runs: Vec<_> = running.into_iter().map(Running::wait).collect();
    let took = began.elapsed();
    let synced: Vec<u64> = runs.iter().map(|run| run.ends(0).json()["synced"].as_u64().unwrap()).collect();
    assert_eq!(synced.iter().sum::<u64>(), count as u64, "{synced:?}");
    all_sent_once(&site, &server, count);
    println!("{workers} workers, {count} documents: {took:.2?}, shares {synced:?}");
    took
}

#[test]
fn one_two_four_and_eight_workers_send_each_document_once() {
    if !is_root_or_skipped() {
        return;
    }
    let count = if long() { 5_000 } else { 1_000 };
    for workers in [1, 2, 4, 8] {
        together(workers, count);
    }
}
