//! Selecting, reading, adding, listing and counting documents.

use nas_sync::internal::store::{FoundFile, ListRequest, Listing};
use nas_sync::{DocumentState, SyncStats};

use super::*;

fn some(ids: &[i64]) -> Vec<DocumentId> {
    ids.iter().copied().map(DocumentId::from).collect()
}

fn new(path: &str) -> NewDocument {
    NewDocument { file_path: PathBuf::from(path), original_name: None }
}

pub async fn selections_are_what_they_say(db: &Db) {
    db.add(1, &["/a", "/b"]).await;
    db.add(2, &["/c", "/d"]).await;
    db.mark(&[synced(&3.into(), "/c", "c")]).await;
    assert_eq!(db.pending(Selection::all()).await, [1, 2, 4]);
    assert_eq!(db.pending(Selection::of_user(2)).await, [4]);
    assert_eq!(db.pending(Selection::of_user(9)).await, [0; 0]);
    assert_eq!(db.pending(Selection::documents(some(&[4, 1, 4, 3]))).await, [1, 4], "each once");
    assert_eq!(db.pending(Selection::of_user(2).only(some(&[3, 4]))).await, [4]);
    assert_eq!(db.pending(Selection::documents([])).await, [0; 0]);
    assert_eq!(db.pending(Selection::all().without(some(&[1, 9]))).await, [2, 4]);
    let rows = db.store.documents(Selection::documents(some(&[3, 4]))).await.unwrap();
    let rows: Vec<_> = rows.into_iter().map(|row| row.unwrap()).collect();
    assert_eq!(rows.iter().map(|row| (number(&row.id), row.synced)).collect::<Vec<_>>(), [(3, true), (4, false)]);
    assert_eq!(
        (&rows[0].user_id, rows[0].file_path.to_str(), rows[0].created_at),
        (&2.into(), Some("/c"), Some(noon()))
    );
}

pub async fn a_run_leaves_out_what_comes_later(db: &Db) {
    db.add(1, &["/a"]).await;
    db.add(2, &["/b"]).await;
    let begin = async |selection| db.store.begin(selection, "nas".to_owned(), noon()).await.unwrap().selection;
    let (all, one) = (begin(Selection::all()).await, begin(Selection::of_user(1)).await);
    db.add(1, &["/c"]).await;
    assert_eq!(db.pending(all).await, [1, 2]);
    assert_eq!(db.pending(one).await, [1]);
    let named = Selection::documents(some(&[3]));
    assert_eq!(begin(named.clone()).await, named);
}

pub async fn unknown_ids_are_rows_of_the_answer(db: &Db) {
    db.add(1, &["/a", "/b"]).await;
    let wanted = some(&[7, 2, -3]);
    let shape = async |selection| -> Vec<(Option<i64>, Option<ErrorKind>)> {
        let rows = db.store.documents(selection).await.unwrap();
        let of = |row: Result<Document, BadRow>| match row {
            Ok(document) => (Some(number(&document.id)), None),
            Err(bad) => (bad.id.as_ref().map(number), Some(bad.error.kind())),
        };
        rows.into_iter().map(of).collect()
    };
    let missing = Some(ErrorKind::DocumentNotFound);
    let found = shape(Selection::documents(wanted.clone())).await;
    assert_eq!(found, [(Some(-3), missing), (Some(2), None), (Some(7), missing)]);
    let of_another = shape(Selection::of_user(5).only(wanted.clone())).await;
    assert!(of_another.len() == 3 && of_another.iter().all(|(_, kind)| *kind == missing), "{of_another:?}");
    let unusable = db.store.begin(Selection::documents(wanted), "nas".to_owned(), noon()).await.unwrap().unusable;
    assert_eq!(unusable.len(), 2);
}

/// Ids that no row of the table can have are ids without a row, whatever is asked: not a fault of the database.
pub async fn no_id_is_too_odd_to_be_asked_for(db: &Db) {
    let known = db.add(1, &["/a"]).await.remove(0);
    db.mark(&[synced(&known, "/a", "a")]).await;
    let odd = [
        "abc",
        "",
        "1.5",
        "0x1",
        "99999999999999999999",
        "a'b\"c",
        "é",
        "a\0b",
        "00000000-0000-4000-8000-00000000000a",
    ];
    for odd in odd.map(DocumentId::from) {
        let one = Selection::documents([odd.clone()]);
        let rows = db.store.documents(one.clone()).await.unwrap();
        assert!(
            matches!(&rows[..], [Err(bad)] if bad.error.kind() == ErrorKind::DocumentNotFound && bad.id == Some(odd.clone())),
            "{odd:?}: {rows:?}"
        );
        assert_eq!(db.store.begin(one.clone(), "nas".to_owned(), noon()).await.unwrap().unusable.len(), 1, "{odd:?}");
        assert_eq!(db.store.retry(one.clone(), None).await.unwrap_err().kind(), ErrorKind::DocumentNotFound, "{odd:?}");
        assert_eq!(db.store.resend(one.clone()).await.unwrap_err().kind(), ErrorKind::DocumentNotFound, "{odd:?}");
        assert_eq!(db.store.copy_of(odd.clone()).await.unwrap(), None, "{odd:?}");
        let claimed = db.store.lease(one.clone(), Due::Any, 9, worker(1, Life::Possible)).await.unwrap();
        assert!(claimed.fence.is_none() && claimed.documents.is_empty(), "{odd:?}");
        assert_eq!(db.queue(one.clone()).await, Queue::default(), "{odd:?}");
        let request = ListRequest::new(one.clone());
        let listing = db.store.list(request, noon(), worker(1, Life::Possible)).await.unwrap();
        assert_eq!(listing, Listing::default(), "{odd:?}");
        assert!(
            db.store.leased(one.clone()).await.unwrap().is_empty()
                && db.store.synced_copies(one).await.unwrap().is_empty()
        );
        // Left out it leaves nothing out.
        assert_eq!(db.store.documents(Selection::all().without([odd.clone()])).await.unwrap().len(), 1, "{odd:?}");
    }
    // A user that no row can have is refused where the database knows of which type its users are, and has no documents elsewhere.
    for odd in ["abc", "", "99999999999999999999", "a\0b"] {
        let of = Selection::of_user(UserId::from(odd));
        let counted = db.store.stats(Some(UserId::from(odd))).await;
        let found = db.store.documents(of.clone()).await;
        match &db.database {
            Database::File(_) => {
                assert_eq!(found.unwrap().len(), 0, "{odd:?}");
                assert_eq!(counted.unwrap(), SyncStats::default(), "{odd:?}");
                assert_eq!(db.queue(of).await, Queue::default());
            }
            Database::Server(..) => {
                assert_eq!(found.unwrap_err().kind(), ErrorKind::Usage, "{odd:?}");
                assert_eq!(counted.unwrap_err().kind(), ErrorKind::Usage, "{odd:?}");
            }
        }
    }
}

pub async fn adding_is_all_or_nothing(db: &Db) {
    db.run("CREATE UNIQUE INDEX one_path ON documents (file_path)");
    let user = || UserId::from(1);
    // Another user's: this one's would be known already.
    db.add(2, &["/c"]).await;
    let error = db.store.add(user(), ["/a", "/b", "/c"].map(new).into(), noon()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::DatabaseUnusable, "{error}");
    for bad in ["", "/a\0b"] {
        let error = db.store.add(user(), vec![new("/a"), new(bad)], noon()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Usage, "{error}");
    }
    assert_eq!(db.store.stats(None).await.unwrap().total_documents, 1);
}

pub async fn found_files_are_registered_once(db: &Db) {
    db.add(1, &["in/a"]).await;
    let found =
        |path: &str, also: &[&str]| FoundFile { document: new(path), also: also.iter().map(PathBuf::from).collect() };
    let files =
        vec![found("/up/in/a", &["in/a"]), found("/up/b", &["b"]), found("/up/b", &["b"]), found("/up/c'\"", &[])];
    let ids = db.store.add_found(UserId::from(2), files.clone(), noon()).await.unwrap();
    assert_eq!(ids.len(), 2);
    assert_eq!(db.store.add_found(UserId::from(3), files, noon()).await.unwrap(), []);
    let mut paths = db.store.map_paths(|path| path.to_str().map(ToOwned::to_owned)).await.unwrap();
    paths.sort();
    assert_eq!(paths, ["/up/b", "/up/c'\"", "in/a"]);
}

pub async fn statistics(db: &Db) {
    let with = async |user: Option<i64>| db.store.stats(user.map(UserId::from)).await.unwrap();
    assert_eq!(with(None).await, SyncStats::default());
    db.add(1, &["/a", "/b", "/c"]).await;
    db.add(2, &["/d"]).await;
    db.mark(&[synced(&1.into(), "/a", "a"), synced(&2.into(), "/b", "b")]).await;
    db.fail(vec![failed(&3.into(), ErrorKind::SourceMissing, "")], NextTry::At(noon())).await;
    let one = with(Some(1)).await;
    assert_eq!((one.total_documents, one.synced, one.pending, one.failed), (3, 2, 1, 1));
    assert_eq!((one.sync_percentage, one.last_sync), (66.7, Some(noon())));
    let two = with(Some(2)).await;
    assert_eq!((two.total_documents, two.synced, two.pending, two.failed, two.last_sync), (1, 0, 1, 0, None));
    let all = with(None).await;
    assert_eq!((all.total_documents, all.synced, all.failed, all.sync_percentage), (4, 2, 1, 50.0));
}

/// Five documents: synced, waiting, failed for good, and two pending ones.
async fn furnish(db: &Db) -> Vec<DocumentId> {
    let ids = db.add(1, &["in/Été.pdf", "in/b.pdf", "in/c.pdf", "in/d.pdf", "in/e.pdf"]).await;
    db.mark(&[synced(&ids[0], "in/Été.pdf", "2024/ÉTÉ n° 1.pdf")]).await;
    db.fail(vec![failed(&ids[1], ErrorKind::SourceMissing, "gone")], NextTry::At(minutes(5))).await;
    db.fail(vec![failed(&ids[2], ErrorKind::SourceMissing, "gone")], NextTry::Never).await;
    ids
}

async fn list(db: &Db, request: ListRequest, life: Life) -> Listing {
    db.store.list(request, noon(), worker(2, life)).await.unwrap()
}

fn shown(listing: &Listing) -> Vec<(i64, DocumentState)> {
    listing.documents.iter().map(|document| (number(&document.id), document.state)).collect()
}

fn in_state(state: DocumentState) -> ListRequest {
    let mut request = ListRequest::new(Selection::all());
    request.state = Some(state);
    request
}

pub async fn every_document_is_in_one_state(db: &Db) {
    use DocumentState::{Failed, Pending, Synced, Waiting};
    let ids = furnish(db).await;
    let all = list(db, ListRequest::new(Selection::all()), Life::Possible).await;
    assert_eq!(shown(&all), [(5, Pending), (4, Pending), (3, Failed), (2, Waiting), (1, Synced)]);
    let [.., gone, waiting, first] = all.documents.as_slice() else { panic!("too few") };
    assert_eq!((first.file.as_str(), first.synced_at), ("Été.pdf", Some(noon())));
    assert_eq!(first.copy.as_ref().map(|copy| copy.level), Some(Level::Stored));
    assert_eq!(waiting.deferred.as_ref().unwrap().next, NextTry::At(minutes(5)));
    let why = gone.deferred.as_ref().unwrap();
    assert_eq!((why.next, why.tries, why.failure.text.as_str()), (NextTry::Never, 1, "gone"));
    for state in DocumentState::ALL {
        let expected: Vec<_> = shown(&all).into_iter().filter(|(_, found)| *found == state).collect();
        assert_eq!(shown(&list(db, in_state(state), Life::Possible).await), expected);
    }
    // The queue counts the same; a wait that is over leaves a document pending.
    let queue = db.queue(Selection::all()).await;
    assert_eq!((queue.due, queue.deferred.len()), (2, 2));
    let later = db.store.list(in_state(Waiting), minutes(6), worker(2, Life::Possible)).await.unwrap();
    assert_eq!(later, Listing::default());
    // What a worker sends is said while it lives.
    let one = || Selection::documents([ids[1].clone()]);
    db.store.lease(one(), Due::Any, 9, worker(1, Life::Possible)).await.unwrap();
    let sending = async |life| {
        let listing = list(db, ListRequest::new(one()), life).await;
        (listing.documents[0].sending, listing.documents[0].state)
    };
    assert_eq!(sending(Life::Possible).await, (true, Pending));
    assert_eq!(sending(Life::Over).await, (false, Waiting));
    // Those that are synced go again, and nothing else changes.
    assert_eq!(db.store.resend(Selection::of_user(2)).await.unwrap(), 0);
    assert_eq!(db.store.resend(Selection::documents(ids)).await.unwrap(), 1);
    assert_eq!(db.pending(Selection::all()).await, [1, 2, 3, 4, 5]);
    assert_eq!(db.store.stats(None).await.unwrap().failed, 2);
}

pub async fn names_are_found_in_any_case(db: &Db) {
    furnish(db).await;
    let limited = async |limit| {
        let mut request = ListRequest::new(Selection::all());
        request.limit = limit;
        let listing = list(db, request, Life::Possible).await;
        (listing.documents.len(), listing.more)
    };
    assert_eq!((limited(2).await, limited(5).await), ((2, true), (5, false)));
    for (name, found) in [("été", &[1][..]), ("N° 1", &[1]), ("%.PDF", &[]), (".pdf", &[5, 4, 3, 2, 1])] {
        let mut request = ListRequest::new(Selection::all());
        request.name = Some(name.to_owned());
        let listing = list(db, request, Life::Possible).await;
        assert_eq!(shown(&listing).iter().map(|(id, _)| *id).collect::<Vec<_>>(), found, "{name}");
    }
}

pub async fn changes_of_others_are_noticed(db: &Db) {
    let other = db.open().await;
    let view = async |known| {
        db.store.view(Selection::all(), "nas".to_owned(), known, noon(), worker(1, Life::Possible)).await.unwrap()
    };
    let before = view(None).await.unwrap();
    assert!(view(Some(before.version)).await.is_none(), "nothing has changed");
    assert_eq!((before.queue.due, before.oldest), (0, None));
    for (number, at) in [(1, minutes(1)), (2, noon()), (3, minutes(2))] {
        other.add(UserId::from(1), vec![new(&number.to_string())], at).await.unwrap();
    }
    let after = view(Some(before.version)).await.unwrap();
    assert_eq!((after.queue.due, after.oldest), (3, Some(noon())));
    // The oldest is among those that may still be sent.
    db.fail(vec![failed(&2.into(), ErrorKind::SourceMissing, "gone")], NextTry::Never).await;
    let view = view(None).await.unwrap();
    assert_eq!((view.queue.due, view.queue.deferred.len(), view.oldest), (2, 1, Some(minutes(1))));
}
