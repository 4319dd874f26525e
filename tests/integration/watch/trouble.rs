//! A NAS that is away, refuses or is in trouble, and signals.

use std::fs;

use super::{Watch, health, logins};
use crate::support::chaos::{Chaos, Fault, Pace};
use crate::support::{Cli, Site, noise};

/// Makes the watch look at the queue again and again: rows come and go, and each change in its count of them takes one
/// more look. Rows that go do not put off a run, so that one would have begun after the second look without them.
fn it_looks_again(watch: &Watch, cli: &Cli, site: &Site) {
    let before = watch.figures()["pending_documents"];
    let ids = cli.add(1, &["x", "y", "z"].map(|name| site.upload(name, b"comes and goes")));
    watch.until_figure("pending_documents", before + 3.0);
    for (id, left) in ids.iter().zip([2.0, 1.0, 0.0]) {
        site.database().execute("DELETE FROM documents WHERE id = ?1", [id]).unwrap();
        watch.until_figure("pending_documents", before + left);
    }
}

#[test]
fn a_nas_that_comes_later_gets_its_documents() {
    let mut site = Site::new();
    let chaos = Chaos::before(site.sshd.port(), 1);
    chaos.plan(|connection| if connection < 2 { Fault::refused() } else { Fault::default() });
    site.through(&chaos);
    let cli = Cli::new(&site);
    cli.add(1, &[site.upload("a.pdf", b"a")]);
    let mut watch = Watch::start(&cli, "");
    watch.until_marked(&site, 1);
    assert_eq!(chaos.connections().len(), 3);
    let failures: f64 =
        watch.figures().iter().filter(|(name, _)| name.starts_with("failures")).map(|(_, count)| count).sum();
    assert!((failures - 2.0).abs() < f64::EPSILON, "{:?}", watch.figures());
    let run = watch.stop();
    assert_eq!(run.stderr.matches("trying again in").count(), 2, "{}", run.all());
}

#[test]
fn the_wait_for_a_nas_that_is_not_reached_is_known_to_status_and_ended_by_a_test() {
    let mut site = Site::new();
    let chaos = Chaos::before(site.sshd.port(), 1);
    chaos.plan(|_| Fault::refused());
    site.through(&chaos);
    let cli = Cli::new(&site);
    cli.add(1, &[site.upload("a.pdf", b"a")]);
    let mut watch = Watch::start(&cli, "");
    let paused = || cli.line("status --json").ends(0).json()["paused"].clone();
    watch.until(|| paused()["until"].is_string());
    // The record alone is left of a wait that is over, and the next one is longer: it does not end by itself.
    assert!(cli.line("status").ends(0).stdout.contains("paused      until "));
    chaos.plan(|_| Fault::default());
    cli.line("test").ends(0);
    watch.until_marked(&site, 1);
    assert!(paused().is_null(), "{}", paused());
    watch.stop();
}

#[test]
fn a_login_that_is_refused_is_tried_once() {
    let site = Site::new();
    let cli = Cli::new(&site);
    let (keys, saved) = (site.sshd.path("authorized_keys"), site.sshd.path("saved"));
    fs::rename(&keys, &saved).unwrap();
    let refusals =
        || site.sshd.log().matches("Failed publickey").count() + site.sshd.log().matches("[preauth]").count();
    cli.add(1, &[site.upload("a.pdf", b"a")]);
    let mut watch = Watch::start(&cli, "");
    watch.until_state(&cli, "blocked");
    let (code, object) = health(&cli);
    assert_eq!(code, Some(1));
    assert!(object["reason"].as_str().unwrap().contains("login_refused"), "{object}");
    assert!(watch.page("/health").starts_with("HTTP/1.1 503 "));
    watch.has_figures(&[
        ("up", 0.0),
        ("paused", 1.0),
        ("pending_documents", 1.0),
        ("failures_total{kind=\"login_refused\"}", 1.0),
    ]);
    let once = refusals();
    assert!(once > 0, "{}", site.sshd.log());
    // Neither time nor a new document makes it try again.
    cli.add(1, &[site.upload("b.pdf", b"b")]);
    watch.until_figure("pending_documents", 2.0);
    it_looks_again(&watch, &cli, &site);
    assert_eq!(refusals(), once, "{}", site.sshd.log());
    fs::rename(&saved, &keys).unwrap();
    cli.line("retry").ends(0);
    watch.until_marked(&site, 2);
    watch.until_state(&cli, "idle");
    assert_eq!(health(&cli).0, Some(0));
    watch.stop();
}

#[test]
fn a_restart_tries_a_refused_login_once_more() {
    let site = Site::new();
    let cli = Cli::new(&site);
    let (keys, saved) = (site.sshd.path("authorized_keys"), site.sshd.path("saved"));
    fs::rename(&keys, &saved).unwrap();
    cli.add(1, &[site.upload("a.pdf", b"a")]);
    let mut watch = Watch::start(&cli, "");
    watch.until_state(&cli, "blocked");
    watch.stop();
    fs::rename(&saved, &keys).unwrap();
    let mut watch = Watch::start(&cli, "");
    watch.until_marked(&site, 1);
    watch.stop();
}

#[test]
fn a_nas_that_takes_nothing_is_left_alone_until_its_pause_is_over() {
    let site = Site::new();
    let cli = Cli::new(&site);
    fs::rename(site.path("nas"), site.path("unmounted")).unwrap();
    cli.add(1, &[site.upload("a.pdf", b"a")]);
    let mut watch = Watch::start(&cli, "");
    watch.until_state(&cli, "paused");
    let (code, object) = health(&cli);
    assert_eq!(code, Some(0), "it goes on by itself");
    assert!(object["until"].is_string() && object["last_error"]["kind"] == "destination_missing", "{object}");
    watch.has_figures(&[("up", 1.0), ("paused", 1.0), ("failed_documents", 0.0)]);
    let before = logins(&site);
    it_looks_again(&watch, &cli, &site);
    assert_eq!(logins(&site), before);
    fs::rename(site.path("unmounted"), site.path("nas")).unwrap();
    cli.line("retry").ends(0);
    watch.until_marked(&site, 1);
    watch.stop();
}

#[test]
fn a_document_that_waited_goes_when_it_is_due() {
    let site = Site::new();
    let cli = Cli::new(&site);
    let path = site.upload("a.pdf", b"a");
    cli.add(1, std::slice::from_ref(&path));
    fs::rename(&path, site.path("away")).unwrap();
    let mut watch = Watch::start(&cli, "--interval 3600");
    watch.until_figure("failures_total{kind=\"source_missing\"}", 1.0);
    assert_eq!(health(&cli).0, Some(0));
    fs::rename(site.path("away"), &path).unwrap();
    watch.until_marked(&site, 1);
    watch.stop();
}

#[test]
fn an_upload_folder_that_is_mounted_later_is_waited_for() {
    let mut site = Site::new();
    site.set("UPLOAD_DIR", site.path("uploads"));
    let cli = Cli::new(&site);
    cli.add(1, &[site.upload("a.pdf", b"a")]);
    fs::rename(site.path("uploads"), site.path("unmounted")).unwrap();
    let mut watch = Watch::start(&cli, "");
    watch.until_state(&cli, "blocked");
    assert!(health(&cli).1["reason"].as_str().unwrap().contains("upload folder"));
    fs::rename(site.path("unmounted"), site.path("uploads")).unwrap();
    watch.until_marked(&site, 1);
    watch.stop();
}

#[test]
fn a_database_that_is_not_there_yet_is_said_and_waited_for() {
    let site = Site::new();
    let cli = Cli::new(&site);
    let mut watch = Watch::start(&cli, "");
    watch.until_state(&cli, "blocked");
    let (code, object) = health(&cli);
    assert_eq!(code, Some(1));
    assert!(object["reason"].as_str().unwrap().contains("does not exist"), "{object}");
    cli.add(1, &[site.upload("a.pdf", b"a")]);
    watch.until_marked(&site, 1);
    let run = watch.stop();
    assert_eq!(run.stderr.matches("WARN").count(), 1, "{}", run.all());
    assert!(run.stderr.contains("it is looked at again and again. Point NAS_DB"), "{}", run.all());
}

#[test]
fn a_database_that_is_taken_away_is_noticed_long_before_it_is_opened_anew() {
    let site = Site::new();
    let cli = Cli::new(&site);
    cli.add(1, &[site.upload("a.pdf", b"a")]);
    let mut watch = Watch::start(&cli, "--interval 3600");
    watch.until_marked(&site, 1);
    watch.until_state(&cli, "idle");
    let move_to = |from: &str, to: &str| {
        for end in ["", "-wal", "-shm"] {
            let _ = fs::rename(site.path(&format!("{from}{end}")), site.path(&format!("{to}{end}")));
        }
    };
    move_to("documents.db", "away.db");
    watch.until_state(&cli, "blocked");
    let (code, object) = health(&cli);
    assert!(code == Some(1) && object["reason"].as_str().unwrap().contains("does not exist"), "{object}");
    move_to("away.db", "documents.db");
    watch.until_state(&cli, "idle");
    cli.add(1, &[site.upload("b.pdf", b"b")]);
    watch.until_marked(&site, 2);
    watch.stop();
}

/// A NAS so slow that a batch is under way for many seconds.
fn slow(site: &mut Site, rate: u64) -> (Chaos, Cli) {
    let chaos = Chaos::before(site.sshd.port(), 1);
    chaos.plan(move |_| Fault::pace(Pace::Throttle(rate)));
    site.through(&chaos);
    let cli = Cli::new(site);
    (chaos, cli)
}

#[test]
fn a_batch_under_way_may_end_within_the_grace_period() {
    let mut site = Site::new();
    let (chaos, cli) = slow(&mut site, 500_000);
    cli.add(1, &[site.upload("a.bin", &noise(2_000_000, 1))]);
    let mut watch = Watch::start(&cli, "--grace 60");
    watch.until(|| chaos.connections().first().is_some_and(|traffic| traffic.to_server > 500_000));
    watch.signal("TERM");
    watch.until_state(&cli, "stopping");
    assert_eq!(health(&cli).0, Some(0));
    let run = watch.wait();
    run.ends(143);
    assert_eq!(site.marked().len(), 1, "{}", run.all());
    assert_eq!(site.stored("a.bin"), Some(noise(2_000_000, 1)));
}

#[test]
fn a_batch_that_takes_longer_is_cut_in_order() {
    let mut site = Site::new();
    // The line is free all the time, only rsync there gets nothing for a while. It may be asked for its version meanwhile.
    site.wrap_rsync("(dd bs=8192 count=40 2>/dev/null; sleep 30; cat) | rsync \"$@\" | tee -a \"$NAS/../said\"");
    let cli = Cli::new(&site);
    cli.add(1, &[site.upload("a.pdf", b"small"), site.upload("b.bin", &noise(60_000_000, 1))]);
    let mut watch = Watch::start(&cli, "--grace 1");
    // What the file is acknowledged with: a message of four bytes that says so.
    let acknowledgement = [4, 0, 0, 100 + 7];
    let said = site.path("said");
    watch.until(|| fs::read(&said).is_ok_and(|said| said.windows(4).any(|bytes| bytes == acknowledgement)));
    let run = watch.stop();
    assert_eq!(site.marked(), [(1, true)], "{}", run.all());
    assert!(site.stored("b.bin").is_none());
    // What was cut goes on with the next run.
    site.set("NAS_RSYNC_PATH", "rsync");
    Cli::new(&site).line("sync").ends(0);
    assert_eq!(site.stored("b.bin"), Some(noise(60_000_000, 1)));
}

#[test]
fn a_second_signal_ends_at_once_and_loses_nothing() {
    let mut site = Site::new();
    let (chaos, cli) = slow(&mut site, 200_000);
    cli.add(1, &[site.upload("a.bin", &noise(60_000_000, 1))]);
    let mut watch = Watch::start(&cli, "--grace 3600");
    watch.until(|| chaos.connections().first().is_some_and(|traffic| traffic.to_server > 300_000));
    watch.signal("INT");
    watch.until_state(&cli, "stopping");
    watch.signal("TERM");
    let run = watch.wait();
    run.ends(143);
    assert!(site.marked().is_empty());
    let (code, object) = health(&cli);
    assert!(code == Some(1) && object["reason"].as_str().unwrap().contains("is gone"), "{object}");
}

#[test]
fn what_a_killed_watch_was_sending_goes_with_the_next_one() {
    let mut site = Site::new();
    let (chaos, cli) = slow(&mut site, 200_000);
    cli.add(1, &[site.upload("a.bin", &noise(5_000_000, 1)), site.upload("b.pdf", b"b")]);
    let mut watch = Watch::start(&cli, "");
    watch.until(|| chaos.connections().first().is_some_and(|traffic| traffic.to_server > 300_000));
    watch.signal("KILL");
    assert_eq!(watch.wait().code, None);
    let leased = "SELECT COUNT(*) FROM nas_sync_leased";
    assert_eq!(site.database().query_row(leased, [], |row| row.get::<_, i64>(0)).unwrap(), 2);
    chaos.plan(|_| Fault::default());
    let mut watch = Watch::start(&cli, "--interval 3600");
    watch.until_marked(&site, 2);
    watch.stop();
}

#[test]
fn two_that_watch_one_database_share_the_work() {
    let site = Site::new();
    let cli = Cli::new(&site);
    let mut first = Watch::start(&cli, "");
    let second = Watch::start(&cli, "--health-file other.health");
    let paths: Vec<_> = (0..300).map(|number| site.upload(&format!("{number}"), &noise(20_000, number))).collect();
    cli.add(1, &paths);
    first.until_marked(&site, 300);
    let synced = |watch: &Watch| watch.figures()["synced_documents_total"];
    // Each counts when its run is over.
    first.until(|| (synced(&second) - 300.0).abs() < f64::EPSILON || health(&cli).1["state"] == "idle");
    first.until_state(&cli, "idle");
    assert!(cli.line("health --health-file other.health").code == Some(0));
    second.stop();
    first.stop();
}
