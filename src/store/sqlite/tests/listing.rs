//! The list of documents, and sending synced ones again.

use super::*;

fn list(store: &SqliteStore, request: &ListRequest, life: Life) -> Listing {
    let me = holder(2);
    store.list(request, noon(), &Worker { holder: &me, now: Duration::ZERO, life_of: &|_| life }).unwrap()
}

fn shown(listing: &Listing) -> Vec<(i64, DocumentState)> {
    listing.documents.iter().map(|document| (document.id.as_integer().unwrap(), document.state)).collect()
}

fn failed(id: &DocumentId) -> FailedTry {
    let solution = Some("Look in the archive.".to_owned());
    FailedTry { id: id.clone(), kind: ErrorKind::SourceMissing, text: "gone".to_owned(), solution }
}

/// Five documents: synced, waiting, failed for good, and two pending ones.
fn filled(db: &Db) -> (SqliteStore, Vec<DocumentId>) {
    let mut store = db.open();
    let ids = add(&mut store, 1, &["in/Été.pdf", "in/b.pdf", "in/c.pdf", "in/d.pdf", "in/e.pdf"]);
    let fence = lease_all(&mut store);
    let settlement = Settlement {
        synced: vec![synced(ids[0].clone(), "in/Été.pdf", "2024/ÉTÉ n° 1.pdf")],
        failed: vec![failed(&ids[1]), failed(&ids[2])],
        ..Settlement::default()
    };
    let turn = std::cell::Cell::new(0);
    let next = |_, _| {
        turn.set(turn.get() + 1);
        if turn.get() == 1 { NextTry::At(noon() + TimeDelta::minutes(5)) } else { NextTry::Never }
    };
    store.settle(fence, &settlement, noon(), &next, &|_| true).unwrap();
    store.release(fence).unwrap();
    (store, ids)
}

#[test]
fn what_a_failure_said_to_do_is_remembered_until_it_is_over() {
    let db = Db::absent();
    let (mut store, ids) = filled(&db);
    let said = |failure: &Failure| failure.solution.as_deref() == Some("Look in the archive.");
    let deferred = queue(&store, &Selection::all(), noon()).deferred;
    assert_eq!(deferred.iter().filter(|deferred| said(&deferred.failure)).count(), 2, "{deferred:?}");
    let listed = list(&store, &ListRequest::new(Selection::all()), Life::Possible).documents;
    let failures = listed.iter().filter_map(|document| document.deferred.as_ref());
    assert_eq!(failures.filter(|deferred| said(&deferred.failure)).count(), 2, "{listed:?}");
    assert!(store.history(ids[1].clone()).unwrap().last_failure.is_some_and(|failure| said(&failure)));
    let failure =
        Failure { kind: "disk_full".to_owned(), text: "full".to_owned(), solution: Some("Buy one.".to_owned()) };
    let pause = Pause { until: None, failure, count: 1 };
    store.set_pause("nas", Some(&pause)).unwrap();
    assert_eq!(store.pause("nas").unwrap().as_ref(), Some(&pause));
    // One that has nothing to say besides its kind takes the place of what the last one said.
    let fence = store
        .claim(
            &Selection::documents([ids[1].clone()]),
            &Due::Any,
            1,
            &Worker { holder: &holder(1), now: Duration::ZERO, life_of: &|_| Life::Possible },
        )
        .unwrap()
        .fence
        .unwrap();
    let again = FailedTry { solution: None, ..failed(&ids[1]) };
    let settlement = Settlement { failed: vec![again], ..Settlement::default() };
    store.settle(fence, &settlement, noon(), &|_, _| NextTry::Never, &|_| true).unwrap();
    assert_eq!(store.history(ids[1].clone()).unwrap().last_failure.unwrap().solution, None);
}

#[test]
fn every_document_is_in_one_state_and_the_newest_comes_first() {
    use DocumentState::{Failed, Pending, Synced, Waiting};
    let db = Db::absent();
    let (store, ids) = filled(&db);
    let all = list(&store, &ListRequest::new(Selection::all()), Life::Possible);
    assert_eq!(shown(&all), [(5, Pending), (4, Pending), (3, Failed), (2, Waiting), (1, Synced)]);
    assert!(!all.more);
    let [.., failed, waiting, first] = all.documents.as_slice() else { panic!("too few") };
    assert_eq!((first.file.as_str(), first.synced_at), ("Été.pdf", Some(noon())));
    assert_eq!(first.path.as_deref(), Some(Path::new("in/Été.pdf")));
    assert_eq!(first.copy.as_ref().map(|copy| copy.level), Some(Level::Stored));
    assert_eq!(waiting.deferred.as_ref().unwrap().next, NextTry::At(noon() + TimeDelta::minutes(5)));
    let why = failed.deferred.as_ref().unwrap();
    assert_eq!((why.next, why.tries, why.failure.text.as_str()), (NextTry::Never, 1, "gone"));
    for state in DocumentState::ALL {
        let some = ListRequest { state: Some(state), ..ListRequest::new(Selection::all()) };
        let expected: Vec<_> = shown(&all).into_iter().filter(|(_, found)| *found == state).collect();
        assert_eq!(shown(&list(&store, &some, Life::Possible)), expected);
        assert_eq!(DocumentState::from_name(state.as_str()), Some(state));
    }
    // The queue counts the same.
    let queue = queue(&store, &Selection::all(), noon());
    assert_eq!((queue.due, queue.deferred.len()), (2, 2));
    // A wait that is over leaves it pending.
    let later = noon() + TimeDelta::minutes(6);
    let me = holder(2);
    let worker = Worker { holder: &me, now: Duration::ZERO, life_of: &|_| Life::Possible };
    let request = ListRequest { state: Some(Waiting), ..ListRequest::new(Selection::all()) };
    assert_eq!(store.list(&request, later, &worker).unwrap(), Listing::default());
    let of_another = ListRequest::new(Selection::of_user(UserId::from(2)));
    assert_eq!(list(&store, &of_another, Life::Possible), Listing::default());
    let one = ListRequest::new(Selection::documents([ids[3].clone()]));
    assert_eq!(shown(&list(&store, &one, Life::Possible)), [(4, Pending)]);
}

#[test]
fn a_limit_says_whether_there_is_more_and_names_are_found_in_any_case() {
    let db = Db::absent();
    let (store, _) = filled(&db);
    let limited = |limit| list(&store, &ListRequest { limit, ..ListRequest::new(Selection::all()) }, Life::Possible);
    assert_eq!((shown(&limited(2)).len(), limited(2).more), (2, true));
    assert_eq!((shown(&limited(5)).len(), limited(5).more), (5, false));
    let named = |name: &str| {
        let request = ListRequest { name: Some(name.to_owned()), ..ListRequest::new(Selection::all()) };
        shown(&list(&store, &request, Life::Possible)).iter().map(|(id, _)| *id).collect::<Vec<_>>()
    };
    assert_eq!(named("été"), [1]);
    assert_eq!(named("N° 1"), [1], "its name on the NAS");
    assert_eq!(named("%.PDF"), [] as [i64; 0], "it is no pattern");
    assert_eq!(named(".pdf"), [5, 4, 3, 2, 1]);
}

#[test]
fn what_a_worker_sends_is_said_while_it_lives() {
    let db = Db::absent();
    let (mut store, ids) = filled(&db);
    let me = holder(1);
    let worker = Worker { holder: &me, now: Duration::ZERO, life_of: &|_| Life::Possible };
    store.claim(&Selection::documents([ids[1].clone()]), &Due::Any, 9, &worker).unwrap();
    let sending = |life| {
        let listing = list(&store, &ListRequest::new(Selection::documents([ids[1].clone()])), life);
        (listing.documents[0].sending, listing.documents[0].state)
    };
    assert_eq!(sending(Life::Possible), (true, DocumentState::Pending));
    assert_eq!(sending(Life::Over), (false, DocumentState::Waiting));
}

#[test]
fn a_synced_document_goes_again_and_nothing_else_changes() {
    let db = Db::absent();
    let (mut store, ids) = filled(&db);
    assert_eq!(store.resend(&Selection::of_user(UserId::from(2))).unwrap(), 0);
    assert_eq!(store.resend(&Selection::documents(ids)).unwrap(), 1);
    let row = db.text("SELECT synced_to_nas || ifnull(synced_at, ' pending') FROM documents WHERE id = 1");
    assert_eq!(row.as_deref(), Some("0 pending"));
    let queue = queue(&store, &Selection::all(), noon());
    assert_eq!((queue.due, queue.deferred.len()), (3, 2), "the others wait as before");
    let unusable = store.unusable(&Selection::documents([DocumentId::from(77)])).unwrap();
    assert_eq!(kind(crate::store::policy::refuse(unusable)), ErrorKind::DocumentNotFound);
}

#[test]
fn a_row_that_makes_no_sense_is_listed_as_far_as_it_does() {
    let db = Db::foreign(
        "CREATE TABLE documents (id, user_id, file_path, synced_to_nas, synced_at);
         INSERT INTO documents VALUES (1, 'x', NULL, 'no', 17), ('two', 1, 'a', 0, NULL);",
    );
    let listing = list(&db.open(), &ListRequest::new(Selection::all()), Life::Possible);
    assert_eq!(shown(&listing), [(1, DocumentState::Pending)]);
    assert_eq!((listing.documents[0].user_id.is_none(), listing.documents[0].file.as_str()), (true, ""));
    assert_eq!(listing.documents[0].path, None);
}
