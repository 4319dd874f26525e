//! Documents that cannot be sent, and databases that cannot be used.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::*;
use crate::support::{is_root_or_skipped, until};

/// Runs `sync` beside one good document: the bad one fails with this kind and is named, the good one arrives.
#[track_caller]
fn fails_alone(site: &Site, bad: i64, kind: &str) -> String {
    let good = site.insert(&site.upload(&format!("good {bad}.pdf"), b"good"));
    let run = Cli::new(site).run(&["sync", "--json", "--document", &bad.to_string(), "--document", &good.to_string()]);
    let object = run.ends(1).json();
    let counts = ["total", "synced", "failed", "pending"].map(|key| object[key].as_u64().unwrap());
    assert_eq!(counts, [2, 1, 1, 0], "{}", run.all());
    assert!(object.get("error").is_none(), "{}", run.all());
    is_error(&object["failures"][0]["error"], kind, &run);
    assert_eq!(object["failures"][0]["id"], bad, "{}", run.all());
    let said = object["errors"][0].as_str().unwrap().to_owned();
    assert!(said.starts_with(&format!("Document {bad}: ")), "{said}");
    assert!(run.stderr.contains(&said), "{}", run.all());
    assert_eq!(site.stored(&format!("good {bad}.pdf")).as_deref(), Some(&b"good"[..]));
    let marked = site.marked();
    assert!(marked.contains(&(good, true)) && !marked.iter().any(|(id, _)| *id == bad), "{marked:?}");
    said
}

/// `add` refuses such a path and registers nothing.
#[track_caller]
fn add_refuses(site: &Site, path: &Path, kind: &str) {
    let before: i64 = rows(site);
    let run = Cli::new(site).run(&["add", "--json", "--user", "1", path.to_str().unwrap()]);
    is_error(&run.ends(1).json()["error"], kind, &run);
    assert_eq!(rows(site), before);
}

fn rows(site: &Site) -> i64 {
    site.database().query_row("SELECT count(*) FROM documents", [], |row| row.get(0)).unwrap()
}

#[test]
fn sources_that_cannot_be_sent() {
    let site = site_with_a_document();
    let missing = site.path("uploads/missing.pdf");
    let folder = site.path("uploads/folder.pdf");
    fs::create_dir(&folder).unwrap();
    let link = site.path("uploads/link.pdf");
    std::os::unix::fs::symlink(site.path("uploads/a.pdf"), &link).unwrap();
    let pipe = site.path("uploads/pipe.pdf");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    // A regular file that can be opened and gives an input/output error when it is read, for root too.
    let unreadable = Path::new("/proc/self/mem");
    for (path, kind, in_vain) in [
        (missing.as_path(), "source_missing", true),
        (&folder, "source_not_regular", true),
        (&link, "source_not_regular", true),
        (&pipe, "source_not_regular", true),
        (Path::new("/dev/null"), "source_not_regular", true),
        (unreadable, "source_unreadable", false),
    ] {
        if in_vain {
            add_refuses(&site, path, kind);
        }
        let said = fails_alone(&site, site.insert(path), kind);
        assert!(said.contains(path.to_str().unwrap()), "{said}");
    }
    assert!(!site.stored_names().iter().any(|name| name == "mem" || name == "link.pdf"));
}

#[test]
fn nothing_outside_the_upload_folder_is_read() {
    let mut site = site_with_a_document();
    site.set("UPLOAD_DIR", site.path("uploads"));
    let secret = site.path("secret.txt");
    fs::write(&secret, "secret").unwrap();
    std::os::unix::fs::symlink(site.path(""), site.path("uploads/way out")).unwrap();
    let through = site.path("uploads/way out/secret.txt");
    for path in [secret.as_path(), Path::new("../secret.txt"), Path::new("/etc/passwd"), &through] {
        add_refuses(&site, path, "source_outside");
        fails_alone(&site, site.insert(path), "source_outside");
    }
    assert!(site.stored_names().iter().all(|name| name.starts_with("good ")), "{:?}", site.stored_names());
}

#[test]
fn two_documents_never_share_a_name() {
    let site = site_with_a_document();
    let cli = Cli::new(&site);
    let ids = cli.add(1, &[site.upload("x/scan.pdf", b"first"), site.upload("y/scan.pdf", b"second")]);
    cli.run(&["sync", "--json", "--document", &ids[0].to_string()]).ends(0);
    let said = fails_alone(&site, ids[1], "name_clash");
    assert!(said.contains("scan.pdf") && said.contains(&format!("document {}", ids[0])), "{said}");
    assert_eq!(site.stored("scan.pdf").unwrap(), b"first");
}

#[test]
fn rows_and_names_that_make_no_sense() {
    let mut site = site_with_a_document();
    fails_alone(&site, site.insert(Path::new("")), "source_unreadable");
    let run = Cli::new(&site).line("sync --json --document 999");
    let object = run.ends(1).json();
    is_error(&object["failures"][0]["error"], "document_not_found", &run);
    let long = site.insert(&site.upload(&"n".repeat(255), b"long"));
    site.set("NAS_LAYOUT", "{id}_{name}");
    let run = Cli::new(&site).run(&["sync", "--json", "--document", &long.to_string()]);
    is_error(&run.ends(1).json()["failures"][0]["error"], "name_unsendable", &run);
}

#[test]
fn a_database_that_stays_locked() {
    let site = site_with_a_document();
    let other = site.database();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let run = Cli::new(&site).line("sync --json");
    let object = run.ends(4).json();
    is_error(&object["error"], "database_locked", &run);
    assert!(run.elapsed > Duration::from_secs(5) && run.elapsed < Duration::from_secs(20), "{}", run.all());
    // Readers are not disturbed.
    assert_eq!(Cli::new(&site).line("status --json").ends(0).json()["pending"], 1);
    other.execute_batch("ROLLBACK").unwrap();
    assert_eq!(site.marked(), []);
    nothing_is_stored(&site);
    sync_works(&site);
}

#[test]
fn a_lock_that_is_released_in_time_only_costs_time() {
    if !is_root_or_skipped() {
        return;
    }
    let site = site_with_a_document();
    let other = site.database();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let running = Cli::new(&site).start(&["sync", "--json"]);
    until("the run waits for the database", Duration::from_secs(60), || running.waits_for_the_database());
    other.execute_batch("ROLLBACK").unwrap();
    running.wait().ends(0);
    assert_eq!(site.marked(), [(1, true)]);
}

#[test]
fn databases_that_cannot_be_used() {
    let mut site = site_with_a_document();
    let fails = |site: &Site, words: &str| {
        for command in ["sync --json", "status --json"] {
            let run = Cli::new(site).line(command);
            let error = run.ends(4).json()["error"].clone();
            is_error(&error, "database_unusable", &run);
            assert!(text(&error, "message").contains(words), "{}", run.all());
        }
        nothing_is_stored(site);
    };
    site.set("NAS_DB", site.path("missing.db"));
    fails(&site, "missing.db does not exist");
    assert!(!site.path("missing.db").exists());

    let text = site.upload("text.db", &b"this is no database, whatever its name says. ".repeat(100));
    site.set("NAS_DB", &text);
    fails(&site, "not a database");

    let lacking = site.path("lacking.db");
    let table = "CREATE TABLE documents (id INTEGER PRIMARY KEY, user_id INTEGER, file_path TEXT, synced_at TEXT)";
    rusqlite::Connection::open(&lacking).unwrap().execute_batch(table).unwrap();
    let before = fs::read(&lacking).unwrap();
    site.set("NAS_DB", &lacking);
    fails(&site, "synced_to_nas");
    assert_eq!(fs::read(&lacking).unwrap(), before, "the foreign table was touched");

    // The pages behind the first are overwritten, as a failing disk does.
    let damaged = site.path("damaged.db");
    let database = rusqlite::Connection::open(&damaged).unwrap();
    database.execute_batch("PRAGMA journal_mode = WAL").unwrap();
    drop(database);
    site.set("NAS_DB", &damaged);
    Cli::new(&site).add(1, &[site.path("uploads/a.pdf")]);
    let mut bytes = fs::read(&damaged).unwrap();
    bytes[4096..].fill(0xa5);
    fs::write(&damaged, bytes).unwrap();
    fails(&site, "damaged.db");
}
