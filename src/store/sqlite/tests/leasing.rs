//! Leases, waits, attempts, and what is remembered about a NAS.

use super::*;

/// A worker on a clock of this name, at this many seconds.
fn claim_at(store: &mut SqliteStore, who: &Holder, seconds: u64, life: Life) -> Vec<i64> {
    claim_some(store, who, seconds, life, usize::MAX).1
}

fn claim_some(
    store: &mut SqliteStore,
    who: &Holder,
    seconds: u64,
    life: Life,
    most: usize,
) -> (Option<Fence>, Vec<i64>) {
    let life_of = move |_: &Holder| life;
    let worker = Worker { holder: who, now: Duration::from_secs(seconds), life_of: &life_of };
    let claimed = store.claim(&Selection::all(), &Due::At(noon()), most, &worker).unwrap();
    (claimed.fence, ids(claimed.documents))
}

fn elsewhere(process: u32) -> Holder {
    Holder { clock: "there".to_owned(), space: "there".to_owned(), ..holder(process) }
}

#[test]
fn a_document_is_leased_once() {
    let db = Db::absent();
    let mut store = db.open();
    add(&mut store, 1, &["/a", "/b", "/c"]);
    let (first, some) = claim_some(&mut store, &holder(1), 0, Life::Possible, 2);
    assert_eq!(some, [1, 2]);
    let (second, rest) = claim_some(&mut db.open(), &holder(2), 0, Life::Possible, 9);
    assert_eq!(rest, [3]);
    assert!(second > first, "fencing numbers grow");
    assert_eq!(claim_some(&mut store, &holder(3), 0, Life::Possible, 9), (None, vec![]));
    assert_eq!(store.leased(&Selection::all()).unwrap(), 3);
    store.release(first.unwrap()).unwrap();
    let (third, again) = claim_some(&mut store, &holder(3), 0, Life::Possible, 9);
    assert_eq!(again, [1, 2]);
    assert!(third > second, "also after the last one was given back");
}

#[test]
fn workers_share_what_there_is() {
    let db = Db::absent();
    let mut store = db.open();
    let paths: Vec<_> = (0..1000).map(|number| format!("/{number}")).collect();
    add(&mut store, 1, &paths.iter().map(String::as_str).collect::<Vec<_>>());
    let counts: Vec<_> =
        (1..=6).map(|worker| claim_some(&mut store, &holder(worker), 0, Life::Possible, 600).1.len()).collect();
    assert_eq!(counts, [600, 200, 67, 64, 64, 5], "all, a half, a third, but not too few");
}

#[test]
fn leases_of_the_dead_end_at_once_and_others_when_they_are_not_renewed() {
    let db = Db::absent();
    let mut store = db.open();
    add(&mut store, 1, &["/a"]);
    assert_eq!(claim_at(&mut store, &holder(1), 0, Life::Possible), [1]);
    assert_eq!(claim_at(&mut store, &holder(2), 0, Life::Over), [1]);
    // Process 2 lives, or its end cannot be seen: its lease lasts from its last renewal.
    let term = LEASE_TERM.as_secs();
    assert_eq!(claim_at(&mut store, &holder(3), term, Life::Possible), [0; 0]);
    assert!(store.renew(Fence(2), Duration::from_secs(term)).unwrap());
    assert_eq!(claim_at(&mut store, &holder(3), 2 * term, Life::Possible), [0; 0]);
    assert_eq!(claim_at(&mut store, &holder(3), 2 * term + 1, Life::Possible), [1]);
    assert!(!store.renew(Fence(2), Duration::from_secs(2 * term)).unwrap(), "it is lost");
}

#[test]
fn a_foreign_clock_is_not_believed() {
    let db = Db::absent();
    let mut store = db.open();
    add(&mut store, 1, &["/a"]);
    // Its machine has run for a year longer, or for a year less: only what is seen here counts.
    let year = 365 * 24 * 3600;
    assert_eq!(claim_at(&mut store, &elsewhere(1), year, Life::Possible), [1]);
    let term = LEASE_TERM.as_secs();
    assert_eq!(claim_at(&mut store, &holder(2), 10, Life::Possible), [0; 0]);
    assert_eq!(claim_at(&mut store, &holder(2), 10 + term, Life::Possible), [0; 0]);
    assert!(store.renew(Fence(1), Duration::ZERO).unwrap());
    assert_eq!(claim_at(&mut store, &holder(3), 11 + term, Life::Possible), [0; 0], "a beat: the time starts again");
    // A third machine's look does not start it again.
    assert_eq!(claim_at(&mut store, &Holder { clock: "third".into(), ..holder(9) }, 0, Life::Possible), [0; 0]);
    assert_eq!(claim_at(&mut store, &holder(4), 12 + 2 * term, Life::Possible), [1]);
}

#[test]
fn who_lost_the_lease_is_not_believed() {
    let db = Db::absent();
    let mut store = db.open();
    let id = add(&mut store, 1, &["/a"])[0].clone();
    let (late, _) = claim_some(&mut store, &holder(1), 0, Life::Possible, 9);
    let (next, _) = claim_some(&mut store, &holder(2), 0, Life::Over, 9);
    let record = synced(id.clone(), "/a", "a");
    let settlement = |record: &SyncedRecord| Settlement {
        synced: vec![record.clone()],
        attempts: vec![Attempt {
            id: id.clone(),
            remote_name: record.copy.remote_name.clone(),
            sha256: record.copy.sha256,
            started: noon(),
            took: Duration::ZERO,
            bytes: 0,
            end: AttemptEnd::Synced,
            durable_by: None,
            failure: None,
        }],
        ..Settlement::default()
    };
    let lost = [MarkOutcome::LeaseLost];
    assert_eq!(settle(&mut store, late.unwrap(), &settlement(&record)).unwrap(), lost);
    assert_eq!(ids(store.pending(&Selection::all()).unwrap()), [1]);
    assert_eq!(settle(&mut store, next.unwrap(), &settlement(&record)).unwrap(), [MarkOutcome::Marked]);
    // The same bytes do no harm; with others nobody knows which are there now.
    assert_eq!(settle(&mut store, late.unwrap(), &settlement(&record)).unwrap(), lost);
    assert_eq!(store.stats(None).unwrap().synced, 1);
    let mut other = record;
    other.copy.sha256 = Some([8; 32]);
    // Also when nobody acknowledged what it sent.
    let unacknowledged = Settlement { synced: vec![], ..settlement(&other) };
    assert_eq!(settle(&mut store, late.unwrap(), &unacknowledged).unwrap(), []);
    assert_eq!(ids(store.pending(&Selection::all()).unwrap()), [1]);
}

#[test]
fn a_file_that_was_rewritten_is_not_marked() {
    let db = Db::absent();
    let mut store = db.open();
    let id = add(&mut store, 1, &["/a"])[0].clone();
    let fence = lease_all(&mut store);
    let settlement = Settlement { synced: vec![synced(id, "/a", "a")], ..Settlement::default() };
    let next = |_, _| NextTry::At(noon());
    assert_eq!(store.settle(fence, &settlement, noon(), &next, &|_| false).unwrap(), [MarkOutcome::Rewritten]);
    assert_eq!(ids(store.pending(&Selection::all()).unwrap()), [1]);
    assert_eq!(store.leased(&Selection::all()).unwrap(), 1, "its failure is still to come");
}

#[test]
fn a_document_waits_until_its_time_or_for_good() {
    let db = Db::absent();
    let mut store = db.open();
    let added = add(&mut store, 1, &["/a", "/b", "/c", "/d"]);
    let failed = |id| FailedTry { id, kind: ErrorKind::SourceChanged, text: "busy".to_owned(), solution: None };
    let until = [TimeDelta::minutes(1), TimeDelta::zero(), TimeDelta::hours(5)];
    for (id, until) in added.iter().zip(until) {
        let fence = lease_all(&mut store);
        let settlement = Settlement { failed: vec![failed(id.clone())], ..Settlement::default() };
        store.settle(fence, &settlement, noon(), &|_, _| NextTry::At(noon() + until), &|_| true).unwrap();
        store.release(fence).unwrap();
    }
    let fence = lease_all(&mut store);
    let settlement = Settlement { failed: vec![failed(added[3].clone())], ..Settlement::default() };
    store
        .settle(
            fence,
            &settlement,
            noon(),
            &|_, tries| if tries == 1 { NextTry::Never } else { unreachable!() },
            &|_| true,
        )
        .unwrap();
    store.release(fence).unwrap();

    let line = queue(&store, &Selection::all(), noon());
    assert_eq!((line.due, line.leased), (2, 0), "a wait of five hours can only come from a clock that was put back");
    let next: Vec<_> =
        line.deferred.iter().map(|deferred| (deferred.id.as_integer().unwrap(), deferred.next)).collect();
    assert_eq!(next, [(1, NextTry::At(noon() + until[0])), (4, NextTry::Never)]);
    assert_eq!(claim_at(&mut store, &holder(1), 0, Life::Possible), [2, 3]);
    store.release(Fence(5)).unwrap();

    // Somebody asks for it, or points the row at another file.
    assert_eq!(store.forget_failures(&Selection::documents(vec![added[0].clone()])).unwrap(), 1);
    db.raw().execute("UPDATE documents SET file_path = '/e' WHERE id = 4", []).unwrap();
    assert_eq!(queue(&store, &Selection::all(), noon()).due, 4);
}

#[test]
fn attempts_are_kept_also_those_without_a_lease() {
    let db = Db::absent();
    let mut store = db.open();
    let id = add(&mut store, 1, &["/a"])[0].clone();
    let attempt = |end, failure| Attempt {
        id,
        remote_name: b"a".to_vec(),
        sha256: None,
        started: noon(),
        took: Duration::from_millis(1500),
        bytes: 9,
        end,
        durable_by: None,
        failure,
    };
    let attempts = vec![
        attempt.clone()(AttemptEnd::Cut, Some((ErrorKind::ConnectionLost, "cut".to_owned()))),
        attempt(AttemptEnd::Synced, None),
    ];
    settle(&mut store, Fence(5), &Settlement { attempts, ..Settlement::default() }).unwrap();
    let shown = "SELECT group_concat(document_id || ' ' || started_at || ' ' || duration_ms || ' ' || bytes || ' ' ||
                 outcome || ' ' || ifnull(error_kind || ' ' || error_text, '-'), '; ') FROM nas_sync_attempts";
    assert_eq!(
        db.text(shown).as_deref(),
        Some(
            "1 2024-01-15 12:00:00.000000 1500 9 cut connection_lost cut; \
             1 2024-01-15 12:00:00.000000 1500 9 synced -"
        )
    );
}

#[test]
fn refusals_are_remembered_for_a_while_and_pauses_until_they_end() {
    let db = Db::absent();
    let mut store = db.open();
    assert!(store.refusals("nas", noon()).unwrap().is_empty());
    let refusals = [Capability::Fsync, Capability::Space].map(|it| Refusal::new(it, "--fsync: unknown", "SSH-2.0-x"));
    let mut refused = refusals.to_vec();
    refused[1].times = 2;
    store.remember_refusals("nas", &refused, noon()).unwrap();
    let pause = Pause {
        until: Some(noon()),
        failure: Failure { kind: "disk_full".to_owned(), text: "no room".to_owned(), solution: None },
        count: 2,
    };
    store.set_pause("nas", Some(&pause)).unwrap();
    assert_eq!(store.pause("nas").unwrap(), Some(pause));
    assert_eq!(store.refusals("nas", noon() + TimeDelta::days(29)).unwrap(), refused);
    assert!(store.refusals("nas", noon() + TimeDelta::days(31)).unwrap().is_empty(), "firmware is updated");
    assert!(store.refusals("other", noon()).unwrap().is_empty());
    store.set_pause("nas", None).unwrap();
    assert_eq!(store.pause("nas").unwrap(), None);
    assert_eq!(store.refusals("nas", noon()).unwrap(), refused);
    // What is still so keeps its day; what is not is gone.
    refused.pop();
    store.remember_refusals("nas", &refused, noon() + TimeDelta::days(29)).unwrap();
    assert_eq!(store.refusals("nas", noon() + TimeDelta::days(29)).unwrap(), refused);
    assert!(store.refusals("nas", noon() + TimeDelta::days(31)).unwrap().is_empty());
}

#[test]
fn copies_are_verified_and_requeued_as_they_were_recorded() {
    let db = Db::absent();
    let mut store = db.open();
    let added = add(&mut store, 1, &["/a", "/b", "/c"]);
    let mut records: Vec<_> =
        [(0, "a"), (1, "b")].iter().map(|(at, name)| synced(added[*at].clone(), &format!("/{name}"), name)).collect();
    records[0].copy.level = Level::Durable;
    mark(&mut store, &records).unwrap();
    db.raw().execute("UPDATE documents SET synced_to_nas = 1 WHERE id = 3", []).unwrap();
    let copies = store.copies(&Selection::all(), Copies::OfSynced).unwrap();
    let expected = [Some(records[0].copy.clone()), Some(records[1].copy.clone()), None];
    assert_eq!(copies.iter().map(|copy| copy.copy.clone()).collect::<Vec<_>>(), expected);

    let both = [(added[0].clone(), records[0].copy.clone()), (added[1].clone(), records[1].copy.clone())];
    let other = |change: fn(&mut StoredCopy)| {
        let mut copy = records[0].copy.clone();
        change(&mut copy);
        [(added[0].clone(), copy)]
    };
    let another_content = other(|copy| copy.sha256 = Some([9; 32]));
    store.record_verified(&another_content, noon()).unwrap();
    let level = store.history(added[0].clone()).unwrap().copy.unwrap().level;
    assert_eq!(level, Level::Durable, "it was sent again while the copy before was read");
    assert_eq!(store.requeue(&another_content).unwrap(), 0);
    store.record_verified(&both, noon()).unwrap();
    let levels: Vec<_> = both.iter().map(|(id, _)| store.history(id.clone()).unwrap().copy.unwrap().level).collect();
    assert_eq!(levels, [Level::Verified, Level::Stored], "what a power cut may take is not verified");
    let [moved] = other(|copy| copy.remote_name = b"elsewhere".to_vec());
    assert_eq!(store.requeue(&[moved, both[1].clone()]).unwrap(), 1);
    assert_eq!(ids(store.pending(&Selection::all()).unwrap()), [2]);
}

#[test]
fn what_a_dead_worker_held_is_due() {
    let db = Db::absent();
    let mut store = db.open();
    add(&mut store, 1, &["/a", "/b"]);
    assert_eq!(claim_some(&mut store, &holder(1), 0, Life::Possible, 1).1, [1]);
    let seen = |life: Life| {
        let me = holder(2);
        let line = store.queue(
            &Selection::all(),
            noon(),
            &Worker { holder: &me, now: Duration::ZERO, life_of: &move |_| life },
        );
        line.map(|(line, _)| (line.due, line.leased)).unwrap()
    };
    assert_eq!(seen(Life::Possible), (1, 1));
    assert_eq!(seen(Life::Over), (2, 0));
}

#[test]
fn an_attempt_that_could_not_be_marked_has_failed() {
    let db = Db::absent();
    let mut store = db.open();
    let id = add(&mut store, 1, &["/a"])[0].clone();
    let fence = lease_all(&mut store);
    let attempt = Attempt {
        id: id.clone(),
        remote_name: b"a".to_vec(),
        sha256: None,
        started: noon(),
        took: Duration::ZERO,
        bytes: 0,
        end: AttemptEnd::Synced,
        durable_by: None,
        failure: None,
    };
    let settlement =
        Settlement { synced: vec![synced(id, "/a", "a")], attempts: vec![attempt], ..Settlement::default() };
    store.settle(fence, &settlement, noon(), &|_, _| NextTry::Never, &|_| false).unwrap();
    assert_eq!(db.text("SELECT outcome FROM nas_sync_attempts").as_deref(), Some("failed"));
}
