use serde_json::{Value, json};

use super::*;
use crate::error::ErrorKind;
use crate::tree::RemoteName;

const MB: u64 = 1_000_000;

/// A run whose clock is moved by hand.
#[derive(Default)]
struct Run {
    progress: Progress,
    now: Duration,
}

impl Run {
    fn planned(documents: u64, bytes: u64) -> Self {
        let mut run = Self::default();
        let began = run.hear(&DocumentEvent::Planned { documents, bytes });
        assert_eq!(began[0], json!({ "event": "started", "documents": documents, "bytes": bytes }));
        run
    }

    fn after(&mut self, millis: u64) -> &mut Self {
        self.now += Duration::from_millis(millis);
        self
    }

    fn hear(&mut self, event: &DocumentEvent<'_>) -> Vec<Value> {
        let told = self.progress.of_document(event, self.now).map(|told| self.progress.with_pace(told, self.now));
        told.iter().flatten().map(object).collect()
    }

    fn read(&mut self, bytes: u64) -> Vec<Value> {
        self.hear(&DocumentEvent::Progress { bytes })
    }

    fn state(&self) -> Value {
        object(&self.progress.at(self.now))
    }
}

fn recorded<'d>(id: &'d DocumentId, name: &'d RemoteName) -> DocumentEvent<'d> {
    DocumentEvent::Recorded { id, name, level: Level::Durable, bytes: 16, sha256: None }
}

#[test]
fn each_object_has_its_keys() {
    let (document, name) = (DocumentId::from(57), RemoteName::new("Facture n° 57.pdf").unwrap());
    let mut run = Run::planned(300, 500);
    run.after(200).hear(&DocumentEvent::Started { id: &document, name: &name, bytes: 16 });
    let synced = run.after(200).hear(&recorded(&document, &name));
    assert_eq!(
        synced,
        [
            json!({ "event": "document", "id": 57, "outcome": "synced", "level": "durable", "bytes": 16 }),
            json!({
                "event": "progress", "done": 1, "documents": 300, "bytes": 0, "bytes_total": 500,
                "bytes_per_second": null, "eta_seconds": null, "current": "Facture n° 57.pdf",
            }),
        ]
    );
    let cause = NasSyncError::new(ErrorKind::SourceMissing, "gone");
    let failed = run.hear(&DocumentEvent::Failed { id: Some(&"a".into()), error: &cause });
    assert_eq!(
        failed,
        [
            json!({ "event": "document", "id": "a", "outcome": "failed", "level": null, "bytes": null, "error": error(&cause) })
        ]
    );
    let end = ProgressEvent::Finished { synced: 299, failed: 1, elapsed: Duration::from_secs(19) };
    assert_eq!(object(&end), json!({ "event": "finished", "synced": 299, "failed": 1, "elapsed_ms": 19_000 }));
}

#[test]
fn progress_is_told_ten_times_a_second_and_a_last_time() {
    let mut run = Run::planned(1, 1000);
    let told: usize = (0..1000).map(|_| run.after(1).read(1).len()).sum();
    assert_eq!(told, 10);
    run.after(50).read(0);
    let last = run.progress.last_words(run.now);
    assert_eq!((last.len(), &object(&last[0])["bytes"]), (1, &json!(1000)));
    assert!(run.progress.last_words(run.now).is_empty(), "nothing has changed since");
}

#[test]
fn every_change_of_state_is_told_whatever_the_pace() {
    let mut run = Run::planned(3, 0);
    let (document, name) = (DocumentId::from(1), RemoteName::new("x").unwrap());
    let told = (0..3).flat_map(|_| run.hear(&recorded(&document, &name)));
    assert_eq!(told.filter(|object| object["event"] == "document").count(), 3);
}

#[test]
fn a_run_without_documents_begins_and_ends() {
    let told = Progress::default().last_words(Duration::ZERO);
    assert_eq!(
        told.iter().map(object).collect::<Vec<_>>(),
        [json!({ "event": "started", "documents": 0, "bytes": 0 })]
    );
}

#[test]
fn the_rate_waits_until_buffers_are_full() {
    let mut run = Run::planned(1, 100 * MB);
    // 20 MB vanish in buffers at once; the line does 1 MB/s.
    run.read(20 * MB);
    let mut rates = Vec::new();
    for _ in 0..40 {
        run.after(100).read(MB / 10);
        rates.push(run.state()["bytes_per_second"].clone());
    }
    assert!(rates[..19].iter().all(Value::is_null), "{rates:?}");
    assert!(rates[20..].iter().all(|rate| *rate == json!(MB)), "{rates:?}");
    assert_eq!(run.state()["eta_seconds"], 76);
}

#[test]
fn the_rate_follows_and_a_stall_shows() {
    let mut run = Run::planned(1, 1000 * MB);
    (0..200).for_each(|_| drop(run.after(100).read(MB)));
    assert_eq!(run.state()["bytes_per_second"], 10 * MB);
    (0..120).for_each(|_| drop(run.after(100).read(2 * MB)));
    let rate = run.state()["bytes_per_second"].as_u64().unwrap();
    assert!((19 * MB..=20 * MB).contains(&rate), "{rate}");
    let stalled = run.after(90_000).state();
    assert!(stalled["bytes_per_second"].as_u64().unwrap() < 3 * MB, "{stalled}");
    assert!(run.progress.rate.marks_kept() <= 42, "{}", run.progress.rate.marks_kept());
}

#[test]
fn what_goes_again_is_never_more_than_all() {
    let mut run = Run::planned(2, 100);
    run.after(100).read(90);
    let again = run.after(100).read(90);
    assert_eq!((&again[0]["bytes"], &again[0]["bytes_total"]), (&json!(100), &json!(100)));
    // More is found later.
    let more = run.after(100).hear(&DocumentEvent::Planned { documents: 1, bytes: 100 });
    assert_eq!(
        (&more[0]["event"], &more[0]["documents"], &more[0]["bytes_total"]),
        (&json!("progress"), &json!(3), &json!(200))
    );
}

#[test]
fn objects_come_in_order_from_many_threads() {
    use std::sync::{Arc, mpsc};
    let (sender, told) = mpsc::channel();
    let monitor = Arc::new(ProgressMonitor::new(move |event| sender.send(event).unwrap()));
    let hear = |event| DocumentMonitor::event(&*monitor, event);
    hear(DocumentEvent::Planned { documents: 4, bytes: 4000 });
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..1000).for_each(|_| hear(DocumentEvent::Progress { bytes: 1 })));
        }
    });
    monitor.finish(4, 0);
    let told: Vec<Value> = told.try_iter().map(|event| serde_json::to_value(event).unwrap()).collect();
    let bytes: Vec<u64> =
        told.iter().filter_map(|object| object["bytes_total"].as_u64().and(object["bytes"].as_u64())).collect();
    assert!(bytes.is_sorted() && bytes.last() == Some(&4000), "{told:?}");
    assert_eq!((&told[0]["event"], &told.last().unwrap()["event"]), (&json!("started"), &json!("finished")));
}
