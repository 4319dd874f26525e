//! `--progress`: what a run tells while it goes on, and what its object says at the end.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::chaos::{Chaos, Fault, Pace};
use crate::support::cli::Run;
use crate::support::{Cli, Site, is_long_or_skipped, noise};

/// The objects of one name, each with just these keys.
fn events<'o>(objects: &'o [Value], name: &str, keys: &[&str]) -> Vec<&'o Value> {
    let found: Vec<_> = objects.iter().filter(|object| object["event"] == name).collect();
    for object in &found {
        let is: BTreeSet<_> = object.as_object().unwrap().keys().map(String::as_str).collect();
        let expected: BTreeSet<_> = keys.iter().copied().chain(["event"]).collect();
        assert!(
            is == expected || name == "document" && is.len() == expected.len() + 1 && is.contains("error"),
            "{object}"
        );
    }
    found
}

fn told(run: &Run) -> Vec<Value> {
    run.stderr.lines().filter(|line| line.starts_with('{')).map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Forty documents, one of which is gone.
fn site_of_forty() -> (Site, Vec<i64>) {
    let site = Site::new();
    let paths: Vec<PathBuf> =
        (0..40).map(|number| site.upload(&format!("Reçu n° {number}\n.pdf"), &noise(500_000, number))).collect();
    let ids = Cli::new(&site).add(1, &paths);
    fs::remove_file(&paths[7]).unwrap();
    (site, ids)
}

#[test]
fn objects_tell_a_run_from_its_start_to_its_end() {
    let (mut site, ids) = site_of_forty();
    // Slow enough for more than one object of progress.
    let chaos = Chaos::before(site.sshd.port(), 1);
    chaos.plan(|_| Fault::pace(Pace::Throttle(10_000_000)));
    site.through(&chaos);
    let run = Cli::new(&site).line("sync --json --progress json");
    run.ends(1);
    let objects = told(&run);
    assert_eq!(objects[0], json!({ "event": "started", "documents": 40, "bytes": 39 * 500_000 }));
    let end = objects.last().unwrap();
    assert_eq!(events(&objects, "finished", &["synced", "failed", "elapsed_ms"]), [end]);
    assert_eq!((&end["synced"], &end["failed"]), (&json!(39), &json!(1)));

    let documents = events(&objects, "document", &["id", "outcome", "level", "bytes"]);
    let by_id: BTreeMap<i64, &Value> =
        documents.iter().map(|object| (object["id"].as_i64().unwrap(), *object)).collect();
    assert_eq!((documents.len(), by_id.keys().copied().collect::<Vec<_>>()), (40, ids.clone()));
    let missing = by_id[&ids[7]];
    assert_eq!((&missing["outcome"], &missing["error"]["kind"]), (&json!("failed"), &json!("source_missing")));
    let synced =
        json!({ "event": "document", "id": ids[8], "outcome": "synced", "level": "durable", "bytes": 500_000 });
    assert_eq!(by_id[&ids[8]], &synced);

    let keys = ["done", "documents", "bytes", "bytes_total", "bytes_per_second", "eta_seconds", "current"];
    let progress = events(&objects, "progress", &keys);
    let most = end["elapsed_ms"].as_u64().unwrap() / 100 + 2;
    assert!(progress.len() > 3 && progress.len() as u64 <= most, "{} objects of at most {most}", progress.len());
    for key in ["done", "bytes"] {
        assert!(progress.is_sorted_by_key(|object| object[key].as_u64().unwrap()), "{}", run.all());
    }
    let last = progress.last().unwrap();
    assert_eq!(
        (&last["done"], &last["bytes"], &last["bytes_total"]),
        (&json!(40), &json!(19_500_000), &json!(19_500_000))
    );
    assert!(last["current"].as_str().unwrap().starts_with("Reçu n° "), "{last}");
}

#[test]
fn the_object_of_a_sync_has_one_for_each_document_that_was_tried() {
    let (site, ids) = site_of_forty();
    let cli = Cli::new(&site);
    let run = cli.line("sync --json");
    let object = run.ends(1).json();
    let documents = object["documents"].as_array().unwrap();
    assert_eq!(documents.iter().map(|one| one["id"].as_i64().unwrap()).collect::<Vec<_>>(), ids);
    for (number, one) in documents.iter().enumerate() {
        if number == 7 {
            let failure = json!({
                "id": ids[7], "name": null, "outcome": "failed", "level": null, "bytes": null, "sha256": null,
                "error": object["failures"][0]["error"],
            });
            assert_eq!(one, &failure);
            continue;
        }
        assert_eq!(
            (&one["outcome"], &one["level"], &one["bytes"]),
            (&json!("synced"), &json!("durable"), &json!(500_000))
        );
        assert_eq!(one["name"], format!("Reçu n° {number}\\n.pdf"));
        assert_eq!(one["sha256"].as_str().unwrap().len(), 64);
    }
    let shows_lines = run.elapsed >= Duration::from_secs(10);
    assert!(shows_lines || !run.stderr.contains("documents,"), "no line in the first ten seconds: {}", run.all());
    let sql = "SELECT next_attempt_at FROM nas_sync_documents WHERE last_error_kind IS NOT NULL";
    let due: String = site.database().query_row(sql, [], |row| row.get(0)).unwrap();
    let again = cli.line("sync --json");
    // On a machine that is very busy the time that it waits may be over.
    if chrono::Utc::now().format("%Y-%m-%d %H:%M:%S").to_string() < due {
        assert_eq!(again.ends(1).json()["documents"], json!([]), "what waits is not tried");
    }
    let locked = cli.line("sync --json --db /nowhere/x.db").json();
    assert_eq!((&locked["documents"], locked["error"]["kind"].is_string()), (&json!([]), true));
}

#[test]
fn a_long_run_writes_a_line_every_ten_seconds_where_nobody_looks() {
    if !is_long_or_skipped() {
        return;
    }
    let mut site = Site::new();
    let chaos = Chaos::before(site.sshd.port(), 1);
    chaos.plan(|_| Fault::pace(Pace::Throttle(400_000)));
    site.through(&chaos);
    Cli::new(&site).add(1, &[site.upload("a.bin", &noise(10_000_000, 1))]);
    let run = Cli::new(&site).line("sync");
    run.ends(0);
    assert!(run.elapsed > Duration::from_secs(20), "{}", run.all());
    let lines: Vec<&str> = run.stderr.lines().filter(|line| line.contains(" document, ")).collect();
    assert!((2..=3).contains(&lines.len()), "{}", run.all());
    assert!(
        lines[0].starts_with("0/1 document, ") && lines[0].ends_with(", a.bin") && lines[0].contains(" left, "),
        "{lines:?}"
    );
}
