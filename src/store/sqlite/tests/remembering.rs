//! What is remembered belongs to one document and its content; what is damaged of it costs no other.

use super::*;

fn failed(id: &DocumentId) -> FailedTry {
    FailedTry { id: id.clone(), kind: ErrorKind::SourceMissing, text: "gone".to_owned(), solution: None }
}

/// Fails a document for good.
fn fail_for_good(store: &mut SqliteStore, id: &DocumentId) {
    let fence = lease_all(store);
    let settlement = Settlement { failed: vec![failed(id)], ..Settlement::default() };
    store.settle(fence, &settlement, noon(), &|_, _| NextTry::Never, &|_| true).unwrap();
    store.release(fence).unwrap();
}

#[test]
fn a_document_that_gets_the_id_of_a_failed_one_is_due() {
    // The same file again, by another user, at another time, or under another name.
    for row in [
        "(1, 2, '/a', 0, NULL, '2024-01-15 12:00:00.000000')",
        "(1, 1, '/a', 0, NULL, '2024-01-15 12:00:01.000000')",
        "(1, 1, '/a', 0, 'A.pdf', '2024-01-15 12:00:00.000000')",
    ] {
        let db = Db::absent();
        let mut store = db.open();
        let id = add(&mut store, 1, &["/a"]).remove(0);
        fail_for_good(&mut store, &id);
        assert_eq!(queue(&store, &Selection::all(), noon()).deferred.len(), 1);
        db.raw().execute("DELETE FROM documents WHERE id = 1", []).unwrap();
        let sql = "INSERT INTO documents (id, user_id, file_path, synced_to_nas, original_name, created_at) VALUES ";
        db.raw().execute(&format!("{sql}{row}"), []).unwrap();
        let line = queue(&store, &Selection::all(), noon());
        assert_eq!((line.due, line.deferred), (1, vec![]), "{row}");
        assert_eq!(store.stats(None).unwrap().failed, 0);
        assert_eq!(store.history(id.clone()).unwrap(), History::default());
        assert!(oldest(&store, &Selection::all()).is_some());
        // Its first failure is the first.
        fail(&mut store, &[failed(&id)]);
        assert_eq!(store.history(id).unwrap().attempts, 1);
    }
}

#[test]
fn what_was_remembered_of_deleted_documents_is_forgotten() {
    let db = Db::foreign(
        "CREATE TABLE documents (id INTEGER PRIMARY KEY, user_id, file_path, synced_to_nas BOOLEAN, synced_at TIMESTAMP);
         INSERT INTO documents (user_id, file_path) VALUES (1, '/a'), (1, '/b');",
    );
    let mut store = db.open();
    store.forget_gone().unwrap();
    fail_for_good(&mut store, &2.into());
    store.claim_names(&[(2.into(), b"b".to_vec())]).unwrap();
    store.forget_gone().unwrap();
    assert_eq!(queue(&store, &Selection::all(), noon()).deferred.len(), 1, "it is still there");
    db.raw().execute("DELETE FROM documents WHERE id = 2", []).unwrap();
    store.forget_gone().unwrap();
    // Here nothing in the row tells the two apart.
    db.raw().execute("INSERT INTO documents (user_id, file_path) VALUES (1, '/b')", []).unwrap();
    assert_eq!(queue(&store, &Selection::all(), noon()).due, 2);
    assert_eq!(store.owner_of_name(b"b").unwrap(), None);
}

#[test]
fn a_document_has_no_copy_of_one_that_had_its_id() {
    let db = Db::absent();
    let mut store = db.open();
    let id = add(&mut store, 1, &["/x/a"]).remove(0);
    mark(&mut store, &[synced(id.clone(), "/x/a", "a")]).unwrap();
    db.raw().execute_batch("DELETE FROM documents; DELETE FROM sqlite_sequence").unwrap();
    assert_eq!(add(&mut store, 2, &["/y/b"]).remove(0), id);
    fail(&mut store, &[failed(&id)]);
    let copy = "SELECT coalesce(remote_name, 'none') || coalesce(sha256, ' at all') FROM nas_sync_documents";
    assert_eq!(db.text(copy).as_deref(), Some("none at all"));
}

#[test]
fn the_name_of_a_deleted_document_is_free_although_its_id_is_used_again() {
    let db = Db::absent();
    let mut store = db.open();
    let id = add(&mut store, 1, &["/x/a"]).remove(0);
    store.claim_names(&[(id.clone(), b"a".to_vec())]).unwrap();
    mark(&mut store, &[synced(id.clone(), "/x/a", "a")]).unwrap();
    // In tables of other programs ids are used again.
    db.raw().execute_batch("DELETE FROM documents; DELETE FROM sqlite_sequence").unwrap();
    let added = add(&mut store, 2, &["/y/b", "/z/a"]);
    assert_eq!(added[0], id);
    let claims = store.claim_names(&[(added[0].clone(), b"b".to_vec()), (added[1].clone(), b"a".to_vec())]).unwrap();
    assert_eq!(claims, [Claim::Granted, Claim::Granted]);
}

/// Whatever stands in one field of our own tables, every other document goes on as before.
#[test]
fn a_corrupt_value_is_the_trouble_of_one_row() {
    let columns = [
        (
            "nas_sync_documents",
            "document_id = 1",
            &[
                "file_path",
                "row_identity",
                "attempts",
                "last_error_kind",
                "last_error_text",
                "last_error_solution",
                "last_attempt_at",
                "remote_name",
                "bytes",
                "mtime_seconds",
                "mtime_nanoseconds",
                "level",
                "sha256",
                "verified_at",
                "next_attempt_at",
                "failed_for_good",
            ][..],
        ),
        (
            "nas_sync_documents",
            "document_id = 3",
            &["attempts", "last_error_kind", "last_error_text", "failed_for_good"],
        ),
        ("nas_sync_leases", "1", &["clock", "space", "process", "started", "beat", "beat_at"]),
        ("nas_sync_lease_watches", "1", &["beat", "seen_at"]),
        ("nas_sync_leased", "document_id = 4", &["fence"]),
        ("nas_sync_names", "document_id = 1", &["document_id", "name", "folded"]),
        ("nas_sync_targets", "1", &["paused_until", "pause_kind", "pause_text", "pause_solution", "pauses"]),
        ("nas_sync_refusals", "1", &["evidence", "server", "times", "learnt_at"]),
        ("nas_sync_attempts", "1", &["document_id", "started_at", "duration_ms", "bytes", "outcome", "error_kind"]),
    ];
    let (template, added) = furnished();
    for (table, row, columns) in columns {
        for column in columns {
            for value in ["'x'", "x'ff00'", "CAST(x'ff' AS TEXT)", "-1", "9223372036854775807", "1.5", "NULL"] {
                let db = Db::absent();
                std::fs::copy(template.path(), db.path()).unwrap();
                let raw = db.raw();
                raw.pragma_update(None, "synchronous", "OFF").unwrap();
                let change = format!("UPDATE {table} SET {column} = {value} WHERE {row}");
                match raw.execute(&change, []) {
                    Ok(changed) => assert_eq!(changed, 1, "{change}"),
                    // The table itself does not allow it.
                    Err(error) => assert!(error.to_string().contains("NOT NULL"), "{change}: {error}"),
                }
                every_question_is_answered(&db, &added).unwrap_or_else(|error| panic!("{change}: {error:?}"));
            }
        }
    }
}

/// A database with something in each of our tables: two documents are synced, the third has failed, and a worker of another
/// machine sends the fourth.
fn furnished() -> (Db, Vec<DocumentId>) {
    let db = Db::absent();
    let mut store = db.open();
    let added = add(&mut store, 1, &["/a", "/b", "/c", "/d"]);
    let pause = Pause {
        until: Some(noon()),
        failure: Failure { kind: "disk_full".to_owned(), text: "full".to_owned(), solution: None },
        count: 1,
    };
    store.set_pause("nas", Some(&pause)).unwrap();
    store.remember_refusals("nas", &[Refusal::new(Capability::Fsync, "unknown option", "SSH-2.0-x")], noon()).unwrap();
    let both = [synced(added[0].clone(), "/a", "a"), synced(added[1].clone(), "/b", "b")];
    mark(&mut store, &both).unwrap();
    let fence = lease_all(&mut store);
    let attempt = Attempt {
        id: added[2].clone(),
        remote_name: b"c".to_vec(),
        sha256: None,
        started: noon(),
        took: Duration::ZERO,
        bytes: 0,
        end: AttemptEnd::Failed,
        durable_by: None,
        failure: None,
    };
    let settlement = Settlement { failed: vec![failed(&added[2])], attempts: vec![attempt], ..Settlement::default() };
    settle(&mut store, fence, &settlement).unwrap();
    let elsewhere = Holder { clock: "there".to_owned(), space: "there".to_owned(), ..holder(7) };
    let worker = |holder| Worker { holder, now: Duration::ZERO, life_of: &|_| Life::Possible };
    let fourth = Selection::documents([added[3].clone()]);
    store.claim(&fourth, &Due::Any, 9, &worker(&elsewhere)).unwrap();
    // The lease is seen once, so that it is watched.
    store.claim(&fourth, &Due::Any, 9, &worker(&holder(1))).unwrap();
    drop(store);
    (db, added)
}

fn every_question_is_answered(db: &Db, added: &[DocumentId]) -> Result<()> {
    let mut store = db.open();
    store.conn.pragma_update(None, "synchronous", "OFF").unwrap();
    let store = &mut store;
    let (all, me) = (Selection::all(), holder(1));
    let worker = Worker { holder: &me, now: Duration::ZERO, life_of: &|_| Life::Possible };
    let copies = store.copies(&all, Copies::OfSynced)?;
    assert_eq!(copies.len(), 2);
    assert!(copies[1].copy.is_some(), "the other document's");
    let (line, _) = store.queue(&all, noon(), &worker)?;
    assert_eq!(line.due + line.leased + line.deferred.len() as u64, 2);
    store.stats(None)?;
    store.refusals("nas", noon())?;
    store.pause("nas")?;
    store.leased(&all)?;
    store.owner_of_name(b"a")?;
    store.forget_gone()?;
    for id in added {
        store.history(id.clone())?;
    }
    let claimed = store.claim(&all, &Due::Any, 9, &worker)?;
    let fence = claimed.fence.expect("the third document is free");
    store.claim_names(&[(added[2].clone(), b"c".to_vec())])?;
    let settlement = Settlement { failed: vec![failed(&added[2])], ..Settlement::default() };
    store.settle(fence, &settlement, noon(), &|_, _| NextTry::At(noon()), &|_| true)?;
    assert!(store.renew(fence, Duration::ZERO)?);
    store.release(fence)?;
    let copies: Vec<_> = copies.into_iter().filter_map(|copy| Some((copy.id, copy.copy?))).collect();
    store.record_verified(&copies, noon())?;
    assert!(store.requeue(&copies)? >= 1);
    store.forget_failures(&all)?;
    let records = [synced(added[0].clone(), "/a", "a"), synced(added[1].clone(), "/b", "b")];
    let outcomes = mark(store, &records)?;
    assert!(matches!(outcomes[1], MarkOutcome::Marked | MarkOutcome::AlreadySynced));
    Ok(())
}

#[test]
fn attempts_are_kept_within_bounds() {
    let db = Db::absent();
    let mut store = db.open();
    let id = add(&mut store, 1, &["/a"]).remove(0);
    let attempt = |number| Attempt {
        id: id.clone(),
        remote_name: b"a".to_vec(),
        sha256: None,
        started: noon() + TimeDelta::seconds(number),
        took: Duration::ZERO,
        bytes: 0,
        end: AttemptEnd::Cut,
        durable_by: None,
        failure: None,
    };
    let attempts = (0..50).map(attempt).collect();
    settle(&mut store, Fence(5), &Settlement { attempts, ..Settlement::default() }).unwrap();
    let kept = "SELECT COUNT(*) || ' from ' || min(started_at) FROM nas_sync_attempts";
    assert_eq!(db.text(kept).as_deref(), Some("20 from 2024-01-15 12:00:30.000000"));
}

#[test]
fn a_mark_that_does_not_stay_is_refused() {
    for trigger in [
        "AFTER UPDATE ON documents BEGIN UPDATE documents SET synced_to_nas = 0 WHERE id = new.id; END",
        "AFTER UPDATE OF synced_at ON documents BEGIN UPDATE documents SET synced_to_nas = 'no' WHERE id = new.id; END",
        "BEFORE UPDATE ON documents BEGIN SELECT RAISE(IGNORE); END",
    ] {
        let db = Db::absent();
        let mut store = db.open();
        let id = add(&mut store, 1, &["/a"]).remove(0);
        db.raw().execute_batch(&format!("CREATE TRIGGER again {trigger}")).unwrap();
        let fence = lease_all(&mut store);
        let settlement = Settlement { synced: vec![synced(id, "/a", "a")], ..Settlement::default() };
        let outcomes = store.settle(fence, &settlement, noon(), &|_, _| NextTry::At(noon()), &|_| true).unwrap();
        assert!(matches!(&outcomes[..], [MarkOutcome::Refused(why)] if why.contains("trigger")), "{outcomes:?}");
        assert_eq!(store.leased(&Selection::all()).unwrap(), 1, "its failure is still to come");
    }
}
