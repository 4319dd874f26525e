//! Every way a sync can fail, provoked for real and looked at from outside: exit status, JSON, text, rows, NAS folder.

mod documents;
mod login;
mod there;

use serde_json::Value;

use crate::support::cli::Run;
use crate::support::{Cli, Site};

/// A site with one pending document of a few bytes, `a.pdf` of user 1.
pub fn site_with_a_document() -> Site {
    let site = Site::new();
    add_a_document(&site);
    site
}

fn add_a_document(site: &Site) {
    Cli::new(site).add(1, &[site.upload("a.pdf", b"content")]);
}

/// `error` must be whole, and of this kind.
#[track_caller]
pub fn is_error(error: &Value, kind: &str, run: &Run) {
    let text = |key: &str| error[key].as_str().unwrap_or_else(|| panic!("no {key}: {}", run.all()));
    assert_eq!(text("kind"), kind, "{}", run.all());
    for key in ["message", "cause", "solution"] {
        assert!(!text(key).is_empty(), "no {key}: {}", run.all());
    }
    assert!(error["details"].is_string() || error["details"].is_null(), "{}", run.all());
}

/// Runs `sync`, which must stop with this error, mark nothing and store nothing. Returns the error.
#[track_caller]
fn sync_stops(site: &Site, cli: &Cli, kind: &str, code: i32) -> Value {
    let run = cli.line("sync --json");
    run.ends(code);
    let object = run.json();
    is_error(&object["error"], kind, &run);
    assert_eq!((&object["synced"], &object["failed"]), (&Value::from(0), &Value::from(0)), "{}", run.all());
    assert_eq!(site.marked(), []);
    nothing_is_stored(site);
    object["error"].clone()
}

/// Runs `test`, which must fail with this error.
#[track_caller]
fn test_fails(cli: &Cli, kind: &str, code: i32) -> Value {
    let run = cli.line("test --json");
    run.ends(code);
    let object = run.json();
    is_error(&object["error"], kind, &run);
    assert_eq!(object["success"], false);
    assert_eq!(object["message"], object["error"]["message"]);
    object["error"].clone()
}

/// `sync` and `test` say the same.
#[track_caller]
fn both_fail(site: &Site, kind: &str, code: i32) -> Value {
    let cli = Cli::new(site);
    test_fails(&cli, kind, code);
    sync_stops(site, &cli, kind, code)
}

/// Nothing but temporary files of rsync may lie there.
#[track_caller]
fn nothing_is_stored(site: &Site) {
    let names = site.stored_names();
    assert!(names.iter().all(|name| name.starts_with('.')), "{names:?}");
}

/// Runs `sync`, which must now do all that was pending.
#[track_caller]
pub fn sync_works(site: &Site) {
    Cli::new(site).line("sync --json").ends(0);
    assert_eq!(site.stored("a.pdf").as_deref(), Some(&b"content"[..]));
    assert_eq!(site.marked(), [(1, true)]);
}

pub fn text<'e>(error: &'e Value, key: &str) -> &'e str {
    error[key].as_str().unwrap_or_default()
}
