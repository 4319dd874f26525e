//! Questions to the NAS beside rsync, put to real shells: obedient, refusing, silent and hanging ones.

use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use nas_sync::internal::client::nas::{Flush, Flushed, Sum, Sums, flush, free_space, sha256_of};
use nas_sync::{Client, ClientConfig, ErrorKind, NasSyncError, RemoteName};
use sha2::{Digest as _, Sha256};

use crate::support::cli::write_program;
use crate::support::{Sshd, noise, until};

/// Longer than anything here takes.
const LONG: Duration = Duration::from_secs(60);
const SCOPES: [Flush; 3] = [Flush::Folder, Flush::FileSystem, Flush::Everything];
/// Folders that a careless command line would take for something else.
const HARD_NAMES: [&str; 7] =
    ["with blank", "with'quote", "dollar $HOME", "-n", "a;touch pwned", "semi\"colon", "~root"];

async fn connect(sshd: &Sshd) -> Client {
    Client::connect(&ClientConfig::new(sshd.config())).await.unwrap()
}

fn name(name: &[u8]) -> RemoteName {
    RemoteName::new(name).unwrap()
}

fn sum(content: &[u8]) -> Sum {
    Sum::Is(Sha256::digest(content).into())
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn refusal(sums: Sums) -> String {
    match sums {
        Sums::Refused(why) => why,
        Sums::Said(sums) => panic!("{sums:?}"),
    }
}

/// What this machine's own `df` says: total and available.
fn own_df(path: &Path) -> (u64, u64) {
    let output = std::process::Command::new("df").args(["-B1", "--output=size,avail"]).arg(path).output().unwrap();
    let output = String::from_utf8(output.stdout).unwrap();
    let mut words = output.lines().nth(1).unwrap().split_whitespace().map(|word| word.parse().unwrap());
    (words.next().unwrap(), words.next().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_nas_that_can_flushes_and_tells_its_room() {
    let sshd = Sshd::start();
    let client = connect(&sshd).await;
    let folder = tempfile::tempdir().unwrap();
    for below in HARD_NAMES {
        let path = folder.path().join(below);
        fs::create_dir(&path).unwrap();
        for scope in SCOPES {
            assert_eq!(flush(&client, text(&path), scope, LONG).await.unwrap(), Flushed::Yes, "{below} {scope:?}");
        }
        let space = free_space(&client, text(&path)).await.unwrap();
        let (total, _) = own_df(&path);
        assert!(space.total.abs_diff(total) <= 1024 && space.available <= total, "{below} {space:?} {total}");
    }
    // In the home folder, as rsync takes it.
    fs::create_dir(sshd.path("home").join("-docs")).unwrap();
    for path in ["", ".", "~", "~/-docs"] {
        assert_eq!(flush(&client, path, Flush::Folder, LONG).await.unwrap(), Flushed::Yes, "{path}");
        assert!(free_space(&client, path).await.is_some(), "{path}");
    }
    assert!(!sshd.path("home/pwned").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_is_not_there_is_no_flush() {
    let sshd = Sshd::start();
    let client = connect(&sshd).await;
    for scope in [Flush::Folder, Flush::FileSystem] {
        let Flushed::Refused(why) = flush(&client, "/no/such/folder", scope, LONG).await.unwrap() else {
            panic!("{scope:?}")
        };
        assert!(why.contains("No such file"), "{why}");
    }
    assert_eq!(free_space(&client, "/no/such/folder").await, None);
    let why = refusal(sha256_of(&client, "/no/such/folder", &[name(b"a")], LONG).await.unwrap());
    assert!(why.contains("/no/such/folder"), "{why}");
    let error = flush(&client, "/a\nb", Flush::Folder, LONG).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Usage);
}

/// Shells that do not do what they are told, and what one of the words of their refusal is.
#[tokio::test(flavor = "multi_thread")]
async fn only_the_agreed_word_is_believed() {
    let folder = tempfile::tempdir().unwrap();
    let path = text(folder.path());
    for (shell, why) in [
        ("true", "status 0 and said nothing"),
        ("echo no \\x1b shells here; exit 1", "no"),
        ("echo sync: not for you >&2; exit 126", "not for you"),
        // Says the line that it was given, and the answers, but not as they ought to stand.
        ("echo \"$SSH_ORIGINAL_COMMAND\"", "&& echo"),
        ("echo nas-sync-flushed; echo goodbye", "nas-sync-flushed"),
        ("echo nas-sync-flushed; exit 1", "nas-sync-flushed"),
        ("echo /dev/x 10 5 5 50% /; exit 1", "/dev/x"),
        ("kill -KILL $$", "signal KILL"),
        ("internal-sftp", "sftp"),
        ("yes", "longer than any answer"),
    ] {
        let sshd = Sshd::setup().line(format!("ForceCommand {shell}")).start();
        let client = connect(&sshd).await;
        for scope in SCOPES {
            match flush(&client, path, scope, LONG).await.unwrap() {
                Flushed::Yes => panic!("{shell} {scope:?}"),
                Flushed::Refused(said) => assert!(said.contains(why), "{shell}: {said}"),
            }
        }
        assert_eq!(free_space(&client, path).await, None, "{shell}");
        refusal(sha256_of(&client, path, &[name(b"a"), name(b"b")], LONG).await.unwrap());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shell_that_says_something_first_is_understood() {
    let sshd = Sshd::setup().line("ForceCommand echo Welcome; echo; eval \"$SSH_ORIGINAL_COMMAND\"").start();
    let client = connect(&sshd).await;
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("a"), "a").unwrap();
    let path = text(folder.path());
    assert_eq!(flush(&client, path, Flush::Folder, LONG).await.unwrap(), Flushed::Yes);
    assert!(free_space(&client, path).await.is_some());
    assert_eq!(sha256_of(&client, path, &[name(b"a")], LONG).await.unwrap(), Sums::Said(vec![sum(b"a")]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shell_that_hangs_is_left_at_the_deadline() {
    let sshd = Sshd::setup().line("ForceCommand sleep 1000").start();
    let client = connect(&sshd).await;
    // The deadline is what is tested.
    let (started, limit) = (Instant::now(), Duration::from_millis(300));
    // Slowness is no refusal, which would be remembered.
    assert_eq!(flush(&client, "/", Flush::Everything, limit).await.unwrap_err().kind(), ErrorKind::Stalled);
    // More names than any pipe holds: what is not read must not be waited for.
    let names: Vec<RemoteName> = (0..200_000).map(|at| name(format!("{at:040}").as_bytes())).collect();
    let late: Result<Sums, NasSyncError> = sha256_of(&client, "/", &names, limit).await;
    assert_eq!(late.unwrap_err().kind(), ErrorKind::Stalled);
    assert!(started.elapsed() < LONG, "{:?}", started.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_connection_is_an_error() {
    let mut sshd = Sshd::setup().line("ForceCommand touch \"$HOME/started\"; sleep 1000").start();
    let started = sshd.path("home/started");
    let client = connect(&sshd).await;
    let kill = async {
        tokio::task::spawn_blocking(move || until("the command runs", LONG, || started.exists())).await.unwrap();
        sshd.kill();
    };
    let (flushed, ()) = tokio::join!(flush(&client, "/", Flush::Everything, LONG), kill);
    assert_eq!(flushed.unwrap_err().kind(), ErrorKind::ConnectionLost);
    assert_eq!(flush(&client, "/", Flush::Everything, LONG).await.unwrap_err().kind(), ErrorKind::ConnectionLost);
    let lost: Result<Sums, NasSyncError> = sha256_of(&client, "/", &[name(b"a")], LONG).await;
    assert_eq!(lost.unwrap_err().kind(), ErrorKind::ConnectionLost);
}

#[tokio::test(flavor = "multi_thread")]
async fn files_are_summed_whatever_they_are_called() {
    let sshd = Sshd::start();
    let client = connect(&sshd).await;
    let folder = tempfile::tempdir().unwrap();
    let below = folder.path().join("it's a \"nas\" $(touch pwned)");
    fs::create_dir_all(below.join("sub folder")).unwrap();
    let names: [&[u8]; 12] = [
        b"plain",
        b"-c",
        b"--help",
        b"a\nb",
        b"a\\b",
        b"a'b\"c",
        b"$(touch pwned)",
        b"\xff\xfe",
        b"sub folder/x y",
        b"missing",
        b"unreadable\r",
        "r\u{e9}gl\u{e9}.pdf".as_bytes(),
    ];
    let mut expected = Vec::new();
    for name in names {
        expected.push(if name == b"missing" { Sum::Missing } else { sum(name) });
        if name != b"missing" {
            fs::write(below.join(std::ffi::OsStr::from_bytes(name)), name).unwrap();
        }
    }
    let mut names: Vec<RemoteName> = names.into_iter().map(name).collect();
    // What is no regular file is not the document.
    std::os::unix::fs::symlink("plain", below.join("link")).unwrap();
    names.extend([name(b"sub folder"), name(b"link"), name(b"plain/x")]);
    expected.extend([Sum::Missing; 3]);
    let sums = sha256_of(&client, text(&below), &names, LONG).await.unwrap();
    assert_eq!(sums, Sums::Said(expected));
    assert!(!below.join("pwned").exists() && !sshd.path("home/pwned").exists());
    assert_eq!(sha256_of(&client, text(&below), &[], LONG).await.unwrap(), Sums::Said(Vec::new()));
}

#[tokio::test(flavor = "multi_thread")]
async fn thousands_of_long_names_do_not_block_each_other() {
    let sshd = Sshd::start();
    let client = connect(&sshd).await;
    let folder = tempfile::tempdir().unwrap();
    let content = noise(300, 1);
    // Most are missing, which is quick; names and answers together are far more than pipes hold.
    let names: Vec<RemoteName> = (0..20_000).map(|at| name(format!("{at:0200}").as_bytes())).collect();
    let there = |at: usize| at.is_multiple_of(100);
    for (_, name) in names.iter().enumerate().filter(|(at, _)| there(*at)) {
        fs::write(folder.path().join(std::ffi::OsStr::from_bytes(name.as_bytes())), &content).unwrap();
    }
    let Sums::Said(sums) = sha256_of(&client, text(folder.path()), &names, LONG).await.unwrap() else { panic!() };
    let expected: Vec<Sum> = (0..names.len()).map(|at| if there(at) { sum(&content) } else { Sum::Missing }).collect();
    assert!(sums == expected);
}

/// Programs that are older, smaller or missing stand in for those of a NAS, in front of the real ones.
#[tokio::test(flavor = "multi_thread")]
async fn other_programs_on_the_nas() {
    let folder = tempfile::tempdir().unwrap();
    let bin = folder.path().join("bin");
    fs::create_dir(&bin).unwrap();
    let sshd = Sshd::setup().env("PATH", format!("{}:/usr/bin:/bin", bin.display())).start();
    let client = connect(&sshd).await;
    let path = text(folder.path()).to_owned();
    fs::write(folder.path().join("a"), "a").unwrap();
    let names = [name(b"a")];

    write_program(&bin.join("sync"), "#!/bin/sh\necho sync: ignoring all arguments >&2\n");
    assert_eq!(flush(&client, &path, Flush::Folder, LONG).await.unwrap(), Flushed::Yes);
    write_program(&bin.join("sync"), "#!/bin/sh\necho \"sync: invalid option -- 'f'\" >&2\nexit 1\n");
    let refused = flush(&client, &path, Flush::FileSystem, LONG).await.unwrap();
    assert_eq!(refused, Flushed::Refused(String::from("sync: invalid option -- 'f'")));
    write_program(&bin.join("df"), "#!/bin/sh\nexit 0\n");
    assert_eq!(free_space(&client, &path).await, None);
    write_program(&bin.join("sha256sum"), "#!/bin/sh\necho sha256sum: not found >&2\nexit 127\n");
    let why = refusal(sha256_of(&client, &path, &names, LONG).await.unwrap());
    assert_eq!(why, "sha256sum: not found");
    // One that fails on documents only.
    let picky = "#!/bin/sh\nif test \"$(head -c 1)\" = a; then echo broken >&2; exit 1; fi\nexec /usr/bin/sha256sum </dev/null\n";
    write_program(&bin.join("sha256sum"), picky);
    let sums = sha256_of(&client, &path, &names, LONG).await.unwrap();
    assert_eq!(sums, Sums::Said(vec![Sum::Unreadable]));
    fs::remove_file(bin.join("sha256sum")).unwrap();
    write_program(&bin.join("xargs"), "#!/bin/sh\necho \"xargs: invalid option -- '0'\" >&2\nexit 1\n");
    let why = refusal(sha256_of(&client, &path, &names, LONG).await.unwrap());
    assert!(why.contains("xargs: invalid option"), "{why}");
    // One that loses a file on the way.
    write_program(&bin.join("xargs"), "#!/bin/sh\nexec /usr/bin/xargs -0 -n 1 true\n");
    let why = refusal(sha256_of(&client, &path, &names, LONG).await.unwrap());
    assert!(why.contains("does not fit"), "{why}");
}
