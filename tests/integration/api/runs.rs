//! Runs that are asked for, and how they are followed.

use std::fs;
use std::io::Write as _;

use serde_json::Value;

use super::requests::fits;
use super::{LONGEST, Place, Serve, gated};
use crate::support::{Cli, Site, noise, until};

/// How often somebody logged in.
fn logins(site: &Site) -> usize {
    site.sshd.log().matches("Accepted publickey").count()
}

#[test]
fn a_second_request_joins_the_run_that_is_going_on() {
    let (site, gate) = gated();
    fs::write(&gate, "").unwrap();
    let cli = Cli::new(&site);
    cli.add(7, &[site.upload("a.pdf", b"a"), site.upload("b.pdf", b"b")]);
    let serve = Serve::start(&cli);
    let ask = |path: &'static str| {
        let (place, request) = (serve.place.clone(), serve.request("POST", path, &[]));
        std::thread::spawn(move || place.exchange(&request).json())
    };
    // The loop's own run, or one of these: all are about the same, and one is enough for them.
    let all: Vec<_> = (0..3).map(|_| ask("/sync/run")).collect();
    let one = ask("/sync/document/1");
    until("it is being sent", LONGEST, || serve.object("GET", "/sync/status")["sending"] == 2);
    let late = ask("/sync/run");
    let other = ask("/sync/run?user_id=8");
    // Meanwhile everything else is answered.
    assert_eq!(serve.object("GET", "/sync/status")["state"], "syncing");
    fs::remove_file(&gate).unwrap();
    let (mut told, description) = (0, serve.object("GET", "/openapi.json"));
    for asked in all.into_iter().chain([late]) {
        let summary = asked.join().unwrap();
        assert!(summary["failed"] == 0 && summary["pending"] == 0, "{summary}");
        let documents = summary["documents"].as_array().unwrap();
        if !documents.is_empty() {
            told += 1;
            let told: Vec<_> = documents.iter().map(|one| (one["id"].as_i64(), &one["outcome"])).collect();
            assert_eq!(told, [(Some(1), &"synced".into()), (Some(2), &"synced".into())], "{summary}");
            assert_eq!(documents[0]["sha256"].as_str().map(str::len), Some(64), "{summary}");
            fits(&description, "Run", &summary);
        }
    }
    assert!(told > 0, "those who asked for the run, or joined it, hear of its documents");
    assert_eq!(one.join().unwrap()["success"], true);
    assert_eq!(other.join().unwrap()["total"], 0);
    let sent: i64 = site.database().query_row("SELECT COUNT(*) FROM nas_sync_attempts", [], |row| row.get(0)).unwrap();
    assert_eq!((sent, logins(&site)), (2, 1), "each went once, over one login");
    serve.stop();
}

#[test]
fn what_another_worker_is_sending_is_said_and_not_called_done() {
    let (site, gate) = gated();
    fs::write(&gate, "").unwrap();
    let cli = Cli::new(&site);
    cli.add(7, &[site.upload("a.pdf", b"a"), site.upload("b.pdf", b"b")]);
    let mut other = cli.start(&["sync"]);
    let leased = "SELECT COUNT(*) FROM nas_sync_leased";
    let is_leased = || site.database().query_row(leased, [], |row| row.get::<_, i64>(0)).is_ok_and(|count| count == 2);
    other.until(is_leased);
    let serve = Serve::start(&cli);
    let report = serve.object("POST", "/sync/run");
    assert_eq!((&report["synced"], &report["pending"]), (&0.into(), &2.into()), "{report}");
    assert!(report["warnings"][0].as_str().unwrap().starts_with("2 documents are being sent by another"), "{report}");
    fs::remove_file(&gate).unwrap();
    other.wait().ends(0);
    assert_eq!(serve.object("POST", "/sync/run")["warnings"], serde_json::json!([]));
    serve.stop();
}

#[test]
fn events_tell_a_run_in_its_order_and_who_comes_late_knows_its_beginning() {
    let (site, gate) = gated();
    fs::write(&gate, "").unwrap();
    let cli = Cli::new(&site);
    let serve = Serve::start(&cli);
    let mut early = serve.follow();
    let paths: Vec<_> = (0..20).map(|number| site.upload(&format!("{number}.pdf"), &noise(100_000, number))).collect();
    let ids = cli.add(7, &paths);
    let missing = site.insert(&site.path("uploads/gone.pdf"));
    let started = early.next().unwrap();
    assert_eq!(started["event"], "started");
    let mut late = serve.follow();
    fs::remove_file(&gate).unwrap();
    let objects = early.run();
    for pair in objects.windows(2).filter(|pair| pair[0]["event"] == "progress" && pair[1]["event"] == "progress") {
        assert!(pair[0]["bytes"].as_u64() <= pair[1]["bytes"].as_u64(), "{pair:?}");
    }
    let of = |objects: &[Value], outcome: &str| {
        let told = objects.iter().filter(|object| object["outcome"] == outcome);
        let mut ids: Vec<_> = told.map(|object| object["id"].as_i64().unwrap()).collect();
        ids.sort_unstable();
        ids
    };
    let (finished, before) = objects.split_last().unwrap();
    assert_eq!((&finished["synced"], &finished["failed"]), (&20.into(), &1.into()), "{finished}");
    assert_eq!(of(before, "synced"), ids);
    assert_eq!(of(before, "failed"), [missing]);
    let failure = before.iter().find(|object| object["outcome"] == "failed").unwrap();
    assert_eq!(failure["error"]["kind"], "source_missing", "{failure}");
    let told = late.run();
    assert_eq!(told[0], started, "the beginning is told once more");
    assert_eq!(of(&told, "synced"), ids);
    serve.stop();
}

#[test]
fn a_reader_that_takes_nothing_holds_up_nobody() {
    let site = Site::new();
    let cli = Cli::new(&site);
    let serve = Serve::start(&cli);
    // They ask and never read.
    let mut silent: Vec<_> = (0..8).map(|_| serve.place.connect().unwrap()).collect();
    for peer in &mut silent {
        peer.write_all(&serve.request("GET", "/sync/events", &[])).unwrap();
    }
    let mut reader = serve.follow();
    let paths: Vec<_> = (0..300).map(|number| site.upload(&format!("{number}.pdf"), b"x")).collect();
    let ids = cli.add(7, &paths);
    let told = reader.run();
    assert_eq!(told.iter().filter(|object| object["outcome"] == "synced").count(), ids.len());
    until("all are marked", LONGEST, || site.marked().len() == ids.len());
    drop(silent);
    serve.stop();
}

#[test]
fn there_are_only_so_many_readers_and_the_rest_is_answered_all_the_same() {
    let site = Site::new();
    let cli = Cli::new(&site);
    cli.add(7, &[site.upload("a.pdf", b"a")]);
    let serve = Serve::start(&cli);
    let readers: Vec<_> = (0..32).map(|_| serve.follow()).collect();
    serve.get("/sync/events").is_problem(503, "resource_shortage");
    assert_eq!(serve.get("/health").status, 200);
    drop(readers);
    until("there is a place again", LONGEST, || {
        serve.place.exchange_head(&serve.request("GET", "/sync/events", &[])) == 200
    });
    serve.stop();
}

impl Place {
    /// The status of an answer, without waiting for its end.
    fn exchange_head(&self, bytes: &[u8]) -> u16 {
        let mut peer = self.connect().unwrap();
        peer.write_all(bytes).unwrap();
        let mut start = [0; 12];
        peer.read_exact(&mut start).unwrap();
        std::str::from_utf8(&start[9..]).unwrap().parse().unwrap()
    }
}

#[test]
fn sigterm_ends_a_run_in_order_and_everybody_hears_of_it() {
    let (site, gate) = gated();
    fs::write(&gate, "").unwrap();
    let mut cli = Cli::new(&site);
    cli.set("NAS_FILE_TIMEOUT", "30");
    cli.add(7, &[site.upload("a.pdf", b"a")]);
    let place = Place::new();
    let running = cli.start(&["serve", "--quiet-period", "0", "--grace", "0", "--listen", &place.flag()]);
    let mut serve = Serve { running: Some(running), place, token: None };
    until("it listens", LONGEST, || serve.place.connect().is_ok());
    let mut events = serve.follow();
    until("it is being sent", LONGEST, || serve.object("GET", "/sync/status")["sending"] == 1);
    let (place, request) = (serve.place.clone(), serve.request("POST", "/sync/run", &[]));
    let asked = std::thread::spawn(move || place.exchange(&request));
    // A request that stands in the queue of the loop, too.
    let (place, request) = (serve.place.clone(), serve.request("POST", "/sync/run?user_id=8", &[]));
    let waiting = std::thread::spawn(move || place.exchange(&request));
    until("both have asked", LONGEST, || serve.get("/health").status == 200);
    let running = serve.running.take().unwrap();
    running.signal("TERM");
    let run = running.wait();
    run.ends(143);
    let told = events.run();
    assert_eq!(told.last().unwrap()["synced"], 0, "{told:?}");
    assert!(events.next().is_none(), "the stream has an end");
    // A request may also have come too late to be taken.
    for reply in [asked.join().unwrap(), waiting.join().unwrap()] {
        match reply.status {
            200 => assert_eq!(reply.json()["error"]["kind"], "interrupted", "{reply:?}"),
            _ => reply.is_problem(503, "interrupted"),
        }
    }
    fs::remove_file(&gate).unwrap();
    assert_eq!(site.marked(), []);
    cli.line("sync").ends(0);
    assert_eq!(site.stored("a.pdf"), Some(b"a".to_vec()));
}

#[test]
fn a_login_that_is_refused_is_not_tried_without_end_by_whoever_asks() {
    let site = Site::new();
    let cli = Cli::new(&site);
    fs::rename(site.sshd.path("authorized_keys"), site.sshd.path("saved")).unwrap();
    cli.add(7, &[site.upload("a.pdf", b"a")]);
    let serve = Serve::start(&cli);
    for _ in 0..10 {
        assert_eq!(serve.object("POST", "/sync/run")["error"]["kind"], "login_refused");
    }
    let refused = site.sshd.log().matches("Failed publickey").count();
    let tried = site.sshd.log().matches("Connection from").count();
    assert!(tried <= 1 + 4, "{tried} connections, {refused} refusals: {}", site.sshd.log());
    serve.until_state("blocked");
    assert_eq!((serve.get("/health").status, serve.get("/health").body.as_str()), (503, "blocked by login_refused\n"));
    serve.stop();
}
