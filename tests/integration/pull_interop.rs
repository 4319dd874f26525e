//! The receiving side against the system's `rsync --server --sender`, over pipes.

use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use nas_sync::internal::role::asked::Naming;
use nas_sync::internal::role::incoming::{Expected, Scope};
use nas_sync::internal::role::pull::{PullJob, To};
use nas_sync::internal::session::{self, Opening, Outcome, Pull};
use nas_sync::internal::transport::local;
use nas_sync::internal::tree::apply::Keep;
use nas_sync::internal::wire::offer::Offer;
use nas_sync::internal::wire::pull_args::{PullOptions, source_paths};
use nas_sync::{Event, FileStats, Monitor};

use super::interop::{SIZES, offers};
use crate::support::{noise, with};

/// Writes down what the session tells.
#[derive(Default)]
struct Record {
    totals: Mutex<FileStats>,
    received: Mutex<Vec<String>>,
    failed: Mutex<Vec<String>>,
}

impl Monitor for Record {
    fn event(&self, event: Event<'_>) {
        match event {
            Event::FileReceived { entry, stats, .. } => {
                let mut totals = self.totals.lock().unwrap();
                totals.literal += stats.literal;
                totals.matched += stats.matched;
                self.received.lock().unwrap().push(String::from_utf8_lossy(entry.name).into_owned());
            }
            Event::FileFailed { entry, error } => {
                let line = format!("{}: {error}", String::from_utf8_lossy(entry.name));
                self.failed.lock().unwrap().push(line);
            }
            _ => {}
        }
    }
}

fn job(sources: &[Vec<u8>], to: &Path, options: &PullOptions) -> PullJob {
    let expected = Expected {
        fields: options.list_fields(),
        id_names: !options.numeric_ids,
        scope: Scope::of_sources(sources, Naming::TREES),
        may_overlap: sources.len() > 1,
    };
    let keep = Keep { times: options.times, ..Keep::default() };
    PullJob { keep, ..PullJob::new(expected, To::Path(to.to_owned())) }
}

async fn pull(sources: &[&Path], to: &Path, offer: Offer, options: &PullOptions) -> (Outcome, Arc<Record>) {
    let sources: Vec<Vec<u8>> = sources.iter().map(|source| source.as_os_str().as_bytes().to_vec()).collect();
    let arguments = [options.arguments(&offer), source_paths(&sources)].concat();
    let record = Arc::new(Record::default());
    let pull = Pull {
        offer,
        job: job(&sources, to, options),
        idle_limit: Duration::from_secs(20),
        monitor: Arc::clone(&record) as Arc<dyn Monitor>,
    };
    (session::pull(local::spawn("rsync", &arguments).unwrap(), Opening::SLOW, pull).await, record)
}

fn documents() -> PullOptions {
    with!(PullOptions::default(), recursive: true, times: true)
}

/// A folder's name as rsync takes it for what is in it.
fn content_of(folder: &Path) -> PathBuf {
    folder.join("")
}

#[tokio::test(flavor = "multi_thread")]
async fn files_of_every_size_come_under_every_offer() {
    let from = tempfile::tempdir().unwrap();
    for size in SIZES {
        std::fs::write(from.path().join(format!("f{size:08}")), noise(size, size as u64)).unwrap();
    }
    for offer in offers() {
        let to = tempfile::tempdir().unwrap();
        let (outcome, record) = pull(&[&content_of(from.path())], to.path(), offer, &documents()).await;
        outcome.result.unwrap_or_else(|error| panic!("{offer:?}: {error} {:?}", error.details()));
        assert_eq!(record.failed.lock().unwrap().as_slice(), [""; 0], "{offer:?}");
        for size in SIZES {
            let name = format!("f{size:08}");
            let (here, there) = (to.path().join(&name), from.path().join(&name));
            assert!(std::fs::read(&here).unwrap() == std::fs::read(&there).unwrap(), "{offer:?} {name}");
            let time = |path: &Path| path.metadata().unwrap().modified().unwrap();
            assert!(time(&here) == time(&there) || offer.protocol.number() < 31, "{offer:?} {name}");
        }
        // Nothing is left to do, and nothing else lies here.
        assert_eq!(std::fs::read_dir(to.path()).unwrap().count(), SIZES.len());
        let (outcome, record) = pull(&[&content_of(from.path())], to.path(), offer, &documents()).await;
        outcome.result.unwrap();
        assert_eq!(record.received.lock().unwrap().as_slice(), [""; 0], "{offer:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_copy_is_updated_by_delta_under_every_offer() {
    for offer in offers() {
        let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        for size in SIZES {
            let name = format!("f{size:08}");
            let old = noise(size, 7);
            let mut new = old.clone();
            for edit in 0..size / 40_000 {
                new[edit * 40_000 + 17] ^= 0xff;
            }
            new.splice(size / 2..size / 2, *b"inserted");
            std::fs::write(to.path().join(&name), &old).unwrap();
            std::fs::write(from.path().join(&name), &new).unwrap();
        }
        let (outcome, record) = pull(&[&content_of(from.path())], to.path(), offer, &documents()).await;
        outcome.result.unwrap_or_else(|error| panic!("{offer:?}: {error} {:?}", error.details()));
        for size in SIZES {
            let name = format!("f{size:08}");
            let (here, there) = (to.path().join(&name), from.path().join(&name));
            assert!(std::fs::read(here).unwrap() == std::fs::read(there).unwrap(), "{offer:?} {name}");
        }
        let totals = *record.totals.lock().unwrap();
        assert!(totals.matched > 4 * totals.literal, "{offer:?}: {totals:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_file_may_get_the_name_of_the_destination() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let file = from.path().join("a *[x] file");
    std::fs::write(&file, "content").unwrap();
    let quoted = from.path().join("a \\*\\[x\\] file");
    let place = to.path().join("other");
    let (outcome, record) = pull(&[&quoted], &place, Offer::default(), &documents()).await;
    // Over pipes no shell takes the backslashes away, so that nothing is found, and that is said.
    assert!(record.received.lock().unwrap().is_empty() && outcome.text.has_complaints(), "{outcome:?}");
    let (outcome, _) = pull(&[&file], &place, Offer::default(), &documents()).await;
    outcome.result.unwrap();
    assert_eq!(std::fs::read_to_string(&place).unwrap(), "content");
}
