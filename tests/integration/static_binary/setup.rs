//! From nothing to a verified document, with `setup` alone, in a root folder that holds the binary and a password.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::{NAS, enter, put_binary};
use crate::support::{Account, Site};

/// What a new user is promised.
const PROMISED: Duration = Duration::from_secs(180);

#[test]
fn a_new_user_gets_from_a_password_to_a_verified_document_in_an_empty_root() {
    let (Some(account), Some(enter)) = (Account::new(), enter()) else { return };
    let site = Site::with(Account::sshd_with_passwords().start());
    let folder = account.make_folder("Mes factures");
    let root = site.path("root");
    fs::create_dir_all(root.join("etc")).unwrap();
    put_binary(&root);
    fs::write(root.join("etc/hosts"), format!("127.0.0.1 {NAS}\n")).unwrap();
    fs::write(root.join("password"), account.password()).unwrap();
    fs::set_permissions(root.join("password"), fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(root.join("Facture n° 1.pdf"), "facture").unwrap();
    let run = |words: &[&str]| -> Value {
        let mut command = Command::new(enter[0]);
        command.args(&enter[1..]).arg(&root).arg("/nas-sync").args(words).arg("--json").env_clear();
        let output = command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && !said.contains(account.password()), "{words:?}: {said}{:?}", output.stdout);
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{words:?}: {error}: {output:?}"))
    };
    let began = Instant::now();
    let port = site.sshd.port().to_string();
    let nas =
        ["--nas-host", NAS, "--port", &port, "--nas-user", account.name(), "--nas-path", folder.to_str().unwrap()];
    let set_up =
        run(&[&["setup", "--yes", "--accept-new-host-key", "--password-file", "/password"], &nas[..]].concat());
    assert_eq!((&set_up["success"], &set_up["key_file"]), (&true.into(), &"nas_key".into()), "{set_up}");
    fs::remove_file(root.join("password")).unwrap();
    assert_eq!(run(&["doctor"])["healthy"], true);
    run(&["add", "--user", "7", "Facture n° 1.pdf"]);
    assert_eq!(run(&["sync"])["synced"], 1);
    assert_eq!(run(&["verify"])["equal"], 1);
    assert!(began.elapsed() < PROMISED, "{:?}", began.elapsed());
    let stored = Command::new("find").arg(&folder).args(["-type", "f"]).output().unwrap();
    assert!(String::from_utf8_lossy(&stored.stdout).trim_end().ends_with("/1_Facture n° 1.pdf"), "{stored:?}");
    let mut left: Vec<_> = fs::read_dir(&root).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, [".env", "Facture n° 1.pdf", "etc", "nas-sync", "nas-sync.db", "nas_key", "nas_key.pub"]);
}
