//! The files of `examples/deploy`: that their own programs understand them, and that they name what there is.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::support::cli::PROGRAM;
use crate::support::python::interpreter;
use crate::support::{Cli, Site, skip};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/deploy")
}

/// Runs a program that reads one of the files; `None`: there is no such program, and that was said.
fn read_by(program: &Path, arguments: &[&str], file: &Path) -> Option<Output> {
    let arguments =
        arguments.iter().map(|argument| if *argument == "FILE" { file.as_os_str() } else { argument.as_ref() });
    let output = Command::new(program).args(arguments).env("HOME", "/nowhere").output().ok();
    if output.is_none() {
        skip(&format!("there is no {}", program.display()));
    }
    output
}

/// Insists that a program understands a file, and does not once something in it is changed.
#[track_caller]
fn understood_by(program: impl AsRef<Path>, arguments: &[&str], name: &str, text: &str, change: (&str, &str)) {
    let copy = tempfile::tempdir().unwrap();
    let file = copy.path().join(name);
    for (text, is_good) in [(text.to_owned(), true), (text.replace(change.0, change.1), false)] {
        fs::write(&file, &text).unwrap();
        let Some(output) = read_by(program.as_ref(), arguments, &file) else { return };
        // systemd says on a line of its own what it passes over.
        let said = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.success() && !said.contains(".service:"), is_good, "{name}: {said}");
    }
}

#[test]
fn systemd_understands_the_unit() {
    let unit =
        fs::read_to_string(folder().join("nas-sync.service")).unwrap().replace("/usr/local/bin/nas-sync", PROGRAM);
    let arguments = ["verify", "--man=no", "FILE"];
    understood_by("systemd-analyze", &arguments, "nas-sync.service", &unit, ("LoadCredential=", "LoadCredentials="));
}

#[test]
fn compose_understands_its_file() {
    let text = fs::read_to_string(folder().join("compose.yaml")).unwrap();
    let (change, place) = (("condition: service_healthy", "condition: service_well"), folder());
    let arguments = ["--project-directory", place.to_str().unwrap(), "-f", "FILE", "config", "--quiet"];
    understood_by("docker-compose", &arguments, "compose.yaml", &text, change);
}

/// What the comment says is done, and nothing is left over that names what went away.
#[test]
fn the_compose_file_becomes_one_for_a_real_nas() {
    let text = fs::read_to_string(folder().join("compose.yaml")).unwrap();
    let (comment, file) = text.split_at(text.find("\nservices:").unwrap());
    let instead: Vec<&str> = comment.lines().filter_map(|line| line.strip_prefix('#')).collect();
    let line = |start: &str| *instead.iter().find(|line| line.starts_with(start)).unwrap();
    let (before, rest) = file.split_once("\n  nas:\n").unwrap();
    let (_, after) = rest.split_once("\nsecrets:\n").unwrap();
    let mut real = String::new();
    for old in format!("{before}\nsecrets:\n{}\n{}\n{after}", line("  nas_key:"), line("    file:")).lines() {
        match old.trim_start() {
            "nas: { condition: service_healthy }" | "- keys:/keys:ro" | "keys:" | "documents:" => continue,
            new if new.starts_with("NAS_KEY_FILE:") => real.push_str(line("      NAS_KEY_FILE:")),
            new if new.starts_with("NAS_KNOWN_HOSTS:") => real.push_str(line("      NAS_HOST_KEY:")),
            new if new.starts_with("secrets: [") => real.push_str(line("    secrets: [")),
            _ => real.push_str(old),
        }
        real.push('\n');
    }
    assert!(!real.contains("keys:/") && !real.contains("known_hosts"), "{real}");
    let (change, place) = (("    file: ./nas_key", "    files: ./nas_key"), folder());
    let arguments = ["--project-directory", place.to_str().unwrap(), "-f", "FILE", "config", "--quiet"];
    understood_by("docker-compose", &arguments, "compose.yaml", &real, change);
}

#[test]
fn kubernetes_understands_its_manifest() {
    let python = match interpreter("deploy") {
        Ok(python) => python,
        Err(reason) => {
            skip(&format!("what knows the objects of Kubernetes cannot be had: {reason}"));
            return;
        }
    };
    let text = fs::read_to_string(folder().join("kubernetes.yaml")).unwrap();
    let program = python.with_file_name("kubernetes-validate");
    let change = ("containerPort: 8730", "containerPorts: 8730");
    understood_by(program, &["--strict", "FILE"], "kubernetes.yaml", &text, change);
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
