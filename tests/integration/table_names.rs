//! A table of documents of any name in an SQLite file.

use serde_json::Value;

use crate::support::{Cli, Site};

/// A site whose table is called so.
fn site(table: &str) -> Site {
    let mut site = Site::new();
    site.set("NAS_TABLE", table);
    site
}

/// The tables of the database, but for nas-sync's own.
fn tables(site: &Site) -> Vec<String> {
    let database = site.database();
    let sql = "SELECT name FROM sqlite_master
               WHERE type = 'table' AND name NOT LIKE 'nas_sync_%' AND name NOT LIKE 'sqlite_%' ORDER BY name";
    let mut statement = database.prepare(sql).unwrap();
    let rows = statement.query_map([], |row| row.get(0)).unwrap();
    rows.collect::<Result<_, _>>().unwrap()
}

#[test]
fn every_command_works_on_a_table_with_a_blank_in_its_name() {
    let site = site("\"Mes factures\"");
    site.database()
        .execute_batch(
            "CREATE TABLE \"Mes factures\" (id INTEGER PRIMARY KEY, user_id INTEGER NOT NULL, file_path TEXT NOT NULL,
                 synced_to_nas BOOLEAN, synced_at TIMESTAMP, original_name TEXT)",
        )
        .unwrap();
    let cli = Cli::new(&site);
    assert_eq!(cli.line("index --json").ends(0).json()["created"], true);
    assert_eq!(cli.line("index --json").ends(0).json()["created"], false);
    assert_eq!(cli.add(7, &["a.pdf", "b.pdf"].map(|name| site.upload(name, name.as_bytes()))), [1, 2]);
    let one = cli.line("sync --json --document 2");
    assert_eq!(one.ends(0).json()["synced"], 1, "{}", one.all());
    let status = cli.line("status --json").ends(0).json();
    assert_eq!((&status["synced"], &status["pending"]), (&1.into(), &1.into()));
    let listed = cli.line("list --json --state pending").ends(0).json();
    assert_eq!(listed["documents"][0]["id"], 1, "{listed}");
    // A file that is not there, and its way back.
    std::fs::remove_file(site.path("uploads/a.pdf")).unwrap();
    cli.line("sync --json").ends(1);
    assert_eq!(cli.line("list --json --state waiting").ends(0).json()["documents"].as_array().map(Vec::len), Some(1));
    site.upload("a.pdf", b"a.pdf");
    assert_eq!(cli.line("retry --json").ends(0).json()["retried"], 1);
    let watch = cli.line("watch --once --json");
    assert_eq!(watch.ends(0).json()["synced"], 1, "{}", watch.all());
    let verify = cli.line("verify --json");
    assert_eq!(verify.ends(0).json()["equal"], 2, "{}", verify.all());
    assert_eq!(cli.line("resend --json --document 1").ends(0).code, Some(0));
    assert_eq!(cli.line("sync --json").ends(0).json()["synced"], 1);
    for name in ["a.pdf", "b.pdf"] {
        assert_eq!(site.stored(name).as_deref(), Some(name.as_bytes()));
    }
    assert_eq!(tables(&site), ["Mes factures"], "no other table was made");
    let marked = "SELECT COUNT(*) FROM \"Mes factures\" WHERE synced_to_nas = 1 AND synced_at IS NOT NULL";
    assert_eq!(site.database().query_row(marked, [], |row| row.get::<_, i64>(0)).unwrap(), 2);
}

#[test]
fn a_name_is_never_read_as_anything_else() {
    // A quote, a statement, a keyword, a number; and what is not quoted counts in whatever case.
    for (name, made) in [
        ("\"a\"\"b'; DROP TABLE x; --\"", "a\"b'; DROP TABLE x; --"),
        ("\"order\"", "order"),
        ("\"007\"", "007"),
        ("main.Invoices", "invoices"),
    ] {
        let mut site = site(name);
        let cli = Cli::new(&site);
        assert_eq!(cli.add(1, &[site.upload("a.pdf", b"a")]), [1], "{name}");
        assert_eq!(cli.line("sync --json").ends(0).json()["synced"], 1, "{name}");
        assert_eq!(cli.line("list --json").ends(0).json()["documents"][0]["state"], "synced", "{name}");
        assert_eq!(tables(&site), [made]);
        // It has the index from the start.
        assert_eq!(cli.line("index --json").ends(0).json()["created"], false, "{name}");
        site.set("NAS_TABLE", "documents");
        let other = Cli::new(&site).line("status --json");
        let error = other.ends(4).json()["error"].clone();
        assert!(error["message"].as_str().unwrap().contains("are about the table"), "{name}: {}", other.all());
    }
}

#[test]
fn a_name_that_cannot_be_meant_is_refused() {
    let mut site = site("app.documents");
    let cli = Cli::new(&site);
    let path = site.upload("a.pdf", b"a");
    let run = cli.run(&["add", "--json", "--user", "1", path.to_str().unwrap()]);
    assert!(run.ends(4).json()["error"]["message"].as_str().unwrap().contains("has no schemas"), "{}", run.all());
    site.set("NAS_TABLE", "Mes factures");
    let run = Cli::new(&site).line("status --json");
    let error = run.ends(2).json()["error"].clone();
    assert_eq!(error["kind"], Value::from("usage"), "{}", run.all());
    assert!(error["message"].as_str().unwrap().contains("NAS_TABLE"), "{}", run.all());
}

#[test]
fn a_database_of_an_older_version_is_about_the_documents() {
    let mut site = Site::new();
    let cli = Cli::new(&site);
    cli.add(1, &[site.upload("a.pdf", b"a")]);
    // It did not say so.
    site.database().execute("DELETE FROM nas_sync_meta WHERE key = 'documents'", []).unwrap();
    assert_eq!(cli.line("sync --json").ends(0).json()["synced"], 1);
    site.set("NAS_TABLE", "papers");
    let path = site.path("uploads/a.pdf");
    let run = Cli::new(&site).run(&["add", "--user", "1", path.to_str().unwrap()]);
    assert!(run.ends(4).stderr.contains("are about the table \"documents\""), "{}", run.all());
    assert_eq!(tables(&site), ["documents"]);
}
