//! What only size brings out: new session keys in the middle of a file, and memory that must not grow with the work.

use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use nas_sync::Silent;
use nas_sync::internal::wire::server_args::PushOptions;
use nas_sync::{Client, ClientConfig, Files, PushRequest};
use tempfile::TempDir;

use crate::support::sshd::user;
use crate::support::{Sshd, is_long_or_skipped, until, with};

/// How long a push may take.
const LONGEST: Duration = Duration::from_secs(600);

const MIB: u64 = 1 << 20;

/// A server whose log tells of every key exchange.
fn server() -> Sshd {
    Sshd::setup().line("LogLevel DEBUG1").start()
}

/// Key exchanges that the server has seen, the first of each connection included.
fn key_exchanges(sshd: &Sshd) -> usize {
    sshd.log().matches("SSH2_MSG_KEXINIT received").count()
}

/// A folder in memory where there is room.
fn folder() -> TempDir {
    let memory = Path::new("/dev/shm");
    let room = rustix::fs::statvfs(memory).is_ok_and(|stat| stat.f_bavail * stat.f_frsize > 1024 * MIB);
    let parent = if room { memory.to_owned() } else { std::env::temp_dir() };
    tempfile::Builder::new().prefix("large").tempdir_in(parent).unwrap()
}

/// A program for the far side that leaves holes where zeros arrive, so that a huge empty file takes no room.
fn sparse_rsync(folder: &Path) -> PathBuf {
    let path = folder.join("sparse-rsync");
    fs::write(&path, "#!/bin/sh\nexec rsync --sparse \"$@\"\n").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

/// Holes, and every 16 MiB a few bytes that say where they belong.
fn landmarks(path: &Path, len: u64) {
    use std::os::unix::fs::FileExt as _;
    let file = File::create(path).unwrap();
    file.set_len(len).unwrap();
    for at in (0..len).step_by(16 << 20) {
        file.write_all_at(&at.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes(), at + 5).unwrap();
    }
}

/// Whether two files hold the same bytes; neither is held in memory.
fn same(left: &Path, right: &Path) -> bool {
    Command::new("cmp").arg("-s").args([left, right]).status().unwrap().success()
}

/// Runs `nas-sync push` and returns its peak memory in bytes.
///
/// The kernel's own count for an ended child starts with the memory of whoever started it, here all other tests, so
/// the living process is asked. It only misses what happens in the last milliseconds.
fn push(sshd: &Sshd, options: &[&str], source: &Path, to: &Path) -> u64 {
    let known_hosts = sshd.config().known_hosts[0].clone();
    let shell = format!(
        "ssh -p {} -i {} -o UserKnownHostsFile={} -o BatchMode=yes",
        sshd.port(),
        sshd.path("user_ed25519").display(),
        known_hosts.display()
    );
    let mut child = Command::new(env!("CARGO_BIN_EXE_nas-sync"))
        .arg("push")
        .args(options)
        .args(["-e", &shell])
        .arg(source)
        .arg(format!("{}@127.0.0.1:{}", user(), to.display()))
        .env_clear()
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    let status = PathBuf::from(format!("/proc/{}/status", child.id()));
    let mut peak = 0;
    let mut end = None;
    until("the push ends", LONGEST, || {
        peak = peak.max(high_water(&status).unwrap_or(0));
        end = child.try_wait().unwrap();
        end.is_some()
    });
    let end = end.unwrap();
    assert!(end.success(), "{end}; the server says: {}", sshd.log());
    assert!(peak > MIB, "nobody could be asked");
    peak
}

fn high_water(status: &Path) -> Option<u64> {
    let text = fs::read_to_string(status).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().strip_suffix(" kB")?.parse::<u64>().ok()? * 1024)
}

#[tokio::test(flavor = "multi_thread")]
async fn new_session_keys_in_the_middle_of_a_file_lose_nothing() {
    let (sshd, folder) = (server(), folder());
    let [source, to] = ["source", "to"].map(|name| folder.path().join(name));
    fs::create_dir(&to).unwrap();
    landmarks(&source, 96 * MIB);
    let mut config = ClientConfig::new(sshd.config());
    config.ssh.rekey_bytes = 8 << 20;
    let client = Client::connect(&config).await.unwrap();
    let request = PushRequest::new(
        Files::Operands(vec![source.clone()]),
        to.as_os_str().as_encoded_bytes().to_vec(),
        with!(PushOptions::default(), times: true),
    );
    let report = client.push(request, Arc::new(Silent)).await.unwrap();
    client.disconnect().await;
    assert_eq!(report.exit_code, 0, "{report:?}");
    assert!(same(&source, &to.join("source")));
    let seen = key_exchanges(&sshd);
    assert!(seen > 5, "{seen} key exchanges");
}

#[test]
fn three_gigabytes_cross_the_default_limit_of_a_session_key_in_little_memory() {
    let (sshd, folder) = (server(), folder());
    let [source, to] = ["source", "to"].map(|name| folder.path().join(name));
    fs::create_dir(&to).unwrap();
    landmarks(&source, 3072 * MIB);
    let far_side = format!("--rsync-path={}", sparse_rsync(folder.path()).display());
    let peak = push(&sshd, &["-t", &far_side], &source, &to);
    assert!(same(&source, &to.join("source")));
    assert!(peak < 40 * MIB, "{} MiB", peak / MIB);
    let seen = key_exchanges(&sshd);
    assert!(seen >= 3, "{seen} key exchanges");
}

/// Pushes so many tiny files and returns the peak memory in bytes.
fn push_files(files: u64) -> u64 {
    let (sshd, folder) = (server(), folder());
    let [source, to] = ["source", "to"].map(|name| folder.path().join(name));
    for at in 0..files {
        let below = source.join(format!("{:03}", at / 1000));
        if at % 1000 == 0 {
            fs::create_dir_all(&below).unwrap();
        }
        // Their lengths tell them apart.
        fs::write(below.join(format!("document-{at:06}.pdf")), &[b'x'; 64][..usize::try_from(at % 64).unwrap()])
            .unwrap();
    }
    let peak = push(&sshd, &["-rt"], &source.join(""), &to);
    for at in 0..files {
        let stored = to.join(format!("{:03}/document-{at:06}.pdf", at / 1000));
        assert_eq!(stored.metadata().unwrap().size(), at % 64, "{}", stored.display());
    }
    peak
}

/// How much more memory so many tiny files take than one, which depends on how the program was compiled.
fn memory_of_files(files: u64) -> u64 {
    push_files(files) - push_files(1)
}

#[test]
fn a_hundred_thousand_files_arrive_in_little_memory() {
    let more = memory_of_files(100_000);
    assert!(more < 16 * MIB, "{more} bytes");
}

/// 48 bytes for each and 23 for its name, and 19 for the request for it, of which nearly all are there before the first is
/// answered: with the 6 MB of the static binary less than 100.
#[test]
fn a_million_files_arrive_in_less_than_94_megabytes() {
    if is_long_or_skipped() {
        let more = memory_of_files(1_000_000);
        assert!(more < 94_000_000, "{more} bytes");
    }
}
