//! The queue beside other programs on one database: what a run does with rows that others change under its hands, and
//! what it remembers about them.

use std::fs;

use crate::support::{Cli, Site};

fn number(site: &Site, sql: &str) -> i64 {
    site.database().query_row(sql, [], |row| row.get(0)).unwrap()
}

fn text(site: &Site, sql: &str) -> String {
    site.database().query_row(sql, [], |row| row.get(0)).unwrap()
}

/// Two documents and a trigger on their table.
fn with_trigger(trigger: &str) -> (Site, Cli) {
    let site = Site::new();
    let cli = Cli::new(&site);
    cli.add(1, &[site.upload("a.pdf", b"a"), site.upload("b.pdf", b"b")]);
    site.database().execute_batch(trigger).unwrap();
    (site, cli)
}

#[test]
fn a_trigger_that_sets_the_mark_back_fails_the_document_once() {
    for trigger in [
        "CREATE TRIGGER again AFTER UPDATE ON documents WHEN new.id = 1
         BEGIN UPDATE documents SET synced_to_nas = 0 WHERE id = new.id; END",
        // It does not even let the update happen.
        "CREATE TRIGGER again BEFORE UPDATE ON documents WHEN new.id = 1 BEGIN SELECT RAISE(IGNORE); END",
    ] {
        let (site, cli) = with_trigger(trigger);
        let run = cli.line("sync --json");
        let object = run.ends(1).json();
        assert_eq!(
            (&object["total"], &object["synced"], &object["failed"]),
            (&2.into(), &1.into(), &1.into()),
            "{object}"
        );
        let error = object["errors"][0].as_str().unwrap();
        assert!(
            error.starts_with("Document 1: it is on the NAS, but the database does not let it be marked"),
            "{error}"
        );
        assert!(error.contains("trigger"), "{error}");
        assert_eq!(number(&site, "SELECT COUNT(*) FROM nas_sync_attempts WHERE document_id = 1"), 1, "it went once");
        assert_eq!(text(&site, "SELECT outcome FROM nas_sync_attempts WHERE document_id = 1"), "failed");
        assert_eq!(site.marked(), [(2, true)]);
        // It waits like any other failure.
        assert_eq!(number(&site, "SELECT attempts FROM nas_sync_documents WHERE document_id = 1"), 1);
        // Also when it is asked for by name.
        cli.line("sync --document 1").ends(1);
        assert_eq!(number(&site, "SELECT COUNT(*) FROM nas_sync_attempts WHERE document_id = 1"), 2);
    }
}

#[test]
fn a_trigger_that_changes_the_path_does_not_keep_a_run_going() {
    // Each time it is about to be marked, its row names another file.
    let (site, cli) = with_trigger(
        "CREATE TRIGGER moves BEFORE UPDATE ON documents WHEN new.id = 1 AND new.synced_to_nas
         BEGIN UPDATE documents SET file_path = replace(file_path, '/uploads/', '/uploads/./') WHERE id = 1; SELECT RAISE(IGNORE); END",
    );
    let object = cli.line("sync --json").ends(1).json();
    assert_eq!((&object["synced"], &object["failed"]), (&1.into(), &1.into()), "{object}");
    let error = object["errors"][0].as_str().unwrap();
    assert!(error.contains("its row named another file each time it had been sent"), "{error}");
    assert_eq!(number(&site, "SELECT COUNT(*) FROM nas_sync_attempts WHERE document_id = 1"), 2);
}

#[test]
fn a_document_that_another_program_makes_pending_again_goes_once_a_run() {
    let site = Site::new();
    let cli = Cli::new(&site);
    cli.add(1, &[site.upload("a.pdf", b"a")]);
    // Another program's reaction to our own record of it, which comes after the mark.
    site.database()
        .execute_batch(
            "CREATE TRIGGER again AFTER INSERT ON nas_sync_attempts
             BEGIN UPDATE documents SET synced_to_nas = 0, synced_at = NULL WHERE id = new.document_id; END",
        )
        .unwrap();
    let run = cli.line("sync --json");
    assert_eq!(number(&site, "SELECT COUNT(*) FROM nas_sync_attempts"), 1, "{}", run.all());
    assert_eq!(run.ends(1).json()["pending"], 1, "{}", run.all());
}

#[test]
fn attempts_are_kept_within_bounds() {
    let site = Site::new();
    let cli = Cli::new(&site);
    let ids = cli.add(1, &[site.upload("a.pdf", b"a"), site.upload("b.pdf", b"b")]);
    cli.line(&format!("sync --document {}", ids[0])).ends(0);
    // What an older version has left: many of one document, and many of many.
    let many = "WITH RECURSIVE n (i) AS (SELECT 2 UNION ALL SELECT i + 1 FROM n WHERE i < 100200)
                INSERT INTO nas_sync_attempts (id, document_id, started_at, duration_ms, bytes, outcome)
                SELECT i, CASE WHEN i > 100160 THEN 2 ELSE 1000 + i END, '2024-01-15 12:00:00.000000', 1, 1, 'cut' FROM n";
    site.database().execute(many, []).unwrap();
    cli.line("sync").ends(0);
    assert_eq!(number(&site, "SELECT COUNT(*) FROM nas_sync_attempts WHERE document_id = 2"), 20);
    assert_eq!(text(&site, "SELECT outcome FROM nas_sync_attempts ORDER BY id DESC LIMIT 1"), "synced");
    let all = number(&site, "SELECT COUNT(*) FROM nas_sync_attempts");
    assert!(all <= 100_000, "{all}");
    assert_eq!(number(&site, "SELECT COUNT(*) FROM nas_sync_attempts WHERE id < 100"), 0, "the oldest go first");
}

#[test]
fn a_document_that_gets_the_id_of_a_failed_one_goes() {
    let mut site = Site::new();
    site.set("NAS_RETRIES", "0");
    let cli = Cli::new(&site);
    let path = site.upload("a.pdf", b"first");
    // As other programs make it; in a table of our own ids are given once.
    site.database()
        .execute_batch(
            "CREATE TABLE documents (id INTEGER PRIMARY KEY, user_id INTEGER, file_path TEXT, synced_to_nas BOOLEAN,
                 synced_at TIMESTAMP)",
        )
        .unwrap();
    cli.add(1, std::slice::from_ref(&path));
    fs::remove_file(&path).unwrap();
    assert_eq!(cli.line("sync --json").ends(1).json()["failed"], 1);
    assert_eq!(cli.line("status --json").ends(0).json()["failed_for_good"], 1);
    site.database().execute("DELETE FROM documents", []).unwrap();
    // The same file is uploaded again.
    site.upload("a.pdf", b"second");
    assert_eq!(cli.add(1, std::slice::from_ref(&path)), [1], "SQLite gives the id anew");
    assert_eq!(cli.line("status --json").ends(0).json()["failed_for_good"], 0);
    assert_eq!(cli.line("sync --json").ends(0).json()["synced"], 1);
    assert_eq!(site.stored("a.pdf"), Some(b"second".to_vec()));
}

#[test]
fn a_corrupt_value_costs_verify_one_row() {
    for change in [
        "bytes = 'many'",
        "mtime_seconds = x'00'",
        "sha256 = 'abc'",
        "sha256 = x'0102'",
        "remote_name = 7",
        "level = x'ff'",
        "mtime_nanoseconds = -1",
    ] {
        let site = Site::new();
        let cli = Cli::new(&site);
        cli.add(1, &["a.pdf", "b.pdf", "c.pdf"].map(|name| site.upload(name, name.as_bytes())));
        cli.line("sync").ends(0);
        site.database().execute(&format!("UPDATE nas_sync_documents SET {change} WHERE document_id = 2"), []).unwrap();
        let run = cli.line("verify --all --json");
        let object = run.ends(1).json();
        assert_eq!((&object["total"], &object["equal"]), (&3.into(), &2.into()), "{change}: {}", run.all());
        assert!(run.stderr.contains("Document 2: "), "{change}: {}", run.all());
    }
}

#[test]
fn what_is_listed_can_be_sent_again() {
    let site = Site::new();
    let cli = Cli::new(&site);
    let paths = [site.upload("Reçu n° 1.pdf", b"one"), site.upload("b.pdf", b"b")];
    cli.add(7, &paths);
    cli.line("sync").ends(0);
    let missing = "INSERT INTO documents (user_id, file_path, synced_to_nas) VALUES (8, '/gone/c.pdf', 0)";
    site.database().execute(missing, []).unwrap();
    cli.line("sync").ends(1);
    let listed = cli.line("list --json").ends(0).json();
    let documents = listed["documents"].as_array().unwrap();
    let states: Vec<_> = documents.iter().map(|document| document["state"].as_str().unwrap()).collect();
    assert_eq!(states, ["waiting", "synced", "synced"], "{listed}");
    assert_eq!((&documents[2]["name"], &documents[2]["user_id"]), (&"Reçu n° 1.pdf".into(), &7.into()));
    assert_eq!((&documents[2]["level"], &documents[2]["bytes"]), (&"durable".into(), &3.into()));
    assert_eq!(documents[0]["error"]["kind"], "source_missing");
    assert!(documents[0]["next_try"].is_string() && documents[0]["error"]["solution"].is_string(), "{listed}");
    let limited = cli.line("list --json --state synced --limit 1").ends(0).json();
    assert_eq!((&limited["documents"][0]["id"], &limited["more"]), (&2.into(), &true.into()));
    let shown = cli.line("list --name reçu").ends(0).stdout.clone();
    let row: Vec<_> =
        shown.lines().nth(1).unwrap().split("  ").map(str::trim).filter(|cell| !cell.is_empty()).collect();
    assert_eq!(row[..5], ["1", "synced", "Reçu n° 1.pdf", "Reçu n° 1.pdf", "durable"], "{shown}");
    cli.line("list --state sent").ends(2);

    fs::write(&paths[0], b"other").unwrap();
    assert_eq!(cli.line("resend --document 1 --json").ends(0).json()["resent"], 1);
    assert_eq!(cli.line("resend --document 1").ends(0).stdout, "no document was synced\n");
    cli.line("resend --document 99").ends(1);
    cli.line("sync --user 7").ends(0);
    assert_eq!(site.stored("Reçu n° 1.pdf"), Some(b"other".to_vec()));
}
