//! Records the sessions of `fixtures/wire/` anew: our sender against the system's `rsync --server`, with both
//! directions written down on the way.
//!
//! Not run by default, because a recording is evidence about a real server and changes only on purpose:
//!
//! ```text
//! cargo test --test integration -- --ignored record_fixtures
//! ```
//!
//! The recorder writes `c2s.bin` and `s2c.bin` beside each `case.toml` and refuses a session that does not come to
//! what the description expects. See `fixtures/README.md`.

use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use nas_sync::Monitor;
use nas_sync::internal::role::sender::{ChangedFile, Duties};
use nas_sync::internal::session::{self, Contents, Push, Receipts};
use nas_sync::internal::transport::local;
use nas_sync::internal::wire::flist::EntryKind;

use super::fixtures::{CASES, Case, Files, Tally};

/// Stands between the session and the server and writes both directions down.
const TEE: &str = "c2s=$1; s2c=$2; shift 2; tee \"$c2s\" | rsync \"$@\" | tee \"$s2c\"";

#[tokio::test(flavor = "multi_thread")]
#[ignore = "writes the fixtures"]
async fn record_fixtures() {
    for name in CASES {
        record(&Case::load(name)).await;
    }
}

async fn record(case: &Case) {
    let to = tempfile::tempdir().unwrap();
    for planned in &case.entries {
        if let Some(basis) = &planned.basis {
            std::fs::write(at(to.path(), planned.entry.name), basis).unwrap();
        }
    }
    let mut arguments: Vec<Vec<u8>> = ["-c", TEE, "sh"].map(Vec::from).into();
    arguments.extend(["c2s.bin", "s2c.bin"].map(|name| case.file(name).as_os_str().as_bytes().to_vec()));
    arguments.extend(server_arguments(case, to.path()));
    let tally = Arc::new(Tally::default());
    let push = Push {
        offer: case.offer,
        list: case.list(),
        parts: None,
        sources: Arc::new(Files::of(case)),
        contents: Contents::Unsummed,
        receipts: Receipts::NotAsked,
        changed: ChangedFile::Invalidate,
        mode: case.mode(),
        duties: Duties::default(),
        idle_limit: Duration::from_secs(20),
        monitor: Arc::clone(&tally) as Arc<dyn Monitor>,
    };
    let outcome = session::push(local::spawn("sh", &arguments).unwrap(), push).await;
    let text = String::from_utf8_lossy(outcome.text.as_bytes()).into_owned();
    outcome.result.unwrap_or_else(|error| panic!("{}: {error} {:?} {text}", case.name, error.details()));
    assert_eq!(tally.seen(tally.acknowledged()), case.expected, "{}: {text}", case.name);
    for planned in &case.entries {
        let there = at(to.path(), planned.entry.name);
        let stored = match &planned.entry.kind {
            EntryKind::File if planned.vanished || case.options.dry_run => planned.basis.as_deref(),
            EntryKind::File => Some(&*planned.content),
            _ => {
                assert!(there.symlink_metadata().is_ok(), "{}: {}", case.name, there.display());
                continue;
            }
        };
        assert!(std::fs::read(&there).ok().as_deref() == stored, "{}: {}", case.name, there.display());
    }
}

fn at(folder: &Path, name: &[u8]) -> std::path::PathBuf {
    folder.join(std::ffi::OsStr::from_bytes(name))
}

fn server_arguments(case: &Case, to: &Path) -> Vec<Vec<u8>> {
    let mut arguments = case.options.arguments(&case.offer, to.as_os_str().as_bytes());
    if let Some(capabilities) = &case.capabilities {
        let letters = String::from_utf8(arguments[1].clone()).unwrap();
        let (options, _ours) = letters.split_once("e.").unwrap();
        arguments[1] = format!("{options}e.{capabilities}").into_bytes();
    }
    arguments.insert(2, format!("--checksum-seed={}", case.seed).into_bytes());
    arguments
}
