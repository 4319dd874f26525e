//! `restore`: documents come back from the NAS as they were recorded, or stay away and say why.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use nas_sync::{Client, ErrorKind, FetchDocuments, Fetched, NasSyncError, RemoteName, Silent, WantedDocument};
use serde_json::Value;

use crate::support::{Cli, Site, noise};

fn restore(site: &Site, words: &[&str], code: i32) -> Value {
    let mut line = vec!["restore", "--json"];
    line.extend_from_slice(words);
    let run = Cli::new(site).run(&line);
    run.ends(code).json()
}

fn set_age(path: &Path, seconds: u64) {
    let time = SystemTime::now().checked_sub(Duration::from_secs(seconds)).unwrap();
    fs::File::options().write(true).open(path).unwrap().set_modified(time).unwrap();
}

fn time(path: &Path) -> SystemTime {
    fs::metadata(path).unwrap().modified().unwrap()
}

/// Three documents, synced an hour after they were written.
async fn synced() -> Site {
    let mut site = Site::new();
    site.set("UPLOAD_DIR", site.path("uploads"));
    site.set("NAS_LAYOUT", "tree");
    for (number, name) in ["a.pdf", "2024/b $(x).pdf", "2024/c.pdf"].into_iter().enumerate() {
        site.document(name, &noise(300_000, number as u64)).await;
        set_age(&site.path("uploads").join(name), 3600);
    }
    let summary = site.sync().await;
    assert_eq!((summary.total, summary.failed), (3, 0), "{summary:?}");
    site
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_lost_comes_back_as_it_was_and_what_is_here_is_left_alone() {
    let site = synced().await;
    let uploads = site.path("uploads");
    let before = time(&uploads.join("a.pdf"));
    fs::remove_file(uploads.join("a.pdf")).unwrap();
    fs::remove_dir_all(uploads.join("2024")).unwrap();
    let report = restore(&site, &["--document", "1"], 0);
    assert_eq!(report, serde_json::json!({ "total": 1, "restored": 1, "were_here": 0, "failed": 0, "errors": [] }));
    assert!(fs::read(uploads.join("a.pdf")).unwrap() == noise(300_000, 0));
    assert_eq!(time(&uploads.join("a.pdf")), before);
    assert!(!uploads.join("2024").exists());
    let report = restore(&site, &[], 0);
    assert_eq!((&report["total"], &report["restored"]), (&3.into(), &3.into()), "{report}");
    assert_eq!(report["were_here"], 1, "{report}");
    assert!(fs::read(uploads.join("2024/b $(x).pdf")).unwrap() == noise(300_000, 1));
    assert!(fs::read(uploads.join("2024/c.pdf")).unwrap() == noise(300_000, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_never_sent_stays_whatever_its_time_unless_it_may_be_replaced() {
    let site = synced().await;
    let here = site.path("uploads").join("a.pdf");
    let sent = time(&here);
    let moment = Duration::from_millis(300);
    for (name, other) in [
        ("newer", SystemTime::now()),
        ("newer by less than a second", sent + moment),
        ("of the same time", sent),
        ("older by less than a second", sent - moment),
        ("older by hours", sent - Duration::from_secs(7200)),
    ] {
        fs::write(&here, name).unwrap();
        fs::File::options().write(true).open(&here).unwrap().set_modified(other).unwrap();
        let report = restore(&site, &[], 1);
        assert_eq!((&report["restored"], &report["failed"]), (&2.into(), &1.into()), "{name}: {report}");
        let error = report["errors"][0].as_str().unwrap();
        assert!(error.starts_with("Document 1: ") && error.contains("stays: only --overwrite"), "{error}");
        assert_eq!(fs::read_to_string(&here).unwrap(), name);
    }
    let report = restore(&site, &["--overwrite", "--document", "1"], 0);
    assert_eq!((&report["restored"], &report["were_here"]), (&1.into(), &0.into()), "{report}");
    assert!(fs::read(&here).unwrap() == noise(300_000, 0));
    // What is no regular file stays as well, even where it leads to what was recorded.
    let elsewhere = site.path("elsewhere");
    fs::rename(&here, &elsewhere).unwrap();
    std::os::unix::fs::symlink(&elsewhere, &here).unwrap();
    assert_eq!(restore(&site, &["--document", "1"], 1)["failed"], 1);
    assert!(here.is_symlink());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_made_while_its_copy_is_asked_for_stays() {
    let mut site = synced().await;
    let here = site.path("uploads").join("a.pdf");
    fs::remove_file(&here).unwrap();
    site.wrap_rsync(&format!("printf precious >'{}'\nexec rsync \"$@\"", here.display()));
    let report = restore(&site, &["--document", "1"], 1);
    assert!(report["errors"][0].as_str().unwrap().contains("stays"), "{report}");
    assert_eq!(fs::read_to_string(&here).unwrap(), "precious");
    assert_eq!(fs::read_dir(here.parent().unwrap()).unwrap().count(), 2, "the file and the folder, nothing half made");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_without_a_database_fetches_over_nothing_either() {
    let site = synced().await;
    let folder = site.path("drill");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("here"), "precious").unwrap();
    let client = Client::connect(&site.service().client_config().unwrap()).await.unwrap();
    let wanted =
        |id: i64, name: &str| WantedDocument::new(id, RemoteName::new(&b"a.pdf"[..]).unwrap(), folder.join(name));
    let nas = site.path("nas").to_str().unwrap().to_owned();
    fs::write(folder.join("same"), noise(300_000, 0)).unwrap();
    let same = time(&folder.join("same"));
    // Nothing is recorded with which they could be compared here.
    for (id, name) in [(1, "here"), (2, "free"), (3, "same")] {
        let request = FetchDocuments::new(nas.clone(), vec![wanted(id, name)]);
        let outcomes = client.fetch_documents(request, Arc::new(Silent)).await.unwrap();
        let result = outcomes[0].result.as_ref().map_err(NasSyncError::kind);
        assert_eq!(result, if id == 1 { Err(ErrorKind::NewerHere) } else { Ok(&Fetched::FromNas) }, "{name}");
    }
    assert_eq!(time(&folder.join("same")), same, "it is the one that was here");
    assert_eq!(fs::read_to_string(folder.join("here")).unwrap(), "precious");
    assert!(fs::read(folder.join("free")).unwrap() == noise(300_000, 0));
    client.disconnect().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_is_not_what_was_recorded_is_kept_aside() {
    let site = synced().await;
    let (here, there) = (site.path("uploads").join("a.pdf"), site.path("nas").join("a.pdf"));
    fs::write(&there, "somebody else's").unwrap();
    fs::remove_file(site.path("nas").join("2024/c.pdf")).unwrap();
    fs::remove_file(&here).unwrap();
    fs::remove_file(site.path("uploads").join("2024/c.pdf")).unwrap();
    let report = restore(&site, &[], 1);
    assert_eq!((&report["restored"], &report["failed"]), (&1.into(), &2.into()), "{report}");
    let errors: Vec<&str> = report["errors"].as_array().unwrap().iter().map(|error| error.as_str().unwrap()).collect();
    assert!(errors[0].starts_with("Document 1: ") && errors[0].contains("a.pdf.from-nas"), "{report}");
    assert!(errors[1].starts_with("Document 3: ") && errors[1].contains("does not have it"), "{report}");
    assert!(!here.exists());
    assert_eq!(fs::read_to_string(here.with_extension("pdf.from-nas")).unwrap(), "somebody else's");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drill_puts_everything_into_a_folder_of_its_own() {
    let site = synced().await;
    let drill = site.path("drill");
    let report = restore(&site, &["--to", drill.to_str().unwrap()], 0);
    assert_eq!(report["restored"], 3, "{report}");
    assert!(fs::read(drill.join("2024/b $(x).pdf")).unwrap() == noise(300_000, 1));
    // A second drill finds everything there.
    let report = restore(&site, &["--to", drill.to_str().unwrap()], 0);
    assert_eq!((&report["restored"], &report["were_here"]), (&3.into(), &3.into()), "{report}");
    let again = Cli::new(&site).run(&["restore", "--to", drill.to_str().unwrap()]);
    assert_eq!(again.ends(0).stdout, "3 of 3 documents restored; 3 of them were here already\n");
    // What somebody put there is theirs.
    fs::write(drill.join("a.pdf"), "precious").unwrap();
    set_age(&drill.join("a.pdf"), 7200);
    let report = restore(&site, &["--to", drill.to_str().unwrap()], 1);
    assert_eq!((&report["restored"], &report["failed"]), (&2.into(), &1.into()), "{report}");
    assert_eq!(fs::read_to_string(drill.join("a.pdf")).unwrap(), "precious");
    let report = restore(&site, &["--document", "77"], 1);
    assert!(report["errors"][0].as_str().unwrap().starts_with("Document 77: "), "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn it_tells_how_far_it_is() {
    let site = synced().await;
    let drill = site.path("drill");
    let run = Cli::new(&site).run(&["restore", "--progress", "json", "--to", drill.to_str().unwrap()]);
    run.ends(0);
    assert_eq!(run.stdout, "3 of 3 documents restored\n");
    let told: Vec<Value> = run.stderr.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(told[0], serde_json::json!({ "event": "started", "documents": 3, "bytes": 900_000 }), "{told:?}");
    let [.., progress, end] = told.as_slice() else { panic!("{told:?}") };
    assert_eq!((&progress["done"], &progress["bytes"]), (&3.into(), &900_000.into()), "{told:?}");
    assert_eq!(progress["bytes_total"], 900_000, "{told:?}");
    assert_eq!((&end["event"], &end["synced"], &end["failed"]), (&"finished".into(), &3.into(), &0.into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_earlier_copy_of_what_is_pending_again_comes_back() {
    let site = synced().await;
    let cli = Cli::new(&site);
    let here = site.path("uploads").join("a.pdf");
    assert_eq!(cli.line("resend --document 1 --json").ends(0).json()["resent"], 1);
    fs::remove_file(&here).unwrap();
    // A failure does not make it forgotten.
    cli.line("sync").ends(1);
    let report = restore(&site, &["--document", "1"], 0);
    assert_eq!((&report["restored"], &report["were_here"]), (&1.into(), &0.into()), "{report}");
    assert!(fs::read(&here).unwrap() == noise(300_000, 0));
    // Of what was never sent there is none.
    let new = site.upload("new.pdf", b"new");
    cli.add(1, &[new]);
    let report = restore(&site, &["--document", "4"], 1);
    assert!(report["errors"][0].as_str().unwrap().contains("no copy"), "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_stops_it_is_told_how_it_stands() {
    let mut site = synced().await;
    site.wrap_rsync("case $* in *--sender*) >\"$NAS/../asked\"; cat >/dev/null ;; esac\nexec rsync \"$@\"");
    let drill = site.path("drill");
    let mut running = Cli::new(&site).start(&["restore", "--json", "--to", drill.to_str().unwrap()]);
    running.until(|| site.path("asked").exists());
    running.signal("INT");
    let run = running.wait();
    assert_eq!(run.ends(130).json()["error"]["kind"], "interrupted", "{}", run.all());
    assert!(run.stderr.contains("stopped: what is restored is whole"), "{}", run.all());
}
