//! `push`, and the program under the name `rsync`: every protocol, every way to log in, and the ends that only a server
//! of its own kind leads to. What stock rsync would do is in [`stock`].

mod options;
mod progress_lines;
pub mod stock;

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::support::cli::{PROGRAM, Run, write_program};
use crate::support::sshd::user;
use crate::support::{Cli, Site, noise};

const SIZES: [usize; 12] = [0, 1, 699, 700, 701, 32_767, 32_768, 32_769, 131_071, 131_072, 131_073, 5 * 1024 * 1024];

/// `-e` for both programs.
pub fn shell(site: &Site) -> String {
    let (key, known_hosts) = (site.sshd.path("user_ed25519"), site.sshd.path("known_hosts"));
    format!(
        "ssh -F none -o BatchMode=yes -o IdentitiesOnly=yes -p {} -i {} -o UserKnownHostsFile={}",
        site.sshd.port(),
        key.display(),
        known_hosts.display()
    )
}

fn words(site: &Site, options: &str, sources: &[&Path], to: &Path) -> Vec<String> {
    let mut words = vec!["-e".to_owned(), shell(site)];
    words.extend(options.split_whitespace().map(ToOwned::to_owned));
    words.extend(sources.iter().map(|source| source.to_str().unwrap().to_owned()));
    words.push(format!("{}@127.0.0.1:{}", user(), to.display()));
    words
}

/// Our program under the name `rsync`.
fn ours(site: &Site, options: &str, sources: &[&Path], to: &Path) -> Run {
    named_rsync(site).run(&words(site, options, sources, to))
}

fn named_rsync(site: &Site) -> Cli {
    let mut cli = Cli::new(site).named_rsync();
    cli.variables.retain(|name, _| matches!(name.as_str(), "PATH" | "HOME"));
    cli
}

/// The same, for a test that looks at its output itself.
fn ours_command(site: &Site, words: &[String]) -> Command {
    named_rsync(site).command(words)
}

/// Sets a file's own time, to the nanosecond; links are not followed.
pub fn set_time(path: &Path, time: &str) {
    let status = Command::new("touch").args(["-h", "-d", time]).arg(path).status().unwrap();
    assert!(status.success());
}

#[test]
fn every_protocol_moves_files_around_every_block_boundary() {
    let site = Site::new();
    let from = site.path("from");
    fs::create_dir(&from).unwrap();
    for protocol in 27..=32 {
        let to = site.path(&format!("nas/{protocol}"));
        for (size, seed) in SIZES.iter().zip(1..) {
            fs::write(from.join(size.to_string()), noise(*size, seed)).unwrap();
        }
        let options = format!("-rt --protocol={protocol}");
        ours(&site, &options, &[&from.join("")], &to).ends(0);
        same_contents(&from, &to);
        // Each file with a byte changed and eight more, at another time.
        for size in SIZES {
            let path = from.join(size.to_string());
            let mut bytes = fs::read(&path).unwrap();
            if let Some(byte) = bytes.get_mut(size / 3) {
                *byte ^= 1;
            }
            bytes.splice(size / 2..size / 2, *b"inserted");
            fs::write(&path, bytes).unwrap();
            set_time(&path, "2002-02-02 UTC");
        }
        let run = ours(&site, &format!("{options} --json"), &[&from.join("")], &to);
        let report = run.ends(0).json();
        same_contents(&from, &to);
        assert_eq!(report["transferred"], SIZES.len(), "{}", run.all());
        let (literal, matched) = (report["literal_bytes"].as_u64().unwrap(), report["matched_bytes"].as_u64().unwrap());
        assert!(matched > 20 * literal, "{protocol}: {literal} literal, {matched} matched");
    }
}

#[track_caller]
fn same_contents(one: &Path, other: &Path) {
    for size in SIZES {
        let name = size.to_string();
        assert!(fs::read(one.join(&name)).unwrap() == fs::read(other.join(&name)).unwrap(), "{name}");
    }
}

#[test]
fn a_file_that_vanishes_after_the_listing_is_24_and_a_signal_20() {
    let site = Site::new();
    let from = site.path("from");
    fs::create_dir(&from).unwrap();
    for number in 0..200 {
        fs::write(from.join(format!("{number:03}")), noise(100_000, number)).unwrap();
    }
    let slow = site.path("slow");
    write_program(&slow, &format!("#!/bin/sh\n{}\n", crate::nas_cli::SLOW));
    let mut cli = Cli::new(&site).named_rsync();
    cli.variables.retain(|name, _| matches!(name.as_str(), "PATH" | "HOME"));
    let options = format!("-rt --rsync-path={}", slow.display());
    let start = |to: &str| {
        let mut running = cli.start(&words(&site, &options, &[&from.join("")], &site.path(to)));
        running.until(|| fs::read_dir(site.path(to)).map_or(0, Iterator::count) >= 20);
        running
    };
    let running = start("nas/signal");
    running.signal("INT");
    running.wait().ends(20);
    let running = start("nas/vanish");
    fs::remove_file(from.join("199")).unwrap();
    let run = running.wait();
    assert!(run.ends(24).stderr.contains("199"), "{}", run.all());
    assert_eq!(fs::read_dir(site.path("nas/vanish")).unwrap().count(), 199);
}

#[test]
fn a_server_that_falls_silent_is_30() {
    let site = Site::new();
    let good = site.upload("good", b"good");
    let silent = site.path("silent");
    write_program(&silent, "#!/bin/sh\nprintf '\\037\\000\\000\\000\\000\\001\\002\\003\\004'\nexec sleep 30\n");
    let options = format!("-t --timeout=1 --rsync-path={}", silent.display());
    ours(&site, &options, &[&good], &site.path("nas/")).ends(30);
}

/// The times are the least that the rates allow, less the first piece, which nothing goes before.
#[tokio::test(flavor = "multi_thread")]
async fn no_more_is_sent_in_a_second_than_the_rate_allows() {
    let mut site = Site::new();
    let (log, program) = (site.path("words"), site.path("writes-down"));
    write_program(&program, &format!("#!/bin/sh\necho \"$*\" >>'{}'\nexec rsync \"$@\"\n", log.display()));
    let from = site.path("from");
    fs::create_dir(&from).unwrap();
    fs::write(from.join("file"), noise(192 * 1024, 1)).unwrap();
    let (there, back) = (site.path("nas/there"), site.path("back"));
    let options = format!("-a --bwlimit=128 --rsync-path={}", program.display());
    let mut began = Instant::now();
    ours(&site, &options, &[&from.join("")], &there).ends(0);
    assert!(began.elapsed() >= Duration::from_millis(1300), "{:?}", began.elapsed());
    let mut pull = words(&site, &options, &[], &there.join(""));
    pull.push(back.to_str().unwrap().to_owned());
    began = Instant::now();
    named_rsync(&site).run(&pull).ends(0);
    assert!(began.elapsed() >= Duration::from_secs(1), "{:?}", began.elapsed());
    assert_eq!(fs::read(back.join("file")).unwrap(), noise(192 * 1024, 1));
    assert!(fs::read_to_string(log).unwrap().contains("--sender -logDtpre.ifCvu --bwlimit=128 "));
    // Of sessions side by side, too.
    site.set("NAS_BWLIMIT", "128");
    site.set("NAS_JOBS", "3");
    for number in 0..3 {
        site.document(&format!("{number}.pdf"), &noise(64 * 1024, number)).await;
    }
    began = Instant::now();
    assert_eq!(site.sync().await.synced, 3);
    assert!(began.elapsed() >= Duration::from_millis(1300), "{:?}", began.elapsed());
}

#[test]
fn the_command_line_of_a_container_without_either_program() {
    let site = Site::new();
    let file = site.upload("Facture n° 1.pdf", &noise(300_000, 1));
    let remote = format!("{}@127.0.0.1:{}", user(), site.path("nas").display());
    let (port, key, known_hosts) = (site.sshd.port(), site.sshd.path("user_ed25519"), site.sshd.path("known_hosts"));
    let shell = format!(
        "ssh -o BatchMode=yes -o ConnectTimeout=30 -p {port} -i {} -o UserKnownHostsFile={}",
        key.display(),
        known_hosts.display()
    );
    let line = ["-avz", "--progress", "-e", &shell, file.to_str().unwrap(), &remote];
    let mut cli = Cli::new(&site).named_rsync();
    cli.variables.retain(|name, _| matches!(name.as_str(), "PATH" | "HOME"));
    let run = cli.run(&line);
    run.ends(0);
    assert!(run.stdout.contains("Facture n° 1.pdf\n") && run.stdout.contains(" 100% "), "{}", run.all());
    assert!(
        run.stdout.contains("\nsent ") && run.stdout.contains("total size is 300,000  speedup is "),
        "{}",
        run.all()
    );
    assert!(site.stored("Facture n° 1.pdf") == Some(fs::read(&file).unwrap()));
    let run = cli.run(&line);
    assert!(!run.ends(0).stdout.contains("Facture"), "nothing is sent twice: {}", run.all());

    // A copy of the program does it as well as a link.
    let copied = site.path("copied");
    fs::create_dir(&copied).unwrap();
    // Not by this process: a file that it writes is busy while other tests start programs.
    assert!(Command::new("cp").arg(PROGRAM).arg(copied.join("rsync")).status().unwrap().success());
    let output = Command::new(copied.join("rsync")).args(line).env_clear().output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
}

#[test]
fn every_way_to_say_how_to_log_in() {
    let site = Site::new();
    let (port, key, known_hosts) = (
        site.sshd.port().to_string(),
        site.sshd.path("user_ed25519").display().to_string(),
        site.sshd.path("known_hosts").display().to_string(),
    );
    let me = user();
    let learnt = site.path("learnt");
    let with_user = format!("{me}@127.0.0.1:{}/", site.path("nas").display());
    // A user in the words for ssh beats the one before the host.
    let stranger = format!("stranger@127.0.0.1:{}/", site.path("nas").display());
    let without = format!("127.0.0.1:{}/", site.path("nas").display());
    let strings = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    let ways = [
        (strings(&["-e", &format!("ssh -l {me} -p{port} -i{key} -oUserKnownHostsFile={known_hosts}")]), &stranger),
        (
            strings(&[&format!(
                "--rsh=ssh -q -T -x -p {port} -o 'IdentityFile {key}' -o \"UserKnownHostsFile={known_hosts}\""
            )]),
            &with_user,
        ),
        (
            strings(&[
                "-e",
                &format!("/usr/bin/ssh -oPort={port} -oUser={me} -i {key} -o UserKnownHostsFile={known_hosts}"),
            ]),
            &without,
        ),
        (
            strings(&[
                "-e",
                &format!(
                    "ssh -p {port} -i {key} -o UserKnownHostsFile={} -o StrictHostKeyChecking=accept-new",
                    learnt.display()
                ),
            ]),
            &with_user,
        ),
        (strings(&["-e", &format!("ssh -p {port} -i {key} -o UserKnownHostsFile={}", learnt.display())]), &with_user),
        (
            strings(&["-e", &format!("ssh -p {port} -i {key} -o UserKnownHostsFile={known_hosts} -c aes128-ctr")]),
            &with_user,
        ),
        (strings(&["--port", &port, "--identity", &key, "--known-hosts", &known_hosts]), &with_user),
        (strings(&["--port", &port, "--identity", &key, "--known-hosts", &known_hosts]), &without),
    ];
    for (number, (way, remote)) in ways.iter().enumerate() {
        let file = site.upload(&format!("{number} $(x) 'y'.pdf"), b"content");
        let mut words = strings(&["push", "-t"]);
        words.extend_from_slice(way);
        words.extend([file.to_str().unwrap().to_owned(), (*remote).clone()]);
        let mut cli = Cli::new(&site);
        cli.variables.retain(|name, _| matches!(name.as_str(), "PATH" | "HOME"));
        cli.run(&words).ends(0);
        assert!(site.stored(&format!("{number} $(x) 'y'.pdf")).is_some());
    }
    // And in the environment.
    let file = site.upload("last.pdf", b"content");
    let mut cli = Cli::new(&site).named_rsync();
    cli.variables.retain(|name, _| matches!(name.as_str(), "PATH" | "HOME"));
    cli.set("RSYNC_RSH", format!("ssh -p {port} -i {key} -o UserKnownHostsFile={known_hosts}"));
    cli.run(&["-t", file.to_str().unwrap(), &with_user]).ends(0);
    assert!(site.stored("last.pdf").is_some());
    // An unknown host key is refused here, too.
    cli.set("RSYNC_RSH", format!("ssh -p {port} -i {key} -o UserKnownHostsFile=/dev/null"));
    let run = cli.run(&["-t", file.to_str().unwrap(), &with_user]);
    assert!(run.ends(5).stderr.contains("SHA256:"), "{}", run.all());
}
