//! The index over the pending rows: who has it, that it changes no answer, and what a look at the queue costs.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::*;
use crate::store::sqlite::pending_index;
use crate::store::sqlite::pending_index::IS_SYNCED;

/// Somebody else's table, whose ids SQLite sees to.
const TABLE: &str = "CREATE TABLE documents (id INTEGER PRIMARY KEY, user_id INTEGER NOT NULL, file_path TEXT NOT NULL,
                         synced_to_nas BOOLEAN, synced_at TIMESTAMP, created_at TIMESTAMP);
                     CREATE INDEX of_user ON documents (user_id);";

fn has_index(db: &Db) -> bool {
    let sql = "SELECT EXISTS (SELECT 1 FROM sqlite_master WHERE type = 'index' AND name = 'nas_sync_pending')";
    db.raw().query_row(sql, [], |row| row.get(0)).unwrap()
}

#[test]
fn only_a_table_that_is_created_here_has_the_index_from_the_start() {
    let own = Db::absent();
    assert!(!own.open().add_index().unwrap() && has_index(&own));
    // It may be somebody else's by now.
    own.raw().execute("DROP INDEX nas_sync_pending", []).unwrap();
    own.open();
    assert!(!has_index(&own));

    let foreign = Db::foreign(TABLE);
    let mut store = foreign.open();
    assert!(!has_index(&foreign));
    assert!(store.add_index().unwrap() && has_index(&foreign));
    assert!(!store.add_index().unwrap());
    let sql = foreign.text("SELECT sql FROM sqlite_master WHERE name = 'nas_sync_pending'").unwrap();
    assert!(!sql.contains('\n'), "SQLAlchemy reads one line of the condition back: {sql}");
}

#[test]
fn an_index_that_comes_goes_or_reads_otherwise_is_no_error() {
    let db = Db::foreign(TABLE);
    db.raw().execute("INSERT INTO documents (user_id, file_path) VALUES (1, '/a')", []).unwrap();
    let mut store = db.open();
    for _ in 0..2 {
        let index = "CREATE INDEX nas_sync_pending ON documents (user_id) WHERE synced_to_nas IS NULL";
        db.raw().execute(index, []).unwrap();
        assert_eq!(queue(&store, &Selection::all(), noon()).due, 1);
        assert!(store.add_index().unwrap(), "it takes the place of the other");
        assert_eq!(queue(&store, &Selection::all(), noon()).due, 1);
        db.raw().execute("DROP INDEX nas_sync_pending", []).unwrap();
        assert_eq!(queue(&store, &Selection::all(), noon()).due, 1);
    }
}

/// What every use of the queue says.
fn answers(store: &mut SqliteStore) -> Vec<String> {
    let mut said = vec![format!("{:?}", store.stats(None).unwrap())];
    for selection in [
        Selection::all(),
        Selection::of_user(2),
        Selection::documents([3, 4, 7, 99].map(DocumentId::from)),
        Selection::all().without([8.into()]),
        Selection::of_user(1).up_to(9.into()),
    ] {
        let mut say = |what: &dyn std::fmt::Debug| said.push(format!("{what:?}"));
        say(&store.pending(&selection).unwrap());
        say(&queue(store, &selection, noon()));
        say(&oldest(store, &selection));
        say(&store.unusable(&selection).unwrap());
        say(&store.forget_failures(&selection).unwrap());
        let me = holder(1);
        let worker = Worker { holder: &me, now: Duration::ZERO, life_of: &|_| Life::Possible };
        let now = store.as_of_now(&selection).unwrap();
        let claimed = store.claim(&now, &Due::At(noon()), 5, &worker).unwrap();
        say(&claimed.documents);
        if let Some(fence) = claimed.fence {
            store.release(fence).unwrap();
        }
    }
    said
}

fn same(some: &[String], others: &[String], what: &str) {
    assert_eq!(some.len(), others.len(), "{what}");
    some.iter().zip(others).for_each(|(one, other)| assert_eq!(one, other, "{what}"));
}

#[test]
fn the_index_changes_no_answer() {
    const ODD: &str = "0, 1, 2, -1, NULL, '', '0', '1', 'true', ' TRUE ', 'T', 'yes', 'on', 'x', 'false', 'é', 0.0, 1.0, \
                       0.5, x'', x'01', 'İ', '1.0', 9223372036854775807";
    for declared in ["", "BOOLEAN", "TEXT", "INTEGER", "REAL", "TEXT COLLATE NOCASE"] {
        for id in ["INTEGER PRIMARY KEY", "BIGINT PRIMARY KEY", ""] {
            let table = |name: &str| {
                format!(
                    "CREATE TABLE {name} (id {id}, user_id INTEGER, file_path TEXT, synced_to_nas {declared}, synced_at,
                                          created_at);"
                )
            };
            let db = Db::foreign(&table("documents"));
            let raw = db.raw();
            for (n, odd) in (1..).zip(ODD.split(", ")) {
                let row =
                    format!("({n}, {n} % 3, '/{n}', {odd}, '2024-01-{n:02} 12:00:00', '2024-02-{n:02} 12:00:00')");
                raw.execute(&format!("INSERT INTO documents VALUES {row}"), []).unwrap();
            }
            if id.is_empty() {
                raw.execute_batch("INSERT INTO documents VALUES ('a', 1, '/a', 0, 1, 2), (NULL, 1, '/b', 0, 1, 2)")
                    .unwrap();
            }
            let mut store = db.open();
            let without = answers(&mut store);
            assert!(store.add_index().unwrap());
            same(&without, &answers(&mut store), &format!("{declared} {id}"));
            // Each row becomes what another one is, with the index in place, and then without it.
            let turn = "UPDATE documents SET synced_to_nas = (SELECT o.synced_to_nas FROM before o WHERE o.id = documents.id % 24 + 1)";
            raw.execute_batch(&format!("{} INSERT INTO before SELECT * FROM documents; {turn}", table("before")))
                .unwrap();
            assert_eq!(db.text("PRAGMA integrity_check").as_deref(), Some("ok"));
            let with = answers(&mut store);
            assert_ne!(with, without);
            raw.execute("DROP INDEX nas_sync_pending", []).unwrap();
            same(&with, &answers(&mut store), &format!("{declared} {id}"));
        }
    }
}

#[test]
fn sqlite_takes_the_index_and_sorts_nothing() {
    let db = Db::foreign(TABLE);
    let mut store = db.open();
    store.add_index().unwrap();
    let plan = |rows: &str, condition: &str| -> String {
        let sql = format!(
            "EXPLAIN QUERY PLAN SELECT d.file_path FROM {rows} WHERE {condition} AND NOT {IS_SYNCED} ORDER BY d.id LIMIT 9"
        );
        let mut statement = store.conn.prepare(&sql).unwrap();
        let lines = statement.query_map([], |row| row.get::<_, String>(3)).unwrap();
        lines.collect::<rusqlite::Result<Vec<_>>>().unwrap().join("\n")
    };
    let rows = pending_index::pending_rows(&store.conn, &store.table).unwrap();
    for condition in ["1", "d.user_id = 1", "d.id <= 7", "typeof(d.id) <> 'integer'"] {
        let plan = plan(&rows, condition);
        assert!(plan.contains("nas_sync_pending") && !plan.contains("TEMP B-TREE"), "{condition}: {plan}");
    }
    assert!(plan("documents d", "d.user_id = 1").contains("of_user"), "so it has to be named");
}

/// A table of somebody else's with so many synced documents, which nas-sync remembers, and two pending ones.
fn filled(synced: i64) -> Db {
    let db = Db::foreign(TABLE);
    drop(db.open());
    db.raw()
        .execute_batch(&format!(
            "PRAGMA synchronous = OFF;
             WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < {synced})
             INSERT INTO documents SELECT n, n % 2, '/' || n, 1, '2024-01-15 12:00:00', '2024-01-15' FROM n;
             INSERT INTO documents (user_id, file_path) VALUES (1, '/a'), (0, '/b');
             INSERT INTO nas_sync_documents (document_id, file_path) SELECT id, file_path FROM documents WHERE id <= {synced};
             INSERT INTO nas_sync_names (name, document_id) SELECT CAST(id AS BLOB), id FROM documents WHERE id <= {synced};"
        ))
        .unwrap();
    db
}

/// How many instructions of SQLite's machine some work takes: its cost, whatever else the computer does.
fn cost<T>(store: &mut SqliteStore, work: impl FnOnce(&mut SqliteStore) -> T) -> (u64, T) {
    let count = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&count);
    let step = move || {
        counter.fetch_add(1, Ordering::Relaxed);
        false
    };
    drop(store.conn.progress_handler(1, Some(step)));
    let value = work(store);
    drop(store.conn.progress_handler(0, None::<fn() -> bool>));
    (count.load(Ordering::Relaxed), value)
}

/// What the parts of a run cost: to begin, and to lease, look at the queue, and lease what is left, beside another worker.
fn run(store: &mut SqliteStore, selection: &Selection) -> (u64, [u64; 3]) {
    let [me, other] = [1, 2].map(holder);
    let worker = |holder| Worker { holder, now: Duration::ZERO, life_of: &|_| Life::Possible };
    let (begin, selection) = cost(store, |store| {
        store.forget_gone().unwrap();
        assert!(store.unusable(selection).unwrap().is_empty());
        store.as_of_now(selection).unwrap()
    });
    let (claim, claimed) = cost(store, |store| store.claim(&selection, &Due::At(noon()), 1, &worker(&other)).unwrap());
    assert_eq!(claimed.documents.len(), 1);
    let (queue, line) = cost(store, |store| store.queue(&selection, noon(), &worker(&me)).unwrap().0);
    assert_eq!(line.leased, 1);
    let (rest, claimed) = cost(store, |store| store.claim(&selection, &Due::At(noon()), 9, &worker(&me)).unwrap());
    assert_eq!(claimed.documents.len() as u64, line.due);
    (begin, [claim, queue, rest])
}

#[test]
fn with_the_index_a_run_costs_the_same_however_many_are_synced() {
    for selection in [Selection::all(), Selection::of_user(1)] {
        let costs = [3_000, 12_000].map(|synced| {
            let db = filled(synced);
            let mut store = db.open();
            store.add_index().unwrap();
            run(&mut store, &selection)
        });
        assert_eq!(costs[0], costs[1], "{selection:?}");
        assert!(costs[0].0 > 0);
    }
}

#[test]
fn without_the_index_a_run_looks_at_each_row_once() {
    let [few, many] = [3_000, 12_000].map(|synced| {
        let db = filled(synced);
        let mut store = db.open();
        let look = format!("SELECT COUNT(*) FROM documents d WHERE NOT {IS_SYNCED}");
        let (look, pending) =
            cost(&mut store, |store| store.conn.query_row(&look, [], |row| row.get::<_, i64>(0)).unwrap());
        assert_eq!(pending, 2);
        let (watching, _) = cost(&mut store, |store| queue(store, &Selection::all(), noon()));
        let (begin, rest) = run(&mut store, &Selection::all());
        ([look, watching, begin], rest)
    });
    let [look, watching, begin] = std::array::from_fn(|at| many.0[at] - few.0[at]);
    assert!(look >= 9_000);
    for other in [watching, begin] {
        assert!(other > look / 2 && other < look * 6 / 5, "{other} beside {look}");
    }
    assert_eq!(few.1, many.1, "behind that only the pending documents are looked at");
}

#[test]
fn without_the_index_a_run_is_about_the_few_that_are_pending() {
    let db = filled(10);
    let store = db.open();
    let few = Selection::documents([11, 12].map(DocumentId::from));
    assert_eq!(store.as_of_now(&Selection::all()).unwrap(), few);
    let one = Selection::of_user(1);
    assert_eq!(store.as_of_now(&one).unwrap(), one.only([11.into()]));
    db.raw()
        .execute_batch(
            "WITH RECURSIVE n(n) AS (SELECT 13 UNION ALL SELECT n + 1 FROM n WHERE n < 2010)
             INSERT INTO documents (id, user_id, file_path) SELECT n, 1, '/' || n FROM n;",
        )
        .unwrap();
    assert_eq!(store.as_of_now(&Selection::all()).unwrap().documents.unwrap().len(), 2_000);
    db.raw().execute("INSERT INTO documents (id, user_id, file_path) VALUES (9999, 1, '/x')", []).unwrap();
    assert_eq!(store.as_of_now(&Selection::all()).unwrap(), Selection::all().up_to(9999.into()));
}

#[test]
fn what_is_remembered_of_deleted_documents_goes_part_by_part_and_behind_the_last_at_once() {
    let db = filled(2_500);
    let gone = "id IN (10, 1500, 2400) OR id > 2490";
    db.raw().execute(&format!("DELETE FROM documents WHERE {gone}"), []).unwrap();
    let mut store = db.open();
    let left = || {
        ["nas_sync_documents", "nas_sync_names"].map(|table| {
            let gone = "document_id NOT IN (SELECT id FROM documents) ORDER BY document_id";
            let sql = format!("SELECT group_concat(document_id) FROM (SELECT document_id FROM {table} WHERE {gone})");
            db.text(&sql).unwrap_or_default()
        })
    };
    for still in ["1500,2400", "2400", ""] {
        store.forget_gone().unwrap();
        assert_eq!(left(), [still, still]);
    }
    // And from the start again.
    db.raw().execute("DELETE FROM documents WHERE id = 20", []).unwrap();
    store.forget_gone().unwrap();
    assert_eq!(left(), ["", ""]);
}
