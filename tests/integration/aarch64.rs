//! The binary for aarch64 machines, emulated by qemu on this one.

use std::ffi::OsString;
use std::fs;
use std::process::{Command, Output};

use serde_json::Value;

use crate::support::sshd::user;
use crate::support::{Site, noise};

/// `make aarch64` builds the binary, and says here where it is.
const VARIABLE: &str = "NAS_SYNC_AARCH64";
/// The number of the machine in the header of an ELF file.
const EM_AARCH64: [u8; 2] = 183_u16.to_le_bytes();

#[test]
#[ignore = "`make aarch64` builds what it runs, and runs it"]
fn the_binary_for_aarch64_syncs_and_pushes() {
    let binary = std::env::var_os(VARIABLE).expect("NAS_SYNC_AARCH64 names the binary");
    assert_eq!(fs::read(&binary).unwrap()[18..20], EM_AARCH64);
    let site = Site::new();
    let run = |words: &[OsString]| -> Output {
        let mut command = Command::new("/usr/bin/qemu-aarch64");
        command.arg(&binary).args(words).env_clear().envs(&site.variables).current_dir(site.path(""));
        let output = command.output().unwrap();
        assert!(output.status.success(), "{words:?}: {output:?}");
        output
    };
    let words = |line: &str| line.split(' ').map(OsString::from).collect::<Vec<_>>();
    assert!(run(&words("--version")).stdout.starts_with(b"nas-sync "));

    let document = site.upload("Reçu n° 1.pdf", &noise(300_000, 1));
    run(&[words("add --user 1"), vec![document.clone().into()]].concat());
    let synced: Value = serde_json::from_slice(&run(&words("sync --json")).stdout).unwrap();
    assert_eq!((&synced["synced"], &synced["documents"][0]["level"]), (&1.into(), &"durable".into()), "{synced}");
    assert_eq!(site.stored("Reçu n° 1.pdf"), Some(noise(300_000, 1)));

    let to = format!("{}@127.0.0.1:{}/pushed", user(), site.path("nas").display());
    let port = format!("push -a --port {}", site.sshd.port());
    run(&[words(&port), vec![document.into(), to.into()]].concat());
    assert_eq!(site.stored("pushed"), Some(noise(300_000, 1)));
}
