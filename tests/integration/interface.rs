//! The public interface is the list in `src/lib.rs`, and its documentation shows all of it.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// The names that `src/lib.rs` exports, without what is hidden.
fn exported(source: &str) -> BTreeSet<String> {
    let visible = source.split("#[doc(hidden)]").next().unwrap();
    let mut names = BTreeSet::new();
    for item in visible.split("\npub use ").skip(1) {
        let list = item.split(';').next().unwrap();
        let group = list.rsplit("::").next().unwrap();
        let words = group.split(|c: char| !c.is_alphanumeric() && c != '_');
        names.extend(words.filter(|word| !word.is_empty()).map(ToOwned::to_owned));
    }
    names
}

fn source() -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/lib.rs")).unwrap()
}

#[test]
fn the_front_page_shows_every_name_that_is_exported() {
    let source = source();
    let page: String = source.lines().filter_map(|line| line.strip_prefix("//!")).collect::<Vec<_>>().join("\n");
    let names = exported(&source);
    assert!(names.contains("NasSyncService") && names.contains("Client"), "the list is read: {names:?}");
    let silent: Vec<_> = names
        .iter()
        .filter(|name| !page.contains(&format!("[`{name}`]")) && !page.contains(&format!("[`{name}s`]")))
        .filter(|name| !page.contains(&format!("[`{name}`](")))
        .collect();
    assert!(silent.is_empty(), "src/lib.rs exports what its documentation does not show: {silent:?}");
    assert!(names.len() <= 150, "{} names", names.len());
}

#[test]
fn modules_are_private_but_for_the_program() {
    let source = source();
    let visible = source.split("#[doc(hidden)]").next().unwrap();
    let open: Vec<_> = visible.lines().filter(|line| line.starts_with("pub mod ")).collect();
    assert_eq!(open, ["pub mod cli;"], "the floors are no part of the interface");
}
