//! What is told and recorded of a batch while it runs.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::support::chaos::{Chaos, Fault, Pace};
use crate::support::cli::write_program;
use crate::support::{Cli, Database, Postgres, Site, Sshd, noise};

/// What a `sync` says that is not known to tell of every error, so that rsync flushes each file; and the real one's words.
const WAYS: [(&str, &str); 2] = [("file", "exit 1"), ("batch", "exec /bin/sync --help")];

/// Where the documents stand: in an SQLite file, and on a server.
fn places() -> impl Iterator<Item = Option<Postgres>> {
    std::iter::once(None).chain(Postgres::start().map(Some))
}

/// A NAS at the end of a slow line, and a log of how many documents were there each time it began to flush all of them. It
/// flushes by a script before the real `sync`, which ends with `status`; asked for help it does as `help` says.
fn slow_site(status: &str, help: &str, server: Option<Postgres>) -> (Site, Database, Chaos, PathBuf) {
    let programs = tempfile::tempdir().unwrap().keep();
    let (log, nas) = (programs.join("log"), programs.join("nas"));
    let path = format!("{}:/usr/local/bin:/usr/bin:/bin", programs.display());
    let mut site = Site::with(Sshd::setup().env("PATH", path).start());
    std::os::unix::fs::symlink(site.path("nas"), &nas).unwrap();
    let script = format!(
        "#!/bin/sh\ncase $1 in --help) {help};; ./*) exec /bin/sync \"$@\";; esac\n\
         ls '{}/' | wc -l >>'{}'\n/bin/sync \"$@\"\nexit {status}\n",
        nas.display(),
        log.display()
    );
    write_program(&programs.join("sync"), &script);
    let chaos = Chaos::before(site.sshd.port(), 1);
    chaos.plan(|_| Fault::pace(Pace::Throttle(2_500_000)));
    site.through(&chaos);
    let database = server.map_or_else(|| Database::file(&site), Database::server);
    site.set("NAS_DB", database.setting());
    (site, database, chaos, log)
}

fn flushes(log: &Path) -> Vec<usize> {
    fs::read_to_string(log).unwrap_or_default().lines().map(|line| line.trim().parse().unwrap()).collect()
}

/// 200 of them are more than what is acknowledged together over a long way, which a busy machine may seem to be.
fn content(number: usize) -> Vec<u8> {
    noise(100_000, number as u64)
}

fn documents(site: &Site, count: usize) -> Vec<PathBuf> {
    (0..count).map(|number| site.upload(&number.to_string(), &content(number))).collect()
}

#[test]
fn a_long_batch_is_recorded_while_it_runs_and_nothing_that_is_not_flushed() {
    for way in WAYS {
        places().for_each(|server| record_while_it_runs(way, server));
    }
}

fn record_while_it_runs((way, help): (&str, &str), server: Option<Postgres>) {
    let (site, database, _chaos, log) = slow_site("0", help, server);
    let cli = Cli::new(&site);
    cli.add(1, &documents(&site, 200));
    let mut running = cli.start(&["sync"]);
    running.until(|| {
        let marked = database.marked().len();
        // In this order: whoever was marked had been flushed before.
        let flushed = flushes(&log).into_iter().max().unwrap_or(0);
        assert!(marked <= flushed, "{marked} are marked, and {flushed} were there when the NAS was last told to flush");
        marked > 0
    });
    assert!(database.marked().len() < 200, "the batch still runs");
    let half = cli.line("status --json").ends(0).json();
    assert!(half["synced"].as_u64().unwrap() > 0 && half["sending"].as_u64().unwrap() > 0, "{half}");
    running.signal("KILL");
    running.wait();
    let marked = database.look(Database::marked);
    for (id, timed) in &marked {
        let number = usize::try_from(*id).unwrap() - 1;
        assert!(*timed && site.stored(&number.to_string()) == Some(content(number)), "{id} is marked and not there");
    }
    let listed = cli.line("list --json --state synced --limit 1000").ends(0).json();
    let listed = listed["documents"].as_array().unwrap();
    assert!(listed.len() == marked.len() && listed.iter().all(|one| one["level"] == "durable"), "{listed:?}");
    let by_another_way = format!("SELECT count(*) FROM nas_sync_attempts WHERE durable_by <> '{way}'");
    assert_eq!(database.numbers(&by_another_way), [0]);
    // The rest goes with the next run, which tries no document that is marked.
    let rest = cli.line("sync --json").ends(0).json();
    assert_eq!(rest["documents"].as_array().unwrap().len(), 200 - marked.len());
    assert_eq!(database.marked().len(), 200);
}

#[test]
fn what_a_nas_does_not_flush_is_not_marked_while_a_batch_runs() {
    for (help, server) in WAYS.into_iter().flat_map(|(_, help)| places().map(move |server| (help, server))) {
        let (mut site, database, _chaos, log) = slow_site("1", help, server);
        site.set("NAS_DURABILITY", "durable");
        let cli = Cli::new(&site);
        cli.add(1, &documents(&site, 100));
        let run = cli.line("sync --json");
        run.ends(3);
        assert!(flushes(&log).len() >= 3, "once while it ran, and twice at its end: {:?}", flushes(&log));
        assert_eq!((database.marked().len(), &run.json()["synced"]), (0, &Value::from(0)), "{}", run.all());
        assert_eq!(site.stored_names().len(), 100);
    }
}

#[test]
fn where_no_flush_is_asked_for_what_is_acknowledged_is_recorded() {
    places().for_each(record_what_is_acknowledged);
}

fn record_what_is_acknowledged(server: Option<Postgres>) {
    let (mut site, database, _chaos, log) = slow_site("0", WAYS[1].1, server);
    site.set("NAS_DURABILITY", "stored");
    let cli = Cli::new(&site);
    cli.add(1, &documents(&site, 100));
    let mut running = cli.start(&["sync", "--json", "--progress", "json"]);
    running.until(|| !database.marked().is_empty());
    assert!(database.marked().len() < 100, "the batch still runs");
    let run = running.wait();
    let object = run.ends(0).json();
    assert_eq!((&object["synced"], flushes(&log).len()), (&Value::from(100), 0));
    let documents = object["documents"].as_array().unwrap();
    assert!(documents.len() == 100 && documents.iter().all(|one| one["level"] == "stored"), "{object}");
    assert_eq!(run.stderr.lines().filter(|line| line.contains("\"document\"")).count(), 100, "each is told once");
    assert_eq!(database.numbers("SELECT COUNT(*) FROM nas_sync_attempts"), [100]);
}
