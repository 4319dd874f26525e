//! The programs in `examples/`, run against a real sshd.

use std::path::PathBuf;
use std::process::{Command, Output};

use super::support::Site;

/// Builds the examples, if they are not yet, and gives the path of one.
fn example(name: &str) -> PathBuf {
    let built = Command::new(env!("CARGO")).args(["build", "--quiet", "--examples"]).status().unwrap();
    assert!(built.success());
    // Beside the folder of the test programs.
    let deps = std::env::current_exe().unwrap();
    deps.ancestors().nth(2).unwrap().join("examples").join(name)
}

fn run(site: &Site, name: &str, arguments: &[&str]) -> (Output, String) {
    let output = Command::new(example(name)).args(arguments).env_clear().envs(&site.variables).output().unwrap();
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    (output, text)
}

#[test]
fn the_service_shows_its_progress() {
    let site = Site::new();
    let (a, b) = (site.upload("a.pdf", b"one"), site.upload("b.pdf", b"two"));
    let (output, text) = run(&site, "service", &[a.to_str().unwrap(), b.to_str().unwrap()]);
    assert!(output.status.success(), "{output:?}");
    for line in ["2 documents, 6 bytes", "document 1 is durable", "document 2 is durable", "2 of 2 documents synced"] {
        assert!(text.contains(line), "{text}");
    }
    assert_eq!(site.stored_names(), ["a.pdf", "b.pdf"]);
}

#[test]
fn folders_go_over_a_stream() {
    let site = Site::new();
    site.upload("photos/a.jpg", b"one");
    site.upload("photos/2024/b.jpg", b"three");
    let (from, to) = (site.path("uploads/photos"), site.path("nas"));
    let words = [to.to_str().unwrap(), from.to_str().unwrap()];
    for text in ["2 of 2 files sent, 8 bytes", "0 of 2 files sent, 0 bytes"] {
        let output = Command::new(example("push_over_stream")).args(words).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        assert_eq!(String::from_utf8(output.stdout).unwrap().trim(), text);
    }
    assert_eq!(site.stored("photos/2024/b.jpg"), Some(b"three".to_vec()));
    let output = Command::new(example("push_over_stream")).args(["/nonexistent/x/y", words[1]]).output().unwrap();
    assert!(!output.status.success(), "{output:?}");
}

#[test]
fn documents_go_without_a_database() {
    let site = Site::new();
    let (user, folder) = (site.variables["NAS_USER"].to_str().unwrap().to_owned(), site.path("nas"));
    let a = site.upload("a.pdf", b"one");
    let words = ["127.0.0.1", &user, folder.to_str().unwrap(), a.to_str().unwrap(), "/nonexistent"];
    let (output, text) = run(&site, "documents", &words);
    assert!(output.status.success(), "{output:?}");
    assert!(text.contains("1: a.pdf is durable, 3 bytes"), "{text}");
    assert!(text.lines().any(|line| line.starts_with("2: Cannot open /nonexistent")), "{text}");
    assert!(!site.path("documents.db").exists());
}
