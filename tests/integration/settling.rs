//! What people do about documents that should not go, or cannot: add again, look, take back, and be told once.

use std::fs;

use serde_json::json;

use crate::support::cli::Run;
use crate::support::{Cli, Postgres, Site, until};

/// The same on either kind of database: two files of one name.
fn walk(site: &Site, cli: &Cli) {
    let [first, second] = ["a", "b"].map(|folder| site.upload(&format!("{folder}/facture.pdf"), folder.as_bytes()));
    assert_eq!(cli.add(7, std::slice::from_ref(&first)), [1]);
    added_again(cli, &first);
    clashes_at_once(cli, &second);
    is_previewed(site, cli);
    is_told_once(cli);
    shows_one(cli, &first);
    goes_back(site, cli, &first, &second);
}

fn add(cli: &Cli, flags: &[&str], path: &std::path::Path) -> Run {
    let mut words = vec!["add", "--user", "7"];
    words.extend_from_slice(flags);
    words.push(path.to_str().unwrap());
    cli.run(&words)
}

fn added_again(cli: &Cli, path: &std::path::Path) {
    let again = add(cli, &[], path);
    assert_eq!(again.ends(0).stdout, "1\n");
    assert!(again.stderr.contains("is document 1 already, and pending"), "{}", again.all());
    let object = add(cli, &["--json"], path).json();
    assert_eq!((&object["ids"], &object["known"]), (&json!([1]), &json!([1])));
    // Another user's is another document.
    let other = cli.run(&["add", "--user", "8", "--json", path.to_str().unwrap()]).json();
    assert_eq!((&other["ids"], &other["known"]), (&json!([2]), &json!([])));
    cli.line("remove --document 2").ends(0);
    assert_eq!(cli.line("status --json").json()["total_documents"], 1);
}

fn clashes_at_once(cli: &Cli, path: &std::path::Path) {
    let clash = add(cli, &[], path);
    let id = clash.ends(0).stdout.trim().to_owned();
    assert!(clash.stderr.contains("\"facture.pdf\", belongs to document 1"), "{}", clash.all());
    assert!(clash.stderr.contains(&format!("nas-sync remove --document {id}")), "{}", clash.all());
    // Quiet is quiet, and what was asked for is still said.
    let quiet = add(cli, &["-q"], path);
    assert_eq!((quiet.ends(0).stdout.trim(), quiet.stderr.as_str()), (id.as_str(), ""));
}

fn is_previewed(site: &Site, cli: &Cli) {
    let preview = cli.line("sync --dry-run");
    let sent = format!("Document 1: {} -> facture.pdf (1 byte)", site.path("uploads/a/facture.pdf").display());
    assert!(preview.ends(1).stdout.contains(&sent), "{}", preview.all());
    assert!(preview.stdout.contains("belongs to document 1 (would fail)"), "{}", preview.all());
    assert!(preview.stdout.ends_with("1 document (1 byte) would be sent, 1 would fail\n"), "{}", preview.all());
    let object = cli.line("sync -n --json").ends(1).json();
    assert_eq!((&object["dry_run"], &object["synced"], &object["bytes_sent"]), (&json!(true), &json!(0), &json!(0)));
    assert_eq!(object["documents"][0]["name"], "facture.pdf");
    assert_eq!(
        (&object["documents"][0]["outcome"], &object["documents"][1]["outcome"]),
        (&json!("pending"), &json!("failed"))
    );
    assert!(site.stored_names().is_empty());
    assert_eq!(cli.line("status --json").json()["due"], 2, "nothing has failed");
}

fn is_told_once(cli: &Cli) {
    let first = cli.line("sync");
    assert!(first.ends(1).stderr.contains("belongs to document 1"), "{}", first.all());
    assert!(first.stderr.contains("nas-sync retry"), "{}", first.all());
    let second = cli.line("sync");
    assert!(!second.ends(0).stderr.contains("error"), "{}", second.all());
    assert!(second.stderr.contains("failed for good before, and not tried again"), "{}", second.all());
    let quiet = cli.line("sync -q");
    assert_eq!((quiet.ends(0).stdout.as_str(), quiet.stderr.as_str()), ("", ""));
    let object = cli.line("sync --json").ends(0).json();
    assert_eq!((&object["failed"], &object["failed_earlier"].as_array().unwrap().len()), (&json!(1), &1));
    // Asked for by name it is tried, and told again; after `retry` too.
    let id = object["failed_earlier"][0].to_string();
    cli.run(&["sync", "--document", &id]).ends(1);
    cli.line("retry").ends(0);
    cli.line("sync").ends(1);
}

fn shows_one(cli: &Cli, path: &std::path::Path) {
    let file = path.to_str().unwrap();
    let path = format!("path        {file}");
    let synced = cli.line("status --document 1");
    for part in ["document    1", "state       synced", path.as_str(), "on the NAS  facture.pdf", "sha256      "] {
        assert!(synced.ends(0).stdout.contains(part), "{part}: {}", synced.all());
    }
    let object = cli.line("status --document 1 --json").ends(0).json();
    assert_eq!((&object["documents"][0]["id"], &object["documents"][0]["state"]), (&json!(1), &json!("synced")));
    assert_eq!(
        (&object["documents"][0]["file"], &object["documents"][0]["path"]),
        (&json!("facture.pdf"), &json!(file))
    );
    let unknown = cli.line("status --document 99 --json");
    assert_eq!(unknown.ends(1).json()["error"]["kind"], "document_not_found");
}

fn goes_back(site: &Site, cli: &Cli, first: &std::path::Path, second: &std::path::Path) {
    let failed = cli.line("list --state failed --json").json()["documents"][0]["id"].to_string();
    // All of them or none.
    assert_eq!(
        cli.run(&["remove", "--document", &failed, "99", "--json"]).ends(1).json()["error"]["kind"],
        "document_not_found"
    );
    let removed = cli.run(&["remove", "--document", &failed, "1", "--json"]).ends(0).json();
    assert_eq!(removed["removed"].as_array().unwrap().len(), 2);
    assert_eq!(cli.line("status --json").json()["total_documents"], 0);
    assert_eq!(site.stored("facture.pdf").unwrap(), b"a", "the NAS keeps its copy");
    // The name is free, but what stands there goes only when it may.
    assert!(fs::exists(first).unwrap());
    assert_eq!(add(cli, &["--json"], second).json()["clashes"], json!([]));
    let stays = cli.line("sync");
    assert!(stays.ends(1).stderr.contains("and stays"), "{}", stays.all());
    assert_eq!(site.stored("facture.pdf").unwrap(), b"a");
    cli.line("retry").ends(0);
    cli.line("sync --overwrite").ends(0);
    assert_eq!(site.stored("facture.pdf").unwrap(), b"b");
    let again = add(cli, &[], second);
    assert!(again.stderr.contains("nas-sync resend --document"), "{}", again.all());
}

#[test]
fn documents_are_added_once_told_once_and_taken_back() {
    let site = Site::new();
    walk(&site, &Cli::new(&site));
}

#[test]
fn documents_are_added_once_told_once_and_taken_back_in_postgresql() {
    let Some(server) = Postgres::start() else { return };
    let mut site = Site::new();
    site.set("NAS_DB", server.url("postgres"));
    walk(&site, &Cli::new(&site));
}

#[test]
fn rows_of_another_program_are_not_removed() {
    let site = Site::new();
    let cli = Cli::new(&site);
    assert_eq!(cli.add(1, &[site.upload("a.pdf", b"a")]), [1]);
    let theirs = site.insert(&site.upload("b.pdf", b"b"));
    let refused = cli.run(&["remove", "--document", "1", &theirs.to_string()]);
    assert!(
        refused.ends(2).stderr.contains(&format!("document {theirs} was not registered by nas-sync")),
        "{}",
        refused.all()
    );
    assert_eq!(cli.line("status --json").json()["total_documents"], 2, "all of them or none");
    // One whose id another program's row has by now.
    site.database().execute_batch("DELETE FROM documents; DELETE FROM sqlite_sequence").unwrap();
    assert_eq!(site.insert(&site.path("uploads/a.pdf")), 1);
    cli.line("remove --document 1").ends(2);
    // One that another program has pointed at another file.
    let mine = cli.add(1, &[site.upload("c.pdf", b"c")])[0];
    site.database().execute("UPDATE documents SET file_path = '/elsewhere' WHERE id = ?1", [mine]).unwrap();
    cli.run(&["remove", "--document", &mine.to_string()]).ends(2);
}

#[test]
fn a_document_that_is_being_sent_is_not_removed() {
    let mut site = Site::new();
    let gate = site.path("gate");
    site.wrap_rsync(&format!("while [ ! -e {} ]; do sleep 0.05; done\nexec rsync \"$@\"", gate.display()));
    let cli = Cli::new(&site);
    assert_eq!(cli.add(1, &[site.upload("a.pdf", b"a")]), [1]);
    let sync = cli.start(&["sync"]);
    until("it is leased", std::time::Duration::from_secs(60), || {
        site.database().query_row("SELECT COUNT(*) FROM nas_sync_leased", [], |row| row.get::<_, i64>(0)).unwrap() == 1
    });
    let refused = cli.line("remove --document 1");
    assert!(refused.ends(2).stderr.contains("is being sent at this moment"), "{}", refused.all());
    fs::write(&gate, "").unwrap();
    sync.wait().ends(0);
    cli.line("remove --document 1").ends(0);
}
