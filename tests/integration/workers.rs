//! Several workers on one database: each document is sent once, none is lost, none is marked twice; and the documents
//! of a worker that died, or stands still, go on with the others.

use std::fs;
use std::time::{Duration, Instant};

use crate::support::cli::{Cli, Run, Running};
use crate::support::random::long;
use crate::support::{Site, is_long_or_skipped, is_root_or_skipped, noise, until};

/// An rsync of the NAS that begins when a test says so.
const WAITS_FOR_A_WORD: &str = "until [ -e \"$NAS/../go\" ]; do sleep 0.02; done\nexec rsync \"$@\"";
/// How long something may take to come about.
const LONGEST: Duration = Duration::from_secs(30);

/// Writes and registers small documents.
fn documents(site: &Site, cli: &Cli, count: usize) {
    let paths: Vec<_> = (0..count)
        .map(|number| site.upload(&format!("{number}.pdf"), &noise(2_000 + number % 3_000, number as u64)))
        .collect();
    cli.add(1, &paths);
}

fn number(site: &Site, sql: &str) -> i64 {
    site.database().query_row(sql, [], |row| row.get(0)).unwrap()
}

/// What holds when everybody is done.
fn all_sent_once(site: &Site, count: usize) {
    let count = i64::try_from(count).unwrap();
    assert_eq!(site.marked().len(), usize::try_from(count).unwrap());
    let attempts = "SELECT COUNT(*) FROM nas_sync_attempts WHERE outcome = 'synced'";
    assert_eq!(number(site, attempts), count, "each was sent once");
    assert_eq!(number(site, "SELECT COUNT(DISTINCT document_id) FROM nas_sync_attempts"), count);
    assert_eq!(number(site, "SELECT COUNT(*) FROM nas_sync_leases"), 0, "leases are given back");
    for name in site.stored_names() {
        assert!(site.stored(&name).unwrap() == fs::read(site.path("uploads").join(&name)).unwrap(), "{name}");
    }
    assert_eq!(site.stored_names().len(), usize::try_from(count).unwrap());
}

/// Sends so many documents with so many workers and says how long that took.
fn together(workers: usize, count: usize) -> Duration {
    let site = Site::new();
    let cli = Cli::new(&site);
    documents(&site, &cli, count);
    let started = Instant::now();
    let running: Vec<Running> = (0..workers).map(|_| cli.start(&["sync", "--json"])).collect();
    let runs: Vec<Run> = running.into_iter().map(Running::wait).collect();
    let took = started.elapsed();
    let synced: Vec<u64> = runs.iter().map(|run| run.ends(0).json()["synced"].as_u64().unwrap()).collect();
    assert_eq!(synced.iter().sum::<u64>(), count as u64, "{synced:?}");
    all_sent_once(&site, count);
    println!("{workers} workers, {count} documents: {took:.2?}, shares {synced:?}");
    took
}

#[test]
fn one_two_and_eight_workers_send_each_document_once() {
    let count = if long() { 5_000 } else { 400 };
    let alone = together(1, count);
    for workers in [2, 8] {
        let took = together(workers, count);
        println!("{workers} workers: {:.2} times the throughput of one", alone.as_secs_f64() / took.as_secs_f64());
    }
}

#[test]
fn the_documents_of_a_killed_worker_go_at_once() {
    let mut site = Site::new();
    // The first worker is in the middle when it dies.
    site.wrap_rsync(WAITS_FOR_A_WORD);
    let cli = Cli::new(&site);
    documents(&site, &cli, 20);
    let mut first = cli.start(&["sync", "--json"]);
    first.until(|| number(&site, "SELECT COUNT(*) FROM nas_sync_leased") == 20);
    first.signal("KILL");
    fs::write(site.path("go"), "").unwrap();
    let second = cli.line("sync --json");
    assert_eq!(second.ends(0).json()["synced"], 20, "{}", second.all());
    // Far less than the time after which a lease runs out.
    assert!(second.elapsed < Duration::from_secs(20), "{}", second.all());
    assert_eq!(number(&site, "SELECT value FROM nas_sync_meta WHERE key = 'last_fence'"), 2);
}

#[test]
fn a_worker_waits_for_what_another_one_sends() {
    if !is_root_or_skipped() {
        return;
    }
    let mut site = Site::new();
    site.wrap_rsync(WAITS_FOR_A_WORD);
    let cli = Cli::new(&site);
    documents(&site, &cli, 10);
    let mut first = cli.start(&["sync", "--json"]);
    first.until(|| number(&site, "SELECT COUNT(*) FROM nas_sync_leased") == 10);
    let second = cli.start(&["sync", "--json"]);
    // It has had its look and waits for the other one.
    until("the second worker waits", LONGEST, || second.is_at_rest());
    assert_eq!(site.marked().len(), 0, "the first has not ended");
    fs::write(site.path("go"), "").unwrap();
    let second = second.wait();
    assert_eq!(second.ends(0).json()["total"], 0, "{}", second.all());
    assert_eq!(site.marked().len(), 10, "it ended before the other one had");
    assert_eq!(first.wait().ends(0).json()["synced"], 10);
    all_sent_once(&site, 10);
}

#[test]
fn what_another_worker_sent_meanwhile_is_said() {
    if !is_root_or_skipped() {
        return;
    }
    let mut site = Site::new();
    site.wrap_rsync(WAITS_FOR_A_WORD);
    let cli = Cli::new(&site);
    documents(&site, &cli, 3);
    let mut first = cli.start(&["sync", "--json"]);
    first.until(|| number(&site, "SELECT COUNT(*) FROM nas_sync_leased") == 3);
    let second = cli.start(&["sync", "--json"]);
    until("the second worker waits", LONGEST, || second.is_at_rest());
    fs::write(site.path("go"), "").unwrap();
    let second = second.wait();
    let object = second.ends(0).json();
    assert_eq!(object["total"], 0, "{}", second.all());
    let warning = object["warnings"][0].as_str().unwrap();
    assert!(warning.starts_with("3 documents were sent by another worker meanwhile"), "{}", second.all());
    assert_eq!(first.wait().ends(0).json()["warnings"], serde_json::json!([]));
}

/// Takes as long as a lease lasts.
#[test]
fn a_worker_that_stands_still_loses_its_documents_and_is_not_believed() {
    if !is_root_or_skipped() {
        return;
    }
    if !is_long_or_skipped() {
        return;
    }
    let mut site = Site::new();
    site.wrap_rsync("sleep 2\nexec rsync \"$@\"");
    let cli = Cli::new(&site);
    documents(&site, &cli, 10);
    let mut first = cli.start(&["sync", "--json"]);
    first.until(|| number(&site, "SELECT COUNT(*) FROM nas_sync_leased") == 10);
    // Not while it is busy with the database: nobody can take a lock from a process that stands still.
    until("the run waits for its NAS", LONGEST, || first.is_at_rest());
    first.signal("STOP");
    let second = cli.line("sync --json");
    assert_eq!(second.ends(0).json()["synced"], 10, "{}", second.all());
    assert!(second.elapsed < Duration::from_secs(60), "{}", second.all());
    first.signal("CONT");
    let first = first.wait();
    assert_eq!(first.json()["synced"], 0, "{}", first.all());
    assert_eq!(site.marked().len(), 10);
}
