use super::*;
use crate::client::documents::Unmonitored;
use crate::config::Settings;
use crate::store::{Access, Failure, Store};
use crate::watch::orders::{OneMonitor, Orders};
use crate::watch::{WatchOptions, course};

const QUIET: Duration = Duration::from_secs(2);

#[test]
fn documents_that_keep_coming_are_waited_out_but_not_for_ever() {
    let start = Instant::now();
    let at = |seconds| start + Duration::from_secs(seconds);
    assert!(Arrivals::after(None, 0, start).is_none());
    let mut arrivals = Arrivals::after(None, 1, start);
    assert!(!arrivals.unwrap().are_over(at(1), QUIET) && arrivals.unwrap().are_over(at(2), QUIET));
    // Another change of the database is no arrival.
    arrivals = Arrivals::after(arrivals, 1, at(1));
    assert!(arrivals.unwrap().are_over(at(2), QUIET));
    for second in 1..20 {
        arrivals = Arrivals::after(arrivals, 1 + second, at(second));
        assert!(!arrivals.unwrap().are_over(at(second), QUIET));
    }
    assert!(arrivals.unwrap().are_over(at(20), QUIET));
    assert!(Arrivals::after(arrivals, 0, at(21)).is_none());
}

#[test]
fn what_a_recorded_pause_means() {
    let now = Utc::now();
    let pause = |kind: ErrorKind, until| Pause {
        until,
        failure: Failure { kind: kind.as_str().to_owned(), text: "x".to_owned(), solution: None },
        count: 1,
    };
    let minutes = |minutes| Some(now + TimeDelta::minutes(minutes));
    let bar = |pause: Option<&Pause>, lifted: Option<&Pause>, time| bar(pause, lifted, &[], time);
    assert_eq!(bar(None, None, now), None);
    let full = pause(ErrorKind::DiskFull, minutes(5));
    assert_eq!(bar(Some(&full), None, now), Some(Next::Paused(now + TimeDelta::minutes(5))));
    assert_eq!(bar(Some(&full), None, now + TimeDelta::minutes(6)), None);
    assert_eq!(bar(Some(&full), None, now - TimeDelta::days(1)), None, "the clock was put back");
    let refused = pause(ErrorKind::LoginRefused, None);
    assert_eq!(bar(Some(&refused), None, now), Some(Next::Blocked(ErrorKind::LoginRefused)));
    // It was there before this process, which may try once.
    assert_eq!(bar(Some(&refused), Some(&refused), now), None);
    let again = Pause { count: 2, ..refused.clone() };
    assert_eq!(bar(Some(&again), Some(&refused), now), Some(Next::Blocked(ErrorKind::LoginRefused)));
    assert_eq!(bar(Some(&pause(ErrorKind::DatabaseUnusable, None)), None, now), None);
    // It goes on by itself, and a health check says nevertheless that somebody should see to it.
    let missing = pause(ErrorKind::RsyncMissing, minutes(5));
    assert_eq!(bar(Some(&missing), None, now), Some(Next::Blocked(ErrorKind::RsyncMissing)));
    assert_eq!(bar(Some(&missing), None, now + TimeDelta::minutes(6)), None);
}

#[tokio::test]
async fn a_wait_that_is_recorded_binds_this_process_alone_and_ends_with_its_record() {
    let folder = tempfile::tempdir().unwrap();
    let settings = Settings::new("127.0.0.1", "me", "/documents").database(folder.path().join("documents.db"));
    let service = NasSyncService::new(settings.clone());
    Store::open(&settings.db, Access::Create).await.unwrap().close().await;
    let (options, follower) = (WatchOptions::default(), Arc::new(OneMonitor(Arc::new(Unmonitored))));
    let connection = service.connection().unwrap();
    let mut run_loop =
        WatchLoop::new(&service, course(&options), connection, follower, Arc::default(), Orders::new().1);
    run_loop.look(Look::Close).await;
    let hour = Duration::from_secs(3600);
    let refused = NasSyncError::new(ErrorKind::ConnectionRefused, "closed");
    run_loop.record_wait(&refused, hour).await;
    run_loop.obstacle = Obstacle::Wait(Instant::now() + hour, refused.kind());
    let pause = service.pause().await.unwrap().unwrap();
    assert_eq!((pause.failure.kind.as_str(), pause.count), ("connection_refused", 0));
    assert_eq!(bar(Some(&pause), None, &[], Utc::now()), None);
    run_loop.look(Look::Close).await;
    assert!(matches!(run_loop.obstacle, Obstacle::Wait(..)), "it stands while its record does");
    service.retry(Selection::all()).await.unwrap();
    run_loop.look(Look::Close).await;
    assert!(matches!(run_loop.obstacle, Obstacle::None));
    // What binds everybody is left as it is.
    let full = NasSyncError::new(ErrorKind::DiskFull, "full");
    run_loop.record_pause(&full).await;
    run_loop.look(Look::Close).await;
    run_loop.record_wait(&refused, hour).await;
    assert_eq!(service.pause().await.unwrap().unwrap().failure.kind, "disk_full");
}

#[test]
fn refused_logins_are_few_whatever_is_lifted() {
    let now = Utc::now();
    let refused = Pause {
        until: Some(now + TimeDelta::minutes(20)),
        failure: Failure { kind: "login_refused".to_owned(), text: "x".to_owned(), solution: None },
        count: 4,
    };
    let ago = |minutes: &[i64]| minutes.iter().map(|minutes| now - TimeDelta::minutes(*minutes)).collect::<Vec<_>>();
    let blocked = Some(Next::Blocked(ErrorKind::LoginRefused));
    assert_eq!(bar(Some(&refused), Some(&refused), &ago(&[3, 2, 1]), now), None);
    assert_eq!(bar(Some(&refused), Some(&refused), &ago(&[59, 3, 2, 1]), now), blocked);
    assert_eq!(bar(Some(&refused), Some(&refused), &ago(&[61, 3, 2, 1]), now), None);
    assert_eq!(bar(None, None, &ago(&[4, 3, 2, 1]), now), None, "a person has asked");
}
