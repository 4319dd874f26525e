//! `restore`: documents come back from the NAS as they were recorded, or stay away and say why.

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

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
    assert_eq!(report, serde_json::json!({ "total": 1, "restored": 1, "failed": 0, "errors": [] }));
    assert!(fs::read(uploads.join("a.pdf")).unwrap() == noise(300_000, 0));
    assert_eq!(time(&uploads.join("a.pdf")), before);
    assert!(!uploads.join("2024").exists());
    let report = restore(&site, &[], 0);
    assert_eq!((&report["total"], &report["restored"]), (&3.into(), &3.into()), "{report}");
    assert!(fs::read(uploads.join("2024/b $(x).pdf")).unwrap() == noise(300_000, 1));
    assert!(fs::read(uploads.join("2024/c.pdf")).unwrap() == noise(300_000, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newer_file_stays_unless_it_may_be_replaced() {
    let site = synced().await;
    let newer = site.path("uploads").join("a.pdf");
    fs::write(&newer, "newer").unwrap();
    let report = restore(&site, &[], 1);
    assert_eq!((&report["restored"], &report["failed"]), (&2.into(), &1.into()), "{report}");
    assert!(report["errors"][0].as_str().unwrap().contains("Document 1: the file that is here is newer"), "{report}");
    assert_eq!(fs::read_to_string(&newer).unwrap(), "newer");
    let report = restore(&site, &["--overwrite", "--document", "1"], 0);
    assert_eq!(report["restored"], 1, "{report}");
    assert!(fs::read(&newer).unwrap() == noise(300_000, 0));
    // Later within the same second is newer, too.
    let sent = time(&newer);
    fs::write(&newer, "newer by little").unwrap();
    let later = sent.checked_add(Duration::from_millis(1)).unwrap();
    fs::File::options().write(true).open(&newer).unwrap().set_modified(later).unwrap();
    assert_eq!(restore(&site, &["--document", "1"], 1)["restored"], 0);
    assert_eq!(fs::read_to_string(&newer).unwrap(), "newer by little");
    // An older one is replaced in any case.
    fs::write(&newer, "older").unwrap();
    set_age(&newer, 7200);
    assert_eq!(restore(&site, &["--document", "1"], 0)["restored"], 1);
    assert!(fs::read(&newer).unwrap() == noise(300_000, 0));
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
    assert_eq!(report["restored"], 3, "{report}");
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
