//! Opening: what is created, what is refused, and who waits for whom.

use std::process::Command;
use std::sync::Barrier;

use super::*;
use crate::own_tables::sqlite::MIGRATIONS;

#[test]
fn a_store_can_move_to_another_thread() {
    fn is_send<T: Send>() {}
    is_send::<SqliteStore>();
}

#[test]
fn a_missing_database_is_created_only_for_create() {
    let db = Db::absent();
    for access in [Access::Existing, Access::ReadOnly] {
        let error = db.try_open(access).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::DatabaseUnusable);
        assert!(error.message().contains("documents.db") && error.message().contains("NAS_DB"), "{error}");
        assert!(!db.path().exists());
    }
    db.open();
    assert_eq!(db.text("PRAGMA journal_mode").as_deref(), Some("wal"));
    assert!(db.try_open(Access::Existing).is_ok());
}

#[test]
fn the_documents_table_is_the_contracts() {
    let db = Db::absent();
    db.open();
    let raw = db.raw();
    let mut statement =
        raw.prepare("SELECT name, type, \"notnull\", dflt_value, pk FROM pragma_table_info('documents')").unwrap();
    let columns: Vec<(String, String, bool, Option<String>, bool)> = statement
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?)))
        .unwrap()
        .map(std::result::Result::unwrap)
        .collect();
    let needed: Vec<_> = columns.iter().take(5).map(|(a, b, c, d, e)| (&**a, &**b, *c, d.as_deref(), *e)).collect();
    assert_eq!(
        needed,
        [
            ("id", "INTEGER", false, None, true),
            ("user_id", "INTEGER", true, None, false),
            ("file_path", "TEXT", true, None, false),
            ("synced_to_nas", "BOOLEAN", true, Some("0"), false),
            ("synced_at", "TIMESTAMP", false, None, false),
        ]
    );
    let optional: Vec<_> = columns.iter().skip(5).map(|column| &*column.0).collect();
    assert_eq!(optional, ["original_name", "file_type", "doc_type", "date", "created_at"]);
}

#[test]
fn a_missing_folder_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let error =
        SqliteStore::open(&folder.path().join("no/such/nas.db"), &TableName::default(), Access::Create).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::DatabaseUnusable);
    assert!(error.message().contains("no/such"), "{error}");
    assert_eq!(
        kind(SqliteStore::open(Path::new(""), &TableName::default(), Access::Create)),
        ErrorKind::DatabaseUnusable
    );
    assert_eq!(
        kind(SqliteStore::open(folder.path(), &TableName::default(), Access::Create)),
        ErrorKind::DatabaseUnusable
    );
}

#[test]
fn a_file_that_is_no_database_is_refused_and_left_alone() {
    let db = Db::absent();
    let text = "not a database, but somebody's text\n".repeat(100);
    std::fs::write(db.path(), &text).unwrap();
    for access in [Access::Create, Access::Existing, Access::ReadOnly] {
        let error = db.try_open(access).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::DatabaseUnusable);
        assert!(error.message().contains("file is not a database"), "{error}");
    }
    assert_eq!(std::fs::read_to_string(db.path()).unwrap(), text);
}

#[test]
fn damaged_pages_are_an_error_and_no_panic() {
    let db = Db::absent();
    let mut store = db.open();
    let paths: Vec<String> = (0..500).map(|n| format!("/up/{n:0>200}.pdf")).collect();
    add(&mut store, 1, &paths.iter().map(String::as_str).collect::<Vec<_>>());
    drop(store);
    let mut bytes = std::fs::read(db.path()).unwrap();
    let page = 4096;
    let end = bytes.len() - page;
    // Page 1 holds the schema and stays.
    bytes[page..end].fill(0xa5);
    std::fs::write(db.path(), bytes).unwrap();
    let result = db.try_open(Access::Existing).and_then(|store| store.pending(&Selection::all()));
    assert_eq!(kind(result), ErrorKind::DatabaseUnusable);
}

#[test]
fn a_table_that_lacks_columns_is_named_and_untouched() {
    let db = Db::foreign(
        "CREATE TABLE documents (id INTEGER PRIMARY KEY, user_id INTEGER, file_path TEXT);
         INSERT INTO documents VALUES (1, 2, '/x');",
    );
    let before = std::fs::read(db.path()).unwrap();
    for access in [Access::Create, Access::Existing, Access::ReadOnly] {
        let error = db.try_open(access).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::DatabaseUnusable);
        assert!(error.message().contains("documents lacks synced_to_nas, synced_at"), "{error}");
    }
    assert_eq!(std::fs::read(db.path()).unwrap(), before, "not even the journal mode may change");
}

#[test]
fn a_view_is_refused() {
    let db = Db::foreign(
        "CREATE VIEW documents AS SELECT 1 AS id, 1 AS user_id, '/x' AS file_path, 0 AS synced_to_nas, NULL AS synced_at;",
    );
    let error = db.try_open(Access::Create).unwrap_err();
    assert!(error.message().contains("documents is a view"), "{error}");
}

#[test]
fn a_foreign_table_with_other_case_and_columns_is_accepted() {
    let db = Db::foreign(
        "PRAGMA user_version = 42;
         CREATE TABLE Documents (ID INTEGER PRIMARY KEY, User_Id INTEGER, File_Path TEXT, title TEXT,
                                 Synced_To_Nas BOOLEAN, Synced_At TIMESTAMP);
         INSERT INTO Documents (User_Id, File_Path) VALUES (3, '/x');",
    );
    assert_eq!(ids(db.open().pending(&Selection::all()).unwrap()), [1]);
    assert_eq!(db.raw().query_row("PRAGMA user_version", [], |row| row.get::<_, i64>(0)).unwrap(), 42);
}

#[test]
fn own_tables_of_a_newer_program_are_refused() {
    let db = Db::absent();
    db.open();
    db.raw().execute("UPDATE nas_sync_meta SET value = 99", []).unwrap();
    let error = db.try_open(Access::Existing).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::DatabaseUnusable);
    assert!(error.message().contains("version 99"), "{error}");
    db.raw().execute("UPDATE nas_sync_meta SET value = 'seven'", []).unwrap();
    assert_eq!(kind(db.try_open(Access::ReadOnly)), ErrorKind::DatabaseUnusable);
}

#[test]
fn read_only_changes_nothing_and_counts_what_is_there() {
    let db = Db::foreign(
        "CREATE TABLE documents (id INTEGER PRIMARY KEY, user_id INTEGER, file_path TEXT, synced_to_nas, synced_at);
         INSERT INTO documents (user_id, file_path) VALUES (3, '/x');",
    );
    let before = std::fs::read(db.path()).unwrap();
    let mut store = db.try_open(Access::ReadOnly).unwrap();
    assert_eq!(store.stats(None).unwrap().pending, 1);
    let new = [NewDocument { file_path: PathBuf::from("/y"), original_name: None }];
    assert_eq!(kind(store.add_documents(&UserId::from(1), &new, noon())), ErrorKind::DatabaseUnusable);
    drop(store);
    assert_eq!(std::fs::read(db.path()).unwrap(), before);

    let empty = Db::foreign("");
    std::fs::write(empty.path(), "").unwrap();
    assert_eq!(kind(empty.try_open(Access::ReadOnly)), ErrorKind::DatabaseUnusable, "it has no table documents");
    assert_eq!(std::fs::metadata(empty.path()).unwrap().len(), 0);
}

#[test]
fn a_held_write_lock_is_database_locked_after_the_wait() {
    let db = Db::absent();
    let mut store = db.open();
    let id = add(&mut store, 1, &["/a"])[0].clone();
    let fence = lease_all(&mut store);
    let settlement = Settlement { synced: vec![synced(id, "/a", "a")], ..Settlement::default() };
    let other = db.raw();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();

    let before = Instant::now();
    let result = store.settle(fence, &settlement, noon(), &|_, _| NextTry::Never, &|_| true);
    assert!(before.elapsed() >= SHORT, "it must wait first");
    let error = result.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::DatabaseLocked);
    assert!(error.message().contains("documents.db"), "{error}");
    // Reading, and opening what is up to date, need no write lock.
    assert_eq!(ids(store.pending(&Selection::all()).unwrap()), [1]);
    assert!(db.try_open(Access::Existing).is_ok());
    assert_eq!(db.try_open(Access::ReadOnly).unwrap().stats(None).unwrap().pending, 1);

    other.execute_batch("COMMIT").unwrap();
    assert_eq!(settle(&mut store, fence, &settlement).unwrap(), [MarkOutcome::Marked]);
}

#[test]
fn a_full_disk_is_said_and_nothing_is_half_written() {
    let db = Db::absent();
    let mut store = db.open();
    let id = add(&mut store, 1, &["/a"])[0].clone();
    let fence = lease_all(&mut store);
    // SQLite's own limit gives the result code of a full disk.
    let pages: i64 = store.conn.query_row("PRAGMA page_count", [], |row| row.get(0)).unwrap();
    store.conn.query_row(&format!("PRAGMA max_page_count = {pages}"), [], |_| Ok(())).unwrap();
    let mut record = synced(id, "/a", "a");
    record.copy.remote_name = vec![b'n'; 20_000];
    let settlement = Settlement { synced: vec![record], ..Settlement::default() };
    let error = store.settle(fence, &settlement, noon(), &|_, _| NextTry::Never, &|_| true).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::DatabaseUnusable);
    assert!(error.message().contains("full") && error.solution().contains("Make room"), "{error}");
    assert_eq!(ids(store.pending(&Selection::all()).unwrap()), [1]);
}

#[test]
fn a_lock_while_tables_are_created_is_database_locked() {
    let db = Db::foreign("CREATE TABLE other (x);");
    let other = db.raw();
    other.execute_batch("BEGIN EXCLUSIVE").unwrap();
    assert_eq!(kind(db.try_open(Access::Create)), ErrorKind::DatabaseLocked);
}

#[test]
fn the_switch_to_wal_waits_for_readers_and_for_writers() {
    for lock in ["BEGIN; SELECT * FROM other;", "BEGIN IMMEDIATE;"] {
        let db = Db::foreign("CREATE TABLE other (x); INSERT INTO other VALUES (1);");
        let (locked, may_open) = std::sync::mpsc::channel();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let other = db.raw();
                other.execute_batch(lock).unwrap();
                locked.send(()).unwrap();
                std::thread::sleep(SHORT);
            });
            may_open.recv().unwrap();
            SqliteStore::open(&db.path(), &TableName::default(), Access::Create).unwrap();
        });
        assert_eq!(db.text("PRAGMA journal_mode").as_deref(), Some("wal"));

        let db = Db::foreign("CREATE TABLE other (x); INSERT INTO other VALUES (1);");
        let other = db.raw();
        other.execute_batch(lock).unwrap();
        assert_eq!(kind(db.try_open(Access::Create)), ErrorKind::DatabaseLocked);
    }
}

#[test]
fn many_threads_may_create_one_database_at_once() {
    for _ in 0..10 {
        let db = Db::absent();
        let start = Barrier::new(6);
        std::thread::scope(|scope| {
            for user in 0..6 {
                let (db, start) = (&db, &start);
                scope.spawn(move || {
                    start.wait();
                    let mut store = SqliteStore::open(&db.path(), &TableName::default(), Access::Create).unwrap();
                    add(&mut store, user, &["/a", "/b"]);
                });
            }
        });
        assert_eq!(db.open().stats(None).unwrap().total_documents, 12);
        assert_eq!(
            db.text("SELECT CAST(COUNT(*) AS TEXT) FROM nas_sync_meta WHERE key = 'schema_version'").as_deref(),
            Some("1")
        );
    }
}

/// Not a test by itself: what each child process of the next test does.
#[test]
fn child_that_adds_documents() {
    let Some(path) = std::env::var_os("NAS_SYNC_TEST_CHILD_DB") else { return };
    let mut store = SqliteStore::open(Path::new(&path), &TableName::default(), Access::Create).unwrap();
    for number in 0..20 {
        add(&mut store, 1, &[&format!("/from/{}/{number}", std::process::id())]);
    }
}

#[test]
fn several_processes_may_create_and_fill_one_database() {
    let db = Db::absent();
    let child = || {
        Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "store::sqlite::tests::opening::child_that_adds_documents"])
            .env("NAS_SYNC_TEST_CHILD_DB", db.path())
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap()
    };
    for mut child in [child(), child(), child(), child()] {
        assert!(child.wait().unwrap().success());
    }
    assert_eq!(db.open().stats(None).unwrap().total_documents, 80);
}

#[test]
fn tables_of_the_first_version_are_brought_up_to_date() {
    let db = Db::foreign(
        "CREATE TABLE documents (id INTEGER PRIMARY KEY, user_id INTEGER, file_path TEXT, synced_to_nas BOOLEAN,
                                 synced_at TIMESTAMP);
         INSERT INTO documents VALUES (1, 1, '/a', 1, '2024-01-15 12:00:00.000000'), (2, 1, '/b', 0, NULL);
         CREATE TABLE nas_sync_meta (key TEXT NOT NULL PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
         INSERT INTO nas_sync_meta VALUES ('schema_version', 1);",
    );
    db.raw().execute_batch(&MIGRATIONS[0].replace("{schema}", "main")).unwrap();
    db.raw()
        .execute_batch(
            "INSERT INTO nas_sync_documents
                 (document_id, file_path, remote_name, bytes, mtime_seconds, mtime_nanoseconds, level)
             VALUES (1, '/a', CAST('é' AS BLOB), 7, 0, 0, 'stored');
             INSERT INTO nas_sync_documents (document_id, file_path, attempts, last_error_kind, last_error_text)
             VALUES (2, '/b', 3, 'source_missing', 'gone');
             INSERT INTO nas_sync_names VALUES (CAST('é' AS BLOB), 1);",
        )
        .unwrap();
    let refused = db.try_open(Access::ReadOnly).unwrap_err();
    assert!(refused.message().contains("old version 1"), "{refused}");
    let mut store = db.try_open(Access::Existing).unwrap();
    let copy = store.history(DocumentId::from(1)).unwrap().copy.unwrap();
    assert_eq!((copy.level, copy.sha256), (Level::Stored, None));
    let claims = store.claim_names(&[(2.into(), "E\u{301}".into())]).unwrap();
    assert!(matches!(&claims[..], [Claim::Meets(met)] if met[0].name == "\u{e9}".as_bytes()), "{claims:?}");
    let second = store.history(DocumentId::from(2)).unwrap();
    assert_eq!((second.attempts, second.last_failure.unwrap().solution), (3, None));
    assert_eq!(queue(&store, &Selection::all(), noon()).due, 1, "what failed before there were waits is due");
    assert!(db.try_open(Access::ReadOnly).is_ok());
}

#[test]
fn a_database_without_the_table_is_refused_and_left_alone() {
    let db = Db::foreign("CREATE TABLE users (id INTEGER PRIMARY KEY);");
    let before = std::fs::read(db.path()).unwrap();
    for access in [Access::Existing, Access::ReadOnly] {
        let error = db.try_open(access).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::DatabaseUnusable);
        assert!(error.message().ends_with("it has no table documents"), "{error}");
        assert!(error.solution().contains("NAS_DB"), "{error}");
    }
    assert_eq!(std::fs::read(db.path()).unwrap(), before);
    db.open();
    assert!(db.try_open(Access::Existing).is_ok());
}

#[test]
fn a_folder_is_called_a_folder() {
    let folder = tempfile::tempdir().unwrap();
    for access in [Access::Create, Access::Existing, Access::ReadOnly] {
        let error = SqliteStore::open(folder.path(), &TableName::default(), access).unwrap_err();
        assert!(error.message().ends_with("is a folder (NAS_DB)"), "{error}");
    }
    let error = SqliteStore::open(Path::new("/dev/null"), &TableName::default(), Access::Existing).unwrap_err();
    assert!(error.message().contains("not a regular file"), "{error}");
}

#[test]
fn ids_that_are_text_are_refused_by_name() {
    let with = |id: &str, user: &str| {
        Db::foreign(&format!(
            "CREATE TABLE documents (id {id} PRIMARY KEY, user_id {user}, file_path TEXT, synced_to_nas BOOLEAN,
                                     synced_at TIMESTAMP);"
        ))
    };
    for declared in ["TEXT", "CHAR(32)", "VARCHAR(36)", "UUID", "BLOB"] {
        for (db, column) in [(with(declared, "INTEGER"), "id"), (with("INTEGER", declared), "user_id")] {
            for access in [Access::Create, Access::Existing, Access::ReadOnly] {
                let error = db.try_open(access).unwrap_err();
                let named = format!("{column} of its table documents is text ({declared})");
                assert!(error.message().contains(&named), "{error}");
            }
        }
    }
    for declared in ["INTEGER", "BIGINT", "INT8", "NUMERIC", ""] {
        assert!(with("INTEGER", declared).try_open(Access::Existing).is_ok(), "{declared}");
    }
    // What stands in a column counts more than what was declared.
    let db = with("INTEGER", "BLOB");
    db.raw().execute("INSERT INTO documents VALUES (1, 7, '/x', 0, NULL)", []).unwrap();
    assert_eq!(ids(db.open().pending(&Selection::all()).unwrap()), [1]);
}
