//! Selecting, reading and adding documents.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;

use chrono::NaiveDate;

use super::*;

#[test]
fn selections_give_pending_documents_by_id() {
    let db = Db::absent();
    let mut store = db.open();
    add(&mut store, 1, &["/a", "/b"]);
    add(&mut store, 2, &["/c", "/d"]);
    mark(&mut store, &[synced(DocumentId::from(3), "/c", "c")]).unwrap();
    let pending = |selection| ids(store.pending(&selection).unwrap());
    let some = |ids: &[i64]| ids.iter().copied().map(DocumentId::from).collect::<Vec<_>>();
    assert_eq!(pending(Selection::all()), [1, 2, 4]);
    assert_eq!(pending(Selection::of_user(UserId::from(2))), [4]);
    assert_eq!(pending(Selection::of_user(UserId::from(9))), [0; 0]);
    assert_eq!(pending(Selection::documents(some(&[4, 1, 4, 3]))), [1, 4], "each once, synced ones left out");
    assert_eq!(pending(Selection::of_user(UserId::from(2)).only(some(&[3, 4]))), [4]);
    assert_eq!(pending(Selection::documents(Vec::new())), [0; 0]);
    assert_eq!(ids(store.documents(&Selection::documents(some(&[3, 4]))).unwrap()), [3, 4]);
    let synced = store.documents(&Selection::documents(some(&[3]))).unwrap().remove(0).unwrap();
    assert!(synced.synced);
}

#[test]
fn a_selection_can_leave_out_what_comes_later() {
    let db = Db::absent();
    let mut store = db.open();
    assert_eq!(store.as_of_now(&Selection::all()).unwrap(), Selection::all().up_to(DocumentId::from(0)));
    add(&mut store, 1, &["/a"]);
    add(&mut store, 2, &["/b"]);
    let [all, one] =
        [Selection::all(), Selection::of_user(UserId::from(1))].map(|selection| store.as_of_now(&selection).unwrap());
    add(&mut store, 1, &["/c"]);
    assert_eq!(ids(store.pending(&all).unwrap()), [1, 2]);
    assert_eq!(ids(store.pending(&one).unwrap()), [1]);
    let named = Selection::documents(vec![DocumentId::from(3)]);
    assert_eq!(store.as_of_now(&named).unwrap(), named);
}

#[test]
fn unknown_ids_are_rows_of_the_answer() {
    let db = Db::absent();
    let mut store = db.open();
    add(&mut store, 1, &["/a", "/b"]);
    let wanted = vec![DocumentId::from(7), DocumentId::from(2), DocumentId::from(-3)];
    let rows = store.pending(&Selection::documents(wanted.clone())).unwrap();
    let shape: Vec<_> = rows
        .iter()
        .map(|row| match row {
            Ok(document) => (Some(document.id.as_integer().unwrap()), None),
            Err(bad) => (bad.id.as_ref().map(|id| id.as_integer().unwrap()), Some(bad.error.kind())),
        })
        .collect();
    let missing = Some(ErrorKind::DocumentNotFound);
    assert_eq!(shape, [(Some(-3), missing), (Some(2), None), (Some(7), missing)]);

    let rows = store.pending(&Selection::of_user(UserId::from(5)).only(wanted)).unwrap();
    assert!(rows.iter().all(|row| row.as_ref().is_err_and(|bad| bad.error.message().contains("user 5"))), "{rows:?}");
}

#[test]
fn more_ids_than_sqlite_has_parameters() {
    let db = Db::absent();
    let mut store = db.open();
    add(&mut store, 1, &["/a"]);
    let many: Vec<_> = (1..=100_000).map(DocumentId::from).collect();
    assert_eq!(store.pending(&Selection::documents(many)).unwrap().len(), 100_000);
}

#[test]
fn nonsense_in_a_row_is_an_error_of_that_row() {
    let db = Db::foreign(
        "CREATE TABLE documents (id, user_id, file_path, synced_to_nas, synced_at, date, doc_type, original_name);
         INSERT INTO documents (id, user_id, file_path) VALUES
             (1, 1, NULL), (2, 1, 17), (3, 'me', '/x'), (4, 1, ''), (5, 1, 'a' || char(0) || 'b'),
             ('six', 1, '/x'), (NULL, 1, '/x'), (8, NULL, '/x'), (9, 1, x'2f78ff'), (10, 1, CAST(x'2f79ff' AS TEXT)),
             (11, 1, 1.5);
         INSERT INTO documents (id, user_id, file_path, date, doc_type, original_name) VALUES
             (20, 1, '/ok', 17, x'ff', '  '), (21, 1, '/ok', '15/01/2024', 5, x'6869'),
             (22, 1, '/ok', '2024-01-15T00:00:00', 'facture', 'été.pdf');",
    );
    let store = db.open();
    let rows = store.pending(&Selection::all()).unwrap();
    let (good, bad): (Vec<_>, Vec<_>) = rows.into_iter().partition(std::result::Result::is_ok);
    let mut bad: Vec<_> =
        bad.into_iter().map(|row| row.unwrap_err()).map(|bad| bad.id.map(|id| id.as_integer().unwrap())).collect();
    bad.sort_unstable();
    assert_eq!(bad, [None, None, Some(1), Some(2), Some(3), Some(4), Some(5), Some(8), Some(11)]);
    let good: Vec<Document> = good.into_iter().map(|row| row.unwrap()).collect();
    let paths: Vec<&[u8]> = good.iter().map(|document| document.file_path.as_os_str().as_bytes()).collect();
    assert_eq!(paths, [&b"/x\xff"[..], b"/y\xff", b"/ok", b"/ok", b"/ok"]);
    let details: Vec<_> =
        good[2..].iter().map(|row| (row.date, row.doc_type.as_deref(), row.original_name.as_deref())).collect();
    let day = NaiveDate::from_ymd_opt(2024, 1, 15);
    assert_eq!(details, [(None, None, None), (None, Some("5"), Some("hi")), (day, Some("facture"), Some("été.pdf"))]);
}

#[test]
fn only_what_is_clearly_true_is_synced() {
    // Without a declared type SQLite keeps each value as it is.
    for declared in ["", "BOOLEAN", "TEXT", "INTEGER"] {
        let db = Db::foreign(&format!(
            "CREATE TABLE documents (id INTEGER PRIMARY KEY, user_id, file_path, synced_to_nas {declared}, synced_at);
             INSERT INTO documents (user_id, file_path, synced_to_nas) VALUES
                 (1, '/1', 1), (1, '/2', 'true'), (1, '/3', 'T'), (1, '/4', 1.0), (1, '/5', '1'), (1, '/6', ' YES '),
                 (1, '/7', 0), (1, '/8', NULL), (1, '/9', 'false'), (1, '/10', ''), (1, '/11', 'maybe'), (1, '/12', x'01'),
                 (1, '/13', '0'), (1, '/14', 0.0);"
        ));
        let mut store = db.open();
        // In a TEXT column 1.0 becomes '1.0', which is not clearly true.
        let expected: &[i64] =
            if declared == "TEXT" { &[4, 7, 8, 9, 10, 11, 12, 13, 14] } else { &[7, 8, 9, 10, 11, 12, 13, 14] };
        assert_eq!(ids(store.pending(&Selection::all()).unwrap()), expected, "{declared}");
        let records: Vec<_> =
            expected.iter().map(|id| synced(DocumentId::from(*id), &format!("/{id}"), &id.to_string())).collect();
        let outcomes = mark(&mut store, &records).unwrap();
        assert!(outcomes.iter().all(|outcome| *outcome == MarkOutcome::Marked), "{declared}: {outcomes:?}");
        assert_eq!(store.stats(None).unwrap().pending, 0, "{declared}");
    }
}

#[test]
fn added_documents_fill_the_columns_that_are_there() {
    let db = Db::absent();
    let mut store = db.open();
    let new = [
        NewDocument { file_path: PathBuf::from("/up/a\n.pdf"), original_name: Some("A.pdf".into()) },
        NewDocument { file_path: PathBuf::from(OsStr::from_bytes(b"/up/\xff.pdf")), original_name: None },
    ];
    let ids = store.add_documents(&UserId::from(4), &new, noon()).unwrap();
    assert_eq!(ids, [1, 2].map(|id| Registered::New(DocumentId::from(id))));
    let rows: Vec<Document> =
        store.pending(&Selection::of_user(UserId::from(4))).unwrap().into_iter().map(|row| row.unwrap()).collect();
    assert_eq!(
        rows.iter().map(|row| &row.file_path).collect::<Vec<_>>(),
        new.iter().map(|new| &new.file_path).collect::<Vec<_>>()
    );
    assert_eq!(rows[0].original_name.as_deref(), Some("A.pdf"));
    assert_eq!(rows[0].created_at, Some(noon()));
    assert_eq!(db.text("SELECT created_at FROM documents WHERE id = 1").as_deref(), Some("2024-01-15 12:00:00.000000"));
    assert_eq!(db.text("SELECT group_concat(typeof(file_path)) FROM documents").as_deref(), Some("text,blob"));

    // An ORM's table: no defaults in the database, none of the optional columns.
    let bare = Db::foreign(
        "CREATE TABLE documents (id INTEGER PRIMARY KEY, user_id INTEGER NOT NULL, file_path VARCHAR NOT NULL,
                                 synced_to_nas BOOLEAN NOT NULL, synced_at DATETIME);",
    );
    assert_eq!(bare.open().add_documents(&UserId::from(4), &new, noon()).unwrap().len(), 2);
}

#[test]
fn adding_is_all_or_nothing() {
    let db = Db::foreign(
        "CREATE TABLE documents (id INTEGER PRIMARY KEY, user_id INTEGER, file_path TEXT UNIQUE, synced_to_nas, synced_at);",
    );
    let mut store = db.open();
    let new = |path: &str| NewDocument { file_path: PathBuf::from(path), original_name: None };
    // Another user's: this one's would be known already.
    db.raw().execute("INSERT INTO documents VALUES (1, 2, '/c', 0, NULL)", []).unwrap();
    let error = store.add_documents(&UserId::from(1), &[new("/a"), new("/b"), new("/c")], noon()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::DatabaseUnusable);
    assert!(error.message().contains("UNIQUE"), "{error}");
    for bad in ["", "/a\0b"] {
        assert_eq!(kind(store.add_documents(&UserId::from(1), &[new("/a"), new(bad)], noon())), ErrorKind::Usage);
    }
    assert_eq!(store.stats(None).unwrap().total_documents, 1);
}
