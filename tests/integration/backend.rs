//! Beside a web backend that uses the database while documents are synced: SQLAlchemy from PyPI, with its defaults.
//!
//! Where Python, its `venv` or PyPI cannot be had, the test is skipped, unless `CI` is set.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::Value;

use crate::support::cli::Run;
use crate::support::python::{interpreter, source};
use crate::support::{Cli, Postgres, Site, skip, until};

/// For how long the backend works.
const LOAD: Duration = Duration::from_secs(10);
/// Longer than anything here may take.
const LONGEST: Duration = Duration::from_secs(120);

/// The backend, killed when the test fails.
struct Backend(Child);

impl Backend {
    fn start(python: &Path, words: &[&str]) -> Self {
        let mut command = Command::new(python);
        // Python says of `utcnow`, which the model has always used, that it is old.
        command.args(["-W", "ignore"]).arg(source("backend", "backend.py")).args(words);
        Self(command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap())
    }

    fn runs(&mut self) -> bool {
        self.0.try_wait().unwrap().is_none()
    }

    /// What it prints at its end.
    fn result(mut self) -> Value {
        let mut text = String::new();
        std::io::Read::read_to_string(&mut self.0.stdout.take().unwrap(), &mut text).unwrap();
        assert!(self.0.wait().unwrap().success(), "the backend failed; see above");
        serde_json::from_str(&text).unwrap()
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn since_1970() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64()
}

/// A run that did all that it found, but for what was to go again before its end; gives the number of documents that it synced.
#[track_caller]
fn done(run: &Run) -> u64 {
    let report = run.json();
    let goes_again = report["failed"] == 0 && report["pending"].as_u64() > Some(0);
    run.ends(i32::from(goes_again));
    assert!(!run.all().contains("lock"), "{}", run.all());
    run.json()["synced"].as_u64().unwrap()
}

#[test]
fn a_backend_with_sqlalchemy_works_beside_several_syncs_and_nobody_is_locked_out() {
    let site = Site::new();
    let url = format!("sqlite:///{}", site.path("documents.db").display());
    work_beside(site, &url, |site| {
        let found = |database: rusqlite::Connection| {
            database.query_row("SELECT EXISTS (SELECT 1 FROM documents)", [], |row| row.get(0)).unwrap_or(false)
        };
        let file = site.path("documents.db");
        file.exists() && found(rusqlite::Connection::open(file).unwrap())
    });
}

#[test]
fn a_backend_with_sqlalchemy_and_postgresql_works_beside_several_syncs_and_nobody_is_locked_out() {
    // In another time zone, in which a time in UTC that is taken for a local one is a wrong one.
    let Some(server) = Postgres::with("timezone = 'Asia/Kolkata'\n", "") else { return };
    let url = server.url("postgres").replacen("postgresql:", "postgresql+psycopg:", 1);
    work_beside(Site::new(), &url, |_| {
        server.sql("SELECT to_regclass('documents') IS NOT NULL") == "t"
            && server.number("SELECT count(*) FROM documents") > 0
    });
    // Waits for a lock, deadlocks and statements that the server gave up would stand there.
    let log = server.log();
    assert!(!log.contains("ERROR:"), "{log}");
}

/// Works on the database of a URL that both sides read, beside a backend that makes the tables.
fn work_beside(mut site: Site, url: &str, has_documents: impl Fn(&Site) -> bool) {
    let python = match interpreter("backend") {
        Ok(python) => python,
        Err(reason) => {
            skip(&format!("SQLAlchemy cannot be had: {reason}"));
            return;
        }
    };
    site.set("NAS_DB", url);
    site.set("UPLOAD_DIR", site.path("uploads"));
    site.set("NAS_LAYOUT", "{year}/{month}/{id}_{name}");
    let cli = Cli::new(&site);
    let uploads = site.path("uploads");
    let uploads = uploads.to_str().unwrap();

    let started = since_1970();
    let seconds = LOAD.as_secs().to_string();
    let mut backend = Backend::start(&python, &["load", url, uploads, &seconds]);
    let deadline = Instant::now() + LONGEST;
    // The tables are the backend's.
    until("the backend inserts documents", LONGEST, || {
        assert!(backend.runs(), "the backend inserts nothing");
        has_documents(&site)
    });
    let (mut synced, mut runs) = (0, 0);
    while backend.runs() {
        assert!(Instant::now() < deadline, "the backend does not end");
        // One beside it, then two at once. A run goes on for as long as new documents come.
        for at_once in [1, 2] {
            let running: Vec<_> = (0..at_once).map(|_| cli.start(&["sync", "--json"])).collect();
            for run in running {
                synced += done(&run.wait());
                runs += 1;
            }
        }
    }
    let load = backend.result();
    let last = cli.line("sync --json");
    synced += last.ends(0).json()["synced"].as_u64().unwrap();
    let ended = since_1970();
    let count = |key: &str| load[key].as_u64().unwrap();
    println!("{load} beside {runs} runs of sync");
    assert_eq!((count("locked"), count("errors")), (0, 0), "{load}");
    assert!(
        count("inserts") > 50 && count("updates") > 50 && count("reads") > 50 && count("resends") > 3 && runs >= 3,
        "{load}"
    );
    // Two runs at once may each have sent a document and count it.
    assert!(synced >= count("inserts"), "{synced} of {load}");

    let check = Backend::start(&python, &["check", url, &started.to_string(), &ended.to_string()]).result();
    assert_eq!(check["documents"], load["inserts"]);
    assert_eq!(check["wrong"], Value::Array(Vec::new()), "SQLAlchemy reads True, and a time of these runs, in UTC");
    // The folders are those of the dates that SQLAlchemy wrote.
    for (name, path) in check["names"].as_object().unwrap() {
        let content = fs::read(site.path("uploads").join(path.as_str().unwrap())).unwrap();
        assert!(site.stored(name) == Some(content), "{name}");
    }
    assert_eq!(check["names"].as_object().unwrap().len() as u64, count("inserts"));
}
