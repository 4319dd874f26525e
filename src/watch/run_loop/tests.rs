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
        failure: Failure { kind: kind.as_str().to_owned(), text: "x".to_owned() },
        count: 1,
    };
    let minutes = |minutes| Some(now + TimeDelta::minutes(minutes));
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
}
