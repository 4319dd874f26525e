//! Marks, failures, attempts, copies.

use nas_sync::DurableBy;
use nas_sync::internal::store::MarkOutcome::{AlreadySynced, Changed, Gone, Marked, Rewritten};

use super::*;

pub async fn what_changed_meanwhile_is_not_marked(db: &Db) {
    let added = db.add(1, &["/a", "/b", "/c", "/d", "/e"]).await;
    let fence = db.lease_all().await;
    db.run("UPDATE documents SET file_path = '/A' WHERE id = 1");
    db.run("DELETE FROM documents WHERE id = 2");
    db.run("UPDATE documents SET synced_to_nas = TRUE WHERE id = 3");
    let records: Vec<_> = added
        .iter()
        .zip("abcde".chars())
        .map(|(id, name)| synced(id, &format!("/{name}"), &name.to_string()))
        .collect();
    let rewritten = added[3].clone();
    let settlement = Settlement { synced: records, ..Settlement::default() };
    let next = |_, _| NextTry::At(noon());
    let outcomes =
        db.store.settle(fence, settlement, noon(), next, move |record| record.id != rewritten).await.unwrap();
    assert_eq!(outcomes, [Changed, Gone, AlreadySynced, Rewritten, Marked]);
    assert_eq!(db.pending(Selection::all()).await, [1, 4]);
    let mut left: Vec<_> = db.store.leased(Selection::all()).await.unwrap().iter().map(number).collect();
    left.sort_unstable();
    assert_eq!(left, [1, 4], "their failures are still to come");
    // Of what was marked two columns changed, and the copy is known.
    let times = "SELECT COUNT(*) FROM documents WHERE id = 5 AND user_id = 1 AND file_path = '/e'
                     AND CAST(synced_at AS TEXT) LIKE '2024-01-15 12:00:00%' AND CAST(created_at AS TEXT) LIKE '2024-01-15 12:00:00%'";
    assert_eq!(db.database.numbers(times), [1]);
    assert_eq!(db.store.copy_of(added[4].clone()).await.unwrap(), Some(synced(&added[4], "/e", "e").copy));
    assert_eq!(db.store.copy_of(added[0].clone()).await.unwrap(), None);
}

pub async fn failures_are_counted_with_their_cause(db: &Db) {
    let id = db.add(1, &["/a"]).await.remove(0);
    let again = NextTry::At(minutes(1));
    db.fail(vec![failed(&id, ErrorKind::SourceMissing, "gone")], again).await;
    db.fail(vec![failed(&id, ErrorKind::DiskFull, &"é".repeat(2000))], again).await;
    let only = async || db.queue(Selection::all()).await.deferred.pop();
    let deferred = only().await.unwrap();
    assert_eq!((deferred.tries, deferred.next), (2, again));
    assert_eq!((deferred.failure.kind.as_str(), deferred.failure.text), ("disk_full", "é".repeat(1024)));
    assert_eq!(db.store.stats(None).await.unwrap().failed, 1);
    // Another file: the count starts again.
    db.run("UPDATE documents SET file_path = '/b'");
    assert_eq!((only().await, db.store.stats(None).await.unwrap().failed), (None, 0));
    db.fail(vec![failed(&id, ErrorKind::SourceMissing, "gone")], again).await;
    assert_eq!(only().await.unwrap().tries, 1);
    // Success ends the matter, and the failure of somebody without a lease does not bring it back.
    db.mark(&[synced(&id, "/b", "b")]).await;
    let late = Settlement { failed: vec![failed(&id, ErrorKind::Stalled, "late")], ..Settlement::default() };
    db.settle(Fence(99), late).await;
    assert_eq!(db.store.resend(Selection::all()).await.unwrap(), 1);
    let queue = db.queue(Selection::all()).await;
    assert_eq!((queue.due, queue.deferred), (1, vec![]));
}

pub async fn attempts_are_kept_within_bounds(db: &Db) {
    let id = db.add(1, &["/a"]).await.remove(0);
    let attempts = (0..50).map(|number| Attempt { bytes: number, ..attempt(&id, "a", AttemptEnd::Cut) }).collect();
    // Also those without a lease.
    db.settle(Fence(5), Settlement { attempts, ..Settlement::default() }).await;
    assert_eq!(db.database.numbers("SELECT COUNT(*), MIN(bytes), MAX(bytes) FROM nas_sync_attempts"), [20, 30, 49]);
}

pub async fn an_attempt_says_how_it_ended_and_lasts(db: &Db) {
    let added = db.add(1, &["/a", "/b"]).await;
    let fence = db.lease_all().await;
    let mut attempts = vec![
        Attempt { durable_by: Some(DurableBy::Batch), ..attempt(&added[0], "a", AttemptEnd::Synced) },
        attempt(&added[1], "b", AttemptEnd::Synced),
    ];
    attempts.push(Attempt {
        failure: Some((ErrorKind::ConnectionLost, "it's cut".to_owned())),
        ..attempt(&added[1], "b", AttemptEnd::Cut)
    });
    // What could not be marked has failed.
    let records = vec![synced(&added[0], "/a", "a"), synced(&added[1], "/other", "b")];
    db.settle(fence, Settlement { synced: records, attempts, ..Settlement::default() }).await;
    let count = |condition: &str| {
        db.database.numbers(&format!(
            "SELECT COUNT(*) FROM nas_sync_attempts WHERE duration_ms = 1500 AND bytes = 9 AND {condition}"
        ))[0]
    };
    let batch = DurableBy::Batch.as_str();
    for condition in [
        format!("document_id = 1 AND outcome = 'synced' AND durable_by = '{batch}'"),
        "document_id = 2 AND outcome = 'failed' AND durable_by IS NULL AND error_kind IS NULL".to_owned(),
        "document_id = 2 AND outcome = 'cut' AND error_kind = 'connection_lost' AND error_text = 'it''s cut'"
            .to_owned(),
    ] {
        assert_eq!(count(&condition), 1, "{condition}");
    }
}

pub async fn copies_are_verified_and_requeued_as_they_were_recorded(db: &Db) {
    let added = db.add(1, &["/a", "/b", "/c"]).await;
    let mut records = [synced(&added[0], "/a", "a"), synced(&added[1], "/b", "b")];
    records[0].copy.level = Level::Durable;
    db.mark(&records).await;
    db.run("UPDATE documents SET synced_to_nas = TRUE WHERE id = 3");
    let copies = db.store.synced_copies(Selection::all()).await.unwrap();
    let expected = [Some(records[0].copy.clone()), Some(records[1].copy.clone()), None];
    assert_eq!(copies.into_iter().map(|copy| copy.copy).collect::<Vec<_>>(), expected);

    let both = records.clone().map(|record| (record.id, record.copy)).to_vec();
    let other = |change: fn(&mut StoredCopy)| {
        let mut copy = records[0].copy.clone();
        change(&mut copy);
        vec![(added[0].clone(), copy)]
    };
    let compared = async |equal, again| db.store.record_comparison(equal, again, noon()).await.unwrap();
    let level = async |at: usize| db.store.copy_of(added[at].clone()).await.unwrap().unwrap().level;
    let another_content = other(|copy| copy.sha256 = Some([9; 32]));
    assert_eq!(compared(another_content.clone(), another_content).await, 0);
    assert_eq!(level(0).await, Level::Durable, "it was sent again while the copy before was read");
    compared(both.clone(), vec![]).await;
    assert_eq!(
        (level(0).await, level(1).await),
        (Level::Verified, Level::Stored),
        "what a power cut may take is not verified"
    );
    let mut again = other(|copy| copy.remote_name = b"elsewhere".to_vec());
    again.push(both[1].clone());
    assert_eq!(compared(vec![], again).await, 1);
    assert_eq!(db.pending(Selection::all()).await, [2]);
}

pub async fn a_new_document_with_an_old_id_has_no_past(db: &Db) {
    // The same file again: by another user, at another time, under another name.
    for row in [
        "2, '/a', FALSE, NULL, '2024-01-15 12:00:00.000000'",
        "1, '/a', FALSE, NULL, '2024-01-15 12:00:01.000000'",
        "1, '/a', FALSE, 'A.pdf', '2024-01-15 12:00:00.000000'",
    ] {
        let id = db.add(1, &["/a"]).await.remove(0);
        db.fail(vec![failed(&id, ErrorKind::SourceMissing, "gone")], NextTry::Never).await;
        assert_eq!(db.queue(Selection::all()).await.deferred.len(), 1);
        db.run("DELETE FROM documents");
        let columns = "id, user_id, file_path, synced_to_nas, original_name, created_at";
        db.run(&format!("INSERT INTO documents ({columns}) VALUES ({id}, {row})"));
        let line = db.queue(Selection::all()).await;
        assert_eq!((line.due, line.deferred), (1, vec![]), "{row}");
        assert_eq!(db.store.stats(None).await.unwrap().failed, 0);
        // Its first failure is the first.
        db.fail(vec![failed(&id, ErrorKind::SourceMissing, "gone")], NextTry::Never).await;
        assert_eq!(db.queue(Selection::all()).await.deferred[0].tries, 1);
        db.run("DELETE FROM documents");
        // What is remembered of those that are gone is forgotten when a run begins.
        db.store.begin(Selection::all(), "nas".to_owned(), noon()).await.unwrap();
        assert_eq!(db.database.numbers("SELECT COUNT(*) FROM nas_sync_documents"), [0]);
    }
}
