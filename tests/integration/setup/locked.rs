//! `setup --lock-down`: the key may do what a sync needs, and nothing else.

use std::fs;
use std::process::Command;

use nas_sync::internal::transport::ssh::{Identity, SshClient};

use super::{Place, files};
use crate::support::sshd::collect;
use crate::support::{Account, with};

#[tokio::test]
async fn a_key_that_is_held_to_a_folder_syncs_and_can_do_nothing_else() {
    let Some(place) = Place::new(Account::sshd_with_passwords) else { return };
    let run = place.setup(&["--lock-down"]);
    assert!(run.ends(0).stdout.contains("held to the folder"), "{}", run.all());
    assert!(run.stdout.contains("best level durable"), "{}", run.all());
    assert!(place.authorized_keys().starts_with("command=\"exec sh .ssh/nas-sync-only-"));
    place.cli.line("test").ends(0);
    place.a_document_arrives();
    // A name that is taken, a file that changed, and many at once.
    let paths: Vec<_> = (0..30).map(|number| place.site.upload(&format!("{number}/même nom.pdf"), b"x")).collect();
    place.cli.add(7, &paths);
    place.cli.line("sync --jobs 3").ends(0);
    fs::write(&paths[3], "changed, and longer").unwrap();
    place.cli.line("resend --document 5").ends(0);
    place.cli.line("sync").ends(0);
    let verified = place.cli.line("verify --json").ends(0).json();
    assert_eq!(verified["equal"], 31, "{verified}");
    assert_eq!(files(&place.folder).len(), 31);
    // It brings documents back, one by one and the folder as a whole.
    let drill = place.here("drill");
    let restored = place.cli.run(&["restore", "--json", "--to", drill.to_str().unwrap()]);
    assert_eq!(restored.ends(0).json()["restored"], 31, "{}", restored.all());
    let there = format!("{}@127.0.0.1:{}/", place.account.name(), place.folder.display());
    let (port, pulled) = (place.site.sshd.port().to_string(), place.here("pulled"));
    fs::create_dir(&pulled).unwrap();
    let pull = ["pull", "-rlt", "--port", &port, &there, pulled.to_str().unwrap()];
    place.cli.run(&pull).ends(0);
    assert_eq!((files(&drill).len(), files(&pulled).len()), (31, 31));
    says_what_it_is_held_to(&place);
    let doctor = place.cli.line("doctor");
    assert!(!doctor.ends(0).stdout.contains("an earlier check failed"), "{}", doctor.all());

    let config = with!(place.site.sshd.config(), user: place.account.name().to_owned(), identity: Identity::Files(vec![place.here("nas_key")]));
    let client = SshClient::connect(&config).await.unwrap();
    for command in ["id", "cat .ssh/authorized_keys", "rsync --server --sender -r . /etc", "rsync --server -r . /tmp/"]
    {
        let outcome = collect(client.exec(command.as_bytes()).await.unwrap()).await;
        assert!(outcome.stdout.is_empty(), "{command}");
        assert!(String::from_utf8_lossy(&outcome.stderr).contains("lock-down"), "{command}");
    }
    client.disconnect().await;

    // Again, also with the flag: it cannot be held anew by itself, and stays as it is.
    let keys = place.authorized_keys();
    let run = place.setup(&["--lock-down", "--password-file=/nonexistent"]);
    assert!(run.ends(0).stdout.contains("is held to a command on the NAS already"), "{}", run.all());
    assert_eq!(place.authorized_keys(), keys);
}

/// Archives of the folder come; what is refused is told with the folder, and not as the fault of the rsync there.
fn says_what_it_is_held_to(place: &Place) {
    let port = place.site.sshd.port().to_string();
    let there = |path: &str| format!("{}@127.0.0.1:{path}", place.account.name());
    let folder = place.folder.display().to_string();
    let (archive, file) =
        (place.here("archive").display().to_string(), place.here("nas_key.pub").display().to_string());
    let run = |command: &str, options: &str, from: &str, to: &str| {
        place.cli.run(&[command, options, "--port", &port, from, to])
    };
    run("pull", "-av", &there(&format!("{folder}/")), &format!("{archive}/")).ends(0);
    assert_eq!(files(&place.here("archive")).len(), 31);
    let inside = there(&format!("{folder}/inside/"));
    // Of a push the status is what the NAS said, of a pull what that means.
    let refused = [
        (run("push", "-a", &file, &there(&format!("{folder}/"))), 1),
        (run("push", "-rt", &file, &there("/tmp/")), 1),
        (run("pull", "-rt", &inside, &archive), 4),
    ];
    for (refused, status) in refused {
        let said = refused.ends(status).stderr.clone();
        assert!(said.contains(&format!("this key is held to {folder} (setup --lock-down)")), "{said}");
        assert!(said.contains("Name that folder itself") && !said.contains("Update rsync"), "{said}");
    }
    run("push", "-rt", &file, &there(&format!("{folder}/"))).ends(0);
}

/// Names that come over the connection are the client's, and the key may be a thief's: rsync on the NAS keeps them in the folder.
#[test]
fn a_key_that_is_held_to_a_folder_reads_nothing_beside_it() {
    let Some(place) = Place::new(Account::sshd_with_passwords) else { return };
    place.setup(&["--lock-down"]).ends(0);
    fs::write(place.folder.join("inside"), "inside").unwrap();
    place.account.own(&place.folder.join("inside"), 0o644);
    let names = [
        "inside",
        "../.ssh/authorized_keys",
        "x/../../.ssh/./authorized_keys",
        "/etc/hostname",
        "../../../etc/./hostname",
    ];
    fs::write(place.here("names"), names.join("\0")).unwrap();
    let got = place.here("got");
    fs::create_dir(&got).unwrap();
    let ssh = format!(
        "ssh -F none -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -i {} -p {}",
        place.here("nas_key").display(),
        place.site.sshd.port()
    );
    let from = format!("{}@127.0.0.1:{}", place.account.name(), place.folder.display());
    let names = format!("--files-from={}", place.here("names").display());
    let run =
        Command::new("rsync").args(["-t", "--from0", &names, "-s", "-e", &ssh, &from]).arg(&got).output().unwrap();
    assert_eq!(files(&got), [""; 0], "what protects arguments hides them from the script, too: {run:?}");
    let quoted = from.replace(' ', "\\ ");
    let run = Command::new("rsync")
        .args(["-t", "--from0", &names, "--old-args", "-e", &ssh, &quoted])
        .arg(&got)
        .output()
        .unwrap();
    assert_eq!(files(&got), ["inside"], "{run:?}");
}

#[test]
fn a_key_is_not_held_to_the_folder_in_which_its_own_bonds_lie() {
    let Some(place) = Place::new(Account::sshd_with_passwords) else { return };
    for folder in [place.account.home().display().to_string(), String::from("/"), String::from(".")] {
        let path = format!("--nas-path={folder}");
        let run = place.setup(&["--lock-down", &path, "--json"]);
        let error = run.ends(3).json()["error"].clone();
        assert_eq!(error["kind"], "key_not_installed", "{}", run.all());
        assert!(error["message"].as_str().unwrap().contains("could free itself"), "{error}");
    }
    // One that may do more can be held later, without the password.
    place.setup(&[]).ends(0);
    place.setup(&["--lock-down", "--password-file=/nonexistent"]).ends(0);
    assert!(place.authorized_keys().starts_with("command=") && place.authorized_keys().lines().count() == 1);
    place.a_document_arrives();
}

#[test]
fn two_keys_of_one_user_are_held_to_a_folder_each() {
    let Some(mut place) = Place::new(Account::sshd_with_passwords) else { return };
    place.setup(&["--lock-down"]).ends(0);
    place.a_document_arrives();
    let first = place.site.path("clean");
    // A second set-up, with its own key and folder.
    let (second, other) = (place.site.path("second"), place.account.make_folder("Other"));
    fs::create_dir(&second).unwrap();
    place.cli.set("HOME", &second).working_in(&second);
    let path = format!("--nas-path={}", other.display());
    place.setup(&["--lock-down", &path]).ends(0);
    place.a_document_arrives();
    assert_eq!((files(&place.folder).len(), files(&other).len()), (1, 1));
    assert_eq!(place.authorized_keys().lines().count(), 2);
    // Neither reaches the other's, and the first still reaches its own.
    let run = place.cli.run(&["test", &format!("--nas-path={}", place.folder.display())]);
    assert_eq!(run.code, Some(3), "{}", run.all());
    place.cli.set("HOME", &first).working_in(&first);
    place.cli.line("test").ends(0);
    place.cli.run(&["test", &path]).ends(3);
}
