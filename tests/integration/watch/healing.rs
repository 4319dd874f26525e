//! What keeps a `watch` from working ends some day without a person: causes on this side as soon as they are gone, others
//! after growing waits. Only a NAS that shows another host key is waited for until somebody has looked into it.

use std::fs;
use std::path::Path;

use chrono::{DateTime, NaiveDateTime, TimeDelta, Utc};

use super::{Watch, health};
use crate::support::{Cli, Site};

/// Until when the NAS is left alone, and why; `None`: until somebody asks.
fn pause(site: &Site) -> (String, Option<DateTime<Utc>>) {
    let sql = "SELECT pause_kind, paused_until FROM nas_sync_targets WHERE pause_kind IS NOT NULL";
    let (kind, until): (String, Option<String>) =
        site.database().query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    let time = |text: String| NaiveDateTime::parse_from_str(&text, "%Y-%m-%d %H:%M:%S%.f").unwrap().and_utc();
    (kind, until.map(time))
}

/// As if the recorded pause had come to its end.
fn let_time_pass(site: &Site) {
    let past = (Utc::now() - TimeDelta::seconds(1)).format("%Y-%m-%d %H:%M:%S%.6f").to_string();
    site.database().execute("UPDATE nas_sync_targets SET paused_until = ?1", [past]).unwrap();
}

/// A watch that is blocked for a reason, with one document waiting.
fn blocked(site: &Site, kind: &str) -> (Cli, Watch) {
    let cli = Cli::new(site);
    cli.add(1, &[site.upload("a.pdf", b"a")]);
    let mut watch = Watch::start(&cli, "");
    watch.until_state(&cli, "blocked");
    let (code, object) = health(&cli);
    assert!(code == Some(1) && object["reason"].as_str().unwrap().contains(kind), "{object}");
    (cli, watch)
}

/// The document goes, and all is well again.
fn heals(site: &Site, cli: &Cli, mut watch: Watch) {
    watch.until_marked(site, 1);
    watch.until_state(cli, "idle");
    assert_eq!(health(cli).0, Some(0));
    watch.stop();
}

#[test]
fn a_key_file_that_is_put_back_is_noticed_at_once() {
    let mut site = Site::new();
    let key = site.path("key");
    site.set("NAS_KEY_FILE", &key);
    let (cli, watch) = blocked(&site, "key_unusable");
    let (kind, until) = pause(&site);
    assert!(kind == "key_unusable" && until > Some(Utc::now()), "it ends also by itself");
    fs::copy(site.sshd.path("user_ed25519"), &key).unwrap();
    heals(&site, &cli, watch);
}

#[test]
fn a_line_of_known_hosts_that_is_put_back_is_noticed_at_once() {
    let mut site = Site::new();
    site.know_every_port();
    let known_hosts = site.path("known_hosts");
    let lines = fs::read(&known_hosts).unwrap();
    for broken in [&b""[..], b"this is no line of known_hosts\n"] {
        fs::write(&known_hosts, broken).unwrap();
        let kind = if broken.is_empty() { "host_key_unknown" } else { "known_hosts_unusable" };
        let (cli, watch) = blocked(&site, kind);
        assert!(pause(&site).1 > Some(Utc::now()));
        fs::write(&known_hosts, &lines).unwrap();
        heals(&site, &cli, watch);
        site.database().execute("DELETE FROM documents", []).unwrap();
    }
}

#[test]
fn a_changed_host_key_is_waited_for_until_somebody_has_seen_to_it() {
    let mut site = Site::new();
    site.know_every_port();
    let known_hosts = site.path("known_hosts");
    let lines = fs::read_to_string(&known_hosts).unwrap();
    let of_others = "* ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl\n";
    fs::write(&known_hosts, of_others).unwrap();
    let (cli, watch) = blocked(&site, "host_key_changed");
    assert_eq!(pause(&site), ("host_key_changed".to_owned(), None));
    fs::write(&known_hosts, lines).unwrap();
    heals(&site, &cli, watch);
}

#[test]
fn authorized_keys_that_are_put_back_are_noticed_after_a_long_wait() {
    let site = Site::new();
    let (keys, saved) = (site.sshd.path("authorized_keys"), site.sshd.path("saved"));
    fs::rename(&keys, &saved).unwrap();
    let (cli, watch) = blocked(&site, "login_refused");
    let (_, until) = pause(&site);
    let wait = until.expect("it ends by itself") - Utc::now();
    assert!(wait > TimeDelta::minutes(14) && wait < TimeDelta::hours(1), "{wait}");
    fs::rename(&saved, &keys).unwrap();
    let_time_pass(&site);
    heals(&site, &cli, watch);
}

#[test]
fn a_refused_login_is_tried_at_most_four_times_an_hour_also_by_restarts() {
    let site = Site::new();
    let (keys, saved) = (site.sshd.path("authorized_keys"), site.sshd.path("saved"));
    fs::rename(&keys, &saved).unwrap();
    let cli = Cli::new(&site);
    cli.add(1, &[site.upload("a.pdf", b"a")]);
    // Each refused login is one connection.
    let tries = || site.sshd.log().matches("[preauth]").count();
    let mut counts = Vec::new();
    for _ in 0..6 {
        let mut watch = Watch::start(&cli, "");
        watch.until_state(&cli, "blocked");
        watch.stop();
        counts.push(tries());
    }
    assert!(counts[0] < counts[1] && counts[2] < counts[3], "a restart tries once: {counts:?}");
    assert!(counts[3] == counts[4] && counts[4] == counts[5], "but not more than four times an hour: {counts:?}");
    // A person may.
    fs::rename(&saved, &keys).unwrap();
    cli.line("retry").ends(0);
    heals(&site, &cli, Watch::start(&cli, ""));
}

#[test]
fn an_rsync_that_is_installed_again_is_noticed_after_a_wait() {
    let mut site = Site::new();
    site.wrap_rsync("exec rsync \"$@\"");
    let script = Path::new(&site.variables["NAS_RSYNC_PATH"]).to_owned();
    fs::rename(&script, site.path("removed")).unwrap();
    let (cli, watch) = blocked(&site, "rsync_missing");
    let (_, until) = pause(&site);
    assert!(until.expect("it ends by itself") <= Utc::now() + TimeDelta::minutes(1));
    fs::rename(site.path("removed"), &script).unwrap();
    let_time_pass(&site);
    heals(&site, &cli, watch);
}
/// What no document is to blame for is not counted against one.
fn nothing_is_charged(site: &Site) {
    let sql = "SELECT COUNT(*) FROM nas_sync_documents WHERE attempts > 0 OR last_error_kind IS NOT NULL";
    let charged: i64 = site.database().query_row(sql, [], |row| row.get(0)).unwrap();
    assert_eq!(charged, 0);
}

#[test]
fn an_upload_folder_that_is_not_mounted_is_the_trouble_of_the_service() {
    for placeholder in [None, Some(".gitkeep")] {
        let mut site = Site::new();
        site.set("UPLOAD_DIR", site.path("uploads"));
        site.set("NAS_RETRIES", "0");
        let cli = Cli::new(&site);
        cli.add(1, &["a.pdf", "b.pdf", "c.pdf"].map(|name| site.upload(name, b"content")));
        fs::rename(site.path("uploads"), site.path("unmounted")).unwrap();
        fs::create_dir(site.path("uploads")).unwrap();
        if let Some(name) = placeholder {
            site.upload(name, b"");
        }
        let run = cli.line("sync --json");
        assert_eq!(run.ends(1).json()["error"]["kind"], "uploads_unavailable", "{}", run.all());
        assert_eq!((&run.json()["pending"], &run.json()["failed"]), (&3.into(), &0.into()), "{}", run.all());
        nothing_is_charged(&site);
        let mut watch = Watch::start(&cli, "");
        watch.until_state(&cli, "blocked");
        let (code, object) = health(&cli);
        assert_eq!(code, Some(1), "{object}");
        assert!(object["reason"].as_str().unwrap().contains("uploads_unavailable"), "{object}");
        nothing_is_charged(&site);
        fs::remove_dir_all(site.path("uploads")).unwrap();
        fs::rename(site.path("unmounted"), site.path("uploads")).unwrap();
        watch.until_marked(&site, 3);
        watch.until_state(&cli, "idle");
        watch.stop();
    }
}

#[test]
fn one_missing_file_beside_others_is_its_documents_trouble() {
    let mut site = Site::new();
    site.set("UPLOAD_DIR", site.path("uploads"));
    let cli = Cli::new(&site);
    cli.add(1, &[site.upload("a.pdf", b"a")]);
    fs::remove_file(site.path("uploads/a.pdf")).unwrap();
    site.upload("somebody's.pdf", b"not registered");
    let run = cli.line("sync --json");
    assert_eq!(run.ends(1).json()["failed"], 1, "{}", run.all());
}

/// Whatever runs short, it is not the documents' fault. With fewer descriptors than the least nothing can be looked at, with a
/// few more all is well; in between each place where one is missing is met.
#[test]
fn a_shortage_of_descriptors_is_charged_to_no_document() {
    let mut site = Site::new();
    site.set("UPLOAD_DIR", site.path("uploads"));
    site.set("NAS_LAYOUT", "tree");
    site.set("NAS_RETRIES", "0");
    let cli = Cli::new(&site);
    cli.add(1, &[0, 1, 2, 3, 4].map(|number| site.upload(&format!("folder/{number}.pdf"), b"content")));
    let (mut kinds, mut limit) = (Vec::new(), 4);
    while site.marked().len() < 5 {
        let run = cli.start_limited("-n", limit, "sync --json").wait();
        assert!(limit < 64 && run.code != Some(101), "{limit}: {}", run.all());
        nothing_is_charged(&site);
        kinds.push(run.json()["error"]["kind"].as_str().unwrap_or_default().to_owned());
        limit += 1;
    }
    assert!(kinds.iter().any(|kind| kind == "resource_shortage"), "{kinds:?}");
}

#[test]
fn a_watch_that_runs_short_of_descriptors_says_so() {
    let mut site = Site::new();
    site.set("UPLOAD_DIR", site.path("uploads"));
    let cli = Cli::new(&site);
    cli.add(1, &[site.upload("a/b.pdf", b"content")]);
    let mut watch =
        Watch { running: Some(cli.start_limited("-n", 16, "watch --quiet-period 1")), metrics: String::new() };
    watch.until(|| {
        let (code, object) = health(&cli);
        code == Some(1) && object["reason"].as_str().is_some_and(|reason| reason.contains("resource_shortage"))
    });
    nothing_is_charged(&site);
    watch.stop();
}
