//! Leases, waits, and what is remembered about a NAS.

use nas_sync::internal::store::Settlement;
use nas_sync::{Capability, Failure, Pause, Refusal};

use super::*;

async fn claim(store: &Store, process: u32, life: Life, most: usize) -> (Option<Fence>, Vec<i64>) {
    let claimed = store.lease(Selection::all(), Due::At(noon()), most, worker(process, life)).await.unwrap();
    (claimed.fence, ids(claimed.documents))
}

pub async fn a_document_is_leased_once(db: &Db) {
    db.add(1, &["/a", "/b", "/c"]).await;
    let (first, some) = claim(&db.store, 1, Life::Possible, 2).await;
    assert_eq!(some, [1, 2]);
    let (second, rest) = claim(&db.open().await, 2, Life::Possible, 9).await;
    assert_eq!(rest, [3]);
    assert!(second > first, "fencing numbers grow");
    assert_eq!(claim(&db.store, 3, Life::Possible, 9).await, (None, vec![]));
    let mut leased: Vec<_> = db.store.leased(Selection::all()).await.unwrap().iter().map(number).collect();
    leased.sort_unstable();
    assert_eq!(leased, [1, 2, 3]);
    assert!(db.store.renew(first.unwrap(), Duration::ZERO).await.unwrap());
    db.store.release(first.unwrap()).await.unwrap();
    assert!(!db.store.renew(first.unwrap(), Duration::ZERO).await.unwrap(), "it is given back");
    let (third, again) = claim(&db.store, 3, Life::Possible, 9).await;
    assert_eq!(again, [1, 2]);
    assert!(third > second, "also after the last one was given back");
}

pub async fn workers_share_what_there_is(db: &Db) {
    let paths: Vec<_> = (0..1000).map(|number| format!("/{number}")).collect();
    db.add(1, &paths.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let mut counts = Vec::new();
    for process in 1..=6 {
        counts.push(claim(&db.store, process, Life::Possible, 600).await.1.len());
    }
    assert_eq!(counts, [600, 200, 67, 64, 64, 5], "all, a half, a third, but not too few");
}

pub async fn leases_of_the_dead_end_at_once(db: &Db) {
    db.add(1, &["/a"]).await;
    let (first, _) = claim(&db.store, 1, Life::Possible, 9).await;
    assert_eq!(claim(&db.store, 2, Life::Possible, 9).await.1, [0; 0]);
    assert_eq!(claim(&db.store, 2, Life::Over, 9).await.1, [1]);
    assert!(!db.store.renew(first.unwrap(), Duration::ZERO).await.unwrap(), "it is lost");
}

pub async fn who_lost_the_lease_is_not_believed(db: &Db) {
    let id = db.add(1, &["/a"]).await.remove(0);
    let (late, _) = claim(&db.store, 1, Life::Possible, 9).await;
    let (next, _) = claim(&db.store, 2, Life::Over, 9).await;
    let settlement = |record: &SyncedRecord| {
        let mut one = attempt(&id, "a", AttemptEnd::Synced);
        one.sha256 = record.copy.sha256;
        Settlement { synced: vec![record.clone()], attempts: vec![one], ..Settlement::default() }
    };
    let record = synced(&id, "/a", "a");
    let lost = [MarkOutcome::LeaseLost];
    assert_eq!(db.settle(late.unwrap(), settlement(&record)).await, lost);
    assert_eq!(db.pending(Selection::all()).await, [1]);
    assert_eq!(db.settle(next.unwrap(), settlement(&record)).await, [MarkOutcome::Marked]);
    // The same bytes do no harm; with others nobody knows which are there now, also when nobody acknowledged them.
    assert_eq!(db.settle(late.unwrap(), settlement(&record)).await, lost);
    assert_eq!(db.store.stats(None).await.unwrap().synced, 1);
    let mut other = record;
    other.copy.sha256 = Some([8; 32]);
    let unacknowledged = Settlement { synced: vec![], ..settlement(&other) };
    assert_eq!(db.settle(late.unwrap(), unacknowledged).await, []);
    assert_eq!(db.pending(Selection::all()).await, [1]);
}

pub async fn a_document_waits_until_its_time_or_for_good(db: &Db) {
    let added = db.add(1, &["/a", "/b", "/c", "/d"]).await;
    for (id, until) in
        added.iter().zip([minutes(1), noon(), minutes(300)].map(NextTry::At).into_iter().chain([NextTry::Never]))
    {
        db.fail(vec![failed(id, ErrorKind::SourceChanged, "busy")], until).await;
    }
    let line = db.queue(Selection::all()).await;
    assert_eq!((line.due, line.leased), (2, 0), "a wait of five hours can only come from a clock that was put back");
    let next: Vec<_> = line.deferred.iter().map(|deferred| (number(&deferred.id), deferred.next)).collect();
    assert_eq!(next, [(1, NextTry::At(minutes(1))), (4, NextTry::Never)]);
    let (fence, claimed) = claim(&db.store, 1, Life::Possible, 9).await;
    assert_eq!(claimed, [2, 3]);
    db.store.release(fence.unwrap()).await.unwrap();
    // Somebody asks for it, or points the row at another file.
    assert_eq!(db.store.retry(Selection::documents([added[0].clone()]), None).await.unwrap().documents, 1);
    db.run("UPDATE documents SET file_path = '/e' WHERE id = 4");
    assert_eq!(db.queue(Selection::all()).await.due, 4);
}

pub async fn what_a_dead_worker_held_is_due(db: &Db) {
    db.add(1, &["/a", "/b"]).await;
    assert_eq!(claim(&db.store, 1, Life::Possible, 1).await.1, [1]);
    for (life, counts) in [(Life::Possible, (1, 1)), (Life::Over, (2, 0))] {
        let line = db.store.queue(Selection::all(), noon(), worker(2, life)).await.unwrap();
        assert_eq!((line.due, line.leased), counts);
    }
}

pub async fn refusals_are_remembered_for_a_while(db: &Db) {
    let known = async |days| {
        let at = noon() + TimeDelta::days(days);
        db.store.begin(Selection::all(), "nas".to_owned(), at).await.unwrap().refusals
    };
    assert!(known(0).await.is_empty());
    let mut refused =
        [Capability::Fsync, Capability::Space].map(|it| Refusal::new(it, "--fsync: unknown", "SSH-2.0-x")).to_vec();
    refused[1].times = 2;
    db.store.remember_refusals("nas".to_owned(), refused.clone(), noon()).await.unwrap();
    let by_name = |mut refusals: Vec<Refusal>| {
        refusals.sort_by_key(|refusal| refusal.capability.as_str());
        refusals
    };
    assert_eq!(by_name(known(29).await), by_name(refused.clone()));
    assert!(known(31).await.is_empty(), "firmware is updated");
    // What is still so keeps its day; what is not is gone.
    refused.pop();
    db.store.remember_refusals("nas".to_owned(), refused.clone(), noon() + TimeDelta::days(29)).await.unwrap();
    assert_eq!(known(29).await, refused);
    assert!(known(31).await.is_empty());
}

pub async fn pauses_last_until_they_end(db: &Db) {
    let nas = || "nas".to_owned();
    let mut pause = Pause::new(Failure::new("login_refused", "no"), Some(noon()));
    pause.count = 2;
    db.store.begin_pause(nas(), pause.clone(), Some(noon())).await.unwrap();
    db.store.begin_pause(nas(), pause.clone(), Some(minutes(1))).await.unwrap();
    assert_eq!(db.store.pause(nas()).await.unwrap(), Some(pause));
    assert_eq!(db.store.pause("other".to_owned()).await.unwrap(), None);
    let logins = async || {
        let view = db.store.view(Selection::all(), nas(), None, noon(), worker(1, Life::Possible)).await.unwrap();
        view.unwrap().refused_logins
    };
    assert_eq!(logins().await, [noon(), minutes(1)]);
    db.store.end_pause(nas()).await.unwrap();
    assert_eq!((db.store.pause(nas()).await.unwrap(), logins().await), (None, vec![]));
}
