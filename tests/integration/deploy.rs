//! The files of `examples/deploy`: that their own programs understand them, and that they name what there is.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::cli::PROGRAM;
use crate::support::{Cli, Site, skip};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/deploy")
}

/// What a program says about a file; `None` where there is no such program.
#[track_caller]
fn understood_by(program: &str, arguments: &[&str], file: &Path) {
    match Command::new(program).args(arguments).arg(file).env("HOME", "/nowhere").output() {
        Err(_) => skip(&format!("there is no {program}")),
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(output.status.success() && !said.contains(".service:"), "{program}: {said}");
        }
    }
}

#[test]
fn systemd_understands_the_unit() {
    let copy = tempfile::tempdir().unwrap();
    let unit = copy.path().join("nas-sync.service");
    let text = fs::read_to_string(folder().join("nas-sync.service")).unwrap();
    fs::write(&unit, text.replace("/usr/local/bin/nas-sync", PROGRAM)).unwrap();
    understood_by("systemd-analyze", &["verify", "--man=no"], &unit);
}

#[test]
fn the_files_name_only_settings_that_there_are() {
    let mut names = BTreeSet::new();
    for file in ["compose.yaml", "kubernetes.yaml", "nas-sync.service"] {
        let text = fs::read_to_string(folder().join(file)).unwrap();
        let words = text.split(|c: char| !c.is_ascii_uppercase() && !c.is_ascii_digit() && c != '_');
        names.extend(words.filter(|word| word.starts_with("NAS_")).map(ToOwned::to_owned));
        assert!(text.contains("serve") || file == "compose.yaml", "{file}");
    }
    assert!(names.contains("NAS_API_TOKEN_FILE") && names.contains("NAS_DB_FILE"), "{names:?}");
    let site = Site::new();
    let mut cli = Cli::new(&site);
    for name in names.iter().filter(|name| !site.variables.contains_key(name.as_str())) {
        cli.set(name, "");
    }
    let run = cli.line("config");
    assert!(!run.stderr.contains("is not a setting"), "{}", run.all());
    let image = fs::read_to_string(folder().join("../../Dockerfile")).unwrap();
    assert!(image.contains("CMD [\"serve\"]") && image.contains("CMD [\"nas-sync\", \"health\"]"), "{image}");
}
