//! `nas-sync watch` and `health`, as a service manager and a container runtime use them.

mod healing;
mod trouble;
mod words;

use std::collections::HashMap;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use serde_json::Value;

use crate::support::cli::{PROGRAM, Run, Running};
use crate::support::{Cli, Site, noise, skip, until};

/// How long something may take to come about.
const LONGEST: Duration = Duration::from_secs(60);

/// A `watch` that goes on. It is killed when the test fails.
struct Watch {
    running: Option<Running>,
    metrics: String,
}

impl Watch {
    fn start(cli: &Cli, line: &str) -> Self {
        // Addresses enough for each to have one of its own: no other test can take its port.
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let (number, [.., high, low]) = (NUMBER.fetch_add(1, Ordering::Relaxed) + 1, std::process::id().to_be_bytes());
        let metrics = format!("127.{}.{high}.{low}:9100", number % 250);
        let line = format!("watch --quiet-period 1 --metrics {metrics} {line}");
        Self { running: Some(cli.start(&line.split_whitespace().collect::<Vec<_>>())), metrics }
    }

    /// Waits until something is so; it must not end before.
    #[track_caller]
    fn until(&mut self, so: impl Fn() -> bool) {
        self.running.as_mut().unwrap().until(|| {
            // Asking costs a process, or a look at the database.
            std::thread::sleep(Duration::from_millis(50));
            so()
        });
    }

    #[track_caller]
    fn until_state(&mut self, cli: &Cli, state: &str) {
        self.until(|| health(cli).1["state"] == state);
    }

    #[track_caller]
    fn until_marked(&mut self, site: &Site, documents: usize) {
        self.until(|| site.marked().len() == documents);
    }

    /// Asks for a page, as a client of another make does.
    fn page(&self, path: &str) -> String {
        let mut socket = None;
        until("it listens", LONGEST, || {
            socket = TcpStream::connect(&self.metrics).ok();
            socket.is_some()
        });
        let mut socket = socket.unwrap();
        socket.set_read_timeout(Some(LONGEST)).unwrap();
        write!(socket, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).unwrap();
        answer
    }

    fn figures(&self) -> HashMap<String, f64> {
        let page = self.page("/metrics");
        let (head, body) = page.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n") && head.contains("version=0.0.4"), "{head}");
        let samples = body.lines().filter(|line| !line.starts_with('#')).map(|line| {
            let (name, value) = line.rsplit_once(' ').unwrap();
            (name.strip_prefix("nas_sync_").unwrap().to_owned(), value.parse().unwrap())
        });
        samples.collect()
    }

    #[track_caller]
    fn until_figure(&self, name: &str, wanted: f64) {
        until(name, LONGEST, || (self.figures()[name] - wanted).abs() < f64::EPSILON);
    }

    #[track_caller]
    fn has_figures(&self, wanted: &[(&str, f64)]) {
        let figures = self.figures();
        for (name, value) in wanted {
            assert!((figures[*name] - value).abs() < f64::EPSILON, "{name} is {}: {figures:?}", figures[*name]);
        }
    }

    fn signal(&self, name: &str) {
        self.running.as_ref().unwrap().signal(name);
    }

    fn wait(mut self) -> Run {
        self.running.take().unwrap().wait()
    }

    /// Ends it in order.
    #[track_caller]
    fn stop(self) -> Run {
        self.signal("TERM");
        let run = self.wait();
        run.ends(143);
        run
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        if let Some(running) = self.running.take() {
            let id = running.id().to_string();
            let _ = Command::new("kill").args(["-KILL", &id]).stderr(Stdio::null()).status();
        }
    }
}

/// What `health` says: its exit status, and the object.
fn health(cli: &Cli) -> (Option<i32>, Value) {
    let run = cli.line("health --json");
    (run.code, run.json())
}

/// How often somebody logged in.
fn logins(site: &Site) -> usize {
    site.sshd.log().matches("Accepted publickey").count()
}

/// How often somebody connected at all; the harness itself does once, to see whether the server listens.
fn connections(site: &Site) -> usize {
    site.sshd.log().matches("Connection from").count()
}

#[test]
fn new_documents_go_at_once_and_the_nas_may_sleep_in_between() {
    let site = Site::new();
    let cli = Cli::new(&site);
    assert_eq!(health(&cli).0, Some(1), "nothing runs yet");
    let early = cli.add(1, &[site.upload("early.pdf", b"1")])[0];
    cli.line("sync").ends(0);
    let (before, quiet) = (logins(&site), connections(&site));

    let mut watch = Watch::start(&cli, "--interval 3600");
    watch.until_state(&cli, "idle");
    assert_eq!(health(&cli).0, Some(0));
    // What was before is known.
    assert!(watch.figures()["last_success_timestamp_seconds"] > 1e9);
    watch.has_figures(&[("up", 1.0), ("paused", 0.0), ("pending_documents", 0.0), ("synced_documents_total", 0.0)]);
    assert!(watch.page("/health").starts_with("HTTP/1.1 200 OK\r\n"));
    assert_eq!(connections(&site), quiet + 1, "it connected more than once although nothing was to be sent");

    let documents: Vec<PathBuf> =
        (0..5).map(|number| site.upload(&format!("{number}.pdf"), &noise(10_000, number))).collect();
    cli.add(1, &documents);
    watch.until_marked(&site, 6);
    cli.add(1, &[site.upload("later.pdf", b"later")]);
    watch.until_marked(&site, 7);
    watch.until(|| watch_is_counted(&cli));
    assert_eq!(logins(&site), before + 1, "the login is kept for a while");
    watch.has_figures(&[
        ("pending_documents", 0.0),
        ("synced_documents_total", 6.0),
        ("oldest_pending_age_seconds", 0.0),
    ]);
    assert!(watch.figures()["sent_bytes_total"] > 50_000.0);
    assert_eq!(site.stored("3.pdf"), Some(noise(10_000, 3)));
    assert_eq!(site.stored("later.pdf"), Some(b"later".to_vec()));

    let goodbyes = |site: &Site| site.sshd.log().matches("Disconnected from user").count();
    let said = goodbyes(&site);
    watch.until(|| goodbyes(&site) > said);
    assert!(health(&cli).1["healthy"] == true);
    cli.add(1, &[site.upload("much later.pdf", b"x")]);
    watch.until_marked(&site, 8);
    assert_eq!(logins(&site), before + 2);

    let run = watch.stop();
    assert!(run.stderr.contains("documents synced") && run.stderr.contains("logging out"), "{}", run.all());
    assert!(run.stderr.contains("1 document synced") && !run.stderr.contains("1 documents"), "{}", run.all());
    assert!(!run.stderr.contains("nas_sync::"), "{}", run.all());
    let (code, object) = health(&cli);
    assert_eq!((code, &object["state"]), (Some(1), &Value::from("stopped")), "{object}");
    assert!(site.marked().iter().all(|(_, timed)| *timed) && site.marked()[0].0 == early);
}

/// The loop has seen the end of its run.
fn watch_is_counted(cli: &Cli) -> bool {
    health(cli).1["state"] == "idle"
}

#[test]
fn new_files_become_documents_and_go() {
    let mut site = Site::new();
    site.set("UPLOAD_DIR", site.path("uploads"));
    site.set("NAS_LAYOUT", "tree");
    let cli = Cli::new(&site);
    site.upload("old/first.pdf", b"first");
    cli.line("watch --scan").ends(2);
    // There is no database yet.
    let mut watch = Watch::start(&cli, "--scan --user 7 --interval 3600");
    watch.until(|| site.stored("old/first.pdf").is_some());
    site.upload("old/.hidden.pdf", b"no");
    site.upload("new/deep/second.pdf", b"second");
    watch.until(|| site.stored("new/deep/second.pdf") == Some(b"second".to_vec()));
    watch.until_marked(&site, 2);
    watch.stop();
    assert_eq!(site.stored_names(), ["new", "old"]);
    let paths: Vec<String> = {
        let database = site.database();
        let mut statement = database.prepare("SELECT file_path FROM documents WHERE user_id = 7 ORDER BY id").unwrap();
        let rows = statement.query_map([], |row| row.get(0)).unwrap();
        rows.collect::<Result<_, _>>().unwrap()
    };
    assert_eq!(paths, ["old/first.pdf", "new/deep/second.pdf"]);
}

#[test]
fn where_the_kernel_has_no_watches_left_walks_find_new_files() {
    let mut site = Site::new();
    site.set("UPLOAD_DIR", site.path("uploads"));
    let mut command = Command::new("unshare");
    // A user namespace has limits of its own.
    let script = "echo 1 >/proc/sys/user/max_inotify_watches && exec \"$0\" \"$@\"";
    command.args(["--user", "--map-root-user", "sh", "-c", script, PROGRAM]);
    let possible = Command::new("unshare")
        .args(["--user", "--map-root-user", "sh", "-c", "echo 1 >/proc/sys/user/max_inotify_watches"])
        .stderr(Stdio::null())
        .status();
    if !possible.is_ok_and(|status| status.success()) {
        skip("this machine allows no user namespaces");
        return;
    }
    for folder in ["a", "b", "c"] {
        site.upload(&format!("{folder}/first"), b"1");
    }
    let log = fs::File::create(site.path("log")).unwrap();
    command.args(["watch", "--scan", "--user", "7", "--interval", "1", "--quiet-period", "1"]);
    let variables = site.variables.iter().map(|(name, value)| (*name, value.clone()));
    let child = command.envs(variables).current_dir(site.path("")).stdin(Stdio::null()).stderr(log).spawn().unwrap();
    let mut child = Killed(child);
    let registered = |count: i64| {
        let database = site.path("documents.db");
        database.exists()
            && site
                .database()
                .query_row("SELECT COUNT(*) FROM documents", [], |row| row.get(0))
                .is_ok_and(|found: i64| found == count)
    };
    until("the first are registered", LONGEST, || registered(3));
    site.upload("c/second", b"2");
    until("the second is registered", LONGEST, || registered(4));
    child.0.kill().unwrap();
    child.0.wait().unwrap();
    let log = fs::read_to_string(site.path("log")).unwrap();
    assert_eq!(log.matches("max_user_watches").count(), 1, "{log}");
}

struct Killed(std::process::Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn once_is_like_sync_after_a_look_for_new_files() {
    let mut site = Site::new();
    site.set("UPLOAD_DIR", site.path("uploads"));
    let cli = Cli::new(&site);
    site.upload("a.pdf", b"a");
    let run = cli.line("watch --once --scan --user 7 --quiet-period 1 --json");
    assert_eq!(run.ends(0).json()["synced"], 1);
    cli.line("watch --once --quiet-period 0").ends(0);
    assert_eq!(health(&cli).1["state"], "stopped");
    // One that cannot be sent.
    let missing = "INSERT INTO documents (user_id, file_path) VALUES (7, 'missing.pdf')";
    site.database().execute(missing, []).unwrap();
    site.upload("b.pdf", b"b");
    let run = cli.line("watch --once --scan --user 7 --quiet-period 1 --json");
    assert_eq!(run.ends(1).json()["synced"], 1, "{}", run.all());
    assert_eq!(site.stored_names(), ["a.pdf", "b.pdf"]);
}

#[test]
fn what_cannot_be_followed_ends_at_once() {
    let mut site = Site::new();
    let cli = Cli::new(&site);
    for line in
        ["watch --interval 0", "watch --user x", "watch --scan", "watch --scan --user 1", "watch --metrics nowhere"]
    {
        cli.line(line).ends(2);
    }
    let taken = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let address = taken.local_addr().unwrap();
    let run = cli.line(&format!("watch --json --metrics {address}"));
    assert!(run.ends(2).stderr.contains("cannot listen on"), "{}", run.all());
    assert!(run.json()["error"]["cause"].as_str().unwrap().contains("Another program"), "{}", run.all());
    site.variables.remove("NAS_HOST");
    Cli::new(&site).line("watch").ends(2);
}
