use super::*;
use crate::store::Failure;

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
