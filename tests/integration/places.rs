//! Where copies are: at another place than the one that is set by now, or under the name of a document that was not sent yet.

use std::fs;

use crate::support::cli::Run;
use crate::support::{Cli, Site, noise};

/// Two documents, synced.
fn synced() -> (Site, Cli) {
    let site = Site::new();
    let cli = Cli::new(&site);
    cli.add(1, &[site.upload("a.pdf", b"a"), site.upload("b.pdf", b"b")]);
    assert!(!warns(cli.line("sync").ends(0)));
    (site, cli)
}

fn warns(run: &Run) -> bool {
    run.stderr.contains("nobody has looked") && run.stderr.contains("verify --requeue")
}

/// What `status` and `doctor` say about documents at another place.
fn moved(cli: &Cli) -> (Option<u64>, String) {
    let status = cli.line("status --json").json();
    let said = warns(&cli.line("status"));
    assert_eq!(said, status["moved"].is_object(), "{status}");
    let doctor = cli.line("doctor --json").json();
    let copies = doctor["checks"].as_array().unwrap().iter().find(|check| check["name"] == "copies").unwrap();
    (status["moved"]["documents"].as_u64(), copies["status"].as_str().unwrap().to_owned())
}

#[test]
fn after_the_place_was_changed_it_is_said_until_somebody_looked() {
    let (mut site, cli) = synced();
    assert_eq!(moved(&cli), (None, "ok".to_owned()));
    let new = site.path("new");
    fs::create_dir(&new).unwrap();
    site.set("NAS_PATH", &new);
    let cli_there = Cli::new(&site);
    assert_eq!(moved(&cli_there), (Some(2), "warning".to_owned()));
    assert!(warns(cli_there.line("sync").ends(0)));
    assert_eq!(moved(&cli), (None, "ok".to_owned()), "nothing was sent there yet");
    // Once something was, it is at neither place that all are.
    cli_there.add(1, &[site.upload("c.pdf", b"c")]);
    assert!(warns(cli_there.line("sync").ends(0)));
    assert!(warns(cli_there.line("sync").ends(0)));
    assert_eq!(moved(&cli), (Some(3), "warning".to_owned()));
    // A look at some of them does not settle it, nor one that leaves them as they are.
    cli_there.line("verify --document 3").ends(0);
    assert_eq!(cli_there.line("verify --json").ends(1).json()["missing"], serde_json::json!([1, 2]));
    assert_eq!(moved(&cli_there).0, Some(3));
    cli_there.line("verify --requeue").ends(1);
    assert_eq!(moved(&cli_there), (None, "ok".to_owned()));
    assert!(!warns(cli_there.line("sync").ends(0)));
    assert_eq!(fs::read_dir(&new).unwrap().count(), 3);
    cli_there.line("verify").ends(0);
}

#[test]
fn a_place_to_which_nothing_was_sent_is_no_place() {
    let mut site = Site::new();
    let right = site.path("nas");
    site.set("NAS_PATH", site.path("mistyped"));
    let cli = Cli::new(&site);
    cli.add(1, &[site.upload("a.pdf", b"a")]);
    cli.line("sync").ends(3);
    site.set("NAS_PATH", right);
    let cli = Cli::new(&site);
    assert!(!warns(cli.line("sync").ends(0)));
    assert_eq!(moved(&cli), (None, "ok".to_owned()));
}

#[test]
fn the_id_of_a_document_that_was_removed_is_not_given_again() {
    let mut site = Site::new();
    site.set("NAS_LAYOUT", "{id}.pdf");
    let cli = Cli::new(&site);
    assert_eq!(cli.add(1, &[site.upload("a.pdf", b"the first")]), [1]);
    cli.line("sync").ends(0);
    cli.line("remove --document 1").ends(0);
    assert_eq!(cli.add(1, &[site.upload("b.pdf", b"the second")]), [2]);
    cli.line("sync").ends(0);
    assert_eq!(site.stored("1.pdf").unwrap(), b"the first");
    assert_eq!(site.stored("2.pdf").unwrap(), b"the second");
}

#[test]
fn what_is_asked_of_nothing_or_of_everything_is_said() {
    let (_site, cli) = synced();
    let run = cli.line("resend");
    assert!(run.ends(2).stderr.contains("--all"), "{}", run.all());
    let last = cli.line("status --json").json()["last_sync"].clone();
    assert_eq!(cli.line("resend --all --json").ends(0).json()["resent"], 2);
    let run = cli.line("verify");
    assert!(run.ends(0).stdout.starts_with("nothing to compare: "), "{}", run.all());
    let status = cli.line("status --json").json();
    assert_eq!(status["synced"], 0);
    assert_eq!(status["last_sync"].as_str().unwrap()[..13], last.as_str().unwrap()[..13], "they were synced");
}

#[test]
fn thousands_of_failures_are_not_thousands_of_lines() {
    let site = Site::new();
    let cli = Cli::new(&site);
    let paths: Vec<_> = (0..100).map(|number| site.upload(&format!("{number}.pdf"), b"x")).collect();
    cli.add(1, &paths);
    paths.iter().skip(1).for_each(|path| fs::remove_file(path).unwrap());
    let run = cli.line("sync");
    assert!(run.ends(1).stderr.lines().count() < 30, "{}", run.all());
    assert!(run.stderr.contains("79 more like these"), "{}", run.all());
    assert_eq!(cli.line("sync --json").ends(1).json()["errors"].as_array().unwrap().len(), 99);
}

/// A second database, of another machine or made anew, that sends into the same folder.
#[test]
fn what_another_database_sent_is_not_replaced_by_a_document_that_was_never_sent() {
    let mut site = Site::new();
    site.set("NAS_LAYOUT", "{id}.pdf");
    let cli = Cli::new(&site);
    let same = site.upload("same.pdf", &noise(200_000, 3));
    cli.add(1, &[site.upload("a.pdf", b"the first of the first"), same.clone(), site.upload("c.pdf", b"short")]);
    cli.line("sync").ends(0);
    site.set("NAS_DB", site.path("other.db"));
    let other = Cli::new(&site);
    // Another size, the same content, and another content of the same size; and a name that is free.
    other.add(
        1,
        &[site.upload("x.pdf", b"of the second"), same, site.upload("z.pdf", b"other"), site.upload("4.pdf", b"4")],
    );
    let object = other.line("sync --json").ends(1).json();
    assert_eq!((&object["synced"], &object["failed"]), (&2.into(), &2.into()), "{object}");
    assert_eq!(object["failures"][0]["error"]["kind"], "name_clash", "{object}");
    assert!(object["failures"][1]["error"]["solution"].as_str().unwrap().contains("--overwrite"), "{object}");
    let stored = |name: &str| site.stored(name).unwrap();
    assert_eq!((stored("1.pdf"), stored("3.pdf")), (b"the first of the first".to_vec(), b"short".to_vec()));
    assert_eq!((stored("2.pdf") == noise(200_000, 3), stored("4.pdf")), (true, b"4".to_vec()));
    // No try makes it its own, and whoever says so has it replaced.
    other.line("retry").ends(0);
    other.line("sync").ends(1);
    assert_eq!(stored("1.pdf"), b"the first of the first");
    other.line("sync --document 1 --overwrite").ends(0);
    assert_eq!((stored("1.pdf"), stored("3.pdf")), (b"of the second".to_vec(), b"short".to_vec()));
    // What was sent from here is sent anew as ever.
    fs::write(site.path("uploads").join("4.pdf"), "changed").unwrap();
    other.line("resend --document 4").ends(0);
    other.line("sync --document 4").ends(0);
    assert_eq!(stored("4.pdf"), b"changed");
}

/// What was stored and not recorded is no other document's.
#[test]
fn a_copy_that_was_not_recorded_is_known_by_its_content() {
    let (site, cli) = synced();
    for table in ["nas_sync_documents", "nas_sync_attempts", "nas_sync_names"] {
        site.database().execute(&format!("DELETE FROM {table}"), []).unwrap();
    }
    site.database().execute("UPDATE documents SET synced_to_nas = 0, synced_at = NULL", []).unwrap();
    cli.line("sync").ends(0);
    cli.line("verify").ends(0);
}
