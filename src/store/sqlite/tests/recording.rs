//! Marking, failing, claiming names, and counting.

use super::*;

#[test]
fn marking_touches_two_columns_and_the_own_tables() {
    let db = Db::absent();
    let mut store = db.open();
    let id = add(&mut store, 1, &["/up/a.pdf"])[0].clone();
    let row = "SELECT id || user_id || file_path || created_at || ifnull(original_name, '-') FROM documents";
    let before = db.text(row);
    let record = synced(id.clone(), "/up/a.pdf", "a.pdf");
    assert_eq!(mark(&mut store, std::slice::from_ref(&record)).unwrap(), [MarkOutcome::Marked]);
    assert_eq!(db.text(row), before);
    assert_eq!(
        db.text("SELECT synced_to_nas || '|' || synced_at FROM documents").as_deref(),
        Some("1|2024-01-15 12:00:00.000000")
    );
    let history = store.history(id).unwrap();
    assert_eq!(history.copy, Some(record.copy.clone()));
    assert_eq!((history.attempts, history.last_failure, history.last_attempt), (0, None, Some(noon())));
}

#[test]
fn a_row_edited_since_it_was_read_is_not_marked() {
    let db = Db::foreign(
        "CREATE TABLE documents (id INTEGER PRIMARY KEY, user_id INTEGER, file_path TEXT COLLATE NOCASE,
                                 synced_to_nas BOOLEAN, synced_at TIMESTAMP);
         INSERT INTO documents VALUES (1, 1, '/a', 0, NULL), (2, 1, '/b', 0, NULL), (3, 1, '/c', 0, NULL),
                                      (4, 1, '/d', 0, NULL), (5, 1, x'2f65ff', 0, NULL);",
    );
    let mut store = db.open();
    let read: Vec<Document> = store.pending(&Selection::all()).unwrap().into_iter().map(|row| row.unwrap()).collect();
    let fence = lease_all(&mut store);
    db.raw()
        .execute_batch(
            "UPDATE documents SET file_path = '/A' WHERE id = 1;
             DELETE FROM documents WHERE id = 2;
             UPDATE documents SET synced_to_nas = 1 WHERE id = 3;",
        )
        .unwrap();
    let records: Vec<SyncedRecord> = read
        .into_iter()
        .map(|document| SyncedRecord {
            file_path: document.file_path,
            ..synced(document.id.clone(), "", &document.id.to_string())
        })
        .collect();
    let outcomes = settle(&mut store, fence, &Settlement { synced: records, ..Settlement::default() }).unwrap();
    assert_eq!(
        outcomes,
        [MarkOutcome::Changed, MarkOutcome::Gone, MarkOutcome::AlreadySynced, MarkOutcome::Marked, MarkOutcome::Marked]
    );
    assert_eq!(ids(store.pending(&Selection::all()).unwrap()), [1]);
    assert_eq!(store.history(DocumentId::from(1)).unwrap(), History::default());
}

#[test]
fn a_batch_is_one_commit() {
    let db = Db::absent();
    let mut store = db.open();
    let both = add(&mut store, 1, &["/a", "/b"]);
    // Writing the second row ends the transaction, so the first must not be written either.
    db.raw()
        .execute_batch(
            "CREATE TRIGGER no BEFORE UPDATE ON documents WHEN old.id = 2 BEGIN SELECT RAISE(ROLLBACK, 'no'); END;",
        )
        .unwrap();
    let records = [synced(both[0].clone(), "/a", "a"), synced(both[1].clone(), "/b", "b")];
    assert_eq!(kind(mark(&mut store, &records)), ErrorKind::DatabaseUnusable);
    assert_eq!(ids(store.pending(&Selection::all()).unwrap()), [1, 2]);
    assert!(store.owners_of_names(&[b"a".to_vec(), b"b".to_vec()]).unwrap().is_empty());
}

#[test]
fn a_row_that_the_table_refuses_does_not_keep_the_others() {
    let db = Db::absent();
    let mut store = db.open();
    let both = add(&mut store, 1, &["/a", "/b"]);
    db.raw()
        .execute_batch(
            "CREATE TRIGGER no BEFORE UPDATE ON documents WHEN old.id = 1 BEGIN SELECT RAISE(ABORT, 'no'); END;",
        )
        .unwrap();
    let records = [synced(both[0].clone(), "/a", "a"), synced(both[1].clone(), "/b", "b")];
    let outcomes = mark(&mut store, &records).unwrap();
    assert_eq!(outcomes, [MarkOutcome::Refused(String::from("no")), MarkOutcome::Marked]);
    assert_eq!(ids(store.pending(&Selection::all()).unwrap()), [1]);
}

#[test]
fn failures_are_counted_with_their_cause() {
    let db = Db::absent();
    let mut store = db.open();
    let id = add(&mut store, 1, &["/a"])[0].clone();
    let failed = |kind, text: &str| FailedTry { id: id.clone(), kind, text: text.to_owned(), solution: None };
    fail(&mut store, &[failed(ErrorKind::SourceMissing, "gone")]);
    fail(&mut store, &[failed(ErrorKind::DiskFull, &"é".repeat(2000))]);
    let history = store.history(id.clone()).unwrap();
    assert_eq!(history.attempts, 2);
    let failure = history.last_failure.unwrap();
    assert_eq!((failure.kind.as_str(), failure.text.as_str()), ("disk_full", "é".repeat(1024).as_str()));
    assert_eq!(store.stats(None).unwrap().failed, 1);

    // Another file: the count starts again.
    db.raw().execute("UPDATE documents SET file_path = '/b'", []).unwrap();
    assert_eq!(store.history(id.clone()).unwrap(), History::default());
    assert_eq!(store.stats(None).unwrap().failed, 0);
    fail(&mut store, &[failed(ErrorKind::SourceMissing, "gone")]);
    assert_eq!(store.history(id.clone()).unwrap().attempts, 1);

    // Success ends the matter, and the failure of somebody without a lease does not bring it back.
    mark(&mut store, &[synced(id.clone(), "/b", "b")]).unwrap();
    let late = Settlement { failed: vec![failed(ErrorKind::Stalled, "late")], ..Settlement::default() };
    settle(&mut store, Fence(99), &late).unwrap();
    let history = store.history(id).unwrap();
    assert_eq!((history.attempts, history.last_failure), (0, None));
    assert_eq!(store.history(DocumentId::from(99)).unwrap(), History::default());
}

#[test]
fn failures_are_forgotten_for_a_selection() {
    let db = Db::absent();
    let mut store = db.open();
    let one = add(&mut store, 1, &["/a"])[0].clone();
    let two = add(&mut store, 2, &["/b"])[0].clone();
    let failed = |id| FailedTry { id, kind: ErrorKind::SourceMissing, text: "gone".to_owned(), solution: None };
    fail(&mut store, &[failed(one.clone()), failed(two.clone())]);
    assert_eq!(store.forget_failures(&Selection::of_user(UserId::from(1))).unwrap(), 1);
    assert_eq!(store.history(one).unwrap().last_failure, None);
    assert_eq!(store.history(two).unwrap().attempts, 1);
    assert_eq!(store.forget_failures(&Selection::all()).unwrap(), 1);
    assert_eq!(store.forget_failures(&Selection::all()).unwrap(), 0);
}

#[test]
fn a_name_belongs_to_one_document() {
    let db = Db::absent();
    let mut store = db.open();
    let added = add(&mut store, 1, &["/1/x", "/2/x", "/3/x"]);
    let claim = |id: DocumentId, name: &str| (id, name.as_bytes().to_vec());
    let claims = [claim(added[0].clone(), "x"), claim(added[1].clone(), "x"), claim(added[2].clone(), "X")];
    let answers = store.claim_names(&claims).unwrap();
    assert_eq!(answers, [Claim::Granted, Claim::TakenBy(added[0].clone()), Claim::Granted]);
    // Another process sees the same, and who sends without a claim is not believed.
    let mut other = db.open();
    assert_eq!(other.claim_names(&[claim(added[1].clone(), "x")]).unwrap(), [Claim::TakenBy(added[0].clone())]);
    assert_eq!(
        mark(&mut other, &[synced(added[1].clone(), "/2/x", "x")]).unwrap(),
        [MarkOutcome::NameTaken(added[0].clone())]
    );
    assert_eq!(mark(&mut other, &[synced(added[0].clone(), "/1/x", "x")]).unwrap(), [MarkOutcome::Marked]);
    assert_eq!(store.owner_of_name(b"x").unwrap(), Some(added[0].clone()));
    assert_eq!(store.owner_of_name(b"\xff").unwrap(), None);
    assert_eq!(store.owner_of_name(b"X").unwrap(), Some(added[2].clone()));

    // Sent again under a new layout: the old copy keeps its name until the new one is stored.
    db.raw().execute("UPDATE documents SET synced_to_nas = 0 WHERE id = 1", []).unwrap();
    assert_eq!(store.claim_names(&[claim(added[0].clone(), "y")]).unwrap(), [Claim::Granted]);
    assert_eq!(store.claim_names(&[claim(added[0].clone(), "z")]).unwrap(), [Claim::Granted]);
    assert_eq!(store.owner_of_name(b"y").unwrap(), None, "a claim that is no longer wanted is free");
    assert_eq!(store.owner_of_name(b"x").unwrap(), Some(added[0].clone()));
    mark(&mut store, &[synced(added[0].clone(), "/1/x", "z")]).unwrap();
    assert_eq!(store.claim_names(&[claim(added[1].clone(), "x")]).unwrap(), [Claim::Granted]);

    // A document that is no longer there owns nothing.
    db.raw().execute("DELETE FROM documents WHERE id = 2", []).unwrap();
    assert_eq!(store.owner_of_name(b"x").unwrap(), None);
    assert_eq!(store.claim_names(&[claim(added[2].clone(), "x")]).unwrap(), [Claim::Granted]);
}

#[test]
fn two_connections_never_share_a_name() {
    let db = Db::absent();
    let added = add(&mut db.open(), 1, &["/1/x", "/2/x", "/3/x", "/4/x"]);
    let granted: usize = std::thread::scope(|scope| {
        let threads: Vec<_> = added
            .iter()
            .map(|id| {
                let db = &db;
                scope.spawn(move || {
                    let mut store = SqliteStore::open(&db.path(), &TableName::default(), Access::Existing).unwrap();
                    usize::from(store.claim_names(&[(id.clone(), b"x".to_vec())]).unwrap() == [Claim::Granted])
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    assert_eq!(granted, 1);
}

#[test]
fn stats_of_one_user_and_of_all() {
    let db = Db::absent();
    let mut store = db.open();
    assert_eq!(store.stats(None).unwrap(), SyncStats::default());
    add(&mut store, 1, &["/a", "/b", "/c"]);
    add(&mut store, 2, &["/d"]);
    mark(&mut store, &[synced(DocumentId::from(1), "/a", "a"), synced(DocumentId::from(2), "/b", "b")]).unwrap();
    fail(
        &mut store,
        &[FailedTry { id: DocumentId::from(3), kind: ErrorKind::SourceMissing, text: String::new(), solution: None }],
    );
    let one = SyncStats {
        total_documents: 3,
        synced: 2,
        pending: 1,
        failed: 1,
        sync_percentage: 66.7,
        last_sync: Some(noon()),
    };
    assert_eq!(store.stats(Some(UserId::from(1))).unwrap(), one);
    assert_eq!(
        store.stats(Some(UserId::from(2))).unwrap(),
        SyncStats { total_documents: 1, pending: 1, ..SyncStats::default() }
    );
    let all = SyncStats { total_documents: 4, pending: 2, sync_percentage: 50.0, ..one };
    assert_eq!(store.stats(None).unwrap(), all);
}

#[test]
fn the_last_sync_is_the_latest_time_whatever_stands_there() {
    let db = Db::foreign(
        "CREATE TABLE documents (id INTEGER PRIMARY KEY, user_id, file_path, synced_to_nas BOOLEAN, synced_at TIMESTAMP);
         INSERT INTO documents (user_id, file_path, synced_to_nas, synced_at) VALUES
             (1, '/a', 1, 'zzz'), (1, '/b', 1, 1705329000), (1, '/c', 1, x'ff'), (1, '/d', 1, NULL);",
    );
    let store = db.open();
    assert_eq!(store.stats(None).unwrap().last_sync, None);
    db.raw()
        .execute_batch(
            "INSERT INTO documents (user_id, file_path, synced_to_nas, synced_at) VALUES
                 (1, '/e', 1, '2024-01-15 12:00:00'), (1, '/f', 1, '2024-01-15T11:59:59Z'),
                 (1, '/g', 0, '2025-01-01 00:00:00');",
        )
        .unwrap();
    assert_eq!(store.stats(None).unwrap().last_sync, Some(noon()));
}
