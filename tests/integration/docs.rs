//! Keeps `README.md` and `docs/` honest: what the program takes and says has a place in them, their links lead somewhere, and
//! what they tell a person to type is understood.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use super::support::cli::PROGRAM;

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The Markdown files of these folders below a root, with their text.
fn pages_below(root: &Path, folders: &[&str]) -> Vec<(PathBuf, String)> {
    let files = folders.iter().flat_map(|folder| fs::read_dir(root.join(folder)).unwrap());
    let pages = files.map(|file| file.unwrap().path()).filter(|path| path.extension().is_some_and(|end| end == "md"));
    pages.map(|path| (path.clone(), fs::read_to_string(path).unwrap())).collect()
}

fn pages(folders: &[&str]) -> Vec<(PathBuf, String)> {
    pages_below(repository(), folders)
}

/// The pages for users.
fn manual() -> Vec<(PathBuf, String)> {
    let mut pages = pages(&["docs", "python"]);
    pages.push((repository().join("README.md"), fs::read_to_string(repository().join("README.md")).unwrap()));
    pages.push((repository().join("README.fr.md"), fs::read_to_string(repository().join("README.fr.md")).unwrap()));
    pages
}

fn help(command: &[&str]) -> String {
    let run = Command::new(PROGRAM).args(command).arg("--help").env_clear().output().unwrap();
    assert!(run.status.success(), "{command:?} --help");
    String::from_utf8(run.stdout).unwrap()
}

fn commands() -> Vec<String> {
    let help = help(&[]);
    let (_, list) = help.split_once("\nCommands:\n").unwrap();
    let lines = list.lines().take_while(|line| !line.is_empty());
    let names = lines.filter_map(|line| line.strip_prefix("  ")?.split(' ').next().filter(|name| !name.is_empty()));
    names.filter(|name| *name != "help").map(str::to_owned).collect()
}

/// The words of a text that stand in code: `--flag`, `NAS_NAME`, `"key"`.
fn words(text: &str) -> BTreeSet<&str> {
    text.split(|letter: char| !(letter.is_ascii_alphanumeric() || "-_".contains(letter))).collect()
}

/// Nothing can be typed that is written down nowhere.
#[test]
fn every_command_flag_and_variable_has_a_place() {
    let manual = manual();
    let text: String = manual.iter().map(|(_, text)| text.as_str()).collect();
    let known = words(&text);
    let commands = commands();
    assert!(commands.len() > 15, "{commands:?}");
    let mut missing = BTreeSet::new();
    for command in &commands {
        if !text.contains(&format!("`nas-sync {command}")) {
            missing.insert(format!("nas-sync {command}"));
        }
        let help = help(&[command]);
        let named = words(&help).into_iter().filter(|word| {
            (word.starts_with("--") && word.len() > 2 && !word.starts_with("--no-"))
                || word.starts_with("NAS_")
                || *word == "UPLOAD_DIR"
        });
        missing.extend(named.filter(|word| !known.contains(word)).map(str::to_owned));
    }
    for general in ["--help", "--version"] {
        missing.remove(general);
    }
    assert!(missing.is_empty(), "nowhere in README.md and docs/: {missing:?}");
}

/// The names of all properties in a JSON schema.
fn keys<'a>(schema: &'a Value, found: &mut BTreeSet<&'a str>) {
    if let Some(properties) = schema.get("properties").and_then(Value::as_object) {
        found.extend(properties.keys().map(String::as_str));
    }
    match schema {
        Value::Object(fields) => fields.values().for_each(|field| keys(field, found)),
        Value::Array(items) => items.iter().for_each(|item| keys(item, found)),
        _ => {}
    }
}

#[test]
fn every_key_of_json_has_a_place() {
    let schemas: Value =
        serde_json::from_str(&fs::read_to_string(repository().join("src/api/schemas.json")).unwrap()).unwrap();
    let mut named = BTreeSet::new();
    keys(&schemas, &mut named);
    assert!(named.len() > 40, "{named:?}");
    let text =
        ["json.md", "http.md"].map(|page| fs::read_to_string(repository().join("docs").join(page)).unwrap()).concat();
    let known = words(&text);
    let missing: Vec<_> = named.into_iter().filter(|key| !known.contains(key)).collect();
    assert!(missing.is_empty(), "neither in docs/json.md nor in docs/http.md: {missing:?}");
}

/// All Rust files below a folder of the repository, without their tests.
fn sources(folder: &Path) -> Vec<String> {
    let mut texts = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            texts.extend(sources(&path));
        } else if path.file_name().is_some_and(|name| name != "tests.rs") {
            let text = fs::read_to_string(&path).unwrap();
            texts.push(text.split("#[cfg(test)]").next().unwrap_or_default().to_owned());
        }
    }
    texts
}

/// What stands in quotes between two other texts.
fn quoted_between<'a>(text: &'a str, before: &str, behind: &str) -> Vec<&'a str> {
    let is_name = |name: &&str| !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    let opening = format!("{before}\"");
    let found = text.match_indices(&opening).filter_map(|(at, opening)| text[at + opening.len()..].split_once('"'));
    found.filter(|(_, rest)| rest.starts_with(behind)).map(|(name, _)| name).filter(is_name).collect()
}

/// The commands write objects that no schema describes.
#[test]
fn every_key_that_a_command_writes_has_a_place() {
    let sources = sources(&repository().join("src/json"));
    let mut named = BTreeSet::new();
    for text in &sources {
        named.extend(quoted_between(text, "", ":"));
        named.extend(quoted_between(text, "[", "]"));
    }
    assert!(named.len() > 100 && named.contains("key_file") && named.contains("notify_created"), "{named:?}");
    let text = fs::read_to_string(repository().join("docs/json.md")).unwrap();
    let known = words(&text);
    let missing: Vec<_> = named.into_iter().filter(|key| !known.contains(key)).collect();
    assert!(missing.is_empty(), "not in docs/json.md: {missing:?}");
}

/// Some are in no help, because no flag has their value: secrets, pins.
#[test]
fn every_variable_is_in_the_table_of_settings() {
    let table = fs::read_to_string(repository().join("src/config/table.rs")).unwrap();
    let variables = quoted_between(&table, "", "");
    let variables: BTreeSet<_> = variables
        .into_iter()
        .filter(|name| name.len() > 4 && name.starts_with("NAS_") || *name == "UPLOAD_DIR")
        .collect();
    assert!(variables.len() > 30, "{variables:?}");
    let page = fs::read_to_string(repository().join("docs/configuration.md")).unwrap();
    let missing: Vec<_> = variables.into_iter().filter(|name| !page.contains(&format!("| `{name}` |"))).collect();
    assert!(missing.is_empty(), "not in the table of docs/configuration.md: {missing:?}");
}

/// The anchors of a page: its headings, as they are linked.
fn anchors(text: &str) -> BTreeSet<String> {
    let mut fenced = false;
    let headings = text.lines().filter(|line| {
        fenced ^= line.starts_with("```");
        !fenced && line.starts_with('#')
    });
    let anchor = |heading: &str| -> String {
        let heading = heading.trim_start_matches('#').trim().to_lowercase().replace(' ', "-");
        heading.chars().filter(|letter| letter.is_alphanumeric() || "-_".contains(*letter)).collect()
    };
    headings.map(anchor).collect()
}

/// Where a page leads: `](target)`, `src="target"` and `href="target"`.
fn targets(text: &str) -> Vec<&str> {
    let ends = [("](", ')'), ("src=\"", '"'), ("href=\"", '"')];
    let found = ends.iter().flat_map(|(begin, end)| {
        text.split(begin).skip(1).filter_map(|rest| rest.split_once(*end)).map(|(target, _)| target)
    });
    found.filter(|target| !target.contains([' ', '\n'])).collect()
}

/// The links of these pages that lead nowhere in the tree they lie in, and how many were followed.
pub fn dead_links(root: &Path, folders: &[&str]) -> (Vec<String>, usize) {
    let mut dead = Vec::new();
    let mut followed = 0;
    for (path, text) in pages_below(root, folders) {
        for target in targets(&text) {
            if target.contains("://") || target.starts_with("mailto:") {
                continue;
            }
            followed += 1;
            let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
            let there = if file.is_empty() { path.clone() } else { path.parent().unwrap().join(file) };
            let is_there =
                there.exists() && (anchor.is_empty() || anchors(&fs::read_to_string(&there).unwrap()).contains(anchor));
            if !is_there {
                dead.push(format!("{} leads to {target}", path.display()));
            }
        }
    }
    (dead, followed)
}

#[test]
fn no_link_is_dead() {
    let folders = ["", "docs", "python", "tests", "benches", "protocol-notes", "fixtures"];
    let (dead, followed) = dead_links(repository(), &folders);
    assert!(followed > 40, "only {followed} links were found");
    assert!(dead.is_empty(), "{dead:#?}");
}

/// Each line that a page tells to type is read by a shell, and what is ours in it by the program, which then shows its help
/// instead of doing it. Other programs must be among those that are named here.
#[test]
fn what_is_to_be_typed_is_understood() {
    let folder = tempfile::tempdir().unwrap();
    let shell = r#"
        set -eu
        nas-sync() { "$PROGRAM" "$@" --help >help.txt || { echo "not understood: nas-sync $*" >&2; exit 9; }; }
        rsync() { "$PROGRAM" push "$@" --help >help.txt || { echo "not understood: rsync $*" >&2; exit 9; }; }
        nas() { nas-sync "$@"; }
        sudo() { "$@"; }
        make() { /usr/bin/make -n -C "$REPOSITORY" "$@" >/dev/null; }
        for other in docker cp mkdir openssl ssh-keygen pip rustup cargo curl chmod systemctl install dpkg rpm echo ln; do
            eval "$other() { :; }"
        done
    "#;
    let mut lines = 0;
    for (path, text) in manual() {
        for block in text.split("```").skip(1).step_by(2).filter_map(|block| block.strip_prefix("sh\n")) {
            // What `.env` holds is no command.
            let settings = block.lines().all(|line| line.starts_with("NAS_") || line.starts_with("UPLOAD_DIR"));
            if settings {
                continue;
            }
            fs::write(folder.path().join("password.txt"), "secret\n").unwrap();
            let script = format!("{shell}\nshopt -s expand_aliases\n{block}");
            let run = Command::new("/bin/bash")
                .args(["-c", &script])
                .env_clear()
                .env("PATH", "/nowhere")
                .env("PROGRAM", PROGRAM)
                .env("REPOSITORY", repository())
                .current_dir(folder.path())
                .output()
                .unwrap();
            let said = String::from_utf8_lossy(&run.stderr);
            assert!(run.status.success(), "{}:\n{block}\n{said}", path.display());
            lines += block.lines().count();
        }
    }
    assert!(lines > 20, "only {lines} lines were found");
}

#[test]
fn the_front_page_fits_a_short_visit() {
    for page in ["README.md", "README.fr.md"] {
        let lines = fs::read_to_string(repository().join(page)).unwrap().lines().count();
        assert!(lines <= 150, "{page} has {lines} lines");
    }
}
