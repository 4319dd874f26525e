//! Commands over one SSH login: their output, their end, and what happens when something breaks.

use std::time::{Duration, Instant};

use bytes::Bytes;
use nas_sync::ErrorKind;
use nas_sync::internal::transport::{Exec, ExecEvent, ExitStatus};

use crate::ssh::connect;
use crate::support::Sshd;
use crate::support::sshd::collect;

#[tokio::test]
async fn output_errors_and_end_all_arrive() {
    let sshd = Sshd::setup().env("WORD", "out put").start();
    let outcome = sshd.run("echo $WORD; echo err >&2; exit 7").await;
    assert_eq!((&outcome.stdout[..], &outcome.stderr[..]), (&b"out put\n"[..], &b"err\n"[..]));
    assert_eq!(outcome.exit, Some(ExitStatus::Code(7)));
    assert_eq!(sshd.run("kill -KILL $$").await.exit, Some(ExitStatus::Signal(String::from("KILL"))));
    assert_eq!(sshd.run("no-such-program-here").await.exit, Some(ExitStatus::Code(127)));
    // Much on both streams, and the end is not mistaken for the end of one of them.
    let outcome = sshd.run("seq 200000 >&2 & seq 200000; wait").await;
    assert_eq!((outcome.stdout.len(), outcome.stderr.len()), (1_288_895, 1_288_895));
    assert_eq!(outcome.exit, Some(ExitStatus::Code(0)));
}

#[tokio::test]
async fn a_command_waits_where_the_server_opens_no_more_sessions() {
    let sshd = Sshd::setup().line("MaxSessions 1").start();
    let client = connect(&sshd.config()).await;
    let first = client.exec(b"cat").await.unwrap();
    let mut second = std::pin::pin!(client.exec(b"echo second"));
    // It goes on waiting as long as the first one runs.
    let early = tokio::time::timeout(Duration::from_millis(500), &mut second).await;
    assert!(early.is_err(), "{early:?}");
    assert_eq!(collect(first).await.exit, Some(ExitStatus::Code(0)));
    let second = tokio::time::timeout(Duration::from_secs(30), second).await.expect("the place is free again").unwrap();
    assert_eq!(collect(second).await.stdout, b"second\n");
    // Also when a command was dropped half-way.
    for _ in 0..2 {
        let free = client.exec(b"cat");
        drop(tokio::time::timeout(Duration::from_secs(30), free).await.expect("its session comes back").unwrap());
    }
}

/// Sends `total` bytes through `cat` and checks what comes back.
async fn echo(exec: Exec, total: usize, mask: u8) {
    const CHUNK: usize = 64 * 1024;
    let Exec { mut reader, mut writer } = exec;
    let pattern: Vec<u8> = (0..251).cycle().map(|byte: u8| byte ^ mask).take(CHUNK + 251).collect();
    let expected = pattern.clone();
    let sending = tokio::spawn(async move {
        let mut sent = 0;
        while sent < total {
            let size = CHUNK.min(total - sent);
            let start = sent % 251;
            writer.write(Bytes::copy_from_slice(&pattern[start..start + size])).await.expect("cat reads");
            sent += size;
        }
        writer.finish().await.expect("cat still reads");
    });
    let (mut seen, mut exit) = (0, None);
    while let Some(event) = reader.next().await {
        match event {
            ExecEvent::Stdout(bytes) => {
                let start = seen % 251;
                assert!(bytes == expected[start..start + bytes.len()], "wrong bytes at {seen}");
                seen += bytes.len();
            }
            ExecEvent::Stderr(bytes) => panic!("{bytes:?}"),
            ExecEvent::Exit(status) => exit = Some(status),
        }
    }
    sending.await.expect("everything was sent");
    assert_eq!((seen, exit), (total, Some(ExitStatus::Code(0))));
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_megabytes_pass_in_both_directions_at_once() {
    let sshd = Sshd::start();
    let client = connect(&sshd.config()).await;
    let (one, two) = (client.exec(b"cat").await.unwrap(), client.exec(b"cat").await.unwrap());
    tokio::join!(echo(one, 50_000_000, 0), echo(two, 10_000_000, 0x55));
}

#[tokio::test(flavor = "multi_thread")]
async fn new_session_keys_in_the_middle_of_the_stream_lose_nothing() {
    let sshd = Sshd::setup().line("LogLevel DEBUG1").start();
    let mut config = sshd.config();
    config.rekey_bytes = 1 << 20;
    let client = connect(&config).await;
    echo(client.exec(b"cat").await.unwrap(), 20_000_000, 1).await;
    let rekeys = sshd.log().matches("SSH2_MSG_NEWKEYS received").count();
    assert!(rekeys >= 10, "{rekeys} key exchanges");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_server_ends_reads_and_writes_within_seconds() {
    let mut sshd = Sshd::start();
    let client = connect(&sshd.config()).await;
    let Exec { mut reader, mut writer } = client.exec(b"echo; cat >/dev/null; sleep 100").await.unwrap();
    let Exec { reader: mut idle, writer: _kept } = client.exec(b"echo; sleep 100").await.unwrap();
    writer.write(Bytes::from_static(&[0; 1000])).await.unwrap();
    let (under_way, begun) = tokio::sync::oneshot::channel();
    let mut under_way = Some(under_way);
    let sending = tokio::spawn(async move {
        loop {
            if let Err(error) = writer.write(Bytes::from(vec![0; 32768])).await {
                return error;
            }
            under_way.take().map(|under_way| under_way.send(()));
        }
    });
    // Both commands have said their line, and more is being written.
    assert!(reader.next().await.is_some() && idle.next().await.is_some());
    begun.await.unwrap();
    sshd.kill();
    let ends = async {
        while reader.next().await.is_some() {}
        while idle.next().await.is_some() {}
        sending.await.unwrap()
    };
    let error = tokio::time::timeout(Duration::from_secs(5), ends).await.expect("everything ends");
    assert_eq!(error.kind(), ErrorKind::ConnectionLost, "{error}");
    assert_eq!(client.lost().expect("the loss is noticed").kind(), ErrorKind::ConnectionLost);
    assert_eq!(client.exec(b"true").await.unwrap_err().kind(), ErrorKind::ConnectionLost);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_into_a_command_that_has_ended_fails_instead_of_waiting() {
    let sshd = Sshd::start();
    let client = connect(&sshd.config()).await;
    let Exec { mut reader, mut writer } = client.exec(b"head -c 10 >/dev/null; exit 3").await.unwrap();
    let sending = tokio::spawn(async move {
        let mut sent: u64 = 0;
        while writer.write(Bytes::from(vec![0; 32768])).await.is_ok() {
            sent += 32768;
            assert!(sent < 1 << 30, "a gigabyte went nowhere");
        }
    });
    let mut exit = None;
    while let Some(event) = reader.next().await {
        if let ExecEvent::Exit(status) = event {
            exit = Some(status);
        }
    }
    assert_eq!(exit, Some(ExitStatus::Code(3)));
    tokio::time::timeout(Duration::from_secs(5), sending).await.expect("the write ends").unwrap();
    assert_eq!(client.lost().map(|error| error.kind()), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_stops_answering_is_noticed_by_keepalives() {
    let sshd = Sshd::start();
    let mut config = sshd.config();
    config.keepalive = Some(Duration::from_millis(200));
    let client = connect(&config).await;
    let Exec { mut reader, mut writer } = client.exec(b"kill -STOP $PPID; cat >/dev/null").await.unwrap();
    let sending = tokio::spawn(async move { while writer.write(Bytes::from(vec![0; 32768])).await.is_ok() {} });
    let ends = async {
        while reader.next().await.is_some() {}
        sending.await.unwrap();
    };
    tokio::time::timeout(Duration::from_secs(10), ends).await.expect("everything ends");
    assert!(client.lost().unwrap().message().contains("no longer answers"), "{:?}", client.lost());
}

#[tokio::test]
async fn a_login_and_a_command_are_quick() {
    let sshd = Sshd::start();
    let config = sshd.config();
    let mut times = Vec::new();
    for _ in 0..5 {
        let started = Instant::now();
        let client = connect(&config).await;
        assert_eq!(collect(client.exec(b"true").await.unwrap()).await.exit, Some(ExitStatus::Code(0)));
        times.push((client.connect_time(), started.elapsed()));
    }
    times.sort_by_key(|time| time.1);
    println!("login, login + command (median of 5): {:?}", times[2]);
    assert!(times[2].1 < Duration::from_secs(5), "{times:?}");
}
