//! What a process that watches asks.

use super::*;

#[test]
fn changes_of_others_are_noticed_and_nothing_else() {
    let db = Db::absent();
    let mut writer = db.open();
    let reader = db.try_open(Access::ReadOnly).unwrap();
    let before = reader.data_version().unwrap();
    assert_eq!(reader.data_version().unwrap(), before);
    let document = NewDocument { file_path: "a".into(), original_name: None };
    writer.add_documents(&UserId::from(1), &[document], noon()).unwrap();
    let after = reader.data_version().unwrap();
    assert_ne!(after, before);
    assert_eq!(reader.data_version().unwrap(), after);
    assert!(reader.stats(None).is_ok());
    assert_eq!(reader.data_version().unwrap(), after, "reading changes nothing");
}

#[test]
fn the_oldest_is_among_those_that_may_still_be_sent() {
    let db = Db::absent();
    let mut store = db.open();
    let all = Selection::all();
    assert_eq!(oldest(&store, &all), None);
    let day = |day| noon() + chrono::TimeDelta::days(day);
    for number in 0..5 {
        let document = NewDocument { file_path: number.to_string().into(), original_name: None };
        store.add_documents(&UserId::from(number % 2), &[document], day(number)).unwrap();
    }
    assert_eq!(oldest(&store, &all), Some(day(0)));
    assert_eq!(oldest(&store, &Selection::of_user(UserId::from(1))), Some(day(1)));
    // One is synced, one has failed for good, one has no time: ids 1 to 3.
    db.raw()
        .execute_batch(
            "UPDATE documents SET synced_to_nas = 1 WHERE id = 1;
             UPDATE nas_sync_documents SET failed_for_good = 1 WHERE document_id = 2;
             UPDATE documents SET created_at = 17 WHERE id = 3;",
        )
        .unwrap();
    assert_eq!(oldest(&store, &all), Some(day(3)));
    let foreign = Db::foreign(
        "CREATE TABLE documents (id INTEGER PRIMARY KEY, user_id INTEGER NOT NULL, file_path TEXT NOT NULL,
             synced_to_nas BOOLEAN, synced_at TIMESTAMP);
         INSERT INTO documents VALUES (1, 1, 'a', 0, NULL);",
    );
    assert_eq!(oldest(&foreign.open(), &all), None, "there is no such column");
}
