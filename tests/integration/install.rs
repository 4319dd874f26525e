//! What is installed, and under which terms.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use crate::docs::dead_links;
use crate::support::cli::PROGRAM;

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn the_licenses_of_what_is_linked_in_are_those_of_now() {
    let output = Command::new(repository().join("packaging/licenses")).output().expect("python3 runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let written = fs::read(repository().join("LICENSES")).unwrap();
    assert!(written == output.stdout, "LICENSES is not current: run `make licenses`");
    let text = String::from_utf8(written).unwrap();
    for linked in ["russh 0.", "ring 0.", "zstd-sys 2.", "rustls 0.", "tokio 1."] {
        assert!(text.contains(&format!("\n{linked}")), "{linked}");
    }
    for other in ["proptest", "criterion", "tempfile"] {
        assert!(!text.contains(&format!("\n{other} ")), "{other} is for the tests alone");
    }
}

#[test]
fn the_program_is_installed_where_it_is_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let install = |prefix: &str| {
        let mut make = Command::new("make");
        make.arg("-C").arg(repository()).arg("install").arg(format!("BINARY={PROGRAM}"));
        make.arg(format!("DESTDIR={}", folder.path().display())).arg(format!("PREFIX={prefix}"));
        let output = make.output().expect("make runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        folder.path().join(prefix.trim_start_matches('/'))
    };
    for prefix in ["/usr/local", "/opt/nas"] {
        let root = install(prefix);
        let program = root.join("bin/nas-sync");
        assert_eq!(fs::metadata(&program).unwrap().permissions().mode() & 0o777, 0o755);
        let output = Command::new(&program).arg("--version").output().unwrap();
        assert!(String::from_utf8(output.stdout).unwrap().starts_with("nas-sync "));
        let unit = fs::read_to_string(root.join("share/doc/nas-sync/examples/deploy/nas-sync.service")).unwrap();
        assert!(unit.contains(&format!("ExecStart={prefix}/bin/nas-sync ")), "{unit}");
        for file in
            ["LICENSES", "examples/deploy/compose.yaml", "examples/deploy/nas/Dockerfile", "examples/deploy/nas/start"]
        {
            assert!(root.join("share/doc/nas-sync").join(file).exists(), "{file}");
        }
        let manual = Command::new(&program).arg("man").output().unwrap();
        for page in ["nas-sync", "nas-sync-setup", "nas-sync-push"] {
            assert_eq!(manual.status.success(), root.join(format!("share/man/man1/{page}.1")).exists(), "{page}");
        }
        let (dead, followed) = dead_links(&root.join("share/doc/nas-sync"), &["", "docs"]);
        assert!(dead.is_empty() && followed > 40, "{followed} links: {dead:#?}");
    }
}
