//! SSH servers that break the rules, or only some habits: each limit on what a server may say ends the login, in time and
//! in little memory. The servers are mocks (`support::mock_ssh`) where no real one does this.

use std::time::{Duration, Instant};

use nas_sync::internal::transport::ExitStatus;
use nas_sync::internal::transport::ssh::SshClient;
use nas_sync::{ErrorKind, Level};

use crate::ssh::connect;
use crate::support::mock_ssh::{MockSsh, Quirk};
use crate::support::sshd::collect;
use crate::support::{Cli, Site};

/// More than a client needs that keeps to its bounds, in KB.
const MOST_MEMORY: u64 = 64 << 10;
/// More than a busy machine needs for what ends by itself.
const IN_TIME: Duration = Duration::from_secs(30);

/// A site whose NAS is the mock.
fn site_at(mock: &MockSsh) -> Site {
    let mut site = Site::new();
    site.set("NAS_PORT", mock.port().to_string());
    site.set("NAS_KEY_FILE", mock.key());
    site.set("NAS_KNOWN_HOSTS", site.path("known_hosts"));
    site.set("NAS_ACCEPT_NEW_HOST_KEY", "1");
    site
}

/// Runs `nas-sync test`, which must fail, and gives the most memory that it was seen to take, in KB.
fn memory_of_a_test(mock: &MockSsh) -> u64 {
    let (site, mut most) = (site_at(mock), 0);
    let run = Cli::new(&site).start(&["test", "--json"]);
    while let Some(peak) = run.peak_memory() {
        most = most.max(peak);
        std::thread::sleep(Duration::from_millis(2));
    }
    assert_ne!(run.wait().code, Some(0), "a hostile server passed the test");
    assert!(most > 0, "it was never seen");
    most
}

/// The error of a command that this server is asked for.
async fn error_of_a_command(client: &SshClient) -> nas_sync::NasSyncError {
    let started = async {
        let exec = client.exec(b"cat").await?;
        let outcome = collect(exec).await;
        Err(client.lost().unwrap_or_else(|| panic!("the login lives, and the command ended with {:?}", outcome.exit)))
    };
    let ended: nas_sync::Result<()> = tokio::time::timeout(IN_TIME, started).await.expect("it ends in time");
    ended.unwrap_err()
}

#[tokio::test(flavor = "multi_thread")]
async fn output_before_a_command_is_accepted_is_bounded() {
    let mock = MockSsh::start(Quirk::TalksBeforeAccepting);
    let client = connect(&mock.config()).await;
    let started = Instant::now();
    let error = error_of_a_command(&client).await;
    assert_eq!(error.kind(), ErrorKind::NotSsh, "{error}");
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
    // What was under way when the client had enough is part of it: the window is 8 MiB.
    assert!(mock.said() < 64 << 20, "{} bytes", mock.said());
    let memory = memory_of_a_test(&mock);
    assert!(memory < MOST_MEMORY, "{memory} KB");
}

#[tokio::test(flavor = "multi_thread")]
async fn channels_that_nobody_asked_for_are_refused_and_end_the_login() {
    let mock = MockSsh::start(Quirk::OpensChannels);
    let client = connect(&mock.config()).await;
    let error = error_of_a_command(&client).await;
    assert_eq!(error.kind(), ErrorKind::ConnectionLost, "{error}");
    assert!(error.message().contains("nobody asked for"), "{error}");
    let memory = memory_of_a_test(&mock);
    assert!(memory < MOST_MEMORY, "{memory} KB");
}

#[tokio::test(flavor = "multi_thread")]
async fn channels_that_the_server_closes_before_they_are_used_are_replaced() {
    let mock = MockSsh::start(Quirk::ClosesChannels);
    let client = connect(&mock.config()).await;
    client.open_ahead(2);
    for _ in 0..3 {
        let outcome = collect(client.exec(b"echo out").await.unwrap()).await;
        assert_eq!(outcome.stdout, b"out\n");
    }
    assert_eq!(mock.said(), 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_goodbye_without_end_is_cut_and_escaped() {
    let mock = MockSsh::start(Quirk::LongGoodbye);
    let client = connect(&mock.config()).await;
    let error = error_of_a_command(&client).await;
    assert_eq!(error.kind(), ErrorKind::ConnectionLost, "{error}");
    assert!(error.message().contains("bye\\x1b[31m bye"), "{error}");
    assert!(error.message().len() < 4096, "{} bytes", error.message().len());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_counts_where_no_exit_status_is_said() {
    let mock = MockSsh::start(Quirk::NoExitStatus);
    let outcome = collect(connect(&mock.config()).await.exec(b"echo out; exit 3").await.unwrap()).await;
    assert_eq!((&outcome.stdout[..], outcome.exit), (&b"out\n"[..], Some(ExitStatus::NotSaid)));

    let mut site = site_at(&mock);
    for level in [Level::Stored, Level::Durable] {
        site.set("NAS_DURABILITY", level.as_str());
        for number in 0..3 {
            site.document(&format!("{}-{number}.pdf", level.as_str()), b"content").await;
        }
        let run = Cli::new(&site).line("sync --json");
        assert_eq!(run.ends(0).json()["synced"], 3, "{}", run.all());
    }
    assert_eq!(site.marked().len(), 6);
    assert_eq!(site.stored_names().len(), 6);
    Cli::new(&site).line("test --json").ends(0);
    // A command that fails is no success because nobody says that it failed.
    site.set("NAS_PATH", site.path("no such folder"));
    site.document("late.pdf", b"content").await;
    let run = Cli::new(&site).line("sync --json").ends(3).json();
    assert_eq!(run["error"]["kind"], "destination_missing", "{run}");
}
