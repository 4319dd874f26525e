//! How many commands a server lets run at once: `MaxSessions` of OpenSSH, which nobody tells a client.

use std::time::{Duration, Instant};

use nas_sync::ErrorKind;
use nas_sync::internal::transport::ExitStatus;
use tokio::task::JoinSet;

use crate::ssh::connect;
use crate::support::random::long;
use crate::support::sshd::collect;
use crate::support::{Cli, Site, Sshd, noise};

/// How often the server had no session left.
fn refusals(sshd: &Sshd) -> usize {
    sshd.log().matches("no more sessions").count()
}

#[tokio::test(flavor = "multi_thread")]
async fn as_many_commands_run_as_the_server_opens_sessions_for() {
    let sshd = Sshd::setup().line("MaxSessions 3").start();
    let client = std::sync::Arc::new(connect(&sshd.config()).await);
    for round in 0..3 {
        let mut running = JoinSet::new();
        for number in 0..20 {
            let client = std::sync::Arc::clone(&client);
            running.spawn(async move {
                let exec = client.exec(format!("echo {number}").as_bytes()).await.expect("it runs when it can");
                assert_eq!(collect(exec).await.stdout, format!("{number}\n").as_bytes());
            });
        }
        running.join_all().await;
        // The first round learns the number; from then on it is known.
        assert!(refusals(&sshd) <= 20, "round {round}: {} refusals", refusals(&sshd));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_session_is_enough_for_commands_one_after_the_other() {
    let sshd = Sshd::setup().line("MaxSessions 1").start();
    let client = connect(&sshd.config()).await;
    for number in 0..100 {
        let exec = client.exec(b"cat").await.unwrap_or_else(|error| panic!("command {number}: {error}"));
        assert_eq!(collect(exec).await.exit, Some(ExitStatus::Code(0)));
    }
    // The first that comes too early tells the number.
    assert!(refusals(&sshd) <= 2, "{} refusals", refusals(&sshd));
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_that_nobody_waits_for_any_more_leave_their_sessions() {
    let sshd = Sshd::setup().line("MaxSessions 2").start();
    let client = connect(&sshd.config()).await;
    for _ in 0..10 {
        // Given up at every moment: while the channel opens, while the command starts, while it runs.
        for micros in [0, 200, 1_000, 5_000, 50_000] {
            let started = tokio::time::timeout(Duration::from_micros(micros), client.exec(b"exec sleep 0.2")).await;
            drop(started);
        }
    }
    let exec = client.exec(b"echo still").await.expect("there is a session");
    assert_eq!(collect(exec).await.stdout, b"still\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn channels_that_are_opened_ahead_stand_in_the_way_of_no_command() {
    for most in [1, 2, 10] {
        let sshd = Sshd::setup().line(format!("MaxSessions {most}")).start();
        let client = std::sync::Arc::new(connect(&sshd.config()).await);
        for _ in 0..10 {
            let mut running = JoinSet::new();
            for number in 0..4 {
                let client = std::sync::Arc::clone(&client);
                running.spawn(async move {
                    client.open_ahead(3);
                    let exec = client.exec(format!("echo {number}").as_bytes()).await.expect("it runs when it can");
                    assert_eq!(collect(exec).await.stdout, format!("{number}\n").as_bytes());
                });
            }
            running.join_all().await;
        }
        // Not more than what is asked for before the first refusal has come.
        assert!(refusals(&sshd) <= 10, "MaxSessions {most}: {} refusals", refusals(&sshd));
    }
}

#[tokio::test]
async fn a_server_that_opens_no_session_at_all_says_so_at_once() {
    let sshd = Sshd::setup().line("MaxSessions 0").start();
    let client = connect(&sshd.config()).await;
    let started = Instant::now();
    assert_eq!(client.exec(b"true").await.unwrap_err().kind(), ErrorKind::ExecRefused);
    // There is nothing that could end, so nothing is waited for.
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
}

/// Syncs documents again and again with the program; each run must do all of it, at the level `durable`.
async fn sync_runs(sessions: u32, jobs: u32, documents: usize, runs: usize) {
    let mut site = Site::with(Sshd::setup().line(format!("MaxSessions {sessions}")).start());
    site.set("NAS_JOBS", jobs.to_string());
    // A document that reaches a lower level only fails the run.
    site.set("NAS_DURABILITY", "durable");
    for run in 0..runs {
        for number in 0..documents {
            site.document(&format!("{run}-{number}.pdf"), &noise(20_000, number as u64)).await;
        }
        let result = Cli::new(&site).line("sync --json");
        let object = result.ends(0).json();
        assert_eq!(object["synced"], documents as u64, "run {run}: {}", result.all());
    }
    assert_eq!(site.stored_names().len(), runs * documents);
    println!("{runs} runs, {jobs} jobs, MaxSessions {sessions}: {} refusals", refusals(&site.sshd));
}

#[tokio::test(flavor = "multi_thread")]
async fn more_jobs_than_sessions_send_everything() {
    sync_runs(10, 64, 100, if long() { 100 } else { 3 }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_job_and_one_session_send_everything() {
    sync_runs(1, 1, 2, if long() { 200 } else { 10 }).await;
}
